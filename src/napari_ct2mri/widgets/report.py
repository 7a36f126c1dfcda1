"""Where the report of a comparison goes, and the command line that makes it again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from qtpy.QtCore import QUrl, Signal
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_ct2mri.errors import EvaluationError
from napari_ct2mri.widgets.command_line import CommandLine
from napari_ct2mri.widgets.forms import browse_button, wrapped, written_path

__all__ = ["ReportView"]

_WHAT = (
    "A page with figures and pictures (report.html), tables (slices.csv, patients.csv, sets.csv), "
    "and a list of the pair (pairs.csv), with layers that are in no file yet beside it."
)
_FOLDER = "ct2mri-report"


class ReportView(QWidget):
    """A folder, a button, and once there is something to save, the command line.

    Parameters
    ----------
    as_command : callable
        The command line for a folder; empty if there is none.
    """

    wanted = Signal()

    def __init__(self, as_command: Callable[[Path], str]) -> None:
        super().__init__()
        self._as_command = as_command
        self._page: Path | None = None
        self.line = QLineEdit(str(Path.home() / _FOLDER))
        self.line.setToolTip("Is made if it is missing; files of a former report are replaced.")
        self.line.textChanged.connect(self.show_command)
        row = QHBoxLayout()
        row.addWidget(QLabel("Folder"))
        row.addWidget(self.line, 1)
        row.addWidget(browse_button("Choose a folder", self._browse))
        what = wrapped(_WHAT)
        self.save = QPushButton("Save report")
        self.save.clicked.connect(self.wanted)
        self.open = QPushButton("Open report.html")
        self.open.clicked.connect(self._open)
        buttons = QHBoxLayout()
        buttons.addWidget(self.save)
        buttons.addWidget(self.open)
        self.heading = wrapped("The same on the command line, once it is saved")
        self.command = CommandLine()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 6, 0, 0)
        layout.addWidget(what)
        layout.addLayout(row)
        layout.addLayout(buttons)
        layout.addWidget(self.heading)
        layout.addWidget(self.command)
        layout.addStretch(1)
        self.empty()

    def set_ready(self, *, is_ready: bool) -> None:
        """Whether there is a comparison to save."""
        self.save.setEnabled(is_ready)
        self.show_command()

    def empty(self) -> None:
        """Forget the page that was written."""
        self._page = None
        self.open.setEnabled(False)
        self.set_ready(is_ready=False)

    def folder(self) -> Path:
        """Where the report goes.

        Raises
        ------
        EvaluationError
            If the field is empty.
        """
        text = self.line.text().strip()
        if not text:
            raise EvaluationError("no folder is chosen for the report; choose one")
        return written_path(text).absolute()

    def show_saved(self, page: Path) -> None:
        """Offer the page that was written."""
        self._page = page
        self.open.setEnabled(True)

    def show_command(self) -> None:
        """Show what a terminal would be told."""
        is_ready = self.save.isEnabled() and bool(self.line.text().strip())
        text = self._as_command(self.folder()) if is_ready else ""
        self.heading.setVisible(bool(text))
        self.command.setVisible(bool(text))
        self.command.show_command(text)

    def _browse(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Folder of the report", self.line.text())
        if path:
            self.line.setText(path)

    def _open(self) -> None:
        if self._page is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._page)))
