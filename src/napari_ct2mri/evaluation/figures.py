"""Figures of an evaluation as PNG files, drawn without pyplot's global state."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ct2mri.evaluation.labels import MEANING
from napari_ct2mri.evaluation.report import NOTICE, TITLES, Example, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from napari_ct2mri.evaluation.scores import PatientFigures

__all__ = ["draw_examples", "draw_plots"]

_PLOTTED = ("head_psnr_fitted", "head_ssim", "head_gradient_correlation", "head_sharpness")
_COLOURS = {
    "train-fit": "#d95f02",
    "selection": "#7570b3",
    "held-out": "#1b9e77",
    "unknown": "#666666",
}
_MARKERS = "osD^vP*X"
_MAX_NAMED = 8  # lines; more would cover them
_DPI = 110


def draw_examples(examples: Sequence[Example]) -> bytes:
    """Draw the slices of one patient, a row each: CT, real, synthetic, error map. A PNG."""
    first = examples[0].scored
    figure = _figure(9.6, 2.45 * len(examples) + 0.75)
    axes = figure.subplots(len(examples), 4, squeeze=False)
    for row, example in zip(axes, examples, strict=True):
        error = _draw_slice(row, example)
        figure.colorbar(error, ax=row[3], fraction=0.046, pad=0.03)
    for axis, title in zip(
        axes[0], ("CT", "real MR", "synthetic MR", "synthetic - real"), strict=True
    ):
        axis.set_title(title, fontsize=9)
    figure.suptitle(
        f"{first.patient}   {first.contrast}   {first.predictor}   {first.label}   "
        f"(data range {first.data_range:g})",
        fontsize=10,
    )
    return _png(figure)


def draw_plots(report: Report) -> bytes:
    """Draw means by predictor (a dot a patient), and the model slice by slice. A PNG."""
    contrasts = tuple(dict.fromkeys(row.contrast for row in report.sets))
    figure = _figure(3.3 * len(_PLOTTED), 3.4 * len(contrasts) + 3.0)
    axes = figure.subplots(len(contrasts) + 1, len(_PLOTTED), squeeze=False)
    for row, contrast in zip(axes, contrasts, strict=False):
        patients = [p for p in report.patients if p.contrast == contrast]
        for axis, name in zip(row, _PLOTTED, strict=True):
            _draw_patients(axis, patients, name)
        row[0].set_ylabel(contrast, fontsize=10)
    for axis, name in zip(axes[-1], _PLOTTED, strict=True):
        _draw_profiles(axis, report, name)
    if len(report.patients) <= _MAX_NAMED * len({p.predictor for p in report.patients}):
        axes[-1][0].legend(fontsize=6, framealpha=0.6)
    handles, labels = _legend(report)
    figure.legend(handles, labels, loc="outside upper center", ncols=4, fontsize=8)
    return _png(figure)


def _draw_slice(axes: Sequence[Axes], example: Example) -> Any:
    row, figures = example.scored, example.scored.figures
    top = row.data_range
    images = (example.ct, example.real, example.fake)
    for axis, image, limit in zip(axes, images, (255.0, top, top), strict=False):
        axis.set(xticks=[], yticks=[])
        if image is not None:
            axis.imshow(image, cmap="gray", vmin=0, vmax=limit, interpolation="nearest")
    error = np.asarray(example.fake, np.float64) - example.real
    axes[3].set(xticks=[], yticks=[])
    axes[0].set_ylabel(f"{example.rank}: {row.slice_name}", fontsize=8)
    axes[2].set_xlabel(
        f"in head: SSIM {figures.head_ssim:.3f}, fitted PSNR {figures.head_psnr_fitted:.1f} dB,\n"
        f"gradient corr. {figures.head_gradient_correlation:.2f}, "
        f"sharpness {figures.head_sharpness:.2f}",
        fontsize=6.5,
    )
    return axes[3].imshow(error, cmap="RdBu_r", vmin=-top / 2, vmax=top / 2)


def _draw_patients(axis: Axes, patients: Sequence[PatientFigures], name: str) -> None:
    """A dot a patient, a line for the mean of each label: labels are never averaged."""
    predictors = list(dict.fromkeys(p.predictor for p in patients))
    for x, predictor in enumerate(predictors):
        values = {p: p.mean.as_dict()[name] for p in patients if p.predictor == predictor}
        offsets = np.linspace(-0.2, 0.2, len(values)) if len(values) > 1 else [0.0]
        for (patient, value), offset in zip(values.items(), offsets, strict=True):
            axis.plot(x + offset, value, "o", color=_COLOURS[patient.label], markersize=5)
        for label in dict.fromkeys(p.label for p in values):
            mean = np.mean([value for p, value in values.items() if p.label == label])
            axis.hlines(float(mean), x - 0.35, x + 0.35, color=_COLOURS[label], linewidth=1.2)
    axis.set_xticks(range(len(predictors)), predictors, rotation=20, fontsize=7)
    axis.set_xlim(-0.6, len(predictors) - 0.4)
    axis.set_title(TITLES[name], fontsize=9)
    axis.tick_params(axis="y", labelsize=7)
    axis.grid(axis="y", alpha=0.3)


def _draw_profiles(axis: Axes, report: Report, name: str) -> None:
    """Every slice of the first predictor, in order, a line a patient."""
    from matplotlib.ticker import MaxNLocator

    model = report.slices[0].predictor
    mine = [p for p in report.patients if p.predictor == model]
    for number, patient in enumerate(mine):
        values = [
            row.figures.as_dict()[name]
            for row in report.slices
            if (row.predictor, row.patient, row.contrast)
            == (model, patient.patient, patient.contrast)
        ]
        axis.plot(
            values,
            color=_COLOURS[patient.label],
            marker=_MARKERS[number % len(_MARKERS)],
            markersize=3,
            linewidth=0.8,
            alpha=0.8,
            label=f"{patient.patient} {patient.contrast}",
        )
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel(f"slice ({model}, a line a patient)", fontsize=7)
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.3)


def _legend(report: Report) -> tuple[list[Any], list[str]]:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=_COLOURS[label], marker="o", ls="") for label in report.labels]
    return handles, [f"{label}: {MEANING[label]}" for label in report.labels]


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Figure) -> bytes:
    figure.supxlabel(NOTICE, fontsize=8, color="#aa0000")
    png = io.BytesIO()
    figure.savefig(png, format="png", metadata={"Description": NOTICE})
    return png.getvalue()
