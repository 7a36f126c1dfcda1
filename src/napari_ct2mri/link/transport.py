"""Serial ports by pyserial, and what goes wrong with them in words."""

from __future__ import annotations

import errno
import os
import select
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from napari_ct2mri.errors import LinkError, PortError

try:
    from termios import error as TerminalError
except ImportError:  # elsewhere than on POSIX
    TerminalError = OSError  # type: ignore[misc,assignment]

__all__ = [
    "RESET_BAUD", "LineLost", "SerialLine", "TerminalError", "how_to_get_permission", "users_of",
]  # fmt: skip

RESET_BAUD = 115200
"""Bit/s of a board after reset (L6)."""

_READ_BYTES = 65536
_PIECE_BYTES = 2048  # written at a time where a port can't tell how much it takes
_BUSY = (errno.EBUSY, errno.EAGAIN, errno.EWOULDBLOCK)
_GONE = (OSError, TerminalError, ValueError, TypeError)  # the last two: closed under our hands


class LineLost(LinkError):
    """The port went away while in use: unplugged, or a simulated board that ended."""


class SerialLine:
    """A port of this machine, 8N1, or whatever else pyserial opens.

    Parameters
    ----------
    port : str
        A device (``/dev/ttyUSB0``, ``COM3``, a pseudo-terminal) or a URL of pyserial's
        (``socket://localhost:5555``, ``rfc2217://...``).
    baud : int
        Bit/s.

    Attributes
    ----------
    has_rate : bool
        Whether it is a wire; pseudo-terminals and sockets take any rate and have none.
    heard_bytes : int
        What has arrived since it was opened.

    Raises
    ------
    LinkError
        If it can't be opened, with the reason and what to do; a :class:`PortError` where only
        another port helps.
    """

    def __init__(self, port: str, baud: int = RESET_BAUD) -> None:
        import serial

        if not port.strip():
            raise PortError("no port is named; choose one")
        self.port = port
        self.baud: int | None = baud
        try:
            self._serial: Any = serial.serial_for_url(
                port, baud, timeout=0, write_timeout=0, exclusive=None if "://" in port else True
            )
        except (OSError, ValueError, TerminalError) as error:  # SerialException is an OSError
            raise _why_not(port, error) from error
        self.has_rate = "://" not in port and not os.path.realpath(port).startswith("/dev/pts/")
        self.heard_bytes = 0
        self._can_select = os.name == "posix" and hasattr(self._serial, "fileno")
        if not self._can_select:
            self._serial.write_timeout = None
        with suppress(AttributeError, OSError, ValueError, NotImplementedError):
            self._serial.set_low_latency_mode(True)  # an FTDI then waits 1 ms, not 16

    def now(self) -> float:
        """Seconds of the monotonic clock."""
        return time.monotonic()

    def transfer(self, data: bytes, timeout_s: float) -> tuple[int, bytes]:
        """Write what of ``data`` the port takes, read what is there; see :class:`Line`.

        Raises
        ------
        LineLost
            If the port has gone.
        """
        try:
            transfer = self._transfer if self._can_select else self._transfer_in_pieces
            taken, heard = transfer(data, timeout_s)
        except _GONE as error:
            raise self._lost() from error
        self.heard_bytes += len(heard)
        return taken, heard

    def drain(self) -> None:
        """Wait until what the port has taken has left; sockets and pseudo-terminals don't tell.

        Raises
        ------
        LineLost
            If the port has gone.
        """
        try:
            self._serial.flush()
        except _GONE as error:
            raise self._lost() from error

    def _lost(self) -> LineLost:
        return LineLost(
            f"{self.port}: the port went away: unplugged, or the board's process ended; plug it in "
            "or start it again"
        )

    def _transfer(self, data: bytes, timeout_s: float) -> tuple[int, bytes]:
        handle = self._serial.fileno()
        readable, writable, _ = select.select([handle], [handle] if data else [], [], timeout_s)
        taken = int(self._serial.write(data)) if writable else 0
        return taken, bytes(self._serial.read(_READ_BYTES)) if readable else b""

    def _transfer_in_pieces(self, data: bytes, timeout_s: float) -> tuple[int, bytes]:
        """Where ports can't be waited for together; the driver keeps what arrives meanwhile."""
        taken = int(self._serial.write(data[:_PIECE_BYTES])) if data else 0
        waiting = self._serial.in_waiting
        self._serial.timeout = 0 if data or waiting else timeout_s
        return taken, bytes(self._serial.read(max(waiting, 1)))

    def set_baud(self, baud: int) -> None:
        """Change the rate.

        Raises
        ------
        LinkError
            If port or driver do not offer it.
        """
        try:
            self._serial.baudrate = baud
        except (OSError, ValueError, TerminalError) as error:
            raise LinkError(f"{self.port} has no rate {baud}: choose another") from error
        self.baud = baud

    def close(self) -> None:
        """Let go of the port."""
        with suppress(OSError):
            self._serial.close()


