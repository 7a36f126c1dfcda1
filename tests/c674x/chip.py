"""What stands around the C674x in a C6748, as its firmware's port sees it: UART2, EDMA3, PSC.

Models after TI SPRUH79 (chapters UART, EDMA3, PSC) and SPRS590 (events), of what the port uses;
anything else is refused. No real chip was asked whether they are right.
"""

from __future__ import annotations

import struct
from collections import deque

from .machine import Machine

UART2, EDMA, TRANSFERS, PSC = 0x01D0_D000, 0x01C0_0000, 0x01C0_8000, 0x01C1_0000
L2, L2_BYTES, MAR192 = 0x1180_0000, 0x40000, 0x0184_8300
RECEIVE, SEND = 30, 31  # EDMA3's events of UART2
OVERRUN, FRAMING = 0x02, 0x08
THIRTEEN = 0x10000  # samples a bit, CT_UART_13
FLIGHT = 100  # cycles from a set that moves on to the byte that lies there
_FIFO = 16
_NO_LINK = 0xFFFF
_SET = struct.Struct("<IIHHIhhHHhhHH")  # OPT SRC ACNT BCNT DST SRCBIDX DSTBIDX LINK RELOAD ...
assert _SET.size == 32


class Psc:
    """Power and sleep controller 0: modules 0 and 1, EDMA3's, are off after reset."""

    def __init__(self) -> None:
        self.control, self.state, self.looks = {0: 0x100, 1: 0x100}, {0: 0, 1: 0}, 0

    def load(self, address: int, size: int) -> int:
        assert size == 4
        offset = address - PSC
        if offset == 0x128:  # PTSTAT: a transition takes a while
            self.looks = max(0, self.looks - 1)
            return int(self.looks > 0)
        if offset in (0xA00, 0xA04):
            return self.control[offset - 0xA00 >> 2]
        assert offset in (0x800, 0x804), hex(offset)
        return self.state[offset - 0x800 >> 2]

    def store(self, address: int, size: int, value: int) -> None:
        assert size == 4
        offset = address - PSC
        if offset == 0x120:
            assert value == 1
            self.looks = 5
            self.state = {module: control & 0x1F for module, control in self.control.items()}
        else:
            assert offset in (0xA00, 0xA04), hex(offset)
            self.control[offset - 0xA00 >> 2] = value

    @property
    def is_on(self) -> bool:
        return self.state == {0: 3, 1: 3}


class Edma:
    """Channel controller 0 and transfer controller 0: single bytes, an event each, linked sets.

    A byte for memory lands :data:`FLIGHT` cycles after its set has moved on.
    """

    def __init__(self, machine: Machine, psc: Psc) -> None:
        self.machine, self.psc = machine, psc
        self.sets = bytearray(128 * 32)
        self.events = self.enabled = self.secondary = self.missed = self.pending = 0
        self.moved = 0
        self.flying: deque[tuple[int, int, int]] = deque()  # cycle of landing, address, byte

    def land(self) -> None:
        """Store what is due by now."""
        while self.flying and self.flying[0][0] <= self.machine.state.cycle:
            _, address, byte = self.flying.popleft()
            assert L2 <= address < L2 + L2_BYTES, "outside of L2, where nothing keeps it coherent"
            self.machine.bytes_at(address, 1)[0] = byte

    def load_transfers(self, address: int, size: int) -> int:
        """TCSTAT: a write is on its way, or nothing is."""
        assert (address - TRANSFERS, size) == (0x100, 4)
        assert self.psc.is_on, "EDMA3 is off"
        self.land()
        return 0x100 | (0x14 if self.flying else 0)

    def load(self, address: int, size: int) -> int:
        assert size == 4
        assert self.psc.is_on, "EDMA3 is off"
        self.land()
        offset = address - EDMA
        if offset >= 0x4000:
            return int(struct.unpack_from("<I", self.sets, offset - 0x4000)[0])
        assert offset == 0x1068, hex(offset)
        return self.pending

    def store(self, address: int, size: int, value: int) -> None:
        assert size == 4
        assert self.psc.is_on, "EDMA3 is off"
        offset = address - EDMA
        if offset >= 0x4000:
            struct.pack_into("<I", self.sets, offset - 0x4000, value)
            return
        clear = {
            0x308: "missed", 0x1008: "events", 0x1028: "enabled", 0x1040: "secondary",
            0x1070: "pending",
        }  # fmt: skip
        if offset in clear:
            setattr(self, clear[offset], getattr(self, clear[offset]) & ~value)
        elif offset == 0x1030:
            self.enabled |= value
            self._serve()
        elif offset == 0x24C:
            assert value == 0, "a queue of another transfer controller"
        else:
            assert offset == 0x1010, hex(offset)
            for channel in (RECEIVE, SEND):
                if value >> channel & 1:
                    self._move(channel)

    def event(self, channel: int) -> None:
        """A peripheral asks; latched also while the channel is disabled."""
        if self.psc.is_on:
            if self.events >> channel & 1:
                self.missed |= 1 << channel
            self.events |= 1 << channel
            self._serve()

    def _serve(self) -> None:
        for channel in (RECEIVE, SEND):
            if self.events & self.enabled & 1 << channel:
                self.events &= ~(1 << channel)
                self._move(channel)

    def _move(self, channel: int) -> None:
        if self.secondary >> channel & 1:
            return  # it has met an empty set, and nobody has cleared that
        at = channel * 32
        one = list(_SET.unpack_from(self.sets, at))
        options, source, a, b, target, source_step, target_step, link, *_, c, _ = one
        if 0 in (a, b, c):
            self.missed |= 1 << channel
            self.secondary |= 1 << channel
            return
        assert (a, c) == (1, 1)
        if b > 1:  # the set moves on before the byte does
            one[1], one[3], one[4] = source + source_step, b - 1, target + target_step
            _SET.pack_into(self.sets, at, *one)
        else:
            to = link - 0x4000
            self.sets[at : at + 32] = bytes(32) if link == _NO_LINK else self.sets[to : to + 32]
        self._write(target, self._read(source))
        self.moved += 1
        if b == 1 and options >> 20 & 1:
            self.pending |= 1 << (options >> 12 & 63)

    def _read(self, address: int) -> int:
        if address == UART2:
            return self.uart.take()
        return int(self.machine.bytes_at(address, 1)[0])

    def _write(self, address: int, byte: int) -> None:
        if address == UART2:
            self.uart.give(byte)
        else:
            self.flying.append((self.machine.state.cycle + FLIGHT, address, byte))


