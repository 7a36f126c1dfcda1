"""DICOM out: written by us, opened by pydicom, SimpleITK, dcm2niix, dciodvfy and ourselves."""

from __future__ import annotations

import resource
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
)

from napari_ct2mri.errors import ImageError
from napari_ct2mri.imaging.dicom_out import Derivation, dicom_writer
from napari_ct2mri.imaging.io import read_volume, write_volume
from napari_ct2mri.imaging.volume import Volume, closest_axes

from .dicom_files import write_series, write_slice
from .geometries import angles, rotation

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom.*")  # of odd tags, on purpose

RNG = np.random.default_rng(0)
SHAPE = (6, 9, 7)
HU = RNG.integers(-1024, 2000, SHAPE).astype(np.int16)
OBLIQUE = rotation(0.3, -0.2, 0.1)
T2 = Derivation("models/ct2mri-base.safetensors", "T2")
NAMELESS = replace(T2, patient_data=False)
FULL: dict[str, Any] = {
    "PatientName": "Doe^Jane^Q",
    "PatientID": "PID-4711",
    "IssuerOfPatientID": "Hospital-X",
    "PatientBirthDate": "19550412",
    "PatientSex": "F",
    "PatientAge": "069Y",
    "PatientWeight": "71.5",
    "StudyInstanceUID": "1.2.840.99999.1.1",
    "StudyDate": "20240229",
    "StudyTime": "101112.345",
    "AccessionNumber": "ACC-0815",
    "ReferringPhysicianName": "Strangelove^Dr",
    "StudyID": "ST-77",
    "StudyDescription": "Kopf nativ",
    "FrameOfReferenceUID": "1.2.840.99999.1.2",
    "SeriesNumber": 4,
    "PositionReferenceIndicator": "OM",
    "PatientPosition": "HFS",
    "BodyPartExamined": "HEAD",
    "Manufacturer": "Acme Scanners",
    "ManufacturerModelName": "Tube 9000",
    "InstitutionName": "St. Elsewhere",
    "StationName": "CT-ROOM-3",
    "DeviceSerialNumber": "SN-31337",
    "PatientComments": "left-handed",
}
IDENTIFYING = [str(FULL[key]) for key in FULL if key not in ("PatientPosition", "BodyPartExamined")]
IDENTIFYING = [text for text in IDENTIFYING if len(text) > 2]


def stack(n: int, step: float = 2.5, matrix: NDArray[np.float64] = OBLIQUE) -> NDArray[np.float64]:
    """(n, 3) mm along the normal."""
    return np.arange(n)[:, None] * step * matrix[:, 2] + (-40.25, 12.5, -3.125)


def ct_in(
    folder: Path,
    positions: NDArray[np.float64] | None = None,
    matrix: NDArray[np.float64] = OBLIQUE,
    **tags: Any,
) -> Volume:
    """A CT series of ``HU``, with all that a clinical one has, read."""
    places = stack(len(HU), matrix=matrix) if positions is None else positions
    write_series(folder, HU, places, matrix[:, :2].T, **{**FULL, **tags})
    return read_volume(folder)


def mr_of(ct: Volume) -> Volume:
    """As synthesis returns it: the same grid and source, 0 to 1000."""
    values = np.random.default_rng(1).uniform(0, 1000, ct.data.shape).astype(np.float32)
    values.flat[:2] = 0, 1000
    return Volume(values, ct.geometry, "MR", "arbitrary", replace(ct.source, series_uid=""))


def tilted() -> NDArray[np.float64]:
    """Slices that the table moved along z while they leaned by 17 degrees."""
    return np.arange(len(HU))[:, None] * 1.5 * np.array([0.0, 0.0, 1.0])


LEANING = rotation(0.3, 0.0, 0.0)


def uneven() -> NDArray[np.float64]:
    """Steps of 2 mm, then of 5."""
    return np.array([0.0, 2, 4, 9, 14, 19])[:, None] * OBLIQUE[:, 2]


