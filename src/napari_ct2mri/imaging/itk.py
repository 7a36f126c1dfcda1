"""SimpleITK as a reader that fails in one line."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from napari_ct2mri.errors import ImageError
from napari_ct2mri.quiet import quiet

if TYPE_CHECKING:
    import SimpleITK as sitk

__all__ = ["MAX_VOXELS", "open_image"]

MAX_VOXELS = 2**31
"""More than any head scan; a damaged header can claim far more than memory holds."""


def open_image(path: Path, kind: str) -> sitk.ImageFileReader:
    """A reader that knows size and geometry of ``path`` and has read no pixel.

    Raises
    ------
    ImageError
        If no header can be read or it claims more than ``MAX_VOXELS`` voxels.
    """
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with quiet():
            reader.ReadImageInformation()
    except RuntimeError as error:
        raise ImageError(_header_fault(path, kind, str(error))) from error
    voxels = prod(reader.GetSize()) * reader.GetNumberOfComponents()
    if not 0 < voxels <= MAX_VOXELS:
        raise ImageError(f"{path}: its header claims {voxels} values, expected 1 to {MAX_VOXELS}")
    return reader


def _header_fault(path: Path, kind: str, complaint: str) -> str:
    if path.stat().st_size == 0:
        return f"{path}: the file is empty, expected a {kind} file"
    if "orthonormal" in complaint:
        return f"{path}: direction is not orthonormal; resample it onto an upright grid first"
    return f"{path}: not a {kind} file, or a damaged one; check its ending, or copy it again"
