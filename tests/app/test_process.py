"""Real child processes: results, errors, crashes, cancel, big arrays, orphans."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_ct2mri.app.process import NICENESS, JobProcess, at_once
from napari_ct2mri.errors import Ct2MriError, JobCancelled, JobError, PairError
from napari_ct2mri.jobs import Event, Job, Notice, Paused, Progress

JOBS = """
import os, signal, sys, time
from pathlib import Path
import numpy as np
from napari_ct2mri.errors import PairError
from napari_ct2mri.jobs import Notice, Progress, SlicesDone

def count(n, scale=1):
    print("a stray print must not break the stream")
    for i in range(n):
        yield Progress(i + 1, n, "steps")
    return n * scale

def niceness():
    yield Notice("hello")
    return os.nice(0)

def echo(array):
    yield SlicesDone(0, array)
    return array * 2

def broken_pairs():
    yield Notice("row 17")
    raise PairError("pairs.csv row 17: no file 'ct.png'. Correct the path.")

def bug():
    yield Notice("before")
    raise ValueError("two\\nlines")

def vanish(how):
    yield Notice("before")
    print("the last word", file=sys.stderr, flush=True)
    if how == "exit":
        os._exit(3)
    os.kill(os.getpid(), signal.SIGKILL)

def endless(marker):
    try:
        while True:
            time.sleep(0.02)
            yield Notice(str(os.getpid()))
    finally:
        Path(marker).write_text("cleaned up")

def busy(marker):
    try:
        while True:
            sum(range(20_000))
            yield Notice(str(os.getpid()))
    finally:
        Path(marker).write_text("cleaned up")

def watching():
    yield Notice("ready")
    while (seen := (yield Notice("still"))) != 7:
        time.sleep(0.01)
    return seen

def deaf(marker):
    yield Notice(str(os.getpid()))
    Path(marker).write_text("deaf from here on")
    time.sleep(600)

class OnlyHere:
    pass

def strange():
    yield Notice("before")
    return OnlyHere()

def unpicklable():
    yield Notice("before")
    return lambda: 1
