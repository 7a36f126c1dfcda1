"""Where the head is: the foreground of each slice, its largest part, filled.

Used to normalise an MR, to measure in, and to estimate at which size a picture without
millimetres shows a head. Works slice by slice on a reduced grid, so that a volume of
300 x 512 x 512 takes seconds and little more memory than its mask.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.errors import VolumeError
from napari_ct2mri.imaging.volume import Modality, Unit

__all__ = ["MUCH_BESIDE", "beside", "head_box", "head_diameter_px", "head_mask"]

Mask = NDArray[np.bool_]

MUCH_BESIDE = 0.08
"""More of an MR's head beside the CT's than misplaced pairs have: the CT is cut off there."""

_BESIDE = 0.06
"""Of a slice's width; registered pairs are off by less."""

_GRID_PX = 320
"""Slices larger than this are reduced by whole factors; outlines are then good to that factor."""

_AIR_TISSUE_HU = -300.0
"""Between air (-1000) and fat (-100), nearer to fat: foam of a head rest is -950 to -400."""

_AIR_TISSUE_GREY = 28.0
"""CT pictures of any head window show air black; JPEG rings up to some 20 grey levels."""

_MR_FRACTION = 0.14
"""Of the way from an MR's background to its typical tissue. Dim top slices of thick 2-D
acquisitions need it low, ghosts and ringing need it high."""

_MIN_FRACTION = 0.002
"""Of the slice's area; a smaller part is noise, or the last of the scalp."""


