"""What the payloads hold: layouts of ``docs/link-protocol.md``, and its error numbers in words."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Any

from napari_ct2mri.errors import BoardError, LinkError
from napari_ct2mri.link.codec import MAX_SIDE
from napari_ct2mri.link.frame import FRAME_PAYLOAD, Type

__all__ = [
    "ACK", "BEGIN", "BEGUN", "BLOCK", "CHUNK", "CONTENT", "COPIED", "COPY", "DIGEST", "ERROR",
    "HASH", "HASHES", "HASH_BYTES", "HELLO", "JUMP", "MAX_CHANNELS", "MAX_DIGESTS", "MAX_HASHES",
    "MAX_LAYERS", "MAX_WINDOWS", "MR", "PROTOCOL", "RAN", "RATE", "READ", "READ_AT", "REPEAT",
    "RUN", "SENT_AGAIN", "SLICE", "STATS", "TESTED", "WRITE", "Hello", "Number", "Part", "Stats",
    "board_error", "reason", "take",
]  # fmt: skip

PROTOCOL = 1
BLOCK = 4096  # bytes of a block of a container
CHUNK = 1024  # at most, of content in a WRITE, a SLICE or an MR frame
MAX_HASHES = 128  # in an answer (L8)
HASH_BYTES = 8
MAX_DIGESTS = 32  # in an answer (L15)
JUMP = 1 << 31  # of WRITE's offset (L9)
MAX_CHANNELS, MAX_WINDOWS, MAX_LAYERS = 255, 9, 32  # of a model
_MAX_RATE = 10_000_000  # bit/s

HELLO = struct.Struct("<BI")  # protocol, session (L5)
RATE = struct.Struct("<I")  # bit/s (L6)
BEGIN = CONTENT = struct.Struct("<I32s")  # size, digest (L7); COMMIT's too (L10)
BEGUN = struct.Struct("<BI")  # resumed, blocks
HASH = struct.Struct("<BIH")  # slot, first, count (L8)
HASHES = struct.Struct("<IH")  # first, count; then the hashes
COPY = struct.Struct("<IIH")  # from, to, count
COPIED = struct.Struct("<IH")  # to, count
WRITE = struct.Struct("<I")  # offset; then the bytes (L9)
ACK = struct.Struct("<IB")  # next; free (L9), or the slice's id (L12)
SLICE = struct.Struct("<BBHI")  # plane, flags, id, offset; then the bytes (L12)
RUN = struct.Struct("<IB")  # id, flags (L13)
SENT_AGAIN = struct.Struct("<IBII")  # id, REPEAT, offset, end
RAN = struct.Struct("<III")  # id, microseconds, size
MR = struct.Struct("<II")  # id, offset; then the bytes
STATS = struct.Struct("<IIIIH")  # slices, busy, dropped, overrun, count (L14)
READ = struct.Struct("<IH")  # offset, count (L16)
READ_AT = struct.Struct("<I")  # offset; then the bytes
TESTED = struct.Struct("<II")  # wrong, microseconds
DIGEST = struct.Struct("<HH")  # first, count (L15); then the SHA-256s in the answer
ERROR = struct.Struct("<HBI")  # number, request, detail (L4)
_HELLO_ANSWER = struct.Struct("<BBHI 16s II HBB 8I 4H HH I 32s")
assert (HELLO.size, RATE.size, CONTENT.size, BEGUN.size) == (5, 4, 36, 5)
assert (HASH.size, HASHES.size, COPY.size, COPIED.size) == (7, 6, 10, 6)
assert (WRITE.size, ACK.size, SLICE.size, RUN.size, SENT_AGAIN.size) == (4, 5, 8, 5, 13)
assert (RAN.size, MR.size, STATS.size, TESTED.size, DIGEST.size) == (12, 8, 18, 8, 4)
assert (ERROR.size, READ.size, READ_AT.size, _HELLO_ANSWER.size) == (7, 6, 4, 116)
assert max(WRITE.size, SLICE.size, MR.size) + CHUNK <= FRAME_PAYLOAD
assert HASHES.size + MAX_HASHES * HASH_BYTES <= FRAME_PAYLOAD
assert DIGEST.size + MAX_DIGESTS * 32 <= FRAME_PAYLOAD

REPEAT = 0x80  # of RUN's flags: send of an MR again what was lost


class Part(IntFlag):
    """Flags of SLICE (L12)."""

    NONE = 0
    PICTURE = 1
    LAST = 2
    SHIFT = 4
    NETWORK = 8


def take(layout: struct.Struct, payload: bytes, what: str) -> tuple[Any, ...]:
    """The numbers of a payload of exactly that layout.

    Raises
    ------
    LinkError
        If it is of another length.
    """
    if len(payload) != layout.size:
        raise LinkError(
            f"the board's answer to {what} has {len(payload)} bytes, expected {layout.size}; "
            "its firmware is of another version: rebuild it and reboot"
        )
    return layout.unpack(payload)


@dataclass(frozen=True, slots=True)
class Hello:
    """What a board says of itself (L5).

    Attributes
    ----------
    status : int
        0: a model is committed and runs; else the :class:`Number` of why none does.
    slot, memory : int
        Bytes of one model slot, and for arena and scratch.
    window : int
        Frames of a stream that it takes unacknowledged, 1..64.
    active : int or None
        The slot of the committed model.
    rates : tuple of int
        Exact rates, bit/s; empty where the line has none.
    height, width, channels, windows : int
        Of the committed model; 0 without.
    takes_pictures : bool
    size : int
        Bytes of the committed container; ``digest`` its SHA-256.
    """

    protocol: int
    abi: int
    status: int
    session: int
    board: str
    slot: int
    memory: int
    window: int
    active: int | None
    rates: tuple[int, ...]
    height: int
    width: int
    channels: int
    windows: int
    layers: int
    takes_pictures: bool
    size: int
    digest: bytes

    @property
    def planes(self) -> int:
        """Neighbour slices that the model looks at."""
        return self.channels // self.windows if self.windows else 0

    @classmethod
    def unpack(cls, payload: bytes) -> Hello:
        """Read an answer.

        Raises
        ------
        LinkError
            If the board speaks another protocol, or a number of it is out of range.
        """
        if payload and payload[0] != PROTOCOL:
            raise _wrong_protocol(payload[0])
        (
            protocol, abi, status, session, board, slot, memory, window, active, count, *rest
        ) = take(_HELLO_ANSWER, payload, "HELLO")  # fmt: skip
        rates = tuple(rest[:8])
        height, width, channels, windows, layers, pictures, size, digest = rest[8:]
        is_model = (
            1 <= min(height, width) <= max(height, width) <= MAX_SIDE
            and 1 <= windows <= MAX_WINDOWS
            and 1 <= channels <= MAX_CHANNELS
            and channels % windows == 0
            and 1 <= layers <= MAX_LAYERS
            and 1 <= size <= slot
        )
        if (
            not 1 <= window <= 64
            or count > 8
            or not all(1 <= rate <= _MAX_RATE for rate in rates[:count])
            or (status == 0 and not is_model)
        ):
            raise LinkError("the board's HELLO is out of range: rebuild its firmware and reboot")
        name = board.rstrip(b"\0").decode("ascii", "replace")
        return cls(
            protocol, abi, status, session, name, slot, memory, window,
            None if active == 0xFF else active, rates[:count],
            height, width, channels, windows, layers, bool(pictures), size, digest,
        )  # fmt: skip


def _wrong_protocol(found: int) -> LinkError:
    older, do = (
        ("the board's firmware is", "rebuild it and reboot")
        if found < PROTOCOL
        else ("this program is", "update napari-ct2mri")
    )
    return LinkError(
        f"the board speaks protocol {found}, expected {PROTOCOL}: {older} the older one; {do}"
    )


@dataclass(frozen=True, slots=True)
class Stats:
    """What a board has counted since HELLO (L14).

    Attributes
    ----------
    busy_us : int
        Microseconds computed.
    dropped, overrun : int
        Frames that failed their check; how often its UART is known to have lost bytes.
    layers_us : tuple of int
        Microseconds of each layer in the last slice; empty before counting was asked.
    """

    slices: int
    busy_us: int
    dropped: int
    overrun: int
    layers_us: tuple[int, ...]

    @classmethod
    def unpack(cls, payload: bytes) -> Stats:
        """Read an answer.

        Raises
        ------
        LinkError
            If its length does not fit its count.
        """
        slices, busy_us, dropped, overrun, count = take(STATS, payload[: STATS.size], "STATS")
        layers = take(struct.Struct(f"<{count}I"), payload[STATS.size :], "STATS")
        return cls(slices, busy_us, dropped, overrun, layers)


class Number(IntEnum):
    """Why a board refuses."""

    VERSION = 1
    TYPE = 2
    LENGTH = 3
    RANGE = 4
    ORDER = 5
    SIZE = 6
    NO_MODEL = 7
    DIGEST = 8
    MEMORY = 9
    GOLDEN = 10
    STORE = 11
    KIND = 12
    CODEC = 13
    RATE = 14
    CONTAINER = 100
    """From here on: 100 + the container's own error number."""


