"""From the name of a port to a board that has answered."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import suppress

from napari_ct2mri.errors import BoardError, LinkError
from napari_ct2mri.jobs import Event, Notice, Progress
from napari_ct2mri.link.connection import CALL_S, Connection, RateError
from napari_ct2mri.link.session import NoAnswer
from napari_ct2mri.link.transport import RESET_BAUD, LineLost, SerialLine, users_of

__all__ = ["connect", "connect_again"]

_OTHER_BAUDS = (921600, 2_000_000, 3_000_000)  # that an earlier session may have left it at
_GREET_S, _OTHER_S = 3.0, 0.6
_PLUG_S = 60  # s, how long an unplugged board is waited for
_PAUSE_S = 0.5


def connect(port: str, baud: int | None = None) -> Connection:
    """Open a port and greet its board.

    Parameters
    ----------
    port : str
        A device, a pseudo-terminal or a URL of pyserial's.
    baud : int, optional
        The rate to change to; by default the fastest that board and cable share. Where the line
        has no rate, as in a simulation, none is changed, and the connection's notes say so.

    Raises
    ------
    LinkError
        If the port does not open, nobody answers (:class:`NoAnswer`), or not at that rate.
    """
    line = SerialLine(port)
    try:
        connection = _greet(line)
        _raise_rate(connection, baud)
    except BaseException:
        line.close()
        raise
    return connection


def connect_again(
    connect: Callable[[], Connection], why: LinkError
) -> Generator[Event, None, Connection]:
    """The board once more; one that was unplugged (``why``) is waited for.

    Yields an event now and then, so that a person can cancel.
    """
    begun, patience_s = time.monotonic(), _PLUG_S if isinstance(why, LineLost) else 0
    is_said = False
    while True:
        try:
            return connect()
        except BoardError:
            raise
        except LinkError:
            waited_s = time.monotonic() - begun
            if waited_s >= patience_s:
                raise
        if not is_said:
            yield Notice(f"the line is gone; plug the board in again, within {patience_s} s")
            is_said = True
        yield Progress(int(waited_s), patience_s, "seconds waited for the board")
        time.sleep(_PAUSE_S)


def _greet(line: SerialLine) -> Connection:
    try:
        return Connection(line, CALL_S if line.has_rate else _GREET_S)
    except NoAnswer as error:
        silence = error
    if line.has_rate:
        for baud in (*_OTHER_BAUDS, RESET_BAUD):  # the calls may have sent it back there
            with suppress(LinkError):
                line.set_baud(baud)
                return Connection(line, _OTHER_S)
    raise NoAnswer(f"{line.port}: {_explain(silence, line)}") from silence


def _explain(silence: NoAnswer, line: SerialLine) -> str:
    """Why nobody may have answered."""
    users = users_of(line.port) if line.has_rate else []
    if users:
        return f"no board answers; {', '.join(users)} has it open, too, and may take the answers"
    if line.heard_bytes:
        return (
            f"{line.heard_bytes} bytes came, but no answer: another program runs there, or the "
            f"rate is wrong; reset the board, which begins at {RESET_BAUD}"
        )
    return str(silence)


def _raise_rate(connection: Connection, baud: int | None) -> None:
    """To ``baud``, or the fastest that is heard; raises if the board is lost on the way."""
    if baud is not None:
        if connection.hello.rates:
            connection.set_rate(baud)
        else:
            connection.notes += (
                f"the line of this {connection.hello.board} has no rate, as in a simulation: "
                f"--baud {baud} changes nothing",
            )
        return
    for rate in sorted(connection.hello.rates, reverse=True):
        if rate <= (connection.line.baud or 0):
            return
        with suppress(RateError, BoardError):  # at anything else the board is gone
            connection.set_rate(rate)
            return
