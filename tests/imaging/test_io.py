from __future__ import annotations

import gzip
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from errno import EACCES
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from napari_ct2mri.errors import ImageError
from napari_ct2mri.imaging import pictures
from napari_ct2mri.imaging.io import (
    find,
    picture_files,
    read_listed,
    read_volume,
    scan,
    write_volume,
)
from napari_ct2mri.imaging.volume import Geometry, Volume

from .dicom_files import write_series
from .geometries import geometries, places

RNG = np.random.default_rng(1)
CT = RNG.integers(-3024, 3000, (3, 4, 5)).astype(np.int16)
GREY = RNG.integers(0, 256, (3, 6, 8)).astype(np.uint8)
FORMATS = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd")
OBLIQUE = Geometry(
    (5.0, 0.7, 0.4), (-120.5, 33.3, 1.25), (0.6, -0.8, 0.0, 0.8, 0.6, 0.0, 0.0, 0.0, 1.0)
)


def save(array: NDArray[Any], path: Path, *, is_vector: bool = False) -> Path:
    """An image file that says nothing of what it holds."""
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=is_vector), str(path))
    return path


def one_line(error: pytest.ExceptionInfo[ImageError], path: Path) -> bool:
    return str(error.value).startswith(str(path)) and "\n" not in str(error.value)


# ---------------------------------------------------------------- round trips


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    geometries(),
    st.sampled_from(FORMATS),
    st.sampled_from(["int16", "uint8", "uint16", "int32", "float32", "float64"]),
    st.integers(1, 3),
)
def test_volumes_survive_a_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
    geometry: Geometry,
    ending: str,
    dtype: str,
    slices: int,
) -> None:
    path = tmp_path_factory.getbasetemp() / f"round{ending}"
    volume = Volume(CT[:slices].astype(dtype), geometry, "CT", "HU")
    write_volume(volume, path)
    back = read_volume(path)
    np.testing.assert_array_equal(back.data, volume.data)
    assert back.data.dtype == volume.data.dtype
    tolerance = 1e-4 if "nii" in ending else 1e-12  # mm
    np.testing.assert_allclose(places(back), places(volume), rtol=1e-12, atol=tolerance)
    assert (back.modality, back.unit, back.notes) == ("CT", "HU", ())


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize(("modality", "unit"), [("MR", "arbitrary"), ("unknown", "grey")])
def test_files_we_wrote_need_no_guess(
    tmp_path: Path, ending: str, modality: Any, unit: Any
) -> None:
    write_volume(Volume(GREY, modality=modality, unit=unit), tmp_path / f"a{ending}")
    back = read_volume(tmp_path / f"a{ending}")
    assert (back.modality, back.unit, back.notes) == (modality, unit, ())


def test_packed_and_unpacked_file_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for ending, data in ((".nii", CT), (".nii.gz", CT + 1)):
        write_volume(Volume(data), tmp_path / f"a{ending}")
    for ending, data in ((".nii", CT), (".nii.gz", CT + 1)):
        np.testing.assert_array_equal(read_volume(tmp_path / f"a{ending}").data, data)


def test_nifti_is_ras_on_disk(tmp_path: Path) -> None:
    write_volume(Volume(CT, OBLIQUE), tmp_path / "a.nii")
    header = (tmp_path / "a.nii").read_bytes()
    rows = np.frombuffer(header[280:328], "<f4").reshape(3, 4)  # NIfTI-1 srow_x, srow_y, srow_z
    lps = OBLIQUE.affine[:3][:, [2, 1, 0, 3]]  # for index (x, y, z, 1)
    np.testing.assert_allclose(rows, lps * [[-1], [-1], [1]], atol=1e-5)


