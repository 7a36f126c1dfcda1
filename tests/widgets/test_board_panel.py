"""The Board panel in a real viewer, on the host's real firmware: clicks, cables, wrong choices."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from heads import OBLIQUE, head_pair
from named import NAMED, named_in, named_scan
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt

from conftest import PATIENCE_MS, SMALL, OpenPanel
from napari_ct2mri.app import workflows
from napari_ct2mri.app.workflows.board import Obstacle
from napari_ct2mri.evaluation.metrics import psnr
from napari_ct2mri.firmware import simulate
from napari_ct2mri.firmware.container import unpack
from napari_ct2mri.firmware.reference import run as run_reference
from napari_ct2mri.imaging.head import head_mask
from napari_ct2mri.jobs import Event, run_job
from napari_ct2mri.link import Connection
from napari_ct2mri.link.transport import SerialLine, users_of
from napari_ct2mri.widgets import board_tasks, tasks
from napari_ct2mri.widgets.board_tasks import BudgetKnown
from napari_ct2mri.widgets.layers import add_volume, layer_to_volume
from napari_ct2mri.widgets.patient_data import patient_data
from napari_ct2mri.widgets.slices import Stack

pytestmark = pytest.mark.skipif(
    not (shutil.which("cc") and shutil.which("make")), reason="no C compiler here"
)

Settle = Callable[[Any], None]
PlugIn = Callable[..., AbstractContextManager[workflows.Running]]
CT = head_pair(slices=12)[0]
HOLDER = """
import sys, serial
port = serial.Serial(sys.argv[1], exclusive=True)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of its own, in which the firmware is built once."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pair list of twelve slices, enough to calibrate."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.csv"
    entry = tasks.PairEntry(*head_pair(slices=12), "ada", "T2", "train")
    return run_job(tasks.save_pairs(path, [entry]), lambda event: None)


