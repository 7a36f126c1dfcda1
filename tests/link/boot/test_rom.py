"""The ROM emulator against dialogues written out by hand, from the description alone."""

from __future__ import annotations

import hashlib
import json
import os
import re
import select
import subprocess
import sys
import time
import tty
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .rom import Faults, Rom, Violation, crc_plain

ROOT = Path(__file__).resolve().parents[3]

GREETING = "42 4f 4f 54 4d 45 20 00"  # BOOTME, blank, zero
DONE = "20 20 20 44 4f 4e 45 00"
START = ("58", "52")
PING = [
    ("0b 59 53 58", "0b 59 53 52"),
    ("02 00 00 00", "02 00 00 00"),
    ("01 00 00 00", "01 00 00 00"),
    ("02 00 00 00", "02 00 00 00"),
]
LOAD = ("01 59 53 58", "01 59 53 52")
VALIDATE = "02 59 53 58"
ENABLE_CRC = ("03 59 53 58", "03 59 53 52")
START_OVER = ("08 59 53 58", "08 59 53 52")
FUNCTION = ("0d 59 53 58", "0d 59 53 52")
TABLE = ("07 59 53 58", "07 59 53 52")
JUMP_CLOSE = ("06 59 53 58", "06 59 53 52")
# "abc\n" to the shared RAM
ABC = "00 00 00 80  04 00 00 00  61 62 63 0a"
TO_ABC = "00 00 00 80"
# what the C6748's AISgen wrote for that section into its image (support forum, thread 52816)
ABC_CRC = "88 96 06 ff"
DDR2 = "03 00 08 00" + "11 00 00 00" * 8
DDR2_SECTION = "00 00 00 c0  04 00 00 00  01 02 03 04"


def talk(rom: Rom, *dialogue: tuple[str, str], now: float = 1.0) -> Rom:
    for question, answer in dialogue:
        rom.receive(bytes.fromhex(question), now)
        assert rom.send(now).hex(" ") == answer, question
    return rom


def powered(*faults: str) -> Rom:
    rom = Rom(Faults.parse(faults))
    rom.reset(0.0)
    return rom


def ready(*faults: str) -> Rom:
    """Through BOOTME, start word and ping."""
    return talk(powered(*faults), ("", GREETING), START, *PING)


def refusal(rom: Rom, question: str) -> str:
    with pytest.raises(Violation) as caught:
        rom.receive(bytes.fromhex(question), 1.0)
    return str(caught.value)


# the dialogue


def test_greeting_comes_after_its_time() -> None:
    rom = powered()
    assert rom.send(0.1) == b""
    assert rom.wake == pytest.approx(0.2)
    assert rom.send(0.2) == b"BOOTME \0"
    assert rom.send(9.0) == b""


def test_a_whole_image_of_the_makers_tool() -> None:
    """Thread 52816: a clock function, CRC on, a section, its CRC; entered at the section here."""
    rom = talk(
        ready(),
        FUNCTION,
        ("02 00 01 00  0b 00 00 00", ""),
        ENABLE_CRC,
        LOAD,
        (ABC, ""),
        (VALIDATE, "02 59 53 52 " + ABC_CRC),
        JUMP_CLOSE,
        (TO_ABC, DONE),
    )
    assert rom.done
    assert rom.report() == {
        "entry": 0x80000000,
        "memory": {"0x80000000": hashlib.sha256(b"abc\n").hexdigest()},
        "commands": ["0x5853590D", "0x58535903", "0x58535901", "0x58535902", "0x58535906"],
        "functions": [(2, [0x0B])],
        "registers": [],
        "repeats": 0,
        "resets": 0,
    }


def test_start_words_are_repeated_and_lost_until_the_greeting() -> None:
    rom = powered()
    rom.receive(b"\x58\x58\x58", 0.1)
    assert rom.send(0.1) == b""
    talk(rom, ("", GREETING), ("58 58", "52"), START, *PING)
    assert rom.repeats == 4


def test_host_may_begin_again_within_the_ping() -> None:
    talk(powered(), ("", GREETING), START, *PING[:3], START, *PING, LOAD)
    talk(powered(), ("", GREETING), START, *PING[:2], *PING, LOAD)


