"""Events as lines, and Ctrl-C, in a real process."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from napari_ct2mri.app.terminal import Terminal, run_in_terminal
from napari_ct2mri.jobs import EpochDone, Job, Notice, Progress

ENDLESS = """
import sys, time
from napari_ct2mri.app import cli
from napari_ct2mri.jobs import Notice
from napari_ct2mri.app.terminal import run_in_terminal

def endless():
    try:
        while True:
            yield Notice("working")
            time.sleep({pause})
    finally:
        print("cleaned up", flush=True)

cli.app.command(lambda: run_in_terminal(endless()), name="endless")
sys.exit(cli.main(["endless"]))
"""


def job() -> Job[str]:
    yield Notice("2 slices skipped")
    for i in range(100):
        yield Progress(i + 1, 100, "steps")
    yield EpochDone(1, 3, {"l1": 0.25}, {"psnr": 15.5}, True, 61.0)
    return "done"


def test_plain_lines_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_in_terminal(job()) == "done"
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "note: 2 slices skipped",
        "steps: 1 of 100",
        "steps: 100 of 100",
        "epoch 1/3  l1 0.25  validation psnr 15.5  best so far  1:01 left",
    ]


def test_short_steps_do_not_flood_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    with Terminal() as terminal:
        for epoch in range(50):
            for i in range(20):
                terminal.show(Progress(i + 1, 20, f"steps of epoch {epoch}"))
    assert len(capsys.readouterr().err.splitlines()) <= 3


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals")
def test_bars_on_a_terminal() -> None:
    master, slave = pty.openpty()
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_terminal as t;"
        "print(t.run_in_terminal(t.job()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent)],
        stdout=subprocess.PIPE,
        stderr=slave,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
        check=True,
        text=True,
    )
    os.close(slave)
    shown = os.read(master, 1 << 16).decode()
    os.close(master)
    assert done.stdout == "done\n"
    assert "100/100" in shown
    assert "━" in shown
    assert "note: 2 slices skipped" in shown


def start(pause: float) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", ENDLESS.format(pause=pause)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "note: working\n"
    return process


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_cancels_cleanly() -> None:
    process = start(pause=0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert out == "cleaned up\n"
    assert err.splitlines()[-1].startswith("ct2mri: cancelled")
    assert "Traceback" not in err


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_second_ctrl_c_kills() -> None:
    process = start(pause=600)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert "again" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_what_the_caller_has_it_ignore_stays_ignored() -> None:
    """A background job of a script does not end with the Ctrl-C of the foreground's."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = start(pause=0.05)
    finally:
        signal.signal(signal.SIGINT, before)
    assert process.stderr is not None
    process.send_signal(signal.SIGINT)
    assert [process.stderr.readline() for _ in range(3)] == 3 * ["note: working\n"]
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, "cleaned up\n")
