"""Maps of a comparison as layers that lie on the CT."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.colormaps import Colormap
from numpy.typing import NDArray

from napari_ct2mri.imaging.intensity import GREY_MAX, OUTPUT_MAX
from napari_ct2mri.imaging.volume import Volume
from napari_ct2mri.widgets.layers import KEY, synthetic_attributes

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image, Layer

    from napari_ct2mri.widgets.comparison import MapsDone

__all__ = ["MapLayers", "map_attributes", "show_colorbar"]

_BLUE_RED = ("#053061", "#4393c3", "#f7f7f7", "#d6604d", "#67001f")
"""ColorBrewer's RdBu: too dark is blue, too bright red, equal is white."""


def map_attributes(
    source: Layer, ct: Volume, name: str, slices: range | None = None
) -> dict[str, Any]:
    """Keyword arguments of a layer of measures, not of an MR: no panel takes it for one."""
    attributes = synthetic_attributes(source, ct, "", "", slices)
    origin = replace(attributes["metadata"][KEY], modality="unknown")
    return {**attributes, "name": name, "metadata": {KEY: origin}}


def show_colorbar(layer: Image) -> None:
    """Say what the colours of a layer of measures stand for, where napari can."""
    if hasattr(layer, "colorbar"):  # napari 0.7
        layer.colorbar.visible = True


class MapLayers:
    """Gathers maps slice by slice, and shows them once they are whole.

    Parameters
    ----------
    source : napari layer
        The CT.
    ct : Volume
        ``source`` as the viewer shows it.
    name : str
        Of the synthetic layer.
    """

    def __init__(self, source: Layer, ct: Volume, name: str) -> None:
        top = GREY_MAX if ct.is_picture else OUTPUT_MAX
        self.difference = np.full(ct.data.shape, np.nan, np.float32)
        self.similarity = np.full(ct.data.shape, np.nan, np.float32)
        self._layers = (
            # half the scale each way, as in the report, whatever this head's errors are
            _Map(
                self.difference,
                (-top / 2, top / 2),
                (-top, top),
                Colormap(_BLUE_RED, name="blue - red"),
                map_attributes(source, ct, f"{name} · difference"),
            ),
            _Map(
                self.similarity,
                (0.0, 1.0),
                (-1.0, 1.0),
                "viridis",
                map_attributes(source, ct, f"{name} · SSIM map"),
            ),
        )

    def add(self, maps: MapsDone) -> None:
        """Take the maps of one slice."""
        self.difference[maps.index] = maps.difference
        self.similarity[maps.index] = maps.similarity

    def show(self, viewer: napari.viewer.Viewer) -> None:
        """Add both layers, or renew those of a former comparison.

        The difference lies on top, so that the other one waits unseen, with its colour bar.
        """
        for number, map_ in reversed(tuple(enumerate(self._layers))):
            map_.show(viewer, is_visible=not number)


class _Map:
    """One layer to be."""

    def __init__(
        self,
        data: NDArray[np.float32],
        limits: tuple[float, float],
        possible: tuple[float, float],
        colormap: Colormap | str,
        attributes: dict[str, Any],
    ) -> None:
        self._data = data
        self._possible = possible
        shown = {"contrast_limits": limits, "colormap": colormap, "blending": "translucent"}
        self._attributes = attributes | shown

    def show(self, viewer: napari.viewer.Viewer, *, is_visible: bool) -> None:
        name = self._attributes["name"]
        if name in viewer.layers and KEY in viewer.layers[name].metadata:
            viewer.layers.remove(viewer.layers[name])
        layer: Image = viewer.add_image(self._data, **self._attributes, visible=is_visible)
        layer.contrast_limits_range = self._possible
        layer.contrast_limits = self._attributes["contrast_limits"]
        show_colorbar(layer)