def written(folder: Path) -> list[pydicom.Dataset]:
    """All files, by name."""
    return [pydicom.dcmread(file) for file in sorted(folder.iterdir())]


def program(name: str, package: str) -> str:
    """A program of the machine, or no test."""
    if not (path := shutil.which(name)):
        pytest.skip(f"{name} is not installed (Debian: {package})")
    return path


def faults(files: list[Path]) -> Counter[str]:
    """Errors that dciodvfy finds."""
    validator = program("dciodvfy", "dicom3tools")
    said: Counter[str] = Counter()
    for file in files:
        ran = subprocess.run(
            [validator, "-new", str(file)], capture_output=True, timeout=60, check=False
        )
        lines = (ran.stderr + ran.stdout).decode("latin-1").splitlines()
        assert "MRImage" in lines or "CTImage" in lines, lines  # it knew what it looked at
        said.update(line for line in lines if line.startswith("Error"))
    return said


# ---------------------------------------------------------------- geometry and voxels


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(angles, st.tuples(*[st.floats(0.3, 5)] * 3))
def test_read_back_in_any_pose(
    tmp_path_factory: pytest.TempPathFactory,
    turn: tuple[float, float, float],
    spacing: tuple[float, float, float],
) -> None:
    folder, matrix = tmp_path_factory.mktemp("series"), rotation(*turn)
    places = stack(len(HU), spacing[0], matrix)
    ct = ct_in(folder / "ct", places, matrix, spacing=spacing[1:])
    mr = mr_of(ct)
    write_volume(mr, folder / "mr.dcm", derivation=T2)
    back = read_volume(folder / "mr.dcm")
    np.testing.assert_array_equal(back.data, np.rint(mr.data))
    assert back.geometry == ct.geometry
    assert (back.modality, back.unit, back.notes) == ("MR", "arbitrary", ())


def test_planes_are_those_of_the_ct_digit_for_digit(tmp_path: Path) -> None:
    ct = ct_in(tmp_path / "ct")
    write_volume(mr_of(ct), tmp_path / "mr.dcm", derivation=T2)
    cts = [pydicom.dcmread(file) for file in ct.source.slices.files]
    for one, other in zip(cts, written(tmp_path / "mr.dcm"), strict=True):
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
            assert [float(v) for v in one[keyword].value] == [float(v) for v in other[keyword]]
        assert other.SliceThickness == one.SliceThickness
        assert float(other.SpacingBetweenSlices) == pytest.approx(2.5)


def test_simpleitk_sees_one_grid(tmp_path: Path) -> None:
    ct = ct_in(tmp_path / "ct")
    mr = mr_of(ct)
    write_volume(mr, tmp_path / "mr.dcm", derivation=T2)
    ct_image = sitk.ReadImage([str(file) for file in ct.source.slices.files])
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "mr.dcm"))
    image = sitk.ReadImage(names)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), np.rint(mr.data))
    assert image.GetPixelID() == sitk.sitkUInt16
    for get in ("GetSize", "GetOrigin", "GetSpacing", "GetDirection"):
        assert getattr(image, get)() == getattr(ct_image, get)()


@pytest.mark.parametrize(
    ("matrix", "positions"), [(LEANING, tilted()), (OBLIQUE, uneven())], ids=["tilted", "uneven"]
)
def test_what_was_resampled_lies_on_the_new_grid(
    tmp_path: Path, matrix: NDArray[np.float64], positions: NDArray[np.float64]
) -> None:
    ct = ct_in(tmp_path / "ct", positions, matrix)
    assert ct.notes
    mr = mr_of(ct)
    write_volume(mr, tmp_path / "mr.dcm", derivation=T2)
    back = read_volume(tmp_path / "mr.dcm")
    np.testing.assert_array_equal(back.data, np.rint(mr.data))
    assert back.geometry.is_close(ct.geometry, 1e-9)
    assert back.notes == ()
    for slice_ in written(tmp_path / "mr.dcm"):
        assert ct.notes[0][:30] in slice_.DerivationDescription
        assert slice_.DerivationCodeSequence[0].CodeValue == "113085"
        assert slice_.FrameOfReferenceUID == FULL["FrameOfReferenceUID"]
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "SliceThickness"):
            assert all(len(part) <= 16 for part in raw(slice_, keyword).split(b"\\"))


