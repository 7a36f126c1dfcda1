"""A board at the end of a line: the session, driven by a clock, and its requests as calls."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import suppress
from typing import Protocol

from napari_ct2mri.errors import LinkError
from napari_ct2mri.link.frame import Type
from napari_ct2mri.link.messages import (
    CHUNK,
    DIGEST,
    HASH,
    HASH_BYTES,
    HASHES,
    HELLO,
    MAX_DIGESTS,
    MAX_HASHES,
    PROTOCOL,
    RATE,
    READ,
    READ_AT,
    TESTED,
    Hello,
    Stats,
    board_error,
    take,
)
from napari_ct2mri.link.session import Exchange, NoAnswer, Session, Stream
from napari_ct2mri.link.transport import RESET_BAUD

__all__ = ["CALL_S", "LONG_S", "Connection", "Line", "RateError"]

LONG_S = 120.0
"""How long a board may compute or look through its store (COMMIT, TEST, RUN)."""

CALL_S = 4.0
"""How long a board is called at its first rate: one at another takes 2 s to go back to it (L6)."""

_CLOSE_S = 1.0  # a board may take to go back to its first rate
_STEP_S = 0.1  # at most between two looks at whether a person has cancelled
_SETTLE_S, _TRY_S = 0.02, 0.4  # around a change of rate (L6)
_QUIET_S = 0.6  # until a board that has heard HELLO has surely gone back
_BEFORE_S = 1.0  # for a board that has gone back to another rate than the first
_AHEAD_S = 0.15  # of bytes in the air: the latency of an adapter both ways, and the board's work


class RateError(LinkError):
    """A rate at which the board is not heard; it was found again at another."""


class Line(Protocol):
    """What a connection needs of a serial line."""

    baud: int | None
    """Bit/s; None where the line has no rate."""

    def now(self) -> float:
        """Seconds of a clock that never goes back."""

    def transfer(self, data: bytes, timeout_s: float) -> tuple[int, bytes]:
        """Write what of ``data`` the line takes and read what is there.

        Returns at once when either was possible, else after ``timeout_s``: bytes written, and
        what arrived.
        """

    def set_baud(self, baud: int) -> None:
        """Change the rate."""

    def close(self) -> None:
        """Let go of the port."""


class Connection:
    """A board that has answered HELLO.

    Attributes
    ----------
    hello : Hello
        What it said of itself, last time it was asked.
    session : Session
    line : Line
    notes : tuple of str
        What a person should know of how it came about.

    Raises
    ------
    LinkError
        If nobody answers, or something that does not speak the protocol.
    """

    def __init__(self, line: Line, patience_s: float = 3.0) -> None:
        self.line = line
        self.session = Session()
        self.notes: tuple[str, ...] = ()
        self._rest, self._moved_at = b"", 0.0  # made, not yet taken by the line; since when
        self._id = self._slices = secrets.randbelow(2**32)
        self.hello = self.greet(patience_s)

    def pump(self, timeout_s: float = _STEP_S) -> None:
        """Send what is to send and take what arrives, once; waits at most ``timeout_s``."""
        now = self.line.now()
        if not self._rest:
            self._rest = self.session.send(now)
            self._moved_at = now
        deadline = self.session.deadline
        if not self._rest and deadline is not None:
            timeout_s = max(0.0, min(timeout_s, deadline - now))
        taken, data = self.line.transfer(self._rest, timeout_s)
        self._rest = self._rest[taken:]
        if taken:
            self._moved_at = now
        elif self._rest and now - self._moved_at > LONG_S:
            raise LinkError(
                f"the port has taken no byte for {LONG_S:g} s: is the board's firmware running?"
            )
        if data:
            self.session.receive(data, self.line.now())

    def follow(self, work: Exchange | Stream) -> Iterator[None]:
        """Pump until ``work`` is done, yielding in between; raises its error."""
        while not work.is_done:
            self.pump()
            yield
        if work.error is not None:
            raise work.error

    def request(self, kind: Type, payload: bytes = b"", patience_s: float = 5.0) -> bytes:
        """Ask and wait for the answer."""
        exchange = self.session.ask(kind, payload, patience_s)
        for _ in self.follow(exchange):
            pass
        return exchange.result()

    def wait(self, seconds: float) -> None:
        """Let time pass, listening."""
        end = self.line.now() + seconds
        while (left := end - self.line.now()) > 0:
            self.pump(min(left, _STEP_S))

    def greet(self, patience_s: float = 3.0) -> Hello:
        """HELLO: begin a session (L5)."""
        self.session.drop()
        self._id = (self._id + 1) % 2**32
        exchange = self.session.ask(Type.HELLO, HELLO.pack(PROTOCOL, self._id), patience_s)
        for _ in self.follow(exchange):
            pass
        self.hello = Hello.unpack(exchange.result())
        self.session.window = self._window()
        return self.hello

    def _window(self) -> int:
        """No more frames in the air than keep the line busy: what is lost goes out again."""
        if self.line.baud is None or not self.hello.rates:
            return self.hello.window
        return min(self.hello.window, 2 + round(self.line.baud / 10 * _AHEAD_S / 1044))

    def set_rate(self, baud: int) -> None:
        """Change the line's rate, on both ends (L6).

        Raises
        ------
        RateError
            If the board is not heard at it, but again at the rate before, or else at the first.
        LinkError
            If the board does not have that rate, or is no longer heard at any.
        """
        before = self.line.baud
        if baud == before:
            return
        if baud not in self.hello.rates or before is None:
            rates = ", ".join(map(str, self.hello.rates)) or "none: its line has no rate"
            raise LinkError(
                f"{self.hello.board} has no rate {baud}; it has {rates}; choose one of these, or "
                "leave the choice to the program"
            )
        self.request(Type.RATE, RATE.pack(baud))
        self.wait(_SETTLE_S)
        try:
            self._settle_at(baud)
        except LinkError as error:
            self._fall_back(before)
            raise RateError(
                f"the board is not heard at {baud} bit/s: adapter or cable do not carry it; "
                f"choose a lower rate; still at {self.line.baud}"
            ) from error

    def _settle_at(self, baud: int) -> None:
        """HELLO, and what makes the board stay: a request of one that has heard its answer (L6)."""
        self.line.set_baud(baud)
        self.greet(_TRY_S)
        self.request(Type.STATS, b"\0", _TRY_S)

    def _fall_back(self, before: int) -> None:
        """Find the board again.

        If it heard nothing but HELLO, it goes back to the rate before, too, once it has heard
        nothing for half a second. If it heard more, and only its answers were lost, it stays
        until it takes HELLO at other rates for noise, and then goes to the first.
        """
        self.session.drop()
        self._rest = b""
        self.wait(_QUIET_S)
        if before != RESET_BAUD:
            self.line.set_baud(before)
            with suppress(NoAnswer):
                self.greet(_BEFORE_S)
                return
        self.line.set_baud(RESET_BAUD)
        self.greet(CALL_S)

    def hashes(self, slot: int, first: int, count: int) -> Iterator[tuple[int, bytes]]:
        """Number and hash of blocks of the new slot (0) or the active one (1) (L8)."""
        end = first + count
        while first < end:
            asked = min(MAX_HASHES, end - first)
            answer = self.request(Type.HASH, HASH.pack(slot, first, asked))
            at, got = take(HASHES, answer[: HASHES.size], "HASH")
            body = answer[HASHES.size :]
            if (at, got) != (first, asked) or len(body) != got * HASH_BYTES:
                raise LinkError("the board's HASH answers another question: rebuild its firmware")
            for i in range(got):
                yield first + i, body[i * HASH_BYTES : (i + 1) * HASH_BYTES]
            first += asked

    def stats(self, count_layers: bool = True) -> Stats:
        """What the board has counted (L14)."""
        return Stats.unpack(self.request(Type.STATS, bytes([count_layers])))

    def test(self) -> tuple[int, int]:
        """Run the golden pair: bytes that came out wrong, and microseconds."""
        wrong, microseconds = take(TESTED, self.request(Type.TEST, b"", LONG_S), "TEST")
        return wrong, microseconds

    def read(self, offset: int, count: int) -> bytes:
        """Bytes of the active container (L16)."""
        found = bytearray()
        while len(found) < count:
            at = offset + len(found)
            answer = self.request(Type.READ, READ.pack(at, min(CHUNK, count - len(found))))
            if answer[: READ_AT.size] != READ_AT.pack(at) or len(answer) == READ_AT.size:
                raise LinkError("the board's READ answers another question: rebuild its firmware")
            found += answer[READ_AT.size :]
        return bytes(found[:count])

    def next_id(self) -> int:
        """A slice's id, of which the board has seen none like it lately (L12)."""
        self._slices = (self._slices + 1) % 2**32
        return self._slices

    def digests(self, count: int) -> list[bytes]:
        """SHA-256 of what each layer stored in the last slice that ran with digests (L15)."""
        found: list[bytes] = []
        while len(found) < count:
            asked = (len(found), min(MAX_DIGESTS, count - len(found)))
            answer = self.request(Type.DIGEST, DIGEST.pack(*asked))
            body = answer[DIGEST.size :]
            if answer[: DIGEST.size] != DIGEST.pack(*asked) or len(body) != asked[1] * 32:
                raise LinkError("the board's DIGEST answers another question: rebuild its firmware")
            found += [body[i : i + 32] for i in range(0, len(body), 32)]
        return found

    def reset(self) -> None:
        """Restart the board as after power-on; greet it anew afterwards."""
        self.request(Type.RESET)

    def check_model(self) -> None:
        """Raise unless a model is committed and runs."""
        if self.hello.status:
            raise board_error(self.hello.status, Type.RUN)

    def close(self) -> None:
        """Let go of the port; the board goes back to the rate at which it is looked for first."""
        try:
            if self.hello.rates and self.line.baud not in (None, RESET_BAUD):
                self._slow_down()
        except LinkError:
            pass  # a board that is gone needs no rate
        finally:
            self.line.close()

    def _slow_down(self) -> None:
        self.session.drop()
        self.request(Type.RATE, RATE.pack(RESET_BAUD), _CLOSE_S)
        self.wait(_SETTLE_S)
        self._settle_at(RESET_BAUD)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
