"""``info`` and ``convert`` on real files, good and bad."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from small_heads import OBLIQUE, write_pictures, write_volumes

from napari_ct2mri.app.cli import main
from napari_ct2mri.imaging.io import read_volume, write_volume
from napari_ct2mri.imaging.volume import Volume

Fails = Callable[..., str]


def test_info_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ct, _ = write_volumes(tmp_path, 0)
    assert main(["info", str(ct), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["series"][0]
    assert (found["modality"], found["unit"], found["shape"]) == ("CT", "HU", [4, 64, 64])
    np.testing.assert_allclose(found["geometry"]["spacing"], OBLIQUE.spacing, atol=1e-6)
    data = read_volume(ct).data
    assert found["values"] == [data.min(), data.max()]


def test_info_as_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_volumes(tmp_path, 0)
    assert main(["info", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "(1)" in out
    assert "(2)" in out
    assert "4 x 1.5 x 1.25 mm" in out


def test_info_of_a_pair_list(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(pictures)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split() == ["ada", "T2", "train", "4"] for line in lines)


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".nii"])
def test_convert_keeps_voxels_and_place(tmp_path: Path, ending: str) -> None:
    ct, _ = write_volumes(tmp_path, 0)
    output = tmp_path / "new" / f"copy{ending}"
    assert main(["convert", str(ct), str(output)]) == 0
    before, after = read_volume(ct), read_volume(output)
    np.testing.assert_array_equal(before.data, after.data)
    assert after.data.dtype == np.int16
    assert before.geometry.is_close(after.geometry)
    assert (after.modality, after.unit) == ("CT", "HU")


def test_convert_a_folder_of_pictures_and_back(tmp_path: Path) -> None:
    write_pictures(tmp_path, 0)
    assert main(["convert", str(tmp_path / "CT"), str(tmp_path / "ct.nrrd")]) == 0
    assert main(["convert", str(tmp_path / "CT"), str(tmp_path / "again")]) == 0
    names = [file.name for file in sorted((tmp_path / "again").iterdir())]
    assert names == ["01.png", "02.png", "03.png", "04.png"]
    original = read_volume(tmp_path / "CT").data
    np.testing.assert_array_equal(read_volume(tmp_path / "again").data, original)
    np.testing.assert_array_equal(read_volume(tmp_path / "ct.nrrd").data, original)


def test_convert_a_pair_list_by_the_rule(pictures: Path, tmp_path: Path) -> None:
    assert main(["convert", str(pictures), str(tmp_path / "out")]) == 0
    ours = read_volume(tmp_path / "out" / "T2" / "ada")
    theirs = read_volume(pictures.parent / "ada" / "CT")
    np.testing.assert_array_equal(ours.data, theirs.data)


def test_converting_onto_itself_is_refused(tmp_path: Path, fails: Fails) -> None:
    ct, _ = write_volumes(tmp_path, 0)
    before = ct.read_bytes()
    assert "overwrite" in fails("convert", ct, ct)
    assert ct.read_bytes() == before


@pytest.mark.parametrize(
    ("output", "said"),
    [("out.xyz", "unknown ending"), ("out.png", "volume"), ("out", "volume")],
)
def test_an_output_that_cannot_hold_it(
    tmp_path: Path, fails: Fails, output: str, said: str
) -> None:
    ct, _ = write_volumes(tmp_path, 0)
    before = sorted(tmp_path.iterdir())
    assert said in fails("convert", ct, tmp_path / output)
    assert sorted(tmp_path.iterdir()) == before


def test_four_dimensions(tmp_path: Path, fails: Fails) -> None:
    path = tmp_path / "four.nii.gz"
    SimpleITK.WriteImage(
        SimpleITK.GetImageFromArray(np.zeros((2, 3, 8, 8), np.float32), False), str(path)
    )
    assert "four.nii.gz" in fails("info", path)
    assert "four.nii.gz" in fails("convert", path, tmp_path / "new" / "out.nrrd")
    assert list(tmp_path.iterdir()) == [path]


def test_colour(tmp_path: Path, fails: Fails) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (16, 16, 3)).astype(np.uint8)
    path = tmp_path / "colour.png"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(pixels, isVector=True), str(path))
    assert "colour" in fails("info", path)


def test_pictures_of_two_sizes(tmp_path: Path, fails: Fails) -> None:
    for side in (16, 24):
        write_volume(
            Volume(np.zeros((1, side, side), np.uint8), unit="grey"), tmp_path / f"{side}.png"
        )
    assert "16x16" in fails("convert", tmp_path, tmp_path / "out.nrrd")
    assert len(list(tmp_path.iterdir())) == 2


def test_nothing_there(tmp_path: Path, fails: Fails) -> None:
    assert "does not exist" in fails("info", tmp_path / "nothing.nii.gz")
    assert str(tmp_path) in fails("info", tmp_path)


@pytest.mark.parametrize("name", ["rtstruct.dcm", "MR_truncated.dcm", "SC_rgb_rle_2frame.dcm"])
def test_real_files_that_are_no_scan(
    real_data: Path, tmp_path: Path, fails: Fails, name: str
) -> None:
    assert name in fails("info", real_data / "bad_inputs" / name)
    assert name in fails("convert", real_data / "bad_inputs" / name, tmp_path / "out.nrrd")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_several_series_lists_them(
    real_data: Path, tmp_path: Path, fails: Fails
) -> None:
    folder = real_data / "bad_inputs"
    line = fails("convert", folder, tmp_path / "out.nrrd")
    assert "(5)" in line
    assert main(["convert", str(folder), str(tmp_path / "out.nrrd"), "--series", "5"]) == 0
    assert read_volume(tmp_path / "out.nrrd").unit == "HU"


def test_debug_shows_where(tmp_path: Path) -> None:
    from napari_ct2mri.errors import ImageError

    with pytest.raises(ImageError):
        main(["info", str(tmp_path / "nothing"), "--debug"])


def test_what_a_pair_list_cannot_obey_is_refused(
    pictures: Path, tmp_path: Path, fails: Callable[..., str]
) -> None:
    assert "--modality" in fails("info", pictures, "--modality", "CT")
    for ignored in (("--modality", "CT"), ("--series", "2")):
        assert "not of a pairs.csv" in fails("convert", pictures, tmp_path / "out", *ignored)
    assert not (tmp_path / "out").exists()
