"""Application Image Script: what a C6748's boot ROM is told, as one file.

::

    0   magic 0x41504954; opens a file, is not sent over a serial line
    4   commands: opcode 0x585359xx, its words, its data (section loads only; a multiple of 4 bytes)
    ..  the last: jump and close

All words little-endian. Facts from TI SPRABA5 and SPRAB41 (chapter "Application Image Script (AIS)
Boot") and from TI's public AIS tools, which decide where those are silent: the CRC of a section is
the common CRC-32, over address, size and padded data, begun anew for each; sizes are rounded up to
a multiple of 4. The table in SPRAAT2E, appendix C, is wrong for this ROM (TI E2E, thread 283656);
the unreflected CRC of other descriptions is that of the C6747 and older ROMs.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from napari_ct2mri.link.boot.elf import read_elf
from napari_ct2mri.link.boot.errors import BootImageError

__all__ = ["MAGIC", "Command", "Op", "ais_image", "function", "load", "pack", "parse", "write"]

MAGIC = 0x41504954
_WORD = struct.Struct("<I")
_WRITE_32_BITS = 2  # SPRABA5, "Boot Table Command"


class Op(IntEnum):
    """Opcodes of the ROM. ``START_OVER`` and ``PING`` are never in a file."""

    LOAD = 0x58535901
    VALIDATE_CRC = 0x58535902
    ENABLE_CRC = 0x58535903
    DISABLE_CRC = 0x58535904
    JUMP = 0x58535905
    JUMP_CLOSE = 0x58535906
    WRITE = 0x58535907
    START_OVER = 0x58535908
    FILL = 0x5853590A
    PING = 0x5853590B
    FUNCTION = 0x5853590D
    SEQUENTIAL_READ = 0x58535963


_WORDS: dict[int, int] = {
    Op.LOAD: 2,
    Op.VALIDATE_CRC: 2,
    Op.ENABLE_CRC: 0,
    Op.DISABLE_CRC: 0,
    Op.JUMP: 1,
    Op.JUMP_CLOSE: 1,
    Op.WRITE: 4,
    Op.FILL: 4,
    Op.FUNCTION: 1,  # and as many arguments as its upper half says
    Op.SEQUENTIAL_READ: 0,
}


@dataclass(frozen=True, slots=True)
class Command:
    """One command: opcode, words (each 0 .. 2**32 - 1), data (a multiple of 4 bytes)."""

    op: Op
    words: tuple[int, ...] = ()
    data: bytes = b""

    @property
    def size_bytes(self) -> int:
        """Its length in a file, opcode included."""
        return 4 + 4 * len(self.words) + len(self.data)

    @property
    def body(self) -> bytes:
        """What follows the opcode."""
        return struct.pack(f"<{len(self.words)}I", *self.words) + self.data

    def __str__(self) -> str:
        """As a message names it: ``section load, 64 bytes at 0x11800000``."""
        name = self.op.name.lower().replace("_", " ")
        if self.op is Op.LOAD:
            return f"section load, {self.words[1]} bytes at 0x{self.words[0]:08X}"
        if self.op is Op.FUNCTION:
            return f"ROM function {self.words[0] & 0xFFFF}"
        place = self.words[1:2] if self.op is Op.WRITE else self.words[:1]
        return " ".join((name, *(f"0x{word:08X}" for word in place)))


def load(address: int, data: bytes) -> Command:
    """Put ``data``, padded with zeros to a multiple of 4 bytes, at ``address``."""
    padded = data + bytes(-len(data) % 4)
    return Command(Op.LOAD, (address, len(padded)), padded)


def write(address: int, value: int) -> Command:
    """Write a register of 32 bits, without a delay after it."""
    return Command(Op.WRITE, (_WRITE_32_BITS, address, value, 0))


def function(index: int, *arguments: int) -> Command:
    """Call one of the ROM's functions (SPRABA5, "Details of Pre-Defined ROM Functions")."""
    return Command(Op.FUNCTION, (len(arguments) << 16 | index, *arguments))


