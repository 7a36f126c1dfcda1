"""Our sender and an emulated boot ROM, each written without the other, on a pseudo-terminal."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import serial

from napari_ct2mri.firmware.ais import LCDK_INIT
from napari_ct2mri.jobs import Event, Progress, run_job
from napari_ct2mri.link.boot import (
    BootError,
    BootRefusedError,
    BootSilentError,
    Command,
    Limits,
    ais_image,
    boot,
    load,
)
from napari_ct2mri.link.boot.ais import Op, pack, parse

from .programs import CODE, CONSTANTS, PROGRAM

ROOT = Path(__file__).resolve().parents[3]
IMAGE = ais_image(PROGRAM, LCDK_INIT)
ENTRY = 0x11804020
MEMORY = {0x11804000: CODE, 0x11810000: CONSTANTS + bytes(3)}
LIMITS = Limits(bootme_s=20.0, start_s=0.3, answer_s=0.4, busy_s=2.0, settle_s=0.03)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo-terminals")


class Rom:
    """The emulator as a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stdout is not None
        self._lines = process.stdout
        self.path = self._lines.readline().strip()

    def report(self) -> dict[str, Any]:
        """What it says at its end."""
        self._process.wait(timeout=30)
        report: dict[str, Any] = json.loads(self._lines.readline())
        return report


