"""An evaluation as tables, JSON, CSV and figures.

Use::

    slices, examples = [], []
    for images in patients:               # PatientImages, one patient and contrast at a time
        scored = score_patient(images)
        slices += scored
        examples += pick_examples(images, scored)
        slices += score_patient(images.by("black", np.zeros_like(images.real)))
    report = Report(tuple(slices), tuple(examples), notes=("2 slices skipped: no head",))
    report.table()                        # strings, for the terminal and the viewer
    report.write(Path("evaluation"))      # report.json, slices.csv, patients.csv, PNG figures
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.errors import EvaluationError
from napari_ct2mri.evaluation.labels import MEANING, Label
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

_DEFINITIONS = {
    "head": "union of the CT's and the real MR's foreground, never taken from the prediction",
    "psnr": "10 log10(data_range^2 / MSE), dB",
    "head_psnr_fitted": "after the one gain and offset per patient that fit best in the head",
    "ssim": "Wang et al. 2004, Gaussian window, sigma 1.5; in the head the mean of its map",
    "ssim_uniform": "7 x 7 uniform window, sample covariance",
    "gradient_correlation": "sum(dp.dr) / sqrt(sum |dp|^2 sum |dr|^2), Gaussian derivatives, "
    "sigma 1, not centred",
    "sharpness": "mean Sobel magnitude, synthetic over real",
    "means": "slice -> patient -> set; spread is the sample standard deviation at each step",
    "trivial predictors": "never use the patient they are scored on; they carry the label that "
    "the patient has for the model",
}


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

    def write(self, directory: Path) -> tuple[Path, ...]:
        """Write everything below ``directory``, each file in one step.

        Returns
        -------
        tuple of Path
            ``report.json``, ``slices.csv``, ``patients.csv``, ``sets.csv``, ``plots.png`` and a
            figure a patient, contrast and predictor that has examples.
        """
        from napari_ct2mri.evaluation.figures import draw_examples, draw_plots

        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EvaluationError(f"{directory}: cannot write there: {error.strerror}") from error
        files: dict[str, bytes] = {
            "slices.csv": _csv(_slice_record(row) for row in self.slices),
            "patients.csv": _csv(_mean_record(row) for row in self.patients),
            "sets.csv": _csv(_mean_record(row) for row in self.sets),
            "plots.png": draw_plots(self),
        }
        for (contrast, patient, predictor), examples in self._example_groups().items():
            name = "-".join(_file_part(part) for part in ("figure", contrast, patient, predictor))
            while f"{name}.png" in files:  # "a/b" and "a_b" are two patients
                name += "_"
            files[f"{name}.png"] = draw_examples(examples)
        files["report.json"] = self.to_json().encode()
        return tuple(_write(directory / name, content) for name, content in files.items())

    def to_json(self) -> str:
        """Everything but the images; what is not a finite number is null."""
        return json.dumps(
            {
                "format": 1,
                "notice": NOTICE,
                "notes": self.notes,
                "labels": {label: MEANING[label] for label in self.labels},
                "definitions": _DEFINITIONS,
                "sets": [_nested(row) for row in self.sets],
                "patients": [_nested(row) for row in self.patients],
                "slices": [_nested(row) for row in self.slices],
            },
            indent=1,
            allow_nan=False,
        )

    def _example_groups(self) -> dict[tuple[str, str, str], list[Example]]:
        groups: dict[tuple[str, str, str], list[Example]] = {}
        for example in self.examples:
            row = example.scored
            groups.setdefault((row.contrast, row.patient, row.predictor), []).append(example)
        return groups


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


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _nested(row: SliceFigures | PatientFigures | SetFigures) -> dict[str, Any]:
    """The row as JSON holds it: figures as objects of their own."""
    return {
        name: {key: _plain(v) for key, v in value.as_dict().items()}
        if isinstance(value, Figures)
        else value
        for name in row.__dataclass_fields__
        for value in [getattr(row, name)]
    }


def _slice_record(row: SliceFigures) -> dict[str, Any]:
    """The row as CSV holds it: flat."""
    return _flat(row) | row.figures.as_dict()


def _mean_record(row: PatientFigures | SetFigures) -> dict[str, Any]:
    spread = {f"{name}_spread": value for name, value in row.spread.as_dict().items()}
    return _flat(row) | row.mean.as_dict() | spread


def _flat(row: SliceFigures | PatientFigures | SetFigures) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in row.__dataclass_fields__}
    return {name: value for name, value in values.items() if not isinstance(value, Figures)}


def _csv(records: Iterable[Mapping[str, Any]]) -> bytes:
    """CSV with a header; numbers with six digits, empty where there is none."""
    rows = [
        {name: _csv_cell(value) for name, value in record.items()} | {"notice": NOTICE}
        for record in records
    ]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _csv_cell(value: Any) -> Any:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return value


def _file_part(text: str) -> str:
    """Turn a patient's or model's name into part of a file name."""
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in text)[:60]


def _write(path: Path, content: bytes) -> Path:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise EvaluationError(f"{path}: could not be written: {error.strerror}") from error
    return path
