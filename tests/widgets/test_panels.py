"""Panels in a real viewer: clicks, results, wrong input, cancel, closing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from heads import OBLIQUE, head_pair
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt

from conftest import PATIENCE_MS, OpenPanel
from napari_ct2mri.errors import JobError, PairError
from napari_ct2mri.imaging.io import read_volume, write_volume
from napari_ct2mri.imaging.volume import Geometry, Volume
from napari_ct2mri.pix2pix.pairs import PairRow, read_pairs
from napari_ct2mri.widgets import tasks
from napari_ct2mri.widgets.job import QtJob
from napari_ct2mri.widgets.layer_pairs import LayerPair, in_no_file
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


def test_the_newest_pair_is_seen(heads: Viewer, panel: OpenPanel, qtbot: QtBot) -> None:
    register = panel("Register & pair")
    for seed in range(5):
        ct, mr = head_pair(seed)
        layers = add_volume(heads, ct, f"CT {seed}"), add_volume(heads, mr, f"T2 {seed}")
        register.pairs.add_layers(*layers, f"patient-{seed}", "T2", "train")
    table = register.table
    newest = table.item(4, 0)
    assert newest.text() == "CT 4\nT2 4"
    assert table.viewport().rect().contains(table.visualItemRect(newest).center())


def open_files(viewer: Viewer, folder: Path) -> Volume:
    """A CT and an MR on its grid, read from ``ct.nrrd`` and ``mr.nrrd``; returns the CT."""
    pair = head_pair()
    for volume, name in zip(pair, ("ct.nrrd", "mr.nrrd"), strict=True):
        write_volume(volume, folder / name)
        viewer.open(folder / name, plugin="napari-ct2mri")
    return pair[0]


def test_layers_read_from_files_are_trained_on_from_there(
    viewer: Viewer, panel: OpenPanel, qtbot: QtBot, settle: Settle, told: list[str], tmp_path: Path
) -> None:
    open_files(viewer, tmp_path)
    register = paired(panel, qtbot)
    register.save_pairs(tmp_path / "list.csv")
    settle(register)
    (row,) = read_pairs(tmp_path / "list.csv").rows
    assert (row.ct.resolve(), row.mr.resolve()) == (tmp_path / "ct.nrrd", tmp_path / "mr.nrrd")
    (entry,) = panel("Train").pairs.entries()
    assert entry.ct.resolve() == tmp_path / "ct.nrrd"
    click(qtbot, register.add)
    assert "are in the table already" in told.pop()
    register.table.selectRow(0)
    click(qtbot, register.remove)
    assert len(register.pairs) == register.table.rowCount() == 0
    click(qtbot, register.add)
    assert register.table.item(0, 0).text() == "ct\nmr"


def test_a_layer_that_was_changed_is_not_its_file(
    viewer: Viewer, panel: OpenPanel, qtbot: QtBot, settle: Settle, tmp_path: Path
) -> None:
    ct = open_files(viewer, tmp_path)
    register = paired(panel, qtbot)
    layer = viewer.layers["ct"]
    layer.data = np.maximum(layer.data, -500)
    assert in_no_file(layer, viewer.layers["mr"]).startswith("layer 'ct' is in no file as used")
    (entry,) = register.pairs.entries()
    assert isinstance(entry.mr, Path)
    np.testing.assert_array_equal(entry.ct.data, np.maximum(ct.data, -500))
    register.save_pairs(tmp_path / "list.csv")
    settle(register)
    (row,) = read_pairs(tmp_path / "list.csv").rows
    assert row.ct.name == "list-001-ct.mha"
    np.testing.assert_array_equal(read_volume(row.ct).data, entry.ct.data)
    assert layer_to_volume(layer).geometry.is_close(ct.geometry, 1e-9)


# ---------------------------------------------------------------- saving the table


def test_what_is_done_to_the_table_while_it_is_saved_is_kept(
    heads: Viewer, panel: OpenPanel, qtbot: QtBot, settle: Settle, tmp_path: Path
) -> None:
    register = paired(panel, qtbot)
    pairs = register.pairs
    for seed, name in ((5, "bea"), (6, "cleo"), (7, "dora")):
        for volume, kind in zip(head_pair(seed), ("CT", "T2"), strict=True):
            add_volume(heads, volume, f"{name} {kind}")

    def add(name: str) -> None:
        pairs.add_layers(heads.layers[f"{name} CT"], heads.layers[f"{name} T2"], name, "T2", "val")

    add("bea")
    add("cleo")
    register.save_pairs(tmp_path / "pairs.csv")
    pairs.remove([1])
    heads.layers.remove("cleo CT")
    add("dora")
    settle(register)
    assert [pair.patient for pair in pairs] == ["patient-1", "dora"]
    first, last = pairs
    assert isinstance(first, PairRow)
    assert isinstance(last, LayerPair)
    assert register.table.rowCount() == 2
    assert register.status.text().endswith("pairs.csv, as the table was when saving began")
    kept = [row.patient for row in read_pairs(tmp_path / "pairs.csv").rows]
    assert kept == ["patient-1", "bea", "cleo"]

    register.save_pairs(tmp_path / "pairs.csv")
    settle(register)
    assert register.status.text().endswith("pairs.csv")
    assert [pair.patient for pair in read_pairs(tmp_path / "pairs.csv").rows] == [
        *("patient-1", "dora")
    ]


def test_what_was_saved_is_not_added_again(
    heads: Viewer, panel: OpenPanel, qtbot: QtBot, settle: Settle, told: list[str], tmp_path: Path
) -> None:
    """Whether the layers are in no file, as here, or were opened from the files of a row."""
    register = paired(panel, qtbot)
    for _ in range(2):  # once a row of layers, once of files
        register.save_pairs(tmp_path / "pairs.csv")
        settle(register)
        click(qtbot, register.add)
        assert "are in the table already" in told.pop()
    (row,) = register.pairs
    opened = [
        heads.open(file, plugin="napari-ct2mri")[0]
        for file in (tmp_path / row.ct.name, tmp_path / row.mr.name)
    ]
    for chooser, layer in zip((register.ct, register.mr), opened, strict=True):
        chooser.select(layer)
    click(qtbot, register.add)
    assert "are in the table already" in told.pop()
    opened[0].data = np.maximum(opened[0].data, -500)  # another image
    click(qtbot, register.add)
    assert not told
    assert len(register.pairs) == 2


def test_a_list_that_another_program_writes_leaves_the_table(
    heads: Viewer, panel: OpenPanel, qtbot: QtBot
) -> None:
    register = paired(panel, qtbot)
    with pytest.raises(PairError, match="1 pair saved, but 0 pairs in the file now"):
        register.pairs.replace(tuple(register.pairs), ())
    assert len(register.pairs) == 1


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
