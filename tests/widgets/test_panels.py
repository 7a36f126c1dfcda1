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
from napari_ct2mri.errors import JobError
from napari_ct2mri.imaging.io import write_volume
from napari_ct2mri.imaging.volume import Geometry
from napari_ct2mri.pix2pix.pairs import read_pairs
from napari_ct2mri.widgets import tasks
from napari_ct2mri.widgets.job import QtJob
from napari_ct2mri.widgets.layers import add_volume

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
    assert register.table.item(0, 0).text() == "ct\nmr"


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
