"""A board that follows a viewer: slice ``k`` of a CT goes to it, its MR comes back.

Whoever scrolls faster than the board computes gets the newest slice. A board that is unplugged is
waited for, and picked up again.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.app.workflows.board_grid import BoardModel, Grid, read_model
from napari_ct2mri.app.workflows.board_line import BoardLine
from napari_ct2mri.errors import BoardError, LinkError
from napari_ct2mri.imaging.volume import Volume

if TYPE_CHECKING:
    from napari_ct2mri.link.connection import Connection
    from napari_ct2mri.link.live import Runner
    from napari_ct2mri.link.messages import Hello, Stats

__all__ = ["Live", "LiveSlice"]

_RETRY_S = 0.5  # between two looks for a board that is gone


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
        From the first byte out to the last in.
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

    def __init__(self, port: str, *, baud: int | None = None, board: str | None = None) -> None:
        self._line = BoardLine(port, baud, board)
        self._ct: tuple[Volume, bool] | None = None
        self._grid: Grid | None = None
        self._asked: dict[int, int] = {}  # the runner's number: k
        self._newest: int | None = None  # asked for and not come back
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
        self._newest = None
        return self._grid

    def ask(self, k: int) -> None:
        """Ask for slice ``k``; one that was asked for before and not sent is forgotten."""
        if self._grid is None:
            raise LinkError("no CT is shown; call show() first")
        if not 0 <= k < self._grid.depth:
            raise LinkError(f"slice {k} of a CT with {self._grid.depth}")
        self._newest = k
        if self._connection is not None:
            number = self._runner.submit(self._grid.planes(k), replace=True)
            self._asked[number] = k

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
        try:
            answer = self._runner.poll(timeout_s)
        except BoardError:
            raise
        except LinkError as error:
            self._lose(error)
            return None
        if answer is None or answer.number not in self._asked:
            return None
        k = self._asked.pop(answer.number)
        self._asked = {n: each for n, each in self._asked.items() if n > answer.number}
        if k == self._newest:
            self._newest = None
        assert self._grid is not None
        return LiveSlice(
            k, self._grid.mr(answer.mr), answer.microseconds, answer.latency_s,
            answer.sent_bytes, answer.received_bytes,
        )  # fmt: skip

    @property
    def unanswered(self) -> int:
        """Slices that were asked for and have not come back."""
        return 0 if self._connection is None else self._runner.unanswered

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
