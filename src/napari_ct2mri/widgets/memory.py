"""What was chosen last in a panel, kept across starts in one small file of settings.

Kept are words, numbers and the paths of files that a person typed or picked: no pixels, no names of
layers, nothing out of a file. The file is where Qt keeps settings of a person's programs
(``~/.config/napari-ct2mri/panels.ini`` on Linux).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

from qtpy.QtCore import QSettings, SignalInstance
from qtpy.QtWidgets import QAbstractButton, QComboBox, QDoubleSpinBox, QLineEdit, QSpinBox, QWidget

from napari_ct2mri.widgets.forms import written_path

__all__ = ["Remembers", "remember"]


class Remembers(Protocol):
    """A field of several parts that says itself what to keep of it."""

    changed: SignalInstance

    def to_remember(self) -> str:
        """What is chosen, as one word or path."""

    def recall(self, text: str) -> None:
        """Choose that again; what is no longer to be had is passed over."""


def remember(panel: str, name: str, field: QWidget | Remembers) -> None:
    """Take up what was chosen last in a field, and keep what will be chosen.

    Parameters
    ----------
    panel, name : str
        Under which it is kept; a name without blanks.
    field
        A combo box, spin box, line of text or check box, or a part of a form that
        :class:`Remembers`. A choice or number that there no longer is leaves it as it was.
    """
    changed, get, put = _access(field)
    settings = _settings()
    key = f"{panel}/{name}"
    kept = settings.value(key)
    if isinstance(kept, str):
        with suppress(ValueError, TypeError):  # edited by hand
            put(kept)
    changed.connect(partial(_keep, settings, key, get))


def _keep(settings: QSettings, key: str, get: Callable[[], str], *_: object) -> None:
    settings.setValue(key, get())


def _settings() -> QSettings:
    return QSettings(
        QSettings.Format.IniFormat, QSettings.Scope.UserScope, "napari-ct2mri", "panels"
    )


def _access(field: Any) -> tuple[SignalInstance, Callable[[], str], Callable[[str], None]]:
    """How a field tells that it changed, what is in it as text, and how text gets into it."""
    if isinstance(field, QComboBox):
        return field.currentTextChanged, field.currentText, partial(_choose, field)
    if isinstance(field, QSpinBox):
        return field.valueChanged, lambda: str(field.value()), lambda t: field.setValue(int(t))
    if isinstance(field, QDoubleSpinBox):
        return field.valueChanged, lambda: str(field.value()), lambda t: field.setValue(float(t))
    if isinstance(field, QLineEdit):
        return field.textChanged, field.text, partial(_write_path, field)
    if isinstance(field, QAbstractButton):
        return (
            field.toggled,
            lambda: str(int(field.isChecked())),
            lambda t: field.setChecked(t == "1"),
        )
    return field.changed, field.to_remember, field.recall


def _choose(combo: QComboBox, text: str) -> None:
    index = combo.findText(text)
    if index >= 0:
        combo.setCurrentIndex(index)
    elif combo.isEditable():
        combo.setEditText(text)


def _write_path(line: QLineEdit, text: str) -> None:
    """Write a path into a line, unless it is gone."""
    with suppress(OSError):
        if text and written_path(text).exists():
            line.setText(text)
