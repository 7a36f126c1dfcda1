"""Files that grow slice by slice are those that ITK writes as a whole."""

from __future__ import annotations

import gzip
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from napari_ct2mri.errors import ImageError
from napari_ct2mri.imaging.formats import NOTES_KEY, VOLUME_ENDINGS, meaning_label
from napari_ct2mri.imaging.io import growing_volume, read_volume, write_volume
from napari_ct2mri.imaging.volume import Geometry, Volume, to_sitk

RNG = np.random.default_rng(3)
TURN = np.linalg.qr(RNG.normal(size=(3, 3)))[0]
GRID = Geometry((2.5, 0.7, 0.8), (10.0, -20.0, 3.3), tuple(float(v) for v in TURN.ravel()))


def volume(slices: int = 7, dtype: type = np.float32) -> Volume:
    """A volume that lies askew."""
    data = (RNG.normal(size=(slices, 5, 6)) * 90).astype(dtype)
    return Volume(data, GRID, "MR", "arbitrary")


def by_itk(written: Volume, path: Path) -> None:
    """The whole, as ITK writes it."""
    image = to_sitk(written)
    image.SetMetaData(NOTES_KEY, meaning_label(written))
    sitk.WriteImage(image, str(path))


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, unpacked."""
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    return {k: gzip.decompress(v) if k.endswith(".gz") else v for k, v in files.items()}


@pytest.mark.parametrize("ending", VOLUME_ENDINGS)
@pytest.mark.parametrize("dtype", [np.int16, np.uint8, np.float32, np.float64, bool, np.float16])
@pytest.mark.parametrize("slices", [1, 2, 7])
def test_the_bytes_are_those_of_itk(tmp_path: Path, ending: str, dtype: type, slices: int) -> None:
    whole = volume(slices, dtype)
    (tmp_path / "itk").mkdir()
    by_itk(whole, tmp_path / "itk" / f"a{ending}")
    with growing_volume(tmp_path / "ours" / f"a{ending}", whole) as put:
        for start in range(0, slices, 3):
            put(whole.data[start : start + 3])
    assert content(tmp_path / "ours") == content(tmp_path / "itk")


def test_slices_are_in_the_file_before_the_last_is_made(tmp_path: Path) -> None:
    whole = Volume(RNG.normal(size=(3, 64, 64)).astype(np.float32))
    with growing_volume(tmp_path / "a.nii", whole) as put:
        put(whole.data[:2])
        (growing,) = tmp_path.glob(".a.nii.*/a.nii")
        give_up = time.monotonic() + 60
        while growing.stat().st_size < whole.data[0].nbytes:
            assert time.monotonic() < give_up
            time.sleep(0.01)
        assert not (tmp_path / "a.nii").exists()
        put(whole.data[2:])
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii").data, whole.data)


@pytest.mark.parametrize("error", [RuntimeError("the network's own"), KeyboardInterrupt()])
def test_an_error_while_it_grows_leaves_what_was_there(
    tmp_path: Path, error: BaseException
) -> None:
    path, before = tmp_path / "a.nii.gz", volume()
    write_volume(before, path)

    def grow() -> None:
        with growing_volume(path, before) as put:
            put(before.data[:3])
            raise error

    with pytest.raises(type(error)):
        grow()
    np.testing.assert_array_equal(read_volume(path).data, before.data)
    assert [file.name for file in tmp_path.iterdir()] == ["a.nii.gz"]


def test_a_volume_that_stops_short_is_none(tmp_path: Path) -> None:
    def grow() -> None:
        with growing_volume(tmp_path / "a.nii", volume()) as put:
            put(volume(3).data)

    with pytest.raises(ValueError, match="expected 7 slices, got 3"):
        grow()
    assert list(tmp_path.iterdir()) == []


def test_more_slices_than_nifti_counts(tmp_path: Path) -> None:
    deep = Volume(np.zeros((2**15, 2, 2), np.uint8))
    with pytest.raises(ImageError, match="NIfTI counts up to 32767 slices, this volume has 32768"):
        write_volume(deep, tmp_path / "a.nii.gz")
    write_volume(deep, tmp_path / "a.nrrd")
    assert read_volume(tmp_path / "a.nrrd").data.shape == deep.data.shape


def test_the_same_volume_packs_to_the_same_bytes(tmp_path: Path) -> None:
    whole, files = volume(), [tmp_path / folder / "a.nii.gz" for folder in ("one", "two")]
    for file in files:
        write_volume(whole, file)
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("name", ["A.NII", "A.NII.GZ", "A.NRRD", "A.MHA", "A.MHD", "kopf-ä b.mhd"])
def test_endings_in_capitals_and_names_in_other_letters(tmp_path: Path, name: str) -> None:
    whole = volume(dtype=np.int16)
    write_volume(whole, tmp_path / name)
    read = read_volume(tmp_path / name)
    np.testing.assert_array_equal(read.data, whole.data)
    assert read.geometry.is_close(whole.geometry)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are text")
@pytest.mark.parametrize("name", ["k\udcff.nii.gz", "k\udcff"])
def test_a_name_that_itk_cannot_be_told_ends_no_process(tmp_path: Path, name: str) -> None:
    grey = Volume(np.zeros((1, 4, 4), np.uint8), unit="grey")
    with pytest.raises(ImageError, match="its name is not UTF-8; rename it"):
        write_volume(grey, tmp_path / name)
    assert list(tmp_path.iterdir()) == []
    write_volume(grey, tmp_path / "k.nii.gz")
    (tmp_path / "k.nii.gz").rename(tmp_path / "k\udcff.nii.gz")
    with pytest.raises(ImageError, match="its name is not UTF-8; rename it"):
        read_volume(tmp_path / "k\udcff.nii.gz")
