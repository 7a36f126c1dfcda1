"""Each kernel alone, at the ends of its ranges, against the rules in Python."""

from __future__ import annotations

import ctypes
from dataclasses import replace

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from native import Native, Rescale, buffer
from random_models import random_model

from napari_ct2mri.firmware.model import QuantLayer, tanh_table
from napari_ct2mri.firmware.reference import rescale, tanh_bytes

ACC = st.integers(-(2**31), 2**31 - 1)
PAIR = st.tuples(st.integers(2**30, 2**31 - 1), st.integers(1, 62))


def c_rescale(each: QuantLayer, zero_point: int, low: int) -> Rescale:
    made = Rescale(zero_point=zero_point, low=low, high=255)
    for sign in (0, 1):
        made.multiplier[sign] = each.multiplier[sign].ctypes.data
        made.shift[sign] = each.shift[sign].ctypes.data
    return made


def layer_of(pairs: list[tuple[tuple[int, int], tuple[int, int]]]) -> QuantLayer:
    """A layer with these (multiplier, shift) pairs a channel, for acc >= 0 and acc < 0."""
    numbers = np.array(pairs, np.int32)  # (N, sign, multiplier or shift)
    multiplier, shift = (np.ascontiguousarray(numbers[:, :, i].T) for i in (0, 1))
    return replace(MODEL.layers[0], multiplier=multiplier, shift=shift)


MODEL = random_model()


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rows=st.lists(st.tuples(ACC, PAIR, PAIR), min_size=1, max_size=9),
    zero_point=st.integers(0, 255),
    is_relu=st.booleans(),
    is_tanh=st.booleans(),
)
def test_requantization(
    native: Native,
    rows: list[tuple[int, tuple[int, int], tuple[int, int]]],
    zero_point: int,
    is_relu: bool,
    is_tanh: bool,
) -> None:
    each = layer_of([(above, below) for _, above, below in rows])
    acc = np.array([[row[0] for row in rows]] * 3, np.int32)  # three pixels
    low = zero_point if is_relu else 0
    step = len(rows) + 2
    out = buffer(3 * step, value=7)
    arguments = [
        out.ctypes.data_as(ctypes.c_void_p), step, acc.ctypes.data_as(ctypes.c_void_p),
        len(rows), 3, len(rows), ctypes.byref(c_rescale(each, zero_point, low)),
    ]  # fmt: skip
    scaled = rescale(acc.astype(np.int64), each)
    if is_tanh:
        table = tanh_table()
        native.lib.ct_requantize_tanh(*arguments, table.ctypes.data_as(ctypes.c_void_p))
        expected = tanh_bytes(scaled)
    else:
        native.lib.ct_requantize(*arguments)
        expected = (scaled + zero_point).clip(low, 255)
    made = out.reshape(3, step)
    assert np.array_equal(made[:, : len(rows)], expected)
    assert (made[:, len(rows) :] == 7).all()  # nothing beyond its channels


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    pixels=st.integers(1, 5),
    pairs=st.integers(1, 4),
    steps=st.integers(1, 9),
    seed=st.integers(0, 999),
    extreme=st.booleans(),
)
def test_products(
    native: Native, pixels: int, pairs: int, steps: int, seed: int, extreme: bool
) -> None:
    chance = np.random.default_rng(seed)
    depth, channels = 32 * steps, 2 * pairs
    patches, weights = buffer(pixels * depth), buffer(channels * depth)
    patches[:] = 255 if extreme else chance.integers(0, 256, pixels * depth)
    values = (
        np.full(channels * depth, -127) if extreme else chance.integers(-127, 128, channels * depth)
    )
    weights[:] = values.astype(np.int8).view(np.uint8)
    bias = chance.integers(-(2**20), 2**20, channels).astype(np.int32)
    acc = buffer(4 * pixels * channels).view(np.int32)
    native.lib.ct_matmul(
        *(ctypes.c_void_p(a.ctypes.data) for a in (acc, patches, weights, bias)),
        pixels, channels, depth,
    )  # fmt: skip
    expected = patches.reshape(pixels, depth).astype(np.int64) @ values.reshape(channels, depth).T
    assert np.array_equal(acc.reshape(pixels, channels), expected + bias)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    run=st.integers(1, 70),
    pixels=st.integers(1, 9),
    step=st.integers(0, 80),
    more=st.integers(0, 40),
    floor=st.integers(0, 255),
    seed=st.integers(0, 999),
)
def test_gathering(
    native: Native, run: int, pixels: int, step: int, more: int, floor: int, seed: int
) -> None:
    """Runs may share bytes; nothing between patches is touched."""
    chance = np.random.default_rng(seed)
    source, depth = chance.integers(0, 256, step * (pixels - 1) + run).astype(np.uint8), run + more
    patches = buffer(depth * pixels, value=7)
    native.lib.ct_gather(
        ctypes.c_void_p(patches.ctypes.data), depth, ctypes.c_void_p(source.ctypes.data), step,
        run, pixels, floor,
    )  # fmt: skip
    runs = np.stack([source[p * step :][:run] for p in range(pixels)])
    made = patches.reshape(pixels, depth)
    assert np.array_equal(made[:, :run], np.maximum(runs, floor))
    assert (made[:, run:] == 7).all()


def test_tanh_is_true_to_a_fiftieth_of_a_step() -> None:
    v = np.arange(-32768, 32768)
    made = tanh_bytes(v).astype(np.float64)
    exact = 128 + 127 * np.tanh(v / 4096)
    assert np.abs(made - exact).max() < 0.52
    assert made.min() == 1
    assert made.max() == 255
    assert (np.diff(made) >= 0).all()
