"""The histories of trainings as curves: a colour a run, one figure at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyqtgraph as pg
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_ct2mri.evaluation.labels import MEANING
from napari_ct2mri.pix2pix.checkpoint import SCORE, EpochRecord
from napari_ct2mri.widgets.plots import ThemedPlot

if TYPE_CHECKING:
    import napari.viewer

    from napari_ct2mri.widgets.runs import Run

__all__ = ["Curves"]

_PLOT_PX = 150
_FIGURES: Mapping[str, str] = {
    SCORE: "in-head SSIM",
    "psnr": "in-head PSNR, dB",
    "gradient_correlation": "in-head gradient correlation",
}


class Curves(QWidget):
    """Training terms above, figures on the patients that choose the epoch below."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.losses = _Curve(
            viewer, "train-fit", MEANING["train-fit"], lambda record: record.losses, {}
        )
        self.validation = _Curve(
            viewer, "selection", MEANING["selection"], lambda record: record.validation, _FIGURES
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for part in (self.losses, self.validation):
            layout.addWidget(part)
        self.hide()

    def show_runs(self, runs: Sequence[Run]) -> None:
        """Draw these, and nothing else; hidden while there is nothing to draw."""
        shown = [part.show_runs(runs) for part in (self.losses, self.validation)]
        self.setVisible(any(shown))


class _Curve(QWidget):
    """One plot and the choice of what it shows."""

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        label: str,
        meaning: str,
        values: Callable[[EpochRecord], Mapping[str, float]],
        titles: Mapping[str, str],
    ) -> None:
        super().__init__()
        self._values, self._titles = values, titles
        self._runs: Sequence[Run] = ()
        self.lines: dict[str, Any] = {}  # by the name of the run
        self.choice = QComboBox()
        self.choice.setToolTip(meaning)
        self.plot = ThemedPlot(viewer, axisItems={"bottom": _Epochs("bottom")})
        self.plot.setFixedHeight(_PLOT_PX)
        self.plot.setLabel("bottom", "epoch")
        words = QLabel(label)
        words.setToolTip(meaning)
        head = QHBoxLayout()
        head.addWidget(words)
        head.addWidget(self.choice, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(head)
        layout.addWidget(self.plot)
        self.choice.currentIndexChanged.connect(self._draw)

    def show_runs(self, runs: Sequence[Run]) -> bool:
        """Draw these; whether there is anything to see."""
        self._runs = runs
        names = dict.fromkeys(
            name for run in runs for record in run.records for name in self._values(record)
        )
        ordered = [
            *(n for n in self._titles if n in names),
            *(n for n in names if n not in self._titles),
        ]
        if ordered != [self.choice.itemData(i) for i in range(self.choice.count())]:
            before = self.choice.currentData()
            self.choice.blockSignals(True)
            self.choice.clear()
            for name in ordered:
                self.choice.addItem(self._titles.get(name, name), name)
            self.choice.setCurrentIndex(max(0, self.choice.findData(before)))
            self.choice.blockSignals(False)
        self._draw()
        self.setVisible(bool(names))
        return bool(names)

    def _draw(self, _: int = 0) -> None:
        self.plot.clear()
        self.lines.clear()
        name = self.choice.currentData()
        for run in self._runs:
            points = [
                (record.epoch, self._values(record)[name])
                for record in run.records
                if name in self._values(record)
            ]
            if points:
                x, y = zip(*points, strict=True)
                self.lines[run.name] = self.plot.plot(
                    x,
                    y,
                    pen=pg.mkPen(run.colour, width=2),
                    symbol="o",
                    symbolSize=5,
                    symbolBrush=run.colour,
                    symbolPen=None,
                )


class _Epochs(pg.AxisItem):
    """Whole numbers alone: there is no half epoch."""

    def tickSpacing(self, low: float, high: float, size: float) -> list[tuple[float, float]]:  # noqa: N802
        """Distances between ticks, and where they begin."""
        spacings = super().tickSpacing(low, high, size)
        return [(step, start) for step, start in spacings if step >= 1] or [(1.0, 0.0)]
