"""The way to a board: its port, the rate of the line, and who is really there."""

from __future__ import annotations

import time
from contextlib import suppress

from napari_ct2mri.errors import BoardError, LinkError
from napari_ct2mri.link.connection import Connection
from napari_ct2mri.link.transport import RESET_BAUD, LineLost, SerialLine

__all__ = ["BoardLine"]

_PATIENCE_S = 2.0  # for HELLO: an adapter's latency, a board that is just starting
_ELSEWHERE_S = 0.5  # at a rate where a host that was killed may have left the board
_FALL_BACK_S = 0.6  # a board returns to its former rate after half a second (L6)
_GO_BACK_S = 1.0


class BoardLine:
    """Opens a port and greets the board behind it, as often as it takes.

    Parameters
    ----------
    port : str
        A device or a URL of pyserial's.
    baud : int, optional
        Bit/s; by default the highest that board, adapter and cable carry.
    board : str, optional
        The only board that is welcome, by its name.

    Attributes
    ----------
    notes : list of str
        What a person should know; who shows them takes them out.
    """

    def __init__(self, port: str, baud: int | None = None, board: str | None = None) -> None:
        self.port, self.baud, self.board = port, baud, board
        self.notes: list[str] = []

    def connect(self) -> Connection:
        """Open, greet, and bring the line to its rate.

        Raises
        ------
        LinkError
            If the port does not open, nobody answers, or it is another board.
        """
        connection = self._find()
        try:
            self._check(connection)
            self._set_rate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _find(self) -> Connection:
        """At the rate after reset; if nobody is there, at those where a board may have stayed."""
        silence = ""
        for baud in (RESET_BAUD, *self._other_rates()):
            patience_s = _PATIENCE_S if baud == RESET_BAUD else _ELSEWHERE_S
            line = SerialLine(self.port, baud)
            try:
                connection = _Connection(line, patience_s)
            except (BoardError, LineLost):
                line.close()
                raise
            except LinkError as error:
                line.close()
                if "no answer" not in str(error):
                    raise
                silence = str(error)
            else:
                if baud != RESET_BAUD:
                    self.notes.append(f"{self.port}: the board was still at {baud} bit/s")
                return connection
        raise LinkError(f"{self.port}: {_nobody(self._other_rates())}") from LinkError(silence)

    def _other_rates(self) -> tuple[int, ...]:
        """Rates of known boards, and the one asked for; a URL has none to set."""
        from napari_ct2mri.firmware.boards import BOARDS

        if "://" in self.port:
            return ()
        known = {rate for board in BOARDS.values() for rate in board.baud_rates}
        return tuple(sorted((known | {self.baud or RESET_BAUD}) - {RESET_BAUD}))

    def _check(self, connection: Connection) -> None:
        found = connection.hello.board
        if self.board is not None and found != self.board:
            raise LinkError(
                f"{self.port}: there is a {found}, expected {self.board}; choose another --port "
                f"or --board (`ct2mri ports` shows what is where)"
            )

    def _set_rate(self, connection: Connection) -> None:
        rates, now = connection.hello.rates, connection.line.baud
        if self.baud is not None:
            if rates or self.baud != RESET_BAUD:
                connection.set_rate(self.baud)
            return
        for rate in sorted((rate for rate in rates if rate > (now or 0)), reverse=True):
            try:
                return connection.set_rate(rate)
            except BoardError:
                raise
            except LinkError as error:  # of the adapter or the cable
                self.notes.append(str(error))
                time.sleep(_FALL_BACK_S)
                connection.greet()


def _nobody(others: tuple[int, ...]) -> str:
    tried = ", ".join(map(str, (RESET_BAUD, *others)))
    return (
        f"no answer at {tried} bit/s. Is this the board's port, and does its firmware run? A C6748 "
        "that was just reset waits for `ct2mri boot --port PORT`; `ct2mri board` starts a "
        "simulated one"
    )


class _Connection(Connection):
    """Leaves the board at the rate at which the next program looks for it."""

    def close(self) -> None:
        """Go back to the rate after reset and let go of the port."""
        with suppress(LinkError):
            if self.hello.rates and self.line.baud != RESET_BAUD:
                self.session.drop()
                self.set_rate(RESET_BAUD)
        super().close()