@pytest.fixture(scope="module")
def project(model: Path, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, exported."""
    folder = tmp_path_factory.mktemp("export") / "tiny"
    return run_job(workflows.export(model, folder, pairs, contrast="T2"), lambda event: None).folder


@pytest.fixture(scope="module")
def firmware() -> Path:
    return run_job(workflows.firmware_for("host"), lambda event: None)


@pytest.fixture(scope="module")
def store(firmware: Path, project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The flash of a board to which the tiny model was pushed."""
    folder = tmp_path_factory.mktemp("store")
    with workflows.start_board(firmware, "host", folder) as running:
        run_job(workflows.push(project, running.port), lambda event: None)
    return folder


@pytest.fixture
def plug_in(firmware: Path, store: Path, tmp_path: Path) -> PlugIn:
    """Start a board, by default one that has the tiny model, at a port of that name.

    The name is a link's: those of pseudo-terminals are any program's of this machine.
    """
    copy, start_board = shutil.copytree(store, tmp_path / "store"), simulate.start_board

    @contextmanager
    def plug_in(name: str = "ttyS0", flash: Path = copy) -> Iterator[workflows.Running]:
        link = tmp_path / name

        @contextmanager
        def start(*what: Any) -> Iterator[str]:
            with start_board(*what) as terminal:
                link.symlink_to(terminal)
                yield str(link)
                link.unlink()

        with ExitStack() as plugged:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(simulate, "start_board", start)
                running = plugged.enter_context(workflows.start_board(firmware, "host", flash))
            yield running

    return plug_in


@pytest.fixture
def board(plug_in: PlugIn) -> Iterator[workflows.Running]:
    with plug_in() as running:
        yield running


@pytest.fixture
def bare(firmware: Path, tmp_path: Path) -> Iterator[workflows.Running]:
    """A new board, without a model."""
    with workflows.start_board(firmware, "host", tmp_path / "empty") as running:
        yield running


@pytest.fixture
def ready(
    viewer: Viewer, panel: OpenPanel, qtbot: QtBot, model: Path, pairs: Path, tmp_path: Path
) -> Iterator[Any]:
    """The panel beside a CT, the tiny model chosen and a pair list to calibrate on."""
    add_volume(viewer, CT, "head CT")
    opened = panel("Board")
    opened.model.add_file(model)
    opened.calibrate_on(pairs)
    opened.folder.line.setText(str(tmp_path / "project"))
    yield opened
    opened._leave()


def click(qtbot: QtBot, button: Any) -> None:
    assert button.isEnabled(), button.text()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def until(qtbot: QtBot, condition: Callable[[], bool]) -> None:
    qtbot.waitUntil(condition, timeout=PATIENCE_MS)


def until_port(qtbot: QtBot, panel: Any, port: str) -> None:
    until(qtbot, lambda: panel.port.state() is not None and panel.port.state().port == port)


def go_live(qtbot: QtBot, panel: Any, port: str) -> None:
    until_port(qtbot, panel, port)
    click(qtbot, panel.live.go)
    until(qtbot, lambda: panel.live.figures["Slice"].text() != "–")


def shown(panel: Any) -> str:
    return str(panel.live.figures["Slice"].text())


def scroll(qtbot: QtBot, panel: Any, viewer: Viewer, k: int) -> None:
    viewer.dims.set_current_step(0, k)
    until(qtbot, lambda: shown(panel) == str(k))


def is_free(port: str) -> bool:
    """Whether nobody has a port open, this process included."""
    try:
        with Connection(SerialLine(port)):
            return True
    except Exception:
        return False


def reference(project: Path, k: int) -> Any:
    """Slice ``k`` of the CT as the integer reference makes it, on the CT's grid."""
    container = unpack((project / "model.ctm").read_bytes())
    board = workflows.BoardModel(
        "host", "tiny", "T2", workflows.board_grid.ModelConfig.parse(container.info["config"], ""),
        container.model.size, "", "",
    )  # fmt: skip
    grid = workflows.Grid(CT, board)
    (plane,) = grid.planes(k)
    channels = [
        table.values[(plane.astype(int) - table.first).clip(0, len(table.values) - 1)]
        for table in container.tables
        if table.window is not None
    ]
    image = np.ascontiguousarray(np.stack(channels, axis=-1))
    return grid.mr(run_reference(container.model, image))


# ---------------------------------------------------------------- the whole


def test_a_person_without_a_board(
    viewer: Viewer,
    panel: OpenPanel,
    qtbot: QtBot,
    settle: Settle,
    told: list[str],
    model: Path,
    tmp_path: Path,
) -> None:
    """From an empty viewer to a recorded run, by what the panel says to do next."""
    board = panel("Board")
    assert "Simulate one" in board.hint.text()
    assert board.estimate.isEnabled()
    click(qtbot, board.simulate)
    until(qtbot, lambda: board.port.state() is not None and board.port.state().board == "host")
    assert "Export, build and push" in board.hint.text()

    board.model.add_file(model)
    board.folder.line.setText(str(tmp_path / "project"))
    budgets: list[Event] = []
    board.job.event_came.connect(
        lambda event: budgets.append(event) if isinstance(event, BudgetKnown) else None
    )
    click(qtbot, board.go)
    assert not board.go.isEnabled()
    assert not board.live.isEnabled()
    settle(board)
    assert not told
    assert board.status.text().startswith("pushed to host in ")
    steps = board.steps
    full = {step: bar.value() == bar.maximum() for step, bar in steps.bars.items()}
    assert full == {"export": True, "build": True, "boot": False, "push": True}
    assert steps.bars["boot"].isHidden()
    assert "multiply-accumulates" in board.budget.text()
    assert "open a CT" in board.hint.text()

    ct = add_volume(viewer, CT, "head CT")
    assert "press <i>Go live" in board.hint.text()
    go_live(qtbot, board, board.port.state().port)
    assert "Live" in board.hint.text()
    layer = viewer.layers["head CT · live T2 (host)"]
    np.testing.assert_array_equal(layer.extent.world, ct.extent.world)
    assert layer.units == ct.units
    scroll(qtbot, board, viewer, 3)
    project = tmp_path / "project"
    np.testing.assert_array_equal(layer.data[3], reference(project, 3))
    compare = panel("Compare")
    compare.real.select(add_volume(viewer, head_pair(slices=12)[1], "head T2"))
    compare.fake.select(layer)
    made = {k for k in range(12) if layer.data[k].any()}
    click(qtbot, compare.go)
    assert f"{len(made)} of its 12 slices are made so far" in told.pop()
    assert 3 in made
    assert layer_to_volume(layer).geometry == OBLIQUE

    until(qtbot, lambda: "dB" in board.live.figures["Agreement"].text())
    job = workflows.synthesize_volume(ct_shown(), model=model, contrast="T2")
    desktop = run_job(job, lambda event: None)
    head = head_mask(ct_shown().data[3:4], "HU", "CT")[0]
    expected = psnr(layer.data[3], desktop.data[3], 1000.0, head)
    assert board.live.figures["Agreement"].text() == f"{expected:.1f} dB to this machine"
    assert expected > 25  # 8 bits of a hardly trained model

    record = tmp_path / "run.csv"
    board.live.record(record)
    until(qtbot, lambda: board.live.recorder.text() == "Stop recording (0)")
    click(qtbot, board.live.sweep)
    until(qtbot, lambda: board.live.recorder.text() == "Stop recording (12)")
    click(qtbot, board.live.recorder)
    until(qtbot, lambda: board.live.recorder.text() == "Record CSV…")
    assert f"{record}: 12 slices recorded" in board.notes.toPlainText()
    with record.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["slice"]) for row in rows] == list(range(12))
    assert {(row["board"], row["model"], row["contrast"]) for row in rows} == {
        ("host", "tiny", "T2")
    }
    for row in rows:
        assert float(row["latency_s"]) > int(row["board_us"]) / 1e6 > 0
        assert int(row["received_bytes"]) > 0
    assert float(rows[3]["psnr_db"]) == pytest.approx(expected, abs=1e-4)
    assert float(rows[-1]["fps"]) > 0
    for k in range(12):
        np.testing.assert_array_equal(layer.data[k], reference(project, k))
    click(qtbot, compare.go)
    settle(compare)
    assert not told
    assert "12 slices" in compare.verdict.text()

    click(qtbot, board.live.go)
    until(qtbot, lambda: not board.live.is_running)
    assert is_free(board.port.state().port)
    click(qtbot, board.simulate)
    assert not workflows.running_boards()
    until(qtbot, lambda: "unplugged" in board.port.currentText())
    assert not told


