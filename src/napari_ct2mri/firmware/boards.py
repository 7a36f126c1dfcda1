"""What is known of each board: its processor, its memory, what building for it needs."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass

from napari_ct2mri.disk import cache_folder
from napari_ct2mri.errors import FirmwareError

__all__ = ["BOARDS", "Board", "Memory", "Tool", "find_board", "tool_path"]


def tool_path() -> str:
    """Where programs are looked for: the path, then where ``scripts/build-tic6x`` installs."""
    built = cache_folder() / "tic6x" / "bin"
    return os.pathsep.join((os.environ.get("PATH", os.defpath), str(built)))


@dataclass(frozen=True, slots=True)
class Tool:
    """A program that a board needs, and how it comes onto the machine."""

    program: str
    source: str

    @property
    def is_installed(self) -> bool:
        """Whether it is found."""
        return shutil.which(self.program, path=tool_path()) is not None


@dataclass(frozen=True, slots=True)
class Memory:
    """A part of a board's memory, by what it is and how much of it is free for one purpose."""

    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Board:
    """One board.

    Attributes
    ----------
    clock_hz, macs_per_cycle, cores
        macs_per_cycle: products of a signed and an unsigned byte, a core, at best. 0: not planned
        for, since its speed is that of whatever runs it.
    cycles_per_mac : pairs of (filters, cycles), narrow ones first
        What a product takes, all else included, counted in an interpreter under ideal memory over
        a network of six levels at 256 x 256; empty: not counted.
    slot, work, fast : Memory
        For each of two models; for arena and slices; for scratch, where there is faster memory
        (what does not fit there goes to ``work``). As the board's port lays them out.
    watts : float
        Of the chip at work, from its data sheet; 0: unknown.
    baud_rates : tuple of int
        Exact rates that its serial line offers.
    reached_by : str
        How bytes go to it and come back; empty for a profile that is only planned with.
    needs : tuple of Tool
        To build; empty for such a profile.
    """

    name: str
    title: str
    reached_by: str = ""
    clock_hz: float = 0.0
    macs_per_cycle: int = 0
    cores: int = 1
    cycles_per_mac: tuple[tuple[int, float], ...] = ()
    slot: Memory = Memory("none", 0)
    work: Memory = Memory("none", 0)
    fast: Memory = Memory("none", 0)
    watts: float = 0.0
    baud_rates: tuple[int, ...] = ()
    needs: tuple[Tool, ...] = ()
    runs_with: tuple[Tool, ...] = ()

    @property
    def missing(self) -> tuple[Tool, ...]:
        """Tools that are not installed here."""
        return tuple(tool for tool in (*self.needs, *self.runs_with) if not tool.is_installed)

    @property
    def macs_per_second(self) -> float:
        """At best, all cores."""
        return self.clock_hz * self.macs_per_cycle * self.cores

    def cycles_for(self, filters: int) -> float:
        """Cycles a product at that width, between those counted in proportion; 0: not counted."""
        if not self.cycles_per_mac:
            return 0.0
        below = [pair for pair in self.cycles_per_mac if pair[0] <= filters]
        above = [pair for pair in self.cycles_per_mac if pair[0] > filters]
        if not (below and above):
            return (below or above[:1])[-1][1]
        (low, more), (high, less) = below[-1], above[0]
        return more + (filters - low) / (high - low) * (less - more)


_KIB, _MIB = 2**10, 2**20
_MAKE = Tool("make", "apt-get install make")

_ALL = (
    Board(
        "host",
        "this machine",
        "a pseudo-terminal",
        slot=Memory("file", 64 * _MIB),
        work=Memory("heap", 2048 * _MIB),
        needs=(Tool("cc", "apt-get install gcc"), _MAKE),
    ),
    Board(
        "qemu-vexpress-a9",
        "Cortex-A9, bare metal, in QEMU",
        "its UART, on a socket of QEMU",
        slot=Memory("NOR flash", 64 * _MIB - 2 * 256 * _KIB),
        work=Memory("RAM", 480 * _MIB),
        baud_rates=(115200,),
        needs=(Tool("arm-none-eabi-gcc", "apt-get install gcc-arm-none-eabi"), _MAKE),
        runs_with=(Tool("qemu-system-arm", "apt-get install qemu-system-arm"),),
    ),
    Board(  # TI SPRS590 (data sheet); power: SPRABF4, 456 MHz at 1.3 V, typical
        "c6748-lcdk",
        "TMS320C6748, 456 MHz",
        "its UART 2, on the USB socket",
        clock_hz=456e6,
        macs_per_cycle=8,
        cycles_per_mac=((8, 0.178), (12, 0.161), (16, 0.149)),  # tests/c674x/network.py
        slot=Memory("DDR2", 32 * _MIB - 8 * _KIB),
        work=Memory("DDR2", 64 * _MIB),
        fast=Memory("L2", 128 * _KIB),
        watts=0.66,
        baud_rates=(115200, 921600, 2_000_000, 3_000_000),
        needs=(Tool("tic6x-elf-gcc", "scripts/build-tic6x"), _MAKE),
    ),
    Board(
        "c6657-evm",
        "TMS320C6657, 2 x 1.25 GHz; for planning",
        clock_hz=1.25e9,
        macs_per_cycle=16,
        cores=2,
        slot=Memory("DDR3", 128 * _MIB),
        work=Memory("DDR3", 256 * _MIB),
        fast=Memory("L2 of a core", 1024 * _KIB),
    ),
    Board(
        "c6678-evm",
        "TMS320C6678, 8 x 1.0 GHz; for planning",
        clock_hz=1.0e9,
        macs_per_cycle=16,
        cores=8,
        slot=Memory("DDR3", 128 * _MIB),
        work=Memory("DDR3", 256 * _MIB),
        fast=Memory("L2 of a core", 512 * _KIB),
    ),
)

BOARDS = {board.name: board for board in _ALL}


def find_board(name: str) -> Board:
    """A board by its name.

    Raises
    ------
    FirmwareError
        If there is none of that name.
    """
    if name not in BOARDS:
        raise FirmwareError(f"there is no board {name!r}; there are {', '.join(BOARDS)}")
    return BOARDS[name]