class Uart:
    """UART2 with FIFOs of 16 and DMA events."""

    def __init__(self, edma: Edma) -> None:
        self.edma = edma
        edma.uart = self
        self.arriving: deque[tuple[int, int]] = deque()  # byte, error
        self.leaving: deque[int] = deque()
        self.shifting: int | None = None
        self.sent = bytearray()
        self.errors = 0
        self.registers = {0x30: 0, 0x34: 1, 0x0C: 0x80}
        self.fifo = 0
        self.cleared = False

    @property
    def divisor(self) -> int:
        samples = THIRTEEN if self.registers[0x34] else 0
        return self.registers.get(0x20, 0) | self.registers.get(0x24, 0) << 8 | samples

    @property
    def running(self) -> bool:
        return self.registers[0x30] & 0x6000 == 0x6000

    # The line: once a byte time.

    def arrive(self, byte: int, error: int = 0) -> None:
        """A byte from the line."""
        if not self.running:
            return
        if len(self.arriving) == _FIFO:
            self.errors |= OVERRUN
            return
        self.arriving.append((byte, error))
        if len(self.arriving) == 1:
            self._ask()

    def leave(self) -> None:
        """The byte in the shift register is out, the next moves up."""
        if not self.running:
            return
        if self.shifting is not None:
            self.sent.append(self.shifting)
        self.shifting = self.leaving.popleft() if self.leaving else None
        if self.shifting is not None and not self.leaving:
            self.edma.event(SEND)

    def _ask(self) -> None:
        """Not asserted if the data at the top of the FIFO is erroneous."""
        if self.fifo & 8 and self.arriving and not self.arriving[0][1]:
            self.edma.event(RECEIVE)

    # The registers.

    def take(self) -> int:
        assert self.arriving, "read from an empty FIFO"
        byte, _ = self.arriving.popleft()
        return byte

    def give(self, byte: int) -> None:
        assert self.running
        assert self.fifo & 1
        assert len(self.leaving) < _FIFO, "a byte was written into a full FIFO"
        self.leaving.append(byte)
        if self.shifting is None:  # it passes through at once
            self.shifting = self.leaving.popleft()
            self.edma.event(SEND)

    def load(self, address: int, size: int) -> int:
        assert size == 4, "registers are words"
        offset = address - UART2
        if offset == 0:
            return self.take()
        return self._status() if offset == 0x14 else self.registers.get(offset, 0)

    def _status(self) -> int:
        top = self.arriving[0][1] if self.arriving else 0
        status = self.errors | top | (0x80 if any(error for _, error in self.arriving) else 0)
        self.errors = 0
        if top:
            self.arriving[0] = (self.arriving[0][0], 0)
        empty = 0 if self.leaving else 0x20 | (0x40 if self.shifting is None else 0)
        return bool(self.arriving) | status | empty

    def store(self, address: int, size: int, value: int) -> None:
        assert size == 4, "registers are words"
        offset = address - UART2
        if offset == 0:
            self.give(value & 0xFF)
        elif offset == 8:
            if value & 6 and self.fifo & 1:  # clearing takes only once the FIFO is on
                self.cleared = True
                self.arriving.clear()
                self.leaving.clear()
            self.fifo = value & 0xC9
        else:
            assert offset in (0x04, 0x0C, 0x10, 0x20, 0x24, 0x30, 0x34), hex(offset)
            assert not self.running or offset == 0x30, "set up while it runs"
            starts = offset == 0x30 and value & 0x6000 == 0x6000
            self.registers[offset] = value
            if starts:
                self.edma.event(SEND)


def _refuse(address: int, size: int, value: int) -> None:
    raise AssertionError(f"0x{address:08x} cannot be written")


class Chip:
    """A C6748 with a program in it, and a line of a rate."""

    def __init__(self, machine: Machine, cycles_per_byte: int = 2280) -> None:
        self.machine, self.cycles_per_byte = machine, cycles_per_byte
        self.psc = Psc()
        self.edma = Edma(machine, self.psc)
        self.uart = Uart(self.edma)
        machine.window(UART2, 0x1000, self.uart.load, self.uart.store)
        machine.window(EDMA, 0x8000, self.edma.load, self.edma.store)
        machine.window(TRANSFERS, 0x400, self.edma.load_transfers, _refuse)
        machine.window(PSC, 0x1000, self.psc.load, self.psc.store)
        machine.state.pc = machine.program.symbols["_start"]

    def pass_byte_times(self, count: int, arriving: bytes = b"") -> None:
        """So many byte times; in each a byte leaves, and one of ``arriving`` comes."""
        for number in range(max(count, len(arriving))):
            self.machine.step(self.machine.state.pc, self.cycles_per_byte)
            self.edma.land()
            self.uart.leave()
            if number < len(arriving):
                self.uart.arrive(arriving[number])

    def said(self) -> bytes:
        """What has left since the last call."""
        sent = bytes(self.uart.sent)
        self.uart.sent.clear()
        return sent
