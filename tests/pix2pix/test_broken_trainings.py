"""What ends a training early or before it begins: nothing is half-written, nothing lost."""

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.io import imread, imsave
from small_trainings import MakePairs, small, train_on, weights_of

from napari_ct2mri.errors import (
    ConfigError,
    JobCancelled,
    PairError,
    TrainingError,
)
from napari_ct2mri.jobs import EpochDone, Event, Progress, run_job
from napari_ct2mri.pix2pix.checkpoint import load_checkpoint
from napari_ct2mri.pix2pix.pairs import read_pairs
from napari_ct2mri.pix2pix.training import train


@pytest.mark.parametrize("step", [1, -1])
def test_the_same_slice_in_train_and_val_is_refused(
    make_pairs: MakePairs, tmp_path: Path, step: int
) -> None:
    """Larger, and mirrored."""
    pairs = make_pairs()
    twin = np.kron(imread(tmp_path / "a-ct-0.png")[:, ::step], np.ones((2, 2), np.uint8))
    imsave(tmp_path / "c-ct-0.png", twin, check_contrast=False)
    other = imread(tmp_path / "c-mr-0.png")
    imsave(tmp_path / "c-mr-0.png", np.kron(other, np.ones((2, 2), np.uint8)), check_contrast=False)
    with pytest.raises(PairError, match="1 CT slices of the val rows are slices of the train"):
        train_on(pairs, tmp_path / "m.safetensors", small())


def test_no_rows_of_a_contrast_are_named(make_pairs: MakePairs, tmp_path: Path) -> None:
    with pytest.raises(PairError, match="no train rows of contrast 'T1'; its contrasts are T2"):
        train_on(make_pairs(), tmp_path / "m.safetensors", small(), contrast="T1")


