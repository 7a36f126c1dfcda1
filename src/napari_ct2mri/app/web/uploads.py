"""Uploaded files to a volume: bounded, through a temporary folder, by the project's readers."""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from lzma import LZMAError
from math import prod
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING, TypeAlias

from napari_ct2mri.errors import Ct2MriError, ImageError
from napari_ct2mri.imaging.formats import KINDS, ending

if TYPE_CHECKING:
    from napari_ct2mri.imaging.series import Series
    from napari_ct2mri.imaging.volume import Modality, Volume

__all__ = ["MAX_BYTES", "MAX_FILES", "MAX_VOXELS", "Upload", "list_series", "read_upload"]

MAX_BYTES = 2**30
"""Of all files of an upload, those in a zip unpacked."""

MAX_FILES = 5000
MAX_VOXELS = 2**27
"""512 slices of 512 x 512: a float32 MR of half a gigabyte."""

_HEADER_BYTES = 2**20
_VOXELS_IN = re.compile(
    rb"^[ \t]*(?:data ?file[ \t]*:|ElementDataFile[ \t]*=)([^\r\n]*)", re.MULTILINE | re.IGNORECASE
)
_HEADER_ENDS = {"NRRD": re.compile(rb"\r?\n\r?\n"), "MetaImage": _VOXELS_IN}

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
        if shape is not None and prod(shape) > MAX_VOXELS:
            raise ImageError(
                f"{path}: {' x '.join(map(str, shape))} voxels, but this page takes "
                f"{MAX_VOXELS:,}; use ct2mri synthesize, or give fewer slices"
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
    """Refuse a header whose voxels may lie outside of the upload: it could name any file here."""
    kind = KINDS.get(ending(path))
    if kind not in _HEADER_ENDS:
        return
    with path.open("rb") as file:
        start = file.read(_HEADER_BYTES)
    if len(start) == _HEADER_BYTES and not _HEADER_ENDS[kind].search(start):
        raise ImageError(f"{path}: a header of more than {_HEADER_BYTES // 2**20} MiB")
    for named in _VOXELS_IN.findall(start):
        name = named.decode("latin-1").strip()
        if name.upper().startswith("LIST") or any(mark in name for mark in r"/\:"):
            raise ImageError(
                f"{path}: its voxels are in other files, {name[:80]}; give a file that holds them "
                "itself (.nrrd, .mha, .nii.gz), or a zip with the one it names beside it"
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
