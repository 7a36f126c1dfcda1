"""``info``, ``convert`` and ``phantom``: jobs on images, without a model."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_ct2mri.app.workflows.files import check_choice, is_pair_list, pair_stacks, single_stack
from napari_ct2mri.errors import Ct2MriError
from napari_ct2mri.imaging.volume import Geometry, Modality
from napari_ct2mri.jobs import Job, Notice, Progress

if TYPE_CHECKING:
    from napari_ct2mri.imaging.series import Series

__all__ = ["Converted", "Found", "Info", "PairCount", "convert", "info"]


@dataclass(frozen=True, slots=True)
class Found:
    """One series of INPUT, as it is read.

    Attributes
    ----------
    number : int
        By which ``--series`` picks it, from 1.
    uid, kind, description, files
        See :class:`napari_ct2mri.imaging.Series`; ``files`` is their count.
    modality, unit : str
    shape : (z, y, x), or ``None`` if it cannot be read
    geometry : Geometry, or ``None`` for pictures and what cannot be read
    values : (lowest, highest) voxel, or ``None``
    problems : tuple of str
        What was found, guessed or corrected, and why it cannot be read.
    """

    number: int
    uid: str
    kind: str
    description: str
    files: int
    modality: str
    unit: str = ""
    shape: tuple[int, int, int] | None = None
    geometry: Geometry | None = None
    values: tuple[float, float] | None = None
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PairCount:
    """Rows of one patient, contrast and split in a pair list."""

    patient: str
    contrast: str
    split: str
    rows: int


@dataclass(frozen=True, slots=True)
class Info:
    """What INPUT holds: series of images, or rows of pairs."""

    path: Path
    series: tuple[Found, ...] = ()
    pairs: tuple[PairCount, ...] = ()


@dataclass(frozen=True, slots=True)
class Converted:
    """The files that ``convert`` wrote, and their slices."""

    outputs: tuple[Path, ...]
    slices: int


def info(path: Path, *, modality: Modality | None = None) -> Job[Info]:
    """Say what INPUT holds; every series is read once.

    Raises
    ------
    ImageError, PairError, ConfigError
        If it holds nothing that can be used, or is a pair list, which takes no ``modality``.
    """
    check_choice(path, None, modality)
    if is_pair_list(path):
        return Info(path, pairs=_count_pairs(path))
    from napari_ct2mri.imaging.io import scan

    found = []
    listed = scan(path)
    for number, series in enumerate(listed, start=1):
        try:
            found.append(_look(path, number, series, modality))
        except Ct2MriError as error:  # one to list among others, or all there is to say
            if len(listed) == 1:
                raise
            found.append(_refused(number, series, error))
        yield Progress(number, len(listed), "series")
    return Info(path, tuple(found))


def convert(
    path: Path, output: Path, *, series: str | None = None, modality: Modality | None = None
) -> Job[Converted]:
    """Read INPUT and write it in the format of OUTPUT's ending; voxels stay as they are.

    Raises
    ------
    Ct2MriError
        If INPUT cannot be read or OUTPUT not be written; nothing is left half-written.
    """
    check_choice(path, series, modality)
    if is_pair_list(path):
        from napari_ct2mri.pix2pix.pairs import read_pairs

        stacks = pair_stacks(read_pairs(path), output)
    else:
        stacks = iter([single_stack(path, output, series=series, modality=modality)])
    outputs: list[Path] = []
    slices = 0
    for stack in stacks:
        for note in stack.volume.notes:
            yield Notice(note)
        stack.write(stack.volume)
        outputs += stack.outputs
        slices += len(stack.volume.data)
        yield Progress(slices, slices, "slices")
    return Converted(tuple(outputs), slices)


def _look(path: Path, number: int, series: Series, modality: Modality | None) -> Found:
    from napari_ct2mri.imaging.io import read_volume

    volume = read_volume(path, series=str(number), modality=modality)
    return replace(
        _outline(number, series),
        modality=volume.modality,
        unit=volume.unit,
        shape=volume.data.shape,
        geometry=None if volume.is_picture else volume.geometry,
        values=(float(volume.data.min()), float(volume.data.max())),
        problems=tuple(dict.fromkeys((*series.problems, *volume.notes))),
    )


def _refused(number: int, series: Series, error: Ct2MriError) -> Found:
    return replace(_outline(number, series), problems=(*series.problems, str(error)))


def _outline(number: int, series: Series) -> Found:
    """What is known without reading pixels."""
    return Found(
        number, series.uid, series.kind, series.description, len(series.files), series.modality
    )


def _count_pairs(path: Path) -> tuple[PairCount, ...]:
    from napari_ct2mri.pix2pix.pairs import read_pairs

    rows = read_pairs(path).rows
    counts = Counter((row.patient, row.contrast, row.split) for row in rows)
    return tuple(PairCount(*key, rows=n) for key, n in counts.items())
