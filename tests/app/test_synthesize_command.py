"""``synthesize``: every kind of INPUT lands where the rule says, on the CT's own grid."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_heads import (
    OBLIQUE,
    SPLITS,
    head,
    picture_pairs,
    volume_pairs,
    write_csv,
    write_pictures,
    write_volumes,
)

from napari_ct2mri.app.cli import main
from napari_ct2mri.app.workflows.manifest import read_manifest
from napari_ct2mri.imaging.io import read_volume, write_volume
from napari_ct2mri.imaging.volume import AxisOrder, Geometry, Volume, axial_slices, closest_axes
from napari_ct2mri.jobs import run_job
from napari_ct2mri.pix2pix.checkpoint import load_checkpoint
from napari_ct2mri.pix2pix.synthesis import synthesize

Fails = Callable[..., str]
CPU = ("--device", "cpu")


def test_a_volume_lies_on_its_ct(model: Path, tmp_path: Path) -> None:
    ct, _ = write_volumes(tmp_path, 0)
    output = tmp_path / "out" / "mr.nii.gz"
    assert main(["synthesize", str(ct), str(output), "--model", str(model), *CPU]) == 0
    before, after = read_volume(ct), read_volume(output)
    assert after.data.shape == before.data.shape
    assert after.geometry.is_close(before.geometry)
    assert after.modality == "MR"
    assert after.data.min() >= 0
    assert 1 < after.data.max() <= 1000


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
@pytest.mark.parametrize(
    ("axes", "flips"),
    [
        ((0, 1, 2), (False, True, True)),  # slices in their order, turned in themselves
        ((0, 2, 1), (False, False, True)),
        ((0, 1, 2), (True, True, False)),  # from above
        ((2, 0, 1), (False, False, False)),  # sagittal
    ],
)
def test_however_the_slices_are_stored(
    model: Path,
    tmp_path: Path,
    ending: str,
    axes: tuple[int, int, int],
    flips: tuple[bool, bool, bool],
) -> None:
    """What is written as it is made is what is made as a whole, whatever the order on the disk."""
    order = AxisOrder(axes, flips)
    upright = Volume(np.rint(head(0)[0]).astype(np.int16), unit="HU", modality="CT")
    steps = np.eye(3)[:, ::-1][:, list(np.argsort(axes))]
    signs = np.where(flips, -1.0, 1.0)[np.argsort(axes)]
    turned = Geometry(direction=tuple((steps * signs)[:, ::-1].ravel()))
    stored = replace(upright, data=np.ascontiguousarray(order.undo(upright.data)), geometry=turned)
    assert closest_axes(stored)[1] == order
    file, output = tmp_path / "ct.nrrd", tmp_path / f"mr{ending}"
    write_volume(stored, file)
    assert main(["synthesize", str(file), str(output), "--model", str(model), *CPU]) == 0
    ct = read_volume(file)
    whole = run_job(synthesize(ct, load_checkpoint(model)), lambda event: None)
    np.testing.assert_array_equal(read_volume(output).data, whole.data)
    assert read_volume(output).geometry.is_close(ct.geometry)


def test_one_picture(model: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path, 0)
    ct = tmp_path / "CT" / "02.png"
    output = tmp_path / "out" / "mr.png"
    assert main(["synthesize", str(ct), str(output), "--model", str(model), *CPU]) == 0
    assert read_volume(output).data.shape == (1, 64, 64)
    assert sorted(file.name for file in output.parent.iterdir()) == ["manifest.json", "mr.png"]


def test_a_folder_of_pictures_keeps_its_names(model: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path, 0)
    output = tmp_path / "out"
    assert main(["synthesize", str(tmp_path / "CT"), str(output), "--model", str(model), *CPU]) == 0
    names = sorted(file.name for file in output.iterdir())
    assert names == ["01.png", "02.png", "03.png", "04.png", "manifest.json"]


def test_a_pair_list_by_contrast_and_patient(model: Path, pictures: Path, tmp_path: Path) -> None:
    assert main(["synthesize", str(pictures), str(tmp_path), "--model", str(model), *CPU]) == 0
    found = sorted(file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*.png"))
    assert found == [f"T2/{patient}/0{i}.png" for patient in SPLITS for i in range(1, 5)]
    manifest = read_manifest(tmp_path)
    assert manifest is not None
    (run,) = manifest.runs
    assert run.digest == load_checkpoint(model).digest
    assert not Path(run.model).is_absolute()
    assert run.checkpoint(tmp_path) == model.resolve()
    assert sorted(run.files) == found


def test_volumes_of_a_pair_list(model: Path, volumes: Path, tmp_path: Path) -> None:
    assert main(["synthesize", str(volumes), str(tmp_path), "--model", str(model), *CPU]) == 0
    mr = read_volume(tmp_path / "T2" / "bea" / "ct.nii.gz")
    assert mr.geometry.is_close(OBLIQUE)


def test_the_pictures_of_a_patient_share_one_head_size(model: Path, tmp_path: Path) -> None:
    pairs = picture_pairs(tmp_path, {"ada": "train"})
    together, alone = tmp_path / "together", tmp_path / "alone.png"
    assert main(["synthesize", str(pairs), str(together), "--model", str(model), *CPU]) == 0
    folder = tmp_path / "ada" / "CT"
    assert main(["synthesize", str(folder), str(tmp_path / "f"), "--model", str(model), *CPU]) == 0
    last = folder / "04.png"  # the smallest section: alone it is taken for a smaller head
    assert main(["synthesize", str(last), str(alone), "--model", str(model), *CPU]) == 0
    by_list = read_volume(together / "T2" / "ada" / "04.png").data
    np.testing.assert_array_equal(by_list, read_volume(tmp_path / "f" / "04.png").data)
    assert not np.array_equal(by_list, read_volume(alone).data)


def test_contrast_asks_for_every_ct_of_the_list(model: Path, tmp_path: Path, fails: Fails) -> None:
    pairs = picture_pairs(tmp_path / "data", {"ada": "train"}, contrast="FLAIR")
    line = fails("synthesize", pairs, tmp_path / "out", "--model", model, *CPU)
    assert "FLAIR" in line
    assert not (tmp_path / "out").exists()
    tokens = ["synthesize", str(pairs), str(tmp_path / "out"), "--model", str(model), *CPU]
    assert main([*tokens, "--contrast", "T2"]) == 0
    assert (tmp_path / "out" / "T2" / "ada" / "01.png").is_file()


def test_settings_are_in_the_manifest_and_do_something(model: Path, tmp_path: Path) -> None:
    ct, _ = write_volumes(tmp_path, 0)
    plain, other = tmp_path / "a" / "mr.nii.gz", tmp_path / "b" / "mr.nii.gz"
    assert main(["synthesize", str(ct), str(plain), "--model", str(model), *CPU]) == 0
    tokens = ["synthesize", str(ct), str(other), "--model", str(model), *CPU, "--native"]
    assert main([*tokens, "--window", "60", "200"]) == 0
    settings = json.loads((other.parent / "manifest.json").read_text())["runs"][0]["settings"]
    assert settings["native"] is True
    assert settings["window"] == {"level": 60, "width": 200}
    assert not np.array_equal(read_volume(plain).data, read_volume(other).data)


def test_an_mr_given_as_ct(model: Path, tmp_path: Path, fails: Fails) -> None:
    _, mr = write_volumes(tmp_path, 0)
    output = tmp_path / "out" / "x.nii.gz"
    tokens = ("synthesize", mr, output, "--model", model, *CPU)
    assert "expected a CT, got an MR" in fails(*tokens)
    line = fails(*tokens, "--modality", "CT")
    assert "mr.nii.gz: states that it is MR, expected CT" in line
    assert not output.parent.exists()


def test_swapped_columns(model: Path, tmp_path: Path, fails: Fails) -> None:
    ct, mr = write_volumes(tmp_path, 0)
    pairs = write_csv(tmp_path / "pairs.csv", [(mr.name, ct.name, "ada", "T2", "test", "")])
    swapped = "pairs.csv, line 2: .*mr.nii.gz: states that it is MR, expected CT"
    line = fails("synthesize", pairs, tmp_path / "out", "--model", model, *CPU)
    assert re.search(swapped, line)
    line = fails("evaluate", pairs, "--output", tmp_path / "report", "--model", model, *CPU)
    assert re.search(swapped, line)
    assert not (tmp_path / "out").exists()


def test_an_image_that_does_not_say_what_it_is(model: Path, tmp_path: Path, fails: Fails) -> None:
    ct, _ = head(0)
    unsaid, unscaled = tmp_path / "unsaid.nrrd", tmp_path / "unscaled.nii"
    write_volume(Volume(ct, OBLIQUE, "unknown", "arbitrary"), unsaid)
    write_volume(Volume(ct + 1000, OBLIQUE, "CT", "arbitrary"), unscaled)
    tokens = (tmp_path / "out" / "mr.nii.gz", "--model", model, *CPU)
    assert "--modality CT" in fails("synthesize", unsaid, *tokens)
    assert main(["synthesize", str(unsaid), *map(str, tokens), "--modality", "CT"]) == 0
    assert "--modality" not in fails("synthesize", unscaled, *tokens)


def test_nan(model: Path, tmp_path: Path, fails: Fails) -> None:
    ct, _ = head(0)
    ct[2, 30, 30] = np.nan
    write_volume(Volume(ct, OBLIQUE, "CT", "HU"), tmp_path / "ct.nrrd")
    output = tmp_path / "out" / "x.nrrd"
    assert "NaN" in fails("synthesize", tmp_path / "ct.nrrd", output, "--model", model, *CPU)
    assert not output.parent.exists()


def test_an_empty_ct(model: Path, tmp_path: Path, fails: Fails) -> None:
    air = np.full((3, 64, 64), -1000, np.int16)
    write_volume(Volume(air, OBLIQUE, "CT", "HU"), tmp_path / "ct.nrrd")
    output = tmp_path / "out" / "x.nrrd"
    assert "head" in fails("synthesize", tmp_path / "ct.nrrd", output, "--model", model, *CPU)
    assert not output.parent.exists()


def half(model: Path, path: Path) -> None:
    data = model.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def unknown_field(model: Path, path: Path) -> None:
    path.write_bytes(model.read_bytes().replace(b'\\"width\\"', b'\\"widht\\"', 1))


def pickled(model: Path, path: Path) -> None:
    path.write_bytes(pickle.dumps({"weights": [1, 2, 3]}))


@pytest.mark.parametrize(
    ("damage", "said"), [(half, "cut"), (unknown_field, "widht"), (pickled, "pickle")]
)
def test_a_broken_checkpoint(
    model: Path,
    tmp_path: Path,
    fails: Fails,
    damage: Callable[[Path, Path], None],
    said: str,
) -> None:
    ct, _ = write_volumes(tmp_path, 0)
    broken = tmp_path / "broken.safetensors"
    damage(model, broken)
    output = tmp_path / "out" / "x.nii.gz"
    assert said in fails("synthesize", ct, output, "--model", broken, *CPU)
    assert not output.parent.exists()


def test_no_such_model(tmp_path: Path, fails: Fails) -> None:
    ct, _ = write_volumes(tmp_path, 0)
    assert "no-such" in fails("synthesize", ct, tmp_path / "o.nii.gz", "--model", "no-such")


def test_an_output_that_cannot_hold_it_is_said_first(
    model: Path, tmp_path: Path, fails: Fails
) -> None:
    ct, _ = write_volumes(tmp_path, 0)
    assert "volume" in fails("synthesize", ct, tmp_path / "out", "--model", model, *CPU)
    assert "unknown ending" in fails("synthesize", ct, tmp_path / "o.xyz", "--model", model, *CPU)


def test_the_spread_is_a_volume_beside_the_mr(model: Path, tmp_path: Path) -> None:
    ct, _ = write_volumes(tmp_path, 0)
    plain, output, spread = (tmp_path / "out" / name for name in ("a.mha", "b.mha", "s.nii.gz"))
    command = ("synthesize", str(ct))
    assert main([*command, str(plain), "--model", str(model), *CPU]) == 0
    options = ("--model", str(model), "--spread", str(spread), *CPU)
    assert main([*command, str(output), *options]) == 0
    np.testing.assert_array_equal(read_volume(output).data, read_volume(plain).data)
    apart = read_volume(spread)
    assert apart.geometry.is_close(read_volume(ct).geometry)
    assert 0 < apart.data.max() < 500
    assert apart.data.min() == 0
    manifest = read_manifest(output.parent)
    assert manifest is not None
    assert sorted(name for run in manifest.runs for name in run.files) == ["a.mha", "b.mha"]


def test_a_spread_that_cannot_be_is_said_first(model: Path, tmp_path: Path, fails: Fails) -> None:
    ct, _ = write_volumes(tmp_path, 0)
    pairs = picture_pairs(tmp_path / "data", {"ada": "train"})
    output = tmp_path / "out.mha"
    told = ("--model", model, *CPU, "--spread")
    assert "not of a pairs.csv" in fails(
        "synthesize", pairs, tmp_path / "out", *told, tmp_path / "s.mha"
    )
    assert "INPUT or OUTPUT" in fails("synthesize", ct, output, *told, output)
    assert "ends in .nii.gz" in fails("synthesize", ct, output, *told, tmp_path / "s.png")
    published = ("--published", "--spread", tmp_path / "s.mha")
    assert "not --published" in fails("synthesize", ct, output, "--model", model, *published)
    (tmp_path / "folder.mha").mkdir()
    assert "is a folder" in fails("synthesize", ct, output, *told, tmp_path / "folder.mha")
    (tmp_path / "file").touch()
    line = fails("synthesize", ct, output, *told, tmp_path / "file" / "deeper" / "s.mha")
    assert f"cannot be written: {tmp_path / 'file'} takes no files" in line
    assert not output.exists()
    assert not (tmp_path / "manifest.json").exists()


def test_a_range_of_slices(model: Path, tmp_path: Path) -> None:
    ct, _ = write_volumes(tmp_path, 0)
    whole, part = tmp_path / "out" / "whole.mha", tmp_path / "out" / "part.mha"
    command = ("synthesize", str(ct))
    assert main([*command, str(whole), "--model", str(model), *CPU]) == 0
    assert main([*command, str(part), "--model", str(model), "--slices", "1:3", *CPU]) == 0
    expected = axial_slices(read_volume(whole), range(1, 3))
    found = read_volume(part)
    assert found.geometry.is_close(expected.geometry, 1e-9)
    np.testing.assert_allclose(found.data, expected.data, atol=0.05)
    runs = json.loads((part.parent / "manifest.json").read_text())["runs"]
    assert [run["settings"]["slices"] for run in runs] == [None, [1, 3]]

    write_pictures(tmp_path, 0)
    pictures = tmp_path / "pictures"
    tokens = ["synthesize", str(tmp_path / "CT"), str(pictures), "--model", str(model), *CPU]
    assert main([*tokens, "--slices", "1:3"]) == 0
    assert sorted(p.name for p in pictures.glob("*.png")) == ["02.png", "03.png"]


def test_slices_that_cannot_be_are_said_first(model: Path, tmp_path: Path, fails: Fails) -> None:
    ct, _ = write_volumes(tmp_path, 0)
    pairs = picture_pairs(tmp_path / "data", {"ada": "train"})
    told = ("--model", model, *CPU, "--slices")
    out = tmp_path / "out"
    for text in ("3", "3:1", "2:2", "-1:2", "1:2:3", "a:b"):
        line = fails("synthesize", ct, out / "x.mha", *told[:-1], f"--slices={text}")
        assert f"--slices {text}: expected FROM:TO" in line
    assert "within 0:4" in fails("synthesize", ct, out / "x.mha", *told, "2:9")
    assert "not of a pairs.csv" in fails("synthesize", pairs, out, *told, "1:2")
    assert "all slices of its CT" in fails("synthesize", ct, out / "x.dcm", *told, "1:2")
    assert not out.exists()


def test_two_cts_of_one_name_are_refused(model: Path, tmp_path: Path, fails: Fails) -> None:
    from napari_ct2mri.pix2pix.pairs import read_pairs, write_pairs

    pairs = picture_pairs(tmp_path / "data", {"ada": "train"})
    rows = list(read_pairs(pairs).rows)
    other = tmp_path / "data" / "elsewhere"
    other.mkdir()
    (other / "01.png").write_bytes(rows[1].ct.read_bytes())
    write_pairs(pairs, [*rows, replace(rows[1], ct=other / "01.png")])
    line = fails("synthesize", pairs, tmp_path / "out", "--model", model, *CPU)
    assert "lines 2 and 6" in line
    assert not (tmp_path / "out").exists()


def test_a_patient_cannot_name_a_place_elsewhere(model: Path, tmp_path: Path, fails: Fails) -> None:
    from napari_ct2mri.pix2pix.pairs import read_pairs, write_pairs

    pairs = picture_pairs(tmp_path / "data", {"ada": "train"})
    write_pairs(pairs, [replace(row, patient="../../x") for row in read_pairs(pairs).rows])
    assert "cannot name a folder" in fails(
        "synthesize", pairs, tmp_path / "out", "--model", model, *CPU
    )
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("column", ["ct", "mr"])
def test_no_image_of_a_pair_list_is_overwritten(
    model: Path, tmp_path: Path, fails: Fails, column: str
) -> None:
    """OUTPUT/<contrast>/<patient> may be where somebody keeps the real ones."""
    ada, bea = tmp_path / "ada", tmp_path / ("T2/bea" if column == "mr" else "bea")
    rows: list[tuple[object, ...]] = []
    for patient in (ada, bea):
        patient.mkdir(parents=True)
        ct, mr = write_volumes(patient, 0)
        if column == "ct":
            ct = ct.rename(tmp_path / f"{patient.name}.nii.gz")
        else:
            mr = mr.replace(mr.with_name(ct.name if patient == bea else mr.name))
            ct = write_volumes(tmp_path / "CT" / patient.name, 0)[0]
        rows.append((ct, mr, patient.name, "T2", "test", ""))
    output = tmp_path
    if column == "ct":  # of bea it lies where ada's result would
        place = tmp_path / "T2" / "ada" / "ada.nii.gz"
        place.parent.mkdir(parents=True)
        rows[1] = (Path(str(rows[1][0])).rename(place), *rows[1][1:])
    pairs = write_csv(tmp_path / "pairs.csv", rows)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    said = fails("synthesize", pairs, output, "--model", model, *CPU)
    assert "would overwrite an image of the list (line 3); give another OUTPUT" in said
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_input_is_not_overwritten_under_another_name(
    model: Path, tmp_path: Path, fails: Fails
) -> None:
    write_volumes(tmp_path / "case", 0)
    (tmp_path / "case" / "mr.nii.gz").unlink()
    write_pictures(tmp_path, 0)
    header = tmp_path / "ct.mhd"
    write_volume(read_volume(tmp_path / "case"), header)
    header.rename(tmp_path / "other.mhd")  # its voxels stay in ct.raw
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    for path, output, says in (
        (tmp_path / "case", tmp_path / "case" / "ct.nii.gz", "OUTPUT would overwrite INPUT"),
        (tmp_path / "CT" / "01.png", tmp_path / "CT", "OUTPUT would overwrite INPUT"),
        (tmp_path / "other.mhd", header, "its voxels would overwrite ct.raw"),
    ):
        assert says in fails("synthesize", path, output, "--model", model, *CPU)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_what_is_wrong_with_the_last_patient_is_said_before_the_first_is_made(
    model: Path, tmp_path: Path, fails: Fails
) -> None:
    pairs = volume_pairs(tmp_path, {"ada": "test", "b-a": "test"})
    pairs.write_text(pairs.read_text().replace(",b-a,", ",b:a,"))
    said = fails("synthesize", pairs, tmp_path / "out", "--model", model, *CPU)
    assert "line 3: patient 'b:a' cannot name a folder" in said
    assert not (tmp_path / "out").exists()


def test_a_series_is_not_chosen_of_a_pair_list(
    model: Path, volumes: Path, tmp_path: Path, fails: Fails
) -> None:
    asked = ("synthesize", volumes, tmp_path / "out", "--model", model, *CPU)
    assert "--series and --modality are of one image" in fails(*asked, "--series", "7")
    assert "--series and --modality are of one image" in fails(*asked, "--modality", "CT")


def test_cancelled_it_leaves_nothing(model: Path, tmp_path: Path) -> None:
    from napari_ct2mri.app import workflows
    from napari_ct2mri.errors import JobCancelled
    from napari_ct2mri.jobs import run_job

    ct, _ = write_volumes(tmp_path, 0)
    job = workflows.synthesize(ct, tmp_path / "out" / "mr.nii.gz", model=model, device="cpu")
    with pytest.raises(JobCancelled):
        run_job(job, lambda event: None, lambda: True)
    assert not (tmp_path / "out").exists()


def test_a_volume_in_memory_in_a_child_process(model: Path) -> None:
    from napari_ct2mri.app.process import JobProcess

    ct, _ = head(0)
    outcome: list[object] = []
    process = JobProcess(on_result=outcome.append, on_error=outcome.append)
    process.start(
        "napari_ct2mri.app.workflows:synthesize_volume",
        Volume(ct, OBLIQUE, "CT", "HU"),
        model=model,
        device="cpu",
    )
    assert process.wait(300)  # a child yields to all other work of a busy machine
    (mr,) = outcome
    assert isinstance(mr, Volume)
    assert mr.geometry == OBLIQUE
    assert mr.modality == "MR"
