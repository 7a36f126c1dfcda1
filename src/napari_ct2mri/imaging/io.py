"""Files to volumes and back: one way in, one way out, whatever the format.

DICOM is left to :mod:`~napari_ct2mri.imaging.dicom`, NIfTI, NRRD and MetaImage to
:mod:`~napari_ct2mri.imaging.formats`, pictures to :mod:`~napari_ct2mri.imaging.pictures`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

from napari_ct2mri.errors import ImageError
from napari_ct2mri.imaging.dicom import find_stacks, read_stack
from napari_ct2mri.imaging.dicom_header import is_dicom
from napari_ct2mri.imaging.formats import KINDS, describe_file, ending, read_file
from napari_ct2mri.imaging.pictures import (
    PICTURE_ENDINGS,
    picture_files,
    picture_shape,
    read_pictures,
)
from napari_ct2mri.imaging.series import Series, pick
from napari_ct2mri.imaging.volume import Modality, Source, Volume
from napari_ct2mri.imaging.writing import growing_volume, write_volume

__all__ = ["Series", "growing_volume", "picture_files", "read_volume", "scan", "write_volume"]

_MAX_FILES = 200_000
_EXPECTED = "a DICOM file or folder, .nii, .nii.gz, .nrrd, .mha, .mhd, or pictures"

_Found: TypeAlias = tuple[Series, Callable[[Modality | None], Volume]]
"""A series and how to read it, given the modality that was asked for."""


def scan(path: Path) -> tuple[Series, ...]:
    """Everything that ``path`` holds, without reading pixels.

    A folder is searched to any depth for DICOM, whatever the file names. A folder without
    DICOM is searched for NIfTI, NRRD and MetaImage, and one without those is taken for a
    folder of pictures.

    Raises
    ------
    ImageError
        If there is nothing to be read.
    """
    return tuple(series for series, _ in _find(Path(path)))


def read_volume(
    path: Path, *, series: str | None = None, modality: Modality | None = None
) -> Volume:
    """Read one volume; voxels are neither clipped nor scaled.

    Parameters
    ----------
    path : Path
        See :func:`scan`. A single DICOM file is a volume of one slice.
    series : str, optional
        Which of several: its number as listed by :func:`scan`, counted from 1, its UID, or a
        beginning or end of it.
    modality : Modality, optional
        What the file is, where it does not say so itself.

    Returns
    -------
    Volume
        ``notes`` says what was left out, guessed or corrected.

    Raises
    ------
    ImageError
        If there is nothing to be read, several series and none chosen, a damaged file, or
        one that states another modality than ``modality``.
    """
    found = _find(Path(path))
    _, read = found[pick([s for s, _ in found], series, Path(path))]
    return read(modality)


def _find(path: Path) -> list[_Found]:
    if not path.exists():
        raise ImageError(f"{path}: does not exist; expected {_EXPECTED}")
    if path.is_file() and path.name.upper() == "DICOMDIR":
        path = path.parent
    return _find_in_folder(path) if path.is_dir() else _find_in_file(path)


def _find_in_file(path: Path) -> list[_Found]:
    if is_dicom(path):
        return _find_dicom([path], path)
    if ending(path) in KINDS:
        return [_volume_file(path)]
    if path.suffix.lower() in PICTURE_ENDINGS:
        return [_pictures(path, (path,), "picture")]
    raise ImageError(f"{path}: not an image this program reads; expected {_EXPECTED}")


def _find_in_folder(folder: Path) -> list[_Found]:
    files = _walk(folder)
    if found := _find_dicom(files, folder):
        return found
    if volumes := [file for file in files if ending(file) in KINDS]:
        return [_volume_file(file) for file in volumes]
    try:
        return [_pictures(folder, picture_files(folder), "pictures")]
    except ImageError:
        if any(file.parent == folder and file.suffix.lower() in PICTURE_ENDINGS for file in files):
            raise
    inner = sorted({f.parent.name for f in files if f.suffix.lower() in PICTURE_ENDINGS})
    hint = f"; open one of its folders of pictures ({', '.join(inner[:8])})" if inner else ""
    raise ImageError(f"{folder}: no image among its {len(files)} files; expected {_EXPECTED}{hint}")


def _walk(folder: Path) -> list[Path]:
    """All files below a folder but hidden ones, in a fixed order."""
    files: list[Path] = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        files += [Path(parent, name) for name in sorted(names) if name[0] != "."]
        if len(files) > _MAX_FILES:
            raise ImageError(
                f"{folder}: more than {_MAX_FILES} files; give the folder of one patient or series"
            )
    return [file for file in files if file.is_file()]


def _find_dicom(files: Sequence[Path], path: Path) -> list[_Found]:
    return [(stack.series, partial(read_stack, stack, path)) for stack in find_stacks(files)]


def _volume_file(path: Path) -> _Found:
    return describe_file(path), partial(read_file, path)


def _pictures(path: Path, files: tuple[Path, ...], kind: str) -> _Found:
    pages, *frame = picture_shape(files[0])
    series = Series(
        uid="",
        kind=kind,
        modality="unknown",
        description=path.name,
        files=files,
        shape=(pages * len(files), frame[0], frame[1]),
        spacing=None,
    )

    def read(modality: Modality | None) -> Volume:
        return Volume(
            read_pictures(files),
            modality=modality or "unknown",
            unit="grey",
            source=Source(str(path)),
        )

    return series, read