def raw(slice_: pydicom.Dataset, keyword: str) -> bytes:
    """A value as it stands in the file, without the padding."""
    value = slice_.get_item(keyword).value
    return value.rstrip(b" \0") if isinstance(value, bytes) else str(value).encode()


def test_as_the_viewer_turns_it(tmp_path: Path) -> None:
    sagittal = np.array([[0.0, 0, -1], [1, 0, 0], [0, -1, 0]])
    ct = ct_in(tmp_path / "ct", stack(len(HU), matrix=sagittal), sagittal)
    mr = mr_of(ct)
    turned, _ = closest_axes(mr)
    assert turned.data.shape != mr.data.shape
    write_volume(turned, tmp_path / "mr.dcm", derivation=T2)
    np.testing.assert_array_equal(read_volume(tmp_path / "mr.dcm").data, np.rint(mr.data))


def test_one_of_two_planes_and_a_copied_slice(tmp_path: Path) -> None:
    other = OBLIQUE[:, [1, 2, 0]]
    for part, matrix in (("a", OBLIQUE), ("b", other)):
        places = stack(len(HU), matrix=matrix)
        write_series(tmp_path / "ct" / part, HU, places, matrix[:, :2].T, uid="1.2.3.4", **FULL)
    shutil.copy(tmp_path / "ct" / "b" / "IM0", tmp_path / "ct" / "b" / "copy")
    notes = ("1 position occupied twice; copies are left out",), ()
    for number, note in zip("12", notes, strict=True):
        ct = read_volume(tmp_path / "ct", series=number)
        assert ct.notes == note
        write_volume(mr_of(ct), tmp_path / f"{number}.dcm", derivation=T2)
        back = read_volume(tmp_path / f"{number}.dcm")
        assert back.geometry == ct.geometry
        np.testing.assert_array_equal(back.data, np.rint(mr_of(ct).data))


def test_a_lone_slice_that_does_not_say_where_it_lies(tmp_path: Path) -> None:
    none = dict.fromkeys(("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"))
    write_slice(tmp_path / "ct", HU[0], **{**FULL, **none, "SliceThickness": "3"})
    ct = read_volume(tmp_path / "ct")
    write_volume(mr_of(ct), tmp_path / "mr.dcm", derivation=T2)
    assert read_volume(tmp_path / "mr.dcm").geometry == ct.geometry
    assert faults(list((tmp_path / "mr.dcm").iterdir())) == Counter()


# ---------------------------------------------------------------- what the files say


def test_it_is_a_synthetic_mr_of_its_own_series(tmp_path: Path) -> None:
    ct = ct_in(tmp_path / "ct")
    write_volume(mr_of(ct), tmp_path / "mr.dcm", derivation=T2)
    slices = written(tmp_path / "mr.dcm")
    assert [file.name for file in sorted((tmp_path / "mr.dcm").iterdir())] == [
        f"IM000{i}.dcm" for i in range(1, 7)
    ]
    for number, mr in enumerate(slices, start=1):
        assert mr.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert mr.file_meta.MediaStorageSOPInstanceUID == mr.SOPInstanceUID
        assert mr.SOPClassUID == mr.file_meta.MediaStorageSOPClassUID == MRImageStorage
        assert mr.Modality == "MR"
        assert mr.InstanceNumber == number
        assert list(mr.ImageType) == ["DERIVED", "SECONDARY", "OTHER"]
        assert (mr.ScanningSequence, mr.SequenceVariant) == ("RM", "NONE")
        for keyword in ("RepetitionTime", "EchoTime", "EchoTrainLength", "ScanOptions"):
            assert mr[keyword].is_empty
        assert mr["MRAcquisitionType"].is_empty
        assert "synthetic T2" in mr.SeriesDescription
        assert "ct2mri-base" in mr.DerivationDescription
        assert "models" not in mr.DerivationDescription  # a path may name a person
        assert "not for diagnosis" in mr.ImageComments
        assert "RescaleSlope" not in mr
        assert "RescaleIntercept" not in mr
        assert (mr.BitsAllocated, mr.BitsStored, mr.HighBit) == (16, 16, 15)
        assert mr.PixelRepresentation == 0
        assert (mr.WindowCenter, mr.WindowWidth) == (500, 1000)
        assert mr.BurnedInAnnotation == "NO"
        (maker,) = mr.ContributingEquipmentSequence
        assert maker.Manufacturer == mr.Manufacturer == "napari-ct2mri"
        assert maker.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
    own = [slices[0].SeriesInstanceUID, *(mr.SOPInstanceUID for mr in slices)]
    assert len(set(own)) == 1 + len(slices)
    assert all(UID(uid).is_valid and uid.startswith("2.25.") for uid in own)
    assert len({mr.SeriesInstanceUID for mr in slices}) == 1
    assert slices[0].SeriesNumber == 1004


