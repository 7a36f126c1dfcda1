"""Small heads as volumes, on an oblique, anisotropic grid or as pictures."""

from __future__ import annotations

import numpy as np
from napari.layers import Layer
from numpy.typing import NDArray

from napari_ct2mri.imaging.volume import Geometry, Volume

OBLIQUE = Geometry(
    spacing=(4.0, 1.5, 1.25),
    origin=(-40.0, -50.0, 12.5),
    direction=(-0.8, 0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, -1.0),
)
"""Turned in plane by 37 degrees, and stored from top to bottom and from left to right."""


def head_pair(
    seed: int = 0, slices: int = 4, side: int = 64, geometry: Geometry = OBLIQUE
) -> tuple[Volume, Volume]:
    """CT in HU and T2 of one subject: scalp, skull, brain and a few pools of fluid."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / (side - 1) * 2 - 1
    ct = np.full((slices, side, side), -1000.0)
    mr = np.zeros_like(ct)
    a, b = random.uniform(0.62, 0.78, 2)
    pools = random.uniform(-0.35, 0.35, (6, 2))
    for z in range(slices):
        radius = np.hypot(y / a, x / b) / (1 - 0.06 * z)
        for limit, hu, signal in ((1.0, 30, 500), (0.92, 900, 60), (0.8, 36, 620)):
            ct[z][radius < limit], mr[z][radius < limit] = hu, signal
        for k, (v, u) in enumerate(pools):
            pool = (np.hypot(y - v, x - u) < 0.08 + 0.02 * ((z + k) % 3)) & (radius < 0.8)
            ct[z][pool], mr[z][pool] = 6, 950
    ct += random.normal(0, 2, ct.shape)
    mr += np.abs(random.normal(0, 8, mr.shape))
    return (
        Volume(np.rint(ct).astype(np.int16), geometry, "CT", "HU"),
        Volume(mr.astype(np.float32), geometry, "MR", "arbitrary"),
    )


def picture(volume: Volume) -> NDArray[np.uint8]:
    """A CT as pictures in level 40, width 80."""
    return np.clip(volume.data / 80 * 255, 0, 255).astype(np.uint8)


def to_micrometres(layer: Layer) -> None:
    """Measure a layer in µm from now on; it stays where it is."""
    scale, translate = np.multiply(layer.scale, 1000), np.multiply(layer.translate, 1000)
    layer.units = ("um",) * layer.ndim
    layer.scale, layer.translate = scale, translate
