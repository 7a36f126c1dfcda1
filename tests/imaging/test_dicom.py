from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.uid import DeflatedExplicitVRLittleEndian
from scipy.ndimage import binary_erosion, map_coordinates

from napari_ct2mri.errors import ImageError
from napari_ct2mri.imaging import dicom, dicom_header
from napari_ct2mri.imaging.dicom import find_stacks, read_stack
from napari_ct2mri.imaging.dicom_header import read_header
from napari_ct2mri.imaging.io import read_volume, scan
from napari_ct2mri.imaging.volume import Volume, to_sitk

from .dicom_files import PATIENT, PATIENT_ID, write_series, write_slice
from .geometries import angles, places, rotation

RNG = np.random.default_rng(0)
SLICES = RNG.integers(-1024, 3000, (5, 6, 7), dtype=np.int16)
UP = np.array([0.0, 0.0, 1.0])


def stack_of(n: int, step: float = 2.0) -> NDArray[np.float64]:
    """(n, 3) positions along z, mm."""
    return np.arange(n)[:, None] * step * UP


def ramp(world: NDArray[np.float64]) -> NDArray[np.float64]:
    """An image that linear interpolation gives back exactly: a plane in the world, HU."""
    return world @ (7.0, -5.0, 11.0) + 40


def ramp_series(
    folder: Path, positions: NDArray[np.float64], cosines: NDArray[np.float64], **tags: Any
) -> None:
    """Slices of :func:`ramp`, 24 x 20 pixels of 0.5 x 0.7 mm."""
    row, column = cosines.reshape(2, 3)
    y, x = np.indices((24, 20))
    within = y[..., None] * 0.5 * column + x[..., None] * 0.7 * row
    slices = np.rint(ramp(positions[:, None, None] + within)).astype(np.int16)
    write_series(folder, slices, positions, cosines, **tags)


def assert_is_ramp(volume: Volume) -> None:
    """Where slices reached, values are those of the world; elsewhere there is air."""
    inside = volume.data > volume.data.min()
    core = binary_erosion(inside, np.ones((1, 5, 5)))  # the rim mixes with what lies outside
    assert core.mean() > 0.3
    error = np.abs(volume.data - ramp(places(volume)))[core]
    assert error.max() <= 1.01  # both the slices and the result are rounded to whole HU


# ---------------------------------------------------------------- order and geometry


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(angles, st.tuples(*[st.floats(0.3, 5)] * 3), st.randoms(use_true_random=False))
def test_slices_in_any_order_and_pose(
    tmp_path_factory: pytest.TempPathFactory,
    turn: tuple[float, float, float],
    spacing: tuple[float, float, float],
    random: Any,
) -> None:
    folder = tmp_path_factory.mktemp("series")
    matrix = rotation(*turn)
    positions = np.arange(5)[:, None] * spacing[0] * matrix[:, 2] + (-100.0, 20.0, 3.0)
    numbers = random.sample(range(100), 5)
    for number, pixels, position in zip(numbers, SLICES, positions, strict=True):
        depth = Path(*"abc"[: random.randrange(4)])
        write_slice(
            folder / depth / f"f{number}",
            pixels,
            position,
            matrix[:, :2].T,
            spacing=spacing[1:],
            InstanceNumber=number,
        )
    volume = read_volume(folder)
    np.testing.assert_array_equal(volume.data, SLICES)
    assert volume.data.dtype == np.int16
    expected = np.eye(4)
    expected[:3, :3] = (matrix * spacing[::-1])[:, ::-1]
    expected[:3, 3] = positions[0]
    np.testing.assert_allclose(volume.geometry.affine, expected, rtol=0, atol=1e-6)
    assert (volume.modality, volume.unit, volume.notes) == ("CT", "HU", ())


def test_a_single_file_is_a_volume_of_one_slice(tmp_path: Path) -> None:
    file = write_series(tmp_path, SLICES, stack_of(5))[2]
    volume = read_volume(file)
    np.testing.assert_array_equal(volume.data, SLICES[2:3])
    assert volume.geometry.spacing == (2.5, 0.5, 0.7)
    assert volume.geometry.origin == (0.0, 0.0, 4.0)


