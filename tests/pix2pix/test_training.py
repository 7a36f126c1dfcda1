"""What a training learns, says and keeps."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_trainings import MakePairs, small, train_on, weights_of

from napari_ct2mri.config import preset
from napari_ct2mri.errors import (
    ConfigError,
)
from napari_ct2mri.imaging.io import read_volume
from napari_ct2mri.jobs import EpochDone, Event, Job, Notice, Preview, Progress, run_job
from napari_ct2mri.pix2pix.checkpoint import load_checkpoint, read_header
from napari_ct2mri.pix2pix.networks import smooth_kernels
from napari_ct2mri.pix2pix.pace import Pace
from napari_ct2mri.pix2pix.pairs import read_pairs
from napari_ct2mri.pix2pix.state_file import state_path
from napari_ct2mri.pix2pix.synthesis import synthesize
from napari_ct2mri.pix2pix.training import learning_rate, train


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("default", "float32"),
        ("classic", "float32"),
        ("default", "bfloat16"),
        ("classic", "bfloat16"),
    ],
)
def test_the_loss_falls(make_pairs: MakePairs, tmp_path: Path, name: str, precision: str) -> None:
    config = small(
        name,
        epochs=30,
        learning_rate=2e-3,
        validate_every=0,
        ema=0,
        crop_from_px=0,
        precision=precision,
    )
    _, events = train_on(make_pairs(), tmp_path / "m.safetensors", config)
    term = "l1" if name == "classic" else "l2"
    losses = [e.losses[term] for e in events if isinstance(e, EpochDone)]
    assert len(losses) == 30
    assert losses[-1] < 0.4 * losses[0]


def test_events_tell_the_whole_story(make_pairs: MakePairs, tmp_path: Path) -> None:
    result, events = train_on(make_pairs(), tmp_path / "m.safetensors", small())
    epochs = [e for e in events if isinstance(e, EpochDone)]
    assert [e.epoch for e in epochs] == [1, 2, 3, 4]
    assert all(set(e.validation) == {"psnr", "ssim", "gradient_correlation"} for e in epochs)
    best = max(epochs, key=lambda e: e.validation["ssim"])
    assert result.epoch == best.epoch
    assert result.validation == best.validation
    assert [e.epoch for e in epochs if e.is_best][-1] == best.epoch
    steps = [e for e in events if isinstance(e, Progress) and "epoch 4" in e.what]
    assert [(e.done, e.total) for e in steps] == [(1, 3), (2, 3), (3, 3)]
    assert not [e for e in events if isinstance(e, Preview)]  # nobody looks


def test_the_checkpoint_tells_what_it_saw(make_pairs: MakePairs, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    train_on(make_pairs(), path, small())
    header = read_header(path)
    assert len(header.trained_on) == 6
    assert len(header.selected_on) == 3
    assert header.config.model.contrasts == ("T2",)
    assert header.history[0].cpu_seconds > 0
    text = path.read_bytes()
    assert b"a-ct" not in text
    assert str(tmp_path).encode() not in text


def test_without_validation_the_val_patients_are_never_seen(
    make_pairs: MakePairs, tmp_path: Path
) -> None:
    path = tmp_path / "m.safetensors"
    result, _ = train_on(make_pairs(), path, small(validate_every=0))
    assert read_header(path).selected_on == ()
    assert result.epoch == result.epochs == 4


def test_the_same_seed_gives_the_same_weights(make_pairs: MakePairs, tmp_path: Path) -> None:
    pairs = make_pairs()
    files = [tmp_path / f"{i}.safetensors" for i in range(3)]
    for file, seed in zip(files, (0, 0, 1), strict=True):
        train_on(pairs, file, small(epochs=1, decay_epochs=0, seed=seed))
    assert torch.equal(weights_of(files[0]), weights_of(files[1]))
    assert not torch.equal(weights_of(files[0]), weights_of(files[2]))


def test_resized_upsampling_stays_a_3x3_on_doubled_pixels(
    make_pairs: MakePairs, tmp_path: Path
) -> None:
    output = tmp_path / "m.safetensors"
    train_on(make_pairs(), output, small(epochs=1, decay_epochs=0, upsampling="resized"))
    kernels = load_checkpoint(output).weights["up.0.conv.weight"]
    smooth = kernels.clone()
    smooth_kernels(smooth)
    torch.testing.assert_close(smooth, kernels, rtol=0, atol=1e-7)
    assert float(kernels.abs().max()) > 1e-3


@pytest.mark.parametrize("name", ["default", "classic"])  # with a moving average, and without
def test_previews_show_the_slice_in_view_and_change_nothing(
    make_pairs: MakePairs, tmp_path: Path, name: str
) -> None:
    pairs, config = make_pairs(), small(name)
    plain, seen = tmp_path / "plain.safetensors", tmp_path / "seen.safetensors"
    train_on(pairs, plain, config)
    rows = [row for row in read_pairs(pairs).rows if row.split == "val"]
    ct = read_volume(rows[0].ct, modality="CT")
    watched = replace(ct, data=np.concatenate([read_volume(row.ct).data for row in rows]))
    events: list[Event] = []

    def in_view() -> int | None:
        looked_at = {1: 0, 2: None, 3: 99, 4: 2}  # after an epoch; this CT has no slice 99
        if isinstance(events[-1], EpochDone):
            return looked_at[events[-1].epoch]
        return None if any(isinstance(e, EpochDone) for e in events) else 0

    run_job(train(read_pairs(pairs), seen, config, watched=watched), events.append, in_view=in_view)
    previews = [e for e in events if isinstance(e, Preview)]
    assert [(p.epoch, p.index) for p in previews if p.index or p.epoch] == [(1, 0), (4, 2)]
    assert previews[0].epoch == 0  # it is looked at before the first epoch ends
    assert {p.label for p in previews} == {"selection"}
    assert all(p.slice_.shape == ct.data.shape[1:] for p in previews)
    assert torch.equal(weights_of(plain), weights_of(seen))


def test_a_preview_is_what_synthesis_makes(make_pairs: MakePairs, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    pairs = make_pairs()
    row = read_pairs(pairs).rows[0]
    ct = read_volume(row.ct, modality="CT")
    shown: list[Preview] = []

    def keep(event: Event) -> None:
        if isinstance(event, Preview) and event.epoch == 1:
            shown.append(event)
            (tmp_path / "after-1.safetensors").write_bytes(path.read_bytes())

    job = train(
        read_pairs(pairs),
        path,
        small(epochs=1, decay_epochs=0, validate_every=0),
        watched=ct,
    )
    run_job(job, keep, in_view=lambda: 0)
    made = run_job(synthesize(ct, load_checkpoint(tmp_path / "after-1.safetensors")), shown.append)
    np.testing.assert_allclose(shown[0].slice_, made.data[0], atol=0.01)
    assert shown[0].label == "train-fit"
    assert np.ptp(shown[0].slice_) > 0


def test_pauses_are_no_training_time() -> None:
    now = 0.0

    def work() -> Job[None]:
        nonlocal now
        for step in range(4):
            now += 1
            yield Progress(step + 1, 4, "steps")

    pace = Pace(10, done=2, clock=lambda: now)
    left = []
    for event in pace.timed(work()):
        now += 1000  # paused
        left.append(event.seconds_left)
    pace.finish_epoch()
    assert left == [4 * 7.75, 4 * 7.5, 4 * 7.25, 4 * 7]
    assert pace.seconds_left() == 4 * 7
    event = next(pace.timed(work(), part=1.0))
    assert (
        event.seconds_left == 4 * 6
    )  # as long as an epoch is not overdue, the mean of those before


def test_a_closed_clock_closes_what_it_times() -> None:
    closed = []

    def work() -> Job[None]:
        try:
            yield Notice("at work")
        finally:
            closed.append(True)

    job = Pace(1).timed(work())
    next(job)
    job.close()
    assert closed


def test_fine_tuning_starts_from_a_model_and_adds_a_contrast(
    make_pairs: MakePairs, tmp_path: Path
) -> None:
    first, second = tmp_path / "1.safetensors", tmp_path / "2.safetensors"
    train_on(make_pairs(), first, small(validate_every=0))
    base = load_checkpoint(first)
    more = make_pairs({"d": ("T1", "train"), "e": ("T1", "val")}, first_seed=9)
    tiny = small(epochs=1, decay_epochs=0, learning_rate=1e-7, ema=0)
    train_on(more, second, tiny, init=first)
    tuned = load_checkpoint(second)
    assert tuned.contrasts == ("T2", "T1")
    assert set(base.header.trained_on) < set(tuned.header.trained_on)
    old, new = (c.weights["up.0.conv.weight"] for c in (base, tuned))
    assert torch.allclose(old[:, 0], new[:, 0], atol=1e-4)
    assert torch.allclose(old[:, 0], new[:, 1], atol=1e-4)


def test_a_student_comes_close_to_its_teachers(make_pairs: MakePairs, tmp_path: Path) -> None:
    """Taught by teachers alone, on slices whose MR says otherwise."""
    teachers = [tmp_path / f"{seed}.safetensors" for seed in (1, 2)]
    for seed, file in enumerate(teachers, 1):
        train_on(make_pairs(), file, small(seed=seed, epochs=20, learning_rate=2e-3, ema=0))
    others = make_pairs({"d": ("T2", "train")}, first_seed=9)
    config = small(
        validate_every=0,
        ema=0,
        epochs=40,
        learning_rate=2e-3,
        l2=1e-6,
        ssim=0,
        correlation=0,
        edges=0,
        teacher_weight=1,
    )
    path = tmp_path / "student.safetensors"
    result, events = train_on(others, path, config, teachers=teachers)
    taught = [e.losses["teacher"] for e in events if isinstance(e, EpochDone)]
    assert taught[-1] < 0.4 * taught[0]
    header = load_checkpoint(result.path).header
    for file in teachers:
        theirs = load_checkpoint(file).header
        assert set(theirs.trained_on) < set(header.trained_on)
        assert set(theirs.selected_on) <= set(header.selected_on)


def test_fine_tuning_keeps_the_network(make_pairs: MakePairs, tmp_path: Path) -> None:
    first = tmp_path / "1.safetensors"
    pairs = make_pairs()
    train_on(pairs, first, small(epochs=1, decay_epochs=0))
    with pytest.raises(ConfigError, match="fixes network"):
        train_on(pairs, tmp_path / "2.safetensors", small(width=12), init=first)
    assert not (tmp_path / "2.safetensors").exists()


def test_patience_ends_a_run(make_pairs: MakePairs, tmp_path: Path) -> None:
    config = small(epochs=40, patience=2, learning_rate=0.1, ema=0)
    result, _ = train_on(make_pairs(), tmp_path / "m.safetensors", config)
    assert result.epochs == result.epoch + 2 < 40
    assert "no better validation in 2 epochs" in result.stopped


def test_the_rate_falls_linearly_as_published() -> None:
    optimizer = preset("classic").optimizer
    assert learning_rate(optimizer, 1) == learning_rate(optimizer, 100) == 2e-4
    assert learning_rate(optimizer, 150) == pytest.approx(2e-4 * 51 / 101)
    assert learning_rate(optimizer, 200) == pytest.approx(2e-4 / 101)


def test_batch_statistics_are_settled_on_the_training_slices(
    make_pairs: MakePairs, tmp_path: Path
) -> None:
    _, events = train_on(make_pairs(), tmp_path / "m.safetensors", small(validate_every=0))
    notices = [e.text for e in events if isinstance(e, Notice)]
    assert any("re-estimated" in text for text in notices)


def test_state_holds_nothing_but_tensors_and_json(make_pairs: MakePairs, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    train_on(make_pairs(), path, small("classic", epochs=1, decay_epochs=0))
    assert state_path(path).read_bytes()[8:9] == b"{"
    assert not list(tmp_path.glob("*.part"))
