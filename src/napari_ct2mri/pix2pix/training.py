"""Pix2Pix training: one flat loop, written as a job.

Isola et al. 2017, section 3.3: the discriminator takes one step, then the generator, with
Adam. Chance is a function of (seed, epoch) alone and everything else that an epoch starts from
is written at the end of the one before, so a resumed run ends with the weights of an
uninterrupted one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from napari_ct2mri.config import PRESETS, OptimizerConfig, TrainConfig
from napari_ct2mri.errors import ConfigError
from napari_ct2mri.imaging.volume import Volume
from napari_ct2mri.jobs import EpochDone, Job, Notice, Progress
from napari_ct2mri.pix2pix.augment import augment
from napari_ct2mri.pix2pix.checkpoint import (
    SCORE,
    Checkpoint,
    EpochRecord,
    Header,
    TrainResult,
    load_checkpoint,
    save_checkpoint,
)
from napari_ct2mri.pix2pix.engines import load_generator
from napari_ct2mri.pix2pix.failures import Diverged, errors_in_words
from napari_ct2mri.pix2pix.networks import is_half
from napari_ct2mri.pix2pix.pace import Pace
from napari_ct2mri.pix2pix.pairs import PairList
from napari_ct2mri.pix2pix.plan import (
    check_disjoint,
    check_output,
    check_same,
    data_digest,
    first_header,
    split_rows,
    with_heads,
    with_model,
)
from napari_ct2mri.pix2pix.preview import SlicePreview
from napari_ct2mri.pix2pix.slices import SlicePairs, load_slices
from napari_ct2mri.pix2pix.state import TrainingState
from napari_ct2mri.pix2pix.state_file import read_state, state_path
from napari_ct2mri.pix2pix.step import train_step
from napari_ct2mri.pix2pix.teacher import Teacher
from napari_ct2mri.pix2pix.team import Team, joined
from napari_ct2mri.pix2pix.validation import l1_error, reestimate_statistics, validate

__all__ = ["train"]

_OF_MACHINE = {"run": {"device", "threads"}}


def train(
    pairs: PairList,
    output: Path,
    config: TrainConfig | None = None,
    *,
    contrast: str | None = None,
    init: Path | None = None,
    teachers: Sequence[Path] = (),
    resume: bool = False,
    watched: Volume | None = None,
) -> Job[TrainResult]:
    """Train a generator on the train rows of ``pairs`` and keep it in ``output``.

    The val rows choose the kept epoch (by ``checkpoint.SCORE``); with ``validate_every`` 0, or
    without val rows, nothing is chosen and the last epoch is kept. A checkpoint and, beside
    it, the state for ``resume`` are written after every epoch. Where ``torchrun`` started several
    processes, each yields the events of its share, and the first writes (``team.py``).

    Parameters
    ----------
    config : TrainConfig, optional
        By default that of the run to resume, else the preset ``default``.
    contrast : str, optional
        Train on the rows of this contrast only.
    init : Path, optional
        Checkpoint to start from; its network is kept, contrasts it lacks are added.
    teachers : sequence of Path
        Checkpoints whose mean prediction is a second target, weighed by ``teacher_weight``.
    resume : bool
        Go on where the state beside ``output`` stands, with the settings it had.
    watched : Volume, optional
        A CT on closest axes: while the driver names a slice of it, ``Preview`` events show what
        the weights make of that slice. They change nothing of what is learnt.

    Raises
    ------
    PairError, ConfigError, CheckpointError
        Before anything is written.
    TrainingError
        If memory or disk run out, the loss is no number or another process of the run ends; the
        last good weights are kept.
    SystemExit
        In a process of several, where another has raised what ended all.
    """
    with joined() as team:
        return (
            yield from _train(
                team, pairs, Path(output), config, contrast, init, teachers, resume, watched
            )
        )


def _train(
    team: Team,
    pairs: PairList,
    output: Path,
    config: TrainConfig | None,
    contrast: str | None,
    init: Path | None,
    teachers: Sequence[Path],
    resume: bool,
    watched: Volume | None,
) -> Job[TrainResult]:
    """What every process of the team does."""
    check_output(output, pairs)
    if resume and init:
        raise ConfigError("--resume goes on with the run's own weights; leave --init out")
    left = read_state(output) if resume else None
    stored = left.config if left else None
    start = output if resume else init
    before = load_checkpoint(start) if start else None
    config = config or stored or PRESETS["default"]
    if left and stored:
        only = stored.model.contrasts[0] if len(stored.model.contrasts) == 1 else None
        contrast = contrast or left.contrast or only
    train_rows, val_rows = split_rows(pairs, contrast, config)
    config = with_model(config, train_rows.contrasts, before)
    taught_by = {Path(path): load_checkpoint(path) for path in teachers}
    if stored:
        check_same(config, stored)
    team.check_batch(config.optimizer.batch)
    device = team.device(config.run.device)
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    teacher = Teacher(taught_by, config.model, device) if taught_by else None

    slices = yield from load_slices(train_rows, config.model)
    held_out = (yield from load_slices(val_rows, config.model)) if val_rows.rows else None
    check_disjoint(slices, held_out)
    digest = data_digest(slices, teacher.digest() if teacher else "")

    if resume:
        state = TrainingState.load(state_path(output), digest, device)
        yield Notice(f"resumed after epoch {len(state.history)} of {config.optimizer.epochs}")
    else:
        state = TrainingState.fresh(config, digest, device)
        state.contrast = contrast
        if before:
            state.start_from(with_heads(before, config.model.contrasts), str(init))
    ancestors = [*([before] if before else []), *taught_by.values()]
    header = first_header(config, slices, held_out, ancestors)
    patience = config.optimizer.patience
    preview = SlicePreview(watched, header, train_rows.contrasts[0]) if watched else None
    pace = Pace(config.optimizer.epochs, len(state.history))

    learning = config.model_dump_json(exclude=_OF_MACHINE)

    with errors_in_words(output, state), _something_kept(output, header, state, team):
        half = is_half(config.run.precision, device)  # "auto" is not the same everywhere
        team.check_same(f"{learning} {device.type} {half} {digest} {len(state.history)}")
        team.enlist(state.generator, *([state.discriminator] if state.discriminator else []))
        while (epoch := len(state.history) + 1) <= config.optimizer.epochs:
            if patience and state.best_epoch and epoch - state.best_epoch > patience:
                break
            cpu = time.process_time()
            sums = yield from pace.timed(_run_epoch(state, slices, teacher, epoch, preview, team))
            validation: Mapping[str, float] = {}
            if held_out and epoch % config.run.validate_every == 0:
                if team.is_first:
                    validation = yield from pace.timed(validate(state.average, held_out), part=1.0)
                validation = team.tell(validation)
            record = EpochRecord(
                epoch=epoch,
                losses=sums,
                validation=dict(validation),
                cpu_seconds=team.total(time.process_time() - cpu),
            )
            state.history = (*state.history, record)
            is_best = state.is_best(validation.get(SCORE))
            if is_best:
                state.best_epoch, state.best_score = epoch, validation[SCORE]
            if team.is_first:
                if is_best or not state.best_epoch:
                    _save(output, header, state, epoch)
                state.save(state_path(output))
            pace.finish_epoch()
            in_view = yield EpochDone(
                epoch,
                config.optimizer.epochs,
                sums,
                validation,
                is_best,
                pace.seconds_left() or 0.0,
            )
            if preview:
                yield from preview.look(state.average, epoch, in_view, at_once=True)
        if team.is_first:
            yield from _settle(output, state, slices, device)
    epochs = len(state.history)
    kept = state.best_epoch or epochs
    early = epochs < config.optimizer.epochs
    return TrainResult(
        output,
        kept,
        epochs,
        state.history[kept - 1].validation,
        f"no better validation in {patience} epochs" if early else "",
    )


def _run_epoch(
    state: TrainingState,
    slices: SlicePairs,
    teacher: Teacher | None,
    epoch: int,
    preview: SlicePreview | None,
    team: Team,
) -> Job[dict[str, float]]:
    """One pass over the slices in random order; mean losses by term."""
    config = state.config
    chance = torch.Generator().manual_seed(config.run.seed * 1_000_003 + epoch)
    torch.manual_seed(config.run.seed * 1_000_003 + epoch)  # dropout's
    state.set_rate(learning_rate(config.optimizer, epoch))
    state.generator.train()
    batches = torch.randperm(len(slices), generator=chance).split(config.optimizer.batch)
    sums: dict[str, float] = {}
    for step, index in enumerate(batches):
        share = team.split(len(index))
        ct, mr, contrast = _batch(slices, index[share.rows].numpy())
        ct, mr = augment(ct, mr, config.augment, chance, 2**config.model.network.levels, share)
        terms = train_step(state, ct, mr, contrast, teacher, team)
        state.update_average((epoch - 1) * len(batches) + step)
        for name, value in terms.items():
            sums[name] = sums.get(name, 0.0) + value * len(index) / len(slices)
        in_view = yield Progress(
            step + 1,
            len(batches),
            f"steps of epoch {epoch}",
            epochs=(epoch - 1, config.optimizer.epochs),
        )
        if preview:
            yield from preview.look(state.average, epoch - 1, in_view)
    if not state.is_finite():
        raise Diverged("the weights")
    return sums


def learning_rate(config: OptimizerConfig, epoch: int) -> float:
    """Constant, then falling linearly towards zero over the last ``decay_epochs``."""
    left = config.epochs + 1 - epoch
    return config.learning_rate * min(1.0, left / (config.decay_epochs + 1))


@contextmanager
def _something_kept(
    output: Path, header: Header, state: TrainingState, team: Team
) -> Iterator[None]:
    """Leave a model that can be opened where a run is cancelled before there was any."""
    try:
        yield
    except GeneratorExit:
        is_empty = not state.history and not output.exists()
        if team.is_first and is_empty and state.is_finite():
            _save(output, header, state, 0)
        raise


def _save(output: Path, header: Header, state: TrainingState, epoch: int) -> None:
    known = header.model_copy(update={"epochs": epoch, "history": state.history})
    save_checkpoint(output, Checkpoint(known, state.average.state_dict()))


def _settle(
    output: Path, state: TrainingState, slices: SlicePairs, device: torch.device
) -> Job[None]:
    """Give the kept checkpoint the whole history and, if better, re-estimated statistics.

    Batch norm's statistics are estimated anew on the training slices, and kept if the mean
    absolute error there falls.
    """
    kept = load_checkpoint(output)
    header = kept.header.model_copy(update={"history": state.history})
    generator = load_generator(kept, device)
    before = yield from l1_error(generator, slices)
    yield from reestimate_statistics(generator, slices)
    after = yield from l1_error(generator, slices)
    weights = generator.state_dict() if after < before else kept.weights
    save_checkpoint(output, Checkpoint(header, weights))
    if after < before:
        yield Notice(
            f"batch statistics re-estimated on the training slices: L1 {before:.4f} -> {after:.4f}"
        )


def _batch(slices: SlicePairs, index: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """CT (B, C, H, W), MR (B, 1, H, W) and contrast (B,) of some slices."""
    return (
        torch.from_numpy(slices.ct[index].astype(np.float32)),
        torch.from_numpy(slices.mr[index].astype(np.float32))[:, None],
        torch.from_numpy(slices.contrast[index]),
    )
