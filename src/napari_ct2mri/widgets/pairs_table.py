"""The table of pairs: what the viewer's list holds, a row each."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from napari_ct2mri.widgets.layer_pairs import LayerPairs

__all__ = ["PairTable"]

_COLUMNS = ("CT\nMR", "patient\ncontrast, split")
_HEIGHT_PX = 156
"""A head and three rows, of two lines each: a dock is narrow."""


class PairTable(QTableWidget):
    """Shows a list of pairs, and follows it to its newest."""

    def __init__(self, pairs: LayerPairs) -> None:
        super().__init__(0, len(_COLUMNS))
        self._pairs = pairs
        self.setHorizontalHeaderLabels(_COLUMNS)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.verticalHeader().hide()
        header = self.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        header.setMinimumSectionSize(40)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setWordWrap(False)
        lines = 2 * self.fontMetrics().lineSpacing() + 6
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.verticalHeader().setDefaultSectionSize(lines)
        self.setFixedHeight(_HEIGHT_PX)
        pairs.changed.connect(self._show)
        self._show()

    def remove_selected(self) -> None:
        """Take the selected rows out of the list."""
        self._pairs.remove({index.row() for index in self.selectedIndexes()})

    def _show(self, _: object = None) -> None:
        is_longer = len(self._pairs) > self.rowCount()
        self.setRowCount(len(self._pairs))
        for row, pair in enumerate(self._pairs):
            images = f"{pair.ct.name}\n{pair.mr.name}"
            for column, text in enumerate(
                (images, f"{pair.patient}\n{pair.contrast}, {pair.split}")
            ):
                item = QTableWidgetItem(text)
                item.setToolTip(text)
                item.setTextAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
                self.setItem(row, column, item)
        if is_longer:
            self.scrollToBottom()
