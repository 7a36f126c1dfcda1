"""Compare: a synthetic MR layer against the real one: maps, figures, slices, profiles, report."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QHeaderView,
    QLabel,
    QTableWidget,
    QTableWidgetItem,
    QTabWidget,
)

from napari_ct2mri.errors import VolumeError
from napari_ct2mri.imaging.volume import Modality, Volume
from napari_ct2mri.jobs import Event
from napari_ct2mri.widgets import comparison
from napari_ct2mri.widgets.forms import LayerChooser
from napari_ct2mri.widgets.layers import (
    check_one_grid,
    is_as_read,
    layer_origin,
    layer_to_shown,
    layer_to_volume,
)
from napari_ct2mri.widgets.maps import MapLayers
from napari_ct2mri.widgets.panel import Panel
from napari_ct2mri.widgets.profile import Along, ProfileView
from napari_ct2mri.widgets.report import ReportView
from napari_ct2mri.widgets.slices_table import Place, SliceTable
from napari_ct2mri.widgets.tasks import PairEntry
from napari_ct2mri.widgets.words import RESEARCH_ONLY

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer

    from napari_ct2mri.widgets.comparison import Compared

__all__ = ["ComparePanel"]

_THIN_SPACE = "\u2009"
_WIDTH_PX = 390
"""Room for two columns of figures with their spread."""

_NOT_IN_NAMES = re.compile(r'[\0-\x1f/\\:*?"<>|]')  # of folders, on any system


@dataclass(frozen=True, slots=True, eq=False)
class _Chosen:
    """What is compared: layers as they were when the button was pressed."""

    ct_layer: Layer
    real_layer: Layer
    fake_layer: Layer
    ct: Volume
    real: Volume
    fake: Volume
    model: str
    contrast: str
    place: Place

    @property
    def layers(self) -> tuple[Layer, ...]:
        return self.ct_layer, self.real_layer, self.fake_layer

    @property
    def patient(self) -> str:
        """The name of the CT's layer, fit to name a folder."""
        return _NOT_IN_NAMES.sub("_", self.ct_layer.name)[:80].strip(". ") or "layers"


