"""Slices in any place to one upright, evenly spaced grid.

A scanner with a tilted gantry moves the table along z while the slices lean: each is shifted
within its plane against the one before. Slices may also lie unevenly. Both are undone here
without turning the slices: the grid keeps their plane, its third axis is their normal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import atan2, degrees

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.errors import ImageError
from napari_ct2mri.imaging.volume import Geometry

__all__ = ["Grid", "Pose", "plan_grid", "resample"]

SAME_PLACE_MM = 0.01
"""Slices closer than this along the normal are at one position."""

_UNEVEN = 0.02
"""Share of a step by which a slice may miss its place before anything is resampled: headers
round positions to 0.01 mm and less."""

_SHIFTED_PX = 0.5
"""Pixels by which a slice may be shifted within its plane before anything is resampled:
cosines rounded to three digits shift the far end of a stack by that much."""

_WIDEST_GAP_STEPS = 5
_WIDEST_GAP_MM = 12.0
"""A gap wider than both is not filled: what lies in it is anybody's guess."""

_MOST_SLICES = 8
"""Of the grid for each of the series: a scan of 1.25 mm below and 10 mm above needs 5."""

_WIDEST_SHIFT = 1.0
"""Shift within the plane, as a share of the frame's side, that is still corrected."""


@dataclass(frozen=True, slots=True)
class Pose:
    """How the slices of a stack lie: what they have in common.

    Attributes
    ----------
    row, column : (3,) LPS unit vectors
        Along which x and y index grow (DICOM ImageOrientationPatient).
    pixel_mm : (y, x)
    size : (y, x) pixels
    """

    row: NDArray[np.float64]
    column: NDArray[np.float64]
    pixel_mm: tuple[float, float]
    size: tuple[int, int]

    @classmethod
    def from_dicom(
        cls, cosines: Sequence[float], pixel_mm: tuple[float, float], size: tuple[int, int]
    ) -> Pose:
        """A pose from the six direction cosines of a header, made exactly orthonormal."""
        row, column = np.asarray(cosines, np.float64).reshape(2, 3)
        lengths = float(np.linalg.norm(row)), float(np.linalg.norm(column))
        if not np.allclose([*lengths, float(row @ column)], [1, 1, 0], atol=1e-3):
            raise ImageError(
                f"its orientation is not a pair of right-angled unit vectors: {cosines}"
            )
        row = row / lengths[0]
        column = column - (column @ row) * row
        return cls(row, column / np.linalg.norm(column), pixel_mm, size)

    @property
    def normal(self) -> NDArray[np.float64]:
        """(3,) LPS unit vector across the slices."""
        return np.cross(self.row, self.column)

    @property
    def direction(self) -> tuple[float, ...]:
        """As :class:`Geometry` wants it."""
        columns = np.stack([self.row, self.column, self.normal], axis=1)
        return tuple(float(v) + 0.0 for v in columns.ravel())  # -0.0 reads badly


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Where the volume of a stack lies, and where its slices lie on it.

    Attributes
    ----------
    geometry : Geometry
    shape : (z, y, x)
    depths : (n,) ascending
        Of the slices, in steps of the grid.
    shifts : (n, 2) pixels (y, x)
        Where each slice's first pixel lies on the grid.
    is_exact : bool
        The slices are the grid's own; nothing needs resampling.
    notes : tuple of str
        What is corrected.
    """

    geometry: Geometry
    shape: tuple[int, int, int]
    depths: NDArray[np.float64] = field(repr=False)
    shifts: NDArray[np.float64] = field(repr=False)
    is_exact: bool
    notes: tuple[str, ...]


def plan_grid(pose: Pose, positions: NDArray[np.float64], thickness_mm: float) -> Grid:
    """The upright, even grid that holds all slices.

    Parameters
    ----------
    pose : Pose
    positions : (n, 3) LPS mm
        Of each slice's first pixel, ascending along the normal, no two at one place.
    thickness_mm : float
        The step of a lone slice.

    Raises
    ------
    ImageError
        If a gap is too wide to be filled, or slices hardly overlap.
    """
    depths_mm = (positions - positions[0]) @ pose.normal
    step, even = _step(depths_mm, thickness_mm)
    shifts = (positions - positions[0]) @ np.stack([pose.column, pose.row], 1) / pose.pixel_mm
    upright = bool(np.abs(shifts).max() <= _SHIFTED_PX)
    shifts = np.zeros_like(shifts) if upright else _settled(shifts)
    if (np.ptp(shifts, axis=0) > _WIDEST_SHIFT * np.asarray(pose.size)).any():
        raise ImageError("its slices hardly overlap, so they are not one volume; split the series")

    first, last = np.floor(shifts.min(axis=0)), np.ceil(shifts.max(axis=0))
    rows, columns = (np.asarray(pose.size) + last - first).astype(int)
    depths = np.arange(len(positions), dtype=np.float64) if even else _settled(depths_mm / step)
    shape = (round(depths[-1]) + 1, int(rows), int(columns))
    down_mm, right_mm = first * pose.pixel_mm
    x, y, z = (float(v) for v in positions[0] + right_mm * pose.row + down_mm * pose.column)
    geometry = Geometry((step, *pose.pixel_mm), (x, y, z), pose.direction)
    notes = [] if upright else [_tilt_note(pose, shifts, depths_mm)]
    notes += [] if even else [_uneven_note(depths_mm, shape[0], step)]
    return Grid(geometry, shape, depths, shifts - first, even and upright, tuple(notes))


def _step(depths_mm: NDArray[np.float64], thickness_mm: float) -> tuple[float, bool]:
    """Step of the grid, mm, and whether the slices already keep it.

    The step of unevenly spaced slices is near the lower quartile of theirs (so a missing
    slice changes nothing, and the finer part of a head keeps its detail), and ends on the
    last slice.
    """
    if len(depths_mm) == 1:
        return thickness_mm, True
    steps = np.diff(depths_mm)
    mean = float(depths_mm[-1] / len(steps))
    if np.abs(depths_mm - mean * np.arange(len(depths_mm))).max() <= _UNEVEN * mean:
        return mean, True
    fine = float(np.quantile(steps, 0.25, method="higher"))
    widest = float(steps.max())
    if widest > max(_WIDEST_GAP_MM, _WIDEST_GAP_STEPS * fine):
        at = int(steps.argmax()) + 1
        raise ImageError(
            f"a gap of {widest:.1f} mm after slice {at} of {len(depths_mm)}, where steps are "
            f"{fine:.2f} mm, is too wide to fill; bring the missing slices or split the series"
        )
    slices = max(1, round(depths_mm[-1] / fine))
    if slices > _MOST_SLICES * len(depths_mm):
        raise ImageError(
            f"{len(depths_mm)} slices over {depths_mm[-1]:.0f} mm, of which many lie only "
            f"{fine:.2f} mm apart, as of two series in one; split the series"
        )
    return float(depths_mm[-1] / slices), False


def _settled(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """Whole numbers freed of rounding, so that nothing is interpolated there."""
    whole = np.rint(places)
    return np.where(np.abs(places - whole) < 1e-3, whole, places)


def _tilt_note(pose: Pose, shifts: NDArray[np.float64], depths_mm: NDArray[np.float64]) -> str:
    moved_mm = shifts * pose.pixel_mm
    moved = float(np.ptp(moved_mm, axis=0).max())
    straight = np.outer(depths_mm / depths_mm[-1], moved_mm[-1])
    if np.abs(moved_mm - straight).max() <= max(pose.pixel_mm):
        angle = degrees(atan2(float(np.linalg.norm(moved_mm[-1])), float(depths_mm[-1])))
        cause = f"gantry tilt of {angle:.1f} degrees"
    else:
        cause = "slices shifted irregularly within their plane"
    return (
        f"{cause}: slices are moved by up to {moved:.1f} mm, resampled onto an upright grid in "
        "the same frame of reference"
    )


def _uneven_note(depths_mm: NDArray[np.float64], slices: int, step: float) -> str:
    steps = np.diff(depths_mm)
    return (
        f"uneven slice steps of {steps.min():.2f} to {steps.max():.2f} mm: {len(depths_mm)} slices "
        f"resampled to {slices} at {step:.3f} mm in the same frame of reference"
    )


def resample(slices: NDArray[np.generic], grid: Grid, fill: float) -> NDArray[np.generic]:
    """Put slices on their grid, linearly between pixels and between slices.

    Linear, because no value may leave the range of its neighbours: padding of -3024 beside
    air would ring for millimetres under a higher order.

    Parameters
    ----------
    slices : (n, y, x), n >= 2
    fill : float
        Where no slice reaches.

    Returns
    -------
    ``grid.shape``, dtype of ``slices`` (integers are rounded).
    """
    out = np.empty(grid.shape, slices.dtype)
    placed: dict[int, NDArray[np.float32]] = {}
    for z in range(grid.shape[0]):
        above = int(np.clip(np.searchsorted(grid.depths, z), 1, len(slices) - 1))
        placed = {  # only the two neighbours are held
            i: placed[i]
            if i in placed
            else _placed(slices[i], grid.shifts[i], grid.shape[1:], fill)
            for i in (above - 1, above)
        }
        low, high = grid.depths[above - 1], grid.depths[above]
        weight = float((z - low) / (high - low))
        value = (1 - weight) * placed[above - 1] + weight * placed[above]
        out[z] = np.rint(value) if np.issubdtype(out.dtype, np.integer) else value
    return out


def _placed(
    slice_: NDArray[np.generic],
    shift: NDArray[np.float64],
    frame: tuple[int, int],
    fill: float,
) -> NDArray[np.float32]:
    from scipy.ndimage import affine_transform

    moved: NDArray[np.float32] = affine_transform(
        slice_.astype(np.float32),
        np.ones(2),
        offset=-shift,
        output_shape=frame,
        order=1,
        mode="grid-constant",
        cval=fill,
    )
    return moved
