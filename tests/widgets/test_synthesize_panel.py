"""Synthesize in a real viewer: volume, range and slice, uncertainty, the command line; refusals."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
from counting import press
from heads import OBLIQUE, head_pair
from named import NAMED, named_in, named_scan
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QMessageBox, QPushButton

from conftest import PATIENCE_MS, OpenPanel
from napari_ct2mri.app.cli import main
from napari_ct2mri.errors import ConfigError
from napari_ct2mri.imaging.io import read_volume, write_volume
from napari_ct2mri.imaging.volume import axial_slices
from napari_ct2mri.pix2pix.engines import installed_engines
from napari_ct2mri.widgets.docks import dock_of
from napari_ct2mri.widgets.engine_choice import COSTS_DB
from napari_ct2mri.widgets.layers import add_volume, layer_to_volume
from napari_ct2mri.widgets.slices import Stack

Settle = Callable[[Any], None]
LONG = 1200  # slices: what a person can stop


def click(qtbot: QtBot, button: Any) -> None:
    """Click on the left end: a wide check box is no button where it is empty."""
    assert button.isEnabled()
    place = QPoint(8, button.height() // 2)
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton, pos=place)


@pytest.fixture
def synthesize(panel: OpenPanel, model: Path) -> Any:
    """The panel, with the tiny model chosen."""
    opened = panel("Synthesize")
    opened.model.add_file(model)
    return opened


@pytest.fixture
def long(heads: Viewer, synthesize: Any) -> Any:
    """The panel, with a CT of many slices chosen."""
    ct, _ = head_pair()
    many = replace(ct, data=np.tile(ct.data, (LONG // 4, 1, 1)))
    synthesize.ct.select(add_volume(heads, many, "long CT"))
    return synthesize


# ---------------------------------------------------------------- what it makes


def test_what_the_panel_makes_is_what_its_command_line_makes_bit_for_bit(
    viewer: Viewer,
    synthesize: Any,
    qtbot: QtBot,
    settle: Settle,
    told: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_volume(head_pair()[0], tmp_path / "head CT.nrrd")
    viewer.open(tmp_path / "head CT.nrrd", plugin="napari-ct2mri")
    (ct,) = viewer.layers
    assert synthesize.contrast.currentText() == "T2"
    assert not synthesize.command.isVisibleTo(synthesize)
    click(qtbot, synthesize.with_spread)
    click(qtbot, synthesize.go)
    settle(synthesize)
    assert not told
    assert "research only" in synthesize.status.text()
    names = [f"head CT · {what}" for what in ("synthetic T2", "spread of synthetic T2")]
    assert [layer.name for layer in viewer.layers] == ["head CT", *names]
    mr, spread = (viewer.layers[name] for name in names)
    for layer in (mr, spread):
        np.testing.assert_array_equal(layer.extent.world, ct.extent.world)
        assert layer.units == ct.units
        assert layer_to_volume(layer).geometry.is_close(OBLIQUE)

    assert synthesize.command.isVisibleTo(synthesize)
    words = shlex.split(synthesize.command.line.text())
    assert words[:3] == ["ct2mri", "synthesize", str(tmp_path / "head CT.nrrd")]
    monkeypatch.chdir(tmp_path)
    assert main(words[1:]) == 0
    for layer, file in ((mr, words[3]), (spread, words[words.index("--spread") + 1])):
        written = read_volume(tmp_path / file)
        shown = layer_to_volume(layer)
        assert written.geometry.is_close(shown.geometry, 1e-3)
        np.testing.assert_array_equal(written.data, shown.data)


def test_a_range_lies_on_its_ct_and_the_rest_is_absent(
    viewer: Viewer,
    synthesize: Any,
    qtbot: QtBot,
    settle: Settle,
    told: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ct, _ = head_pair(slices=6)
    write_volume(ct, tmp_path / "ct.nrrd")
    viewer.open(tmp_path / "ct.nrrd", plugin="napari-ct2mri")
    slices = synthesize.slices
    assert not slices.first.isVisibleTo(synthesize)
    slices.which.setCurrentText("range")
    assert slices.first.isVisibleTo(synthesize)
    assert (slices.first.value(), slices.last.value(), slices.last.maximum()) == (0, 5, 5)
    slices.first.setValue(2)
    slices.last.setValue(1)
    assert slices.last.value() == 2  # no range ends before it begins
    slices.last.setValue(3)
    click(qtbot, synthesize.with_spread)
    click(qtbot, synthesize.go)
    settle(synthesize)
    assert not told
    layer = viewer.layers["ct · synthetic T2, slices 2-3"]
    spread = viewer.layers["ct · spread of synthetic T2, slices 2-3"]
    assert layer.data.shape == spread.data.shape == (2, 64, 64)
    assert layer.data.any(axis=(1, 2)).all()
    whole = viewer.layers["ct"]
    for part in (layer, spread):
        assert Stack(viewer, part).made == 2
        np.testing.assert_allclose(part.data_to_world((0, 5, 7)), whole.data_to_world((2, 5, 7)))
        assert part.units == whole.units
    made = layer_to_volume(layer)
    assert made.geometry.is_close(axial_slices(ct, range(2, 4)).geometry)

    words = shlex.split(synthesize.command.line.text())
    assert words[words.index("--slices") + 1] == "2:4"
    monkeypatch.chdir(tmp_path)
    assert main(words[1:]) == 0
    written = read_volume(tmp_path / words[3])
    assert written.geometry.is_close(made.geometry, 1e-3)
    np.testing.assert_array_equal(written.data, made.data)


def test_the_slice_in_view(
    heads: Viewer, synthesize: Any, qtbot: QtBot, settle: Settle, told: list[str]
) -> None:
    synthesize.slices.which.setCurrentText("slice in view")
    aside = heads.add_image(np.zeros((9, 4, 4)), name="far below", translate=(-900, 0, 0))
    heads.dims.set_point(0, -899)
    assert synthesize.slices.in_view.text() == "In view: none of its slices"
    synthesize.ct.select(heads.layers["head CT"])
    click(qtbot, synthesize.go)
    assert "the slice in view lies beyond layer 'head CT'" in told.pop()
    heads.layers.remove(aside)
    heads.dims.set_current_step(0, 2)
    click(qtbot, synthesize.go)
    settle(synthesize)
    assert not told
    layer, ct = heads.layers["head CT · synthetic T2, slices 2-2"], heads.layers["head CT"]
    assert layer.data.shape == (1, 64, 64)
    np.testing.assert_allclose(layer.data_to_world((0, 0, 0)), ct.data_to_world((2, 0, 0)))
    assert not synthesize.command.line.isVisibleTo(synthesize)
    assert synthesize.command.why_not.isVisibleTo(synthesize)
    assert "layer 'head CT' is in no file" in synthesize.command.why_not.text()


def test_no_axial_slice_in_view_is_said_and_none_is_made(
    heads: Viewer, synthesize: Any, qtbot: QtBot, told: list[str]
) -> None:
    synthesize.slices.which.setCurrentText("slice in view")
    before = heads.dims.order
    assert synthesize.slices.in_view.text().startswith("In view: slice ")
    for view, back in (("order", before), ("ndisplay", 2)):
        setattr(heads.dims, view, {"order": (2, 0, 1), "ndisplay": 3}[view])
        assert synthesize.slices.in_view.text() == "In view: no axial slice"
        click(qtbot, synthesize.go)
        assert told.pop() == (
            "no axial slice of layer 'head CT' is in view; show z with the slider, in 2D"
        )
        assert not synthesize.job.is_running
        setattr(heads.dims, view, back)
        assert synthesize.slices.in_view.text().startswith("In view: slice ")


@pytest.mark.parametrize("count", [100, 1, 99, 101])
def test_a_range_goes_to_the_last_slice_however_many_there_are(
    viewer: Viewer, panel: OpenPanel, count: int
) -> None:
    """100 among them: a spin box of Qt ends at 99 by itself."""
    ct, _ = head_pair(slices=1, side=8)
    add_volume(viewer, replace(ct, data=np.tile(ct.data, (count, 1, 1))), "CT")
    slices = panel("Synthesize").slices
    slices.which.setCurrentText("range")
    ends = [spin.maximum() for spin in (slices.first, slices.last)]
    assert (slices.first.value(), slices.last.value(), ends) == (0, count - 1, [count - 1] * 2)


# ---------------------------------------------------------------- saved as DICOM


def test_a_switch_leaves_the_patient_out_of_the_series(
    viewer: Viewer,
    synthesize: Any,
    qtbot: QtBot,
    settle: Settle,
    told: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    viewer.open(named_scan(tmp_path / "scan"), plugin="napari-ct2mri")
    assert synthesize.patient_data.isChecked()
    click(qtbot, synthesize.go)
    settle(synthesize)
    assert not told
    mr = viewer.layers["scan · synthetic T2"]
    assert "--no-patient-data" not in synthesize.command.line.text()
    assert mr.save(str(tmp_path / "named.dcm"), plugin="napari-ct2mri")
    assert named_in(tmp_path / "named.dcm") == set(NAMED)

    click(qtbot, synthesize.patient_data)
    assert mr.save(str(tmp_path / "nameless.dcm"), plugin="napari-ct2mri")
    assert named_in(tmp_path / "nameless.dcm") == set()
    words = shlex.split(synthesize.command.line.text())
    assert words[3] == "scan-synthetic-T2.dcm"
    monkeypatch.chdir(tmp_path)
    assert main(words[1:]) == 0
    assert named_in(tmp_path / words[3]) == set()
    same, saved = read_volume(tmp_path / words[3]), read_volume(tmp_path / "nameless.dcm")
    np.testing.assert_array_equal(same.data, saved.data)

    click(qtbot, synthesize.patient_data)
    assert mr.save(str(tmp_path / "again.dcm"), plugin="napari-ct2mri")
    assert named_in(tmp_path / "again.dcm") == set(NAMED)


# ---------------------------------------------------------------- what runs it

OTHERS = [name for name in installed_engines() if name != "torch"]


@pytest.mark.skipif(not OTHERS, reason="8 bits need OpenVINO or ONNX Runtime")
def test_8_bits_are_asked_for_said_and_what_the_command_line_makes(
    viewer: Viewer,
    synthesize: Any,
    qtbot: QtBot,
    settle: Settle,
    told: list[str],
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # of the child, too
    monkeypatch.chdir(tmp_path)
    write_volume(head_pair()[0], tmp_path / "ct.nrrd")
    expected = ["synthesize", str(tmp_path / "ct.nrrd"), "ct-synthetic-T2.nii.gz"]
    expected += ["--model", str(model), "--contrast", "T2", "--modality", "CT"]
    expected += ["--engine", OTHERS[-1], "--precision", "int8"]
    assert main(expected) == 0  # calibrates for the child, too, which takes seconds
    viewer.open(tmp_path / "ct.nrrd", plugin="napari-ct2mri")
    engine = synthesize.engine
    assert engine.fold.text() == "Engine: auto, float"
    assert not engine.precision.isVisibleTo(synthesize)
    click(qtbot, engine.fold)
    engine.precision.setCurrentText("int8")
    engine.engine.setCurrentIndex(engine.engine.findData(OTHERS[-1]))
    assert engine.fold.text() == f"Engine: {OTHERS[-1]}, int8"
    assert "not measured for this model" in engine.cost.text()
    click(qtbot, synthesize.go)
    settle(synthesize)
    assert not told
    layer = viewer.layers["ct · synthetic T2, int8"]
    assert shlex.split(synthesize.command.line.text()) == ["ct2mri", *expected]
    written = read_volume(tmp_path / expected[2])
    np.testing.assert_array_equal(written.data, layer_to_volume(layer).data)
    assert main([*expected[:-1], "float"]) == 0
    assert not np.array_equal(read_volume(tmp_path / expected[2]).data, written.data)


def test_8_bits_without_an_engine_for_them_are_refused_at_once(
    heads: Viewer, synthesize: Any, qtbot: QtBot, told: list[str]
) -> None:
    engine = synthesize.engine
    engine.engine.setCurrentIndex(engine.engine.findData("torch"))
    engine.precision.setCurrentText("int8")
    assert "int8 needs OpenVINO or ONNX Runtime" in engine.cost.text()
    click(qtbot, synthesize.go)
    assert told.pop().startswith("int8 needs OpenVINO or ONNX Runtime")
    assert not synthesize.job.is_running
    engine.precision.setCurrentText("float")
    assert engine.chosen() == ("torch", "float")


def test_only_installed_engines_are_offered(
    panel: OpenPanel, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    where = "napari_ct2mri.widgets.engine_choice.installed_engines"
    monkeypatch.setattr(where, lambda: ("torch",))
    engine = panel("Synthesize").engine
    names = [engine.engine.itemData(i) for i in range(engine.engine.count())]
    assert names == ["auto", "torch"]
    engine.precision.setCurrentText("int8")
    with pytest.raises(ConfigError, match=r"neither is installed: pip install .*\[openvino\]"):
        engine.chosen()


def test_the_cost_of_8_bits_is_what_was_measured(panel: OpenPanel) -> None:
    speed = (Path(__file__).parents[2] / "docs" / "speed.md").read_text(encoding="utf-8")
    row = r"^\| `([\w-]+)` \| ([\d.]+), [\d.]+ dB \| ([\d.]+), [\d.]+ dB \|"
    rows = re.findall(row, speed, re.MULTILINE)
    assert {name: (float(frame), float(head)) for name, frame, head in rows} == COSTS_DB
    synthesize = panel("Synthesize")
    for name, (frame, head) in COSTS_DB.items():
        synthesize.model.combo.setCurrentIndex(synthesize.model.combo.findText(name))
        assert f"{frame:g} dB from float in the frame" in synthesize.engine.cost.text()
        assert f"{head:g} dB in the head" in synthesize.engine.cost.text()


# ---------------------------------------------------------------- the model


def test_the_card_unfolds_and_follows_the_model(panel: OpenPanel, qtbot: QtBot) -> None:
    synthesize = panel("Synthesize")
    card = synthesize.card
    assert not card.text.isVisibleTo(synthesize)
    click(qtbot, card.fold)
    assert card.text.isVisibleTo(synthesize)
    chosen = synthesize.model.choice()
    assert chosen.name in card.text.toPlainText()
    assert "Where it fails" in card.text.toPlainText()
    tables = card.text.document().rootFrame().childFrames()
    assert tables[0].cellAt(0, 0).firstCursorPosition().block().text() == "input"
    width = card.text.document().idealWidth()
    assert width <= card.text.viewport().width()
    click(qtbot, card.fold)
    assert not card.text.isVisibleTo(synthesize)


def test_a_model_is_chosen_by_its_file(panel: OpenPanel, told: list[str], model: Path) -> None:
    synthesize = panel("Synthesize")
    chooser = synthesize.model
    chooser.add_file(model.with_name("none.safetensors"))
    chooser.add_file(model)
    assert chooser.choice().path == model
    assert "none.safetensors: no such checkpoint" in told.pop()
    assert chooser.choice().contrasts == ("T2",)
    assert "No card lies beside this model" in synthesize.card.text.toPlainText()


# ---------------------------------------------------------------- ended before its end


def test_cancel_leaves_no_half_made_layer_and_there_is_one_job_at_a_time(
    heads: Viewer, long: Any, qtbot: QtBot, settle: Settle, told: list[str]
) -> None:
    before = list(heads.layers)
    click(qtbot, long.with_spread)
    click(qtbot, long.go)
    assert not long.go.isEnabled()
    with long.telling():
        long.start()
    assert "still at work" in told.pop()
    qtbot.waitUntil(lambda: len(heads.layers) == len(before) + 2, timeout=PATIENCE_MS)
    stack = Stack(heads, heads.layers[-2])
    assert 0 < stack.made < stack.count
    click(qtbot, long.stop)
    settle(long)
    assert list(heads.layers) == before
    assert long.status.text().startswith("cancelled")
    assert long.go.isEnabled()
    assert not told


def test_a_layer_that_is_taken_out_ends_its_synthesis(
    heads: Viewer, long: Any, qtbot: QtBot, settle: Settle, told: list[str]
) -> None:
    before = list(heads.layers)
    click(qtbot, long.go)
    qtbot.waitUntil(lambda: len(heads.layers) > len(before), timeout=PATIENCE_MS)
    heads.layers.remove("long CT · synthetic T2")
    qtbot.waitUntil(
        lambda: long.status.text() == "cancelling ..." or not long.job.is_running,
        timeout=PATIENCE_MS,
    )
    settle(long)
    assert list(heads.layers) == before
    assert long.go.isEnabled()
    assert not told


def test_a_panel_that_is_closed_leaves_no_half_made_layer(
    viewer: Viewer, long: Any, heads: Viewer, qtbot: QtBot
) -> None:
    with qtbot.waitExposed(viewer.window._qt_window):
        viewer.window.show()
    before = list(heads.layers)
    click(qtbot, long.with_spread)
    click(qtbot, long.go)
    qtbot.waitUntil(lambda: len(heads.layers) == len(before) + 2, timeout=PATIENCE_MS)
    made = heads.layers[-2]
    assert not made.data.any(axis=(1, 2)).all()  # it could be taken for a whole one
    dock = dock_of(long)
    assert dock is not None
    asked: list[str] = []
    press(QMessageBox.ButtonRole.DestructiveRole, asked)
    cross = dock.titleBarWidget().findChild(QPushButton, "QTitleBarCloseButton")
    qtbot.mouseClick(cross, Qt.MouseButton.LeftButton)
    assert len(asked) == 1
    assert dock_of(long) is None
    assert list(heads.layers) == before
    qtbot.wait(500)  # for what was on its way
    assert list(heads.layers) == before


# ---------------------------------------------------------------- what is refused


def test_what_is_no_ct_is_refused_in_words_and_the_panel_stays_usable(
    heads: Viewer, synthesize: Any, qtbot: QtBot, settle: Settle, told: list[str]
) -> None:
    heads.layers.remove("head CT")
    click(qtbot, synthesize.go)
    assert told.pop().startswith("no layer is chosen as CT")
    synthesize.ct.select(heads.layers["head T2"])
    click(qtbot, synthesize.go)
    settle(synthesize)
    assert "expected a CT, got an MR" in told.pop()
    assert "expected a CT, got an MR" in synthesize.status.text()
    assert [layer.name for layer in heads.layers] == ["head T2"]

    for refused, words in (
        (heads.add_image(np.zeros((8, 8, 3), np.uint8), rgb=True, name="photo"), "is in colour"),
        (heads.add_image([np.zeros((4, 16, 16)), np.zeros((4, 8, 8))], name="m"), "is multiscale"),
        (heads.add_image(np.zeros((2, 4, 16, 16)), name="film"), "has 4 axes"),
    ):
        synthesize.ct.select(refused)
        click(qtbot, synthesize.go)
        assert words in told.pop()
        heads.layers.remove(refused)

    assert not synthesize.stop.isEnabled()
    synthesize.ct.select(add_volume(heads, head_pair()[0], "head CT"))
    click(qtbot, synthesize.go)
    settle(synthesize)
    assert not told
    assert "head CT · synthetic T2" in heads.layers


def test_one_slice_and_a_layer_out_of_memory_are_synthesized_and_labels_not_offered(
    heads: Viewer, synthesize: Any, qtbot: QtBot, settle: Settle, told: list[str]
) -> None:
    labels = heads.add_labels(np.zeros((4, 8, 8), int), name="labels")
    assert synthesize.ct.findText(labels.name) < 0
    huge = heads.add_image(da.zeros((4000, 2048, 2048)), scale=(2, 1, 1), name="huge")
    synthesize.ct.select(huge)
    click(qtbot, synthesize.go)
    assert "'huge' is 125.0 GiB and not in memory" in told.pop()
    assert not synthesize.job.is_running
    heads.layers.remove(huge)

    thin = add_volume(heads, axial_slices(head_pair()[0], range(1, 2)), "thin")
    _, attributes, _ = thin.as_layer_data_tuple()
    lazy = heads.add_image(da.from_array(thin.data), **attributes | {"name": "lazy"})
    for layer in (thin, lazy):
        synthesize.ct.select(layer)
        click(qtbot, synthesize.go)
        settle(synthesize)
        assert not told
    made, same = (heads.layers[f"{name} · synthetic T2"].data for name in ("thin", "lazy"))
    assert made.shape == (1, 64, 64)
    np.testing.assert_array_equal(made, same)