def test_two_runs_differ_in_uids_alone(tmp_path: Path) -> None:
    ct = ct_in(tmp_path / "ct")
    uids: list[set[str]] = []
    bare = []
    for name in ("a.dcm", "b.dcm"):
        write_volume(mr_of(ct), tmp_path / name, derivation=T2)
        slices = written(tmp_path / name)
        uids.append({slices[0].SeriesInstanceUID, *(mr.SOPInstanceUID for mr in slices)})
        for mr in slices:
            del mr.SeriesInstanceUID, mr.SOPInstanceUID
        bare.append(slices)
    assert not uids[0] & uids[1]
    assert bare[0] == bare[1]


def test_each_slice_names_the_ct_image_in_its_place(tmp_path: Path) -> None:
    ct = ct_in(tmp_path / "ct")
    write_volume(mr_of(ct), tmp_path / "mr.dcm", derivation=T2)
    images = {str(d.SOPInstanceUID): d for d in map(pydicom.dcmread, ct.source.slices.files)}
    for mr in written(tmp_path / "mr.dcm"):
        (source,) = mr.SourceImageSequence
        image = images[source.ReferencedSOPInstanceUID]
        assert image.ImagePositionPatient == mr.ImagePositionPatient
        assert source.ReferencedSOPClassUID == CTImageStorage
        assert source.SpatialLocationsPreserved == "YES"
        assert source.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
        (series,) = mr.ReferencedSeriesSequence
        assert series.SeriesInstanceUID == ct.source.series_uid
        (instance,) = series.ReferencedInstanceSequence
        assert instance.ReferencedSOPInstanceUID == image.SOPInstanceUID


def test_between_two_ct_images_both_are_named(tmp_path: Path) -> None:
    ct = ct_in(tmp_path / "ct", uneven())
    write_volume(mr_of(ct), tmp_path / "mr.dcm", derivation=T2)
    depth = {
        str(d.SOPInstanceUID): float(np.array(d.ImagePositionPatient, float) @ OBLIQUE[:, 2])
        for d in map(pydicom.dcmread, ct.source.slices.files)
    }
    counts = []
    for mr in written(tmp_path / "mr.dcm"):
        own = float(np.array(mr.ImagePositionPatient, float) @ OBLIQUE[:, 2])
        sources = [depth[s.ReferencedSOPInstanceUID] for s in mr.SourceImageSequence]
        assert {s.SpatialLocationsPreserved for s in mr.SourceImageSequence} == {"NO"}
        below = max(d for d in depth.values() if d <= own + 1e-3)
        above = min(d for d in depth.values() if d >= own - 1e-3)
        assert sources == sorted({below, above})
        counts.append(len(sources))
    assert set(counts) == {1, 2}


