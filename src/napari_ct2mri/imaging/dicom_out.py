"""DICOM out: a synthetic MR as a series of its own, in the study of its CT.

Only a synthetic MR that lies on the grid of a CT read from DICOM can be written so: the CT's
files, which ``Volume.source`` names, give study, frame of reference, patient and positions. They
are read again here and go straight into the new files; no patient data passes through a volume.

Written is MR Image Storage (PS3.3, A.4), explicit VR little endian, one file a slice in ascending
order along the normal. What a scanner would state of a measurement stays empty (repetition and
echo time, echo train, options, acquisition type): nothing was measured. UIDs are random (2.25,
PS3.5 B.2): the same UID must never stand on two different files, and a second run, another
version or the same run without patient data gives different files. All else is a function of CT,
model and voxels; no clock is read.

That it is synthetic stands in the description of the series, in the comments and the derivation of
each image; not in Synthetic Data (0008,001C), which is so new that common validators call files
with it wrong.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri import __version__
from napari_ct2mri.errors import ImageError
from napari_ct2mri.imaging.dicom import Stack, find_stacks
from napari_ct2mri.imaging.intensity import OUTPUT_MAX
from napari_ct2mri.imaging.regrid import Grid
from napari_ct2mri.imaging.volume import AxisOrder, DicomSlices, Volume, closest_axes, difference

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Derivation", "check_dicom", "check_new", "dicom_writer", "slice_names"]

_INSTEAD = "write .nii.gz, .nrrd or .mha instead"
_SERIES_OFFSET = 1000  # added to the CT's series number: apart from it, and sorted behind it
_LONGEST = 1024  # bytes of a value that is copied; the longest type among them, ST
_IMPLEMENTATION = "2.25.77177732891915082907880241680852374416"  # a UUID, this writer's for good

_PATIENT = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "LongitudinalTemporalInformationModified",
)
_STUDY = (
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "TimezoneOffsetFromUTC",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyDescription",
    "StudyID",
    "FrameOfReferenceUID",
)
_ANONYMOUS = (
    "BodyPartExamined",
    "BurnedInAnnotation",
    "PatientPosition",
    "PositionReferenceIndicator",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)
"""What is taken from the CT but says nothing of who the patient is."""

_OF_IMAGE = ("SOPClassUID", "SOPInstanceUID", "SliceThickness")

_MUST_STAND = (  # type 2: present, if only empty
    "AccessionNumber",
    "EchoTime",
    "EchoTrainLength",
    "MRAcquisitionType",
    "PatientBirthDate",
    "PatientID",
    "PatientName",
    "PatientPosition",
    "PatientSex",
    "PositionReferenceIndicator",
    "ReferringPhysicianName",
    "RepetitionTime",
    "ScanOptions",
    "StudyDate",
    "StudyID",
    "StudyTime",
)


@dataclass(frozen=True, slots=True)
class Derivation:
    """What a series says of its making.

    Attributes
    ----------
    model : str
        A released model's name or a checkpoint's path, of which only the name is written.
    contrast : str
    patient_data : bool
        Whether the series belongs to the CT's patient and study. If not, nobody is named and
        nothing leads to the CT: it forms a study and a frame of reference of its own.
    """

    model: str
    contrast: str
    patient_data: bool = True


def slice_names(slices: int) -> tuple[str, ...]:
    """File names of a series."""
    return tuple(f"IM{i:04d}.dcm" for i in range(1, slices + 1))


def check_dicom(volume: Volume, path: Path) -> None:
    """Say, before anything long is done, that what lies on this grid cannot be written.

    Parameters
    ----------
    volume : Volume
        The CT, or what was made of it.
    path : Path
        The folder to be made.

    Raises
    ------
    ImageError
        If ``path`` exists, or ``volume`` does not lie on the grid of a CT read from DICOM.
    """
    check_new(path)
    _place(volume, path)


def check_new(path: Path) -> None:
    """Refuse a folder that is there already."""
    if path.exists():
        raise ImageError(
            f"{path}: exists; a DICOM series goes into a new folder, so that no file of another is "
            "mixed in or lost; give another name"
        )


def dicom_writer(
    volume: Volume, path: Path, derivation: Derivation | None
) -> Callable[[Path], None]:
    """Check all there is to check, and return what writes one file a slice into a folder.

    Parameters
    ----------
    volume : Volume
        A synthetic MR, (z, y, x), 0 to 65535 once rounded; on the grid of its CT, or turned from
        it by flips and swaps.
    path : Path
        What the series is called in errors.
    derivation : Derivation
        Without it nothing says that ``volume`` is synthetic, and it is refused.

    Raises
    ------
    ImageError
        If ``volume`` is no synthetic MR, lies elsewhere or holds other values, or the CT's files
        are gone.
    """
    if volume.modality != "MR" or derivation is None:
        what = "an MR of unknown making" if volume.modality == "MR" else f"{volume.modality} values"
        raise ImageError(
            f"{path}: expected a synthetic MR, got {what}: nothing else is written as DICOM; "
            f"{_INSTEAD}"
        )
    place = _place(volume, path)
    return partial(_write, place, _pixels(volume, place.order, path), derivation)


def _write(place: _Place, pixels: NDArray[np.uint16], derivation: Derivation, folder: Path) -> None:
    cts = [_ct_tags(header.path) for header in place.stack.headers]
    mr = _series(place, cts[0], derivation)
    for z, name in enumerate(slice_names(len(pixels))):
        _add_plane(mr, place, cts[z if place.grid.is_exact else 0], z)
        if derivation.patient_data:
            _add_sources(mr, place, cts, z)
        _add_pixels(mr, pixels[z])
        _save(mr, folder / name)


# ---------------------------------------------------------------- where the voxels lie


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """The CT's slices, their grid, and how closest axes are turned back to it."""

    stack: Stack
    grid: Grid
    order: AxisOrder


