"""Uploaded files to a volume: bounded, through a temporary folder, by the project's readers."""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from lzma import LZMAError
from math import prod
from mmap import ACCESS_READ, mmap
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING, TypeAlias

from napari_ct2mri.errors import Ct2MriError, ImageError
from napari_ct2mri.imaging.formats import KINDS, ending

if TYPE_CHECKING:
    from napari_ct2mri.imaging.series import Series
    from napari_ct2mri.imaging.volume import Modality, Volume

__all__ = [
    "MAX_BYTES",
    "MAX_FILES",
    "MAX_SLICE",
    "MAX_VOXELS",
    "Upload",
    "list_series",
    "read_upload",
]

MAX_BYTES = 2**30
"""Of all files of an upload, those in a zip unpacked."""

MAX_FILES = 5000
MAX_VOXELS = 2**27
"""512 slices of 512 x 512: a float32 MR of half a gigabyte."""

MAX_SLICE = 2**24
"""4096 x 4096: a coloured picture takes 30 bytes a pixel before it is known to be grey."""

_HEADER_BYTES = 2**20

_META_FIELD = re.compile(rb"ElementDataFile")
_META_LINE = re.compile(
    rb"(?:\A|\n)ElementDataFile[ \t]*=[ \t]*([^\0- ][^\r\n]*?)[ \t]*\r?(?:\n|\Z)"
)
_NRRD_END = re.compile(rb"\r?\n\r?\n")
_NRRD_FIELD = re.compile(rb"data\s*file", re.IGNORECASE)
_NRRD_LINE = re.compile(rb"data ?file:[ \t]*([^\0- ].*?)[ \t]*", re.IGNORECASE)
_ODD_LINE_END = re.compile(rb"\r(?!\n)|[\v\f\0]")
"""What only some programs take for the end of a line, or of a text."""

Upload: TypeAlias = IO[bytes]
"""A file as Streamlit hands it over: in memory, its ``name`` that on the visitor's machine."""


def list_series(files: Sequence[Upload]) -> tuple[Series, ...]:
    """What the files hold together, without reading pixels.

    Raises
    ------
    ImageError
        If it is nothing that can be read, or too much.
    """
    from napari_ct2mri.imaging.io import scan

    with _unpacked(files) as path:
        return scan(path)


def read_upload(files: Sequence[Upload], modality: Modality, series: int | None = None) -> Volume:
    """Read one volume; when this returns, no file of it is left on the disk.

    Parameters
    ----------
    files : sequence of Upload
        One image, a zip, or the files of a series.
    modality : Modality
        What it is, where a file does not say so itself.
    series : int, optional
        Which of several, from 1.

    Raises
    ------
    ImageError
        If it cannot be read, or is too large.
    """
    from napari_ct2mri.imaging.io import read_volume, scan
    from napari_ct2mri.imaging.series import pick
    from napari_ct2mri.imaging.volume import Source

    key = None if series is None else str(series)
    with _unpacked(files) as path:
        found = scan(path)
        shape = found[pick(found, key, path)].shape
        if shape is not None and (prod(shape) > MAX_VOXELS or prod(shape[1:]) > MAX_SLICE):
            raise ImageError(
                f"{path}: {' x '.join(map(str, shape))} voxels, but this page takes "
                f"{MAX_VOXELS:,}, {MAX_SLICE:,} a slice; use ct2mri synthesize, or give fewer "
                "slices"
            )
        volume = read_volume(path, series=key, modality=modality)
        notes = tuple(_named(note, path) for note in volume.notes)
        return replace(volume, source=Source(), notes=notes)


