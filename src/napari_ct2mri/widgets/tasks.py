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
from napari_ct2mri.errors import CheckpointError, EvaluationError
from napari_ct2mri.imaging.volume import Modality, Volume
from napari_ct2mri.jobs import Job, Notice, Progress

if TYPE_CHECKING:
    from napari_ct2mri.app.workflows.reference import Reference
    from napari_ct2mri.evaluation import Label
    from napari_ct2mri.imaging.io import Series
    from napari_ct2mri.pix2pix.checkpoint import TrainResult
    from napari_ct2mri.pix2pix.pairs import PairRow, Split

__all__ = [
    "Compared",
    "PairEntry",
    "compare",
    "read",
    "save_pairs",
    "scan",
    "train",
]


@dataclass(frozen=True, slots=True)
class Compared:
    """Figures of one head as strings, and what they are worth.

    ``figures`` holds a title and one string a predictor: the model, and black, which has
    learnt nothing.
    """

    predictors: tuple[str, ...]
    figures: tuple[tuple[str, tuple[str, ...]], ...]
    label: Label
    meaning: str
    slices: int


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


def save_pairs(path: Path, entries: Sequence[PairEntry]) -> Job[Path]:
    """Write a pair list, and beside it the volumes that are in no file yet.

    Raises
    ------
    PairError
        If the list is not one to train on.
    """
    from napari_ct2mri.pix2pix.pairs import read_pairs, write_pairs

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
    init: Path | None = None,
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


def compare(
    ct: Volume, real: Volume, fake: Volume, *, contrast: str = "", model: str = ""
) -> Job[Compared]:
    """Measure a synthetic MR against the real one, by the rules of ``ct2mri evaluate``.

    Parameters
    ----------
    ct, real, fake : Volume
        On one grid, closest axes; ``fake`` in output units.
    model : str
        What made ``fake``: a released model's name or a checkpoint; empty if nobody knows.

    Raises
    ------
    EvaluationError
        If no slice shows a head in the CT and in the real MR.
    """
    import numpy as np

    from napari_ct2mri.app.workflows.reference import find_reference
    from napari_ct2mri.evaluation import MEANING, TITLES, Report, score_patient
    from napari_ct2mri.pix2pix.pairs import PairRow
    from napari_ct2mri.pix2pix.slices import PatientPair

    yield Progress(0, 1, "patients measured")
    row = PairRow(Path(), Path(), "layers", contrast or "MR", "test")
    reference = find_reference(PatientPair((row,), ct, real))
    if reference is None:
        raise EvaluationError("no slice shows a head both in the CT and in the real MR")
    label, doubt = _label(reference, model)
    notes = list(doubt)
    if left_out := len(ct.data) - len(reference.slices):
        notes.append(f"{left_out} slices left out: the CT or the MR shows no head there")
    for text in notes:
        yield Notice(text)
    made = fake.data[reference.slices].astype(np.float32, copy=False)
    images = reference.images(made, label, Path(model).stem if model else "synthetic")
    black = images.by("black", np.zeros_like(images.real))
    table = Report((*score_patient(images), *score_patient(black))).table("patients")
    columns = zip(*(row[-len(TITLES) :] for row in table.rows), strict=True)
    figures = tuple(zip(TITLES.values(), columns, strict=True))
    predictors = (images.predictor, black.predictor)
    return Compared(predictors, figures, label, MEANING[label], len(reference.slices))


def _label(reference: Reference, model: str) -> tuple[Label, tuple[str, ...]]:
    """What the model has seen of this head; and why that is unknown, where it is."""
    from napari_ct2mri.evaluation import label_of
    from napari_ct2mri.pix2pix.checkpoint import Checkpoint, read_header
    from napari_ct2mri.pix2pix.zoo import find_model

    if not model:
        return "unknown", ("the synthetic layer does not say which model made it",)
    try:
        known = Checkpoint(read_header(find_model(model)), {})
    except CheckpointError as error:
        return "unknown", (f"the model cannot be asked whom it has seen: {error}",)
    ct = reference.pair.ct
    slices = ct.data[reference.slices]
    return label_of(slices, ct.unit, known.trained_on, known.selected_on), ()


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
