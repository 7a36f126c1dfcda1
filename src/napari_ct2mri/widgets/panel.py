"""The frame of every panel: a form that scrolls, and a foot with the job's progress."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtWidgets import (
    QDockWidget,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QMessageBox,
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
from napari_ct2mri.widgets.docks import ask_before_closing, bring_forward, dock_of, join
from napari_ct2mri.widgets.forms import WheelGuard, plain_form, wrapped
from napari_ct2mri.widgets.job import QtJob
from napari_ct2mri.widgets.memory import Remembers, remember
from napari_ct2mri.widgets.words import Course

if TYPE_CHECKING:
    import napari.viewer

__all__ = ["Panel", "may_close"]

_BAR_STEPS = 1000
_CANCELLING = "cancelling ..."
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
        self._is_cancelling = False
        self._main_window: QMainWindow | None = None
        self._dock: QDockWidget | None = None

        self.body = QVBoxLayout()
        self.body.setContentsMargins(6, 6, 6, 6)
        self.go = QPushButton(action)
        self.stop = QPushButton("Cancel")
        self.stop.setEnabled(False)
        self.buttons = QHBoxLayout()
        self.bar = QProgressBar()
        self.bar.setRange(0, _BAR_STEPS)
        self.bar.setTextVisible(False)
        self.status = wrapped()
        self.notes = QPlainTextEdit()
        self.notes.setReadOnly(True)
        self.notes.setMaximumHeight(_NOTES_PX)
        self.notes.setToolTip("What was left out, guessed or corrected.")
        self.notes.hide()
        self._lay_out()

        self.go.clicked.connect(self._clicked)
        self.stop.clicked.connect(self.cancel)
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

    def at_work(self) -> tuple[str, ...]:
        """What would be lost if the window closed now, a phrase each; it is asked about."""
        return (f"{self.go.text()}: {self.status.text()}",) if self.job.is_running else ()

    def cancel(self) -> None:
        """Ask the job to stop at its next event; until it has, the panel says that it heard."""
        if self.job.is_running:
            self._is_cancelling = True
            self.job.cancel()
            self.stop.setEnabled(False)
            self.say(_CANCELLING)

    def abandon(self) -> None:
        """End what the panel is at, cleanly, and hear no more of it.

        No signal of the job tells of this: what else must end with it is for the subclass to end.
        """
        self.job.abandon()
        self._finished()

    def remember(self, **fields: QWidget | Remembers) -> None:
        """Take up what was chosen last in these fields, in this order, and keep what will be."""
        for name, field in fields.items():
            remember(type(self).__name__, name, field)

    def section(self, title: str) -> QFormLayout:
        """A titled part of the form; its fields shrink with the dock."""
        heading = QLabel(f"<b>{title}</b>")
        form = plain_form()
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
        self._is_cancelling = False
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

    def bring(self, part: QWidget) -> None:
        """Scroll to a part of the form that was asked for, once it has found its place."""
        QTimer.singleShot(0, lambda: self.scroll.ensureWidgetVisible(part, 0, 0))

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
        if self._is_cancelling:  # whatever the event had to say
            self.say(_CANCELLING)

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
        """Notice being taken out of the window, and being put into one or shown in it again."""
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.abandon()
        if event.type() == QEvent.Type.Show and not event.spontaneous():
            self._follow()
        return bool(super().event(event))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Ask before the viewer's window closes on a job; end the job when it has closed."""
        if watched is self._main_window:
            if event.type() == QEvent.Type.Close and not may_close(self._main_window, event):
                event.ignore()
                return True
            if event.type() == QEvent.Type.Hide and not event.spontaneous():
                self.abandon()
                self._main_window = None  # found again should it be shown again
        return False

    def _follow(self) -> None:
        """Watch the viewer's window, of which a floating panel is a child too."""
        window = self.parentWidget()
        while window is not None and not isinstance(window, QMainWindow):
            window = window.parentWidget()
        if window is not None and window is not self._main_window:
            self._main_window = window
            window.installEventFilter(self)
        dock = dock_of(self)
        if window is None or dock is None:
            return
        if dock is not self._dock:  # where it lies later is the person's choice
            self._dock = dock
            join(dock, filter(None, map(dock_of, window.findChildren(Panel))))
            ask_before_closing(dock, self._may_close)
        bring_forward(dock)

    def _may_close(self) -> bool:
        """Whether the cross of the dock may take the panel away."""
        assert self._main_window is not None
        return not self.at_work() or _asked(self._main_window, self.at_work(), "panel")

    # ------------------------------------------------------------ layout

    def _lay_out(self) -> None:
        content = QWidget()
        content.setLayout(self.body)
        WheelGuard(content)
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


def may_close(window: QMainWindow, event: QEvent) -> bool:
    """Whether a viewer's window may close now; ends what its panels are at if a person says so.

    Asked is once for all panels, and only where one is at work. A program that closes its viewer
    is not asked: ``Viewer.close()`` closes what the window holds before the window, where the
    cross, Ctrl-W and Ctrl-Q close the window first.
    """
    content = window.centralWidget()
    is_programs = not window.isVisible() or content is None or not _is_any_open(content)
    panels = [panel for panel in window.findChildren(Panel) if panel.at_work()]
    if is_programs or not panels:
        return True
    if not _asked(window, [phrase for panel in panels for phrase in panel.at_work()], "window"):
        window._quit_app = False  # set by Ctrl-Q: the next close would end napari unasked
        return False
    for panel in panels:
        panel.abandon()
    if not event.spontaneous():
        return True
    QTimer.singleShot(0, window.close)  # by the cross napari would ask a second question
    return False


def _is_any_open(content: QWidget) -> bool:
    parts = content.findChildren(QWidget, options=Qt.FindChildOption.FindDirectChildrenOnly)
    return any(not part.isHidden() for part in parts)


def _asked(window: QMainWindow, phrases: Iterable[str], what: str) -> bool:
    """Whether a person says that the work named by ``phrases`` may end, to close a part."""
    box = QMessageBox(window)
    box.setIcon(QMessageBox.Icon.Question)
    box.setWindowTitle("Still at work")
    box.setText("\n".join(phrases))
    box.setInformativeText(
        f"End this and close the {what}? What was finished is kept, of a training its last "
        "checkpoint."
    )
    end = box.addButton("End and close", QMessageBox.ButtonRole.DestructiveRole)
    keep = box.addButton(f"Keep the {what}", QMessageBox.ButtonRole.RejectRole)
    box.setDefaultButton(keep)
    box.setEscapeButton(keep)
    box.exec()
    return box.clickedButton() is end
