"""SimpleITK as a reader that keeps quiet and fails in one line."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from napari_ct2mri.errors import ImageError

if TYPE_CHECKING:
    import SimpleITK as sitk

__all__ = ["MAX_VOXELS", "open_image", "quiet"]

MAX_VOXELS = 2**31
"""More than any head scan; a damaged header can claim far more than memory holds."""

_one_at_a_time = threading.RLock()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Python warnings and the C and C++ readers off the terminal.

    ITK, GDCM, MetaIO and OpenJPEG print to file descriptor 2, where no Python hook reaches
    them. What matters of their complaints is said in an exception or a note instead.
    """
    with _one_at_a_time, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with suppress(OSError, ValueError, AttributeError):
            sys.stderr.flush()
        try:
            saved = os.dup(2)
        except OSError:  # a windowed process without a terminal has nothing to redirect
            yield
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            os.close(nowhere)


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
