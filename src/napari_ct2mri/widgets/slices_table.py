"""The table of slices that is linked with the viewer: click a row, see the slice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from napari_ct2mri.widgets.slices import Stack

if TYPE_CHECKING:
    import napari.viewer

    from napari_ct2mri.evaluation import SliceFigures

__all__ = ["SliceTable"]

_COLUMNS = {
    "Slice": ("", "{:d}", "Its number in the layer, from 0 at the bottom of the stack."),
    "SSIM": ("head_ssim", "{:.3f}", "Structural similarity in the head; 1 is equal."),
    "PSNR": ("head_psnr_fitted", "{:.1f}", "In the head, dB, after the patient's gain and offset."),
    "Edges": ("head_gradient_correlation", "{:.3f}", "Correlation of gradients in the head."),
    "Sharp": ("head_sharpness", "{:.2f}", "Below 1 is blurred, above 1 noisy."),
    "MAE": ("head_mae", "{:.1f}", "Mean absolute error in the head, in output units."),
}
_HEIGHT_PX = 230


class SliceTable(QTableWidget):
    """A row a slice; a header that is clicked sorts, a row that is chosen goes there."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(0, len(_COLUMNS))
        self._stack: Stack | None = None
        self.setHorizontalHeaderLabels(list(_COLUMNS))
        for column, (_, _, tip) in enumerate(_COLUMNS.values()):
            self.horizontalHeaderItem(column).setToolTip(tip)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.verticalHeader().hide()
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.setMinimumHeight(_HEIGHT_PX)
        self.itemSelectionChanged.connect(self._go)
        for what in ("point", "ndim", "order", "ndisplay"):
            viewer.dims.events[what].connect(self._mark)

    def fill(self, slices: Sequence[int], each: Sequence[SliceFigures], stack: Stack) -> None:
        """Show the figures of each slice of a stack."""
        self._stack = None
        self.setSortingEnabled(False)  # or rows would move while they are filled
        self.setRowCount(len(slices))
        for row, (index, scored) in enumerate(zip(slices, each, strict=True)):
            figures = scored.figures.as_dict()
            for column, (name, form, _) in enumerate(_COLUMNS.values()):
                self.setItem(row, column, _Number(figures[name] if name else index, form))
        self.setSortingEnabled(True)
        self.sortItems(0, Qt.SortOrder.AscendingOrder)
        self._stack = stack
        self._mark()

    def empty(self) -> None:
        """Forget the slices."""
        self._stack = None
        self.setRowCount(0)

    def index_in_view(self) -> int | None:
        """The slice that the viewer shows; None if it shows none of them, or there is no stack."""
        return self._stack.in_view() if self._stack else None

    def _go(self) -> None:
        """Bring the chosen slice into view, upright."""
        rows = {index.row() for index in self.selectedIndexes()}
        if self._stack is not None and len(rows) == 1:
            self._stack.show(self.item(rows.pop(), 0).value)

    def _mark(self, _: object = None) -> None:
        """Mark the row of the slice in view; none if it has no head, or no slice is."""
        index = self.index_in_view()
        rows = [row for row in range(self.rowCount()) if self.item(row, 0).value == index]
        self.blockSignals(True)
        self.clearSelection()
        if rows:
            self.selectRow(rows[0])
            self.scrollToItem(self.item(rows[0], 0))
        self.blockSignals(False)
        self.viewport().update()


class _Number(QTableWidgetItem):
    """A figure that sorts by its value."""

    def __init__(self, value: float, form: str) -> None:
        super().__init__(form.format(value))
        self.value = value
        self.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)

    def __lt__(self, other: QTableWidgetItem) -> bool:
        assert isinstance(other, _Number)
        return self.value < other.value