def _place(volume: Volume, path: Path) -> _Place:
    stack = _ct_stack(volume, path)
    grid = stack.grid
    assert grid is not None
    blank = Volume(np.broadcast_to(np.uint8(0), grid.shape), grid.geometry)
    wanted, order = closest_axes(blank)
    found, _ = closest_axes(volume)
    if difference(wanted, found):
        raise ImageError(
            f"{path}: the volume does not lie on the grid of its CT (shape {found.data.shape}, "
            f"expected {wanted.data.shape}, or moved or resampled); {_INSTEAD}"
        )
    return _Place(stack, grid, order)


def _ct_stack(volume: Volume, path: Path) -> Stack:
    """The CT slices from which the volume's grid was planned, read anew."""
    slices = volume.source.slices
    if not slices.files:
        raise ImageError(
            f"{path}: DICOM takes study, patient and positions from a CT that was read from "
            f"DICOM, and {volume.source.path or 'this volume'} is none; {_INSTEAD}"
        )
    if gone := [file for file in slices.files if not file.is_file()]:
        raise ImageError(
            f"{path}: {len(gone)} of {len(slices.files)} files of the CT are gone, {gone[0]} the "
            f"first; bring them back, or {_INSTEAD}"
        )
    stacks = find_stacks(slices.files)
    found = [DicomSlices(s.headers[0].series_uid, s.series.files) for s in stacks]
    if found != [slices] or stacks[0].grid is None:
        raise ImageError(
            f"{path}: {slices.files[0].parent} no longer holds the files of the CT as they were "
            "read; read it anew"
        )
    modality = stacks[0].headers[0].stated_modality
    if modality != "CT":
        raise ImageError(
            f"{path}: {volume.source.path} is {modality or 'of no stated modality'}, not a CT; "
            f"only a synthetic MR on the grid of a CT is written as DICOM; {_INSTEAD}"
        )
    return stacks[0]


def _pixels(volume: Volume, order: AxisOrder, path: Path) -> NDArray[np.uint16]:
    """(z, y, x) in the CT's order, rounded."""
    turned, _ = closest_axes(volume)
    data = order.undo(turned.data)
    low, high = float(data.min()), float(data.max())
    if not (low >= -0.5 and high < 65535.5):  # NaN too
        raise ImageError(
            f"{path}: values run from {low:g} to {high:g}, expected 0 to {OUTPUT_MAX:g} as "
            f"synthesis makes them; {_INSTEAD}"
        )
    levels: NDArray[np.uint16] = np.rint(data).astype(np.uint16)
    return levels


# ---------------------------------------------------------------- what all slices share


