"""What a progress bar says, second by second."""

from __future__ import annotations

import pytest

from napari_ct2mri.jobs import EpochDone, Notice, Progress
from napari_ct2mri.widgets.words import Course, Shown, duration


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_rest_is_foreseen_from_what_is_done() -> None:
    clock = Clock()
    course = Course(clock)
    assert course.take(Progress(0, 40, "slices")) == Shown(0, "0 of 40 slices")
    clock.now += 10
    assert course.take(Progress(10, 40, "slices")) == Shown(0.25, "10 of 40 slices · 30 s left")
    assert course.take(Progress(40, 40, "slices")) == Shown(1, "40 of 40 slices")


def test_a_new_phase_counts_its_own_time() -> None:
    clock = Clock()
    course = Course(clock)
    course.take(Progress(0, 2, "pairs read"))
    clock.now += 100
    assert course.take(Progress(5, 10, "slices")) == Shown(0.5, "5 of 10 slices")


def test_a_training_knows_itself_how_long_it_takes() -> None:
    course = Course()
    course.take(EpochDone(3, 10, {}, seconds_left=70))
    shown = course.take(Progress(5, 10, "steps of epoch 4", seconds_left=65))
    assert shown == Shown(0.35, "3 of 10 epochs · 5 of 10 steps of epoch 4 · 65 s left")
    assert course.take(EpochDone(10, 10, {})) == Shown(1, "10 of 10 epochs")


def test_the_first_epoch_is_a_part_of_the_training_too() -> None:
    course = Course()
    assert course.take(Progress(2, 2, "pairs read")) == Shown(1, "2 of 2 pairs read")
    shown = course.take(Progress(5, 10, "steps of epoch 1", epochs=(0, 10)))
    assert shown == Shown(0.05, "0 of 10 epochs · 5 of 10 steps of epoch 1")


def test_what_follows_the_steps_of_an_epoch_takes_no_progress_back() -> None:
    course = Course()
    course.take(EpochDone(3, 10, {}, seconds_left=70))
    course.take(Progress(10, 10, "steps of epoch 4"))
    shown = course.take(Progress(1, 4, "slices validated", seconds_left=60))
    assert shown == Shown(0.4, "3 of 10 epochs · 1 of 4 slices validated · 60 s left")


def test_a_notice_is_no_progress() -> None:
    assert Course().take(Notice("2 slices skipped")) is None


def test_nothing_to_do_is_done() -> None:
    assert Course().take(Progress(0, 0, "slices")) == Shown(1, "0 of 0 slices")


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (89, "89 s"), (170, "3 min"), (7500, "2 h 5 min")]
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words