@contextmanager
def _unpacked(files: Sequence[Upload]) -> Iterator[Path]:
    """The one file there is, or a folder that holds all of them; gone afterwards."""
    with TemporaryDirectory(prefix="upload-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        try:
            written = _write(files, folder)
            is_one = len(files) == 1 and not _is_zip(files[0])
            for path in written:
                _check_stays(path)
            yield written[0] if is_one else folder
        except Ct2MriError as error:
            raise type(error)(_named(str(error), folder)) from None


def _named(text: str, path: Path) -> str:
    """A message as the visitor knows the files."""
    folder = path if path.is_dir() else path.parent
    return text.replace(f"{folder}{os.sep}", "").replace(str(folder), "the upload")


def _write(files: Iterable[Upload], folder: Path) -> list[Path]:
    """Every file into ``folder``, those of a zip with their folders; none can lead out of it."""
    written: list[Path] = []
    left = MAX_BYTES
    try:
        for parts, source in _sources(files):
            if len(written) == MAX_FILES:
                raise ImageError(f"the upload: more than {MAX_FILES} files; give one series")
            target = folder.joinpath(*parts)
            if target.exists():  # two of one name, from different folders of the visitor's
                target = folder.joinpath(f"{len(written)}", *parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as sink:
                left -= _copy(source, sink, left)
            written.append(target)
    except OSError as error:
        if error.strerror is None:  # not of the disk: of bzip2 data that are damaged
            raise ImageError(f"the upload: cannot be unpacked: {error}; zip it again") from None
        raise ImageError(f"the upload: could not be kept: {error.strerror}") from None
    except (zipfile.BadZipFile, zlib.error, LZMAError, EOFError, ValueError, RuntimeError) as error:
        # a RuntimeError if it is encrypted, or packed in a way that Python does not know; a
        # ValueError if a name in it is no text
        raise ImageError(f"the upload: cannot be unpacked: {error}; zip it again") from None
    if not written:
        raise ImageError("the upload: holds no file; give an image, a zip or the files of a series")
    return written


def _check_stays(path: Path) -> None:
    """Refuse a header whose voxels may lie outside of the upload: it could name any file here.

    What names that file is taken only if it is written in the one plain way; ITK reads more ways
    than its formats have. Every other mention of it is refused, since ITK might heed that one.
    """
    kind = KINDS.get(ending(path))
    if kind == "MetaImage":
        name = _meta_voxels(path)
    elif kind == "NRRD":
        name = _nrrd_voxels(path)
    else:
        return
    # a percent sign makes a pattern of names, which ITK gives to printf; - is the standard input
    if name == "-" or name.upper().startswith("LIST") or any(mark in name for mark in r"/\:%"):
        raise ImageError(
            f"{path}: its voxels are in other files, {name[:80]}; give a file that holds them "
            "itself (.nrrd, .mha, .nii.gz), or a zip with the one it names beside it"
        )


def _meta_voxels(path: Path) -> str:
    """What a MetaImage says of the place of its voxels: LOCAL, or a name.

    The word may stand once in the whole file, so that it matters little where ITK thinks that
    the header ends.
    """
    if path.stat().st_size == 0:
        return ""
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        found = [match.start() for match in islice(_META_FIELD.finditer(content), 2)]
        start = content[: min(found[0] if found else len(content), _HEADER_BYTES)]
        if len(start) == _HEADER_BYTES:
            raise _too_long(path)
        line = _META_LINE.match(content, max(found[0] - 1, 0)) if len(found) == 1 else None
        named = line and line[1].decode("latin-1")
    if named is None or _ODD_LINE_END.search(start):
        raise _unclear(path, "one line 'ElementDataFile = LOCAL', with a name in place of LOCAL")
    return named


def _nrrd_voxels(path: Path) -> str:
    """What a NRRD header says of the place of its voxels: a name, or nothing if they follow it."""
    with path.open("rb") as file:
        start = file.read(_HEADER_BYTES)
    end = _NRRD_END.search(start)
    if end is None and len(start) == _HEADER_BYTES:
        raise _too_long(path)
    header = start[: end.start()] if end else start
    lines = [line.removesuffix(b"\r") for line in header.split(b"\n") if line[:1] != b"#"]
    named = [line for line in lines if _NRRD_FIELD.search(line)]
    line = _NRRD_LINE.fullmatch(named[0]) if len(named) == 1 else None
    if _ODD_LINE_END.search(header) or (named and line is None):
        raise _unclear(path, "at most one line 'data file: NAME'")
    return line[1].decode("latin-1") if line else ""


def _too_long(path: Path) -> ImageError:
    return ImageError(f"{path}: a header of more than {_HEADER_BYTES // 2**20} MiB")


def _unclear(path: Path, expected: str) -> ImageError:
    return ImageError(
        f"{path}: it is not clear where its header says its voxels are, expected {expected}; "
        "write it again with a current program"
    )


def _sources(files: Iterable[Upload]) -> Iterator[tuple[tuple[str, ...], IO[bytes]]]:
    """Path and content of each file and of each file in a zip."""
    for file in files:
        file.seek(0)
        if not _is_zip(file):
            yield (PurePosixPath(file.name.replace("\\", "/")).name or "upload",), file
            continue
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                parts = _safe_parts(member.filename)
                if parts and not member.is_dir():
                    with archive.open(member) as content:
                        yield parts, content


def _is_zip(file: Upload) -> bool:
    return file.name.lower().endswith(".zip")


def _safe_parts(name: str) -> tuple[str, ...]:
    """The path in a zip without what leads elsewhere; empty for what systems leave in one."""
    parts = tuple(
        part.replace(":", "_") for part in name.replace("\\", "/").split("/") if part.strip(". ")
    )
    is_litter = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return () if is_litter else parts


def _copy(source: IO[bytes], sink: IO[bytes], limit: int) -> int:
    """Bytes that were copied, of at most ``limit``: a zip may hold a thousand times its size."""
    count = 0
    while block := source.read(2**20):
        count += len(block)
        if count > limit:
            raise ImageError(
                f"the upload: more than {MAX_BYTES // 2**20} MiB, unpacked; give one series, or "
                "use ct2mri synthesize"
            )
        sink.write(block)
    return count