@contextmanager
def rom(*faults: str, baud: int = 0, crc: str = "c6748") -> Iterator[Rom]:
    """An emulated ROM with faults."""
    options = [f"--fault={fault}" for fault in faults]
    command = [sys.executable, "-m", "tests.link.boot.rom", *options]
    with subprocess.Popen(
        [*command, f"--baud={baud}", f"--crc={crc}", "--boot=0.05"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            yield Rom(process)
        finally:
            process.kill()


def boot_over(path: str, image: bytes = IMAGE, limits: Limits = LIMITS) -> list[Event]:
    """Open the port, boot, and return the events."""
    events: list[Event] = []
    with serial.Serial(path, 115200) as port:
        run_job(boot(port, image, limits), events.append)
    return events


def memory_of(report: dict[str, Any]) -> dict[int, str]:
    return {int(address, 16): digest for address, digest in report["memory"].items()}


def digests(memory: dict[int, bytes]) -> dict[int, str]:
    return {address: hashlib.sha256(data).hexdigest() for address, data in memory.items()}


def check(report: dict[str, Any]) -> None:
    """All of the program lies where it belongs, and runs, on a board that was set up before."""
    assert report["entry"] == ENTRY
    assert memory_of(report) == digests(MEMORY)
    functions = [each.words for each in LCDK_INIT if each.op is Op.FUNCTION]
    assert report["functions"] == [[words[0] & 0xFFFF, list(words[1:])] for words in functions]
    assert report["registers"] == [list(each.words) for each in LCDK_INIT if each.op is Op.WRITE]


def test_a_program_is_booted_at_the_lines_own_rate() -> None:
    with rom(baud=115200) as board:
        since = time.monotonic()
        events = boot_over(board.path)
        took_s = time.monotonic() - since
        report = board.report()
    check(report)
    assert [int(each, 16) for each in report["commands"]] == [
        each.op for each in parse(IMAGE).values()
    ]
    assert (report["repeats"], report["resets"]) == (0, 0)
    assert took_s > len(IMAGE) * 10 / 115200
    bars = [event.done for event in events if isinstance(event, Progress)]
    assert bars == sorted(bars)
    assert bars[-1] == len(IMAGE) - 4


@pytest.mark.parametrize(
    "faults",
    [
        ["zeros=7"],
        ["again=2", "zeros=3"],
        ["late=60"],
        ["late=350"],  # start bytes are repeated before it comes
        ["nak=1", "nak=2", "nak=3", "nak=6"],
        ["nak=9", "nak=10", "nak=11", "nak=12", "nak=13"],
        ["mute=1"],
        ["mute=7", "mute=8", "mute=9"],
        ["nak=5", "mute=6", "crc=1", "zeros=2", "late=20"],
    ],
    ids="+".join,
)
def test_a_rom_that_misbehaves_is_booted(faults: list[str]) -> None:
    with rom(*faults) as board:
        boot_over(board.path)
        check(board.report())


@pytest.mark.parametrize(
    ("faults", "loads"),
    [
        (["crc=1"], [0x11804000, 0x11804000, 0x11810000]),
        (["crc=1", "crc=2", "crc=4"], [0x11804000] * 3 + [0x11810000] * 2),
        (["garble=1"], [0x11804000, 0x11804000, 0x11810000]),
        (["garble=2308", "garble=2311", "garble=6930"], [0x11804000] * 3 + [0x11810000] * 2),
    ],
    ids=lambda value: "+".join(value) if isinstance(value[0], str) else None,
)
def test_a_section_with_a_wrong_crc_is_sent_again(faults: list[str], loads: list[int]) -> None:
    with rom(*faults) as board:
        boot_over(board.path)
        report = board.report()
    check(report)
    commands = [int(each, 16) for each in report["commands"]]
    assert commands.count(Op.LOAD) == len(loads)
    assert commands.count(Op.START_OVER) == len(loads) - 2


def test_a_line_that_always_alters_is_given_up() -> None:
    with rom("crc=1", "crc=2", "crc=3") as board, pytest.raises(BootRefusedError, match="3 of 3"):
        boot_over(board.path)


def test_another_crc_is_not_taken_for_ours() -> None:
    with rom(crc="plain") as board:
        with pytest.raises(BootError):
            boot_over(board.path)
        assert "start-over: CRC 0x" in board.report()["violation"]


@pytest.mark.parametrize("byte", [1, 4, 20, 200, 1500, 2700])
def test_a_byte_that_is_lost_does_no_harm(byte: int) -> None:
    """Of a start word, the ping, an opcode, a section: it is said again, or all begins anew."""
    with rom(f"lose={byte}") as board:
        boot_over(board.path)
        check(board.report())


@pytest.mark.parametrize("every", [5, 450])
def test_a_line_that_loses_bytes_is_given_up_in_words(every: int) -> None:
    since = time.monotonic()
    with rom(f"drop={every}") as board, pytest.raises(BootError, match=r"\d+ (of|times|bytes)"):
        boot_over(board.path)
    assert time.monotonic() - since < 30


def test_a_rom_that_is_later_than_our_patience_is_named() -> None:
    limits = Limits(bootme_s=20.0, start_s=0.1, answer_s=0.1, settle_s=0.01, tries=4)
    with rom("late=250") as board, pytest.raises(BootRefusedError, match="but not the ping"):
        boot_over(board.path, limits=limits)


@pytest.mark.parametrize("after", [0, 3, 300])
def test_a_rom_that_falls_silent_is_named(after: int) -> None:
    limits = Limits(bootme_s=1.0, start_s=0.05, answer_s=0.1, settle_s=0.01)
    with rom(f"silence={after}") as board, pytest.raises(BootSilentError) as caught:
        boot_over(board.path, limits=limits)
    assert "eset" in str(caught.value)


@pytest.mark.parametrize("after", [1, 300, 2400])
def test_a_cable_that_is_pulled_is_named(after: int) -> None:
    with (
        rom(f"hangup={after}") as board,
        pytest.raises(BootSilentError, match=r"went away or takes nothing more.*Plug the board in"),
    ):
        boot_over(board.path)


def test_a_board_can_be_booted_after_a_failure() -> None:
    with rom("crc=1", "crc=2", "crc=3") as board:
        with pytest.raises(BootRefusedError):
            boot_over(board.path)
        time.sleep(0.3)  # until it sees that the port was closed; to open it is to press reset
        boot_over(board.path)
        check(board.report())


def test_every_kind_of_command_is_understood() -> None:
    commands = [
        *LCDK_INIT,
        Command(Op.SEQUENTIAL_READ),
        Command(Op.ENABLE_CRC),
        Command(Op.DISABLE_CRC),
        Command(Op.FILL, (0xC0000000, 64, 2, 0xA5A5A5A5)),
        load(0xC0001000, CODE),
        Command(Op.JUMP, (0xC0001000,)),
        Command(Op.JUMP_CLOSE, (0xC0001004,)),
    ]
    with rom() as board:
        boot_over(board.path, pack(commands))
        report = board.report()
    assert report["entry"] == 0xC0001004
    assert memory_of(report) == digests({0xC0000000: b"\xa5" * 64, 0xC0001000: CODE})
