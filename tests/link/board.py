"""A board in Python, for the host's tests: what docs/link-protocol.md asks, and nothing more.

Its store is memory, its network a function. The C receiver has the same three calls: ``feed``,
``tick``, ``power_cycle``. Its UART has a rate, ``baud``, where it was given ``rates``: who feeds it
what was sent at another must make noise of that (``lines.garbled``).
"""

from __future__ import annotations

import struct
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np
from cobs import cobs
from numpy.typing import NDArray

BLOCK, CHUNK = 4096, 1024
HELLO, RATE, BEGIN, WRITE, COPY, HASH, COMMIT, RUN, SLICE, STATS, TEST, RESET = range(1, 13)
READ = 0x0E
ACK, MR, ERROR = 0x84, 0x89, 0xFF
RANGE, ORDER, SIZE, NO_MODEL, DIGEST, KIND, CODEC, RATE_ = 4, 5, 6, 7, 8, 12, 13, 14
TRIAL_MS, DEAF_MS, PAUSE_MS = 500, 2000, 1000  # L6

Network = Callable[[list[NDArray[np.generic]]], NDArray[np.uint8]]
Decode = Callable[[bytes, tuple[int, int], type], NDArray[np.generic]]
Encode = Callable[[NDArray[np.uint8]], bytes]


def frame(kind: int, seq: int, payload: bytes) -> bytes:
    body = bytes([kind, seq]) + payload
    return cobs.encode(body + struct.pack("<I", zlib.crc32(body))) + b"\0"


class Refusal(Exception):
    def __init__(self, number: int, detail: int = 0) -> None:
        self.number, self.detail = number, detail


