"""A run goes on where it stopped, and with nothing else."""

from pathlib import Path

import pytest
import torch
from small_trainings import MakePairs, small, train_on, weights_of

from napari_ct2mri.errors import (
    CheckpointError,
    ConfigError,
    JobCancelled,
)
from napari_ct2mri.jobs import EpochDone, Event, Progress, run_job
from napari_ct2mri.pix2pix.checkpoint import load_checkpoint, read_header
from napari_ct2mri.pix2pix.pairs import read_pairs
from napari_ct2mri.pix2pix.training import train


@pytest.mark.parametrize("name", ["default", "classic"])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(
    make_pairs: MakePairs, tmp_path: Path, name: str
) -> None:
    pairs, config = make_pairs(), small(name)
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    train_on(pairs, whole, config)

    def in_epoch_3(event: Event) -> None:
        nonlocal cancelled
        cancelled = isinstance(event, Progress) and event.what == "steps of epoch 3"

    cancelled = False
    with pytest.raises(JobCancelled):
        run_job(train(read_pairs(pairs), parts, config), in_epoch_3, lambda: cancelled)
    assert load_checkpoint(parts).header.epochs in (1, 2)
    result, events = train_on(pairs, parts, None, resume=True)
    assert [e.epoch for e in events if isinstance(e, EpochDone)] == [3, 4]
    assert result.epochs == 4
    assert torch.equal(weights_of(whole), weights_of(parts))


def test_resume_needs_the_same_teachers(make_pairs: MakePairs, tmp_path: Path) -> None:
    teacher, student = tmp_path / "teacher.safetensors", tmp_path / "m.safetensors"
    pairs = make_pairs()
    train_on(pairs, teacher, small(epochs=1, decay_epochs=0))
    train_on(pairs, student, small(epochs=1, decay_epochs=0), teachers=[teacher])
    with pytest.raises(CheckpointError, match=r"other teachers;.*terminal, without --resume"):
        train_on(pairs, student, None, resume=True)
    train_on(pairs, student, None, resume=True, teachers=[teacher])


def test_resume_refuses_other_settings_and_other_slices(
    make_pairs: MakePairs, tmp_path: Path
) -> None:
    path = tmp_path / "m.safetensors"
    pairs = make_pairs()
    train_on(pairs, path, small(epochs=2))
    with pytest.raises(ConfigError, match=r"learning_rate was 0\.0007, not 0\.01"):
        train_on(pairs, path, small(epochs=2, learning_rate=0.01), resume=True)
    other = make_pairs({"x": ("T2", "train"), "y": ("T2", "train"), "c": ("T2", "val")}, slices=2)
    with pytest.raises(Exception, match="other slices than the pair list"):
        train_on(other, path, None, resume=True)


def test_resume_refuses_contrasts_that_changed_places(
    make_pairs: MakePairs, tmp_path: Path
) -> None:
    path = tmp_path / "m.safetensors"
    train_on(make_pairs({"a": ("T2", "train"), "b": ("T1", "train")}), path, small(epochs=2))
    swapped = make_pairs({"a": ("T1", "train"), "b": ("T2", "train")})
    with pytest.raises(CheckpointError, match="other slices than the pair list"):
        train_on(swapped, path, None, resume=True)


def test_the_checkpoint_tells_the_whole_history(make_pairs: MakePairs, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    result, _ = train_on(make_pairs(), path, small(epochs=6))
    header = read_header(path)
    assert header.epochs == result.epoch
    assert [record.epoch for record in header.history] == [1, 2, 3, 4, 5, 6]
    assert result.validation == header.history[result.epoch - 1].validation


def test_resume_after_patience_ran_out_trains_no_more(
    make_pairs: MakePairs, tmp_path: Path
) -> None:
    path = tmp_path / "m.safetensors"
    pairs = make_pairs()
    config = small(epochs=40, patience=2, learning_rate=0.1, ema=0)
    first, _ = train_on(pairs, path, config)
    again, events = train_on(pairs, path, None, resume=True)
    assert not [e for e in events if isinstance(e, EpochDone)]
    assert (again.epoch, again.epochs, again.stopped) == (first.epoch, first.epochs, first.stopped)


def test_resume_needs_a_finished_epoch_and_its_own_weights(
    make_pairs: MakePairs, tmp_path: Path
) -> None:
    path = tmp_path / "m.safetensors"
    pairs = make_pairs()
    with pytest.raises(CheckpointError, match=r"nothing to resume from;.*terminal, without --resu"):
        train_on(pairs, path, None, resume=True)
    train_on(pairs, path, small(epochs=1, decay_epochs=0))
    with pytest.raises(ConfigError, match="leave --init out"):
        train_on(pairs, path, None, resume=True, init=path)


def test_resume_remembers_the_one_contrast_it_was_for(
    make_pairs: MakePairs, tmp_path: Path
) -> None:
    path = tmp_path / "m.safetensors"
    pairs = make_pairs({"a": ("T2", "train"), "b": ("T1", "train")})
    train_on(pairs, path, small(epochs=2), contrast="T1")
    result, _ = train_on(pairs, path, None, resume=True)
    assert result.epochs == 2
    assert read_header(path).config.model.contrasts == ("T1",)
