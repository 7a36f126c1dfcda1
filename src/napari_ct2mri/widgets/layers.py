"""Volumes and napari layers: the only place where one becomes the other.

napari shows an image on axes of its own. A volume is therefore shown turned to the closest LPS
axes, by flips and swaps alone, in millimetres; the exact grid, oblique or not, stays in
``layer.metadata["ct2mri"]`` for the way back. No Qt here: layer data tuples are plain values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isclose
from typing import TYPE_CHECKING, Any, TypeAlias
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.config import Window
from napari_ct2mri.errors import VolumeError
from napari_ct2mri.imaging.intensity import GREY_MAX, OUTPUT_MAX
from napari_ct2mri.imaging.volume import (
    AxisOrder,
    Geometry,
    Modality,
    Source,
    Unit,
    Volume,
    axial_slices,
    closest_axes,
    difference,
)
from napari_ct2mri.widgets.world import in_mm, on_layer

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image, Layer

__all__ = [
    "KEY",
    "MADE",
    "LayerData",
    "Origin",
    "add_volume",
    "check_one_grid",
    "data_to_shown",
    "data_to_volume",
    "is_as_read",
    "layer_origin",
    "layer_to_shown",
    "layer_to_volume",
    "slices_made",
    "synthetic_attributes",
    "volume_to_layer_data",
]

LayerData: TypeAlias = tuple[NDArray[np.generic], dict[str, Any], str]
"""What npe2 calls a layer data tuple: data, keyword arguments of the layer, its type."""

KEY = "ct2mri"
"""Under which a layer's ``metadata`` holds its :class:`Origin`."""

MADE = "ct2mri-made"
"""Under which that of a layer that fills slice by slice holds which are made."""

_MAX_BYTES = 8 * 2**30  # of a layer kept out of memory, before it is brought in
_TOLERANCE_MM = 1e-6
_DIGESTED_VOXELS = 1 << 22
_AXES = ("z", "y", "x")
_SAMPLE = 64  # values along each axis that settle how bright a layer is shown
_SHOWN_PERCENTILES = (0.5, 99.5)


@dataclass(frozen=True, slots=True)
class Origin:
    """What a layer must remember of its volume.

    Attributes
    ----------
    geometry : Geometry
        The volume's own grid, in stored order.
    order : AxisOrder
        How the stored axes were turned to those that are shown.
    shape : (z, y, x)
        Of the data shown; a cropped copy of the layer has another and is not on the grid.
    modality, unit, source, notes
        Of the volume.
    digest : int, optional
        Of voxels of a volume that is in a file: how it is known that they are still the file's.
    model, contrast : str
        Which model made it, and what; empty for real images.
    """

    geometry: Geometry
    order: AxisOrder
    shape: tuple[int, ...]
    modality: Modality
    unit: Unit
    source: Source = field(default_factory=Source)
    notes: tuple[str, ...] = ()
    digest: int | None = None
    model: str = ""
    contrast: str = ""


def volume_to_layer_data(volume: Volume, name: str) -> LayerData:
    """Show a volume: an image layer on the closest LPS axes, in mm (pictures: in pixels).

    Parameters
    ----------
    volume : Volume
    name : str

    Returns
    -------
    LayerData
        The data is a view; no voxel is copied.
    """
    turned, order = closest_axes(volume)
    origin = Origin(
        volume.geometry,
        order,
        turned.data.shape,
        volume.modality,
        volume.unit,
        volume.source,
        volume.notes,
        _digest(volume.data) if volume.source.path else None,
    )
    attributes = {
        "name": name,
        "scale": turned.geometry.spacing,
        "translate": turned.geometry.origin[::-1],
        "units": ("pixel" if volume.is_picture else "mm",) * 3,
        "axis_labels": _AXES,
        "colormap": "gray",
        "contrast_limits": _limits(turned),
        "metadata": {KEY: origin},
    }
    return turned.data, attributes, "image"


def add_volume(viewer: napari.viewer.Viewer, volume: Volume, name: str) -> Image:
    """Show a volume in a viewer; its contrast slider spans all values of the volume."""
    data, attributes, _ = volume_to_layer_data(volume, name)
    layer = viewer.add_image(data, **attributes)
    low, high = layer.contrast_limits
    layer.contrast_limits_range = [min(low, float(data.min())), max(high, float(data.max()))]
    layer.contrast_limits = [low, high]
    return layer


