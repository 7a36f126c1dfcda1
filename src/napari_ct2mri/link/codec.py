"""Slices lossless and small on the wire: one plane to bytes and back.

Rules "Z" are those of ``docs/codec.md``; ``firmware/runtime/codec.c`` makes the same bytes. What
follows a code in a row depends on the row above it alone, and lengths stand apart from rests, so
that NumPy reads and writes whole rows.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NoReturn

import numpy as np
from numpy.typing import DTypeLike, NDArray

from napari_ct2mri.errors import LinkError

__all__ = ["MAX_SIDE", "decode", "encode"]

MAX_SIDE = 2048
_RAW, _CODED, _LEVELS = 0, 1, 2  # the first byte, Z2
_BLOCK = 8  # pixels, Z7
_GROUP = 8  # blocks, Z8
_LIMIT = 12  # zeros of the longest length, Z9
_REACH = 2  # pixels to either side whose magnitudes count, Z6
_BEFORE = {8: 16, 16: 64}  # magnitudes of the row above the first, Z6
_PRECISION = {np.dtype(np.uint8): 8, np.dtype(np.int16): 16}  # bits

Plane = NDArray[np.uint8] | NDArray[np.int16]


def encode(plane: Plane) -> bytes:
    """One plane as bytes: the same plane, the same bytes.

    Parameters
    ----------
    plane : (H, W) uint8 or int16
        Sides from 1 to 2048; any values.

    Returns
    -------
    bytes
        At most one more than the plane has.

    Raises
    ------
    LinkError
        If ``plane`` has another shape or type.
    """
    _check(plane.shape, plane.dtype)
    raw = bytes([_RAW]) + plane.astype(plane.dtype.newbyteorder("<")).tobytes()
    levels = _levels_of(plane)
    if levels is None:
        coded = bytes([_CODED]) + _code(plane)
    else:
        head = bytes([_LEVELS]) + np.packbits(levels, bitorder="little").tobytes()
        coded = head + _code(_ranks(levels)[plane])
    return coded if len(coded) < len(raw) else raw  # Z3


def decode(data: bytes, shape: tuple[int, int], dtype: DTypeLike) -> NDArray[Any]:
    """Bytes of :func:`encode` as the plane they were.

    Parameters
    ----------
    data : bytes
        All of the stream and no more.
    shape, dtype
        Those of the plane, which a stream does not hold.

    Returns
    -------
    (H, W) uint8 or int16

    Raises
    ------
    LinkError
        If there is no such plane or ``data`` is not the stream of one. Bytes that were altered may
        also make another picture: whoever sends them adds a checksum.
    """
    dtype = np.dtype(dtype)
    _check(shape, dtype)
    if not data:
        _cut(shape)
    form, body = data[0], data[1:]
    if form == _RAW:
        return _unpack_raw(body, shape, dtype)
    if form == _CODED:
        return _restore(_Reader(body, shape, _PRECISION[dtype]).magnitudes(), dtype)
    if form == _LEVELS and dtype == np.uint8:
        return _unpack_levels(body, shape)
    raise LinkError(
        f"a slice of {dtype} begins with byte {form}, expected {_RAW} to {_LEVELS}, the last for "
        "uint8 alone: the other side speaks another version; bring both to the same one."
    )


def _check(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if len(shape) != 2 or not 1 <= min(shape) <= max(shape) <= MAX_SIDE:
        raise LinkError(
            f"a slice of shape {shape} cannot be sent: expected (H, W), sides 1 to {MAX_SIDE}."
        )
    if dtype not in _PRECISION:
        raise LinkError(
            f"a slice of {dtype} cannot be sent: expected uint8 (grey levels) or int16 (HU)."
        )


def _cut(shape: tuple[int, int]) -> NoReturn:
    raise LinkError(f"the bytes of a slice of {shape} end before its last pixel: send it again.")


def _unpack_raw(body: bytes, shape: tuple[int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
    size = shape[0] * shape[1] * dtype.itemsize
    if len(body) < size:
        _cut(shape)
    if len(body) > size:
        raise _too_long(len(body) - size, shape)
    return np.frombuffer(body, dtype.newbyteorder("<")).astype(dtype).reshape(shape)


def _too_long(extra: int, shape: tuple[int, int]) -> LinkError:
    return LinkError(
        f"{extra} bytes too many, or bits that are not zero, after a slice of {shape}: "
        "send it again."
    )


# Levels: Z4


def _levels_of(plane: Plane) -> NDArray[np.bool_] | None:
    """Which grey levels occur, where at most every second one between the ends does."""
    if plane.dtype != np.uint8:
        return None
    occurs = np.bincount(plane.ravel(), minlength=256) > 0
    levels = np.flatnonzero(occurs)
    return occurs if 2 * len(levels) <= levels[-1] - levels[0] + 1 else None


def _ranks(occurs: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return (np.cumsum(occurs) - 1).astype(np.uint8)


def _unpack_levels(body: bytes, shape: tuple[int, int]) -> NDArray[np.uint8]:
    if len(body) < 32:
        _cut(shape)
    levels = np.flatnonzero(np.unpackbits(np.frombuffer(body[:32], np.uint8), bitorder="little"))
    ranks = _restore(_Reader(body[32:], shape, 8).magnitudes(), np.dtype(np.uint8))
    if ranks.max() >= len(levels):
        raise LinkError(
            f"a slice of {shape} names grey level {ranks.max()} of {len(levels)}: send it again."
        )
    plane: NDArray[np.uint8] = levels.astype(np.uint8)[ranks]
    return plane


# Prediction: Z5


def _magnitudes(plane: Plane) -> NDArray[np.int32]:
    """What the prediction misses by, as magnitudes in 0..2^bits - 1; arithmetic wraps."""
    west, north, northwest = np.empty_like(plane), np.zeros_like(plane), np.zeros_like(plane)
    north[1:], northwest[1:, 1:] = plane[:-1], plane[:-1, :-1]
    west[:, 1:], west[:, 0] = plane[:, :-1], north[:, 0]
    low, high = np.minimum(west, north), np.maximum(west, north)
    error = plane - (west + north - np.clip(northwest, low, high))
    bits = _PRECISION[plane.dtype]
    signed = error.view(np.int8 if bits == 8 else np.int16).astype(np.int32)
    magnitudes: NDArray[np.int32] = 2 * signed ^ signed >> 31
    return magnitudes


def _restore(magnitudes: NDArray[np.int32], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The plane with these magnitudes, along the diagonals on which no pixel needs another."""
    height, width = magnitudes.shape
    errors = magnitudes >> 1 ^ -(magnitudes & 1)
    slanted = np.zeros((height, height + width), dtype)
    slanted[:, :width] = errors.astype(dtype)
    # row y moves y to the right, so that columns are diagonals; then one diagonal a row
    slanted = slanted.ravel()[: height * (height + width - 1)].reshape(height, -1)
    error = np.ascontiguousarray(slanted.T)  # (H + W - 1, H)
    pixels = np.zeros((height + width + 1, height + 1), dtype)  # [diagonal + 2][row + 1]
    low, high, between = np.empty((3, height), dtype)
    for diagonal in range(height + width - 1):
        first, end = max(0, diagonal - width + 1), min(height, diagonal + 1)
        before, now = pixels[diagonal + 1], pixels[diagonal + 2]
        if diagonal < height:
            before[diagonal + 1] = before[diagonal]  # left of the plane: as above
        west, north = before[first + 1 : end + 1], before[first:end]
        l, h, b = low[: end - first], high[: end - first], between[: end - first]  # noqa: E741
        np.minimum(west, north, out=l)
        np.maximum(west, north, out=h)
        np.maximum(pixels[diagonal, first:end], l, out=b)
        np.minimum(b, h, out=b)
        np.subtract(error[diagonal, first:end], b, out=b)
        np.add(b, west, out=b)
        np.add(b, north, out=now[first + 1 : end + 1])
    return _straightened(pixels[2:, 1:], width)


