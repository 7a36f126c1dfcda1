"""Choosing a generator: released ones by name, others by file."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QWidget

from napari_ct2mri.errors import CheckpointError, Ct2MriError
from napari_ct2mri.pix2pix.zoo import DEFAULT_MODEL, ModelCard, models, read_card
from napari_ct2mri.widgets.forms import browse_button, narrow

__all__ = ["ModelChooser"]

_KINDS = "Models (*.safetensors);;All files (*)"


class ModelChooser(QWidget):
    """Chooses a released model or a checkpoint file.

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
        if none:
            self.combo.addItem(none, None)
        released = sorted(models(), key=lambda card: (card.name != DEFAULT_MODEL, card.name))
        for card in released:
            self._add(card.name, card)
        self._released = frozenset(card.path for card in released)
        self._show_summary()
        self.combo.currentIndexChanged.connect(self._show_summary)
        button = browse_button("Choose a checkpoint file", self._browse)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.combo, 1)
        row.addWidget(button)

    def choice(self) -> ModelCard | None:
        """The model that is chosen; None for none."""
        card: ModelCard | None = self.combo.currentData()
        return card

    def required(self) -> ModelCard:
        """The model that is chosen.

        Raises
        ------
        CheckpointError
            If there is none.
        """
        card = self.choice()
        if card is None:
            raise CheckpointError("no model is chosen; choose a checkpoint file")
        return card

    def add_file(self, path: Path) -> None:
        """Read a checkpoint's header and choose it."""
        try:
            self._add(path.name, read_card(path))
        except Ct2MriError as error:
            self.failed.emit(error)
            return
        self.combo.setCurrentIndex(self.combo.count() - 1)

    def to_remember(self) -> str:
        """The name of a released model or of none, the path of another."""
        card = self.choice()
        if card is None or card.path in self._released:
            return str(self.combo.currentText())
        return str(card.path)

    def recall(self, text: str) -> None:
        """Choose a model again; one that is gone or damaged is passed over."""
        if (index := self.combo.findText(text)) >= 0:
            self.combo.setCurrentIndex(index)
            return
        with suppress(Ct2MriError, OSError):
            path = Path(text)
            self._add(path.name, read_card(path))
            self.combo.setCurrentIndex(self.combo.count() - 1)

    def _add(self, text: str, card: ModelCard) -> None:
        self.combo.addItem(text, card)

    def _show_summary(self) -> None:
        card = self.choice()
        self.combo.setToolTip(f"{card.path.name}\n{card.summary}".strip() if card else "")
        self.changed.emit()

    def _browse(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Choose a model", "", _KINDS)
        if path:
            self.add_file(Path(path))