def test_ping_counts_as_far_as_asked() -> None:
    numbers = [f"{k:02x} 00 00 00" for k in (10, *range(1, 11))]
    talk(powered(), ("", GREETING), START, PING[0], *zip(numbers, numbers, strict=True), LOAD)


def test_bytes_may_come_one_by_one() -> None:
    rom = talk(ready(), ("01", ""), ("59 53", ""), ("58", "01 59 53 52"))
    talk(rom, *((byte, "") for byte in ABC.split()), JUMP_CLOSE, (TO_ABC, DONE))
    assert rom.memory == {0x80000000: b"abc\n"}


@pytest.mark.parametrize("opcode", ["01", "03", "04", "05", "06", "07", "0a", "0d", "63"])
def test_every_opcode_is_acknowledged(opcode: str) -> None:
    talk(ready(), (f"{opcode} 59 53 58", f"{opcode} 59 53 52"))


def test_padding_is_received_and_not_loaded() -> None:
    rom = talk(ready(), LOAD, ("00 00 80 11  05 00 00 00  01 02 03 04 05 ee ee", ""))
    assert rom.memory == {}
    talk(rom, ("ee", ""), JUMP_CLOSE, ("00 00 80 11", DONE))
    assert rom.memory == {0x11800000: bytes([1, 2, 3, 4, 5])}


def test_crc_covers_address_size_and_padding_and_ends_with_its_request() -> None:
    section = "00 00 80 11  05 00 00 00  01 02 03 04 05 00 00 00"
    expected = zlib.crc32(bytes.fromhex(section)).to_bytes(4, "little").hex(" ")
    both = zlib.crc32(bytes.fromhex(section + ABC)).to_bytes(4, "little").hex(" ")
    rom = talk(ready(), ENABLE_CRC, LOAD, (section, ""), (VALIDATE, "02 59 53 52 " + expected))
    talk(rom, LOAD, (ABC, ""), (VALIDATE, "02 59 53 52 " + ABC_CRC))
    talk(rom, LOAD, (section, ""), LOAD, (ABC, ""), (VALIDATE, "02 59 53 52 " + both))


def test_plain_crc() -> None:
    assert crc_plain(b"123456789") == 0x89A1897F  # CRC-32/CKSUM without the length and the xor
    assert crc_plain(b"6789", crc_plain(b"12345")) == crc_plain(b"123456789")


def test_fill_repeats_its_pattern() -> None:
    rom = talk(ready(), ("0a 59 53 58", "0a 59 53 52"))
    talk(rom, ("00 00 00 80  05 00 00 00  01 00 00 00  34 12 00 00", ""), LOAD)
    assert rom.memory == {0x80000000: bytes.fromhex("3412341234")}


def test_jump_returns_to_the_dialogue() -> None:
    rom = talk(ready(), LOAD, (ABC, ""), ("05 59 53 58", "05 59 53 52"), (TO_ABC, ""), LOAD)
    assert rom.entry is None


def test_words_of_zeros_between_opcodes_are_skipped() -> None:
    talk(ready(), ("00 00 00 00", ""), LOAD, (ABC, ""), ("00 00 00 00", ""), JUMP_CLOSE)


def test_registers_are_kept_in_order() -> None:
    one = "02 00 00 00  08 00 00 b0  32 46 13 08  00 00 00 00"
    two = "03 04 07 00  00 c0 e2 01  00 00 00 00  0a 00 00 00"
    rom = talk(ready(), TABLE, (one, ""), TABLE, (two, ""), LOAD)
    assert rom.registers == [[2, 0xB0000008, 0x08134632, 0], [0x070403, 0x01E2C000, 0, 10]]


@pytest.mark.parametrize("table", [False, True])
def test_ddr2_after_its_set_up(table: bool) -> None:
    if table:
        places = ("08", "0c", "10", "14", "e4")
        writes = [f"02 00 00 00  {place} 00 00 b0" + "00" * 8 for place in places]
        rom = talk(ready(), *(step for write in writes for step in (TABLE, (write, ""))))
    else:
        rom = talk(ready(), FUNCTION, (DDR2, ""))
    talk(rom, LOAD, (DDR2_SECTION, ""), JUMP_CLOSE, ("00 00 00 c0", DONE))


def test_ddr2_is_lost_by_a_reset() -> None:
    rom = talk(ready(), FUNCTION, (DDR2, ""), LOAD)
    rom.reset(1.0)
    talk(rom, ("", GREETING), START, *PING, LOAD, now=2.0)
    assert "DDR2" in refusal(rom, DDR2_SECTION)


