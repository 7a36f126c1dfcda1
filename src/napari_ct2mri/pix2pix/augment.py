"""Random changes to training pairs, drawn from one generator so that an epoch repeats exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

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
    chance = _Chance(generator, share or Share(len(ct)))
    if config.head_rest:
        ct = _with_head_rests(ct, config.head_rest, chance)
    both = torch.cat([ct, mr], dim=1)
    if config.crop_from_px > ct.shape[-1]:
        both = _enlarge_and_crop(both, config.crop_from_px, chance)
    mirrored = chance.rand(1, 1, 1) < config.flip
    window = _window(both.shape[-2:], config.patch, multiple, chance)
    if config.rotate_deg or config.zoom or config.shift_px or config.elastic_px:
        both = _warp(both, mirrored, window, config, chance)
    else:
        both = torch.where(mirrored, both.flip(-1), both)[..., *window]
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


def _with_head_rests(ct: Tensor, part: float, chance: _Chance) -> Tensor:
    """Draw, behind ``part`` of the heads, one or two arcs as of the table that a head lies on.

    They are in the CT and not in the MR, so that the network learns that what does not belong to
    the head is air. All lengths are in units of half the head's width; nothing is drawn over the
    head, whose outline is what has something of it on all four sides.
    """
    drawn = torch.stack([chance.rand(1, 1) for _ in range(9)])
    chosen = (drawn[8].flatten() < part).nonzero()[:, 0]
    curve, length, width, drop, aside, gap, double, shade, _ = drawn[:, chosen]
    tissue = (ct[chosen] > -1).any(1)
    left, right = _ends(tissue.any(1, keepdim=True), 2)
    _, lowest = _ends(tissue.any(2, keepdim=True), 1)
    unit = (right - left) / 2

    radius = unit * (0.9 + 2 * curve**2)
    reach = unit * (0.5 + length) / radius  # half the arc's angle
    thickness = unit * (0.01 + 0.07 * width)
    x = torch.arange(ct.shape[-1]) - (left + right) / 2 - unit * (0.4 * aside - 0.2)
    y = torch.arange(ct.shape[-2])[:, None] - lowest - unit * (0.35 * drop - 0.05) + radius
    away = torch.hypot(x, y)
    inner = away - radius
    outer = inner - unit * (0.05 + 0.2 * gap)
    off = torch.where(double < 0.5, torch.minimum(inner.abs(), outer.abs()), inner.abs())
    strength = (0.5 + thickness / 2 - off).clamp(0, 1) * (y > away * reach.cos())
    outside = ~(_between(tissue, 1) & _between(tissue, 2))
    arc = strength * (0.2 + 1.8 * shade) * outside - 1
    return ct.index_copy(0, chosen, torch.maximum(ct[chosen], arc[:, None]))


def _ends(mask: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """The first and the last place along an axis where (B, H, W) is true, or the whole axis."""
    mask = mask.byte()
    first, from_end = (m.argmax(dim, keepdim=True) for m in (mask, mask.flip(dim)))
    return first, mask.shape[dim] - 1 - from_end


def _between(mask: Tensor, dim: int) -> Tensor:
    """Where (B, H, W) is true on both sides along an axis, or there."""
    places = torch.arange(mask.shape[dim])
    if dim == 1:
        places = places[:, None]
    first, last = _ends(mask, dim)
    return (places >= first) & (places <= last) & mask.any(dim, keepdim=True)


def _enlarge_and_crop(images: Tensor, side: int, chance: _Chance) -> Tensor:
    """Scale to ``side`` x ``side`` and crop a random window of the original size."""
    height, width = images.shape[-2:]
    large = F.interpolate(images, size=(side, side), mode="bicubic", align_corners=False)
    y, x = chance.below(side - height + 1), chance.below(side - width + 1)
    return large[..., y : y + height, x : x + width].clamp(-1, 1)


def _window(frame: torch.Size, part: float, multiple: int, chance: _Chance) -> tuple[slice, slice]:
    """Rows and columns of a patch, one for all pairs, its centre in the frame's middle half."""
    window = []
    for side in frame:
        length = min(side, math.ceil(side * part / multiple) * multiple)
        margin = side - length
        start = margin // 4 + chance.below(margin // 2 + 1) if part < 1 else 0
        window.append(slice(start, start + length))
    return window[0], window[1]


def _warp(
    images: Tensor,
    mirrored: Tensor,
    window: tuple[slice, slice],
    config: AugmentConfig,
    chance: _Chance,
) -> Tensor:
    """Rotation, zoom with stretch, shift and a smooth displacement in one resampling.

    Of the images, mirrored where ``mirrored`` (B, 1, 1, 1) says so, only ``window`` is computed.
    """
    height, width = images.shape[-2:]
    y = _centres(height)[window[0], None]
    x = torch.where(mirrored[..., 0], -1, 1) * _centres(width)[window[1]]
    angle = chance.within(math.radians(config.rotate_deg), 1, 1)
    zoom_y = 1 + chance.within(config.zoom, 1, 1)
    zoom_x = zoom_y * (1 + chance.within(config.zoom / 2, 1, 1))
    shift = 2 / width * config.shift_px
    x, y = x / zoom_x, y / zoom_y
    places = torch.stack(  # (B, 2, h, w): where each pixel comes from, the frame's from -1 to 1
        [
            torch.cos(angle) * x - torch.sin(angle) * y + chance.within(shift, 1, 1),
            torch.sin(angle) * x + torch.cos(angle) * y + chance.within(shift, 1, 1),
        ],
        dim=1,
    )
    if config.elastic_px:
        nodes = chance.randn(2, _ELASTIC_NODES, _ELASTIC_NODES)
        nodes = torch.where(mirrored, nodes.flip(-1), nodes)
        field = _cubic(height)[window[0]] @ nodes @ _cubic(width)[window[1]].T
        places += 2 / width * config.elastic_px * field
    # air is -1, but what lies outside is sampled as 0: shift by one and back
    grid = places.permute(0, 2, 3, 1)
    moved = F.grid_sample(images + 1, grid, mode="bicubic", align_corners=False) - 1
    return moved.clamp(-1, 1)


@cache
def _centres(side: int) -> Tensor:
    """(side,) pixels' centres, of a frame from -1 to 1."""
    return (2 * torch.arange(side) + 1) / side - 1


@cache
def _cubic(side: int) -> Tensor:
    """(side, nodes): what each pixel is of the control points; bicubic, corner to corner."""
    nodes = torch.eye(_ELASTIC_NODES)[None, :, None]
    return F.interpolate(nodes, (1, side), mode="bicubic", align_corners=True)[0, :, 0].T


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
