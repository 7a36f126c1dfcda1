"""The C6748's start-up and UART driver, linked as for the board, against modelled registers."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import numpy as np
import pytest

from . import kernels
from .machine import Machine, Program
from .toolchain import FREESTANDING, run, tool

UART2, MAR192 = 0x01D0D000, 0x01848300
L2, L2_BYTES = 0x1180_0000, 0x40000
THIRTEEN = 0x10000  # samples a bit, CT_UART_13

# Answers each byte with its complement, from a variable that start-up must have zeroed.
ECHO = """
#include "port/port.h"
static uint32_t answered, times[2];
void ct_main(void) {
  uint8_t bytes[3];
  times[0] = ct_port_microseconds();
  for (;;) {
    ct_port_read(bytes, sizeof bytes);
    for (unsigned i = 0; i < sizeof bytes; ++i) {
      bytes[i] = (uint8_t)~bytes[i];
      ++answered;
    }
    ct_port_write(bytes, sizeof bytes);
    ct_port_write((const uint8_t *)&answered, 1);
    times[1] = ct_port_microseconds();
  }
}
"""


class Uart:
    """UART2 as TI SPRUH79 describes it; a byte leaves every `slowness` looks at the status."""

    FIFO = 16

    def __init__(self, slowness: int = 9) -> None:
        self.slowness, self.looks = slowness, 0
        self.arriving: deque[int] = deque()
        self.errors: deque[int] = deque()
        self.leaving: deque[int] = deque()
        self.sent = bytearray()
        self.registers = {0x30: 0, 0x34: 1, 0x0C: 0x80}
        self.cleared = self.fifo_on = False

    def attach(self, machine: Machine) -> None:
        machine.window(UART2, 0x1000, self.load, self.store)

    @property
    def divisor(self) -> int:
        return self.registers.get(0x20, 0) | self.registers.get(0x24, 0) << 8

    @property
    def running(self) -> bool:
        return self.registers[0x30] & 0x6000 == 0x6000

    def load(self, address: int, size: int) -> int:
        assert size == 4, "registers are words"
        offset = address - UART2
        if offset == 0x14:
            return self._status()
        if offset == 0:
            return self.arriving.popleft()
        return self.registers.get(offset, 0)

    def _status(self) -> int:
        self.looks += 1
        if self.running and self.leaving and self.looks % self.slowness == 0:
            self.sent.append(self.leaving.popleft())
        error = self.errors.popleft() if self.errors else 0
        empty = 0x60 if not self.leaving else 0
        return bool(self.arriving) | error | empty

    def store(self, address: int, size: int, value: int) -> None:
        assert size == 4, "registers are words"
        offset = address - UART2
        if offset == 0:
            assert self.running
            assert self.fifo_on
            assert len(self.leaving) < self.FIFO, "a byte was written into a full FIFO"
            self.leaving.append(value & 0xFF)
        elif offset == 8:
            self.cleared |= self.fifo_on and value & 7 == 7  # clearing takes only once it is on
            self.fifo_on = bool(value & 1)
        else:
            assert offset in (0x04, 0x0C, 0x10, 0x20, 0x24, 0x30, 0x34), hex(offset)
            assert not self.running or offset == 0x30, "set up while it runs"
            self.registers[offset] = value


def board(folder: Path, text: str) -> Machine:
    """The port with this ct_main, linked by its own script, in a C6748's memory."""
    main, linked = folder / "main.c", folder / "firmware.elf"
    main.write_text(text)
    port = [kernels.BOARD / name for name in ("start.S", "port.c", "uart.c")]
    script = kernels.BOARD / "board.ld"
    flags = (*FREESTANDING, "-O2", f"-I{kernels.RUNTIME}", f"-Wl,-T,{script}")
    run(tool("gcc"), *flags, "-o", linked, main, *port, "-lgcc")
    return Machine(Program(linked), memories={L2: L2_BYTES, MAR192: 64})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("port")


def test_echo_from_reset(folder: Path) -> None:
    machine, uart = board(folder, ECHO), Uart()
    uart.attach(machine)
    symbols = machine.program.symbols
    zeroed = symbols["ct_zero_start"], symbols["ct_zero_end"] - symbols["ct_zero_start"]
    machine.bytes_at(*zeroed)[:] = 0xA5
    uart.arriving.extend(b"abcdef")
    machine.step(symbols["_start"], 40_000)
    assert (
        bytes(uart.sent)
        == bytes(255 - c for c in b"abc") + b"\3" + bytes(255 - c for c in b"def") + b"\6"
    )
    assert (uart.registers[0x0C], uart.registers[0x34]) == (3, 1)
    assert uart.cleared
    assert uart.divisor == 152  # 228 MHz / 13 / 115200 = 152.2
    np.testing.assert_array_equal(machine.bytes_at(MAR192, 64).view("<u4"), [1] * 8 + [0] * 8)
    assert machine["B15"] % 8 == 0


@pytest.mark.parametrize(
    ("rate", "divisor"),
    [
        *((2_000_000, 7), (14_250_000, 1)),
        *((115200, 152 | THIRTEEN), (230400, 76 | THIRTEEN), (9600, 1827 | THIRTEEN)),
        # 228 MHz / 13: 19.03, 5.85, 4.38 (9 % off)
        *((921600, 19 | THIRTEEN), (3_000_000, 6 | THIRTEEN), (4_000_000, 0)),
        *((100, 0), (30_000_000, 0), (0, 0)),  # beyond 16 bits, beyond 1, none
    ],
)
def test_divisors(folder: Path, rate: int, divisor: int) -> None:
    machine = board(folder, ECHO)
    assert machine.call("ct_uart_divisor", rate) == divisor


def test_errors_are_told(folder: Path) -> None:
    machine, uart = board(folder, ECHO), Uart()
    uart.attach(machine)
    uart.arriving.extend(b"xyz")
    uart.errors.extend([0, 0x02, 0x08 | 0x10])
    out, errors = L2 + L2_BYTES - 64, L2 + L2_BYTES - 32
    assert machine.call("ct_uart_read", out, 8, errors) == 3
    assert bytes(machine.bytes_at(out, 3)) == b"xyz"
    assert machine.bytes_at(errors, 4).view("<u4")[0] == 1 | 4 | 8


def test_new_rate_waits_for_the_last_byte(folder: Path) -> None:
    machine, uart = board(folder, ECHO), Uart()
    uart.attach(machine)
    machine.call("ct_uart_start", 124)
    bye = L2 + L2_BYTES - 64
    machine.bytes_at(bye, 3)[:] = list(b"bye")
    machine.call("ct_uart_write", bye, 3)
    assert uart.divisor == 124
    machine.call("ct_uart_start", 19 | THIRTEEN)
    assert (bytes(uart.sent), uart.divisor, uart.registers[0x34]) == (b"bye", 19, 1)