def test_converting_carries_no_patient_data_along(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "volumes" / "head_mr_oriented.mha"
    assert b"0010|0010" in source.read_bytes()  # it names a patient
    for ending in FORMATS[2:]:
        write_volume(read_volume(source), tmp_path / f"a{ending}")
        assert b"0010|" not in (tmp_path / f"a{ending}").read_bytes()


# ---------------------------------------------------------------- what a file is


@pytest.mark.parametrize(
    ("name", "lowest", "modality", "unit", "says"),
    [
        ("a.nii", -1000, "CT", "HU", "taken for CT by its values"),
        ("t1_of_a.nii.gz", -1000, "CT", "HU", "taken for CT by its values"),
        ("CT_a.nii", 0, "CT", "arbitrary", "are not HU"),
        ("ct-a.nii", -30, "CT", "HU", "air .-1000. is missing"),
        ("sub-1_T2w.nii.gz", 0, "MR", "arbitrary", "taken for MR by its name"),
        ("active.nii", 0, "MR", "arbitrary", "taken for MR by its values"),
    ],
)
def test_modality_is_guessed_aloud(
    tmp_path: Path, name: str, lowest: int, modality: str, unit: str, says: str
) -> None:
    path = save(np.clip(CT, lowest, None), tmp_path / name)
    volume = read_volume(path)
    assert (volume.modality, volume.unit) == (modality, unit)
    assert any(
        says.replace(".", "") in note.translate({40: None, 41: None}) for note in volume.notes
    )


def test_modality_given_needs_no_guess(tmp_path: Path) -> None:
    path = save(CT, tmp_path / "a.nii")
    assert read_volume(path, modality="MR").notes == ()
    assert read_volume(path, modality="MR").unit == "arbitrary"
    assert read_volume(path, modality="CT").unit == "HU"


@pytest.mark.parametrize("ending", FORMATS)
def test_a_stated_modality_is_not_overruled(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    write_volume(Volume(CT, OBLIQUE, "CT", "HU"), path)
    with pytest.raises(ImageError, match="states that it is CT, expected MR") as raised:
        read_volume(path, modality="MR")
    assert one_line(raised, path)
    assert read_volume(path, modality="CT").notes == ()


def test_what_is_stated_unknown_is_taken_as_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.nrrd"
    write_volume(Volume(GREY, unit="grey"), path)
    asked = read_volume(path, modality="CT")
    assert (asked.modality, asked.unit) == ("CT", "grey")
    assert asked.notes == ("the file states modality unknown, taken for CT as asked",)


def test_scan_reads_the_header_only(tmp_path: Path) -> None:
    write_volume(Volume(CT, OBLIQUE, "CT", "HU"), tmp_path / "a.nrrd")
    (series,) = scan(tmp_path / "a.nrrd")
    assert (series.kind, series.modality, series.shape) == ("NRRD", "CT", CT.shape)
    assert series.spacing == pytest.approx(OBLIQUE.spacing)


def test_a_folder_of_volumes_is_a_choice(tmp_path: Path) -> None:
    for name in ("a.nii", "b.mha"):
        save(CT, tmp_path / name)
    with pytest.raises(ImageError, match=r"\(1\).*'a\.nii'.*\(2\).*'b\.mha'") as raised:
        read_volume(tmp_path)
    assert one_line(raised, tmp_path)
    assert read_volume(tmp_path, series="2").source.path.endswith("b.mha")


def test_several_paths_list_what_they_name_and_nothing_else(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    positions = np.arange(3)[:, None] * [0.0, 0.0, 2.0]
    write_series(one / "old scan", CT, positions)  # found by a search of the folder, and alone
    slices = write_series(other, CT, positions, uid="2.25.7")
    volume = save(CT, one / "ct.nii.gz")
    picture = save(GREY[0], other / "picture.png")
    save(CT, one / "beside.nrrd")
    (one / "notes.txt").write_text("no image")
    found = scan(volume, slices[2], picture, slices[0], one / "notes.txt", tmp_path / "none.nii")
    assert [(series.kind, series.description) for series in found] == [
        *(("DICOM", "head"), ("NIfTI", "ct.nii.gz"), ("picture", "picture.png")),
        *(("file", "notes.txt"), ("file", "none.nii")),
    ]
    assert sorted(found[0].files) == sorted((slices[0], slices[2]))
    assert found[3].refusal.startswith("not an image this program reads")
    assert found[4].refusal.startswith("does not exist")
    with pytest.raises(ImageError, match="not an image") as raised:
        read_listed(found[3], one / "notes.txt")
    assert one_line(raised, one / "notes.txt")
    inner = scan(one / "old scan", volume, one / "old scan" / "IM0", one / "old scan")
    assert [(series.kind, len(series.files)) for series in inner] == [("DICOM", 3), ("NIfTI", 1)]


def test_slices_by_themselves_name_a_file_only_where_they_are_all_that_is_there(
    tmp_path: Path,
) -> None:
    """What names a file and a series is read again from there: it must be the same volume."""
    positions = np.arange(3)[:, None] * [0.0, 0.0, 2.0]
    files = write_series(tmp_path, CT, positions, uid="2.25.7")
    for chosen, path in ((files, str(tmp_path)), (files[:2], "")):
        ((_, read),) = find(*chosen)
        source = read(None).source
        assert (source.path, source.series_uid) == (path, "2.25.7")
        assert len(source.slices.files) == len(chosen)


def test_what_was_listed_is_read_whatever_came_beside_it(tmp_path: Path) -> None:
    positions = np.arange(3)[:, None] * [0.0, 0.0, 2.0]
    write_series(tmp_path / "b", CT, positions, uid="2.25.2")
    (series,) = scan(tmp_path)
    write_series(tmp_path / "a", CT[:, ::-1], positions, uid="2.25.1")
    np.testing.assert_array_equal(read_listed(series, tmp_path).data, CT)
    first, _ = scan(tmp_path)
    for file in (tmp_path / "a").iterdir():
        file.unlink()
    with pytest.raises(ImageError, match="'head' is no longer there as it was listed") as raised:
        read_listed(first, tmp_path)
    assert one_line(raised, tmp_path)


def test_of_the_stacks_of_a_series_the_listed_one_is_read(tmp_path: Path) -> None:
    """They are counted by their length, and more may have come."""
    lower = np.arange(2)[:, None] * [0.0, 0.0, 2.0]
    write_series(tmp_path / "few", CT[:2, :, :4], lower, uid="2.25.2")
    (few,) = scan(tmp_path)
    assert few.uid == "2.25.2"
    write_series(tmp_path / "many", CT, np.arange(3)[:, None] * [0.0, 0.0, 2.0], uid="2.25.2")
    assert [series.uid for series in scan(tmp_path)] == ["2.25.2", "2.25.2#2"]
    np.testing.assert_array_equal(read_listed(few, tmp_path).data, CT[:2, :, :4])


def test_a_file_that_was_listed_is_read_by_itself(tmp_path: Path) -> None:
    save(CT, tmp_path / "b.nrrd")
    (series,) = scan(tmp_path)
    save(CT + 1, tmp_path / "a.nrrd")
    write_series(tmp_path / "scan", CT + 2, np.arange(3)[:, None] * [0.0, 0.0, 2.0])
    np.testing.assert_array_equal(read_listed(series, tmp_path).data, CT)
    (tmp_path / "b.nrrd").unlink()
    with pytest.raises(ImageError, match="does not exist") as raised:
        read_listed(series, tmp_path)
    assert one_line(raised, tmp_path / "b.nrrd")


def test_real_volumes(real_data: Path) -> None:
    avm = read_volume(real_data / "volumes" / "CT_AVM.nii.gz")
    assert (avm.data.shape, avm.modality, avm.unit) == ((154, 242, 256), "CT", "arbitrary")
    mr = read_volume(real_data / "volumes" / "head_mr_oriented.mha")
    assert (mr.data.shape, mr.modality, mr.notes) == ((3, 256, 256), "MR", ())
    assert mr.geometry.matrix[1, 2] == pytest.approx(0.884442)
    ct, t1 = (
        read_volume(real_data / "templates" / name)
        for name in ("scct_2mm.nii", "MNI152_T1_2mm.nii.gz")
    )
    assert ct.geometry.is_close(t1.geometry)
    asked = read_volume(real_data / "templates" / "scct_2mm.nii", modality="CT")
    assert asked.unit == "arbitrary"
    assert "are not HU" in asked.notes[0]


# ---------------------------------------------------------------- bad files


def test_a_text_file_a_missing_path_and_an_empty_folder(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no image")
    (tmp_path / "empty").mkdir()
    for path, says in (
        (text, "not an image this program reads"),
        (tmp_path / "nothing.nii", "does not exist"),
        (tmp_path / "empty", "no image among its 0 files"),
    ):
        with pytest.raises(ImageError, match=says) as raised:
            read_volume(path)
        assert one_line(raised, path)


@pytest.mark.parametrize("ending", [*FORMATS, ".png", ".jpg", ".tif"])
@pytest.mark.parametrize("content", [b"", b"no image at all, only words" * 30])
def test_an_ending_alone_makes_no_image(
    tmp_path: Path, ending: str, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"a{ending}"
    path.write_bytes(content)
    with pytest.raises(ImageError) as raised:
        read_volume(path)
    assert one_line(raised, path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("share", [0.3, 0.8, 0.995])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha", ".png", ".tif"])
def test_a_truncated_file_is_refused(
    tmp_path: Path, ending: str, share: float, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"a{ending}"
    noise = RNG.integers(0, 256, (1, 80, 80)).astype(np.uint8)
    write_volume(Volume(noise, unit="grey"), path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(ImageError) as raised:
        read_volume(path)
    assert one_line(raised, path)
    assert capfd.readouterr() == ("", "")


def test_a_bit_flipped_in_a_gzip_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    write_volume(Volume(RNG.integers(0, 9999, (20, 60, 60)).astype(np.int16)), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ImageError, match="damaged"):
        read_volume(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ending", FORMATS)
def test_nan_is_counted_and_refused(tmp_path: Path, ending: str, dtype: type, value: float) -> None:
    data = CT.astype(dtype)
    data[1, 2, 3] = data[0, 0, 0] = value
    path = save(data, tmp_path / f"a{ending}")
    with pytest.raises(ImageError, match="2 of 60 voxels are NaN or infinite") as raised:
        read_volume(path)
    assert one_line(raised, path)


def test_big_endian_nifti_with_nan(tmp_path: Path) -> None:
    data = CT.astype(">f4")
    header = bytearray(352)
    for offset, values, dtype in (
        (0, [348], ">i4"), (40, [3, 5, 4, 3, 1, 1, 1, 1], ">i2"), (70, [16, 32], ">i2"),
        (76, [1.0] * 8, ">f4"), (108, [352.0, 1.0], ">f4"), (252, [1, 0], ">i2"),
    ):  # fmt: skip
        block = np.array(values, dtype).tobytes()
        header[offset : offset + len(block)] = block
    header[344:348] = b"n+1\0"
    path = tmp_path / "a.nii"
    path.write_bytes(bytes(header) + data.tobytes())
    np.testing.assert_array_equal(read_volume(path).data, data)
    data[0, 0, 0] = np.nan
    path.write_bytes(bytes(header) + data.tobytes())
    with pytest.raises(ImageError, match="1 of 60 voxels are NaN"):
        read_volume(path)


def test_dimensions_channels_and_complex_numbers(tmp_path: Path) -> None:
    four = save(np.zeros((2, 3, 4, 5), np.float32), tmp_path / "four.nii.gz")
    vector = save(np.zeros((3, 4, 5, 3), np.uint8), tmp_path / "vector.mha", is_vector=True)
    complex_ = save(np.zeros((3, 4, 5), np.complex64), tmp_path / "complex.mha")
    for path, says in ((four, "4 dimensions of 5x4x3x2"), (vector, "3 values"), (complex_, "comp")):
        with pytest.raises(ImageError, match=says) as raised:
            read_volume(path)
        assert one_line(raised, path)
    flat = save(CT[None], tmp_path / "flat.nii.gz")  # a fourth axis of length 1 means nothing
    np.testing.assert_array_equal(read_volume(flat).data, CT)
    np.testing.assert_array_equal(read_volume(save(CT[0], tmp_path / "2d.mha")).data, CT[:1])


def test_sheared_axes_are_refused(tmp_path: Path) -> None:
    for ending, upright, sheared in (
        (".nrrd", b"(1,0,0)", b"(1,1,0)"),
        (".mha", b"TransformMatrix = 1 0 0", b"TransformMatrix = 1 1 0"),
    ):
        path = tmp_path / f"a{ending}"
        write_volume(Volume(CT), path)
        assert upright in path.read_bytes()
        path.write_bytes(path.read_bytes().replace(upright, sheared))
        with pytest.raises(ImageError, match=r"not orthonormal.*resample") as raised:
            read_volume(path)
        assert one_line(raised, path)


@pytest.mark.parametrize(
    ("ending", "field"), [(".nrrd", rb"space directions:.*\n"), (".mha", rb"ElementSpacing.*\n")]
)
def test_a_spacing_that_is_not_stated_is_not_taken_in_silence(
    tmp_path: Path, ending: str, field: bytes
) -> None:
    path = tmp_path / f"a{ending}"
    write_volume(Volume(CT), path)
    note = "spacing not stated, taken for 1 mm along every axis"
    assert note not in read_volume(path).notes
    bare, count = re.subn(field, b"", path.read_bytes())
    assert count == 1
    path.write_bytes(bare)
    assert note in read_volume(path).notes


def test_nifti_without_orientation_says_what_is_assumed(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    write_volume(Volume(CT), path)
    content = bytearray(path.read_bytes())
    content[252:256] = bytes(4)  # qform_code, sform_code
    path.write_bytes(content)
    assert "orientation not stated" in read_volume(path).notes[0]


def test_a_header_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mha"
    write_volume(Volume(CT), path)
    content = path.read_bytes()
    assert b"DimSize = 5 4 3" in content
    path.write_bytes(content.replace(b"DimSize = 5 4 3", b"DimSize = 50000 40000 3"))
    with pytest.raises(ImageError, match="claims 6000000000 values"):
        read_volume(path)


# ---------------------------------------------------------------- pictures


def test_folders_of_pictures_are_read_in_natural_order(tmp_path: Path) -> None:
    for name, level in (("s10.png", 10), ("s9.png", 9), ("S1.PNG", 1)):
        save(np.full((6, 8), level, np.uint8), tmp_path / "p.png").rename(tmp_path / name)
    (tmp_path / ".hidden.png").write_text("")
    (tmp_path / "notes.txt").write_text("")
    assert [file.name for file in picture_files(tmp_path)] == ["S1.PNG", "s9.png", "s10.png"]
    volume = read_volume(tmp_path)
    assert volume.data[:, 0, 0].tolist() == [1, 9, 10]
    assert (volume.unit, volume.modality, volume.geometry) == ("grey", "unknown", Geometry())
    assert scan(tmp_path)[0].shape == (3, 6, 8)


@pytest.mark.parametrize(
    ("ending", "channels"),
    [(e, n) for e in (".png", ".tif", ".bmp", ".jpg") for n in (1, 3)] + [(".png", 4), (".tif", 4)],
)
def test_colour_files_that_are_grey(tmp_path: Path, ending: str, channels: int) -> None:
    smooth = np.add.outer(np.arange(48), np.arange(64)).astype(np.uint8)
    stack = np.stack([smooth] * channels, axis=-1)
    stack[..., 3:] = 255
    save(stack.squeeze(), tmp_path / f"a{ending}", is_vector=channels > 1)
    volume = read_volume(tmp_path / f"a{ending}")
    assert volume.data.dtype == np.uint8
    lossy = 3 if ending == ".jpg" else 0
    assert np.abs(volume.data[0].astype(int) - smooth).max() <= lossy


def test_coloured_and_transparent_pictures_are_refused(tmp_path: Path) -> None:
    coloured = np.stack([GREY[0]] * 3, axis=-1)
    coloured[2:4, 2:4] = (255, 0, 0)  # an arrow drawn on the scan
    clear = np.stack([GREY[0]] * 4, axis=-1)
    for name, array, says in (("c.png", coloured, "8.3% of its"), ("t.png", clear, "transparent")):
        path = save(array, tmp_path / name, is_vector=True)
        with pytest.raises(ImageError, match=says) as raised:
            read_volume(path)
        assert one_line(raised, path)


def test_pictures_of_one_folder_share_their_size(tmp_path: Path) -> None:
    save(GREY[0], tmp_path / "1.png")
    save(GREY[0, :4], tmp_path / "2.png")
    for read in (read_volume, scan):  # before the first is decoded
        with pytest.raises(ImageError, match=r"2\.png: 8x4 pixels, but 1\.png has 8x6"):
            read(tmp_path)


def test_a_folder_of_pictures_has_the_pages_of_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(GREY[0], tmp_path / "1.png")
    save(GREY, tmp_path / "2.tif")
    (series,) = scan(tmp_path)
    assert series.shape == read_volume(tmp_path).data.shape == (len(GREY) + 1, *GREY.shape[1:])
    monkeypatch.setattr(pictures, "MAX_VOXELS", GREY.size)
    with pytest.raises(ImageError, match=r"4 pictures of 8x6 pixels, expected at most 144"):
        scan(tmp_path)


def test_a_picture_is_read_by_its_content(tmp_path: Path) -> None:
    Image.fromarray(GREY[0]).save(tmp_path / "a.png", "TIFF")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.png").data[0], GREY[0])


@pytest.mark.parametrize("ending", ["png", "nii", "nii.gz", "nrrd", "mha"])
def test_hdf5_is_read_under_no_name(tmp_path: Path, ending: str) -> None:
    """ITK would, and its voxels may be in any file."""
    path = tmp_path / f"a.{ending}"
    save(GREY, tmp_path / "a.h5").rename(path)
    with pytest.raises(ImageError, match=r"not a .* file, or a damaged one") as raised:
        read_volume(path)
    assert one_line(raised, path)


def test_sixteen_bits_keep_their_steps(tmp_path: Path) -> None:
    levels = RNG.integers(0, 65536, (6, 8)).astype(np.uint16)
    levels[0, :2] = 0, 65535
    volume = read_volume(save(levels, tmp_path / "a.png"))
    assert volume.data.dtype == np.float32
    assert (volume.data.min(), volume.data.max()) == (0, 255)
    write_volume(volume, tmp_path / "b.png")
    again = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "b.png")))
    np.testing.assert_array_equal(again, levels)


def test_pages_of_a_tiff_are_slices(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_volume(save(GREY, tmp_path / "a.tif")).data, GREY)


def test_pictures_that_are_not_8_or_16_bits(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="pixels are float32, expected 8 or 16 bits"):
        read_volume(save(GREY[0].astype(np.float32), tmp_path / "a.tif"))


def test_folder_of_folders_says_which_to_open(tmp_path: Path) -> None:
    for name in ("CT", "T1"):
        (tmp_path / name).mkdir()
        save(GREY[0], tmp_path / name / "1.png")
    with pytest.raises(ImageError, match="open one of its folders of pictures"):
        read_volume(tmp_path)


def test_real_pictures(real_data: Path) -> None:
    volume = read_volume(real_data / "k18" / "01" / "CT")  # RGB and RGBA with a soft rim
    assert volume.data.shape[1:] == (512, 512)
    assert (volume.data.dtype, volume.unit) == (np.uint8, "grey")


# ---------------------------------------------------------------- writing


def test_a_folder_of_pictures_keeps_given_names(tmp_path: Path) -> None:
    volume = Volume(GREY, unit="grey")
    names = ["x10.jpg", "x2.png", "deep/x1.1"]
    write_volume(volume, tmp_path / "new" / "out", names=names)
    assert {f.name for f in (tmp_path / "new" / "out").iterdir()} == {
        "x1.1.png",
        "x2.png",
        "x10.png",
    }
    back = read_volume(tmp_path / "new" / "out")
    np.testing.assert_array_equal(back.data, GREY[[2, 1, 0]])  # natural order
    write_volume(volume, tmp_path / "plain")
    np.testing.assert_array_equal(read_volume(tmp_path / "plain").data, GREY)


def test_grey_values_are_rounded_and_clipped(tmp_path: Path) -> None:
    data = np.array([[[-5.0, 0.4, 0.6, 254.7, 300.0]]], np.float32)
    write_volume(Volume(data, unit="grey"), tmp_path / "a.png")
    assert read_volume(tmp_path / "a.png").data.tolist() == [[[0, 0, 1, 255, 255]]]


@pytest.mark.parametrize(
    ("name", "volume", "names", "says"),
    [
        ("a.xyz", Volume(CT), None, "unknown ending"),
        ("a.png", Volume(GREY, unit="grey"), None, "one picture holds one slice"),
        ("a.png", Volume(CT[:1], unit="HU"), None, "this volume is in HU"),
        ("folder", Volume(CT), None, "this volume is in arbitrary units"),
        ("folder", Volume(GREY, unit="grey"), ["a.png"], "expected 3 different picture names"),
        ("folder", Volume(GREY, unit="grey"), ["a.png", "b.png", "b.jpg"], "of which 2 differ"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(
    tmp_path: Path, name: str, volume: Volume, names: list[str] | None, says: str
) -> None:
    with pytest.raises(ImageError, match=says) as raised:
        write_volume(volume, tmp_path / name, names=names)
    assert one_line(raised, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@contextmanager
def full_disk(size_bytes: int) -> Iterator[None]:
    """No file grows beyond ``size_bytes``, as on a disk with no more room."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.mhd", "a.png", "dir"])
def test_a_full_disk_keeps_what_was_there(tmp_path: Path, name: str) -> None:
    says = r"(disk is full|File too large); nothing was changed"
    small = Volume(GREY[:1], unit="grey")
    write_volume(small, tmp_path / name)
    before = {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}
    noise = RNG.integers(0, 256, (1, 150, 150)).astype(np.uint8)
    with full_disk(9000), pytest.raises(ImageError, match=says):
        write_volume(replace(small, data=noise), tmp_path / name)
    assert {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()} == before
    assert not [f for f in tmp_path.iterdir() if f.name[0] == "."]


def test_a_folder_in_the_way_of_one_picture_leaves_the_others(tmp_path: Path) -> None:
    volume = Volume(GREY, unit="grey")
    write_volume(volume, tmp_path / "folder")
    (tmp_path / "folder" / "slice_0002.png").unlink()
    (tmp_path / "folder" / "slice_0002.png").mkdir()
    before = {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}
    with pytest.raises(ImageError, match=r"slice_0002.png is a folder there; nothing was changed"):
        write_volume(replace(volume, data=255 - GREY), tmp_path / "folder")
    assert {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()} == before


def test_what_was_replaced_before_an_error_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, move = Volume(GREY, unit="grey"), Path.replace
    write_volume(volume, tmp_path / "folder")

    def refuse(self: Path, target: Path) -> Path:
        if self.name == "slice_0003.png":
            raise PermissionError(EACCES, "Permission denied")
        return move(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(ImageError, match=r"slice_0003.png: .*denied; 2 of 3 .*slice_0002.png$"):
        write_volume(volume, tmp_path / "folder")


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ImageError, match="could not be written: Not a directory"):
        write_volume(Volume(CT), tmp_path / "file" / "a.nii")


def test_a_gzip_file_that_unpacks_to_far_more_than_its_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.nii.gz"
    write_volume(Volume(CT), path)
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + bytes(2**26)))
    with pytest.raises(ImageError, match=r"bomb\.nii\.gz: holds far more"):
        read_volume(path)


def test_gzip_really_compresses(tmp_path: Path) -> None:
    write_volume(Volume(CT), tmp_path / "a.nii.gz")
    assert len(gzip.decompress((tmp_path / "a.nii.gz").read_bytes())) == 352 + CT.nbytes


@pytest.mark.parametrize("names", ["%s 1 3 1", "a%n.raw 1 3 1", "a%5000d.raw 1 3 1", "%d%d 1 3 1"])
def test_a_pattern_of_names_that_metaio_would_crash_on_is_refused(
    tmp_path: Path, names: str
) -> None:
    write_volume(Volume(CT), tmp_path / "a.mhd")
    header = (tmp_path / "a.mhd").read_text()
    (tmp_path / "b.mhd").write_text(header.replace("= a.raw", f"= {names}"))
    with pytest.raises(ImageError, match=r"is no pattern of names as name%03d.raw") as raised:
        read_volume(tmp_path / "b.mhd")
    assert one_line(raised, tmp_path / "b.mhd")


def test_a_pattern_of_names_is_read(tmp_path: Path) -> None:
    write_volume(Volume(CT), tmp_path / "a.mhd")
    header = (tmp_path / "a.mhd").read_text()
    for number, slice_ in enumerate(CT, start=1):
        (tmp_path / f"slice{number:03d}.raw").write_bytes(np.ascontiguousarray(slice_).tobytes())
    pattern = f"= slice%03d.raw 1 {len(CT)} 1"
    (tmp_path / "b.mhd").write_text(header.replace("= a.raw", pattern))
    np.testing.assert_array_equal(read_volume(tmp_path / "b.mhd").data, CT)
