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


def test_tanh(code: Program, host: ctypes.CDLL) -> None:
    rng = np.random.default_rng(6)
    table = np.rint(127 * 256 * np.tanh(np.arange(257) / 32)).astype(np.uint16)
    acc = rng.integers(-(2**20), 2**20, (40, 2)).astype(np.int32)
    arguments = (acc, 1, scales(rng, 1, (36, 38)), (0, 0, 255), 1, table)
    want, _ = kernels.requantize(host, *arguments)
    got, _ = kernels.requantize(code, *arguments)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 25, 33, 63, 64, 200])
@pytest.mark.parametrize("floor", [0, 100, 255])
def test_copies(code: Program, count: int, floor: int) -> None:
    rng = np.random.default_rng(count)
    source = rng.integers(0, 256, count).astype(np.uint8)
    for offsets in ((0, 0), (1, 6), (7, 3)):
        got, _ = kernels.copy(code, source, floor, offsets)
        np.testing.assert_array_equal(got, np.maximum(source, floor))
