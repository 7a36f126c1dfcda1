"""In Board: the thread that talks to a board in live mode, brought into Qt."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_ct2mri.app.workflows.live_thread import LiveThread
from napari_ct2mri.errors import Ct2MriError, JobError

if TYPE_CHECKING:
    from napari_ct2mri.app.workflows.live_thread import LiveEvent
    from napari_ct2mri.imaging.volume import Volume

__all__ = ["QtLive"]


class QtLive(QObject):
    """A :class:`LiveThread` with Qt signals, in the thread that made this object.

    Signals
    -------
    event_came : LiveEvent
    ended : Ct2MriError or None
        The port is free again.
    """

    event_came = Signal(object)
    ended = Signal(object)
    _came = Signal(object, object)  # from the worker thread: itself, event
    _ended = Signal(object, object)  # from the worker thread: itself, error

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.thread_: LiveThread | None = None
        self._came.connect(self._pass_on)
        self._ended.connect(self._end)

    @property
    def is_running(self) -> bool:
        """Whether a run was started whose end has not been reported yet."""
        return self.thread_ is not None

    def start(self, port: str, board: str, ct: Volume) -> None:
        """Open the port and begin; see :class:`LiveThread`.

        Raises
        ------
        JobError
            If it is live already.
        """
        if self.thread_ is not None:
            raise JobError("live mode is on already; stop it first")

        # In the worker thread. The panel may be gone, and its Qt object with it: RuntimeError.
        def on_event(event: LiveEvent) -> None:
            with suppress(RuntimeError):
                self._came.emit(thread, event)

        def on_end(error: Ct2MriError | None) -> None:
            with suppress(RuntimeError):
                self._ended.emit(thread, error)

        thread = self.thread_ = LiveThread(on_event, on_end, port, board, ct)
        thread.start()

    def stop(self) -> None:
        """Ask it to end; ``ended`` tells when it has."""
        if self.thread_ is not None:
            self.thread_.stop()

    def abandon(self) -> None:
        """End it, and hear no more of it."""
        thread, self.thread_ = self.thread_, None
        if thread is not None:
            thread.stop()

    # In the thread of the panel; what an abandoned run still says is passed over.

    def _pass_on(self, thread: LiveThread, event: LiveEvent) -> None:
        if thread is self.thread_:
            self.event_came.emit(event)

    def _end(self, thread: LiveThread, error: Ct2MriError | None) -> None:
        if thread is self.thread_:
            self.thread_ = None
            self.ended.emit(error)