def test_lossy_stays_lossy(tmp_path: Path) -> None:
    ct = ct_in(tmp_path / "ct", LossyImageCompression="01", LossyImageCompressionRatio="8.5")
    write_volume(mr_of(ct), tmp_path / "mr.dcm", derivation=T2)
    assert all(mr.LossyImageCompression == "01" for mr in written(tmp_path / "mr.dcm"))
    assert all(mr.LossyImageCompressionRatio == 8.5 for mr in written(tmp_path / "mr.dcm"))


# ---------------------------------------------------------------- the patient


def test_the_series_belongs_to_the_patient_and_study_of_its_ct(tmp_path: Path) -> None:
    ct = ct_in(tmp_path / "ct")
    write_volume(mr_of(ct), tmp_path / "mr.dcm", derivation=T2)
    for mr in written(tmp_path / "mr.dcm"):
        for keyword in (
            *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"),
            *("PatientAge", "PatientWeight", "StudyInstanceUID", "StudyDate", "StudyTime"),
            *("AccessionNumber", "ReferringPhysicianName", "StudyID", "StudyDescription"),
            *("FrameOfReferenceUID", "PositionReferenceIndicator", "PatientPosition"),
        ):
            assert raw(mr, keyword).decode() == FULL[keyword], keyword
        for keyword in ("InstitutionName", "StationName", "DeviceSerialNumber", "PatientComments"):
            assert keyword not in mr


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "Müller^Jörg"),
        ("ISO_IR 192", "王^小東"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("ISO_IR 144", "Люкceмбypг^Роза"),
    ],
)
def test_names_in_any_character_set(tmp_path: Path, charset: Any, name: str) -> None:
    ct = ct_in(tmp_path / "ct", SpecificCharacterSet=charset, PatientName=name)
    write_volume(mr_of(ct), tmp_path / "mr.dcm", derivation=T2)
    stored = raw(pydicom.dcmread(ct.source.slices.files[0]), "PatientName")
    for mr in written(tmp_path / "mr.dcm"):
        assert raw(mr, "PatientName") == stored
        assert str(mr.PatientName) == name
    assert faults(list((tmp_path / "mr.dcm").iterdir())[:1]) == Counter()


def test_what_the_ct_does_not_state_is_there_and_empty(tmp_path: Path) -> None:
    bare = dict.fromkeys((*FULL, "SeriesNumber"))
    ct = ct_in(tmp_path / "ct", **bare)
    write_volume(mr_of(ct), tmp_path / "mr.dcm", derivation=T2)
    slices = written(tmp_path / "mr.dcm")
    for mr in slices:
        for keyword in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate"):
            assert mr[keyword].is_empty
        assert mr.BodyPartExamined == "HEAD"
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID"):
        assert len({mr[keyword].value for mr in slices}) == 1
        assert UID(slices[0][keyword].value).is_valid
    assert faults(list((tmp_path / "mr.dcm").iterdir())) == Counter()


def test_without_patient_data_nothing_leads_back(tmp_path: Path) -> None:
    ct = ct_in(tmp_path / "ct")
    write_volume(mr_of(ct), tmp_path / "mr.dcm", derivation=NAMELESS)
    uids = {ct.source.series_uid}
    uids |= {str(pydicom.dcmread(file).SOPInstanceUID) for file in ct.source.slices.files}
    for file in (tmp_path / "mr.dcm").iterdir():
        content = file.read_bytes()
        for text in (*IDENTIFYING, *uids):
            if text != "OM":
                assert text.encode() not in content, text
    slices = written(tmp_path / "mr.dcm")
    assert len({mr.StudyInstanceUID for mr in slices}) == 1
    assert len({mr.FrameOfReferenceUID for mr in slices}) == 1
    for mr in slices:
        assert mr.PatientIdentityRemoved == "YES"
        assert mr.DeidentificationMethod
        assert mr["PatientName"].is_empty
        assert mr["PatientID"].is_empty
        assert mr["StudyDate"].is_empty
        assert "SourceImageSequence" not in mr
    np.testing.assert_array_equal(
        read_volume(tmp_path / "mr.dcm").data, np.rint(mr_of(ct).data).astype(int)
    )
    assert faults(list((tmp_path / "mr.dcm").iterdir())) == Counter()


