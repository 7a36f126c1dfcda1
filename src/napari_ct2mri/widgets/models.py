"""Choosing a generator: released ones by name, others by file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QWidget

from napari_ct2mri.errors import Ct2MriError
from napari_ct2mri.widgets import tasks
from napari_ct2mri.widgets.forms import browse_button, narrow
from napari_ct2mri.widgets.job import QtJob

if TYPE_CHECKING:
    from napari_ct2mri.widgets.tasks import ModelChoice

__all__ = ["ModelChooser"]

_KINDS = "Models (*.safetensors);;All files (*)"


class ModelChooser(QWidget):
    """Chooses a released model or a checkpoint file.

    The list comes from a child process, as reading it may import torch.

    Parameters
    ----------
    none : str
        Text of a first entry that stands for no model; empty for no such entry.
    """

    changed = Signal()
    failed = Signal(object)

    def __init__(self, none: str = "") -> None:
        super().__init__()
        self.combo = narrow(QComboBox())
        self._job = QtJob()
        self._waiting: list[str] = []
        if none:
            self.combo.addItem(none, None)
        self.combo.currentIndexChanged.connect(self._show_summary)
        button = browse_button("Choose a checkpoint file", self._browse)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.combo, 1)
        row.addWidget(button)
        self._job.succeeded.connect(self._add)
        self._job.failed.connect(self.failed)
        self._job.finished.connect(self._next)
        self.destroyed.connect(self._job.abandon)
        self._job.start(tasks.find_models)

    def choice(self) -> ModelChoice | None:
        """The model that is chosen; None for none."""
        return self.combo.currentData()

    def required(self) -> ModelChoice:
        """The model that is chosen.

        Raises
        ------
        Ct2MriError
            If there is none.
        """
        choice = self.choice()
        if choice is None:
            raise Ct2MriError("no model chosen; wait for the list, or choose a checkpoint file")
        return choice

    def add_file(self, path: str) -> None:
        """Read a checkpoint's header and choose it."""
        self._waiting.append(path)
        if not self._job.is_running:
            self._next()

    def abandon(self) -> None:
        """Stop looking for models."""
        self._job.abandon()

    def _next(self) -> None:
        if self._waiting:
            self._job.start(tasks.find_models, self._waiting.pop(0))

    def _add(self, choices: tuple[ModelChoice, ...]) -> None:
        for choice in choices:
            self.combo.addItem(Path(choice.key).name, choice)
        if len(choices) == 1 and choices[0].key.endswith(".safetensors"):
            self.combo.setCurrentIndex(self.combo.count() - 1)
        self.changed.emit()

    def _show_summary(self) -> None:
        choice = self.choice()
        self.combo.setToolTip(f"{choice.key}\n{choice.summary}".strip() if choice else "")
        self.changed.emit()

    def _browse(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Choose a model", "", _KINDS)
        if path:
            self.add_file(path)
