from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.io import imread, imsave

from napari_ct2mri.config import TrainConfig, preset
from napari_ct2mri.errors import (
    CheckpointError,
    ConfigError,
    JobCancelled,
    PairError,
    TrainingError,
)
from napari_ct2mri.imaging.io import read_volume
from napari_ct2mri.jobs import EpochDone, Event, Job, Notice, Preview, Progress, run_job
from napari_ct2mri.pix2pix.checkpoint import TrainResult, load_checkpoint, read_header
from napari_ct2mri.pix2pix.pace import Pace
from napari_ct2mri.pix2pix.pairs import read_pairs
from napari_ct2mri.pix2pix.state_file import state_path
from napari_ct2mri.pix2pix.synthesis import synthesize
from napari_ct2mri.pix2pix.training import learning_rate, train

MakePairs = Callable[..., Path]
SMALL = {
    "width": 8,
    "levels": 3,
    "frame_px": 64,
    "head_px": 46,
    "batch": 2,
    "epochs": 4,
    "decay_epochs": 2,
    "discriminator_width": 8,
    "threads": 1,
    "device": "cpu",
}


def _config(name: str = "default", **leaves: object) -> TrainConfig:
    return preset(name, **{**SMALL, **leaves})


def _train(
    path: Path, output: Path, config: TrainConfig | None, **options: object
) -> tuple[TrainResult, list[Event]]:
    events: list[Event] = []
    return run_job(train(read_pairs(path), output, config, **options), events.append), events


def _weights(path: Path) -> torch.Tensor:
    weights = load_checkpoint(path).weights
    return torch.cat([weights[name].double().ravel() for name in sorted(weights)])


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
    config = _config(
        name,
        epochs=30,
        learning_rate=2e-3,
        validate_every=0,
        ema=0,
        crop_from_px=0,
        precision=precision,
    )
    _, events = _train(make_pairs(), tmp_path / "m.safetensors", config)
    term = "l1" if name == "classic" else "l2"
    losses = [e.losses[term] for e in events if isinstance(e, EpochDone)]
    assert len(losses) == 30
    assert losses[-1] < 0.4 * losses[0]


def test_events_tell_the_whole_story(make_pairs: MakePairs, tmp_path: Path) -> None:
    result, events = _train(make_pairs(), tmp_path / "m.safetensors", _config())
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
    _train(make_pairs(), path, _config())
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
    result, _ = _train(make_pairs(), path, _config(validate_every=0))
    assert read_header(path).selected_on == ()
    assert result.epoch == result.epochs == 4


@pytest.mark.parametrize("name", ["default", "classic"])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(
    make_pairs: MakePairs, tmp_path: Path, name: str
) -> None:
    pairs, config = make_pairs(), _config(name)
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    _train(pairs, whole, config)

    def in_epoch_3(event: Event) -> None:
        nonlocal cancelled
        cancelled = isinstance(event, Progress) and event.what == "steps of epoch 3"

    cancelled = False
    with pytest.raises(JobCancelled):
        run_job(train(read_pairs(pairs), parts, config), in_epoch_3, lambda: cancelled)
    assert load_checkpoint(parts).header.epochs in (1, 2)
    result, events = _train(pairs, parts, None, resume=True)
    assert [e.epoch for e in events if isinstance(e, EpochDone)] == [3, 4]
    assert result.epochs == 4
    assert torch.equal(_weights(whole), _weights(parts))


def test_the_same_seed_gives_the_same_weights(make_pairs: MakePairs, tmp_path: Path) -> None:
    pairs = make_pairs()
    files = [tmp_path / f"{i}.safetensors" for i in range(3)]
    for file, seed in zip(files, (0, 0, 1), strict=True):
        _train(pairs, file, _config(epochs=1, decay_epochs=0, seed=seed))
    assert torch.equal(_weights(files[0]), _weights(files[1]))
    assert not torch.equal(_weights(files[0]), _weights(files[2]))


