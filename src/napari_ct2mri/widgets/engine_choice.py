"""What runs a model, and in how many bits; folded away, as the usual is right for most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QVBoxLayout, QWidget

from napari_ct2mri.errors import ConfigError
from napari_ct2mri.pix2pix.engines import EngineName, Precision, installed_engines
from napari_ct2mri.pix2pix.zoo import ModelCard
from napari_ct2mri.widgets.forms import fold, narrow, plain_form, wrapped

__all__ = ["COSTS_DB", "EngineChoice"]

COSTS_DB: Mapping[str, tuple[float, float]] = {
    "ct2mri-base": (42.7, 40.2),
    "ct2mri-dsp16": (52.6, 50.2),
    "ct2mri-dsp8": (44.2, 41.8),
}
"""PSNR of the 8-bit MR against the float MR, in the frame and in the head: docs/speed.md."""

_TITLES: Mapping[EngineName, str] = {
    "auto": "auto, the fastest there is",
    "openvino": "OpenVINO",
    "onnxruntime": "ONNX Runtime",
    "torch": "torch",
}
_IMPOSSIBLE = (
    "int8 needs OpenVINO or ONNX Runtime: choose that or auto as engine, or float as precision"
)
_MISSING = (
    "int8 needs OpenVINO or ONNX Runtime, and neither is installed: "
    "pip install 'napari-ct2mri[openvino]', or choose float as precision"
)
_FIRST = "The first time it is calibrated on simulated heads, which takes up to a minute."


class EngineChoice(QWidget):
    """An engine of those that are installed, and a precision with what it costs beside it."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._model: ModelCard | None = None
        installed = installed_engines()
        self.engine, self.precision = narrow(QComboBox()), narrow(QComboBox())
        for name in ("auto", *installed):
            self.engine.addItem(_TITLES[name], name)
        self.engine.setToolTip("In float they agree to 0.01 of 1000 output units; speed differs.")
        self.precision.addItems(get_args(Precision))
        self._why_not = _IMPOSSIBLE if installed[0] != "torch" else _MISSING
        self._first = installed[0]
        self.cost = wrapped()
        inside = QWidget()
        form = plain_form()
        form.setContentsMargins(12, 0, 0, 0)
        inside.setLayout(form)
        form.addRow("Runs on", self.engine)
        form.addRow("Precision", self.precision)
        form.addRow(self.cost)
        self.fold = fold("", inside)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.fold)
        column.addWidget(inside)
        for box in (self.engine, self.precision):
            box.currentIndexChanged.connect(self._show)
        self._show()

    def chosen(self) -> tuple[EngineName, Precision]:
        """Engine and precision.

        Raises
        ------
        ConfigError
            If that engine has no 8 bits.
        """
        if self._is_impossible():
            raise ConfigError(self._why_not)
        return self._names()

    def follow_model(self, model: ModelCard | None) -> None:
        """Say what 8 bits cost this model."""
        self._model = model
        self._show()

    def _names(self) -> tuple[EngineName, Precision]:
        precision: Precision = "int8" if self.precision.currentText() == "int8" else "float"
        return self.engine.currentData(), precision

    def _is_impossible(self) -> bool:
        engine, precision = self._names()
        runs = self._first if engine == "auto" else engine
        return precision == "int8" and runs == "torch"

    def _show(self, _: int = 0) -> None:
        engine, precision = self._names()
        self.fold.setText(f"Engine: {engine}, {precision}")
        self.cost.setText(f"<b>{self._why_not}.</b>" if self._is_impossible() else self._price())
        self.changed.emit()

    def _price(self) -> str:
        """What 8 bits cost, as far as that was measured."""
        name = self._model.name if self._model else ""
        if name not in COSTS_DB:
            return (
                "int8 is faster and rounds; by how much was not measured for this model "
                f"(ct2mri evaluate --precision int8 does). {_FIRST}"
            )
        frame, head = COSTS_DB[name]
        return (
            f"int8 is faster and rounds: {frame:g} dB from float in the frame, <b>{head:g} dB in "
            f"the head</b> (PSNR, {name}, 40 T2 slices). {_FIRST}"
        )