# what the host must not do


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("54 49 50 41", "magic"),
        ("41 42 43 44", "expected an opcode"),
        ("09 59 53 58", "expected an opcode"),
        ("01 59 53 58 00", None),  # an argument of which only a byte came early: not yet clear
        ("01 59 53 58" + ABC, "wait until its answer"),
        (START_OVER[0], "expected a CRC before"),
    ],
)
def test_wrong_opcodes(question: str, words: str | None) -> None:
    rom = ready()
    if words is None:
        talk(rom, (question, LOAD[1]))
        return
    assert words in refusal(rom, question)


@pytest.mark.parametrize(
    ("opcode", "arguments", "words"),
    [
        ("01", "00 00 00 80  00 00 00 00", "1 byte or more"),
        ("01", "00 00 00 00  04 00 00 00", "inside one memory"),
        ("01", "fc ff 01 80  05 00 00 00", "inside one memory"),
        ("01", "00 00 00 80  ff ff ff ff", "inside one memory"),
        ("01", "00 00 00 40  04 00 00 00", "inside one memory"),
        ("01", "00 00 00 c0  04 00 00 00", "set up DDR2"),
        ("0a", "00 00 00 80  04 00 00 00  03 00 00 00  00 00 00 00", "type 0, 1 or 2"),
        ("0a", "00 00 00 c0  04 00 00 00  02 00 00 00  00 00 00 00", "set up DDR2"),
        ("02", "", "enable CRC before"),
        ("05", TO_ABC, "in a loaded section"),
        ("06", TO_ABC, "in a loaded section"),
        ("07", "05 00 00 00  00 00 00 80  00 00 00 00  00 00 00 00", "type 0 to 4"),
        ("07", "03 05 04 00  00 00 00 80  00 00 00 00  00 00 00 00", "type 0 to 4"),
        ("07", "02 00 00 00  02 00 00 80  00 00 00 00  00 00 00 00", "of its type's size"),
        ("0d", "03 00 07 00", "arguments' number"),
        ("0d", "0d 00 00 00", "arguments' number"),
        ("0d", "00 00 02 00", "function 6"),
    ],
)
def test_wrong_arguments(opcode: str, arguments: str, words: str) -> None:
    rom = ready()
    if arguments:
        talk(rom, (f"{opcode} 59 53 58", f"{opcode} 59 53 52"))
        assert words in refusal(rom, arguments)
    else:
        assert words in refusal(rom, f"{opcode} 59 53 58")


def test_wrong_order_before_the_opcodes() -> None:
    assert "start word" in refusal(talk(powered(), ("", GREETING)), "59")
    assert "wait until its answer" in refusal(powered(), "59")
    assert "0x5853590B" in refusal(talk(powered(), ("", GREETING), START), LOAD[0])
    rom = talk(powered(), ("", GREETING), START, *PING[:2])
    assert "expected 1, got 0x00000002" in refusal(rom, "02 00 00 00")
    rom = talk(powered(), ("", GREETING), START, PING[0])
    assert "a count" in refusal(rom, "00 00 00 00")


def test_a_right_crc_must_be_believed() -> None:
    rom = talk(ready(), ENABLE_CRC, LOAD, (ABC, ""), (VALIDATE, "02 59 53 52 " + ABC_CRC))
    assert "0xFF069688 is right" in refusal(rom, START_OVER[0])


# faults


def test_zeros_and_second_greetings() -> None:
    talk(powered("zeros=2"), ("", "00 00 " + GREETING), START)
    both = f"00 {GREETING} 00 {GREETING}"
    talk(powered("zeros", "again=1"), ("", both), START)


def test_late_answers_and_questions_repeated_meanwhile() -> None:
    rom = talk(powered("late=50"), ("", GREETING))
    rom.receive(b"\x58", 1.0)
    assert rom.wake == pytest.approx(1.05)
    rom.receive(b"\x58", 1.02)
    assert rom.send(1.04) == b""
    assert rom.send(1.05) == b"\x52"
    rom.receive(b"\x0b\x59\x53\x58", 2.0)
    rom.receive(b"\x0b\x59\x53\x58" + bytes(4) + b"\x0b\x59", 2.02)
    assert rom.send(2.06).hex(" ") == "0b 59 53 52"
    rom.receive(b"\x53\x58" + bytes.fromhex("02 00 00 00"), 3.0)  # the end of what crossed it
    assert rom.send(3.06).hex(" ") == "02 00 00 00"


