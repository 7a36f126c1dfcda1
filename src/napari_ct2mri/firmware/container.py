"""``model.ctm``: a quantized model as one block of little-endian bytes.

::

    0    header   128 bytes, its last 32 the SHA-256 of all other bytes
         images   16 bytes each: where in the arena, shape, numbers
         layers   32 bytes each
         tables   16 bytes each: CT values to input bytes (Q13)
         info     JSON for the host; a board does not look at it
         tanh, values of the tables, golden pair      each at a multiple of 64
    4096 layer 0  at a multiple of 4096: bias s32 [phases][N], multiplier s32 [2][N],
                  shift s32 [2][N], at the next multiple of 64 weights s8 [phases][N][depth]
    ...

N is even, depth a multiple of 32 (Q15). Whoever reads bounds every number before using it, in the
same order and with the same error numbers here and on the board (``runtime/container.c``).
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.config import Window
from napari_ct2mri.disk import parse_json
from napari_ct2mri.errors import ContainerError, FirmwareError
from napari_ct2mri.firmware.arena import (
    ALIGN,
    Block,
    Plan,
    Tile,
    aligned,
    depth_of,
    even,
    lifetimes,
    scratch_bytes,
)
from napari_ct2mri.firmware.model import (
    Numbers,
    QuantLayer,
    QuantModel,
    check_overflow,
    tanh_table,
)
from napari_ct2mri.firmware.ops import Activation, Kind, Layer, Shape, phases
from napari_ct2mri.firmware.reference import quantize_input
from napari_ct2mri.imaging.intensity import GREY_MAX, window_to_unit
from napari_ct2mri.link.codec import MAX_SIDE
from napari_ct2mri.link.messages import MAX_CHANNELS, MAX_LAYERS, MAX_WINDOWS

__all__ = ["ABI", "FORMAT", "Container", "Fault", "Table", "ct_tables", "pack", "unpack"]

FORMAT, ABI = 1, 1
MAX_TABLES, MAX_TABLE = MAX_WINDOWS, 16384  # one a window; that of pictures beside a single one
MAX_DEPTH = 32768
PAGE = 4096
_MAGIC = b"CT2MRI\r\n"
_ORDER = 0x04030201
_HEADER = struct.Struct("<8s I HH 3I 8H 13I 32s")
_IMAGE = struct.Struct("<I 3H BB f")
_LAYER = struct.Struct("<4B 4H 5I")
_TABLE = struct.Struct("<i 3I")
assert (_HEADER.size, _IMAGE.size, _LAYER.size, _TABLE.size) == (128, 16, 32, 16)
_DIGEST_AT = 96
_ACTIVATIONS: tuple[Activation, ...] = ("leaky", "relu", "tanh")
_PICTURE = 0xFFFFFFFF  # kind of the table for pictures; others are the number of a window


class Fault(IntEnum):
    """What can be wrong with a container; the numbers are those of ``ct_status``."""

    CUT = 1
    MAGIC = 2
    ORDER = 3
    FORMAT = 4
    ABI = 5
    DIGEST = 6
    HEADER = 7
    IMAGE = 8
    LAYER = 9
    PLACE = 10
    RESCALE = 11
    OVERFLOW = 12
    TABLE = 13


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """CT value ``v`` reads ``values[clip(v - first)]``; ``window`` None is for grey levels."""

    window: int | None
    first: int
    values: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Container:
    """All that a container holds.

    Attributes
    ----------
    golden : (H, W, C) and (H, W) uint8
        A slice, of nobody, and what the model makes of it.
    info : dict
        Plain JSON for the host: the model's name, contrast and settings.
    """

    model: QuantModel
    plan: Plan
    tables: tuple[Table, ...]
    golden: tuple[NDArray[np.uint8], NDArray[np.uint8]]
    info: dict[str, Any]


def ct_tables(windows: Sequence[Window]) -> tuple[Table, ...]:
    """The tables of a model's windows, and of pictures where there is one window (Q13)."""
    tables = []
    for number, window in enumerate(windows):
        hu = np.arange(int(np.floor(window.low)), int(np.ceil(window.high)) + 1)
        tables.append(Table(number, int(hu[0]), _bytes_of(window_to_unit(hu, window))))
    if len(windows) == 1:
        grey = np.arange(256)
        tables.append(Table(None, 0, _bytes_of((grey * (2 / GREY_MAX) - 1).astype(np.float32))))
    return tuple(tables)


def _bytes_of(unit: NDArray[np.float32]) -> NDArray[np.uint8]:
    return quantize_input(unit[None, None])[0, :, 0]


