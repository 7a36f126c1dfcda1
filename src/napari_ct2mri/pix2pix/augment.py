"""Random changes to training pairs, drawn from one generator so that an epoch repeats exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from napari_ct2mri.config import AugmentConfig
from napari_ct2mri.pix2pix.team import Share

__all__ = ["augment"]

_ELASTIC_NODES = 8  # control points a side of the smooth displacement field


def augment(
    ct: Tensor,
    mr: Tensor,
    config: AugmentConfig,
    generator: torch.Generator,
    multiple: int = 1,
    share: Share | None = None,
) -> tuple[Tensor, Tensor]:
    """Change CT and MR of each pair alike in space, and the CT's grey levels alone.

    Parameters
    ----------
    ct, mr : (B, C, H, W) and (B, 1, H, W), float32 in [-1, 1]
    generator : torch.Generator
        The only source of chance, on the CPU.
    multiple : int
        The sides of a patch are multiples of this; those of the frame must be.
    share : Share, optional
        Which rows of a batch the pairs are, by default all. Chance is drawn for the whole batch, so
        that a pair changes alike, whoever computes it.

    Returns
    -------
    (ct, mr) in the same range, of the same shapes or of a patch's; what comes in from outside
    the frame is air, -1.
    """
    channels = ct.shape[1]
    both = torch.cat([ct, mr], dim=1)
    chance = _Chance(generator, share or Share(len(both)))
    if config.crop_from_px > ct.shape[-1]:
        both = _enlarge_and_crop(both, config.crop_from_px, chance)
    if config.rotate_deg or config.zoom or config.shift_px or config.elastic_px:
        both = _warp(both, config, chance)
    mirrored = chance.rand(1, 1, 1) < config.flip
    both = torch.where(mirrored, both.flip(-1), both)
    if config.patch < 1:
        both = _patch(both, config.patch, multiple, chance)
    return _grey_levels(both[:, :channels], config, chance), both[:, channels:]


@dataclass(frozen=True, slots=True)
class _Chance:
    """Numbers drawn for every row of a batch; those of the rows in ``share`` are handed out."""

    generator: torch.Generator
    share: Share

    def rand(self, *shape: int) -> Tensor:
        """(rows, *shape) uniform in [0, 1)."""
        drawn = torch.rand(self.share.batch, *shape, generator=self.generator)
        return drawn[self.share.rows]

    def randn(self, *shape: int) -> Tensor:
        """(rows, *shape) standard normal."""
        drawn = torch.randn(self.share.batch, *shape, generator=self.generator)
        return drawn[self.share.rows]

    def within(self, largest: float, *shape: int) -> Tensor:
        """(rows, *shape) uniform in [-largest, largest]."""
        return (self.rand(*shape) * 2 - 1) * largest

    def below(self, end: int) -> int:
        """One of 0 .. end - 1, for all rows."""
        return int(torch.randint(end, (), generator=self.generator))


def _enlarge_and_crop(images: Tensor, side: int, chance: _Chance) -> Tensor:
    """Scale to ``side`` x ``side`` and crop a random window of the original size."""
    height, width = images.shape[-2:]
    large = F.interpolate(images, size=(side, side), mode="bicubic", align_corners=False)
    y, x = chance.below(side - height + 1), chance.below(side - width + 1)
    return large[..., y : y + height, x : x + width].clamp(-1, 1)


def _patch(images: Tensor, part: float, multiple: int, chance: _Chance) -> Tensor:
    """One window for all, its centre within half the margin of the frame's."""
    for axis in (-2, -1):
        side = images.shape[axis]
        length = min(side, math.ceil(side * part / multiple) * multiple)
        margin = side - length
        start = margin // 4 + chance.below(margin // 2 + 1)
        images = images.narrow(axis, start, length)
    return images


def _warp(images: Tensor, config: AugmentConfig, chance: _Chance) -> Tensor:
    """Rotation, zoom with stretch, shift and a smooth displacement in one resampling."""
    batch, _, height, width = images.shape
    angle = chance.within(math.radians(config.rotate_deg))
    zoom_y = 1 + chance.within(config.zoom)
    zoom_x = zoom_y * (1 + chance.within(config.zoom / 2))
    shift = 2 / width * config.shift_px
    theta = torch.stack(
        [
            torch.cos(angle) / zoom_x,
            -torch.sin(angle) / zoom_y,
            chance.within(shift),
            torch.sin(angle) / zoom_x,
            torch.cos(angle) / zoom_y,
            chance.within(shift),
        ],
        dim=1,
    ).view(batch, 2, 3)
    grid = F.affine_grid(theta, [batch, 1, height, width], align_corners=False)
    if config.elastic_px:
        nodes = chance.randn(2, _ELASTIC_NODES, _ELASTIC_NODES)
        field = F.interpolate(nodes, (height, width), mode="bicubic", align_corners=True)
        grid = grid + field.permute(0, 2, 3, 1) * (2 / width * config.elastic_px)
    # air is -1, but what lies outside is sampled as 0: shift by one and back
    moved = F.grid_sample(images + 1, grid, mode="bicubic", align_corners=False) - 1
    return moved.clamp(-1, 1)


def _grey_levels(ct: Tensor, config: AugmentConfig, chance: _Chance) -> Tensor:
    """Another window, another exponent, another dose. Clipped voxels stay clipped."""
    if not (config.window_jitter or config.gamma or config.noise):
        return ct
    inside = (ct > -0.99) & (ct < 0.99)
    gain = 1 + chance.within(config.window_jitter, 1, 1, 1)
    offset = chance.within(config.window_jitter, 1, 1, 1)
    exponent = 1 + chance.within(config.gamma, 1, 1, 1)
    sigma = chance.rand(1, 1, 1) * config.noise
    noise = chance.randn(*ct.shape[1:]) * sigma
    changed = ((ct + 1) / 2).clamp(0, 1) ** exponent * 2 - 1
    return torch.where(inside, changed * gain + offset + noise, ct).clamp(-1, 1)
