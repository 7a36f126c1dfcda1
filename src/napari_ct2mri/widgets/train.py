"""Train: the pairs of Register & pair into a model, with its curves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QComboBox, QLabel, QPushButton

from napari_ct2mri.config import PRESETS, Preset
from napari_ct2mri.errors import ConfigError
from napari_ct2mri.jobs import EpochDone, Event
from napari_ct2mri.widgets import tasks
from napari_ct2mri.widgets.curves import Curves
from napari_ct2mri.widgets.forms import OutputField, narrow, setting_spin
from napari_ct2mri.widgets.layer_pairs import pairs_of
from napari_ct2mri.widgets.models import ModelChooser
from napari_ct2mri.widgets.panel import Panel

if TYPE_CHECKING:
    import napari.viewer

    from napari_ct2mri.pix2pix.checkpoint import TrainResult

__all__ = ["TrainPanel"]

_LAID_OUT_MS = 100


class TrainPanel(Panel):
    """Set a few things, watch a child process learn."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer, "Train")
        self.pairs = pairs_of(self.viewer)
        self._build_pairs()
        self._build_settings()
        self.curves = Curves(self.viewer)
        self.body.addWidget(self.curves)
        self.body.addStretch(1)
        self._offer_preset()

    def start(self) -> None:
        """Train on the viewer's pairs."""
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
            self.pairs.entries(),
            output.absolute(),
            self.preset.currentData(),
            leaves,
            contrast=self.target.currentData(),
            init=model.path if model else None,
        )
        self.curves.empty()

    def on_event(self, event: Event) -> None:
        """Draw what an epoch came to."""
        if isinstance(event, EpochDone):
            is_first = self.curves.isHidden()
            self.curves.add(event)
            if is_first:  # once laid out; later the person scrolls as they like
                QTimer.singleShot(_LAID_OUT_MS, self._look_at_curves)

    def open_table(self) -> None:
        """Open Register & pair, where the pairs are put together."""
        dock, _ = self.viewer.window.add_plugin_dock_widget("napari-ct2mri", "Register & pair")
        dock.show()
        dock.raise_()  # it may be open already, behind another tab

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
        self.section("Pairs")
        self.counted = QLabel()
        self.counted.setWordWrap(True)
        self.edit = QPushButton("Open Register && pair")
        self.edit.setToolTip("Add, remove, open and save pairs there; they are trained on here.")
        self.edit.clicked.connect(self.open_table)
        self.body.addWidget(self.counted)
        self.body.addWidget(self.edit)

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
        self.target.setToolTip("Learn all contrasts of the pairs, or this one only.")
        self.pairs.changed.connect(self._follow_pairs)
        self._follow_pairs()
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

    def _follow_pairs(self, _: object = None) -> None:
        self.counted.setText(self.pairs.summary)
        before = self.target.currentText()
        self.target.clear()
        self.target.addItem("all", None)
        for contrast in self.pairs.contrasts:
            self.target.addItem(contrast, contrast)
        self.target.setCurrentIndex(max(0, self.target.findText(before)))

    def _look_at_curves(self) -> None:
        bar = self.scroll.verticalScrollBar()
        bar.setValue(bar.maximum())

    def _width_or_init(self) -> None:
        self.width_.setEnabled(self.init.choice() is None)