def _straightened(diagonals: NDArray[Any], width: int) -> NDArray[Any]:
    """(H + W - 1, H) by diagonals to (H, W) by rows."""
    height = diagonals.shape[1]
    flat = np.zeros(height * (height + width), diagonals.dtype)
    flat[: height * (height + width - 1)] = diagonals.T.ravel()
    return np.ascontiguousarray(flat.reshape(height, -1)[:, :width])


# Parameters: Z6


@lru_cache(maxsize=2)
def _table(bits: int) -> NDArray[np.int64]:
    """The parameter for each sum of five magnitudes over 8: its binary digits, below ``bits``."""
    digits = np.frexp(np.arange((5 * (2**bits - 1) >> 3) + 1))[1]
    return np.minimum(digits, bits - 1).astype(np.int64)


def _parameters(above: NDArray[np.int32], bits: int) -> NDArray[np.int64]:
    """Of (..., W) pixels from the magnitudes (..., W + 4) above them, two more at each side."""
    pairs = above[..., :-1] + above[..., 1:]
    k: NDArray[np.int64] = _table(bits)[(pairs[..., :-3] + pairs[..., 2:-1] + above[..., 4:]) >> 3]
    return k


# Writing: Z7 to Z11


def _code(plane: Plane) -> bytes:
    height, width = plane.shape
    bits = _PRECISION[plane.dtype]
    magnitudes = _magnitudes(plane)
    above = np.zeros((height, width + 2 * _REACH), np.int32)
    above[0, _REACH:-_REACH] = _BEFORE[bits]
    above[1:, _REACH:-_REACH] = magnitudes[:-1]
    k = _parameters(above, bits)
    length = magnitudes >> k
    rest, rest_bits = magnitudes - (length << k), k
    escapes = length >= _LIMIT
    length[escapes], rest[escapes], rest_bits[escapes] = _LIMIT, magnitudes[escapes], bits
    quiet = _quiet_blocks(magnitudes)
    still = np.repeat(quiet, _BLOCK, axis=1)[:, :width] != 0
    length_bits = length + 1
    length_bits[still] = rest_bits[still] = 0
    head, head_bits = _heads(quiet)
    values = np.hstack([head, np.ones_like(length), rest])
    return _pack(values.ravel(), np.hstack([head_bits, length_bits, rest_bits]).ravel())


