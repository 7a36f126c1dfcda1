"""Figures that compare a synthetic MR slice with the real one.

All take two (H, W) images on one scale; ``data_range`` is the length of that scale (255, 1000,
2 for [-1, 1]). With ``head``, an (H, W) mask, only pixels inside it count. Arithmetic is in
double precision.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.errors import EvaluationError

__all__ = [
    "Figures",
    "gain_and_offset",
    "gradient_correlation",
    "mae",
    "measure",
    "psnr",
    "sharpness",
    "ssim",
    "ssim_map",
]

Image = NDArray[Any]
Doubles = NDArray[np.float64]
Mask = NDArray[np.bool_]
SsimWindow = Literal["gaussian", "uniform"]

_SSIM_SIDE: dict[SsimWindow, int] = {
    "gaussian": 11,
    "uniform": 7,
}  # pixels; 11 is sigma 1.5 cut at 3.5 sigma


@dataclass(frozen=True, slots=True)
class Figures:
    """Every figure of one slice, or their means or spreads over several.

    Those that begin with ``head_`` are measured inside the head, the others over the full
    frame. ``mae`` is in output units, ``psnr`` in dB, the rest are pure numbers.
    ``head_psnr_fitted`` is the PSNR after the one gain and offset that fit the patient best.
    """

    mae: float
    psnr: float
    ssim: float
    ssim_uniform: float
    gradient_correlation: float
    sharpness: float
    head_mae: float
    head_psnr: float
    head_psnr_fitted: float
    head_ssim: float
    head_ssim_uniform: float
    head_gradient_correlation: float
    head_sharpness: float

    def as_dict(self) -> dict[str, float]:
        """Figures by name, in the order of the tables."""
        return asdict(self)


def mae(fake: Image, real: Image, head: Mask | None = None) -> float:
    """Mean absolute error, in the images' units."""
    a, b = _pixels(fake, real, head)
    return float(np.abs(a - b).mean())


def psnr(fake: Image, real: Image, data_range: float, head: Mask | None = None) -> float:
    """Peak signal-to-noise ratio, 10 log10(data_range^2 / MSE) dB; infinite if equal."""
    a, b = _pixels(fake, real, head)
    error = float(np.mean((a - b) ** 2))
    return float(10 * np.log10(data_range**2 / error)) if error else float("inf")


def ssim(
    fake: Image,
    real: Image,
    data_range: float,
    head: Mask | None = None,
    window: SsimWindow = "gaussian",
) -> float:
    """Structural similarity (Wang et al. 2004), K1 = 0.01, K2 = 0.03.

    ``gaussian`` is the paper's: 11 x 11 pixels, sigma 1.5, population covariance. ``uniform``
    is scikit-image's default: 7 x 7 pixels, sample covariance. The map is made from the whole
    images; its mean is taken inside ``head``, or where the window fits into the frame.

    Raises
    ------
    EvaluationError
        If the images are smaller than the window.
    """
    a, b = _doubles(fake, real, head)
    return _ssim_mean(ssim_map(a, b, data_range, window), window, head)


