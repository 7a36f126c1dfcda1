"""A job in the terminal: bars where somebody watches, plain lines where not, Ctrl-C heard.

Progress goes to stderr, results to stdout, so that a result can be piped.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from napari_ct2mri.errors import JobCancelled
from napari_ct2mri.jobs import EpochDone, Event, Job, Notice, Progress, run_job
from napari_ct2mri.pix2pix.team import place_in_team
from napari_ct2mri.quiet import loud

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import Progress as Bars
    from rich.progress import ProgressColumn, TaskID

__all__ = ["Terminal", "asked_to_end", "run_in_terminal", "watch"]

R = TypeVar("R")

PLAIN_STEP_S = 5.0
"""Without a terminal, a job says at most so often how far it is."""

BYTES = "bytes"
"""Progress of these is on a line: its rate is shown."""

_WAIT_S = 0.5
_ASKS_TO_END = (signal.SIGINT, signal.SIGTERM)


def run_in_terminal(job: Job[R]) -> R:
    """Drive ``job``, show its events and return its result.

    The first Ctrl-C, or the system's wish that the process end, cancels it cleanly at its next
    event; the second kills the process.

    Raises
    ------
    JobCancelled
        After the first Ctrl-C, when the job has cleaned up.
    SystemExit
        Where ``torchrun`` started several processes that do one job, at the end of all but the
        first: they are silent.
    """
    if not place_in_team().is_first:
        with _ctrl_c(lambda text: None) as is_cancelled:
            run_job(job, lambda event: None, is_cancelled)
        raise SystemExit(0)
    with Terminal() as terminal, _ctrl_c(terminal.say) as is_cancelled:
        return run_job(job, terminal.show, is_cancelled)


@contextmanager
def asked_to_end() -> Iterator[Callable[[], bool]]:
    """Within: Ctrl-C, and the system's wish that the process end, are heard and not obeyed.

    Yields
    ------
    callable
        Waits; True once somebody has asked, False once a process that was started within has ended.
        Signals that the caller of this process has it ignore (``nohup``) stay ignored.
    """
    asked, child_ended = threading.Event(), threading.Event()
    heard = dict.fromkeys(("SIGINT", "SIGTERM", "SIGHUP"), asked) | {"SIGCHLD": child_ended}
    before = {}
    for name, event in heard.items():
        number = getattr(signal, name, None)  # Windows has not all of them
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, lambda *_, event=event: event.set())

    def wait() -> bool:
        while not asked.wait(_WAIT_S) and not child_ended.is_set():
            pass  # in steps, so that a signal is heard everywhere
        return asked.is_set()

    try:
        yield wait
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def watch(
    job: Job[Any], view: Callable[[Event], RenderableType | None], line: Callable[[Event], str]
) -> None:
    """Drive a job that never ends, its last state on the screen, until Ctrl-C.

    Parameters
    ----------
    view : callable
        What a terminal shows after an event; ``None``: what it shows stays.
    line : callable
        The same for a pipe, as a line; empty: none.
    """
    from rich.live import Live

    with suppress(JobCancelled), _ctrl_c(lambda text: None) as is_cancelled:
        if not sys.stdout.isatty():
            run_job(job, lambda event: _print(line(event)), is_cancelled)
            return
        with Live(auto_refresh=False) as live:

            def refresh(event: Event) -> None:
                seen = view(event)
                if seen is not None:
                    live.update(seen, refresh=True)

            run_job(job, refresh, is_cancelled)


def _print(line: str) -> None:
    if line:
        print(line, flush=True)


class Terminal:
    """Shows events on stderr: as bars on a terminal, as plain lines elsewhere."""

    def __init__(self) -> None:
        self._bars: Bars | None = None
        self._task: TaskID | None = None
        self._what = ""  # the bar shows
        self._said: tuple[str, float] = ("", -PLAIN_STEP_S)  # the last plain progress, and when
        self._began: tuple[str, int, float] = ("", 0, 0.0)  # of what, from how many, when

    def __enter__(self) -> Terminal:
        if sys.stderr.isatty():
            self._bars = _bars()
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def say(self, line: str) -> None:
        """Write a line that stays, above the bars."""
        with loud():
            if self._bars is not None:
                self._bars.console.print(line, markup=False, highlight=False)
            else:
                print(line, file=sys.stderr, flush=True)

    def show(self, event: Event) -> None:
        """Show an event; pictures are for the viewer."""
        if isinstance(event, Notice):
            self.say(f"note: {event.text}")
        elif isinstance(event, EpochDone):
            self.say(_epoch_line(event))
        elif isinstance(event, Progress):
            self._advance(event)

    def _advance(self, event: Progress) -> None:
        if self._bars is None:
            self._plain(event)
            return
        if event.what != self._what or self._task is None:
            if self._task is not None:  # a training has a bar an epoch; only the last is shown
                self._bars.remove_task(self._task)
            self._task = self._bars.add_task(event.what, total=event.total)
            self._what = event.what
        self._bars.update(self._task, completed=event.done, total=event.total)

    def _plain(self, event: Progress) -> None:
        """A line every few seconds, and the last of what such a line was written of."""
        now = time.monotonic()
        if event.what != self._began[0]:
            self._began = (event.what, event.done, now)
        what, when = self._said
        is_last = event.done == event.total
        if now - when >= PLAIN_STEP_S or (is_last and event.what == what):
            self._said = ("" if is_last else event.what, now)
            self.say(f"{event.what}: {event.done} of {event.total}{self._speed(event, now)}")

    def _speed(self, event: Progress, now: float) -> str:
        """Of bytes on a line: how many a second, and what is left of them in seconds."""
        _, first, start = self._began
        if event.what != BYTES or event.done == first or now == start:
            return ""
        rate = (event.done - first) / (now - start)
        left_s = (event.total - event.done) / rate
        return f", {rate / 1e3:.1f} kB/s" + (f", {left_s:.0f} s left" if left_s else "")


def _bars() -> Bars:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    return Bars(
        TextColumn("{task.description:>10}"),
        BarColumn(),
        _amount_column(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _amount_column() -> ProgressColumn:
    """How many of how many; of bytes in kB, with the rate."""
    from rich.progress import DownloadColumn, MofNCompleteColumn, ProgressColumn, Task
    from rich.progress import TransferSpeedColumn as SpeedColumn
    from rich.text import Text

    class AmountColumn(ProgressColumn):
        _count, _bytes, _speed = MofNCompleteColumn(), DownloadColumn(), SpeedColumn()

        def render(self, task: Task) -> Text:
            if task.description != BYTES:
                return self._count.render(task)
            return Text(" ").join((self._bytes.render(task), self._speed.render(task)))

    return AmountColumn()


def _epoch_line(event: EpochDone) -> str:
    parts = [f"epoch {event.epoch}/{event.epochs}", _figures(event.losses)]
    if event.validation:
        parts.append("validation " + _figures(event.validation))
    if event.is_best:
        parts.append("best so far")
    if event.seconds_left >= 1:
        minutes, seconds = divmod(round(event.seconds_left), 60)
        parts.append(f"{minutes}:{seconds:02d} left")
    return "  ".join(part for part in parts if part)


def _figures(values: Mapping[str, float]) -> str:
    return " ".join(f"{name} {value:.4g}" for name, value in values.items())


@contextmanager
def _ctrl_c(say: Callable[[str], None]) -> Iterator[Callable[[], bool]]:
    """Within: the first Ctrl-C or SIGTERM is remembered, the second ends the process at once.

    What the caller of this process has it ignore stays ignored.
    """
    cancelled = threading.Event()

    def handle(number: int, frame: object) -> None:
        cancelled.set()
        for heard in previous:
            signal.signal(heard, signal.SIG_DFL)
        say("cancelling; Ctrl-C again to stop at once")

    if threading.current_thread() is not threading.main_thread():  # no signals there
        yield cancelled.is_set
        return
    asks = [n for n in _ASKS_TO_END if signal.getsignal(n) is not signal.SIG_IGN]  # as nohup wishes
    previous = {number: signal.signal(number, handle) for number in asks}
    try:
        yield cancelled.is_set
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
