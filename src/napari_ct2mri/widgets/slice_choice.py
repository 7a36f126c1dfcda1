"""Which slices of a CT a person wants: all of them, the one in view, or a range."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QSpinBox, QVBoxLayout, QWidget

from napari_ct2mri.errors import VolumeError
from napari_ct2mri.widgets.slices import InView, Stack

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer

__all__ = ["SliceChoice"]

_ALL, _IN_VIEW, _RANGE = "whole volume", "slice in view", "range"


class SliceChoice(QWidget):
    """Slices by their numbers in the layer; of a range both ends are wanted."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._top = -1  # the last slice of the layer that was followed before
        self.which = QComboBox()
        self.which.addItems([_ALL, _IN_VIEW, _RANGE])
        self.which.setToolTip("Slices count from 0 at the bottom of the CT's stack.")
        self.first, self.last = QSpinBox(), QSpinBox()
        self._to = QLabel("to")
        self.in_view = InView(viewer)
        row = QHBoxLayout()
        for part in (self.first, self._to, self.last):
            row.addWidget(part)
        row.addStretch(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.which)
        column.addLayout(row)
        column.addWidget(self.in_view)
        self.first.valueChanged.connect(self.last.setMinimum)
        self.which.currentTextChanged.connect(self._show_ends)
        self._show_ends()

    def follow(self, layer: Layer | None) -> None:
        """Offer the slices of a layer: all of them, if it has others than the former one."""
        stack = Stack(self._viewer, layer) if layer is not None else None
        self.in_view.follow(stack)
        top = stack.count - 1 if stack else 0
        if top == self._top:
            return
        self._top = top
        for spin in (self.first, self.last):
            spin.setMaximum(top)
        self.first.setValue(0)
        self.last.setValue(top)

    def wanted(self, layer: Layer) -> range | None:
        """The slices to take of ``layer``; None for all.

        Raises
        ------
        VolumeError
            If the slice in view lies beyond it, or none is.
        """
        which = self.which.currentText()
        if which == _ALL:
            return None
        if which == _RANGE:
            return range(self.first.value(), self.last.value() + 1)
        stack = Stack(self._viewer, layer)
        if not stack.is_sliced:
            raise VolumeError(
                f"no axial slice of layer {layer.name!r} is in view; show z with the slider, in 2D"
            )
        index = stack.in_view()
        if index is None:
            raise VolumeError(
                f"the slice in view lies beyond layer {layer.name!r}; move the slider onto it"
            )
        return range(index, index + 1)

    def _show_ends(self) -> None:
        for part in (self.first, self._to, self.last):
            part.setVisible(self.which.currentText() == _RANGE)
        self.in_view.setVisible(self.which.currentText() == _IN_VIEW)
