"""What a voxel's number means to a network: the mappings to and from [-1, 1].

A CT has a physical scale and is mapped by fixed windows. An MR has none: it is mapped by its
own percentiles inside the head, in training and in evaluation alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.config import Window
from napari_ct2mri.errors import VolumeError
from napari_ct2mri.imaging.head import Mask, head_mask
from napari_ct2mri.imaging.volume import Unit, Volume

__all__ = [
    "GREY_MAX",
    "OUTPUT_MAX",
    "MrRange",
    "as_picture",
    "ct_channels",
    "mr_range",
    "mr_to_unit",
    "unit_to_output",
    "window_to_unit",
]

GREY_MAX = 255.0
"""White of a picture."""

OUTPUT_MAX = 1000.0
"""Top of the arbitrary scale of a synthesized MR volume."""

_PICTURE_WINDOW = Window()  # level 40, width 80
_AS_CT = "open it as CT (in a terminal, --modality CT)"
_PERCENTILES = (0.5, 99.5)
_SAMPLE_VOXELS = 4_000_000
"""Percentiles of a larger head are taken from evenly spread voxels: the error is far below
one part in a thousand of the range, the memory bounded."""


@dataclass(frozen=True, slots=True)
class MrRange:
    """The values of one patient's MR that map to -1 and +1, in the MR's own units."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise VolumeError(
                f"expected an MR range with low < high, got {self.low:g} to {self.high:g}: "
                "the image is flat inside the head; leave it out"
            )


def window_to_unit(hu: NDArray[Any], window: Window) -> NDArray[np.float32]:
    """Map Hounsfield units linearly to [-1, 1], clipping outside ``window``.

    Parameters
    ----------
    hu : any shape, HU
        Finite; :func:`ct_channels` checks.
    window : Window

    Returns
    -------
    float32 of the same shape in [-1, 1]; ``window.low -> -1``, ``window.high -> +1``.
    """
    return _to_unit(hu, window.low, window.high)


def ct_channels(volume: Volume, windows: tuple[Window, ...]) -> NDArray[np.float32]:
    """Map a CT to the channels a generator sees.

    Parameters
    ----------
    volume : Volume
        In HU, or a picture (``grey``), which is taken as shown in the only window:
        0 -> -1, 255 -> +1.
    windows : tuple of Window

    Returns
    -------
    (z, len(windows), y, x) float32 in [-1, 1]

    Raises
    ------
    VolumeError
        If the volume is an MR, has an unknown scale, holds NaN or infinity, or is a picture
        while the model has several windows.
    """
    _check_ct(volume, windows)
    data = volume.data
    channels = np.empty((data.shape[0], len(windows), *data.shape[1:]), dtype=np.float32)
    for z, slice_ in enumerate(data):
        if not np.isfinite(slice_).all():
            raise VolumeError(
                f"slice {z} of the CT holds NaN or infinity; replace them, by -1000 HU for air"
            )
        if volume.unit == "grey":
            channels[z, 0] = _to_unit(slice_, 0.0, GREY_MAX)
            continue
        for c, window in enumerate(windows):
            channels[z, c] = window_to_unit(slice_, window)
    return channels


def mr_range(mr: Volume, mask: Mask | None = None) -> MrRange:
    """Find the 0.5 and 99.5 percentiles of an MR inside its head.

    Parameters
    ----------
    mr : Volume
    mask : (z, y, x) bool, optional
        The head; by default the MR's own :func:`~napari_ct2mri.imaging.head.head_mask`.

    Raises
    ------
    VolumeError
        If the volume is a CT, holds no head, is flat there, or has NaN or infinity in it.
    """
    if mr.modality == "CT" or mr.unit == "HU":
        raise VolumeError("expected an MR, got a CT; give the MR (are the two swapped?)")
    voxels = mr.data[head_mask(mr.data, mr.unit, "MR") if mask is None else mask]
    if voxels.size == 0:
        raise VolumeError("the MR shows no head in any slice; check the series")
    inside = voxels[:: -(-voxels.size // _SAMPLE_VOXELS)].astype(np.float64)
    if not np.isfinite(inside).all():
        raise VolumeError("the MR holds NaN or infinity inside the head; replace them, by 0")
    low, high = np.percentile(inside, _PERCENTILES)
    return MrRange(float(low), float(high))


def mr_to_unit(data: NDArray[Any], range: MrRange) -> NDArray[np.float32]:
    """Map an MR linearly to [-1, 1]: ``range.low -> -1``, ``range.high -> +1``, clipped."""
    return _to_unit(data, range.low, range.high)


def unit_to_output(unit_values: NDArray[Any], *, is_picture: bool) -> NDArray[np.float32]:
    """Map a generator's [-1, 1] to 0..255 for pictures, 0..1000 (arbitrary) for volumes."""
    top = GREY_MAX if is_picture else OUTPUT_MAX
    output: NDArray[np.float32] = np.clip(unit_values, -1, 1).astype(np.float32)
    output += 1
    output *= top / 2
    return output


def as_picture(ct: NDArray[Any], unit: Unit) -> NDArray[np.float32]:
    """Show a CT as the pictures in use do, in grey levels 0..255.

    Parameters
    ----------
    ct : any shape
    unit : Unit
        HU are windowed (level 40, width 80); grey levels stay; an unknown scale is stretched
        from its least to its greatest finite value.
    """
    if unit == "grey":
        return ct.astype(np.float32)
    if unit == "HU":
        low, high = _PICTURE_WINDOW.low, _PICTURE_WINDOW.high
    else:
        finite = ct[np.isfinite(ct)]
        low, high = float(finite.min(initial=0)), float(finite.max(initial=1))
    grey = _to_unit(ct, low, high)
    grey += 1
    grey *= GREY_MAX / 2
    return grey


def _to_unit(values: NDArray[Any], low: float, high: float) -> NDArray[np.float32]:
    unit = values.astype(np.float32)  # a copy, worked on in place: volumes are large
    unit -= low
    unit *= 2 / (high - low)
    unit -= 1
    np.clip(unit, -1, 1, out=unit)
    return np.asarray(unit, dtype=np.float32)


def _check_ct(volume: Volume, windows: tuple[Window, ...]) -> None:
    if volume.modality == "MR":
        raise VolumeError(
            "expected a CT, got an MR; give a CT, or, if this is one that does not state it, "
            f"{_AS_CT}"
        )
    if volume.unit == "arbitrary":
        what = "one" if volume.modality == "CT" else "an image that does not state what it is,"
        advice = "" if volume.modality == "CT" else f"{_AS_CT}, if it is one, or "
        raise VolumeError(
            f"expected a CT in Hounsfield units, got {what} on an unknown scale "
            f"({np.nanmin(volume.data):g} to {np.nanmax(volume.data):g}); {advice}rescale it to HU "
            "first"
        )
    if volume.unit == "grey" and len(windows) != 1:
        raise VolumeError(
            f"the model reads {len(windows)} CT windows, a picture shows one; "
            "give the CT in HU (DICOM, NIfTI) or choose a model with one window"
        )
