"""Trainings side by side: those of this viewer and those opened from disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_ct2mri.errors import TrainingError
from napari_ct2mri.pix2pix.checkpoint import SCORE, EpochRecord, read_header
from napari_ct2mri.pix2pix.state_file import read_state, state_path

__all__ = ["Run", "RunState", "Runs", "open_run"]

RunState: TypeAlias = Literal["running", "paused", "done", "stopped", "crashed"]

_COLOURS = ("#1f9bd6", "#e8833a", "#5cb85c", "#c96fb9", "#b0a030", "#888888")
"""Told apart by most eyes, on dark and on light ground."""

_COLUMNS = ("Run", "State", "Epoch", f"Best {SCORE.upper()}")
_SWATCH_PX = 10
_ROWS_SHOWN = 4


@dataclass(eq=False)
class Run:
    """One training, as far as it is known.

    Attributes
    ----------
    path : Path
        Its checkpoint.
    epochs : int
        In all.
    state : RunState
    records : list of EpochRecord
        An epoch each, from the first.
    contrast : str, optional
        The only one it learns of its pairs.
    colour : str
        Of its curves.
    is_drawn : bool
    """

    path: Path
    epochs: int
    state: RunState
    records: list[EpochRecord] = field(default_factory=list)
    contrast: str | None = None
    colour: str = ""
    is_drawn: bool = True

    @property
    def name(self) -> str:
        """As the person named it."""
        return self.path.stem

    @property
    def pairs(self) -> Path:
        """The pair list that a training in a panel leaves beside its checkpoint."""
        return self.path.with_name(f"{self.name}-pairs") / "pairs.csv"

    @property
    def best(self) -> EpochRecord | None:
        """The epoch that the selection patients like best; None without such."""
        scored = [record for record in self.records if SCORE in record.validation]
        return max(scored, key=lambda record: record.validation[SCORE], default=None)

    @property
    def is_at_work(self) -> bool:
        """Whether a child process is at it."""
        return self.state in ("running", "paused")

    def check_resumable(self) -> None:
        """Check that there is something to go on from and to go on to.

        Raises
        ------
        TrainingError, CheckpointError
        """
        if self.is_at_work:
            raise TrainingError(f"{self.name} is {self.state} already")
        history = read_state(self.path).history
        if len(history) >= self.epochs:
            raise TrainingError(
                f"{self.name}: all of its {self.epochs} epochs are done; start a new run from it "
                "to train it further"
            )

    def rewind(self) -> None:
        """Forget what a resumption will do again."""
        self.records = list(read_state(self.path).history)


def open_run(path: Path) -> Run:
    """A run as its files tell it.

    Raises
    ------
    CheckpointError
        If ``path`` is no checkpoint, or the state beside it is damaged.
    """
    header = read_header(path)
    optimizer = header.config.optimizer
    records, state = header.history, "done"
    if state_path(path).is_file():
        left = read_state(path)
        records = max(records, left.history, key=len)
        waited = len(records) - left.best_epoch
        is_over = bool(optimizer.patience and left.best_epoch) and waited >= optimizer.patience
        if len(records) < optimizer.epochs and not is_over:
            state = "stopped"
    return Run(path, optimizer.epochs, state, list(records))  # type: ignore[arg-type]


class Runs(QWidget):
    """The list: which are drawn, how far each is, and a way to go on with one.

    Attributes
    ----------
    changed : Signal
        After runs came, went, or are to be drawn or not.
    failed : Signal
        With the error, where a file could not be opened.
    """

    changed = Signal()
    failed = Signal(object)

    def __init__(self, on_resume: Callable[[Run], None]) -> None:
        super().__init__()
        self._runs: list[Run] = []
        self.table = QTableWidget(0, len(_COLUMNS))
        self.table.setHorizontalHeaderLabels(_COLUMNS)
        self.table.verticalHeader().hide()
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.table.setWordWrap(False)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        rows = _ROWS_SHOWN * self.table.verticalHeader().defaultSectionSize()
        self.table.setFixedHeight(header.sizeHint().height() + rows)
        self.open = QPushButton("Open …")
        self.open.setToolTip("Show the history of a checkpoint; one that was stopped can go on.")
        self.resume = QPushButton("Resume")
        self.resume.setToolTip("Go on with the chosen run after its last whole epoch.")
        self.remove = QPushButton("Remove")
        self.remove.setToolTip("Take the chosen run off this list; its files stay.")
        buttons = QHBoxLayout()
        for button in (self.open, self.resume, self.remove):
            buttons.addWidget(button)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addWidget(self.table)
        whole.addLayout(buttons)
        self.table.itemChanged.connect(self._draw_or_not)
        self.table.itemSelectionChanged.connect(self._enable)
        self.open.clicked.connect(self._browse)
        self.remove.clicked.connect(self._remove)
        self.resume.clicked.connect(partial(self._with_chosen, on_resume))
        self._enable()

    def __iter__(self):  # type: ignore[no-untyped-def]  # Qt's classes are not typed here
        return iter(self._runs)

    def __len__(self) -> int:
        return len(self._runs)

    def drawn(self) -> Sequence[Run]:
        """Those whose curves are to be seen."""
        return [run for run in self._runs if run.is_drawn]

    def chosen(self) -> Run | None:
        """The one whose row is selected."""
        rows = self.table.selectionModel().selectedRows()
        return self._runs[rows[0].row()] if rows else None

    def add(self, run: Run) -> None:
        """Put a run at the end, and choose it; one of the same file makes way."""
        self._runs = [other for other in self._runs if other.path != run.path]
        used = {other.colour for other in self._runs}
        free = [colour for colour in _COLOURS if colour not in used]
        run.colour = free[0] if free else _COLOURS[len(self._runs) % len(_COLOURS)]
        self._runs.append(run)
        self.refresh()
        self.table.selectRow(len(self._runs) - 1)
        self.changed.emit()

    def add_file(self, path: Path) -> None:
        """Open a checkpoint; the run at work on that very file stays as it is."""
        from napari_ct2mri.errors import Ct2MriError

        if any(run.is_at_work and run.path == path.absolute() for run in self._runs):
            return
        try:
            self.add(open_run(path.absolute()))
        except Ct2MriError as error:
            self.failed.emit(error)

    def refresh(self) -> None:
        """Write down what is known of each."""
        self.table.blockSignals(True)
        self.table.setRowCount(len(self._runs))
        for row, run in enumerate(self._runs):
            best = run.best
            texts = (
                run.name,
                run.state,
                f"{len(run.records)} of {run.epochs}",
                f"{best.validation[SCORE]:.3f} at {best.epoch}" if best else "–",
            )
            for column, text in enumerate(texts):
                self._item(row, column).setText(text)
            name = self._item(row, 0)
            name.setIcon(_swatch(run.colour))
            name.setCheckState(Qt.CheckState.Checked if run.is_drawn else Qt.CheckState.Unchecked)
            name.setToolTip(str(run.path))
        self.table.blockSignals(False)
        self._enable()

    def _item(self, row: int, column: int) -> QTableWidgetItem:
        item = self.table.item(row, column)
        if item is None:
            item = QTableWidgetItem()
            self.table.setItem(row, column, item)
        return item

    def _draw_or_not(self, item: QTableWidgetItem) -> None:
        if item.column() == 0:
            self._runs[item.row()].is_drawn = item.checkState() == Qt.CheckState.Checked
            self.changed.emit()

    def _enable(self) -> None:
        run = self.chosen()
        self.resume.setEnabled(run is not None and not run.is_at_work)
        self.remove.setEnabled(run is not None and not run.is_at_work)

    def _browse(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open a run", "", "Models (*.safetensors)")
        if path:
            self.add_file(Path(path))

    def _remove(self) -> None:
        self._with_chosen(self._runs.remove)
        self.refresh()
        self.changed.emit()

    def _with_chosen(self, do: Callable[[Run], None], *_: object) -> None:
        if (run := self.chosen()) is not None:
            do(run)


def _swatch(colour: str) -> QIcon:
    pixmap = QPixmap(_SWATCH_PX, _SWATCH_PX)
    pixmap.fill(QColor(colour))
    return QIcon(pixmap)
