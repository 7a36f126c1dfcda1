"""Random changes to training pairs, drawn from one generator so that an epoch repeats exactly."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_ct2mri.config import AugmentConfig

__all__ = ["augment"]

_ELASTIC_NODES = 8  # control points a side of the smooth displacement field


def augment(
    ct: Tensor,
    mr: Tensor,
    config: AugmentConfig,
    generator: torch.Generator,
    multiple: int = 1,
) -> tuple[Tensor, Tensor]:
    """Change CT and MR of each pair alike in space, and the CT's grey levels alone.

    Parameters
    ----------
    ct, mr : (B, C, H, W) and (B, 1, H, W), float32 in [-1, 1]
    generator : torch.Generator
        The only source of chance, on the CPU.
    multiple : int
        The sides of a patch are multiples of this; those of the frame must be.

    Returns
    -------
    (ct, mr) in the same range, of the same shapes or of a patch's; what comes in from outside
    the frame is air, -1.
    """
    channels = ct.shape[1]
    both = torch.cat([ct, mr], dim=1)
    if config.crop_from_px > ct.shape[-1]:
        both = _enlarge_and_crop(both, config.crop_from_px, generator)
    if config.rotate_deg or config.zoom or config.shift_px or config.elastic_px:
        both = _warp(both, config, generator)
    mirrored = torch.rand(len(both), 1, 1, 1, generator=generator) < config.flip
    both = torch.where(mirrored, both.flip(-1), both)
    if config.patch < 1:
        both = _patch(both, config.patch, multiple, generator)
    return _grey_levels(both[:, :channels], config, generator), both[:, channels:]


def _enlarge_and_crop(images: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Scale to ``side`` x ``side`` and crop a random window of the original size."""
    height, width = images.shape[-2:]
    large = F.interpolate(images, size=(side, side), mode="bicubic", align_corners=False)
    y = int(torch.randint(side - height + 1, (), generator=generator))
    x = int(torch.randint(side - width + 1, (), generator=generator))
    return large[..., y : y + height, x : x + width].clamp(-1, 1)


def _patch(images: Tensor, part: float, multiple: int, generator: torch.Generator) -> Tensor:
    """One window for all, its centre within half the margin of the frame's."""
    for axis in (-2, -1):
        side = images.shape[axis]
        length = min(side, math.ceil(side * part / multiple) * multiple)
        margin = side - length
        start = margin // 4 + int(torch.randint(margin // 2 + 1, (), generator=generator))
        images = images.narrow(axis, start, length)
    return images


def _warp(images: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Rotation, zoom with stretch, shift and a smooth displacement in one resampling."""
    batch, _, height, width = images.shape
    angle = _uniform(batch, math.radians(config.rotate_deg), generator)
    zoom_y = 1 + _uniform(batch, config.zoom, generator)
    zoom_x = zoom_y * (1 + _uniform(batch, config.zoom / 2, generator))
    shift = 2 / width * config.shift_px
    theta = torch.stack(
        [
            torch.cos(angle) / zoom_x,
            -torch.sin(angle) / zoom_y,
            _uniform(batch, shift, generator),
            torch.sin(angle) / zoom_x,
            torch.cos(angle) / zoom_y,
            _uniform(batch, shift, generator),
        ],
        dim=1,
    ).view(batch, 2, 3)
    grid = F.affine_grid(theta, [batch, 1, height, width], align_corners=False)
    if config.elastic_px:
        nodes = torch.randn(batch, 2, _ELASTIC_NODES, _ELASTIC_NODES, generator=generator)
        field = F.interpolate(nodes, (height, width), mode="bicubic", align_corners=True)
        grid = grid + field.permute(0, 2, 3, 1) * (2 / width * config.elastic_px)
    # air is -1, but what lies outside is sampled as 0: shift by one and back
    moved = F.grid_sample(images + 1, grid, mode="bicubic", align_corners=False) - 1
    return moved.clamp(-1, 1)


def _grey_levels(ct: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Another window, another exponent, another dose. Clipped voxels stay clipped."""
    if not (config.window_jitter or config.gamma or config.noise):
        return ct
    batch = len(ct)
    inside = (ct > -0.99) & (ct < 0.99)
    column = (batch, 1, 1, 1)
    gain = 1 + _uniform(batch, config.window_jitter, generator).view(column)
    offset = _uniform(batch, config.window_jitter, generator).view(column)
    exponent = 1 + _uniform(batch, config.gamma, generator).view(column)
    sigma = torch.rand(column, generator=generator) * config.noise
    noise = torch.randn(ct.shape, generator=generator) * sigma
    changed = ((ct + 1) / 2).clamp(0, 1) ** exponent * 2 - 1
    return torch.where(inside, changed * gain + offset + noise, ct).clamp(-1, 1)


def _uniform(count: int, largest: float, generator: torch.Generator) -> Tensor:
    """(count,) uniform in [-largest, largest]."""
    return (torch.rand(count, generator=generator) * 2 - 1) * largest
