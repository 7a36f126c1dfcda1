"""An evaluation: everything measured, its means, and its tables.

Use::

    slices, examples = [], []
    for images in patients:               # PatientImages, one patient and contrast at a time
        scored = score_patient(images)
        slices += scored
        examples += pick_examples(images, scored)
        slices += score_patient(images.by("black", np.zeros_like(images.real)))
    report = Report(tuple(slices), tuple(examples), notes=("2 slices skipped: no head",))
    report.table()                        # strings, for the terminal and the viewer
    write_report(report, Path("evaluation"))  # report.json, slices.csv, patients.csv, figures
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.errors import EvaluationError
from napari_ct2mri.evaluation.labels import Label
from napari_ct2mri.evaluation.metrics import Figures
from napari_ct2mri.evaluation.scores import (
    PatientFigures,
    PatientImages,
    SetFigures,
    SliceFigures,
    per_patient,
    per_set,
)

__all__ = ["NOTICE", "TITLES", "Example", "Report", "Table", "pick_examples"]

NOTICE = "synthetic - research use only, not diagnostic"

TITLES: dict[str, str] = {
    "head_psnr_fitted": "PSNR fitted, head (dB)",
    "head_psnr": "PSNR, head (dB)",
    "head_ssim": "SSIM, head",
    "head_gradient_correlation": "Gradient corr., head",
    "head_sharpness": "Sharpness, head",
    "head_mae": "MAE, head",
    "psnr": "PSNR, frame (dB)",
    "ssim": "SSIM, frame",
    "ssim_uniform": "SSIM 7x7, frame",
    "mae": "MAE, frame",
}
"""The figures that tables show, in their order; files hold all."""


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One slice to show: CT (H, W) or ``None``, real, synthetic, its figures."""

    rank: Literal["best", "median", "worst"]
    ct: NDArray[Any] | None
    real: NDArray[Any]
    fake: NDArray[Any]
    scored: SliceFigures


@dataclass(frozen=True, slots=True)
class Table:
    """Strings to show: one tuple a row, as long as ``columns``."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def pick_examples(images: PatientImages, scored: Iterable[SliceFigures]) -> tuple[Example, ...]:
    """Pick the best, the median and the worst slice of a patient by in-head SSIM."""
    rows = tuple(scored)
    order = sorted(range(len(rows)), key=lambda i: -rows[i].figures.head_ssim)
    picks = {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}
    return tuple(
        Example(
            rank,  # type: ignore[arg-type]
            None if images.ct is None else np.array(images.ct[i]),
            np.array(images.real[i]),  # copies: the stack can go
            np.array(images.fake[i]),
            rows[i],
        )
        for rank, i in picks.items()
    )


@dataclass(frozen=True)
class Report:
    """What was measured.

    Attributes
    ----------
    slices : tuple of SliceFigures
        Of every predictor.
    examples : tuple of Example
        To be shown, a figure a patient, contrast and predictor.
    notes : tuple of str
        What a reader must know: what was skipped, which model, which pair list.

    Raises
    ------
    EvaluationError
        If there is no slice.
    """

    slices: tuple[SliceFigures, ...]
    examples: tuple[Example, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.slices:
            raise EvaluationError("nothing was measured: no pair with a head in the CT and the MR")

    @cached_property
    def patients(self) -> tuple[PatientFigures, ...]:
        """Means over slices."""
        return per_patient(self.slices)

    @cached_property
    def sets(self) -> tuple[SetFigures, ...]:
        """Means over patients, by contrast, label and predictor."""
        return per_set(self.patients)

    @property
    def labels(self) -> tuple[Label, ...]:
        """Those that occur."""
        return tuple(dict.fromkeys(row.label for row in self.sets))

    def table(self, of: Literal["sets", "patients"] = "sets") -> Table:
        """Means with spread, ready to be shown."""
        figures = tuple(TITLES.values())
        if of == "sets":
            first = ("Contrast", "Label", "Predictor", "Patients", "Slices", "Data range")
            rows = tuple(_set_cells(row) + _cells(row.mean, row.spread) for row in self.sets)
        else:
            first = ("Contrast", "Label", "Predictor", "Patient", "Slices", "Data range")
            rows = tuple(
                _patient_cells(row) + _cells(row.mean, row.spread) for row in self.patients
            )
        return Table(first + figures, rows)


def _set_cells(row: SetFigures) -> tuple[str, ...]:
    data_range = "mixed" if row.data_range is None else f"{row.data_range:g}"
    counts = (str(row.patients), str(row.slices))
    return (row.contrast, row.label, row.predictor, *counts, data_range)


def _patient_cells(row: PatientFigures) -> tuple[str, ...]:
    who = (row.contrast, row.label, row.predictor, row.patient)
    return (*who, str(row.slices), f"{row.data_range:g}")


def _cells(mean: Figures, spread: Figures) -> tuple[str, ...]:
    means, spreads = mean.as_dict(), spread.as_dict()
    return tuple(_cell(name, means[name], spreads[name]) for name in TITLES)


def _cell(name: str, mean: float, spread: float) -> str:
    digits = 1 if "psnr" in name or "mae" in name else 3
    if not math.isfinite(mean):
        return "inf" if mean > 0 else "-"
    text = f"{mean:.{digits}f}"
    return f"{text} ± {spread:.{digits}f}" if math.isfinite(spread) else text