def head_mask(data: NDArray[Any], unit: Unit, modality: Modality) -> Mask:
    """Mark the head in every slice.

    Per slice: foreground, gaps of a few pixels closed, holes filled, thin structures cut off
    (head-rest arcs, frames, tubes), the largest part kept. A part that does not lie over the
    largest slice's head (the head rest above the vertex) is dropped.

    Parameters
    ----------
    data : (z, y, x), any real dtype
        Non-finite voxels count as air. Slices are taken along axis 0.
    unit, modality
        ``HU``: tissue is what exceeds -300 HU. CT in ``grey``: what is not black. All else:
        a threshold from the volume's own background and tissue.

    Returns
    -------
    (z, y, x) bool
        All false where a slice shows no head.
    """
    factor = -(-max(data.shape[1:]) // _GRID_PX)
    threshold = _threshold(data, unit, modality)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # SciPy lets go of the GIL
        sections = pool.map(lambda slice_: _section(_reduce(slice_, factor), threshold), data)
        small = np.stack(list(sections))
    areas = small.sum(axis=(1, 2))
    largest = small[int(areas.argmax())]
    small[(small & largest).sum(axis=(1, 2)) < areas / 2] = False
    return _enlarge(small, factor, data.shape[1:])


def beside(ct_head: Mask, mr_head: Mask) -> NDArray[np.float64]:
    """The part of an MR's head, in each slice, that lies far outside of the CT's.

    Parameters
    ----------
    ct_head, mr_head : (z, y, x)
        By :func:`head_mask`, on one grid.

    Returns
    -------
    (z,) float64
        0 to 1; above ``MUCH_BESIDE`` a network would learn to draw tissue into air.
    """
    from scipy import ndimage

    share = np.zeros(len(ct_head))
    for k, (inside, drawn) in enumerate(zip(ct_head, mr_head, strict=True)):
        if (drawn & ~inside).sum() > MUCH_BESIDE * drawn.sum():  # else it cannot be much
            far = ndimage.distance_transform_edt(~inside) > _BESIDE * inside.shape[1]
            share[k] = (drawn & far).sum() / drawn.sum()
    return share


def head_diameter_px(mask: Mask) -> float:
    """Diameter of the disc with the area of the head's largest slice, pixels.

    Raises
    ------
    VolumeError
        If no slice shows a head.
    """
    area = int(mask.sum(axis=(1, 2)).max(initial=0))
    if area == 0:
        raise VolumeError(_no_head(mask))
    return float(2 * np.sqrt(area / np.pi))


def head_box(mask: Mask) -> tuple[float, float, float, float]:
    """``(y0, y1, x0, x1)`` around the head over all slices, pixels; ends are exclusive.

    Raises
    ------
    VolumeError
        If no slice shows a head.
    """
    flat: Mask = np.any(mask, axis=0)
    rows, columns = np.flatnonzero(flat.any(axis=1)), np.flatnonzero(flat.any(axis=0))
    if rows.size == 0:
        raise VolumeError(_no_head(mask))
    return float(rows[0]), float(rows[-1] + 1), float(columns[0]), float(columns[-1] + 1)


def _no_head(mask: Mask) -> str:
    return (
        f"expected a head, found only background in {mask.shape[0]} slices of "
        f"{mask.shape[1]}x{mask.shape[2]}; check the series and its modality"
    )


def _threshold(data: NDArray[Any], unit: Unit, modality: Modality) -> float:
    if unit == "HU":
        return _AIR_TISSUE_HU
    if unit == "grey" and modality == "CT":
        return _AIR_TISSUE_GREY
    return _own_threshold(data)


def _own_threshold(data: NDArray[Any]) -> float:
    """Between background and tissue of an image of arbitrary scale; infinity if it is flat.

    The background is the fullest of 256 bins below Otsu's threshold (1979), and as noisy as
    its darker half says; tissue is the median above.
    """
    from skimage.filters import threshold_otsu

    step = max(1, round((data.size / 2e6) ** (1 / 3)))  # some million voxels tell as much
    sample = data[::step, ::step, ::step].astype(np.float32).ravel()
    sample = sample[np.isfinite(sample)]
    if sample.size == 0 or sample.min() == sample.max():
        return np.inf
    sample = np.minimum(sample, np.percentile(sample, 99.5))
    if sample.min() == sample.max():
        return np.inf
    otsu = float(threshold_otsu(sample))
    low = sample[sample <= otsu]
    counts, edges = np.histogram(low, bins=256)
    at = int(counts.argmax())
    background = float((edges[at] + edges[at + 1]) / 2)
    below = low[low <= background] - background
    noise = float(np.sqrt(np.mean(below**2))) if below.size else 0.0
    tissue = float(np.median(sample[sample > otsu]))
    return max(background + 4 * noise, background + _MR_FRACTION * (tissue - background))


def _section(slice_: NDArray[np.float32], threshold: float) -> Mask:
    """Mark the head in one reduced slice."""
    from scipy import ndimage

    foreground = ndimage.uniform_filter(np.nan_to_num(slice_, nan=-3e4), 3) > threshold
    radius = max(slice_.shape) / 100
    closed = ndimage.binary_fill_holes(_close(foreground, 1.5 * radius))
    parts, count = ndimage.label(_erode(closed, 1.2 * radius))
    if count == 0:
        return np.zeros(slice_.shape, dtype=bool)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    head: Mask = _dilate(parts == sizes.argmax(), 1.2 * radius) & closed
    return head if head.sum() >= _MIN_FRACTION * head.size else np.zeros_like(head)


def _erode(mask: Mask, radius: float) -> Mask:
    """Erosion by a disc; beyond the frame counts as inside, for heads are cut off there."""
    from scipy import ndimage

    if mask.all():
        return mask
    eroded: Mask = ndimage.distance_transform_edt(mask) > radius
    return eroded


def _dilate(mask: Mask, radius: float) -> Mask:
    return ~_erode(~mask, radius)


def _close(mask: Mask, radius: float) -> Mask:
    return _erode(_dilate(mask, radius), radius) if mask.any() else mask


def _reduce(slice_: NDArray[Any], factor: int) -> NDArray[np.float32]:
    """Means of ``factor`` x ``factor`` blocks; edges are repeated to fill the last ones."""
    values = slice_.astype(np.float32)
    if factor == 1:
        return values
    height, width = values.shape
    padded = np.pad(values, ((0, -height % factor), (0, -width % factor)), mode="edge")
    blocks = padded.reshape(padded.shape[0] // factor, factor, padded.shape[1] // factor, factor)
    means: NDArray[np.float32] = blocks.mean(axis=(1, 3), dtype=np.float32)
    return means


def _enlarge(small: Mask, factor: int, shape: tuple[int, ...]) -> Mask:
    if factor == 1:
        return small
    height, width = shape
    return small.repeat(factor, axis=1)[:, :height].repeat(factor, axis=2)[:, :, :width]
