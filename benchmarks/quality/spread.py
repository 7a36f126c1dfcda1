"""Does an ensemble know where it errs? Its spread against its error, pixel by pixel.

The members are a model and its mirror image (the CT mirrored, the MR mirrored back), or both of
several models. Their mean is the prediction, their standard deviation the spread.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_ct2mri.app.workflows.engines import Engines
from napari_ct2mri.app.workflows.models import Model
from napari_ct2mri.app.workflows.predictions import ModelPredictions
from napari_ct2mri.app.workflows.reference import Reference, find_reference
from napari_ct2mri.config import Frozen
from napari_ct2mri.errors import EvaluationError
from napari_ct2mri.evaluation import Label
from napari_ct2mri.jobs import Job, Progress
from napari_ct2mri.pix2pix.checkpoint import load_checkpoint
from napari_ct2mri.pix2pix.pairs import PairList
from napari_ct2mri.pix2pix.slices import read_patients

__all__ = ["Calibration", "SpreadRecord", "SpreadRow", "calibrate", "draw", "measure_spread"]

Floats = NDArray[np.float32]
_PARTS = 10


@dataclass(frozen=True, slots=True)
class Calibration:
    """How error follows spread.

    Attributes
    ----------
    error_by_decile : 10 floats
        Mean error of the pixels in each tenth by spread, the surest first.
    top_error, rest_error : float
        Means over the last tenth and over all others.
    correlation : float, -1..1
        Spearman's, of spread and error; 0 where either is constant.
    """

    error_by_decile: tuple[float, ...]
    top_error: float
    rest_error: float
    correlation: float


def calibrate(spread: NDArray[np.floating], error: NDArray[np.floating]) -> Calibration:
    """Compare the spread of a prediction with its absolute error.

    Parameters
    ----------
    spread, error : (n,), n >= 10, not negative
        Of the same pixels. Equal spreads stay in their order, so shares are exactly tenths.

    Raises
    ------
    EvaluationError
        If they differ in shape, are too few, or are no finite numbers.
    """
    if spread.shape != error.shape or spread.ndim != 1 or len(spread) < _PARTS:
        raise EvaluationError(
            f"expected spread and error of the same {_PARTS} or more pixels, got {spread.shape} "
            f"and {error.shape}"
        )
    if not (np.isfinite(spread).all() and np.isfinite(error).all()):
        raise EvaluationError("spread or error holds NaN or infinity")
    from scipy.stats import spearmanr

    tenths = np.array_split(error[np.argsort(spread, kind="stable")].astype(np.float64), _PARTS)
    is_flat = np.ptp(spread) == 0 or np.ptp(error) == 0
    return Calibration(
        tuple(float(tenth.mean()) for tenth in tenths),
        float(tenths[-1].mean()),
        float(np.concatenate(tenths[:-1]).mean()),
        0.0 if is_flat else float(spearmanr(spread, error).statistic),
    )


class SpreadRow(Frozen):
    """One patient and contrast; errors in output units."""

    contrast: str
    patient: str
    pixels: int
    error_by_decile: tuple[float, ...] = Field(min_length=_PARTS, max_length=_PARTS)
    top_error: float
    rest_error: float
    correlation: float


class SpreadRecord(Frozen):
    """What :func:`measure_spread` found."""

    format: int = 1
    models: tuple[str, ...]
    between: str
    members: int
    label: Label
    scored_on: str
    scored_at: str
    rows: tuple[SpreadRow, ...] = Field(min_length=1)


def measure_spread(
    pairs: PairList, models: Sequence[Path], *, scored_on: str, scored_at: str
) -> Job[SpreadRecord]:
    """Measure the spread of one or several models on the test rows of ``pairs``, in the head.

    Raises
    ------
    EvaluationError
        If a patient is not held out of every model, or no model makes a contrast of theirs.
    """
    checkpoints = [load_checkpoint(path) for path in models]
    made = set.intersection(*(set(c.contrasts) for c in checkpoints))
    engines = Engines("torch", device="cpu")
    sources = [
        ModelPredictions(Model(path.stem, checkpoint), engines, native=False, published=False)
        for path, checkpoint in zip(models, checkpoints, strict=True)
    ]
    test = pairs.where("test")
    test = replace(test, rows=tuple(row for row in test.rows if row.contrast in made))
    if not test.rows:
        raise EvaluationError(f"{pairs.path}: the models make none of the held-out contrasts")
    rows: list[SpreadRow] = []
    done = 0
    for (contrast, patient), group in groupby(
        read_patients(test), lambda pair: (pair.contrast, pair.patient)
    ):
        parts: list[tuple[Floats, Floats]] = []
        for pair in group:
            done += len(pair.rows)
            if reference := find_reference(pair):
                parts.append((yield from _spread_and_error(sources, reference)))
        if parts:
            spread, error = (np.concatenate(several) for several in zip(*parts, strict=True))
            found = calibrate(spread, error)
            rows.append(
                SpreadRow(
                    contrast=contrast,
                    patient=patient,
                    pixels=len(spread),
                    error_by_decile=tuple(round(e, 3) for e in found.error_by_decile),
                    top_error=round(found.top_error, 3),
                    rest_error=round(found.rest_error, 3),
                    correlation=round(found.correlation, 4),
                )
            )
        yield Progress(done, len(test.rows), "pairs measured")
    return SpreadRecord(
        models=tuple(path.stem for path in models),
        between="each model and its mirror image",
        members=2 * len(models),
        label="held-out",
        scored_on=scored_on,
        scored_at=scored_at,
        rows=tuple(rows),
    )


def _spread_and_error(
    sources: Sequence[ModelPredictions], reference: Reference
) -> Job[tuple[Floats, Floats]]:
    """Spread and absolute error of every head pixel, both (n,) in output units."""
    members: list[Floats] = []
    for source in sources:
        if (label := source.label(reference)) != "held-out":
            raise EvaluationError(
                f"{reference.pair.patient} is {label} for {source.name}, expected held-out; choose "
                "models that were trained without the scored patients"
            )
        members.append((yield from source.predict(reference)))
        mirrored = yield from source.predict(_mirrored(reference))
        members.append(mirrored[..., ::-1])
    fakes = np.stack(members)  # (members, n, H, W)
    mean = reference.images(fakes.mean(axis=0), "held-out", "mean")
    spread = reference.images(fakes.std(axis=0), "held-out", "spread")
    inside = mean.head
    return spread.fake[inside], np.abs(mean.fake - mean.real)[inside]


def _mirrored(reference: Reference) -> Reference:
    """The same patient, left for right in the picture."""
    ct = replace(reference.pair.ct, data=np.ascontiguousarray(reference.pair.ct.data[..., ::-1]))
    return replace(reference, pair=replace(reference.pair, ct=ct))


def draw(record: SpreadRecord) -> bytes:
    """PNG: mean error over tenths of spread, a line a patient."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained", dpi=100)
    axes = figure.add_subplot(
        xlabel="tenth of head pixels by spread, surest first",
        ylabel="mean absolute error (output units)",
    )
    for row in record.rows:
        label = f"{row.contrast}, {row.patient}"
        axes.plot(range(1, _PARTS + 1), row.error_by_decile, marker="o", ms=3, label=label)
    if len(record.rows) > 1:
        mean = [fmean(values) for values in _columns(record)]
        axes.plot(range(1, _PARTS + 1), mean, color="black", lw=2, label="mean over patients")
    axes.set_xticks(range(1, _PARTS + 1))
    axes.set_ylim(bottom=0)
    axes.legend(fontsize="small")
    axes.spines[["top", "right"]].set_visible(False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()


def _columns(record: SpreadRecord) -> Iterator[tuple[float, ...]]:
    return zip(*(row.error_by_decile for row in record.rows), strict=True)
