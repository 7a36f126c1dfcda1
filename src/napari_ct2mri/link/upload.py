"""Push a model container to a board: only what it lacks, resumed where it broke off.

BEGIN says what comes; HASH tells which blocks the new slot still holds of a broken push and which
the active model has; those are kept or copied, the rest is streamed; COMMIT compares all of it and
runs the golden pair before the board lets go of its old model (rules L7 to L11). Hashes of blocks
only save bytes; what counts is the SHA-256 of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

from napari_ct2mri.errors import BoardError, LinkError
from napari_ct2mri.jobs import Event, Job, Notice, Progress
from napari_ct2mri.link.connection import LONG_S, Connection
from napari_ct2mri.link.frame import Type
from napari_ct2mri.link.messages import (
    BEGIN,
    BEGUN,
    BLOCK,
    CHUNK,
    CONTENT,
    COPIED,
    COPY,
    HASH_BYTES,
    JUMP,
    MAX_HASHES,
    TESTED,
    WRITE,
    Number,
    board_error,
    take,
)
from napari_ct2mri.link.opening import connect_again
from napari_ct2mri.link.session import Chunk, Exchange, Stream

__all__ = ["Pushed", "push_model"]

_EVENT_S = 0.1
_COPY_BLOCKS = 512  # a request: of a store of 100 kB/s an answer takes 20 s, well below LONG_S
_ATTEMPTS = 5  # without a block that got through in between
_REFUSALS = 3  # by the SHA-256 of the whole; after the second every block is sent
_AGAIN = (Number.ORDER, Number.RANGE, Number.DIGEST, Number.STORE)
"""Refusals of a board that was reset meanwhile or holds something else than was sent."""

Connect = Callable[[], Connection]


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did.

    Attributes
    ----------
    blocks, kept, copied, written : int
        Blocks of 4 KiB: of the container; found in the new slot, left by a push before this one;
        taken from the active model; sent. One that was lost on the way is sent twice.
    sent_bytes, received_bytes : int
        On the line, frames, repetitions and all.
    resent : int
        Frames that went out again.
    seconds, write_seconds : float
        Of the whole, and of the stream of blocks alone.
    golden_us : int
        Microseconds of the golden pair on the board.
    was_there : bool
        Whether the board had the model already: nothing was sent, copied or committed.
    """

    board: str
    slot: int
    size: int
    blocks: int
    kept: int
    copied: int
    written: int
    sent_bytes: int
    received_bytes: int
    resent: int
    seconds: float
    write_seconds: float
    golden_us: int
    was_there: bool


def push_model(connect: Connect, container: bytes, abi: int | None = None) -> Job[Pushed]:
    """Push, and begin again where the line or the board's power was cut.

    Parameters
    ----------
    connect : callable
        Opens the port and greets the board; called again after a loss.
    container : bytes
        ``model.ctm``.
    abi : int, optional
        Of the container; a board of another one is told before anything is sent.

    Returns
    -------
    Pushed
        Once the board has committed the model and its golden pair came back bit for bit. Closed
        before that, the board keeps its old model, and the next push goes on from there.

    Raises
    ------
    LinkError
        If the board can't be reached, stays silent or refuses the model.
    """
    connection = connect()
    push = _Push(container, abi)
    fruitless = refusals = written = 0
    try:
        yield from map(Notice, connection.notes)
        while True:
            try:
                return (yield from push.run(connection))
            except LinkError as error:
                push.was_refused = getattr(error, "number", 0) == Number.DIGEST
                refusals += push.was_refused
                fruitless = 0 if push.written > written else fruitless + 1
                written = push.written
                is_hopeless = fruitless == _ATTEMPTS or refusals == _REFUSALS
                if is_hopeless or not _may_go_on(error):
                    raise
                yield Notice(f"{error}; going on from where it broke off")
                connection.close()
                connection = yield from connect_again(connect, error)
    finally:
        connection.close()


def _may_go_on(error: LinkError) -> bool:
    return not isinstance(error, BoardError) or error.number in _AGAIN


