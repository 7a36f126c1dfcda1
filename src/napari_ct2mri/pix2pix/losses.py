"""Terms of the loss, on (B, 1, H, W) images in [-1, 1]."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["adversarial", "edge_strength", "gradient_correlation", "gradient_l1", "ssim"]

_SIGMA = 1.5  # px, Wang et al. 2004
_RADIUS = 5
_RANGE = 2.0  # of images in [-1, 1]
_FLAT = 1e-6  # keeps the gradient of an image without edges finite


def ssim(fake: Tensor, real: Tensor) -> Tensor:
    """Mean structural similarity, Wang et al. 2004, eq. 13, Gaussian window of 11 px.

    The images are shifted to [0, 2] first: where means have opposite signs the index turns
    inverted structure into gain, and a network learns dark fluid for bright.

    Returns
    -------
    () in [-1, 1]; 1 for equal images.
    """
    c1, c2 = (0.01 * _RANGE) ** 2, (0.03 * _RANGE) ** 2
    fake, real = fake + 1, real + 1
    moments = torch.cat([fake, real, fake * fake, real * real, fake * real], dim=1)
    mu_f, mu_r, ff, rr, fr = _blur(moments).split(fake.shape[1], dim=1)
    var_f, var_r, cov = ff - mu_f**2, rr - mu_r**2, fr - mu_f * mu_r
    numerator = (2 * mu_f * mu_r + c1) * (2 * cov + c2)
    map_: Tensor = numerator / ((mu_f**2 + mu_r**2 + c1) * (var_f + var_r + c2))
    return map_.mean()


def gradient_l1(fake: Tensor, real: Tensor) -> Tensor:
    """Mean absolute difference of the forward differences along y and x."""
    error = fake - real
    return error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()


def gradient_correlation(fake: Tensor, real: Tensor) -> Tensor:
    """Sum of grad p . grad r over sqrt(sum |grad p|^2 sum |grad r|^2), a mean over slices.

    Of images smoothed by the Gaussian of :func:`ssim`, so that an edge which is a pixel off still
    counts. Where an edge may lie here or there, the L1 of gradients is least for no edge at
    all (the median); this is greatest for the mean of them, and blind to its height.

    Returns
    -------
    () in [-1, 1]; 1 for equal images.
    """
    p, r = _blur(fake), _blur(real)
    gradients = [(p.diff(dim=axis), r.diff(dim=axis)) for axis in (2, 3)]

    def total(i: int, j: int) -> Tensor:
        return torch.stack([(g[i] * g[j]).sum(dim=(1, 2, 3)) for g in gradients]).sum(dim=0)

    norm = (total(0, 0) * total(1, 1) + _FLAT).sqrt()
    return (total(0, 1) / norm).mean()


def edge_strength(fake: Tensor, real: Tensor) -> Tensor:
    """Mean gradient magnitude of the smoothed ``fake`` over that of ``real``, slice by slice.

    Smoothed by the Gaussian of :func:`ssim`: pixel by pixel, a network buys strength with a
    checkerboard.

    Returns
    -------
    (B,) >= 0; 1 for equal images.
    """

    def strength(image: Tensor) -> Tensor:
        smooth = _blur(image)
        dy, dx = smooth.diff(dim=2)[..., 1:], smooth.diff(dim=3)[..., 1:, :]
        return (dy.square() + dx.square() + _FLAT).sqrt().mean(dim=(1, 2, 3))

    return strength(fake) / strength(real)


def adversarial(logits: Tensor, is_real: bool, kind: str) -> Tensor:
    """How far the discriminator's logits are from saying ``is_real``.

    ``bce``: Isola et al. 2017, eq. 1 (non-saturating). ``lsgan``: Mao et al. 2017, eq. 2.
    """
    target = torch.full_like(logits, float(is_real))
    if kind == "lsgan":
        return F.mse_loss(logits, target)
    return F.binary_cross_entropy_with_logits(logits, target)


def _blur(images: Tensor) -> Tensor:
    """Separable Gaussian without padding: (B, C, H, W) to (B, C, H - 10, W - 10)."""
    x = torch.arange(-_RADIUS, _RADIUS + 1, dtype=images.dtype, device=images.device)
    kernel = torch.softmax(-(x**2) / (2 * _SIGMA**2), dim=0)
    channels = images.shape[1]
    rows = kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    columns = kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    return F.conv2d(F.conv2d(images, rows, groups=channels), columns, groups=channels)
