"""Compare: a synthetic MR layer against the real one: maps, figures, slices, profiles, report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QTabWidget,
)

from napari_ct2mri.errors import VolumeError
from napari_ct2mri.imaging.volume import Volume
from napari_ct2mri.jobs import Event
from napari_ct2mri.widgets import comparison
from napari_ct2mri.widgets.command_line import file_name, model_name
from napari_ct2mri.widgets.forms import LayerChooser, wrapped
from napari_ct2mri.widgets.layer_pairs import file_of
from napari_ct2mri.widgets.layers import (
    check_one_grid,
    layer_origin,
    layer_to_shown,
)
from napari_ct2mri.widgets.maps import MapLayers
from napari_ct2mri.widgets.panel import Panel
from napari_ct2mri.widgets.profile import Along, ProfileView
from napari_ct2mri.widgets.report import ReportView
from napari_ct2mri.widgets.slices import InView, Stack
from napari_ct2mri.widgets.slices_table import SliceTable
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

_UNIT = " (dB)"


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
    stack: Stack

    @property
    def layers(self) -> tuple[Layer, ...]:
        return self.ct_layer, self.real_layer, self.fake_layer

    @property
    def patient(self) -> str:
        """The name of the CT's layer, fit to name a folder."""
        return file_name(self.ct_layer.name, "layers")

    def entries(self) -> tuple[PairEntry, ...]:
        """CT and real MR as rows of a pair list, by their files where they still are in one."""
        contrast = self.contrast or "MR"
        if self.ct.is_picture and len(self.ct.data) > 1:
            return comparison.picture_entries(self.ct, self.real, self.patient, contrast)
        ct, real = file_of(self.ct_layer, "CT"), file_of(self.real_layer, "MR")
        in_file, series = ct or (self.ct, "")
        is_named = real is not None and not real[1]  # a pair list names the CT's series alone
        other = real[0] if real and is_named else self.real
        return (PairEntry(in_file, other, self.patient, contrast, "test", series=series),)


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
        self.verdict = wrapped("Figures of the head and of the full frame, slice by slice.")
        self._build_tabs()
        self.setMinimumWidth(_WIDTH_PX)
        self.viewer.layers.events.removed.connect(self._stop_without)
        self.job.cancelled.connect(self._say_why)
        self.job.finished.connect(self._offer_report)
        self.remember(maps=self.with_maps)

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
        of_ct = layer_to_shown(ct, "CT")
        shown = of_ct, _shown_on(of_ct, real), _shown_on(of_ct, fake)
        _check_whole(Stack(self.viewer, ct), Stack(self.viewer, fake))
        names = f"CT {ct.name!r}", f"real MR {real.name!r}", f"synthetic MR {fake.name!r}"
        check_one_grid(dict(zip(names, shown, strict=True)))
        origin = layer_origin(fake)
        model, contrast = (origin.model, origin.contrast) if origin else ("", "")
        model = model and model_name(model)
        return _Chosen(ct, real, fake, *shown, model, contrast, Stack(self.viewer, ct))

    def _stop_without(self, event: Any) -> None:
        """End a comparison one of whose layers the person took out."""
        layer = event.value
        if self.job.is_running and self._chosen and layer in self._chosen.layers:
            self._why_stopped = f"stopped: layer {layer.name!r} was removed"
            self.cancel()

    def _say_why(self) -> None:
        if self._why_stopped:
            self.say(self._why_stopped)
        self._why_stopped = ""

    # ------------------------------------------------------------ after

    def _forget(self) -> None:
        """Show nothing of a former comparison beside the next one's layers."""
        self._maps = self._compared = self._chosen = None
        self.slices.empty()
        self.in_view.follow(None)
        self.profile.empty()
        self.report.empty()
        self.table.hide()
        self.tabs.hide()
        self.verdict.setText("")

    def _show(self, compared: Compared) -> None:
        assert self._chosen is not None
        gone = [layer for layer in self._chosen.layers if layer not in self.viewer.layers]
        if gone:  # it ended before the word that a layer is gone came to it
            self.say(f"stopped: layer {gone[0].name!r} was removed")
            return
        self._compared = compared
        self.verdict.setText(
            f"<b>{compared.label}</b>: {compared.meaning}. {len(compared.slices)} slices. "
            f"{RESEARCH_ONLY}"
        )
        self._fill(compared)
        if self._maps is not None:
            self._maps.show(self.viewer)
            self._maps = None
        self.slices.fill(compared.slices, compared.each, self._chosen.stack)
        self.in_view.follow(self._chosen.stack)
        self.profile.look_at(_along(self._chosen, compared))
        self.tabs.show()
        self._make_room()
        self.say("")

    def _fill(self, compared: Compared) -> None:
        """One row a figure, one column a predictor: a dock is narrow."""
        self.table.setRowCount(len(compared.figures))
        self.table.setColumnCount(len(compared.predictors))
        self.table.setHorizontalHeaderLabels(compared.predictors)
        titles = [title for title, _ in compared.figures]
        self.table.setVerticalHeaderLabels([title.removesuffix(_UNIT) for title in titles])
        for column, name in enumerate(compared.predictors):
            self.table.horizontalHeaderItem(column).setToolTip(name)
        for line, title in enumerate(titles):
            self.table.verticalHeaderItem(line).setToolTip(f"{title}: mean ± spread over slices")
        for line, (_, values) in enumerate(compared.figures):
            for column, text in enumerate(values):
                item = QTableWidgetItem(text.replace(" ", _THIN_SPACE))
                item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                self.table.setItem(line, column, item)
        self.table.show()

    def _make_room(self) -> None:
        """Let no figure be cut off, whatever the font; a long model's name may be.

        By what parts need, not by how wide they are: they may not have found their places yet.
        """
        columns = self.table.columnCount()
        widest = max(self.table.sizeHintForColumn(i) for i in range(columns))
        titles = self.table.verticalHeader().sizeHint().width()
        self.table.setMinimumWidth(titles + columns * widest + 2 * self.table.frameWidth())
        self.body.invalidate()
        bar = self.scroll.verticalScrollBar().sizeHint().width()
        needed = self.scroll.widget().minimumSizeHint().width() + bar
        self.setMinimumWidth(max(_WIDTH_PX, needed))

    # ------------------------------------------------------------ the report

    def save_report(self) -> None:
        """Write the report, and what the command line needs to make it again."""
        with self.telling():
            chosen, compared = self._chosen, self._compared
            assert chosen is not None
            assert compared is not None
            self.run(
                self._saved,
                comparison.save_report,
                compared.report,
                self.report.folder(),
                chosen.entries(),
                chosen.fake,
                chosen.model,
            )
            self.report.save.setEnabled(False)

    def _saved(self, files: tuple[Path, ...]) -> None:
        self.report.show_saved(files[0])
        self.say(f"report saved: {files[0]}")

    def _offer_report(self) -> None:
        """A comparison that is there can be saved, again too."""
        self.report.set_ready(is_ready=self._compared is not None)

    def _command(self, folder: Path) -> str:
        return comparison.as_command(folder) if self._chosen else ""

    # ------------------------------------------------------------ layout

    def _build_tabs(self) -> None:
        self.table = QTableWidget()
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        header.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.table.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.table.hide()
        self.slices = SliceTable(self.viewer)
        self.in_view = InView(self.viewer)
        self.profile = ProfileView(self.viewer, self.slices.index_in_view)
        for what in ("order", "ndisplay"):
            self.viewer.dims.events[what].connect(self.profile.renew)
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
        self.tabs.currentChanged.connect(lambda _: self.bring(self.tabs))
        self.profile.button.clicked.connect(lambda: self.bring(self.tabs))
        self.section("Result")
        self.body.addWidget(self.verdict)
        self.body.addWidget(self.tabs, 1)
        self.body.addWidget(self.in_view)
        self.body.addStretch(0)


