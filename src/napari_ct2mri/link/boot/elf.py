"""A linked program: what of it lies where in a board's memory, and where it starts.

Only what a boot loader needs of ELF (TIS ELF 1.2; the C6000 part: TI SPRAB89, section 13): the file
header and the program headers of type LOAD, little-endian, 32 bits.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise

from napari_ct2mri.link.boot.errors import BootImageError

__all__ = ["Program", "Segment", "read_elf"]

_TI_C6000 = 140
_EXECUTABLE, _LOAD = 2, 1
_HEADER = struct.Struct("<4s 4B 8x HHI 3I I 6H")
_SEGMENT = struct.Struct("<8I")
assert (_HEADER.size, _SEGMENT.size) == (52, 32)


@dataclass(frozen=True, slots=True)
class Segment:
    """Bytes that lie in memory from ``address`` on."""

    address: int
    data: bytes

    @property
    def end(self) -> int:
        """The address behind the last byte."""
        return self.address + len(self.data)


@dataclass(frozen=True, slots=True)
class Program:
    """Segments by address, which do not overlap, and where the first instruction stands."""

    entry: int
    segments: tuple[Segment, ...]


def read_elf(data: bytes) -> Program:
    """Read an executable for a TI C6000, trusting no number in it.

    What the file does not hold (``.bss``) is not in the segments: the program's own start-up
    zeroes it.

    Raises
    ------
    BootImageError
        If it is no little-endian C6000 executable, is cut, or cannot be loaded.
    """
    if len(data) < _HEADER.size:
        raise BootImageError(f"the program has {len(data)} bytes, expected an ELF file; build it")
    (magic, bits, order, version, _, kind, machine, _, entry, table, _, _, _, step, count, *_) = (
        _HEADER.unpack_from(data)
    )
    if magic != b"\x7fELF":
        raise BootImageError(f"the program begins with {magic!r}, expected an ELF file; build it")
    if (bits, order, version) != (1, 1, 1) or machine != _TI_C6000:
        raise BootImageError(
            f"the program is an ELF file of machine {machine}, class {bits}, byte order {order}; "
            f"expected {_TI_C6000}, 1, 1 (TI C6000, 32 bits, little-endian); build it for the board"
        )
    if kind != _EXECUTABLE:
        raise BootImageError(
            f"the program is an ELF file of type {kind}, expected 2; link it first"
        )
    if step < _SEGMENT.size or table + count * step > len(data):
        raise BootImageError(
            f"the program's {count} segment headers at {table} lie outside its {len(data)} bytes; "
            "build it again"
        )
    found = (_segment(data, table + i * step) for i in range(count))
    segments = tuple(sorted(filter(None, found), key=lambda segment: segment.address))
    _check(entry, segments)
    return Program(entry, segments)


def _segment(data: bytes, at: int) -> Segment | None:
    """The segment whose header stands at ``at``; None if there is nothing of it to load."""
    kind, offset, _, address, size, *_ = _SEGMENT.unpack_from(data, at)
    if kind != _LOAD or size == 0:
        return None
    if offset + size > len(data):
        raise BootImageError(
            f"the program is cut: {size} bytes for 0x{address:08X} at {offset}, but it has "
            f"{len(data)}; build it again"
        )
    return Segment(address, data[offset : offset + size])


def _check(entry: int, segments: tuple[Segment, ...]) -> None:
    if not any(segment.address <= entry < segment.end for segment in segments):
        raise BootImageError(
            f"the program starts at 0x{entry:08X}, where it loads nothing; link it with start.S"
        )
    for before, after in pairwise(segments):
        if before.end > after.address:
            raise BootImageError(
                f"the program loads 0x{after.address:08X} twice; correct its linker script"
            )
    if segments[-1].end > 2**32:
        raise BootImageError(
            f"the program's segment at 0x{segments[-1].address:08X} ends beyond 32 bits; "
            "correct its linker script"
        )
