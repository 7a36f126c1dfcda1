"""Panels share one place in the window; the cross of a panel asks before it ends a job."""

from __future__ import annotations

from typing import Any

import pytest
from counting import Counting, press
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication, QDockWidget, QMenu, QMessageBox, QPushButton, QTabBar

from conftest import PATIENCE_MS, MakeViewer
from napari_ct2mri.widgets.docks import bring_forward, dock_of
from napari_ct2mri.widgets.panel import Panel

NAMES = ("Load", "Register & pair", "Train", "Synthesize", "Compare", "Board")
SIZE_PX = (1400, 900)
SOON_MS = 20_000
LEAST_PX = 500
"""Of a form, to work in, at that size of the window."""


@pytest.fixture
def seen(make_napari_viewer: MakeViewer, qtbot: QtBot) -> Viewer:
    """A viewer that can be seen."""
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(*SIZE_PX)
    window = viewer.window._qt_window
    qtbot.waitUntil(lambda: (window.width(), window.height()) == SIZE_PX, timeout=SOON_MS)
    return viewer


def open_panel(viewer: Viewer, name: str, qtbot: QtBot) -> tuple[QDockWidget, Any]:
    dock, panel = viewer.window.add_plugin_dock_widget("napari-ct2mri", name)
    qtbot.waitUntil(lambda: is_in_front(panel), timeout=SOON_MS)
    return dock, panel


def is_in_front(panel: Panel) -> bool:
    return not panel.visibleRegion().isEmpty()


def choose(menu: QMenu, *path: str) -> None:
    """Choose an entry as a person finds it, by the beginnings of its words."""
    (entry,) = [action for action in menu.actions() if action.text().startswith(path[0])]
    choose(entry.menu(), *path[1:]) if path[1:] else entry.trigger()


def tabs(window: Any) -> QTabBar:
    """The bar under the panels; Compare has another."""
    (bar,) = [bar for bar in window.findChildren(QTabBar) if bar.parent() is window]
    return bar


def test_panels_lie_one_behind_the_other_and_the_window_does_not_grow(
    seen: Viewer, qtbot: QtBot
) -> None:
    window = seen.window._qt_window
    opened = [open_panel(seen, name, qtbot) for name in NAMES]
    bar = tabs(window)
    assert [bar.tabText(i).replace("&&", "&") for i in range(bar.count())] == list(NAMES)
    for i, (_, panel) in enumerate(opened):
        qtbot.mouseClick(bar, Qt.MouseButton.LeftButton, pos=bar.tabRect(i).center())
        qtbot.waitUntil(lambda panel=panel: is_in_front(panel), timeout=SOON_MS)
        assert panel.scroll.viewport().height() >= LEAST_PX, NAMES[i]
        assert (window.width(), window.height()) == SIZE_PX


def test_panels_of_the_other_menus_are_tabs_too(seen: Viewer, qtbot: QtBot) -> None:
    window = seen.window
    choose(window.file_menu, "IO", "Load")
    choose(window.layers_menu, "Measure", "Compare")
    choose(window.plugins_menu, "CT to MR", "Train")
    load, compare, train = window._qt_window.findChildren(Panel)
    qtbot.waitUntil(lambda: is_in_front(train), timeout=SOON_MS)
    assert not is_in_front(load)
    assert not is_in_front(compare)
    choose(window.plugins_menu, "CT to MR", "Train")  # napari's way to hide it
    qtbot.waitUntil(lambda: not is_in_front(train), timeout=SOON_MS)
    choose(window.plugins_menu, "CT to MR", "Train")
    qtbot.waitUntil(lambda: is_in_front(train), timeout=SOON_MS)


def test_a_panel_comes_onto_the_place_of_a_hidden_one(seen: Viewer, qtbot: QtBot) -> None:
    dock, load = open_panel(seen, "Load", qtbot)
    dock.hide()
    other, _ = open_panel(seen, "Compare", qtbot)
    bring_forward(dock)
    qtbot.waitUntil(lambda: is_in_front(load), timeout=SOON_MS)
    assert other in seen.window._qt_window.tabifiedDockWidgets(dock)


def test_a_dock_that_was_put_elsewhere_is_left_alone(seen: Viewer, qtbot: QtBot) -> None:
    window = seen.window._qt_window
    floating, _ = open_panel(seen, "Load", qtbot)
    floating.setFloating(True)
    left, _ = open_panel(seen, "Compare", qtbot)
    window.addDockWidget(Qt.DockWidgetArea.LeftDockWidgetArea, left)
    alone, panel = open_panel(seen, "Synthesize", qtbot)
    assert floating.isFloating()
    assert window.dockWidgetArea(left) == Qt.DockWidgetArea.LeftDockWidgetArea
    assert not [dock for dock in (left, alone) if window.tabifiedDockWidgets(dock)]
    beside, _ = open_panel(seen, "Train", qtbot)
    assert window.tabifiedDockWidgets(beside) == [alone]
    window.removeDockWidget(beside)  # as one drags it apart
    window.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, beside)
    assert not window.tabifiedDockWidgets(beside)
    beside.hide()
    beside.show()
    qtbot.waitUntil(lambda: is_in_front(panel), timeout=SOON_MS)
    assert not window.tabifiedDockWidgets(beside)


# ---------------------------------------------------------------- the cross of a panel


def cross(panel: Panel) -> QPushButton:
    dock = dock_of(panel)
    assert dock is not None
    return dock.titleBarWidget().findChild(QPushButton, "QTitleBarCloseButton")


@pytest.mark.parametrize("floats", [False, True])
def test_the_cross_on_a_job_asks_and_keeps_the_panel(
    counting: tuple[Viewer, Counting], qtbot: QtBot, floats: bool
) -> None:
    viewer, panel = counting
    dock = dock_of(panel)
    assert dock is not None
    dock.setFloating(floats)  # napari makes another title bar
    asked: list[str] = []
    press(QMessageBox.ButtonRole.RejectRole, asked)
    qtbot.mouseClick(cross(panel), Qt.MouseButton.LeftButton)
    assert len(asked) == 1
    assert asked[0].startswith("Count: ")
    assert "close the panel?" in asked[0]
    assert dock_of(panel) is dock
    assert panel.job.is_running
    assert not panel.left_behind.exists()
    assert viewer.window._qt_window.isVisible()


def test_the_cross_on_a_job_ends_it_cleanly_once_that_is_said(
    counting: tuple[Viewer, Counting], qtbot: QtBot
) -> None:
    viewer, panel = counting
    asked: list[str] = []
    press(QMessageBox.ButtonRole.DestructiveRole, asked)
    qtbot.mouseClick(cross(panel), Qt.MouseButton.LeftButton)
    assert len(asked) == 1
    assert dock_of(panel) is None
    assert not panel.job.is_running
    qtbot.waitUntil(panel.left_behind.exists, timeout=PATIENCE_MS)
    assert viewer.window._qt_window.isVisible()


def test_the_cross_without_a_job_closes_at_once(
    counting: tuple[Viewer, Counting], qtbot: QtBot
) -> None:
    _, panel = counting
    panel.job.cancel()
    qtbot.waitUntil(lambda: not panel.job.is_running, timeout=PATIENCE_MS)
    asked: list[Any] = []
    QTimer.singleShot(100, lambda: asked.extend(filter(None, [QApplication.activeModalWidget()])))
    qtbot.mouseClick(cross(panel), Qt.MouseButton.LeftButton)
    assert dock_of(panel) is None
    qtbot.wait(200)
    assert not asked
