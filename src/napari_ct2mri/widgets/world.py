"""Places in the viewer's world, which layers of several units share. No Qt.

Since 0.9 napari lays a layer in micrometres beside one in millimetres where it belongs: its world
is in the smallest unit of all. What a layer itself takes for the world is in its own unit still, so
that every way between the two leads through here. An older napari takes numbers as they stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer

__all__ = [
    "Units",
    "in_mm",
    "on_layer",
    "prepare_to_draw",
    "step",
    "to_data",
    "to_world",
    "world_units",
]

Units: TypeAlias = Sequence[Any] | None
"""Of each axis of a world; None: each layer's own."""


def world_units(viewer: napari.viewer.Viewer) -> Units:
    """What the viewer's world is measured in; None where napari converts nothing.

    That is before 0.9, or with a layer that only counts pixels beside one in millimetres.
    """
    units: Units = getattr(viewer.dims, "units", None)
    return units


def to_data(layer: Layer, place: ArrayLike, units: Units) -> NDArray[np.float64]:
    """Where in a layer's data a place in the world lies, (axes of the layer,).

    Parameters
    ----------
    layer : napari layer
    place : (axes of the world,)
        Of more axes than the layer has, the last count; missing first ones are 0.
    units
        Of the world.
    """
    own = np.zeros(layer.ndim)
    last = np.asarray(place, np.float64)[-layer.ndim :]
    own[layer.ndim - len(last) :] = last
    return np.asarray(layer.world_to_data(own / _factors(layer, units)))


def to_world(layer: Layer, index: ArrayLike, units: Units) -> NDArray[np.float64]:
    """Where in the world a place in a layer's data lies, (axes of the layer,)."""
    return np.asarray(layer.data_to_world(index)) * _factors(layer, units)


def step(layer: Layer, units: Units) -> NDArray[np.float64]:
    """How far apart a layer's voxels lie in the world, along each of its axes."""
    return np.abs(layer.scale) * _factors(layer, units)


def on_layer(layer: Layer) -> dict[str, Any]:
    """Scale, translate and units of a volume (z, y, x) that lies on a layer voxel by voxel.

    To the last bit, whatever the layer's unit is; a layer of two axes is one slice.
    """
    pad = 3 - layer.ndim
    return {
        "scale": (*(1.0,) * pad, *map(float, layer.scale)),
        "translate": (*(0.0,) * pad, *map(float, layer.translate)),
        "units": (*(layer.units[-1],) * pad, *layer.units),
    }


def prepare_to_draw(viewer: napari.viewer.Viewer, layer: Layer) -> None:
    """Let a layer that will be drawn in count in the world's units; it stays where it is.

    napari's tools take the mouse's place in the world for one in the layer's own units.
    """
    units, in_view = world_units(viewer), viewer.dims.point
    if units is None or tuple(units[-layer.ndim :]) == layer.units:
        return
    factors = _factors(layer, units)
    scale, translate = layer.scale * factors, layer.translate * factors
    layer.units = units[-layer.ndim :]
    layer.scale, layer.translate = scale, translate
    viewer.dims.point = in_view  # half-way, the slider's range was another


def in_mm(unit: Any) -> float | None:
    """Millimetres in one of a layer's units; None where it is not a length."""
    return _ratio(unit, "mm")


def _factors(layer: Layer, units: Units) -> NDArray[np.float64]:
    """How many of the world's units are in one of the layer's, along each of its axes."""
    if units is None or len(units) < layer.ndim:
        return np.ones(layer.ndim)
    pairs = zip(layer.units, units[-layer.ndim :], strict=True)
    return np.array([_ratio(own, world) or 1.0 for own, world in pairs])


def _ratio(unit: Any, other: Any) -> float | None:
    """How many of ``other`` are in a unit; None where they do not measure the same."""
    import pint

    registry = pint.get_application_registry()  # type: ignore[no-untyped-call]
    try:
        return float(registry.Quantity(1, str(unit)).to(str(other)).magnitude)
    except pint.PintError:
        return None
