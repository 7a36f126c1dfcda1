"""What all panels share: what is remembered, and the question before a window closes on a job."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from children import kill_child
from counting import Counting, is_open, press
from heads import head_pair
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, QPointF, QSettings, Qt, QTimer
from qtpy.QtGui import QCloseEvent, QWheelEvent
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QApplication,
    QCheckBox,
    QComboBox,
    QDialog,
    QDoubleSpinBox,
    QLineEdit,
    QMessageBox,
    QSlider,
    QSpinBox,
    QToolButton,
    QWidget,
)

from conftest import PATIENCE_MS, MakeViewer, OpenPanel
from napari_ct2mri.app.process import JobProcess
from napari_ct2mri.errors import ConfigError, JobError
from napari_ct2mri.jobs import Event, Progress
from napari_ct2mri.widgets.forms import OutputField
from napari_ct2mri.widgets.job import QtJob
from napari_ct2mri.widgets.layers import add_volume
from napari_ct2mri.widgets.memory import remember
from napari_ct2mri.widgets.models import ModelChooser
from napari_ct2mri.widgets.panel import Panel
from napari_ct2mri.widgets.settings import Settings

# ---------------------------------------------------------------- narrow docks

NAMES = ("Load", "Register & pair", "Train", "Synthesize", "Compare", "Board")


def test_nothing_is_cut_off_in_a_narrow_dock(heads: Viewer, panel: OpenPanel) -> None:
    heads.layers["head CT"].name = "a CT whose name is far longer than any dock is wide"
    for name in NAMES:
        opened = panel(name)
        for fold in opened.findChildren(QToolButton):
            fold.setChecked(fold.isCheckable())
        if name == "Synthesize":
            opened.slices.which.setCurrentText("range")
        needed = opened.scroll.widget().minimumSizeHint().width()
        bar = opened.scroll.verticalScrollBar().sizeHint().width()
        assert needed <= opened.minimumWidth() - bar, name


def test_compare_is_as_wide_as_its_figures_and_no_wider(
    heads: Viewer, panel: OpenPanel, settle: Callable[[Any], None]
) -> None:
    """The first time, too, when they have not found their places yet."""
    opened = panel("Compare")
    opened.fake.select(add_volume(heads, head_pair()[1], "synthetic T2"))
    opened.real.select(heads.layers["head T2"])
    opened.start()
    settle(opened)
    table, bar = opened.table, opened.scroll.verticalScrollBar().sizeHint().width()
    figures = 2 * max(table.sizeHintForColumn(i) for i in range(2))
    assert table.minimumWidth() >= table.verticalHeader().sizeHint().width() + figures
    needed = opened.scroll.widget().minimumSizeHint().width() + bar
    assert needed <= opened.minimumWidth() <= max(needed, 390)


def test_a_name_that_is_cut_off_is_in_the_tip(heads: Viewer, panel: OpenPanel) -> None:
    chooser = panel("Compare").ct
    heads.layers["head CT"].name = "a CT whose name is far longer than any dock is wide"
    assert chooser.toolTip().startswith(f"{heads.layers[-1].name}\nThe head is where")
    chooser.select(heads.layers["head T2"])
    assert chooser.toolTip().startswith("head T2\n")


# ---------------------------------------------------------------- the mouse wheel

FIELDS = (QComboBox, QAbstractSpinBox, QSlider)


def wheel(part: QWidget, turn: int = -120) -> None:
    """Turn the wheel over a part, down where nothing else is said; what ignores it hands it on.

    As Qt does with what comes from outside, but not with what is sent by ``sendEvent``.
    """
    there = QPointF(part.mapToGlobal(part.rect().center()))
    none, keys = Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier
    behind: QWidget | None = part
    while behind is not None:
        places = QPointF(behind.rect().center()), there, QPoint(0, 0), QPoint(0, turn)
        event = QWheelEvent(*places, none, keys, Qt.ScrollPhase.NoScrollPhase, False)
        QApplication.sendEvent(behind, event)
        if event.isAccepted():
            return
        behind = behind.parentWidget()


def says(field: QWidget) -> object:
    return field.currentIndex() if isinstance(field, QComboBox) else field.value()


@pytest.mark.parametrize("name", NAMES)
def test_the_wheel_changes_no_field_in_passing(
    name: str, heads: Viewer, panel: OpenPanel, qtbot: QtBot
) -> None:
    content = panel(name).scroll.widget()
    fields = [field for kind in FIELDS for field in content.findChildren(kind)]
    assert fields
    before = [says(field) for field in fields]
    qtbot.waitUntil(
        lambda: {field.focusPolicy() for field in fields} == {Qt.FocusPolicy.StrongFocus}
    )
    for field in fields:
        for turn in (-120, 120, 120):
            wheel(field, turn)
            assert says(field) == before[fields.index(field)]
    assert [says(field) for field in fields] == before


def test_the_wheel_scrolls_the_form_and_turns_the_field_that_one_went_into(
    make_napari_viewer: MakeViewer, qtbot: QtBot
) -> None:
    viewer = make_napari_viewer(show=True)
    _, train = viewer.window.add_plugin_dock_widget("napari-ct2mri", "Train")
    train.settings.epochs.setValue(77)
    bar, preset = train.scroll.verticalScrollBar(), train.settings.preset
    qtbot.waitUntil(lambda: preset.focusPolicy() == Qt.FocusPolicy.StrongFocus)
    qtbot.waitUntil(lambda: bar.maximum() > 0)
    wheel(preset)
    assert bar.value() > 0
    assert (train.settings.name(), train.settings.leaves()) == ("default", {"epochs": 77})
    wheel(bar, 120)
    assert bar.value() == 0
    with qtbot.waitActive(viewer.window._qt_window):
        viewer.window._qt_window.activateWindow()
    for field in (train.settings.epochs, preset):
        field.setFocus()
        assert field.hasFocus()
        before = says(field)
        wheel(field)
        assert says(field) != before


def test_the_wheel_passes_over_fields_that_come_later(qtbot: QtBot) -> None:
    panel = Panel(Viewer.__new__(Viewer), "go")
    qtbot.addWidget(panel)
    first, later, inner = QWidget(), QSpinBox(), QComboBox()
    panel.body.addWidget(first)
    qtbot.wait(10)
    panel.section("Later").addRow("number", later)
    inner.addItems(["a", "b"])
    inner.setParent(first)
    qtbot.wait(10)
    for field in (later, inner):
        wheel(field, 120)
        wheel(field)
        wheel(field)
        assert says(field) == 0
    later.setValue(7)
    assert later.value() == 7


# ---------------------------------------------------------------- memory


def filled(folder: Path) -> tuple[Panel, dict[str, Any]]:
    """A panel with a field of every kind."""
    panel = Panel(Viewer.__new__(Viewer), "go")
    fields = {
        "kind": QComboBox(),
        "typed": QComboBox(),
        "count": QSpinBox(),
        "share": QDoubleSpinBox(),
        "path": QLineEdit(),
        "deep": QCheckBox(),
        "output": OutputField("Save as", "", folder / "default.safetensors"),
        "model": ModelChooser(),
    }
    fields["kind"].addItems(["a", "b", "c"])
    fields["typed"].setEditable(True)
    fields["typed"].addItems(["T1", "T2"])
    panel.remember(**fields)
    return panel, fields


def test_what_was_chosen_last_is_there_again(qtbot: QtBot, tmp_path: Path, model: Path) -> None:
    first, fields = filled(tmp_path)
    qtbot.addWidget(first)
    fields["kind"].setCurrentText("c")
    fields["typed"].setEditText("CISS")
    fields["count"].setValue(17)
    fields["share"].setValue(0.25)
    fields["path"].setText(str(tmp_path))
    fields["deep"].setChecked(True)
    fields["output"].line.setText(str(tmp_path / "mine.safetensors"))
    fields["model"].add_file(model)
    second, again = filled(tmp_path)
    qtbot.addWidget(second)
    assert again["kind"].currentText() == "c"
    assert again["typed"].currentText() == "CISS"
    assert again["count"].value() == 17
    assert again["share"].value() == 0.25
    assert again["path"].text() == str(tmp_path)
    assert again["deep"].isChecked()
    assert again["output"].path() == tmp_path / "mine.safetensors"
    assert again["model"].required().path == model


def test_what_is_gone_falls_back(qtbot: QtBot, tmp_path: Path, model: Path) -> None:
    first, fields = filled(tmp_path)
    qtbot.addWidget(first)
    away = tmp_path / "away"
    away.mkdir()
    lost = away / "lost.safetensors"
    lost.write_bytes(model.read_bytes())
    fields["path"].setText(str(away))
    fields["output"].line.setText(str(away / "mine.safetensors"))
    fields["model"].add_file(lost)
    fields["kind"].addItem("d")
    fields["kind"].setCurrentText("d")
    lost.unlink()
    away.rmdir()
    second, again = filled(tmp_path)
    qtbot.addWidget(second)
    assert again["path"].text() == ""
    assert again["output"].path() == tmp_path / "default.safetensors"
    assert again["model"].required().path != lost
    assert again["kind"].currentText() == "a"


def test_every_panel_remembers(make_napari_viewer: MakeViewer, model: Path, tmp_path: Path) -> None:
    """What is chosen in one viewer is there in the next."""

    def opened() -> dict[str, Any]:
        window = make_napari_viewer().window
        names = ("Load", "Register & pair", "Train", "Synthesize", "Compare", "Board")
        return {name: window.add_plugin_dock_widget("napari-ct2mri", name)[1] for name in names}

    first = opened()
    first["Load"].path.setText(str(tmp_path))
    first["Register & pair"].kind.setCurrentIndex(1)
    first["Register & pair"].contrast.setEditText("CISS")
    first["Train"].init.add_file(model)
    first["Train"].settings.preset.setCurrentText("classic")
    first["Train"].settings.epochs.setValue(7)
    first["Train"].settings.rows["batch"].editor.setText("3")
    first["Train"].output.line.setText(str(tmp_path / "mine.safetensors"))
    first["Synthesize"].model.add_file(model)
    first["Synthesize"].with_spread.setChecked(True)
    first["Synthesize"].patient_data.setChecked(False)
    first["Compare"].with_maps.setChecked(False)
    first["Board"].folder.line.setText(str(tmp_path / "project"))
    first["Board"].board.setCurrentIndex(first["Board"].board.count() - 1)
    contrast = first["Board"].contrast
    contrast.setCurrentIndex(contrast.count() - 1)

    again = opened()
    assert again["Load"].path.text() == str(tmp_path)
    assert again["Register & pair"].kind.currentIndex() == 1
    assert again["Register & pair"].contrast.currentText() == "CISS"
    assert again["Train"].init.choice().path == model
    assert again["Train"].settings.name() == "classic"
    assert again["Train"].settings.leaves() == {"epochs": 7, "batch": 3}
    assert again["Train"].output.path() == tmp_path / "mine.safetensors"
    assert not again["Synthesize"].patient_data.isChecked()
    assert again["Synthesize"].model.choice().path == model
    assert again["Synthesize"].with_spread.isChecked()
    assert not again["Compare"].with_maps.isChecked()
    assert again["Board"].folder.path() == tmp_path / "project"
    assert again["Board"].board.currentText() == first["Board"].board.currentText()
    assert again["Board"].contrast.currentText() == contrast.currentText()


def test_settings_go_back_to_the_preset_and_that_is_remembered(qtbot: QtBot) -> None:
    def opened() -> Settings:
        settings = Settings()
        qtbot.addWidget(settings)
        remember("Panel", "settings", settings)
        return settings

    first = opened()
    first.epochs.setValue(7)
    first.forget()
    assert opened().leaves() == {}
    first.rows["batch"].editor.setText("many")  # no number: kept as it is written
    with pytest.raises(ConfigError, match="got 'many'"):
        opened().config()
    for damaged in ("5", "no json", '{"preset": "gone", "batch": 3, "gone": "1"}'):
        panels = QSettings(
            QSettings.Format.IniFormat, QSettings.Scope.UserScope, "napari-ct2mri", "panels"
        )
        panels.setValue("Panel/settings", damaged)
        panels.sync()
        assert opened().config()


# ---------------------------------------------------------------- a crash


def test_a_child_that_is_killed_is_a_message_and_a_panel_to_go_on_with(
    heads: Viewer,
    panel: OpenPanel,
    qtbot: QtBot,
    settle: Callable[[Any], None],
    told: list[str],
    model: Path,
) -> None:
    """Load and Train have such a test beside their other ones, the frame of all has the next."""
    synthesize = panel("Synthesize")
    synthesize.model.add_file(model)
    ct, _ = head_pair()
    many = replace(ct, data=np.tile(ct.data, (300, 1, 1)))
    synthesize.ct.select(add_volume(heads, many, "long CT"))
    before = list(heads.layers)
    synthesize.go.click()
    qtbot.waitUntil(lambda: len(heads.layers) > len(before), timeout=PATIENCE_MS)
    kill_child(synthesize.job)
    settle(synthesize)
    assert "the job was killed" in told.pop()
    assert "the job was killed" in synthesize.status.text()
    assert list(heads.layers) == before  # nothing half-made is left
    synthesize.ct.select(heads.layers["head CT"])
    assert synthesize.go.isEnabled()
    synthesize.go.click()
    settle(synthesize)
    assert len(heads.layers) == len(before) + 1
    assert not told


def test_any_job_that_was_killed_can_be_started_again(
    counting: tuple[Viewer, Counting], qtbot: QtBot, told: list[str]
) -> None:
    viewer, panel = counting
    kill_child(panel.job)
    qtbot.waitUntil(lambda: not panel.job.is_running, timeout=PATIENCE_MS)
    assert "the job was killed" in told.pop()
    assert "the job was killed" in panel.status.text()
    assert not panel.stop.isEnabled()
    assert is_open(viewer.window._qt_window)
    del panel.saw
    panel.go.click()
    qtbot.waitUntil(lambda: hasattr(panel, "saw"), timeout=PATIENCE_MS)
    assert not told


def test_a_child_that_cannot_be_started_is_one_line_and_a_panel_to_go_on_with(
    heads: Viewer,
    panel: OpenPanel,
    settle: Callable[[Any], None],
    told: list[str],
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise JobError("no child process can be started: No space left on device")

    synthesize = panel("Synthesize")
    synthesize.model.add_file(model)
    with monkeypatch.context() as patch:
        patch.setattr(JobProcess, "start", refuse)
        synthesize.go.click()
    assert told == ["no child process can be started: No space left on device"]
    assert synthesize.status.text() == told.pop()
    assert not synthesize.job.is_running
    assert not synthesize.at_work()
    assert synthesize.go.isEnabled()
    assert not synthesize.stop.isEnabled()
    synthesize.go.click()
    settle(synthesize)
    assert not told
    assert "head CT · synthetic T2" in heads.layers


# ---------------------------------------------------------------- cancel


def test_cancel_is_seen_to_be_heard(counting: tuple[Viewer, Counting], qtbot: QtBot) -> None:
    _, panel = counting
    panel.stop.click()
    assert panel.status.text() == "cancelling ..."
    assert not panel.stop.isEnabled()
    panel.job.event_came.emit(Progress(5, 9999, "sheep"))  # which was on its way
    assert panel.status.text() == "cancelling ..."
    qtbot.waitUntil(lambda: not panel.job.is_running, timeout=PATIENCE_MS)
    assert panel.status.text().startswith("cancelled")
    del panel.saw
    panel.go.click()
    qtbot.waitUntil(lambda: hasattr(panel, "saw"), timeout=PATIENCE_MS)
    assert panel.stop.isEnabled()
    assert "sheep" in panel.status.text()


def test_what_was_on_its_way_from_an_abandoned_job_is_passed_over(
    qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[JobProcess] = []
    monkeypatch.setattr(JobProcess, "start", lambda process, *_: started.append(process))
    job, heard = QtJob(), []
    for signal in (job.event_came, job.succeeded, job.failed):
        signal.connect(heard.append)
    job.start(lambda: None)  # type: ignore[arg-type, return-value]
    first, event = started[0], Event()
    say, end = first.on_event, first.on_result
    job.abandon()
    job.start(lambda: None)  # type: ignore[arg-type, return-value]
    say(event)
    end("the first")
    assert heard == []
    assert job.is_running
    started[1].on_event(event)
    started[1].on_result("the second")
    assert heard == [event, "the second"]


def test_an_abandoned_panel_can_be_started_again(
    counting: tuple[Viewer, Counting], qtbot: QtBot
) -> None:
    """As when its window was only hidden, by a program."""
    _, panel = counting
    panel.abandon()
    assert panel.go.isEnabled()
    assert not panel.stop.isEnabled()
    qtbot.waitUntil(panel.left_behind.exists, timeout=PATIENCE_MS)


# ---------------------------------------------------------------- closing


def cross(window: Any) -> None:
    """The cross of the window, as the window system reports it."""
    QApplication.sendEvent(window.windowHandle(), QCloseEvent())


def ctrl_w(window: Any) -> None:
    """What napari calls, after a question of its own where it is set to ask."""
    window.close(quit_app=False, confirm_need=True)


def ctrl_q(window: Any) -> None:
    """What napari calls, likewise."""
    window.close(quit_app=True, confirm_need=True)


Way = Callable[[Any], None]


@pytest.mark.parametrize("way", [cross, ctrl_w, ctrl_q])
def test_closing_on_a_job_asks_and_keeps_the_window(
    way: Way, counting: tuple[Viewer, Counting]
) -> None:
    viewer, panel = counting
    seen: list[str] = []
    press(QMessageBox.ButtonRole.RejectRole, seen)
    way(viewer.window._qt_window)
    assert is_open(viewer.window._qt_window)
    assert len(seen) == 1
    assert seen[0].startswith("Count: ")
    assert "of 9999 sheep" in seen[0]
    assert "last checkpoint" in seen[0]
    assert panel.job.is_running
    assert not panel.left_behind.exists()


@pytest.mark.parametrize("way", [cross, ctrl_w])
def test_closing_on_a_job_ends_it_cleanly_once_that_is_said(
    way: Way, counting: tuple[Viewer, Counting], qtbot: QtBot
) -> None:
    viewer, panel = counting
    window = viewer.window._qt_window
    seen: list[str] = []
    press(QMessageBox.ButtonRole.DestructiveRole, seen)
    way(window)
    qtbot.waitUntil(lambda: not is_open(window), timeout=PATIENCE_MS)
    assert len(seen) == 1
    assert not panel.job.is_running
    qtbot.waitUntil(panel.left_behind.exists, timeout=PATIENCE_MS)


def test_a_program_that_closes_its_viewer_is_not_asked(
    counting: tuple[Viewer, Counting], qtbot: QtBot
) -> None:
    viewer, panel = counting
    seen: list[QDialog] = []
    QTimer.singleShot(200, lambda: seen.extend(filter(None, [QApplication.activeModalWidget()])))
    viewer.close()
    assert not panel.job.is_running
    qtbot.waitUntil(panel.left_behind.exists, timeout=PATIENCE_MS)
    assert not seen


def test_closing_without_a_job_does_not_ask(
    counting: tuple[Viewer, Counting], qtbot: QtBot
) -> None:
    viewer, panel = counting
    panel.job.cancel()
    qtbot.waitUntil(lambda: not panel.job.is_running, timeout=PATIENCE_MS)
    window = viewer.window._qt_window
    cross(window)
    assert not is_open(window)
