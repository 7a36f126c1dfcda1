"""Board: a model onto a board in one go, then its MR of the slice in view."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QPushButton,
)

from napari_ct2mri.app.workflows import StepBegun
from napari_ct2mri.errors import ConfigError, LinkError
from napari_ct2mri.firmware.ais import BOOTED
from napari_ct2mri.firmware.boards import BOARDS
from napari_ct2mri.jobs import Event
from napari_ct2mri.widgets import board_tasks
from napari_ct2mri.widgets.board_tasks import BudgetKnown
from napari_ct2mri.widgets.forms import OutputField, browse_button, narrow, wrapped
from napari_ct2mri.widgets.live import LiveBox
from napari_ct2mri.widgets.models import ModelChooser
from napari_ct2mri.widgets.panel import Panel
from napari_ct2mri.widgets.ports import PortChooser, PortWatch, Simulation
from napari_ct2mri.widgets.steps import StepBars
from napari_ct2mri.widgets.words import RESEARCH_ONLY

if TYPE_CHECKING:
    import napari.viewer

    from napari_ct2mri.app.workflows import ExportedPushed, Running

__all__ = ["BoardPanel"]


class BoardPanel(Panel):
    """Choose a board, put a model onto it, watch it follow."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer, "Export, build and push")
        self.bar.hide()  # each step has its own
        self._asked: tuple[object, ...] = ()  # the choice that the job at hand is about
        self._pushed: tuple[object, ...] = ()  # the choice that is on the board
        self._budget_of: tuple[object, ...] = ()  # the choice, without its port
        self._guessed: tuple[str, str] = ("", "")  # a port, and which board is likely there
        self._calibration: Path | None = None
        self._push_next = False
        self.hint = wrapped()
        self.body.addWidget(self.hint)
        self._build_board()
        self._build_model()
        self._build_live()
        self.body.addStretch(1)
        self._wire()
        self._offer_contrasts()
        self.remember(
            model=self.model, contrast=self.contrast, board=self.board, project=self.folder
        )
        self._guide()

    def start(self) -> None:
        """Export, build and push; a live mode that is on ends first."""
        folder = self._folder()
        if self.live.is_running:
            self._push_next = True
            self.live.stop()
            self.say("ending live mode first ...")
            return
        model, port = self.model.required(), self.port.required()
        self._asked = self._choice()
        self.run(
            self._finish,
            board_tasks.push,
            model.path,
            folder,
            self._calibration,
            self.board.currentText(),
            port,
            contrast=self.contrast.currentText(),
        )
        self.steps.begin(boots=self.board.currentText() == BOOTED)
        self.steps.show()
        self._guide()

    def _folder(self) -> Path:
        """Where the C project goes."""
        if self.folder.is_empty:
            raise ConfigError("no folder is chosen under 'C project'; write its name, or press …")
        return self.folder.path().absolute()

    def on_event(self, event: Event) -> None:
        """Fill the bars; show the budget."""
        self.steps.take(event)
        if isinstance(event, StepBegun):
            self.say(_DOING[event.step])
        elif isinstance(event, BudgetKnown):
            self._show_budget(event)

    def _finish(self, result: ExportedPushed) -> None:
        self.steps.finish()
        self._pushed = self._asked
        self.say(_pushed_in_words(result))

    def _choice(self) -> tuple[object, ...]:
        """Where a push would go to, and what would go there."""
        state, model = self.port.state(), self.model.choice()
        return (
            state.port if state else None,
            self.board.currentText(),
            model.path if model else None,
            self.contrast.currentText(),
        )

    def _show_budget(self, event: BudgetKnown) -> None:
        lines = (f"<tr><td>{what}&nbsp; </td><td>{much}</td></tr>" for what, much in event.rows)
        self.budget.setText(f"<table>{''.join(lines)}</table>")
        self.summary.setText(event.summary)
        self._budget_of = self._asked[1:]
        self.say("")
        self._choice_changed()

    def _open_budget(self, event: BudgetKnown) -> None:
        self.budget.show()
        self._show_budget(event)

    # ------------------------------------------------------------ what to do next

    def _guide(self) -> None:
        """One sentence on what to do next."""
        self.hint.setText(self._next_step())
        is_free = not self.job.is_running
        self.live.setEnabled(is_free)
        self.estimate.setEnabled(is_free)
        simulation = self.simulation
        self.simulate.setText(
            "Stop the simulated board" if simulation.running else "No board? Simulate one"
        )
        self.simulate.setEnabled(is_free and not simulation.job.is_running)

    def _next_step(self) -> str:
        if self.simulation.job.is_running:
            return "Building the firmware for this machine ..."
        if self.job.is_running:
            return "At work; see the bars, and the line at the bottom."
        if self.live.is_lost:
            return (
                "<b>The board is gone.</b> Plug it in again, or start its simulation again; it is "
                "picked up by itself."
            )
        if self.live.is_running:
            return "<b>Live.</b> Scroll through the CT: the slice in view goes to the board."
        state = self.port.state()
        if state is None:
            return "<b>Next:</b> plug in a board, or press <i>No board? Simulate one</i>."
        if state.obstacle:
            what, remedy = state.obstacle.what, state.obstacle.remedy
            return f"<b>{state.port}: {what}.</b> {remedy[0].upper()}{remedy[1:]}."
        if self._pushed != self._choice():
            return (
                "<b>Next:</b> press <i>Export, build and push</i>; or <i>Go live</i>, if the board "
                "has a model already."
            )
        if self.live.ct.layer() is None:
            return "<b>Next:</b> open a CT: Load panel, or File > Open Sample > CT to MR."
        return "<b>Next:</b> press <i>Go live</i> and scroll through the CT."

    # ------------------------------------------------------------ the parts

    def _build_board(self) -> None:
        form = self.section("1. Board")
        self.watch = PortWatch()
        self.port = PortChooser()
        self.board = narrow(QComboBox())
        for board in BOARDS.values():
            if board.needs:  # others are profiles for planning
                self.board.addItem(board.name)
                self.board.setItemData(
                    self.board.count() - 1, board.title, Qt.ItemDataRole.ToolTipRole
                )
        self.simulation = Simulation()
        self.simulate = QPushButton()
        self.simulate.setToolTip("The firmware as a process behind a pseudo-terminal.")
        form.addRow("Port", self.port)
        form.addRow("Board", self.board)
        form.addRow(self.simulate)

    def _build_model(self) -> None:
        form = self.section("2. Model onto the board")
        self.model = ModelChooser()
        self.contrast = narrow(QComboBox())
        self.calibration = narrow(QComboBox())
        self.calibration.addItem("simulated head", None)
        self.calibration.setToolTip(
            "The slices by which 8-bit ranges are chosen. A pair list of patients like yours is "
            "best; a simulated head needs nothing."
        )
        browse = browse_button("Choose a pair list (pairs.csv)", self._browse_calibration)
        row = QHBoxLayout()
        row.addWidget(self.calibration, 1)
        row.addWidget(browse)
        default = Path("~") / "ct2mri" / "board-project"
        self.folder = OutputField("Folder of the C project", "", default)
        form.addRow("Model", self.model)
        form.addRow("Contrast", self.contrast)
        form.addRow("Calibrate on", row)
        form.addRow("C project", self.folder)
        buttons = QHBoxLayout()
        buttons.addWidget(self.go, 2)
        buttons.addWidget(self.stop, 1)
        self.body.addLayout(buttons)
        self.steps = StepBars()
        self.steps.begin(boots=False)
        self.steps.hide()  # until there is a push
        self.body.addWidget(self.steps)
        self._build_budget()

    def _build_live(self) -> None:
        self.body.addWidget(QLabel("<b>3. Live</b>"))
        self.live = LiveBox(self.viewer, self._target)
        self.body.addWidget(self.live)
        warning = wrapped(RESEARCH_ONLY)
        self.body.addWidget(warning)

    def _build_budget(self) -> None:
        self.estimate = QPushButton("Budget")
        self.estimate.setToolTip(
            "What the model costs on the board, before anything is built; again: fold it away."
        )
        self.estimate.clicked.connect(lambda: self._click_estimate())
        self.summary = wrapped()
        self.budget = wrapped()
        self.budget.hide()
        row = QHBoxLayout()
        row.addWidget(self.estimate)
        row.addWidget(self.summary, 1)
        self.body.addLayout(row)
        self.body.addWidget(self.budget)

    def _wire(self) -> None:
        self.watch.changed.connect(self.port.show_ports)
        self.port.changed.connect(self._port_changed)
        self.simulate.clicked.connect(lambda: self._click_simulate())
        self.simulation.started.connect(self._simulated)
        self.simulation.failed.connect(self._failed)
        self.simulation.changed.connect(self._guide)
        self.model.changed.connect(self._offer_contrasts)
        for box in (self.board, self.contrast):
            box.currentIndexChanged.connect(self._choice_changed)
        self.model.failed.connect(self._failed)
        self.calibration.currentIndexChanged.connect(self._choose_calibration)
        self.job.finished.connect(self.steps.halt)
        self.job.finished.connect(self._guide)
        self.live.said.connect(self.say)
        self.live.noted.connect(self.note)
        self.live.failed.connect(self._failed)
        self.live.moved.connect(self.port.select)
        self.live.changed.connect(self._live_changed)
        self.live.ct.currentIndexChanged.connect(self._guide)
        for part in (self.watch.stop, self.live.live.abandon, self.simulation.abandon):
            self.destroyed.connect(part)

    def _target(self) -> tuple[str, str, Path | None]:
        """Where live mode finds its board."""
        if self.job.is_running:
            raise LinkError("the model is still on its way; go live when it is pushed")
        choice = self.model.choice()
        return self.port.required(), self.board.currentText(), choice.path if choice else None

    def _live_changed(self) -> None:
        if self._push_next and not self.live.is_running:
            self._push_next = False
            with self.telling():
                self.start()
        if self.live.is_running:
            self.bring(self.live)
        self._guide()

    def _port_changed(self) -> None:
        """Choose the board that is likely at a port, once: then the person has the say."""
        state = self.port.state()
        if state is not None and (state.port, state.board) != self._guessed:
            self._guessed = state.port, state.board
            if (index := self.board.findText(state.board)) >= 0:
                self.board.setCurrentIndex(index)
        self._guide()

    def _choice_changed(self) -> None:
        """What is shown of another choice goes."""
        if self._budget_of != self._choice()[1:]:
            self.summary.clear()
            self.budget.hide()
        self._guide()

    def _click_simulate(self) -> None:
        if self.simulation.running:
            self.simulation.stop()
            self.watch.look()
        else:
            with self.telling():
                self.simulation.start()

    def _simulated(self, running: Running) -> None:
        self.port.select(running.port)
        self.watch.look()
        self.say(f"a simulated {running.board} runs at {running.port}")

    def _click_estimate(self) -> None:
        """Unfold the budget, made where it is of another choice; or fold it."""
        if self._budget_of == self._choice()[1:]:
            self.budget.setVisible(self.budget.isHidden())
            return
        with self.telling():
            self._asked = self._choice()
            self.run(
                self._open_budget,
                board_tasks.budget,
                self.model.required().path,
                self.board.currentText(),
                self.contrast.currentText(),
            )
            self._guide()

    def _offer_contrasts(self) -> None:
        choice, before = self.model.choice(), self.contrast.currentText()
        self.contrast.clear()
        self.contrast.addItems(choice.contrasts if choice else ())
        self.contrast.setCurrentIndex(max(0, self.contrast.findText(before)))
        self._choice_changed()

    def calibrate_on(self, path: Path) -> None:
        """Calibrate on a pair list."""
        self.calibration.addItem(path.name, path)
        self.calibration.setCurrentIndex(self.calibration.count() - 1)

    def _choose_calibration(self) -> None:
        self._calibration = self.calibration.currentData()

    def _browse_calibration(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Calibrate on", "", "Pair lists (*.csv)")
        if path:
            self.calibrate_on(Path(path))

    # ------------------------------------------------------------ the end of the panel

    def event(self, event: QEvent) -> bool:
        """Notice being taken out of the window."""
        handled = super().event(event)
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self._leave()
        return handled

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Notice that the viewer's window closes."""
        is_closed = event.type() == QEvent.Type.Hide and not event.spontaneous()
        if is_closed and watched is self._main_window:
            self._leave()
        return super().eventFilter(watched, event)

    def _leave(self) -> None:
        """Let go of the port, end the simulated board."""
        self.watch.stop()
        self.live.abandon()
        self.simulation.abandon()


_DOING = {
    "export": "quantizing the model ...",
    "build": "building the firmware ...",
    "boot": "loading the firmware into the board; press its reset button",
    "push": "sending the model ...",
}


def _pushed_in_words(result: ExportedPushed) -> str:
    pushed = result.pushed
    if pushed.was_there:
        return f"the {pushed.board} had this model already; its golden pair came out right"
    return (
        f"pushed to {pushed.board} in {pushed.seconds:.1f} s: {pushed.written} of {pushed.blocks} "
        "blocks sent; its golden pair came out right"
    )