def pack(commands: Sequence[Command]) -> bytes:
    """Commands as a file."""
    return _WORD.pack(MAGIC) + b"".join(_WORD.pack(each.op) + each.body for each in commands)


def parse(image: bytes) -> dict[int, Command]:
    """Read a file: its commands, by the offsets at which they stand, trusting no number in it.

    Raises
    ------
    BootImageError
        If it is no AIS file, holds an unknown opcode, is cut, does not end with jump and close, or
        would repeat from a place where no command stands.
    """
    if _word(image, 0) != MAGIC:
        raise BootImageError(
            f"the boot image begins with 0x{_word(image, 0):08X}, expected 0x{MAGIC:08X} (AIS); "
            "make it with ais_image"
        )
    commands, offset = {}, _WORD.size
    while offset < len(image):
        commands[offset] = command = _command(image, offset)
        offset += command.size_bytes
    closes = [at for at, command in commands.items() if command.op is Op.JUMP_CLOSE]
    if not closes or closes != list(commands)[-1:]:
        raise BootImageError("the boot image does not end with its jump and close; make it again")
    for at, command in commands.items():
        if command.op is Op.VALIDATE_CRC and seek_target(at, command) not in commands:
            raise BootImageError(
                f"the boot image's CRC at {at} would repeat from {seek_target(at, command)}, where "
                "no command stands; make it again"
            )
    return commands


def seek_target(at: int, validate: Command) -> int:
    """Where to go on when the CRC asked for by the command at ``at`` differs."""
    seek = validate.words[1]
    return at + validate.size_bytes + (seek - 2**32 if seek >= 2**31 else seek)


def _command(image: bytes, at: int) -> Command:
    value = _word(image, at)
    count = _WORDS.get(value)
    if count is None:
        raise BootImageError(
            f"the boot image has 0x{value:08X} at {at}, which is no opcode; make it again"
        )
    op, first = Op(value), at + _WORD.size
    if op is Op.FUNCTION:
        count += _word(image, first) >> 16
    words = tuple(_word(image, first + 4 * i) for i in range(count))
    start = first + 4 * count
    size = -(-words[1] // 4) * 4 if op is Op.LOAD else 0
    if start + size > len(image):
        raise BootImageError(
            f"the boot image is cut: {size} bytes at {start}, but it has {len(image)}; "
            "make it again"
        )
    return Command(op, words, image[start : start + size])


def _word(image: bytes, at: int) -> int:
    if at + _WORD.size > len(image):
        raise BootImageError(
            f"the boot image is cut: a word at {at}, but it has {len(image)} bytes; make it again"
        )
    value: int = _WORD.unpack_from(image, at)[0]
    return value


def ais_image(elf: bytes, board_init: Sequence[Command] = (), *, crc: bool = True) -> bytes:
    """A program as a boot image.

    Parameters
    ----------
    elf : bytes
        A linked program for a TI C6000.
    board_init : sequence of Command
        What sets up clocks, memory and pins before anything is loaded.
    crc : bool
        Have each section checked; the host sends it again where the line has altered it.

    Raises
    ------
    BootImageError
        If ``elf`` cannot be loaded.
    """
    program = read_elf(elf)
    commands = [*board_init]
    if crc:
        commands.append(Command(Op.ENABLE_CRC))
    for segment in program.segments:
        section = load(segment.address, segment.data)
        commands.append(section)
        if crc:
            commands.append(_validate(section))
    commands.append(Command(Op.JUMP_CLOSE, (program.entry,)))
    return pack(commands)


def _validate(section: Command) -> Command:
    """Check ``section``, which stands right before; where it differs, go back to it."""
    itself = _WORD.size * 3
    back = section.size_bytes + itself
    return Command(Op.VALIDATE_CRC, (zlib.crc32(section.body), 2**32 - back))
