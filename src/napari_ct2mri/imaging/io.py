"""Files to volumes and back: one way in, one way out, whatever the format.

DICOM is left to :mod:`~napari_ct2mri.imaging.dicom`, NIfTI, NRRD and MetaImage to
:mod:`~napari_ct2mri.imaging.formats`, pictures to :mod:`~napari_ct2mri.imaging.pictures`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeAlias

from napari_ct2mri.errors import ImageError
from napari_ct2mri.imaging.dicom import Stack, find_stacks, read_stack
from napari_ct2mri.imaging.dicom_header import is_dicom
from napari_ct2mri.imaging.formats import KINDS, describe_file, ending, read_file
from napari_ct2mri.imaging.pictures import (
    PICTURE_ENDINGS,
    picture_files,
    pictures_shape,
    read_pictures,
)
from napari_ct2mri.imaging.series import Series, pick
from napari_ct2mri.imaging.volume import Modality, Source, Volume
from napari_ct2mri.imaging.writing import growing_volume, write_volume

__all__ = [
    "Found",
    "Series",
    "find",
    "growing_volume",
    "own_file",
    "picture_files",
    "read_listed",
    "read_volume",
    "scan",
    "write_volume",
]

_MAX_FILES = 200_000
_EXPECTED = "a DICOM file or folder, .nii, .nii.gz, .nrrd, .mha, .mhd, or pictures"

Found: TypeAlias = tuple[Series, Callable[[Modality | None], Volume]]
"""A series and how to read it, given the modality that was asked for."""


def scan(*paths: Path) -> tuple[Series, ...]:
    """Everything that ``paths`` hold, without reading pixels.

    A folder is searched to any depth for DICOM, whatever the file names. A folder without
    DICOM is searched for NIfTI, NRRD and MetaImage, and one without those is taken for a
    folder of pictures.

    Of several paths nothing but what they name is listed: DICOM files put together, all else
    each for itself, and what cannot be read as refused, of kind ``file``.

    Raises
    ------
    ImageError
        If there is one path, and nothing in it to be read.
    """
    return tuple(series for series, _ in find(*paths))


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
    found = find(path)
    _, read = found[pick([s for s, _ in found], series, Path(path))]
    return read(modality)


def read_listed(series: Series, *paths: Path, modality: Modality | None = None) -> Volume:
    """Read a series that :func:`scan` listed of ``paths``, whatever came beside it since.

    Raises
    ------
    ImageError
        As :func:`read_volume` does, or if it is no longer there.
    """
    file = own_file(series)
    for found, read in find(file) if file else find(*paths):
        if _is_same(found, series):
            return read(modality)
    raise ImageError(
        f"{file or paths[0]}: {series.description!r} is no longer there as it was listed; look "
        "again"
    )


def own_file(series: Series) -> Path | None:
    """The file that holds a series whole and nothing else; None for slices."""
    return series.files[0] if series.kind in (*KINDS.values(), "picture") else None


def _is_same(one: Series, other: Series) -> bool:
    """Whether both are one series, files added or gone; of its stacks, the one with these files."""
    uids = {series.uid.partition("#")[0] for series in (one, other)}
    return len(uids) == 1 and not set(one.files).isdisjoint(other.files)


def find(*paths: Path) -> list[Found]:
    """As :func:`scan`, with how to read each."""
    places = _outermost(map(Path, paths))
    if len(places) == 1:
        return _find(places[0])
    slices = {place: None for place in places if _is_slice(place)}
    found: list[Found] = []
    if slices:
        found += _or_refused(next(iter(slices)), partial(_find_slices, list(slices)))
    for place in places:
        if place not in slices:
            found += _or_refused(place, partial(_find, place))
    return found


def _outermost(paths: Iterable[Path]) -> list[Path]:
    """Paths once each, without those inside of others; a DICOMDIR stands for its folder."""
    places = dict.fromkeys(
        path.parent if path.name.upper() == "DICOMDIR" and path.is_file() else path
        for path in paths
    )
    return [place for place in places if places.keys().isdisjoint(place.parents)]


def _find(path: Path) -> list[Found]:
    if not path.exists():
        raise ImageError(f"{path}: does not exist; expected {_EXPECTED}")
    return _find_in_folder(path) if path.is_dir() else _find_in_file(path)


def _or_refused(path: Path, found: Callable[[], list[Found]]) -> list[Found]:
    """What is found; one that is refused where nothing can be."""
    try:
        return found()
    except (ImageError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
    refusal = str(reason).removeprefix(f"{path}: ")

    def read(modality: Modality | None) -> Volume:
        raise ImageError(f"{path}: {refusal}")

    return [(Series("", "file", "unknown", path.name, (path,), None, None, (), refusal), read)]


def _is_slice(path: Path) -> bool:
    try:
        return path.is_file() and is_dicom(path)
    except OSError:
        return False


def _find_slices(files: Sequence[Path]) -> list[Found]:
    """The series of single DICOM files; in one file they are not, so their volumes name none."""
    folder = _filled_by(files)
    if folder is not None:
        return _find_dicom(files, folder)
    return [(stack.series, partial(_read_loose, stack)) for stack in find_stacks(files)]


def _filled_by(files: Sequence[Path]) -> Path | None:
    """The folder that these files are in, if it holds nothing else."""
    folder = files[0].parent
    visible = {file for file in folder.iterdir() if file.name[0] != "."}
    return folder if visible == set(files) else None


def _read_loose(stack: Stack, modality: Modality | None) -> Volume:
    volume = read_stack(stack, stack.series.files[0].parent, modality)
    return replace(volume, source=replace(volume.source, path=""))


def _find_in_file(path: Path) -> list[Found]:
    if is_dicom(path):
        return _find_dicom([path], path)
    if ending(path) in KINDS:
        return [_volume_file(path)]
    if path.suffix.lower() in PICTURE_ENDINGS:
        return [_pictures(path, (path,), "picture")]
    raise ImageError(f"{path}: not an image this program reads; expected {_EXPECTED}")


def _find_in_folder(folder: Path) -> list[Found]:
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


def _find_dicom(files: Sequence[Path], path: Path) -> list[Found]:
    return [(stack.series, partial(read_stack, stack, path)) for stack in find_stacks(files)]


def _volume_file(path: Path) -> Found:
    return describe_file(path), partial(read_file, path)


def _pictures(path: Path, files: tuple[Path, ...], kind: str) -> Found:
    series = Series(
        uid="",
        kind=kind,
        modality="unknown",
        description=path.name,
        files=files,
        shape=pictures_shape(files),
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
