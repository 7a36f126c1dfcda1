"""A job in a child process, its events streamed back in order.

Training in a thread starves a viewer, and a process that ends gives back all of its memory.
Parent and child talk over the child's standard pipes::

    parent -> child   8 bytes of length (big-endian) and a pickled call (function, arguments);
                      then words of 5 bytes, a letter and a number (big-endian, 32 bits):
                      c cancel, p pause, g go on (number 0), v the axial slice in view
                      (2^32 - 1: none)
    child -> parent   pickled pairs: ("event", Event)* and one last ("result", R),
                      ("error", Ct2MriError) or ("failure", str)

A paused job stands still at its next event, keeps its memory and uses no processor. The child's
own prints go to its log. It ends when its end of the pipe closes, so a parent
that dies leaves nothing running. No Qt here: callbacks arrive in a reader thread.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from napari_ct2mri.errors import Ct2MriError, JobCancelled, JobError
from napari_ct2mri.jobs import Event, Job, Paused, run_job

__all__ = ["JobProcess", "at_once"]

F = TypeVar("F", bound=Callable[..., Job[Any]])

GRACE_S = 10.0
"""How long a cancelled job may take to reach its next event and clean up."""

NICENESS = 10
"""Added to the child's, so that scrolling in the viewer stays fluent."""

_LENGTH = struct.Struct(">Q")
assert _LENGTH.size == 8
_WORD = struct.Struct(">cI")
assert _WORD.size == 5
_CANCEL, _PAUSE, _GO_ON, _VIEW = b"c", b"p", b"g", b"v"
_NOWHERE = 2**32 - 1


def at_once(job: F) -> F:
    """Mark a job that leaves nothing to clean up: cancelled, its child is ended at once."""
    job.ends_at_once = True  # type: ignore[attr-defined]
    return job


