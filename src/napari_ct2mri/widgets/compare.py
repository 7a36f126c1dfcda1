"""Compare: a synthetic MR layer against the real one, in figures with their label."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QLabel, QTableWidget, QTableWidgetItem

from napari_ct2mri.errors import VolumeError
from napari_ct2mri.widgets import tasks
from napari_ct2mri.widgets.forms import LayerChooser
from napari_ct2mri.widgets.layers import check_one_grid, layer_origin, layer_to_shown
from napari_ct2mri.widgets.panel import Panel
from napari_ct2mri.widgets.words import RESEARCH_ONLY

if TYPE_CHECKING:
    import napari.viewer

    from napari_ct2mri.widgets.tasks import Compared

__all__ = ["ComparePanel"]

_THIN_SPACE = "\u2009"
_WIDTH_PX = 390
"""Room for two columns of figures with their spread."""


class ComparePanel(Panel):
    """Choose CT, real and synthetic MR; read the table."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer, "Compare")
        form = self.section("Layers")
        self.ct = LayerChooser(self.viewer, "CT", "CT")
        self.real = LayerChooser(self.viewer, "real MR", "MR")
        self.fake = LayerChooser(self.viewer, "synthetic MR", "MR", synthetic=True)
        self.ct.setToolTip("The head is where the CT or the real MR shows one.")
        form.addRow("CT", self.ct)
        form.addRow("Real MR", self.real)
        form.addRow("Synthetic", self.fake)
        self.verdict = QLabel()
        self.verdict.setWordWrap(True)
        self.table = QTableWidget()
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setStretchLastSection(True)
        self.table.hide()
        self.section("Figures")
        self.body.addWidget(self.verdict)
        self.body.addWidget(self.table, 1)
        self.body.addStretch(0)
        self.setMinimumWidth(_WIDTH_PX)
        self.verdict.setText("Slice means ± spread; in the head, and over the full frame.")

    def start(self) -> None:
        """Measure the chosen layers."""
        ct, real, fake = self.ct.required(), self.real.required(), self.fake.required()
        if len({id(layer) for layer in (ct, real, fake)}) < 3:
            raise VolumeError("CT, real and synthetic MR are not three layers; choose one for each")
        volumes = {
            f"CT {ct.name!r}": layer_to_shown(ct, "CT"),
            f"real MR {real.name!r}": layer_to_shown(real, "MR"),
            f"synthetic MR {fake.name!r}": layer_to_shown(fake, "MR"),
        }
        check_one_grid(volumes)
        origin = layer_origin(fake)
        self.run(
            self._show,
            tasks.compare,
            *volumes.values(),
            contrast=origin.contrast if origin else "",
            model=origin.model if origin else "",
        )

    def _show(self, compared: Compared) -> None:
        self.verdict.setText(
            f"<b>{compared.label}</b>: {compared.meaning}. {compared.slices} slices. "
            f"{RESEARCH_ONLY}"
        )
        self._fill(compared)
        self.say("")

    def _fill(self, compared: Compared) -> None:
        """One row a figure, one column a predictor: a dock is narrow."""
        self.table.setRowCount(len(compared.figures))
        self.table.setColumnCount(len(compared.predictors))
        self.table.setHorizontalHeaderLabels(compared.predictors)
        self.table.setVerticalHeaderLabels([title for title, _ in compared.figures])
        for line, (_, values) in enumerate(compared.figures):
            for column, text in enumerate(values):
                item = QTableWidgetItem(text.replace(" ", _THIN_SPACE))
                item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                self.table.setItem(line, column, item)
        self.table.show()