@pytest.mark.parametrize("name", ["default", "classic"])  # with a moving average, and without
def test_previews_show_the_slice_in_view_and_change_nothing(
    make_pairs: MakePairs, tmp_path: Path, name: str
) -> None:
    pairs, config = make_pairs(), _config(name)
    plain, seen = tmp_path / "plain.safetensors", tmp_path / "seen.safetensors"
    _train(pairs, plain, config)
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
    assert torch.equal(_weights(plain), _weights(seen))


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
        _config(epochs=1, decay_epochs=0, validate_every=0),
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


@pytest.mark.parametrize(
    "phase", ["pairs read", "steps of epoch 1", "slices validated", "training slices measured"]
)
def test_a_run_is_cancelled_in_any_phase(make_pairs: MakePairs, tmp_path: Path, phase: str) -> None:
    path = tmp_path / "m.safetensors"
    seen: list[Event] = []
    with pytest.raises(JobCancelled):
        run_job(
            train(read_pairs(make_pairs()), path, _config(epochs=2, decay_epochs=0)),
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
            train(read_pairs(make_pairs()), path, _config()),
            seen.append,
            lambda: isinstance(seen[-1], Progress) and "epoch 1" in seen[-1].what,
        )
    assert load_checkpoint(path).header.epochs == 0