def test_a_lone_slice_without_geometry_says_what_is_assumed(tmp_path: Path) -> None:
    silent = {"ImagePositionPatient": None, "ImageOrientationPatient": None, "PixelSpacing": None}
    file = write_slice(tmp_path / "a", SLICES[0], **silent)
    volume = read_volume(file)
    assert volume.geometry.spacing == (2.5, 1.0, 1.0)
    assert "1 mm assumed" in volume.notes[0]


def test_several_slices_without_position_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path, SLICES, stack_of(5), ImagePositionPatient=None)
    with pytest.raises(ImageError, match="cannot be put in order"):
        read_volume(tmp_path)


# ---------------------------------------------------------------- tilt, gaps, uneven steps


@pytest.mark.parametrize("angle", [-18.5, 5.0, 30.0])
def test_gantry_tilt_is_straightened_in_the_world(tmp_path: Path, angle: float) -> None:
    tilt = np.deg2rad(angle)
    cosines = np.array([1, 0, 0, 0, np.cos(tilt), -np.sin(tilt)])
    ramp_series(tmp_path, stack_of(9) + np.array([-30.0, 12.0, 5.0]), cosines)
    volume = read_volume(tmp_path)
    assert_is_ramp(volume)
    assert f"tilt of {abs(angle):.1f} degrees" in volume.notes[0]
    assert volume.geometry.spacing[0] == pytest.approx(2 * np.cos(tilt), abs=1e-6)
    assert scan(tmp_path)[0].shape == volume.data.shape


def test_oblique_tilted_and_uneven_at_once(tmp_path: Path) -> None:
    matrix = rotation(0.2, -0.3, 0.1)
    moves = np.array([0, 2, 4, 5, 8.5, 12])[:, None] * (matrix[:, 2] + 0.15 * matrix[:, 0])
    ramp_series(tmp_path, moves + np.array([4.0, 5.0, 6.0]), matrix[:, :2].T.ravel())
    volume = read_volume(tmp_path)
    assert_is_ramp(volume)
    assert len(volume.notes) == 2
    assert "uneven slice steps of 1.00 to 3.50 mm" in volume.notes[1]


def test_slices_shifted_irregularly(tmp_path: Path) -> None:
    positions = stack_of(7) + np.array([0, 1, -1.3, 2.2, 0, 0, 1])[:, None] * (1.0, 0.0, 0.0)
    ramp_series(tmp_path, positions, np.array([1, 0, 0, 0, 1.0, 0]))
    volume = read_volume(tmp_path)
    assert_is_ramp(volume)
    assert "irregularly" in volume.notes[0]


def test_a_missing_slice_is_filled_and_the_others_kept(tmp_path: Path) -> None:
    here = [0, 1, 3, 4]
    write_series(tmp_path, SLICES[here], stack_of(5)[here])
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.data[here], SLICES[here])
    between = (SLICES[1].astype(float) + SLICES[3]) / 2
    assert np.abs(volume.data[2] - between).max() <= 0.5
    assert "uneven slice steps of 2.00 to 4.00 mm: 4 slices resampled to 5" in volume.notes[0]


def test_positions_rounded_by_the_scanner_are_even(tmp_path: Path) -> None:
    steps = np.array([0, 2.01, 3.99, 6.0, 8.0])
    write_series(tmp_path, SLICES, steps[:, None] * UP)
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.data, SLICES)
    assert volume.notes == ()


def test_a_wide_gap_is_refused(tmp_path: Path) -> None:
    positions = stack_of(5)
    positions[3:] += 40 * UP
    write_series(tmp_path, SLICES, positions)
    with pytest.raises(ImageError, match=r"gap of 42\.0 mm after slice 3 of 5"):
        read_volume(tmp_path)


def test_two_series_a_hair_apart_are_not_one_of_a_thousand_slices(tmp_path: Path) -> None:
    positions = np.concatenate([stack_of(5), stack_of(5) + 0.02 * UP])
    write_series(tmp_path, np.concatenate([SLICES, SLICES]), positions)
    with pytest.raises(ImageError, match=r"10 slices over 8 mm.*only 0\.02 mm apart.*split"):
        read_volume(tmp_path)


def test_slices_that_do_not_overlap_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path, SLICES, stack_of(5) + np.arange(5)[:, None] * (9.0, 0, 0))
    with pytest.raises(ImageError, match="hardly overlap"):
        read_volume(tmp_path)


# ---------------------------------------------------------------- duplicates, several series


