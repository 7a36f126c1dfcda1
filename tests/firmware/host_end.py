"""A small host for tests of the board: one request at a time, every answer read.

Written after docs/link-protocol.md alone, so that ``link/`` and the board do not share a mistake.
"""

from __future__ import annotations

import hashlib
import os
import select
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

HELLO, RATE, BEGIN, WRITE, COPY, HASH, COMMIT, RUN, SLICE, STATS, TEST, RESET, DIGEST = range(1, 14)
ACK, MR, ERROR = 0x84, 0x89, 0xFF
LAST, SHIFT, NETWORK = 2, 4, 8
BLOCK, DATA = 4096, 1024
JUMP = 1 << 31


def cobs(data: bytes) -> bytes:
    """Cheshire & Baker 1999, without the zero at the end."""
    out = bytearray()
    *runs, last = data.split(b"\0")
    for run in runs:
        while len(run) >= 254:
            out += b"\xff" + run[:254]
            run = run[254:]
        out += bytes([len(run) + 1]) + run
    while len(last) > 254:
        out += b"\xff" + last[:254]
        last = last[254:]
    return bytes(out) + bytes([len(last) + 1]) + last


def uncobs(data: bytes) -> bytes:
    out, at = bytearray(), 0
    while at < len(data):
        code = data[at]
        assert at + code <= len(data)
        out += data[at + 1 : at + code]
        at += code
        if code < 255 and at < len(data):
            out.append(0)
    return bytes(out)


def frame(kind: int, seq: int, payload: bytes = b"") -> bytes:
    body = bytes([kind, seq & 255]) + payload
    return cobs(body + struct.pack("<I", zlib.crc32(body))) + b"\0"


@dataclass(frozen=True)
class Answer:
    kind: int
    seq: int
    payload: bytes


def answers(data: bytes) -> Iterator[Answer]:
    """Every frame of what a board sent; all must be whole."""
    *coded, rest = data.split(b"\0")
    assert rest == b""
    for each in filter(None, coded):
        whole = uncobs(each)
        assert zlib.crc32(whole[:-4]) == struct.unpack("<I", whole[-4:])[0]
        assert 6 <= len(whole) <= 1038
        yield Answer(whole[0], whole[1], whole[2:-4])


class SilenceError(Exception):
    """The board says nothing."""


class BoardError(Exception):
    def __init__(self, number: int, request: int, detail: int) -> None:
        super().__init__(f"error {number} to request {request}, detail {detail}")
        self.number, self.request, self.detail = number, request, detail


@dataclass(frozen=True)
class Hello:
    protocol: int
    abi: int
    status: int
    session: int
    board: str
    slot: int
    memory: int
    window: int
    active: int
    rates: tuple[int, ...]
    shape: tuple[int, int, int]
    windows: int
    layers: int
    pictures: int
    size: int
    digest: bytes

    @classmethod
    def unpack(cls, payload: bytes) -> Hello:
        assert len(payload) == 116
        first = struct.unpack_from("<BBHI16sIIHBB8I", payload)
        second = struct.unpack_from("<6HI32s", payload, 68)
        protocol, abi, status, session, board, slot, memory, window, active, count = first[:10]
        name, rates = board.rstrip(b"\0").decode(), tuple(first[10 : 10 + count])
        return cls(
            protocol, abi, status, session, name, slot, memory, window, active, rates,
            second[:3], *second[3:],
        )  # fmt: skip


