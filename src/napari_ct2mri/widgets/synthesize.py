"""Synthesize: a CT layer through a generator, into a new layer that lies on it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtWidgets import QCheckBox, QComboBox

from napari_ct2mri.app import workflows
from napari_ct2mri.imaging.intensity import GREY_MAX, OUTPUT_MAX
from napari_ct2mri.imaging.volume import Volume
from napari_ct2mri.jobs import Event, SlicesDone
from napari_ct2mri.pix2pix.spread import MEANING, SpreadDone
from napari_ct2mri.widgets.card import CardView
from napari_ct2mri.widgets.command_line import CommandLine, file_name, model_name
from napari_ct2mri.widgets.engine_choice import EngineChoice
from napari_ct2mri.widgets.forms import LayerChooser, narrow, wrapped
from napari_ct2mri.widgets.layer_pairs import file_of, in_no_file
from napari_ct2mri.widgets.layers import KEY, layer_to_shown, synthetic_attributes
from napari_ct2mri.widgets.maps import map_attributes, show_colorbar
from napari_ct2mri.widgets.models import ModelChooser
from napari_ct2mri.widgets.panel import Panel
from napari_ct2mri.widgets.patient_data import PatientDataTick
from napari_ct2mri.widgets.slice_choice import SliceChoice
from napari_ct2mri.widgets.slices import add_made, as_filling
from napari_ct2mri.widgets.words import RESEARCH_ONLY

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image, Layer

__all__ = ["SynthesizePanel"]

_SPREAD_SHOWN = 0.1
"""Part of the scale at which the colours of a spread end: the same for every head."""

_SPREAD_TIP = (
    f"A second layer: {MEANING}. An error that both share has none. It takes twice as long."
)


@dataclass(slots=True, eq=False)
class _Stream:
    """A layer that fills slice by slice and appears with the first.

    Attributes
    ----------
    data : (z, y, x)
    start : int
        Which slice of the CT is its first.
    is_measure : bool
        Whether its colours need a bar that says what they stand for.
    """

    viewer: napari.viewer.Viewer
    data: NDArray[np.float32]
    start: int
    attributes: dict[str, Any]
    is_measure: bool = False
    layer: Image | None = None

    @property
    def is_gone(self) -> bool:
        """Whether the person took it out."""
        return self.layer is not None and self.layer not in self.viewer.layers

    def add(self, start: int, slices: NDArray[np.float32]) -> None:
        """Take slices of the CT from ``start`` on."""
        first = start - self.start
        self.data[first : first + len(slices)] = slices
        if self.layer is None:
            self.layer = self.viewer.add_image(self.data, **as_filling(self.attributes))
            if self.is_measure:
                show_colorbar(self.layer)
        elif not self.is_gone:
            self.layer.refresh(thumbnail=False, extent=False)
        add_made(self.layer, range(first, first + len(slices)))

    def remove(self) -> None:
        """Take it out, if it is there."""
        if self.layer is not None and not self.is_gone:
            self.viewer.layers.remove(self.layer)


class SynthesizePanel(Panel):
    """Choose a CT, a model and a contrast; slices appear as they are made."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer, "Synthesize")
        self._mr: _Stream | None = None
        self._spread: _Stream | None = None
        self._commands: Sequence[str] = "", ""  # without and with patient data
        self._why_not = ""
        form = self.section("CT to MR")
        self.ct = LayerChooser(self.viewer, "CT", "CT")
        self.model = ModelChooser()
        self.contrast = narrow(QComboBox())
        self.with_spread = QCheckBox("also its uncertainty")
        self.with_spread.setToolTip(_SPREAD_TIP)
        self.card = CardView()
        self.slices = SliceChoice(self.viewer)
        form.addRow("CT", self.ct)
        form.addRow("Slices", self.slices)
        form.addRow("Model", self.model)
        form.addRow(self.card)
        form.addRow("Contrast", self.contrast)
        form.addRow("Spread", self.with_spread)
        self.patient_data = PatientDataTick()
        form.addRow("Saving", self.patient_data)
        self.engine = EngineChoice()
        form.addRow(self.engine)
        self.meaning = wrapped(_SPREAD_TIP)
        self.meaning.hide()
        self.with_spread.toggled.connect(self.meaning.setVisible)
        self.made = wrapped()
        self.command = CommandLine()
        self.command.setToolTip("The same in a terminal.")
        self._tell()
        for part in (self.meaning, wrapped(RESEARCH_ONLY), self.made, self.command):
            self.body.addWidget(part)
        self.body.addStretch(1)
        self.patient_data.toggled.connect(lambda _: self._tell(self._commands, self._why_not))
        self.ct.currentIndexChanged.connect(self._follow_ct)
        self.model.changed.connect(self._follow_model)
        self.model.failed.connect(self._failed)
        self._follow_ct()
        self._follow_model()
        self.remember(
            model=self.model,
            contrast=self.contrast,
            spread=self.with_spread,
            engine=self.engine.engine,
            precision=self.engine.precision,
        )
        self.job.finished.connect(self._clean_up)

    def start(self) -> None:
        """Synthesize the chosen slices of the chosen layer."""
        source, model = self.ct.required(), self.model.required()
        contrast, spread = self.contrast.currentText() or None, self.with_spread.isChecked()
        ct, name = layer_to_shown(source, "CT"), model_name(model.path)
        slices, (engine, precision) = self.slices.wanted(source), self.engine.chosen()
        tail = f" --engine {engine} --precision {precision}"
        commands = [
            command and command + tail
            for command in _as_commands(source, ct, name, contrast, slices, spread)
        ]
        self.run(
            partial(self._finish, commands, in_no_file(source)),
            workflows.synthesize_volume,
            ct,
            model=model.path,
            contrast=contrast,
            slices=slices,
            engine=engine,
            precision=precision,
            spread=spread,
        )
        self._tell()
        made = contrast or "MR"
        attributes = synthetic_attributes(source, ct, name, made, slices)
        if precision != "float":
            attributes["name"] += f", {precision}"
        self._mr = self._stream(ct, slices, attributes)
        if spread:
            attributes = _spread_attributes(source, ct, made, slices)
            self._spread = self._stream(ct, slices, attributes, is_measure=True)

    def on_event(self, event: Event) -> None:
        """Show slices as they come; a layer appears with its first."""
        if isinstance(event, SlicesDone) and self._mr is not None:
            self._mr.add(event.start, event.slices)
            if self._mr.is_gone:  # the person does not want it any more
                self.cancel()
        if isinstance(event, SpreadDone) and self._spread is not None:
            self._spread.add(event.start, event.slices)

    def abandon(self) -> None:
        """Take half-made layers away with the panel, as Cancel does."""
        super().abandon()
        self._clean_up()

    def _stream(
        self,
        ct: Volume,
        slices: range | None,
        attributes: dict[str, Any],
        *,
        is_measure: bool = False,
    ) -> _Stream:
        wanted = slices or range(len(ct.data))
        if slices:
            attributes["name"] += f", slices {slices[0]}-{slices[-1]}"
        data = np.zeros((len(wanted), *ct.data.shape[1:]), np.float32)
        return _Stream(self.viewer, data, wanted.start, attributes, is_measure)

    def _finish(self, commands: Sequence[str], why_not: str, volume: Volume) -> None:
        """The events brought every slice already; ``volume`` is the same."""
        assert self._mr is not None
        assert self._mr.layer is not None
        layer = self._mr.layer
        if self._mr.is_gone:  # it ended before the word came to it
            self.say(f"stopped: layer {layer.name!r} was removed")
            return
        for stream in (self._mr, self._spread):
            if stream is not None and stream.layer is not None and not stream.is_gone:
                stream.layer.refresh()
        self.say(f"{layer.name} is ready. {RESEARCH_ONLY}")
        self._tell(commands, why_not)
        self._mr = self._spread = None

    def _clean_up(self) -> None:
        """Take half-made layers away, so that nobody mistakes them for a result."""
        for stream in (self._mr, self._spread):
            if stream is not None:
                stream.remove()
        self._mr = self._spread = None

    def _tell(self, commands: Sequence[str] = ("", ""), why_not: str = "") -> None:
        """Show how it is made in a terminal, without or with patient data, or why it cannot be."""
        self._commands, self._why_not = commands, why_not
        command = commands[self.patient_data.isChecked()]
        self.made.setText("The same on the command line")
        self.command.show_command(command, why_not)
        self.made.setVisible(bool(command))
        self.command.setVisible(bool(command or why_not))

    def _follow_ct(self, _: int = 0) -> None:
        self.slices.follow(self.ct.layer())

    def _follow_model(self) -> None:
        choice, before = self.model.choice(), self.contrast.currentText()
        self.card.show_card(choice)
        self.engine.follow_model(choice)
        self.contrast.clear()
        self.contrast.addItems(choice.contrasts if choice else ())
        self.contrast.setCurrentIndex(max(0, self.contrast.findText(before)))


