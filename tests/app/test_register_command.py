"""``register`` on files: what it writes, what it says, what it refuses."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_ct2mri.app.cli import main
from napari_ct2mri.app.workflows import read_landmarks, register_volumes
from napari_ct2mri.imaging.io import read_volume, write_volume
from napari_ct2mri.imaging.phantom import phantom
from napari_ct2mri.imaging.volume import Geometry, Volume
from napari_ct2mri.jobs import run_job

Fails = Callable[..., str]

TILT = np.array([[1.0, 0, 0], [0, 0.96, -0.28], [0, 0.28, 0.96]])
TURN = np.array([[0.992, -0.126, 0], [0.126, 0.992, 0], [0, 0, 1.0]])  # some 7 degrees
SHIFT = np.array([6.0, -5.0, 8.0])


def turned(volume: Volume, turn: np.ndarray, shift: np.ndarray) -> Volume:
    """The same voxels, turned about the world's origin and shifted."""
    u, _, vh = np.linalg.svd(turn)
    turn, old = u @ vh, volume.geometry
    x, y, z = turn @ np.asarray(old.origin) + shift
    direction = tuple(float(v) for v in (turn @ old.matrix).ravel())
    return replace(volume, geometry=Geometry(old.spacing, (x, y, z), direction))


@pytest.fixture(scope="session")
def head(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """``ct.nii.gz`` in a tilted frame, and ``mr.nii.gz``, moved against it."""
    folder = tmp_path_factory.mktemp("head")
    simulated = phantom(2, shape=(28, 72, 72), spacing=(5.0, 3.0, 3.0), contrasts=("T1",))
    zero = np.zeros(3)
    write_volume(turned(simulated.ct, TILT, zero), folder / "ct.nii.gz")
    mr = turned(turned(simulated.mr["T1"], TURN, SHIFT), TILT, zero)
    write_volume(mr, folder / "mr.nii.gz")
    return folder / "ct.nii.gz", folder / "mr.nii.gz"


def write_landmarks(path: Path, rows: list[tuple[object, ...]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("ct_x", "ct_y", "ct_z", "mr_x", "mr_y", "mr_z"), *rows])
    return path


@pytest.mark.parametrize("ending", [".nii.gz", ".mha"])
def test_the_mr_comes_onto_the_grid_of_the_ct(
    head: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], ending: str
) -> None:
    ct, mr = head
    output = tmp_path / "new" / f"moved{ending}"
    assert main(["register", str(ct), str(mr), str(output)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith(f"{output}: moved ")
    assert "turned 7." in out[0]
    before, after = (float(word) for word in out[1].split() if word[0].isdigit())
    assert after > before + 0.2
    assert out[2:] == []  # nothing is unsure
    made, grid, original = (read_volume(path) for path in (output, ct, mr))
    assert made.geometry.is_close(grid.geometry)
    assert (made.modality, made.unit) == ("MR", "arbitrary")
    assert made.data.dtype == original.data.dtype
    both = made.data.astype(float).ravel(), original.data.astype(float).ravel()
    assert np.corrcoef(*both)[0, 1] > 0.93  # the voxels of the MR, before it was moved


def test_landmarks_from_a_file(
    head: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    u, _, vh = np.linalg.svd(TURN)
    head_places = np.array([[60.0, 20, 30], [-60, 10, 40], [0, -70, 20], [5, 60, 60]])
    rows = [
        (*(TILT @ place), *(TILT @ (u @ vh @ place + SHIFT + error)))
        for place, error in zip(head_places, np.eye(4)[:, :3] * 2, strict=True)
    ]
    path = write_landmarks(tmp_path / "points.csv", rows)
    command = ["register", *map(str, head), str(tmp_path / "out.nii.gz")]
    assert main([*command, "--landmarks", str(path)]) == 0
    assert "unsure" not in capsys.readouterr().out
    write_landmarks(
        path, [(*row[:3], *other[3:]) for row, other in zip(rows, rows[::-1], strict=True)]
    )
    assert main([*command, "--landmarks", str(path)]) == 0
    assert "unsure: the landmarks miss each other" in capsys.readouterr().out


def test_what_is_unsure_is_said(
    head: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mr = read_volume(head[1])
    mirrored = tmp_path / "mirrored.nii.gz"
    write_volume(replace(mr, data=mr.data[:, :, ::-1].copy()), mirrored)
    assert main(["register", str(head[0]), str(mirrored), str(tmp_path / "out.nrrd")]) == 0
    assert "unsure: " in capsys.readouterr().out


def test_affine_says_its_scales(
    head: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = str(tmp_path / "out.mha")
    assert main(["register", *map(str, head), output, "--kind", "affine", "--threads", "2"]) == 0
    words = capsys.readouterr().out.splitlines()[0].partition("scaled by ")[2].split(", ")
    np.testing.assert_allclose([float(word) for word in words], 1, atol=0.03)


def test_volumes_in_memory_give_the_same(head: tuple[Path, Path], tmp_path: Path) -> None:
    ct, mr = (read_volume(path) for path in head)
    made = run_job(register_volumes(ct, mr), lambda event: None)
    assert main(["register", *map(str, head), str(tmp_path / "out.mha")]) == 0
    np.testing.assert_array_equal(made.mr.data, read_volume(tmp_path / "out.mha").data)
    assert made.mr.geometry == ct.geometry
    assert any(made.registration.summary in note for note in made.mr.notes)


def test_wrong_volumes_are_refused_and_nothing_is_written(
    head: tuple[Path, Path], tmp_path: Path, fails: Fails
) -> None:
    ct, mr = head
    output = tmp_path / "new" / "out.nii.gz"
    assert "swapped" in fails("register", mr, ct, output)
    assert "expected MR" in fails("register", ct, ct, output)
    assert "expected CT" in fails("register", mr, mr, output)
    assert not output.parent.exists()


def test_a_thin_slab_is_refused_by_its_file(
    head: tuple[Path, Path], tmp_path: Path, fails: Fails
) -> None:
    mr = read_volume(head[1])
    slab = tmp_path / "slab.nii.gz"
    write_volume(replace(mr, data=mr.data[12:15]), slab)
    line = fails("register", head[0], slab, tmp_path / "out.nii.gz")
    assert "slab.nii.gz" in line
    assert "3 layers" in line
    assert list(tmp_path.iterdir()) == [slab]


def test_pictures_are_refused(head: tuple[Path, Path], tmp_path: Path, fails: Fails) -> None:
    pictures = Volume(np.full((6, 20, 20), 90, np.uint8), unit="grey")
    write_volume(pictures, tmp_path / "pictures")
    line = fails("register", tmp_path / "pictures", head[1], tmp_path / "out.nii.gz")
    assert "no millimetres" in line
    line = fails("register", head[0], tmp_path / "pictures", tmp_path / "out.nii.gz")
    assert "no millimetres" in line


def test_an_output_that_cannot_be_is_refused_first(
    head: tuple[Path, Path], tmp_path: Path, fails: Fails
) -> None:
    ct, mr = head
    assert "overwrite" in fails("register", ct, mr, ct)
    assert "overwrite the MR" in fails("register", ct, mr, mr)
    assert "unknown ending" in fails("register", ct, mr, tmp_path / "out.xyz")
    assert "pictures cannot hold" in fails("register", ct, mr, tmp_path / "folder")
    assert "threads" in fails("register", ct, mr, tmp_path / "out.mha", "--threads", "-2")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ct_x,ct_y,mr_x\n1,2,3\n", "no column ct_z, mr_y, mr_z"),
        ("ct_x,ct_y,ct_z,mr_x,mr_y,mr_z\n1,2,3,4,5,6\n1,2,3,4,five,6\n", "line 3"),
        ("ct_x,ct_y,ct_z,mr_x,mr_y,mr_z\n1,2,3\n", "line 2"),
        ("ct_x,ct_y,ct_z,mr_x,mr_y,mr_z\n1,2,3,4,5,6\n", "3 pairs or more, got 1"),
        ("", "no column"),
        ("\x00\x00\n", "no column"),
    ],
)
def test_broken_landmarks_are_refused(
    head: tuple[Path, Path], tmp_path: Path, fails: Fails, text: str, words: str
) -> None:
    path = tmp_path / "points.csv"
    path.write_text(text)
    line = fails("register", *head, tmp_path / "out.mha", "--landmarks", path)
    assert str(path) in line
    assert words in line


def test_landmarks_that_are_no_file(head: tuple[Path, Path], tmp_path: Path, fails: Fails) -> None:
    line = fails("register", *head, tmp_path / "out.mha", "--landmarks", tmp_path / "none.csv")
    assert "cannot be read: No such file" in line


def test_spaces_and_a_byte_order_mark_are_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    rows = "0,0,0,1,0,0\n50, 0, 0, 51, 0, 0\n0,50,0,1,50,0\n"
    path.write_text("ct_x, ct_y, ct_z, mr_x, mr_y, mr_z\n" + rows, encoding="utf-8-sig")
    np.testing.assert_allclose(read_landmarks(path).fit()[:3, 3], (1, 0, 0), atol=1e-9)