class JobProcess:
    """Runs one job at a time in a child process.

    Parameters
    ----------
    on_event : callable
        Called with each event, in order.
    on_result, on_error : callable
        Exactly one of them is called, once, when the child has ended: with the job's result,
        or with what stopped it: the job's own error (same type, same message),
        :class:`JobCancelled`, or :class:`JobError` when the child crashed, sent what cannot be
        read here, or ``on_event`` raised.

    All three are called in a reader thread and may be set until :meth:`start`.
    """

    def __init__(
        self,
        on_event: Callable[[Event], None] = lambda event: None,
        on_result: Callable[[Any], None] = lambda result: None,
        on_error: Callable[[Ct2MriError], None] = lambda error: None,
    ) -> None:
        self.on_event = on_event
        self.on_result = on_result
        self.on_error = on_error
        self._child: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._stop = ""  # why the parent ended the child; empty while it wants the result
        self._ends_at_once = False

    @property
    def is_running(self) -> bool:
        """Whether the outcome of a started job is still to come."""
        return self._reader is not None and self._reader.is_alive()

    def start(self, function: str | Callable[..., Job[Any]], *args: Any, **kwargs: Any) -> None:
        """Call ``function(*args, **kwargs)`` in a new process and drive the job it returns.

        Parameters
        ----------
        function : str or callable
            ``"package.module:name"``, or a function that can be imported by such a name.
        *args, **kwargs
            Anything that pickles.

        Raises
        ------
        JobError
            If a job is still running, or the system gives no process or no log file.
        """
        if self.is_running:
            raise JobError("a job is still running; wait for it or cancel it first")
        name = function if isinstance(function, str) else _import_name(function)
        call = pickle.dumps((name, args, kwargs), protocol=5)
        self._child, log = _launch()
        self._ends_at_once = getattr(function, "ends_at_once", False)
        self._stop = ""
        self._outbox = queue.SimpleQueue()
        self._outbox.put(_LENGTH.pack(len(call)) + call)
        threading.Thread(target=_post, args=(self._child, self._outbox), daemon=True).start()
        self._reader = threading.Thread(
            target=self._follow, args=(self._child, self._outbox, log), daemon=True
        )
        self._reader.start()

    def pause(self) -> None:
        """Let the job stand still at its next event, which a ``Paused`` event confirms."""
        self._tell(_PAUSE)

    def go_on(self) -> None:
        """Let a paused job go on."""
        self._tell(_GO_ON)

    def look_at(self, index: int | None) -> None:
        """Tell the job which axial slice is in view, from 0; None: nobody looks."""
        number = _NOWHERE if index is None else index
        if not 0 <= number <= _NOWHERE:
            raise ValueError(f"slice {index}: expected 0 to {_NOWHERE - 1}")
        self._tell(_VIEW, number)

    def cancel(self, grace_s: float = GRACE_S) -> None:
        """Ask the job to stop at its next event and clean up; kill it after ``grace_s``.

        One that is marked by :func:`at_once` is ended without being asked.
        """
        child = self._child
        if child is None or not self.is_running or self._stop:
            return
        if self._ends_at_once:
            self._stop = "cancelled"
            threading.Thread(target=_kill_tree, args=(child,), daemon=True).start()
            return
        self._stop = "cancelled; what was finished before is kept"
        threading.Thread(target=self._ask_to_stop, args=(child, grace_s), daemon=True).start()

    def kill(self) -> None:
        """End the child and all it started, at once, without clean-up."""
        if self._child is not None and self.is_running:
            self._stop = "stopped by force; what was finished before is kept"
            _kill_tree(self._child)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Block until the last callback has returned; ``False`` if that takes too long."""
        if self._reader is not None:
            self._reader.join(timeout_s)
        return not self.is_running

    def _tell(self, letter: bytes, number: int = 0) -> None:
        """Never blocks: who calls may be the viewer, and the child busy."""
        self._outbox.put(_WORD.pack(letter, number))

    def _ask_to_stop(self, child: subprocess.Popen[bytes], grace_s: float) -> None:
        self._tell(_CANCEL)
        try:
            child.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._stop = f"cancelled by force, as the job did not stop within {grace_s:g} s"
            _kill_tree(child)

    def _follow(
        self, child: subprocess.Popen[bytes], outbox: queue.SimpleQueue[bytes | None], log: Path
    ) -> None:
        """Pass on events, then the outcome; runs in the reader thread."""
        try:
            kind, value = self._read(child)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(GRACE_S)
        except BaseException as error:  # on_event, or an unpickling: whatever it is, somebody waits
            with contextlib.suppress(OSError), log.open("a", encoding="utf-8") as file:
                traceback.print_exc(file=file)
            kind, value = "failure", f"the job's words could not be taken in: {_one_line(error)}"
        outbox.put(None)
        _end(child)
        if kind == "result":
            _remove(log)
            self.on_result(value)
            return
        error_ = self._error(kind, value, child.returncode, log)
        if not isinstance(error_, JobError):
            _remove(log)
        self.on_error(error_)

    def _read(self, child: subprocess.Popen[bytes]) -> tuple[str, Any]:
        """Pass on events; return what follows them, ``("crash", None)`` where nothing does."""
        assert child.stdout is not None
        while True:
            try:
                kind, value = pickle.load(child.stdout)
            except (EOFError, pickle.UnpicklingError, OSError):
                return "crash", None
            if kind != "event":
                return kind, value
            self.on_event(value)

    def _error(self, kind: str, value: Any, returncode: int, log: Path) -> Ct2MriError:
        if kind == "error" and isinstance(value, Ct2MriError):
            return value
        if self._stop:
            return JobCancelled(self._stop)
        return JobError(f"{value or _crash(returncode, log)} (log: {log})")


def _launch() -> tuple[subprocess.Popen[bytes], Path]:
    """A child that waits for its call, and its log."""
    log = None
    try:
        descriptor, name = tempfile.mkstemp(prefix="ct2mri-job-", suffix=".log")
        log = Path(name)
        with os.fdopen(descriptor, "wb") as stderr:
            child = subprocess.Popen(
                # -P: no Python file of the folder that the viewer was started in is imported
                [sys.executable, "-P", "-m", "napari_ct2mri.app.process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,  # Ctrl-C in a terminal is for the parent to handle
                creationflags=getattr(subprocess, "BELOW_NORMAL_PRIORITY_CLASS", 0),
            )
    except OSError as error:
        if log is not None:
            _remove(log)
        raise JobError(
            f"the job cannot be started: {error.strerror or error}; see that there are memory and "
            "room for temporary files, then try again"
        ) from error
    return child, log


def _import_name(function: Callable[..., Any]) -> str:
    return f"{function.__module__}:{function.__qualname__}"


def _post(child: subprocess.Popen[bytes], outbox: queue.SimpleQueue[bytes | None]) -> None:
    """Write to the child's stdin until ``None``; a child that is gone is noticed by the reader."""
    assert child.stdin is not None
    with contextlib.suppress(OSError, ValueError):
        while (data := outbox.get()) is not None:
            child.stdin.write(data)
            child.stdin.flush()


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the child, should it still be blocked on a full pipe, and let go of its pipes."""
    _kill_tree(child)
    for pipe in (child.stdin, child.stdout):
        with contextlib.suppress(OSError):
            pipe.close()  # type: ignore[union-attr]


def _remove(log: Path) -> None:
    with contextlib.suppress(OSError):
        log.unlink()


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _kill_tree(child: subprocess.Popen[bytes]) -> None:
    """Kill the child, with its whole session where there are sessions, and reap it."""
    if child.poll() is not None:
        return
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
    child.kill()
    child.wait()


def _crash(returncode: int, log: Path) -> str:
    """One sentence on a child that ended without a word."""
    if returncode == -9:
        return (
            "the job was killed by the system (signal 9), most likely for lack of memory; "
            "lower the batch, the width or the frame, or close other programs"
        )
    try:
        text = log.read_text(errors="replace")
    except OSError:  # somebody cleared the folder of temporary files
        text = ""
    lines = [line for line in text.splitlines() if line.strip()]
    reason = f"signal {-returncode}" if returncode < 0 else f"exit code {returncode}"
    return f"the job crashed ({reason}): {lines[-1].strip() if lines else 'it left no message'}"


# ---------------------------------------------------------------- in the child


def _child_main() -> None:
    """Read one call, run it, stream what it yields."""
    source, sink = _take_pipes()
    _be_nice()

    def send(kind: str, value: object) -> None:
        pickle.dump((kind, value), sink, protocol=5)
        sink.flush()

    ear = _Ear()

    def is_cancelled() -> bool:
        if ear.is_paused:
            send("event", Paused(True))
            ear.wait()
            send("event", Paused(False))
        return ear.is_cancelled

    try:
        name, args, kwargs = pickle.loads(_read_call(source))
        threading.Thread(target=_watch, args=(source, ear), daemon=True).start()
        module, _, function = name.partition(":")
        job = getattr(import_module(module), function)(*args, **kwargs)
        result = run_job(job, lambda e: send("event", e), is_cancelled, lambda: ear.in_view)
        outcome: tuple[str, object] = ("result", result)
    except Ct2MriError as error:
        outcome = ("error", error)
    except BrokenPipeError:  # the parent is gone; there is nobody to tell
        os._exit(1)
    except BaseException as error:
        traceback.print_exc()
        outcome = ("failure", _one_line(error))
    with contextlib.suppress(BrokenPipeError):
        send(*outcome)


def _be_nice() -> None:
    """Give way to the viewer.

    Linux may share the processor out by session before it looks at niceness (autogroup, see
    sched(7)); the child has a session of its own, which is told as well.
    """
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(NICENESS), encoding="ascii")


def _take_pipes() -> tuple[int, BinaryIO]:
    """Keep the pipes to the parent for ourselves: prints go to the log, reads find nothing.

    Returns
    -------
    (file descriptor to read, file to write)
    """
    source, sink = os.dup(0), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    sys.stdout = sys.stderr
    return source, sink


def _read_call(source: int) -> bytes:
    """Read the pickled call and not one byte more: what follows is for :func:`_watch`."""
    (length,) = _LENGTH.unpack(_read_exactly(source, _LENGTH.size))
    return _read_exactly(source, length)


def _read_exactly(source: int, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        chunk = os.read(source, min(length - len(data), 1 << 20))
        if not chunk:
            raise BrokenPipeError("the parent ended")
        data += chunk
    return bytes(data)


class _Ear:
    """What the parent has said since its call; words come in one thread and are heeded in another.

    Attributes
    ----------
    in_view : int or None
        Which axial slice somebody looks at, from 0.
    """

    def __init__(self) -> None:
        self.in_view: int | None = None
        self._cancelled = threading.Event()
        self._going = threading.Event()
        self._going.set()

    @property
    def is_cancelled(self) -> bool:
        """Whether the job shall end."""
        return self._cancelled.is_set()

    @property
    def is_paused(self) -> bool:
        """Whether the job shall stand still."""
        return not self._going.is_set()

    def wait(self) -> None:
        """Stand still until the job shall go on or end."""
        self._going.wait()

    def hear(self, letter: bytes, number: int = 0) -> None:
        """Take in one word; nothing revives a cancelled job."""
        if letter == _CANCEL:
            self._cancelled.set()
        if letter == _VIEW:
            self.in_view = None if number == _NOWHERE else number
        if letter == _PAUSE and not self.is_cancelled:
            self._going.clear()
        if letter in (_GO_ON, _CANCEL):
            self._going.set()


def _watch(source: int, ear: _Ear) -> None:
    """Hear the parent; when the pipe ends (it died) leave, politely at first."""
    with contextlib.suppress(OSError):  # BrokenPipeError, of a pipe at its end
        while True:
            ear.hear(*_WORD.unpack(_read_exactly(source, _WORD.size)))
    ear.hear(_CANCEL)
    time.sleep(GRACE_S)
    os._exit(1)


if __name__ == "__main__":
    _child_main()
