"""Register & pair in a real viewer: a moved head comes back and is paired; wrong input."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
from benchmarks.displaced_heads import Displaced, displace, simulate, surface, surface_errors
from heads import head_pair, picture
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from conftest import PATIENCE_MS, OpenPanel
from napari_ct2mri.app.cli import main
from napari_ct2mri.errors import JobError, VolumeError
from napari_ct2mri.imaging.io import read_volume, write_volume
from napari_ct2mri.imaging.pose import inverse, moved
from napari_ct2mri.imaging.volume import Volume
from napari_ct2mri.pix2pix.pairs import read_pairs
from napari_ct2mri.widgets.layer_pairs import REGISTERED, in_no_file
from napari_ct2mri.widgets.layers import add_volume, layer_to_shown, layer_to_volume
from napari_ct2mri.widgets.placing import points_of, to_register

Settle = Callable[[Any], None]


@pytest.fixture(scope="module")
def case() -> Displaced:
    """A tilted head of thick slices, and its MR up to 10 mm and 10 degrees away."""
    chance = np.random.default_rng(0)
    head = simulate(3, "T1", coarseness=1.7)
    return displace(head, chance, spacing=(5.5, 1.8, 1.8), shape=(26, 120, 120))


@pytest.fixture
def register(viewer: Viewer, panel: OpenPanel, case: Displaced, tmp_path: Path) -> Any:
    """The panel, with the displaced head opened from files."""
    for volume, name in ((case.mr, "ada T1"), (case.ct, "ada CT")):
        write_volume(volume, tmp_path / f"{name}.mha")
        viewer.open(tmp_path / f"{name}.mha", plugin="napari-ct2mri")
    return panel("Register & pair")


def click(qtbot: QtBot, button: Any) -> None:
    assert button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


# ------------------------------------------------------------------ the whole way


def test_a_moved_head_is_found_looked_at_and_paired(
    register: Any,
    viewer: Viewer,
    panel: OpenPanel,
    qtbot: QtBot,
    settle: Settle,
    case: Displaced,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ct, mr = viewer.layers["ada CT"], viewer.layers["ada T1"]
    click(qtbot, register.go)
    assert not register.go.isEnabled()
    with pytest.raises(JobError, match="still at work"):
        register.start()
    settle(register)

    made = viewer.layers["ada T1 · on ada CT"]
    found = made.metadata[REGISTERED]
    assert np.percentile(surface_errors(found.matrix, case.truth, surface(case.ct)), 95) < 1.0
    for name in ("scale", "translate"):
        np.testing.assert_array_equal(getattr(made, name), getattr(ct, name))
    assert made.units == ct.units
    assert made.data.shape == ct.data.shape
    assert layer_to_volume(made).geometry == case.ct.geometry
    assert layer_to_volume(made).modality == "MR"
    text = register.result.text()
    assert f"Mutual information {found.before:.3f} before, <b>{found.after:.3f}</b> after" in text
    assert found.after > found.before + 0.2
    assert "Nothing speaks against it" in text
    assert (register.ct.layer(), register.mr.layer()) == (ct, mr)
    assert register.look.overlay.mr is made
    words = shlex.split(register.command.line.text())
    assert words[0] == "ct2mri"
    monkeypatch.chdir(tmp_path)
    assert main(words[1:]) == 0
    same = read_volume(tmp_path / "ada-T1-on-ada-CT.nii.gz")
    np.testing.assert_array_equal(same.data, layer_to_volume(made).data)

    register.patient.setText("ada")
    register.contrast.setCurrentText("T1")
    click(qtbot, register.add)
    assert panel("Train").counted.text() == "1 pair of 1 patient (T1): 1 train"
    register.save_pairs(tmp_path / "pairs.csv")
    settle(register)
    (row,) = read_pairs(tmp_path / "pairs.csv").rows
    assert (row.patient, row.contrast, row.split) == ("ada", "T1", "train")
    assert row.ct.resolve() == tmp_path / "ada CT.mha"
    saved = read_volume(row.mr)
    assert saved.geometry.is_close(case.ct.geometry, 1e-9)
    np.testing.assert_array_equal(saved.data, layer_to_volume(made).data)

    viewer.layers.clear()
    register.pairs.remove([0])
    assert register.look.overlay is None
    register.open_pairs(tmp_path / "pairs.csv")
    assert register.counted.text() == "1 pair of 1 patient (T1): 1 train"
    assert register.table.item(0, 1).text() == "ada\nT1, train"


# ------------------------------------------------------------------ refusals


def refused(register: Any, qtbot: QtBot, told: list[str], ct: Any, mr: Any) -> str:
    """What is said to a registration that must not start."""
    register.ct.select(ct)
    register.mr.select(mr)
    click(qtbot, register.go)
    assert not register.job.is_running
    assert register.go.isEnabled()
    return told.pop()


def test_what_cannot_be_registered_is_refused_in_words(
    heads: Viewer, panel: OpenPanel, qtbot: QtBot, told: list[str]
) -> None:
    ct, mr = heads.layers["head CT"], heads.layers["head T2"]
    register = panel("Register & pair")
    grey = picture(head_pair()[0])
    pictures = add_volume(heads, Volume(grey, unit="grey"), "pictures")
    plain = heads.add_image(np.zeros((8, 9, 9), np.float32), name="plain")
    colour = heads.add_image(np.zeros((4, 8, 8, 3), np.uint8), rgb=True, name="colour")
    levels = [np.zeros((8, 16, 16)), np.zeros((4, 8, 8))]
    pyramid = heads.add_image(levels, multiscale=True, name="pyramid", scale=(2, 1, 1))
    thin = heads.add_image(np.zeros((1, 9, 9), np.float32), scale=(3, 2, 2), name="thin")
    labels = heads.add_labels(np.zeros((4, 8, 8), int), name="labels")

    def says(one: Any, other: Any) -> str:
        return refused(register, qtbot, told, one, other)

    assert says(ct, ct).startswith("CT and MR are one layer, 'head CT'")
    other = add_volume(heads, head_pair(seed=2)[1], "other T2")
    assert says(other, mr) == "layer 'other T2' is an MR and was chosen as CT; choose a CT"
    assert "'pictures' has no spacing" in says(ct, pictures)
    assert "'plain' has no spacing" in says(ct, plain)
    assert "'colour' is in colour" in says(ct, colour)
    assert "'pyramid' is multiscale" in says(ct, pyramid)
    assert "'thin' is one slice" in says(ct, thin)
    for chooser in (register.ct, register.mr):
        assert chooser.findText("head CT") >= 0
        assert chooser.findText(labels.name) < 0  # not offered at all
    heads.layers.clear()
    click(qtbot, register.go)
    assert told.pop().startswith("no layer is chosen as CT")


def test_a_layer_that_is_not_in_memory_is_registered_or_refused_in_words(
    heads: Viewer, panel: OpenPanel, qtbot: QtBot, settle: Settle, told: list[str]
) -> None:
    ct, mr = heads.layers["head CT"], heads.layers["head T2"]
    register = panel("Register & pair")
    huge = heads.add_image(da.zeros((4000, 2048, 2048)), scale=(2, 1, 1), name="huge")
    assert "'huge' is 125.0 GiB and not in memory" in refused(register, qtbot, told, ct, huge)

    _, attributes, _ = mr.as_layer_data_tuple()
    lazy = heads.add_image(da.from_array(mr.data), **attributes | {"name": "lazy"})
    for one, same in zip(to_register(ct, lazy), to_register(ct, mr), strict=True):
        assert one.geometry == same.geometry
        np.testing.assert_array_equal(one.data, same.data)
    register.mr.select(lazy)
    click(qtbot, register.go)
    assert register.job.is_running
    click(qtbot, register.stop)
    settle(register)
    assert not told


def test_layers_that_are_in_no_file_have_no_command_line_and_are_named(
    viewer: Viewer, panel: OpenPanel, qtbot: QtBot, settle: Settle, tmp_path: Path
) -> None:
    for volume, name in zip(head_pair(slices=12), ("head CT", "head T2"), strict=True):
        add_volume(viewer, volume, name)
    register = panel("Register & pair")
    click(qtbot, register.go)
    settle(register)
    command = register.command
    assert register.registered() is not None
    assert not command.line.isVisibleTo(register)
    assert command.why_not.isVisibleTo(register)
    words = command.why_not.text()
    assert "layer 'head CT' and layer 'head T2' are in no file" in words
    write_volume(head_pair()[0], tmp_path / "saved.nrrd")
    (ct,) = viewer.open(tmp_path / "saved.nrrd", plugin="napari-ct2mri")
    assert in_no_file(ct, viewer.layers["head T2"]).startswith("layer 'head T2' is in no file")
    assert in_no_file(ct) == ""


# ------------------------------------------------------------------ the end of a job


def test_cancel_leaves_no_layer_and_a_panel_that_goes_on(
    register: Any, viewer: Viewer, qtbot: QtBot, settle: Settle, told: list[str]
) -> None:
    click(qtbot, register.go)
    qtbot.waitUntil(lambda: "iterations" in register.status.text(), timeout=PATIENCE_MS)
    click(qtbot, register.stop)
    settle(register)
    assert register.status.text().startswith("cancelled")
    assert len(viewer.layers) == 2
    assert register.registered() is None
    assert not register.look.after.isEnabled()
    assert register.go.isEnabled()
    assert not told


@pytest.mark.parametrize("gone", ["ada CT", "ada T1"])
def test_a_layer_deleted_during_its_registration_ends_it(
    gone: str, register: Any, viewer: Viewer, qtbot: QtBot, settle: Settle
) -> None:
    click(qtbot, register.go)
    viewer.layers.remove(gone)
    settle(register)
    assert f"layer '{gone}' was removed" in register.notes.toPlainText()
    assert len(viewer.layers) == 1
    assert register.go.isEnabled()
    assert not register.stop.isEnabled()


def test_a_layer_with_holes_is_named(
    register: Any, viewer: Viewer, qtbot: QtBot, told: list[str]
) -> None:
    mr = viewer.layers["ada T1"]
    data = mr.data.astype(np.float32)
    data[0, 0, 0] = np.nan
    mr.data = data
    click(qtbot, register.go)
    assert told.pop().startswith("layer 'ada T1' holds NaN or infinity")


# ------------------------------------------------------------------ landmarks


def test_landmarks_are_numbered_and_must_pair(
    register: Any, viewer: Viewer, qtbot: QtBot, told: list[str]
) -> None:
    click(qtbot, register.ct_points.mark)
    marked = register.ct_points.layer()
    assert viewer.layers.selection.active is marked
    assert marked.mode == "add"
    assert not viewer.layers["ada T1"].visible
    ct, mr = viewer.layers["ada CT"], viewer.layers["ada T1"]
    z, y, x = np.array(ct.data.shape) // 2
    on_ct = np.array([(z, y, x), (z, y + 20, x), (z, y, x + 20), (z + 5, y, x)])
    marked.add([ct.data_to_world(p) for p in on_ct])
    assert list(marked.features["number"]) == [1, 2, 3, 4]
    click(qtbot, register.go)
    assert told.pop().startswith("landmarks: none are chosen in the MR")

    click(qtbot, register.mr_points.mark)
    in_mr = register.mr_points.layer()
    in_mr.add([mr.data_to_world(np.array(mr.data.shape) // 2)])
    click(qtbot, register.go)
    assert told.pop().startswith("landmarks: 4 in the CT and 1 in the MR")
    marked.selected_data = {0}
    marked.remove_selected()
    assert list(marked.features["number"]) == [1, 2, 3]

    in_mr.data = np.array([[-9999.0, 0, 0]] * 3)
    click(qtbot, register.go)
    assert "landmark 1 of 'MR landmarks' lies outside of 'ada T1'" in told.pop()


def test_landmarks_lie_where_the_scanner_saw_them(heads: Viewer, panel: OpenPanel) -> None:
    """By a voxel that no other is as bright as, in an image that is stored oblique and flipped."""
    volume = head_pair()[0]
    spots = [(0, 10, 40), (3, 50, 21), (1, 33, 7)]
    for number, spot in enumerate(spots):
        volume.data[spot] = 3000 + number
    layer = add_volume(heads, volume, "spotted CT")
    shown = [np.argwhere(layer.data == 3000 + number)[0] for number in range(3)]
    points = heads.add_points([layer.data_to_world(p) for p in shown], name="spots")
    affine = volume.geometry.affine
    expected = np.array(spots) @ affine[:3, :3].T + affine[:3, 3]
    np.testing.assert_allclose(points_of(layer, points, "CT"), expected, atol=1e-6)

    register = panel("Register & pair")
    register.ct.select(layer)
    for chooser in (register.ct_points, register.mr_points):
        chooser.select(points)
    with pytest.raises(VolumeError, match="'spots' is chosen as CT points and as MR points"):
        register._landmarks(layer, heads.layers["head T2"])
    register.mr_points.select(heads.add_points(points.data, name="the same of the MR"))
    start = register._landmarks(layer, heads.layers["head T2"])
    np.testing.assert_allclose(start.fit(), np.eye(4), atol=1e-6)


def test_landmarks_need_a_volume(
    viewer: Viewer, panel: OpenPanel, qtbot: QtBot, told: list[str]
) -> None:
    register = panel("Register & pair")
    click(qtbot, register.ct_points.mark)
    assert told.pop().startswith("no layer is chosen as CT")
    viewer.add_image(np.zeros((8, 8)), name="flat")
    click(qtbot, register.ct_points.mark)
    assert "'flat' has 2 axes" in told.pop()
    assert len(viewer.layers) == 1


def test_points_of_anybody_are_numbered_when_chosen(
    register: Any, viewer: Viewer, qtbot: QtBot
) -> None:
    places = np.random.default_rng(0).uniform(0, 50, (3, 3))
    points = viewer.add_points(places, features={"place": ["nasion", "left", "right"]})
    register.ct_points.select(points)
    for chooser in (register.mr_points, register.ct_points):
        chooser.select(points)  # again, and for both: numbered once
    points.add([1.0, 2, 3])
    assert list(points.features["number"]) == [1, 2, 3, 4]
    assert list(points.text.values) == ["1", "2", "3", "4"]
    points.remove([1])
    assert list(points.text.values) == ["1", "2", "3"]
    assert list(points.features["place"][:2]) == ["nasion", "right"]
    flat = viewer.add_points(np.zeros((2, 2)), name="flat")
    register.ct_points.select(flat)  # what is set on no volume is left alone
    assert "number" not in flat.features


def test_the_command_line_reads_the_landmarks_that_are_saved_for_it(
    register: Any,
    viewer: Viewer,
    qtbot: QtBot,
    settle: Settle,
    told: list[str],
    case: Displaced,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ct, mr = viewer.layers["ada CT"], viewer.layers["ada T1"]
    outline = surface(case.ct)
    on_ct = outline[[np.argmin(outline[:, 0]), np.argmax(outline[:, 0]), np.argmin(outline[:, 1])]]
    on_ct = on_ct + (outline.mean(axis=0) - on_ct) / 3  # well inside of both images
    for layer, lps, chooser in (
        (ct, on_ct, register.ct_points),
        (mr, moved(on_ct, case.truth), register.mr_points),
    ):
        index = moved(lps, inverse(layer_to_shown(layer).geometry.affine))
        chooser.select(viewer.add_points([layer.data_to_world(place) for place in index]))
    click(qtbot, register.go)
    settle(register)
    assert not told
    made = viewer.layers["ada T1 · on ada CT"]
    words = shlex.split(register.command.line.text())
    assert words[words.index("--landmarks") + 1] == "ada-T1-on-ada-CT-landmarks.csv"

    def answer(*asked: Any) -> tuple[str, str]:
        return str(tmp_path / asked[2]), ""

    monkeypatch.setattr(QFileDialog, "getSaveFileName", answer)
    click(qtbot, register.save_points)
    words = shlex.split(register.command.line.text())
    monkeypatch.chdir(tmp_path)
    assert main(words[1:]) == 0
    same = read_volume(tmp_path / words[4])
    np.testing.assert_array_equal(same.data, layer_to_volume(made).data)

    register.save_landmarks(tmp_path / "no such folder" / "points.csv")
    assert "the landmarks cannot be written: No such file" in told.pop()
    assert shlex.split(register.command.line.text()) == words
    register.mr.select(made)
    assert not register.save_points.isVisibleTo(register)


def test_train_opens_the_table(heads: Viewer, panel: OpenPanel, qtbot: QtBot) -> None:
    train = panel("Train")
    click(qtbot, train.edit)
    assert panel("Register & pair").table.isVisibleTo(heads.window._qt_window)
