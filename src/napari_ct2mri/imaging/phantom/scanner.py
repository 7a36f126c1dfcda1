"""From a subject to voxels: labels on a grid, then what CT and MR make of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.imaging.phantom.brain import label_inside
from napari_ct2mri.imaging.phantom.cranium import envelope, label_outside
from napari_ct2mri.imaging.phantom.shapes import Array, SplineField
from napari_ct2mri.imaging.phantom.subject import SliceFields, Subject
from napari_ct2mri.imaging.phantom.tissues import Tissue, hu_table, signal_table

__all__ = ["Grid", "Scan", "acquire_ct", "acquire_mr", "label_slice", "scan"]


_ROUNDED = 1e-5
"""Standard deviation of a difference of two equal images of white noise."""


@dataclass(frozen=True)
class Grid:
    """Voxel centres in the scanner, mm: ``z`` (n,) from inferior, ``y`` and ``x`` in-plane."""

    z: Array
    y: Array
    x: Array
    spacing: tuple[float, float, float]

    @classmethod
    def of(
        cls, shape: tuple[int, int, int], spacing: tuple[float, float, float], top_mm: float
    ) -> Grid:
        """A grid centred in-plane whose top slice lies at ``top_mm``."""
        z, y, x = (np.arange(n, dtype=np.float32) * s for n, s in zip(shape, spacing, strict=True))
        return cls(z - z[-1] + top_mm, y - y[-1] / 2, x - x[-1] / 2, spacing)

    def pixels(self, mm: float) -> tuple[float, float]:
        """A length in pixels along y and x."""
        return (mm / self.spacing[1], mm / self.spacing[2])


@dataclass(frozen=True)
class Scan:
    """Noise-free expectation on a grid.

    ``ct`` (z, y, x) float32 HU; ``mr`` the same by contrast, signal; ``labels`` uint8 at the
    voxels' centres.
    """

    ct: Array
    mr: dict[str, Array]
    labels: NDArray[np.uint8]


def scan(who: Subject, grid: Grid, contrasts: tuple[str, ...]) -> Scan:
    """Evaluate the head on sub-slices of every slice and average what a voxel would see.

    Sub-slices are also shifted by a third of a pixel in-plane, so that averaging them gives
    partial volume in all three directions.
    """
    tables = [hu_table(), *(signal_table(c) for c in contrasts)]
    shape = (len(grid.z), len(grid.y), len(grid.x))
    images = [np.empty(shape, np.float32) for _ in tables]
    labels = np.empty(shape, np.uint8)
    for k, z in enumerate(grid.z):
        samples = [label_slice(who, s, y, x) for s, y, x in _samples(grid, float(z))]
        labels[k] = samples[len(samples) // 2]
        for image, table in zip(images, tables, strict=True):
            image[k] = np.mean([table[s] for s in samples], axis=0)
    return Scan(images[0], dict(zip(contrasts, images[1:], strict=True)), labels)


def _samples(grid: Grid, z: float) -> Iterator[tuple[float, Array, Array]]:
    dz, dy, dx = grid.spacing
    for i, j in ((-1, 1), (0, 0), (1, -1)):
        yield z + i * dz / 3, grid.y + i * dy / 3, grid.x + j * dx / 3


def label_slice(who: Subject, z_mm: float, y_mm: Array, x_mm: Array) -> NDArray[np.uint8]:
    """Tissue labels of one plane of points, (y, x) uint8."""
    f = who.slice_(z_mm, y_mm, x_mm)
    near = _near_head(f)
    labels = np.full(near.shape, Tissue.AIR, np.uint8)
    f = f.take(near)
    e = envelope(f, who)
    inside, outside = e.cavity < 0, (e.cavity >= 0) & (e.skin < 0)
    found = np.full(inside.shape, Tissue.AIR, np.uint8)
    for mask, label in ((outside, label_outside), (inside, label_inside)):
        if mask.any():
            part = type(e)(e.vault[mask], e.cavity[mask], e.skin[mask])
            found[mask] = label(f.take(mask), part, who)
    labels[near] = found
    return labels.reshape(len(y_mm), len(x_mm))


def _near_head(f: SliceFields) -> NDArray[np.bool_]:
    """Points that can lie in the head: within a generous ellipsoid; spares the empty corners."""
    p = f.points
    near: NDArray[np.bool_] = (p.x / 98) ** 2 + ((p.y - 8) / 118) ** 2 + (
        np.maximum(p.z - 20, 0) / 85
    ) ** 2 < 1
    return near


def acquire_ct(
    scan_: Scan, who: Subject, grid: Grid, rng: np.random.Generator
) -> NDArray[np.int16]:
    """CT numbers: head rest, sharpness of the kernel, shading and noise, (z, y, x) int16 HU.

    Noise of filtered back-projection lacks its lowest frequencies (ramp filter) and its highest
    (kernel): white noise between two Gaussians, stronger where more bone was crossed.
    """
    from scipy.ndimage import gaussian_filter, uniform_filter

    sigma = rng.uniform(2.0, 5.0)
    shade = SplineField(rng, 60)
    around = tuple(max(round(side), 1) for side in grid.pixels(70))
    out = np.empty(scan_.ct.shape, np.int16)
    for k, z in enumerate(grid.z):
        plane = np.maximum(scan_.ct[k], _head_rest(who, grid))
        plane = gaussian_filter(plane, grid.pixels(0.5))
        head = np.clip((plane + 1000) / 1000, 0, 1)
        bone = uniform_filter(np.clip(plane - 300, 0, 1500), around) / 400
        noise = _ct_noise(plane.shape, grid, rng)
        spread = noise.std() or 1  # 0: a plane of one pixel
        noise *= (
            sigma / spread * (0.35 + 0.65 * gaussian_filter(head, grid.pixels(4))) * (0.8 + bone)
        )
        plane += noise + head * 1.2 * shade.slice_(float(z), grid.y, grid.x)
        out[k] = np.clip(np.rint(plane), -1024, 3071)
    return out


def _ct_noise(shape: tuple[int, ...], grid: Grid, rng: np.random.Generator) -> NDArray[np.float32]:
    """(y, x) of any strength; white where a pixel is far wider than the kernel."""
    from scipy.ndimage import gaussian_filter

    white = rng.standard_normal(shape, dtype=np.float32)
    noise = gaussian_filter(white, grid.pixels(0.57)) - gaussian_filter(white, grid.pixels(1.5))
    return np.asarray(noise if noise.std() > _ROUNDED else white, np.float32)


def _head_rest(who: Subject, grid: Grid) -> Array:
    """A thin shell behind the head, HU; -1000 elsewhere, and everywhere if there is none."""
    rest = np.full((len(grid.y), len(grid.x)), -1000, np.float32)
    if who.head_rest:
        y = grid.y[:, None] + who.head_rest - 112 * who.stretch[1]
        radius = np.hypot(grid.x[None, :], y)
        rest[(np.abs(radius - who.head_rest) < 1.3) & (y > 0.15 * who.head_rest)] = 80
    return rest


def acquire_mr(signal: Array, grid: Grid, rng: np.random.Generator) -> NDArray[np.uint16]:
    """MR magnitude in arbitrary units: coil shading, blur and Rician noise, (z, y, x) uint16.

    Rician: the magnitude of a complex signal whose parts both carry Gaussian noise
    (Gudbjartsson & Patz 1995, eq. 1).
    """
    from scipy.ndimage import gaussian_filter

    scale = rng.uniform(1200, 2600)  # arbitrary units of signal 1: the scanner's gain
    sigma = rng.uniform(0.004, 0.011)
    shade, strength = SplineField(rng, 80), rng.uniform(0.04, 0.12)
    texture = SplineField(rng, 12)
    out = np.empty(signal.shape, np.uint16)
    for k, z in enumerate(grid.z):
        plane = gaussian_filter(signal[k], grid.pixels(0.55))
        plane *= np.exp(strength * shade.slice_(float(z), grid.y, grid.x))
        plane *= 1 + 0.015 * texture.slice_(float(z), grid.y, grid.x)
        real, imaginary = sigma * rng.standard_normal((2, *plane.shape), dtype=np.float32)
        out[k] = np.clip(np.rint(scale * np.hypot(plane + real, imaginary)), 0, 65535)
    return out
