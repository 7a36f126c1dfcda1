"""Frames: what goes over the line, and what of the arriving bytes is believed.

::

    0      1      2                n - 4        n
    +------+------+------ - - - - -+------------+
    | type | seq  | payload        | CRC-32     |      6 <= n <= 1038      (rule L1)
    +------+------+------ - - - - -+------------+

COBS makes them free of zeros (Cheshire & Baker, "Consistent Overhead Byte Stuffing", IEEE/ACM
Trans. Networking 7(2), 1999); one zero ends each. Numbers are little-endian.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum

from cobs import cobs  # type: ignore[import-untyped]

from napari_ct2mri.errors import LinkError

__all__ = ["FRAME_PAYLOAD", "Frame", "FrameReader", "Type", "answer_to", "encode_frame"]

FRAME_PAYLOAD = 1032
_HEAD = struct.Struct("<BB")
_CRC = struct.Struct("<I")
assert (_HEAD.size, _CRC.size) == (2, 4)
_MIN_BYTES = _HEAD.size + _CRC.size
_MAX_BYTES = _MIN_BYTES + FRAME_PAYLOAD
MAX_ENCODED = _MAX_BYTES + -(-_MAX_BYTES // 254)  # without the zero
_ANSWER = 0x80


class Type(IntEnum):
    """What a frame is (L2)."""

    HELLO = 0x01
    RATE = 0x02
    BEGIN = 0x03
    WRITE = 0x04
    COPY = 0x05
    HASH = 0x06
    COMMIT = 0x07
    RUN = 0x08
    SLICE = 0x09
    STATS = 0x0A
    TEST = 0x0B
    RESET = 0x0C
    DIGEST = 0x0D
    READ = 0x0E
    ACK = 0x84
    MR = 0x89
    ERROR = 0xFF


def answer_to(request: Type) -> int:
    """The type that answers ``request``."""
    return Type.ACK if request is Type.SLICE else request | _ANSWER


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame whose check has passed. ``type`` is a byte: it need not be a :class:`Type`."""

    type: int
    seq: int
    payload: bytes


def encode_frame(kind: int, seq: int, payload: bytes = b"") -> bytes:
    """The bytes of a frame, its zero included.

    Raises
    ------
    LinkError
        If ``payload`` is longer than ``FRAME_PAYLOAD``.
    """
    if len(payload) > FRAME_PAYLOAD:
        raise LinkError(
            f"a frame takes {FRAME_PAYLOAD} bytes, got {len(payload)}: send them in several"
        )
    body = _HEAD.pack(kind, seq) + payload
    coded: bytes = cobs.encode(body + _CRC.pack(zlib.crc32(body)))
    return coded + b"\0"


class FrameReader:
    """Finds frames in bytes that arrive in pieces.

    Attributes
    ----------
    dropped : int
        Frames that did not decode, were too long or failed their check.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._rest = b""
        self._is_too_long = False

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that end in ``data``."""
        *ended, rest = (self._rest + data).split(b"\0")
        frames = []
        for coded in ended:
            frame = None if self._is_too_long else _decode(coded)
            if frame is not None:
                frames.append(frame)
            elif coded or self._is_too_long:
                self.dropped += 1
            self._is_too_long = False
        self._is_too_long |= len(rest) > MAX_ENCODED
        self._rest = b"" if self._is_too_long else rest
        return frames


def _decode(coded: bytes) -> Frame | None:
    if len(coded) > MAX_ENCODED:
        return None
    try:
        body: bytes = cobs.decode(coded)
    except cobs.DecodeError:
        return None
    if not _MIN_BYTES <= len(body) <= _MAX_BYTES:
        return None
    (crc,) = _CRC.unpack_from(body, len(body) - _CRC.size)
    if crc != zlib.crc32(memoryview(body)[: -_CRC.size]):
        return None
    return Frame(body[0], body[1], body[2 : -_CRC.size])
