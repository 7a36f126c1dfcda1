"""What a model's card says, folded away until somebody asks."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QSizePolicy, QTextBrowser, QToolButton, QVBoxLayout, QWidget

from napari_ct2mri.pix2pix.zoo import ModelCard

__all__ = ["CardView"]

_HEIGHT_PX = 260
_NONE = "No card lies beside this model, to say whom it was trained on and where it fails."


class CardView(QWidget):
    """A line that unfolds the card of the chosen model."""

    def __init__(self) -> None:
        super().__init__()
        self.fold = QToolButton()
        self.fold.setText("About this model")
        self.fold.setCheckable(True)
        self.fold.setAutoRaise(True)
        self.fold.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.fold.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.text = QTextBrowser()
        self.text.setOpenExternalLinks(True)
        self.text.setFixedHeight(_HEIGHT_PX)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.fold)
        column.addWidget(self.text)
        self.fold.toggled.connect(self._unfold)
        self._unfold(is_open=False)

    def show_card(self, card: ModelCard | None) -> None:
        """Take the card of another model."""
        self.text.setMarkdown((card.text or _NONE) if card else "")
        self.setEnabled(card is not None)

    def _unfold(self, is_open: bool) -> None:
        self.text.setVisible(is_open)
        arrow = Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow
        self.fold.setArrowType(arrow)