def test_fine_tuning_starts_from_a_model_and_adds_a_contrast(
    make_pairs: MakePairs, tmp_path: Path
) -> None:
    first, second = tmp_path / "1.safetensors", tmp_path / "2.safetensors"
    _train(make_pairs(), first, _config(validate_every=0))
    base = load_checkpoint(first)
    more = make_pairs({"d": ("T1", "train"), "e": ("T1", "val")}, first_seed=9)
    tiny = _config(epochs=1, decay_epochs=0, learning_rate=1e-7, ema=0)
    _train(more, second, tiny, init=first)
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
        _train(make_pairs(), file, _config(seed=seed, epochs=20, learning_rate=2e-3, ema=0))
    others = make_pairs({"d": ("T2", "train")}, first_seed=9)
    config = _config(
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
    result, events = _train(others, path, config, teachers=teachers)
    taught = [e.losses["teacher"] for e in events if isinstance(e, EpochDone)]
    assert taught[-1] < 0.4 * taught[0]
    header = load_checkpoint(result.path).header
    for file in teachers:
        theirs = load_checkpoint(file).header
        assert set(theirs.trained_on) < set(header.trained_on)
        assert set(theirs.selected_on) <= set(header.selected_on)


def test_a_teacher_must_fit_its_student(make_pairs: MakePairs, tmp_path: Path) -> None:
    teacher = tmp_path / "teacher.safetensors"
    _train(make_pairs(), teacher, _config(epochs=1, decay_epochs=0))
    other = _config(pixel_mm=2.0)
    with pytest.raises(ConfigError, match="scale settings are not the student's"):
        _train(make_pairs(), tmp_path / "m.safetensors", other, teachers=[teacher])
    t1 = make_pairs({"d": ("T1", "train")}, first_seed=9)
    with pytest.raises(ConfigError, match="makes T2, not T1"):
        _train(t1, tmp_path / "m.safetensors", _config(), teachers=[teacher])
    assert not (tmp_path / "m.safetensors").exists()


def test_resume_needs_the_same_teachers(make_pairs: MakePairs, tmp_path: Path) -> None:
    teacher, student = tmp_path / "teacher.safetensors", tmp_path / "m.safetensors"
    pairs = make_pairs()
    _train(pairs, teacher, _config(epochs=1, decay_epochs=0))
    _train(pairs, student, _config(epochs=1, decay_epochs=0), teachers=[teacher])
    with pytest.raises(CheckpointError, match="or by other teachers"):
        _train(pairs, student, None, resume=True)
    _train(pairs, student, None, resume=True, teachers=[teacher])


def test_fine_tuning_keeps_the_network(make_pairs: MakePairs, tmp_path: Path) -> None:
    first = tmp_path / "1.safetensors"
    pairs = make_pairs()
    _train(pairs, first, _config(epochs=1, decay_epochs=0))
    with pytest.raises(ConfigError, match="fixes network"):
        _train(pairs, tmp_path / "2.safetensors", _config(width=12), init=first)
    assert not (tmp_path / "2.safetensors").exists()


def test_resume_refuses_other_settings_and_other_slices(
    make_pairs: MakePairs, tmp_path: Path
) -> None:
    path = tmp_path / "m.safetensors"
    pairs = make_pairs()
    _train(pairs, path, _config(epochs=2))
    with pytest.raises(ConfigError, match=r"learning_rate was 0\.0007, not 0\.01"):
        _train(pairs, path, _config(epochs=2, learning_rate=0.01), resume=True)
    other = make_pairs({"x": ("T2", "train"), "y": ("T2", "train"), "c": ("T2", "val")}, slices=2)
    with pytest.raises(Exception, match="other slices than the pair list"):
        _train(other, path, None, resume=True)


def test_the_same_slice_in_train_and_val_is_refused(make_pairs: MakePairs, tmp_path: Path) -> None:
    pairs = make_pairs()
    twin = np.kron(imread(tmp_path / "a-ct-0.png"), np.ones((2, 2), np.uint8))
    imsave(tmp_path / "c-ct-0.png", twin, check_contrast=False)
    other = imread(tmp_path / "c-mr-0.png")
    imsave(tmp_path / "c-mr-0.png", np.kron(other, np.ones((2, 2), np.uint8)), check_contrast=False)
    with pytest.raises(PairError, match="1 CT slices of the val rows are slices of the train"):
        _train(pairs, tmp_path / "m.safetensors", _config())


def test_no_rows_of_a_contrast_are_named(make_pairs: MakePairs, tmp_path: Path) -> None:
    with pytest.raises(PairError, match="no train rows of contrast 'T1'; its contrasts are T2"):
        _train(make_pairs(), tmp_path / "m.safetensors", _config(), contrast="T1")


def test_patience_ends_a_run(make_pairs: MakePairs, tmp_path: Path) -> None:
    config = _config(epochs=40, patience=2, learning_rate=0.1, ema=0)
    result, _ = _train(make_pairs(), tmp_path / "m.safetensors", config)
    assert result.epochs == result.epoch + 2 < 40
    assert "no better validation in 2 epochs" in result.stopped


def test_nan_stops_and_keeps_the_last_good_weights(
    make_pairs: MakePairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.safetensors"
    events: list[Event] = []
    job = train(read_pairs(make_pairs()), path, _config(validate_every=0))
    for event in job:
        events.append(event)
        if isinstance(event, EpochDone) and event.epoch == 1:
            good = _weights(path)
            monkeypatch.setattr(
                "napari_ct2mri.pix2pix.losses.ssim", lambda fake, _: fake.mean() * float("nan")
            )
            break
    with pytest.raises(TrainingError, match="epoch 2: loss ssim became"):
        run_job(job, events.append)
    assert torch.equal(_weights(path), good)


def test_nan_at_once_leaves_the_model_that_was_there(
    make_pairs: MakePairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.safetensors"
    pairs = make_pairs()
    _train(pairs, path, _config(epochs=1, decay_epochs=0))
    before = path.read_bytes()
    monkeypatch.setattr(
        "napari_ct2mri.pix2pix.losses.ssim", lambda fake, _: fake.mean() * float("nan")
    )
    with pytest.raises(TrainingError, match=r"epoch 1: loss ssim became.*nothing was written"):
        _train(pairs, path, _config())
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
    job = train(read_pairs(make_pairs()), path, _config(validate_every=0, batch=6))
    for event in job:
        if isinstance(event, EpochDone):
            good = _weights(path)
            monkeypatch.setattr(
                "napari_ct2mri.pix2pix.losses.ssim", lambda fake, _: Spoiling.apply(fake).mean()
            )
            break
    with pytest.raises(TrainingError, match="epoch 2: the weights became"):
        run_job(job, events.append)
    assert torch.equal(_weights(path), good)


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
        _train(make_pairs(), path, _config(**leaves))
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
            _train(pairs, tmp_path / name, _config())
    assert read_pairs(pairs).rows


def test_the_checkpoint_tells_the_whole_history(make_pairs: MakePairs, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    result, _ = _train(make_pairs(), path, _config(epochs=6))
    header = read_header(path)
    assert header.epochs == result.epoch
    assert [record.epoch for record in header.history] == [1, 2, 3, 4, 5, 6]
    assert result.validation == header.history[result.epoch - 1].validation


def test_resume_after_patience_ran_out_trains_no_more(
    make_pairs: MakePairs, tmp_path: Path
) -> None:
    path = tmp_path / "m.safetensors"
    pairs = make_pairs()
    config = _config(epochs=40, patience=2, learning_rate=0.1, ema=0)
    first, _ = _train(pairs, path, config)
    again, events = _train(pairs, path, None, resume=True)
    assert not [e for e in events if isinstance(e, EpochDone)]
    assert (again.epoch, again.epochs, again.stopped) == (first.epoch, first.epochs, first.stopped)


def test_resume_needs_a_finished_epoch_and_its_own_weights(
    make_pairs: MakePairs, tmp_path: Path
) -> None:
    path = tmp_path / "m.safetensors"
    pairs = make_pairs()
    with pytest.raises(CheckpointError, match="nothing to resume"):
        _train(pairs, path, None, resume=True)
    _train(pairs, path, _config(epochs=1, decay_epochs=0))
    with pytest.raises(ConfigError, match="leave --init out"):
        _train(pairs, path, None, resume=True, init=path)


def test_resume_remembers_the_one_contrast_it_was_for(
    make_pairs: MakePairs, tmp_path: Path
) -> None:
    path = tmp_path / "m.safetensors"
    pairs = make_pairs({"a": ("T2", "train"), "b": ("T1", "train")})
    _train(pairs, path, _config(epochs=2), contrast="T1")
    result, _ = _train(pairs, path, None, resume=True)
    assert result.epochs == 2
    assert read_header(path).config.model.contrasts == ("T1",)


def test_a_full_disk_loses_nothing(
    make_pairs: MakePairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.safetensors"
    pairs = make_pairs()
    job = train(read_pairs(pairs), path, _config())
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
    result, _ = _train(pairs, path, None, resume=True)
    assert result.epochs == 4


def test_out_of_memory_says_what_to_lower(
    make_pairs: MakePairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 GB")

    monkeypatch.setattr("napari_ct2mri.pix2pix.training.train_step", exhausted)
    with pytest.raises(TrainingError, match=r"out of memory with batch 2.*lower batch"):
        _train(make_pairs(), tmp_path / "m.safetensors", _config())


def test_a_frame_that_cannot_be_halved_is_refused(make_pairs: MakePairs, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="multiple of 2\\^levels = 8; choose 72"):
        _train(make_pairs(), tmp_path / "m.safetensors", _config(frame_px=66))


def test_the_rate_falls_linearly_as_published() -> None:
    optimizer = preset("classic").optimizer
    assert learning_rate(optimizer, 1) == learning_rate(optimizer, 100) == 2e-4
    assert learning_rate(optimizer, 150) == pytest.approx(2e-4 * 51 / 101)
    assert learning_rate(optimizer, 200) == pytest.approx(2e-4 / 101)


def test_batch_statistics_are_settled_on_the_training_slices(
    make_pairs: MakePairs, tmp_path: Path
) -> None:
    _, events = _train(make_pairs(), tmp_path / "m.safetensors", _config(validate_every=0))
    notices = [e.text for e in events if isinstance(e, Notice)]
    assert any("re-estimated" in text for text in notices)


def test_state_holds_nothing_but_tensors_and_json(make_pairs: MakePairs, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    _train(make_pairs(), path, _config("classic", epochs=1, decay_epochs=0))
    assert state_path(path).read_bytes()[8:9] == b"{"
    assert not list(tmp_path.glob("*.part"))
