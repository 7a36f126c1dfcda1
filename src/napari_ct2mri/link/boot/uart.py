"""Booting a C6748 over its UART: the host's side of the dialogue with the ROM, 115200 8N1.

::

    board   BOOTME, once after reset; zero bytes may come before and after
    host    0x58, again and again          board   0x52
    host    ping, then 2, 1, 2             board   acknowledges the ping, echoes the numbers
    host    opcode                         board   acknowledges: 0x58 in its top byte becomes 0x52
    host    words and data of the command  board   nothing; the CRC where it is asked for
    ..      and so on to jump and close    board   DONE, and the program runs

A ROM that begins again with BOOTME, at whatever place, is sent everything again.

Words are little-endian. Facts from TI SPRABA5 and SPRAB41 (chapter "Slave Boot") and from TI's
public boot host: 5 ms before an opcode, 5 s for an answer, at most 10 time-outs, and a word of
zeros after each, which ends whatever command the ROM may think that it is in. No ROM has been at
the other end of this module, only an emulator.

:class:`Dialogue` knows neither port nor clock; :func:`boot` brings it together with them.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from napari_ct2mri.jobs import Event, Job, Notice, Progress
from napari_ct2mri.link.boot.ais import Command, Op, parse, seek_target
from napari_ct2mri.link.boot.errors import BootRefusedError, BootSilentError
from napari_ct2mri.link.transport import TerminalError

__all__ = ["Dialogue", "Limits", "Port", "boot"]

_WORD = struct.Struct("<I")
_BOOTME, _DONE = b"BOOTME", b"DONE"
_START, _STARTED = b"\x58", b"\x52"
_PINGS = 2  # what TI recommends
_CHUNK = 1024  # sent at once: 89 ms at 115200, so that a bar moves and a cancel is heard
_NOISE = 64  # most that is read to be thrown away, and before DONE
_POLL_S = 0.1
_PATIENT_MISSES = 3


@dataclass(frozen=True, slots=True)
class Limits:
    """How long to wait, and how often to try.

    Attributes
    ----------
    bootme_s : float
        For somebody to reset the board.
    start_s : float
        For the answer to one start byte.
    answer_s : float
        For an acknowledgement or a CRC; at least what the ROM needs for a command, or a repeated
        opcode is taken for an argument.
    busy_s : float
        For which other words than the acknowledgement are taken for "not yet".
    settle_s : float
        For what may still be on its way after a mishap.
    pause_s : float
        Before each opcode.
    tries : int
        Time-outs of one opcode, start bytes, and rounds of synchronisation.
    loads : int
        Attempts to load a section so that its CRC is right, and to load it all if the ROM begins
        again.
    """

    bootme_s: float = 60.0
    start_s: float = 1.0
    answer_s: float = 5.0
    busy_s: float = 30.0
    settle_s: float = 0.05
    pause_s: float = 0.005
    tries: int = 10
    loads: int = 3


class Port(Protocol):
    """What is asked of a port; ``serial.Serial`` has it."""

    timeout: float | None
    write_timeout: float | None

    def read(self, size: int = 1, /) -> bytes:
        """Up to ``size`` bytes; fewer after ``timeout`` seconds."""

    def write(self, data: bytes, /) -> int | None:
        """Take ``data``, and say how much of it; OSError after ``write_timeout`` seconds."""

    def flush(self) -> None:
        """Wait until what was written has left."""


@dataclass(frozen=True, slots=True)
class _Wait:
    """For ``count`` bytes, but no longer than ``seconds``; a pause if ``count`` is 0."""

    count: int
    seconds: float


class _BegunAgainError(Exception):
    """BOOTME in the middle: somebody has pressed reset, or the ROM has."""


_Talk = Generator[_Wait, bytes, None]


class Dialogue:
    """The host's side, without port and clock.

    Give :meth:`step` what has arrived and the time, send what it returns, and come back when
    :attr:`wanted` bytes are there, at :attr:`deadline_s` at the latest, or at once if it returned
    something.

    Parameters
    ----------
    image : bytes
        AIS, as :func:`ais_image` makes it.
    limits : Limits

    Attributes
    ----------
    done : bool
        The program runs.
    sent_bytes, total_bytes : int
        How far; less than before after a section that has to be sent again.

    Raises
    ------
    BootImageError
        If ``image`` is no AIS.
    """

    def __init__(self, image: bytes, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.done = False
        self.sent_bytes, self.total_bytes = 0, len(image) - _WORD.size
        self._commands = parse(image)
        self._talk: _Talk = self._whole()
        self._wait = _Wait(0, 0.0)  # until the first step
        self._deadline_s: float | None = None
        self._now_s = 0.0
        self._received, self._outgoing = bytearray(), bytearray()
        self._where = "synchronisation"

    @property
    def wanted(self) -> int:
        """Bytes that it can use now; reading more would take what the program says after DONE."""
        return 0 if self.done else max(0, self._wait.count - len(self._received))

    @property
    def deadline_s(self) -> float:
        """When to come back at the latest, by the clock of :meth:`step`."""
        return self._now_s if self._deadline_s is None else self._deadline_s

    def step(self, received: bytes, now_s: float) -> bytes:
        """Take what arrived and return what is to be sent, perhaps nothing.

        Raises
        ------
        BootSilentError, BootRefusedError
            If the board does not answer, or not as agreed.
        """
        self._now_s = now_s
        self._received += received
        if self._deadline_s is None:
            self._go_on(None)
        while not (self.done or self._outgoing) and self._is_over():
            count = self._wait.count
            answer = bytes(self._received[:count])
            del self._received[:count]
            self._go_on(answer)
        outgoing, self._outgoing = bytes(self._outgoing), bytearray()
        return outgoing

    def _is_over(self) -> bool:
        enough = 0 < self._wait.count <= len(self._received)
        return enough or self._now_s >= self.deadline_s

    def _go_on(self, answer: bytes | None) -> None:
        try:
            self._wait = next(self._talk) if answer is None else self._talk.send(answer)
            self._deadline_s = self._now_s + self._wait.seconds
        except StopIteration:
            self.done = True

    # What follows is the dialogue as it is spoken; ``yield`` waits.

    def _whole(self) -> _Talk:
        yield from self._hear_bootme()
        for _ in range(self.limits.loads):
            try:
                yield from self._synchronise()
                yield from self._send_commands()
            except _BegunAgainError:
                continue
            yield from self._hear_done()
            return
        raise BootRefusedError(
            f"{self._where}: expected an acknowledgement, but the boot ROM began again with BOOTME "
            f"({self.limits.loads} of {self.limits.loads} tries). The line loses bytes, or the "
            "board its power: use another cable or supply."
        )

    def _send_commands(self) -> _Talk:
        numbers = {offset: i for i, offset in enumerate(self._commands, 1)}
        failures = dict.fromkeys(self._commands, 0)
        offset = next(iter(self._commands))
        while offset in self._commands:
            command = self._commands[offset]
            self._where = f"command {numbers[offset]} of {len(numbers)} ({command})"
            self.sent_bytes = offset - _WORD.size
            yield from self._open(command.op)
            if command.op is Op.VALIDATE_CRC:
                problem = yield from self._crc_problem(command)
                if problem:
                    failures[offset] += 1
                    offset = yield from self._repeat(offset, problem, failures[offset])
                    continue
            else:
                yield from self._send_body(command)
            offset += command.size_bytes
        self.sent_bytes = self.total_bytes

    def _hear_bootme(self) -> _Talk:
        until_s = self._now_s + self.limits.bootme_s
        tail, count = b"", 0
        while not tail.endswith(_BOOTME):
            byte = yield _Wait(1, until_s - self._now_s)
            if not byte:
                raise BootSilentError(
                    f"expected BOOTME from the boot ROM, got {_quoted(tail, count)} in "
                    f"{self.limits.bootme_s:g} s. Set the boot pins to UART2 (LCDK: 2 and 4 of SW1 "
                    "on, the others off) and press reset while this waits."
                )
            tail, count = (tail + byte)[-len(_BOOTME) :], count + 1

    def _synchronise(self) -> _Talk:
        """Start byte and pings, from the beginning until both succeed."""
        for _ in range(self.limits.tries):
            yield from self._start()
            if (yield from self._ping()):
                return
        raise BootRefusedError(
            f"{self.limits.tries} times the boot ROM answered the start byte, but not the ping; "
            "check the cable, reset the board and try again"
        )

    def _start(self) -> _Talk:
        for _ in range(self.limits.tries):
            self._send(_START)
            until_s = self._now_s + self.limits.start_s
            byte = None
            while byte not in (b"", _STARTED):  # zeros after BOOTME, or another BOOTME
                byte = yield _Wait(1, until_s - self._now_s)
            if byte:
                yield from self._settle()  # more answers, if start bytes had crossed with the first
                return
        raise BootSilentError(
            f"BOOTME came, but no 0x52 in answer to {self.limits.tries} start bytes; does the line "
            "to the board work? Reset the board and try again."
        )

    def _ping(self) -> Generator[_Wait, bytes, bool]:
        exchanges = [(_word(Op.PING), _acknowledgement(Op.PING))]
        exchanges += [(_word(n),) * 2 for n in (_PINGS, *range(1, _PINGS + 1))]
        for question, expected in exchanges:
            yield _Wait(0, self.limits.pause_s)
            self._send(question)
            if (yield from self._hear(expected)) != expected:
                return False
        return True

    def _open(self, op: Op) -> _Talk:
        """Send an opcode until it is acknowledged."""
        expected, since_s, misses = _acknowledgement(op), self._now_s, 0
        while True:
            yield _Wait(0, self.limits.pause_s)
            self._send(_word(op))
            answer = yield from self._hear(expected)
            if answer == expected:
                return
            if len(answer) < _WORD.size:
                misses += 1
                if misses >= self.limits.tries:
                    raise BootSilentError(
                        f"{self._where}: expected {expected.hex(' ')} from the boot ROM, got "
                        f"{_quoted(answer, len(answer))} ({misses} times, "
                        f"{self.limits.answer_s:g} s each). {_RESET}"
                    )
                # A fifth zero shifts a ROM that has missed a byte: at most three times, and it is
                # in step. Not at once, since it puts out of step one that is only slow.
                self._send(bytes(_WORD.size if misses <= _PATIENT_MISSES else _WORD.size + 1))
                yield from self._settle()
            elif (yield from self._has_begun_again(answer)):
                raise _BegunAgainError
            elif self._now_s - since_s > self.limits.busy_s:
                raise BootRefusedError(
                    f"{self._where}: expected {expected.hex(' ')} from the boot ROM, got "
                    f"{answer.hex(' ')} for {self.limits.busy_s:g} s. {_RESET}"
                )

    def _has_begun_again(self, heard: bytes) -> Generator[_Wait, bytes, bool]:
        """Whether what was heard instead of an acknowledgement was BOOTME."""
        begun = any(heard.endswith(_BOOTME[:n]) for n in range(1, _WORD.size + 1))
        more = (yield _Wait(len(_BOOTME), self.limits.settle_s)) if begun else b""
        return _BOOTME in heard + more

    def _hear(self, expected: bytes) -> Generator[_Wait, bytes, bytes]:
        """A word, or what there is of it; noise before the expected one is passed over."""
        until_s = self._now_s + self.limits.answer_s
        heard = yield _Wait(len(expected), self.limits.answer_s)
        while heard != expected and len(heard) == len(expected):
            kept = _overlap(heard, expected)
            if not kept:
                break
            missing = len(expected) - kept
            heard = heard[missing:] + (yield _Wait(missing, until_s - self._now_s))
        return heard

    def _send_body(self, command: Command) -> _Talk:
        body = command.body
        for start in range(0, len(body), _CHUNK):
            chunk = body[start : start + _CHUNK]
            self._send(chunk)
            yield _Wait(0, 0.0)
            self.sent_bytes += len(chunk)

    def _crc_problem(self, command: Command) -> Generator[_Wait, bytes, str]:
        """In words, why the ROM's CRC is not the expected one; empty if it is."""
        expected = _word(command.words[0])
        answer = yield _Wait(len(expected), self.limits.answer_s)
        if answer == expected:
            return ""
        got = f"0x{_WORD.unpack(answer)[0]:08X}" if len(answer) == 4 else f"{len(answer)} bytes"
        return f"{self._where}: CRC-32 {got}, expected 0x{command.words[0]:08X}"

    def _repeat(self, at: int, problem: str, failures: int) -> Generator[_Wait, bytes, int]:
        """Have the ROM forget its CRC; returns where to go on."""
        if failures >= self.limits.loads:
            raise BootRefusedError(
                f"{problem} ({failures} of {self.limits.loads} tries). The line alters bytes: use "
                f"a shorter cable or another adapter. {_RESET}"
            )
        yield from self._settle()
        yield from self._open(Op.START_OVER)
        return seek_target(at, self._commands[at])

    def _hear_done(self) -> _Talk:
        tail, count = b"", 0
        while not tail.endswith(_DONE):
            byte = yield _Wait(1, self.limits.answer_s)
            count += 1
            if not byte or count > _NOISE:
                raise BootSilentError(
                    "the whole program was sent, but instead of DONE the boot ROM said "
                    f"{_quoted(tail, count - 1)}. {_RESET}"
                )
            tail = (tail + byte)[-len(_DONE) :]
        yield _Wait(1, self.limits.settle_s)  # the zero that ends it

    def _settle(self) -> _Talk:
        """Let pass what is still on its way."""
        yield _Wait(_NOISE, self.limits.settle_s)

    def _send(self, data: bytes) -> None:
        self._outgoing += data


