from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_ct2mri.config import Window
from napari_ct2mri.errors import VolumeError
from napari_ct2mri.imaging.intensity import (
    MrRange,
    as_picture,
    ct_channels,
    mr_range,
    mr_to_unit,
    unit_to_output,
    window_to_unit,
)
from napari_ct2mri.imaging.volume import Modality, Unit, Volume

BRAIN, BONE = Window(level=40, width=80), Window(level=600, width=2000)


def volume(values: list[float], modality: Modality, unit: Unit, dtype: type = np.float32) -> Volume:
    return Volume(np.array(values, dtype).reshape(1, 1, -1), modality=modality, unit=unit)


def test_window_ends_middle_and_beyond() -> None:
    unit = window_to_unit(np.array([-1000, 0, 20, 40, 80, 3000]), BRAIN)
    assert unit.dtype == np.float32
    np.testing.assert_allclose(unit, [-1, -1, -0.5, 0, 1, 1], atol=1e-6)


@given(st.floats(-1024, 3071), st.floats(-500, 500), st.floats(1, 4000))
def test_window_is_linear_inside_and_clipped_outside(hu: float, level: float, width: float) -> None:
    unit = float(window_to_unit(np.array([hu]), Window(level=level, width=width))[0])
    assert unit == pytest.approx(np.clip((hu - level) / (width / 2), -1, 1), abs=2e-3)


def test_a_channel_a_window() -> None:
    channels = ct_channels(volume([-400, 40, 1600], "CT", "HU", np.int16), (BRAIN, BONE))
    assert channels.shape == (1, 2, 1, 3)
    np.testing.assert_allclose(channels[0, :, 0], [[-1, 0, 1], [-1, -0.56, 1]], atol=1e-6)


def test_pictures_are_taken_as_shown_whatever_the_window() -> None:
    channels = ct_channels(volume([0, 51, 255], "CT", "grey", np.uint8), (BONE,))
    np.testing.assert_allclose(channels[0, 0, 0], [-1, -0.6, 1], atol=1e-6)


def test_a_picture_of_a_ct_and_the_ct_give_one_input() -> None:
    hu = volume([-1000, 0, 13, 40, 77, 500], "CT", "HU")
    grey = volume(list(as_picture(hu.data, "HU").ravel()), "CT", "grey")
    np.testing.assert_allclose(ct_channels(grey, (BRAIN,)), ct_channels(hu, (BRAIN,)), atol=1e-6)


@pytest.mark.parametrize(
    ("ct", "windows", "message"),
    [
        (
            volume([0, 1], "MR", "arbitrary"),
            (BRAIN,),
            r"expected a CT, got an MR.* open it as CT \(in a terminal, --modality CT\)$",
        ),
        (
            volume([0, 9], "unknown", "arbitrary"),
            (BRAIN,),
            r"\(0 to 9\); open it as CT \(in a terminal, --modality CT\), if it is one, or rescale",
        ),
        (volume([0, 3794], "CT", "arbitrary"), (BRAIN,), r"unknown scale \(0 to 3794\); rescale"),
        (volume([0, 1], "CT", "grey"), (BRAIN, BONE), "reads 2 CT windows, a picture shows one"),
        (volume([0, np.nan], "CT", "HU"), (BRAIN,), "slice 0 of the CT holds NaN or infinity"),
        (volume([0, np.inf], "CT", "grey"), (BRAIN,), "slice 0 of the CT holds NaN or infinity"),
    ],
)
def test_what_is_no_ct_for_the_model_is_refused(
    ct: Volume, windows: tuple[Window, ...], message: str
) -> None:
    with pytest.raises(VolumeError, match=message) as raised:
        ct_channels(ct, windows)
    assert "\n" not in str(raised.value)


def mr_head(gain: float = 1, offset: float = 0) -> Volume:
    y, x = np.mgrid[:64, :64]
    rng = np.random.default_rng(3)
    data = np.where(np.hypot(y - 32, x - 32) < 25, rng.uniform(50, 150, (2, 64, 64)), 0)
    return Volume(data * gain + offset, modality="MR")


def test_mr_range_is_that_of_the_percentiles_in_the_head() -> None:
    found = mr_range(mr_head(), mask=mr_head().data > 0)
    assert found.low == pytest.approx(50.5, abs=0.5)
    assert found.high == pytest.approx(149.5, abs=0.5)


def test_percentiles_follow_numpy() -> None:
    inside = np.arange(1000.0).reshape(1, 25, 40)
    found = mr_range(Volume(inside, modality="MR"), mask=np.ones_like(inside, dtype=bool))
    assert (found.low, found.high) == tuple(np.percentile(inside, (0.5, 99.5)))


@pytest.mark.parametrize(("gain", "offset"), [(3.0, 0.0), (0.01, 0.0), (20.0, 500.0)])
def test_the_scale_of_an_mr_makes_no_difference(gain: float, offset: float) -> None:
    plain, scaled = mr_head(), mr_head(gain, offset)
    np.testing.assert_allclose(
        mr_to_unit(scaled.data, mr_range(scaled)),
        mr_to_unit(plain.data, mr_range(plain)),
        atol=1e-4,
    )


@pytest.mark.parametrize(
    ("mr", "message"),
    [
        (Volume(np.zeros((1, 32, 32)), modality="MR"), "shows no head"),
        (Volume(np.zeros((1, 32, 32)), modality="CT", unit="HU"), "expected an MR, got a CT"),
    ],
)
def test_what_is_no_mr_is_refused(mr: Volume, message: str) -> None:
    with pytest.raises(VolumeError, match=message):
        mr_range(mr)


def test_nan_in_the_head_of_an_mr_is_refused() -> None:
    mr = mr_head()
    mask = mr.data > 0
    mr.data[0, 32, 32] = np.nan
    with pytest.raises(VolumeError, match="NaN or infinity inside the head"):
        mr_range(mr, mask)


def test_a_flat_mr_has_no_range() -> None:
    with pytest.raises(VolumeError, match="low < high, got 5 to 5"):
        MrRange(5, 5)


def test_output_scales() -> None:
    unit = np.array([-2, -1, 0, 1, 2])
    assert unit_to_output(unit, is_picture=True).tolist() == [0, 0, 127.5, 255, 255]
    assert unit_to_output(unit, is_picture=False).tolist() == [0, 0, 500, 1000, 1000]
    assert unit.tolist() == [-2, -1, 0, 1, 2]  # the input stays
