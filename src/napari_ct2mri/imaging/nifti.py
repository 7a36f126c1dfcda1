"""What ITK passes over in silence: NIfTI files that are cut off, damaged or hold NaN.

It gives zeros for all of them, which in a CT is water; and the voxels of ``a.nii`` for
``a.nii.gz`` where both are there.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import BinaryIO, cast

import numpy as np

from napari_ct2mri.errors import ImageError

__all__ = [
    "Content",
    "check_nifti",
    "nan_message",
    "read_content",
    "starts_like_nifti",
    "unmistakable",
]

_MAX_REST = 2**24  # bytes after the image: what tools pad or append is less
_CHUNK_BYTES = 1 << 20
_FLOATS = {16: "f4", 64: "f8"}  # NIfTI-1 datatype codes
_LITTLE = (b"\x5c\x01\x00\x00", b"\x1c\x02\x00\x00")  # the header's own length, 348 or 540
_BIG = tuple(length[::-1] for length in _LITTLE)
_MAX_OFFSET = 1 << 26  # extensions between header and voxels may hold a DICOM header or two


@contextmanager
def unmistakable(path: Path) -> Iterator[Path]:
    """``path``, or, for an ``a.nii.gz`` beside an ``a.nii``, a link to it that stands alone.

    niftilib takes the header from the one and the voxels from the other.
    """
    if path.suffix.lower() != ".gz" or not path.with_suffix("").exists():
        yield path
        return
    with TemporaryDirectory() as folder:
        alone = Path(folder, path.name)
        try:
            alone.symlink_to(path.resolve())
        except OSError:  # Windows lets few users make links
            copyfile(path, alone)
        yield alone


def starts_like_nifti(path: Path) -> bool:
    """Whether a file, unpacked, begins with the length of a header.

    niftilib also reads headers in XML, which name the file of their voxels.
    """
    try:
        with _unpacked(path) as file:
            return file.read(4) in _LITTLE + _BIG
    except (OSError, EOFError, zlib.error):  # damaged, or cut off
        return False


@dataclass(frozen=True, slots=True)
class Content:
    """What a NIfTI file holds, against what its header says: bytes, and voxels not finite."""

    found: int
    expected: int
    bad: int
    voxels: int


def check_nifti(path: Path, metadata: Mapping[str, str]) -> None:
    """Refuse a file that is shorter than its header says, damaged, or holds NaN or infinity.

    Parameters
    ----------
    metadata : mapping
        The header's fields as SimpleITK names them.
    """
    content = read_content(path, metadata)
    if content.found < content.expected:
        raise ImageError(
            f"{path}: cut off: {content.found} of {content.expected} bytes are there; copy or "
            "download it again"
        )
    if content.bad:
        raise ImageError(nan_message(path, content.bad, content.voxels))


def read_content(path: Path, metadata: Mapping[str, str]) -> Content:
    """Read a file once through, its gzip checksum too, and count.

    Raises
    ------
    ImageError
        If header or checksum are damaged.
    """
    voxels, bits, offset, code = _layout(path, metadata)
    expected = offset + voxels * bits // 8
    found = bad = 0
    try:
        with _unpacked(path) as file:
            head = file.read(offset)
            found = len(head)
            kind = _FLOATS.get(code)
            order = "<" if head[:4] in _LITTLE else ">"
            for chunk in _chunks(path, file, expected - found):
                found += len(chunk)
                if kind is not None:
                    bad += _count_bad(chunk, order + kind)
    except EOFError:
        pass  # gzip's word for cut off; what was found falls short
    except (OSError, zlib.error) as error:
        raise ImageError(f"{path}: its gzip data are damaged; copy or download it again") from error
    return Content(found, expected, bad, voxels)


def nan_message(path: Path, bad: int, voxels: int) -> str:
    """The one line for NaN and infinity."""
    return (
        f"{path}: {bad} of {voxels} voxels are NaN or infinite, expected numbers; replace them "
        "first (with air, -1000, in a CT; with 0 in an MR)"
    )


def _layout(path: Path, metadata: Mapping[str, str]) -> tuple[int, int, int, int]:
    """Voxels, bits a voxel, bytes before the first, datatype code."""
    try:
        dims = [int(metadata[f"dim[{i}]"]) for i in range(1, 1 + int(metadata["dim[0]"]))]
        bits, code = int(metadata["bitpix"]), int(metadata["datatype"])
        offset = int(float(metadata["vox_offset"]))
    except (KeyError, ValueError, OverflowError) as error:
        raise ImageError(f"{path}: its NIfTI header is damaged") from error
    if not 0 <= offset <= _MAX_OFFSET:
        raise ImageError(f"{path}: its NIfTI header is damaged: voxels at byte {offset}")
    return prod(max(1, n) for n in dims), bits, offset, code


def _unpacked(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path)) if packed else path.open("rb")


def _chunks(path: Path, file: BinaryIO, size: int) -> Iterator[bytes]:
    """``size`` bytes at most, then the rest of a gzip file unused, for its checksum."""
    while chunk := file.read(_CHUNK_BYTES):
        if size > 0:
            yield chunk[:size]
        size -= len(chunk)
        if size < -_MAX_REST:  # a small gzip file can unpack to anything
            raise ImageError(
                f"{path}: holds far more than the image its header describes; not read further, "
                "write it again with the program it comes from"
            )


def _count_bad(chunk: bytes, dtype: str) -> int:
    whole = len(chunk) // int(dtype[-1]) * int(dtype[-1])
    values = np.frombuffer(chunk[:whole], dtype)
    return int(values.size - np.isfinite(values).sum())
