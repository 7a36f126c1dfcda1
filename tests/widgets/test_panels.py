"""Panels in a real viewer: clicks, results, wrong input, cancel, closing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from heads import OBLIQUE, head_pair
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt

from conftest import PATIENCE_MS, OpenPanel
from napari_ct2mri.app.workflows import synthesize_volume
from napari_ct2mri.errors import JobError
from napari_ct2mri.imaging.io import write_volume
from napari_ct2mri.imaging.volume import Geometry
from napari_ct2mri.jobs import run_job
from napari_ct2mri.pix2pix.pairs import read_pairs
from napari_ct2mri.widgets import tasks
from napari_ct2mri.widgets.job import QtJob
from napari_ct2mri.widgets.layers import add_volume, layer_to_volume

Settle = Callable[[Any], None]


def click(qtbot: QtBot, button: Any) -> None:
    assert button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def paired(panel: OpenPanel, qtbot: QtBot) -> Any:
    """The panel in which the two heads were paired."""
    register = panel("Register & pair")
    click(qtbot, register.add)
    return register


# ---------------------------------------------------------------- layers to choose


def test_choosers_follow_the_layers(heads: Viewer, panel: OpenPanel) -> None:
    compare = panel("Compare")
    assert compare.ct.layer() is heads.layers["head CT"]
    assert compare.real.layer() is heads.layers["head T2"]
    assert compare.fake.layer() is None
    heads.layers["head CT"].name = "renamed"
    assert compare.ct.currentText() == "renamed"
    other = heads.add_image(np.zeros((3, 4, 5)), name="other")
    compare.ct.select(other)
    heads.add_image(np.zeros((3, 4, 5)), name="later")
    assert compare.ct.layer() is other
    heads.layers.remove(other)
    assert compare.ct.currentText() == "renamed"


# ---------------------------------------------------------------- pairs


def test_layers_read_from_files_are_trained_on_from_there(
    viewer: Viewer, panel: OpenPanel, qtbot: QtBot, settle: Settle, tmp_path: Path
) -> None:
    ct, mr = head_pair()
    for volume, name in ((ct, "ct.nrrd"), (mr, "mr.nrrd")):
        write_volume(volume, tmp_path / name)
        viewer.open(tmp_path / name, plugin="napari-ct2mri")
    register = paired(panel, qtbot)
    register.save_pairs(tmp_path / "list.csv")
    settle(register)
    (row,) = read_pairs(tmp_path / "list.csv").rows
    assert (row.ct.resolve(), row.mr.resolve()) == (tmp_path / "ct.nrrd", tmp_path / "mr.nrrd")
    (entry,) = panel("Train").pairs.entries()
    assert entry.ct.resolve() == tmp_path / "ct.nrrd"
    click(qtbot, register.add)
    assert register.table.rowCount() == 2
    register.table.selectRow(0)
    click(qtbot, register.remove)
    assert len(register.pairs) == register.table.rowCount() == 1
    assert register.table.item(0, 0).text() == "ct"


def test_wrong_pairs_are_refused_in_words(
    heads: Viewer, panel: OpenPanel, qtbot: QtBot, told: list[str], tmp_path: Path
) -> None:
    register = panel("Register & pair")
    register.mr.select(heads.layers["head CT"])
    click(qtbot, register.add)
    assert "are one layer" in told.pop()

    thin = Geometry((2.0, 1.5, 1.25), OBLIQUE.origin, OBLIQUE.direction)
    register.mr.select(add_volume(heads, head_pair(geometry=thin)[1], "thin T2"))
    click(qtbot, register.add)
    assert "differ in spacing in mm: (4, 1.5, 1.25) vs (2, 1.5, 1.25)" in told.pop()

    register.mr.select(heads.layers["head T2"])
    click(qtbot, register.add)
    click(qtbot, register.add)
    assert "are in the table already" in told.pop()
    register.split.setCurrentText("test")
    click(qtbot, register.add)
    assert "'patient-1' stands in train and cannot stand in test too" in told.pop()
    assert len(register.pairs) == 1

    register.open_pairs(tmp_path / "none.csv")
    assert "no such pair list" in told.pop()
    assert len(register.pairs) == 1


# ---------------------------------------------------------------- Synthesize


def test_a_synthesized_layer_is_what_the_model_makes_and_is_measured(
    heads: Viewer, panel: OpenPanel, qtbot: QtBot, settle: Settle, model: Path
) -> None:
    synthesize = panel("Synthesize")
    synthesize.model.add_file(model)
    assert synthesize.contrast.currentText() == "T2"
    click(qtbot, synthesize.go)
    settle(synthesize)
    layer, ct = heads.layers["head CT · synthetic T2"], heads.layers["head CT"]
    np.testing.assert_array_equal(layer.extent.world, ct.extent.world)
    assert layer.units == ct.units
    made = layer_to_volume(layer)
    job = synthesize_volume(head_pair()[0], model=model, contrast="T2")
    expected = run_job(job, lambda event: None)
    assert made.geometry == expected.geometry == OBLIQUE
    np.testing.assert_allclose(made.data, expected.data, atol=0.01)
    assert "research only" in synthesize.status.text()

    compare = panel("Compare")
    assert compare.fake.layer() is layer
    click(qtbot, compare.go)
    settle(compare)
    assert "train-fit" in compare.verdict.text()
    table = compare.table
    columns = [table.horizontalHeaderItem(i).text() for i in range(table.columnCount())]
    assert columns == ["tiny", "black"]
    assert "SSIM, head" in figure_titles(compare)
    assert all(table.item(i, 0).text()[0].isdigit() for i in range(table.rowCount()))


def test_cancelled_synthesis_leaves_no_half_made_layer(
    heads: Viewer, panel: OpenPanel, qtbot: QtBot, settle: Settle, model: Path
) -> None:
    ct, _ = head_pair()
    long = replace(ct, data=np.tile(ct.data, (300, 1, 1)))
    synthesize = panel("Synthesize")
    synthesize.ct.select(add_volume(heads, long, "long CT"))
    synthesize.model.add_file(model)
    before = len(heads.layers)
    click(qtbot, synthesize.go)
    qtbot.waitUntil(lambda: len(heads.layers) > before, timeout=PATIENCE_MS)
    click(qtbot, synthesize.stop)
    settle(synthesize)
    assert len(heads.layers) == before
    assert synthesize.status.text().startswith("cancelled")


def test_synthesis_refuses_in_words(
    heads: Viewer, panel: OpenPanel, qtbot: QtBot, settle: Settle, told: list[str], model: Path
) -> None:
    synthesize = panel("Synthesize")
    synthesize.model.add_file(model)
    synthesize.ct.select(heads.layers["head T2"])
    click(qtbot, synthesize.go)
    settle(synthesize)
    assert "MR" in told.pop()
    assert [layer.name for layer in heads.layers] == ["head T2", "head CT"]
    heads.layers.clear()
    click(qtbot, synthesize.go)
    assert told.pop().startswith("no layer is chosen as CT")
    heads.add_image(np.zeros((8, 8, 3), np.uint8), rgb=True, name="photo")
    click(qtbot, synthesize.go)
    assert "'photo' is in colour" in told.pop()


def test_with_only_an_mr_it_refuses_and_stays_usable(
    viewer: Viewer,
    panel: OpenPanel,
    qtbot: QtBot,
    settle: Settle,
    told: list[str],
    model: Path,
) -> None:
    ct, mr = head_pair()
    add_volume(viewer, mr, "head T2")
    synthesize = panel("Synthesize")
    synthesize.model.add_file(model)
    click(qtbot, synthesize.go)
    assert told.pop().startswith("no layer is chosen as CT")
    synthesize.ct.select(viewer.layers["head T2"])
    click(qtbot, synthesize.go)
    settle(synthesize)
    assert "expected a CT, got an MR" in told.pop()
    assert "expected a CT, got an MR" in synthesize.status.text()
    assert [layer.name for layer in viewer.layers] == ["head T2"]
    assert not synthesize.stop.isEnabled()
    add_volume(viewer, ct, "head CT")
    synthesize.ct.select(viewer.layers["head CT"])
    click(qtbot, synthesize.go)
    settle(synthesize)
    assert not told
    assert "head CT · synthetic T2" in viewer.layers


def test_a_model_is_chosen_by_its_file(panel: OpenPanel, told: list[str], model: Path) -> None:
    chooser = panel("Synthesize").model
    chooser.add_file(model.with_name("none.safetensors"))
    chooser.add_file(model)
    assert chooser.choice().path == model
    assert "none.safetensors: no such checkpoint" in told.pop()
    assert chooser.choice().contrasts == ("T2",)


# ---------------------------------------------------------------- Compare


def figure_titles(compare: Any) -> list[str]:
    return [compare.table.verticalHeaderItem(i).text() for i in range(compare.table.rowCount())]


def test_compare_of_a_copy_is_perfect_and_unlabelled(
    heads: Viewer, panel: OpenPanel, qtbot: QtBot, settle: Settle, told: list[str]
) -> None:
    mr = heads.layers["head T2"]
    real = layer_to_volume(mr)
    low, high = np.percentile(real.data, (0, 100))
    compare = panel("Compare")
    click(qtbot, compare.go)
    assert told.pop().startswith("no layer is chosen as synthetic MR")
    scaled = real.with_data(((real.data - low) / (high - low) * 1000).astype(np.float32))
    compare.fake.select(add_volume(heads, scaled, "copy"))
    compare.real.select(mr)
    click(qtbot, compare.go)
    settle(compare)
    assert "unknown" in compare.verdict.text()
    assert "does not say which model made it" in compare.notes.toPlainText()
    line = figure_titles(compare).index("Gradient corr., head")
    correlation = compare.table.item(line, 0).text()
    assert float(correlation.split("\u2009")[0]) > 0.99


def test_compare_asks_for_one_grid(
    heads: Viewer, panel: OpenPanel, qtbot: QtBot, told: list[str]
) -> None:
    moved = Geometry(OBLIQUE.spacing, (0.0, 0.0, 0.0), OBLIQUE.direction)
    compare = panel("Compare")
    compare.fake.select(add_volume(heads, head_pair(geometry=moved)[1], "elsewhere"))
    compare.real.select(heads.layers["head T2"])
    click(qtbot, compare.go)
    assert "differ in origin in mm" in told.pop()
    compare.fake.select(heads.layers["head T2"])
    click(qtbot, compare.go)
    assert "are not three layers" in told.pop()


# ---------------------------------------------------------------- the job itself


def test_one_job_at_a_time(qtbot: QtBot, tmp_path: Path) -> None:
    job = QtJob()
    with qtbot.waitSignal(job.failed, timeout=PATIENCE_MS) as caught:
        job.start(tasks.scan, tmp_path / "nothing")
        with pytest.raises(JobError, match="still at work"):
            job.start(tasks.scan, tmp_path)
    assert "does not exist" in str(caught.args[0])
    with qtbot.waitSignal(job.finished, timeout=PATIENCE_MS):
        job.start(tasks.scan, tmp_path / "nothing else")
