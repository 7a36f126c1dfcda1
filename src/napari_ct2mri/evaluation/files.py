"""A report on disk: HTML, JSON, CSV and figures, each file written whole or not at all."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from napari_ct2mri.disk import parse_json, whole_file
from napari_ct2mri.errors import EvaluationError
from napari_ct2mri.evaluation.labels import MEANING
from napari_ct2mri.evaluation.metrics import Figures
from napari_ct2mri.evaluation.report import NOTICE, Example, Report
from napari_ct2mri.evaluation.scores import PatientFigures, SetFigures, SliceFigures

__all__ = ["check_kept", "to_json", "write_report"]

_REPORT = "report.json"
_NAMES = ("report.html", _REPORT, "slices.csv", "patients.csv", "sets.csv", "plots.png")
"""Files of every report; figures come to them."""
_MAX_NAME_BYTES = 60  # of a patient, contrast or predictor in a figure's name; a disk takes 255
_MAX_BYTES = 512 * 2**20
_FIGURE = re.compile(r"figure-[^/\\\0:]{1,240}\.png")
"""Names that :func:`write_report` gives: below no other folder."""

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


def check_kept(directory: Path, inputs: Iterable[Path]) -> None:
    """See that a report in ``directory`` would take the place of nothing that is not one.

    Parameters
    ----------
    directory : Path
    inputs : iterable of Path
        What is read, which may lie there too.

    Raises
    ------
    EvaluationError
        If a file of the report would replace one of them, or a folder has its name.
    """
    replaced = set()
    for file in (*(directory / name for name in _NAMES), *directory.glob("figure-*.png")):
        if file.is_dir():
            raise EvaluationError(
                f"{file} is a folder where the report would write a file; move it away, or give "
                "another --output"
            )
        if file.exists():
            replaced.add(_identity(file))
    for path in inputs if replaced else ():
        if _identity(path) in replaced:
            raise EvaluationError(
                f"{path}: the report in {directory} would replace it by a file of that name; give "
                "another --output"
            )


def write_report(report: Report, directory: Path) -> tuple[Path, ...]:
    """Write everything below ``directory``, each file in one step.

    Figures that a former report there lists and this one has not are removed; nothing else is.

    Returns
    -------
    tuple of Path
        ``report.html``, ``report.json``, ``slices.csv``, ``patients.csv``, ``sets.csv``,
        ``plots.png`` and a figure a patient, contrast and predictor that has examples.
    """
    from napari_ct2mri.evaluation.figures import draw_examples, draw_plots
    from napari_ct2mri.evaluation.page import to_html

    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EvaluationError(f"{directory}: cannot write there: {error.strerror}") from error
    files: dict[str, bytes] = {
        "slices.csv": _csv(_slice_record(row) for row in report.slices),
        "patients.csv": _csv(_mean_record(row) for row in report.patients),
        "sets.csv": _csv(_mean_record(row) for row in report.sets),
        "plots.png": draw_plots(report),
    }
    for (contrast, patient, predictor), examples in _groups(report.examples).items():
        name = "-".join(_file_part(part) for part in ("figure", contrast, patient, predictor))
        while f"{name}.png" in files:  # "a/b" and "a_b" are two patients
            name += "_"
        files[f"{name}.png"] = draw_examples(examples)
    pictures = {name: png for name, png in files.items() if name.endswith(".png")}
    files["report.html"] = to_html(report, _DEFINITIONS, pictures).encode()
    former = _figures_of(directory / _REPORT)
    written = [_write(directory / name, content) for name, content in files.items()]
    for name in former - files.keys():
        _remove(directory / name)
    names = (*files, _REPORT)
    return (*written, _write(directory / _REPORT, to_json(report, names).encode()))


def to_json(report: Report, files: Iterable[str] = ()) -> str:
    """Everything but the images; what is not a finite number is null.

    Parameters
    ----------
    report : Report
    files : iterable of str
        Names of the files that are written beside it.
    """
    return json.dumps(
        {
            "format": 1,
            "notice": NOTICE,
            "notes": report.notes,
            "files": list(files),
            "labels": {label: MEANING[label] for label in report.labels},
            "definitions": _DEFINITIONS,
            "sets": [_nested(row) for row in report.sets],
            "patients": [_nested(row) for row in report.patients],
            "slices": [_nested(row) for row in report.slices],
        },
        indent=1,
        allow_nan=False,
    )


def _identity(file: Path) -> tuple[int, int]:
    """The same of one file by any of its names."""
    status = file.stat()
    return status.st_dev, status.st_ino


def _figures_of(path: Path) -> set[str]:
    """The figures that a report on disk lists, by name; none if it is no report of ours."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            return set()
        listed = parse_json(path.read_text(encoding="utf-8"))["files"]
        return {name for name in listed if _FIGURE.fullmatch(name)}
    except (OSError, ValueError, LookupError, TypeError):
        return set()


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise EvaluationError(
            f"{path}: a figure of the former report cannot be removed: {error.strerror}"
        ) from error


def _groups(examples: Iterable[Example]) -> dict[tuple[str, str, str], list[Example]]:
    groups: dict[tuple[str, str, str], list[Example]] = {}
    for example in examples:
        row = example.scored
        groups.setdefault((row.contrast, row.patient, row.predictor), []).append(example)
    return groups


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
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in text)
    return safe.encode()[:_MAX_NAME_BYTES].decode(errors="ignore")  # no half characters


def _write(path: Path, content: bytes) -> Path:
    try:
        with whole_file(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise EvaluationError(f"{path}: could not be written: {error.strerror}") from error
    return path
