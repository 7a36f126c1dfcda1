"""Boards that run on this machine, and a conversation with what ``runtime/main.c`` answers."""

from __future__ import annotations

import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.errors import FirmwareError

__all__ = ["Line", "simulated"]

Bytes = NDArray[np.uint8]
_HELLO = struct.Struct("<6s BB 4I")
assert _HELLO.size == 24
_MODEL_AT = 0x62000000  # of vexpress-a9: board.ld
_START_S = 30.0
_ANSWER_S = 1800.0  # of a slice on a simulated processor


class Line:
    """The serial line of a board that has just started.

    Raises
    ------
    FirmwareError
        If the board is silent, is another program, or refuses its container (with the number).
    """

    def __init__(self, reader: BinaryIO, writer: BinaryIO) -> None:
        self._reader, self._writer = reader, writer
        magic, status, _, height, width, channels, self.layers = _HELLO.unpack(self._read(24))
        if magic != b"CT2MRI":
            raise FirmwareError(f"the board said {magic!r}, expected 'CT2MRI'; build it anew")
        if status:
            raise FirmwareError(f"the board refuses its model container: error {status}")
        self.shape = (height, width, channels)

    def run(self, image: Bytes) -> tuple[Bytes, int]:
        """One slice, (H, W, C): the MR, (H, W), and the microseconds it took."""
        self._send(b"R", image)
        (microseconds,) = struct.unpack("<I", self._read(4))
        return self._image(), microseconds

    def run_with_digests(self, image: Bytes) -> tuple[Bytes, list[bytes]]:
        """One slice: the MR, and the SHA-256 of what each layer stored."""
        self._send(b"D", image)
        digests = [self._read(32) for _ in range(self.layers)]
        return self._image(), digests

    def self_test(self) -> int:
        """How many bytes of the golden pair come out wrong."""
        self._writer.write(b"T")
        self._writer.flush()
        (wrong,) = struct.unpack("<I", self._read(4))
        return int(wrong)

    def _send(self, command: bytes, image: Bytes) -> None:
        if image.shape != self.shape or image.dtype != np.uint8:
            raise FirmwareError(f"the board takes bytes {self.shape}, got {image.shape}")
        self._writer.write(command + image.tobytes())
        self._writer.flush()

    def _image(self) -> Bytes:
        height, width, _ = self.shape
        return np.frombuffer(self._read(height * width), np.uint8).reshape(height, width)

    def _read(self, size: int) -> bytes:
        data = self._reader.read(size)
        if len(data) != size:
            raise FirmwareError(f"the board fell silent after {len(data)} of {size} bytes")
        return data


@contextmanager
def simulated(folder: Path, board: str) -> Iterator[Line]:
    """Start what :func:`~napari_ct2mri.firmware.build.build` made, and stop it in the end.

    Parameters
    ----------
    folder : Path
        An exported project.
    board : "host" or "qemu-vexpress-a9"
    """
    program = folder / "build" / board / "firmware.elf"
    if not program.is_file():
        raise FirmwareError(f"{program}: not there; run `ct2mri build` for {board} first")
    start = {"host": _host, "qemu-vexpress-a9": _qemu}.get(board)
    if start is None:
        raise FirmwareError(f"{board} can't be simulated; host and qemu-vexpress-a9 can")
    with start(program, folder / "model.ctm") as line:
        yield line


@contextmanager
def _host(program: Path, container: Path) -> Iterator[Line]:
    process = subprocess.Popen(
        [program.resolve(), container.resolve()], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        try:
            yield Line(cast(BinaryIO, process.stdout), cast(BinaryIO, process.stdin))
        finally:
            process.kill()


@contextmanager
def _qemu(program: Path, container: Path) -> Iterator[Line]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        command = [
            "qemu-system-arm", "-M", "vexpress-a9", "-m", "512", "-display", "none",
            "-audiodev", "none,id=none", "-monitor", "none", "-serial", f"tcp:127.0.0.1:{port}",
            "-kernel", str(program),
            "-device", f"loader,file={container},addr={_MODEL_AT:#x},force-raw=on",
        ]  # fmt: skip
        try:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        except FileNotFoundError as error:
            raise FirmwareError(
                "qemu-system-arm is not installed; get it by: apt-get install qemu-system-arm"
            ) from error
        with process:
            try:
                connection = _accept(server, process)
                with connection, connection.makefile("rwb") as stream:
                    yield Line(cast(BinaryIO, stream), cast(BinaryIO, stream))
            finally:
                process.kill()


def _accept(server: socket.socket, process: subprocess.Popen[bytes]) -> socket.socket:
    """The connection QEMU makes, unless it ends before."""
    server.settimeout(0.2)
    for _ in range(int(_START_S / 0.2)):
        try:
            connection, _ = server.accept()
        except TimeoutError:
            if process.poll() is not None:
                break
            continue
        connection.settimeout(_ANSWER_S)
        return connection
    raise FirmwareError("qemu-system-arm ended or fell silent before its board started")
