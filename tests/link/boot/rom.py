"""The boot ROM of a C6748 in its UART boot mode, from TI's public descriptions: test equipment.

It was written without a look at the sender of this project, from
- [BL] TI's application reports of this ROM family, cited by the title of the section: SPRABA5D
  (AM18xx) word for word, SPRAB41 (OMAP-L1x8) and SPRAAT2 (C6748) have the same sections;
- [HOST] TI's public serial boot host and AIS generator (OMAP-L138 flash and boot utilities 2.40);
- [E2E n] threads of TI's support forum, by number; [U-BOOT] tools/aisimage.c.

Where they leave a point open, this emulator chooses, and the choice may not be the chip's:
1. CRC. The table printed in [BL] is wrong, [HOST] and [E2E 283656] have the CRC-32 of zip files
   over address, size and data; an image that TI's generator made [E2E 52816] bears it out.
2. What an opcode does that is repeated while the ROM is busy ([BL] demands the repeating): it
   counts once, as long as its answer has not left; also right after, in place of an argument.
3. A start word after the first 0x52: answered again, until the ping sequence is through.
4. A word that is no opcode: a violation, but four zero bytes are skipped, as [HOST] sends them
   between its tries. On a line that loses bytes the ROM starts over with BOOTME (seen by a user).
5. BOOTME comes once ([BL]); boards that sent it twice or after a zero byte are known: faults.
6. The CRC of a section fill covers its four words; validating, enabling and start-over reset it.
7. Padding is part of the CRC and not of the memory; its bytes may be anything.
8. 16 KiB of L2 at 0x11800000 belong to the ROM by [BL]; TI's own flasher loads there: allowed.
9. A jump that returns is not run, so DDR2 set up by loaded code stays unusable here.
10. The UART's rate after the clock functions (6, 2) is not followed.
11. How long a pause a host must leave between words while the PLL is bypassed ([BL] says that it
    may have to) is not enforced.
"""

from __future__ import annotations

import argparse
import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import pty
import select
import struct
import sys
import termios
import time
import tty
import zlib
from collections.abc import Callable, Generator, Sequence
from enum import IntEnum
from typing import NoReturn, TypeVar

T = TypeVar("T")
Dialogue = Generator[int, bytes, T]  # asks for a number of bytes, is given them
Crc = Callable[[bytes, int], int]

BOOTME, DONE = b"BOOTME \0", b"   DONE\0"  # [HOST]; [E2E 72325] for the zero at the end
START, STARTED = b"\x58", b"\x52"  # [BL] start-word synchronization: 8 bits on a UART
PING = 0x5853590B
MAGIC = 0x41504954  # opens the file; the host keeps it to itself
ZERO_WORD = bytes(4)


class Opcode(IntEnum):
    """[BL] the AIS commands; others belong to secure parts or to other ROMs."""

    LOAD = 0x58535901
    VALIDATE_CRC = 0x58535902
    ENABLE_CRC = 0x58535903
    DISABLE_CRC = 0x58535904
    JUMP = 0x58535905
    JUMP_CLOSE = 0x58535906
    BOOT_TABLE = 0x58535907
    START_OVER = 0x58535908
    FILL = 0x5853590A
    FUNCTION = 0x5853590D
    SEQUENTIAL_READ = 0x58535963


# [HOST], [U-BOOT]: the ROM's functions by index, with the number of their arguments
FUNCTIONS = (
    ("PLL0", 2),
    ("PLL1", 2),
    ("peripheral clock", 1),
    ("DDR2", 8),
    ("EMIFA SDRAM", 5),
    ("EMIFA asynchronous", 5),
    ("PLL0 and peripheral clock", 3),
    ("power and sleep", 1),
    ("pin multiplexing", 3),
    ("fast boot", 0),
    ("IOPU", 2),
    ("MPU", 4),
    ("TAPS", 1),
)
PLL0, DDR2 = 0, 3