def _series(place: _Place, ct: Dataset, derivation: Derivation) -> Dataset:
    from pydicom import Dataset
    from pydicom.uid import MRImageStorage, generate_uid

    mr = Dataset()
    mr.BodyPartExamined = "HEAD"
    mr.BurnedInAnnotation = "NO"
    for keyword in _MUST_STAND:
        setattr(mr, keyword, None)
    if "SpecificCharacterSet" in ct:
        mr.SpecificCharacterSet = ct.SpecificCharacterSet
    _copy(ct, mr, _ANONYMOUS)
    if derivation.patient_data:
        _add_patient(mr, ct)
    else:
        mr.PatientIdentityRemoved = "YES"
        mr.DeidentificationMethod = "Patient, study and UIDs of the CT left out; pixels kept"
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID"):
        if keyword not in mr:
            setattr(mr, keyword, generate_uid(None))
    mr.SOPClassUID = MRImageStorage
    mr.Modality = "MR"
    mr.SeriesInstanceUID = generate_uid(None)
    mr.SeriesNumber = _SERIES_OFFSET + place.stack.headers[0].number % 10**9
    _describe(mr, place.grid, derivation)
    _add_equipment(mr)
    mr.SpacingBetweenSlices = _decimal(place.grid.geometry.spacing[0])
    return mr


def _add_patient(mr: Dataset, ct: Dataset) -> None:
    """Patient, study and frame of reference as the CT states them."""
    _copy(ct, mr, _PATIENT + _STUDY)
    _copy_sequence(ct, mr, "DeidentificationMethodCodeSequence")
    is_removed = mr.get("PatientIdentityRemoved") == "YES"
    if is_removed and not mr.dir("DeidentificationMethod"):  # nor a sequence of codes
        mr.DeidentificationMethod = "not stated in the CT"


def _describe(mr: Dataset, grid: Grid, derivation: Derivation) -> None:
    """That it is synthetic, of what and by what: in words and in codes."""
    contrast, model = _plain(derivation.contrast, 16), _plain(_name(derivation.model), 64)
    mr.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    mr.RecognizableVisualFeatures = "YES"  # a face can be made of any head
    mr.ScanningSequence = "RM"
    mr.SequenceVariant = "NONE"
    mr.SeriesDescription = f"synthetic {contrast} from CT, research only"
    mr.ImageComments = "Synthetic MR, computed from CT. For research; not for diagnosis."
    mr.DerivationDescription = (
        f"{contrast} image computed from CT by a neural network (napari-ct2mri {__version__}, "
        f"model {model}); arbitrary units, 0 to {OUTPUT_MAX:g}."
    )
    if not grid.is_exact:
        before = "; ".join(grid.notes)
        mr.DerivationDescription = _plain(f"{mr.DerivationDescription} Before: {before}", _LONGEST)
        mr.DerivationCodeSequence = [_code("113085", "Spatial resampling")]  # CID 7203


def _add_equipment(mr: Dataset) -> None:
    """The program that made the series.

    Not the scanner: readers that look into sequences (dcm2niix of 2022 does) would take its maker
    for that of the MR. It stands in the source images.
    """
    from pydicom import Dataset

    mr.Manufacturer = "napari-ct2mri"
    mr.ManufacturerModelName = "ct2mri"
    mr.SoftwareVersions = __version__
    maker = Dataset()
    maker.PurposeOfReferenceCodeSequence = [_code("109102", "Processing Equipment")]  # CID 7005
    maker.Manufacturer = mr.Manufacturer
    maker.ManufacturerModelName = mr.ManufacturerModelName
    maker.SoftwareVersions = mr.SoftwareVersions
    maker.ContributionDescription = mr.DerivationDescription
    mr.ContributingEquipmentSequence = [maker]


# ---------------------------------------------------------------- what each slice has


def _add_plane(mr: Dataset, place: _Place, ct: Dataset, z: int) -> None:
    """The CT slice's own plane, digit for digit; the grid's where that was resampled."""
    geometry = place.grid.geometry
    position = geometry.affine[:3] @ (z, 0, 0, 1)
    cosines = geometry.matrix[:, :2].T.ravel()
    pixel_mm = geometry.spacing[1:]
    thickness = geometry.spacing[0]
    if place.grid.is_exact:
        header = place.stack.headers[z]
        position = np.asarray(header.position or position)
        cosines = np.asarray(header.orientation or cosines)
        pixel_mm = header.pixel_mm or pixel_mm
        thickness = _number(ct, "SliceThickness") or thickness
    mr.ImagePositionPatient = [_decimal(v) for v in position]
    mr.ImageOrientationPatient = [_decimal(v) for v in cosines]
    mr.PixelSpacing = [_decimal(v) for v in pixel_mm]
    mr.SliceThickness = _decimal(thickness)
    mr.InstanceNumber = z + 1


