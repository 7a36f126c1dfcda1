"""Where panels lie in the viewer's window: in one place, one behind the other. And their cross."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from qtpy.QtWidgets import QDockWidget, QMainWindow, QWidget

__all__ = ["ask_before_closing", "bring_forward", "dock_of", "join"]


def dock_of(part: QWidget) -> QDockWidget | None:
    """The dock that a widget lies in."""
    parent = part.parentWidget()
    while parent is not None and not isinstance(parent, QDockWidget):
        parent = parent.parentWidget()
    return parent


def join(dock: QDockWidget, others: Iterable[QDockWidget]) -> None:
    """Lay a dock that has just appeared onto the last of ``others`` in its area, as a tab.

    napari puts each new dock under the last: of six, none has room for more than a line. Docks
    that float or lie elsewhere were put there by a person.
    """
    window = dock.parentWidget()
    if not isinstance(window, QMainWindow) or dock.isFloating():
        return
    area = window.dockWidgetArea(dock)
    beside = [
        other
        for other in others
        if other is not dock and not other.isFloating() and window.dockWidgetArea(other) == area
    ]
    # for a tab, which is short and takes & for an underline; the title bar keeps napari's words
    dock.setWindowTitle(dock.windowTitle().partition(" (")[0].replace("&", "&&"))
    if beside:  # a hidden one keeps its place, and comes again as a tab
        window.tabifyDockWidget(max(beside, key=lambda other: not other.isHidden()), dock)


def bring_forward(dock: QDockWidget) -> None:
    """Show a dock, in front of those that share its place."""
    dock.show()
    dock.raise_()


def ask_before_closing(dock: QDockWidget, may_close: Callable[[], bool]) -> None:
    """Let a dock's cross ask first.

    The cross, which napari makes anew whenever a dock is floated, calls ``destroyOnClose`` of its
    dock and sends no event that could be refused.
    """
    napari_dock: Any = dock
    close = getattr(napari_dock, "destroyOnClose", None)
    if close is not None:
        napari_dock.destroyOnClose = lambda: close() if may_close() else None
