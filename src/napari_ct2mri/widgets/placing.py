"""Where things lie and what may be put together: rules for layers of CT, MR and points. No Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_ct2mri.errors import PairError, VolumeError
from napari_ct2mri.imaging.pose import Landmarks, Points, Registration, inverse, moved
from napari_ct2mri.imaging.volume import Modality, Volume
from napari_ct2mri.widgets.layers import layer_origin, layer_to_shown, layer_to_volume
from napari_ct2mri.widgets.world import to_data

if TYPE_CHECKING:
    from napari.layers import Layer

__all__ = ["check_kinds", "direction", "landmarks_of", "points_of", "to_register"]

_NEAR_MM = 1.0
"""Less along an axis is not worth a word."""

_WAYS = (("to the left", "to the right"), ("to the back", "to the front"), ("up", "down"))
"""Of LPS, forth and back."""


def check_kinds(ct: Layer, mr: Layer) -> None:
    """Check that two layers may be a CT and a real MR.

    Raises
    ------
    PairError
        If they are one layer, known to be of another modality, or the MR is synthetic.
    """
    if ct is mr:
        raise PairError(f"CT and MR are one layer, {ct.name!r}; choose two")
    for layer, expected in ((ct, "CT"), (mr, "MR")):
        origin = layer_origin(layer)
        if origin is None:
            continue
        if origin.modality not in (expected, "unknown"):
            raise PairError(
                f"layer {layer.name!r} is {_a(origin.modality)} and was chosen as {expected}; "
                f"choose {_a(expected)}"
            )
        if origin.model:
            raise PairError(
                f"layer {layer.name!r} is synthetic, made by {origin.model}; a pair is made of "
                "what scanners saw"
            )


def to_register(ct: Layer, mr: Layer) -> tuple[Volume, Volume]:
    """CT and MR as volumes on their exact grids.

    Raises
    ------
    PairError, VolumeError
        If they may not be paired, or one is no grey image in millimetres of several slices, or
        holds NaN or infinity.
    """
    check_kinds(ct, mr)
    volumes = layer_to_volume(ct, "CT"), layer_to_volume(mr, "MR")
    for layer, volume in zip((ct, mr), volumes, strict=True):
        if not np.isfinite([volume.data.min(), volume.data.max()]).all():
            raise VolumeError(
                f"layer {layer.name!r} holds NaN or infinity; replace them first, as by "
                "numpy.nan_to_num"
            )
        if volume.is_picture or _counts_pixels(layer):
            raise VolumeError(
                f"layer {layer.name!r} has no spacing, its voxels count pixels; registration needs "
                "millimetres: open the file with the Load panel, or set the layer's scale and units"
            )
        if len(volume.data) == 1:
            raise VolumeError(
                f"layer {layer.name!r} is one slice; registration needs a volume of the head"
            )
    return volumes


def landmarks_of(ct: Layer, ct_points: Layer, mr: Layer, mr_points: Layer) -> Landmarks:
    """Pairs of places, by their order in two points layers.

    Raises
    ------
    VolumeError
        If both are one layer, there are not as many in one as in the other, fewer than three,
        or one lies outside of its image.
    """
    if ct_points is mr_points:
        raise VolumeError(
            f"landmarks: layer {ct_points.name!r} is chosen as CT points and as MR points; mark "
            "the same places of the MR in a layer of its own"
        )
    in_ct, in_mr = points_of(ct, ct_points, "CT"), points_of(mr, mr_points, "MR")
    if len(in_ct) != len(in_mr):
        raise VolumeError(
            f"landmarks: {len(in_ct)} in the CT and {len(in_mr)} in the MR; they pair by their "
            "numbers, so set or delete some until both have as many"
        )
    return Landmarks(in_ct, in_mr)


def points_of(image: Layer, points: Layer, modality: Modality) -> Points:
    """Where points that were set on an image lie, (n, 3) LPS mm.

    An oblique image is shown upright, so that what the viewer calls the world is not: the
    place in the image counts.

    Raises
    ------
    VolumeError
        If the points have other than three axes, or one lies outside of the image.
    """
    if points.ndim != 3 or image.ndim != 3:
        raise VolumeError(
            f"layer {points.name!r}: expected points (z, y, x) on a volume, got {points.ndim} axes "
            f"on {image.ndim}"
        )
    shown = layer_to_shown(image, modality)
    units = points.units  # others than the image's, perhaps
    index = np.array([to_data(image, points.data_to_world(p), units) for p in points.data])
    index = index.reshape(-1, 3)
    outside = ((index < -0.5) | (index > np.array(shown.data.shape) - 0.5)).any(axis=1)
    if outside.any():
        raise VolumeError(
            f"landmark {np.flatnonzero(outside)[0] + 1} of {points.name!r} lies outside of "
            f"{image.name!r}; are the points layers of CT and MR swapped?"
        )
    return moved(index, shown.geometry.affine)


def direction(found: Registration) -> str:
    """Where the head's centre went, as the patient has it: ``3 mm to the left, 5 mm up``."""
    centre = np.asarray([found.centre])
    way = (centre - moved(centre, inverse(found.matrix)))[0]
    parts = [
        f"{abs(mm):.0f} mm {_WAYS[axis][int(mm < 0)]}"
        for axis, mm in enumerate(way)
        if abs(mm) >= _NEAR_MM
    ]
    return ", ".join(parts) if parts else f"less than {_NEAR_MM:g} mm along each axis"


def _counts_pixels(layer: Layer) -> bool:
    """Whether a layer of others says nothing of its voxels' size."""
    no_unit = all(str(unit) == "pixel" for unit in layer.units)
    return layer_origin(layer) is None and no_unit and bool(np.allclose(layer.scale, 1))


def _a(modality: str) -> str:
    return f"an {modality}" if modality == "MR" else f"a {modality}"