class _Push:
    """One container on its way, over as many connections as it takes."""

    def __init__(self, container: bytes, abi: int | None) -> None:
        self.container, self.abi = container, abi
        self.digest = sha256(container).digest()
        self.hashes = [
            sha256(container[at : at + BLOCK]).digest()[:HASH_BYTES]
            for at in range(0, len(container), BLOCK)
        ]
        self.was_there = True  # until a BEGIN goes out
        self.was_refused = False  # by the SHA-256 of the whole
        self.kept = self.copied = self.written = self.resent = 0
        self.brought: set[int] = set()  # blocks, over this connection and those that are gone
        self.sent = self.received = 0  # over connections that are gone
        self.write_s, self.start = 0.0, -1.0

    def run(self, connection: Connection) -> Job[Pushed]:
        """All of it over one connection."""
        self.connection, line = connection, connection.line
        session, hello = connection.session, connection.hello
        if self.start < 0:
            self.start = line.now()
        sent, received = session.sent_bytes, session.received_bytes
        try:
            if hello.status == 0 and (hello.size, hello.digest) == self._content:
                self.kept, slot = len(self.hashes), hello.active or 0
            else:
                self._check()
                yield from self._fill()
                slot = yield from self._commit()
            golden_us = yield from self._test()
        finally:
            self.sent += session.sent_bytes - sent
            self.received += session.received_bytes - received
        return Pushed(
            hello.board, slot, len(self.container), len(self.hashes), self.kept, self.copied,
            self.written, self.sent, self.received, self.resent, line.now() - self.start,
            self.write_s, golden_us, self.was_there,
        )  # fmt: skip

    @property
    def _content(self) -> tuple[int, bytes]:
        return len(self.container), self.digest

    def _check(self) -> None:
        """What the board would refuse, said before anything is sent."""
        hello, size = self.connection.hello, len(self.container)
        if self.abi is not None and self.abi != hello.abi:
            raise BoardError(
                f"the model is of ABI {self.abi}, the firmware of {hello.board} of {hello.abi}: "
                "rebuild the firmware and reboot",
                Number.CONTAINER + 5,
            )
        if size > hello.slot:
            raise BoardError(
                f"the model has {size} bytes, a slot of {hello.board} {hello.slot}: export one "
                "with fewer filters",
                Number.SIZE,
            )

    def _fill(self) -> Job[None]:
        """Bring every block into the new slot."""
        self.was_there = False
        begun = yield from self._ask(Type.BEGIN, BEGIN.pack(*self._content))
        is_resumed, _ = take(BEGUN, begun, "BEGIN")
        total = len(self.hashes)
        missing = set(range(total))
        if is_resumed:
            yield from self._keep(missing)
        if is_all := self.was_refused and not missing:  # two blocks share a hash (L8)
            missing, self.kept = set(range(total)), 0
        there = total - len(missing)
        if self.connection.hello.active is not None and missing and not is_all:
            yield from self._copy(missing)
        copied = total - there - len(missing)
        if there or copied:
            yield Notice(
                f"{there} of {total} blocks are there already, {copied} come from the model "
                f"before; {len(missing)} to send"
            )
        yield from self._write(sorted(missing))

    def _keep(self, missing: set[int]) -> Job[None]:
        """Take from ``missing`` what a broken push has left."""
        total = len(self.hashes)
        there = yield from self._hashes(0, total)
        held = {i for i, known in enumerate(there) if known == self.hashes[i]}
        self.kept = len(held - self.brought)
        missing -= held

    def _copy(self, missing: set[int]) -> Job[None]:
        """Take from ``missing`` what the active model has, wherever it lies there."""
        whole = len(self.container) // BLOCK
        known = yield from self._hashes(1, self.connection.hello.size // BLOCK)
        source = {digest: i for i, digest in enumerate(known)}
        pairs = [
            (to if known[to : to + 1] == [digest] else source[digest], to)
            for to, digest in enumerate(self.hashes[:whole])
            if to in missing and digest in source
        ]
        for first, to, count in _runs(pairs):
            answer = yield from self._ask(Type.COPY, COPY.pack(first, to, count), LONG_S)
            take(COPIED, answer, "COPY")
            missing -= set(range(to, to + count))
            self.brought |= set(range(to, to + count))
            self.copied += count

    def _hashes(self, slot: int, count: int) -> Generator[Event, None, list[bytes]]:
        known = []
        for number, digest in self.connection.hashes(slot, 0, count):
            known.append(digest)
            if number % MAX_HASHES == MAX_HASHES - 1:
                yield Progress(number + 1, count, "blocks compared")
        return known

    def _write(self, blocks: Sequence[int]) -> Job[None]:
        chunks = list(_chunks(self.container, blocks))
        stream = self.connection.session.stream = Stream(Type.WRITE, chunks)
        start = self.connection.line.now()
        total = sum(len(chunk.payload) - WRITE.size for chunk in chunks)
        try:
            yield from self._follow(
                stream, lambda: Progress(min(stream.taken * CHUNK, total), total, "bytes")
            )
        finally:
            self.resent += stream.resent
            self.write_s += self.connection.line.now() - start
            ends = [chunk.end for chunk in chunks[: stream.taken]]
            whole = [end for end in ends if end % BLOCK == 0 or end == len(self.container)]
            self.written += len(whole)
            self.brought |= {(end - 1) // BLOCK for end in whole}

    def _commit(self) -> Generator[Event, None, int]:
        answer = yield from self._ask(Type.COMMIT, CONTENT.pack(*self._content), LONG_S)
        hello = self.connection.greet()
        if (hello.size, hello.digest) != self._content:
            raise board_error(Number.DIGEST, Type.COMMIT)
        return answer[0] if answer else 0

    def _test(self) -> Generator[Event, None, int]:
        """The golden pair must come back bit for bit."""
        answer = yield from self._ask(Type.TEST, b"", LONG_S)
        wrong, microseconds = take(TESTED, answer, "TEST")
        if wrong:
            raise board_error(Number.GOLDEN, Type.TEST, wrong)
        return int(microseconds)

    def _ask(
        self, kind: Type, payload: bytes = b"", patience_s: float = 10.0
    ) -> Generator[Event, None, bytes]:
        exchange = self.connection.session.ask(kind, payload, patience_s)
        yield from self._follow(exchange, lambda: Progress(0, 1, _DOING[kind]))
        return exchange.result()

    def _follow(self, work: Exchange | Stream, event: Callable[[], Event]) -> Job[None]:
        """Pump, with an event now and then, so that a person can cancel."""
        clock = self.connection.line.now
        last = clock()
        for _ in self.connection.follow(work):
            if clock() - last >= _EVENT_S:
                last = clock()
                yield event()
        if isinstance(work, Stream):
            yield event()


_DOING = {
    Type.BEGIN: "slots opened",
    Type.COPY: "blocks copied",
    Type.COMMIT: "models committed",
    Type.TEST: "golden pairs",
}


def _runs(pairs: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """Pairs (from, to) as (from, to, count) where both go up together."""
    at = 0
    while at < len(pairs):
        first, to = pairs[at]
        count = 1
        while (
            count < _COPY_BLOCKS
            and at + count < len(pairs)
            and pairs[at + count] == (first + count, to + count)
        ):
            count += 1
        yield first, to, count
        at += count


def _chunks(container: bytes, blocks: Sequence[int]) -> Iterator[Chunk]:
    """The frames of these blocks; a jump wherever one does not follow the last."""
    index, before = 0, -1
    for block in blocks:
        start, first = block * BLOCK, index
        for at in range(start, min(start + BLOCK, len(container)), CHUNK):
            end = min(at + CHUNK, start + BLOCK, len(container))
            data = container[at:end]
            jump = WRITE.pack(at | JUMP) + data if at == start else None
            is_break = jump is not None and (before < 0 or block != before + 1)
            yield Chunk(WRITE.pack(at) + data, at, end, first, jump, is_break)
            index += 1
        before = block
