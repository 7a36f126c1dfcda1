"""The way to a board, and whether it is the one that was meant."""

from __future__ import annotations

from dataclasses import dataclass

from napari_ct2mri.app.workflows.simulated import users_of_socket
from napari_ct2mri.errors import LinkError, PortError
from napari_ct2mri.firmware.boards import find_board
from napari_ct2mri.link import Connection, NoAnswer, connect

__all__ = ["BoardLine"]


@dataclass(frozen=True, slots=True)
class BoardLine:
    """Opens a port and greets the board behind it, as often as it takes.

    Attributes
    ----------
    port : str
        A device or a URL of pyserial's.
    baud : int, optional
        Bit/s; by default the highest that board and cable carry.
    board : str, optional
        The only board that is welcome, by its name.

    Raises
    ------
    FirmwareError
        If there is no board of that name.
    LinkError
        If no line has that rate.
    """

    port: str
    baud: int | None = None
    board: str | None = None

    def __post_init__(self) -> None:
        if self.board is not None:
            find_board(self.board)
        if self.baud is not None and self.baud < 1:
            raise LinkError(f"a rate of {self.baud} bit/s; expected one above 0, such as 115200")

    def connect(self) -> Connection:
        """Open and greet.

        Raises
        ------
        LinkError
            If the port does not open, nobody answers, or it is another board.
        """
        try:
            connection = connect(self.port, self.baud)
        except NoAnswer as error:
            raise NoAnswer(_what_to_do(self.port, error)) from error
        found = connection.hello.board
        if self.board is not None and found != self.board:
            connection.close()
            raise PortError(
                f"{self.port}: there is a {found}, expected a {self.board}; choose another port or "
                "board"
            )
        return connection


def _what_to_do(port: str, silence: NoAnswer) -> str:
    """Where nobody answers: who keeps the board from it, or else why it may be silent."""
    if "://" not in port:
        return f"{silence}; a C6748 that was just reset must be booted first"
    one = "a simulated board serves one program at a time"
    if users := users_of_socket(port):
        return f"{port}: held by {', '.join(users)}: close it first, as {one}"
    return f"{silence}; {one}"
