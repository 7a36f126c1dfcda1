"""``evaluate``: synthetic against real MR, beside what needs no learning, honestly labelled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.app.workflows.baselines import Baselines, read_baselines
from napari_ct2mri.app.workflows.cluster import Place, over
from napari_ct2mri.app.workflows.cluster_line import Cluster, at
from napari_ct2mri.app.workflows.engines import open_model
from napari_ct2mri.app.workflows.manifest import AS_THEY_ARE, IN_8_BITS
from napari_ct2mri.app.workflows.predictions import (
    FolderPredictions,
    ModelPredictions,
    Predictions,
)
from napari_ct2mri.app.workflows.reference import find_reference
from napari_ct2mri.app.workflows.synthesis import makeable
from napari_ct2mri.disk import closed_to_files
from napari_ct2mri.errors import ConfigError, EvaluationError, PairError
from napari_ct2mri.jobs import Job, Notice

if TYPE_CHECKING:
    from napari_ct2mri.evaluation import Example, Label, PatientImages, Report, SliceFigures
    from napari_ct2mri.pix2pix.engines import EngineName, Precision
    from napari_ct2mri.pix2pix.pairs import PairList, Split

__all__ = ["Evaluated", "evaluate"]

_GRAVEST = ("train-fit", "selection", "unknown", "held-out")
"""Which label a patient gets whose contrasts have several."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The report, and the files that hold it."""

    report: Report
    files: tuple[Path, ...]


def evaluate(
    pairs: Path,
    output: Path,
    *,
    model: str | Path | None = None,
    predictions: Path | None = None,
    split: Split | Literal["all"] = "test",
    contrast: str | None = None,
    native: bool = False,
    published: bool = False,
    device: str = "auto",
    engine: EngineName = "auto",
    precision: Precision = "float",
    cluster: Cluster | None = None,
) -> Job[Evaluated]:
    """Measure a model, or a folder of predictions, on the pairs of one split.

    The real MR is mapped by each patient's own percentiles; pictures are measured at 256 x 256
    with a data range of 255, volumes on their own grid with one of 1000. The trivial
    predictors come from the train rows of the same list.

    Parameters
    ----------
    output : Path
        The folder of the report; looked at first, written at the very end.
    model, predictions
        One of them; by default the default model.
    native, published, device, engine, precision
        See :func:`~napari_ct2mri.app.workflows.synthesize`; for a model only.
    cluster : Cluster, optional
        Where the patients are measured, at the same time; by default here.

    Raises
    ------
    PairError, EvaluationError, CheckpointError, ConfigError
        If no row is left, a prediction is missing, model and rows do not fit, or ``output`` takes
        no report.
    """
    from napari_ct2mri.evaluation import check_kept, write_report
    from napari_ct2mri.pix2pix.pairs import read_pairs

    if cluster is not None:  # its workers are in other folders
        predictions = predictions.absolute() if predictions else None
    if (there := closed_to_files(output)) is not None:
        raise EvaluationError(
            f"--output {output} cannot be written: {there} takes no files; give another folder"
        )
    whole = read_pairs(pairs if cluster is None else pairs.absolute())
    check_kept(output, {pairs, *(file for row in whole.rows for file in (row.ct, row.mr))})
    rows = _rows(whole, split, contrast)
    notes: list[str] = []
    how = device, engine, precision
    source: Predictions
    with at(cluster) as place:
        if predictions is None:
            opened = open_model(model, engine, precision, device, place, published=published)
            found, engines = yield from opened
            rows, left_out = makeable(rows, found)
            notes += [left_out] if left_out else []
            notes += [IN_8_BITS] if precision == "int8" else []
            notes += [AS_THEY_ARE] if native else []
            source = ModelPredictions(found, engines, native=native, published=published)
        elif model is not None or native or published or how != ("auto", "auto", "float"):
            raise ConfigError("--predictions are read, not made; leave --model and its flags out")
        else:
            source = FolderPredictions(predictions, rows.rows)
            notes += source.notes + source.doubts
        for note in notes:
            yield Notice(note)
        measured = yield from _measure(source, rows, whole, place)
    report = measured.report((f"{pairs}, split {split}", *notes))
    return Evaluated(report, write_report(report, output))


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """One volume, or the pictures of one size, of a patient and contrast.

    ``trivial`` are the images (n, H, W) of the other predictors, by name.
    """

    images: PatientImages
    trivial: Mapping[str, NDArray[np.float32]]


