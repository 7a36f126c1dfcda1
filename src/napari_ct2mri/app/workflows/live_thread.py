"""Live mode in a thread of its own: whoever watches says which slice, and is told what came.

:class:`Live` wants all its calls from one thread, and a viewer must not wait for a board. No Qt
here: callbacks arrive in the worker thread.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.app.workflows.board import ports
from napari_ct2mri.app.workflows.live import Live, LiveSlice
from napari_ct2mri.app.workflows.live_figures import Comparison, LogRow, Rate, RunLog
from napari_ct2mri.errors import Ct2MriError, JobError, LinkError

if TYPE_CHECKING:
    from napari_ct2mri.app.workflows.board import PortState
    from napari_ct2mri.app.workflows.board_grid import BoardModel
    from napari_ct2mri.imaging.volume import Volume

__all__ = [
    "BoardLost", "BoardReady", "LiveEvent", "LiveThread", "Measured", "Recorded", "SliceCame",
]  # fmt: skip

_IDLE_S = 0.2  # between two looks at a line on which nothing is going on
_GLANCE_S = 0.001  # enough to notice that an idle line is gone
_BUSY_S = 0.01  # between two looks at what is asked, while slices are on their way
_ELSEWHERE_S = 1.0  # between two looks for the board at another port
_IN_THE_AIR = 2  # slices of a sweep that are on their way at a time


@dataclass(frozen=True, slots=True)
class BoardReady:
    """The board answers and takes the CT: at the start, and when it is back.

    ``notes`` is what a person should know of the CT.
    """

    model: BoardModel
    port: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BoardLost:
    """Why there is no board just now, in words; it is looked for."""

    problem: str


@dataclass(frozen=True, slots=True, eq=False)
class SliceCame:
    """A slice that came back; ``fps`` and ``psnr_db`` as in :class:`LogRow`.

    ``is_compared`` says whether this machine has made it, too.
    """

    made: LiveSlice
    fps: float | None
    psnr_db: float | None
    is_compared: bool


@dataclass(frozen=True, slots=True)
class Measured:
    """How slice ``k``, which came last, agrees, now that this machine has made it, too."""

    k: int
    psnr_db: float | None


@dataclass(frozen=True, slots=True)
class Recorded:
    """A record: of how many slices by now, and whether it goes on; why not, in ``problem``."""

    path: Path
    rows: int
    is_open: bool
    problem: str = ""


LiveEvent: TypeAlias = BoardReady | BoardLost | SliceCame | Measured | Recorded


class LiveThread:
    """A board that follows, until it is told to stop; one run an object.

    Parameters
    ----------
    on_event : callable
        Called in the worker thread with each :data:`LiveEvent`.
    on_end : callable
        Called once, last, in the worker thread, when the port is free again: with what ended it,
        ``None`` if that was :meth:`stop`.
    port, board : str
        The only board that is welcome there.
    ct : Volume
        On closest axes; its slices are counted as the viewer shows them.
    """

    def __init__(
        self,
        on_event: Callable[[LiveEvent], None],
        on_end: Callable[[Ct2MriError | None], None],
        port: str,
        board: str,
        ct: Volume,
    ) -> None:
        self.on_event, self.on_end = on_event, on_end
        self._port, self._board, self._ct = port, board, ct
        self._calls: SimpleQueue[Callable[[_Watch], None]] = SimpleQueue()
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ct2mri-live", daemon=True)

    def start(self) -> None:
        """Open the port and begin; returns at once."""
        self._thread.start()

    def ask(self, k: int) -> None:
        """Ask for slice ``k``; the newest wins."""
        self._calls.put(lambda watch: watch.ask(k))

    def sweep(self) -> None:
        """Ask for all slices, from the first to the last; :meth:`ask` ends that."""
        self._calls.put(lambda watch: watch.sweep())

    def compare(self, start: int, slices: NDArray[np.float32]) -> None:
        """Take slices ``start ..`` that this machine made by the board's model, (n, y, x)."""
        self._calls.put(lambda watch: watch.compare(start, slices))

    def record(self, path: Path | None) -> None:
        """Write what comes from now on to a CSV; ``None`` ends that."""
        self._calls.put(lambda watch: watch.record(path))

    def stop(self) -> None:
        """End it at the next look; returns at once."""
        self._is_stopping.set()
        self._calls.put(lambda watch: None)  # wakes it

    def wait(self, timeout_s: float | None = None) -> bool:
        """Block until it has ended; ``False`` if that takes too long."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        """The thread: do what is asked, take what comes."""
        error: Ct2MriError | None = None
        try:
            with _Watch(self.on_event, self._port, self._board, self._ct) as watch:
                while not self._is_stopping.is_set():
                    self._obey(watch)
                    watch.look()
        except Ct2MriError as ours:
            error = ours
        except Exception as other:  # whatever it is, somebody waits
            traceback.print_exc()
            error = JobError(f"live mode broke: {type(other).__name__}: {other}")
        self.on_end(error)

    def _obey(self, watch: _Watch) -> None:
        """Do what was asked; with nothing on its way, wait for it: an ask must not."""
        with suppress(Empty):
            call = self._calls.get(timeout=watch.patience_s)
            while True:
                call(watch)
                call = self._calls.get_nowait()


class _Watch:
    """What the worker thread holds: the board, the figures, the record."""

    def __init__(
        self, tell: Callable[[LiveEvent], None], port: str, board: str, ct: Volume
    ) -> None:
        self._tell, self._ct, self._board = tell, ct, board
        self._rate = Rate()
        self._newest: LiveSlice | None = None
        self._wanted: int | None = None
        self._left: list[int] = []  # of a sweep: to be asked for
        self._due: set[int] = set()  # of a sweep: not come back
        self._log: RunLog | None = None
        self._log_since = 0.0
        self._look_elsewhere_at = 0.0
        self._lost = ""
        self._place = _place(port)
        self._begin(port)

    def __enter__(self) -> _Watch:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.record(None)
        finally:
            with suppress(LinkError):
                self._live.close()

    @property
    def patience_s(self) -> float:
        """How long to wait for somebody to ask."""
        is_idle = not self._live.unanswered and not self._due
        return _IDLE_S if is_idle and not self._live.problem else 0.0

    def ask(self, k: int) -> None:
        """The newest slice; a sweep is over. One that was asked for last is here or comes."""
        if k == self._wanted and not self._due:
            return
        self._left.clear()
        self._due.clear()
        self._wanted = k
        self._live.ask(k)

    def sweep(self) -> None:
        """All slices, one after the other."""
        self._left = list(range(len(self._ct.data)))
        self._due = set(self._left)

    def compare(self, start: int, slices: NDArray[np.float32]) -> None:
        """Keep them, and measure what came last, if it is one of them."""
        self._comparison.take(start, slices)
        last = self._newest
        if last is not None and start <= last.k < start + len(slices):
            self._tell(Measured(last.k, self._comparison.psnr(last.k, last.mr)))

    def record(self, path: Path | None) -> None:
        """End a record that is open, and begin one."""
        log, self._log = self._log, None
        try:
            if log is not None:
                log.close()
                self._tell(Recorded(log.path, log.rows, is_open=False))
            if path is not None:
                self._log, self._log_since = RunLog(path), time.monotonic()
                self._tell(Recorded(path, 0, is_open=True))
        except Ct2MriError as error:
            self._unrecorded(error, path)

    def look(self) -> None:
        """Go on for a moment."""
        self._go_on_sweeping()
        made = self._live.poll(self._step_s)
        if self._live.problem != self._lost:
            self._lost = self._live.problem
            self._tell(BoardLost(self._lost) if self._lost else self._ready())
        if self._lost:
            self._look_elsewhere()
        if made is not None:
            self._take(made)

    @property
    def _step_s(self) -> float:
        if self._live.problem:
            return _IDLE_S
        return _BUSY_S if self._live.unanswered else _GLANCE_S

    def _go_on_sweeping(self) -> None:
        """The next slices of a sweep; what a lost board took with it is asked for anew."""
        if self._live.problem or not self._due:
            return
        if not self._left and not self._live.unanswered:
            self._left = sorted(self._due)
        if self._left and self._live.unanswered < _IN_THE_AIR:
            self._wanted = self._left.pop(0)
            self._live.ask(self._wanted)

    def _take(self, made: LiveSlice) -> None:
        self._newest = made
        self._due.discard(made.k)
        now = time.monotonic()
        fps, psnr = self._rate.add(now), self._comparison.psnr(made.k, made.mr)
        self._tell(SliceCame(made, fps, psnr, self._comparison.has(made.k)))
        if self._log is None:
            return
        model = self._live.model
        names = (model.board, model.name, model.contrast)
        try:
            self._log.add(LogRow.of(made, now - self._log_since, fps, psnr, names))
        except Ct2MriError as error:
            self._unrecorded(error, self._log.path)
        else:
            self._tell(Recorded(self._log.path, self._log.rows, is_open=True))

    def _unrecorded(self, error: Ct2MriError, path: Path | None) -> None:
        """A record that breaks off does not end the run."""
        self._log = None
        self._tell(Recorded(path or Path(), 0, is_open=False, problem=str(error)))

    def _begin(self, port: str) -> None:
        self._live, self._port = Live(port, board=self._board), port
        try:
            self._comparison = Comparison(self._live.show(self._ct))
        except BaseException:
            self._live.close()
            raise
        self._model = self._live.model
        self._tell(self._ready())

    def _ready(self) -> BoardReady:
        if self._live.model.digest != self._model.digest:
            raise LinkError(
                f"the {self._board} came back with another model, {self._live.model.name} "
                f"({self._live.model.contrast}); go live again to follow that"
            )
        return BoardReady(self._live.model, self._port, self._live.notes)

    def _look_elsewhere(self) -> None:
        """A board that is plugged in again may get another port's name.

        Taken only if the old name is gone and one port alone looks like it: the same adapter by
        its serial number, or, where adapters have none, the same kind.
        """
        now = time.monotonic()
        if now < self._look_elsewhere_at or self._place is None:
            return
        self._look_elsewhere_at = now + _ELSEWHERE_S
        there = ports()
        others = [each.port for each in there if _look(each) == _look(self._place)]
        if len(others) != 1 or any(each.port == self._port for each in there):
            return
        before, lost = self._live, self._model
        try:
            live = Live(others[0], board=self._board)
        except LinkError:  # not up yet
            return
        before.close()
        self._live, self._port = live, others[0]
        if live.model.digest == lost.digest:
            live.show(self._ct)
            if self._wanted is not None:
                live.ask(self._wanted)
        self._lost = ""
        self._tell(self._ready())


def _look(place: PortState) -> tuple[str, str, str]:
    """What a port keeps under another name."""
    return place.board, place.title, place.serial_number


def _place(port: str) -> PortState | None:
    """What is known of a port while it is there."""
    return next((each for each in ports() if each.port == port), None)
