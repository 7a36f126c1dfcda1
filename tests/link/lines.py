"""Lines for tests: a virtual one with a clock of its own that loses, alters, repeats and delays."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass
from random import Random
from typing import Protocol

from napari_ct2mri.link.transport import LineLost


class End(Protocol):
    """A board's end: this reference in Python, or the C receiver.

    One that has a ``baud`` that is not None hears, and is heard, at that rate alone.
    """

    def feed(self, data: bytes) -> bytes: ...
    def tick(self, ms: float) -> bytes: ...
    def power_cycle(self) -> None: ...


@dataclass(frozen=True)
class Faults:
    """Chances a piece of ``piece`` bytes.

    ``cut``: the board loses power for a moment; ``sever``: the cable breaks for good.
    """

    drop: float = 0.0
    flip: float = 0.0
    duplicate: float = 0.0
    delay: float = 0.0
    cut: float = 0.0
    sever: float = 0.0
    delay_s: float = 0.5
    piece: int = 64


_QUIET = Faults()
_PAUSE_S = 0.001  # between two looks at a board that is silent


def garbled(data: bytes, sent_at: int, read_at: int) -> bytes:
    """What a UART of another rate makes of it: breaks of the slow, pieces of the fast."""
    if sent_at < read_at:
        return bytes(len(data))
    return bytes(byte ^ 0xA5 for byte in data[:: -(-sent_at // read_at)])


class VirtualLine:
    """A line of a rate and a latency in virtual time, with a board at its other end.

    Each direction keeps the order of its bytes, as a wire does. Nothing sleeps: ``transfer``
    moves the clock.
    """

    def __init__(
        self,
        board: End,
        faults: Faults = Faults(),
        seed: int = 0,
        baud: int | None = 2_000_000,
        latency_s: float = 0.001,
        room: int = 4096,
    ) -> None:
        self.board, self.faults, self.baud = board, faults, baud
        self.latency_s, self.room = latency_s, room
        self.time = 0.0
        self.sent = self.received = 0
        self.is_unplugged = self.is_severed = False
        self.cuts = 0
        self._chance = Random(seed)
        self._order = itertools.count()
        # when, order, to board?, bytes, the rate at which they were sent
        self._events: list[tuple[float, int, bool, bytes, int | None]] = []
        self._free_at = {True: 0.0, False: 0.0}  # when the wire of each direction is idle
        self._last_at = {True: 0.0, False: 0.0}
        self._ticked = self._poll_at = 0.0
        self._pause_s = _PAUSE_S
        self._inbox = bytearray()

    def now(self) -> float:
        return self.time

    def set_baud(self, baud: int) -> None:
        self.baud = baud

    def close(self) -> None:
        pass

    def transfer(self, data: bytes, timeout_s: float) -> tuple[int, bytes]:
        assert self.time < 10_000, "the host never comes to an end"
        if self.is_unplugged:
            raise LineLost("unplugged")
        taken = self._accept(data)
        end = self.time + timeout_s
        while not self._inbox and not taken and self.time < end:
            self._go_on(end, is_writing=bool(data))
            taken = self._accept(data)
        self._deliver()
        arrived = bytes(self._inbox)
        self._inbox.clear()
        return taken, arrived

    def _go_on(self, end: float, is_writing: bool) -> None:
        """To the next moment at which something happens."""
        at = min(end, self._poll_at)
        if self._events:
            at = min(at, self._events[0][0])
        if is_writing and self.baud is not None:
            at = min(at, self._free_at[True] - 0.7 * self.room * 10 / self.baud)
        self.time = max(self.time, at)
        self._deliver()
        if self.time >= max(self._poll_at, self._free_at[False]):
            self._poll()

    def _poll(self) -> None:
        """The board's wire is idle: has it more to say? Asked ever more seldom."""
        baud = self.board_baud  # of an answer to RATE, too
        said = self.board.tick((self.time - self._ticked) * 1000)
        self._ticked = self.time
        self._pause_s = _PAUSE_S if said else min(self._pause_s * 1.05, 0.1)
        self._poll_at = self.time + self._pause_s
        self._say(said, baud)

    def _deliver(self) -> None:
        while self._events and self._events[0][0] <= self.time:
            _, _, to_board, data, sent_at = heapq.heappop(self._events)
            baud = self.board_baud
            read_at = baud if to_board else self.baud
            if None not in (sent_at, read_at) and sent_at != read_at:
                data = garbled(data, sent_at, read_at)
            if to_board:
                self._say(self.board.feed(data), baud)
                self._pause_s = _PAUSE_S
            else:
                self._inbox += data
                self.received += len(data)

    @property
    def board_baud(self) -> int | None:
        """The rate of the board's end; None where it takes any."""
        return getattr(self.board, "baud", None)

    def _say(self, said: bytes, baud: int | None) -> None:
        if said:
            self._put(False, said, baud)
            self._poll_at = self._free_at[False]

    def _accept(self, data: bytes) -> int:
        """What goes into the host's transmit buffer of ``room`` bytes."""
        if not data:
            return 0
        room = self.room
        if self.baud is not None:
            queued = max(0.0, self._free_at[True] - self.time) * self.baud / 10
            room = int(self.room - queued)
        if room < min(len(data), self.room // 4):  # as a driver does, which wakes its writer then
            return 0
        taken = min(len(data), room)
        self.sent += taken
        self._put(True, data[:taken], None if self.board_baud is None else self.baud)
        return taken

    def _put(self, to_board: bool, data: bytes, baud: int | None) -> None:
        """Bytes onto the wire, sent at ``baud`` (None: any end hears them): each piece meets its
        fate."""
        size = self.faults.piece if self.faults != _QUIET else 512
        for piece in (data[i : i + size] for i in range(0, len(data), size)):
            start = max(self.time, self._free_at[to_board])
            end = start if self.baud is None else start + len(piece) * 10 / self.baud
            self._free_at[to_board] = end
            at = end + self.latency_s
            if self._happens(self.faults.delay):
                at += self._chance.random() * self.faults.delay_s
            at = self._last_at[to_board] = max(at, self._last_at[to_board])
            for fated in self._fate(piece):
                heapq.heappush(self._events, (at, next(self._order), to_board, fated, baud))

    def _fate(self, piece: bytes) -> list[bytes]:
        self.is_severed |= self._happens(self.faults.sever)
        if self._happens(self.faults.cut):
            self.cuts += 1
            self.board.power_cycle()
        if self.is_severed or self._happens(self.faults.drop):
            return []
        if self._happens(self.faults.flip):
            bits = bytearray(piece)
            bits[self._chance.randrange(len(bits))] ^= 1 << self._chance.randrange(8)
            piece = bytes(bits)
        return [piece, piece] if self._happens(self.faults.duplicate) else [piece]

    def _happens(self, chance: float) -> bool:
        return chance > 0 and self._chance.random() < chance
