"""Maps and profiles against their definitions, written out here a second time."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import RegularGridInterpolator

from napari_ct2mri.errors import EvaluationError
from napari_ct2mri.evaluation import PatientImages, score_patient
from napari_ct2mri.evaluation.maps import draw_maps, line_profile, on_grid

Image = NDArray[np.float64]
Y, X = np.mgrid[:40, :56].astype(float)


def images(data_range: float = 1000) -> PatientImages:
    """Two slices of textures, not square; the head is an ellipse."""
    random = np.random.default_rng(3)
    waves = ndimage.gaussian_filter(random.normal(size=(2, 2, 40, 56)), (0, 0, 2, 2))
    real, fake = np.clip(0.5 + waves * 2, 0, 1) * data_range
    head = np.broadcast_to(np.hypot((Y - 20) / 16, (X - 28) / 22) < 1, real.shape)
    return PatientImages(
        "ada", "T2", "unknown", ("a", "b"), real.astype("f4"), fake.astype("f4"), head, data_range
    )


def ssim_by_kernel(p: Image, r: Image, data_range: float) -> Image:
    """Wang et al. 2004, eq. 13, over all pixels at once, by an 11 x 11 kernel."""
    line = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    kernel = np.outer(line, line) / line.sum() ** 2

    def mean(image: Image) -> Image:
        return ndimage.correlate(image, kernel, mode="reflect")

    mu_p, mu_r = mean(p), mean(r)
    var_p, var_r, cov = mean(p * p) - mu_p**2, mean(r * r) - mu_r**2, mean(p * r) - mu_p * mu_r
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    top = (2 * mu_p * mu_r + c1) * (2 * cov + c2)
    whole: Image = top / ((mu_p**2 + mu_r**2 + c1) * (var_p + var_r + c2))
    return whole


@pytest.mark.parametrize("data_range", [255.0, 1000.0])
def test_maps_follow_their_definitions_inside_the_head_and_are_nan_outside(
    data_range: float,
) -> None:
    pair = images(data_range)
    maps = draw_maps(pair, 1)
    fake, real, head = pair.fake[1].astype(float), pair.real[1].astype(float), pair.head[1]
    for found, expected in (
        (maps.difference, fake - real),
        (maps.similarity, ssim_by_kernel(fake, real, data_range)),
    ):
        assert found.dtype == np.float32
        assert np.isnan(found[~head]).all()
        np.testing.assert_allclose(found[head], expected[head], rtol=1e-5, atol=1e-5)


def test_the_mean_of_a_map_is_the_figure_of_its_slice() -> None:
    pair = images()
    for index, scored in enumerate(score_patient(pair)):
        maps = draw_maps(pair, index)
        mae, ssim = np.nanmean(np.abs(maps.difference)), np.nanmean(maps.similarity)
        assert mae == pytest.approx(scored.figures.head_mae, rel=1e-5)
        assert ssim == pytest.approx(scored.figures.head_ssim, rel=1e-5)


@pytest.mark.parametrize("shape", [(40, 56), (20, 28), (100, 140), (33, 200)])
def test_a_map_on_another_grid_has_no_new_value_and_moves_less_than_a_pixel(
    shape: tuple[int, int],
) -> None:
    row, column = (on_grid(axis.astype(np.float32), shape) for axis in (Y, X))
    assert row.shape == column.shape == shape
    assert set(row.ravel()) <= set(Y.ravel())
    where = np.mgrid[: shape[0], : shape[1]]
    for found, at, n, size in ((row, where[0], shape[0], 40), (column, where[1], shape[1], 56)):
        assert np.abs(found - ((at + 0.5) * size / n - 0.5)).max() <= 0.5


# ------------------------------------------------------------------ profiles


def test_a_profile_of_a_plane_is_its_equation() -> None:
    plane = 3 * Y - 2 * X + 7
    start, stop = (4.5, 6.25), (30.0, 50.0)
    found = line_profile(plane, start, stop, (1.5, 0.8))
    length = np.hypot(25.5 * 1.5, 43.75 * 0.8)
    assert found.distance[0] == 0
    assert found.distance[-1] == pytest.approx(length)
    part = found.distance / length
    y, x = (a + (b - a) * part for a, b in zip(start, stop, strict=True))
    np.testing.assert_allclose(found.values, 3 * y - 2 * x + 7, atol=1e-9)
    assert np.diff(found.distance).max() <= 0.8  # no pixel is stepped over


def test_a_profile_is_a_linear_interpolation() -> None:
    image = images().real[0]
    found = line_profile(image, (35.2, 3.1), (2.9, 51.7), (1.0, 1.0))
    places = np.linspace((35.2, 3.1), (2.9, 51.7), len(found.values))
    expected = RegularGridInterpolator((np.arange(40), np.arange(56)), image.astype(float))(places)
    np.testing.assert_allclose(found.values, expected, rtol=1e-6)


def test_backwards_it_is_the_same_line() -> None:
    image = images().real[0]
    there = line_profile(image, (5, 5), (30, 40), (2, 1))
    back = line_profile(image, (30, 40), (5, 5), (2, 1))
    np.testing.assert_allclose(there.values, back.values[::-1], rtol=1e-9)
    np.testing.assert_allclose(there.distance, back.distance, rtol=1e-12)


def test_where_the_line_leaves_the_image_there_is_no_value() -> None:
    found = line_profile(Y + 1, (-10, 20), (50, 20), (1, 1))
    at = -10 + found.distance
    is_inside = (at >= 0) & (at <= 39)
    np.testing.assert_allclose(found.values[is_inside], at[is_inside] + 1, atol=1e-9)
    assert np.isnan(found.values[~is_inside]).all()


def test_a_line_without_length_is_refused() -> None:
    with pytest.raises(EvaluationError, match="the line has no length"):
        line_profile(Y, (5, 5), (5, 5), (1, 1))
