"""A glance at a series: one slice of it, as a small picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.config import Window
from napari_ct2mri.imaging.area import area_mean
from napari_ct2mri.imaging.dicom import find_stacks, read_stack
from napari_ct2mri.imaging.formats import read_file
from napari_ct2mri.imaging.pictures import read_pictures
from napari_ct2mri.imaging.series import Series
from napari_ct2mri.imaging.volume import Modality, Volume, closest_axes

__all__ = ["Glance", "glance"]

_MR_PERCENTILES = (1.0, 99.5)


@dataclass(frozen=True, slots=True, eq=False)
class Glance:
    """What one slice tells of its series.

    Attributes
    ----------
    picture : (h, w) uint8
        The slice upright, its pixels square: a CT in the brain window, others by percentiles.
    modality : Modality
        As stated, or as guessed from this slice.
    notes : tuple of str
        What was guessed.
    """

    picture: NDArray[np.uint8]
    modality: Modality
    notes: tuple[str, ...]


def glance(series: Series, side_px: int = 96) -> Glance:
    """Look at the middle slice of a series; no other is read.

    Parameters
    ----------
    series : Series
        One that is not refused.
    side_px : int
        Longer side of the picture.

    Raises
    ------
    ImageError
        If that slice cannot be read.
    """
    volume = _middle(series)
    shown, order = closest_axes(volume)
    across = order.axes.index(0)  # of the shown axes, the one with one voxel
    plane = np.take(shown.data, shown.data.shape[across] // 2, axis=across)
    if across != 0:  # the other two are posterior or left, and superior, which goes up
        plane = plane[::-1]
    heights = np.delete(shown.geometry.spacing, across)
    mm = heights * plane.shape
    shape = np.maximum(1, np.rint(side_px * mm / mm.max())).astype(int)
    small = area_mean(_levels(plane, volume), (int(shape[0]), int(shape[1])))
    return Glance(np.rint(small).astype(np.uint8), volume.modality, volume.notes)


def _middle(series: Series) -> Volume:
    """A volume of one slice, stored along axis 0."""
    file = series.files[len(series.files) // 2]
    if series.kind == "DICOM":
        (stack,) = find_stacks([file])
        return read_stack(stack, file)
    if series.kind in ("picture", "pictures"):
        pages = read_pictures([file])
        return Volume(pages[len(pages) // 2][None], modality="unknown", unit="grey")
    return read_file(file, middle_only=True)


def _levels(plane: NDArray[np.generic], volume: Volume) -> NDArray[np.float64]:
    """Grey levels 0..255."""
    values = plane.astype(np.float64)
    if volume.unit == "grey":
        return values
    low, high = np.percentile(values, _MR_PERCENTILES)
    if volume.unit == "HU":
        low, high = Window().low, Window().high
    levels: NDArray[np.float64] = np.clip((values - low) / max(high - low, 1e-9), 0, 1) * 255
    return levels
