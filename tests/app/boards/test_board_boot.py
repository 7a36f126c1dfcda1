"""Other boards: a C6748 behind its boot ROM, emulated; ARM in QEMU."""

from __future__ import annotations

import select
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from at_a_board import Fails, command, ct_file, held

from link.board import Board
from link.boot.programs import PROGRAM
from link.boot.rom import Line, Rom
from napari_ct2mri.app import workflows
from napari_ct2mri.app.workflows.board import _BootPort
from napari_ct2mri.imaging.io import read_volume
from napari_ct2mri.jobs import run_job
from napari_ct2mri.link.boot.uart import Limits, _write


@contextmanager
def rom_then(board: Board, rom: Rom) -> Iterator[str]:
    """A port behind which reset is pressed until somebody answers BOOTME, and a board boots."""
    line, is_over = Line(0), threading.Event()

    def serve() -> None:
        pressed_at: float | None = None
        was_heard = False
        while not is_over.is_set():
            heard = line.read() if line.poll(0.005) & select.POLLIN else b""
            was_heard |= bool(heard)
            if not was_heard and (pressed_at is None or time.monotonic() > pressed_at + 3):
                pressed_at = time.monotonic()
                rom.reset(pressed_at + 0.3)
            with suppress(OSError):
                if rom.done:
                    line.write(board.feed(heard) + board.tick(5))
                    continue
                if heard:
                    rom.receive(heard, time.monotonic())
                line.write(rom.send(time.monotonic()))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield line.path
    finally:
        is_over.set()
        thread.join()
        line.close()


@pytest.fixture
def bare(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project with a program for a C6748, made elsewhere: no compiler is needed for it."""
    folder = tmp_path / "fw"
    shutil.copytree(project, folder)
    program = folder / "build" / "c6748-lcdk" / "firmware.elf"
    program.parent.mkdir(parents=True)
    program.write_bytes(PROGRAM)
    monkeypatch.setenv("PATH", "/nowhere")
    return folder


def test_boot_then_push(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    board = Board()
    with rom_then(board, Rom()) as port:
        capsys.readouterr()
        command("boot", bare, "--port", port)
        out, err = capsys.readouterr()
        assert "note: waiting for BOOTME: press reset on the board" in err
        assert "reference runs" in out
        assert f"next: ct2mri push DIR --port {port}" in out
        command("push", bare, "--port", port)
        assert "blocks sent" in capsys.readouterr().out


class SlowLine:
    """A driver that takes all at once and sends it at 115200 bit/s."""

    def __init__(self) -> None:
        self.sent: list[tuple[float, float]] = []  # begin and end, s

    def transfer(self, data: bytes, timeout_s: float) -> tuple[int, bytes]:
        start = max([time.monotonic(), *(end for _, end in self.sent)])
        self.sent.append((start, start + len(data) * 10 / 115200))
        return len(data), b""

    def drain(self) -> None:
        time.sleep(max(0.0, self.sent[-1][1] - time.monotonic()))


def test_the_pause_before_an_opcode_begins_when_the_line_is_silent() -> None:
    line = SlowLine()
    port = _BootPort(line)
    _write(port, bytes(1024))
    time.sleep(Limits().pause_s)
    _write(port, bytes(4))
    (_, end), (start, _) = line.sent
    assert start - end >= Limits().pause_s


def test_boot_without_a_program(
    project: Path, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    line = fails("boot", project, "--port", "/dev/ttyNONE9")
    assert "tic6x-elf-gcc is not installed; get it by: scripts/build-tic6x" in line


def test_a_program_that_says_nothing(
    bare: Path, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = Board()
    board.is_on = False
    with rom_then(board, Rom()) as port:
        line = fails("boot", bare, "--port", port)
    assert "the boot ROM has taken the program, but it does not answer" in line


@pytest.mark.skipif(
    not (shutil.which("arm-none-eabi-gcc") and shutil.which("qemu-system-arm")),
    reason="no arm-none-eabi-gcc or no qemu-system-arm here",
)
def test_qemu_power_cycled_between(project: Path, ready: str, tmp_path: Path, fails: Fails) -> None:
    board = "qemu-vexpress-a9"
    folder = run_job(workflows.firmware_for(board), lambda event: None)
    ct = ct_file(tmp_path / "ct.nii.gz")
    with workflows.start_board(folder, board, tmp_path / "nor") as running:
        assert running.port.startswith("socket://127.0.0.1:")
        command("push", project, "--port", running.port)
        with held(running.port) as pid:
            line = fails("run", ct, tmp_path / "mr.nii.gz", "--port", running.port)
            assert f"ct2mri: {running.port}: held by python" in line
            assert f"(pid {pid}): close it first, as a simulated board serves one program" in line
    with workflows.start_board(folder, board, tmp_path / "nor") as running:
        command("run", ct, tmp_path / "qemu.nii.gz", "--port", running.port)
        command("monitor", "--once", "--port", running.port)
    command("run", ct, tmp_path / "host.nii.gz", "--port", ready)
    qemu, host = (read_volume(tmp_path / f"{name}.nii.gz").data for name in ("qemu", "host"))
    np.testing.assert_array_equal(qemu, host)
