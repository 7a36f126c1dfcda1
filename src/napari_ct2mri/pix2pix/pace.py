"""How long a training will take, from what it took so far; pauses do not count. No torch."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from napari_ct2mri.jobs import Job, Progress

__all__ = ["Pace"]

R = TypeVar("R")
_RECENT = 5
"""Epochs whose mean foretells the rest: a machine does not stay as busy as it was."""

_SETTLED_S = 1.0
"""Less of the first epoch foretells nothing."""


class Pace:
    """The clock of a training; it runs only while the training does.

    Parameters
    ----------
    epochs : int
        In all.
    done : int
        Of a former run that is resumed.
    clock : callable
        Seconds, never falling.
    """

    def __init__(
        self, epochs: int, done: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._epochs, self._done, self._clock = epochs, done, clock
        self._measured: deque[float] = deque(maxlen=_RECENT)  # seconds of whole epochs
        self._elapsed = 0.0  # of this epoch, in what ran before
        self._since = clock()

    def timed(self, job: Job[R], part: float | None = None) -> Job[R]:
        """Run a part of an epoch; its progress says how long the whole training will take.

        The clock stands still while the driver holds an event: it may be paused.

        Parameters
        ----------
        part : float, optional
            Of the epoch's steps, done before ``job`` begins; by default the job counts them.
        """
        in_view: int | None = None
        try:
            while True:
                self._since = self._clock()
                try:
                    event = job.send(in_view)
                finally:
                    self._elapsed += self._clock() - self._since
                if isinstance(event, Progress):
                    done = event.done / event.total if part is None else part
                    event = replace(event, seconds_left=self.seconds_left(done))
                in_view = yield event
        except StopIteration as stop:
            result: R = stop.value
            return result
        finally:
            job.close()

    def finish_epoch(self) -> None:
        """Count what ran since the last one as an epoch."""
        self._measured.append(self._elapsed)
        self._elapsed = 0.0
        self._done += 1

    def seconds_left(self, part: float = 0.0) -> float | None:
        """Of the whole training, ``part`` in [0, 1] of this epoch being done; None: too early."""
        left = self._epochs - self._done - part
        if self._measured:
            return left * sum(self._measured) / len(self._measured)
        if self._elapsed < _SETTLED_S or not part:
            return None
        return left * self._elapsed / part
