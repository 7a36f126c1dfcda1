"""One run: settle its settings, train or go on training, score, record."""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from benchmarks.quality.protocols import FOLDS, arrange, digest
from benchmarks.quality.recipes import RECIPES, Recipe, difference
from benchmarks.quality.records import (
    Record,
    Score,
    machine,
    read_record,
    read_records,
    run_name,
    score_of,
    source_commit,
    write_file,
    write_json,
)

from napari_ct2mri.app.workflows import evaluate, train
from napari_ct2mri.config import TrainConfig
from napari_ct2mri.errors import CheckpointError, ConfigError, EvaluationError
from napari_ct2mri.jobs import EpochDone, Job, Notice
from napari_ct2mri.pix2pix.checkpoint import Header, read_header
from napari_ct2mri.pix2pix.pairs import PairList, write_pairs
from napari_ct2mri.pix2pix.state_file import read_state, state_path

__all__ = ["Bench", "Run", "recipe_of", "record_run", "score_checkpoint"]

_EPOCHS = frozenset({"epochs", "decay_epochs"})
_PROBE_EPOCHS = 2  # the first also warms up


@dataclass(frozen=True, slots=True)
class Run:
    """The unit of work: one training under one protocol."""

    protocol: str
    recipe: Recipe
    contrast: str | None = None
    seed: int = 0

    @property
    def name(self) -> str:
        """Of its files."""
        return run_name(self.protocol, self.recipe.name, self.contrast, self.seed)


@dataclass(frozen=True, slots=True)
class Bench:
    """What all runs share.

    Attributes
    ----------
    pairs : PairList
        Everybody; its split is the fixed one.
    work : Path
        Where checkpoints, lists and reports lie until they are recorded, and after.
    records : Path
    training : PairList, optional
        Other images of the same patients to train on.
    keep_every : int
        Every so many epochs of a training the checkpoint is kept apart; 0 keeps none.
    """

    pairs: PairList
    work: Path
    records: Path
    training: PairList | None = None
    threads: int = 1
    reduced: bool = False
    keep_every: int = 0

    def arranged(self, run: Run) -> PairList:
        """The rows of a run, ``train`` and ``test``."""
        return arrange(self.pairs, run.protocol, run.contrast, training=self.training)

    def record_path(self, run: Run) -> Path:
        """Where a run is, or will be, recorded."""
        return self.records / f"{run.name}.json"

    def checkpoint_path(self, run: Run) -> Path:
        """Where a run trains."""
        return self.work / f"{run.name}.safetensors"

    def kept_paths(self, run: Run) -> dict[int, Path]:
        """The checkpoints that were kept of a training, by epoch."""
        files = self.work.glob(f"{run.name}.epoch-*.safetensors")
        return {int(path.stem.rpartition("-")[2]): path for path in sorted(files)}

    def has_left(self, run: Run) -> bool:
        """Whether there is anything of it to score: kept checkpoints, or a record of its end."""
        return bool(self.kept_paths(run)) or self.record_path(run).is_file()

    def config(self, run: Run, epochs: int | None = None) -> TrainConfig:
        """The settings of a run."""
        return run.recipe.config(run.seed, self.threads, reduced=self.reduced, epochs=epochs)


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of a run and what they are known by."""

    pairs: PairList
    trained_on: str
    scored_on: str

    @classmethod
    def of(cls, pairs: PairList) -> _Rows:
        return cls(pairs, *(digest(pairs.where(split).rows) for split in ("train", "test")))


def record_run(bench: Bench, run: Run, checkpoint: Path | None = None) -> Job[Record]:
    """Train and score one run, unless it is recorded already.

    Parameters
    ----------
    checkpoint : Path, optional
        A finished training to be scored instead of a new one.

    Raises
    ------
    ConfigError
        If the record there is of other settings, or the time to equal is not known yet.
    EvaluationError
        If a patient does not come out with the label that the protocol promises; nothing is
        recorded then.
    """
    rows = _Rows.of(bench.arranged(run))
    if bench.record_path(run).is_file():
        record = read_record(bench.record_path(run), Record)
        _check_same(bench, run, rows, record, checkpoint)
        return record
    bench.work.mkdir(parents=True, exist_ok=True)
    commits: tuple[str, ...] = ()
    if checkpoint:
        _check_finished(bench, run, checkpoint)
    else:
        config = yield from _settle(bench, run, rows)
        if twin := _twin(bench, run, rows, config):
            yield Notice(f"{run.name}: the same training as {twin.name}")
            record = twin.model_copy(update={"protocol": run.protocol, "recipe": run.recipe})
            write_json(bench.record_path(run), record)
            return record
        checkpoint = bench.checkpoint_path(run)
        commits = yield from _train(bench, run, rows, config)
    header = read_header(checkpoint)
    scores = yield from score_checkpoint(bench, run, checkpoint)
    record = Record(
        protocol=run.protocol,
        recipe=run.recipe,
        contrast=run.contrast,
        seed=run.seed,
        held_out=tuple(sorted({row.patient for row in rows.pairs.where("test").rows})),
        train_pairs=len(rows.pairs.where("train").rows),
        trained_on=rows.trained_on,
        scored_on=rows.scored_on,
        epochs=header.epochs,
        cpu_seconds=_cpu_seconds(header),
        settings=header.config.model_dump(mode="json"),
        trained_at=commits,
        scored_at=source_commit(),
        machine=machine(header.config.run.threads),
        scores=scores,
    )
    write_json(bench.record_path(run), record)
    return record


def score_checkpoint(
    bench: Bench, run: Run, checkpoint: Path, contrast: str | None = None
) -> Job[tuple[Score, ...]]:
    """Figures of every patient, by the evaluation that users run; ``classic`` in both scorings.

    Parameters
    ----------
    checkpoint : Path
        Of ``run``, of any epoch.
    contrast : str, optional
        Score this one alone.

    Raises
    ------
    EvaluationError
        If a patient does not come out with the label that the protocol promises.
    """
    header = read_header(checkpoint)
    is_classic = header.config.preset == "classic"
    rows = bench.arranged(run)
    pairs = _write_list(bench, run, rows)
    learnt = {row.patient for row in rows.where("train").rows}
    split: Literal["all", "test"] = "all" if run.protocol == "train-fit" else "test"
    wanted = {
        (row.patient, row.contrast)
        for row in rows.where(split, contrast).rows
        if row.contrast in header.config.model.contrasts
    }
    scores: list[Score] = []
    for published in (False, True) if is_classic else (False,):
        report = bench.work / f"{checkpoint.stem}{'.published' if published else ''}.report"
        done = yield from evaluate(
            pairs,
            report,
            model=checkpoint,
            split=split,
            contrast=contrast,
            published=published,
            device="cpu",
        )
        suffix = " as published" if published else ""
        own = f"{checkpoint.stem}{suffix}"
        for row in done.report.patients:
            expected = "train-fit" if row.patient in learnt else "held-out"
            if row.label != expected:
                raise EvaluationError(
                    f"{run.name}: {row.patient} comes out {row.label}, expected {expected}; not "
                    "recorded. Score a model under a protocol that it was trained under"
                )
            if row.predictor == own:
                scores.append(score_of(row, f"model{suffix}"))
            elif not published:
                scores.append(score_of(row, row.predictor))
    if missing := wanted - {(s.patient, s.contrast) for s in scores}:
        patient, contrast = min(missing)
        raise EvaluationError(f"{run.name}: nothing was measured of {patient}, {contrast}")
    return tuple(scores)


def recipe_of(checkpoint: Path, name: str) -> tuple[Recipe, str | None, int]:
    """Recipe, contrast and seed of a model from elsewhere; ``name`` may be a known recipe's."""
    header = read_header(checkpoint)
    contrasts = header.config.model.contrasts
    recipe = RECIPES.get(name) or Recipe(name=name, preset=header.config.preset, is_checkpoint=True)
    only = contrasts[0] if len(contrasts) == 1 else None
    return recipe, only, header.config.run.seed


