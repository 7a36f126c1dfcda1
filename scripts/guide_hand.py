"""A hand on mouse and keyboard, for guide-pictures: it reaches only what can be seen."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QComboBox,
    QScrollArea,
    QTabBar,
    QWidget,
)

_SETTLE_MS = 100
_BESIDE_EDGE_PX = 8
"""Where the box of a tick is."""


def press(button: QWidget) -> None:
    """Click a button."""
    _click(button, button.rect().center())


def tick(box: Any, *, on: bool) -> None:
    """Click a tick box, if it is not as it should be."""
    if box.isChecked() != on:
        _click(box, QPoint(_BESIDE_EDGE_PX, box.height() // 2))
    assert box.isChecked() == on


def write(field: Any, text: str) -> None:
    """Type a text into a field instead of what is there, and press Enter."""
    _click(field, QPoint(_BESIDE_EDGE_PX, field.height() // 2))
    QTest.keyClick(field, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
    QTest.keyClicks(field, text)
    QTest.keyClick(field, Qt.Key.Key_Return)
    assert field.text() == text, field.text()


def choose(combo: QComboBox, wanted: object) -> None:
    """Open a combo box and click an entry, by its text or by the layer that it stands for."""
    texts = [combo.itemText(i) for i in range(combo.count())]
    data = [combo.itemData(i) for i in range(combo.count())]
    if isinstance(wanted, str):
        index = texts.index(wanted)
    else:
        index = next(i for i, each in enumerate(data) if each is wanted)
    press(combo)
    QTest.qWait(QApplication.doubleClickInterval() + _SETTLE_MS)  # else the list takes it for one
    entry = combo.model().index(index, combo.modelColumn())
    combo.view().scrollTo(entry)
    _click(combo.view().viewport(), combo.view().visualRect(entry).center())
    QTest.qWait(_SETTLE_MS)
    assert combo.currentIndex() == index, f"{combo.currentText()} was chosen instead of {wanted}"


def choose_row(view: QAbstractItemView, row: int) -> None:
    """Click a row of a list or table."""
    index = view.model().index(row, 0)
    view.scrollTo(index)
    _click(view.viewport(), view.visualRect(index).center())


def choose_tab(bar: QTabBar, title: str) -> None:
    """Click a tab."""
    titles = [bar.tabText(i).replace("&&", "&") for i in range(bar.count())]
    index = titles.index(title)
    _click(bar, bar.tabRect(index).center())
    assert bar.currentIndex() == index


def _click(part: QWidget, place: QPoint) -> None:
    _reach(part, place)
    assert part.isEnabled(), f"{part} is grey"
    QTest.mouseClick(part, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place)


def _reach(part: QWidget, place: QPoint) -> None:
    """Scroll to a place on a part of a panel, and make sure that it can be seen."""
    QTest.qWait(_SETTLE_MS)
    parent = part.parentWidget()
    while parent is not None:
        if isinstance(parent, QScrollArea):
            at = part.mapTo(parent.widget(), place)
            parent.ensureVisible(at.x(), at.y())
        parent = parent.parentWidget()
    QTest.qWait(_SETTLE_MS)
    assert part.visibleRegion().contains(place), f"{part} cannot be seen"
