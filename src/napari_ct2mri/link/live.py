"""Slices to a board and synthetic MR back, with the line busy in both directions.

While the board computes slice k and its MR arrives, slice k + 1 is on its way (rules L12, L13)::

    host   SLICE 1 ...  RUN 1  SLICE 2 ...    RUN 2  SLICE 3 ...
    board                      computes 1     RUN 1, MR 1 ... (computes 2)   RUN 2, MR 2 ...

RUN goes out right behind the slice's last frame, the next slice right behind RUN; one RUN may
follow another that is not answered. Where a frame was lost the board answers ORDER, and the slice
goes out again, this time with care.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.errors import BoardError, LinkError
from napari_ct2mri.link.codec import decode, encode
from napari_ct2mri.link.connection import LONG_S, Connection
from napari_ct2mri.link.frame import Frame, Type
from napari_ct2mri.link.messages import (
    CHUNK,
    MR,
    RAN,
    REPEAT,
    RUN,
    SENT_AGAIN,
    SLICE,
    Number,
    Part,
    board_error,
    take,
)
from napari_ct2mri.link.session import Chunk, Exchange, NoAnswer, Stream

__all__ = ["Answer", "Planes", "Runner"]

Planes: TypeAlias = Sequence[NDArray[np.int16]] | Sequence[NDArray[np.uint8]]
"""Neighbour slices in the order of the model's channels, (H, W): int16 in HU, or uint8 grey."""

