"""The host's end of the protocol as a state machine: bytes and a clock in, bytes out.

No port, no thread, no sleep: who owns a line calls :meth:`Session.send` when the line takes
bytes, :meth:`Session.receive` when some have arrived, and either again at
:attr:`Session.deadline`. Times are seconds of any clock that never goes back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from napari_ct2mri.errors import LinkError
from napari_ct2mri.link.frame import Frame, FrameReader, Type, answer_to, encode_frame
from napari_ct2mri.link.messages import ACK, ERROR, HELLO, board_error, take

__all__ = ["Chunk", "Exchange", "NoAnswer", "Session", "Stream"]

_RETRY_S, _LAST_RETRY_S = 0.13, 2.0  # a request is said again after the first, then ever later (L3)
_CALL_S = 0.5  # and HELLO at least as often, so that a board at another rate takes note (L6)
_LONG_RETRY_S = 0.5  # where the board has much to do, or to say: 1044 bytes take 91 ms at 115200
_LONG = frozenset(
    {Type.BEGIN, Type.COPY, Type.HASH, Type.COMMIT, Type.TEST, Type.DIGEST, Type.READ}
)
_FIRST_RTO_S = 1.0  # of a stream, before an answer has been timed (RFC 6298)
_RTO_S = (0.2, 4.0)
_FIRST_WINDOW = 4  # grows with each ACK, so that the time-out learns how slow the line is
_MIN_TRIES = 6  # before silence is believed
_MAX_FRUITLESS = 20  # times of going back without anything taken in between


class NoAnswer(LinkError):
    """Nobody answers, or no longer."""


class Exchange:
    """A request and what became of it (L3).

    Attributes
    ----------
    answer : bytes or None
        The answer's payload.
    error : LinkError or None
        The board's refusal, or that it stayed silent for ``patience_s``.
    """

    def __init__(self, kind: Type, seq: int, payload: bytes, patience_s: float) -> None:
        self.kind, self.seq, self.payload = kind, seq, payload
        self.patience_s = patience_s
        self.answer: bytes | None = None
        self.error: LinkError | None = None
        self.is_sent = self.is_muted = False
        self._tries = 0
        self._retry_at = self._end_at = 0.0

    @property
    def is_done(self) -> bool:
        """Whether there is an answer or an error."""
        return self.answer is not None or self.error is not None

    @property
    def deadline(self) -> float:
        """When :meth:`frame` has something to send."""
        return min(self._retry_at, self._end_at)

    def result(self) -> bytes:
        """The answer.

        Raises
        ------
        LinkError
            If there is an error instead.
        """
        if self.error is not None:
            raise self.error
        assert self.answer is not None
        return self.answer

    def hurry(self) -> None:
        """Say it again at once: what arrives shows that the answer was lost."""
        if not self.is_muted:
            self._retry_at = 0.0

    def mute(self) -> None:
        """Do not say it again: another request went out behind it, and the board knows that."""
        self.is_muted, self._retry_at = True, inf

    def frame(self, now: float) -> bytes:
        """What to send now: the request, for the first time or again, or nothing."""
        if self._tries == 0:
            self._end_at = now + self.patience_s
        elif now >= self._end_at and not self.is_done:
            self.error = NoAnswer(
                f"no answer to {self.kind.name} within {self.patience_s:g} s ({self._tries} "
                "tries): another port, or its firmware does not run"
            )
        if self.is_done or now < self._retry_at:
            return b""
        first = _LONG_RETRY_S if self.kind in _LONG else _RETRY_S
        last = _CALL_S if self.kind is Type.HELLO else _LAST_RETRY_S
        if not self.is_muted:
            self._retry_at = now + min(first * 2**self._tries, last)
        self._tries += 1
        self.is_sent = True
        return encode_frame(self.kind, self.seq, self.payload)


@dataclass(frozen=True, slots=True)
class Chunk:
    """One frame of a stream.

    Attributes
    ----------
    payload : bytes
    start, end : int
        What the board's ``next`` is when it expects this chunk, and when it has taken it.
    first : int
        Where to go back to after silence: the first chunk of this one's block (L9) or slice.
    jump : bytes or None
        The payload as a jump, where this chunk may be one.
    is_break : bool
        It does not continue what stands before it: must be sent as a jump.
    """

    payload: bytes
    start: int
    end: int
    first: int
    jump: bytes | None = None
    is_break: bool = False


@dataclass(frozen=True, slots=True)
class _Sent:
    seq: int
    index: int  # of the chunk; -1: of another stream
    run: int  # the chunk at which it last jumped
    at: float


class Stream:
    """Chunks in order, up to a window of them in the air (L9, L12).

    Parameters
    ----------
    mark : int, optional
        What the last byte of an ACK must be: the low byte of the slice's id.

    Attributes
    ----------
    taken : int
        Chunks that the board has, counted from the first.
    resent : int
        Chunks that went out more than once.
    error : LinkError or None
    """

    def __init__(
        self,
        kind: Type,
        chunks: Sequence[Chunk],
        patience_s: float = 15.0,
        mark: int | None = None,
    ) -> None:
        self.kind, self.chunks, self.mark = kind, chunks, mark
        self.patience_s = patience_s
        self.taken = self.resent = 0
        self.error: LinkError | None = None
        self._next = self._run = self._most = self._fruitless = self._acks = self._silences = 0
        self._air: deque[_Sent] = deque()
        self._at = {chunk.start: i for i, chunk in enumerate(chunks)}
        self._at |= {chunk.end: i + 1 for i, chunk in enumerate(chunks)}
        self._must_jump = False
        self._timer_at = self._heard_at = 0.0

    @property
    def is_done(self) -> bool:
        """Whether all chunks are taken, or none will be any more."""
        return self.error is not None or self.taken == len(self.chunks)

    @property
    def is_sent(self) -> bool:
        """Whether every chunk is in the air or taken."""
        return self._next == len(self.chunks)

    def follow(self, before: Stream) -> None:
        """Count what another stream left in the air, which the board has to take, too."""
        self._air.extend(_Sent(sent.seq, -1, 0, sent.at) for sent in before._air)
        self._timer_at, self._heard_at = before._timer_at, before._heard_at
        self._acks = before._acks  # the line is known

    def stop(self) -> None:
        """Send no more."""
        self.error = LinkError("stopped")

    def is_in_air(self, seq: int) -> bool:
        """Whether that frame was sent and not heard of."""
        return any(sent.seq == seq and sent.index >= 0 for sent in self._air)

    def deadline(self, rto_s: float) -> float | None:
        """When silence has lasted too long."""
        return self._timer_at + rto_s if self._air else None

    def frames(self, now: float, seq: int, window: int) -> list[bytes]:
        """Frames that fit into the window, numbered from ``seq``."""
        if self.error is not None:
            return []
        if not self._air:
            self._timer_at = now
        if self._most == 0:
            self._heard_at = now
        made = []
        window = min(window, _FIRST_WINDOW + self._acks)
        while len(self._air) < window and self._next < len(self.chunks):
            chunk = self.chunks[self._next]
            payload = chunk.payload
            if chunk.jump is not None and (chunk.is_break or self._must_jump):
                payload, self._run = chunk.jump, self._next
            self._must_jump = False
            made.append(encode_frame(self.kind, seq, payload))
            self._air.append(_Sent(seq, self._next, self._run, now))
            self.resent += self._next < self._most
            self._next += 1
            self._most = max(self._most, self._next)
            seq = (seq + 1) & 0xFF
        return made

    def acknowledge(self, seq: int, next_: int, mark: int, now: float) -> float | None:
        """An ACK: returns the seconds that its frame took, unless it is an old one."""
        if all(sent.seq != seq for sent in self._air):
            return None
        while (sent := self._air.popleft()).seq != seq:
            pass  # the line keeps the order: those before were lost, or their ACKs
        self._timer_at = self._heard_at = now
        self._acks, self._silences = self._acks + 1, 0
        if sent.index < 0:
            return now - sent.at  # of the stream before
        if self.mark is not None and mark != self.mark:
            next_ = -1  # of another slice
        chunk, expected = self.chunks[sent.index], self._at.get(next_, -1)
        is_taken = next_ == chunk.end or expected > sent.index
        if not is_taken:
            self._go_back(expected if sent.run <= expected <= sent.index else None)
        elif sent.run > self.taken:
            self._go_back(None)  # before its jump something is not known to be taken
        else:
            upto = sent.index + 1 if next_ == chunk.end else expected
            if upto > self.taken:
                self.taken, self._fruitless = min(upto, self._most), 0
            self._next = max(self._next, self.taken)
        return now - sent.at

    def silence(self, now: float) -> None:
        """The time-out has passed: begin again where the board surely follows."""
        self._silences += 1
        if now - self._heard_at > self.patience_s and self._silences > _MIN_TRIES:
            self.error = NoAnswer(
                f"the board fell silent for {self.patience_s:g} s at {self.kind.name} "
                f"{self.taken + 1} of {len(self.chunks)}: check cable and power, then try again; "
                "what it has is kept"
            )
            return
        self._go_back(None)
        self._timer_at = now

    def _go_back(self, index: int | None) -> None:
        """To ``index``, or to the first chunk of what is not known to be taken, with a jump."""
        self._must_jump = index is None
        self._next = self.chunks[self.taken].first if index is None else index
        self._air.clear()
        self._fruitless += 1
        if self._fruitless > _MAX_FRUITLESS:
            self.error = LinkError(
                f"{self.kind.name} {self.taken + 1} of {len(self.chunks)} did not get through in "
                f"{self._fruitless} tries: lower the baud rate or check the cable"
            )


class Session:
    """One host's conversation with one board.

    Attributes
    ----------
    window : int
        Frames of a stream in the air; 1 until HELLO has said more.
    mr : deque of Frame
        MR frames that have arrived (L13), for who runs slices to take out.
    stream : Stream or None
        The stream in the air.
    sent_bytes, received_bytes : int
        What went over the line, frames and all.
    """

    def __init__(self) -> None:
        self.window = 1
        self.mr: deque[Frame] = deque()
        self.stream: Stream | None = None
        self.sent_bytes = self.received_bytes = 0
        self._reader = FrameReader()
        self._exchanges: list[Exchange] = []
        self._seq = self._stream_seq = 0
        self._rtt_s = self._spread_s = 0.0
        self._backoff = 1

    @property
    def dropped(self) -> int:
        """Arrived frames that failed their check."""
        return self._reader.dropped

    @property
    def is_asking(self) -> bool:
        """Whether a request waits for its answer."""
        return any(not each.is_done for each in self._exchanges)

    @property
    def rto_s(self) -> float:
        """How long a stream waits for an ACK (Jacobson 1988; RFC 6298), doubled at each silence."""
        least, most = _RTO_S
        once = self._rtt_s + 4 * self._spread_s if self._rtt_s else _FIRST_RTO_S
        return min(max(once, least) * self._backoff, most)

    @property
    def deadline(self) -> float | None:
        """When :meth:`send` will have something to say though nothing arrives."""
        waiting = (each for each in self._exchanges if not each.is_done)
        times: list[float | None] = [each.deadline for each in waiting]
        if self.stream is not None and not self.stream.is_done:
            times.append(self.stream.deadline(self.rto_s))
        return min((t for t in times if t is not None), default=None)

    def ask(self, kind: Type, payload: bytes = b"", patience_s: float = 5.0) -> Exchange:
        """Ask; one request at a time (L3)."""
        if self.is_asking:
            raise LinkError(f"{kind.name}: another request still waits for its answer")
        self._exchanges.clear()
        return self._add(kind, payload, patience_s)

    def ask_behind(self, before: Exchange, payload: bytes, patience_s: float) -> Exchange:
        """Ask RUN behind a RUN that waits for its answer, which is not said again then (L13)."""
        before.mute()
        self._exchanges = [each for each in self._exchanges if not each.is_done]
        return self._add(Type.RUN, payload, patience_s)

    def forget(self, exchange: Exchange) -> None:
        """Wait no longer for an answer."""
        self._exchanges.remove(exchange)

    def _add(self, kind: Type, payload: bytes, patience_s: float) -> Exchange:
        self._seq = 0 if kind is Type.HELLO else (self._seq + 1) & 0xFF
        exchange = Exchange(kind, self._seq, payload, patience_s)
        self._exchanges.append(exchange)
        return exchange

    def begin(self, stream: Stream) -> None:
        """Put a stream on the air, behind what is still there of the one before."""
        if self.stream is not None:
            stream.follow(self.stream)
        self.stream = stream

    def drop(self) -> None:
        """Forget the request and the stream in the air; for who begins anew with HELLO."""
        self._exchanges.clear()
        self.stream = None
        self.mr.clear()

    def send(self, now: float) -> bytes:
        """What to put on the line now."""
        data = b"".join(each.frame(now) for each in self._exchanges)
        if self.stream is not None and not self.stream.is_done:
            self._watch(self.stream, now)
            frames = self.stream.frames(now, self._stream_seq, self.window)
            self._stream_seq = (self._stream_seq + len(frames)) & 0xFF
            data += b"".join(frames)
        self.sent_bytes += len(data)
        return data

    def receive(self, data: bytes, now: float) -> None:
        """Take bytes that have arrived."""
        self.received_bytes += len(data)
        for frame in self._reader.feed(data):
            self._take(frame, now)

    def _watch(self, stream: Stream, now: float) -> None:
        deadline = stream.deadline(self.rto_s)
        if deadline is not None and now >= deadline:
            stream.silence(now)
            self._backoff = min(self._backoff * 2, 16)

    def _take(self, frame: Frame, now: float) -> None:
        if frame.type == Type.MR:
            self.mr.append(frame)
        elif frame.type == Type.ACK:
            self._acknowledge(frame, now)
        elif frame.type == Type.ERROR:
            self._refuse(frame)
        else:
            self._answer(frame)

    def _acknowledge(self, frame: Frame, now: float) -> None:
        next_, mark = take(ACK, frame.payload, "a stream")
        if self.stream is None or self.stream.is_done:
            return
        taken_s = self.stream.acknowledge(frame.seq, next_, mark, now)
        if taken_s is not None:
            self._backoff = 1
            self._time(taken_s)

    def _time(self, taken_s: float) -> None:
        """Mean and mean deviation, with the gains of RFC 6298."""
        if self._rtt_s == 0.0:
            self._rtt_s, self._spread_s = taken_s, taken_s / 2
        self._spread_s += (abs(self._rtt_s - taken_s) - self._spread_s) / 4
        self._rtt_s += (taken_s - self._rtt_s) / 8

    def _refuse(self, frame: Frame) -> None:
        number, request, detail = take(ERROR, frame.payload, "ERROR")
        error = board_error(number, request, detail)
        if request in (Type.WRITE, Type.SLICE):
            if self.stream is not None and self.stream.is_in_air(frame.seq):
                self.stream.error = error
            return
        exchange = self._waiting_for(frame.seq)
        if exchange is not None and request == exchange.kind:
            exchange.error = error

    def _answer(self, frame: Frame) -> None:
        exchange = self._waiting_for(frame.seq)
        if exchange is None or frame.type != answer_to(exchange.kind):
            return
        if exchange.kind is Type.HELLO and not _is_same_session(exchange.payload, frame.payload):
            return  # the answer to a HELLO of long ago
        exchange.answer = frame.payload

    def _waiting_for(self, seq: int) -> Exchange | None:
        return next((e for e in self._exchanges if e.seq == seq and not e.is_done), None)


def _is_same_session(asked: bytes, answer: bytes) -> bool:
    """A board of another protocol answers with its number alone (L5)."""
    _, session = HELLO.unpack(asked)
    return len(answer) < 8 or int.from_bytes(answer[4:8], "little") == session