def test_a_method_is_stated_where_the_ct_forgot_it(tmp_path: Path) -> None:
    ct = ct_in(tmp_path / "ct", PatientIdentityRemoved="YES", DeidentificationMethod="")
    write_volume(mr_of(ct), tmp_path / "mr.dcm", derivation=T2)
    assert written(tmp_path / "mr.dcm")[0].DeidentificationMethod == "not stated in the CT"
    assert faults(list((tmp_path / "mr.dcm").iterdir())) == Counter()


def test_no_patient_data_in_the_volume(tmp_path: Path) -> None:
    ct = ct_in(tmp_path / "ct")
    assert len(ct.source.slices.files) == len(HU)
    said = repr((ct.source, ct.notes, ct.geometry))
    assert not [text for text in IDENTIFYING if text in said]
    assert "IM" not in repr(ct.source)


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian], ids=["implicit", "deflated"]
)
def test_a_ct_in_another_encoding(tmp_path: Path, syntax: UID) -> None:
    ct_in(tmp_path / "ct")
    for file in (tmp_path / "ct").iterdir():
        slice_ = pydicom.dcmread(file)
        slice_.PatientIdentityRemoved = "YES"
        method = pydicom.Dataset()
        method.CodeValue, method.CodingSchemeDesignator = "113100", "DCM"
        method.CodeMeaning = "Basic Application Confidentiality Profile"
        slice_.DeidentificationMethodCodeSequence = [method]
        slice_.file_meta.TransferSyntaxUID = syntax
        slice_.save_as(file, implicit_vr=syntax.is_implicit_VR, little_endian=True)
    ct = read_volume(tmp_path / "ct")
    write_volume(mr_of(ct), tmp_path / "mr.dcm", derivation=T2)
    for mr in written(tmp_path / "mr.dcm"):
        assert mr.PatientName == FULL["PatientName"]
        assert mr.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
    assert faults(list((tmp_path / "mr.dcm").iterdir())) == Counter()


def test_a_character_set_that_nobody_knows(tmp_path: Path) -> None:
    ct_in(tmp_path / "ct")
    for file in (tmp_path / "ct").iterdir():
        slice_ = pydicom.dcmread(file)
        slice_.add_new(0x00080005, "CS", "ISO_IR 999")
        slice_.save_as(file)
    write_volume(mr_of(read_volume(tmp_path / "ct")), tmp_path / "mr.dcm", derivation=T2)
    mr = pydicom.dcmread(tmp_path / "mr.dcm" / "IM0001.dcm")
    assert raw(mr, "SpecificCharacterSet") == b"ISO_IR 999"
    assert raw(mr, "PatientName").decode() == FULL["PatientName"]


def test_an_overlong_value_is_left_out(tmp_path: Path) -> None:
    ct = ct_in(tmp_path / "ct", StudyDescription="x" * 5000)
    write_volume(mr_of(ct), tmp_path / "mr.dcm", derivation=T2)
    assert "StudyDescription" not in written(tmp_path / "mr.dcm")[0]


# ---------------------------------------------------------------- other programs


