"""Calibration: how near integers come to floats, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from random_models import random_generator, smooth

from napari_ct2mri.config import InputConfig, NetworkConfig, Window
from napari_ct2mri.errors import FirmwareError
from napari_ct2mri.firmware.lower import Graph, lower_generator, run_float
from napari_ct2mri.firmware.model import check_overflow, round_half_away
from napari_ct2mri.firmware.quantize import Ranges, _numbers, fixed_point, quantize
from napari_ct2mri.firmware.reference import dequantize_output, quantize_input, run
from napari_ct2mri.jobs import run_job


def graph(windows: int = 1, seed: int = 0) -> Graph:
    entry = InputConfig(windows=(Window(),) * windows)
    network = NetworkConfig(width=8, levels=3)
    return lower_generator(random_generator(network, seed, input=entry))


@pytest.mark.parametrize("ranges", ["error", "percentile"])
def test_integers_stay_near_floats_on_unseen_slices(ranges: Ranges) -> None:
    net, chance = graph(), np.random.default_rng(0)
    model = run_job(quantize(net, smooth(chance, 8, 1, 32, 32), ranges), lambda event: None)
    for image in smooth(chance, 3, 1, 32, 32):
        *_, (_, images, _) = run_float(net, image.transpose(1, 2, 0))
        ours = dequantize_output(run(model, quantize_input(image)))
        error = np.mean((ours - images[-1][..., 0]) ** 2)
        assert 10 * np.log10(4 / error) > 35


@pytest.mark.parametrize("channels", [9, 12, 15, 16, 48])
def test_every_channel_counts_for_the_range(channels: int) -> None:
    """One is loud, whichever."""
    layer, found = graph().layers[0].layer, set()
    for loud in range(channels):
        image = np.full((128, 128, channels), 0.5, np.float32)
        image[..., loud] = 8.0
        found.add(_numbers(layer, [image], "error"))
    assert len(found) == 1


@pytest.mark.parametrize(
    ("slices", "message"),
    [
        (np.zeros((7, 1, 32, 32)), "7 slices, expected at least 8"),
        (np.zeros((9, 1, 32, 32)), r"slice 0 is constant \(9 of 9 are\)"),
        (np.zeros((9, 2, 32, 32)), "slices of 2 channels for a model of 1"),
    ],
)
def test_poor_calibration_is_refused(slices: np.ndarray, message: str) -> None:
    with pytest.raises(FirmwareError, match=message):
        run_job(quantize(graph(), slices.astype(np.float32)), lambda event: None)


def test_an_accumulator_that_could_overflow_is_named() -> None:
    layer = graph().layers[-1].layer
    weights = np.zeros((4, 3, 8), np.int8)
    weights[2, 1] = -127
    bias = np.zeros((4, 3), np.int64)
    bias[2, 1] = -(2**31 - 1 - 255 * 127 * 8)
    check_overflow(layer, weights, bias)
    bias[2, 1] -= 1
    with pytest.raises(FirmwareError, match=r"up\.0, phase \(1, 0\), channel 1: .*2147483648"):
        check_overflow(layer, weights, bias)


def test_fixed_point_keeps_31_bits() -> None:
    factors = np.array([2.0**-31, 1e-6, 0.1, 0.5, 1 - 2**-40, 1.0, 1234.5])
    m, n = fixed_point(factors)
    assert m.dtype == n.dtype == np.int32
    assert (m >= 2**30).all()
    assert ((n >= 1) & (n <= 62)).all()
    np.testing.assert_allclose(m / 2.0**n, factors, rtol=2.0**-31)
    with pytest.raises(FirmwareError, match="too large"):
        fixed_point(np.array([2.0**30]))


def test_halves_round_away_from_zero() -> None:
    assert round_half_away(np.array([-1.5, -0.5, 0.4, 0.5, 2.5])).tolist() == [-2, -1, 0, 1, 3]
