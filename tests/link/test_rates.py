"""Rates over lines that carry the low ones and harm the high ones (L6): the ends may not part.

Against the board in Python and against the receiver in C, each with the rate that it has.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from pathlib import Path

import pytest

from napari_ct2mri.errors import LinkError
from napari_ct2mri.link import NoAnswer, connect
from napari_ct2mri.link.connection import Connection, RateError
from napari_ct2mri.link.opening import _raise_rate

from .board import Board
from .lines import VirtualLine

sys.path.insert(0, str(Path(__file__).parents[1] / "firmware"))

HIGH = 1_000_000  # bit/s; above it a line is bad
RATES = (115200, 921600, 2_000_000)


@cache
def rated_c_board() -> Callable[[], Board]:
    from c_board import CBoard, load

    class Rated(CBoard):
        """The receiver in C, at the end of a line of rates."""

        baud = CBoard.rate

    return partial(Rated, load(), slot_bytes=1 << 16, memory=1 << 17)


@pytest.fixture(params=["python", "c"])
def new_board(request: pytest.FixtureRequest) -> Callable[[], Board]:
    return partial(Board, rates=RATES) if request.param == "python" else rated_c_board()


class WeakLine(VirtualLine):
    """A cable that at high rates alters some bytes (``noise``: the chance of each), or carries
    nothing to the board (``dead`` is True) or from it (False), but for the first ``heard`` answers.

    It has what opening a port asks of one, too.
    """

    port, has_rate, heard_bytes = "/dev/ttyS9", True, 0

    def __init__(
        self,
        board: Board,
        seed: int = 0,
        above: int = HIGH,
        noise: float = 0.0,
        dead: bool | None = None,
        heard: int = 0,
    ) -> None:
        super().__init__(board, seed=seed, baud=115200)
        self.above, self.noise, self.dead, self.heard = above, noise, dead, heard
        self.said = 0  # answers of the board at a high rate

    def _put(self, to_board: bool, data: bytes, baud: int | None) -> None:
        if baud is not None and baud > self.above:
            data = self._harm(to_board, data)
        super()._put(to_board, data, baud)

    def _harm(self, to_board: bool, data: bytes) -> bytes:
        self.said += not to_board
        if self.dead is not None and to_board == self.dead and not 0 < self.said <= self.heard:
            return b""
        flip = self._chance
        return bytes(
            byte ^ 1 << flip.randrange(8) if flip.random() < self.noise else byte for byte in data
        )


def are_together(connection: Connection) -> bool:
    """Both ends at one rate, and they talk."""
    line = connection.line
    return line.baud == line.board.baud and connection.stats().slices == 0


def go_on(line: WeakLine, seconds: float) -> None:
    """Nobody says anything."""
    end = line.now() + seconds
    while line.now() < end:
        line.transfer(b"", end - line.now())


@pytest.mark.parametrize("dead", [True, False], ids=["to the board", "from the board"])
def test_one_direction_is_dead_at_a_rate(new_board: Callable[[], Board], dead: bool):
    line = WeakLine(new_board(), dead=dead)
    connection = Connection(line)
    with pytest.raises(RateError, match=r"not heard at 2000000 bit/s.*still at 115200"):
        connection.set_rate(2_000_000)
    assert line.now() < 2
    assert are_together(connection)
    go_on(line, 60)
    assert are_together(connection)
    _raise_rate(connection, None)
    assert line.baud == 921600
    go_on(line, 60)
    assert are_together(connection)


@pytest.mark.parametrize("before", [115200, 921600])
def test_answers_are_lost_once_the_board_stays(new_board: Callable[[], Board], before: int):
    """HELLO's answer came, STATS was heard, and then no answer more: only noise brings it back."""
    line = WeakLine(new_board(), dead=False, heard=1)
    connection = Connection(line)
    connection.set_rate(before)
    with pytest.raises(RateError, match="still at 115200"):
        connection.set_rate(2_000_000)
    assert 2 < line.now() < 6
    assert are_together(connection)
    assert line.baud == 115200


@pytest.mark.parametrize("noise", [0.003, 0.01, 0.02, 0.05, 0.1])
def test_noise_at_a_high_rate_parts_none(new_board: Callable[[], Board], noise: float):
    seen: Counter[str] = Counter()
    for seed in range(40):
        line = WeakLine(new_board(), seed, noise=noise)
        connection = Connection(line)
        begun = line.now()
        try:
            connection.set_rate(2_000_000)
            seen["changed"] += 1
        except RateError:
            assert are_together(connection)
            seen["called back"] += line.now() - begun > 2
        assert line.baud == line.board.baud
        go_on(line, 3)
        assert line.baud == line.board.baud
    print(noise, dict(seen))  # what it came to, for who runs it with -s
    assert seen["changed"] > 0 if noise < 0.05 else seen["changed"] < 40


def test_ends_that_were_parted_come_together(
    new_board: Callable[[], Board], monkeypatch: pytest.MonkeyPatch
):
    """A host that died has left the board at a rate; the next one calls at the first."""
    line = WeakLine(new_board(), above=10**9)
    Connection(line).set_rate(921600)
    assert line.board.baud == 921600
    line.baud, begun = 115200, line.now()
    monkeypatch.setattr("napari_ct2mri.link.opening.SerialLine", lambda port: line)
    with connect("/dev/ttyS9") as connection:
        assert line.now() - begun < 4.5
        assert line.baud == 2_000_000
        assert are_together(connection)
    assert line.baud == line.board.baud == 115200
    go_on(line, 3)
    assert line.board.baud == 115200  # the host's good-bye made it stay


def test_a_rate_of_which_the_host_knows_nothing(monkeypatch: pytest.MonkeyPatch):
    line = WeakLine(Board(rates=(115200, 460800)), above=10**9)
    Connection(line).set_rate(460800)
    line.baud = 115200
    monkeypatch.setattr("napari_ct2mri.link.opening.SerialLine", lambda port: line)
    assert connect("/dev/ttyS9", 115200).line.baud == line.board.baud == 115200


def test_a_board_that_is_lost_on_the_way_is_no_connection(
    new_board: Callable[[], Board], monkeypatch: pytest.MonkeyPatch
):
    """Its plug is pulled as it changes: that no rate is heard is then no reason to go on."""

    class Pulled(WeakLine):
        def set_baud(self, baud: int) -> None:
            super().set_baud(baud)
            self.is_severed = True

    line = Pulled(new_board())
    monkeypatch.setattr("napari_ct2mri.link.opening.SerialLine", lambda port: line)
    with pytest.raises(NoAnswer, match="no answer to HELLO within 4 s"):
        connect("/dev/ttyS9")
    assert line.now() < 10  # it does not go through all rates


def test_a_refused_rate_is_passed_over():
    class Choosy(Board):
        def _rate(self, payload: bytes) -> bytes:
            if payload == (2_000_000).to_bytes(4, "little"):
                payload = bytes(4)
            return super()._rate(payload)

    line = WeakLine(Choosy(rates=RATES), above=10**9)
    _raise_rate(Connection(line), None)
    assert line.baud == line.board.baud == 921600


def test_nobody_is_called_for_long(monkeypatch: pytest.MonkeyPatch):
    board = Board(rates=RATES)
    board.is_on = False
    line = WeakLine(board)
    monkeypatch.setattr("napari_ct2mri.link.opening.SerialLine", lambda port: line)
    with suppress(LinkError):
        connect("/dev/ttyS9")
    assert 4 < line.now() < 8