"""


class Record:
    """Runs one job and keeps what the callbacks got, in order."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.outcomes: list[object] = []
        self.first = threading.Event()
        self.process = JobProcess(self._event, self.outcomes.append, self.outcomes.append)

    def _event(self, event: Event) -> None:
        self.events.append(event)
        self.first.set()

    def run(self, name: str, *args: object, **kwargs: object) -> object:
        self.process.start(f"ct2mri_test_jobs:{name}", *args, **kwargs)
        return self.outcome()

    def outcome(self) -> object:
        assert self.process.wait(20), "the job did not end"
        assert len(self.outcomes) == 1, self.outcomes
        return self.outcomes[0]


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Record:
    (tmp_path / "ct2mri_test_jobs.py").write_text(JOBS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return Record()


def logs(tmp_path: Path) -> list[Path]:
    return list(tmp_path.glob("ct2mri-job-*.log"))


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def test_streams_events_in_order_and_returns_the_result(record: Record, tmp_path: Path) -> None:
    assert record.run("count", 500, scale=2) == 1000
    assert record.events == [Progress(i + 1, 500, "steps") for i in range(500)]
    assert not record.process.is_running
    assert logs(tmp_path) == []


def test_two_jobs_after_one_another_but_not_at_once(record: Record, tmp_path: Path) -> None:
    record.process.start("ct2mri_test_jobs:endless", str(tmp_path / "marker"))
    with pytest.raises(JobError, match="still running"):
        record.process.start("ct2mri_test_jobs:count", 1)
    record.process.kill()
    assert isinstance(record.outcome(), JobCancelled)
    record.outcomes.clear()
    assert record.run("count", 3) == 3


@pytest.mark.skipif(not hasattr(os, "nice"), reason="niceness is a matter of POSIX")
def test_child_is_nicer_than_its_parent(record: Record) -> None:
    assert record.run("niceness") == min(os.nice(0) + NICENESS, 19)


def test_large_arrays_both_ways(record: Record) -> None:
    array = np.random.default_rng(0).standard_normal((60, 256, 256)).astype(np.float32)  # 15 MB
    result = record.run("echo", array)
    np.testing.assert_array_equal(result, array * 2)
    np.testing.assert_array_equal(record.events[0].slices, array)  # type: ignore[attr-defined]


def test_an_error_of_the_tree_keeps_type_and_message(record: Record, tmp_path: Path) -> None:
    error = record.run("broken_pairs")
    assert type(error) is PairError
    assert str(error) == "pairs.csv row 17: no file 'ct.png'. Correct the path."
    assert record.events == [Notice("row 17")]
    assert logs(tmp_path) == []


def test_a_bug_is_one_line_with_a_log_that_holds_the_traceback(
    record: Record, tmp_path: Path
) -> None:
    error = record.run("bug")
    assert type(error) is JobError
    (log,) = logs(tmp_path)
    assert str(error) == f"ValueError: two lines (log: {log})"
    assert "Traceback" in log.read_text()


def test_no_python_file_of_the_folder_one_is_in_is_imported(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    for name in ("queue", "signal", "napari_ct2mri"):
        (tmp_path / "here" / f"{name}.py").write_text("raise SystemExit('imported from here')")
    monkeypatch.chdir(tmp_path / "here")
    assert record.run("count", 3) == 3


def test_what_the_system_does_not_give_is_one_line(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", str(tmp_path / "no python"))
        with pytest.raises(JobError, match="cannot be started: No such file") as raised:
            record.process.start("ct2mri_test_jobs:count", 1)
    assert "\n" not in str(raised.value)
    assert logs(tmp_path) == []
    with monkeypatch.context() as patched:
        patched.setattr("tempfile.tempdir", str(tmp_path / "no folder"))
        with pytest.raises(JobError, match="cannot be started: No such file"):
            record.process.start("ct2mri_test_jobs:count", 1)
    assert not record.process.is_running
    assert record.run("count", 3) == 3


@pytest.mark.parametrize("name", ["no_such_job", "unpicklable"])
def test_what_cannot_start_or_return_is_an_error(record: Record, name: str) -> None:
    assert isinstance(record.run(name), JobError)


def test_a_crash_gives_the_last_word_and_the_log(record: Record, tmp_path: Path) -> None:
    error = record.run("vanish", "exit")
    assert type(error) is JobError
    assert "exit code 3" in str(error)
    assert "the last word" in str(error)
    assert str(logs(tmp_path)[0]) in str(error)
    assert "\n" not in str(error)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_killed_child_speaks_of_memory(record: Record) -> None:
    error = record.run("vanish", "kill")
    assert type(error) is JobError
    assert "signal 9" in str(error)
    assert "memory" in str(error)


def test_cancel_runs_the_jobs_finally(record: Record, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    record.process.start("ct2mri_test_jobs:endless", str(marker))
    assert record.first.wait(20)
    record.process.cancel()
    record.process.cancel()  # a second click changes nothing
    assert type(record.outcome()) is JobCancelled
    assert marker.read_text() == "cleaned up"


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.01)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_a_paused_job_uses_no_processor_and_goes_on(record: Record, tmp_path: Path) -> None:
    record.process.start("ct2mri_test_jobs:busy", str(tmp_path / "marker"))
    assert record.first.wait(20)
    pid = int(record.events[0].text)  # type: ignore[attr-defined]
    record.process.pause()
    wait_until(lambda: Paused(True) in record.events)
    assert record.events[-1] == Paused(True)
    before = cpu_ticks(pid)
    time.sleep(1)
    assert cpu_ticks(pid) - before <= 2
    assert record.events[-1] == Paused(True)
    record.process.go_on()
    wait_until(lambda: Paused(False) in record.events)
    wait_until(lambda: isinstance(record.events[-1], Notice))
    record.process.kill()
    assert type(record.outcome()) is JobCancelled


def test_cancel_ends_a_paused_job_and_pause_no_cancelled_one(
    record: Record, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    record.process.start("ct2mri_test_jobs:busy", str(marker))
    record.process.pause()
    wait_until(lambda: Paused(True) in record.events)
    record.process.cancel()
    record.process.pause()
    assert type(record.outcome()) is JobCancelled
    assert marker.read_text() == "cleaned up"


def test_the_job_hears_which_slice_is_in_view(record: Record) -> None:
    record.process.start("ct2mri_test_jobs:watching")
    for index in (3, None, 2**32 - 2, 7):
        record.process.look_at(index)
    assert record.outcome() == 7
    with pytest.raises(ValueError, match="slice -1"):
        record.process.look_at(-1)


def test_a_child_that_does_not_listen_blocks_nobody(record: Record, tmp_path: Path) -> None:
    """More words than a pipe holds, to a child that is stopped while it starts."""
    record.process.start("ct2mri_test_jobs:endless", str(tmp_path / "marker"))
    os.kill(record.process._child.pid, signal.SIGSTOP)  # type: ignore[union-attr]
    start = time.monotonic()
    for index in range(50_000):
        record.process.look_at(index)
    assert time.monotonic() - start < 5
    record.process.kill()
    assert type(record.outcome()) is JobCancelled


def test_a_deaf_job_is_killed_after_the_grace(record: Record, tmp_path: Path) -> None:
    marker = tmp_path / "deaf"
    record.process.start("ct2mri_test_jobs:deaf", str(marker))
    assert record.first.wait(20)
    deadline = time.monotonic() + 20
    while not marker.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    record.process.cancel(grace_s=0.2)
    error = record.outcome()
    assert type(error) is JobCancelled
    assert "by force" in str(error)
    assert not is_alive(int(record.events[0].text))  # type: ignore[attr-defined]


def deaf(marker: str) -> Job[None]:
    """Stands for the job of that name in the child."""
    yield Notice(marker)


deaf.__module__ = "ct2mri_test_jobs"


def test_a_job_that_leaves_nothing_is_ended_at_once(record: Record, tmp_path: Path) -> None:
    marker = tmp_path / "deaf"
    record.process.start(at_once(deaf), str(marker))
    wait_until(marker.exists)
    start = time.monotonic()
    record.process.cancel()
    error = record.outcome()
    assert time.monotonic() - start < 5
    assert type(error) is JobCancelled
    assert str(error) == "cancelled"
    assert not is_alive(int(record.events[0].text))  # type: ignore[attr-defined]
    record.outcomes.clear()
    assert record.run("count", 3) == 3
    assert logs(tmp_path) == []


def test_a_callback_that_raises_is_an_error_and_leaves_no_child(
    record: Record, tmp_path: Path
) -> None:
    pids: list[int] = []

    def fail(event: Event) -> None:
        pids.append(int(event.text))  # type: ignore[attr-defined]
        raise RuntimeError("a bug in the viewer")

    record.process.on_event = fail
    error = record.run("endless", str(tmp_path / "marker"))
    assert type(error) is JobError
    assert "RuntimeError: a bug in the viewer" in str(error)
    assert "in fail" in logs(tmp_path)[0].read_text()
    assert not is_alive(pids[0])


def test_a_result_that_cannot_be_read_here_is_an_error(record: Record) -> None:
    error = record.run("strange")
    assert type(error) is JobError
    assert "ModuleNotFoundError" in str(error)
    assert "\n" not in str(error)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_the_parents_death_ends_the_child(record: Record, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    script = f"""
import time
from napari_ct2mri.app.process import JobProcess
JobProcess(on_event=lambda e: print(e.text, flush=True)).start(
    "ct2mri_test_jobs:endless", {str(marker)!r})
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 15
    while is_alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(child)
    assert marker.read_text() == "cleaned up"


def test_errors_of_the_tree_survive_pickling() -> None:
    import pickle

    for kind in Ct2MriError.__subclasses__():
        copy = pickle.loads(pickle.dumps(kind("a line")))
        assert type(copy) is kind
        assert str(copy) == "a line"
