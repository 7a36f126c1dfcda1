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

__all__ = ["Compared", "MapsDone", "as_command", "compare", "picture_entries", "save_report"]

_PAIRS = "pairs.csv"
_SYNTHETIC = "synthetic"
"""The folder of the synthetic MR, by which ``--predictions`` calls what nobody knows who made."""

_LEVELS = 257  # of a 16-bit picture to a grey level


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
    from napari_ct2mri.app.workflows.reference import reference_of
    from napari_ct2mri.evaluation import MEANING, TITLES, Report, pick_examples
    from napari_ct2mri.evaluation.maps import draw_maps, on_grid

    yield Progress(0, len(ct.data), "slices measured")
    if "CT" in (fake.modality, real.modality):
        raise VolumeError("expected two MRs to compare, got a CT; choose another layer for it")
    reference = reference_of(ct, real, patient, contrast or "MR")
    if reference is None:
        raise EvaluationError("no slice shows a head both in the CT and in the real MR")
    label, notes = _label(reference, model)
    if left_out := len(ct.data) - len(reference.slices):
        notes += (f"{left_out} slices left out: the CT or the MR shows no head there",)
    for text in notes:
        yield Notice(text)
    made = fake.data[reference.slices].astype(np.float32, copy=False)
    images = reference.images(made, label, Path(model).stem if model else _SYNTHETIC)
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


def picture_entries(ct: Volume, real: Volume, patient: str, contrast: str) -> tuple[PairEntry, ...]:
    """A row a picture, in order: a file of predictions holds one."""
    return tuple(
        PairEntry(_slice(ct, i), _slice(real, i), patient, contrast, "test", slice_index=i)
        for i in range(len(ct.data))
    )


def save_report(
    report: Report,
    folder: Path,
    entries: Sequence[PairEntry],
    fake: Volume,
    model: str = "",
) -> Job[tuple[Path, ...]]:
    """Write the report, and what ``ct2mri evaluate`` needs to make it again.

    Parameters
    ----------
    folder : Path
        Is made where it is missing.
    entries : sequence of PairEntry
        CT and real MR, a volume or each picture; what is in no file is written beside the list of
        pairs.
    fake : Volume
        The synthetic MR on its exact grid: what was measured, whoever can make it again.
    model : str
        What made ``fake`` by its own account; empty if nobody knows.

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

    yield Progress(0, 3, "parts written")
    files = write_report(report, folder)
    yield Progress(1, 3, "parts written")
    try:
        pairs = yield from save_pairs(folder / _PAIRS, entries)
    except OSError as error:
        raise EvaluationError(
            f"{folder / _PAIRS}: could not be written: {error.strerror}"
        ) from None
    yield Progress(2, 3, "parts written")
    predictions = _save_predictions(folder / _SYNTHETIC, pairs, fake, model)
    page = next(file for file in files if file.suffix == ".html")
    return (page, *(file for file in files if file != page), pairs, *predictions)


def as_command(folder: Path) -> str:
    """The command line that measures again what :func:`save_report` wrote."""
    words = ["ct2mri", "evaluate", str(folder / _PAIRS)]
    words += ["--predictions", str(folder / _SYNTHETIC), "--output", str(folder)]
    return shlex.join(words)


def _save_predictions(folder: Path, pairs: Path, fake: Volume, model: str) -> tuple[Path, ...]:
    """Where ``--predictions`` looks for them, and who made them."""
    from napari_ct2mri.app.workflows.files import new_folder, prediction_path
    from napari_ct2mri.imaging.io import write_volume
    from napari_ct2mri.pix2pix.pairs import read_pairs

    rows = read_pairs(pairs).rows
    paths = [prediction_path(folder, row, row.contrast, fake.is_picture) for row in rows]
    parts = [_as_picture(fake, i) for i in range(len(rows))] if fake.is_picture else [fake]
    with new_folder(paths[0].parent):
        for part, path in zip(parts, paths, strict=True):
            write_volume(part, path)
        return (*paths, *_save_maker(folder, model, paths))


def _save_maker(folder: Path, model: str, paths: Sequence[Path]) -> tuple[Path, ...]:
    """By the word of the layer, as its label is; a board's, too, whose integers differ a little."""
    from napari_ct2mri.app.workflows.manifest import Run, record
    from napari_ct2mri.pix2pix.checkpoint import Checkpoint, read_header
    from napari_ct2mri.pix2pix.zoo import find_model

    if not model:
        return ()
    try:
        digest = Checkpoint(read_header(find_model(model)), {}).digest
    except CheckpointError:
        return ()  # which the report's notes say
    return (record(folder, Run(model=model, digest=digest), paths),)


def _slice(volume: Volume, index: int) -> Volume:
    return replace(volume, data=volume.data[index : index + 1])


def _as_picture(volume: Volume, index: int) -> Volume:
    """One picture, in levels that a file of 16 bits holds."""
    part = _slice(volume, index)
    if part.data.dtype == np.uint8:
        return part
    levels = np.rint(part.data.astype(np.float64).clip(0, 255) * _LEVELS)
    return replace(part, data=(levels / _LEVELS).astype(np.float32))


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
    from napari_ct2mri.pix2pix.checkpoint import read_header
    from napari_ct2mri.pix2pix.zoo import find_model

    if not model:
        return "unknown", ("the synthetic layer does not say which model made it",)
    try:
        known = read_header(find_model(model))
    except CheckpointError as error:
        return "unknown", (f"the model cannot be asked whom it has seen: {error}",)
    ct = reference.pair.ct
    return label_of(ct.data, ct.unit, *known.fingerprints), ()
