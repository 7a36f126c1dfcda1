"""Events as a fraction and a sentence, for a progress bar. No Qt."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from napari_ct2mri.jobs import EpochDone, Event, Progress

__all__ = ["RESEARCH_ONLY", "Course", "Shown", "duration"]

RESEARCH_ONLY = "Synthetic, for research only; not a diagnostic device."


@dataclass(frozen=True, slots=True)
class Shown:
    """What a progress bar shows: ``fraction`` done in [0, 1] and a sentence."""

    fraction: float
    text: str


class Course:
    """Follows the events of one job.

    Parameters
    ----------
    clock : callable
        Seconds, never falling.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._what = ""
        self._since = clock()
        self._epochs: tuple[int, int] | None = None  # of a training: finished, and in all
        self._trained = 0.0  # part of it; what follows the steps of an epoch takes none back

    def take(self, event: Event) -> Shown | None:
        """What to show after ``event``; None for an event that is no progress."""
        if isinstance(event, EpochDone):
            self._epochs = event.epoch, event.epochs
            self._trained = event.epoch / event.epochs
            left = event.seconds_left if event.epoch < event.epochs else None
            return Shown(self._trained, _join(_said(self._epochs), _left(left)))
        if isinstance(event, Progress):
            fraction = min(1.0, event.done / event.total) if event.total else 1.0
            words = f"{event.done} of {event.total} {event.what}"
            left = event.seconds_left  # of the whole job, where it knows
            self._epochs = event.epochs or self._epochs
            if self._epochs is None:
                left = self._guess(event.what, fraction) if left is None else left
                return Shown(fraction, _join(words, _left(left)))
            finished, epochs = self._epochs
            self._trained = min(1.0, max(self._trained, (finished + fraction) / epochs))
            return Shown(self._trained, _join(_said(self._epochs), words, _left(left)))
        return None

    def _guess(self, what: str, fraction: float) -> float | None:
        """Seconds left if the rest goes as fast as what is done; None while nobody knows."""
        now = self._clock()
        if what != self._what:
            self._what, self._since = what, now
        seconds = now - self._since
        if seconds < 1 or not 0.02 < fraction < 1:
            return None
        return seconds * (1 - fraction) / fraction


def _said(epochs: tuple[int, int]) -> str:
    return f"{epochs[0]} of {epochs[1]} epochs"


def _left(seconds: float | None) -> str:
    return "" if seconds is None else f"{duration(seconds)} left"


def duration(seconds: float) -> str:
    """Seconds as a person says them: ``8 s``, ``3 min``, ``2 h 5 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _join(*parts: str) -> str:
    return " · ".join(part for part in parts if part)
