"""Two volumes in one picture, to see whether they lie on each other: checkerboard and swipe.

Both work on the slice that is looked at, and on no other: a picture of 512 x 512 takes
hundredths of a second, whatever the volume holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.imaging.volume import Geometry, Volume

__all__ = ["Blend", "Checkerboard", "Look", "OnGrid", "Swipe"]

SEAM = (255, 190, 0)
"""RGB of the line of a swipe: no image that is shown in grey has it."""

Steps: TypeAlias = tuple[int, int, int]
"""Along one axis: first index, step, count."""


@dataclass(frozen=True, slots=True)
class Checkerboard:
    """CT and MR by turns, in squares of ``tile_mm``."""

    tile_mm: float = 25.0

    def takes_mr(self, steps: list[Steps], grid: Geometry) -> NDArray[np.bool_]:
        """(z, y, x) where the MR is shown; along the axes of the picture alone."""
        tiles = np.zeros((1, 1, 1), np.int64)
        for axis, spacing in enumerate(grid.spacing):
            if steps[axis][2] > 1:
                mm = _indices(steps, axis) * spacing
                tiles = tiles + np.floor(mm / self.tile_mm).astype(np.int64)
        return np.asarray(tiles % 2 == 1)

    def seam(self, steps: list[Steps]) -> NDArray[np.bool_] | None:
        """No line is drawn."""
        return None


@dataclass(frozen=True, slots=True)
class Swipe:
    """CT up to ``index`` along ``axis``, MR from there on, and a line between."""

    axis: int
    index: int

    def takes_mr(self, steps: list[Steps], grid: Geometry) -> NDArray[np.bool_]:
        """(z, y, x) where the MR is shown."""
        return np.asarray(_indices(steps, self.axis) >= self.index)

    def seam(self, steps: list[Steps]) -> NDArray[np.bool_] | None:
        """(z, y, x) where the line is."""
        return np.asarray(_indices(steps, self.axis) == self.index)


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """How values become colours: from ``low`` to ``high`` along ``palette``, (256, 3) RGB."""

    low: float
    high: float
    palette: NDArray[np.uint8]

    def colours(self, values: NDArray[np.generic]) -> NDArray[np.uint8]:
        """(..., 3) RGB."""
        unit = (values.astype(np.float32) - self.low) / max(self.high - self.low, 1e-12)
        levels = np.clip(np.nan_to_num(unit) * 255 + 0.5, 0, 255)
        return np.asarray(self.palette[levels.astype(np.uint8)])


@dataclass(frozen=True, slots=True, eq=False)
class OnGrid:
    """A volume as it lies on another's grid: linear between voxels, its lowest value outside.

    Attributes
    ----------
    volume : Volume
    grid : Geometry
        At any angle to the volume's own.
    low : float
        What stands outside.
    is_there : bool
        Whether the volume has the grid itself, so that there is nothing to do.
    """

    volume: Volume
    grid: Geometry
    low: float
    is_there: bool

    def values(self, steps: list[Steps]) -> NDArray[np.generic]:
        """(z, y, x) at some of the grid's places."""
        from scipy.ndimage import affine_transform

        if self.is_there:
            return self.volume.data[_places(steps)]
        index = np.linalg.inv(self.volume.geometry.affine) @ self.grid.affine
        start = np.array([first for first, _, _ in steps])
        return np.asarray(
            affine_transform(
                self.volume.data,
                index[:3, :3] * [step for _, step, _ in steps],
                index[:3, :3] @ start + index[:3, 3],
                tuple(count for _, _, count in steps),
                output=np.float32,
                order=1,
                mode="grid-constant",  # rounding at the edge is no reason to leave the image
                cval=self.low,
            )
        )


class Blend:
    """CT and MR in one picture, (z, y, x, 3) uint8, made where it is looked at.

    Parameters
    ----------
    ct : Volume
        Its grid is the picture's.
    mr : Volume
        Anywhere in the world.
    looks : (Look, Look)
        Of CT and MR; may be set anew, like ``pattern``.
    pattern : Checkerboard or Swipe
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(
        self, ct: Volume, mr: Volume, looks: tuple[Look, Look], pattern: Checkerboard | Swipe
    ) -> None:
        self.ct = ct
        is_there = mr.data.shape == ct.data.shape and mr.geometry.is_close(ct.geometry, 1e-6)
        self.mr = OnGrid(mr, ct.geometry, float(mr.data.min()), is_there)
        self.looks = looks
        self.pattern = pattern

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(z, y, x, 3)."""
        z, y, x = self.ct.data.shape
        return z, y, x, 3

    @property
    def size(self) -> int:
        """Count of values."""
        return int(np.prod(self.shape))

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        """A slice along any axis; black where more than one is asked for, as for a view in 3-D."""
        key = (*(key if isinstance(key, tuple) else (key,)), slice(None), slice(None))[:3]
        steps = [_steps(k, n) for k, n in zip(key, self.shape, strict=False)]
        picture = np.zeros((*(count for _, _, count in steps), 3), np.uint8)
        if min(count for _, _, count in steps) == 1:
            self._paint(picture, steps)
        return picture[tuple(0 if isinstance(k, (int, np.integer)) else slice(None) for k in key)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All slices, for whoever saves them."""
        return np.stack([self[z] for z in range(len(self.ct.data))]).astype(dtype or self.dtype)

    def _paint(self, picture: NDArray[np.uint8], steps: list[Steps]) -> None:
        ct, mr = self.looks
        takes_mr = self.pattern.takes_mr(steps, self.ct.geometry)[..., None]
        picture[...] = np.where(
            takes_mr, mr.colours(self.mr.values(steps)), ct.colours(self.ct.data[_places(steps)])
        )
        seam = self.pattern.seam(steps)
        if seam is not None:
            picture[np.broadcast_to(seam, picture.shape[:3])] = SEAM


def _steps(key: Any, size: int) -> Steps:
    """Places along an axis of ``size`` that an index or a slice with a positive step means."""
    if isinstance(key, slice):
        chosen = range(size)[key]
        return chosen.start, chosen.step, len(chosen)
    return range(size)[int(key)], 1, 1


def _places(steps: list[Steps]) -> tuple[slice, ...]:
    """What reads values at those places from an array."""
    return tuple(slice(first, first + step * count, step) for first, step, count in steps)


def _indices(steps: list[Steps], axis: int) -> NDArray[np.int64]:
    """Indices along one axis, in a shape that is spread over (z, y, x)."""
    first, step, count = steps[axis]
    shape = [1, 1, 1]
    shape[axis] = count
    return (first + step * np.arange(count, dtype=np.int64)).reshape(shape)
