"""L0: the rules of ``docs/quantization.md`` in NumPy, to the last bit.

Sums run in double precision through BLAS. They are exact: every partial sum is an integer below
2^31 in magnitude (Q5), and a double holds integers to 2^53.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.errors import FirmwareError
from napari_ct2mri.firmware.model import QuantLayer, QuantModel, round_half_away, tanh_table
from napari_ct2mri.firmware.ops import convolve

__all__ = [
    "accumulate",
    "dequantize_output",
    "each_layer",
    "finish",
    "quantize_input",
    "rescale",
    "run",
    "tanh_bytes",
]

Bytes = NDArray[np.uint8]
_TANH = tanh_table().astype(np.int64)


def run(model: QuantModel, image: Bytes) -> Bytes:
    """One slice through the whole model.

    Parameters
    ----------
    image : (H, W, C) uint8
        As :func:`quantize_input` makes it.

    Returns
    -------
    (H, W) uint8
    """
    result = image
    for result in each_layer(model, image):  # noqa: B007 - the last is wanted
        pass
    return result[..., 0]


def each_layer(model: QuantModel, image: Bytes) -> Iterator[Bytes]:
    """The stored output of every layer in turn, (h, w, N)."""
    first = model.images[0]
    expected = (first.height, first.width, first.channels)
    if image.shape != expected or image.dtype != np.uint8:
        raise FirmwareError(
            f"expected a slice of shape {expected} in bytes, got {image.shape} {image.dtype}"
        )
    images = [image]
    for number, each in enumerate(model.layers):
        acc = accumulate(model, number, [images[i] for i in each.layer.inputs])
        images.append(finish(model, number, acc))
        yield images[-1]


def accumulate(model: QuantModel, number: int, images: Sequence[Bytes]) -> NDArray[np.int64]:
    """The accumulators of layer ``number``, (h, w, N) (Q3, Q9 to Q11)."""
    each = model.layers[number]
    zeros = [model.numbers[i].zero_point for i in each.layer.inputs]
    sources = [
        np.maximum(image, np.uint8(zero)) if relu else image  # Q8
        for image, zero, relu in zip(images, zeros, each.layer.rectified, strict=True)
    ]
    weights = each.weights.astype(np.float64)
    return convolve(each.layer.kind, sources, zeros, weights, each.bias, _exact_product)


def finish(model: QuantModel, number: int, acc: NDArray[np.int64]) -> Bytes:
    """Accumulators to stored bytes (Q6 to Q8, Q12)."""
    each = model.layers[number]
    scaled = rescale(acc, each)
    if each.layer.activation == "tanh":
        return tanh_bytes(scaled)
    zero = model.numbers[each.layer.output].zero_point
    return (zero + scaled).clip(model.low(number), 255).astype(np.uint8)


def rescale(acc: NDArray[np.int64], each: QuantLayer) -> NDArray[np.int64]:
    """(acc * m + 2^(n - 1)) >> n with the pair of the sign of acc (Q6, Q7)."""
    multiplier, shift = (
        np.where(acc < 0, a[1], a[0]).astype(np.int64) for a in (each.multiplier, each.shift)
    )
    rounded = acc * multiplier + (np.int64(1) << (shift - 1))
    result: NDArray[np.int64] = rounded >> shift
    return result


def quantize_input(unit: NDArray[np.float32]) -> Bytes:
    """(C, H, W) CT channels in [-1, 1] to (H, W, C) bytes (Q13)."""
    channels = round_half_away(127 * unit.astype(np.float64).clip(-1, 1)) + 128
    return np.ascontiguousarray(channels.astype(np.uint8).transpose(1, 2, 0))


def dequantize_output(output: Bytes) -> NDArray[np.float32]:
    """Bytes of the last layer to [-1, 1] (Q12)."""
    unit: NDArray[np.float32] = (output.astype(np.float32) - 128) / np.float32(127)
    return unit


def tanh_bytes(scaled: NDArray[np.int64]) -> Bytes:
    """The last layer's 16-bit values, scale 2^-12, through tanh (Q12)."""
    v = scaled.clip(-32768, 32767)
    a = np.minimum(np.abs(v), 32767)
    i, f = a >> 7, a & 127
    t = (_TANH[i] * (128 - f) + _TANH[i + 1] * f + (1 << 14)) >> 15
    output: Bytes = (128 + np.where(v >= 0, t, -t)).astype(np.uint8)
    return output


def _exact_product(taps: Bytes, weights: NDArray[np.float64]) -> NDArray[np.int64]:
    product: NDArray[np.float64] = taps.astype(np.float64) @ weights
    return product.astype(np.int64)
