"""A plot in the colours of the viewer's theme."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyqtgraph as pg
from napari.utils.theme import get_theme

if TYPE_CHECKING:
    import napari.viewer

__all__ = ["ThemedPlot"]


class ThemedPlot(pg.PlotWidget):
    """Without menu and buttons, values as they are; it follows a change of theme."""

    def __init__(self, viewer: napari.viewer.Viewer, **given: Any) -> None:
        super().__init__(**given)
        self._viewer = viewer
        for side in ("left", "bottom"):
            self.getAxis(side).enableAutoSIPrefix(False)
        self.setMenuEnabled(False)
        self.hideButtons()
        viewer.events.theme.connect(self._paint)
        self._paint()

    def _paint(self, _: object = None) -> None:
        theme = get_theme(self._viewer.theme)
        text = theme.text.as_hex()
        self.setBackground(theme.background.as_hex())
        for side in ("left", "bottom"):
            self.getAxis(side).setPen(text)
            self.getAxis(side).setTextPen(text)
