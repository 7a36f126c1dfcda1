"""Choosing a board: what is plugged in, kept up to date, and a simulated one for who has none."""

from __future__ import annotations

import threading
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtWidgets import QComboBox

from napari_ct2mri.app import workflows
from napari_ct2mri.app.workflows import PortState
from napari_ct2mri.app.workflows.board import UNPLUGGED
from napari_ct2mri.errors import Ct2MriError, LinkError
from napari_ct2mri.widgets.forms import narrow
from napari_ct2mri.widgets.job import QtJob

__all__ = ["PortChooser", "PortWatch", "Simulation"]

_EVERY_S = 1.5
_SIMULATED = "host"


class PortWatch(QObject):
    """Looks for ports in a thread of its own, as that may take a tenth of a second.

    Signals
    -------
    changed : tuple of PortState
        At the start, and when something is plugged in, out, taken or freed.
    """

    changed = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._again, self._is_over = threading.Event(), False
        self._thread = threading.Thread(target=self._run, name="ct2mri-ports", daemon=True)
        self._thread.start()

    def look(self) -> None:
        """Look at once."""
        self._again.set()

    def stop(self) -> None:
        """End the thread at its next turn."""
        self._is_over = True
        self._again.set()

    def _run(self) -> None:
        before: tuple[PortState, ...] | None = None
        while not self._is_over:
            with suppress(OSError):  # a port that goes while it is looked at
                found = workflows.ports()
                if found != before and not self._is_over:
                    before = found
                    try:
                        self.changed.emit(found)
                    except RuntimeError:  # the panel is gone, and its Qt object with it
                        return
            self._again.wait(_EVERY_S)
            self._again.clear()


class PortChooser(QComboBox):
    """Chooses a port; one that is unplugged stays, marked so, while it is chosen.

    Signals
    -------
    changed
        Another port is chosen, or something is known of it that was not.
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        narrow(self)
        self.setPlaceholderText("no board found")
        self._is_chosen = False  # by the person, who then keeps the say
        self._awaited = ""
        self.activated.connect(self._choose)
        self.currentIndexChanged.connect(lambda _: self._tell())

    def state(self) -> PortState | None:
        """The port that is chosen."""
        state: PortState | None = self.currentData()
        return state

    def required(self) -> str:
        """The port that is chosen.

        Raises
        ------
        LinkError
            If there is none.
        """
        state = self.state()
        if state is None:
            raise LinkError("no port is chosen; plug in a board, or simulate one")
        return state.port

    def select(self, port: str) -> None:
        """Choose a port, as the person would; one that is not listed yet as soon as it is."""
        index = next((i for i in range(self.count()) if self.itemData(i).port == port), -1)
        if index < 0:
            self._awaited = port
            return
        self.setCurrentIndex(index)
        self._is_chosen = True

    def show_ports(self, found: tuple[PortState, ...]) -> None:
        """Take a new list; keep the choice."""
        before = self.state()
        there = {state.port for state in found}
        states = list(found)
        if before is not None and self._is_chosen and before.port not in there:
            states.insert(0, replace(before, obstacle=UNPLUGGED))
        self.blockSignals(True)
        self.clear()
        for state in states:
            self.addItem(_in_words(state), state)
            obstacle = str(state.obstacle or "")
            tip = " · ".join(part for part in (state.port, state.title, obstacle) if part)
            self.setItemData(self.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        keep = before.port if before is not None and self._is_chosen else _best(found)
        if self._awaited in there:
            keep, self._awaited, self._is_chosen = self._awaited, "", True
        index = next((i for i, state in enumerate(states) if state.port == keep), -1)
        self.setCurrentIndex(index)
        self.blockSignals(False)
        self._tell()

    def _choose(self, *_: object) -> None:
        self._is_chosen, self._awaited = True, ""

    def _tell(self) -> None:
        state = self.state()
        self.setToolTip(state.title if state else "")
        self.changed.emit()


def _in_words(state: PortState) -> str:
    """The likely board, the port, and what is in the way."""
    is_sure = state.title.startswith("simulated")
    board = state.board if is_sure or not state.board else f"{state.board}?"
    obstacle = state.obstacle.what if state.obstacle else ""
    parts = (board or state.title, state.port.removeprefix("/dev/"), obstacle)
    return " · ".join(part for part in parts if part)


def _best(found: tuple[PortState, ...]) -> str | None:
    """The first that is likely a board; one that is free, if there is."""
    boards = sorted((each for each in found if each.board), key=lambda each: bool(each.obstacle))
    return boards[0].port if boards else None


class Simulation(QObject):
    """A board that runs as a process of this machine, as long as the panel lives.

    Signals
    -------
    started : Running
    failed : Ct2MriError
    changed
    """

    started = Signal(object)
    failed = Signal(object)
    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.job = QtJob()
        self.running: workflows.Running | None = None
        self._stack = ExitStack()
        self.job.succeeded.connect(self._built)
        self.job.failed.connect(self.failed)
        self.job.finished.connect(self.changed)

    def start(self) -> None:
        """Build the firmware, where it is not there, and start it."""
        if self.running is None and not self.job.is_running:
            self.job.start(workflows.firmware_for, _SIMULATED)
            self.changed.emit()

    def stop(self) -> None:
        """End the board; what was pushed to it is there again next time."""
        self.job.abandon()
        self.running = None
        self._stack.close()
        self.changed.emit()

    def abandon(self) -> None:
        """End the board; the panel goes."""
        self.job.abandon()
        self.running = None
        self._stack.close()

    def _built(self, folder: Path) -> None:
        try:
            self.running = self._stack.enter_context(workflows.start_board(folder, _SIMULATED))
        except Ct2MriError as error:
            self.failed.emit(error)
            return
        self.started.emit(self.running)
