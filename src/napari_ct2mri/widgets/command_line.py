"""The command line that does what a panel does, to be read and copied."""

from __future__ import annotations

import re
from math import ceil
from pathlib import Path

from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QFontDatabase, QResizeEvent, QTextOption
from qtpy.QtWidgets import QApplication, QHBoxLayout, QPlainTextEdit, QPushButton, QWidget

from napari_ct2mri.pix2pix.zoo import models

__all__ = ["CommandLine", "file_name", "model_name"]

_NOT_IN_NAMES = re.compile(r'[\0-\x1f/\\:*?"<>|]')  # of files and folders, on any system
_LONGEST = 80


class CommandLine(QWidget):
    """One line of a terminal, whole, with a button that copies it."""

    def __init__(self) -> None:
        super().__init__()
        self.line = _Line()
        self.copy = QPushButton("Copy")
        self.copy.clicked.connect(self._copy)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.line, 1)
        row.addWidget(self.copy, 0, Qt.AlignmentFlag.AlignTop)

    def show_command(self, text: str) -> None:
        """Show ``text``."""
        self.line.setPlainText(text)

    def _copy(self) -> None:
        QApplication.clipboard().setText(self.line.text())


def model_name(path: str | Path) -> str:
    """What a terminal calls a model: a released one by its name, another by its whole path."""
    released = {card.path: card.name for card in models()}
    return released.get(Path(path), str(path))


def file_name(text: str, otherwise: str) -> str:
    """``text``, fit to name a file or a folder; ``otherwise`` where nothing is left of it."""
    return _NOT_IN_NAMES.sub("_", text)[:_LONGEST].strip(". ") or otherwise


class _Line(QPlainTextEdit):
    """Read-only text, broken where the panel ends and as high as it needs to be."""

    def __init__(self) -> None:
        super().__init__()
        self.setReadOnly(True)
        self.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.setWordWrapMode(QTextOption.WrapMode.WrapAnywhere)  # a path has no blanks
        for set_policy in (self.setHorizontalScrollBarPolicy, self.setVerticalScrollBarPolicy):
            set_policy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.textChanged.connect(self._fit)

    def text(self) -> str:
        """The line without its breaks."""
        return str(self.toPlainText())

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Break it anew."""
        super().resizeEvent(event)
        self._fit()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Another theme may bring another font."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self._fit()

    def _fit(self) -> None:
        lines = self.document().documentLayout().documentSize().height()  # counts, of plain text
        rim = self.frameWidth() + self.document().documentMargin()
        margins = self.contentsMargins()
        outside = 2 * rim + margins.top() + margins.bottom()
        self.setFixedHeight(ceil(max(1, lines) * self.fontMetrics().lineSpacing() + outside))