@dataclass
class Slot:
    """What outlives a power cut."""

    blocks: dict[int, bytes] = field(default_factory=dict)
    journal: tuple[int, bytes] | None = None  # size, digest
    record: tuple[int, int, bytes] | None = None  # sequence, size, digest

    def content(self, size: int) -> bytes:
        count = -(-size // BLOCK)
        return b"".join(self.blocks.get(i, bytes(BLOCK)) for i in range(count))[:size]

    def is_whole(self) -> bool:
        return self.record is not None and (
            sha256(self.content(self.record[1])).digest() == self.record[2]
        )


@dataclass
class Incoming:
    """The slice that arrives."""

    number: int
    plane: int = 0
    offset: int = 0
    data: bytearray = field(default_factory=bytearray)
    planes: list[NDArray[np.generic]] = field(default_factory=list)
    is_whole: bool = False


class Board:
    """One board; ``shape`` is (H, W, channels) of every model that it is given."""

    def __init__(
        self,
        network: Network = lambda planes: np.clip(planes[0], 0, 255).astype(np.uint8),
        shape: tuple[int, int, int] = (16, 16, 1),
        slot_bytes: int = 1 << 22,
        window: int = 16,
        rates: tuple[int, ...] = (),
        codec: tuple[Encode, Decode] | None = None,
        takes_pictures: bool = False,
        compute_ms: float = 0.0,
    ) -> None:
        self.network, self.shape, self.slot_bytes, self.window = network, shape, slot_bytes, window
        self.rates, self.codec, self.takes_pictures = rates, codec, takes_pictures
        self.compute_ms = compute_ms
        self.protocol = 1
        self.is_on = True
        self.slots = [Slot(), Slot()]
        self.counts = dict.fromkeys(("written", "copied", "runs", "dropped"), 0)
        self.power_cycle()

    # The board as a thing that has a plug.

    def power_cycle(self) -> None:
        self.rest = b""
        self.remembered: tuple[bytes, bytes] = (b"", b"")
        self.busy: tuple[float, bytes, int, int, bytes] | None = None
        self.ms = 0.0
        self.journal: tuple[int, bytes] | None = None
        self.next = self.block_start = 0
        self.block = bytearray()
        self.incoming: Incoming | None = None
        self.mrs: dict[int, bytes] = {}
        self.outbox: deque[bytes] = deque()  # of an MR
        self.held: list[bytes] = []
        self.baud: int | None = self.rates[0] if self.rates else None
        self.asked: int | None = None  # a rate, once its answer is out
        self.trial: tuple[int, float] | None = None  # the rate before, and since when
        self.noise: tuple[float, float] | None = None  # first and last bytes since the last frame
        whole = [i for i in (0, 1) if self.slots[i].is_whole()]
        self.active = max(whole, key=lambda i: self.slots[i].record[0], default=None)

    def tick(self, ms: float) -> bytes:
        """Time passes; what the board says meanwhile: a frame of an MR, an answer behind all."""
        self.ms += ms
        self._settle()
        if self.busy is not None and self.ms >= self.busy[0]:
            _, body, kind, seq, payload = self.busy
            self.busy = None
            said = self._finish(body, kind, seq, payload)
            held, self.held = self.held, []
            return said + self._take_all(held)
        return self.outbox.popleft() if self.outbox else b""

    def feed(self, data: bytes) -> bytes:
        """Bytes arrive; what the board answers."""
        if not self.is_on:
            return b""
        self._settle()
        if data:
            is_new = self.noise is None or self.ms - self.noise[1] > PAUSE_MS
            self.noise = (self.ms if is_new else self.noise[0], self.ms)
        *frames, self.rest = (self.rest + data).split(b"\0")
        return self._take_all([coded for coded in frames if coded])

    def _take_all(self, frames: list[bytes]) -> bytes:
        """Frames up to a change of rate: what came at the old one is no word at the new."""
        said = b""
        for coded in frames:
            said += self._take(coded)
            if self.asked is not None:
                self.trial = (self.baud, self.ms)
                self.baud, self.asked, self.rest, self.noise = self.asked, None, b"", None
                break
        return said

    def _settle(self) -> None:
        """Leave a rate at which no host is heard (L6)."""
        is_deaf = self.noise is not None and self.noise[1] - self.noise[0] > DEAF_MS
        if self.trial is not None:
            if self.ms - self.trial[1] > TRIAL_MS:
                self._go_back(self.trial[0])
        elif is_deaf and self.rates and self.baud != self.rates[0]:
            self._go_back(self.rates[0])

    def _go_back(self, baud: int) -> None:
        self.baud, self.trial, self.noise = baud, None, None
        self.rest, self.remembered = b"", (b"", b"")

    def _hear(self, kind: int) -> None:
        """A frame: of a host that is heard, or of one that hears, too."""
        self.noise = None
        if self.trial is not None and not kind & 0x80:
            self.trial = (self.trial[0], self.ms) if kind == HELLO else None

    def _take(self, coded: bytes) -> bytes:
        if self.held:  # behind a RUN that waits
            self.held.append(coded)
            return b""
        try:
            body = cobs.decode(coded)
        except cobs.DecodeError:
            body = b""
        if len(body) < 6 or zlib.crc32(body[:-4]) != struct.unpack("<I", body[-4:])[0]:
            self.counts["dropped"] += 1
            return b""
        self._hear(body[0])
        kind, seq, payload = body[0], body[1], body[2:-4]
        if kind in (WRITE, SLICE):
            take = self._write if kind == WRITE else self._slice
            try:
                at = take(payload)
                slice_ = 0 if self.incoming is None else self.incoming.number & 0xFF
                mark = self.window if kind == WRITE else slice_
                return frame(ACK, seq, struct.pack("<IB", at, mark))
            except Refusal as no:
                return frame(ERROR, seq, struct.pack("<HBI", no.number, kind, no.detail))
        if kind == HELLO:
            self.busy, self.remembered = None, (b"", b"")
            self.outbox.clear()
            self.held.clear()
        if body == self.remembered[0]:
            return self.remembered[1]
        if self.busy is not None and kind in (RUN, TEST, COMMIT):
            self.held.append(coded)
            return b""
        self.remembered = (body, b"")
        if kind == RUN:
            self.taken = self._slice_of(payload)
            if not payload[4] & 0x80 and self.taken is not None:
                self.busy = (self.ms + self.compute_ms, body, kind, seq, payload)
                return b""
        return self._finish(body, kind, seq, payload)

    def _finish(self, body: bytes, kind: int, seq: int, payload: bytes) -> bytes:
        try:
            answer = self._answer(kind, payload)
            said = frame(kind | 0x80, seq, answer)
        except Refusal as no:
            said = frame(ERROR, seq, struct.pack("<HBI", no.number, kind, no.detail))
            self.remembered = (body, said)
            return said
        self.remembered = (body, said)
        if kind == RUN:  # behind the MR before
            self.outbox.extend([said, *self._mr_frames(seq, payload)])
            return b""
        if kind == RESET:
            self.power_cycle()
        return said

    def _answer(self, kind: int, payload: bytes) -> bytes:
        answers = {
            HELLO: self._hello, RATE: self._rate, BEGIN: self._begin, COPY: self._copy,
            HASH: self._hash, COMMIT: self._commit, RUN: self._run, STATS: self._stats,
            TEST: lambda _: struct.pack("<II", 0, 1), RESET: lambda _: b"", READ: self._read,
        }  # fmt: skip
        if kind not in answers:
            raise Refusal(2)
        return answers[kind](payload)

    # Session

    def _hello(self, payload: bytes) -> bytes:
        _, session = struct.unpack("<BI", payload)
        if self.protocol != 1:
            return bytes([self.protocol])
        self.incoming = None
        model = (0, bytes(32))
        if self.active is not None:
            model = self.slots[self.active].record[1:]
        height, width, channels = self.shape if self.active is not None else (0, 0, 0)
        return struct.pack(
            "<BBHI 16s II HBB 8I 4H HH I 32s",
            1, 1, 0 if self.active is not None else NO_MODEL, session, b"reference",
            self.slot_bytes, 1 << 24, self.window,
            0xFF if self.active is None else self.active,
            len(self.rates), *(self.rates + 8 * (0,))[:8],
            height, width, channels, 1 if channels else 0, 3, self.takes_pictures, *model,
        )  # fmt: skip

    def _rate(self, payload: bytes) -> bytes:
        (rate,) = struct.unpack("<I", payload)
        if rate not in self.rates:
            raise Refusal(RATE_)
        self.asked = rate
        return b""

    def _stats(self, payload: bytes) -> bytes:
        layers = (10, 20, 30) if payload[0] & 1 else ()
        head = (self.counts["runs"], 60, self.counts["dropped"], 0, len(layers))
        return struct.pack(f"<IIIIH{len(layers)}I", *head, *layers)

    def _read(self, payload: bytes) -> bytes:
        offset, count = struct.unpack("<IH", payload)
        if self.active is None:
            raise Refusal(NO_MODEL)
        slot = self.slots[self.active]
        if not 1 <= count <= CHUNK or offset + count > slot.record[1]:
            raise Refusal(RANGE)
        return payload[:4] + slot.content(slot.record[1])[offset : offset + count]

    # Push

    @property
    def _new(self) -> Slot:
        return self.slots[1 - self.active if self.active is not None else 0]

    def _must_have_begun(self) -> int:
        if self.journal is None:
            raise Refusal(ORDER)
        return self.journal[0]

    def _begin(self, payload: bytes) -> bytes:
        size, digest = struct.unpack("<I32s", payload)
        if size > self.slot_bytes:
            raise Refusal(SIZE)
        self.journal = (size, digest)
        is_resumed = self._new.journal == self.journal
        self._new.record, self._new.journal = None, self.journal
        return struct.pack("<BI", is_resumed, len(self._new.blocks) if is_resumed else 0)

    def _hash(self, payload: bytes) -> bytes:
        slot, first, count = struct.unpack("<BIH", payload)
        if slot > 1 or not 1 <= count <= 128 or (slot == 1 and self.active is None):
            raise Refusal(RANGE)
        size = self._must_have_begun() if slot == 0 else self.slots[self.active].record[1]
        if first + count > -(-size // BLOCK):
            raise Refusal(RANGE)
        content = (self._new if slot == 0 else self.slots[self.active]).content(size)
        blocks = (content[i * BLOCK : (i + 1) * BLOCK] for i in range(first, first + count))
        return struct.pack("<IH", first, count) + b"".join(self.hash_of(block) for block in blocks)

    def hash_of(self, block: bytes) -> bytes:
        return sha256(block).digest()[:8]

    def _copy(self, payload: bytes) -> bytes:
        source, to, count = struct.unpack("<IIH", payload)
        size = self._must_have_begun()
        if self.active is None:
            raise Refusal(RANGE)
        old = self.slots[self.active]
        if (source + count) * BLOCK > old.record[1] or (to + count) * BLOCK > size:
            raise Refusal(RANGE)
        for i in range(count):
            self._new.blocks[to + i] = old.blocks[source + i]
        self.counts["copied"] += count
        return struct.pack("<IH", to, count)

    def _write(self, payload: bytes) -> int:
        size = self._must_have_begun()
        (offset,) = struct.unpack_from("<I", payload)
        data, is_jump = payload[4:], offset >> 31
        offset &= 0x7FFFFFFF
        end = offset + len(data)
        is_aligned = offset % 8 == 0 and (end % 8 == 0 or end == size)
        inside = data and len(data) <= CHUNK and end <= size
        if not (inside and is_aligned and offset // BLOCK == (end - 1) // BLOCK):
            raise Refusal(RANGE)
        if is_jump:
            if offset % BLOCK:
                raise Refusal(RANGE)
            self.next = offset
        if offset != self.next:
            return self.next
        if offset % BLOCK == 0:
            self.block.clear()
        self.block += data
        self.next = end
        if end % BLOCK == 0 or end == size:
            self._new.blocks[offset // BLOCK] = bytes(self.block).ljust(BLOCK, b"\0")
            self.counts["written"] += 1
        return self.next

    def _commit(self, payload: bytes) -> bytes:
        size, digest = struct.unpack("<I32s", payload)
        self._must_have_begun()
        if sha256(self._new.content(size)).digest() != digest:
            raise Refusal(DIGEST)
        sequence = max((slot.record[0] for slot in self.slots if slot.record), default=0) + 1
        new = self._new
        new.record = (sequence, size, digest)
        self.active, self.journal = self.slots.index(new), None
        return bytes([self.active])

    # Run

    def _slice(self, payload: bytes) -> int:
        plane, flags, number, offset = struct.unpack_from("<BBHI", payload)
        data = payload[8:]
        if self.active is None:
            raise Refusal(NO_MODEL)
        if plane >= self.shape[2]:
            raise Refusal(RANGE)
        if flags & 1 and not self.takes_pictures:
            raise Refusal(KIND)
        now = self.incoming
        is_other = now is None or now.number != number
        if flags & 4 and is_other:
            if now is None or not now.is_whole or now.number != (number - 1) & 0xFFFF:
                raise Refusal(ORDER)
            last = self.shape[2] - 1
            self.incoming = Incoming(number, last, planes=now.planes[1:])
        elif plane == 0 and offset == 0 and is_other:
            self.incoming = Incoming(number)
        now = self.incoming
        if now is None:
            return 0
        if not flags & 4 and (number, plane, offset) == (now.number, *self._expected(now)):
            self._add(now, plane, data, flags)
        return now.plane << 24 | now.offset

    def _expected(self, now: Incoming) -> tuple[int, int]:
        """(plane, offset); a plane that has ended is followed by the next."""
        if now.is_whole:
            return -1, -1
        return (now.plane + 1, 0) if len(now.planes) > now.plane else (now.plane, now.offset)

    def _add(self, now: Incoming, plane: int, data: bytes, flags: int) -> None:
        if plane != now.plane:
            now.plane, now.offset = plane, 0
            now.data.clear()
        now.data += data
        now.offset += len(data)
        if flags & 2:
            kind = np.uint8 if flags & 1 else np.int16
            try:
                now.planes.append(self.codec[1](bytes(now.data), self.shape[:2], kind))
            except Exception as error:
                self.incoming = None
                raise Refusal(CODEC) from error
            now.is_whole = len(now.planes) == self.shape[2]

    def _slice_of(self, payload: bytes) -> list[NDArray[np.generic]] | None:
        number, now = struct.unpack_from("<I", payload)[0], self.incoming
        is_there = now is not None and now.is_whole and now.number == number & 0xFFFF
        return list(now.planes) if is_there else None

    def _run(self, payload: bytes) -> bytes:
        number, flags = struct.unpack_from("<IB", payload)
        if flags & 0x80:
            if number not in self.mrs:
                raise Refusal(RANGE)
        else:
            if self.taken is None:
                raise Refusal(ORDER if self.active is not None else NO_MODEL)
            self.counts["runs"] += 1
            self.mrs[number] = self.codec[0](self.network(self.taken))
            for old in list(self.mrs)[:-2]:
                del self.mrs[old]
        return struct.pack("<III", number, int(self.compute_ms * 1000), len(self.mrs[number]))

    def _mr_frames(self, seq: int, payload: bytes) -> list[bytes]:
        number, flags = struct.unpack_from("<IB", payload)
        data = self.mrs[number]
        first, end = struct.unpack_from("<II", payload, 5) if flags & 0x80 else (0, len(data))
        return [
            frame(MR, seq, struct.pack("<II", number, at) + data[at : min(at + CHUNK, end)])
            for at in range(first, end, CHUNK)
        ]
