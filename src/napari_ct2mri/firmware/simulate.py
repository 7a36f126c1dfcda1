"""Boards that run on this machine, and whole models proven on them layer by layer."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.errors import FirmwareError
from napari_ct2mri.jobs import run_job
from napari_ct2mri.link.connection import Connection
from napari_ct2mri.link.live import Runner
from napari_ct2mri.link.transport import SerialLine
from napari_ct2mri.link.upload import push_model

__all__ = ["SIMULATED", "Line", "simulated", "start_board"]

Bytes = NDArray[np.uint8]
_NOR_BYTES = 64 << 20  # of each of vexpress-a9's two banks
_LINE_BYTES = 4096  # at most, of its last complaint
_POLL_S = 1.0
_PR_SET_PDEATHSIG = 1  # prctl(2)


@contextmanager
def start_board(
    folder: Path, board: str, store: Path | None = None, port: int | None = None
) -> Iterator[str]:
    """A board that runs until the end of the block.

    Parameters
    ----------
    folder : Path
        With ``build/<board>/firmware.elf``, as :mod:`~napari_ct2mri.firmware.build` makes it.
    board : str
        One of ``SIMULATED``.
    store : Path, optional
        Folder of the files that stand for the board's flash; is made. What was committed is
        there again when the board is started next time. By default ``store`` beside the program.
    port : int, optional
        TCP port of ``qemu-vexpress-a9``; by default one that is free.

    Yields
    ------
    str
        What ``--port`` takes: the path of a pseudo-terminal, or a ``socket://`` URL.

    Raises
    ------
    FirmwareError
        If the board can't be simulated, is not built, or does not start (with its reason).
    """
    start = _STARTS.get(board)
    if start is None:
        raise FirmwareError(f"{board} can't be simulated; {' and '.join(SIMULATED)} can")
    program = folder / "build" / board / "firmware.elf"
    if not program.is_file():
        raise FirmwareError(f"{program}: not there; run `ct2mri build` for {board} first")
    store = program.parent / "store" if store is None else store
    try:
        store.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FirmwareError(f"{store}: could not be made: {error.strerror}") from error
    with start(program.resolve(), store, port) as url:
        yield url


def _host(program: Path, store: Path, _: int | None) -> AbstractContextManager[str]:
    return _run([str(program), str(store / "slots.bin")], lambda process: _first_line(process))


def _first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@contextmanager
def _qemu(program: Path, store: Path, port: int | None) -> Iterator[str]:
    drives = [f"if=pflash,format=raw,file={_bank(store, number)}" for number in (0, 1)]
    with _listen(port) as server:
        command = [
            "qemu-system-arm", "-M", "vexpress-a9", "-m", "512", "-display", "none",
            "-audiodev", "none,id=none", "-monitor", "none",
            "-chardev", f"socket,id=line,fd={server.fileno()},server=on,wait=off",
            "-serial", "chardev:line", "-kernel", str(program),
            "-drive", drives[0], "-drive", drives[1],
            "-qmp", "stdio",  # greets when all of the above is done
        ]  # fmt: skip
        url = f"socket://127.0.0.1:{server.getsockname()[1]}"
        with _run(command, lambda process: _first_line(process) and url, server.fileno()) as ready:
            server.close()  # it is QEMU's now
            yield ready


def _listen(port: int | None) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port or 0))
    except OSError as error:
        raise FirmwareError(
            f"port {port}: {error.strerror}; choose another or leave it out"
        ) from error


def _bank(store: Path, number: int) -> Path:
    """The file behind a bank of NOR flash: of exactly its size, of which little takes space."""
    path = store / f"nor{number}.bin"
    try:
        with path.open("ab") as file:
            file.truncate(_NOR_BYTES)
    except OSError as error:
        raise FirmwareError(f"{path}: could not be written: {error.strerror}") from error
    return path


@contextmanager
def _run(
    command: list[str], ready: Callable[[subprocess.Popen[str]], str], *keep: int
) -> Iterator[str]:
    """The process that a board is, as long as the block lasts, and no longer than this process."""
    with TemporaryFile() as complaints:  # a pipe would fill up, and the board stand still
        try:
            process = subprocess.Popen(
                command,
                preexec_fn=_ends_with_its_parent() if sys.platform == "linux" else None,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=complaints,
                text=True,
                pass_fds=keep,
            )
        except OSError as error:
            raise FirmwareError(f"{command[0]} does not start: {error.strerror}") from error
        with process:
            try:
                url = ready(process)
                if not url:
                    process.wait()
                    why = _last_line(complaints) or f"exit code {process.returncode}"
                    raise FirmwareError(f"the board did not start: {why}")
                yield url
            finally:
                process.kill()


def _last_line(file: IO[bytes]) -> str:
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - _LINE_BYTES))
    lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def _ends_with_its_parent() -> Callable[[], object]:
    """What a Linux process calls of itself, so that nothing outlives a viewer that was killed."""
    prctl = ctypes.CDLL(None).prctl  # found here: between fork and exec nothing is loaded
    return partial(prctl, _PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL))


_STARTS: dict[str, Callable[[Path, Path, int | None], AbstractContextManager[str]]] = {
    "host": _host,
    "qemu-vexpress-a9": _qemu,
}
SIMULATED = tuple(_STARTS)


class Line:
    """A board with a model, asked for proof: any input of the network, every layer's output.

    Attributes
    ----------
    shape : (H, W, C)
        Of the network's input.
    layers : int
    """

    def __init__(self, connection: Connection) -> None:
        hello = connection.hello
        self._connection, self._runner = connection, Runner(connection, is_network=True)
        self.shape = (hello.height, hello.width, hello.channels)
        self.layers = hello.layers

    def run(self, image: Bytes) -> tuple[Bytes, int]:
        """One slice of network bytes, (H, W, C): the MR, (H, W), and the microseconds it took."""
        if image.shape != self.shape or image.dtype != np.uint8:
            raise FirmwareError(f"the board takes bytes {self.shape}, got {image.shape}")
        self._runner.submit([np.ascontiguousarray(plane) for plane in np.moveaxis(image, -1, 0)])
        while (answer := self._runner.poll(_POLL_S)) is None:
            pass
        return answer.mr, answer.microseconds

    def run_with_digests(self, image: Bytes) -> tuple[Bytes, list[bytes]]:
        """One slice: the MR, and the SHA-256 of what each layer stored."""
        self._runner.with_digests = True
        try:
            made, _ = self.run(image)
        finally:
            self._runner.with_digests = False
        return made, self._connection.digests(self.layers)

    def self_test(self) -> int:
        """How many bytes of the golden pair come out wrong."""
        return self._connection.test()[0]


@contextmanager
def simulated(folder: Path, board: str) -> Iterator[Line]:
    """A board that is new, with the model of an exported project pushed to it.

    Parameters
    ----------
    folder : Path
        An exported project, built for ``board``.
    board : str
        One of ``SIMULATED``.

    Raises
    ------
    FirmwareError
        If the board does not start.
    LinkError
        If it does not answer or refuses the model.
    """
    container = (folder / "model.ctm").read_bytes()
    with TemporaryDirectory() as store, start_board(folder, board, Path(store)) as port:
        run_job(push_model(lambda: Connection(SerialLine(port)), container), lambda event: None)
        with Connection(SerialLine(port)) as connection:
            yield Line(connection)