def _quiet_blocks(magnitudes: NDArray[np.int32]) -> NDArray[np.uint8]:
    """(H, blocks) 1 where all of a block is as predicted; filled up with 0 to whole groups."""
    height, width = magnitudes.shape
    blocks = -(-width // _BLOCK)
    moving = np.zeros((height, blocks * _BLOCK), bool)
    moving[:, :width] = magnitudes != 0
    quiet = np.zeros((height, -(-blocks // _GROUP) * _GROUP), np.uint8)
    quiet[:, :blocks] = ~moving.reshape(height, blocks, _BLOCK).any(axis=2)
    return quiet


def _heads(quiet: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Values and bits of the heads of all rows, (H, 1 + groups)."""
    changes = quiet.copy()
    changes[1:] ^= quiet[:-1]
    masks = np.packbits(changes, axis=1).astype(np.int64)
    rows = masks.any(axis=1, keepdims=True)
    values = np.hstack([rows, masks | (masks != 0) << _GROUP])
    bits = np.hstack([np.ones_like(rows, np.int64), rows * (1 + _GROUP * (masks != 0))])
    return values, bits


def _pack(values: NDArray[np.int64], bits: NDArray[np.int64]) -> bytes:
    """Values one after the other, each by so many bits, the highest first; zeros at the end."""
    some = np.flatnonzero(bits)
    values, bits = values[some].astype(np.int32), bits[some]
    ends = np.cumsum(bits)
    total = int(ends[-1])
    shifts = np.repeat(ends - 1, bits) - np.arange(total)
    return np.packbits(np.repeat(values, bits) >> shifts & 1).tobytes()


# Reading: Z7 to Z11


class _Reader:
    """One pass over the rows of a stream."""

    def __init__(self, data: bytes, shape: tuple[int, int], bits: int) -> None:
        self.shape, self.bits = shape, bits
        padded = np.frombuffer(data + bytes(3), np.uint8)
        self.digits = np.unpackbits(padded[: len(data)])
        self.ones = np.flatnonzero(self.digits)
        first, second, third = (padded[i : len(data) + 1 + i].astype(np.int32) for i in range(3))
        three = first << 16 | second << 8 | third
        # the 16 bits from each place
        self.words = (three[:, None] >> np.arange(8, 0, -1)).astype(np.uint16).ravel()
        self.place = 0
        groups = -(-shape[1] // (_BLOCK * _GROUP))
        self.quiet = np.zeros(groups, np.uint8)
        self.live = np.arange(shape[1])

    def magnitudes(self) -> NDArray[np.int32]:
        """(H, W) magnitudes."""
        height, width = self.shape
        rows = np.zeros((height + 1, width + 2 * _REACH), np.int32)
        rows[0, _REACH:-_REACH] = _BEFORE[self.bits]
        for above, row in zip(rows[:-1], rows[1:, _REACH:], strict=True):
            self._read_head()
            if len(self.live):
                row[self.live] = self._read_row(_parameters(above, self.bits)[self.live])
        self._check_end()
        return rows[1:, _REACH:-_REACH]

    def _take(self, count: int) -> NDArray[np.uint8]:
        digits = self.digits[self.place : self.place + count]
        if len(digits) < count:
            _cut(self.shape)
        self.place += count
        return digits

    def _read_head(self) -> None:
        if not self._take(1)[0]:
            return
        for group in range(len(self.quiet)):
            if self._take(1)[0]:
                self.quiet[group] ^= np.packbits(self._take(_GROUP))[0]
        moving = np.repeat(np.unpackbits(self.quiet) == 0, _BLOCK)
        self.live = np.flatnonzero(moving[: self.shape[1]])

    def _read_row(self, k: NDArray[np.int64]) -> NDArray[np.int64]:
        length = self._read_lengths(len(k))
        longest = int(length.max())
        if longest > _LIMIT:
            raise self._out_of_range(f"a length of {longest}", _LIMIT)
        if longest == _LIMIT:
            escapes = length == _LIMIT
            length[escapes], k[escapes] = 0, self.bits
        ends = np.cumsum(k)
        places = ends - k + self.place
        self.place += int(ends[-1])
        if self.place > len(self.digits):
            _cut(self.shape)
        magnitudes: NDArray[np.int64] = (length << k) + (self.words[places] >> 16 - k)
        largest = int(magnitudes.max())
        if largest >> self.bits:
            raise self._out_of_range(f"a magnitude of {largest}", 2**self.bits - 1)
        return magnitudes

    def _out_of_range(self, found: str, most: int) -> LinkError:
        return LinkError(
            f"{found} in a slice of {self.shape}, expected at most {most}: send it again."
        )

    def _read_lengths(self, count: int) -> NDArray[np.int64]:
        first = int(self.ones.searchsorted(self.place))
        ends = self.ones[first : first + count]
        if len(ends) < count:
            _cut(self.shape)
        length = ends.copy()
        length[0] -= self.place
        length[1:] -= ends[:-1] + 1
        self.place = int(ends[-1]) + 1
        return length

    def _check_end(self) -> None:
        rest = self.digits[self.place :]
        if len(rest) >= 8 or rest.any():
            raise _too_long(len(rest) // 8, self.shape)
