"""The firmware's kernels as C674x code, bit for bit: by hand and as the compiler makes them."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import numpy as np
import pytest

from . import kernels
from .machine import Program


@pytest.fixture(scope="module", params=[None, "-O2", "-O3"], ids=["by hand", "-O2", "-O3"])
def code(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Program:
    return kernels.program(tmp_path_factory.mktemp("kernels"), request.param)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    return kernels.host(tmp_path_factory.mktemp("host"))


# pixels, channels, depth: the smallest of each, tiles of real layers cut short, odd numbers
SHAPES = [(1, 2, 32), (2, 2, 32), (1, 4, 64), (3, 2, 96), (5, 6, 128), (17, 2, 32), (4, 2, 1024)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("values", ["random", "extreme"])
def test_products(code: Program, shape: tuple[int, int, int], values: str) -> None:
    pixels, channels, depth = shape
    rng = np.random.default_rng(depth + pixels)
    patches = rng.integers(0, 256, (pixels, depth)).astype(np.uint8)
    weights = rng.integers(-127, 128, (channels, depth)).astype(np.int8)
    bias = rng.integers(-(2**30), 2**30, channels).astype(np.int32)
    if values == "extreme":
        patches[:], weights[:] = 255, rng.choice([-127, 127], (channels, 1))
    want = patches.astype(np.int64) @ weights.T.astype(np.int64) + bias
    got, _ = kernels.matmul(code, patches, weights, bias)
    np.testing.assert_array_equal(got, want)


def scales(
    rng: np.random.Generator, channels: int, shifts: tuple[int, int]
) -> tuple[np.ndarray, ...]:
    """Random multipliers and shifts, the scale below zero a fifth of that above."""
    multiplier = rng.integers(2**30, 2**31, channels)
    leaky = multiplier * 0.2
    more = np.ceil(np.log2(2**30 / leaky)).astype(np.int64)
    shift = rng.integers(*shifts, channels)
    below = np.rint(leaky * 2.0**more).astype(np.int64)
    return tuple(a.astype(np.int32) for a in (multiplier, below, shift, shift + more))


@pytest.mark.parametrize("pixels", [1, 2, 7, 20])
@pytest.mark.parametrize("channels", [1, 2, 5, 16])
@pytest.mark.parametrize("limits", [(128, 0, 255), (3, 3, 255), (250, 10, 251)], ids=str)
def test_requantization(
    code: Program, host: ctypes.CDLL, pixels: int, channels: int, limits: tuple[int, int, int]
) -> None:
    rng = np.random.default_rng(pixels * channels)
    acc = rng.integers(-(2**20), 2**20, (pixels, channels + channels % 2)).astype(np.int32)
    acc[0, 0], acc[-1, -1] = 2**31 - 1, -(2**31) + 1
    arguments = (acc, channels, scales(rng, channels, (37, 45)), limits, channels + 3)
    want, _ = kernels.requantize(host, *arguments)
    got, _ = kernels.requantize(code, *arguments)
    np.testing.assert_array_equal(got, want)


def unusual(rng: np.random.Generator) -> Iterator[tuple[str, tuple[np.ndarray, ...]]]:
    """Scales that the fast loop is not made for."""
    for shifts in ((1, 30), (30, 34), (50, 60)):
        yield f"shifts {shifts}", scales(rng, 4, shifts)
    ordinary = scales(rng, 4, (38, 40))
    yield "below zero steeper", (ordinary[1], ordinary[0], ordinary[3], ordinary[2])
    one_pair = tuple(array.copy() for array in ordinary)
    one_pair[2][3] = 20
    yield "the last channel alone", one_pair


def test_unusual_scales(code: Program, host: ctypes.CDLL) -> None:
    """What the loop by hand does not do, the portable kernel does, and nobody notices."""
    rng = np.random.default_rng(5)
    for name, scale in unusual(rng):
        acc = rng.integers(-(2**12), 2**12, (9, 4)).astype(np.int32)
        acc[0] = (0, 1, -1, 2**31 - 1)
        arguments = (acc, 4, scale, (100, 0, 255), 4)
        want, _ = kernels.requantize(host, *arguments)
        got, _ = kernels.requantize(code, *arguments)
        np.testing.assert_array_equal(got, want, err_msg=name)


@pytest.mark.parametrize("shift", [1, 32, 33, 34, 54, 55, 62])
def test_every_rounding(code: Program, host: ctypes.CDLL, shift: int) -> None:
    """Accumulators around halves, at the shifts where the loop changes its way."""
    step = 2.0 ** (shift - 30)
    near = np.rint(np.arange(-8, 8) * step / 2).clip(-(2**31) + 2, 2**31 - 3).astype(np.int64)
    acc = np.stack([near - 1, near, near + 1, near + 2], axis=1).astype(np.int32)
    multiplier = np.full(4, 2**30, np.int32)
    scale = (multiplier, multiplier, np.full(4, shift, np.int32), np.full(4, shift, np.int32))
    want, _ = kernels.requantize(host, acc, 4, scale, (128, 0, 255), 4)
    got, _ = kernels.requantize(code, acc, 4, scale, (128, 0, 255), 4)
    np.testing.assert_array_equal(got, want)


TANH = np.rint(127 * 256 * np.tanh(np.arange(257) / 32)).astype(np.uint16)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shift", [19, 20, 26, 31, 32, 33, 34, 37, 54, 55])
@pytest.mark.parametrize("slope", [False, True])
def test_tanh(code: Program, host: ctypes.CDLL, channels: int, shift: int, slope: bool) -> None:
    """One scale for both signs, as the last layer has it, and two; shifts of either kernel."""
    rng = np.random.default_rng(6)
    reach = min(2**31 - 1, 2 ** max(shift - 14, 1))
    acc = rng.integers(-reach, reach, (23, channels + channels % 2)).astype(np.int32)
    acc[0, 0], acc[1, 0], acc[2, 0], acc[3, 0] = 2**31 - 1, -(2**31) + 1, 0, -1
    above, below, shifts, more = scales(rng, channels, (shift, shift + 1))
    scale = (above, below, shifts, more) if slope else (above, above, shifts, shifts)
    arguments = (acc, channels, scale, (0, 0, 255), channels + 1, TANH)
    want, _ = kernels.requantize(host, *arguments)
    got, _ = kernels.requantize(code, *arguments)
    np.testing.assert_array_equal(got, want)


def test_tanh_of_every_value(code: Program, host: ctypes.CDLL) -> None:
    """v from beyond -32768 to beyond 32767."""
    acc = np.repeat(2 * np.arange(-33000, 33001, 7, dtype=np.int32)[:, None], 2, axis=1)
    for shift, scaled in ((31, acc), (33, 4 * acc), (22, acc // 512)):
        scale = (np.full(1, 2**30, np.int32),) * 2 + (np.full(1, shift, np.int32),) * 2
        arguments = (np.ascontiguousarray(scaled), 1, scale, (0, 0, 255), 1, TANH)
        want, _ = kernels.requantize(host, *arguments)
        got, _ = kernels.requantize(code, *arguments)
        np.testing.assert_array_equal(got, want)


# depth, step, run, pixels
TAPS = [
    *((32, 2, run, 5) for run in (1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 23, 24, 31, 32)),
    (32, 16, 16, 9), (64, 32, 64, 4), (256, 0, 16, 20), (128, 64, 32, 1), (512, 128, 256, 3),
    (0, 0, 1, 1), (3, 0, 6, 1), (0, 0, 200, 1), (0, 0, 208, 1), (96, 10, 20, 2), (41, 24, 40, 3),
    (32, 0, 16, 3), (32, 0, 3, 6),
]  # fmt: skip


@pytest.mark.parametrize("sizes", TAPS, ids=str)
@pytest.mark.parametrize("floor", [0, 100, 255])
def test_gathering(code: Program, sizes: tuple[int, int, int, int], floor: int) -> None:
    """Runs that share bytes, runs of any length, nothing touched between them."""
    depth, step, run, pixels = sizes
    rng = np.random.default_rng(run)
    source = rng.integers(0, 256, (pixels - 1) * step + run).astype(np.uint8)
    patches = rng.integers(0, 256, (pixels - 1) * depth + run).astype(np.uint8)
    want = patches.copy()
    for p in range(pixels):
        want[p * depth :][:run] = np.maximum(source[p * step :][:run], floor)
    for offsets in ((0, 0), (8, 16), (1, 6), (7, 0), (0, 4)):
        got, _ = kernels.gather(code, source, patches, sizes, floor, offsets)
        np.testing.assert_array_equal(got, want)
