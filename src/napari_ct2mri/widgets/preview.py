"""A layer with what a network in training makes of the slice in view."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.imaging.volume import Volume
from napari_ct2mri.jobs import Preview
from napari_ct2mri.widgets.maps import map_attributes
from napari_ct2mri.widgets.slices import Stack

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image, Layer
    from napari.utils.events import Event

__all__ = ["PreviewLayer"]

_VIEW = ("point", "order", "ndisplay")
"""Which events of the viewer's dims tell that another slice may be in view."""


class PreviewLayer:
    """One slice that lies on a CT layer, where somebody looks, and is renewed as it is learnt.

    It holds a slice and not a volume, so that nothing that was made by older weights is seen. Once
    the person takes it out, or its CT, it does not come back. No panel takes it for an MR.

    Parameters
    ----------
    viewer : napari.Viewer
    source : napari layer
        The CT.
    ct : Volume
        ``source`` as the viewer shows it.
    look_at : callable
        Told the index of each slice that comes into view, and None when nobody looks any more.
    """

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        source: Layer,
        ct: Volume,
        look_at: Callable[[int | None], None],
    ) -> None:
        self.layer: Image | None = None
        self._viewer, self._source, self._look_at = viewer, source, look_at
        self._attributes = map_attributes(source, ct, f"{source.name} · preview")
        self._stack = Stack(viewer, source)
        self._index: int | None = None  # that was told last
        self._is_over = False
        for what in _VIEW:
            viewer.dims.events[what].connect(self._follow)
        viewer.layers.events.removed.connect(self._follow_removed)
        self._follow()

    @property
    def of(self) -> str:
        """The name of its CT."""
        return str(self._source.name)

    def show(self, event: Preview) -> None:
        """Show one preview."""
        if self._is_over:
            return
        scale, start = self._attributes["scale"], self._attributes["translate"]
        translate = (start[0] + event.index * scale[0], *start[1:])
        name = f"{self._source.name} · preview {event.contrast}, {event.label}"
        data: NDArray[np.float32] = event.slice_[None]
        if self.layer is None:
            attributes = self._attributes | {"name": name, "translate": translate}
            active = self._viewer.layers.selection.active
            self.layer = self._viewer.add_image(data, **attributes)
            self._viewer.layers.selection.active = active  # the person keeps their layer
            return
        if not np.allclose(self.layer.translate, translate):
            self.layer.translate = translate
        self.layer.data = data

    def end(self, *, keep: str = "") -> None:
        """Take it out, or, with a name, leave it as it is."""
        if self._is_over:
            return
        self._stop()
        if self.layer is None:
            return
        if keep:
            self.layer.name = keep
        else:
            self._viewer.layers.remove(self.layer)

    def _follow(self, _: Event | None = None) -> None:
        index = self._stack.in_view()
        if index is not None and index != self._index:
            self._index = index
            self._look_at(index)

    def _follow_removed(self, event: Event) -> None:
        if event.value is self.layer:
            self._stop()
        elif event.value is self._source:
            self.end()

    def _stop(self) -> None:
        self._is_over = True
        for what in _VIEW:
            self._viewer.dims.events[what].disconnect(self._follow)
        self._viewer.layers.events.removed.disconnect(self._follow_removed)
        self._look_at(None)
