"""Long work as a generator of events, run by one driver.

A ``Job[R]`` yields small frozen events and returns its result. :func:`run_job` drives it in
the terminal and inside the child process of the viewer (``app.process``) alike, so there is
one way to report progress, to cancel and to clean up.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.errors import JobCancelled

__all__ = ["EpochDone", "Event", "Job", "Notice", "Preview", "Progress", "SlicesDone", "run_job"]

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Event:
    """Something a person may want to see. Every event pickles."""


@dataclass(frozen=True, slots=True)
class Progress(Event):
    """``done`` of ``total`` steps of ``what`` (a plural noun: "slices"); 0 <= done <= total."""

    done: int
    total: int
    what: str


@dataclass(frozen=True, slots=True)
class Notice(Event):
    """A sentence that must not be lost: what was skipped, guessed or corrected."""

    text: str


@dataclass(frozen=True, slots=True)
class EpochDone(Event):
    """One pass over the training slices.

    ``losses`` are means over the epoch, by term; ``validation`` holds the in-head figures on
    the selection patients (empty where none are used); ``is_best`` says that they chose it.
    """

    epoch: int
    epochs: int
    losses: Mapping[str, float]
    validation: Mapping[str, float] = field(default_factory=dict)
    is_best: bool = False
    seconds_left: float = 0.0


@dataclass(frozen=True, slots=True)
class Preview(Event):
    """One slice as the network sees it now: three (H, W) float32 images in [-1, 1]."""

    epoch: int
    ct: NDArray[np.float32]
    real: NDArray[np.float32]
    fake: NDArray[np.float32]
    contrast: str


@dataclass(frozen=True, slots=True)
class SlicesDone(Event):
    """Synthesized slices ``start .. start + len(slices)``, (n, y, x) float32, output units."""

    start: int
    slices: NDArray[np.float32]


Job: TypeAlias = Generator[Event, None, R]


def run_job(
    job: Job[R],
    on_event: Callable[[Event], None],
    is_cancelled: Callable[[], bool] = lambda: False,
) -> R:
    """Drive ``job`` to its end and return its result.

    Parameters
    ----------
    job : Job[R]
        A fresh generator.
    on_event : callable
        Called with every event, in order, in this thread.
    is_cancelled : callable
        Asked after every event. On ``True`` the generator is closed, so that its ``finally``
        blocks run before this function raises.

    Raises
    ------
    JobCancelled
        If ``is_cancelled`` said so.
    """
    try:
        while True:
            event = next(job)
            on_event(event)
            if is_cancelled():
                raise JobCancelled("cancelled; what was finished before is kept")
    except StopIteration as stop:
        result: R = stop.value
        return result
    finally:
        job.close()
