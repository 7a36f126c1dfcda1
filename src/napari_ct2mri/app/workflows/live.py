"""A board that follows a viewer: slice ``k`` of a CT goes to it, its MR comes back.

Whoever scrolls faster than the board computes gets the newest slice. Where that takes little time,
the slice that scrolling on would show goes out right behind the one in view, while the MR of that
is computed and sent, so that the line is busy in both directions; the neighbour on the other side
follows once nothing else is to do. A board that is unplugged is waited for, and picked up again.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.app.workflows.board_grid import BoardModel, Grid, read_model
from napari_ct2mri.app.workflows.board_line import BoardLine
from napari_ct2mri.errors import BoardError, LinkError
from napari_ct2mri.imaging.volume import Volume

if TYPE_CHECKING:
    from napari_ct2mri.link.connection import Connection
    from napari_ct2mri.link.live import Answer, Runner
    from napari_ct2mri.link.messages import Hello, Stats

__all__ = ["Live", "LiveSlice"]

_RETRY_S = 0.5  # between two looks for a board that is gone
_QUICK_S = 0.5  # slices that take longer are not sent ahead: a jump would wait behind them


@dataclass(frozen=True, slots=True, eq=False)
class LiveSlice:
    """A slice that came back from a board.

    Attributes
    ----------
    k : int
        Which slice of the CT, in closest-axes order.
    mr : (y, x) float32
        On the CT's own grid, output units: 0..1000, or 0..255 for pictures.
    microseconds : int
        That the board computed.
    latency_s : float
        From the first byte out to the last in, also of one that was sent ahead.
    sent_bytes, received_bytes : int
        Encoded, without frames.
    """

    k: int
    mr: NDArray[np.float32]
    microseconds: int
    latency_s: float
    sent_bytes: int
    received_bytes: int


class Live:
    """A connection to a board with a model; all its calls belong into one thread.

    Parameters
    ----------
    port : str
    baud : int, optional
        By default the highest that works.
    board : str, optional
        The only board that is welcome.
    look_ahead : bool
        Have neighbours of the slice in view ready; they come out of :meth:`poll` once asked for.

    Attributes
    ----------
    model : BoardModel
        What the board runs.
    problem : str
        Why there is no board just now, in words; empty while there is one.

    Raises
    ------
    LinkError
        If the board cannot be reached, or has no model.
    """

    def __init__(
        self,
        port: str,
        *,
        baud: int | None = None,
        board: str | None = None,
        look_ahead: bool = True,
    ) -> None:
        self._line = BoardLine(port, baud, board)
        self._is_looking_ahead = look_ahead
        self._ct: tuple[Volume, bool] | None = None
        self._grid: Grid | None = None
        self._asked: dict[int, int] = {}  # the runner's number: k
        self._newest: int | None = None  # asked for and not come back
        self._view: int | None = None  # asked for last
        self._step = 1  # which way the view moves
        self._early: set[int] = set()  # the runner's numbers of those sent ahead, not asked for
        self._kept: dict[int, LiveSlice] = {}  # came ahead, not asked for
        self._due: LiveSlice | None = None  # is here already, asked for
        self._last: LiveSlice | None = None  # came last
        self._latency_s = inf
        self._connection: Connection | None = None
        self._retry_at = 0.0
        self.problem = ""
        self.model: BoardModel
        self._connect()

    @property
    def hello(self) -> Hello | None:
        """What the board said of itself; ``None`` while it is gone."""
        return self._connection.hello if self._connection is not None else None

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of the CT."""
        return self._grid.notes if self._grid is not None else ()

    def show(self, ct: Volume, *, native: bool = False) -> Grid:
        """From now on ask for slices of this CT.

        Raises
        ------
        VolumeError
            If the model does not take it.
        """
        self._ct = ct, native
        self._grid = Grid(ct, self.model, native=native)
        if self._connection is not None:
            self._runner.drop_waiting()
        self._asked.clear()  # what is on its way shows another CT
        self._early.clear()
        self._kept.clear()
        self._newest = self._view = self._due = self._last = None
        return self._grid

    def ask(self, k: int) -> None:
        """Ask for slice ``k``; one that was asked for before and not sent is forgotten.

        The slice that is on its way is not sent again, and that which came last comes at once.
        """
        if self._grid is None:
            raise LinkError("no CT is shown; call show() first")
        if not 0 <= k < self._grid.depth:
            raise LinkError(f"slice {k} of a CT with {self._grid.depth}")
        if k == self._newest:
            return
        self._step = 1 if self._view is None or k >= self._view else -1
        self._newest = self._view = k
        self._due = None
        if self._last is not None and k == self._last.k:
            self._due = self._last
            if self._connection is not None:
                self._drop_waiting()
        elif self._connection is not None and not self._take_early(k):
            self._drop_waiting()
            if k not in self._asked.values():  # else it is on its way
                self._submit(k)

    def poll(self, timeout_s: float = 0.1) -> LiveSlice | None:
        """Go on for about ``timeout_s``; the next slice, if it is there by then.

        While the board is gone, look for it now and then (see :attr:`problem`), and ask it for
        the newest slice when it is back.

        Raises
        ------
        BoardError
            If the board refuses; it has to be spoken to by somebody else (a push, a boot).
        """
        if self._connection is None and not self._reconnect(timeout_s):
            return None
        if self._due is not None:
            self._last, self._due, self._newest = self._due, None, None
            return self._last
        try:
            self._send_ahead()
            answer = self._runner.poll(timeout_s)
        except BoardError:
            self._newest = None  # will not come
            raise
        except LinkError as error:
            self._lose(error)
            return None
        return None if answer is None else self._take(answer)

    @property
    def unanswered(self) -> int:
        """Slices that were asked for or sent ahead and have not come back."""
        if self._connection is None:
            return 0
        return self._runner.unanswered + (self._due is not None)

    def stats(self) -> Stats | None:
        """Time a layer and what was lost; ``None`` while slices are on their way."""
        if self._connection is None or self._runner.unanswered:
            return None
        try:
            return self._connection.stats()
        except BoardError:
            raise
        except LinkError as error:
            self._lose(error)
            return None

    def close(self) -> None:
        """Let go of the port."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _submit(self, k: int) -> int:
        assert self._grid is not None
        number = self._runner.submit(self._grid.planes(k))
        self._asked[number] = k
        return number

    def _take(self, answer: Answer) -> LiveSlice | None:
        """A slice that came: what was asked for, or one to keep."""
        k = self._asked.pop(answer.number, None)
        if k is None:
            return None
        assert self._grid is not None
        self._latency_s = answer.latency_s
        made = LiveSlice(
            k, self._grid.mr(answer.mr), answer.microseconds, answer.latency_s,
            answer.sent_bytes, answer.received_bytes,
        )  # fmt: skip
        if answer.number in self._early:
            self._early.discard(answer.number)
            if self._is_near(k):
                self._kept[k] = made
            return None
        if k == self._newest:
            self._newest = None
        self._last = made
        return made

    def _is_near(self, k: int) -> bool:
        return self._view is not None and abs(k - self._view) <= 1

    def _send_ahead(self) -> None:
        """A neighbour of the slice in view: the next behind it, the other when all is quiet."""
        on_way = self._runner.unanswered
        if not self._is_looking_ahead or self._latency_s > _QUICK_S or on_way > 1:
            return
        if self._view is None or self._grid is None or self._runner.waiting:
            return
        neighbours = [self._view + self._step] + ([self._view - self._step] if not on_way else [])
        for k in neighbours:
            is_known = k in self._kept or k in self._asked.values()
            if 0 <= k < self._grid.depth and not is_known:
                self._early.add(self._submit(k))
                return

    def _take_early(self, k: int) -> bool:
        """Whether slice ``k`` was sent ahead, so that it need not be sent."""
        made = self._kept.pop(k, None)
        self._kept = {each: slice_ for each, slice_ in self._kept.items() if self._is_near(each)}
        if made is not None:
            self._due = made
            self._drop_waiting()
            return True
        for number in self._early:
            if self._asked[number] == k:
                self._early.discard(number)
                self._drop_waiting(keep=number)
                return True
        return False

    def _drop_waiting(self, keep: int | None = None) -> None:
        for number in self._runner.drop_waiting(keep):
            self._asked.pop(number, None)
            self._early.discard(number)

    def _connect(self) -> None:
        from napari_ct2mri.link.live import Runner

        connection = self._line.connect()
        try:
            self.model = read_model(connection)
            self._runner: Runner = Runner(connection)
        except BaseException:
            connection.close()
            raise
        self._connection, self.problem = connection, ""
        self._asked.clear()
        self._early.clear()

    def _lose(self, error: LinkError) -> None:
        self.problem = str(error)
        with suppress(LinkError):
            self.close()
        self._connection = None
        self._retry_at = time.monotonic() + _RETRY_S

    def _reconnect(self, timeout_s: float) -> bool:
        """Look for the board once, if it is time to."""
        wait_s = self._retry_at - time.monotonic()
        if wait_s > 0:
            time.sleep(min(wait_s, timeout_s))
            return False
        try:
            self._connect()
        except BoardError:
            raise
        except LinkError as error:
            self._lose(error)
            return False
        if self._ct is not None:
            newest = self._newest
            self.show(self._ct[0], native=self._ct[1])
            if newest is not None:
                self.ask(newest)
        return True