def ct_shown() -> Any:
    from napari_ct2mri.imaging.volume import closest_axes

    return closest_axes(CT)[0]


def test_a_live_layer_is_saved_with_the_patient_or_without_as_the_switch_says(
    viewer: Viewer,
    ready: Any,
    board: workflows.Running,
    panel: OpenPanel,
    qtbot: QtBot,
    tmp_path: Path,
) -> None:
    """Whatever panel it is in, and whether that is open; in the next start, too."""
    (ct,) = viewer.open(named_scan(tmp_path / "scan"), plugin="napari-ct2mri")
    ready.live.ct.select(ct)
    go_live(qtbot, ready, board.port)
    layer = viewer.layers["scan · live T2 (host)"]
    click(qtbot, ready.live.sweep)
    until(qtbot, lambda: Stack(viewer, layer).made == len(layer.data))

    def named(name: str) -> set[str]:
        assert layer.save(str(tmp_path / name), plugin="napari-ct2mri")
        return named_in(tmp_path / name)

    assert named("default.dcm") == set(NAMED)
    synthesize = panel("Synthesize")
    synthesize.patient_data.setChecked(False)
    assert not ready.live.patient_data.isChecked()
    assert named("without.dcm") == set()
    viewer.window.remove_dock_widget("all")
    assert named("closed.dcm") == set()
    patient_data.cache_clear()  # as in the next start
    assert named("later.dcm") == set()
    again = panel("Board")
    assert not again.live.patient_data.isChecked()
    again.live.patient_data.setChecked(True)
    assert named("with.dcm") == set(NAMED)
    again._leave()


# ---------------------------------------------------------------- the push