def _settle(bench: Bench, run: Run, rows: _Rows) -> Job[TrainConfig]:
    """Settings, with the number of epochs settled before the first of them is trained."""
    if run.recipe.is_checkpoint:
        raise ConfigError(f"{run.name}: {run.recipe.name} was trained elsewhere; give --checkpoint")
    if not run.recipe.on_equal_time(run.protocol):
        return bench.config(run)
    checkpoint = bench.checkpoint_path(run)
    if state_path(checkpoint).is_file():
        return bench.config(run, read_state(checkpoint).config.optimizer.epochs)
    budget_s = _default_seconds(bench, run)
    epoch_s = yield from _seconds_an_epoch(bench, run, rows)
    epochs = max(1, round(budget_s / epoch_s))
    yield Notice(
        f"{run.name}: {epochs} epochs of {epoch_s:.1f} CPU s take default's {budget_s:.0f}"
    )
    return bench.config(run, epochs)


def _default_seconds(bench: Bench, run: Run) -> float:
    """CPU seconds that ``default`` takes under the same protocol, on a machine left to itself."""
    for record in read_records(bench.records, [f"{run.protocol}.default.all"]):
        each = _least_seconds(bench, record.config, record.contrast)
        return (each or record.cpu_seconds / record.pairs_shown) * record.pairs_shown
    raise ConfigError(
        f"{run.name}: gets the CPU time of default, which has no record under {run.protocol}; "
        f"run --recipe default --protocol {run.protocol} first"
    )