def test_copies_at_one_position_are_left_out(tmp_path: Path) -> None:
    write_series(tmp_path, SLICES, stack_of(5), uid="1.2.3")
    write_slice(tmp_path / "copy", SLICES[3], stack_of(5)[3], uid="1.2.3")
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.data, SLICES)
    assert "1 position occupied twice" in volume.notes[0]


def test_different_images_at_one_position_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path, SLICES, stack_of(5), uid="1.2.3")
    write_slice(tmp_path / "other", SLICES[3] + 1, stack_of(5)[3], uid="1.2.3")
    with pytest.raises(ImageError, match="at one position but differ"):
        read_volume(tmp_path)


def test_echoes_of_one_series_are_two_stacks(tmp_path: Path) -> None:
    for echo, offset in (("10", 0), ("90", 7)):
        write_series(
            tmp_path / echo, SLICES + offset, stack_of(5), uid="1.2.3", EchoTime=echo, Modality="MR"
        )
    assert [series.uid for series in scan(tmp_path)] == ["1.2.3", "1.2.3#2"]
    with pytest.raises(ImageError, match="holds several series"):
        read_volume(tmp_path)
    np.testing.assert_array_equal(read_volume(tmp_path, series="2").data, SLICES + 7)
    np.testing.assert_array_equal(read_volume(tmp_path, series="1.2.3").data, SLICES)


def test_several_series_are_listed_and_one_is_picked(tmp_path: Path) -> None:
    names = ("thin bone", "brain")
    for number, name in enumerate(names, start=1):
        write_series(
            tmp_path, SLICES + number, stack_of(5), uid=f"1.2.{number}77", SeriesNumber=number,
            SeriesDescription=name,
        )  # fmt: skip
        for file in tmp_path.glob("IM*"):
            file.rename(tmp_path / f"{number}-{file.name}.x")
    with pytest.raises(ImageError, match=r"\(1\) CT 'thin bone'.*\(2\) CT 'brain'") as raised:
        read_volume(tmp_path)
    assert "\n" not in str(raised.value)
    for key, number in (("1", 1), ("1.2.277", 2), ("277", 2), ("1.2.1", 1)):
        np.testing.assert_array_equal(read_volume(tmp_path, series=key).data, SLICES + number)
    for wrong in ("3", "77", "9.9", ""):
        with pytest.raises(ImageError, match="choose one by its number or UID"):
            read_volume(tmp_path, series=wrong)


def test_mixed_orientations_are_separate_stacks(tmp_path: Path) -> None:
    write_series(tmp_path / "a", SLICES, stack_of(5), uid="1.2.3")
    write_series(tmp_path / "s", SLICES[:2], stack_of(2)[:, ::-1], (0, 1, 0, 0, 0, -1), uid="1.2.3")
    assert [series.shape for series in scan(tmp_path)] == [(5, 6, 7), (2, 6, 7)]


def test_scouts_are_left_out_with_a_word(tmp_path: Path) -> None:
    write_series(tmp_path, SLICES, stack_of(5), uid="1.2.3")
    scout = write_slice(
        tmp_path / "scout", SLICES[0], cosines=(1, 0, 0, 0, 0, -1), uid="1.2.3",
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
    )  # fmt: skip
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.data, SLICES)
    assert "1 file left out: a scout" in volume.notes[0]
    with pytest.raises(ImageError, match="a scout"):
        read_volume(scout)


# ---------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("tags", "dtype", "scale"),
    [
        ({"RescaleIntercept": "-1024"}, np.int16, (1, -1024)),
        ({"RescaleSlope": "2", "RescaleIntercept": "-8192"}, np.int16, (2, -8192)),
        ({"RescaleSlope": "20"}, np.int32, (20, 0)),
        ({"RescaleSlope": "0.5", "RescaleIntercept": "-1000.25"}, np.float32, (0.5, -1000.25)),
    ],
)
def test_hounsfield_units_without_clipping(
    tmp_path: Path, tags: dict[str, str], dtype: type, scale: tuple[float, float]
) -> None:
    stored = SLICES.copy()
    stored[:, 0, 0] = -2000  # padding below air
    write_series(tmp_path, stored, stack_of(5), **tags)
    volume = read_volume(tmp_path)
    assert volume.data.dtype == dtype
    np.testing.assert_array_equal(volume.data, stored.astype(np.float64) * scale[0] + scale[1])


