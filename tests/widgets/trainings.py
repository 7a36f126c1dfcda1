"""What tests of the Train panel do again and again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt

from conftest import PATIENCE_MS, SMALL

LONG = 1000  # epochs: longer than any test waits


def click(qtbot: QtBot, button: Any) -> None:
    assert button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def set_small(train: Any, output: Path, epochs: int = LONG) -> None:
    """A network that takes no time."""
    for leaf, value in (SMALL | {"width": 4}).items():
        train.settings.rows[leaf].editor.setText(str(value))
    train.settings.epochs.setValue(epochs)
    train.output.line.setText(str(output))


def wait_for(qtbot: QtBot, is_so: Callable[[], Any]) -> None:
    qtbot.waitUntil(lambda: bool(is_so()), timeout=PATIENCE_MS)


def states(train: Any) -> list[tuple[str, str]]:
    return [(run.name, run.state) for run in train.runs]