def _add_sources(mr: Dataset, place: _Place, cts: list[Dataset], z: int) -> None:
    """The CT image in this place, or the two between which it was interpolated."""
    from pydicom import Dataset

    above = int(np.searchsorted(place.grid.depths, z))
    is_between = place.grid.depths[above] != z
    sources, instances = [], []
    for ct in cts[above - is_between : above + 1]:
        instance, source = Dataset(), Dataset()
        for reference in (instance, source):
            _copy(ct, reference, ("SOPClassUID", "SOPInstanceUID"), "Referenced")
        if len(instance) == 2:
            instances.append(instance)
            source.SpatialLocationsPreserved = "YES" if place.grid.is_exact else "NO"
            source.PurposeOfReferenceCodeSequence = [
                _code("121322", "Source image for image processing operation")  # CID 7202
            ]
            sources.append(source)
    series = Dataset()
    series.SeriesInstanceUID = place.stack.headers[0].series_uid
    series.ReferencedInstanceSequence = instances
    if sources:
        mr.SourceImageSequence = sources
        mr.ReferencedSeriesSequence = [series]


def _add_pixels(mr: Dataset, slice_: NDArray[np.uint16]) -> None:
    mr.SamplesPerPixel = 1
    mr.PhotometricInterpretation = "MONOCHROME2"
    mr.Rows, mr.Columns = slice_.shape
    mr.BitsAllocated = mr.BitsStored = 16
    mr.HighBit = 15
    mr.PixelRepresentation = 0
    mr.WindowCenter = f"{OUTPUT_MAX / 2:g}"
    mr.WindowWidth = f"{OUTPUT_MAX:g}"
    mr.PixelData = slice_.astype("<u2").tobytes()


def _save(mr: Dataset, path: Path) -> None:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

    mr.SOPInstanceUID = generate_uid(None)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = mr.SOPClassUID
    meta.MediaStorageSOPInstanceUID = mr.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(_IMPLEMENTATION)
    meta.ImplementationVersionName = f"CT2MRI_{__version__}"[:16]
    mr.file_meta = meta
    mr.save_as(path, enforce_file_format=True)


# ---------------------------------------------------------------- values from the CT


def _ct_tags(path: Path) -> Dataset:
    """All that this module takes of a CT file; it holds patient data."""
    import pydicom

    keywords = (*_PATIENT, *_STUDY, *_ANONYMOUS, *_OF_IMAGE)
    tags = [*keywords, "DeidentificationMethodCodeSequence"]
    return pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=list(tags))


def _copy(source: Dataset, target: Dataset, keywords: Iterable[str], prefix: str = "") -> None:
    """Values byte for byte, whatever their character set; none that is empty or overlong."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    for keyword in keywords:
        element = source.get_item(keyword)
        value = element.value if isinstance(element, RawDataElement) else None
        if value and len(value) <= _LONGEST:
            tag = Tag(tag_for_keyword(prefix + keyword) or 0)
            vr = dictionary_VR(tag)
            target[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)


def _copy_sequence(source: Dataset, target: Dataset, keyword: str) -> None:
    for item in source.get(keyword) or ():
        for _ in item.iterall():
            pass  # each value is decoded, so that it can be encoded anew
    if source.get(keyword):
        setattr(target, keyword, source[keyword].value)


def _number(dataset: Dataset, keyword: str) -> float | None:
    """A positive decimal of a header, if it is one."""
    try:
        value = float(dataset[keyword].value)
    except (KeyError, TypeError, ValueError):
        return None
    return value if 0 < value < 1e6 else None


def _decimal(value: Any) -> str:
    """As a decimal string of at most 16 characters, as near as they allow."""
    from pydicom.valuerep import format_number_as_ds

    return format_number_as_ds(float(value) + 0.0)  # -0.0 reads badly


def _code(value: str, meaning: str) -> Dataset:
    from pydicom import Dataset

    code = Dataset()
    code.CodeValue = value
    code.CodingSchemeDesignator = "DCM"
    code.CodeMeaning = meaning
    return code


def _name(model: str) -> str:
    return Path(model).name.removesuffix(".safetensors")


def _plain(text: str, length: int) -> str:
    """Letters that every character set has: accents go, the rest becomes ``_``."""
    flat = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return "".join(c if c.isprintable() and c != "\\" else "_" for c in flat)[:length].strip()
