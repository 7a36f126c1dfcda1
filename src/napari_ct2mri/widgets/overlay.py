"""CT and MR in one picture on the canvas: checkerboard, or a swipe whose line can be dragged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_ct2mri.imaging.blend import Blend, Checkerboard, Look, Swipe
from napari_ct2mri.widgets.layers import KEY, layer_to_shown, volume_to_layer_data
from napari_ct2mri.widgets.world import on_layer, step, to_data, world_units

if TYPE_CHECKING:
    import napari.viewer
    from napari.components import Camera
    from napari.layers import Image, Layer
    from napari.utils.events import Event

__all__ = ["Overlay"]

_GRAB_PX = 12
"""So near to the line, on the screen, a press takes hold of it."""


class Overlay:
    """A layer on a CT's grid in which CT and MR stand side by side, each as its layer shows it.

    Made slice by slice while somebody looks (:class:`~napari_ct2mri.imaging.blend.Blend`); it
    ends with any of the three layers. Other images are hidden meanwhile, unless somebody shows
    them: an MR where it lay before would look out from under it.

    Parameters
    ----------
    viewer : napari.Viewer
    ct, mr : napari layers
        The MR anywhere in the world.
    name : str
        Of the new layer.
    on_swipe : callable
        Told of each place that the line is dragged to, 0..1.
    on_end : callable
        Told that the layer is gone.

    Raises
    ------
    VolumeError
        If one of the layers is no volume.
    """

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        ct: Layer,
        mr: Layer,
        name: str,
        *,
        on_swipe: Callable[[float], None] = lambda place: None,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._viewer, self.ct, self.mr = viewer, ct, mr
        self._on_swipe, self._on_end = on_swipe, on_end
        self._place: float | None = None  # of the swipe, 0..1; None: a checkerboard
        shown, moving = layer_to_shown(ct, "CT"), layer_to_shown(mr, "MR")
        self._blend = Blend(shown, moving, (_look(ct), _look(mr)), Checkerboard())
        self._hidden = [layer for layer in viewer.layers if layer.visible and _is_image(layer)]
        self._touched: set[Layer] = set()  # of those, by somebody else
        self.layer = self._add(name)
        for hidden in self._hidden:
            hidden.visible = False
            hidden.events.visible.connect(self._follow_visible)
        self._sources = [
            layer.events[name] for layer in (ct, mr) for name in ("contrast_limits", "colormap")
        ]
        for source in self._sources:
            source.connect(self._follow_look)
        viewer.dims.events.order.connect(self._turn)
        viewer.layers.events.removed.connect(self._follow_removed)

    def show_checkerboard(self, tile_mm: float) -> None:
        """CT and MR by turns in squares of so many mm."""
        self._place = None
        self._show(Checkerboard(tile_mm))

    def show_swipe(self, place: float) -> None:
        """CT to the left of ``place``, 0..1 of the picture's width, MR to the right."""
        self._place = place
        axis = self._viewer.dims.displayed[-1] - self._viewer.dims.ndim + 3
        count = self._blend.shape[axis]
        self._show(Swipe(axis, round(place * count)))

    def close(self) -> None:
        """Take the layer away."""
        if self.layer in self._viewer.layers:
            self._viewer.layers.remove(self.layer)
        else:
            self._let_go()

    def _add(self, name: str) -> Image:
        _, attributes, _ = volume_to_layer_data(self._blend.ct, name)
        kept = {key: attributes[key] for key in ("name", "axis_labels")} | on_layer(self.ct)
        # of a known origin that is neither, so that no chooser takes it for a CT or an MR
        kept["metadata"] = {KEY: replace(attributes["metadata"][KEY], modality="unknown")}
        layer = self._viewer.add_image(self._blend, rgb=True, **kept)
        layer.mouse_drag_callbacks.append(self._drag)
        return layer

    def _show(self, pattern: Checkerboard | Swipe) -> None:
        self._blend.pattern = pattern
        self.layer.refresh(thumbnail=False, extent=False)

    def _turn(self, _: Event) -> None:
        """The line stands upright, whichever way the volume is cut."""
        if self._place is not None:
            self.show_swipe(self._place)

    def _follow_look(self, _: Event) -> None:
        self._blend.looks = _look(self.ct), _look(self.mr)
        self.layer.refresh(thumbnail=False, extent=False)

    def _follow_removed(self, event: Event) -> None:
        if event.value is self.layer:
            self._let_go()
            self._on_end()
        elif event.value in (self.ct, self.mr):
            self.close()

    def _let_go(self) -> None:
        for source in self._sources:
            source.disconnect(self._follow_look)
        for hidden in self._hidden:
            hidden.events.visible.disconnect(self._follow_visible)
            if hidden not in self._touched:
                hidden.visible = True
        self._viewer.dims.events.order.disconnect(self._turn)
        self._viewer.layers.events.removed.disconnect(self._follow_removed)

    def _follow_visible(self, event: Event) -> None:
        """A hidden layer that somebody shows, or hides again, is left as they have it."""
        self._touched.add(event.source)

    def _drag(self, layer: Any, event: Any) -> Iterator[None]:
        """Move the line with the mouse, while the camera holds still."""
        pattern = self._blend.pattern
        if not isinstance(pattern, Swipe) or self._viewer.dims.ndisplay != 2:
            return
        units = world_units(self._viewer)
        index = to_data(layer, event.position, units)[pattern.axis]
        reach = _GRAB_PX / _camera(self._viewer).zoom / step(layer, units)[pattern.axis]
        if abs(index - pattern.index) > reach:
            return
        layer.mouse_pan = False
        try:
            yield
            while event.type == "mouse_move":
                index = to_data(layer, event.position, units)[pattern.axis]
                place = float(np.clip(index / self._blend.shape[pattern.axis], 0, 1))
                self.show_swipe(place)
                self._on_swipe(place)
                yield
        finally:
            layer.mouse_pan = True


def _is_image(layer: Layer) -> bool:
    from napari.layers import Image

    return isinstance(layer, Image)


def _camera(viewer: napari.viewer.Viewer) -> Camera:
    """Of the canvas; napari 0.9 moved it to ``scene``."""
    scene = getattr(viewer, "scene", None)
    return viewer.camera if scene is None else scene.camera


def _look(layer: Layer) -> Look:
    """How a layer shows its values."""
    low, high = layer.contrast_limits
    palette = layer.colormap.map(np.linspace(0, 1, 256))[:, :3]
    return Look(float(low), float(high), np.rint(palette * 255).astype(np.uint8))
