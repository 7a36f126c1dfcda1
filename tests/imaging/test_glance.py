"""One slice of a series as a picture, and that no other is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from napari_ct2mri.errors import ImageError
from napari_ct2mri.imaging.formats import read_file
from napari_ct2mri.imaging.glance import Glance, glance
from napari_ct2mri.imaging.io import scan, write_volume
from napari_ct2mri.imaging.volume import Geometry, Modality, Unit, Volume

from .dicom_files import write_series

OBLIQUE = Geometry((4.0, 1.5, 0.75), (-40.0, -50.0, 12.5), (-0.8, 0.6, 0, 0.6, 0.8, 0, 0, 0, -1))
SAGITTAL = Geometry((3.0, 0.5, 1.0), (9.0, 8.0, 7.0), (0, 0, 1, 1, 0, 0, 0, -1, 0))
"""Slices from right to left, rows from top to bottom, columns from front to back."""


def look(path: Path, side_px: int = 96) -> Glance:
    (series,) = scan(path)
    return glance(series, side_px)


def quadrants(slices: int = 5, rows: int = 40, columns: int = 80) -> NDArray[np.int16]:
    """HU: air, but for the middle slice, which has a bright corner where both indices are 0."""
    data = np.full((slices, rows, columns), -1000, np.int16)
    data[slices // 2] = 0
    data[slices // 2, : rows // 2, : columns // 2] = 80
    return data


def bright_corner(picture: NDArray[np.uint8]) -> tuple[bool, bool]:
    """Whether it is at the bottom, and whether at the right."""
    y, x = np.argwhere(picture > 200).mean(axis=0)
    return y > picture.shape[0] / 2, x > picture.shape[1] / 2


@pytest.mark.parametrize(
    ("grid", "corner", "shape"),
    [
        # millimetres of a slice: 60 x 60; its columns run to the right, so that it is mirrored
        (OBLIQUE, (False, True), (96, 96)),
        # millimetres: 20 x 80, the head's top up
        (SAGITTAL, (False, False), (24, 96)),
    ],
    ids=["oblique", "sagittal"],
)
def test_the_middle_slice_is_upright_with_square_pixels(
    tmp_path: Path, grid: Geometry, corner: tuple[bool, bool], shape: tuple[int, int]
) -> None:
    write_volume(Volume(quadrants(), grid, "CT", "HU"), tmp_path / "ct.nrrd")
    seen = look(tmp_path / "ct.nrrd")
    assert seen.picture.shape == shape
    assert bright_corner(seen.picture) == corner
    assert set(np.unique(seen.picture[2:-2, 2:-2])) >= {0, 255}
    assert (seen.modality, seen.notes) == ("CT", ())


def test_of_a_dicom_series_one_file_is_read(tmp_path: Path) -> None:
    files = write_series(tmp_path / "series", quadrants(), np.arange(5)[:, None] * [0.0, 0.0, 2.0])
    (series,) = scan(tmp_path)
    for file in files:
        if file != series.files[2]:
            file.unlink()
    seen = glance(series, 40)
    assert max(seen.picture.shape) == 40
    assert bright_corner(seen.picture) == (False, False)
    assert seen.modality == "CT"


def test_pictures_keep_their_greys(tmp_path: Path) -> None:
    greys = np.arange(0, 240, dtype=np.uint8).reshape(12, 20)
    for name in ("1.png", "2.png", "3.png"):
        Image.fromarray(greys if name == "2.png" else 255 - greys).save(tmp_path / name)
    seen = look(tmp_path, side_px=20)
    np.testing.assert_array_equal(seen.picture, greys)
    assert seen.modality == "unknown"


def test_what_a_file_does_not_say_is_guessed_and_said(tmp_path: Path) -> None:
    import SimpleITK as sitk

    sitk.WriteImage(sitk.GetImageFromArray(quadrants()), str(tmp_path / "scan.nii"))
    seen = look(tmp_path / "scan.nii")
    assert seen.modality == "MR"  # by the middle slice, which has no air
    assert any("taken for MR" in note for note in seen.notes)


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_a_flat_mr_is_black(tmp_path: Path, value: float) -> None:
    flat = Volume(np.full((3, 4, 5), value, np.float32), OBLIQUE, "MR", "arbitrary")
    write_volume(flat, tmp_path / "mr.mha")
    assert not look(tmp_path / "mr.mha").picture.any()


def test_a_damaged_slice_is_named(tmp_path: Path) -> None:
    write_series(tmp_path, quadrants(), np.arange(5)[:, None] * [0.0, 0.0, 2.0])
    (series,) = scan(tmp_path)
    middle = series.files[2]
    middle.write_bytes(middle.read_bytes()[:-99])
    with pytest.raises(ImageError, match=middle.name):
        glance(series)


# ---------------------------------------------------------------- the middle of a file


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize(("modality", "unit"), [("CT", "HU"), ("MR", "arbitrary")])
def test_the_middle_of_a_file_is_a_volume_in_its_place(
    tmp_path: Path, ending: str, modality: Modality, unit: Unit
) -> None:
    data = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7) - 1000
    write_volume(Volume(data, OBLIQUE, modality, unit), tmp_path / f"a{ending}")
    middle = read_file(tmp_path / f"a{ending}", middle_only=True)
    np.testing.assert_array_equal(middle.data, data[2:3])
    place = OBLIQUE.affine @ (2, 0, 0, 1)
    np.testing.assert_allclose(middle.geometry.origin, place[:3], atol=1e-4)
    np.testing.assert_allclose(middle.geometry.spacing, OBLIQUE.spacing, atol=1e-4)
    np.testing.assert_allclose(middle.geometry.direction, OBLIQUE.direction, atol=1e-6)
    assert (middle.modality, middle.unit) == (modality, unit)


def test_the_middle_of_one_slice_is_itself(tmp_path: Path) -> None:
    one = Volume(np.arange(42, dtype=np.int16).reshape(1, 6, 7), OBLIQUE, "MR", "arbitrary")
    write_volume(one, tmp_path / "one.nrrd")
    np.testing.assert_array_equal(read_file(tmp_path / "one.nrrd", middle_only=True).data, one.data)


def test_what_is_cut_off_behind_the_middle_goes_unseen(tmp_path: Path) -> None:
    data = np.arange(5 * 60 * 70, dtype=np.int16).reshape(5, 60, 70)
    path = tmp_path / "cut.nii"
    write_volume(Volume(data, OBLIQUE, "MR", "arbitrary"), path)
    path.write_bytes(path.read_bytes()[: -data[0].nbytes])
    np.testing.assert_array_equal(read_file(path, middle_only=True).data, data[2:3])
    with pytest.raises(ImageError, match="cut"):
        read_file(path)
