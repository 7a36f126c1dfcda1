"""Long work as a generator of events, run by one driver.

A ``Job[R]`` yields small frozen events and returns its result. :func:`run_job` drives it in
the terminal and inside the child process of the viewer (``app.process``) alike, so there is
one way to report progress, to cancel and to clean up. What a ``yield`` gives back is the axial
slice that somebody looks at, as far as the driver was told: a training previews that one.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from napari_ct2mri.errors import JobCancelled

if TYPE_CHECKING:  # the command line imports this module before it answers --help
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "EpochDone",
    "Event",
    "Job",
    "Kept",
    "Notice",
    "Paused",
    "Preview",
    "Progress",
    "SlicesDone",
    "heard",
    "run_job",
]

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Event:
    """Something a person may want to see. Every event pickles."""


@dataclass(frozen=True, slots=True)
class Progress(Event):
    """``done`` of ``total`` steps of ``what`` (a plural noun: "slices"); 0 <= done <= total.

    ``seconds_left`` is for the whole job, where the job itself knows; pauses do not count.
    ``epochs``, in the steps of a training, is how many are finished, and how many there are.
    """

    done: int
    total: int
    what: str
    seconds_left: float | None = None
    epochs: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Notice(Event):
    """A sentence that must not be lost: what was skipped, guessed or corrected."""

    text: str


@dataclass(frozen=True, slots=True)
class Kept(Event):
    """What is left of the job if it is cancelled from here on: "nothing is written yet"."""

    text: str


@dataclass(frozen=True, slots=True)
class Paused(Event):
    """The job stands still from here on, or, with ``False``, goes on."""

    is_paused: bool


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
    """What the weights in training make of the slice in view.

    Attributes
    ----------
    epoch : int
        Epochs that are finished.
    index : int
        Of the axial slice, in closest-axes order.
    slice_ : (y, x) float32, output units
    contrast : str
    label : str
        What the training has to do with the slice (``evaluation.labels``).
    """

    epoch: int
    index: int
    slice_: NDArray[np.float32]
    contrast: str
    label: str


@dataclass(frozen=True, slots=True)
class SlicesDone(Event):
    """Synthesized slices ``start .. start + len(slices)``, (n, y, x) float32, output units."""

    start: int
    slices: NDArray[np.float32]


Job: TypeAlias = Generator[Event, int | None, R]


def heard(job: Job[R], on_event: Callable[[Event], None]) -> Job[R]:
    """The same job; ``on_event`` is called with every event before it is passed on."""
    try:
        event = next(job)
        while True:
            on_event(event)
            event = job.send((yield event))
    except StopIteration as stop:
        result: R = stop.value
        return result
    finally:
        job.close()


def run_job(
    job: Job[R],
    on_event: Callable[[Event], None],
    is_cancelled: Callable[[], bool] = lambda: False,
    in_view: Callable[[], int | None] = lambda: None,
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
    in_view : callable
        Asked before the job goes on: which axial slice somebody looks at.

    Raises
    ------
    JobCancelled
        If ``is_cancelled`` said so.
    """
    kept = "what was finished before is kept"
    try:
        event = next(job)
        while True:
            if isinstance(event, Kept):
                kept = event.text
            on_event(event)
            if is_cancelled():
                raise JobCancelled(f"cancelled; {kept}")
            event = job.send(in_view())
    except StopIteration as stop:
        result: R = stop.value
        return result
    finally:
        job.close()
