from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage

from napari_ct2mri.errors import EvaluationError
from napari_ct2mri.evaluation import (
    Figures,
    gain_and_offset,
    gradient_correlation,
    mae,
    measure,
    psnr,
    sharpness,
    ssim,
)
from napari_ct2mri.evaluation.metrics import ssim_map

Image = NDArray[np.float64]
Y, X = np.mgrid[:64, :64].astype(float)
HEAD = np.hypot(Y - 32, X - 32) < 25


def textured(seed: int = 0) -> Image:
    """Structures of some pixels, 0..255."""
    image = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(64, 64)), 2)
    return np.clip(128 + image / image.std() * 50, 0, 255)


def noise(level: float) -> Image:
    return np.random.default_rng(7).normal(0, level, (64, 64))


def test_psnr_of_an_error_of_one_grey_level_is_the_textbooks() -> None:
    assert psnr(textured() + 1, textured(), 255) == pytest.approx(48.1308, abs=1e-4)
    assert mae(textured() + 1, textured()) == pytest.approx(1)


def test_psnr_and_mae_count_only_the_head() -> None:
    fake = np.where(HEAD, textured() + 2, 0)
    assert psnr(fake, textured(), 255, HEAD) == pytest.approx(20 * np.log10(255 / 2))
    assert mae(fake, textured(), HEAD) == pytest.approx(2)
    assert mae(fake, textured()) > 10


@pytest.mark.parametrize("window", ["gaussian", "uniform"])
def test_ssim_of_flat_images_is_the_luminance_term(window: str) -> None:
    """Wang et al. 2004, eq. 6: (2 a b + C1) / (a^2 + b^2 + C1), C1 = (0.01 L)^2."""
    c1 = (0.01 * 255) ** 2
    expected = (2 * 100 * 150 + c1) / (100**2 + 150**2 + c1)
    flat = np.full((32, 32), 100.0), np.full((32, 32), 150.0)
    assert ssim(*flat, 255, window=window) == pytest.approx(expected, rel=1e-9)  # type: ignore[arg-type]


def ssim_at(a: Image, b: Image, y: int, x: int, window: str, data_range: float) -> float:
    """Wang et al. 2004, eq. 13 to 16, at one pixel, written out."""
    reach = 5 if window == "gaussian" else 3
    place = np.s_[y - reach : y + reach + 1, x - reach : x + reach + 1]
    steps = np.arange(-reach, reach + 1)
    line = np.exp(-(steps**2) / (2 * 1.5**2)) if window == "gaussian" else np.ones(len(steps))
    w = np.outer(line, line) / line.sum() ** 2
    p, r = a[place], b[place]
    mu_p, mu_r = (w * p).sum(), (w * r).sum()
    unbias = 1 if window == "gaussian" else w.size / (w.size - 1)
    var_p, var_r = (unbias * (w * (i - m) ** 2).sum() for i, m in ((p, mu_p), (r, mu_r)))
    cov = unbias * (w * (p - mu_p) * (r - mu_r)).sum()
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    top = (2 * mu_p * mu_r + c1) * (2 * cov + c2)
    return float(top / ((mu_p**2 + mu_r**2 + c1) * (var_p + var_r + c2)))


@pytest.mark.parametrize("window", ["gaussian", "uniform"])
def test_ssim_follows_its_equations(window: str) -> None:
    a, b = textured(1), textured(1) + noise(20)
    for y, x in [(20, 20), (40, 31), (33, 52)]:
        one = np.zeros_like(HEAD)
        one[y, x] = True
        expected = ssim_at(a, b, y, x, window, 255)
        assert ssim(a, b, 255, one, window) == pytest.approx(expected, rel=1e-9)  # type: ignore[arg-type]


@pytest.mark.parametrize("window", ["gaussian", "uniform"])
def test_the_ssim_map_follows_the_equations_pixel_by_pixel(window: str) -> None:
    a, b = textured(1), textured(1) + noise(20)
    each = ssim_map(a, b, 255, window)  # type: ignore[arg-type]
    assert each.shape == a.shape
    for y, x in [(20, 20), (40, 31), (5, 58)]:
        assert each[y, x] == pytest.approx(ssim_at(a, b, y, x, window, 255), rel=1e-9)
    rim = 5 if window == "gaussian" else 3
    mean = each[rim:-rim, rim:-rim].mean()
    assert mean == pytest.approx(ssim(a, b, 255, window=window), rel=1e-12)  # type: ignore[arg-type]
    assert ssim_map(a, a, 255).min() == pytest.approx(1)


def test_an_ssim_map_is_refused_where_there_is_none() -> None:
    with pytest.raises(EvaluationError, match=r"at least 11 x 11 pixels, got 10 x 64"):
        ssim_map(textured()[:10], textured()[:10], 255)
    with pytest.raises(EvaluationError, match="images of one size"):
        ssim_map(textured(), textured()[:32], 255)
    with pytest.raises(EvaluationError, match="NaN or infinity"):
        ssim_map(textured(), np.full((64, 64), np.nan), 255)


def test_ssim_in_the_head_is_the_mean_of_the_unmasked_map() -> None:
    a, b = textured(1), textured(2)
    rim = np.zeros_like(HEAD)
    rim[5:-5, 5:-5] = True  # where the window fits: the full-frame mean
    assert ssim(a, b, 255, rim) == pytest.approx(ssim(a, b, 255), rel=1e-12)


