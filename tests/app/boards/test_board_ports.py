"""``monitor`` and ``ports``; the bar of bytes."""

from __future__ import annotations

import io
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from at_a_board import COMMAND, command, held, needs_compiler

from napari_ct2mri.app import workflows
from napari_ct2mri.app.terminal import Terminal, _bars
from napari_ct2mri.firmware.container import ABI
from napari_ct2mri.jobs import Progress


@needs_compiler
def test_monitor_once(ready: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    command("monitor", "--port", ready, "--once")
    out = capsys.readouterr().out
    assert "tiny on host" in out
    assert "slices a second, computing" in out
    assert "0 frames dropped, 0 overruns" in out
    layers = [line.split()[0] for line in out.splitlines() if line.startswith((" down", " up"))]
    assert layers == ["down.0", "down.1", "down.2", "up.2", "up.1", "up.0"]


@needs_compiler
def test_monitor_goes_on_until_ctrl_c(ready: str) -> None:
    with subprocess.Popen(
        [*COMMAND, "monitor", "--port", ready], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    ) as watching:  # fmt: skip
        assert watching.stdout
        lines = [watching.stdout.readline() for _ in range(2)]
        watching.send_signal(signal.SIGINT)
        assert watching.wait(20) == 0
    assert all("slices a second" in line and "slowest " in line for line in lines)


def test_nothing_is_plugged_in(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("napari_ct2mri.link.ports.list_ports", list)
    capsys.readouterr()
    command("ports")
    assert "nothing is plugged in" in (out := capsys.readouterr().out)
    assert "ct2mri board --board host" in out


def test_a_rate_is_of_a_port(fails: Callable[..., str]) -> None:
    assert "--port" in fails("ports", "--baud", "-3")


@needs_compiler
def test_ports_says_who_holds_a_port_and_asks_a_board(
    ready: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with held(ready) as pid:
        capsys.readouterr()
        command("ports")
        line = next(x for x in capsys.readouterr().out.splitlines() if x.startswith(f" {ready} "))
        assert "host" in line
        assert f"(pid {pid})" in line
    command("ports", "--port", ready)
    out = capsys.readouterr().out
    assert f"protocol 1, ABI {ABI}" in out
    assert "tiny, T2, 64 x 64 pixels" in out


def test_notes_of_boards_that_died_are_removed(cache: Path) -> None:
    note = cache / "napari-ct2mri" / "running" / "1-dead.json"
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text('{"board": "host", "port": "/dev/pts/99", "store": "", "pid": 1}')
    assert "/dev/pts/99" not in {running.port for running in workflows.running_boards()}
    assert not note.exists()


def test_bytes_on_a_line_have_a_rate(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter([100.0, 104.0, 106.0, 107.0])
    monkeypatch.setattr("napari_ct2mri.app.terminal.time.monotonic", lambda: next(now))
    terminal = Terminal()
    for done in (50_000, 60_000, 110_000, 150_000):
        terminal.show(Progress(done, 150_000, "bytes"))
    assert capsys.readouterr().err.splitlines() == [
        "bytes: 50000 of 150000",
        "bytes: 110000 of 150000, 10.0 kB/s, 4 s left",
        "bytes: 150000 of 150000, 14.3 kB/s",
    ]


def test_the_bar_of_bytes_shows_rate_and_time_left() -> None:
    bars = _bars()
    bars.console.file = io.StringIO()
    task = bars.add_task("bytes", total=3_000_000)
    bars.update(task, completed=1_000_000)
    (row,) = bars.tasks
    text = bars.columns[2].render(row).plain
    assert "1.0/3.0 MB" in text
    bars.update(bars.add_task("slices", total=4), completed=2)
    assert "2/4" in bars.columns[2].render(bars.tasks[-1]).plain
