"""What a model's card says, folded away until somebody asks."""

from __future__ import annotations

from qtpy.QtGui import QTextOption, QTextTable
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
                _drop_empty_head(frame)
        self.setEnabled(card is not None)


def _drop_empty_head(table: QTextTable) -> None:
    """Markdown gives every table a head, and one without titles an empty row."""
    cells = (table.cellAt(0, column) for column in range(table.columns()))
    if not any(cell.firstCursorPosition().block().text().strip() for cell in cells):
        table.removeRows(0, 1)
