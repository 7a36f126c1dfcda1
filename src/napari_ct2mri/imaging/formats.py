"""NIfTI, NRRD and MetaImage: what a file holds, whether it is whole, and what it means.

NIfTI is RAS on disk; SimpleITK turns it to LPS and back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.errors import ImageError, VolumeError
from napari_ct2mri.imaging.itk import open_image
from napari_ct2mri.imaging.nifti import check_nifti, nan_message, unmistakable
from napari_ct2mri.imaging.series import Series, settle_modality
from napari_ct2mri.imaging.volume import Modality, Source, Unit, Volume, from_sitk
from napari_ct2mri.quiet import quiet

if TYPE_CHECKING:
    import SimpleITK as sitk

__all__ = [
    "DICOM_ENDING",
    "KINDS",
    "NOTES_KEY",
    "VOLUME_ENDINGS",
    "describe_file",
    "ending",
    "meaning_label",
    "metadata",
    "read_file",
]

KINDS = {
    ".nii": "NIfTI",
    ".nii.gz": "NIfTI",
    ".nrrd": "NRRD",
    ".nhdr": "NRRD",
    ".mha": "MetaImage",
    ".mhd": "MetaImage",
}

VOLUME_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
"""Of the files a volume is written to, whatever its numbers and grid."""

DICOM_ENDING = ".dcm"

NOTES_KEY = "ITK_FileNotes"
"""Free text that SimpleITK carries through all three formats (NIfTI's ``descrip``, 79 bytes)."""

_AIR_BELOW_HU = -200.0
"""Everything with air around it holds lower values, if they are HU. No MR does."""

_LABEL = re.compile(r"modality=(CT|MR|unknown) unit=(HU|arbitrary|grey)")
_NAMED_CT = re.compile(r"(?<![a-z])ct(?![a-z])")
_NAMED_MR = re.compile(r"(?<![a-z])(mri?|t1w?|t2w?|pd|flair)(?![a-z])")
_SPACING_FIELDS = {
    "NRRD": re.compile(rb"^(spacings|space directions):", re.MULTILINE),
    "MetaImage": re.compile(rb"^Element(Spacing|Size)\s*=", re.MULTILINE),
}
_HEADER_BYTES = 1 << 16


def ending(path: PurePath) -> str:
    """The ending that decides the format, in lower case; ``.nii.gz`` counts as one."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else PurePath(name).suffix


def meaning_label(volume: Volume) -> str:
    """What a written file says of its values, so that nothing need be guessed on reading."""
    return f"research use only; modality={volume.modality} unit={volume.unit}"


def describe_file(path: Path) -> Series:
    """What the header of a file says."""
    kind = KINDS[ending(path)]
    reader = open_image(path, kind)
    size, spacing = reader.GetSize(), reader.GetSpacing()
    refusal = _refusal(reader)
    return Series(
        uid="",
        kind=kind,
        modality=settle_modality(_stated(metadata(reader))[0], None, path)[0],
        description=path.name,
        files=(path,),
        shape=None if refusal else ((*size, 1)[2], size[1], size[0]),
        spacing=None if refusal else ((*spacing, 1.0)[2], spacing[1], spacing[0]),
        refusal=refusal,
    )


def _refusal(reader: sitk.ImageFileReader) -> str:
    """Why a file is not one scalar volume; empty if it is."""
    import SimpleITK as sitk

    size = reader.GetSize()
    if prod(size[3:]) > 1:
        return (
            f"{len(size)} dimensions of {'x'.join(map(str, size))}, expected 3 (x, y, z); save "
            "the one volume you mean"
        )
    if reader.GetNumberOfComponents() > 1:
        return (
            f"{reader.GetNumberOfComponents()} values a voxel (colour or vectors), expected one; "
            "save the one channel you mean"
        )
    if "complex" in sitk.GetPixelIDValueAsString(reader.GetPixelID()):
        return "complex values, expected real ones; save their magnitude"
    return ""


def metadata(reader: sitk.ImageFileReader) -> dict[str, str]:
    """All header fields of an opened file. May hold patient data: never pass it on."""
    return {key: reader.GetMetaData(key).strip() for key in reader.GetMetaDataKeys()}


def _stated(fields: Mapping[str, str]) -> tuple[str, Unit | None]:
    """The file's word for its modality (or none) and its unit: our label, or a DICOM tag."""
    if label := _LABEL.search(fields.get(NOTES_KEY, "")):
        return label[1], label[2]  # type: ignore[return-value]
    for key in ("0008|0060", "modality", "Modality"):
        value = fields.get(key, "").removeprefix("MET_MOD_").upper()
        if value and value != "UNKNOWN":
            return value[:16], None
    return "", None


def read_file(path: Path, modality: Modality | None = None, *, middle_only: bool = False) -> Volume:
    """Read a NIfTI, NRRD or MetaImage file.

    Parameters
    ----------
    middle_only : bool
        Read the middle slice alone, for a look at it; what is cut off elsewhere goes unseen.

    Raises
    ------
    ImageError
        If it is damaged or cut off, has not three dimensions, holds NaN or infinity, or states
        another modality than ``modality``.
    """
    import SimpleITK as sitk

    kind = KINDS[ending(path)]
    reader = open_image(path, kind)
    if refusal := _refusal(reader):
        raise ImageError(f"{path}: {refusal}")
    fields = metadata(reader)
    if middle_only:
        _narrow_to_middle(reader)
    elif kind == "NIfTI":
        check_nifti(path, fields)
    try:
        with quiet(), unmistakable(path) as file:
            reader.SetFileName(str(file))
            image = reader.Execute()
    except RuntimeError as error:
        raise ImageError(f"{path}: the {kind} file is cut off or damaged; copy it again") from error
    if image.GetDimension() == 2:
        image = sitk.JoinSeries([image])
    while image.GetDimension() > 3:
        image = image[..., 0]
    try:
        notes = (*_pose_notes(fields), *_spacing_notes(path, kind))
        volume = from_sitk(image, source=Source(str(path)), notes=notes)
    except VolumeError as error:
        raise ImageError(f"{path}: {error}; resample it onto an upright grid first") from error
    _check_finite(volume.data, path)
    return _with_meaning(volume, path, _stated(fields), modality)


def _narrow_to_middle(reader: sitk.ImageFileReader) -> None:
    """Read one slice, the middle one; NIfTI and MetaImage then leave the others on disk."""
    size = list(reader.GetSize())
    index = [0] * len(size)
    if len(size) > 2:
        index[2], size[2] = size[2] // 2, 1
    reader.SetExtractIndex(index)
    reader.SetExtractSize(size)


def _pose_notes(fields: Mapping[str, str]) -> tuple[str, ...]:
    """NIfTI alone may leave open where the voxels lie; ITK then takes the axes for LPS."""
    codes = {fields.get("qform_code"), fields.get("sform_code")}
    if codes != {"0"}:
        return ()
    return ("orientation not stated, axes taken to run to the left, posterior and superior",)


def _spacing_notes(path: Path, kind: str) -> tuple[str, ...]:
    """NRRD and MetaImage need not state a spacing; ITK then takes 1 mm and does not say so."""
    if kind not in _SPACING_FIELDS:
        return ()
    with path.open("rb") as file:
        header = re.split(rb"\r?\n\r?\n|^ElementDataFile", file.read(_HEADER_BYTES), flags=re.M)[0]
    if _SPACING_FIELDS[kind].search(header):
        return ()
    return ("spacing not stated, taken for 1 mm along every axis",)


def _check_finite(data: NDArray[np.generic], path: Path) -> None:
    if data.dtype.kind != "f":
        return
    bad = sum(int(slice_.size - np.isfinite(slice_).sum()) for slice_ in data)
    if bad:
        raise ImageError(nan_message(path, bad, data.size))


def _with_meaning(
    volume: Volume, path: Path, stated: tuple[str, Unit | None], asked: Modality | None
) -> Volume:
    """Settle modality and unit, with a note for whatever was guessed."""
    lowest, highest = float(volume.data.min()), float(volume.data.max())
    word, unit = stated
    modality, passed_over = settle_modality(word, asked, path)
    notes = [passed_over] if passed_over else []
    if modality == "unknown" and unit is None and asked is None:
        modality, reason = _guessed_modality(path, lowest)
        notes.append(f"modality {word or 'not stated'}, taken for {modality} by its {reason}")
    if unit is None or (modality != word and unit != "grey"):
        unit = "arbitrary"
        if modality == "CT":
            unit, doubt = _ct_unit(lowest, highest)
            notes += [doubt] if doubt else []
    return replace(volume, modality=modality, unit=unit, notes=(*volume.notes, *notes))


def _guessed_modality(path: Path, lowest: float) -> tuple[Modality, str]:
    if lowest < _AIR_BELOW_HU:
        return "CT", f"values from {lowest:g}"
    name = path.name.lower()
    if _NAMED_CT.search(name):
        return "CT", "name"
    if _NAMED_MR.search(name):
        return "MR", "name"
    return "MR", f"values from {lowest:g}, too high for air in HU"


def _ct_unit(lowest: float, highest: float) -> tuple[Unit, str]:
    span = f"the CT's values run from {lowest:g} to {highest:g}"
    if lowest < _AIR_BELOW_HU:
        return "HU", ""
    if lowest < 0:
        return "HU", f"{span}: taken for HU, though air (-1000) is missing"
    return "arbitrary", f"{span}, so they are not HU (air would be -1000)"