@pytest.fixture(scope="module")
def large(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose push takes a while."""
    path = tmp_path_factory.mktemp("large") / "large.safetensors"
    leaves = SMALL | {"epochs": 1, "width": 24, "levels": 5}
    return run_job(tasks.train(pairs, path, "default", leaves), lambda event: None).path


@pytest.mark.parametrize("phase", ["export", "build", "push"])
def test_cancelled_in_any_phase_the_board_stays_whole(
    phase: str,
    ready: Any,
    large: Path,
    bare: workflows.Running,
    qtbot: QtBot,
    settle: Settle,
    told: list[str],
) -> None:
    ready.model.add_file(large)
    until_port(qtbot, ready, bare.port)

    def watch(event: Event) -> None:
        if event == workflows.StepBegun(phase):
            click(qtbot, ready.stop)

    ready.job.event_came.connect(watch)
    click(qtbot, ready.go)
    settle(ready)
    assert ready.status.text().startswith("cancelled")
    assert ready.go.isEnabled()
    assert all(bar.maximum() > 0 for bar in ready.steps.bars.values())  # none is busy
    assert not told
    found = run_job(workflows.ask_board(bare.port), lambda event: None).model
    if phase != "push":  # there all may have been sent: then the board commits it, whole
        assert found is None
        assert ready.steps.bars["push"].value() == 0
    assert found is None or found.name == "large"


def test_one_push_at_a_time_and_none_in_live_mode(
    ready: Any, board: workflows.Running, qtbot: QtBot, settle: Settle, told: list[str]
) -> None:
    go_live(qtbot, ready, board.port)
    click(qtbot, ready.go)
    until(qtbot, lambda: ready.job.is_running)
    assert not ready.live.is_running
    assert not ready.go.isEnabled()
    ready._clicked()
    assert "still at work" in told.pop()
    ready.live._click_go()
    assert told.pop() == "the model is still on its way; go live when it is pushed"
    settle(ready)
    assert ready.status.text().startswith("the host had this model already")
    assert not told


def test_the_budget_before_the_push_is_that_of_the_export(
    ready: Any, qtbot: QtBot, settle: Settle, project: Path, model: Path
) -> None:
    click(qtbot, ready.estimate)
    settle(ready)
    exported = board_tasks.exported_budget(project, "host")
    assert len(exported.rows()) > 5
    for what, much in exported.rows():
        assert what in ready.budget.text()
        assert much in ready.budget.text()
    assert ready.summary.text() == exported.summary()
    assert not ready.budget.isHidden()
    click(qtbot, ready.estimate)
    assert ready.budget.isHidden()
    click(qtbot, ready.estimate)
    assert not ready.budget.isHidden()
    ready.board.setCurrentText("c6748-lcdk")
    assert ready.budget.isHidden()
    assert not ready.summary.text()
    assert ready.steps.bars["export"].value() == 0


# ---------------------------------------------------------------- cables


@pytest.mark.parametrize("name", ["ttyS0", "ttyS1"])
def test_an_unplugged_board_is_picked_up_again(
    name: str, ready: Any, plug_in: PlugIn, viewer: Viewer, qtbot: QtBot, told: list[str]
) -> None:
    with ExitStack() as plug, ExitStack() as again:
        first = plug.enter_context(plug_in())
        go_live(qtbot, ready, first.port)
        scroll(qtbot, ready, viewer, 2)
        plug.close()
        until(qtbot, lambda: ready.live.is_lost)
        assert "gone" in ready.hint.text()
        assert "went away" in ready.status.text()
        viewer.dims.set_current_step(0, 5)
        second = again.enter_context(plug_in(name))
        assert (second.port == first.port) == (name == "ttyS0")
        until(qtbot, lambda: shown(ready) == "5")
        assert not ready.live.is_lost
        assert "Live" in ready.hint.text()
        until_port(qtbot, ready, second.port)
        scroll(qtbot, ready, viewer, 7)
        assert not told


def test_a_board_that_comes_back_without_its_model(
    ready: Any, plug_in: PlugIn, tmp_path: Path, qtbot: QtBot, told: list[str]
) -> None:
    with ExitStack() as plug, ExitStack() as again:
        first = plug.enter_context(plug_in())
        go_live(qtbot, ready, first.port)
        plug.close()
        until(qtbot, lambda: ready.live.is_lost)
        again.enter_context(plug_in(flash=tmp_path / "empty"))
        until(qtbot, lambda: not ready.live.is_running)
        assert "push" in told.pop()
        assert ready.live.go.text() == "Go live"


# ---------------------------------------------------------------- the end


@pytest.mark.parametrize("name", ["head CT", "head CT · live T2 (host)"])
def test_live_mode_ends_with_its_layers(
    name: str, ready: Any, board: workflows.Running, viewer: Viewer, qtbot: QtBot, told: list[str]
) -> None:
    go_live(qtbot, ready, board.port)
    viewer.layers.remove(name)
    until(qtbot, lambda: not ready.live.is_running)
    assert f"layer {name!r} was removed" in ready.notes.toPlainText()
    assert is_free(board.port)
    assert not told
    if name == "head CT":
        return
    go_live(qtbot, ready, board.port)
    assert name in viewer.layers


@pytest.mark.parametrize("how", ["panel", "viewer"])
def test_closing_ends_live_mode_and_the_simulated_board(
    how: str, ready: Any, board: workflows.Running, viewer: Viewer, qtbot: QtBot
) -> None:
    go_live(qtbot, ready, board.port)
    click(qtbot, ready.simulate)
    until(qtbot, lambda: ready.simulation.running is not None)
    mine = ready.simulation.running.port
    if how == "panel":
        viewer.window.remove_dock_widget(ready.parent())
    else:
        viewer.close()
    names = {"ct2mri-live", "ct2mri-ports"}
    until(qtbot, lambda: not names & {thread.name for thread in threading.enumerate()})
    assert is_free(board.port)
    assert [each.port for each in workflows.running_boards()] == [board.port]
    assert not is_free(mine)


# ---------------------------------------------------------------- wrong choices


def test_what_is_missing_is_said(
    ready: Any, viewer: Viewer, qtbot: QtBot, settle: Settle, told: list[str]
) -> None:
    click(qtbot, ready.go)
    assert told.pop() == "no port is chosen; plug in a board, or simulate one"
    click(qtbot, ready.live.go)
    assert told.pop() == "no port is chosen; plug in a board, or simulate one"
    viewer.layers.clear()
    click(qtbot, ready.live.go)
    assert told.pop().startswith("no layer is chosen as CT")
    assert ready.go.isEnabled()
    assert not ready.live.is_running


def test_a_board_without_a_model(
    ready: Any, bare: workflows.Running, qtbot: QtBot, told: list[str]
) -> None:
    until_port(qtbot, ready, bare.port)
    click(qtbot, ready.live.go)
    until(qtbot, lambda: not ready.live.is_running)
    assert "push one" in told.pop()
    assert "head CT · live T2 (host)" not in ready.viewer.layers


def test_another_board_than_chosen(
    ready: Any, board: workflows.Running, qtbot: QtBot, settle: Settle, told: list[str]
) -> None:
    until_port(qtbot, ready, board.port)
    ready.board.setCurrentText("qemu-vexpress-a9")
    click(qtbot, ready.live.go)
    until(qtbot, lambda: not ready.live.is_running)
    assert "there is a host, expected a qemu-vexpress-a9" in told.pop()
    click(qtbot, ready.go)
    settle(ready)
    assert "there is a host, expected a qemu-vexpress-a9" in told.pop()


def test_a_port_that_another_program_holds(
    ready: Any, board: workflows.Running, qtbot: QtBot, settle: Settle, told: list[str]
) -> None:
    until_port(qtbot, ready, board.port)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, board.port], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        click(qtbot, ready.live.go)
        until(qtbot, lambda: not ready.live.is_running)
        assert f"busy, held by python (pid {holder.pid})" in told.pop()
        until(qtbot, lambda: f"held by python (pid {holder.pid})" in ready.hint.text())
        holder.kill()
    until(qtbot, lambda: "held" not in ready.hint.text())
    go_live(qtbot, ready, board.port)
    assert not users_of(board.port)  # others than this process


def test_the_hint_says_what_to_do_about_a_port(ready: Any) -> None:
    ready.watch.stop()
    state = workflows.PortState("/dev/ttyX", "host", "a probe", None)
    locked = Obstacle("no permission", "join the group that owns it: dialout")
    ready.port.show_ports((replace(state, obstacle=locked),))
    ready.port.select("/dev/ttyX")
    assert ready.hint.text() == (
        "<b>/dev/ttyX: no permission.</b> Join the group that owns it: dialout."
    )
    assert ready.port.currentText().endswith("no permission")
    ready.port.show_ports(())
    assert ready.hint.text() == (
        "<b>/dev/ttyX: unplugged.</b> Plug the board in again, or choose another port."
    )


def test_the_choice_of_board_outlasts_what_happens_at_other_ports(ready: Any) -> None:
    ready.watch.stop()
    one = workflows.PortState("/dev/ttyX", "c6748-lcdk", "an adapter", None)
    other = workflows.PortState("/dev/ttyY", "", "a modem", None)
    ready.board.setCurrentText("host")
    ready.port.show_ports((one,))
    assert ready.board.currentText() == "c6748-lcdk"  # the guess
    ready.board.setCurrentText("host")
    busy = replace(one, obstacle=Obstacle("busy", "close the other program"))
    for found in ((one, other), (busy, other), (one,), (), (one,)):
        ready.port.show_ports(found)
        assert ready.board.currentText() == "host"
    ready.port.show_ports((replace(one, board="qemu-vexpress-a9"),))
    assert ready.board.currentText() == "qemu-vexpress-a9"
    ready.port.show_ports((replace(one, port="/dev/ttyZ"),))
    assert ready.board.currentText() == "c6748-lcdk"


def test_no_folder_for_the_project_is_said(
    ready: Any, qtbot: QtBot, told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ready.watch.stop()
    ready.port.show_ports((workflows.PortState("/dev/ttyX", "host", "a probe", None),))
    for text in ("", "  ", "/", "."):
        ready.folder.line.setText(text)
        click(qtbot, ready.go)
        assert told.pop().startswith("no folder is chosen under 'C project'")
        assert not ready.job.is_running
    assert not list(tmp_path.iterdir())


def test_another_choice_is_not_called_pushed(
    ready: Any, board: workflows.Running, qtbot: QtBot, settle: Settle
) -> None:
    until_port(qtbot, ready, board.port)
    click(qtbot, ready.go)
    settle(ready)
    assert "press <i>Go live" in ready.hint.text()
    tiny = ready.model.combo.currentIndex()
    for choose, there, back in (
        (ready.model.combo.setCurrentIndex, 0, tiny),
        (ready.board.setCurrentText, "c6748-lcdk", "host"),
    ):
        choose(there)
        assert "Export, build and push" in ready.hint.text()
        choose(back)
        assert "press <i>Go live" in ready.hint.text()


def test_an_mr_is_no_ct(
    ready: Any, board: workflows.Running, viewer: Viewer, qtbot: QtBot, told: list[str]
) -> None:
    until_port(qtbot, ready, board.port)
    ready.live.ct.select(add_volume(viewer, head_pair()[1], "head T2"))
    click(qtbot, ready.live.go)
    until(qtbot, lambda: not ready.live.is_running)
    assert "expected a CT, got an MR" in told.pop()
    assert is_free(board.port)


def test_a_board_with_another_model_than_chosen_is_followed_and_not_compared(
    ready: Any, board: workflows.Running, qtbot: QtBot, told: list[str]
) -> None:
    ready.model.combo.setCurrentIndex(0)
    assert ready.model.choice().name != "tiny"
    go_live(qtbot, ready, board.port)
    assert ready.live.figures["Agreement"].text().startswith("not compared: the board runs tiny")
    assert not told


def test_a_record_that_cannot_be_written_does_not_end_live_mode(
    ready: Any, board: workflows.Running, viewer: Viewer, qtbot: QtBot, told: list[str],
    tmp_path: Path,
) -> None:  # fmt: skip
    go_live(qtbot, ready, board.port)
    ready.live.record(tmp_path)
    until(qtbot, lambda: bool(told))
    assert "the record could not be written" in told.pop()
    scroll(qtbot, ready, viewer, 4)
    assert ready.live.recorder.text() == "Record CSV…"


def test_other_axes_than_z_ask_for_no_slice(
    ready: Any, board: workflows.Running, viewer: Viewer, qtbot: QtBot
) -> None:
    go_live(qtbot, ready, board.port)
    scroll(qtbot, ready, viewer, 4)
    viewer.dims.order = (2, 0, 1)
    assert "axial" in ready.status.text()
    viewer.dims.set_current_step(2, 20)
    viewer.dims.order = (0, 1, 2)
    scroll(qtbot, ready, viewer, 5)
