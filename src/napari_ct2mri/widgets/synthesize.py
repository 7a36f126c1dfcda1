"""Synthesize: a CT layer through a generator, into a new layer that lies on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtWidgets import QComboBox, QLabel

from napari_ct2mri.app import workflows
from napari_ct2mri.imaging.volume import Volume
from napari_ct2mri.jobs import Event, SlicesDone
from napari_ct2mri.widgets.forms import LayerChooser, narrow
from napari_ct2mri.widgets.layers import layer_to_shown, synthetic_attributes
from napari_ct2mri.widgets.models import ModelChooser
from napari_ct2mri.widgets.panel import Panel
from napari_ct2mri.widgets.words import RESEARCH_ONLY

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image

__all__ = ["SynthesizePanel"]


class SynthesizePanel(Panel):
    """Choose a CT, a model and a contrast; slices appear as they are made."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer, "Synthesize")
        self._layer: Image | None = None
        self._data: NDArray[np.float32] = np.zeros((0, 0, 0), np.float32)
        self._attributes: dict[str, Any] = {}

        form = self.section("CT to MR")
        self.ct = LayerChooser(self.viewer, "CT", "CT")
        self.model = ModelChooser()
        self.contrast = narrow(QComboBox())
        form.addRow("CT", self.ct)
        form.addRow("Model", self.model)
        form.addRow("Contrast", self.contrast)
        warning = QLabel(RESEARCH_ONLY)
        warning.setWordWrap(True)
        self.body.addWidget(warning)
        self.body.addStretch(1)
        self.model.changed.connect(self._offer_contrasts)
        self.model.failed.connect(self._failed)
        self._offer_contrasts()
        self.job.finished.connect(self._clean_up)

    def start(self) -> None:
        """Synthesize the chosen layer."""
        source, model = self.ct.required(), self.model.required()
        contrast = self.contrast.currentText() or None
        ct = layer_to_shown(source, "CT")
        self.run(self._finish, workflows.synthesize_volume, ct, model=model.path, contrast=contrast)
        self._data = np.zeros(ct.data.shape, np.float32)
        self._attributes = synthetic_attributes(source, ct, str(model.path), contrast or "MR")

    def on_event(self, event: Event) -> None:
        """Show slices as they come; the layer appears with the first."""
        if not isinstance(event, SlicesDone):
            return
        self._data[event.start : event.start + len(event.slices)] = event.slices
        if self._layer is None:
            self._layer = self.viewer.add_image(self._data, **self._attributes)
        elif self._layer in self.viewer.layers:
            self._layer.refresh(thumbnail=False, extent=False)
        else:  # taken out by the person, who does not want it any more
            self.job.cancel()

    def _finish(self, volume: Volume) -> None:
        """The events brought every slice already; ``volume`` is the same."""
        assert self._layer is not None
        self._layer.refresh()
        self.say(f"{self._layer.name} is ready. {RESEARCH_ONLY}")
        self._layer = None

    def _clean_up(self) -> None:
        """Take a half-made layer away, so that nobody mistakes it for a result."""
        if self._layer is not None and self._layer in self.viewer.layers:
            self.viewer.layers.remove(self._layer)
        self._layer = None

    def _offer_contrasts(self) -> None:
        choice, before = self.model.choice(), self.contrast.currentText()
        self.contrast.clear()
        self.contrast.addItems(choice.contrasts if choice else ())
        self.contrast.setCurrentIndex(max(0, self.contrast.findText(before)))
