"""The C6748's start-up and its drivers, linked as for the board, against modelled registers."""

from __future__ import annotations

import numpy as np
import pytest

from . import kernels
from .chip import FRAMING, L2, L2_BYTES, MAR192, OVERRUN, RECEIVE, THIRTEEN, Chip
from .machine import Machine, Program
from .toolchain import FREESTANDING, run, tool

# Answers each byte with its complement, and counts in a variable that start-up must have zeroed.
# "!" starts the board again, "2" changes the rate, "." computes for 100 microseconds.
ECHO = """
#include "port/port.h"
static uint8_t answered;
void ct_main(const ct_port *port) {
  uint8_t byte, bytes[2];
  for (;;) {
    if (port->receive(port->user, &byte, 1) == 0) {
      port->wait(port->user);
      continue;
    }
    if (byte == '!') {
      return;
    }
    if (byte == '.') {
      const uint32_t start = port->microseconds(port->user);
      while (port->microseconds(port->user) - start < 100) {
      }
    }
    bytes[0] = (uint8_t)~byte;
    bytes[1] = ++answered;
    for (size_t sent = 0; sent < sizeof bytes;) {
      sent += port->send(port->user, bytes + sent, sizeof bytes - sent);
    }
    if (byte == '2') {
      while (!port->is_sent(port->user)) {
      }
      port->set_rate(port->user, port->rates[2]);
    }
  }
}
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """The port with this ct_main, linked by its own script."""
    folder = tmp_path_factory.mktemp("port")
    main, linked = folder / "main.c", folder / "firmware.elf"
    main.write_text(ECHO)
    port = [kernels.BOARD / name for name in ("start.S", "port.c", "uart.c", "edma.c")]
    script = kernels.BOARD / "board.ld"
    freestanding = kernels.RUNTIME / "port" / "freestanding.c"
    flags = (*FREESTANDING, "-O2", "-fno-tree-loop-distribute-patterns", f"-I{kernels.RUNTIME}")
    sources = (main, *port, freestanding)
    run(tool("gcc"), *flags, f"-Wl,-T,{script}", "-o", linked, *sources, "-lgcc")
    return Program(linked)


def started(program: Program, cycles_per_byte: int = 2280) -> Chip:
    """A board that waits for its first byte."""
    chip = Chip(Machine(program, memories={L2: L2_BYTES, MAR192: 64}), cycles_per_byte)
    start, end = program.symbols["ct_zero_start"], program.symbols["ct_zero_end"]
    chip.machine.bytes_at(start, end - start)[:] = 0xA5
    chip.machine.state.csr, chip.machine.state.ier = 0x1403_0003, 0xFFF3  # a debugger was here
    chip.pass_byte_times(250_000 // cycles_per_byte)
    return chip


def answers(asked: bytes, first: int = 1) -> bytes:
    return b"".join(bytes((255 - c, first + i & 255)) for i, c in enumerate(asked))


def test_echo_from_reset(program: Program) -> None:
    chip = started(program)
    chip.pass_byte_times(20, b"abcdef")
    assert chip.said() == answers(b"abcdef")
    uart = chip.uart
    assert (uart.registers[0x0C], uart.registers[0x34]) == (3, 1)
    assert uart.cleared
    assert uart.fifo == 9  # a FIFO of one byte that asks EDMA3
    assert uart.divisor == 152 | THIRTEEN  # 228 MHz / 13 / 115200 = 152.2
    cacheable = chip.machine.bytes_at(MAR192, 64).view("<u4")
    np.testing.assert_array_equal(cacheable, [1] * 8 + [0] * 8)
    assert chip.machine["B15"] % 8 == 0


def test_interrupts_are_off_before_anything_else(program: Program) -> None:
    state = started(program).machine.state
    assert (state.csr, state.ier) == (0x1403_0002, 0)
    chip = Chip(Machine(program, memories={L2: L2_BYTES, MAR192: 64}))
    state = chip.machine.state
    state.csr, state.ier = 3, 0xFFF3
    chip.machine.step(program.symbols["_start"], 5)
    assert (state.csr, state.ier) == (2, 0)


def test_a_byte_on_its_way_is_not_taken(program: Program) -> None:
    """EDMA3's place moves before the byte lands; looks fall anywhere in between, and the last byte
    is found by a later one."""
    chip = started(program, cycles_per_byte=997)
    asked = np.random.default_rng(1).integers(128, 256, 300, np.uint8).tobytes()
    for first in range(0, len(asked), 3):
        chip.pass_byte_times(0, asked[first : first + 3])
        chip.pass_byte_times(10)
        assert chip.said() == answers(asked[first : first + 3], first + 1)


def test_bytes_come_and_go_while_it_computes(program: Program) -> None:
    """A hundred microseconds at 2 Mbit/s are twenty bytes: more than the FIFO holds."""
    chip = started(program)
    asked = (b"." + bytes(range(128, 168))) * 3
    chip.pass_byte_times(400, asked)
    assert chip.said() == answers(asked)
    assert chip.uart.errors == 0


def test_rings_go_round(program: Program) -> None:
    """More than either ring holds, at the pace of the answers."""
    chip = started(program, cycles_per_byte=400)
    asked = np.random.default_rng(0).integers(128, 256, (1 << 14) + 2000, np.uint8).tobytes()
    for start in range(0, len(asked), 700):
        chip.pass_byte_times(1410, asked[start : start + 700])
    assert chip.said() == answers(asked)


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
def test_divisors(program: Program, rate: int, divisor: int) -> None:
    machine = Machine(program, memories={L2: L2_BYTES, MAR192: 64})
    assert machine.call("ct_uart_divisor", rate) == divisor


@pytest.mark.parametrize("error", [FRAMING, OVERRUN])
def test_a_disturbed_byte_stops_nothing(program: Program, error: int) -> None:
    """Such a byte makes no event and holds back all behind it; they are thrown out, and told of."""
    chip = started(program)
    chip.pass_byte_times(100, b"ab")
    chip.said()
    chip.uart.arrive(ord("x"), error)
    for byte in b"yz":
        chip.uart.arrive(byte)
    chip.pass_byte_times(20)
    assert chip.said() == answers(b"\0", first=3)
    chip.pass_byte_times(20, b"cd")
    assert chip.said() == answers(b"cd", first=4)


def test_breaks_alone_are_told_of(program: Program) -> None:
    """What a host at a far lower rate reads as: no byte without an error (L6)."""
    chip = started(program)
    for _ in range(10):
        chip.uart.arrive(0, FRAMING)
        chip.pass_byte_times(20)
    assert chip.said() == answers(bytes(10))


def test_what_came_before_a_disturbance_is_kept(program: Program) -> None:
    chip = started(program)
    chip.pass_byte_times(0, b"..ab")  # it computes until the last of these has come
    chip.uart.arrive(ord("x"), FRAMING)
    chip.pass_byte_times(200)
    said = chip.said()
    assert said[:8] == answers(b"..ab")
    assert said[8:] in (b"", answers(b"\0", first=5))


def test_an_event_that_was_lost_is_noticed(program: Program) -> None:
    chip = started(program)
    chip.uart.arriving.append((ord("x"), 0))  # without asking EDMA3
    chip.pass_byte_times(20)
    assert chip.said() == answers(b"\0")
    chip.pass_byte_times(20, b"cd")
    assert chip.said() == answers(b"cd", first=2)


def test_new_rate_waits_for_the_last_byte(program: Program) -> None:
    chip = started(program)
    chip.pass_byte_times(100, b"a2")
    assert chip.said() == answers(b"a2")
    assert chip.uart.divisor == 7
    chip.pass_byte_times(20, b"b")
    assert chip.said() == answers(b"b", first=3)


def test_it_starts_again_when_asked(program: Program) -> None:
    chip = started(program)
    chip.pass_byte_times(100, b"ab2")
    chip.said()
    chip.pass_byte_times(150, b"!")
    assert chip.uart.divisor == 152 | THIRTEEN
    chip.pass_byte_times(20, b"cd")
    assert chip.said() == answers(b"cd")  # counted from the first again
    assert chip.edma.enabled >> RECEIVE & 1
