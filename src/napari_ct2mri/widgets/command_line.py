"""The command line that does what a panel does, to be read and copied."""

from __future__ import annotations

from qtpy.QtWidgets import QApplication, QHBoxLayout, QLineEdit, QPushButton, QWidget

__all__ = ["CommandLine"]


class CommandLine(QWidget):
    """One line of a terminal, with a button that copies it."""

    def __init__(self) -> None:
        super().__init__()
        self.line = QLineEdit()
        self.line.setReadOnly(True)
        self.copy = QPushButton("Copy")
        self.copy.clicked.connect(self._copy)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.line, 1)
        row.addWidget(self.copy)

    def show_command(self, text: str) -> None:
        """Show ``text`` from its beginning."""
        self.line.setText(text)
        self.line.setToolTip(text)
        self.line.setCursorPosition(0)

    def _copy(self) -> None:
        QApplication.clipboard().setText(self.line.text())
