"""Trainings that do not run through: cancelled, paused, killed, closed, disk full; and resumed."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import full_disk
import pytest
from heads import head_pair
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from trainings import click, set_small, states, wait_for

from conftest import PATIENCE_MS, SMALL
from napari_ct2mri.errors import Ct2MriError, JobCancelled, JobError
from napari_ct2mri.jobs import EpochDone, Event, Progress, run_job
from napari_ct2mri.pix2pix.checkpoint import load_checkpoint, read_header
from napari_ct2mri.pix2pix.state_file import read_state
from napari_ct2mri.widgets import tasks
from napari_ct2mri.widgets.runs import open_run

Settle = Callable[[Any], None]

PHASES: dict[str, Callable[[Event], bool]] = {
    "reading": lambda e: isinstance(e, Progress) and e.what == "pairs read",
    "the first epoch": lambda e: isinstance(e, Progress) and e.what == "steps of epoch 1",
    "validation": lambda e: isinstance(e, Progress) and e.what == "slices validated",
    "saving": lambda e: isinstance(e, EpochDone),
}


def child(train: Any) -> int:
    pid: int = train.job._process._child.pid
    return pid


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    status = Path(f"/proc/{pid}/stat")
    if not Path("/proc/self/stat").exists():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return True
    return status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] != "Z"


@pytest.mark.parametrize("phase", ["start-up", *PHASES])
def test_cancelled_in_any_phase(
    phase: str, train: Any, qtbot: QtBot, settle: Settle, told: list[str], tmp_path: Path
) -> None:
    output = tmp_path / "cut.safetensors"
    set_small(train, output)

    def cancel(event: Event) -> None:
        if PHASES[phase](event) and not cancelled:
            cancelled.append(event)
            click(qtbot, train.stop)

    cancelled: list[Event] = []
    click(qtbot, train.go)
    if phase == "start-up":
        click(qtbot, train.stop)
    else:
        train.job.event_came.connect(cancel)
    settle(train)
    assert train.status.text().startswith("cancelled")
    assert not told
    assert states(train) == [("cut", "stopped")]
    assert train.go.isEnabled()
    assert not list(tmp_path.glob(".*"))  # nothing half-written
    if phase in ("validation", "saving"):
        assert load_checkpoint(output).contrasts == ("T2",)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_pause_stands_still_and_goes_on(
    train: Any, qtbot: QtBot, settle: Settle, tmp_path: Path
) -> None:
    set_small(train, tmp_path / "m.safetensors")
    click(qtbot, train.go)
    wait_for(qtbot, lambda: train._run.records)
    click(qtbot, train.pause)
    wait_for(qtbot, lambda: train._run.state == "paused")
    assert train.status.text() == "paused: memory is kept, no processor used"
    assert train.runs.table.item(0, 1).text() == "paused"

    def ticks() -> int:
        fields = Path(f"/proc/{child(train)}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before, epochs = ticks(), len(train._run.records)
    qtbot.wait(1000)
    assert ticks() - before <= 2
    assert len(train._run.records) == epochs
    assert train.pause.text() == "Go on"
    click(qtbot, train.pause)
    wait_for(qtbot, lambda: len(train._run.records) > epochs)
    assert train._run.state == "running"
    click(qtbot, train.pause)
    wait_for(qtbot, lambda: train._run.state == "paused")
    click(qtbot, train.stop)
    settle(train)
    assert states(train) == [("m", "stopped")]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_killed_child_is_a_message_and_a_way_to_go_on(
    train: Any, qtbot: QtBot, settle: Settle, told: list[str], tmp_path: Path
) -> None:
    output = tmp_path / "m.safetensors"
    set_small(train, output, epochs=60)
    click(qtbot, train.go)
    wait_for(qtbot, lambda: len(train._run.records) >= 2)
    os.kill(child(train), signal.SIGKILL)
    settle(train)
    assert "signal 9" in told.pop()
    assert states(train) == [("m", "crashed")]
    assert "m can go on after epoch" in train.notes.toPlainText()
    assert load_checkpoint(output).contrasts == ("T2",)
    whole = len(read_state(output).history)
    click(qtbot, train.runs.resume)
    assert len(train._run.records) == whole
    settle(train)
    assert states(train) == [("m", "done")]
    assert len(next(iter(train.runs)).records) == 60
    assert [record.epoch for record in read_header(output).history] == list(range(1, 61))
    click(qtbot, train.runs.resume)
    assert "m: all of its 60 epochs are done" in told.pop()


def test_a_run_of_another_day_is_opened_and_goes_on(
    train: Any, qtbot: QtBot, settle: Settle, tmp_path: Path
) -> None:
    output = tmp_path / "m.safetensors"
    set_small(train, output, epochs=60)
    click(qtbot, train.go)
    wait_for(qtbot, lambda: len(train._run.records) >= 2)
    click(qtbot, train.stop)
    settle(train)
    done = len(read_state(output).history)
    train.runs.table.selectRow(0)
    click(qtbot, train.runs.remove)
    train.pairs.fill([])  # as in a new viewer
    train.runs.add_file(output)
    assert states(train) == [("m", "stopped")]
    assert train.runs.table.item(0, 2).text() == f"{done} of 60"
    assert len(train.curves.losses.lines["m"].getData()[0]) == done
    click(qtbot, train.runs.resume)
    settle(train)
    assert states(train) == [("m", "done")]
    assert read_header(output).history[-1].epoch == 60


def test_a_run_of_another_day_knows_the_one_contrast_it_learns(tmp_path: Path) -> None:
    """Its model makes more, as the one it started from did, and its pairs show more."""
    ct, mr = head_pair()
    entries = [tasks.PairEntry(ct, mr, "ada", name, "train") for name in ("T2", "T1")]
    leaves = SMALL | {"width": 4, "epochs": 1}
    both, one = tmp_path / "both.safetensors", tmp_path / "one.safetensors"
    run_job(tasks.train(entries, both, "default", leaves), lambda event: None)
    seen: list[Event] = []
    job = tasks.train(
        entries, one, "default", {"threads": 1, "epochs": 2}, contrast="T1", init=both
    )
    with pytest.raises(JobCancelled):
        run_job(job, seen.append, lambda: isinstance(seen[-1], EpochDone))
    steps = [e for e in seen if isinstance(e, Progress) and e.what == "steps of epoch 1"]
    assert {step.epochs for step in steps} == {(0, 2)}
    run = open_run(one)
    assert (run.state, run.contrast) == ("stopped", None)  # the panel need not know
    assert read_header(one).config.model.contrasts == ("T2", "T1")
    run_job(tasks.resume(run.pairs, one, contrast=run.contrast), lambda event: None)
    assert len(read_state(one).history) == 2
    assert read_state(one).contrast == "T1"


def test_one_training_at_a_time(
    train: Any, qtbot: QtBot, settle: Settle, told: list[str], tmp_path: Path
) -> None:
    output = tmp_path / "m.safetensors"
    set_small(train, output)
    click(qtbot, train.go)
    assert not train.go.isEnabled()
    wait_for(qtbot, lambda: train._run.records)
    first = train._run
    with pytest.raises(Ct2MriError, match="is there already"):
        train.start()
    train.output.line.setText(str(tmp_path / "other.safetensors"))
    with pytest.raises(JobError, match="a training is at work in this panel"):
        train.start()
    with pytest.raises(Ct2MriError, match="m is running already"):
        train.resume(first)
    assert train._run is first
    assert len(train.runs) == 1
    before = len(first.records)
    wait_for(qtbot, lambda: len(first.records) > before)
    click(qtbot, train.stop)
    settle(train)


@pytest.mark.parametrize("how", ["panel", "viewer"])
def test_closing_ends_the_child_and_leaves_a_whole_checkpoint(
    how: str, heads: Viewer, train: Any, qtbot: QtBot, tmp_path: Path
) -> None:
    output = tmp_path / "m.safetensors"
    set_small(train, output)
    click(qtbot, train.go)
    wait_for(qtbot, lambda: train._run.records)
    pid = child(train)
    assert is_alive(pid)
    if how == "panel":
        heads.window.remove_dock_widget(train.parent())
    else:
        heads.close()
    qtbot.waitUntil(lambda: not is_alive(pid), timeout=PATIENCE_MS)
    assert not train.job.is_running
    assert load_checkpoint(output).contrasts == ("T2",)
    assert read_state(output).history
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("keeps", [False, True])
def test_closing_the_panel_ends_its_preview_as_cancel_does(
    keeps: bool, heads: Viewer, train: Any, qtbot: QtBot, tmp_path: Path
) -> None:
    set_small(train, tmp_path / "m.safetensors")
    train.keep.setChecked(keeps)
    before = list(heads.layers)
    click(qtbot, train.go)
    wait_for(qtbot, lambda: train._preview.layer)
    wait_for(qtbot, lambda: train._run.records)
    shown = train._preview.layer
    assert shown in heads.layers
    heads.window.remove_dock_widget(train.parent())
    assert not train.job.is_running
    assert list(heads.layers) == ([*before, shown] if keeps else before)
    assert shown.name.startswith("m after epoch ") == keeps
    assert states(train) == [("m", "stopped")]
    qtbot.wait(500)  # for what was on its way
    heads.dims.set_current_step(0, 3)  # nobody follows any more
    assert len(heads.layers) == len(before) + keeps


def test_a_full_disk_is_said_and_loses_nothing(
    train: Any,
    qtbot: QtBot,
    settle: Settle,
    told: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = tmp_path / "m.safetensors"
    set_small(train, output, epochs=4)
    monkeypatch.setattr(tasks, "train", full_disk.train)
    monkeypatch.setenv("PYTHONPATH", str(Path(full_disk.__file__).parent), prepend=os.pathsep)
    click(qtbot, train.go)
    settle(train)
    assert "the disk is full; what was saved before is whole" in told.pop()
    assert states(train) == [("m", "stopped")]
    assert len(read_state(output).history) == 2
    assert load_checkpoint(output).contrasts == ("T2",)
    assert not list(tmp_path.glob(".*"))
    click(qtbot, train.runs.resume)
    settle(train)
    assert states(train) == [("m", "done")]