def synthetic_attributes(
    source: Layer, ct: Volume, model: str, contrast: str, slices: range | None = None
) -> dict[str, Any]:
    """Keyword arguments of the image layer for what a model makes of a CT layer.

    Parameters
    ----------
    source : napari layer
        The CT; the new layer lies on it voxel by voxel, moved by hand or not.
    ct : Volume
        ``source`` as :func:`layer_to_shown` gives it.
    model, contrast : str
    slices : range, optional
        Of the CT, which the new layer holds; by default all.
    """
    unit: Unit = "grey" if ct.is_picture else "arbitrary"
    # in no file of its own; the slices of its CT are what a DICOM series of it needs
    made_of = Source(slices=ct.source.slices)
    wanted = slices or range(len(ct.data))
    mr = replace(ct, modality="MR", unit=unit, source=made_of, notes=())
    mr = axial_slices(mr, wanted)
    _, attributes, _ = volume_to_layer_data(mr, f"{source.name} · synthetic {contrast}")
    origin = attributes["metadata"][KEY]
    if of_ct := _origin(source.data, {"metadata": source.metadata}):
        part = axial_slices(_stored(of_ct), wanted)
        origin = replace(origin, geometry=part.geometry, order=of_ct.order)
    origin = replace(origin, model=model, contrast=contrast)
    place = on_layer(source)
    z, y, x = place["translate"]
    place["translate"] = (z + wanted.start * place["scale"][0], y, x)
    limits = (0.0, GREY_MAX if ct.is_picture else OUTPUT_MAX)
    return {**attributes, **place, "contrast_limits": limits, "metadata": {KEY: origin}}


def check_one_grid(volumes: Mapping[str, Volume]) -> None:
    """Check that volumes, by what they are called, have their voxels in the same places.

    Raises
    ------
    VolumeError
        If two differ, with both sizes or spacings.
    """
    (first, one), *others = volumes.items()
    for name, other in others:
        if found := difference(one, other):
            raise VolumeError(
                f"{first} and {name} differ in {found}. Register or resample one onto the other "
                "first"
            )


def layer_to_volume(layer: Layer, modality: Modality | None = None) -> Volume:
    """The volume of an image layer, on its exact grid and in its stored order.

    Parameters
    ----------
    layer : napari layer
        An image of this plugin, or any other grey one of two or three axes.
    modality : Modality, optional
        What it is where that is unknown.

    Raises
    ------
    VolumeError
        If it is no grey image, multiscale, rotated or sheared in the viewer, of other than two
        or three axes, or too large.
    """
    return data_to_volume(*_layer_data(layer), modality)


def layer_to_shown(layer: Layer, modality: Modality | None = None) -> Volume:
    """The volume of an image layer as the viewer shows it: on the closest LPS axes.

    Its slices are the layer's. See :func:`layer_to_volume`.
    """
    return data_to_shown(*_layer_data(layer), modality)


def layer_origin(layer: Layer) -> Origin | None:
    """What the layer remembers of the volume it shows; None for layers of others."""
    origin = layer.metadata.get(KEY)
    return origin if isinstance(origin, Origin) else None


def is_as_read(layer: Layer) -> bool:
    """Whether a layer still shows its volume whole and where it was read, its voxels unchanged.

    A copy of the layer does so too. Voxels of a volume that is in no file are not looked at.
    """
    data, attributes = _layer_data(layer)
    origin = _origin(data, attributes)
    if origin is None:
        return False
    volume = data_to_volume(data, attributes)
    if volume.geometry is not origin.geometry:
        return False
    return origin.digest is None or origin.digest == _digest(volume.data)


def slices_made(metadata: Mapping[str, Any], count: int) -> int:
    """How many of a layer's slices are made: fewer than there are while it fills."""
    return len(metadata.get(MADE, range(count)))


def data_to_volume(
    data: Any, attributes: Mapping[str, Any], modality: Modality | None = None
) -> Volume:
    """As :func:`layer_to_volume`, from a layer data tuple."""
    shown = data_to_shown(data, attributes, modality)
    origin = _origin(data, attributes)
    if origin is None or not shown.geometry.is_close(_turned(origin), _TOLERANCE_MM):
        return shown  # not ours, or moved by hand: where it is shown is where it lies
    return replace(shown, data=origin.order.undo(shown.data), geometry=origin.geometry)


def data_to_shown(
    data: Any, attributes: Mapping[str, Any], modality: Modality | None = None
) -> Volume:
    """As :func:`layer_to_shown`, from a layer data tuple."""
    name = str(attributes.get("name", "layer"))
    array = _array(data, attributes, name)
    geometry, in_pixels = _placement(attributes, array.ndim, name)
    if array.ndim == 2:
        array = array[None]
    if (origin := _origin(data, attributes)) is None:
        is_picture = in_pixels and array.dtype == np.uint8
        unit: Unit = "grey" if is_picture else "arbitrary"
        return _as_modality(Volume(array, geometry, unit=unit, source=Source(name)), modality)
    geometry = replace(geometry, direction=_turned(origin).direction)
    volume = Volume(array, geometry, origin.modality, origin.unit, origin.source, origin.notes)
    return _as_modality(volume, modality)


def _layer_data(layer: Layer) -> tuple[Any, Mapping[str, Any]]:
    data, attributes, kind = layer.as_layer_data_tuple()
    if kind != "image":
        raise VolumeError(f"layer {layer.name!r} holds {kind}, expected an image; choose another")
    return data, attributes


def _origin(data: Any, attributes: Mapping[str, Any]) -> Origin | None:
    """What is remembered, if it still fits the data."""
    origin = (attributes.get("metadata") or {}).get(KEY)
    if not isinstance(origin, Origin) or origin.shape != tuple(data.shape):
        return None
    return origin