_STEP_S = 0.1
_QUIET_S = 1.0  # without an MR frame: what is missing is asked for again
_AHEAD = 2  # slices waiting in `run`, beside those on their way
_MAX_RESTARTS = 5
_PATIENCE_S, _TIMES = 10.0, 20  # of silence, and how often a slice's time that may be
_DIGESTS = 1  # of RUN's flags (L15)


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A slice that came back.

    Attributes
    ----------
    number : int
        Of the slice, as ``submit`` returned it: they come back in this order.
    mr : (H, W) uint8
    microseconds : int
        That the board computed.
    latency_s : float
        From the first byte that went out to the last that came in.
    sent_bytes, received_bytes : int
        Of the slice, repetitions and all, and of its MR; encoded, without frames.
    """

    number: int
    mr: NDArray[np.uint8]
    microseconds: int
    latency_s: float
    sent_bytes: int
    received_bytes: int


@dataclass(slots=True, eq=False)
class _Slice:
    """A slice between ``submit`` and its answer."""

    number: int
    planes: Planes
    coded: dict[int, bytes] = field(default_factory=dict)  # by plane
    id: int = 0
    begun_at: float | None = None
    sent_bytes: int = 0
    restarts: int = 0
    stream: Stream | None = None
    size: int | None = None  # of its MR, once RUN is answered
    microseconds: int = 0
    heard_at: float = 0.0  # of its MR
    was_hurried: bool = False
    was_asked_again: bool = False
    was_missed: bool = False  # the answer to RUN
    pieces: dict[int, bytes] = field(default_factory=dict)

    def missing(self) -> tuple[int, int]:
        """First gap of the MR, (offset, end); equal where there is none."""
        assert self.size is not None
        offsets = range(0, self.size, CHUNK)
        first = next((at for at in offsets if at not in self.pieces), self.size)
        end = next((at for at in offsets[first // CHUNK :] if at in self.pieces), self.size)
        return first, end


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """A RUN that waits for its answer; ``is_repeat``: of what was lost of an MR."""

    exchange: Exchange
    slice: _Slice
    id: int
    is_repeat: bool = False

    @property
    def is_stale(self) -> bool:
        """Whether the slice was sent anew meanwhile."""
        return self.slice.id != self.id or self.slice.stream is None


class Runner:
    """Runs slices on a board that has a model.

    Parameters
    ----------
    connection : Connection
    is_network : bool
        Planes are the network's own bytes, one a channel, which no table changes (for tests).
    with_digests : bool
        The board hashes what each layer stores; :meth:`Connection.digests` tells.

    Raises
    ------
    BoardError
        If no model is committed.
    """

    def __init__(
        self, connection: Connection, is_network: bool = False, with_digests: bool = False
    ) -> None:
        connection.check_model()
        self.connection = connection
        self.is_network, self.with_digests = is_network, with_digests
        self._numbers = 0
        self._waiting: deque[_Slice] = deque()
        self._sending: _Slice | None = None
        self._asked: list[_Slice] = []  # RUN is asked, the MR is not whole
        self._runs: list[_Run] = []
        self._whole: deque[_Slice] = deque()  # the MR is whole, not decoded
        self._before: _Slice | None = None  # sent last, for a shift
        self._done: dict[int, Answer] = {}
        self._next_number = 0
        self._dropped: set[int] = set()
        self._patience_s = LONG_S  # until it is known how long a slice takes

    @property
    def unanswered(self) -> int:
        """Slices that were submitted and have not come back."""
        on_line = (self._sending is not None) + len(self._asked)
        return len(self._waiting) + on_line + len(self._whole)

    @property
    def waiting(self) -> int:
        """Those of them of which nothing has been sent."""
        return len(self._waiting)

    def submit(self, planes: Planes, replace: bool = False) -> int:
        """Queue a slice; returns its number.

        Parameters
        ----------
        planes : sequence of (H, W) int16 (HU) or uint8 (grey, 0..255)
        replace : bool
            Forget slices that wait to be sent, for who scrolls faster than the board computes.

        Raises
        ------
        LinkError
            If the board's model takes others.
        """
        self._check(planes)
        if replace:
            self.drop_waiting()
        self._waiting.append(_Slice(self._numbers, planes))
        self._numbers += 1
        return self._numbers - 1

    def drop_waiting(self, keep: int | None = None) -> tuple[int, ...]:
        """Forget the slices of which nothing has been sent, but number ``keep``; their numbers."""
        dropped = tuple(each.number for each in self._waiting if each.number != keep)
        self._dropped.update(dropped)
        self._waiting = deque(each for each in self._waiting if each.number == keep)
        return dropped

    def poll(self, timeout_s: float = _STEP_S) -> Answer | None:
        """Go on for at most ``timeout_s``; the next answer, if it is there by then.

        Raises
        ------
        LinkError
            If the board falls silent or refuses.
        """
        end = self.connection.line.now() + timeout_s
        while True:
            self._advance()
            answer = self._pop()
            left = end - self.connection.line.now()
            if answer is not None or left <= 0:
                return answer
            self.connection.pump(0.0 if self._has_work() else min(left, _STEP_S))
            self._work()

    def run(self, slices: Iterable[Planes]) -> Iterator[Answer]:
        """All of them, in order, taking from ``slices`` shortly before they are sent."""
        source = iter(slices)
        is_over = False
        while True:
            while not is_over and self.waiting < _AHEAD:
                planes = next(source, None)
                is_over = planes is None
                if planes is not None:
                    self.submit(planes)
            if is_over and not self.unanswered and not self._done:
                return
            answer = self.poll()
            if answer is not None:
                yield answer

    def _check(self, planes: Planes) -> None:
        hello = self.connection.hello
        count = hello.channels if self.is_network else hello.planes
        shape = (hello.height, hello.width)
        found = {(plane.shape, str(plane.dtype)) for plane in planes}
        if len(planes) != count or len(found) != 1 or planes[0].shape != shape:
            raise LinkError(
                f"the board's model takes {count} planes {shape}, got {len(planes)}: "
                f"{', '.join(str(each[0]) for each in found)}; resample to its grid first"
            )
        if planes[0].dtype not in (np.int16, np.uint8):
            raise LinkError(f"planes are int16 (HU) or uint8 (grey), got {planes[0].dtype}")
        if planes[0].dtype == np.uint8 and not (hello.takes_pictures or self.is_network):
            raise board_error(Number.KIND, Type.SLICE)

    def _pop(self) -> Answer | None:
        while self._next_number in self._dropped:
            self._dropped.discard(self._next_number)
            self._next_number += 1
        answer = self._done.pop(self._next_number, None)
        self._next_number += answer is not None
        return answer

    def _advance(self) -> None:
        """All that can be done before the next bytes arrive."""
        self._take_mr()
        self._take_answers()
        self._collect()
        self._ask_again()
        self._watch_stream()
        self._ask_run()
        self._send_next()

    def _has_work(self) -> bool:
        return bool(self._whole or self._to_encode())

    def _work(self) -> None:
        """Decode or encode one plane, while the line is busy with what it was given before."""
        if self._whole:
            self._decode(self._whole.popleft())
        elif plane := self._to_encode():
            self._encode(*plane)

    def _to_encode(self) -> tuple[_Slice, int] | None:
        """A plane of the slice that will be sent next."""
        if not self._waiting or self._sending is None:
            return None
        slice_ = self._waiting[0]
        planes = self._to_send(slice_)
        return next(((slice_, plane) for plane in planes if plane not in slice_.coded), None)

    def _take_mr(self) -> None:
        inbox = self.connection.session.mr
        while inbox:
            self._take_piece(inbox.popleft())

    def _take_piece(self, frame: Frame) -> None:
        number, offset = take(MR, frame.payload[: MR.size], "RUN")
        owner = next((each for each in self._asked if each.id == number), None)
        if owner is None or offset % CHUNK or offset > 2**24:
            return
        owner.pieces[offset] = frame.payload[MR.size :]
        owner.heard_at = self.connection.line.now()
        if owner.size is None and not owner.was_hurried:
            owner.was_hurried = True  # its answer came before and was lost
            for run in self._runs:
                if run.slice is owner:
                    run.exchange.hurry()

    def _take_answers(self) -> None:
        for run in list(self._runs):
            if run.exchange.is_done:
                self._runs.remove(run)
                self._take_answer(run)
            elif any(other.exchange.is_done for other in self._runs):
                self._runs.remove(run)  # one behind it is done, so this one is not said again
                self.connection.session.forget(run.exchange)
                run.slice.was_missed = True

    def _take_answer(self, run: _Run) -> None:
        exchange, slice_ = run.exchange, run.slice
        if isinstance(exchange.error, NoAnswer):
            raise exchange.error
        if run.is_stale:
            return
        if exchange.error is not None:
            self._take_refusal(exchange.error, slice_, run.is_repeat)
            return
        number, slice_.microseconds, size = take(RAN, exchange.result(), "RUN")
        height, width = self._shape
        if number != slice_.id or size > height * width + 1:
            raise LinkError(
                f"the board answers RUN {slice_.id} with an MR {number} of {size} bytes: rebuild "
                "its firmware and reboot"
            )
        slice_.size, slice_.heard_at = size, self.connection.line.now()
        self._patience_s = max(_PATIENCE_S, _TIMES * slice_.microseconds / 1e6)

    def _take_refusal(self, error: LinkError, slice_: _Slice, is_repeat: bool) -> None:
        number = error.number if isinstance(error, BoardError) else 0
        if is_repeat and number == Number.RANGE:
            self._restart(slice_)
        elif is_repeat and number == Number.ORDER:
            return  # its MR waits behind another; it is asked for again
        elif not is_repeat and number == Number.ORDER:
            stream = self.connection.session.stream
            if slice_.stream is stream and stream and not stream.is_done:  # its end is on its way
                self._asked.remove(slice_)
                self._sending = slice_
                slice_.restarts += 1
            else:
                self._restart(slice_)
        else:
            raise error

    def _restart(self, slice_: _Slice) -> None:
        """Send it, and whatever went out after it and did not come back, again."""
        slice_.restarts += 1
        if slice_.restarts > _MAX_RESTARTS:
            raise LinkError(
                f"slice {slice_.number} did not get through in {slice_.restarts} tries: lower the "
                "baud rate or check the cable"
            )
        flight = [*self._asked, *([self._sending] if self._sending is not None else [])]
        again = [each for each in flight if each.number >= slice_.number]
        for each in again:
            each.stream = each.size = None
            each.was_hurried = each.was_asked_again = each.was_missed = False
            each.pieces.clear()
        self._asked = [each for each in self._asked if each.number < slice_.number]
        self._waiting.extendleft(reversed(again))
        self._sending = self._before = None
        if self.connection.session.stream is not None:
            self.connection.session.stream.stop()

    def _collect(self) -> None:
        """Set aside the slices whose MR is whole."""
        for each in list(self._asked):
            if each.size is not None and each.missing()[0] == each.size:
                self._asked.remove(each)
                self._whole.append(each)

    def _decode(self, slice_: _Slice) -> None:
        assert slice_.size is not None
        assert slice_.begun_at is not None
        data = b"".join(slice_.pieces[at] for at in range(0, slice_.size, CHUNK))
        if len(data) != slice_.size:
            raise LinkError("the board's MR comes in odd pieces: rebuild its firmware")
        self._done[slice_.number] = Answer(
            slice_.number,
            decode(data, self._shape, np.uint8),
            slice_.microseconds,
            slice_.heard_at - slice_.begun_at,
            slice_.sent_bytes,
            len(data),
        )

    def _ask_again(self) -> None:
        """What is missing of an MR of which nothing more is to come."""
        if self.connection.session.is_asking or not self._asked:
            return
        oldest = self._asked[0]
        now = self.connection.line.now()
        if oldest.size is None:
            if oldest.was_missed:
                self._repeat(oldest, 0, 0)
            return
        is_over = len(self._asked) > 1 and self._asked[1].size is not None
        if (is_over and not oldest.was_asked_again) or now - oldest.heard_at > _QUIET_S:
            oldest.heard_at, oldest.was_asked_again = now, True
            self._repeat(oldest, *oldest.missing())

    def _repeat(self, slice_: _Slice, offset: int, end: int) -> None:
        payload = SENT_AGAIN.pack(slice_.id, REPEAT, offset, end)
        exchange = self.connection.session.ask(Type.RUN, payload, self._patience_s)
        self._runs.append(_Run(exchange, slice_, slice_.id, is_repeat=True))

    def _watch_stream(self) -> None:
        slice_ = self._sending
        error = slice_.stream.error if slice_ is not None and slice_.stream is not None else None
        if slice_ is None or error is None:
            return
        again = (Number.ORDER, Number.CODEC)
        if not (isinstance(error, BoardError) and error.number in again):
            raise error
        self._restart(slice_)

    def _ask_run(self) -> None:
        slice_ = self._sending
        if slice_ is None or slice_.stream is None:
            return
        if not (slice_.stream.is_done if slice_.restarts else slice_.stream.is_sent):
            return
        session = self.connection.session
        payload = RUN.pack(slice_.id, _DIGESTS if self.with_digests else 0)
        if not self._runs and not session.is_asking:
            if len(self._asked) > 1 or any(each.size is None for each in self._asked):
                return  # what was missed is asked for first
            exchange = session.ask(Type.RUN, payload, self._patience_s)
        elif self._may_ask_behind(slice_):
            exchange = session.ask_behind(self._runs[0].exchange, payload, self._patience_s)
        else:
            return
        self._runs.append(_Run(exchange, slice_, slice_.id))
        self._asked.append(slice_)
        self._sending = None

    def _may_ask_behind(self, slice_: _Slice) -> bool:
        """Whether one RUN is unanswered, that of the slice before, and at most one MR on its way.

        Else the board would hold RUN, and all that comes behind it, for as long as an MR takes.
        """
        if len(self._runs) != 1 or len(self._asked) > 2 or slice_.restarts:
            return False
        run = self._runs[0]
        is_plain = run.exchange.is_sent and not (run.is_repeat or run.is_stale)
        return is_plain and run.slice is self._asked[-1] and not run.slice.restarts

    def _send_next(self) -> None:
        """Begin the next slice, once RUN of the one before is on its way."""
        if self._sending is not None or not self._waiting:
            return
        if any(each.restarts and each.size is None for each in self._asked):
            return
        slice_ = self._sending = self._waiting.popleft()
        slice_.id = self.connection.next_id()
        if slice_.begun_at is None:
            slice_.begun_at = self.connection.line.now()
        chunks = list(self._chunks(slice_))
        slice_.sent_bytes += sum(len(chunk.payload) - SLICE.size for chunk in chunks)
        slice_.stream = Stream(Type.SLICE, chunks, self._patience_s, slice_.id & 0xFF)
        self.connection.session.begin(slice_.stream)
        self._before = slice_

    @property
    def _shape(self) -> tuple[int, int]:
        return self.connection.hello.height, self.connection.hello.width

    @staticmethod
    def _encode(slice_: _Slice, plane: int) -> bytes:
        if plane not in slice_.coded:
            slice_.coded[plane] = encode(slice_.planes[plane])
        return slice_.coded[plane]

    def _to_send(self, slice_: _Slice) -> range:
        """Planes that the board has not."""
        count = len(slice_.planes)
        return range(count - 1 if self._is_shift(slice_) else 0, count)

    def _chunks(self, slice_: _Slice) -> Iterator[Chunk]:
        """The frames of a slice (L12); only the last plane where the others shift."""
        kind = Part.NONE
        if self.is_network:
            kind = Part.NETWORK
        elif slice_.planes[0].dtype == np.uint8:
            kind = Part.PICTURE
        low, last = slice_.id & 0xFFFF, len(slice_.planes) - 1
        planes = self._to_send(slice_)
        if planes.start:
            yield Chunk(SLICE.pack(0, Part.SHIFT | kind, low, 0), -2, last << 24, 0)
        for plane in planes:
            coded = self._encode(slice_, plane)
            for at in range(0, len(coded), CHUNK):
                data = coded[at : at + CHUNK]
                flags = kind | (Part.LAST if at + CHUNK >= len(coded) else Part.NONE)
                place = plane << 24 | at
                yield Chunk(SLICE.pack(plane, flags, low, at) + data, place, place + len(data), 0)

    def _is_shift(self, slice_: _Slice) -> bool:
        """Whether the board has all planes but the last, of the slice sent before (L12)."""
        before = self._before
        if before is None or len(slice_.planes) < 2 or slice_.restarts:
            return False
        same: Any = zip(slice_.planes, before.planes[1:], strict=False)
        return all(new is old or np.array_equal(new, old) for new, old in same)
