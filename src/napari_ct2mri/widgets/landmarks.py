"""Landmarks: a points layer for each image, numbered, since they pair by order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QPushButton, QWidget

from napari_ct2mri.errors import Ct2MriError, VolumeError
from napari_ct2mri.widgets.forms import LayerChooser, narrow
from napari_ct2mri.widgets.world import in_mm, prepare_to_draw

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer, Points
    from napari.utils.events import Event

__all__ = ["LandmarkChooser"]

_COLOURS = {"CT": "#ffbe00", "MR": "#33bbee"}
_SIZE_PX = 9
_BESIDE = (0, -6, 6)  # a point's number, z, y, x
_TIP = (
    "For heads that lie far apart, or where the result is unsure: mark three places or more in "
    "both images, in the same order (bridge of the nose, both ears ...). The search starts there."
)


class LandmarkChooser(QWidget):
    """Chooses the points layer of one image, or none; makes one to set points in.

    Parameters
    ----------
    viewer : napari.Viewer
    image : LayerChooser
        Of the image that the points are set on.
    what : str
        ``"CT"`` or ``"MR"``.

    Signals
    -------
    marking
        Points are about to be set; whatever hides the image should go.
    failed : Ct2MriError
        There is no volume to set them on.
    """

    marking = Signal()
    failed = Signal(object)

    def __init__(self, viewer: napari.viewer.Viewer, image: LayerChooser, what: str) -> None:
        super().__init__()
        self._viewer, self._image, self._what = viewer, image, what
        self.combo = narrow(QComboBox())
        self.mark = QPushButton("Mark")
        self.mark.clicked.connect(self.start_marking)
        self.setToolTip(_TIP)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.combo, 1)
        row.addWidget(self.mark)
        self.combo.currentIndexChanged.connect(self._number_chosen)
        for event in ("inserted", "removed", "renamed"):
            viewer.layers.events[event].connect(self._refill)
        self._refill()

    def layer(self) -> Points | None:
        """The layer that is chosen, or None."""
        return self.combo.currentData()

    def select(self, layer: Layer) -> None:
        """Choose a points layer."""
        self.combo.setCurrentIndex(self._index(layer))

    def start_marking(self) -> None:
        """Show the image alone and let clicks set points; makes the layer if none is chosen."""
        try:
            image = self._volume()
        except Ct2MriError as error:
            self.failed.emit(error)
            return
        self.marking.emit()
        self._viewer.dims.ndisplay = 2  # a click in 3D says nothing of how deep a place lies
        points = self.layer() or self._new_layer(image)
        prepare_to_draw(self._viewer, points)
        for layer in self._viewer.layers:
            layer.visible = layer in (image, points)
        self._viewer.layers.selection.active = points
        points.mode = "add"

    def _number_chosen(self, _: int) -> None:
        """Number the points that are chosen, whoever made them, and those that will be set."""
        points = self.layer()
        if points is None or points.ndim != 3:  # what is no volume's is refused when it starts
            return
        points.events.data.connect(_number)  # once, however often it is chosen
        _write_numbers(points)
        if "{number}" not in str(points.text.string):
            colour = _COLOURS[self._what]
            points.text = {"string": "{number}", "color": colour, "translation": _BESIDE}

    def _volume(self) -> Layer:
        image = self._image.required()
        if image.ndim != 3:
            raise VolumeError(
                f"layer {image.name!r} has {image.ndim} axes; landmarks are set in a "
                "volume (z, y, x)"
            )
        return image

    def _new_layer(self, image: Layer) -> Points:
        points = self._viewer.add_points(
            ndim=3,
            name=f"{self._what} landmarks",
            size=_SIZE_PX,
            face_color=_COLOURS[self._what],
            features={"number": np.zeros(0, np.int64)},
            scale=[1 / (in_mm(unit) or 1) for unit in image.units],  # sizes are in mm
            units=image.units,
            axis_labels=image.axis_labels,
        )
        self.select(points)
        return points

    def _refill(self, _: Event | None = None) -> None:
        """Take the viewer's points layers; keep the choice while its layer is there."""
        from napari.layers import Points

        before = self.layer()
        self.combo.clear()
        self.combo.addItem("none", None)
        for layer in self._viewer.layers:
            if isinstance(layer, Points):
                self.combo.addItem(layer.name, layer)
        self.combo.setCurrentIndex(max(0, self._index(before)))

    def _index(self, layer: Layer | None) -> int:
        places = (i for i in range(self.combo.count()) if self.combo.itemData(i) is layer)
        return next(places, -1)


def _number(event: Event) -> None:
    """Write each point's number beside it."""
    _write_numbers(event.source)


def _write_numbers(points: Points) -> None:
    features = points.features.copy()  # a person's own columns stay
    numbers = np.arange(1, len(features) + 1)
    if "number" not in features or list(features["number"]) != list(numbers):
        features["number"] = numbers
        points.features = features