def test_opcode_that_crosses_its_answer_counts_once() -> None:
    rom = talk(ready(), LOAD, (LOAD[0] + ABC, ""), JUMP_CLOSE, (TO_ABC, DONE))
    assert (rom.memory, rom.repeats) == ({0x80000000: b"abc\n"}, 1)


def test_refused_and_missing_acknowledgements() -> None:
    rom = talk(powered("nak=1", "mute=3"), ("", GREETING), START)
    talk(rom, (PING[0][0], "f4 a6 ac ad"), *PING)  # the second is the ping's again
    talk(rom, (LOAD[0], ""), LOAD, (ABC, ""), JUMP_CLOSE, (TO_ABC, DONE))
    assert rom.commands == [0x58535901, 0x58535906]


@pytest.mark.parametrize(
    ("fault", "crc"), [("crc=1", "89 96 06 ff"), ("garble=2", None)], ids=["crc", "garble"]
)
def test_wrong_crc_wants_start_over_and_the_section_again(fault: str, crc: str | None) -> None:
    if crc is None:  # the second byte of the section loses bit 0 on its way, 62 -> 63
        marred = bytes.fromhex(ABC.replace("61 62", "61 63"))
        crc = zlib.crc32(marred).to_bytes(4, "little").hex(" ")

    def asked() -> Rom:
        start = talk(ready(fault), ENABLE_CRC, LOAD, (ABC, ""))
        return talk(start, (VALIDATE, f"02 59 53 52 {crc}"))

    assert "expected start-over" in refusal(asked(), LOAD[0])
    rom = talk(asked(), START_OVER)
    assert "again" in refusal(rom, JUMP_CLOSE[0])
    rom = talk(asked(), START_OVER, LOAD)
    assert "again" in refusal(rom, "04 00 00 80  04 00 00 00")
    rom = talk(asked(), START_OVER, LOAD, (ABC, ""), (VALIDATE, "02 59 53 52 " + ABC_CRC))
    talk(rom, JUMP_CLOSE, (TO_ABC, DONE))
    assert rom.memory == {0x80000000: b"abc\n"}


def test_unchecked_garbage_stays() -> None:
    rom = talk(ready("garble=1", "garble=4"), LOAD, (ABC, ""), JUMP_CLOSE, (TO_ABC, DONE))
    assert rom.memory == {0x80000000: b"`bc\x0b"}


def test_lost_bytes_make_it_begin_again() -> None:
    rom = talk(ready("drop=26"), LOAD)  # 21 bytes so far
    rom.receive(bytes.fromhex(ABC), 1.0)  # the size lost its first byte and is 0x61000000
    assert (rom.send(1.0), rom.resets) == (b"", 1)
    rom.receive(bytes.fromhex(JUMP_CLOSE[0]), 1.1)  # nobody listens
    assert rom.send(1.2) == b"BOOTME \0"
    talk(rom, START, *PING, (LOAD[0], ""), now=2.0)  # byte 52 is the opcode's first
    rom.receive(bytes.fromhex(LOAD[0]), 2.1)
    assert rom.resets == 2


def test_silence_and_hangup() -> None:
    rom = talk(ready("silence=21"), (LOAD[0], ""), (ABC, ""), (JUMP_CLOSE[0], ""))
    assert rom.commands == []
    assert talk(powered("silence=0"), ("", "")).silent
    rom = ready("hangup=20")
    assert not rom.hung_up
    rom.receive(bytes.fromhex(LOAD[0]), 1.0)
    assert rom.hung_up


def test_faults_add_up() -> None:
    assert Faults.parse(["crc=1", "crc=3", "late=5", "nak"]) == Faults(
        late=5, nak=frozenset({1}), crc=frozenset({1, 3})
    )
    with pytest.raises(SystemExit, match="expected one of zeros"):
        Faults.parse(["zero=1"])
    with pytest.raises(SystemExit, match="got late=soon"):
        Faults.parse(["late=soon"])


# the program


