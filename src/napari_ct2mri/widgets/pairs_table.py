"""The table of pairs: what the viewer's list holds, a row each."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from napari_ct2mri.widgets.layer_pairs import LayerPairs

__all__ = ["PairTable"]

_COLUMNS = ("CT", "MR", "patient", "contrast", "split")
_HEIGHT_PX = 120


class PairTable(QTableWidget):
    """Shows a list of pairs, and follows it."""

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
        header.setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
        header.setMinimumSectionSize(40)
        self.setFixedHeight(_HEIGHT_PX)
        pairs.changed.connect(self._show)
        self._show()

    def remove_selected(self) -> None:
        """Take the selected rows out of the list."""
        self._pairs.remove({index.row() for index in self.selectedIndexes()})

    def _show(self, _: object = None) -> None:
        self.setRowCount(len(self._pairs))
        for row, pair in enumerate(self._pairs):
            names = (pair.ct.name, pair.mr.name, pair.patient, pair.contrast, pair.split)
            for column, text in enumerate(names):
                item = QTableWidgetItem(text)
                item.setToolTip(text)
                item.setTextAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
                self.setItem(row, column, item)