def _spread_attributes(
    source: Layer, ct: Volume, contrast: str, slices: range | None
) -> dict[str, Any]:
    """Of a layer that glows on the MR where predictions disagree; no panel takes it for an MR."""
    name = f"{source.name} · spread of synthetic {contrast}"
    attributes = map_attributes(source, ct, name, slices)
    origin = replace(attributes["metadata"][KEY], notes=(f"{MEANING}, research use only",))
    top = GREY_MAX if ct.is_picture else OUTPUT_MAX
    shown = {
        "contrast_limits": (0.0, _SPREAD_SHOWN * top),
        "colormap": "inferno",
        "blending": "additive",
        "metadata": {KEY: origin},
    }
    return attributes | shown


def _as_commands(
    source: Layer,
    ct: Volume,
    model: str,
    contrast: str | None,
    slices: range | None,
    spread: bool,
) -> tuple[str, str]:
    """What a terminal would be told, without patient data and with them.

    The first is of a DICOM series where there can be one, for nothing else holds patient data; both
    are empty where the CT is in no file as it is shown.
    """
    of_ct = file_of(source, "CT")
    if of_ct is None:
        return "", ""
    path, series = of_ct
    name = file_name(f"{source.name}-synthetic-{contrast or 'MR'}", "synthetic")
    ending = ".nii.gz"
    if ct.is_picture:
        ending = "" if len(ct.data) > 1 else ".png"  # a folder, or one file
    words = ["--model", model]
    words += ["--contrast", contrast] if contrast else []
    words += ["--series", series] if series else ["--modality", "CT"]
    words += ["--slices", f"{slices.start}:{slices.stop}"] if slices else []
    words += ["--spread", f"{name}-spread.nii.gz"] if spread else []

    def line(output: str, *last: str) -> str:
        return shlex.join(["ct2mri", "synthesize", str(path), output, *words, *last])

    named = line(f"{name}{ending}")
    is_series = slices is None and bool(ct.source.slices.files)
    return line(f"{name}.dcm", "--no-patient-data") if is_series else named, named
