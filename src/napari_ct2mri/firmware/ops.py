"""The two operations a generator is made of, on NHWC images, as products of dense matrices.

A layer gathers the taps of every output pixel into a row and multiplies by its weights. The
same gather serves float and integer arithmetic. Rules "Q" are those of ``docs/quantization.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Activation", "Kind", "Layer", "Shape", "convolve", "gather", "phases"]

Activation = Literal["leaky", "relu", "tanh"]
Image = NDArray[Any]


class Kind(Enum):
    """What a layer does to its image; the value is its number in the container."""

    DOWN = 1  # 4 x 4 convolution, stride 2, padding 1
    UP = 2  # its transpose, as four 2 x 2 convolutions


@dataclass(frozen=True, slots=True)
class Shape:
    """Height, width and channels of an image."""

    height: int
    width: int
    channels: int

    @property
    def size_bytes(self) -> int:
        """Of the image in bytes."""
        return self.height * self.width * self.channels


@dataclass(frozen=True, slots=True)
class Layer:
    """What a layer does, whatever numbers it does it with.

    ``inputs`` and ``output`` are indices of images; of two inputs the first is a skip. Where
    ``rectified`` says so, an input is read through ReLU (Q8).
    """

    name: str
    kind: Kind
    inputs: tuple[int, ...]
    output: int
    activation: Activation
    rectified: tuple[bool, ...]


def phases(kind: Kind) -> list[tuple[int, int]]:
    """Phases (p, q) of a layer, in the order of its weights."""
    return [(0, 0)] if kind is Kind.DOWN else [(0, 0), (0, 1), (1, 0), (1, 1)]


def gather(
    kind: Kind, images: Sequence[Image], fills: Sequence[float], phase: tuple[int, int]
) -> Image:
    """The taps of every output pixel of one phase.

    Parameters
    ----------
    kind : Kind
    images : one or two (H, W, C)
        Read side by side (Q11).
    fills : a number an image
        What taps beyond the image read.
    phase : (p, q)
        One of :func:`phases`.

    Returns
    -------
    (h, w, taps)
        Output pixels of the phase; taps in the order of Q9, Q10: row, column, channel.
    """
    side, step = (4, 2) if kind is Kind.DOWN else (2, 1)
    parts = []
    for image, fill in zip(images, fills, strict=True):
        (height, width, _), (p, q) = image.shape, phase
        padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), constant_values=fill)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(0, 1))
        chosen = windows[p : p + height : step, q : q + width : step]  # (h, w, C, side, side)
        parts.append(chosen.transpose(0, 1, 3, 4, 2))
    taps = np.concatenate(parts, axis=-1)
    return taps.reshape(*taps.shape[:2], -1)


def convolve(
    kind: Kind,
    images: Sequence[Image],
    fills: Sequence[float],
    weights: Image,
    biases: Image,
    multiply: Callable[[Image, Image], Image] = np.matmul,
) -> Image:
    """A layer before its activation.

    Parameters
    ----------
    weights : (phases, N, taps)
    biases : (phases, N)
    multiply : callable
        ``(pixels, taps)`` times ``(taps, N)``.

    Returns
    -------
    (h, w, N)
        Half the height and width of the images, or twice.
    """
    results = list(_each_phase(kind, images, fills, weights, biases, multiply))
    if kind is Kind.DOWN:
        return results[0]
    height, width, channels = results[0].shape
    whole = np.empty((2 * height, 2 * width, channels), results[0].dtype)
    for (p, q), result in zip(phases(kind), results, strict=True):
        whole[p::2, q::2] = result
    return whole


def _each_phase(
    kind: Kind,
    images: Sequence[Image],
    fills: Sequence[float],
    weights: Image,
    biases: Image,
    multiply: Callable[[Image, Image], Image],
) -> Iterator[Image]:
    for number, phase in enumerate(phases(kind)):
        taps = gather(kind, images, fills, phase)
        product = multiply(taps.reshape(-1, taps.shape[-1]), weights[number].T)
        yield product.reshape(*taps.shape[:2], -1) + biases[number]