@contextmanager
def program(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-m", "tests.link.boot.rom", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            path = process.stdout.readline().strip()
            assert re.fullmatch(r"/dev/pts/\d+|/dev/tty\w+", path)
            yield process, path
        finally:
            process.kill()


@contextmanager
def opened(path: str) -> Iterator[int]:
    fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(fd)
    try:
        yield fd
    finally:
        os.close(fd)


def read(fd: int, count: int) -> bytes:
    got = b""
    while len(got) < count:
        assert select.select([fd], [], [], 10)[0], f"only {got!r} of {count} bytes came"
        more = os.read(fd, count - len(got))
        assert more, f"the line closed after {got!r}"
        got += more
    return got


def type_in(fd: int, *dialogue: tuple[str, str]) -> None:
    for question, answer in dialogue:
        os.write(fd, bytes.fromhex(question))
        assert read(fd, len(bytes.fromhex(answer))).hex(" ") == answer, question


WHOLE = [("", GREETING), START, *PING, LOAD, (ABC, ""), JUMP_CLOSE, (TO_ABC, DONE)]


def result(process: subprocess.Popen[str]) -> tuple[int, dict[str, object]]:
    assert process.stdout
    lines = process.stdout.read().splitlines()
    return process.wait(20), json.loads(lines[0]) if lines else {}


def test_program_boots() -> None:
    with program("--boot", "0.05") as (process, path), opened(path) as fd:
        type_in(fd, *WHOLE)
        code, report = result(process)
    assert (code, report["entry"], report["resets"]) == (0, 0x80000000, 0)
    assert report["memory"] == {"0x80000000": hashlib.sha256(b"abc\n").hexdigest()}
    assert report["commands"] == ["0x58535901", "0x58535906"]


def test_the_end_waits_until_it_is_read() -> None:
    with program("--boot", "0.05") as (process, path), opened(path) as fd:
        type_in(fd, *WHOLE[:-1])
        os.write(fd, bytes.fromhex(TO_ABC))
        time.sleep(0.3)
        assert process.poll() is None
        assert read(fd, 8).hex(" ") == DONE
        assert result(process)[0] == 0


def test_every_opening_is_a_reset() -> None:
    with program("--boot", "0.05", "--fault", "zeros=1") as (process, path):
        for _ in range(2):
            with opened(path) as fd:
                type_in(fd, ("", "00 " + GREETING), START, *PING, LOAD)
            time.sleep(0.1)
        with opened(path) as fd:
            type_in(fd, ("", "00 " + GREETING), *WHOLE[1:])
            code, report = result(process)
    assert (code, report["resets"]) == (0, 2)


def test_program_names_a_violation() -> None:
    with program("--boot", "0.05") as (process, path), opened(path) as fd:
        type_in(fd, *WHOLE[:2], (LOAD[0], ""))
        code, report = result(process)
    assert code == 2
    assert report == {
        "violation": "ping sequence: expected 0x5853590B, got 0x58535901 (byte 5, after 0 commands)"
    }


@pytest.mark.parametrize("host", [False, True])
def test_program_loses_patience(host: bool) -> None:
    with program("--boot", "0.05", "--patience", "0.4") as (process, path):
        if host:
            with opened(path) as fd:
                type_in(fd, *WHOLE[:2])
                assert result(process) == (3, {})
        else:
            assert result(process) == (3, {})


def test_program_hangs_up() -> None:
    with program("--boot", "0.05", "--fault", "hangup=5") as (process, path), opened(path) as fd:
        type_in(fd, *WHOLE[:2], (PING[0][0], ""))
        assert result(process) == (3, {})
        with pytest.raises(OSError, match="Input/output error"):
            os.write(fd, b"\x58")


def test_program_paces_bytes() -> None:
    """1,000 bytes take 10,000 bits: at 20,000 bit/s half a second."""
    size = 1000
    section = TO_ABC + size.to_bytes(4, "little").hex() + "00" * size
    with (
        program("--boot", "0.05", "--baud", "20000") as (process, path),
        opened(path) as fd,
    ):
        type_in(fd, *WHOLE[:7])
        start = time.monotonic()
        type_in(fd, (section, ""), *WHOLE[8:])
        assert time.monotonic() - start > 0.5
        assert result(process)[0] == 0


def test_unknown_fault_is_one_line() -> None:
    command = [sys.executable, "-m", "tests.link.boot.rom", "--fault", "smoke"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