class _Measured:
    """What was measured so far, and what the model is known to have seen."""

    def __init__(self) -> None:
        self.slices: list[SliceFigures] = []
        self.examples: list[Example] = []
        self.empty = 0
        self._labels: dict[str, set[Label]] = {}

    def add(self, parts: Sequence[_Part]) -> None:
        """Score a model's slices of one patient, then the trivial predictors'."""
        from napari_ct2mri.evaluation import fit_patient, pick_examples, score_patient

        fit = fit_patient([part.images for part in parts])
        for part in parts:
            scored = score_patient(part.images, fit)
            self._labels.setdefault(part.images.patient, set()).add(part.images.label)
            self.slices += scored
            self.examples += pick_examples(part.images, scored)
        for name in parts[0].trivial:
            others = [part.images.by(name, part.trivial[name]) for part in parts]
            fit = fit_patient(others)
            for other in others:
                self.slices += score_patient(other, fit)

    def join(self, later: _Measured) -> None:
        """Go on with what was measured after this."""
        self.slices += later.slices
        self.examples += later.examples
        self.empty += later.empty
        for patient, labels in later._labels.items():
            self._labels.setdefault(patient, set()).update(labels)

    def report(self, notes: tuple[str, ...]) -> Report:
        """All of it; every slice of a patient carries the gravest label of any."""
        from napari_ct2mri.evaluation import Report

        if self.empty:
            notes += (_empty(self.empty),)
        label = {p: min(several, key=_GRAVEST.index) for p, several in self._labels.items()}

        def relabelled(row: SliceFigures) -> SliceFigures:
            return replace(row, label=label[row.patient])

        return Report(
            tuple(relabelled(row) for row in self.slices),
            tuple(replace(e, scored=relabelled(e.scored)) for e in self.examples),
            notes,
        )


class _Measuring:
    """Measures the rows of one patient and contrast.

    The train rows of ``whole`` give the trivial predictors of a contrast; they are read once
    where it is measured, so that they never go over a line.
    """

    def __init__(self, source: Predictions, whole: PairList) -> None:
        self._source, self._whole = source, whole
        self._baselines: dict[str, Baselines] = {}

    def __reduce__(self) -> tuple[object, ...]:
        return _Measuring, (self._source, self._whole)

    def __call__(self, rows: PairList) -> Job[_Measured]:
        """Predict and score."""
        from napari_ct2mri.pix2pix.slices import read_patients

        (contrast,) = rows.contrasts
        if contrast not in self._baselines:
            read = yield from read_baselines(self._whole, contrast)
            self._baselines = {contrast: read}  # one contrast after the other, in one's memory
        baselines = self._baselines[contrast]
        measured = _Measured()
        for _, group in groupby(read_patients(rows), lambda pair: pair.ct.is_picture):
            parts: list[_Part] = []  # all of a patient's: one gain and offset serves them
            for pair in group:
                reference = find_reference(pair)
                measured.empty += len(pair.ct.data) - (len(reference.slices) if reference else 0)
                if reference:
                    fake = yield from self._source.predict(reference)
                    trivial = baselines.predict(reference)
                    outputs = {k: reference.output(v) for k, v in trivial.items()}
                    label = self._source.label(reference)
                    images = reference.images(fake, label, self._source.name)
                    parts.append(_Part(images, outputs))
            if parts:
                measured.add(parts)
        return measured


def _measure(
    source: Predictions, rows: PairList, whole: PairList, place: Place | None
) -> Job[_Measured]:
    """Measure every patient of ``rows``, contrast by contrast."""
    groups = [
        replace(rows, rows=group)
        for contrast in rows.contrasts
        for group in rows.where("all", contrast).by_patient().values()
    ]
    task = _Measuring(source, whole)
    several = yield from over(
        task, groups, place, what="pairs measured", size=lambda group: len(group.rows)
    )
    measured = _Measured()
    for each in several:
        measured.join(each)
    if measured.empty:
        yield Notice(_empty(measured.empty))
    return measured


def _rows(pairs: PairList, split: Split | Literal["all"], contrast: str | None) -> PairList:
    rows = pairs.where(split, contrast)
    if not rows.rows:
        there = sorted({f"{row.split} {row.contrast}" for row in pairs.rows})
        asked = " ".join(word for word in (split, contrast) if word)
        raise PairError(
            f"{pairs.path}: no rows of {asked}; there are {', '.join(there)}. Choose with --split "
            "and --contrast"
        )
    return rows


def _empty(count: int) -> str:
    return f"{count} slices left out: the CT or the MR shows no head there"
