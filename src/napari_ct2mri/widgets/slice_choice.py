"""Which slices of a CT a person wants: all of them, the one in view, or a range."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QSpinBox, QWidget

from napari_ct2mri.errors import VolumeError
from napari_ct2mri.widgets.slices_table import place_of

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer

__all__ = ["SliceChoice"]

_ALL, _IN_VIEW, _RANGE = "whole volume", "slice in view", "range"


class SliceChoice(QWidget):
    """Slices as the viewer's slider counts them; of a range both ends are wanted."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self.which = QComboBox()
        self.which.addItems([_ALL, _IN_VIEW, _RANGE])
        self.which.setToolTip("As the slider counts, from the bottom of the stack.")
        self.first, self.last = QSpinBox(), QSpinBox()
        self._to = QLabel("to")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.which, 1)
        for part in (self.first, self._to, self.last):
            row.addWidget(part)
        self.first.valueChanged.connect(self.last.setMinimum)
        self.which.currentTextChanged.connect(self._show_ends)
        self._show_ends()

    def follow(self, layer: Layer | None) -> None:
        """Offer the slices of a layer: all of them, if it has others than the former one."""
        top = place_of(layer).count - 1 if layer is not None else 0
        if top == self.last.maximum():
            return
        for spin in (self.first, self.last):
            spin.setMaximum(top)
        self.first.setValue(0)
        self.last.setValue(top)

    def wanted(self, layer: Layer) -> range | None:
        """The slices to take of ``layer``; None for all.

        Raises
        ------
        VolumeError
            If the slice in view lies beyond it.
        """
        place, which = place_of(layer), self.which.currentText()
        if which == _ALL:
            return None
        if which == _RANGE:
            return range(self.first.value(), self.last.value() + 1)
        index = place.in_view(self._viewer.dims)
        if index is None:
            raise VolumeError(
                f"the slice in view lies beyond layer {layer.name!r}; move the slider onto it"
            )
        return range(index, index + 1)

    def _show_ends(self) -> None:
        for part in (self.first, self._to, self.last):
            part.setVisible(self.which.currentText() == _RANGE)