class ComparePanel(Panel):
    """Choose CT, real and synthetic MR; look where they differ, and read by how much."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer, "Compare")
        self._chosen: _Chosen | None = None
        self._maps: MapLayers | None = None
        self._compared: Compared | None = None
        self._why_stopped = ""
        form = self.section("Layers")
        self.ct = LayerChooser(self.viewer, "CT", "CT")
        self.real = LayerChooser(self.viewer, "real MR", "MR")
        self.fake = LayerChooser(self.viewer, "synthetic MR", "MR", synthetic=True)
        self.ct.setToolTip("The head is where the CT or the real MR shows one.")
        self.with_maps = QCheckBox("difference and SSIM maps as layers")
        self.with_maps.setChecked(True)
        self.with_maps.setToolTip(
            "Inside the head. Difference is synthetic - real, in output units, red where the "
            "synthetic is too bright; its limits are half the scale for every head."
        )
        form.addRow("CT", self.ct)
        form.addRow("Real MR", self.real)
        form.addRow("Synthetic", self.fake)
        form.addRow("Maps", self.with_maps)
        self.verdict = QLabel("Figures of the head and of the full frame, slice by slice.")
        self.verdict.setWordWrap(True)
        self._build_tabs()
        self.setMinimumWidth(_WIDTH_PX)
        self.viewer.layers.events.removed.connect(self._stop_without)
        self.job.cancelled.connect(self._say_why)
        self.job.finished.connect(self._offer_report)

    def start(self) -> None:
        """Measure the chosen layers."""
        chosen = self._choose()
        self.run(
            self._show,
            comparison.compare,
            chosen.ct,
            chosen.real,
            chosen.fake,
            patient=chosen.patient,
            contrast=chosen.contrast,
            model=chosen.model,
        )
        self._forget()
        self._chosen = chosen
        if self.with_maps.isChecked():
            self._maps = MapLayers(chosen.ct_layer, chosen.ct, chosen.fake_layer.name)

    def on_event(self, event: Event) -> None:
        """Gather maps."""
        if isinstance(event, comparison.MapsDone) and self._maps is not None:
            self._maps.add(event)

    # ------------------------------------------------------------ before

    def _choose(self) -> _Chosen:
        """The chosen layers, if they can be compared."""
        ct, real, fake = self.ct.required(), self.real.required(), self.fake.required()
        if len({id(layer) for layer in (ct, real, fake)}) < 3:
            raise VolumeError("CT, real and synthetic MR are not three layers; choose one for each")
        shown = layer_to_shown(ct, "CT"), layer_to_shown(real, "MR"), layer_to_shown(fake, "MR")
        names = f"CT {ct.name!r}", f"real MR {real.name!r}", f"synthetic MR {fake.name!r}"
        check_one_grid(dict(zip(names, shown, strict=True)))
        origin = layer_origin(fake)
        model, contrast = (origin.model, origin.contrast) if origin else ("", "")
        return _Chosen(ct, real, fake, *shown, model, contrast, _place(ct))

    def _stop_without(self, event: Any) -> None:
        """End a comparison one of whose layers the person took out."""
        layer = event.value
        if self.job.is_running and self._chosen and layer in self._chosen.layers:
            self._why_stopped = f"stopped: layer {layer.name!r} was removed"
            self.job.cancel()

    def _say_why(self) -> None:
        if self._why_stopped:
            self.say(self._why_stopped)
        self._why_stopped = ""

    # ------------------------------------------------------------ after

    def _forget(self) -> None:
        """Show nothing of a former comparison beside the next one's layers."""
        self._maps = self._compared = self._chosen = None
        self.slices.empty()
        self.profile.empty()
        self.report.empty()
        self.table.hide()
        self.tabs.hide()
        self.verdict.setText("")

    def _show(self, compared: Compared) -> None:
        assert self._chosen is not None
        self._compared = compared
        self.verdict.setText(
            f"<b>{compared.label}</b>: {compared.meaning}. {len(compared.slices)} slices. "
            f"{RESEARCH_ONLY}"
        )
        self._fill(compared)
        if self._maps is not None:
            self._maps.show(self.viewer)
            self._maps = None
        self.slices.fill(compared.slices, compared.each, self._chosen.place)
        self.profile.look_at(_along(self._chosen, compared))
        self.tabs.show()
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

    # ------------------------------------------------------------ the report

    def save_report(self) -> None:
        """Write the report, and what the command line needs to make it again."""
        with self.telling():
            chosen, compared = self._chosen, self._compared
            assert chosen is not None
            assert compared is not None
            series = chosen.ct.source.series_uid
            ct = _on_disk(chosen.ct_layer, "CT")
            entry = PairEntry(
                ct,
                _on_disk(chosen.real_layer, "MR", may_be_series=False),
                chosen.patient,
                chosen.contrast or "MR",
                "test",
                series=series if isinstance(ct, Path) else "",
            )
            fake = None if chosen.model else layer_to_volume(chosen.fake_layer, "MR")
            folder = self.report.folder()
            self.run(self._saved, comparison.save_report, compared.report, folder, entry, fake)
            self.report.save.setEnabled(False)

    def _saved(self, files: tuple[Path, ...]) -> None:
        self.report.show_saved(files[0])
        self.say(f"report saved: {files[0]}")

    def _offer_report(self) -> None:
        """A comparison that is there can be saved, again too."""
        self.report.set_ready(is_ready=self._compared is not None)

    def _command(self, folder: Path) -> str:
        return comparison.as_command(folder, self._chosen.model) if self._chosen else ""

    # ------------------------------------------------------------ layout

    def _build_tabs(self) -> None:
        self.table = QTableWidget()
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setStretchLastSection(True)
        self.table.hide()
        self.slices = SliceTable(self.viewer)
        self.profile = ProfileView(self.viewer, self.slices.index_in_view)
        self.report = ReportView(self._command)
        self.report.wanted.connect(self.save_report)
        self.tabs = QTabWidget()
        for title, part in (
            ("Figures", self.table),
            ("Slices", self.slices),
            ("Profile", self.profile),
            ("Report", self.report),
        ):
            self.tabs.addTab(part, title)
        self.tabs.hide()
        self.section("Result")
        self.body.addWidget(self.verdict)
        self.body.addWidget(self.tabs, 1)
        self.body.addStretch(0)


def _place(layer: Layer) -> Place:
    """Where the slices of a layer stand; an image of two axes is one slice wherever one looks."""
    if layer.ndim < 3:
        return Place(0.0, math.inf, 1)
    return Place(float(layer.translate[0]), float(layer.scale[0]), len(layer.data))


def _along(chosen: _Chosen, compared: Compared) -> Along:
    spacing = chosen.ct.geometry.spacing
    scale, translate = chosen.ct_layer.scale[-2:], chosen.ct_layer.translate[-2:]
    return Along(
        chosen.real.data,
        chosen.fake.data,
        compared.range,
        chosen.ct.is_picture,
        (spacing[1], spacing[2]),
        (float(scale[0]), float(scale[1])),
        (float(translate[0]), float(translate[1])),
    )


def _on_disk(layer: Layer, modality: Modality, *, may_be_series: bool = True) -> Path | Volume:
    """The file that a layer came from, if it is still as it was read; else its volume."""
    origin = layer_origin(layer)
    if origin is not None and origin.modality == modality and origin.source.path:
        path = Path(origin.source.path)
        is_one = may_be_series or not origin.source.series_uid
        if is_one and path.exists() and is_as_read(layer):
            return path.absolute()
    return layer_to_volume(layer, modality)
