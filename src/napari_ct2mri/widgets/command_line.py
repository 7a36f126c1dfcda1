"""The command line that does what a panel does, to be read and copied."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from math import ceil
from pathlib import Path
from unicodedata import normalize

from qtpy.QtCore import QEvent, QMimeData, Qt
from qtpy.QtGui import QFontDatabase, QResizeEvent
from qtpy.QtWidgets import (
    QApplication,
    QHBoxLayout,
    QPlainTextEdit,
    QPushButton,
    QWidget,
)

from napari_ct2mri.pix2pix.zoo import models
from napari_ct2mri.widgets.forms import wrapped

__all__ = ["CommandLine", "file_name", "model_name"]

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.+-]+")  # of files, in any shell, without quotes
_LONGEST = 80


class CommandLine(QWidget):
    """One line of a terminal, whole, with a button that copies it."""

    def __init__(self) -> None:
        super().__init__()
        self.line = _Line()
        self.copy = QPushButton("Copy")
        self.copy.clicked.connect(self._copy)
        self.why_not = wrapped()
        self.why_not.hide()
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.line, 1)
        row.addWidget(self.copy, 0, Qt.AlignmentFlag.AlignTop)
        row.addWidget(self.why_not, 1)

    def show_command(self, text: str, why_not: str = "") -> None:
        """Show ``text``; where it is empty, say ``why_not``."""
        self.line.show_command(text)
        self.why_not.setText(f"No command line: {why_not}.")
        is_missed = bool(why_not) and not text
        for part in (self.line, self.copy):
            part.setHidden(is_missed)
        self.why_not.setVisible(is_missed)

    def _copy(self) -> None:
        QApplication.clipboard().setText(self.line.text())


def model_name(path: str | Path) -> str:
    """What a terminal calls a model: a released one by its name, another by its whole path."""
    released = {card.path: card.name for card in models()}
    return released.get(Path(path), str(path))


def file_name(text: str, otherwise: str) -> str:
    """``text``, fit to name a file or folder in ASCII without blanks; ``otherwise`` if empty."""
    plain = normalize("NFKD", text).encode("ascii", "ignore").decode()  # é becomes e
    return _NOT_IN_NAMES.sub("-", plain)[:_LONGEST].strip("-.") or otherwise


class _Line(QPlainTextEdit):
    """Read-only text, broken between arguments alone, as high as it needs to be; else it scrolls.

    A path or UID that is broken can neither be read nor copied by hand.
    """

    def __init__(self) -> None:
        super().__init__()
        self._command = ""
        self.setReadOnly(True)
        self.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def text(self) -> str:
        """The line without its breaks."""
        return self._command

    def show_command(self, text: str) -> None:
        """Show ``text``, words as :func:`shlex.join` has them."""
        self._command = text
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Break it anew."""
        super().resizeEvent(event)
        self._fit()

    def changeEvent(self, event: QEvent) -> None:  # noqa: N802
        """Another theme may bring another font."""
        super().changeEvent(event)
        if event.type() in (QEvent.Type.FontChange, QEvent.Type.StyleChange):
            self._fit()

    def createMimeDataFromSelection(self) -> QMimeData:  # noqa: N802
        """What is copied by hand has no breaks either."""
        data = QMimeData()
        data.setText(self.textCursor().selection().toPlainText().replace("\n", " "))
        return data

    def _fit(self) -> None:
        metrics, margin = self.fontMetrics(), 2 * ceil(self.document().documentMargin())
        room = self.viewport().width() - margin
        lines = _broken(self._command, lambda line: metrics.horizontalAdvance(line) <= room)
        if (text := "\n".join(lines)) != self.toPlainText():
            self.setPlainText(text)
        margins = self.contentsMargins()
        height = 2 * self.frameWidth() + margin + margins.top() + margins.bottom()
        is_cut = max(map(metrics.horizontalAdvance, lines)) > room
        policy = Qt.ScrollBarPolicy
        self.setHorizontalScrollBarPolicy(
            policy.ScrollBarAlwaysOn if is_cut else policy.ScrollBarAlwaysOff
        )
        if is_cut:
            height += self.horizontalScrollBar().sizeHint().height()
        line = max(metrics.height(), metrics.lineSpacing())  # some fonts have a leading below 0
        self.setFixedHeight(len(lines) * line + height)


def _broken(command: str, fits: Callable[[str], bool]) -> list[str]:
    """Lines that fit, one at least; a word that does not has a line of its own."""
    lines = [""]
    for word in map(shlex.quote, shlex.split(command)):
        longer = f"{lines[-1]} {word}".lstrip()
        if not lines[-1] or fits(longer):
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
