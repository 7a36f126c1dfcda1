"""What the Compare panel asks of a child process: figures, maps, a report. No Qt."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.errors import CheckpointError, EvaluationError, VolumeError
from napari_ct2mri.imaging.volume import Volume
from napari_ct2mri.jobs import Event, Job, Notice, Progress
from napari_ct2mri.widgets.tasks import PairEntry, save_pairs

if TYPE_CHECKING:
    from napari_ct2mri.app.workflows.reference import Reference
    from napari_ct2mri.evaluation import Label, PatientImages, Report, SliceFigures
    from napari_ct2mri.imaging.intensity import MrRange

__all__ = ["Compared", "MapsDone", "as_command", "compare", "save_report"]

_PAIRS = "pairs.csv"
_PREDICTIONS = "predictions"


@dataclass(frozen=True, slots=True, eq=False)
class MapsDone(Event):
    """Maps of one slice on the CT's grid, (y, x) float32, NaN outside the head.

    See :class:`~napari_ct2mri.evaluation.maps.Maps`.
    """

    index: int
    difference: NDArray[np.float32]
    similarity: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """Figures of one head, and what they are worth.

    Attributes
    ----------
    report : Report
        Of the model, and of black, which has learnt nothing.
    label, meaning : str
    range : MrRange
        What the real MR's values map to; see :class:`~.reference.Reference`.
    slices : n of int
        Which slices show a head, in order.
    each : n of SliceFigures
        Of the model.
    predictors : tuple of str
    figures : tuple of (title, one string a predictor)
    """

    report: Report
    label: Label
    meaning: str
    range: MrRange
    slices: tuple[int, ...]
    each: tuple[SliceFigures, ...]
    predictors: tuple[str, ...]
    figures: tuple[tuple[str, tuple[str, ...]], ...]


def compare(
    ct: Volume, real: Volume, fake: Volume, *, patient: str, contrast: str = "", model: str = ""
) -> Job[Compared]:
    """Measure a synthetic MR against the real one, by the rules of ``ct2mri evaluate``.

    Parameters
    ----------
    ct, real, fake : Volume
        On one grid, closest axes; ``fake`` in output units.
    patient : str
        What the report calls them.
    model : str
        What made ``fake``: a released model's name or a checkpoint; empty if nobody knows.

    Yields
    ------
    MapsDone for each slice that shows a head.

    Raises
    ------
    EvaluationError
        If no slice shows a head in the CT and in the real MR.
    VolumeError
        If the real or the synthetic MR is a CT.
    """
    from napari_ct2mri.app.workflows.reference import find_reference
    from napari_ct2mri.evaluation import MEANING, TITLES, Report, pick_examples
    from napari_ct2mri.evaluation.maps import draw_maps, on_grid
    from napari_ct2mri.pix2pix.pairs import PairRow
    from napari_ct2mri.pix2pix.slices import PatientPair

    yield Progress(0, len(ct.data), "slices measured")
    if "CT" in (fake.modality, real.modality):
        raise VolumeError("expected two MRs to compare, got a CT; choose another layer for it")
    row = PairRow(Path(patient), Path(), patient, contrast or "MR", "test")
    reference = find_reference(PatientPair((row,), ct, real))
    if reference is None:
        raise EvaluationError("no slice shows a head both in the CT and in the real MR")
    label, notes = _label(reference, model)
    if left_out := len(ct.data) - len(reference.slices):
        notes += (f"{left_out} slices left out: the CT or the MR shows no head there",)
    for text in notes:
        yield Notice(text)
    made = fake.data[reference.slices].astype(np.float32, copy=False)
    images = reference.images(made, label, Path(model).stem if model else "synthetic")
    black = images.by("black", np.zeros_like(images.real))
    fits = _fit(images), _fit(black)
    each: list[SliceFigures] = []
    others: list[SliceFigures] = []
    for n, index in enumerate(map(int, reference.slices)):
        each += _score(images, n, fits[0])
        others += _score(black, n, fits[1])
        maps, grid = draw_maps(images, n), ct.data.shape[1:]
        yield MapsDone(index, on_grid(maps.difference, grid), on_grid(maps.similarity, grid))
        yield Progress(n + 1, len(reference.slices), "slices measured")
    report = Report((*each, *others), pick_examples(images, each), notes)
    rows = report.table("patients").rows
    columns = zip(*(row[-len(TITLES) :] for row in rows), strict=True)
    return Compared(
        report,
        label,
        MEANING[label],
        reference.range,
        tuple(map(int, reference.slices)),
        tuple(each),
        (images.predictor, black.predictor),
        tuple(zip(TITLES.values(), columns, strict=True)),
    )


def save_report(
    report: Report, folder: Path, entry: PairEntry, fake: Volume | None
) -> Job[tuple[Path, ...]]:
    """Write the report, and what ``ct2mri evaluate`` needs to make it again.

    Parameters
    ----------
    folder : Path
        Is made where it is missing.
    entry : PairEntry
        CT and real MR; a volume that is in no file is written beside the list of pairs.
    fake : Volume, optional
        The synthetic MR on its exact grid, where no model is known that makes it again.

    Returns
    -------
    tuple of Path
        ``report.html`` first.

    Raises
    ------
    Ct2MriError
        If something cannot be written, with why.
    """
    from napari_ct2mri.evaluation import write_report

    yield Progress(0, 2, "parts written")
    files = write_report(report, folder)
    yield Progress(1, 2, "parts written")
    try:
        pairs = yield from save_pairs(folder / _PAIRS, [entry])
    except OSError as error:
        raise EvaluationError(
            f"{folder / _PAIRS}: could not be written: {error.strerror}"
        ) from None
    predictions = _save_prediction(folder, pairs, fake) if fake else ()
    page = next(file for file in files if file.suffix == ".html")
    return (page, *(file for file in files if file != page), pairs, *predictions)


def as_command(folder: Path, model: str) -> str:
    """The command line that measures again what :func:`save_report` wrote."""
    made = ["--model", model] if model else ["--predictions", str(folder / _PREDICTIONS)]
    words = ["ct2mri", "evaluate", str(folder / _PAIRS), *made, "--output", str(folder)]
    return shlex.join(words)


def _save_prediction(folder: Path, pairs: Path, fake: Volume) -> tuple[Path, ...]:
    """Where ``--predictions`` looks for it."""
    from napari_ct2mri.app.workflows.files import new_folder, prediction_path
    from napari_ct2mri.imaging.io import write_volume
    from napari_ct2mri.pix2pix.pairs import read_pairs

    (row,) = read_pairs(pairs).rows
    path = prediction_path(folder / _PREDICTIONS, row, row.contrast, fake.is_picture)
    with new_folder(path.parent):
        write_volume(fake, path)
    return (path,)


def _fit(images: PatientImages) -> tuple[float, float]:
    from napari_ct2mri.evaluation import fit_patient

    return fit_patient([images])


def _score(images: PatientImages, n: int, fit: tuple[float, float]) -> Sequence[SliceFigures]:
    """One slice alone, so that a person can stop between two."""
    from napari_ct2mri.evaluation import score_patient

    one = slice(n, n + 1)
    return score_patient(
        replace(
            images,
            slice_names=images.slice_names[one],
            real=images.real[one],
            fake=images.fake[one],
            head=images.head[one],
            ct=None,
        ),
        fit,
    )


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
