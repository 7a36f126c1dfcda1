"""The way to a board, and whether it is the one that was meant."""

from __future__ import annotations

from dataclasses import dataclass

from napari_ct2mri.app.workflows.simulated import users_of_socket
from napari_ct2mri.errors import LinkError
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
    """

    port: str
    baud: int | None = None
    board: str | None = None

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
            raise NoAnswer(f"{error}; {_who_may_be_there(self.port)}") from error
        found = connection.hello.board
        if self.board is not None and found != self.board:
            connection.close()
            raise LinkError(
                f"{self.port}: there is a {found}, expected a {self.board}; choose another port "
                "or board (`ct2mri ports` shows what is where)"
            )
        return connection


def _who_may_be_there(port: str) -> str:
    """What to do where nobody answers."""
    if "://" not in port:
        return f"a C6748 that was just reset waits for `ct2mri boot --port {port}`"
    users = users_of_socket(port)
    by = f", and it is held by {', '.join(users)}: close it first" if users else ""
    return f"a simulated board serves one program at a time{by}"
