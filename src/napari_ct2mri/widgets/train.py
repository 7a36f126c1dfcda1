"""Train: pairs of layers, or a pair list, into a model; the curve and a slice to watch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QComboBox, QFileDialog, QGridLayout, QLineEdit, QPushButton

from napari_ct2mri.config import PRESETS, Preset
from napari_ct2mri.errors import ConfigError, PairError
from napari_ct2mri.jobs import EpochDone, Event, Preview
from napari_ct2mri.pix2pix.pairs import Split, read_pairs
from napari_ct2mri.widgets import tasks
from napari_ct2mri.widgets.curves import Curves, PreviewView
from napari_ct2mri.widgets.forms import LayerChooser, OutputField, narrow, setting_spin
from napari_ct2mri.widgets.layers import check_one_grid, layer_to_shown
from napari_ct2mri.widgets.models import ModelChooser
from napari_ct2mri.widgets.pairs_table import LayerPair, PairTable
from napari_ct2mri.widgets.panel import Panel

if TYPE_CHECKING:
    import napari.viewer

    from napari_ct2mri.pix2pix.checkpoint import TrainResult

__all__ = ["TrainPanel"]

_LAID_OUT_MS = 100
_CSV = "Pair lists (*.csv)"
_CONTRASTS = ("T2", "T1", "PD", "FLAIR")


class TrainPanel(Panel):
    """Put pairs together, set a few things, watch a child process learn."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer, "Train")
        self._build_pairs()
        self._build_settings()
        self.curves = Curves(self.viewer)
        self.preview = PreviewView()
        self.body.addWidget(self.preview)
        self.body.addWidget(self.curves)
        self.body.addStretch(1)
        self._offer_preset()

    def start(self) -> None:
        """Train on the rows of the table."""
        output = self.output.path()
        if output.suffix != ".safetensors":
            raise ConfigError(f"{output}: a model's name ends in .safetensors; add that")
        model = self.init.choice()
        leaves: dict[str, Any] = {"epochs": self.epochs.value()}
        if model is None:  # the model to start from has its own width
            leaves["width"] = self.width_.value()
        self.run(
            self._finish,
            tasks.train,
            self.table.entries(),
            output.absolute(),
            self.preset.currentData(),
            leaves,
            contrast=self.target.currentData(),
            init=model.path if model else None,
        )
        self.curves.empty()
        self.preview.hide()

    def on_event(self, event: Event) -> None:
        """Draw what an epoch came to."""
        if isinstance(event, EpochDone):
            is_first = self.curves.isHidden()
            self.curves.add(event)
            if is_first:  # once laid out; later the person scrolls as they like
                QTimer.singleShot(_LAID_OUT_MS, self._look_at_curves)
        elif isinstance(event, Preview):
            self.preview.show_event(event)

    def add_pair(self) -> None:
        """Put the chosen layers into the table."""
        with self.telling():
            ct, mr = self.ct.required(), self.mr.required()
            if ct is mr:
                raise PairError(f"CT and MR are one layer, {ct.name!r}; choose two")
            patient, contrast = self.patient.text().strip(), self.contrast.currentText().strip()
            if not patient or not contrast:
                raise PairError("a pair needs a patient's name and a contrast; fill in both")
            check_one_grid(
                {
                    f"CT {ct.name!r}": layer_to_shown(ct, "CT"),
                    f"MR {mr.name!r}": layer_to_shown(mr, "MR"),
                }
            )
            self.table.add(LayerPair(ct, mr, patient, contrast, self.split.currentData()))
            self.say(f"{len(self.table.pairs)} pairs")

    def open_pairs(self, path: Path) -> None:
        """Show the rows of a pair list."""
        with self.telling():
            self.table.fill(read_pairs(path).rows)
            self.say(f"{len(self.table.pairs)} pairs from {path.name}")

    def save_pairs(self, path: Path) -> None:
        """Write the table, and beside it the layers that are in no file."""
        with self.telling():
            self.run(self._saved, tasks.save_pairs, path.absolute(), self.table.entries())

    def _saved(self, path: Path) -> None:
        self.open_pairs(path)
        self.say(f"saved as {path}")

    def _finish(self, result: TrainResult) -> None:
        stopped = f" ({result.stopped})" if result.stopped else ""
        self.say(
            f"{result.path}: epoch {result.epoch} of {result.epochs} is kept{stopped}. "
            "In Synthesize, choose it by its file"
        )

    def _offer_preset(self) -> None:
        config = PRESETS[self.preset.currentData()]
        self.epochs.setValue(config.optimizer.epochs)
        self.width_.setValue(config.model.network.width)

    def _build_pairs(self) -> None:
        form = self.section("Pairs")
        self.ct = LayerChooser(self.viewer, "CT", "CT")
        self.mr = LayerChooser(self.viewer, "MR", "MR")
        self.patient = QLineEdit("patient-1")
        self.contrast = narrow(QComboBox())
        self.contrast.setEditable(True)
        self.contrast.addItems(_CONTRASTS)
        self.split = QComboBox()
        for split in get_args(Split):
            self.split.addItem(split, split)
        self.split.setToolTip(
            "train is learnt from, val chooses the best epoch, test is left for Compare; "
            "a patient stands in one of them."
        )
        for label, field in (
            ("CT", self.ct),
            ("MR", self.mr),
            ("Patient", self.patient),
            ("Contrast", self.contrast),
            ("Split", self.split),
        ):
            form.addRow(label, field)
        self.table = PairTable()
        self.add = QPushButton("Add pair")
        self.add.clicked.connect(self.add_pair)
        remove = QPushButton("Remove")
        remove.clicked.connect(self.table.remove_selected)
        opener = QPushButton("Open pairs.csv…")
        opener.clicked.connect(self._browse_open)
        saver = QPushButton("Save pairs.csv…")
        saver.clicked.connect(self._browse_save)
        grid = QGridLayout()
        for i, button in enumerate((self.add, remove, opener, saver)):
            grid.addWidget(button, i // 2, i % 2)
        self.body.addWidget(self.table)
        self.body.addLayout(grid)

    def _build_settings(self) -> None:
        form = self.section("Training")
        self.init = ModelChooser(none="scratch")
        self.init.changed.connect(self._width_or_init)
        self.init.failed.connect(self._failed)
        self.preset = QComboBox()
        for name in reversed(get_args(Preset)):
            self.preset.addItem(name, name)
        self.preset.currentIndexChanged.connect(self._offer_preset)
        epochs, self.epochs = setting_spin("epochs")
        width, self.width_ = setting_spin("width")
        self.target = narrow(QComboBox())
        self.target.setToolTip("Learn all contrasts of the table, or this one only.")
        self.table.changed.connect(self._offer_contrasts)
        self._offer_contrasts()
        default = Path.home() / "ct2mri" / "my-model.safetensors"
        self.output = OutputField("Save the model as", "Models (*.safetensors)", default)
        for label, field in (
            ("Start from", self.init),
            ("Preset", self.preset),
            (epochs, self.epochs),
            (width, self.width_),
            ("Contrast", self.target),
            ("Save as", self.output),
        ):
            form.addRow(label, field)

    def _offer_contrasts(self) -> None:
        before = self.target.currentText()
        self.target.clear()
        self.target.addItem("all", None)
        for contrast in dict.fromkeys(pair.contrast for pair in self.table.pairs):
            self.target.addItem(contrast, contrast)
        self.target.setCurrentIndex(max(0, self.target.findText(before)))

    def _look_at_curves(self) -> None:
        bar = self.scroll.verticalScrollBar()
        bar.setValue(bar.maximum())

    def _width_or_init(self) -> None:
        self.width_.setEnabled(self.init.choice() is None)

    def _browse_open(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open a pair list", "", _CSV)
        if path:
            self.open_pairs(Path(path))

    def _browse_save(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Save the pair list", "pairs.csv", _CSV)
        if path:
            self.save_pairs(Path(path))
