"""Live mode of the Board panel: the slice in view goes to a board, its MR comes as a layer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_ct2mri.app import workflows
from napari_ct2mri.app.workflows.live_figures import figures_in_words, find_twin
from napari_ct2mri.app.workflows.live_thread import (
    BoardLost,
    BoardReady,
    Measured,
    Recorded,
    SliceCame,
)
from napari_ct2mri.errors import CheckpointError, Ct2MriError, JobError
from napari_ct2mri.jobs import SlicesDone
from napari_ct2mri.widgets.forms import LayerChooser, wrapped
from napari_ct2mri.widgets.job import QtJob
from napari_ct2mri.widgets.layers import layer_to_shown, synthetic_attributes
from napari_ct2mri.widgets.live_job import QtLive
from napari_ct2mri.widgets.patient_data import PatientDataTick
from napari_ct2mri.widgets.slices import Stack, add_made, as_filling
from napari_ct2mri.widgets.world import to_data, world_units

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image, Layer

    from napari_ct2mri.app.workflows.board_grid import BoardModel
    from napari_ct2mri.app.workflows.live_thread import LiveEvent
    from napari_ct2mri.imaging.volume import Volume
    from napari_ct2mri.jobs import Event

__all__ = ["LiveBox", "slice_in_view"]

_FIGURES = ("Slice", "Latency", "Computing", "Rate", "On the line", "Agreement")
_NONE = "–"


class LiveBox(QWidget):
    """Choose a CT, go live, read how it goes, record it.

    Parameters
    ----------
    viewer : napari.Viewer
    target : callable
        Port, board and the chosen checkpoint (or None), when live mode begins; may raise
        Ct2MriError.

    Signals
    -------
    said : str
        How it goes.
    noted : str
        What must not be lost.
    failed : Ct2MriError
    changed
        It began, ended, lost its board or found it.
    moved : str
        The board is at another port now.
    """

    said = Signal(str)
    noted = Signal(str)
    failed = Signal(object)
    changed = Signal()
    moved = Signal(str)

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        target: Callable[[], tuple[str, str, Path | None]],
    ) -> None:
        super().__init__()
        self._viewer, self._target = viewer, target
        self.live, self.desktop = QtLive(), QtJob()
        self.is_lost = False
        self._model: BoardModel | None = None
        self._source: Layer | None = None
        self._ct: Volume | None = None
        self._chosen: Path | None = None
        self._layer: Image | None = None
        self._made_of: tuple[object, str] = (None, "")  # CT layer and model of the layer
        self._uncompared = _NONE  # why a slice has no figure of agreement
        self._is_recording = False
        self._lay_out()
        self.live.event_came.connect(self._take)
        self.live.ended.connect(self._end)
        self.desktop.event_came.connect(self._take_desktop)
        self.desktop.failed.connect(lambda error: self._not_compared(f"not compared: {error}"))
        viewer.dims.events.point.connect(self._follow)
        viewer.dims.events.order.connect(self._follow)
        viewer.dims.events.ndisplay.connect(self._follow)
        viewer.layers.events.removed.connect(self._layer_removed)

    # ------------------------------------------------------------ for the panel

    @property
    def is_running(self) -> bool:
        """Whether the port is held."""
        return self.live.is_running

    def start(self) -> None:
        """Go live.

        Raises
        ------
        Ct2MriError
            If no CT, port or board is chosen.
        """
        source = self.ct.required()
        port, board, self._chosen = self._target()
        self._ct = layer_to_shown(source, "CT")
        self.live.start(port, board, self._ct)
        self._source, self._model, self.is_lost = source, None, False
        for label in self.figures.values():
            label.setText(_NONE)
        self.said.emit(f"looking for the {board} at {port} ...")
        self._refresh()

    def stop(self) -> None:
        """End live mode; the layer stays."""
        self.said.emit("stopping live mode ...")
        self.live.stop()

    def abandon(self) -> None:
        """The panel goes: end everything, and hear no more of it."""
        self.live.abandon()
        self.desktop.abandon()
        self._source = None  # what the viewer still tells is passed over

    def record(self, path: Path) -> None:
        """Record what comes from now on as CSV."""
        if self.live.thread_ is not None:
            self.live.thread_.record(path)

    # ------------------------------------------------------------ what comes

    def _take(self, event: LiveEvent) -> None:
        if isinstance(event, BoardReady):
            self._ready(event)
        elif isinstance(event, BoardLost):
            self.is_lost = True
            self.said.emit(f"{event.problem}. Looking for it twice a second")
            self._refresh()
        elif isinstance(event, SliceCame):
            self._show(event)
        elif isinstance(event, Measured):
            words = figures_in_words(None, event.psnr_db)
            self.figures["Agreement"].setText(words["Agreement"])
        elif isinstance(event, Recorded):
            self._recorded(event)

    def _ready(self, event: BoardReady) -> None:
        is_first = self._model is None
        self._model, self.is_lost = event.model, False
        self.moved.emit(event.port)
        if is_first:
            for note in event.notes:
                self.noted.emit(note)
            self._ensure_layer(event.model)
            self._compare(event.model)
            self._follow()
        model = event.model
        self.said.emit(f"{model.name} ({model.contrast}) runs on {model.board}: scroll the slices")
        self._refresh()

    def _ensure_layer(self, model: BoardModel) -> None:
        """The layer of last time, if it is of the same CT and model; else a new one."""
        assert self._source is not None
        assert self._ct is not None
        made_of = (self._source, model.digest)
        if self._layer in self._viewer.layers and made_of == self._made_of:
            return
        name = str(self._chosen) if self._chosen and self._chosen.stem == model.name else model.name
        attributes = synthetic_attributes(self._source, self._ct, name, model.contrast)
        attributes["name"] = f"{self._source.name} · live {model.contrast} ({model.board})"
        data = np.zeros(self._ct.data.shape, np.float32)
        self._layer = self._viewer.add_image(data, **as_filling(attributes))
        self._made_of = made_of

    def _show(self, event: SliceCame) -> None:
        assert self._layer is not None
        self._layer.data[event.made.k] = event.made.mr
        add_made(self._layer, [event.made.k])
        self._layer.refresh(thumbnail=False, extent=False)
        words = figures_in_words(event, event.psnr_db)
        if not event.is_compared:
            words["Agreement"] = self._uncompared
        for title, text in words.items():
            self.figures[title].setText(text)

    def _compare(self, model: BoardModel) -> None:
        """Have this machine make the same slices, in a child."""
        try:
            twin = find_twin(model, self._chosen)
        except CheckpointError as error:
            self._not_compared(str(error))
            return
        self._not_compared("this machine computes, too ...")
        self.desktop.abandon()
        try:
            self.desktop.start(
                workflows.synthesize_volume, self._ct, model=twin, contrast=model.contrast
            )
        except JobError as error:
            self._not_compared(f"not compared: {error}")

    def _take_desktop(self, event: Event) -> None:
        if isinstance(event, SlicesDone) and self.live.thread_ is not None:
            self.live.thread_.compare(event.start, event.slices)

    def _not_compared(self, why: str) -> None:
        self._uncompared = why
        self.figures["Agreement"].setText(why)

    def _end(self, error: Ct2MriError | None) -> None:
        self.desktop.abandon()
        self._source, self.is_lost = None, False
        if error is None:
            self.said.emit("live mode is off")
        else:
            self.failed.emit(error)
        self._refresh()

    # ------------------------------------------------------------ the viewer

    def _follow(self, *_: object) -> None:
        """Ask for the slice in view."""
        thread = self.live.thread_
        if thread is None or self._model is None or self._source is None:
            return
        k = slice_in_view(self._viewer, self._source)
        if k is None:
            self.said.emit("the board makes axial slices: show z with the slider, in 2D")
        else:
            thread.ask(k)

    def _layer_removed(self, event: Any) -> None:
        if self._source is not None and event.value in (self._source, self._layer):
            self.live.stop()
            self.noted.emit(f"live mode ended, as layer {event.value.name!r} was removed")

    # ------------------------------------------------------------ recording

    def _recorded(self, event: Recorded) -> None:
        self._is_recording = event.is_open
        if event.problem:
            self.failed.emit(Ct2MriError(event.problem))
        elif not event.is_open:
            self.noted.emit(f"{event.path}: {event.rows} slices recorded")
        rows = f"Stop recording ({event.rows})"
        self.recorder.setText(rows if event.is_open else "Record CSV…")
        self.recorder.setToolTip(str(event.path) if event.is_open else _RECORD_TIP)

    def _click_record(self) -> None:
        if self._is_recording and self.live.thread_ is not None:
            self.live.thread_.record(None)
            return
        path, _ = QFileDialog.getSaveFileName(
            self, "Record this run", "board-run.csv", "Tables (*.csv)"
        )
        if path:
            self.record(Path(path))

    # ------------------------------------------------------------ layout

    def _click_go(self) -> None:
        if self.is_running:
            self.stop()
            return
        try:
            self.start()
        except Ct2MriError as error:
            self.failed.emit(error)

    def _click_sweep(self) -> None:
        if self.live.thread_ is not None:
            self.live.thread_.sweep()

    def _refresh(self) -> None:
        """What can be pressed now."""
        is_there = self._model is not None and self.is_running
        self.go.setText("Stop live mode" if self.is_running else "Go live")
        self.ct.setEnabled(not self.is_running)
        self.sweep.setEnabled(is_there)
        self.recorder.setEnabled(is_there)
        self.changed.emit()

    def _lay_out(self) -> None:
        self.ct = LayerChooser(self._viewer, "CT", "CT")
        self.go = QPushButton("Go live")
        self.go.setToolTip("The slice in view goes to the board; its MR appears as a layer.")
        self.sweep = QPushButton("All slices")
        self.sweep.setToolTip("Send every slice of the CT once; scrolling ends that.")
        self.recorder = QPushButton("Record CSV…")
        self.recorder.setToolTip(_RECORD_TIP)
        self.go.clicked.connect(lambda: self._click_go())
        self.sweep.clicked.connect(lambda: self._click_sweep())
        self.recorder.clicked.connect(lambda: self._click_record())
        self.figures = {title: wrapped(_NONE) for title in _FIGURES}
        self.figures["Agreement"].setToolTip(
            "PSNR in the head of the board's slice (8-bit integers) against that of the same model "
            "on this machine (floating point)."
        )
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("CT", self.ct)
        form.addRow(self.go)
        buttons = QHBoxLayout()
        buttons.addWidget(self.sweep)
        buttons.addWidget(self.recorder)
        form.addRow(buttons)
        for title, label in self.figures.items():
            form.addRow(title, label)
        self.patient_data = PatientDataTick()
        form.addRow("Saving", self.patient_data)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addLayout(form)
        self._refresh()


_RECORD_TIP = "A line for every slice: latency, computing, bytes, rate, agreement."


def slice_in_view(viewer: napari.viewer.Viewer, layer: Layer) -> int | None:
    """Which slice of a CT layer the viewer shows; ``None`` if none: other axes, or in 3D.

    A position above or below the CT gives its last or first slice.
    """
    if layer.ndim < 3:
        return 0
    if not Stack(viewer, layer).is_sliced:
        return None
    z = to_data(layer, viewer.dims.point, world_units(viewer))[0]
    return int(np.clip(np.rint(z), 0, layer.data.shape[0] - 1))