_RESET = "Reset the board and try again."


def _word(value: int) -> bytes:
    return _WORD.pack(value)


def _acknowledgement(op: Op) -> bytes:
    return _word(op & 0xF0FFFFFF | 0x02000000)


def _overlap(heard: bytes, expected: bytes) -> int:
    """How many of the last bytes heard, but not all, may be the first of those expected."""
    return next((n for n in range(len(expected) - 1, 0, -1) if heard[-n:] == expected[:n]), 0)


def _quoted(tail: bytes, count: int) -> str:
    return f"{count} bytes, the last {tail.hex(' ')}" if count else "nothing"


def boot(port: Port, image: bytes, limits: Limits | None = None) -> Job[None]:
    """Boot the board at the other end of ``port`` and return when its program runs.

    Parameters
    ----------
    port : Port
        Open, 115200 8N1. What the program says after DONE is left in it.
    image : bytes
        AIS, as :func:`ais_image` makes it.
    limits : Limits

    Yields
    ------
    Notice, once, that the board is to be reset; Progress in bytes.

    Raises
    ------
    BootImageError
        If ``image`` is no AIS; nothing was sent.
    BootSilentError, BootRefusedError
        If the board does not answer, or not as agreed, or the port goes away.
    """
    dialogue = Dialogue(image, limits)
    yield Notice("waiting for BOOTME: press reset on the board, its boot pins set to UART2")
    timeouts = port.timeout, port.write_timeout
    try:
        port.timeout, port.write_timeout = _POLL_S, dialogue.limits.answer_s
        yield from _converse(port, dialogue)
    except (OSError, TerminalError) as error:
        raise BootSilentError(
            f"the port went away or takes nothing more, at {dialogue.sent_bytes} of "
            f"{dialogue.total_bytes} bytes ({error}). Plug the board in, reset it and try again."
        ) from error
    finally:
        with suppress(OSError, TerminalError):
            port.timeout, port.write_timeout = timeouts


def _converse(port: Port, dialogue: Dialogue) -> Generator[Event, None, None]:
    received, told = b"", -1
    while True:
        outgoing = dialogue.step(received, time.monotonic())
        if dialogue.sent_bytes != told or not outgoing:
            told = dialogue.sent_bytes
            yield Progress(told, dialogue.total_bytes, "bytes")
        if outgoing:
            _write(port, outgoing)
            received = b""
        elif dialogue.done:
            return
        else:
            received = _read(port, dialogue)


def _write(port: Port, data: bytes) -> None:
    while data:
        count = port.write(data)
        data = data[len(data) if count is None else count :]
    port.flush()  # so that the wait for an answer begins when the question has left


def _read(port: Port, dialogue: Dialogue) -> bytes:
    if dialogue.wanted:
        return port.read(dialogue.wanted)
    time.sleep(min(_POLL_S, max(0.0, dialogue.deadline_s - time.monotonic())))
    return b""
