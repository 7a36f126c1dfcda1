"""The scale rule: every network sees heads at one size, in one frame.

A slice goes to the network's frame and back by one separable resampling each way,
``frame = Ay @ slice @ Ax.T``, with Catmull-Rom weights that widen where the image shrinks, so
that nothing aliases. Where the scale is 1 and the shift whole, the matrices only select. They are
banded, and multiplied band by band: a third of the time of whole matrices.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.config import ModelConfig
from napari_ct2mri.errors import VolumeError
from napari_ct2mri.imaging.head import head_box, head_diameter_px, head_mask
from napari_ct2mri.imaging.volume import Volume

__all__ = ["Frame", "fit_frame"]

_MARGIN_PX = 6  # air kept round the head, network pixels
_ZOOM_LIMITS = (0.05, 20.0)  # beyond these the head was not found, or the spacing is wrong
_MAX_FRAME_PX = 2048**2  # 1.7 m at the default's pixels: the spacing is wrong, or memory ends
_ENOUGH_SLICES = 48  # looked at to find the head of a volume
_ENOUGH_PX = 256
_AIR = "and what is black counts as air", "and what is below -300 HU counts as air"  # grey, HU
_OR_NATIVE = " (in a terminal, --native leaves the pixels as they are)"
_BAND_ROWS = 32  # fewer skip more zeros, but are more calls

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Frame:
    """Where the network's frame lies on a slice.

    Attributes
    ----------
    source : (H, W)
        Shape of the slices, pixels.
    shape : (h, w)
        Shape of the frame, network pixels.
    zoom : (y, x)
        Network pixels per slice pixel.
    centre : (y, x)
        The slice position, in pixels, on which the frame is centred.
    """

    source: tuple[int, int]
    shape: tuple[int, int]
    zoom: tuple[float, float]
    centre: tuple[float, float]

    def take(self, slices: Floats, outside: float = -1.0) -> Floats:
        """(..., H, W) slices to (..., h, w) frames; ``outside`` is what lies beyond a slice."""
        rows, columns = (
            _bands(self.shape[a], self.source[a], 1 / self.zoom[a], self._offset(a)) for a in (0, 1)
        )
        return _resample(slices, rows, columns, outside)

    def put_back(self, frames: Floats, outside: float = -1.0) -> Floats:
        """(..., h, w) frames to (..., H, W) slices; ``outside`` is what lies beyond the frame."""
        rows, columns = (
            _bands(self.source[a], self.shape[a], self.zoom[a], -self._offset(a) * self.zoom[a])
            for a in (0, 1)
        )
        return _resample(frames, rows, columns, outside)

    def _offset(self, axis: int) -> float:
        """The slice position of frame pixel 0."""
        return self.centre[axis] - (self.shape[axis] - 1) / 2 / self.zoom[axis]


def fit_frame(
    ct: Volume, model: ModelConfig, *, native: bool = False, fixed: bool = False
) -> Frame:
    """Find the frame in which ``model`` sees this head.

    Parameters
    ----------
    ct : Volume
        On closest LPS axes; all slices of one patient.
    native : bool
        Leave the pixels as they are and only pad to what the network needs.
    fixed : bool
        Always the model's own frame, even where a head reaches out of it (training).

    Raises
    ------
    VolumeError
        If there is no head to measure, or its size is absurd.
    """
    step = 2**model.network.levels
    source = (ct.data.shape[1], ct.data.shape[2])
    if native:
        height, width = (-(-n // step) * step for n in source)
        return Frame(source, (height, width), (1.0, 1.0), _centre(source))
    box, diameter_px = _measure_head(ct)
    zoom = _zoom(ct, model, diameter_px)
    sides = [(box[2 * a + 1] - box[2 * a]) * zoom[a] + 2 * _MARGIN_PX for a in (0, 1)]
    frame_px = model.scale.frame_px
    height, width = (
        frame_px if fixed or side <= frame_px else int(-(-side // step) * step) for side in sides
    )
    if height * width > _MAX_FRAME_PX:
        raise VolumeError(_too_large(ct, box, (height, width)))
    centre = [(box[2 * a] + box[2 * a + 1] - 1) / 2 for a in (0, 1)]
    if zoom == (1.0, 1.0):  # a whole shift, so that pixels stay as they are
        centre = [
            round(c - (n - 1) / 2) + (n - 1) / 2
            for c, n in zip(centre, (height, width), strict=True)
        ]
    return Frame(source, (height, width), zoom, (centre[0], centre[1]))


def _zoom(ct: Volume, model: ModelConfig, diameter_px: float) -> tuple[float, float]:
    """Network pixels per slice pixel along y and x."""
    if ct.is_picture:
        zoom = (model.scale.head_px / diameter_px,) * 2
    else:
        spacing = ct.geometry.spacing
        zoom = (spacing[1] / model.scale.pixel_mm, spacing[2] / model.scale.pixel_mm)
    low, high = _ZOOM_LIMITS
    if not all(low <= z <= high for z in zoom):
        y, x = ct.geometry.spacing[1:]
        got = (
            f"a head of {diameter_px:.0f} pixels"
            if ct.is_picture
            else f"pixels of {y:.3g} x {x:.3g} mm"
        )
        raise VolumeError(
            f"scaling the head to the network's size may take a factor of {low:g} to {high:g}; "
            f"{got} would need {zoom[0]:.3g} x {zoom[1]:.3g}; check the spacing{_OR_NATIVE}"
        )
    return zoom[0], zoom[1]


def _too_large(ct: Volume, box: tuple[float, ...], frame: tuple[int, int]) -> str:
    y, x = ct.geometry.spacing[1:]
    of, hint = (
        ("", "cut the picture to the head")
        if ct.is_picture
        else (f" of {y:.3g} x {x:.3g} mm", "check the spacing")
    )
    return (
        f"what is no air in the CT takes {box[1] - box[0]:.0f} x {box[3] - box[2]:.0f} pixels{of}, "
        f"and would need a frame of {frame[0]} x {frame[1]}, expected at most {_MAX_FRAME_PX:,} "
        f"pixels; {hint}{_OR_NATIVE}"
    )


def _measure_head(ct: Volume) -> tuple[tuple[float, float, float, float], float]:
    """Box (y0, y1, x0, x1) and diameter of the head in slice pixels, from a sparse look."""
    depth, height, width = ct.data.shape
    every = -(-depth // _ENOUGH_SLICES)
    step = max(1, max(height, width) // _ENOUGH_PX)
    sparse = np.ascontiguousarray(ct.data[depth // 2 % every :: every, ::step, ::step])
    mask = head_mask(sparse, ct.unit, "CT")
    if not mask.any():
        raise VolumeError(
            f"no head was found in the CT, so its size is unknown; its values go from "
            f"{sparse.min():.6g} to {sparse.max():.6g}, {_AIR[ct.unit == 'HU']}; check that it is "
            f"a CT and shows a head{_OR_NATIVE}"
        )
    y0, y1, x0, x1 = head_box(mask)
    return (y0 * step, y1 * step, x0 * step, x1 * step), head_diameter_px(mask) * step


def _centre(shape: tuple[int, int]) -> tuple[float, float]:
    return (shape[0] - 1) / 2, (shape[1] - 1) / 2


def _resample(images: Floats, rows: _Bands, columns: _Bands, outside: float) -> Floats:
    """``rows @ images @ columns.T`` of (..., H, W)."""
    shifted = images.astype(np.float32, copy=False) - np.float32(outside)
    *several, _, width = images.shape
    tall = np.empty((*several, rows[-1].made.stop, width), np.float32)
    for band in rows:
        np.matmul(band.weights, shifted[..., band.used, :], out=tall[..., band.made, :])
    result = np.empty((*tall.shape[:-1], columns[-1].made.stop), np.float32)
    for band in columns:
        result[..., band.made] = tall[..., band.used] @ band.weights.T
    result += np.float32(outside)
    return result


class _Band(NamedTuple):
    """Some rows of a matrix: which they are, the columns that are not all zero, and these."""

    made: slice
    used: slice
    weights: Floats


_Bands: TypeAlias = tuple[_Band, ...]


@lru_cache(maxsize=16)  # every batch of a volume asks for the same
def _bands(count: int, source: int, step: float, offset: float) -> _Bands:
    """:func:`_matrix` in bands."""
    matrix = _matrix(count, source, step, offset)
    bands = []
    for start in range(0, count, _BAND_ROWS):
        part = matrix[start : start + _BAND_ROWS]
        taken = np.flatnonzero(part.any(axis=0))
        used = slice(int(taken[0]), int(taken[-1]) + 1) if taken.size else slice(0, 1)
        weights = np.ascontiguousarray(part[:, used])
        bands.append(_Band(slice(start, start + len(part)), used, weights))
    return tuple(bands)


def _matrix(count: int, source: int, step: float, offset: float) -> Floats:
    """(count, source) weights: output ``i`` is the source at position ``offset + i * step``.

    Catmull-Rom (Keys 1981, a = -1/2), stretched by ``step`` where it shrinks the image. Taps
    beyond the source are dropped.
    """
    stretch = max(step, 1.0)
    positions = offset + np.arange(count) * step
    reach = int(np.ceil(2 * stretch))
    taps = np.floor(positions)[:, None] + np.arange(-reach, reach + 1)
    weights = _keys(np.abs(taps - positions[:, None]) / stretch)
    weights /= weights.sum(axis=1, keepdims=True)
    inside = (taps >= 0) & (taps < source)
    matrix = np.zeros((count, source), np.float32)
    row = np.broadcast_to(np.arange(count)[:, None], taps.shape)
    np.add.at(matrix, (row[inside], taps[inside].astype(int)), weights[inside])
    return matrix


def _keys(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic kernel with a = -1/2 at non-negative distances."""
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    return np.where(distance < 1, near, np.where(distance < 2, far, 0.0))