def pack(container: Container) -> bytes:
    """The container as bytes: the same input, the same bytes."""
    model = container.model
    info = json.dumps(container.info, sort_keys=True, separators=(",", ":")).encode()
    counts = (len(model.numbers), len(model.layers), len(container.tables))
    images_at = _HEADER.size
    layers_at = images_at + counts[0] * _IMAGE.size
    tables_at = layers_at + counts[1] * _LAYER.size
    info_at = tables_at + counts[2] * _TABLE.size
    body = _Body(info_at)
    body.add(info, 1)
    tanh_at = body.add(tanh_table().astype("<u2").tobytes())
    values_at = [body.add(table.values.tobytes()) for table in container.tables]
    golden_at = [body.add(np.ascontiguousarray(image).tobytes()) for image in container.golden]
    params_at = [body.add(_params(each), PAGE) for each in model.layers]
    body.align(PAGE)
    size = info_at + len(body.data)
    windows = sum(table.window is not None for table in container.tables)
    header = (
        _MAGIC, _ORDER, FORMAT, ABI, size, container.plan.arena_bytes,
        container.plan.scratch_bytes, *model.size, model.images[0].channels, windows, *counts, 0,
        images_at, layers_at, tables_at, tanh_at, *golden_at, info_at, len(info), 0, 0, 0, 0, 0,
    )  # fmt: skip
    start = b"".join(
        [
            *(_pack_image(container, i) for i in range(counts[0])),
            *(_pack_layer(container, i, at) for i, at in enumerate(params_at)),
            *(
                _TABLE.pack(t.first, len(t.values), at, _PICTURE if t.window is None else t.window)
                for t, at in zip(container.tables, values_at, strict=True)
            ),
        ]
    )
    whole = bytearray(_HEADER.pack(*header, bytes(32)) + start + body.data)
    return seal(whole)


def seal(whole: bytearray) -> bytes:
    """Put the SHA-256 of all other bytes into the header."""
    whole[_DIGEST_AT : _HEADER.size] = _digest(whole)
    return bytes(whole)


def _digest(data: bytes | bytearray) -> bytes:
    view = memoryview(data)
    digest = hashlib.sha256(view[:_DIGEST_AT])
    digest.update(view[_HEADER.size :])
    return digest.digest()


