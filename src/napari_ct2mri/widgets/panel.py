"""The frame of every panel: a form that scrolls, and a foot with the job's progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import (
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_ct2mri.errors import Ct2MriError
from napari_ct2mri.jobs import Event, Job, Notice
from napari_ct2mri.widgets.job import QtJob
from napari_ct2mri.widgets.words import Course

if TYPE_CHECKING:
    import napari.viewer

__all__ = ["Panel"]

_BAR_STEPS = 1000
_NOTES_PX = 84
_WIDTH_PX = 320


class Panel(QWidget):
    """Base of the panels: one viewer, one job at a time.

    A subclass fills :attr:`body`, names its button, and starts jobs with :meth:`run`. Errors
    become notifications with the same words, and leave the panel as it was.
    """

    def __init__(self, viewer: napari.viewer.Viewer, action: str) -> None:
        super().__init__()
        # napari hands plugins a proxy that wraps every layer anew, so that none `is` another
        self.viewer: napari.viewer.Viewer = getattr(viewer, "__wrapped__", viewer)
        self.job = QtJob()
        self._course = Course()
        self._on_result: Callable[[Any], None] = lambda result: None
        self._main_window: QMainWindow | None = None

        self.body = QVBoxLayout()
        self.body.setContentsMargins(6, 6, 6, 6)
        self.go = QPushButton(action)
        self.stop = QPushButton("Cancel")
        self.stop.setEnabled(False)
        self.buttons = QHBoxLayout()
        self.bar = QProgressBar()
        self.bar.setRange(0, _BAR_STEPS)
        self.bar.setTextVisible(False)
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.notes = QPlainTextEdit()
        self.notes.setReadOnly(True)
        self.notes.setMaximumHeight(_NOTES_PX)
        self.notes.setToolTip("What was left out, guessed or corrected.")
        self.notes.hide()
        self._lay_out()

        self.go.clicked.connect(self._clicked)
        self.stop.clicked.connect(self.job.cancel)
        self.job.event_came.connect(self._take)
        self.job.succeeded.connect(self._succeeded)
        self.job.failed.connect(self._failed)
        self.job.cancelled.connect(self.say)
        self.job.finished.connect(self._finished)
        self.destroyed.connect(self.job.abandon)

    # ------------------------------------------------------------ for subclasses

    def start(self) -> None:
        """What the button does; may raise Ct2MriError."""
        raise NotImplementedError

    def on_event(self, event: Event) -> None:
        """Take an event beyond what the progress bar shows of it."""

    def section(self, title: str) -> QFormLayout:
        """A titled part of the form; its fields shrink with the dock."""
        heading = QLabel(f"<b>{title}</b>")
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        form.setContentsMargins(0, 0, 0, 6)
        self.body.addWidget(heading)
        self.body.addLayout(form)
        return form

    def run(
        self,
        on_result: Callable[[Any], None],
        function: Callable[..., Job[Any]],
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Run a job in a child process; ``on_result`` gets what it returns."""
        self.job.start(function, *args, **kwargs)
        self._on_result = on_result
        self._course = Course()
        self.bar.setRange(0, 0)  # busy, until there is something to count
        self.say("starting ...")
        self.notes.clear()
        self.notes.hide()
        self.go.setEnabled(False)
        self.stop.setEnabled(True)

    def say(self, text: str) -> None:
        """Put a sentence under the progress bar."""
        self.status.setText(text)

    def note(self, text: str) -> None:
        """Add a sentence that must not be lost."""
        self.notes.appendPlainText(text)
        self.notes.show()

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Show an error of ours as a notification instead of raising it."""
        try:
            yield
        except Ct2MriError as error:
            self._failed(error)

    # ------------------------------------------------------------ the job

    def _clicked(self) -> None:
        with self.telling():
            self.start()

    def _take(self, event: Event) -> None:
        if isinstance(event, Notice):
            self.note(event.text)
        elif shown := self._course.take(event):
            self.bar.setRange(0, _BAR_STEPS)
            self.bar.setValue(round(shown.fraction * _BAR_STEPS))
            self.say(shown.text)
        self.on_event(event)

    def _succeeded(self, result: object) -> None:
        self.say("done")
        with self.telling():
            self._on_result(result)

    def _failed(self, error: Ct2MriError) -> None:
        from napari.utils.notifications import show_error

        self.say(str(error))
        show_error(str(error))

    def _finished(self) -> None:
        if self.job.is_running:  # the result started the next job
            return
        self.bar.setRange(0, _BAR_STEPS)
        self.bar.setValue(0)
        self.go.setEnabled(True)
        self.stop.setEnabled(False)

    # ------------------------------------------------------------ the end of the panel

    def event(self, event: QEvent) -> bool:
        """Notice being taken out of the window: napari's x button does that and no more."""
        if event.type() == QEvent.Type.ParentChange:
            if self.parent() is None:
                self.job.abandon()
            else:
                self._follow(self.window())
        return bool(super().event(event))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Stop the job when the viewer's window closes, however long Qt keeps the panel."""
        is_closed = event.type() == QEvent.Type.Hide and not event.spontaneous()
        if is_closed and watched is self._main_window:
            self.job.abandon()
        return False

    def _follow(self, window: QWidget) -> None:
        if isinstance(window, QMainWindow) and window is not self._main_window:
            self._main_window = window
            window.installEventFilter(self)

    # ------------------------------------------------------------ layout

    def _lay_out(self) -> None:
        content = QWidget()
        content.setLayout(self.body)
        scroll = self.scroll = QScrollArea()
        scroll.setWidget(content)
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        self.buttons.addWidget(self.go, 2)
        self.buttons.addWidget(self.stop, 1)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 6)
        whole.addWidget(scroll, 1)
        foot = QVBoxLayout()
        foot.setContentsMargins(6, 0, 6, 0)
        foot.addLayout(self.buttons)
        foot.addWidget(self.bar)
        foot.addWidget(self.status)
        foot.addWidget(self.notes)
        whole.addLayout(foot)
        self.setMinimumWidth(_WIDTH_PX)
