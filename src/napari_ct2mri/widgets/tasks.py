"""What the panels ask of a child process: jobs, without Qt.

Arguments and results pickle. Each job is a few lines round what ``imaging``, ``pix2pix`` and
``app.workflows`` do; torch is imported here, in the child, and never in the viewer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from napari_ct2mri.app.process import at_once
from napari_ct2mri.config import Preset
from napari_ct2mri.errors import ConfigError, Ct2MriError
from napari_ct2mri.imaging.volume import Modality, Volume
from napari_ct2mri.jobs import Job, Progress

if TYPE_CHECKING:
    from napari_ct2mri.imaging.io import Series
    from napari_ct2mri.pix2pix.checkpoint import TrainResult
    from napari_ct2mri.pix2pix.pairs import PairRow, Split

__all__ = [
    "PairEntry",
    "Watched",
    "read",
    "resume",
    "save_pairs",
    "scan",
    "train",
]


Watched: TypeAlias = tuple[Path | Volume, str]
"""A CT: its file, or itself where it is in none, and the series in that file."""


@dataclass(frozen=True, slots=True, eq=False)
class PairEntry:
    """One row of the table of pairs; a volume stands for a layer that is in no file."""

    ct: Path | Volume
    mr: Path | Volume
    patient: str
    contrast: str
    split: Split
    slice_index: int | None = None
    series: str = ""


@at_once
def scan(*paths: Path) -> Job[tuple[Series, ...]]:
    """List what files and folders hold."""
    from napari_ct2mri.imaging.io import scan

    yield Progress(0, 1, "folders searched")
    return scan(*paths)


@at_once
def read(series: Series, *paths: Path, modality: Modality | None = None) -> Job[Volume]:
    """Read a series that :func:`scan` listed of ``paths``."""
    from napari_ct2mri.imaging.io import read_listed

    yield Progress(0, 1, "volumes read")
    return read_listed(series, *paths, modality=modality)


def save_pairs(path: Path, entries: Sequence[PairEntry]) -> Job[Path]:
    """Write a pair list, and beside it the volumes that are in no file yet.

    No image that lies there is written over, since rows of this list or of another may name it;
    one that was written before and still holds a row's volume is named again.

    Raises
    ------
    PairError
        If the list is not one to train on.
    """
    from napari_ct2mri.pix2pix.pairs import read_pairs, write_pairs

    rows = []
    named = {file for entry in entries for file in (entry.ct, entry.mr) if isinstance(file, Path)}
    for number, entry in enumerate(entries, start=1):
        rows.append(_row(path, number, entry, named))
        named |= {rows[-1].ct, rows[-1].mr}
        yield Progress(number, len(entries), "pairs written")
    write_pairs(path, rows)
    read_pairs(path)  # says what is wrong with it, if anything, before it is used
    return path


def train(
    pairs: Path | Sequence[PairEntry],
    output: Path,
    preset: Preset,
    leaves: Mapping[str, Any],
    *,
    contrast: str | None = None,
    init: Path | None = None,
    watched: Watched | None = None,
) -> Job[TrainResult]:
    """Train on a pair list, or on entries that are first written to ``<output's stem>-pairs``.

    ``watched`` is the CT whose slice in view is previewed.

    Raises
    ------
    ConfigError
        If the output's folder cannot be made or written to.
    """
    from napari_ct2mri.app import workflows
    from napari_ct2mri.app.flags import config_from_flags

    config = config_from_flags(preset, dict(leaves))
    pairs = yield from _pairs_on_disk(pairs, output)
    ct = yield from _shown(watched)
    job = workflows.train(pairs, output, config, contrast=contrast, init=init, watched=ct)
    return (yield from job)


def resume(
    pairs: Path | Sequence[PairEntry],
    output: Path,
    *,
    contrast: str | None = None,
    watched: Watched | None = None,
) -> Job[TrainResult]:
    """Go on with the run that wrote ``output``, with its own settings; see :func:`train`."""
    from napari_ct2mri.app import workflows

    pairs = yield from _pairs_on_disk(pairs, output)
    ct = yield from _shown(watched)
    job = workflows.train(pairs, output, None, contrast=contrast, resume=True, watched=ct)
    return (yield from job)


def _pairs_on_disk(pairs: Path | Sequence[PairEntry], output: Path) -> Job[Path]:
    if isinstance(pairs, Path):
        return pairs
    folder = output.with_name(f"{output.stem}-pairs")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return (yield from save_pairs(folder / "pairs.csv", pairs))
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(
            f"{folder}: the pairs cannot be written there ({reason}); save the model elsewhere"
        ) from error


def _shown(watched: Watched | None) -> Job[Volume | None]:
    """The watched CT as a viewer shows it, on closest axes."""
    from napari_ct2mri.imaging.io import read_volume
    from napari_ct2mri.imaging.volume import closest_axes

    if watched is None:
        return None
    ct, series = watched
    if isinstance(ct, Path):
        yield Progress(0, 1, "volumes read")
        ct = read_volume(ct, series=series or None, modality="CT")
    return closest_axes(ct)[0]


def _row(path: Path, number: int, entry: PairEntry, named: Collection[Path]) -> PairRow:
    """An entry with its volumes in files, under the first number from ``number`` that is free."""
    from napari_ct2mri.imaging.io import write_volume
    from napari_ct2mri.pix2pix.pairs import PairRow

    volumes = {k: v for k, v in (("ct", entry.ct), ("mr", entry.mr)) if isinstance(v, Volume)}
    for free in count(number):
        # MetaImage keeps geometry and unit exactly
        files = {kind: path.with_name(f"{path.stem}-{free:03d}-{kind}.mha") for kind in volumes}
        if all(_is_for(files[kind], volumes[kind], named) for kind in volumes):
            break
    for kind, volume in volumes.items():
        if not files[kind].exists():
            write_volume(volume, files[kind])
    return PairRow(
        entry.ct if isinstance(entry.ct, Path) else files["ct"],
        entry.mr if isinstance(entry.mr, Path) else files["mr"],
        entry.patient,
        entry.contrast,
        entry.split,
        entry.slice_index,
        entry.series,
    )


def _is_for(file: Path, volume: Volume, named: Collection[Path]) -> bool:
    """Whether nothing lies there, or this very volume, and no other row names it."""
    from napari_ct2mri.imaging.io import read_volume

    if not file.exists():
        return True
    if file in named:
        return False
    try:
        held = read_volume(file)
    except Ct2MriError:
        return False
    return (
        (held.modality, held.unit) == (volume.modality, volume.unit)
        and held.geometry.is_close(volume.geometry)
        and np.array_equal(held.data, volume.data)
    )