class _Body:
    """Bytes that grow, from a place in the file."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.data = bytearray()

    def align(self, step: int) -> int:
        place = aligned(self.start + len(self.data), step)
        self.data.extend(bytes(place - self.start - len(self.data)))
        return place

    def add(self, data: bytes, step: int = ALIGN) -> int:
        """Append at a multiple of ``step``; returns the place."""
        place = self.align(step)
        self.data.extend(data)
        return place


def _params(each: QuantLayer) -> bytes:
    """Bias, multipliers, shifts and weights of a layer in their packed form."""
    channels, depth = even(each.channels), depth_of(each)
    bias = np.zeros((len(each.bias), channels), "<i4")
    bias[:, : each.channels] = each.bias
    pairs = np.zeros((2, 2, channels), "<i4")
    pairs[0], pairs[1] = 2**30, 1  # a zero channel is never stored, but in range
    pairs[0, :, : each.channels], pairs[1, :, : each.channels] = each.multiplier, each.shift
    weights = np.zeros((len(each.weights), channels, depth), np.int8)
    weights[:, : each.channels, : each.taps] = each.weights
    numbers = bias.tobytes() + pairs.tobytes()
    return numbers.ljust(aligned(len(numbers)), b"\0") + weights.tobytes()


def _pack_image(container: Container, number: int) -> bytes:
    shape, numbers = container.model.images[number], container.model.numbers[number]
    offset = container.plan.blocks[number].offset
    return _IMAGE.pack(
        offset, shape.height, shape.width, shape.channels, numbers.zero_point, 0, numbers.scale
    )


def _pack_layer(container: Container, number: int, params_at: int) -> bytes:
    each, tile = container.model.layers[number], container.plan.tiles[number]
    layer = each.layer
    rectified = sum(flag << i for i, flag in enumerate(layer.rectified))
    inputs = (*layer.inputs, 0)[:2]
    return _LAYER.pack(
        layer.kind.value, _ACTIVATIONS.index(layer.activation), len(layer.inputs), rectified,
        *inputs, tile.pixels, tile.channels, even(each.channels), depth_of(each), params_at, 0, 0,
    )  # fmt: skip


def unpack(data: bytes) -> Container:
    """Read a container, trusting no number in it.

    Raises
    ------
    ContainerError
        With the number of the :class:`Fault`.
    """
    return _Reader(data).read()


class _Reader:
    """One pass over a container, in the order of ``ct_open``."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def read(self) -> Container:
        """The whole container."""
        self._read_header()
        shapes, numbers, offsets = self._images()
        layers, tiles = [], []
        for number in range(self.layer_count):
            each, tile = self._layer(number, shapes, numbers)
            layers.append(each)
            tiles.append(tile)
        tables = self._tables()
        golden = self._golden()
        model = QuantModel(tuple(layers), tuple(numbers), (shapes[0].height, shapes[0].width))
        return Container(model, self._plan(model, offsets, tiles), tables, golden, self._info())

    def _read_header(self) -> None:
        data = self.data
        if len(data) < _HEADER.size:
            raise _fault(Fault.CUT, f"{len(data)} bytes, expected at least {_HEADER.size}")
        (
            magic, order, format_, abi, size, self.arena_bytes, self.scratch_bytes,
            self.height, self.width, self.channels, self.windows,
            self.image_count, self.layer_count, self.table_count, zero,
            self.images_at, self.layers_at, self.tables_at, self.tanh_at,
            self.input_at, self.output_at, self.info_at, self.info_bytes, *rest, digest,
        ) = _HEADER.unpack_from(data)  # fmt: skip
        if magic != _MAGIC:
            raise _fault(Fault.MAGIC, "this is no model container")
        if order != _ORDER:
            raise _fault(Fault.ORDER, "it is of another byte order; containers are little-endian")
        if format_ != FORMAT:
            raise _fault(Fault.FORMAT, f"format {format_}, expected {FORMAT}; export anew")
        if abi != ABI:
            raise _fault(Fault.ABI, f"ABI {abi}, expected {ABI}; rebuild the firmware and reboot")
        if size > len(data) or size < _HEADER.size:
            raise _fault(Fault.CUT, f"{len(data)} bytes, expected {size}; copy it again")
        self.data = data = data[:size]
        if digest != _digest(data):
            raise _fault(Fault.DIGEST, "its SHA-256 differs: it was altered; export or copy anew")
        fits = (
            not zero
            and not any(rest)
            and 1 <= self.layer_count <= MAX_LAYERS
            and self.image_count == self.layer_count + 1
            and 1 <= self.windows <= self.table_count <= MAX_TABLES
            and 1 <= self.channels <= MAX_CHANNELS
            and self.channels % self.windows == 0
        )
        if not fits:
            raise _fault(Fault.HEADER, "a count in its header is out of range")
        self._at(self.images_at, self.image_count * _IMAGE.size, 4)
        self._at(self.layers_at, self.layer_count * _LAYER.size, 4)
        self._at(self.tables_at, self.table_count * _TABLE.size, 4)
        self._at(self.info_at, self.info_bytes, 1)

    def _at(self, place: int, size: int, step: int) -> memoryview:
        """Bytes of the container, once they are known to lie in it."""
        if place % step or place + size > len(self.data):
            raise _fault(
                Fault.PLACE, f"{size} bytes at {place} lie outside its {len(self.data)} bytes"
            )
        return memoryview(self.data)[place : place + size]

    def _images(self) -> tuple[list[Shape], list[Numbers], list[int]]:
        shapes, numbers, offsets = [], [], []
        for number in range(self.image_count):
            offset, height, width, channels, zero_point, _, scale = _IMAGE.unpack_from(
                self.data, self.images_at + number * _IMAGE.size
            )
            shape = Shape(height, width, channels)
            fits = (
                min(height, width) > 0
                and max(height, width) <= MAX_SIDE
                and channels > 0
                and offset % ALIGN == 0
                and offset + shape.size_bytes <= self.arena_bytes
            )
            if not fits:
                raise _fault(Fault.IMAGE, f"image {number} does not fit into the arena")
            shapes.append(shape)
            numbers.append(Numbers(scale, zero_point))
            offsets.append(offset)
        if shapes[0] != Shape(self.height, self.width, self.channels) or shapes[-1] != Shape(
            self.height, self.width, 1
        ):
            raise _fault(Fault.IMAGE, "its first and last image are not the slice and the MR")
        return shapes, numbers, offsets

    def _layer(
        self, number: int, shapes: Sequence[Shape], numbers: Sequence[Numbers]
    ) -> tuple[QuantLayer, Tile]:
        record = _LAYER.unpack_from(self.data, self.layers_at + number * _LAYER.size)
        kind_number, activation, input_count, rectified, *inputs, pixels, tile_channels = record[:8]
        channels, depth, place, *rest = record[8:]
        tile = Tile(pixels, tile_channels)
        wrong = _fault(Fault.LAYER, f"layer {number} does not fit its images or its tile")
        if kind_number not in (1, 2) or activation > 2 or input_count not in (1, 2) or any(rest):
            raise wrong
        kind, inputs, out = Kind(kind_number), inputs[:input_count], shapes[number + 1]
        if rectified >> input_count or max(inputs) > number:
            raise wrong
        sources = [shapes[i] for i in inputs]
        taps = (16 if kind is Kind.DOWN else 4) * sum(s.channels for s in sources)
        if not (
            all(_matches(kind, source, out) for source in sources)
            and taps <= depth <= MAX_DEPTH
            and depth % 32 == 0
            and channels == even(out.channels)
            and pixels >= 1
            and tile_channels >= 2
            and tile_channels % 2 == 0
            and scratch_bytes(tile, depth) <= self.scratch_bytes
        ):
            raise wrong
        if (activation == 2) != (number == self.layer_count - 1):
            raise wrong
        level = number if kind is Kind.DOWN else self.layer_count - 1 - number
        name = f"{kind.name.lower()}.{level}"
        layer = Layer(
            name, kind, tuple(inputs), number + 1, _ACTIVATIONS[activation],
            tuple(bool(rectified >> i & 1) for i in range(input_count)),
        )  # fmt: skip
        return self._parameters(layer, place, channels, depth, (out.channels, taps)), tile

    def _parameters(
        self, layer: Layer, place: int, channels: int, depth: int, real: tuple[int, int]
    ) -> QuantLayer:
        """Numbers of a layer; ``real`` are its channels and taps without padding."""
        count = len(phases(layer.kind))
        before = aligned(4 * channels * (count + 4))
        raw = self._at(place, before + count * channels * depth, PAGE)
        words = np.frombuffer(raw, "<i4", channels * (count + 4))
        bias = words[: count * channels].reshape(count, channels)
        multiplier, shift = words[count * channels :].reshape(2, 2, channels)
        weights = np.frombuffer(raw, np.int8, offset=before).reshape(count, channels, depth)
        if (multiplier < 2**30).any() or (shift < 1).any() or (shift > 62).any():
            raise _fault(Fault.RESCALE, f"{layer.name} has a multiplier or shift out of range")
        try:
            check_overflow(layer, weights, bias.astype(np.int64))
        except FirmwareError as error:
            raise _fault(Fault.OVERFLOW, str(error)) from error
        n, taps = real
        return QuantLayer(
            layer, weights[:, :n, :taps], bias[:, :n], multiplier[:, :n], shift[:, :n]
        )

    def _tables(self) -> tuple[Table, ...]:
        tanh = np.frombuffer(self._at(self.tanh_at, 2 * 257, ALIGN), "<u2")
        if tanh[-1] > 127 * 256 or (tanh[1:] < tanh[:-1]).any():
            raise _fault(Fault.TABLE, "its table of tanh does not rise from 0 to 32512")
        tables = []
        for number in range(self.table_count):
            first, count, place, window = _TABLE.unpack_from(
                self.data, self.tables_at + number * _TABLE.size
            )
            expected = number if number < self.windows else _PICTURE
            if not 1 <= count <= MAX_TABLE or abs(first) > 2 * MAX_TABLE or window != expected:
                raise _fault(Fault.TABLE, f"its table {number} of CT values is out of range")
            values = np.frombuffer(self._at(place, count, ALIGN), np.uint8)
            tables.append(Table(None if window == _PICTURE else window, first, values))
        return tuple(tables)

    def _golden(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        pixels = self.height * self.width
        given = np.frombuffer(self._at(self.input_at, pixels * self.channels, ALIGN), np.uint8)
        made = np.frombuffer(self._at(self.output_at, pixels, ALIGN), np.uint8)
        return (
            given.reshape(self.height, self.width, self.channels),
            made.reshape(self.height, self.width),
        )

    def _info(self) -> dict[str, Any]:
        try:
            info = parse_json(bytes(self._at(self.info_at, self.info_bytes, 1)))
        except ValueError as error:
            raise _fault(Fault.HEADER, "its information for the host is not JSON") from error
        if not isinstance(info, dict):
            raise _fault(Fault.HEADER, "its information for the host is no object")
        return info

    def _plan(self, model: QuantModel, offsets: list[int], tiles: list[Tile]) -> Plan:

        blocks = (
            Block(b.name, offset, b.size, b.first, b.last)
            for b, offset in zip(lifetimes(model), offsets, strict=True)
        )
        return Plan(tuple(blocks), tuple(tiles), self.scratch_bytes)


def _matches(kind: Kind, source: Shape, out: Shape) -> bool:
    """Whether a layer of ``kind`` makes images like ``out`` of images like ``source``."""
    small, large = (out, source) if kind is Kind.DOWN else (source, out)
    return (large.height, large.width) == (2 * small.height, 2 * small.width)


def _fault(fault: Fault, message: str) -> ContainerError:
    return ContainerError(f"model container, error {fault.value}: {message}", fault.value)
