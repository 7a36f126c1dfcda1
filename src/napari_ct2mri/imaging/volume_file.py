"""A NIfTI, NRRD or MetaImage file that grows slice by slice.

ITK writes such a file only as a whole. It writes the header here, of a volume of two slices; the
voxels, which come last in all these formats, follow as they are made.
"""

from __future__ import annotations

import gzip
import os
import re
import struct
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from errno import EFBIG
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.imaging.formats import KINDS, NOTES_KEY, ending, meaning_label
from napari_ct2mri.imaging.volume import Volume, storable, to_sitk
from napari_ct2mri.quiet import quiet

__all__ = ["VolumeFile"]

_TWO = 2  # slices of which ITK writes the header: of one it might make a picture
_NIFTI_DEPTH = 40 + 2 * 3  # where dim[3], 16 bits, stands in a NIfTI-1 header
_NIFTI_MOST = 2**15 - 1
_DEPTH = {
    "NRRD": re.compile(rb"^(sizes: \d+ \d+) 2$", re.MULTILINE),
    "MetaImage": re.compile(rb"^(DimSize = \d+ \d+) 2$", re.MULTILINE),
}
_LEVEL = 6  # of gzip, as ITK's


class VolumeFile:
    """A file that takes its slices in order, and writes them in a thread of its own.

    Parameters
    ----------
    path : Path
        A new name; a ``.mhd`` gets a ``.raw`` beside it.
    like : Volume
        Its grid, the kind of its values and what they mean; the values themselves are not used.

    Raises
    ------
    OSError, RuntimeError
        Of the disk or of ITK, here and in every method; also if the volume has more slices than
        the format can count.
    """

    def __init__(self, path: Path, like: Volume) -> None:
        self._shape, self._dtype = like.data.shape, storable(like.data[:0]).dtype
        self._count = 0
        header, voxels = _header(path, like)
        self._file = _opened(voxels)
        self._thread = ThreadPoolExecutor(1)
        self._behind: Future[object] = self._thread.submit(self._file.write, header)

    def put(self, slices: NDArray[np.generic]) -> None:
        """Take the next slices, (n, y, x); they must not change from now on."""
        if self._behind.done():
            self._behind.result()  # an early word, if there is no more room
        self._count += len(slices)
        self._behind = self._thread.submit(self._write, self._behind, slices)

    def finish(self) -> None:
        """Wait until all of it is in the file.

        Raises
        ------
        ValueError
            If slices are missing, or there were too many.
        """
        self._behind.result()
        self._file.close()
        if self._count != self._shape[0]:
            raise ValueError(f"expected {self._shape[0]} slices, got {self._count}")

    def close(self) -> None:
        """Write no more; what was not finished is left as it is."""
        self._thread.shutdown(cancel_futures=True)
        with suppress(OSError):  # there is no room for the rest, which nobody wants
            self._file.close()

    def _write(self, before: Future[object], slices: NDArray[np.generic]) -> None:
        before.result()  # what it failed with, this fails with
        for slice_ in slices:
            if slice_.shape != self._shape[1:]:
                raise ValueError(f"expected slices of {self._shape[1:]}, got {slice_.shape}")
            self._file.write(np.ascontiguousarray(slice_, self._dtype).data)


def _header(path: Path, like: Volume) -> tuple[bytes, Path]:
    """What stands before the voxels, and the file in which it stands."""
    import SimpleITK as sitk

    kind, depth = KINDS[ending(path)], like.data.shape[0]
    two = np.zeros((_TWO, *like.data.shape[1:]), like.data.dtype)
    image = to_sitk(replace(like, data=two))
    image.SetMetaData(NOTES_KEY, meaning_label(like))
    with TemporaryDirectory() as folder:  # ITK knows endings in lower case, and names in ASCII
        plain = Path(folder, "header" + ending(path).removesuffix(".gz"))
        with quiet():
            sitk.WriteImage(image, str(plain), useCompression=False)
        header = plain.read_bytes()
    if ending(path) != ".mhd":
        return _deep(header[: -storable(two).nbytes], kind, depth), path
    voxels = path.with_suffix(".raw")  # its voxels lie in another file
    header = header.replace(b"header.raw", os.fsencode(voxels.name))
    path.write_bytes(_deep(header, kind, depth))
    return b"", voxels


def _deep(header: bytes, kind: str, depth: int) -> bytes:
    """The same header for ``depth`` slices."""
    if kind != "NIfTI":
        deep, found = _DEPTH[kind].subn(rb"\g<1> %d" % depth, header)
        if found != 1:
            raise RuntimeError(f"ITK's {kind} header has no size where it is expected")
        return deep
    if depth > _NIFTI_MOST:
        raise OSError(EFBIG, f"NIfTI counts up to {_NIFTI_MOST} slices, this volume has {depth}")
    order = "<" if header[:1] == b"\x5c" else ">"  # of the header's own length, 348
    return header[:_NIFTI_DEPTH] + struct.pack(f"{order}h", depth) + header[_NIFTI_DEPTH + 2 :]


def _opened(path: Path) -> BinaryIO:
    """For writing; packed if the name says so, with no time in it: same voxels, same bytes."""
    if path.suffix.lower() == ".gz":
        return cast("BinaryIO", gzip.GzipFile(path, "wb", _LEVEL, mtime=0))
    return path.open("wb")