def test_slope_that_differs_from_slice_to_slice(tmp_path: Path) -> None:
    slopes = ("1", "0.5", "2", "1", "0.25")
    for i, slope in enumerate(slopes):
        write_slice(tmp_path / str(i), SLICES[i], stack_of(5)[i], RescaleSlope=slope)
    expected = SLICES * np.array(slopes, np.float64)[:, None, None]
    np.testing.assert_array_equal(read_volume(tmp_path).data, expected)


def test_more_slices_than_are_decoded_at_once_and_a_wide_one_late(tmp_path: Path) -> None:
    planes = RNG.integers(-1000, 1000, (37, 4, 5)).astype(np.int16)
    paths = write_series(tmp_path, planes, stack_of(37))
    assert read_volume(tmp_path).data.dtype == np.int16
    np.testing.assert_array_equal(read_volume(tmp_path).data, planes)
    late = pydicom.dcmread(paths[30])
    late.RescaleIntercept = "40000"
    late.save_as(paths[30])
    values = planes.astype(np.int32)
    values[30] += 40000
    assert read_volume(tmp_path).data.dtype == np.int32
    np.testing.assert_array_equal(read_volume(tmp_path).data, values)


IMPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
TWELVE_BITS = {"BitsStored": 12, "HighBit": 11}


def pixels_in(low: int, high: int, dtype: str) -> NDArray[Any]:
    """(3, 6, 7) numbers from ``low`` to ``high``, both of which occur."""
    values = RNG.integers(low, high + 1, (3, 6, 7)).astype(dtype)
    values[1, 2, 3], values[2, 3, 4] = low, high
    return values


@pytest.mark.parametrize(
    ("pixels", "tags"),
    [
        (pixels_in(-2000, 3000, "int16"), {}),
        (pixels_in(0, 4095, "uint16"), {**TWELVE_BITS, "RescaleIntercept": "-1024"}),
        (pixels_in(-2048, 2047, "int16"), {**TWELVE_BITS, "RescaleIntercept": "-1.000"}),
        (pixels_in(0, 65535, "uint16"), {"RescaleIntercept": "-32768"}),
        (pixels_in(1000, 40000, "uint16"), {"RescaleSlope": "1.0", "RescaleIntercept": "-8192"}),
        (pixels_in(-2000, 3000, "int16"), {"syntax": IMPLICIT}),
    ],
)
def test_plain_pixels_are_read_as_the_decoder_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pixels: NDArray[Any], tags: dict[str, Any]
) -> None:
    files = write_slices(tmp_path, pixels, tags)
    monkeypatch.setattr(dicom, "_decode", lambda files: pytest.fail("was decoded"))
    plain = read_volume(tmp_path)
    monkeypatch.undo()
    assert all(read_header(file).plain for file in files)
    assert_same(plain, decoded(tmp_path, monkeypatch))
    np.testing.assert_array_equal(
        plain.data, pixels.astype(int) + int(float(tags.get("RescaleIntercept", 0)))
    )


@pytest.mark.parametrize(
    ("pixels", "tags"),
    [
        (pixels_in(0, 60000, "uint16"), {}),  # beyond int16
        (pixels_in(-2000, 3000, "int16"), {"RescaleIntercept": "-32000"}),
        (pixels_in(0, 0x8FFF, "uint16"), TWELVE_BITS),  # an overlay in bits that are not in use
        (pixels_in(0, 4095, "int16"), TWELVE_BITS),  # a sign in bit 11 and not in those above
        (pixels_in(-99, 99, "int16"), {"RescaleSlope": "2"}),
        (pixels_in(-99, 99, "int16"), {"RescaleIntercept": "-0.5"}),
        (pixels_in(-99, 99, "int16"), {"RescaleSlope": None, "RescaleIntercept": None}),
        (pixels_in(0, 99, "uint16"), {"PhotometricInterpretation": "MONOCHROME1"}),
        (pixels_in(0, 99, "uint16"), {"HighBit": 11, "BitsStored": 8}),
        (pixels_in(0, 99, "int16"), {"Modality": "MR", "RescaleIntercept": "5"}),
        (pixels_in(-99, 99, "int16"), {"syntax": BIG_ENDIAN}),
    ],
)
def test_what_is_not_plain_is_left_to_the_decoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pixels: NDArray[Any], tags: dict[str, Any]
) -> None:
    write_slices(tmp_path, pixels, tags)
    passed_on = []
    decode = dicom._decode
    monkeypatch.setattr(dicom, "_decode", lambda files: passed_on.append(files) or decode(files))
    volume = read_volume(tmp_path)
    monkeypatch.undo()
    assert passed_on
    assert_same(volume, decoded(tmp_path, monkeypatch))


