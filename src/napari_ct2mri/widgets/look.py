"""In Register & pair: whether an MR fits its CT, by eye; both in one picture, as it is chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import (
    QButtonGroup,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QRadioButton,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from napari_ct2mri.errors import Ct2MriError
from napari_ct2mri.widgets.forms import narrow, plain_form, wrapped
from napari_ct2mri.widgets.overlay import Overlay

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer

__all__ = ["LookBox"]

_TILES_MM = (8, 80)
_PLACES = 1000
"""Steps of the slider of a swipe."""

_MODES = (("nothing", None), ("checkerboard", "squares"), ("swipe", "swipe"))
_HINTS: dict[str | None, str] = {
    None: "Checkerboard and swipe put CT and MR into one picture: where they fit, edges run on.",
    "squares": "CT and MR by turns: scalp and ventricles must run on across the squares.",
    "swipe": (
        "CT left of the line, MR right of it. Drag the line while its layer is the active one, or "
        "the slider."
    ),
}
_ONLY_IN_2D = "CT and MR are put into one picture slice by slice: go back to 2D to see it."


class LookBox(QWidget):
    """Choose a way to look at a CT and an MR, before or after its registration.

    Attributes
    ----------
    overlay : Overlay or None
        What is shown now.
    failed : Signal
        With the Ct2MriError, where the two cannot be put into one picture.
    """

    failed = Signal(object)

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._ct: Layer | None = None
        self._moving: Layer | None = None
        self._registered: Layer | None = None
        self._tile_mm, self._place = 25, 0.5
        self.overlay: Overlay | None = None
        self._lay_out()
        self.view.currentIndexChanged.connect(self._look)
        self.before.toggled.connect(self._look)
        self.slider.valueChanged.connect(self._slid)
        viewer.dims.events.ndisplay.connect(self._look)
        self._look()

    def follow(self, ct: Layer | None, mr: Layer | None, registered: Layer | None) -> None:
        """Take other images: a CT, an MR, and what the MR became on that CT."""
        self._ct, self._moving, self._registered = ct, mr, registered
        self.after.setEnabled(registered is not None)
        if registered is None:
            self.before.setChecked(True)
        self._look()

    def show_after(self) -> None:
        """Show what a registration made, in the way that was chosen last."""
        self.after.setChecked(True)
        if self.view.currentData() is None:
            self.view.setCurrentIndex(1)

    def show_nothing(self) -> None:
        """Give the canvas back."""
        self.view.setCurrentIndex(0)

    def _end(self) -> None:
        """Take the picture of both away."""
        overlay, self.overlay = self.overlay, None
        if overlay is not None:
            overlay.close()

    def _look(self, *_: object) -> None:
        """Show the images in one picture, as the form says; or nothing.

        Not in 3D: it would be black there, and napari 0.9 may crash after it.
        """
        mode, ct, is_flat = self.view.currentData(), self._ct, self._is_flat()
        mr = self._registered if self.after.isChecked() else self._moving
        if mode is None or not is_flat or ct is None or mr is None or ct is mr:
            self._end()
        elif self.overlay is None or (self.overlay.ct, self.overlay.mr) != (ct, mr):
            self._end()
            self._begin(ct, mr)
        self._set_slider(mode)
        self._draw()

    def _is_flat(self) -> bool:
        return self._viewer.dims.ndisplay == 2

    def _begin(self, ct: Layer, mr: Layer) -> None:
        when = "after" if self.after.isChecked() else "before"
        try:
            self.overlay = Overlay(
                self._viewer,
                ct,
                mr,
                f"CT | MR {when}",
                on_swipe=self._dragged,
                on_end=self._overlay_gone,
            )
        except Ct2MriError as error:
            self.failed.emit(error)

    def _draw(self) -> None:
        if self.overlay is None:
            return
        if self.view.currentData() == "swipe":
            self.overlay.show_swipe(self._place)
        else:
            self.overlay.show_checkerboard(self._tile_mm)

    def _set_slider(self, mode: str | None) -> None:
        """The slider is the width of squares, or the place of the line."""
        with QSignalBlocker(self.slider):
            if mode == "swipe":
                self.slider.setRange(0, _PLACES)
                self.slider.setValue(round(self._place * _PLACES))
            else:
                self.slider.setRange(*_TILES_MM)
                self.slider.setValue(self._tile_mm)
        self.slider.setEnabled(mode is not None)
        self.slider_label.setText("Line" if mode == "swipe" else "Squares")
        is_missed = mode is not None and not self._is_flat()
        self.hint.setText(_ONLY_IN_2D if is_missed else _HINTS[mode if self.overlay else None])

    def _slid(self, value: int) -> None:
        if self.view.currentData() == "swipe":
            self._place = value / _PLACES
        else:
            self._tile_mm = value
        self._draw()

    def _dragged(self, place: float) -> None:
        self._place = place
        with QSignalBlocker(self.slider):
            self.slider.setValue(round(place * _PLACES))

    def _overlay_gone(self) -> None:
        """The person, or the end of a layer, took it away."""
        if self.overlay is not None:
            self.overlay = None
            self.show_nothing()

    def _lay_out(self) -> None:
        self.view = narrow(QComboBox())
        for title, mode in _MODES:
            self.view.addItem(title, mode)
        self.before, self.after = QRadioButton("before"), QRadioButton("after")
        self.before.setChecked(True)
        group = QButtonGroup(self)
        states = QHBoxLayout()
        for button in (self.before, self.after):
            group.addButton(button)
            states.addWidget(button)
        states.addStretch(1)
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider_label = QLabel()
        self.hint = wrapped()
        form = plain_form()
        form.addRow("Show", self.view)
        form.addRow("MR", states)
        form.addRow(self.slider_label, self.slider)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 6)
        column.addLayout(form)
        column.addWidget(self.hint)