def test_nan_stops_and_keeps_the_last_good_weights(
    make_pairs: MakePairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.safetensors"
    events: list[Event] = []
    job = train(read_pairs(make_pairs()), path, small(validate_every=0))
    for event in job:
        events.append(event)
        if isinstance(event, EpochDone) and event.epoch == 1:
            good = weights_of(path)
            monkeypatch.setattr(
                "napari_ct2mri.pix2pix.losses.ssim", lambda fake, _: fake.mean() * float("nan")
            )
            break
    with pytest.raises(TrainingError, match="epoch 2: loss ssim became"):
        run_job(job, events.append)
    assert torch.equal(weights_of(path), good)


def test_nan_at_once_leaves_the_model_that_was_there(
    make_pairs: MakePairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.safetensors"
    pairs = make_pairs()
    train_on(pairs, path, small(epochs=1, decay_epochs=0))
    before = path.read_bytes()
    monkeypatch.setattr(
        "napari_ct2mri.pix2pix.losses.ssim", lambda fake, _: fake.mean() * float("nan")
    )
    with pytest.raises(TrainingError, match=r"epoch 1: loss ssim became.*nothing was written"):
        train_on(pairs, path, small())
    assert path.read_bytes() == before


def test_weights_spoilt_by_the_last_step_are_not_kept(
    make_pairs: MakePairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.safetensors"

    class Spoiling(torch.autograd.Function):
        """A finite loss with a gradient that is none."""

        @staticmethod
        def forward(_: object, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(_: object, gradient: torch.Tensor) -> torch.Tensor:
            return gradient * float("nan")

    events: list[Event] = []
    job = train(read_pairs(make_pairs()), path, small(validate_every=0, batch=6))
    for event in job:
        if isinstance(event, EpochDone):
            good = weights_of(path)
            monkeypatch.setattr(
                "napari_ct2mri.pix2pix.losses.ssim", lambda fake, _: Spoiling.apply(fake).mean()
            )
            break
    with pytest.raises(TrainingError, match="epoch 2: the weights became"):
        run_job(job, events.append)
    assert torch.equal(weights_of(path), good)


@pytest.mark.parametrize(
    ("leaves", "message"),
    [
        ({"l2": 0, "ssim": 0, "correlation": 0, "edges": 0}, "every weight of the loss is 0"),
        ({"crop_from_px": 64}, "not larger than frame_px 64"),
        ({"contrasts": ("T2", "T1")}, "no train rows show T1"),
    ],
)
def test_settings_that_do_not_fit_touch_nothing(
    make_pairs: MakePairs, tmp_path: Path, leaves: dict[str, object], message: str
) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"a good model")
    with pytest.raises(ConfigError, match=message):
        train_on(make_pairs(), path, small(**leaves))
    assert path.read_bytes() == b"a good model"


def test_a_checkpoint_replaces_nothing_but_checkpoints(
    make_pairs: MakePairs, tmp_path: Path
) -> None:
    pairs = make_pairs()
    (tmp_path / "d.safetensors").mkdir()
    for name, message in (
        ("pairs.csv", "ends in .safetensors"),
        ("d.safetensors", "is a folder"),
        ("none/m.safetensors", "folder does not exist"),
    ):
        with pytest.raises(ConfigError, match=message):
            train_on(pairs, tmp_path / name, small())
    assert read_pairs(pairs).rows


def test_a_full_disk_loses_nothing(
    make_pairs: MakePairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.safetensors"
    pairs = make_pairs()
    job = train(read_pairs(pairs), path, small())
    for event in job:
        if isinstance(event, EpochDone) and event.epoch == 2:
            break
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(TrainingError, match="disk is full"):
        run_job(job, lambda _: None)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    monkeypatch.undo()
    result, _ = train_on(pairs, path, None, resume=True)
    assert result.epochs == 4


def test_out_of_memory_says_what_to_lower(
    make_pairs: MakePairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 GB")

    monkeypatch.setattr("napari_ct2mri.pix2pix.training.train_step", exhausted)
    with pytest.raises(TrainingError, match=r"out of memory with batch 2.*lower batch"):
        train_on(make_pairs(), tmp_path / "m.safetensors", small())


def test_a_frame_that_cannot_be_halved_is_refused(make_pairs: MakePairs, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="multiple of 2\\^levels = 8; choose 72"):
        train_on(make_pairs(), tmp_path / "m.safetensors", small(frame_px=66))


def test_a_teacher_must_fit_its_student(make_pairs: MakePairs, tmp_path: Path) -> None:
    teacher = tmp_path / "teacher.safetensors"
    train_on(make_pairs(), teacher, small(epochs=1, decay_epochs=0))
    other = small(pixel_mm=2.0)
    with pytest.raises(ConfigError, match="scale settings are not the student's"):
        train_on(make_pairs(), tmp_path / "m.safetensors", other, teachers=[teacher])
    t1 = make_pairs({"d": ("T1", "train")}, first_seed=9)
    with pytest.raises(ConfigError, match="makes T2, not T1"):
        train_on(t1, tmp_path / "m.safetensors", small(), teachers=[teacher])
    assert not (tmp_path / "m.safetensors").exists()


@pytest.mark.parametrize(
    "phase", ["pairs read", "steps of epoch 1", "slices validated", "training slices measured"]
)
def test_a_run_is_cancelled_in_any_phase(make_pairs: MakePairs, tmp_path: Path, phase: str) -> None:
    path = tmp_path / "m.safetensors"
    seen: list[Event] = []
    with pytest.raises(JobCancelled):
        run_job(
            train(read_pairs(make_pairs()), path, small(epochs=2, decay_epochs=0)),
            seen.append,
            lambda: isinstance(seen[-1], Progress) and seen[-1].what == phase,
        )
    if phase == "pairs read":
        assert not path.exists()
    else:
        assert load_checkpoint(path).contrasts == ("T2",)
    assert not list(tmp_path.glob("*.part"))


def test_cancelled_in_the_first_epoch_leaves_a_valid_checkpoint(
    make_pairs: MakePairs, tmp_path: Path
) -> None:
    path = tmp_path / "m.safetensors"
    seen: list[Event] = []
    with pytest.raises(JobCancelled):
        run_job(
            train(read_pairs(make_pairs()), path, small()),
            seen.append,
            lambda: isinstance(seen[-1], Progress) and "epoch 1" in seen[-1].what,
        )
    assert load_checkpoint(path).header.epochs == 0
