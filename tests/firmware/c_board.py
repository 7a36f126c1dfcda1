"""The board's end of the link, compiled as a library: ``feed``, ``tick``, ``power_cycle``, cuts."""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Sequence
from enum import IntEnum
from pathlib import Path
from tempfile import mkdtemp

import pytest
from native import UNDEFINED, compile_c, core

from napari_ct2mri.firmware import runtime_folder

HERE = Path(__file__).parent
SESSION = ("codec.c", "frame.c", "store.c", "session.c", "push.c", "run.c")
_SAID = 4096  # at once: what a transmitter would hold


class Cut(IntEnum):
    """What the operation at which the power goes has left."""

    BEFORE = 0  # nothing
    TORN = 1  # some bits of a page; half of an erase unit
    AFTER = 2  # all


class Unsynced(IntEnum):
    """What a loss of power makes of what was done before, but not synced."""

    LASTS = 0  # as in a flash without a cache
    LOST = 1
    MIXED = 2  # each page and unit by chance: lasts, torn, lost


CUTS = [
    *((cut, Unsynced.LASTS) for cut in Cut),
    (Cut.BEFORE, Unsynced.LOST),
    (Cut.AFTER, Unsynced.LOST),
    (Cut.TORN, Unsynced.MIXED),
    (Cut.AFTER, Unsynced.MIXED),
]
"""The operation at which the power goes, and those since the last sync."""


def session() -> list[Path]:
    """Sources of the board's end."""
    return [*core(), *(runtime_folder() / name for name in SESSION)]


def load(
    compiler: str = "cc", optimize: str = "-O2", sources: Sequence[Path] | None = None
) -> ctypes.CDLL:
    """Compile it, or other ``sources``, under the undefined behaviour sanitizer; its folder goes
    at once."""
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} here")
    folder = Path(mkdtemp())
    flags = [optimize, "-shared", "-fPIC", f"-I{runtime_folder()}", *UNDEFINED]
    sources = [HERE / "c_board.c", *session()] if sources is None else sources
    try:
        made = compile_c(compiler, flags, sources, folder / "board.so")
        library = ctypes.CDLL(str(made))
    finally:
        shutil.rmtree(folder)
    u32, pointer, size = ctypes.c_uint32, ctypes.c_void_p, ctypes.c_size_t
    signatures = {
        "new": (pointer, [u32, u32, u32, ctypes.c_int, u32, u32]),
        "free": (None, [pointer]),
        "power_on": (None, [pointer]),
        "feed": (size, [pointer, ctypes.c_char_p, size, ctypes.c_char_p, size]),
        "tick": (size, [pointer, u32, ctypes.c_char_p, size]),
        "feed_late": (None, [pointer, ctypes.c_char_p, size]),
        "fail": (None, [pointer, u32, ctypes.c_int]),
        "fail_sync": (None, [pointer, u32]),
        "cut": (None, [pointer, u32, ctypes.c_int, u32]),
        "unsynced": (None, [pointer, ctypes.c_int]),
        "operations": (u32, [pointer]),
        "syncs": (u32, [pointer]),
        "violations": (u32, [pointer]),
        "rate": (u32, [pointer]),
        "is_off": (ctypes.c_int, [pointer]),
        "slot": (pointer, [pointer, u32]),
    }
    for name, (returns, takes) in signatures.items():
        function = getattr(library, f"c_board_{name}")
        function.restype, function.argtypes = returns, takes
    return library


class CBoard:
    """One board. Its store is flash of ``unit`` bytes to erase and ``page`` bytes to write at once,
    or, with ``is_flash=False``, memory that takes any byte at any time."""

    def __init__(
        self,
        library: ctypes.CDLL,
        slot_bytes: int = 1 << 18,
        unit: int = 1 << 14,
        page: int = 256,
        is_flash: bool = True,
        memory: int = 1 << 22,
        window: int = 16,
        room: int = _SAID,
    ) -> None:
        self._lib, self.slot_bytes, self.unit = library, slot_bytes, unit
        self._board = library.c_board_new(slot_bytes, unit, page, is_flash, memory, window)
        self._said = ctypes.create_string_buffer(room)
        self._passed_us = 0.0

    def __del__(self) -> None:
        self._lib.c_board_free(self._board)

    def feed(self, data: bytes) -> bytes:
        """Bytes arrive; what the board says, up to ``room`` bytes."""
        size = self._lib.c_board_feed(self._board, data, len(data), self._said, len(self._said))
        return self._said.raw[:size]

    def tick(self, ms: float) -> bytes:
        """Time passes; what the board says meanwhile."""
        self._passed_us += ms * 1000
        whole = int(self._passed_us)
        self._passed_us -= whole
        size = self._lib.c_board_tick(self._board, whole, self._said, len(self._said))
        return self._said.raw[:size]

    def power_cycle(self) -> None:
        """Off, unless it is, and on: all is forgotten but the slots."""
        self._lib.c_board_power_on(self._board)

    def feed_late(self, data: bytes) -> None:
        """Bytes that arrive while the board computes the next slice, after its first layer."""
        self._lib.c_board_feed_late(self._board, data, len(data))

    def fail(self, operations: int, silently: bool = False) -> None:
        """The store's operation that is so many further on (1: the next) fails; it may lie."""
        self._lib.c_board_fail(self._board, operations, silently)

    def fail_sync(self, syncs: int) -> None:
        """The sync that is so many further on (1: the next) fails: nothing lasts by it."""
        self._lib.c_board_fail_sync(self._board, syncs)

    def cut(self, operations: int, kind: Cut = Cut.TORN, seed: int = 1) -> None:
        """The power goes at the store's operation that is so many further on (1: the next)."""
        self._lib.c_board_cut(self._board, operations, kind, seed)

    def unsynced(self, fate: Unsynced) -> None:
        """From now on, this becomes of what is not synced when the power goes."""
        self._lib.c_board_unsynced(self._board, fate)

    @property
    def is_off(self) -> bool:
        """Whether a cut has come; until ``power_cycle`` the board says nothing."""
        return bool(self._lib.c_board_is_off(self._board))

    @property
    def operations(self) -> int:
        """Writes of a page and erasures of a unit so far."""
        return int(self._lib.c_board_operations(self._board))

    @property
    def syncs(self) -> int:
        """How often the firmware has asked its store to make all lasting."""
        return int(self._lib.c_board_syncs(self._board))

    @property
    def violations(self) -> int:
        """What the firmware asked of its store and no flash does: must stay 0."""
        return int(self._lib.c_board_violations(self._board))

    @property
    def rate(self) -> int:
        """Bit/s of its UART."""
        return int(self._lib.c_board_rate(self._board))

    def slot(self, number: int) -> memoryview:
        """The bytes of a slot, journal and record behind them; may be written."""
        size = self.slot_bytes + 2 * self.unit
        place = self._lib.c_board_slot(self._board, number)
        return memoryview((ctypes.c_uint8 * size).from_address(place)).cast("B")