# SPRS590, memory map; DDR2 as far as the LCDK has it
MEMORY = (
    ("L2", 0x00800000, 0x40000),
    ("L1P", 0x00E00000, 0x8000),
    ("L1D", 0x00F00000, 0x8000),
    ("L2", 0x11800000, 0x40000),
    ("L1P", 0x11E00000, 0x8000),
    ("L1D", 0x11F00000, 0x8000),
    ("shared RAM", 0x80000000, 0x20000),
    ("DDR2", 0xC0000000, 0x8000000),
)
# SPRUH79, DDR2 controller: SDCR, SDRCR, SDTIMR1, SDTIMR2, DRPYC1R
DDR2_REGISTERS = {0xB0000008, 0xB000000C, 0xB0000010, 0xB0000014, 0xB00000E4}


def crc_c6748(data: bytes, crc: int = 0) -> int:
    """CRC-32 with reflected bits, initial value and final xor 0xFFFFFFFF (point 1 above)."""
    return zlib.crc32(data, crc)


def crc_plain(data: bytes, crc: int = 0) -> int:
    """The polynomial alone: initial 0, not reflected, no final xor; not the C6748's."""
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = crc << 1 ^ (0x104C11DB7 if crc >> 31 else 0)
    return crc


CRCS: dict[str, Crc] = {"c6748": crc_c6748, "plain": crc_plain}


class Violation(Exception):
    """The host did what the description forbids: expected, got, where."""


class Restart(Exception):
    """Bytes were lost, and the ROM begins again."""


@dataclasses.dataclass(frozen=True)
class Faults:
    """What goes wrong; bytes, acknowledgements and CRCs count from 1 over all resets."""

    zeros: int = 0  # zero bytes before every BOOTME
    again: int = 0  # how many times BOOTME comes once more
    late: int = 0  # ms before every answer
    drop: int = 0  # every so-many-th byte of the host is lost
    lose: frozenset[int] = frozenset()  # bytes of the host that are lost
    silence: int | None = None  # no answer after so many bytes of the host
    hangup: int | None = None  # the line is gone after so many bytes of the host
    nak: frozenset[int] = frozenset()  # acknowledgements (the ping's counts) that come inverted
    mute: frozenset[int] = frozenset()  # acknowledgements that do not come
    crc: frozenset[int] = frozenset()  # CRCs that are answered wrong
    garble: frozenset[int] = frozenset()  # bytes of sections that arrive with bit 0 flipped

    @property
    def loses(self) -> bool:
        """Whether bytes are lost, so that what looks like the host's fault may be the line's."""
        return bool(self.drop or self.lose)

    @classmethod
    def parse(cls, texts: Sequence[str]) -> Faults:
        """From ``NAME`` or ``NAME=VALUE``; those that count events may come more than once."""
        values: dict[str, int | frozenset[int]] = {}
        kinds = {field.name: field.default for field in dataclasses.fields(cls)}
        for text in texts:
            name, _, number = text.partition("=")
            if name not in kinds or not (number or "1").isdecimal():
                raise SystemExit(f"fault: expected one of {', '.join(kinds)}=NUMBER, got {text}")
            value = int(number or 1)
            known = values.get(name, kinds[name])
            values[name] = known | {value} if isinstance(known, frozenset) else value
        return cls(**values)  # type: ignore[arg-type]


