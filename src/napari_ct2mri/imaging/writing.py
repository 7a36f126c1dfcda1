"""Volumes to files: complete or not at all."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from errno import EISDIR
from glob import escape
from pathlib import Path, PurePath
from shutil import rmtree
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.disk import sync
from napari_ct2mri.errors import ImageError
from napari_ct2mri.imaging.dicom_out import (
    Derivation,
    check_new,
    dicom_writer,
)
from napari_ct2mri.imaging.formats import DICOM_ENDING, VOLUME_ENDINGS, ending
from napari_ct2mri.imaging.itk import check_name
from napari_ct2mri.imaging.pictures import PICTURE_ENDINGS, to_levels
from napari_ct2mri.imaging.volume import Volume
from napari_ct2mri.imaging.volume_file import VolumeFile
from napari_ct2mri.quiet import quiet

__all__ = ["growing_volume", "remove_leftovers", "write_volume"]

_PICTURES = (".png", ".tif", ".tiff")
_MARK = re.compile(r"\.[0-9a-f]{8}")  # of a workshop
_SHORT = "it came out incomplete, perhaps because the disk is full"


def write_volume(
    volume: Volume,
    path: Path,
    *,
    names: Sequence[str] | None = None,
    derivation: Derivation | None = None,
) -> None:
    """Write a volume in the format that the ending of ``path`` names.

    Everything is written beside its place, synced and then renamed, so that a full disk or a
    broken run leaves what was there before.

    Parameters
    ----------
    volume : Volume
        NIfTI, NRRD and MetaImage take any. Pictures take grey levels, 0..255: 8 bits, or 16
        where they were read from 16 bits; a single picture one slice. DICOM takes a synthetic
        MR on the grid of a CT that was read from DICOM.
    path : Path
        ``.nii``, ``.nii.gz``, ``.nrrd``, ``.mha``, ``.mhd``; ``.png``, ``.tif``; ``.dcm``: a new
        folder of DICOM slices; no ending or an existing folder: a folder of PNGs. Missing parent
        folders are made.
    names : sequence of str, optional
        File names of the folder's pictures, one a slice; their endings become ``.png``.
        Default ``slice_0001.png`` ...
    derivation : Derivation, optional
        Which model made it and of what contrast; DICOM needs it, other formats have no place for
        it.

    Raises
    ------
    ImageError
        If the ending is unknown, the volume does not fit the format, or writing fails.
    """
    path = Path(path)
    check_name(path)
    suffix = ending(path)
    if suffix == DICOM_ENDING:
        _write_dicom(volume, path, derivation)
        return
    as_folder = path.is_dir() or not suffix
    if as_folder:
        targets = _names(names, len(volume.data), path)
    elif suffix in VOLUME_ENDINGS or (suffix in _PICTURES and len(volume.data) == 1):
        targets = [path.name]
    elif suffix in _PICTURES:
        raise ImageError(
            f"{path}: one picture holds one slice, this volume has {len(volume.data)}; give a "
            "folder (no ending) instead"
        )
    else:
        known = ", ".join((*VOLUME_ENDINGS, DICOM_ENDING, *_PICTURES))
        raise ImageError(f"{path}: unknown ending; expected {known}, or none for a folder of PNGs")
    if (as_folder or suffix in _PICTURES) and not volume.is_picture:
        raise ImageError(
            f"{path}: pictures hold grey levels 0..255 and no millimetres, but this volume is in "
            f"{'HU' if volume.unit == 'HU' else 'arbitrary units'}; write .nii.gz, .nrrd or .mha"
        )
    if suffix in VOLUME_ENDINGS and not as_folder:
        with growing_volume(path, volume) as put:
            put(volume.data)
        return
    with _beside(path, as_folder) as workshop, _in_one_line(path), quiet():
        for slice_, name in zip(to_levels(volume.data), targets, strict=True):
            _write_picture(slice_, workshop / name)


@contextmanager
def growing_volume(path: Path, like: Volume) -> Iterator[Callable[[NDArray[np.generic]], None]]:
    """As :func:`write_volume`, for a volume that comes slice by slice.

    What comes is written, and packed if the ending says so, in a second thread. The file appears
    at the end of the block, whole; after an error in it there is none.

    Parameters
    ----------
    path : Path
        Ends in one of ``VOLUME_ENDINGS``.
    like : Volume
        Its grid, the kind of its values and what they mean; the values themselves are not used.

    Yields
    ------
    callable
        Takes the next slices, (n, y, x).

    Raises
    ------
    ImageError
        If it cannot be written; what was there before is as it was.
    """
    check_name(path)
    with _beside(path, as_folder=False) as workshop:
        with _in_one_line(path):
            file = VolumeFile(workshop / path.name, like)
        try:

            def put(slices: NDArray[np.generic]) -> None:
                with _in_one_line(path):
                    file.put(slices)

            yield put
            with _in_one_line(path):
                file.finish()
        finally:
            file.close()


def remove_leftovers(path: Path) -> None:
    """Remove what writers of ``path`` that were killed have left beside it."""
    for left in path.parent.glob(f".{escape(path.name)}.*"):
        if _MARK.fullmatch(left.suffix) and left.is_dir():
            rmtree(left, ignore_errors=True)


def _names(names: Sequence[str] | None, slices: int, folder: Path) -> list[str]:
    """Plain, distinct ``.png`` names, one a slice."""
    if names is None:
        return [f"slice_{i:04d}.png" for i in range(1, slices + 1)]
    plain = [_png_name(PurePath(name)) for name in names]
    if len(plain) != slices or len(set(plain)) != slices:
        raise ImageError(
            f"{folder}: expected {slices} different picture names, got {len(plain)} of which "
            f"{len(set(plain))} differ"
        )
    return plain


def _png_name(name: PurePath) -> str:
    """The bare name with ``.png`` for its picture ending; other dots belong to the name."""
    return (name.stem if name.suffix.lower() in PICTURE_ENDINGS else name.name) + ".png"


@contextmanager
def _beside(path: Path, as_folder: bool, is_new: bool = False) -> Iterator[Path]:
    """A hidden folder beside ``path``; what it holds in the end takes its place.

    A file would not do: ITK tells a format by the name's ending, and may write two.
    """
    workshop = path.parent / f".{path.name}.{uuid4().hex[:8]}"
    try:
        with _in_one_line(path):
            workshop.mkdir(parents=True)
        yield workshop
        with _in_one_line(path):
            if is_new:
                check_new(path)  # again: writing took a while
            _publish(workshop, path if as_folder else path.parent, is_new)
    finally:
        rmtree(workshop, ignore_errors=True)


@contextmanager
def _in_one_line(path: Path) -> Iterator[None]:
    """Whatever the disk or ITK says of ``path``, in one line."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else _SHORT
        raise ImageError(f"{path}: could not be written: {reason}; nothing was changed") from error