def _seconds_an_epoch(bench: Bench, run: Run, rows: _Rows) -> Job[float]:
    """CPU seconds of one epoch: from records made on such a machine, else from a probe."""
    if each := _least_seconds(bench, bench.config(run), run.contrast):
        return each * len(rows.pairs.where("train").rows)
    probe = replace(run, recipe=run.recipe.changed(f"probe-{run.recipe.name}", {}))
    config = bench.config(run, _PROBE_EPOCHS)
    path = bench.checkpoint_path(probe)
    yield Notice(f"{run.name}: {_PROBE_EPOCHS} epochs to see what one takes")
    yield from train(_write_list(bench, run, rows.pairs), path, config, contrast=run.contrast)
    history = read_header(path).history
    state_path(path).unlink()
    path.unlink()
    return min(float(epoch.cpu_seconds) for epoch in history)


def _least_seconds(bench: Bench, config: TrainConfig, contrast: str | None) -> float | None:
    """CPU seconds that a pair takes in an epoch, of the quickest record on such a machine.

    Cores that share their units count twice the seconds when both are busy, so that other work
    beside one of two trainings would shift what equal time is.
    """
    here = machine(bench.threads)
    alike = (
        record.cpu_seconds / record.pairs_shown
        for record in read_records(bench.records, ["fixed", *FOLDS])
        if record.machine == here
        and record.contrast == contrast
        and not difference(config, record.config, but=_EPOCHS | {"seed"})
    )
    return min(alike, default=None)


def _twin(bench: Bench, run: Run, rows: _Rows, config: TrainConfig) -> Record | None:
    """A record of the very same training and scoring, under another protocol's name.

    The first fold holds out whom the fixed split does; where a recipe has the same epochs in both,
    one training serves.
    """
    records = read_records(bench.records, ["fixed", "cv-1"])
    same = (run.recipe.name, run.contrast, rows.trained_on, rows.scored_on)
    for record in records:
        theirs = (record.recipe.name, record.contrast, record.trained_on, record.scored_on)
        if theirs == same and not difference(config, record.config):
            return record
    return None


def _train(bench: Bench, run: Run, rows: _Rows, config: TrainConfig) -> Job[tuple[str, ...]]:
    """Train, or go on where a former session stopped; the commits at which that was done."""
    checkpoint = bench.checkpoint_path(run)
    resume = state_path(checkpoint).is_file()
    log = checkpoint.with_suffix(".commits")
    commits = log.read_text(encoding="utf-8").splitlines() if resume and log.is_file() else []
    commits = list(dict.fromkeys([*commits, source_commit()]))
    write_file(log, "\n".join(commits).encode())
    pairs = _write_list(bench, run, rows.pairs)
    with closing(train(pairs, checkpoint, config, contrast=run.contrast, resume=resume)) as job:
        for event in job:
            every = bench.keep_every
            if every and isinstance(event, EpochDone) and event.epoch % every == 0:
                kept = f"{run.name}.epoch-{event.epoch:03d}.safetensors"
                shutil.copyfile(checkpoint, bench.work / kept)
            yield event
    return tuple(commits)


def _check_same(
    bench: Bench, run: Run, rows: _Rows, record: Record, checkpoint: Path | None
) -> None:
    """Refuse to pass off a record of other settings or images as the run that was asked for."""
    stands = f"{run.name} is recorded already, with"
    remedy = "give the recipe another --name, or remove the record"
    asked = read_header(checkpoint).config if checkpoint else None
    if asked is None and not run.recipe.is_checkpoint:
        asked = bench.config(run)
    but = _EPOCHS if run.recipe.on_equal_time(run.protocol) else frozenset()
    if asked and (other := difference(asked, record.config, but=but)):
        raise ConfigError(f"{stands} {other}; {remedy}")
    if (record.trained_on, record.scored_on) != (rows.trained_on, rows.scored_on):
        raise ConfigError(f"{stands} other pairs; {remedy}")


def _check_finished(bench: Bench, run: Run, checkpoint: Path) -> None:
    """Refuse a training that still runs, or another than the name says."""
    header = read_header(checkpoint)
    asked, trained = header.config.optimizer, len(header.history)
    if trained < asked.epochs and not asked.patience:
        raise CheckpointError(
            f"{checkpoint.name}: {trained} of {asked.epochs} epochs are trained; wait for the rest"
        )
    if run.recipe.is_checkpoint:
        return
    but = _EPOCHS if run.recipe.on_equal_time(run.protocol) else frozenset()
    if other := difference(bench.config(run), header.config, but=but):
        raise CheckpointError(
            f"{checkpoint.name}: has {other}, so it is not {run.recipe.name}; choose another --name"
        )


def _write_list(bench: Bench, run: Run, pairs: PairList) -> Path:
    path = bench.work / f"{run.name}.csv"
    write_pairs(path, pairs.rows)
    return path


def _cpu_seconds(header: Header) -> float:
    return round(sum(epoch.cpu_seconds for epoch in header.history), 1)
