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
    _came = Signal(object, object)  # from the reader thread: its process, event
    _ended = Signal(object, object, object)  # from the reader thread: its process, result, error

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._process: JobProcess | None = None
        self._came.connect(self._pass_on)
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
            If a job is still running, or no child can be started.
        """
        if self._process is not None:
            raise JobError("this panel is still at work; wait for it or cancel it first")
        process = JobProcess()

        # In the reader thread. The panel may be gone, and its Qt object with it: RuntimeError.
        def on_event(event: Event) -> None:
            with suppress(RuntimeError):
                self._came.emit(process, event)

        def on_end(result: object, error: Ct2MriError | None) -> None:
            with suppress(RuntimeError):
                self._ended.emit(process, result, error)

        process.on_event = on_event
        process.on_result = lambda result: on_end(result, None)
        process.on_error = lambda error: on_end(None, error)
        process.start(function, *args, **kwargs)
        self._process = process  # only now: what did not start would never end

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

    # In the thread of the panel; what was on its way from an abandoned job is passed over.

    def _pass_on(self, process: JobProcess, event: Event) -> None:
        if process is self._process:
            self.event_came.emit(event)

    def _end(self, process: JobProcess, result: object, error: Ct2MriError | None) -> None:
        if process is not self._process:
            return
        self._process = None
        if error is None:
            self.succeeded.emit(result)
        elif isinstance(error, JobCancelled):
            self.cancelled.emit(str(error))
        else:
            self.failed.emit(error)
        self.finished.emit()