def _digest(data: NDArray[np.generic]) -> int:
    """CRC-32 of the voxels' type and of rows of every slice, so that a large volume takes 10 ms.

    What changes an image changes it there, too.
    """
    digest = crc32(data.dtype.str.encode())
    step = 1 + data.size // _DIGESTED_VOXELS
    for number, slice_ in enumerate(data):
        rows = slice_[number % min(step, len(slice_)) :: step]
        digest = crc32(np.ascontiguousarray(rows).data, digest)
    return digest


def _turned(origin: Origin) -> Geometry:
    """The grid as it is shown, if nobody moved the layer."""
    return closest_axes(_stored(origin))[0].geometry


def _stored(origin: Origin) -> Volume:
    """What is remembered, with its voxels blank."""
    shape = tuple(origin.shape[i] for i in np.argsort(origin.order.axes))
    return Volume(np.broadcast_to(np.uint8(0), shape), origin.geometry)


def _array(data: Any, attributes: Mapping[str, Any], name: str) -> NDArray[np.generic]:
    """The layer's values in memory, two or three axes of real numbers."""
    if attributes.get("multiscale"):
        raise VolumeError(f"layer {name!r} is multiscale; extract the one scale you mean")
    if attributes.get("rgb"):
        raise VolumeError(
            f"layer {name!r} is in colour; open its file with the Load panel, which reads colour "
            "files that are grey, or convert it to grey"
        )
    if data.ndim not in (2, 3):
        raise VolumeError(
            f"layer {name!r} has {data.ndim} axes of {'x'.join(map(str, data.shape))}, expected "
            "(z, y, x) or (y, x); take out the one volume you mean"
        )
    if np.dtype(data.dtype).kind not in "iuf":
        raise VolumeError(f"layer {name!r} holds {data.dtype}, expected real numbers; convert it")
    size_bytes = int(np.prod(data.shape, dtype=np.int64)) * np.dtype(data.dtype).itemsize
    if not isinstance(data, np.ndarray) and size_bytes > _MAX_BYTES:
        raise VolumeError(
            f"layer {name!r} is {size_bytes / 2**30:.1f} GiB and not in memory, at most "
            f"{_MAX_BYTES >> 30} GiB can be brought in; crop it first"
        )
    return np.asarray(data)


def _placement(attributes: Mapping[str, Any], axes: int, name: str) -> tuple[Geometry, bool]:
    """Where the viewer shows the layer, in mm, and whether that only counts pixels."""
    plain = np.eye(axes)
    rotate = np.asarray(attributes.get("rotate", plain))
    moved = np.asarray(attributes.get("affine", np.eye(axes + 1)))
    if (
        (rotate.shape == plain.shape and not np.allclose(rotate, plain))
        or not np.allclose(attributes.get("shear", 0.0), 0)
        or not np.allclose(moved, np.eye(len(moved)))
    ):
        raise VolumeError(
            f"layer {name!r} is rotated, sheared or moved by an affine in the viewer; resample it "
            "onto plain axes first"
        )
    mm = [in_mm(unit) for unit in attributes.get("units") or ("pixel",) * axes]
    factors = [1.0 if factor is None else factor for factor in mm]
    scale = [s * f for s, f in zip(attributes.get("scale", (1.0,) * axes), factors, strict=True)]
    start = [
        t * f for t, f in zip(attributes.get("translate", (0.0,) * axes), factors, strict=True)
    ]
    pad = 3 - axes
    z, y, x = (*(1.0,) * pad, *map(abs, map(float, scale)))
    oz, oy, ox = (*(0.0,) * pad, *map(float, start))
    if any(s < 0 for s in scale):
        raise VolumeError(f"layer {name!r} is mirrored by a negative scale; flip its data instead")
    counts_pixels = None in mm and all(isclose(s, 1.0) for s in scale)
    return Geometry((z, y, x), (ox, oy, oz)), counts_pixels


def _as_modality(volume: Volume, modality: Modality | None) -> Volume:
    """Settle what nobody stated; what was stated stays, so that a mistake can be named."""
    if modality is None or volume.modality != "unknown":
        return volume
    is_hu = modality == "CT" and volume.unit == "arbitrary" and volume.data.min() < 0
    return replace(volume, modality=modality, unit="HU" if is_hu else volume.unit)


def _limits(volume: Volume) -> tuple[float, float]:
    """Values shown black and white: the brain window in HU, else the middle of a sample."""
    if volume.unit == "HU":
        return Window().low, Window().high
    if volume.is_picture:
        return 0.0, 255.0
    steps = (slice(None, None, max(1, n // _SAMPLE)) for n in volume.data.shape)
    sample = np.asarray(volume.data[tuple(steps)], np.float64)
    finite = sample[np.isfinite(sample)]
    if not finite.size:
        return 0.0, 1.0
    low, high = np.percentile(finite, _SHOWN_PERCENTILES)
    return float(low), float(high if high > low else low + 1)