def _publish(workshop: Path, folder: Path, is_new: bool) -> None:
    files = sorted(workshop.iterdir(), key=_data_first)
    for file in files:
        sync(file)
    if is_new or not folder.exists():
        workshop.rename(folder)
    else:
        _replace(files, folder)
    if os.name == "posix":  # elsewhere a folder cannot be opened
        with suppress(OSError):  # all is written; only the names' own safety is at stake
            sync(folder)


def _data_first(file: Path) -> tuple[bool, str]:
    """A header that names another file comes after it."""
    return file.suffix == ".mhd", file.name


def _replace(files: Sequence[Path], folder: Path) -> None:
    """Move files into a folder, after a look at what could be in their way."""
    for file in files:
        if (folder / file.name).is_dir():
            raise OSError(EISDIR, f"{file.name} is a folder there")
    for done, file in enumerate(files):
        try:
            file.replace(folder / file.name)
        except OSError as error:
            if not done:
                raise
            raise ImageError(
                f"{folder / file.name}: could not be written: {error.strerror}; {done} of "
                f"{len(files)} files there are new already, up to {files[done - 1].name}"
            ) from error


def _write_dicom(volume: Volume, path: Path, derivation: Derivation | None) -> None:
    check_new(path)
    write = dicom_writer(volume, path, derivation)
    with _beside(path, as_folder=True, is_new=True) as workshop, _in_one_line(path), quiet():
        write(workshop)


def _write_picture(levels: NDArray[np.uint8] | NDArray[np.uint16], path: Path) -> None:
    import SimpleITK as sitk

    sitk.WriteImage(sitk.GetImageFromArray(np.ascontiguousarray(levels)), str(path))
