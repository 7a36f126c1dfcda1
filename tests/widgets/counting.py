"""A panel whose job goes on until somebody ends it, and an answer to the question about it."""

from __future__ import annotations

from pathlib import Path

from napari._qt.dialogs.confirm_close_dialog import ConfirmCloseDialog
from napari.viewer import Viewer
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QMainWindow, QMessageBox
from sheep import count

from napari_ct2mri.jobs import Event
from napari_ct2mri.widgets.panel import Panel


class Counting(Panel):
    def __init__(self, viewer: Viewer, left_behind: Path) -> None:
        super().__init__(viewer, "Count")
        self.left_behind = left_behind

    def start(self) -> None:
        self.run(lambda result: None, count, self.left_behind)

    def on_event(self, event: Event) -> None:
        self.saw = event


def is_open(window: QMainWindow) -> bool:
    """Whether a window is there and visible; Qt deletes it when it has closed."""
    try:
        return window.isVisible()
    except RuntimeError:
        return False


def press(role: QMessageBox.ButtonRole, seen: list[str]) -> None:
    """Press a button of the question as soon as it is there."""

    def look() -> None:
        box = QApplication.activeModalWidget()
        if isinstance(box, QMessageBox):
            seen.append(box.text() + "\n" + box.informativeText())
            (button,) = [b for b in box.buttons() if box.buttonRole(b) == role]
            button.click()
        else:
            if isinstance(box, ConfirmCloseDialog):  # napari's own question comes first
                box.close_btn.click()
            QTimer.singleShot(50, look)

    QTimer.singleShot(50, look)
