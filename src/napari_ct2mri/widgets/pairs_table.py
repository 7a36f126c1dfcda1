"""The table of pairs: layers and files, as ``pairs.csv`` has them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from napari_ct2mri.errors import PairError
from napari_ct2mri.imaging.volume import Modality, Volume
from napari_ct2mri.widgets.layers import is_as_read, layer_origin, layer_to_volume
from napari_ct2mri.widgets.tasks import PairEntry

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_ct2mri.pix2pix.pairs import PairRow, Split

__all__ = ["LayerPair", "PairTable"]

_COLUMNS = ("CT", "MR", "patient", "contrast", "split")
_HEIGHT_PX = 120


@dataclass(frozen=True, slots=True, eq=False)
class LayerPair:
    """A row whose images are layers."""

    ct: Layer
    mr: Layer
    patient: str
    contrast: str
    split: Split


class PairTable(QTableWidget):
    """Rows of layers or files; holds what it shows."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__(0, len(_COLUMNS))
        self.pairs: list[LayerPair | PairRow] = []
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

    def add(self, pair: LayerPair | PairRow) -> None:
        """Add a row.

        Raises
        ------
        PairError
            If its patient stands in another split already.
        """
        for other in self.pairs:
            if other.patient == pair.patient and other.split != pair.split:
                raise PairError(
                    f"patient {pair.patient!r} stands in {other.split} and cannot stand in "
                    f"{pair.split} too; keep all pairs of a patient in one split"
                )
        self.pairs.append(pair)
        row = self.rowCount()
        self.insertRow(row)
        names = (_name(pair.ct), _name(pair.mr), pair.patient, pair.contrast, pair.split)
        for column, text in enumerate(names):
            item = QTableWidgetItem(text)
            item.setToolTip(text)
            item.setTextAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
            self.setItem(row, column, item)
        self.changed.emit()

    def fill(self, rows: tuple[PairRow, ...]) -> None:
        """Show the rows of a file instead of what was there."""
        self.pairs.clear()
        self.setRowCount(0)
        for row in rows:
            self.add(row)

    def remove_selected(self) -> None:
        """Take the selected rows out."""
        for row in sorted({index.row() for index in self.selectedIndexes()}, reverse=True):
            del self.pairs[row]
            self.removeRow(row)
        self.changed.emit()

    def entries(self) -> list[PairEntry]:
        """The rows, ready for a child process; layers that stand in no file become volumes.

        Raises
        ------
        PairError, VolumeError
            If there is no row, or a layer is no grey image.
        """
        if not self.pairs:
            raise PairError("the table of pairs is empty; choose a CT and an MR and add them")
        return [_entry(pair) for pair in self.pairs]


def _name(image: Layer | Path) -> str:
    return image.name


def _entry(pair: LayerPair | PairRow) -> PairEntry:
    if not isinstance(pair, LayerPair):
        return PairEntry(
            pair.ct, pair.mr, pair.patient, pair.contrast, pair.split, pair.slice_index, pair.series
        )
    ct, series = _image(pair.ct, "CT")
    mr, mr_series = _image(pair.mr, "MR")
    if mr_series:  # a pair list names the series of the CT alone
        mr = layer_to_volume(pair.mr, "MR")
    return PairEntry(ct, mr, pair.patient, pair.contrast, pair.split, series=series)


def _image(layer: Layer, modality: Modality) -> tuple[Path | Volume, str]:
    """The file and series that a layer came from, if it is still as it was read."""
    origin = layer_origin(layer)
    if origin is not None and is_as_read(layer):
        path = Path(origin.source.path)
        if origin.source.path and path.exists() and origin.modality == modality:
            return path.absolute(), origin.source.series_uid
    return layer_to_volume(layer, modality), ""
