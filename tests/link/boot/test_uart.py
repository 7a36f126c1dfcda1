"""The host's side of the boot dialogue, word by word, on a clock of its own."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_ct2mri.errors import LinkError
from napari_ct2mri.firmware.ais import LCDK_INIT
from napari_ct2mri.jobs import Notice, Progress, run_job
from napari_ct2mri.link.boot import (
    BootImageError,
    BootRefusedError,
    BootSilentError,
    Command,
    Limits,
    ais_image,
    boot,
    load,
)
from napari_ct2mri.link.boot.ais import Op, pack, parse
from napari_ct2mri.link.boot.uart import Dialogue

from .programs import PROGRAM

SECTION = load(0x11804000, b"program")
JUMP = Command(Op.JUMP_CLOSE, (0x11804000,))
PLAIN = pack([SECTION, JUMP])
CRC = zlib.crc32(SECTION.body)
VALIDATE = Command(Op.VALIDATE_CRC, (CRC, 2**32 - SECTION.size_bytes - 12))
CHECKED = pack([Command(Op.ENABLE_CRC), SECTION, VALIDATE, JUMP])
STEP_S = 0.001

Turn = tuple[str, bytes | float]


def word(value: int) -> bytes:
    return struct.pack("<I", value)


def says(data: bytes) -> Turn:
    return "says", data


def hears(data: bytes) -> Turn:
    return "hears", data


def waits(seconds: float) -> Turn:
    return "waits", seconds


START = [hears(b"\x58"), says(b"\x52")]
PING = [
    turn
    for asked, answered in [(0x5853590B, 0x5253590B), (2, 2), (1, 1), (2, 2)]
    for turn in (hears(word(asked)), says(word(answered)))
]
OPENING = [says(b"BOOTME \0"), *START, *PING]
CLOSING = [says(b"   DONE\0")]


def opens(op: Op) -> list[Turn]:
    return [hears(word(op)), says(word(op - 0x06000000))]


def takes(command: Command) -> list[Turn]:
    return [*opens(command.op), hears(command.body)]


def answers_crc(value: int) -> list[Turn]:
    return [*opens(Op.VALIDATE_CRC), says(word(value))]


class Line:
    """A dialogue, the other end as a list of turns, and the time."""

    def __init__(self, image: bytes, turns: Iterable[Turn], limits: Limits | None = None) -> None:
        self.dialogue = Dialogue(image, limits)
        self.turns = list(turns)
        self.now_s = 1000.0
        self.heard, self.unread = bytearray(), bytearray()
        self.progress: list[int] = []

    def run(self) -> Line:
        """To its end, or to an error; a turn that is never taken fails."""
        while not self.dialogue.done:
            received = bytes(self.unread[: self.dialogue.wanted])
            del self.unread[: len(received)]
            self.heard += self.dialogue.step(received, self.now_s)
            self.progress.append(self.dialogue.sent_bytes)
            if not self._turn() and not received:
                self.now_s += STEP_S
        assert not self.turns
        assert not self.heard
        return self

    def _turn(self) -> bool:
        if not self.turns:
            return False
        kind, what = self.turns[0]
        if kind == "says":
            assert isinstance(what, bytes)
            self.unread += what
        elif kind == "hears":
            assert isinstance(what, bytes)
            if len(self.heard) < len(what):
                return False
            assert bytes(self.heard[: len(what)]) == what
            del self.heard[: len(what)]
        else:
            assert isinstance(what, float)
            if what > 0:
                self.turns[0] = waits(what - STEP_S)
                return False
        self.turns.pop(0)
        return True


def test_a_program_is_sent_and_started() -> None:
    line = Line(PLAIN, [*OPENING, *takes(SECTION), *takes(JUMP), *CLOSING]).run()
    assert line.progress[-1] == line.dialogue.total_bytes == len(PLAIN) - 4
    assert line.progress == sorted(line.progress)
    assert line.dialogue.wanted == 0


def test_every_command_of_an_image_is_sent_as_it_stands() -> None:
    image = ais_image(PROGRAM, LCDK_INIT)
    turns = [*OPENING]
    for command in parse(image).values():
        is_check = command.op is Op.VALIDATE_CRC
        turns += answers_crc(command.words[0]) if is_check else takes(command)
    Line(image, [*turns, *CLOSING]).run()


@pytest.mark.parametrize(
    "greeting",
    [
        b"\0BOOTME \0",  # TI E2E, thread 72325
        b"\0\0\0\0\0\xff\x80BOOTME",
        b"BOOTME BOOTME \0\0\0",  # TI E2E, thread 126582
        b"BOOBOOTME \0",
    ],
)
def test_bootme_is_found_among_other_bytes(greeting: bytes) -> None:
    Line(PLAIN, [says(greeting), *START, *PING, *takes(SECTION), *takes(JUMP), *CLOSING]).run()


def test_nothing_is_sent_before_bootme() -> None:
    line = Line(PLAIN, [waits(59.0), *OPENING, *takes(SECTION), *takes(JUMP), *CLOSING]).run()
    assert line.now_s > 1059


def test_a_board_that_is_not_reset_is_waited_for_then_named() -> None:
    line = Line(PLAIN, [])
    with pytest.raises(BootSilentError, match=r"expected BOOTME.*got nothing in 60 s.*press reset"):
        line.run()
    assert line.now_s == pytest.approx(1060, abs=1)
    assert not line.heard
    with pytest.raises(BootSilentError, match="got 7 bytes, the last 48 69 20 79 6f 75"):
        Line(PLAIN, [says(b"\0Hi you")]).run()


def test_start_bytes_are_repeated() -> None:
    turns = [says(b"BOOTME \0"), hears(b"\x58"), hears(b"\x58"), *START, *PING]
    Line(PLAIN, [*turns, *takes(SECTION), *takes(JUMP), *CLOSING]).run()


def test_answers_to_start_bytes_that_crossed_do_no_harm() -> None:
    late = [says(b"BOOTME \0"), hears(b"\x58"), waits(1.5), hears(b"\x58"), says(b"\x52" * 6)]
    Line(PLAIN, [*late, *PING, *takes(SECTION), *takes(JUMP), *CLOSING]).run()


def test_a_failed_ping_begins_with_the_start_byte_again() -> None:
    wrong = [*START, hears(word(0x5853590B)), says(word(0x58535958))]
    cut = [*START, *PING[:2], hears(word(2)), says(b"\2\0")]
    turns = [says(b"BOOTME \0"), *wrong, *cut, *START, *PING]
    Line(PLAIN, [*turns, *takes(SECTION), *takes(JUMP), *CLOSING]).run()


def test_a_rom_that_never_pings_is_named() -> None:
    wrong = [*START, hears(word(0x5853590B)), says(bytes(4))]
    with pytest.raises(BootRefusedError, match="10 times the boot ROM answered the start byte"):
        Line(PLAIN, [says(b"BOOTME \0"), *(wrong * 10)]).run()
    with pytest.raises(BootSilentError, match="no 0x52 in answer to 10 start bytes"):
        Line(PLAIN, [says(b"BOOTME \0")]).run()


def test_an_opcode_is_repeated_after_a_time_out_behind_zeros() -> None:
    load_word = word(Op.LOAD)
    missed = [hears(load_word), hears(bytes(4))] * 3 + [hears(load_word), hears(bytes(5))] * 4
    Line(PLAIN, [*OPENING, *missed, *takes(SECTION), *takes(JUMP), *CLOSING]).run()


def test_a_late_answer_is_waited_for() -> None:
    late = [hears(word(Op.LOAD)), waits(4.9), says(word(0x52535901)), hears(SECTION.body)]
    Line(PLAIN, [*OPENING, *late, *takes(JUMP), *CLOSING]).run()


@pytest.mark.parametrize("lost", [1, 2, 3, 4])
def test_a_rom_that_missed_bytes_of_an_opcode_comes_into_step(lost: int) -> None:
    """A ROM that reads word after word, and answers only the one that it expects."""
    line = Line(PLAIN, OPENING)
    words, opcode = bytearray(), word(Op.LOAD)
    skipped = 0
    while words != opcode:
        received = bytes(line.unread[: line.dialogue.wanted])
        del line.unread[: len(received)]
        line.heard += line.dialogue.step(received, line.now_s)
        if line._turn() or received:
            continue
        line.now_s += STEP_S
        if not line.turns:
            drop = min(lost - skipped, len(line.heard))
            skipped += drop
            words += line.heard[drop:]
            line.heard.clear()
            while len(words) > 4:
                del words[:4]
    assert skipped == lost
    assert line.now_s < 1000 + 5 * 8


def test_silence_in_the_middle_is_named() -> None:
    line = Line(PLAIN, [*OPENING, *takes(SECTION)])
    with pytest.raises(
        BootSilentError,
        match=r"command 2 of 2 \(jump close 0x11804000\): expected 06 59 53 52 from the boot ROM, "
        r"got nothing \(10 times, 5 s each\)\. Reset the board",
    ):
        line.run()
    assert line.now_s == pytest.approx(1050, abs=3)


def test_other_words_mean_not_yet_for_a_while() -> None:
    busy = [hears(word(Op.LOAD)), says(bytes(4))] * 3
    Line(PLAIN, [*OPENING, *busy, *takes(SECTION), *takes(JUMP), *CLOSING]).run()


def test_a_rom_that_refuses_for_ever_is_named() -> None:
    refuses = [hears(word(Op.LOAD)), says(word(0x4E414B21))] * 10_000
    line = Line(PLAIN, [*OPENING, *refuses])
    with pytest.raises(BootRefusedError, match=r"command 1 of 2.*got 21 4b 41 4e for 30 s"):
        line.run()
    assert line.now_s < 1040


@pytest.mark.parametrize("bootme", [b"BOOTME \0", b"\0BOOTME \0", b"\0\0\0BOOTME \0"])
def test_a_rom_that_begins_again_is_sent_everything_again(bootme: bytes) -> None:
    """Somebody pressed reset while a section was on its way."""
    begun = [*takes(SECTION), says(bootme), hears(word(Op.JUMP_CLOSE))]
    turns = [*OPENING, *begun, *START, *PING]
    line = Line(PLAIN, [*turns, *takes(SECTION), *takes(JUMP), *CLOSING]).run()
    assert line.now_s < 1005


def test_a_rom_that_begins_again_for_ever_is_named() -> None:
    begun = [*START, *PING, hears(word(Op.LOAD)), says(b"BOOTME \0")]
    with pytest.raises(BootRefusedError, match=r"command 1 of 2.*began again with BOOTME \(3 of 3"):
        Line(PLAIN, [says(b"BOOTME \0"), *(begun * 3)]).run()


@pytest.mark.parametrize("noise", [b"\0", b"\x01", b"\x01\x59", b"\xff\xff", b"\0\x01\x59"])
def test_noise_before_an_acknowledgement_is_passed_over(noise: bytes) -> None:
    noisy = [hears(word(Op.LOAD)), says(noise + word(0x52535901)), hears(SECTION.body)]
    Line(PLAIN, [*OPENING, *noisy, *takes(JUMP), *CLOSING]).run()


def test_a_section_whose_crc_differs_is_sent_again() -> None:
    attempt = takes(SECTION)
    again = [*answers_crc(CRC ^ 1), *opens(Op.START_OVER)]
    turns = [*OPENING, *takes(Command(Op.ENABLE_CRC)), *attempt, *again, *attempt, *again, *attempt]
    line = Line(CHECKED, [*turns, *answers_crc(CRC), *takes(JUMP), *CLOSING]).run()
    assert line.progress != sorted(line.progress)


def test_a_crc_that_does_not_come_is_one_that_differs() -> None:
    lost = [*opens(Op.VALIDATE_CRC), says(b"\1\2\3"), *opens(Op.START_OVER)]
    turns = [*OPENING, *takes(Command(Op.ENABLE_CRC)), *takes(SECTION), *lost, *takes(SECTION)]
    Line(CHECKED, [*turns, *answers_crc(CRC), *takes(JUMP), *CLOSING]).run()


def test_a_line_that_alters_every_time_is_named() -> None:
    attempt = [*takes(SECTION), *answers_crc(0xBAD)]
    turns = [*OPENING, *takes(Command(Op.ENABLE_CRC)), *attempt]
    turns += [*opens(Op.START_OVER), *attempt] * 2
    with pytest.raises(
        BootRefusedError,
        match=rf"command 3 of 4.*CRC-32 0x00000BAD, expected 0x{CRC:08X} \(3 of 3 tries\)",
    ):
        Line(CHECKED, turns).run()


def test_what_the_program_says_is_left_for_its_reader() -> None:
    hello = [says(b"   DONE\0" + b"\x05HELLO\0")]
    line = Line(PLAIN, [*OPENING, *takes(SECTION), *takes(JUMP), *hello]).run()
    assert bytes(line.unread) == b"\x05HELLO\0"


def test_a_program_that_does_not_start_is_named() -> None:
    sent = [*OPENING, *takes(SECTION), *takes(JUMP)]
    with pytest.raises(BootSilentError, match="instead of DONE the boot ROM said nothing"):
        Line(PLAIN, sent).run()
    with pytest.raises(BootSilentError, match="said 64 bytes, the last 42 42 42 42"):
        Line(PLAIN, [*sent, says(b"B" * 1000)]).run()


def test_no_image_no_dialogue() -> None:
    with pytest.raises(BootImageError, match="begins with"):
        Dialogue(b"\x7fELF" + bytes(40))


def test_errors_are_link_errors() -> None:
    for kind in (BootImageError, BootRefusedError, BootSilentError):
        assert issubclass(kind, LinkError)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_a_board_says_the_dialogue_ends(data: st.DataObject) -> None:
    limits = Limits(bootme_s=1.0, start_s=0.1, answer_s=0.2, busy_s=0.5, tries=3)
    dialogue = Dialogue(CHECKED, limits)
    flood = data.draw(st.lists(st.sampled_from(
        [b"BOOTME", b"\x52", b"\x0b\x59\x53\x52", b"\x01\x59\x53\x52", b"\x03\x59\x53\x52", b"\x01",
         b"\x0b", b"\x02\0\0\0", b"\x01\0\0\0", b"\0", b"\x02\x59\x53\x52", b"DONE", b"\xff" * 9]
    ), min_size=1, max_size=30))  # fmt: skip
    stream = b"".join(flood)
    now_s, at, steps = 0.0, 0, 0
    try:
        while not dialogue.done:
            wanted = dialogue.wanted
            received = bytes(stream[(at + i) % len(stream)] for i in range(wanted))
            at += wanted
            dialogue.step(received, now_s)
            now_s, steps = now_s + 0.0005, steps + 1
            assert steps < 60_000
    except LinkError as error:
        assert str(error).endswith(".") or "try again" in str(error)  # noqa: PT017
    assert now_s < 30


class FakePort:
    """A port whose other end is a list of turns, in real time."""

    def __init__(self, turns: Iterable[Turn], chunk: int | None = None) -> None:
        self.timeout: float | None = 7.0
        self.write_timeout: float | None = None
        self.turns = list(turns)
        self.heard, self.unread = bytearray(), bytearray()
        self.chunk = chunk
        self.flushed = 0

    def read(self, size: int = 1) -> bytes:
        while self.turns:
            kind, what = self.turns[0]
            assert isinstance(what, bytes)
            if kind == "gone":
                raise OSError(5, "Input/output error")
            if kind == "hears":
                if len(self.heard) < len(what):
                    break
                assert bytes(self.heard[: len(what)]) == what
                del self.heard[: len(what)]
            else:
                self.unread += what
            self.turns.pop(0)
        data = bytes(self.unread[:size])
        del self.unread[:size]
        return data

    def write(self, data: bytes) -> int | None:
        taken = data[: self.chunk]
        self.heard += taken
        return len(taken) if self.chunk else None

    def flush(self) -> None:
        self.flushed += 1


QUICK = Limits(bootme_s=0.2, start_s=0.05, answer_s=0.1, settle_s=0.01, pause_s=0.001, tries=3)


@pytest.mark.parametrize("chunk", [None, 3])
def test_boot_drives_a_port(chunk: int | None) -> None:
    port = FakePort([*OPENING, *takes(SECTION), *takes(JUMP), *CLOSING, says(b"hello")], chunk)
    events = []
    run_job(boot(port, PLAIN, QUICK), events.append)
    assert isinstance(events[0], Notice)
    assert "press reset" in events[0].text
    bars = [event for event in events if isinstance(event, Progress)]
    assert (bars[0].done, bars[-1].done) == (0, len(PLAIN) - 4)
    assert {(bar.total, bar.what) for bar in bars} == {(len(PLAIN) - 4, "bytes")}
    assert port.read(99) == b"hello"
    assert (port.timeout, port.write_timeout) == (7.0, None)
    assert port.flushed > 5


def test_a_port_that_goes_away_is_named_with_the_place() -> None:
    gone: Turn = ("gone", b"")
    port = FakePort([*OPENING, *takes(SECTION), gone])
    with pytest.raises(BootSilentError, match=r"went away.* at 20 of 28 bytes.*Plug the board in"):
        run_job(boot(port, PLAIN, QUICK), lambda _: None)
    assert port.timeout == 7.0


def test_a_cancelled_boot_leaves_the_port_as_it_was() -> None:
    port = FakePort([])
    job = boot(port, PLAIN, QUICK)
    assert isinstance(next(job), Notice)
    assert isinstance(next(job), Progress)
    assert port.timeout == pytest.approx(0.1)
    job.close()
    assert (port.timeout, port.write_timeout) == (7.0, None)


def test_a_silent_port_is_named() -> None:
    with pytest.raises(BootSilentError, match=r"got nothing in 0\.2 s"):
        run_job(boot(FakePort([]), PLAIN, QUICK), lambda _: None)