class Client:
    """Says one thing at a time. ``exchange`` sends bytes and returns what came back."""

    def __init__(self, exchange: Callable[[bytes], bytes]) -> None:
        self._exchange, self.seq, self.slices = exchange, 0, 0

    def ask(self, kind: int, payload: bytes = b"") -> list[Answer]:
        """The answer to a request first, then what follows it."""
        self.seq = 0 if kind == HELLO else self.seq + 1 & 255
        got = list(answers(self._exchange(frame(kind, self.seq, payload))))
        if not got:
            raise SilenceError(f"no answer to request {kind}")
        if got[0].kind == ERROR:
            raise BoardError(*struct.unpack("<HBI", got[0].payload))
        assert got[0].kind == (kind | 0x80 if kind not in (WRITE, SLICE) else ACK)
        assert got[0].seq == self.seq
        return got

    def hello(self, session: int = 1) -> Hello:
        return Hello.unpack(self.ask(HELLO, struct.pack("<BI", 1, session))[0].payload)

    def begin(self, container: bytes) -> bool:
        return bool(self.ask(BEGIN, identity(container))[0].payload[0])

    def write(self, offset: int, data: bytes, jump: bool = False) -> int:
        payload = struct.pack("<I", offset | (JUMP if jump else 0)) + data
        return struct.unpack("<IB", self.ask(WRITE, payload)[0].payload)[0]

    def hashes(self, slot: int, first: int, count: int) -> list[bytes]:
        answer = self.ask(HASH, struct.pack("<BIH", slot, first, count))[0].payload
        assert struct.unpack_from("<IH", answer) == (first, count)
        return [answer[i : i + 8] for i in range(6, len(answer), 8)]

    def commit(self, container: bytes) -> int:
        return self.ask(COMMIT, identity(container))[0].payload[0]

    def push(self, container: bytes) -> int:
        """Only what is missing goes over."""
        blocks = [container[i : i + BLOCK] for i in range(0, len(container), BLOCK)]
        held: list[bytes] = []
        if self.begin(container):
            for first in range(0, len(blocks), 128):
                held += self.hashes(0, first, min(128, len(blocks) - first))
        for number, block in enumerate(blocks):
            if held and held[number] == hashlib.sha256(block).digest()[:8]:
                continue
            for at in range(0, len(block), DATA):
                part = block[at : at + DATA]
                offset = number * BLOCK + at
                assert self.write(offset, part, jump=at == 0) == offset + len(part)
        return self.commit(container)

    def send_plane(self, plane: int, flags: int, encoded: bytes) -> None:
        for at in range(0, len(encoded), DATA):
            part = encoded[at : at + DATA]
            last = LAST if at + DATA >= len(encoded) else 0
            head = struct.pack("<BBHI", plane, flags | last, self.slices & 0xFFFF, at)
            (next_,) = struct.unpack_from("<I", self.ask(SLICE, head + part)[0].payload)
            assert next_ == plane << 24 | at + len(part)

    def send_network(self, image: np.ndarray) -> None:
        """A slice of network bytes, (H, W, C), as it is."""
        self.slices += 1
        for channel in range(image.shape[2]):
            self.send_plane(channel, NETWORK, b"\0" + image[..., channel].tobytes())

    def run(self, flags: int = 0) -> tuple[bytes, int]:
        """The encoded MR of the slice that was sent, and the microseconds that it took."""
        first, *rest = self.ask(RUN, struct.pack("<IB", self.slices, flags))
        id_, taken, size = struct.unpack("<3I", first.payload)
        assert id_ == self.slices
        whole = b""
        for part in rest:
            assert (part.kind, part.seq) == (MR, first.seq)
            assert struct.unpack_from("<II", part.payload) == (id_, len(whole))
            whole += part.payload[8:]
        assert len(whole) == size
        return whole, taken

    def digests(self, count: int) -> list[bytes]:
        answer = self.ask(DIGEST, struct.pack("<HH", 0, count))[0].payload
        assert struct.unpack_from("<HH", answer) == (0, count)
        return [answer[i : i + 32] for i in range(4, len(answer), 32)]

    def test(self) -> int:
        return int(struct.unpack("<II", self.ask(TEST)[0].payload)[0])


def identity(container: bytes) -> bytes:
    return struct.pack("<I", len(container)) + hashlib.sha256(container).digest()


def over_terminal(path: Path, patience_s: float = 30.0) -> Callable[[bytes], bytes]:
    """An exchange over a pseudo-terminal: reads until whole frames have come and no more come."""
    line = os.open(path, os.O_RDWR | os.O_NOCTTY)

    def exchange(data: bytes) -> bytes:
        end = time.monotonic() + patience_s
        got = bytearray()
        while data:
            data = data[os.write(line, data) :]
        while time.monotonic() < end:
            quiet_s = 0.05 if is_all(got) else 1.0
            if select.select([line], [], [], quiet_s)[0]:
                got += os.read(line, 1 << 16)
            elif is_all(got):
                break
        return bytes(got)

    return exchange


def is_all(data: bytes) -> bool:
    """Whether the answer has come, and with that to a RUN the whole MR."""
    if not data.endswith(b"\0"):
        return False
    first, *rest = answers(data)
    if first.kind != RUN | 0x80:
        return True
    return sum(len(part.payload) - 8 for part in rest) == struct.unpack("<3I", first.payload)[2]


class Ticking(Protocol):
    def feed(self, data: bytes) -> bytes: ...
    def tick(self, ms: float) -> bytes: ...


def to_library(board: Ticking) -> Callable[[bytes], bytes]:
    """An exchange with a board that is a library: all it has to say."""

    def exchange(data: bytes) -> bytes:
        said = got = board.feed(data)
        while got:
            said += (got := board.tick(0))
        return said

    return exchange