_WORDS = {
    Number.VERSION: "its firmware is of another protocol: rebuild it and reboot",
    Number.TYPE: "it does not know this request: rebuild its firmware and reboot",
    Number.LENGTH: "a payload of a wrong length: rebuild its firmware and reboot",
    Number.RANGE: "an offset, block or slot outside of what there is: push again",
    Number.ORDER: "out of order: it may have been reset meanwhile; connect and try again",
    Number.SIZE: "the model is larger than a slot of this board: export one with fewer filters",
    Number.NO_MODEL: "no model is committed: push one first",
    Number.DIGEST: "what it holds is not what was sent: push again",
    Number.MEMORY: "arena and scratch do not fit into this board: export a model with fewer "
    "filters, or for smaller slices",
    Number.GOLDEN: "its golden pair comes out wrong in {detail} bytes: rebuild the firmware; the "
    "kernels of this board differ from the reference",
    Number.STORE: "its store failed to erase, write or read back: push again; if it stays so, the "
    "flash is worn out or, of a simulated board, the disk full",
    Number.KIND: "this model takes CT volumes in HU, no pictures",
    Number.CODEC: "a slice that does not decode (codec status {detail}): rebuild its firmware",
    Number.RATE: "not an exact rate of this board; leave the choice to the program",
}
_CONTAINER_ABI = 5  # the error number of a container of another ABI


def board_error(number: int, request: int = 0, detail: int = 0) -> BoardError:
    """The sentence for an error of a board, with what to do."""
    try:
        name = Type(request).name
    except ValueError:
        name = f"request {request:#04x}"
    words = reason(number, detail)
    return BoardError(f"the board refuses {name}, error {number}: {words}", number)


def reason(number: int, detail: int = 0) -> str:
    """What an error number means, with what to do."""
    if number == Number.CONTAINER + _CONTAINER_ABI:
        return "the model is of another ABI than its firmware: rebuild the firmware and reboot"
    if number > Number.CONTAINER:
        return f"the model container breaks rule {number - Number.CONTAINER}: export it anew"
    if number in _WORDS:
        return _WORDS[Number(number)].format(detail=detail)
    return "a number that this program does not know: update napari-ct2mri"
