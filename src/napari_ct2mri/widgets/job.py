"""A job in a child process, with Qt signals in the thread that owns them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from qtpy.QtCore import QObject, Signal

from napari_ct2mri.app.process import JobProcess
from napari_ct2mri.errors import Ct2MriError, JobCancelled, JobError
from napari_ct2mri.jobs import Event, Job

__all__ = ["QtJob"]

_CLOSING_GRACE_S = 5.0
"""How long the job of a closed panel may take to clean up."""


class QtJob(QObject):
    """Runs one job at a time and reports by signals, in the thread that made this object.

    Signals
    -------
    event_came : Event
    succeeded : the job's result
    failed : Ct2MriError
    cancelled : str
        Why, in words.
    finished
        After exactly one of the three above; a next job may start from here on.
    """

    event_came = Signal(object)
    succeeded = Signal(object)
    failed = Signal(object)
    cancelled = Signal(str)
    finished = Signal()
    _ended = Signal(object, object)  # from the reader thread: result, error

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._process: JobProcess | None = None
        self._ended.connect(self._end)

    @property
    def is_running(self) -> bool:
        """Whether a job was started whose outcome has not been reported yet."""
        return self._process is not None

    def start(self, function: Callable[..., Job[Any]], *args: Any, **kwargs: Any) -> None:
        """Run ``function(*args, **kwargs)``, which makes a job, in a child process.

        Raises
        ------
        JobError
            If a job is still running.
        """
        if self._process is not None:
            raise JobError("this panel is still at work; wait for it or cancel it first")
        self._process = JobProcess(self._on_event, self._on_result, self._on_error)
        self._process.start(function, *args, **kwargs)

    def cancel(self) -> None:
        """Ask the job to stop at its next event and clean up."""
        if self._process is not None:
            self._process.cancel()

    def pause(self) -> None:
        """Let the job stand still at its next event; a ``Paused`` event confirms it."""
        if self._process is not None:
            self._process.pause()

    def go_on(self) -> None:
        """Let a paused job go on."""
        if self._process is not None:
            self._process.go_on()

    def look_at(self, index: int | None) -> None:
        """Tell the job which axial slice is in view; None: nobody looks."""
        if self._process is not None:
            self._process.look_at(index)

    def abandon(self) -> None:
        """Stop the job, if any, and hear no more of it."""
        process, self._process = self._process, None
        if process is not None:
            process.on_event = lambda event: None
            process.on_result = process.on_error = lambda outcome: None
            process.cancel(_CLOSING_GRACE_S)

    # In the reader thread. The panel may be gone, and its Qt object with it: RuntimeError.

    def _on_event(self, event: Event) -> None:
        with suppress(RuntimeError):
            self.event_came.emit(event)

    def _on_result(self, result: object) -> None:
        with suppress(RuntimeError):
            self._ended.emit(result, None)

    def _on_error(self, error: Ct2MriError) -> None:
        with suppress(RuntimeError):
            self._ended.emit(None, error)

    # In the thread of the panel.

    def _end(self, result: object, error: Ct2MriError | None) -> None:
        if self._process is None:  # abandoned after the outcome was on its way
            return
        self._process = None
        if error is None:
            self.succeeded.emit(result)
        elif isinstance(error, JobCancelled):
            self.cancelled.emit(str(error))
        else:
            self.failed.emit(error)
        self.finished.emit()
