"""A quantized generator: what a container holds and a board computes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.errors import FirmwareError
from napari_ct2mri.firmware.ops import Kind, Layer, Shape, phases
from napari_ct2mri.link.codec import MAX_SIDE

__all__ = [
    "Numbers",
    "QuantLayer",
    "QuantModel",
    "check_overflow",
    "check_size",
    "round_half_away",
    "tanh_table",
]

_INT32 = 2**31


@dataclass(frozen=True, slots=True)
class Numbers:
    """What the bytes of an image stand for: ``scale * (q - zero_point)`` (Q1)."""

    scale: float
    zero_point: int


@dataclass(frozen=True, slots=True, eq=False)
class QuantLayer:
    """A layer in integers.

    Attributes
    ----------
    layer : Layer
    weights : (phases, N, taps) int8 in -127..127 (Q2)
    bias : (phases, N) int32 (Q4)
    multiplier, shift : (2, N) int32
        For acc >= 0 and for acc < 0 (Q6, Q7).
    """

    layer: Layer
    weights: NDArray[np.int8]
    bias: NDArray[np.int32]
    multiplier: NDArray[np.int32]
    shift: NDArray[np.int32]

    @property
    def channels(self) -> int:
        """Of the output."""
        return int(self.bias.shape[1])

    @property
    def taps(self) -> int:
        """Products of one output value."""
        return int(self.weights.shape[2])


@dataclass(frozen=True, slots=True, eq=False)
class QuantModel:
    """Layers in the order they run; image 0 is the input, layer ``i`` makes image ``i + 1``.

    ``numbers`` has one entry an image. ``size`` is the (height, width) it runs at, pixels.
    """

    layers: tuple[QuantLayer, ...]
    numbers: tuple[Numbers, ...]
    size: tuple[int, int]

    @property
    def levels(self) -> int:
        """How often the image is halved."""
        return sum(each.layer.kind is Kind.DOWN for each in self.layers)

    @property
    def images(self) -> tuple[Shape, ...]:
        """Shape of every image."""
        first = self.layers[0]
        shapes = [Shape(*self.size, first.taps // 16)]
        for each in self.layers:
            before = shapes[each.layer.inputs[0]]
            sides = (before.height, before.width)
            down = each.layer.kind is Kind.DOWN
            height, width = (n // 2 if down else n * 2 for n in sides)
            shapes.append(Shape(height, width, each.channels))
        return tuple(shapes)

    def at_size(self, height: int, width: int) -> QuantModel:
        """The same integers for slices of another size.

        Raises
        ------
        FirmwareError
            If a side is no multiple of ``2**levels`` up to :data:`MAX_SIDE`.
        """
        check_size(self.levels, height, width)
        return replace(self, size=(height, width))

    def low(self, number: int) -> int:
        """Least byte that layer ``number`` stores (Q6, Q8)."""
        layer = self.layers[number].layer
        return self.numbers[layer.output].zero_point if layer.activation == "relu" else 0

    def macs(self, number: int) -> int:
        """Products of layer ``number``, those with padding included."""
        each = self.layers[number]
        out = self.images[each.layer.output]
        return out.size_bytes * each.taps


def check_size(levels: int, height: int, width: int) -> None:
    """Refuse slices that a network of ``levels`` levels can't halve so often.

    Raises
    ------
    FirmwareError
        If a side is no multiple of ``2**levels`` up to :data:`MAX_SIDE`.
    """
    step = 2**levels
    if any(n <= 0 or n % step or n > MAX_SIDE for n in (height, width)):
        raise FirmwareError(
            f"size {height} x {width}: a network of {levels} levels needs multiples of "
            f"{step} up to {MAX_SIDE} pixels"
        )


def check_overflow(layer: Layer, weights: NDArray[np.int8], bias: NDArray[np.int64]) -> None:
    """Prove that no accumulator can leave 32 bits (Q5).

    Parameters
    ----------
    layer : Layer
    weights : (phases, N, taps)
    bias : (phases, N)

    Raises
    ------
    FirmwareError
        Naming layer and channel of the first that could.
    """
    reach = np.abs(bias) + 255 * np.abs(weights.astype(np.int64)).sum(axis=2)
    if (reach >= _INT32).any():
        phase, channel = np.argwhere(reach >= _INT32)[0]
        where = f"phase {phases(layer.kind)[phase]}, " if len(weights) > 1 else ""
        raise FirmwareError(
            f"quantize: {layer.name}, {where}channel {channel}: accumulators may reach "
            f"{reach[phase, channel]}, expected less than 2^31; use fewer filters"
        )


def tanh_table() -> NDArray[np.uint16]:
    """T of Q12: 257 values in 0..32512."""
    return round_half_away(127 * 256 * np.tanh(np.arange(257) / 32)).astype(np.uint16)


def round_half_away(values: NDArray[Any]) -> NDArray[np.float64]:
    """To the nearest integer, halves away from zero."""
    values = np.asarray(values, np.float64)
    rounded: NDArray[np.float64] = np.copysign(np.floor(np.abs(values) + 0.5), values)
    return rounded
