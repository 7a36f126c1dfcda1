"""How soon does a training reach what ``classic`` has at its end? Figures over processor time.

A run with ``--keep-every`` leaves a checkpoint every few epochs; each is scored here on the
patients that the protocol holds out, by the same evaluation as the tables. Of a run that kept none
its record says when it was there at the latest: at its end. The time is that of the epochs alone;
scoring costs a training nothing.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from benchmarks.quality.records import (
    FIGURES,
    Record,
    Score,
    machine,
    read_record,
    source_commit,
)
from benchmarks.quality.runs import Bench, Run, score_checkpoint
from benchmarks.quality.summaries import MODEL
from pydantic import Field

from napari_ct2mri.config import Frozen
from napari_ct2mri.errors import ConfigError
from napari_ct2mri.jobs import Job, Progress
from napari_ct2mri.pix2pix.checkpoint import read_header

__all__ = ["JUDGED", "Curve", "PaceRecord", "Point", "draw_pace", "measure_pace"]

JUDGED = ("head_psnr_fitted", "head_ssim", "head_gradient_correlation")
"""What has to be reached, all of it by one checkpoint."""


class Point(Frozen):
    """One checkpoint: means over patients, in the head."""

    epoch: int
    cpu_seconds: float = Field(description="Of the process, in all epochs so far.")
    figures: dict[str, float]

    def reaches(self, goal: Mapping[str, float]) -> bool:
        """Whether no figure is short of ``goal``."""
        return all(self.figures[name] >= value for name, value in goal.items())


class Curve(Frozen):
    """One training."""

    recipe: str
    seed: int
    points: tuple[Point, ...] = Field(min_length=1)

    def reached(self, goal: Mapping[str, float]) -> Point | None:
        """The first checkpoint that reaches ``goal``."""
        return next((point for point in self.points if point.reaches(goal)), None)


class PaceRecord(Frozen):
    """What :func:`measure_pace` found.

    ``goal`` holds, figure by figure, the better of the goal's two scorings.
    """

    format: int = 1
    protocol: str
    contrast: str
    goal_recipe: str
    goal_seed: int
    goal_epochs: int
    goal_cpu_seconds: float
    goal: dict[str, float]
    scored_on: str
    scored_at: str
    machine: str
    curves: tuple[Curve, ...] = Field(min_length=1)


def measure_pace(bench: Bench, runs: Sequence[Run], goal: Record) -> Job[PaceRecord]:
    """Score the kept checkpoints of ``runs`` against the end of a recorded training.

    Parameters
    ----------
    goal : Record
        Of one contrast, under the protocol of all ``runs``.

    Raises
    ------
    ConfigError
        If a run has neither kept checkpoints nor a record.
    """
    contrast = goal.contrast or ""
    wanted = {name: max(_means(goal.scores, contrast, name)) for name in JUDGED}
    curves: list[Curve] = []
    for run in runs:
        points: list[Point] = []
        kept = bench.kept_paths(run)
        for number, (epoch, path) in enumerate(kept.items()):
            yield Progress(number, len(kept), f"checkpoints of {run.name}")
            scores = yield from score_checkpoint(bench, run, path, contrast)
            points.append(_point(epoch, _cpu_seconds(path, epoch), scores, contrast))
        curves.append(
            Curve(
                recipe=run.recipe.name,
                seed=run.seed,
                points=tuple(points) or (_end(bench, run, contrast),),
            )
        )
    here = machine(bench.threads)
    return PaceRecord(
        protocol=goal.protocol,
        contrast=contrast,
        goal_recipe=goal.recipe.name,
        goal_seed=goal.seed,
        goal_epochs=goal.epochs,
        goal_cpu_seconds=goal.cpu_seconds,
        goal=wanted,
        scored_on=goal.scored_on,
        scored_at=source_commit(),
        machine=f"{here.cores} cores of {here.processor}",
        curves=tuple(curves),
    )


def _end(bench: Bench, run: Run, contrast: str) -> Point:
    if not bench.record_path(run).is_file():
        raise ConfigError(
            f"{run.name}: no checkpoint was kept in {bench.work} and there is no record; train it "
            "with --keep-every"
        )
    record = read_record(bench.record_path(run), Record)
    return _point(record.epochs, record.cpu_seconds, record.scores, contrast)


def _point(epoch: int, cpu_seconds: float, scores: Sequence[Score], contrast: str) -> Point:
    figures = {name: round(max(_means(scores, contrast, name)), 6) for name in JUDGED}
    return Point(epoch=epoch, cpu_seconds=cpu_seconds, figures=figures)


def _means(scores: Sequence[Score], contrast: str, figure: str) -> list[float]:
    """Mean over patients, of each scoring of the model."""
    found: dict[str, list[float]] = {}
    for score in scores:
        value = score.mean[figure]
        if score.contrast == contrast and score.predictor in MODEL and value is not None:
            found.setdefault(score.predictor, []).append(value)
    return [fmean(values) for values in found.values()]


def _cpu_seconds(checkpoint: Path, epoch: int) -> float:
    history = read_header(checkpoint).history
    return round(sum(record.cpu_seconds for record in history[:epoch]), 1)


def draw_pace(record: PaceRecord) -> bytes:
    """PNG: each figure over processor time, a line a seed; the goal a star and a dashed line."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=(9, 3.2), layout="constrained", dpi=100)
    recipes = list(dict.fromkeys(curve.recipe for curve in record.curves))
    for place, name in enumerate(JUDGED, start=1):
        axes = figure.add_subplot(1, len(JUDGED), place, title=FIGURES[name])
        axes.set_xlabel("processor time (min)")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        for curve in record.curves:
            minutes = [point.cpu_seconds / 60 for point in curve.points]
            values = [point.figures[name] for point in curve.points]
            color = f"C{recipes.index(curve.recipe)}"
            axes.plot(minutes, values, color=color, marker="o", ms=2, lw=1)
        goal, minutes_there = record.goal[name], record.goal_cpu_seconds / 60
        axes.axhline(goal, color="black", ls="--", lw=0.8)
        axes.plot([minutes_there], [goal], color="black", marker="*", ms=10, ls="")
        axes.spines[["top", "right"]].set_visible(False)
    lines = [*recipes, f"{record.goal_recipe}, end"]
    handles = [
        *(Line2D([], [], color=f"C{n}", marker="o", ms=2) for n in range(len(recipes))),
        Line2D([], [], color="black", marker="*", ms=10, ls="--", lw=0.8),
    ]
    figure.legend(handles, lines, loc="outside lower center", ncols=len(lines), fontsize="small")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()