def _shown_on(ct: Volume, layer: Layer) -> Volume:
    """An MR as the viewer shows it; another plugin's layer, which knows no tilt, has the CT's."""
    mr = layer_to_shown(layer, "MR")
    if layer_origin(layer) is not None:
        return mr
    return replace(mr, geometry=replace(mr.geometry, direction=ct.geometry.direction))


def _check_whole(ct: Stack, fake: Stack) -> None:
    """Refuse a synthesized range: figures are of a patient, whose whole MR sets the scale.

    So is a layer that is still filled: what is not made yet would be measured as if it were black.
    """
    if fake.made < fake.count:
        raise VolumeError(
            f"{fake.layer.name!r} is not whole: {fake.made} of its {fake.count} slices are made so "
            "far, and figures are of a whole volume. Press All slices in the Board panel first, or "
            "let Synthesize finish"
        )
    if layer_origin(fake.layer) is not None and fake.count < ct.count:
        raise VolumeError(
            f"{fake.layer.name!r} holds {fake.count} of the {ct.count} slices of "
            f"{ct.layer.name!r}; figures are of a whole volume: choose one that was synthesized "
            "whole"
        )


def _along(chosen: _Chosen, compared: Compared) -> Along:
    spacing = chosen.ct.geometry.spacing
    return Along(
        chosen.real.data,
        chosen.fake.data,
        compared.range,
        chosen.ct.is_picture,
        (spacing[1], spacing[2]),
        chosen.ct_layer,
    )
