"""``push`` and ``boot``: a model onto a board, a program into a bare one."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from napari_ct2mri.app.workflows.board_line import BoardLine
from napari_ct2mri.app.workflows.firmware import build, export
from napari_ct2mri.app.workflows.simulated import (
    Running,
    firmware_for,
    running_boards,
    users_of_socket,
)
from napari_ct2mri.errors import ContainerError, FirmwareError, LinkError
from napari_ct2mri.firmware.ais import BOOTED, boot_image
from napari_ct2mri.jobs import Event, Job, Notice
from napari_ct2mri.link import NoAnswer

if TYPE_CHECKING:
    from napari_ct2mri.app.workflows.board_grid import BoardModel
    from napari_ct2mri.firmware.export import Exported
    from napari_ct2mri.link.messages import Hello
    from napari_ct2mri.link.ports import Port
    from napari_ct2mri.link.transport import SerialLine
    from napari_ct2mri.link.upload import Pushed

__all__ = [
    "UNPLUGGED", "Asked", "Booted", "ExportedPushed", "Obstacle", "PortState", "StepBegun",
    "ask_board", "boot", "export_build_push", "ports", "push",
]  # fmt: skip

_ABI_AT, _ABI = 14, struct.Struct("<H")  # of a container's header
_START_S = 5.0  # for a program that was just booted to answer

Step = Literal["export", "build", "boot", "push"]


@dataclass(frozen=True, slots=True)
class StepBegun(Event):
    """The next part of :func:`export_build_push`."""

    step: Step


@dataclass(frozen=True, slots=True)
class ExportedPushed:
    """What :func:`export_build_push` has done; ``exported.budget`` says what the model costs."""

    exported: Exported
    pushed: Pushed


@dataclass(frozen=True, slots=True)
class Booted:
    """A program that was loaded into a board and answers."""

    program: Path
    image_bytes: int
    hello: Hello


@dataclass(frozen=True, slots=True)
class Asked:
    """What a board says of itself, and of its model, if it has one."""

    hello: Hello
    model: BoardModel | None


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a port cannot be used now, and what to do about it."""

    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}"


UNPLUGGED = Obstacle("unplugged", "plug the board in again, or choose another port")


@dataclass(frozen=True, slots=True)
class PortState:
    """Something that ``--port`` takes.

    Attributes
    ----------
    port : str
    board : str
        The likely one of a serial port, the true one of a simulation; empty if nothing tells.
    title : str
        What it is, in words.
    obstacle : Obstacle or None
        Why it cannot be used now; ``None`` if it can.
    serial_number : str
        Of its adapter, by which it is found again after unplugging; empty if there is none.
    """

    port: str
    board: str
    title: str
    obstacle: Obstacle | None
    serial_number: str = ""


def push(
    folder: Path, port: str, *, baud: int | None = None, board: str | None = None
) -> Job[Pushed]:
    """Bring the model of an exported project onto a board: only what it lacks.

    Parameters
    ----------
    folder : Path
        What ``export`` wrote.
    port : str
        A device, or a URL of pyserial's.
    baud : int, optional
        Bit/s; by default the highest that works.
    board : str, optional
        The only board that is welcome.

    Raises
    ------
    FirmwareError
        If ``folder`` holds no model.
    LinkError
        If the board cannot be reached, stays silent or refuses; it then has its old model.

    See Also
    --------
    napari_ct2mri.link.upload.push_model : what it yields and returns.
    """
    from napari_ct2mri.link.upload import push_model

    container, abi = _read_container(folder)
    return (yield from push_model(BoardLine(port, baud, board).connect, container, abi))


