"""In Board: how far a push is, a bar for each of its parts."""

from __future__ import annotations

from typing import get_args

from qtpy.QtWidgets import QGridLayout, QLabel, QProgressBar, QWidget

from napari_ct2mri.app.workflows import StepBegun
from napari_ct2mri.app.workflows.board import Step
from napari_ct2mri.jobs import Event
from napari_ct2mri.widgets.words import Course

__all__ = ["StepBars"]

_STEPS = 1000


class StepBars(QWidget):
    """A bar for each part of a push."""

    def __init__(self) -> None:
        super().__init__()
        self.bars: dict[str, QProgressBar] = {}
        self._labels: dict[str, QLabel] = {}
        self._step, self._course = "", Course()
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        for row, step in enumerate(get_args(Step)):
            bar = self.bars[step] = QProgressBar()
            bar.setRange(0, _STEPS)
            bar.setTextVisible(False)
            self._labels[step] = QLabel(step.capitalize())
            grid.addWidget(self._labels[step], row, 0)
            grid.addWidget(bar, row, 1)
        grid.setColumnStretch(1, 1)

    def begin(self, *, boots: bool) -> None:
        """All empty; with a bar for booting, or without."""
        self._step = ""
        for step, bar in self.bars.items():
            bar.setRange(0, _STEPS)
            bar.setValue(0)
            bar.setVisible(boots or step != "boot")
            self._labels[step].setVisible(boots or step != "boot")

    def take(self, event: Event) -> None:
        """Fill the bar of the step at hand."""
        if isinstance(event, StepBegun):
            if event.step != self._step:
                self.finish()
                self._step, self._course = event.step, Course()
                self.bars[self._step].setRange(0, 0)  # busy, until there is something to count
        elif self._step and (shown := self._course.take(event)):
            self.bars[self._step].setRange(0, _STEPS)
            self.bars[self._step].setValue(round(shown.fraction * _STEPS))

    def finish(self) -> None:
        """The step at hand is done."""
        if self._step:
            self.bars[self._step].setRange(0, _STEPS)
            self.bars[self._step].setValue(_STEPS)
            self._step = ""

    def halt(self) -> None:
        """Nothing moves any more."""
        self._step = ""
        for bar in self.bars.values():
            if bar.maximum() == 0:
                bar.setRange(0, _STEPS)
                bar.setValue(0)
