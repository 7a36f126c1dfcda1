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
        self._epoch: EpochDone | None = None
        self._epoch_at = 0.0

    def take(self, event: Event) -> Shown | None:
        """What to show after ``event``; None for an event that is no progress."""
        if isinstance(event, EpochDone):
            self._epoch, self._epoch_at = event, self._clock()
            return self._trained(event.epoch, 0.0, "")
        if isinstance(event, Progress):
            fraction = min(1.0, event.done / event.total) if event.total else 1.0
            words = f"{event.done} of {event.total} {event.what}"
            if self._epoch is not None:
                return self._trained(self._epoch.epoch, fraction, words)
            return Shown(fraction, _join(words, self._left(event.what, fraction)))
        return None

    def _trained(self, epoch: int, part: float, words: str) -> Shown:
        """A training is measured in epochs, which know best how long they take."""
        assert self._epoch is not None
        total = self._epoch.epochs
        left = max(0.0, self._epoch.seconds_left - (self._clock() - self._epoch_at))
        done = f"{epoch} of {total} epochs"
        is_last = epoch >= total
        text = _join(done, words, "" if is_last else f"{duration(left)} left")
        return Shown(min(1.0, (epoch + part) / total), text)

    def _left(self, what: str, fraction: float) -> str:
        """Time left if the rest goes as fast as what is done; empty while nobody knows."""
        now = self._clock()
        if what != self._what:
            self._what, self._since = what, now
        seconds = now - self._since
        if seconds < 1 or not 0.02 < fraction < 1:
            return ""
        return f"{duration(seconds * (1 - fraction) / fraction)} left"


def duration(seconds: float) -> str:
    """Seconds as a person says them: ``8 s``, ``3 min``, ``2 h 5 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _join(*parts: str) -> str:
    return " · ".join(part for part in parts if part)