CASES: dict[str, dict[str, Any]] = {
    "oblique": {},
    "tilted": {"positions": tilted(), "matrix": LEANING},
    "uneven": {"positions": uneven()},
    "axial": {"matrix": np.eye(3)},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("derivation", [T2, NAMELESS], ids=["named", "nameless"])
def test_dciodvfy_finds_no_error(tmp_path: Path, case: str, derivation: Derivation) -> None:
    write_volume(
        mr_of(ct_in(tmp_path / "ct", **CASES[case])), tmp_path / "mr.dcm", derivation=derivation
    )
    assert faults(list((tmp_path / "mr.dcm").iterdir())) == Counter()


def test_dciodvfy_would_find_one(tmp_path: Path) -> None:
    write_volume(mr_of(ct_in(tmp_path / "ct")), tmp_path / "mr.dcm", derivation=T2)
    file = tmp_path / "mr.dcm" / "IM0001.dcm"
    broken = pydicom.dcmread(file)
    del broken.ScanningSequence
    broken.save_as(file)
    assert any("ScanningSequence" in line for line in faults([file]))


def niix(folder: Path, out: Path) -> Volume:
    """What dcm2niix makes of a series."""
    out.mkdir()
    converter = program("dcm2niix", "dcm2niix")
    subprocess.run([converter, "-f", "made", "-o", str(out), str(folder)], check=True, timeout=120)
    assert [file.name for file in out.glob("*.nii")] == ["made.nii"]
    return read_volume(out / "made.nii", modality="MR")


def assert_same_voxels(one: Volume, other: Volume, tolerance_mm: float) -> None:
    """The same values in the same places, whichever way the axes run."""
    a, b = closest_axes(one)[0], closest_axes(other)[0]
    np.testing.assert_array_equal(a.data, b.data)
    np.testing.assert_allclose(a.geometry.affine, b.geometry.affine, rtol=0, atol=tolerance_mm)


@pytest.mark.parametrize("case", CASES)
def test_dcm2niix_sees_the_same_voxels_in_the_same_places(tmp_path: Path, case: str) -> None:
    ct = ct_in(tmp_path / "ct", **CASES[case])
    mr = mr_of(ct)
    write_volume(mr, tmp_path / "mr.dcm", derivation=T2)
    made = niix(tmp_path / "mr.dcm", tmp_path / "nii")
    assert_same_voxels(made, mr.with_data(np.rint(mr.data)), 1e-3)
    assert '"MR"' in (tmp_path / "nii" / "made.json").read_text()


@pytest.mark.parametrize("name", ["head_ct_dicom", "head_ct_dicom_tilted"])
def test_real_series(real_data: Path, tmp_path: Path, name: str) -> None:
    ct = read_volume(real_data / name)
    mr = mr_of(ct)
    folder = tmp_path / "mr.dcm"
    write_volume(mr, folder, derivation=T2)
    back = read_volume(folder)
    np.testing.assert_array_equal(back.data, np.rint(mr.data))
    assert back.geometry.is_close(ct.geometry, 1e-9)
    assert_same_voxels(niix(folder, tmp_path / "nii"), back, 1e-3)
    assert faults(sorted(folder.iterdir())[:3]) == Counter()
    write_volume(mr, tmp_path / "nameless.dcm", derivation=NAMELESS)
    assert faults(sorted((tmp_path / "nameless.dcm").iterdir())[:3]) == Counter()


# ---------------------------------------------------------------- bad input


def refused(volume: Volume, path: Path, derivation: Derivation | None = T2) -> str:
    """The one line of a refusal, after which nothing is there."""
    before = sorted(path.parent.iterdir())
    with pytest.raises(ImageError) as raised:
        write_volume(volume, path, derivation=derivation)
    line = str(raised.value)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    assert sorted(path.parent.iterdir()) == before
    return line


def test_only_a_synthetic_mr_on_the_grid_of_a_dicom_ct(tmp_path: Path) -> None:
    out = tmp_path / "mr.dcm"
    ct = ct_in(tmp_path / "ct")
    mr = mr_of(ct)
    assert "got CT values" in refused(ct, out)
    assert "unknown making" in refused(mr, out, None)
    write_volume(ct, tmp_path / "ct.nii.gz")
    said = refused(mr_of(read_volume(tmp_path / "ct.nii.gz")), out)
    assert "ct.nii.gz is none; write .nii.gz, .nrrd or .mha instead" in said
    write_series(tmp_path / "real", HU, stack(6), OBLIQUE[:, :2].T, **{**FULL, "Modality": "MR"})
    assert "real is MR, not a CT" in refused(mr_of(read_volume(tmp_path / "real")), out)
    grey = Volume(np.zeros((2, 4, 4), np.uint8), unit="grey", modality="MR")
    assert "this volume is none" in refused(grey, out)


def test_another_grid(tmp_path: Path) -> None:
    mr = mr_of(ct_in(tmp_path / "ct"))
    moved = replace(mr.geometry, origin=(0.0, 0.0, 0.0))
    assert "grid of its CT" in refused(replace(mr, geometry=moved), tmp_path / "mr.dcm")
    cropped = replace(mr, data=mr.data[:-1])
    assert "(5, 9, 7), expected (6, 9, 7)" in refused(cropped, tmp_path / "mr.dcm")


def test_a_grid_that_is_another_at_the_far_end(tmp_path: Path) -> None:
    wide = np.tile(HU, 60)  # 420 columns
    write_series(tmp_path / "ct", wide, stack(len(wide)), OBLIQUE[:, :2].T, **FULL)
    mr = mr_of(read_volume(tmp_path / "ct"))
    z, y, x = mr.geometry.spacing
    wider = replace(mr.geometry, spacing=(z, y, x + 0.0009))  # 0.4 mm at the last column
    assert "grid of its CT" in refused(replace(mr, geometry=wider), tmp_path / "mr.dcm")


@pytest.mark.parametrize("value", [-1.0, 70000.0, np.nan, np.inf])
def test_values_that_16_bits_do_not_hold(tmp_path: Path, value: float) -> None:
    mr = mr_of(ct_in(tmp_path / "ct"))
    mr.data[3, 2, 1] = value
    assert "expected 0 to 1000" in refused(mr, tmp_path / "mr.dcm")


def test_the_ct_is_gone_or_has_changed(tmp_path: Path) -> None:
    ct = ct_in(tmp_path / "ct")
    mr = mr_of(ct)
    ct.source.slices.files[2].unlink()
    said = refused(mr, tmp_path / "mr.dcm")
    assert "1 of 6 files of the CT are gone" in said
    assert ct.source.slices.files[2].name in said
    ct.source.slices.files[2].write_bytes(b"something else")
    assert "no longer holds" in refused(mr, tmp_path / "mr.dcm")


def test_another_patient_under_the_same_names(tmp_path: Path) -> None:
    mr = mr_of(ct_in(tmp_path / "ct"))
    other = ct_in(tmp_path / "ct", PatientID="another")
    assert [file.name for file in other.source.slices.files] == [
        file.name for file in mr.source.slices.files
    ]
    assert "read it anew" in refused(mr, tmp_path / "mr.dcm")


def test_what_is_there_is_never_touched(tmp_path: Path) -> None:
    mr = mr_of(ct_in(tmp_path / "ct"))
    out = tmp_path / "mr.dcm"
    write_volume(mr, out, derivation=T2)
    before = {file: file.read_bytes() for file in out.iterdir()}
    assert "exists" in refused(mr, out)
    assert {file: file.read_bytes() for file in out.iterdir()} == before


@contextmanager
def full_disk(size_bytes: int) -> Iterator[None]:
    """No file grows beyond ``size_bytes``, as on a disk with no more room."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    mr = mr_of(ct_in(tmp_path / "ct"))
    with full_disk(1000):
        assert "nothing was changed" in refused(mr, tmp_path / "mr.dcm")


def test_a_folder_that_appears_meanwhile_is_not_mixed_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mr, out = mr_of(ct_in(tmp_path / "ct")), tmp_path / "out.dcm"

    def slow(*given: Any) -> Any:
        write = dicom_writer(*given)

        def with_company(workshop: Path) -> None:
            write(workshop)
            write_series(out, HU, stack(len(HU)), OBLIQUE[:, :2].T, **FULL)

        return with_company

    monkeypatch.setattr("napari_ct2mri.imaging.writing.dicom_writer", slow)
    with pytest.raises(ImageError, match=r"out.dcm: exists; a DICOM series goes into a new folder"):
        write_volume(mr, out, derivation=T2)
    assert {file.Modality for file in written(out)} == {"CT"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ct", "out.dcm"]
