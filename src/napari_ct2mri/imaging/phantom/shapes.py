"""Implicit shapes and smooth random fields from which the head is built.

A shape answers with a signed distance, mm, negative inside: exact for tubes, first order for
ellipsoids. Coordinates are those of the average head (see ``subject``): x left, y posterior,
z superior, mm. A shape lies on both sides of the midline: it sees ``|x|``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import cos, radians, sin
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "Ellipsoid", "Folds", "Mask", "Points", "SplineField", "Tube", "smooth_union"]

Array: TypeAlias = NDArray[np.float32]
Mask: TypeAlias = NDArray[np.bool_]
_FAR_MM = 1e3


@dataclass(frozen=True)
class Points:
    """Points of one slice in head coordinates: ``x``, ``y``, ``z`` (n,) float32, mm."""

    x: Array
    y: Array
    z: Array

    @cached_property
    def lateral(self) -> Array:
        """Distance from the midline, mm."""
        return np.abs(self.x)

    @cached_property
    def z_range(self) -> tuple[float, float]:
        """Lowest and highest point, mm."""
        return (float(self.z.min()), float(self.z.max())) if self.z.size else (_FAR_MM, -_FAR_MM)

    def take(self, mask: Mask) -> Points:
        """Only the points under ``mask``."""
        return Points(self.x[mask], self.y[mask], self.z[mask])


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid and its mirror image; ``yaw_deg`` turns its front to the side."""

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    yaw_deg: float = 0.0

    def distance(self, p: Points) -> Array:
        """Signed distance, mm, first order: ``k0 (k0 - 1) / k1``, right near the surface."""
        if self._is_beyond(p, 25.0):
            return np.full(p.x.shape, _FAR_MM, np.float32)
        u, v, w = self._local(p)
        rx, ry, rz = (r for r in self.radii)
        w = np.maximum(np.abs(w), 1e-4)  # at the very centre k0 / k1 would be 0 / 0
        k0 = np.sqrt(u * u + v * v + w * w)
        k1 = np.sqrt((u / rx) ** 2 + (v / ry) ** 2 + (w / rz) ** 2)
        distance: Array = k0 * (k0 - 1) / k1
        return distance

    def inside(self, p: Points) -> Mask:
        """Which points it holds."""
        if self._is_beyond(p, 0.0):
            return np.zeros(p.x.shape, np.bool_)
        u, v, w = self._local(p)
        inside: Mask = u * u + v * v + w * w < 1
        return inside

    def scaled(self, factor: float, lift_mm: float = 0.0) -> Ellipsoid:
        """The same, ``factor`` times as large and ``lift_mm`` higher."""
        x, y, z = self.centre
        a, b, c = self.radii
        return Ellipsoid((x, y, z + lift_mm), (a * factor, b * factor, c * factor), self.yaw_deg)

    def _is_beyond(self, p: Points, margin: float) -> bool:
        low, high = p.z_range
        reach = self.radii[2] + margin
        return low > self.centre[2] + reach or high < self.centre[2] - reach

    def _local(self, p: Points) -> tuple[Array, Array, Array]:
        (cx, cy, cz), (rx, ry, rz) = self.centre, self.radii
        dx, dy = p.lateral - cx, p.y - cy
        if self.yaw_deg:
            c, s = cos(radians(self.yaw_deg)), sin(radians(self.yaw_deg))
            dx, dy = c * dx + s * dy, c * dy - s * dx
        return dx / rx, dy / ry, (p.z - cz) / rz


@dataclass(frozen=True)
class Tube:
    """Round cones along a line of nodes ``(x, y, z, radius)``, mm, and its mirror image."""

    nodes: tuple[tuple[float, float, float, float], ...]

    def distance(self, p: Points) -> Array:
        """Signed distance, mm."""
        best = np.full(p.x.shape, _FAR_MM, np.float32)
        for start, end in zip(self.nodes[:-1], self.nodes[1:], strict=True):
            if self._reaches(p, start, end):
                np.minimum(best, _cone_distance(p, start, end), out=best)
        return best

    def inside(self, p: Points) -> Mask:
        """Which points it holds."""
        return self.distance(p) < 0

    def grown(self, factor: float, extra_mm: float = 0.0) -> Tube:
        """The same line with radii ``factor`` times as large plus ``extra_mm``."""
        return Tube(tuple((x, y, z, r * factor + extra_mm) for x, y, z, r in self.nodes))

    @staticmethod
    def _reaches(p: Points, start: tuple[float, ...], end: tuple[float, ...]) -> bool:
        low, high = p.z_range
        reach = max(start[3], end[3]) + 25.0
        return low < max(start[2], end[2]) + reach and high > min(start[2], end[2]) - reach