def _read_container(folder: Path) -> tuple[bytes, int]:
    """``model.ctm`` and the ABI that it needs; one of another ABI is for the board to judge."""
    from napari_ct2mri.firmware.container import Fault, unpack

    path = folder / "model.ctm"
    if folder.is_file():
        raise FirmwareError(
            f"{folder}: a file, expected the folder that `ct2mri export` wrote; push "
            f"{folder.parent}"
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FirmwareError(f"{folder}: no exported project; run `ct2mri export` first") from error
    try:
        unpack(data)
    except ContainerError as error:
        if error.number != Fault.ABI:
            raise ContainerError(f"{path}: {error}", error.number) from error
    (abi,) = _ABI.unpack_from(data, _ABI_AT)
    return data, abi


def boot(folder: Path | None, port: str) -> Job[Booted]:
    """Load the firmware into a C6748 that its boot ROM has just begun to run.

    Parameters
    ----------
    folder : Path or None
        What ``export`` wrote; ``None``: the runtime alone, which is the same for every model.

    Raises
    ------
    FirmwareError
        If the program cannot be built.
    LinkError
        If the ROM or, after it, the program does not answer.
    """
    from napari_ct2mri.link.boot import boot as load
    from napari_ct2mri.link.connection import Connection
    from napari_ct2mri.link.transport import SerialLine

    program = (yield from firmware_for(BOOTED, folder)) / "build" / BOOTED / "firmware.elf"
    image = yield from boot_image(program, BOOTED)
    line = SerialLine(port)
    try:
        yield from load(_BootPort(line), image)
        try:
            hello = Connection(line, _START_S).hello
        except LinkError as error:
            raise LinkError(
                f"{port}: the boot ROM has taken the program, but it does not answer ({error}); "
                "reset the board and try again"
            ) from error
    finally:
        line.close()
    return Booted(program, len(image), hello)


class _BootPort:
    """A line as the boot dialogue wants it."""

    def __init__(self, line: SerialLine) -> None:
        self.timeout: float | None = None
        self.write_timeout: float | None = None
        self._line, self._heard = line, b""

    def read(self, size: int = 1, /) -> bytes:
        """Up to ``size`` bytes; fewer after ``timeout`` seconds."""
        end = time.monotonic() + (self.timeout or 0.0)
        while len(self._heard) < size and (left := end - time.monotonic()) > 0:
            self._heard += self._line.transfer(b"", left)[1]
        data, self._heard = self._heard[:size], self._heard[size:]
        return data

    def write(self, data: bytes, /) -> int:
        """What the line takes of ``data``."""
        taken, heard = self._line.transfer(data, self.write_timeout or 0.0)
        self._heard += heard
        if not taken and not heard:
            raise TimeoutError("it takes no bytes")
        return taken

    def flush(self) -> None:
        """Wait until what was written has left: until then, no pause has begun."""
        self._line.drain()


def export_build_push(
    model: str | Path,
    folder: Path,
    calibration: Path,
    board: str,
    port: str,
    *,
    contrast: str | None = None,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    baud: int | None = None,
) -> Job[ExportedPushed]:
    """From a checkpoint to a board that runs it, in one go.

    A C6748 that does not answer is booted on the way. A :class:`StepBegun` opens each part.

    See Also
    --------
    export, build, boot, push : parameters, events and errors.
    """
    is_there = _answers(board, port, baud)  # before the long part
    yield StepBegun("export")
    exported = yield from export(
        model, folder, calibration, contrast=contrast, size=size, board=board, fps=fps
    )
    yield StepBegun("build")
    yield from _build(folder, board, is_there)
    if not is_there:
        yield StepBegun("boot")
        yield from boot(folder, port)
    yield StepBegun("push")
    pushed = yield from push(folder, port, baud=baud, board=board)
    return ExportedPushed(exported, pushed)


def _answers(board: str, port: str, baud: int | None) -> bool:
    """Whether the firmware runs; ``False`` only for a board that can be booted."""
    try:
        BoardLine(port, baud, board).connect().close()
    except NoAnswer:
        if board != BOOTED:
            raise
        return False
    return True


def _build(folder: Path, board: str, is_there: bool) -> Generator[Event, None, None]:
    """Build, where the tools are; a board that answers needs no new firmware."""
    from napari_ct2mri.firmware.boards import find_board

    missing = [tool for tool in find_board(board).needs if not tool.is_installed]
    if missing and is_there:
        yield Notice(
            f"firmware not built, as {missing[0].program} is not installed ({missing[0].source}); "
            f"the {board} keeps the one that it runs"
        )
        return
    yield from build(folder, board)


def ports() -> tuple[PortState, ...]:
    """Simulated boards that run, then what is plugged in, the likely boards first."""
    from napari_ct2mri.link.ports import list_ports

    return (*map(_simulation, running_boards()), *map(_plugged, list_ports()))


def _simulation(running: Running) -> PortState:
    title = f"simulated, its models kept in {running.store}"
    return PortState(running.port, running.board, title, _obstacle(running.port))


def _plugged(port: Port) -> PortState:
    title = f"{port.title} ({port.usb})" if port.usb else port.title or "serial port"
    return PortState(port.device, port.board, title, _obstacle(port.device), port.serial_number)


def _obstacle(port: str) -> Obstacle | None:
    """Why a port cannot be opened now; it is not opened to find out, which could reset a board."""
    from napari_ct2mri.link.transport import how_to_get_permission, users_of

    is_socket = "://" in port
    if not is_socket and not os.access(port, os.R_OK | os.W_OK):
        return Obstacle("no permission", how_to_get_permission(port))
    users = users_of_socket(port) if is_socket else users_of(port)
    if not users:
        return None
    return Obstacle(f"held by {', '.join(users)}", "close that first, or choose another port")


def ask_board(port: str, *, baud: int | None = None) -> Job[Asked]:
    """What a board says of itself.

    Raises
    ------
    LinkError
        If it cannot be reached.
    """
    from napari_ct2mri.app.workflows.board_grid import read_model

    with BoardLine(port, baud).connect() as connection:
        yield from map(Notice, connection.notes)
        hello = connection.hello
        return Asked(hello, None if hello.status else read_model(connection))
