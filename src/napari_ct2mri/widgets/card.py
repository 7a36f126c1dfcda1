"""What a model's card says, folded away until somebody asks."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtGui import QTextLength, QTextOption, QTextTable
from qtpy.QtWidgets import QTextBrowser, QVBoxLayout, QWidget

from napari_ct2mri.pix2pix.zoo import ModelCard
from napari_ct2mri.widgets.forms import fold

__all__ = ["CardView"]

_HEIGHT_PX = 260
_NONE = "No card lies beside this model, to say whom it was trained on and where it fails."


class CardView(QWidget):
    """A line that unfolds the card of the chosen model."""

    def __init__(self) -> None:
        super().__init__()
        self.text = QTextBrowser()
        self.text.setOpenExternalLinks(True)
        self.text.setWordWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        self.text.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.text.setFixedHeight(_HEIGHT_PX)
        self.fold = fold("About this model", self.text)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.fold)
        column.addWidget(self.text)

    def show_card(self, card: ModelCard | None) -> None:
        """Take the card of another model."""
        self.text.setMarkdown((card.text or _NONE) if card else "")
        for frame in self.text.document().rootFrame().childFrames():
            if isinstance(frame, QTextTable):
                _fit(frame)
        self.setEnabled(card is not None)


def _fit(table: QTextTable) -> None:
    """As wide as the card; without the empty row that Markdown makes of a head without titles."""
    form = table.format()
    form.setWidth(QTextLength(QTextLength.Type.PercentageLength, 100))
    table.setFormat(form)
    cells = (table.cellAt(0, column) for column in range(table.columns()))
    if not any(cell.firstCursorPosition().block().text().strip() for cell in cells):
        table.removeRows(0, 1)