def users_of(port: str) -> list[str]:
    """Other programs that have a port open, "minicom (pid 4711)", where Linux tells."""
    device = os.path.realpath(port)
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if int(process.name) != os.getpid() and _has_open(process, device):
                name = (process / "comm").read_text().strip()
                found.append(f"{name} (pid {process.name})")
    return found


def _has_open(process: Path, device: str) -> bool:
    for handle in (process / "fd").iterdir():
        with suppress(OSError):
            if str(handle.readlink()) == device:
                return True
    return False


def _why_not(port: str, error: Exception) -> LinkError:
    """Why a port does not open, and what to do."""
    number = getattr(error, "errno", None)
    if "://" in port:
        return LinkError(_why_no_url(port, error))
    if Path(port).is_dir():
        return PortError(f"{port}: a folder, expected a serial port; choose another")
    if number in (errno.ENOENT, errno.ENXIO, errno.ENODEV):
        return PortError(f"{port}: no such port; plug the board in, or choose another")
    if number in (errno.EACCES, errno.EPERM):
        return LinkError(f"{port}: no permission; {how_to_get_permission(port)}")
    if number in _BUSY:
        users = users_of(port)
        by = f"by {', '.join(users)}" if users else "by another program"
        return LinkError(f"{port}: busy, held {by}; close it first")
    if _is_no_terminal(error):
        kind = "file" if Path(port).is_file() else "device"
        return PortError(f"{port}: a {kind}, but no terminal; choose another port")
    if isinstance(error, ValueError):
        return LinkError(f"{port}: {error}; choose another rate or port")
    return PortError(f"{port}: not a serial port that opens ({error}); choose another")


def _is_no_terminal(error: Exception) -> bool:
    """What ``tcgetattr`` says, which pyserial wraps without its number."""
    return getattr(error.__cause__ or error.__context__, "args", ())[:1] == (errno.ENOTTY,)


def _why_no_url(port: str, error: Exception) -> str:
    """The same for what is reached by a URL."""
    kind = port.partition("://")[0]
    if isinstance(error, ValueError):
        return f"{port}: {error}; expected socket://HOST:PORT or another URL of pyserial's"
    if kind in ("socket", "rfc2217") and not _has_port(port):
        return f"{port}: expected {kind}://HOST:PORT, the last a number from 1 to 65535; correct it"
    return f"{port}: {_cause(port, error)}; start the board that listens there, or correct the URL"


def _has_port(url: str) -> bool:
    try:
        address = urlsplit(url)
        return bool(address.hostname and address.port)
    except ValueError:
        return False


def _cause(url: str, error: Exception) -> str:
    """What the system says, without what pyserial says round it."""
    inner = error.__cause__ or error.__context__
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror
    return str(error).removeprefix(f"Could not open port {url}: ")


def how_to_get_permission(port: str) -> str:
    """The group that owns the device, where a system has groups."""
    try:
        import grp

        group = grp.getgrgid(Path(port).stat().st_gid).gr_name
    except (ImportError, OSError, KeyError):
        return "run as a user who may use it"
    if group == "root":
        return "it belongs to root alone: ask who looks after this machine"
    return f"join the group that owns it: sudo usermod -aG {group} $USER, then log in again"
