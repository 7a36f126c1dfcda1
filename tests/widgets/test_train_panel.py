"""The Train panel in a real viewer, with real children: a run, its preview, settings, refusals."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
from heads import OBLIQUE, head_pair
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt, QTimer
from trainings import click, set_small, states, wait_for

from conftest import OpenPanel
from napari_ct2mri.app import workflows
from napari_ct2mri.app.cli import main
from napari_ct2mri.config import TrainConfig
from napari_ct2mri.errors import Ct2MriError
from napari_ct2mri.imaging.io import read_volume
from napari_ct2mri.jobs import EpochDone, Event, Job, Preview
from napari_ct2mri.pix2pix.checkpoint import read_header
from napari_ct2mri.pix2pix.pairs import read_pairs
from napari_ct2mri.widgets.layers import add_volume

Settle = Callable[[Any], None]

# ---------------------------------------------------------------- a whole run


def test_a_run_from_layers_is_watched_and_listed(
    heads: Viewer, train: Any, qtbot: QtBot, settle: Settle, tmp_path: Path
) -> None:
    assert train.counted.text() == "2 pairs of 2 patients (T2): 1 train, 1 val"
    set_small(train, tmp_path / "mine.safetensors", epochs=3)
    seen: list[Event] = []
    train.job.event_came.connect(seen.append)
    turns: list[int] = []
    timer = QTimer()
    timer.timeout.connect(lambda: turns.append(1))
    timer.start(20)
    click(qtbot, train.go)
    assert not train.go.isEnabled()
    settle(train)
    timer.stop()

    assert train.go.isEnabled()
    assert not train.stop.isEnabled()
    assert not train.pause.isEnabled()
    assert len(turns) > 20  # the viewer kept turning
    assert states(train) == [("mine", "done")]
    texts = [train.runs.table.item(0, column).text() for column in range(4)]
    assert texts[:3] == ["mine", "done", "3 of 3"]
    assert texts[3].endswith(f"at {read_header(tmp_path / 'mine.safetensors').epochs}")
    epochs, losses = train.curves.losses.lines["mine"].getData()
    assert list(epochs) == [1, 2, 3]
    assert list(losses) == [e.losses["l2"] for e in seen if isinstance(e, EpochDone)]
    assert train.curves.validation.choice.currentText() == "in-head SSIM"
    assert list(train.curves.validation.lines) == ["mine"]
    previews = [e for e in seen if isinstance(e, Preview)]
    assert {p.label for p in previews} == {"train-fit"}
    assert not [layer for layer in heads.layers if "preview" in layer.name]
    assert train.output.path().name == "mine-2.safetensors"  # the next does not overwrite it

    rows = read_pairs(tmp_path / "mine-pairs" / "pairs.csv").rows
    assert [(r.patient, r.split) for r in rows] == [("ada", "train"), ("bea", "val")]
    written = read_volume(rows[1].ct)
    assert written.geometry.is_close(OBLIQUE, 1e-9)
    np.testing.assert_array_equal(written.data, head_pair(seed=5)[0].data)


def test_two_runs_lie_over_one_another_and_are_chosen(
    train: Any, qtbot: QtBot, settle: Settle, told: list[str], model: Path, tmp_path: Path
) -> None:
    train.runs.add_file(model)
    train.runs.add_file(tmp_path / "none.safetensors")
    assert "none.safetensors: no such checkpoint" in told.pop()
    assert states(train) == [("tiny", "done")]
    set_small(train, tmp_path / "mine.safetensors", epochs=1)
    click(qtbot, train.go)
    settle(train)
    assert list(train.curves.losses.lines) == ["tiny", "mine"]
    assert len({run.colour for run in train.runs}) == 2
    train.runs.table.item(0, 0).setCheckState(Qt.CheckState.Unchecked)
    assert list(train.curves.losses.lines) == ["mine"]
    train.runs.table.selectRow(0)
    click(qtbot, train.runs.remove)
    assert states(train) == [("mine", "done")]
    assert model.is_file()


# ---------------------------------------------------------------- the preview


def test_the_preview_lies_on_the_slice_in_view(
    heads: Viewer, train: Any, qtbot: QtBot, settle: Settle, tmp_path: Path
) -> None:
    ct = heads.layers["head CT"]
    set_small(train, tmp_path / "m.safetensors")
    train.keep.setChecked(True)
    heads.dims.set_current_step(0, 1)
    click(qtbot, train.go)
    shown = "head CT · preview T2, train-fit"
    wait_for(qtbot, lambda: shown in heads.layers)
    layer = heads.layers[shown]
    assert heads.layers.selection.active is ct
    assert layer.data.shape == (1, *ct.data.shape[1:])

    def lies_on(index: int) -> bool:
        corner = ct.data_to_world((index, 0, 0))
        return np.allclose(layer.data_to_world((0, 0, 0)), corner)

    assert lies_on(1)
    first = layer.data.copy()
    wait_for(qtbot, lambda: not np.array_equal(layer.data, first))  # it learns
    heads.dims.set_current_step(0, 3)
    wait_for(qtbot, lambda: lies_on(3))
    assert "Slice 3" in train.seen.text()
    assert "train-fit, the model was trained on slices of this patient" in train.seen.text()
    wait_for(qtbot, lambda: train._run.records)
    click(qtbot, train.stop)
    settle(train)
    assert layer in heads.layers
    assert layer.name == f"m after epoch {len(next(iter(train.runs)).records)}"
    assert np.ptp(layer.data) > 0


@pytest.mark.parametrize("gone", ["preview", "CT"])
def test_a_layer_taken_out_does_not_hurt_the_job(
    gone: str, heads: Viewer, train: Any, qtbot: QtBot, settle: Settle, tmp_path: Path
) -> None:
    set_small(train, tmp_path / "m.safetensors")
    click(qtbot, train.go)
    wait_for(qtbot, lambda: train._preview.layer)
    heads.layers.remove(train._preview.layer if gone == "preview" else heads.layers["head CT"])
    before = len(train._run.records)
    wait_for(qtbot, lambda: len(train._run.records) > before + 2)
    assert not [layer for layer in heads.layers if "preview" in layer.name]
    click(qtbot, train.stop)
    settle(train)
    assert states(train) == [("m", "stopped")]
    if gone == "CT":
        assert "layer 'head CT' was removed, and with it 1 pair" in train.notes.toPlainText()


def test_nobody_needs_to_watch(train: Any, qtbot: QtBot, settle: Settle, tmp_path: Path) -> None:
    set_small(train, tmp_path / "m.safetensors", epochs=1)
    train.watch.setCurrentIndex(0)
    assert train.watch.currentText() == "none"
    seen: list[Event] = []
    train.job.event_came.connect(seen.append)
    click(qtbot, train.go)
    settle(train)
    assert states(train) == [("m", "done")]
    assert not [e for e in seen if isinstance(e, Preview)]


# ---------------------------------------------------------------- settings


def test_what_differs_from_the_preset_is_marked_and_can_be_reset(panel: OpenPanel) -> None:
    settings = panel("Train").settings
    row = settings.rows["learning_rate"]
    assert settings.leaves() == {}
    assert (row.editor.text(), row.label.text()) == ("0.0007", "Learning rate")
    assert settings.fold.text() == "All settings"
    row.editor.setText("0.002")
    assert settings.leaves() == {"learning_rate": 0.002}
    assert row.label.text() == "<b>Learning rate •</b>"
    assert settings.fold.text() == "All settings · 1 changed"
    row.editor.setText("0.0007")  # by hand
    assert settings.leaves() == {}
    row.editor.setText("0.002")
    row.reset.click()
    assert (settings.leaves(), row.editor.text()) == ({}, "0.0007")
    settings.epochs.setValue(20)
    assert settings.rows["decay_epochs"].editor.text() == "16"  # the schedule keeps its shape
    settings.preset.setCurrentText("classic")
    assert settings.leaves() == {}
    assert settings.config() == TrainConfig.model_validate(settings.config().model_dump())
    assert (settings.epochs.value(), row.editor.text()) == (200, "0.0002")
    row.editor.setText("0.002")
    settings.reset.click()
    assert settings.leaves() == {}


@pytest.mark.parametrize(
    ("leaf", "text", "words"),
    [
        ("learning_rate", "fast", "Learning rate: expected a number, got 'fast'"),
        ("batch", "2.5", "Batch: expected a whole number, got '2.5'"),
        ("learning_rate", "0", "Learning rate: input should be greater than 0"),
        ("decay_epochs", "50", "50 falling epochs, but only 24 in all"),
        ("windows", "40", "CT windows 40: expected LEVEL/WIDTH in HU, as in 40/80"),
    ],
)
def test_a_wrong_setting_is_said_in_words(
    leaf: str, text: str, words: str, train: Any, qtbot: QtBot, told: list[str], tmp_path: Path
) -> None:
    train.output.line.setText(str(tmp_path / "m.safetensors"))
    train.settings.rows[leaf].editor.setText(text)
    assert words in train.settings.problem.text()
    assert train.command.line.text() == ""
    assert words in train.command.why_not.text()
    click(qtbot, train.go)
    assert words in told.pop()
    assert train.go.isEnabled()
    train.settings.rows[leaf].reset.click()
    assert not train.settings.problem.isVisibleTo(train)


def test_epochs_that_are_typed_stay(panel: OpenPanel, qtbot: QtBot) -> None:
    """Enter, as leaving the field does, tells of the same number once more."""
    settings = panel("Train").settings
    usual = settings.epochs.text()
    for text, leaves in (("7", {"epochs": 7}), (usual, {})):
        settings.epochs.selectAll()
        qtbot.keyClicks(settings.epochs, text)
        for _ in range(2):
            qtbot.keyClick(settings.epochs, Qt.Key.Key_Return)
        assert settings.epochs.text() == text
        assert settings.leaves() == leaves


def test_no_file_to_save_as_is_said(train: Any, qtbot: QtBot, told: list[str]) -> None:
    for text in ("/", "~nobody-is-called-so/m.safetensors", " "):
        train.output.line.setText(text)  # as it is on the way to a whole path
    assert train.command.line.text() == ""
    assert "no file is chosen" in train.command.why_not.text()
    click(qtbot, train.go)
    assert told.pop().startswith("no file is chosen under 'Save as'")
    assert train.go.isEnabled()


def test_a_model_to_start_from_decides_its_network(panel: OpenPanel, model: Path) -> None:
    train = panel("Train")
    settings = train.settings
    settings.rows["width"].editor.setText("12")
    train.init.add_file(model)
    assert settings.rows["width"].editor.text() == "4"
    assert not settings.rows["width"].editor.isEnabled()
    assert settings.leaves() == {}
    train.init.combo.setCurrentIndex(0)
    assert settings.rows["width"].editor.text() == "32"
    assert settings.rows["width"].editor.isEnabled()


@pytest.mark.parametrize("preset", ["default", "classic"])
def test_the_command_line_asks_for_the_same(
    preset: str,
    train: Any,
    qtbot: QtBot,
    settle: Settle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    train.settings.preset.setCurrentText(preset)
    set_small(train, tmp_path / "a run.safetensors", epochs=7)
    for leaf, text in (("windows", "40/80 -600/1500"), ("gan", "lsgan"), ("ssim", "2.5e-3")):
        editor = train.settings.rows[leaf].editor
        (editor.setCurrentText if leaf == "gan" else editor.setText)(text)
    train.target.setCurrentText("T2")
    words = shlex.split(train.command.line.text())
    asked: list[Any] = []

    def ask(*args: Any, **options: Any) -> Job[None]:
        asked.append((args, options))
        raise Ct2MriError("asked")
        yield

    monkeypatch.setattr(workflows, "train", ask)
    assert words[0] == "ct2mri"
    assert main(words[1:]) == 1
    ((pairs, output, config), options) = asked[0]
    assert config == train.settings.config()
    assert config.model.input.windows[1].level == -600
    assert output == tmp_path / "a run.safetensors"
    assert options["contrast"] == "T2"
    assert pairs == tmp_path / "a run-pairs" / "pairs.csv"


def test_there_is_no_half_epoch(panel: OpenPanel) -> None:
    axis = panel("Train").curves.losses.plot.getAxis("bottom")
    for last in (1.4, 2, 5, 40, 300):
        for _, ticks in axis.tickValues(0.9, last, 250):
            assert all(float(tick).is_integer() for tick in ticks)
    assert [tick for _, ticks in axis.tickValues(0.9, 3.1, 250) for tick in ticks] == [1, 2, 3]


def test_curves_follow_the_theme(viewer: Viewer, panel: OpenPanel) -> None:
    train = panel("Train")
    seen = set()
    for theme in ("dark", "light"):
        viewer.theme = theme
        seen.add(train.curves.losses.plot.backgroundBrush().color().name())
    assert len(seen) == 2


# ---------------------------------------------------------------- what cannot be trained on


def test_no_pairs_and_no_place_are_refused(
    heads: Viewer, panel: OpenPanel, qtbot: QtBot, settle: Settle, told: list[str], tmp_path: Path
) -> None:
    train = panel("Train")
    train.output.line.setText(str(tmp_path / "m.safetensors"))
    click(qtbot, train.go)
    assert told.pop().startswith("the table of pairs is empty")
    ct, mr = heads.layers["head CT"], heads.layers["head T2"]
    train.pairs.add_layers(ct, mr, "ada", "T2", "train")
    heads.layers.remove(mr)
    assert train.counted.text() == "no pairs yet"
    assert "layer 'head T2' was removed" in train.notes.toPlainText()
    click(qtbot, train.go)
    assert told.pop().startswith("the table of pairs is empty")

    train.pairs.add_layers(ct, add_volume(heads, head_pair()[1], "T2"), "ada", "T2", "train")
    train.output.line.setText(str(tmp_path / "model.pt"))
    click(qtbot, train.go)
    assert "ends in .safetensors" in told.pop()
    (tmp_path / "file").touch()
    set_small(train, tmp_path / "file" / "m.safetensors", epochs=1)
    click(qtbot, train.go)
    settle(train)
    assert "the pairs cannot be written there" in told.pop()
    assert train.go.isEnabled()
    train.output.line.setText(str(tmp_path / "file"))
    click(qtbot, train.go)
    assert "ends in .safetensors" in told.pop()


def refused_layers() -> dict[str, Callable[[Viewer], Any]]:
    ct, mr = head_pair()
    return {
        "are one layer": lambda v: (v.layers["head CT"], v.layers["head CT"]),
        "is an MR and was chosen as CT": lambda v: (
            v.layers["head T2"],
            add_volume(v, replace(mr), "again"),
        ),
        "is in colour": lambda v: (
            v.layers["head CT"],
            v.add_image(np.zeros((4, 64, 64, 3), np.uint8), rgb=True, name="photo"),
        ),
        "holds labels": lambda v: (
            v.layers["head CT"],
            v.add_labels(np.zeros(ct.data.shape, np.uint8), name="mask"),
        ),
        "is multiscale": lambda v: (
            v.layers["head CT"],
            v.add_image([mr.data, mr.data[:, ::2, ::2]], multiscale=True, name="pyramid"),
        ),
    }


@pytest.mark.parametrize("words", refused_layers())
def test_layers_that_make_no_pair_are_refused(words: str, heads: Viewer, panel: OpenPanel) -> None:
    train = panel("Train")
    with pytest.raises(Ct2MriError, match=words):
        train.pairs.add_layers(*refused_layers()[words](heads), "ada", "T2", "train")
    assert train.counted.text() == "no pairs yet"


def test_a_dask_layer_is_trained_on(
    heads: Viewer, panel: OpenPanel, qtbot: QtBot, settle: Settle, tmp_path: Path
) -> None:
    mr = heads.layers["head T2"]
    lazy = heads.add_image(
        dask.array.from_array(mr.data, chunks=(1, 64, 64)),
        scale=mr.scale,
        translate=mr.translate,
        units=mr.units,
        metadata=mr.metadata,
        name="lazy",
    )
    train = panel("Train")
    train.pairs.add_layers(heads.layers["head CT"], lazy, "ada", "T2", "train")
    set_small(train, tmp_path / "m.safetensors", epochs=1)
    click(qtbot, train.go)
    settle(train)
    assert states(train) == [("m", "done")]


def test_what_the_child_refuses_is_said_with_its_words(
    train: Any, qtbot: QtBot, settle: Settle, told: list[str], model: Path, tmp_path: Path
) -> None:
    gone = tmp_path / "gone.safetensors"
    gone.write_bytes(model.read_bytes())
    train.init.add_file(gone)
    gone.unlink()
    train.output.line.setText(str(tmp_path / "m.safetensors"))
    click(qtbot, train.go)
    settle(train)
    assert "gone.safetensors" in told.pop()
    assert states(train) == [("m", "stopped")]
    click(qtbot, train.runs.resume)
    assert "nothing to resume" in told.pop()
    assert train.go.isEnabled()
    train.init.combo.setCurrentIndex(0)
    set_small(train, tmp_path / "m.safetensors", epochs=1)
    train.settings.rows["frame_px"].editor.setText("60")
    click(qtbot, train.go)
    settle(train)
    assert "frame_px 60 is not a multiple of 2^levels = 8; choose 64" in told.pop()
