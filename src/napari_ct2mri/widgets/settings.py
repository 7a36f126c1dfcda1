"""The settings of a training as a form: rows, bounds and words all come from ``config``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from typing import Any, Literal, get_args, get_origin

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_ct2mri.app.flags import config_from_flags
from napari_ct2mri.config import (
    ModelConfig,
    Preset,
    TrainConfig,
    leaf_field,
    leaf_paths,
    leaf_text,
    leaf_value,
)
from napari_ct2mri.disk import parse_json
from napari_ct2mri.errors import ConfigError
from napari_ct2mri.widgets.forms import fold, narrow, plain_form, wrapped

__all__ = ["Settings"]

_OPEN = "epochs"
"""The one leaf whose row is not folded."""

_ELSEWHERE = ("preset", "contrasts")
"""Leaves with a field of their own in the panel."""

_MODEL = "model"
"""The group that a model to start from decides."""


class Settings(QWidget):
    """Preset and epochs; all other settings folded, and those marked that differ from the preset.

    Attributes
    ----------
    changed : Signal
        After any edit.
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._start: ModelConfig | None = None
        self.preset = QComboBox()
        for name in reversed(get_args(Preset)):
            self.preset.addItem(name, name)
        self.rows = {
            leaf: _Row(path) for leaf, path in leaf_paths(TrainConfig) if leaf not in _ELSEWHERE
        }
        self.epochs: QSpinBox = self.rows[_OPEN].editor
        self.folded = QWidget()
        self.fold = fold("", self.folded)
        self.fold.setToolTip(
            "Every setting of a training, as the preset has it or as you change it."
        )
        self.reset = QPushButton("Reset all to the preset")
        self.problem = wrapped()
        self.problem.hide()
        self._lay_out()
        self.preset.currentIndexChanged.connect(self.forget)
        self.reset.clicked.connect(self.forget)
        for row in self.rows.values():
            row.edited.connect(self._follow)
            row.reset.clicked.connect(partial(self._reset, row))
        self.forget()

    def name(self) -> Preset:
        """The preset."""
        name: Preset = self.preset.currentData()
        return name

    def leaves(self) -> dict[str, Any]:
        """What differs from the preset, by leaf, as ``config_from_flags`` takes it.

        Raises
        ------
        ConfigError
            If a text is no number.
        """
        return {leaf: row.value() for leaf, row in self.rows.items() if row.is_changed}

    def config(self) -> TrainConfig:
        """The settings.

        Raises
        ------
        ConfigError
            If one is out of bounds or does not fit the others, by its title.
        """
        try:
            return config_from_flags(self.name(), self.leaves())
        except ConfigError as error:
            raise ConfigError(_with_titles(str(error))) from error

    def start_from(self, model: ModelConfig | None) -> None:
        """Show, instead of asking for, what a model to start from decides."""
        self._start = model
        for row in self._of_model():
            row.set_fixed(model is not None)
        self._follow()

    def forget(self) -> None:
        """Go back to the preset, in every setting."""
        for row in self.rows.values():
            row.is_changed = False
        self._follow()

    def to_remember(self) -> str:
        """The preset and what was written over it, as JSON."""
        written = {leaf: row.text() for leaf, row in self.rows.items() if row.is_changed}
        return json.dumps({"preset": self.name(), **written})

    def recall(self, text: str) -> None:
        """Choose that again; what there no longer is, and what a model decides, is passed over.

        Raises
        ------
        ValueError, TypeError
            If it is not what :meth:`to_remember` gave.
        """
        written = dict(parse_json(text))
        self.preset.setCurrentIndex(max(0, self.preset.findData(written.pop("preset", ""))))
        for leaf, value in written.items():
            if leaf in self.rows:
                self.rows[leaf].write(value)

    def _reset(self, row: _Row) -> None:
        row.is_changed = False
        self._follow()

    def _follow(self) -> None:
        """Show what the preset says where nobody said otherwise, and what is wrong."""
        epochs = self.rows[_OPEN]
        preset = config_from_flags(self.name(), {})
        given = {_OPEN: epochs.value()} if epochs.is_changed else {}
        usual = config_from_flags(self.name(), given)  # its schedule follows the epochs
        if self._start is not None:
            usual = usual.model_copy(update={_MODEL: self._start})
        for row in self.rows.values():
            row.show_usual(leaf_value(preset if row is epochs else usual, row.path))
        count = sum(row.is_changed for leaf, row in self.rows.items() if leaf != _OPEN)
        self.fold.setText(f"All settings{f' · {count} changed' if count else ''}")
        self.reset.setVisible(count > 0)
        try:
            self.config()
            self.problem.hide()
        except ConfigError as error:
            self.problem.setText(f"<b>{error}</b>")
            self.problem.show()
        self.changed.emit()

    def _of_model(self) -> Iterator[_Row]:
        return (row for row in self.rows.values() if row.path[0] == _MODEL)

    def _lay_out(self) -> None:
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        form = plain_form()
        form.addRow("Preset", self.preset)
        self.rows[_OPEN].add_to(form)
        inside = QVBoxLayout(self.folded)
        inside.setContentsMargins(12, 0, 0, 0)
        inside.addWidget(self.reset)
        group, part = "", plain_form()
        for leaf, row in self.rows.items():
            if leaf == _OPEN:
                continue
            if row.path[-2] != group:
                group, part = row.path[-2], plain_form()
                inside.addWidget(QLabel(f"<b>{group.capitalize()}</b>"))
                inside.addLayout(part)
            row.add_to(part)
        whole.addLayout(form)
        for widget in (self.fold, self.folded, self.problem):
            whole.addWidget(widget)


