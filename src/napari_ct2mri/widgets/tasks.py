"""What the panels ask of a child process: jobs, without Qt.

Arguments and results pickle. Each job is a few lines round what ``imaging``, ``pix2pix`` and
``app.workflows`` do; torch is imported here, in the child, and never in the viewer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_ct2mri.config import Preset
from napari_ct2mri.errors import PairError
from napari_ct2mri.imaging.volume import Modality, Volume
from napari_ct2mri.jobs import Job, Progress

if TYPE_CHECKING:
    from napari_ct2mri.imaging.io import Series
    from napari_ct2mri.pix2pix.pairs import PairRow, Split
    from napari_ct2mri.pix2pix.training import TrainResult

__all__ = ["ModelChoice", "PairEntry", "find_models", "read", "save_pairs", "scan", "train"]


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A generator to choose: the name or path that finds it, and what it makes."""

    key: str
    contrasts: tuple[str, ...]
    summary: str = ""


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


def scan(path: Path) -> Job[tuple[Series, ...]]:
    """List what a file or folder holds."""
    from napari_ct2mri.imaging.io import scan

    yield Progress(0, 1, "folders searched")
    return scan(path)


def read(path: Path, *, series: str | None = None, modality: Modality | None = None) -> Job[Volume]:
    """Read one volume."""
    from napari_ct2mri.imaging.io import read_volume

    yield Progress(0, 1, "volumes read")
    return read_volume(path, series=series, modality=modality)


def find_models(path: str = "") -> Job[tuple[ModelChoice, ...]]:
    """The released models, or the one in a file.

    Raises
    ------
    CheckpointError
        If the file is no checkpoint.
    """
    from napari_ct2mri.pix2pix.checkpoint import read_header
    from napari_ct2mri.pix2pix.zoo import DEFAULT_MODEL, models

    yield Progress(0, 1, "models listed")
    if path:
        return (ModelChoice(path, read_header(path).config.model.contrasts),)
    cards = sorted(models(), key=lambda card: (card.name != DEFAULT_MODEL, card.name))
    return tuple(ModelChoice(card.name, card.contrasts, card.summary) for card in cards)


def save_pairs(path: Path, entries: Sequence[PairEntry]) -> Job[Path]:
    """Write a pair list, and beside it the volumes that are in no file yet.

    Raises
    ------
    PairError
        If there is nothing to write, or a patient stands in two splits.
    """
    from napari_ct2mri.pix2pix.pairs import read_pairs, write_pairs

    if not entries:
        raise PairError("the table of pairs is empty; choose a CT and an MR layer and add them")
    rows = []
    for number, entry in enumerate(entries, start=1):
        rows.append(_row(path, number, entry))
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
    init: str | None = None,
) -> Job[TrainResult]:
    """Train on a pair list, or on entries that are first written to ``<output's stem>-pairs``."""
    from napari_ct2mri.app import workflows
    from napari_ct2mri.app.flags import config_from_flags

    config = config_from_flags(preset, dict(leaves))
    if not isinstance(pairs, Path):
        folder = output.with_name(f"{output.stem}-pairs")
        folder.mkdir(parents=True, exist_ok=True)
        pairs = yield from save_pairs(folder / "pairs.csv", pairs)
    return (yield from workflows.train(pairs, output, config, contrast=contrast, init=init))


def _row(path: Path, number: int, entry: PairEntry) -> PairRow:
    from napari_ct2mri.pix2pix.pairs import PairRow

    return PairRow(
        _on_disk(entry.ct, path.with_name(f"{path.stem}-{number:03d}-ct.mha")),
        _on_disk(entry.mr, path.with_name(f"{path.stem}-{number:03d}-mr.mha")),
        entry.patient,
        entry.contrast,
        entry.split,
        entry.slice_index,
        entry.series,
    )


def _on_disk(image: Path | Volume, path: Path) -> Path:
    """The file of an image; MetaImage keeps geometry and unit exactly."""
    from napari_ct2mri.imaging.io import write_volume

    if isinstance(image, Path):
        return image
    write_volume(image, path)
    return path
