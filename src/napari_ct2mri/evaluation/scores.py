"""Figures of slices, their means over patients, and over sets of patients."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.errors import EvaluationError
from napari_ct2mri.evaluation.labels import LABELS, Label
from napari_ct2mri.evaluation.metrics import Figures, gain_and_offset, measure
from napari_ct2mri.imaging.area import area_mean

__all__ = [
    "MEASURING_SIDE",
    "PatientFigures",
    "PatientImages",
    "SetFigures",
    "SliceFigures",
    "at_measuring_size",
    "fit_patient",
    "per_patient",
    "per_set",
    "score_patient",
]

MEASURING_SIDE = 256
"""Pictures are measured with their longer side at so many pixels, however they are stored."""

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True, slots=True, eq=False)
class PatientImages:
    """One predictor's slices of one patient and contrast, ready to be measured.

    Attributes
    ----------
    patient : str
        The pair list's own name for the patient.
    contrast : str
    label : Label
        What the model has seen of the patient; trivial predictors carry the same.
    slice_names : n of str
        Unique; shown in tables and figures.
    real, fake : (n, H, W), output units
        The real MR mapped by its own percentiles, as the model's training had it.
    head : (n, H, W) bool
        Union of the CT's and the real MR's foreground; at least a pixel in every slice.
    data_range : float
        255 for pictures, 1000 for volumes.
    ct : (n, H, W) grey levels 0..255, optional
        Only shown.
    predictor : str
        "ct2mri-base", "black", "mean MR", "nearest CT".
    """

    patient: str
    contrast: str
    label: Label
    slice_names: tuple[str, ...]
    real: NDArray[Any]
    fake: NDArray[Any]
    head: NDArray[np.bool_]
    data_range: float
    ct: NDArray[Any] | None = None
    predictor: str = "model"

    def __post_init__(self) -> None:
        where = f"patient {self.patient!r}, {self.contrast}, {self.predictor}"
        if self.label not in LABELS:
            raise EvaluationError(f"{where}: label {self.label!r}, expected one of {LABELS}")
        shape = self.real.shape
        if len(shape) != 3 or 0 in shape:
            raise EvaluationError(f"{where}: expected slices (n, H, W), got real {shape}")
        others = {"synthetic": self.fake, "head": self.head, "CT": self.ct}
        for name, images in others.items():
            if images is not None and images.shape != shape:
                raise EvaluationError(f"{where}: real MR {shape}, but {name} {images.shape}")
        if len(self.slice_names) != shape[0] or len(set(self.slice_names)) != shape[0]:
            raise EvaluationError(f"{where}: expected {shape[0]} different slice names")
        if not self.data_range > 0:
            raise EvaluationError(f"{where}: data range {self.data_range}, expected > 0")
        empty = np.flatnonzero(~self.head.any(axis=(1, 2)))
        if empty.size:
            raise EvaluationError(
                f"{where}: slice {self.slice_names[empty[0]]} shows no head; leave it out"
            )

    def by(self, predictor: str, fake: NDArray[Any]) -> PatientImages:
        """The same slices as another predictor sees them."""
        return replace(self, predictor=predictor, fake=fake)


@dataclass(frozen=True, slots=True)
class SliceFigures:
    """Figures of one slice."""

    predictor: str
    patient: str
    contrast: str
    label: Label
    slice_name: str
    data_range: float
    figures: Figures


@dataclass(frozen=True, slots=True)
class PatientFigures:
    """Mean and spread (sample standard deviation) over the slices of one patient."""

    predictor: str
    patient: str
    contrast: str
    label: Label
    slices: int
    data_range: float
    mean: Figures
    spread: Figures


@dataclass(frozen=True, slots=True)
class SetFigures:
    """Mean and spread over the patients of one contrast and label, each weighing the same."""

    predictor: str
    contrast: str
    label: Label
    patients: int
    slices: int
    data_range: float | None
    mean: Figures
    spread: Figures


def at_measuring_size(images: NDArray[Any], side: int = MEASURING_SIDE) -> NDArray[Any]:
    """Bring pictures (n, H, W) to the size at which they are measured, by area averaging.

    The longer side becomes ``side`` pixels. Masks come back as masks: a pixel belongs to the
    head if more than half of it does.
    """
    height, width = images.shape[-2:]
    scale = side / max(height, width)
    shape = (max(1, round(height * scale)), max(1, round(width * scale)))
    if shape == (height, width):
        return images
    resized = area_mean(images, shape)
    return resized > 0.5 if images.dtype == bool else resized


def fit_patient(parts: Sequence[PatientImages]) -> tuple[float, float]:
    """The one gain and offset of a patient whose slices come in several volumes or sizes.

    Parameters
    ----------
    parts : sequence of PatientImages
        Of one patient, contrast, predictor and data range.
    """
    return gain_and_offset(
        chain.from_iterable(part.fake for part in parts),
        chain.from_iterable(part.real for part in parts),
        chain.from_iterable(part.head for part in parts),
    )


def score_patient(
    images: PatientImages, fit: tuple[float, float] | None = None
) -> tuple[SliceFigures, ...]:
    """Measure every slice of one patient.

    Parameters
    ----------
    images : PatientImages
    fit : (gain, offset), optional
        Of :func:`fit_patient`, where these are not all of the patient's slices.
    """
    fit = fit or fit_patient([images])
    stacks = zip(images.slice_names, images.fake, images.real, images.head, strict=True)
    return tuple(
        SliceFigures(
            images.predictor,
            images.patient,
            images.contrast,
            images.label,
            name,
            images.data_range,
            measure(fake, real, head, images.data_range, fit),
        )
        for name, fake, real, head in stacks
    )


def per_patient(slices: Iterable[SliceFigures]) -> tuple[PatientFigures, ...]:
    """Average slices over each predictor, contrast and patient, in order of appearance."""
    groups = _group(slices, lambda s: (s.predictor, s.contrast, s.patient, s.label, s.data_range))
    return tuple(
        PatientFigures(
            predictor, patient, contrast, label, len(group), data_range, *_mean_and_spread(group)
        )
        for (predictor, contrast, patient, label, data_range), rows in groups.items()
        for group in [[row.figures for row in rows]]
    )


def per_set(patients: Iterable[PatientFigures]) -> tuple[SetFigures, ...]:
    """Average patients over each contrast, label and predictor, in that order."""
    groups = _group(patients, lambda p: (p.contrast, p.label, p.predictor))
    sets = []
    for (contrast, label, predictor), rows in groups.items():
        ranges = {row.data_range for row in rows}
        means = [_over_slices(each) for each in _group(rows, lambda p: p.patient).values()]
        mean, spread = _mean_and_spread(means)
        slices = sum(row.slices for row in rows)
        data_range = ranges.pop() if len(ranges) == 1 else None
        sets.append(
            SetFigures(predictor, contrast, label, len(means), slices, data_range, mean, spread)
        )
    contrasts = list(dict.fromkeys(s.contrast for s in sets))
    return tuple(sorted(sets, key=lambda s: (contrasts.index(s.contrast), LABELS.index(s.label))))


def _over_slices(rows: Sequence[PatientFigures]) -> Figures:
    """One patient's mean over all slices, whose pictures and volumes stand in rows of their own."""
    if len(rows) == 1:
        return rows[0].mean
    values = [list(row.mean.as_dict().values()) for row in rows]
    return Figures(*map(float, np.average(values, axis=0, weights=[row.slices for row in rows])))


def _mean_and_spread(rows: Sequence[Figures]) -> tuple[Figures, Figures]:
    """Mean and sample standard deviation; the latter is NaN for a single row."""
    values = np.array([list(row.as_dict().values()) for row in rows])
    with np.errstate(invalid="ignore"):  # infinite PSNR: its spread is NaN, which is true
        spread = values.std(axis=0, ddof=1) if len(rows) > 1 else np.full(values.shape[1], np.nan)
    return Figures(*map(float, values.mean(axis=0))), Figures(*map(float, spread))


def _group(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    groups: dict[K, list[T]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups
