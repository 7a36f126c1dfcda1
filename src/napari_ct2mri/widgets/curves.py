"""What a training looks like while it runs: its curves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyqtgraph as pg
from napari.utils.theme import get_theme
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_ct2mri.jobs import EpochDone

if TYPE_CHECKING:
    import napari.viewer

__all__ = ["Curves"]

_COLOURS = ("#1f9bd6", "#e8833a", "#5cb85c", "#c96fb9", "#b0a030", "#888888")
"""Told apart by most eyes, on dark and on light ground."""

_PLOT_PX = 150


class _Themed(pg.PlotWidget):
    """A plot in the colours of the viewer's theme."""

    def __init__(self, viewer: napari.viewer.Viewer, label: str) -> None:
        super().__init__()
        self._viewer = viewer
        self.setFixedHeight(_PLOT_PX)
        self.setLabel("left", label)
        self.setLabel("bottom", "epoch")
        self.getAxis("left").enableAutoSIPrefix(False)
        self.setMenuEnabled(False)
        self.hideButtons()
        self.legend = self.addLegend(offset=(-4, 4), labelTextSize="8pt")
        self.lines: dict[str, Any] = {}
        viewer.events.theme.connect(self._paint)
        self._paint()

    def add(self, name: str, epoch: int, value: float) -> None:
        """Add a point to the line of that name."""
        if name not in self.lines:
            pen = pg.mkPen(_COLOURS[len(self.lines) % len(_COLOURS)], width=2)
            brush = pen.color()
            self.lines[name] = self.plot(
                [],
                [],
                pen=pen,
                name=name,
                symbol="o",
                symbolSize=4,
                symbolBrush=brush,
                symbolPen=None,
            )
        x, y = self.lines[name].getData()
        x, y = ([], []) if x is None else (x, y)
        self.lines[name].setData([*x, epoch], [*y, value])

    def empty(self) -> None:
        """Forget all lines."""
        self.clear()
        self.legend.clear()
        self.lines.clear()

    def _paint(self, _: object = None) -> None:
        theme = get_theme(self._viewer.theme)
        text = theme.text.as_hex()
        self.setBackground(theme.background.as_hex())
        for side in ("left", "bottom"):
            self.getAxis(side).setPen(text)
            self.getAxis(side).setTextPen(text)
        self.legend.setLabelTextColor(text)


class Curves(QWidget):
    """Losses by term and, where patients choose the epoch, their in-head SSIM."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.losses = _Themed(viewer, "loss")
        self.validation = _Themed(viewer, "in-head SSIM")
        self.validation.legend.hide()
        self.best = QLabel()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for part in (self.losses, self.validation, self.best):
            layout.addWidget(part)
        self.hide()

    def empty(self) -> None:
        """Make ready for a new training."""
        self.losses.empty()
        self.validation.empty()
        self.validation.hide()
        self.best.hide()
        self.hide()

    def add(self, event: EpochDone) -> None:
        """Draw one epoch."""
        self.show()
        for name, value in event.losses.items():
            self.losses.add(name, event.epoch, value)
        if "ssim" in event.validation:
            self.validation.show()
            self.validation.add("selection", event.epoch, event.validation["ssim"])
        if event.is_best:
            figures = ", ".join(
                f"{k.replace('_', ' ')} {v:.3g}" for k, v in event.validation.items()
            )
            self.best.setText(f"best: epoch {event.epoch} ({figures})")
            self.best.setWordWrap(True)
            self.best.show()