def test_a_file_that_goes_or_shrinks_after_the_scan_is_named(tmp_path: Path) -> None:
    files = write_slices(tmp_path, pixels_in(-99, 99, "int16"), {})
    (stack,) = find_stacks(files)
    assert all(header.plain for header in stack.headers)
    files[0].write_bytes(files[0].read_bytes()[:-9])
    with pytest.raises(ImageError, match=f"{files[0].name}.*cannot be decoded"):
        read_stack(stack, tmp_path)
    files[0].unlink()
    with pytest.raises(ImageError, match=f"{files[0].name}.*cannot be decoded"):
        read_stack(stack, tmp_path)


def write_slices(folder: Path, pixels: NDArray[Any], tags: dict[str, Any]) -> list[Path]:
    """A series whose files may be in another transfer syntax than the usual one."""
    syntax = tags.get("syntax")
    tags = {key: value for key, value in tags.items() if key != "syntax"}
    files = write_series(folder, pixels, stack_of(len(pixels)), **tags)
    for file, plane in zip(files, pixels, strict=True):
        if syntax is not None:
            slice_ = pydicom.dcmread(file)
            slice_.file_meta.TransferSyntaxUID = syntax
            order = ">" if syntax == BIG_ENDIAN else "<"
            slice_.PixelData = plane.astype(plane.dtype.newbyteorder(order)).tobytes()
            implicit, little = syntax == IMPLICIT, syntax != BIG_ENDIAN
            pydicom.dcmwrite(file, slice_, implicit_vr=implicit, little_endian=little)
    return files


def decoded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Volume:
    """As SimpleITK decodes it, whatever it is."""
    with monkeypatch.context() as patch:
        patch.setattr(dicom, "_read_plain", lambda header, out: False)
        return read_volume(folder)


def assert_same(a: Volume, b: Volume) -> None:
    assert a.data.dtype == b.data.dtype
    np.testing.assert_array_equal(a.data, b.data)
    assert (a.geometry, a.modality, a.unit) == (b.geometry, b.modality, b.unit)
    assert a.notes == b.notes


def test_a_description_is_read_in_its_character_set(tmp_path: Path) -> None:
    write_series(
        tmp_path,
        SLICES,
        stack_of(5),
        SpecificCharacterSet=["", "ISO 2022 IR 100"],
        SeriesDescription="Schädel nativ",
    )
    assert scan(tmp_path)[0].description == "Schädel nativ"


def test_mr_is_arbitrary(tmp_path: Path) -> None:
    write_series(tmp_path, SLICES, stack_of(5), Modality="MR", RescaleSlope="2")
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.data, SLICES * 2)
    assert (volume.modality, volume.unit) == ("MR", "arbitrary")


@pytest.mark.parametrize(("stated", "asked"), [("CT", "MR"), ("MR", "CT")])
def test_a_stated_modality_is_not_overruled(tmp_path: Path, stated: Any, asked: Any) -> None:
    write_series(tmp_path, SLICES, stack_of(5), Modality=stated)
    with pytest.raises(ImageError, match=f"states that it is {stated}, expected {asked}") as raised:
        read_volume(tmp_path, modality=asked)
    assert "\n" not in str(raised.value)
    assert read_volume(tmp_path, modality=stated).modality == stated


def test_what_is_stated_neither_ct_nor_mr_is_taken_as_asked(tmp_path: Path) -> None:
    write_series(tmp_path, SLICES, stack_of(5), Modality="OT")
    assert read_volume(tmp_path).modality == "unknown"
    asked = read_volume(tmp_path, modality="CT")
    assert (asked.modality, asked.unit) == ("CT", "HU")
    assert asked.notes == ("the file states modality OT, taken for CT as asked",)


def test_a_ct_that_is_not_in_hu_says_so(tmp_path: Path) -> None:
    write_series(tmp_path, SLICES, stack_of(5), RescaleType="US")
    volume = read_volume(tmp_path)
    assert volume.unit == "arbitrary"
    assert "not in HU" in volume.notes[0]