def _cone_distance(p: Points, start: tuple[float, ...], end: tuple[float, ...]) -> Array:
    a, b = np.array(start, np.float32), np.array(end, np.float32)
    axis = b[:3] - a[:3]
    dx, dy, dz = p.lateral - a[0], p.y - a[1], p.z - a[2]
    along = (dx * axis[0] + dy * axis[1] + dz * axis[2]) / max(float(axis @ axis), 1e-6)
    np.clip(along, 0, 1, out=along)
    dx -= along * axis[0]
    dy -= along * axis[1]
    dz -= along * axis[2]
    distance: Array = np.sqrt(dx * dx + dy * dy + dz * dz) - (a[3] + along * (b[3] - a[3]))
    return distance


def smooth_union(first: Array, second: Array, blend_mm: float) -> Array:
    """Signed distance to both, their seam rounded over ``blend_mm`` (polynomial minimum)."""
    h = np.maximum(blend_mm - np.abs(first - second), 0) / blend_mm
    union: Array = np.minimum(first, second) - h * h * (blend_mm / 4)
    return union


class SplineField:
    """A smooth random field over the scanner's space, evaluated a slice at a time.

    Normal numbers on knots ``knot_mm`` apart, joined by a cubic B-spline; its standard
    deviation is 1. The knots cover 320 mm about the field's centre whatever the grid, so that
    one seed gives one anatomy at every resolution.
    """

    def __init__(self, rng: np.random.Generator, knot_mm: float) -> None:
        self._knot_mm = knot_mm
        self._count = int(320 / knot_mm) + 4
        values = rng.standard_normal((self._count,) * 3, dtype=np.float32)
        # variance of a B-spline sum, averaged over the cell, is (0.4794)^3
        self._values = values / 0.4794**1.5

    def slice_(self, z_mm: float, y_mm: Array, x_mm: Array) -> Array:
        """Values on the grid ``y_mm`` x ``x_mm`` at height ``z_mm``, (y, x) float32."""
        (bz,), by, bx = (self._basis(np.atleast_1d(m)) for m in (z_mm, y_mm, x_mm))
        plane = np.tensordot(bz, self._values, axes=1)
        field: Array = (by @ plane @ bx.T).astype(np.float32)
        return field

    def _basis(self, at_mm: Array) -> Array:
        """(n, knots) weights of the uniform cubic B-spline; beyond the knots it fades to 0."""
        t = np.asarray(at_mm, np.float32)[:, None] / self._knot_mm
        d = np.abs(t + (self._count - 1) / 2 - np.arange(self._count, dtype=np.float32))
        near, far = 2 / 3 - d * d + d**3 / 2, np.maximum(2 - d, 0) ** 3 / 6
        basis: Array = np.where(d < 1, near, far).astype(np.float32)
        return basis


class Folds:
    """A labyrinth of sheets, such as the sulci of a cortex, that repeats after 200 mm.

    The zero level of noise whose spatial frequencies lie on a shell: sheets about half a
    ``wavelength_mm`` apart, branching and ending as sulci do. Stored is the first-order
    distance to it, ``s / |grad s|``.
    """

    _STEP_MM = 2.5
    _COUNT = 80

    def __init__(self, rng: np.random.Generator, wavelength_mm: float) -> None:
        from scipy import fft

        n, step = self._COUNT, self._STEP_MM
        k = [np.fft.fftfreq(n, step), np.fft.fftfreq(n, step), np.fft.rfftfreq(n, step)]
        radius = np.sqrt(k[0][:, None, None] ** 2 + k[1][:, None] ** 2 + k[2] ** 2)
        shell = np.exp(-(((radius * wavelength_mm - 1) / 0.28) ** 2) / 2).astype(np.float32)
        noise = fft.rfftn(rng.standard_normal((n, n, n), dtype=np.float32))
        s = fft.irfftn(noise * shell, (n, n, n))
        slope = np.sqrt(sum(g * g for g in np.gradient(s, step)))
        self._distance = (s / np.hypot(slope, 0.35 * slope.mean())).astype(np.float32)

    def distance(self, x: Array, y: Array, z: Array) -> Array:
        """Signed distance to the nearest sheet, mm, (n,) float32."""
        from scipy.ndimage import map_coordinates

        at = np.stack([z, y, x]) / self._STEP_MM
        distance: Array = map_coordinates(self._distance, at, order=1, mode="grid-wrap")
        return distance
