"""Calibration: from float layers to integers, by what they do on real slices.

Layer after layer, in the order they run: float and integers see the same slices side by side, the
integers what the layers before them really store. So ranges come from what is there, and the
bias correction of a layer (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization
and Bias Correction", section 4.2, here with data) takes away what all errors so far add up to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import gcd
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.errors import FirmwareError
from napari_ct2mri.firmware.lower import SLOPE, FloatLayer, Graph, run_float
from napari_ct2mri.firmware.model import (
    Numbers,
    QuantLayer,
    QuantModel,
    check_overflow,
    round_half_away,
)
from napari_ct2mri.firmware.ops import Layer, phases
from napari_ct2mri.firmware.reference import accumulate, finish, quantize_input
from napari_ct2mri.jobs import Job, Progress

__all__ = ["INPUT", "MIN_SLICES", "OUTPUT", "Ranges", "fixed_point", "quantize"]

Floats = NDArray[np.float32]
Ranges = Literal["error", "percentile"]

INPUT = Numbers(1 / 127, 128)  # Q13
OUTPUT = Numbers(1 / 127, 128)  # Q12
MIN_SLICES = 8
_FLAT = 1e-3  # standard deviation in [-1, 1] below which a slice shows nothing
_BEFORE_TANH = 2.0**-12  # scale of the last layer's 16 bits, Q12
_PERCENTILE = 99.99
_SAMPLES = 50_000  # values of an image taken from each slice to find its range
_CLIPPED = np.linspace(1.0, 0.3, 36)  # parts of the range that are tried
_BIAS_ROOM = 2.0**29  # a bias in accumulator units stays below


def quantize(
    graph: Graph, slices: Floats, ranges: Ranges = "error", largest_weight: int = 127
) -> Job[QuantModel]:
    """Quantize ``graph`` by what it does on ``slices``.

    Parameters
    ----------
    slices : (n, C, H, W) float32 in [-1, 1]
        At least :data:`MIN_SLICES` that show something. The model's ``size`` becomes theirs.
    ranges : "error" or "percentile"
        Where activations are clipped: where the mean squared error is least, or at the 99.99th
        percentile.
    largest_weight : int
        1 to 127; 63 leaves weights 7 bits.

    Raises
    ------
    FirmwareError
        If there are too few slices, one is constant, they do not fit the model, or an
        accumulator could overflow (with the layer and the channel).
    """
    _check_slices(graph, slices)
    floats = [run_float(graph, each.transpose(1, 2, 0)) for each in slices]
    stored = [[quantize_input(each)] for each in slices]
    layers: list[QuantLayer] = []
    numbers = [INPUT]
    size = (slices.shape[2], slices.shape[3])
    for done, each in enumerate(graph.layers):
        steps = [next(run) for run in floats]
        numbers.append(_numbers(each.layer, [images[-1] for _, images, _ in steps], ranges))
        layer, unit = _quantize_layer(each, numbers, largest_weight)
        layers.append(layer)
        model = QuantModel(tuple(layers), tuple(numbers), size)
        accs = [accumulate(model, done, [s[i] for i in each.layer.inputs]) for s in stored]
        shift = _correction(unit, accs, [before for _, _, before in steps])
        layers[-1] = _shift_bias(layer, shift)
        model = QuantModel(tuple(layers), tuple(numbers), size)
        for images, acc in zip(stored, accs, strict=True):
            images.append(finish(model, done, acc + shift))
        yield Progress(done + 1, len(graph.layers), "layers quantized")
    return model


def fixed_point(factor: NDArray[np.float64]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """``factor > 0`` as ``m / 2**n`` with 2^30 <= m < 2^31 and n in 1..62 (Q6).

    A factor too small for n = 62 becomes the least there is.

    Raises
    ------
    FirmwareError
        If a factor is too large for n = 1.
    """
    mantissa, exponent = np.frexp(np.maximum(factor, 2.0**-32))
    m = np.rint(mantissa * 2.0**31)
    carried = m == 2.0**31
    m, n = np.where(carried, 2.0**30, m), 31 - exponent - carried
    if n.min() < 1:
        raise FirmwareError(f"quantize: a factor of {factor.max():g} is too large; train anew")
    return m.astype(np.int32), n.astype(np.int32)


def _check_slices(graph: Graph, slices: Floats) -> None:
    if len(slices) < MIN_SLICES:
        raise FirmwareError(
            f"calibration: {len(slices)} slices, expected at least {MIN_SLICES}; add pairs"
        )
    if slices.shape[1] != graph.channels:
        raise FirmwareError(
            f"calibration: slices of {slices.shape[1]} channels for a model of {graph.channels}"
        )
    flat = np.flatnonzero(slices.std(axis=(1, 2, 3)) < _FLAT)
    if len(flat):
        raise FirmwareError(
            f"calibration: slice {flat[0]} is constant ({len(flat)} of {len(slices)} are); leave "
            "out slices that show nothing"
        )


def _numbers(layer: Layer, images: Sequence[Floats], ranges: Ranges) -> Numbers:
    """Scale and zero point of a layer's output."""
    if layer.activation == "tanh":
        return OUTPUT
    step = max(1, images[0].size // _SAMPLES) | 1
    while gcd(step, images[0].shape[-1]) > 1:  # until it meets every channel
        step += 2
    values = np.concatenate([image.ravel()[::step] for image in images])
    if ranges == "percentile":
        low, high = np.percentile(values, [100 - _PERCENTILE, _PERCENTILE])
        return _between(float(low), float(high))
    return _least_error(values)


def _least_error(values: Floats) -> Numbers:
    """The range whose bytes differ least from ``values`` (mean square): high first, then low."""
    low, high = float(values.min()), float(values.max())
    for part in ("high", "low"):
        if part == "high":
            tried = [_between(low, high * c) for c in _CLIPPED]
        else:
            tried = [_between(low * c, high) for c in _CLIPPED]
        errors = [_error(values, numbers) for numbers in tried]
        best = float(_CLIPPED[int(np.argmin(errors))])
        low, high = (low, high * best) if part == "high" else (low * best, high)
    return _between(low, high)


def _between(low: float, high: float) -> Numbers:
    """256 steps from ``low`` to ``high``, both moved to hold 0, which is a whole step."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255 or 1.0
    return Numbers(scale, int(round_half_away(np.array(-low / scale))))


def _error(values: Floats, numbers: Numbers) -> float:
    q = np.rint(values / np.float32(numbers.scale)) + numbers.zero_point
    back = (q.clip(0, 255) - numbers.zero_point) * np.float32(numbers.scale)
    return float(np.mean((values - back) ** 2))


def _quantize_layer(
    each: FloatLayer, numbers: Sequence[Numbers], largest_weight: int
) -> tuple[QuantLayer, NDArray[np.float64]]:
    """The layer in integers, and what one step of each channel's accumulator stands for, (N,)."""
    layer = each.layer
    inputs = [numbers[i] for i in layer.inputs]
    s_x = inputs[0].scale
    which = _tap_inputs(each)
    ratio = np.array([x.scale / s_x for x in inputs])[which]  # Q11
    folded = each.weights.astype(np.float64) * ratio
    bias = each.bias.astype(np.float64)
    s_w = np.abs(folded).max(axis=(0, 2)) / largest_weight
    s_w = np.maximum(s_w, np.maximum(np.abs(bias), 1e-30) / (s_x * _BIAS_ROOM))
    weights = round_half_away(folded / s_w[:, None]).astype(np.int8)
    zeros = np.array([x.zero_point for x in inputs])[which]
    shifted = round_half_away(bias / (s_x * s_w)) - weights.astype(np.int64) @ zeros  # Q4
    s_y = _BEFORE_TANH if layer.activation == "tanh" else numbers[layer.output].scale
    slope = SLOPE if layer.activation == "leaky" else 1.0
    unit = s_x * s_w
    pairs = fixed_point(unit / s_y), fixed_point(unit / s_y * slope)
    multiplier, shift = (np.stack(both) for both in zip(*pairs, strict=True))
    return QuantLayer(layer, weights, shifted.astype(np.int32), multiplier, shift), unit


def _correction(
    unit: NDArray[np.float64], accs: Sequence[NDArray[np.int64]], floats: Sequence[Floats]
) -> NDArray[np.int64]:
    """What to add to each channel's bias so that accumulators are right on average, (N,)."""
    errors = [
        before.mean(axis=(0, 1), dtype=np.float64) - acc.mean(axis=(0, 1)) * unit
        for acc, before in zip(accs, floats, strict=True)
    ]
    return round_half_away(np.mean(errors, axis=0) / unit).astype(np.int64)


def _shift_bias(each: QuantLayer, shift: NDArray[np.int64]) -> QuantLayer:
    bias = each.bias + shift
    check_overflow(each.layer, each.weights, bias)
    return replace(each, bias=bias.astype(np.int32))


def _tap_inputs(each: FloatLayer) -> NDArray[np.int64]:
    """Which input each tap reads (Q11): skip and decoder have the same number of channels."""
    count = len(each.layer.inputs)
    positions = 16 // len(phases(each.layer.kind))
    per_input = each.weights.shape[2] // positions // count
    return np.tile(np.repeat(np.arange(count), per_input), positions)