@pytest.mark.parametrize("phase", [0, 0.3, np.pi / 3, np.pi / 2, 2.5, np.pi])
def test_gradient_correlation_of_shifted_waves_is_the_cosine_of_the_shift(phase: float) -> None:
    wave = 2 * np.pi / 16 * X
    whole_periods = np.zeros_like(HEAD)
    whole_periods[:, 8:56] = True
    found = gradient_correlation(np.sin(wave + phase), np.sin(wave), whole_periods)
    assert found == pytest.approx(np.cos(phase), abs=1e-6)


def test_gradient_correlation_is_not_centred() -> None:
    """Two ramps of one slope agree fully; centred gradients would have nothing left."""
    assert gradient_correlation(3 * X + 5, X, HEAD) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("sigma", [1, 2, 4])
def test_blur_flatters_neither_edges_nor_sharpness(sigma: float) -> None:
    real, blurred = textured(), ndimage.gaussian_filter(textured(), sigma)
    assert gradient_correlation(blurred, real, HEAD) < 0.995
    assert sharpness(blurred, real, HEAD) < 0.9


@pytest.mark.parametrize("level", [10, 30])
def test_noise_is_no_sharpness_and_no_agreement(level: float) -> None:
    real, noisy = textured(), textured() + noise(level)
    assert gradient_correlation(noisy, real, HEAD) < 0.99
    assert sharpness(noisy, real, HEAD) > 1.02
    alone = 128 + noise(level)
    assert abs(gradient_correlation(alone, real, HEAD)) < 0.1


def test_sharpness_is_measured_before_any_gain() -> None:
    assert sharpness(2 * textured(), textured(), HEAD) == pytest.approx(2)


def test_sharpness_of_a_step_over_that_of_a_ramp() -> None:
    """Central differences: two columns of 1 over 62 columns of 2 and, mirrored, 2 of 1."""
    step = np.where(X < 32, 0.0, 1.0)
    assert sharpness(step, X) == pytest.approx(2 / (62 * 2 + 2 * 1), rel=1e-9)


def test_flat_images_have_no_edges() -> None:
    flat = np.zeros((64, 64))
    assert gradient_correlation(flat, textured()) == 0
    assert sharpness(flat, textured()) == 0
    assert np.isnan(sharpness(textured(), flat))


images = arrays(np.float64, (16, 16), elements=st.floats(0, 255, width=32))


@settings(max_examples=25, deadline=None)
@given(images, images)
def test_order_makes_no_difference(a: Image, b: Image) -> None:
    for measure_ in (mae, gradient_correlation):
        assert measure_(a, b) == pytest.approx(measure_(b, a), abs=1e-9)
    assert psnr(a, b, 255) == psnr(b, a, 255)
    assert ssim(a, b, 255) == pytest.approx(ssim(b, a, 255), abs=1e-9)


def test_an_image_equals_itself() -> None:
    figures = measure(textured(), textured(), HEAD, 255, (1, 0))
    zero_errors = {"mae": 0, "head_mae": 0}
    infinite = dict.fromkeys(("psnr", "head_psnr", "head_psnr_fitted"), np.inf)
    for name, value in figures.as_dict().items():
        assert value == pytest.approx((zero_errors | infinite).get(name, 1), abs=1e-12), name


def test_all_figures_are_those_of_the_single_functions() -> None:
    a, b, fit = textured(1), textured(2), (0.5, 60.0)
    both = {
        prefix + name: value
        for prefix, where in (("", None), ("head_", HEAD))
        for name, value in {
            "mae": mae(a, b, where),
            "psnr": psnr(a, b, 255, where),
            "ssim": ssim(a, b, 255, where),
            "ssim_uniform": ssim(a, b, 255, where, "uniform"),
            "gradient_correlation": gradient_correlation(a, b, where),
            "sharpness": sharpness(a, b, where),
        }.items()
    }
    fitted = psnr(0.5 * a + 60, b, 255, HEAD)
    assert measure(a, b, HEAD, 255, fit) == Figures(**both, head_psnr_fitted=fitted)


def test_gain_and_offset_are_the_least_squares() -> None:
    fakes = np.stack([textured(1), textured(2)])
    reals = 0.7 * fakes + 12 + np.stack([noise(5), noise(9)])
    heads = np.stack([HEAD, HEAD & (Y > 30)])
    expected = np.polyfit(fakes[heads], reals[heads], 1)
    assert gain_and_offset(fakes, reals, heads) == pytest.approx(tuple(expected), rel=1e-9)


@pytest.mark.parametrize("value", [0.0, 17.3])
def test_the_best_fit_of_a_flat_image_is_the_mean(value: float) -> None:
    reals, heads = textured()[None], HEAD[None]
    gain, offset = gain_and_offset(np.full_like(reals, value), reals, heads)
    assert gain == 0
    assert offset == pytest.approx(reals[heads].mean())


@pytest.mark.parametrize(
    ("fake", "head", "message"),
    [
        (np.zeros((64, 63)), None, r"one size, got synthetic \(64, 63\), real \(64, 64\)"),
        (np.zeros((64, 64)), HEAD[:60], r"head \(60, 64\)"),
        (np.zeros((64, 64)), HEAD & False, "its head mask is empty"),
        (np.full((64, 64), np.nan), None, "NaN or infinity"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    fake: Image, head: NDArray[np.bool_] | None, message: str
) -> None:
    for function in (mae, gradient_correlation, sharpness):
        with pytest.raises(EvaluationError, match=message):
            function(fake, textured(), head)


def test_images_smaller_than_the_window_are_refused() -> None:
    with pytest.raises(EvaluationError, match="at least 11 x 11 pixels, got 10 x 64"):
        ssim(textured()[:10], textured()[:10], 255)
