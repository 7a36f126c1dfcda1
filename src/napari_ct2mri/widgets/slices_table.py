"""The table of slices that is linked with the viewer: click a row, see the slice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

if TYPE_CHECKING:
    import napari.viewer
    from napari.components import Dims
    from napari.layers import Layer

    from napari_ct2mri.evaluation import SliceFigures

__all__ = ["Place", "SliceTable", "place_of"]

_COLUMNS = {
    "Slice": ("", "{:d}", "As the slider counts, from the bottom of the stack."),
    "SSIM": ("head_ssim", "{:.3f}", "Structural similarity in the head; 1 is equal."),
    "PSNR": ("head_psnr_fitted", "{:.1f}", "In the head, dB, after the patient's gain and offset."),
    "Edges": ("head_gradient_correlation", "{:.3f}", "Correlation of gradients in the head."),
    "Sharp": ("head_sharpness", "{:.2f}", "Below 1 is blurred, above 1 noisy."),
    "MAE": ("head_mae", "{:.1f}", "Mean absolute error in the head, in output units."),
}
_HEIGHT_PX = 230
_AXES = 3


@dataclass(frozen=True, slots=True)
class Place:
    """Where a stack stands in the world: its slices count from ``start`` in steps of ``step``.

    An infinite step is that of one slice, wherever one looks.
    """

    start: float
    step: float
    count: int

    def index(self, point: float) -> int | None:
        """The slice at a point of the world; None beyond the stack."""
        index = round((point - self.start) / self.step)
        return index if 0 <= index < self.count else None

    def in_view(self, dims: Dims) -> int | None:
        """The slice that a viewer shows; None beyond the stack."""
        axis = dims.ndim - _AXES
        return 0 if axis < 0 else self.index(dims.point[axis])  # of two axes: there is one slice

    def point(self, index: int) -> float:
        """Where a slice lies; the first one at ``start``."""
        return self.start if index == 0 else self.start + index * self.step


def place_of(layer: Layer) -> Place:
    """Where the slices of a layer stand; an image of two axes is one slice wherever one looks."""
    if layer.ndim < _AXES:
        return Place(0.0, math.inf, 1)
    return Place(float(layer.translate[0]), float(layer.scale[0]), len(layer.data))


class SliceTable(QTableWidget):
    """A row a slice; a header that is clicked sorts, a row that is chosen goes there."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(0, len(_COLUMNS))
        self._viewer = viewer
        self._place: Place | None = None
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
        viewer.dims.events.current_step.connect(self._mark)
        viewer.dims.events.ndim.connect(self._mark)

    def fill(self, slices: Sequence[int], each: Sequence[SliceFigures], place: Place) -> None:
        """Show the figures of each slice of a stack."""
        self._place = None
        self.setSortingEnabled(False)  # or rows would move while they are filled
        self.setRowCount(len(slices))
        for row, (index, scored) in enumerate(zip(slices, each, strict=True)):
            figures = scored.figures.as_dict()
            for column, (name, form, _) in enumerate(_COLUMNS.values()):
                self.setItem(row, column, _Number(figures[name] if name else index, form))
        self.setSortingEnabled(True)
        self.sortItems(0, Qt.SortOrder.AscendingOrder)
        self._place = place
        self._mark()

    def empty(self) -> None:
        """Forget the slices."""
        self._place = None
        self.setRowCount(0)

    def index_in_view(self) -> int | None:
        """The slice that the viewer shows; None beyond the stack, or if there is none."""
        return self._place.in_view(self._viewer.dims) if self._place else None

    def _go(self) -> None:
        """Bring the chosen slice into view, upright."""
        rows = {index.row() for index in self.selectedIndexes()}
        if self._place is None or len(rows) != 1:
            return
        dims = self._viewer.dims
        axis = dims.ndim - _AXES
        if axis < 0:  # one slice, in a viewer of two axes
            return
        if dims.ndisplay != 2 or axis in dims.displayed:
            dims.ndisplay = 2
            dims.order = tuple(range(dims.ndim))
        dims.set_point(axis, self._place.point(self.item(rows.pop(), 0).value))

    def _mark(self, _: object = None) -> None:
        """Mark the row of the slice in view; none if it has no head."""
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
