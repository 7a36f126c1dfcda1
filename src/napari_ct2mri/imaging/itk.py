"""SimpleITK as a reader that fails in one line, and reads a file as what it is named or nothing.

Left to choose by itself, it would take an HDF5 file of any name, whose voxels may lie in any file
of this machine.
"""

from __future__ import annotations

import re
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from napari_ct2mri.errors import ImageError
from napari_ct2mri.imaging.nifti import starts_like_nifti
from napari_ct2mri.quiet import quiet

if TYPE_CHECKING:
    import SimpleITK as sitk

__all__ = ["MAX_VOXELS", "check_name", "open_image"]

MAX_VOXELS = 2**31
"""More than any head scan; a damaged header can claim far more than memory holds."""

_NRRD = b"NRRD000"

_HEADER_BYTES = 1 << 20
_NAMES = re.compile(rb"ElementDataFile[ \t:=]*([^\r\n]*)")
_NUMBERED = re.compile(rb"[^%]*%0?[1-9]?d[^%]*")

_PICTURES = {
    b"\x89PNG\r\n\x1a\n": "PNGImageIO",
    b"\xff\xd8": "JPEGImageIO",
    b"BM": "BMPImageIO",
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "TIFFImageIO"),
}
"""Which part of ITK reads a picture, by its first bytes: people rename JPEG to PNG."""


def check_name(path: Path) -> None:
    """Refuse what ITK cannot be told: it ends the whole process then.

    Raises
    ------
    ImageError
        If the name is not UTF-8.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        shown = str(path).encode(errors="replace").decode()
        raise ImageError(f"{shown}: its name is not UTF-8; rename it") from error


def open_image(path: Path, kind: str) -> sitk.ImageFileReader:
    """A reader that knows size and geometry of ``path`` and has read no pixel.

    Parameters
    ----------
    kind : str
        NIfTI, NRRD, MetaImage or ``picture``; it is read as nothing else.

    Raises
    ------
    ImageError
        If no header can be read or it claims more than ``MAX_VOXELS`` voxels.
    """
    import SimpleITK as sitk

    check_name(path)
    part = _part_of_itk(path, kind)
    if not part:
        raise ImageError(_header_fault(path, kind, ""))
    reader = sitk.ImageFileReader()
    reader.SetImageIO(part)
    reader.SetFileName(str(path))
    try:
        with quiet():
            reader.ReadImageInformation()
    except (RuntimeError, UnicodeDecodeError) as error:  # the latter if it quotes a file's bytes
        raise ImageError(_header_fault(path, kind, str(error))) from error
    voxels = prod(reader.GetSize()) * reader.GetNumberOfComponents()
    if not 0 < voxels <= MAX_VOXELS:
        raise ImageError(f"{path}: its header claims {voxels} values, expected 1 to {MAX_VOXELS}")
    return reader


def _part_of_itk(path: Path, kind: str) -> str:
    """The name of what reads ``path``; empty if it does not start like a file of its kind."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise ImageError(f"{path}: cannot be opened: {error.strerror}") from error
    if kind == "NIfTI":
        return "NiftiImageIO" if starts_like_nifti(path) else ""
    if kind == "NRRD":
        return "NrrdImageIO" if start.startswith(_NRRD) else ""
    if kind == "MetaImage":  # starts like any text
        _check_pattern(path)
        return "MetaImageIO"
    return next((part for magic, part in _PICTURES.items() if start.startswith(magic)), "")


def _check_pattern(path: Path) -> None:
    """Refuse a pattern of file names that MetaIO would crash on: it gives them to printf."""
    with path.open("rb") as file:
        named = _NAMES.findall(file.read(_HEADER_BYTES))
    if any(not _NUMBERED.fullmatch(names) for names in named if b"%" in names):
        raise ImageError(
            f"{path}: its ElementDataFile is no pattern of names as name%03d.raw; name one file"
        )


def _header_fault(path: Path, kind: str, complaint: str) -> str:
    if path.stat().st_size == 0:
        return f"{path}: the file is empty, expected a {kind} file"
    if "orthonormal" in complaint:
        return f"{path}: direction is not orthonormal; resample it onto an upright grid first"
    return f"{path}: not a {kind} file, or a damaged one; check its ending, or copy it again"
