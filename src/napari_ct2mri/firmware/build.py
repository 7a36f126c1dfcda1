"""An exported project to a program for a board."""

from __future__ import annotations

import os
import subprocess
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from napari_ct2mri.disk import alone
from napari_ct2mri.errors import FirmwareError
from napari_ct2mri.firmware.boards import find_board, tool_path
from napari_ct2mri.jobs import Job, Progress

__all__ = ["Built", "build"]

_TIMEOUT_S = 600


@dataclass(frozen=True, slots=True)
class Built:
    """The program for one board."""

    program: Path
    board: str
    size_bytes: int


def build(folder: Path, board: str) -> Job[Built]:
    """Compile what ``export`` wrote, or the runtime alone: it is the same for every model.

    Raises
    ------
    FirmwareError
        If ``folder`` was not exported, the board is unknown or only planned with, a tool is
        missing (with its package), or the compiler refuses.
    """
    target = find_board(board)
    if not target.needs:
        raise FirmwareError(f"{board} is a profile for planning; nothing can be built for it")
    if not (folder / "Makefile").is_file():
        raise FirmwareError(f"{folder}: no exported project; run `ct2mri export` first")
    if not (folder / "port" / board / "board.mk").is_file():
        raise FirmwareError(f"{folder}: has no port/{board}; export it anew with this version")
    for tool in target.needs:
        if not tool.is_installed:
            raise FirmwareError(f"{tool.program} is not installed; get it by: {tool.source}")
    yield Progress(0, 1, "programs built")
    _make(folder, board)
    program = folder / "build" / board / "firmware.elf"
    yield Progress(1, 1, "programs built")
    return Built(program, board, program.stat().st_size)


def _make(folder: Path, board: str) -> None:
    """One process at a time; where nothing can be written, make may still find all up to date."""
    is_open = os.access(folder, os.W_OK)
    with alone(folder / "build") if is_open else nullcontext():
        try:
            done = subprocess.run(
                ["make", "-s", f"BOARD={board}"],
                cwd=folder,
                env={**os.environ, "PATH": tool_path()},
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired as error:
            raise FirmwareError(f"{folder}: make took longer than {_TIMEOUT_S} s") from error
    if done.returncode:
        first = next(iter(done.stderr.splitlines()), "without a word")
        raise FirmwareError(f"{folder}: make BOARD={board} failed: {first}")