class Rom:
    """The ROM from reset to its jump, without any line: bytes and the time in, bytes out.

    Parameters
    ----------
    faults : Faults
    boot_s : float
        From reset to BOOTME, s.
    crc : Crc

    Notes
    -----
    ``reset`` begins, ``receive`` takes what came, ``send`` gives what is due, ``wake`` says when.
    Between a question and its answer the ROM is busy: the question may be repeated, anything else
    came too early. ``receive`` raises ``Violation``.
    """

    def __init__(
        self,
        faults: Faults = Faults(),
        boot_s: float = 0.2,
        crc: Crc = crc_c6748,
    ) -> None:
        self.faults, self.boot_s, self.crc = faults, boot_s, crc
        self.resets, self.repeats, self.wake = -1, 0, 0.0
        self._received = self._acknowledgements = self._crcs = self._section_bytes = 0

    def reset(self, now: float) -> None:
        """Begin, and forget all from before; the faults go on counting."""
        self.entry: int | None = None
        self.memory: dict[int, bytes] = {}
        self.commands: list[int] = []
        self.functions: list[tuple[int, list[int]]] = []
        self.registers: list[list[int]] = []
        self.resets += 1
        self._now = self.wake = now
        self._answer, self._question, self._early, self._inbox = b"", b"", b"", bytearray()
        self._ddr2 = self._crc_enabled = self._synchronised = False
        self._crc, self._marred = 0, False
        self._covered: int | None = None  # the first section that the CRC covers
        self._validated: tuple[int, int | None, bool] = (0, None, False)  # ... when it was asked
        self._redo: int | None = None  # the section that must come again
        self._dialogue = self._boot()
        self._wanted = next(self._dialogue)

    @property
    def done(self) -> bool:
        return self.entry is not None and not self._answer

    @property
    def hung_up(self) -> bool:
        return self.faults.hangup is not None and self._received >= self.faults.hangup

    @property
    def silent(self) -> bool:
        return self.faults.silence is not None and self._received >= self.faults.silence

    def receive(self, data: bytes, now: float) -> None:
        self._now = now
        try:
            for byte in data:
                if not (self.hung_up or self.silent or self.done):
                    self._receive(bytes([byte]))
        except Restart:  # the rest of the bytes finds nobody
            self.reset(now)

    def send(self, now: float) -> bytes:
        if now < self.wake:
            return b""
        answer, self._answer = self._answer, b""
        return b"" if self.silent else answer

    def report(self) -> dict[str, object]:
        """What the boot did; ``registers`` are [type, address, data, cycles], in order."""
        return {
            "entry": self.entry,
            "memory": {
                f"0x{address:08X}": hashlib.sha256(data).hexdigest()
                for address, data in self.memory.items()
            },
            "commands": [f"0x{opcode:08X}" for opcode in self.commands],
            "functions": self.functions,
            "registers": self.registers,
            "repeats": self.repeats,
            "resets": self.resets,
        }

    # bytes

    def _receive(self, byte: bytes) -> None:
        self._received += 1
        if self.faults.drop and self._received % self.faults.drop == 0:
            return
        if self._received in self.faults.lose:
            return
        if self._answer or self._early:
            self._repeat(byte)
            return
        self._inbox += byte
        if len(self._inbox) == self._wanted:
            data = bytes(self._inbox)
            self._inbox.clear()
            try:
                self._wanted = self._dialogue.send(data)
            except StopIteration:
                self._wanted = 0

    def _repeat(self, byte: bytes) -> None:
        """[BL] opcode synchronization: no answer means busy, and the host repeats its question."""
        if self.faults.loses and self._question == START:  # not listening yet
            return
        self._early += byte
        if self._early != START or self._synchronised:
            if len(self._early) < len(self._question):
                return
            if self._early not in (self._question, ZERO_WORD):
                got, before = self._early.hex(), self._question.hex()
                self._protest(f"expected {before} or a wait until its answer came, got {got}")
        self._early = b""
        self.repeats += 1

    def _say(self, answer: bytes, question: bytes, delay: float | None = None) -> None:
        self._answer += answer
        self._question = question
        self.wake = self._now + (self.faults.late / 1000 if delay is None else delay)

    def _protest(self, words: str) -> NoReturn:
        """A violation, unless the line may be to blame."""
        if self.faults.loses:
            raise Restart
        raise Violation(f"{words} (byte {self._received}, after {len(self.commands)} commands)")

    def _word(self) -> Dialogue[int]:
        """[BL]: words are little-endian."""
        return int.from_bytes((yield 4), "little")

    # the dialogue

    def _boot(self) -> Dialogue[None]:
        greeting = (bytes(self.faults.zeros) + BOOTME) * (1 + self.faults.again)
        self._say(greeting, START, self.boot_s)
        yield from self._synchronise()
        while self.entry is None:
            opcode = yield from self._opcode()
            yield from self._execute(opcode)
            self.commands.append(opcode)

    def _synchronise(self) -> Dialogue[None]:
        """[BL] start-word synchronization: 0x58 until 0x52; then the ping sequence."""
        byte = yield 1
        while byte:
            if byte != START:
                self._protest(f"start word: expected 58, got {byte.hex()}")
            self._say(STARTED, START)
            byte = yield from self._ping()
        self._synchronised = True

    def _ping(self) -> Dialogue[bytes]:
        """[BL] ping op-code synchronization: the opcode, N, and 1 to N, each sent back.

        Returns the start word with which the host began again, or nothing.
        """
        step = count = 0  # step 0: the opcode; 1: N; k + 1: k
        while step < 2 + count:
            word = yield from self._word_or_start()
            if word is None:
                return START
            if word == PING:
                step, count = int(self._acknowledge(PING)), 0
                continue
            if step == 0 or (step == 1 and word == 0) or (step > 1 and word != step - 1):
                wanted = (f"0x{PING:08X}", "a count")[step] if step < 2 else f"{step - 1}"
                self._protest(f"ping sequence: expected {wanted}, got 0x{word:08X}")
            count = word if step == 1 else count
            self._say(struct.pack("<I", word), struct.pack("<I", word))
            step += 1
        return b""

    def _word_or_start(self) -> Dialogue[int | None]:
        first = yield 1
        if first == START:
            return None
        return int.from_bytes(first + (yield 3), "little")

    def _acknowledge(self, opcode: int) -> bool:
        """[BL] opcode synchronization: the opcode with 0x52 on top. False: not taken."""
        self._acknowledgements += 1
        if self._acknowledgements in self.faults.mute:
            return False
        taken = self._acknowledgements not in self.faults.nak
        answer = (opcode & 0xF0FFFFFF | 0x02000000) ^ (0 if taken else 0xFFFFFFFF)
        self._say(struct.pack("<I", answer), struct.pack("<I", opcode))
        return taken

    def _opcode(self) -> Dialogue[Opcode]:
        while True:
            word = yield from self._word()
            if word == 0:
                continue
            if word == MAGIC:
                self._protest("expected an opcode, got the magic of the file, which stays there")
            if word not in set(Opcode):
                self._protest(f"expected an opcode 0x585359.., got 0x{word:08X}")
            opcode = Opcode(word)
            self._check_order(opcode)
            if self._acknowledge(opcode):
                return opcode

    def _check_order(self, opcode: Opcode) -> None:
        """[BL] validate CRC: after a mismatch start over, then the section again."""
        if self._redo is not None and opcode in (Opcode.VALIDATE_CRC, Opcode.JUMP_CLOSE):
            self._protest(f"expected section 0x{self._redo:08X} again, got 0x{opcode:08X}")
        crc, _, differs = self._validated
        asked = self.commands[-1:] == [Opcode.VALIDATE_CRC]
        if self.faults.loses or (opcode == Opcode.START_OVER) == (asked and differs):
            return
        if opcode == Opcode.START_OVER:
            why = f"CRC 0x{crc:08X} is right for what came" if asked else "expected a CRC before it"
            self._protest(f"start-over: {why}")
        self._protest(f"expected start-over after a wrong CRC, got 0x{opcode:08X}")

    def _execute(self, opcode: Opcode) -> Dialogue[None]:
        match opcode:
            case Opcode.LOAD:
                yield from self._load()
            case Opcode.FILL:
                yield from self._fill()
            case Opcode.VALIDATE_CRC:
                self._validate_crc()
            case Opcode.ENABLE_CRC | Opcode.DISABLE_CRC:
                self._crc_enabled = opcode == Opcode.ENABLE_CRC
                self._forget_crc()
            case Opcode.START_OVER:
                self._redo = self._validated[1]
                self._forget_crc()
            case Opcode.BOOT_TABLE:
                yield from self._boot_table()
            case Opcode.FUNCTION:
                yield from self._function()
            case Opcode.JUMP | Opcode.JUMP_CLOSE:
                yield from self._jump(opcode)
            case Opcode.SEQUENTIAL_READ:
                pass  # [HOST]: of no effect without a memory to read from

    def _first(self, opcode: Opcode) -> Dialogue[int]:
        """The first argument; the opcode once more is one that crossed its answer."""
        while (word := (yield from self._word())) == opcode:
            self.repeats += 1
        return word

    # sections

    def _load(self) -> Dialogue[None]:
        """[BL] section load: address, size, data filled up to words."""
        address = yield from self._first(Opcode.LOAD)
        size = yield from self._word()
        self._check_place("section load", address, size)
        data = self._garble((yield (size + 3) // 4 * 4))
        self.memory[address] = data[:size]
        self._cover(address, struct.pack("<II", address, size) + data)

    def _fill(self) -> Dialogue[None]:
        """[BL] section fill: address, size, type (8, 16 or 32 bits), pattern."""
        address = yield from self._first(Opcode.FILL)
        size = yield from self._word()
        kind = yield from self._word()
        pattern = yield from self._word()
        self._check_place("section fill", address, size)
        if kind > 2:
            self._protest(f"section fill: expected type 0, 1 or 2, got {kind}")
        unit = struct.pack("<I", pattern)[: 1 << kind]
        self.memory[address] = (unit * (size // len(unit) + 1))[:size]
        self._cover(address, struct.pack("<IIII", address, size, kind, pattern))

    def _check_place(self, what: str, address: int, size: int) -> None:
        end = address + (size + 3) // 4 * 4
        where = f"{what}: 0x{address:08X}, {size} bytes"
        inside = [name for name, low, length in MEMORY if low <= address and end <= low + length]
        if size == 0 or not inside:
            self._protest(f"{where}: expected 1 byte or more inside one memory of the C6748")
        if inside == ["DDR2"] and not self._ddr2:
            self._protest(f"{where}: expected function 3 (or its registers) to set up DDR2 before")
        if self._redo not in (None, address):
            self._protest(f"{where}: expected section 0x{self._redo:08X} again after start-over")
        self._redo = None

    def _garble(self, data: bytes) -> bytes:
        places = {n - self._section_bytes - 1 for n in self.faults.garble} & set(range(len(data)))
        self._section_bytes += len(data)
        self._marred |= bool(places) and self._crc_enabled
        return bytes(byte ^ (index in places) for index, byte in enumerate(data))

    def _cover(self, address: int, data: bytes) -> None:
        """[BL] CRC computation: over what came of each section since CRCs were enabled."""
        if self._crc_enabled:
            self._crc = self.crc(data, self._crc)
            self._covered = address if self._covered is None else self._covered

    def _validate_crc(self) -> None:
        """[BL] validate CRC: a slave only tells its own; the host compares."""
        if not self._crc_enabled:
            self._protest("validate CRC: expected enable CRC before")
        self._crcs += 1
        wrong = self._crcs in self.faults.crc
        self._say(struct.pack("<I", self._crc ^ wrong), self._question)
        self._validated = (self._crc, self._covered, wrong or self._marred)
        self._forget_crc()

    def _forget_crc(self) -> None:
        self._crc, self._covered, self._marred = 0, None, False

    # the other commands

    def _boot_table(self) -> Dialogue[None]:
        """[BL] boot table: type, address, data, cycles to wait; the type's fields as there."""
        kind = yield from self._first(Opcode.BOOT_TABLE)
        address = yield from self._word()
        data = yield from self._word()
        cycles = yield from self._word()
        length, start, stop, reserved = struct.pack("<I", kind)
        if length > 4 or reserved or (length > 2 and not start <= stop <= 31):
            self._protest(f"boot table: expected a type 0 to 4 with its bits, got 0x{kind:08X}")
        if address % min(1 << length, 4):
            self._protest(f"boot table: expected an address of its type's size, 0x{address:08X}")
        self.registers.append([kind, address, data, cycles])
        self._ddr2 |= {address for _, address, *_ in self.registers} >= DDR2_REGISTERS

    def _function(self) -> Dialogue[None]:
        """[BL] function execute: number of arguments above, index below; then the arguments."""
        head = yield from self._first(Opcode.FUNCTION)
        index, count = head & 0xFFFF, head >> 16
        if index >= len(FUNCTIONS) or count != FUNCTIONS[index][1]:
            self._protest(f"function: expected an index and its arguments' number, 0x{head:08X}")
        if index == PLL0:  # it would shift the UART's clock: [HOST], HexAIS, PLLANDCLOCKCONFIG
            self._protest("function 0 (PLL0): expected function 6 in UART boot mode")
        arguments = []
        for _ in range(count):
            arguments.append((yield from self._word()))
        self.functions.append((index, arguments))
        self._ddr2 |= index == DDR2

    def _jump(self, opcode: Opcode) -> Dialogue[None]:
        """[BL] jump, jump and close: to something that was loaded; [HOST]: DONE at the end."""
        address = yield from self._first(opcode)
        if not any(low <= address < low + len(data) for low, data in self.memory.items()):
            self._protest(f"jump: expected an address in a loaded section, got 0x{address:08X}")
        if opcode == Opcode.JUMP_CLOSE:
            self._say(DONE, struct.pack("<I", address))
            self.entry = address


# the program around it


class Line:
    """The device's end of a pseudo-terminal, at ``baud`` bit/s (8N1) or, at 0, unpaced."""

    def __init__(self, baud: int) -> None:
        self._fd, host = pty.openpty()
        self.path = os.ttyname(host)
        tty.setraw(host)
        os.close(host)  # from now on the line shows when the host opens it
        self._byte_s = 10 / baud if baud else 0.0
        self._free = 0.0

    def poll(self, timeout_s: float) -> int:
        """``POLLIN`` and ``POLLHUP`` (no host)."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return sum(events for _, events in poll.poll(max(0.0, timeout_s * 1000)))

    def read(self) -> bytes:
        try:
            data = os.read(self._fd, 64 if self._byte_s else 65536)
        except OSError as error:  # the host has closed its end
            if error.errno != errno.EIO:
                raise
            data = b""
        self._take_time(len(data))
        return data

    def write(self, data: bytes) -> None:
        self._take_time(len(data))
        os.write(self._fd, data)

    def _take_time(self, count: int) -> None:
        now = time.monotonic()
        self._free = max(self._free, now) + count * self._byte_s
        time.sleep(self._free - now)

    def drain(self, timeout_s: float = 2.0) -> None:
        """Wait until the host has read everything; to close earlier would take it away."""
        end = time.monotonic() + timeout_s
        time.sleep(0.02)
        host = os.open(self.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        while time.monotonic() < end:
            (unread,) = struct.unpack("i", fcntl.ioctl(host, termios.FIONREAD, bytes(4)))
            if not unread:
                break
            time.sleep(0.005)
        os.close(host)

    def close(self) -> None:
        os.close(self._fd)


def play(rom: Rom, line: Line, patience_s: float) -> int:
    """Play the ROM on the line; whenever the host opens it, somebody presses reset.

    Returns 0 when booted, 3 when the host was silent for ``patience_s`` or the line was cut.
    """
    heard, opened = time.monotonic(), False
    while (now := time.monotonic()) - heard < patience_s:
        events = line.poll(min(0.05, rom.wake - now if rom.wake > now else 0.05))
        if events & select.POLLHUP and not events & select.POLLIN:
            opened = False
            time.sleep(0.005)
            continue
        if not opened:
            rom.reset(time.monotonic())
            opened = True
        if events & select.POLLIN and (data := line.read()):
            heard = time.monotonic()
            rom.receive(data, heard)
        if rom.hung_up:
            line.close()
            return 3
        if answer := rom.send(time.monotonic()):
            line.write(answer)
        if rom.done:
            print(json.dumps(rom.report()), flush=True)
            line.drain()
            return 0
    return 3


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="The UART boot mode of a C6748's ROM.")
    parser.add_argument("--fault", action="append", default=[], metavar="NAME[=VALUE]")
    parser.add_argument("--baud", type=int, default=0, help="pace the bytes (8N1); 0: don't")
    parser.add_argument("--patience", type=float, default=30.0, help="s of silence before it ends")
    parser.add_argument("--boot", type=float, default=0.2, help="s from the opening to BOOTME")
    parser.add_argument("--crc", choices=CRCS, default="c6748")
    chosen = parser.parse_args(arguments)
    rom = Rom(Faults.parse(chosen.fault), chosen.boot, CRCS[chosen.crc])
    line = Line(chosen.baud)
    print(line.path, flush=True)
    try:
        return play(rom, line, chosen.patience)
    except Violation as violation:
        print(json.dumps({"violation": str(violation)}), flush=True)
        return 2


if __name__ == "__main__":
    sys.exit(main())