class _Row(QWidget):
    """One setting: its editor and a button that takes the preset's value again."""

    edited = Signal()

    def __init__(self, path: tuple[str, ...]) -> None:
        super().__init__()
        self.path = path
        self.is_changed = False
        self._field = leaf_field(path)
        self._usual: Any = None
        self.title = self._field.title or path[-1]
        self.label = QLabel(self.title)
        self.editor: Any = self._make_editor()
        self.reset = QToolButton()
        self.reset.setText("↺")
        self.reset.setToolTip("Take the preset's value again.")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.editor, 1)
        row.addWidget(self.reset)
        for part in (self.label, self.editor):
            part.setToolTip(self._words())

    def value(self) -> Any:
        """What is written, as a flag would give it.

        Raises
        ------
        ConfigError
            If a number is expected and there is none.
        """
        kind, text = self._field.annotation, self.text()
        if kind not in (int, float):
            return text.split() if _is_list(kind) else text
        try:
            return kind(text)
        except ValueError as error:
            number = "a whole number" if kind is int else "a number"
            raise ConfigError(f"{self.title}: expected {number}, got {text!r}") from error

    def show_usual(self, usual: Any) -> None:
        """Take the preset's value, and show it where nobody gave another."""
        self._usual = leaf_text(usual)
        if not self.is_changed:
            self._show(self._usual)
        self.label.setText(f"<b>{self.title} •</b>" if self.is_changed else self.title)
        self.reset.setVisible(self.is_changed)

    def set_fixed(self, is_fixed: bool) -> None:
        """Show only; whatever was written is forgotten."""
        self.is_changed &= not is_fixed
        self.editor.setEnabled(not is_fixed)

    def write(self, text: str) -> None:
        """Write as the person would; nothing where it is only shown."""
        if self.editor.isEnabled():
            self._show(text)
            self._edit()

    def add_to(self, form: QFormLayout) -> None:
        """Stand in a form."""
        form.addRow(self.label, self)

    def text(self) -> str:
        """What is written, as it stands there."""
        if isinstance(self.editor, QComboBox):
            return str(self.editor.currentText())
        return str(self.editor.text()).strip()

    def _show(self, text: str) -> None:
        with QSignalBlocker(self.editor):
            if isinstance(self.editor, QComboBox):
                self.editor.setCurrentText(text)
            elif isinstance(self.editor, QSpinBox):
                self.editor.setValue(int(text))
            elif text != self.text():
                self.editor.setText(text)
                self.editor.setCursorPosition(0)

    def _edit(self, _: object = None) -> None:
        self.is_changed = self.text() != self._usual
        self.edited.emit()

    def _make_editor(self) -> QWidget:
        """Free text but where a choice is offered, and for the epochs, which are stepped."""
        if get_origin(self._field.annotation) is Literal:
            combo = narrow(QComboBox())
            combo.addItems(get_args(self._field.annotation))
            combo.currentIndexChanged.connect(self._edit)
            return combo
        if self.path[-1] == _OPEN:
            spin = QSpinBox()
            spin.setRange(*(int(self._bound(name) or 0) for name in ("ge", "le")))
            spin.valueChanged.connect(self._edit)
            return spin
        line = QLineEdit()
        line.textChanged.connect(self._edit)
        return line

    def _words(self) -> str:
        """Description, bounds and the flag of the command line."""
        signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
        bounds = [
            f"{sign} {self._bound(name):g}" for name, sign in signs.items() if self._has(name)
        ]
        flag = f"--{self.path[-1].replace('_', '-')}"
        return "\n".join(filter(None, (self._field.description, ", ".join(bounds), flag)))

    def _has(self, name: str) -> bool:
        return self._bound(name) is not None

    def _bound(self, name: str) -> Any:
        found = (getattr(limit, name, None) for limit in self._field.metadata)
        return next((bound for bound in found if bound is not None), None)


def _is_list(kind: Any) -> bool:
    return get_args(kind)[-1:] == (Ellipsis,)


def _with_titles(text: str) -> str:
    """A message of the command line with the form's names for its flags."""
    titles = {
        leaf.replace("_", "-"): leaf_field(path).title or leaf
        for leaf, path in leaf_paths(TrainConfig)
    }
    text = re.sub(r"^preset \w+: ", "", text)
    return re.sub(r"--([\w-]+)", lambda found: titles.get(found[1], found[0]), text)