def ssim_map(
    fake: Image, real: Image, data_range: float, window: SsimWindow = "gaussian"
) -> Doubles:
    """Structural similarity pixel by pixel, in -1..1; :func:`ssim` is a mean of it.

    Beyond the frame the images are mirrored: within half a window of its rim a value is less
    certain, so the mean over the full frame leaves the rim out.

    Parameters
    ----------
    fake, real : (H, W)
    data_range : float
    window : "gaussian" or "uniform"
        See :func:`ssim`.

    Returns
    -------
    (H, W) float64

    Raises
    ------
    EvaluationError
        If the images differ in size, are smaller than the window, or hold NaN or infinity.
    """
    from skimage.metrics import structural_similarity

    a, b = _doubles(fake, real, None)
    side = _SSIM_SIDE[window]
    if min(a.shape) < side:
        raise EvaluationError(
            f"SSIM needs images of at least {side} x {side} pixels, got {a.shape[0]} x {a.shape[1]}"
        )
    kind: dict[str, Any] = (
        {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        if window == "gaussian"
        else {"win_size": side}
    )
    _, each = structural_similarity(a, b, data_range=data_range, full=True, **kind)
    return np.asarray(each, dtype=np.float64)


def gradient_correlation(fake: Image, real: Image, head: Mask | None = None) -> float:
    """Agreement of edges: sum(dp . dr) / sqrt(sum |dp|^2 sum |dr|^2) over pixels.

    dp and dr are the gradients of the synthetic and the real image, by Gaussian derivatives
    with sigma = 1 pixel, not centred. 1 for images equal up to a positive gain and an offset,
    0 for an image without gradients; blur and noise both lower it.
    """
    a, b = _doubles(fake, real, head)
    return _correlate(_gradients(a), _gradients(b), head)


def sharpness(fake: Image, real: Image, head: Mask | None = None) -> float:
    """Mean Sobel magnitude of the synthetic image over that of the real one.

    Below 1 is blurred, above 1 noisy; NaN where the real image is flat.
    """
    a, b = _doubles(fake, real, head)
    return _ratio(_edges(a), _edges(b), head)


def gain_and_offset(
    fakes: Iterable[Image], reals: Iterable[Image], heads: Iterable[Mask]
) -> tuple[float, float]:
    """Gain and offset with the least squared error of ``gain * fake + offset`` from ``real``.

    Parameters
    ----------
    fakes, reals, heads : n of (H, W)
        All slices of one patient: a pair of numbers each would flatter.

    Returns
    -------
    (gain, offset)
        ``(0, mean of real)`` where the synthetic image is flat.
    """
    total = np.zeros(5)  # pixels, sums of a, b, a^2, ab: a volume is too large to copy
    for fake, real, head in zip(fakes, reals, heads, strict=True):
        if head.any():
            a, b = _pixels(fake, real, head)
            total += np.array([a.size, a.sum(), b.sum(), a @ a, a @ b])
    if not total[0]:
        raise EvaluationError("nothing to fit: the head mask is empty in every slice")
    mean_a, mean_b, square, product = total[1:] / total[0]
    variance = square - mean_a**2
    flat = variance <= 1e-12 * square
    gain = 0.0 if flat else float((product - mean_a * mean_b) / variance)
    return gain, float(mean_b - gain * mean_a)


def measure(
    fake: Image, real: Image, head: Mask, data_range: float, fit: tuple[float, float]
) -> Figures:
    """All figures of one slice.

    Parameters
    ----------
    fake, real : (H, W)
    head : (H, W) bool
        At least one pixel.
    data_range : float
    fit : (gain, offset)
        Of the slice's patient.
    """
    a, b = _doubles(fake, real, head)
    gain, offset = fit
    gradients = _gradients(a), _gradients(b)
    edges = _edges(a), _edges(b)
    similar = ssim_map(a, b, data_range, "gaussian")
    similar_uniform = ssim_map(a, b, data_range, "uniform")

    def inside(where: Mask | None) -> dict[str, float]:
        return {
            "mae": mae(a, b, where),
            "psnr": psnr(a, b, data_range, where),
            "ssim": _ssim_mean(similar, "gaussian", where),
            "ssim_uniform": _ssim_mean(similar_uniform, "uniform", where),
            "gradient_correlation": _correlate(*gradients, where),
            "sharpness": _ratio(*edges, where),
        }

    return Figures(
        **inside(None),
        **{f"head_{name}": value for name, value in inside(head).items()},
        head_psnr_fitted=psnr(gain * a + offset, b, data_range, head),
    )


def _ssim_mean(each: Doubles, window: SsimWindow, head: Mask | None) -> float:
    rim = _SSIM_SIDE[window] // 2
    return float(each[rim:-rim, rim:-rim].mean() if head is None else each[head].mean())


def _gradients(image: Doubles) -> Doubles:
    """(2, H, W): derivatives along y and x."""
    from scipy import ndimage

    return np.stack([ndimage.gaussian_filter(image, 1.0, order=o) for o in ((1, 0), (0, 1))])


def _correlate(p: Doubles, r: Doubles, head: Mask | None) -> float:
    if head is not None:
        p, r = p[:, head], r[:, head]
    norm = np.sqrt((p**2).sum() * (r**2).sum())
    return float((p * r).sum() / norm) if norm else 0.0


def _edges(image: Doubles) -> Doubles:
    from scipy import ndimage

    magnitude: Doubles = np.hypot(ndimage.sobel(image, 0), ndimage.sobel(image, 1))
    return magnitude


def _ratio(above: Doubles, below: Doubles, head: Mask | None) -> float:
    if head is not None:
        above, below = above[head], below[head]
    total = float(below.sum())
    return float(above.sum()) / total if total else float("nan")


def _pixels(fake: Image, real: Image, head: Mask | None) -> tuple[Doubles, Doubles]:
    a, b = _doubles(fake, real, head)
    return (a.ravel(), b.ravel()) if head is None else (a[head], b[head])


def _doubles(fake: Image, real: Image, head: Mask | None) -> tuple[Doubles, Doubles]:
    """Both images as float64, once they are known to be comparable."""
    shapes = {fake.shape, real.shape} | (set() if head is None else {head.shape})
    if len(shapes) != 1:
        raise EvaluationError(
            f"expected images of one size, got synthetic {fake.shape}, real {real.shape}"
            + ("" if head is None else f", head {head.shape}")
        )
    if fake.size == 0 or (head is not None and not head.any()):
        raise EvaluationError("nothing to compare: the image or its head mask is empty")
    a, b = np.asarray(fake, dtype=np.float64), np.asarray(real, dtype=np.float64)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise EvaluationError("an image to compare holds NaN or infinity; replace them first")
    return a, b