# ---------------------------------------------------------------- refused and damaged


@pytest.mark.parametrize(
    ("tags", "says"),
    [
        ({"NumberOfFrames": 3}, "3 frames in one file"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "a colour image"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "a colour image"),
        ({"Rows": 0}, "holds no image"),
        ({"Rows": 65000}, "at most 16384 a side"),
        ({"ImageOrientationPatient": ["1", "0", "0", "1", "0", "0"]}, "right-angled"),
    ],
)
def test_what_is_not_one_grey_slice_is_refused(
    tmp_path: Path, tags: dict[str, Any], says: str
) -> None:
    file = write_slice(tmp_path / "a", SLICES[0], **tags)
    with pytest.raises(ImageError, match=says) as raised:
        read_volume(file)
    assert "\n" not in str(raised.value)


def test_a_file_cut_off_is_named(tmp_path: Path) -> None:
    files = write_series(tmp_path, SLICES, stack_of(5))
    files[3].write_bytes(files[3].read_bytes()[:-20])
    with pytest.raises(ImageError, match=f"{files[3]}: its pixels cannot be decoded"):
        read_volume(tmp_path)


def test_a_file_cut_off_in_its_header_is_left_out_aloud(tmp_path: Path) -> None:
    files = write_series(tmp_path, SLICES, stack_of(5))
    files[0].write_bytes(files[0].read_bytes()[:200])
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.data, SLICES[1:])
    assert "1 file left out" in volume.notes[0]
    with pytest.raises(ImageError, match="holds no image, or is cut off"):
        read_volume(files[0])


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_damaged_bytes_never_raise_anything_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    file = tmp_path_factory.getbasetemp() / "damaged"
    content = bytearray(write_slice(file, SLICES[0], SOPInstanceUID="1.2.3.4").read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(132, len(content) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(content[: data.draw(st.integers(140, len(content)))])
    said = ""
    try:
        read_volume(file)
    except ImageError as error:
        said = str(error)
    assert "\n" not in said


def test_a_small_file_does_not_inflate_without_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_slice(tmp_path / "a.dcm", SLICES[0])
    deflated = pydicom.dcmread(file)
    deflated.private_block(9, "us", create=True).add_new(1, "OB", bytes(2**20))
    deflated.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    deflated.save_as(file)
    content = file.read_bytes()
    assert len(content) < 2**15
    for after in (b"", b"\0", b"\0" * 2**17):
        file.write_bytes(content + after)
        np.testing.assert_array_equal(read_volume(file).data[0], SLICES[0])
    monkeypatch.setattr(dicom_header, "_MAX_INFLATED", 2**20)
    inflated: list[bytes] = []
    monkeypatch.setattr(
        pydicom.filereader.zlib, "decompress", lambda data, _: inflated.append(data)
    )
    with pytest.raises(ImageError, match=r"unpacks to more than 1 MiB, far more") as raised:
        scan(file)
    assert str(raised.value).startswith(f"{file}: ")
    assert not inflated


def test_no_patient_data_gets_out(tmp_path: Path) -> None:
    files = write_series(tmp_path, SLICES, stack_of(5))
    volume = read_volume(tmp_path)
    said = [repr(scan(tmp_path)), repr(volume.notes), repr(volume.source)]
    files[0].write_bytes(files[0].read_bytes()[:-20])
    with pytest.raises(ImageError) as raised:
        read_volume(tmp_path)
    for text in (*said, str(raised.value)):
        assert PATIENT not in text
        assert PATIENT_ID not in text


# ---------------------------------------------------------------- real series


def test_real_head_ct(real_data: Path) -> None:
    import SimpleITK as sitk

    folder = real_data / "head_ct_dicom"
    volume = read_volume(folder)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    theirs = reader.Execute()
    np.testing.assert_array_equal(volume.data, sitk.GetArrayFromImage(theirs))
    assert volume.data.dtype == np.int16
    assert volume.data.min() == -3024  # padding is kept
    ours = to_sitk(volume)
    assert ours.GetOrigin() == pytest.approx(theirs.GetOrigin(), abs=1e-9)
    assert ours.GetSpacing() == pytest.approx(theirs.GetSpacing(), abs=1e-9)
    assert ours.GetDirection() == pytest.approx(theirs.GetDirection(), abs=1e-9)
    assert (volume.modality, volume.unit, volume.notes) == ("CT", "HU", ())


def test_real_tilted_head_lies_where_its_slices_say(real_data: Path) -> None:
    """Each file's pixels, at the places its own header gives, against the volume there."""
    import pydicom

    folder = real_data / "head_ct_dicom_tilted"
    volume = read_volume(folder)
    assert "tilt of 18.5 degrees" in volume.notes[0]
    assert "1.08 to 7.00 mm" in volume.notes[1]
    to_index = np.linalg.inv(volume.geometry.affine)
    y, x = np.mgrid[0:512:8, 0:512:8]
    errors = []
    for file in sorted(folder.glob("*.dcm")):
        slice_ = pydicom.dcmread(file)
        row, column = np.array(slice_.ImageOrientationPatient, float).reshape(2, 3)
        mm = float(slice_.PixelSpacing[0])
        world = np.array(slice_.ImagePositionPatient, float) + mm * (
            x[..., None] * row + y[..., None] * column
        )
        index = (world @ to_index[:3, :3].T + to_index[:3, 3]).transpose(2, 0, 1)
        found = map_coordinates(volume.data.astype(np.float32), index, order=1, mode="nearest")
        truth = slice_.pixel_array[y, x].astype(np.float32) + float(slice_.RescaleIntercept)
        tissue = truth > -500
        errors.append(float(np.abs(found - truth)[tissue].mean()))
    # slices of the finer half lie on the grid; of the coarser, between its steps: partial volume.
    # A reader that ignores the tilt is 70 to 570 HU off.
    assert max(errors[:14]) < 8
    assert max(errors) < 100


WHOLE = {  # smallest and largest value, modality
    "693_J2KI.dcm": (-3995, 1812, "CT"),
    "CT_small.dcm": (-896, 1167, "CT"),
    "J2K_pixelrep_mismatch.dcm": (-2000, 1896, "CT"),
    "MR_small_RLE.dcm": (127, 2145, "MR"),
    "MR_small_bigendian.dcm": (127, 2145, "MR"),
    "MR_small_jpeg_ls_lossless.dcm": (127, 2145, "MR"),
    "image_dfl.dcm": (0, 255, "unknown"),
    "dicomdir_98892001": (-888, 85, "CT"),
}

REFUSED = {
    "JPEG2000-embedded-sequence-delimiter.dcm": "cannot be decoded",
    "MR_truncated.dcm": "cannot be decoded: the file is truncated",
    "SC_rgb_rle_2frame.dcm": "a colour image",
    "liver_1frame.dcm": "Segmentation: holds labels",
    "meta_missing_tsyntax.dcm": "holds no image, or is cut off",
    "no_meta.dcm": "not an image this program reads",
    "rtstruct.dcm": "RT Structure Set: holds no image",
}


def test_every_real_bad_input_is_expected_here(real_data: Path) -> None:
    found = {path.name for path in (real_data / "bad_inputs").iterdir()}
    assert found == WHOLE.keys() | REFUSED.keys()


@pytest.mark.parametrize("name", WHOLE)
def test_unusual_but_whole_files(
    real_data: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    volume = read_volume(real_data / "bad_inputs" / name)
    assert (volume.data.min(), volume.data.max(), volume.modality) == WHOLE[name]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", REFUSED)
def test_broken_files_are_refused_in_one_line(
    real_data: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = real_data / "bad_inputs" / name
    with pytest.raises(ImageError, match=REFUSED[name]) as raised:
        read_volume(path)
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)
    assert capfd.readouterr() == ("", "")


def test_codecs_agree_on_the_same_slice(real_data: Path) -> None:
    names = ("MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_jpeg_ls_lossless.dcm")
    first, *others = (read_volume(real_data / "bad_inputs" / name).data for name in names)
    for other in others:
        np.testing.assert_array_equal(first, other)


def test_a_dicomdir_stands_for_its_folder(real_data: Path, tmp_path: Path) -> None:
    from shutil import copytree

    disc = copytree(real_data / "bad_inputs" / "dicomdir_98892001", tmp_path / "disc")
    disc.chmod(0o755)
    (disc / "DICOMDIR").write_bytes(b"not even read")
    series = scan(disc / "DICOMDIR")
    assert [bool(s.refusal) for s in series] == [True, False]
    assert len(series[1].files) == 5
