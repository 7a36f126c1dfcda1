"""``board``, ``ports``, ``push``, ``run``, ``monitor`` on the host's real firmware."""

from __future__ import annotations

import grp
import io
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from small_heads import OBLIQUE, SPLITS, TINY, head, shown

from napari_ct2mri.app import workflows
from napari_ct2mri.app.cli import main
from napari_ct2mri.app.terminal import Terminal, _bars
from napari_ct2mri.app.workflows.manifest import read_manifest
from napari_ct2mri.app.workflows.monitor import _named
from napari_ct2mri.errors import JobCancelled, LinkError
from napari_ct2mri.firmware.container import ABI, Container, pack, seal, unpack
from napari_ct2mri.firmware.reference import run as run_reference
from napari_ct2mri.imaging.io import read_volume, write_volume
from napari_ct2mri.imaging.volume import Volume
from napari_ct2mri.jobs import Notice, Progress, run_job
from napari_ct2mri.link.ports import Port

TESTS = Path(__file__).resolve().parents[1]
sys.path += [str(TESTS), str(TESTS / "firmware")]
from random_models import boxed, random_model  # noqa: E402

from link.board import Board  # noqa: E402
from link.boot.programs import PROGRAM  # noqa: E402
from link.boot.rom import Line, Rom  # noqa: E402
from link.terminals import board_on_a_terminal  # noqa: E402

Fails = Callable[..., str]
COMMAND = [sys.executable, "-c", "from napari_ct2mri.app.cli import main; raise SystemExit(main())"]

needs_compiler = pytest.mark.skipif(
    not (shutil.which("cc") and shutil.which("make")), reason="no C compiler here"
)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of its own, in which the firmware is built once."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def project(model: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model, exported."""
    return exported(model, pictures, tmp_path_factory.mktemp("firmware") / "tiny")


@pytest.fixture(scope="module")
def firmware() -> Path:
    """The runtime, built for this machine."""
    return run_job(workflows.firmware_for("host"), lambda event: None)


@pytest.fixture
def port(firmware: Path, tmp_path: Path) -> Iterator[str]:
    """A new board, without a model."""
    with workflows.start_board(firmware, "host", tmp_path / "store") as running:
        yield running.port


@pytest.fixture(scope="module")
def ready(firmware: Path, project: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A board that has the tiny model."""
    store = tmp_path_factory.mktemp("store")
    with workflows.start_board(firmware, "host", store) as running:
        run_job(workflows.push(project, running.port), lambda event: None)
        yield running.port


def exported(model: Path, pairs: Path, folder: Path) -> Path:
    assert main(["export", str(model), str(folder), "--calibration", str(pairs)]) == 0
    return folder


def command(*tokens: object) -> None:
    assert main([str(token) for token in tokens]) == 0


def container_of(project: Path) -> Container:
    return unpack((project / "model.ctm").read_bytes())


def projected(folder: Path, data: bytes) -> Path:
    """A folder that ``push`` takes."""
    folder.mkdir(parents=True)
    (folder / "model.ctm").write_bytes(data)
    return folder


def reference(container: Container, planes: list[np.ndarray]) -> np.ndarray:
    """L0: planes through the container's tables and the integer reference."""
    channels = []
    for plane in planes:
        for table in container.tables:
            if (table.window is None) != (plane.dtype == np.uint8):
                continue
            place = (plane.astype(int) - table.first).clip(0, len(table.values) - 1)
            channels.append(table.values[place])
    return run_reference(container.model, np.ascontiguousarray(np.stack(channels, axis=-1)))


def ct_file(path: Path, seed: int = 3) -> Path:
    """A head on an oblique grid, anisotropic."""
    data = np.rint(head(seed)[0]).astype(np.int16)
    write_volume(Volume(data, OBLIQUE, "CT", "HU"), path)
    return path


def psnr(a: np.ndarray, b: np.ndarray, top: float) -> float:
    return float(20 * np.log10(top / np.sqrt(np.mean((a.astype(float) - b) ** 2))))


# The whole, in processes of their own


@needs_compiler
def test_a_board_in_one_terminal_commands_in_another(
    project: Path, firmware: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ct = ct_file(tmp_path / "ct.nii.gz")
    start = [*COMMAND, "board", "--board", "host", "--store", str(tmp_path / "store")]
    for turn in range(2):  # the second time it has its model already
        with subprocess.Popen(
            start, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as board:
            assert board.stdout
            assert board.stderr
            port = board.stdout.readline().strip()
            assert Path(port).is_char_device()
            capsys.readouterr()
            command("ports")
            assert f"{port} " in capsys.readouterr().out
            if turn == 0:
                command("push", project, "--port", port)
                out = capsys.readouterr().out
                blocks = -(-(project / "model.ctm").stat().st_size // 4096)
                assert f"host: {blocks} of {blocks} blocks sent" in out
                assert "committed in slot 0; golden pair equal" in out
            command("push", project, "--port", port)
            out = capsys.readouterr().out
            assert "host has this model already, in slot 0; nothing was sent" in out
            assert "golden pair equal" in out
            assert "committed" not in out
            command("run", ct, tmp_path / f"mr{turn}.nii.gz", "--port", port)
            out = capsys.readouterr().out
            assert "tiny on host: 4 slices in" in out
            board.send_signal(signal.SIGINT)
            assert board.wait(20) == 0
            assert f"its models are kept in {tmp_path / 'store'}" in board.stderr.read()
            assert not Path(port).exists()
    first, second = (read_volume(tmp_path / f"mr{turn}.nii.gz").data for turn in range(2))
    np.testing.assert_array_equal(first, second)
    command("ports")
    assert port not in capsys.readouterr().out


# Push


@needs_compiler
def test_only_changed_blocks_are_sent(
    project: Path, port: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    container = container_of(project)
    command("push", project, "--port", port)
    *others, last = container.model.layers
    finer = replace(last, bias=last.bias + 100)  # as after a fine-tuning of the last layer
    model = replace(container.model, layers=(*others, finer))
    image = container.golden[0]
    golden = image, run_reference(model, image)
    changed = replace(container, model=model, golden=golden)
    old, new = (project / "model.ctm").read_bytes(), pack(changed)
    blocks = [old[i : i + 4096] for i in range(0, len(old), 4096)]
    differing = sum(new[i * 4096 :][:4096] != block for i, block in enumerate(blocks))
    assert 1 < differing < len(blocks)
    capsys.readouterr()
    command("push", projected(tmp_path / "new", new), "--port", port)
    out = capsys.readouterr().out
    assert f"{differing} of {len(blocks)} blocks sent" in out
    assert f"{len(blocks) - differing} copied from the model before" in out
    assert "committed in slot 1" in out


@needs_compiler
def test_a_push_goes_on_after_ctrl_c(
    port: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = pack(boxed(random_model(width=32, levels=5, widest=8, size=(32, 32))))
    folder = projected(tmp_path / "large", data)
    with (
        slowed(port) as slow,
        subprocess.Popen(
            [*COMMAND, "push", str(folder), "--port", slow], stderr=subprocess.PIPE, text=True
        ) as pushing,
    ):
        assert pushing.stderr
        assert pushing.stderr.readline().startswith("bytes: ")
        time.sleep(0.5)
        pushing.send_signal(signal.SIGINT)
        assert pushing.wait(20) == 130
        assert "cancelled; what was finished before is kept" in pushing.stderr.read()
    asked = run_job(workflows.ask_board(port), lambda event: None)
    assert asked.model is None
    capsys.readouterr()
    command("push", folder, "--port", port)
    out, err = capsys.readouterr()
    sent, kept = (int(out.split(word)[0].split()[-1]) for word in (" of", " there already"))
    assert kept > 0
    assert sent + kept == -(-len(data) // 4096)
    assert f"note: {kept} of {sent + kept} blocks are there already" in err


@contextmanager
def slowed(port: str, rate: int = 400_000) -> Iterator[str]:
    """The same port behind a line of ``rate`` bytes a second."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    board, is_over = os.open(port, os.O_RDWR | os.O_NOCTTY), threading.Event()

    def serve() -> None:
        while not is_over.is_set():
            ready, _, _ = select.select([ours, board], [], [], 0.05)
            for source, sink in ((ours, board), (board, ours)):
                if source in ready:
                    data = os.read(source, 1024)
                    os.write(sink, data)
                    time.sleep(len(data) / rate)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield os.ttyname(theirs)
    finally:
        is_over.set()
        thread.join()
        for handle in (ours, theirs, board):
            os.close(handle)


# Run


@needs_compiler
@pytest.mark.parametrize("kind", ["volume", "pictures"])
def test_a_board_computes_what_the_reference_does(
    project: Path, ready: str, model: Path, tmp_path: Path, kind: str
) -> None:
    """Bit for bit before resampling; after it near the floats of ``synthesize``."""
    if kind == "volume":
        path, output = ct_file(tmp_path / "ct.nii.gz"), "{}.nii.gz"
    else:
        path, output = tmp_path / "ct", "{}"
        grey = Volume(shown(head(3)[0]), unit="grey")
        write_volume(grey, path, names=[f"{i}.png" for i in range(4)])
    ct = read_volume(path, modality="CT")
    container = container_of(project)
    with workflows.Live(ready) as live:
        grid = live.show(ct)
        expected = []
        for k in range(grid.depth):
            live.ask(k)
            made = until(live)
            expected.append(grid.mr(reference(container, grid.planes(k))))
            assert made.k == k
            np.testing.assert_array_equal(made.mr, expected[-1])
        mr = grid.volume(np.stack(expected))
    command("run", path, tmp_path / output.format("board"), "--port", ready)
    command(
        "synthesize", path, tmp_path / output.format("float"), "--model", model, "--device", "cpu"
    )
    board, floats = (
        read_volume(tmp_path / output.format(name), modality="MR") for name in ("board", "float")
    )
    if kind == "volume":
        np.testing.assert_array_equal(board.data, mr.data)
        assert board.geometry.is_close(ct.geometry, tolerance_mm=1e-4)
        assert psnr(board.data, floats.data, 1000) > 30
    else:
        np.testing.assert_array_equal(board.data, np.rint(mr.data).clip(0, 255))
        assert psnr(board.data, floats.data, 255) > 30


def until(live: workflows.Live, timeout_s: float = 20.0) -> workflows.LiveSlice:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if (made := live.poll()) is not None:
            return made
    raise AssertionError(live.problem or "no slice came back")


@needs_compiler
def test_neighbours_and_windows(
    volumes: Path, port: str, tmp_path: Path, fails: Fails, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "wide.safetensors"
    command(
        "train",
        volumes,
        "--output",
        path,
        *TINY,
        "--neighbours",
        1,
        "--windows",
        "40/80",
        "300/1500",
    )
    project = exported(path, volumes, tmp_path / "fw")
    command("push", project, "--port", port)
    container, ct = container_of(project), read_volume(ct_file(tmp_path / "ct.nii.gz"))
    with workflows.Live(port) as live:
        grid = live.show(ct)
        for k in (0, 1, 2, 3, 1):
            live.ask(k)
            planes = grid.planes(k)
            assert [plane.dtype for plane in planes] == [np.int16] * 3
            np.testing.assert_array_equal(until(live).mr, grid.mr(reference(container, planes)))
    command("run", ct.source.path, tmp_path / "b.nii.gz", "--port", port)
    command("synthesize", ct.source.path, tmp_path / "f.nii.gz", "--model", path, "--device", "cpu")
    board, floats = (read_volume(tmp_path / name).data for name in ("b.nii.gz", "f.nii.gz"))
    assert psnr(board, floats, 1000) > 25
    picture = tmp_path / "ct.png"
    write_volume(Volume(shown(head(3)[0][:1]), unit="grey"), picture)
    line = fails("run", picture, tmp_path / "mr.png", "--port", port)
    assert "the model reads 2 CT windows, a picture shows one" in line
    assert not (tmp_path / "mr.png").exists()


@needs_compiler
def test_a_pair_list_and_its_manifest(
    project: Path, ready: str, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    command("run", pictures, output, "--port", ready)
    files = sorted(path.relative_to(output).as_posix() for path in output.rglob("*.png"))
    assert files == sorted(f"T2/{patient}/{i:02d}.png" for patient in SPLITS for i in range(1, 5))
    manifest = read_manifest(output)
    assert manifest is not None
    (made,) = manifest.runs
    digest = run_job(workflows.ask_board(ready), lambda event: None).hello.digest.hex()
    assert made.model == "tiny"
    assert made.settings == {
        "contrast": "T2", "native": False, "board": "host", "container": digest
    }  # fmt: skip
    assert sorted(made.files) == files
    command("evaluate", pictures, "--output", tmp_path / "report", "--predictions", output)
    assert "T2, unknown: 1 patient, 4 slices" in capsys.readouterr().out


@needs_compiler
def test_whom_a_board_s_released_model_has_seen_is_known(
    port: str, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = exported(Path("ct2mri-dsp8"), pictures, tmp_path / "dsp8")
    command("push", project, "--port", port)
    command("run", pictures, tmp_path / "out", "--port", port)
    command("evaluate", pictures, "--output", tmp_path / "r", "--predictions", tmp_path / "out")
    assert "T2, held-out: 1 patient, 4 slices" in capsys.readouterr().out


@needs_compiler
def test_rows_of_other_contrasts_are_left_out(
    ready: str, pictures: Path, tmp_path: Path, fails: Fails
) -> None:
    text = pictures.read_text().replace("T2,train", "FLAIR,train")
    pairs = pictures.with_name("mixed.csv")
    pairs.write_text(text)
    events: list[object] = []
    made = run_job(workflows.run(pairs, tmp_path / "out", ready), events.append)
    assert made.slices == 8
    assert any("8 of 16 rows left out" in e.text for e in events if isinstance(e, Notice))
    pairs.write_text(text.replace("T2,", "FLAIR,"))
    line = fails("run", pairs, tmp_path / "none", "--port", ready)
    assert "the model makes T2, not FLAIR" in line
    assert not (tmp_path / "none").exists()


@needs_compiler
def test_a_head_larger_than_the_frame_is_said(ready: str, tmp_path: Path, fails: Fails) -> None:
    data = np.repeat(np.repeat(head(3)[0], 2, 1), 2, 2).astype(
        np.int16
    )  # 128 x 128, twice as large
    path = tmp_path / "ct.nii.gz"
    write_volume(Volume(data, OBLIQUE, "CT", "HU"), path)
    events: list[object] = []
    run_job(workflows.run(path, tmp_path / "mr.nii.gz", ready), events.append)
    notes = [event.text for event in events if isinstance(event, Notice)]
    assert any("tiny on host runs 64 x 64: what lies beyond stays empty" in note for note in notes)
    line = fails("run", path, tmp_path / "native.nii.gz", "--port", ready, "--native")
    assert "slices of 128 x 128 pixels do not fit tiny on host, which runs 64 x 64" in line
    assert not (tmp_path / "native.nii.gz").exists()


@needs_compiler
def test_cancelled_it_leaves_nothing(ready: str, tmp_path: Path) -> None:
    job = workflows.run(ct_file(tmp_path / "ct.nii.gz"), tmp_path / "new" / "mr.nii.gz", ready)
    next(job)
    job.close()
    assert not (tmp_path / "new").exists()
    assert run_job(workflows.ask_board(ready), lambda event: None).hello.board == "host"


@needs_compiler
def test_a_board_that_dies_meanwhile(firmware: Path, project: Path, tmp_path: Path) -> None:
    with ExitStack() as stack:
        running = stack.enter_context(workflows.start_board(firmware, "host", tmp_path / "store"))
        run_job(workflows.push(project, running.port), lambda event: None)
        job = workflows.run(ct_file(tmp_path / "ct.nii.gz"), tmp_path / "mr.nii.gz", running.port)
        next(job)
        stack.close()
        with pytest.raises(LinkError, match="the port went away: unplugged, or the board's"):
            run_job(job, lambda event: None)
    assert not (tmp_path / "mr.nii.gz").exists()


# Live


@needs_compiler
def test_the_newest_slice_wins(ready: str, tmp_path: Path) -> None:
    with workflows.Live(ready) as live:
        grid = live.show(read_volume(ct_file(tmp_path / "ct.nii.gz")))
        for k in range(grid.depth):
            live.ask(k)
        seen = [until(live).k]
        while live.unanswered:
            made = live.poll()
            seen += [made.k] if made else []
        assert seen[-1] == grid.depth - 1
        assert len(seen) < grid.depth
        stats = live.stats()
        assert stats is not None
        assert stats.slices == len(seen)


def quiet(live: workflows.Live) -> int:
    """Until nothing more goes out; slices that the board has computed in this session."""
    idle = 0
    while idle < 3:
        assert live.poll(0.02) is None  # what was not asked for does not come out
        idle = 0 if live.unanswered else idle + 1
    stats = live.stats()
    assert stats is not None
    return stats.slices


@needs_compiler
def test_neighbours_of_the_slice_in_view_are_ready(
    project: Path, ready: str, tmp_path: Path
) -> None:
    container = container_of(project)
    with workflows.Live(ready) as live:
        grid = live.show(read_volume(ct_file(tmp_path / "ct.nii.gz")))
        expected = [grid.mr(reference(container, grid.planes(k))) for k in range(grid.depth)]
        live.ask(1)
        assert until(live).k == 1
        assert quiet(live) == 3
        live.ask(2)
        assert live.unanswered == 1
        made = live.poll(0.0)
        assert made is not None
        assert made.k == 2
        np.testing.assert_array_equal(made.mr, expected[2])
        assert quiet(live) == 5  # 3 is new, and 1 was given away
        for k in (1, 0, 3, 3):
            live.ask(k)
            made = until(live)
            assert made.k == k
            np.testing.assert_array_equal(made.mr, expected[k])
        live.ask(0)
        live.ask(2)  # the view has moved on: slice 0 does not come out any more
        assert until(live).k == 2
        before = quiet(live)
        live.show(read_volume(ct_file(tmp_path / "other.nii.gz", seed=4)))
        assert quiet(live) == before  # of another CT nothing was asked for
    with workflows.Live(ready, look_ahead=False) as live:
        live.show(read_volume(ct_file(tmp_path / "ct.nii.gz")))
        live.ask(1)
        until(live)
        assert quiet(live) == 1


@needs_compiler
def test_the_same_slice_is_neither_sent_nor_computed_again(ready: str, tmp_path: Path) -> None:
    with workflows.Live(ready, look_ahead=False) as live:
        live.show(read_volume(ct_file(tmp_path / "ct.nii.gz")))
        for _ in range(3):  # on its way
            live.ask(1)
        first = until(live)
        assert live.stats().slices == 1
        live.ask(1)  # came last
        assert until(live) is first
        assert live.stats().slices == 1
        live.ask(2)
        live.ask(1)
        assert until(live).k in (1, 2)
        live.show(read_volume(ct_file(tmp_path / "other.nii.gz", seed=4)))
        live.ask(1)  # of another CT
        made = until(live)
        assert not np.array_equal(made.mr, first.mr)
        assert live.stats().slices > 1


@needs_compiler
def test_a_slow_board_is_sent_nothing_ahead(
    ready: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_ct2mri.app.workflows.live._QUICK_S", 0.0)
    with workflows.Live(ready) as live:
        live.show(read_volume(ct_file(tmp_path / "ct.nii.gz")))
        live.ask(1)
        until(live)
        assert quiet(live) == 1


@needs_compiler
def test_an_unplugged_board_is_picked_up_again(
    firmware: Path, project: Path, tmp_path: Path
) -> None:
    link, store = tmp_path / "port", tmp_path / "store"

    def plug_in(stack: ExitStack) -> None:
        running = stack.enter_context(workflows.start_board(firmware, "host", store))
        link.unlink(missing_ok=True)
        link.symlink_to(running.port)

    with ExitStack() as plug, ExitStack() as again:
        plug_in(plug)
        run_job(workflows.push(project, str(link)), lambda event: None)
        with workflows.Live(str(link)) as live:
            grid = live.show(read_volume(ct_file(tmp_path / "ct.nii.gz")))
            live.ask(1)
            first = until(live)
            plug.close()
            live.ask(2)
            end = time.monotonic() + 10
            while not live.problem and time.monotonic() < end:
                assert live.poll() is None
            assert "went away" in live.problem
            assert live.hello is None
            assert live.poll(0.6) is None
            plug_in(again)
            made = until(live)
            assert (made.k, live.problem) == (2, "")
            live.ask(1)
            np.testing.assert_array_equal(until(live).mr, first.mr)
            assert grid.depth == 4


# Monitor and ports


@needs_compiler
def test_monitor_once(ready: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    command("monitor", "--port", ready, "--once")
    out = capsys.readouterr().out
    assert "tiny on host" in out
    assert "slices a second, computing" in out
    assert "0 frames dropped, 0 bytes overrun" in out
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


class held:  # noqa: N801 - read as a sentence
    """A port that another program has open."""

    def __init__(self, port: str) -> None:
        more = "" if "://" in port else ", exclusive=True"
        code = f"import serial; held = serial.serial_for_url({port!r}{more}); print(); input()"
        self._other = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> int:
        assert self._other.stdout
        self._other.stdout.readline()
        return self._other.pid

    def __exit__(self, *_: object) -> None:
        self._other.communicate("\n")


def test_notes_of_boards_that_died_are_removed(cache: Path) -> None:
    note = cache / "napari-ct2mri" / "running" / "1-dead.json"
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text('{"board": "host", "port": "/dev/pts/99", "store": "", "pid": 1}')
    assert "/dev/pts/99" not in {running.port for running in workflows.running_boards()}
    assert not note.exists()


# Everything in one go


@needs_compiler
def test_export_build_and_push_in_one_go(
    model: Path, pictures: Path, port: str, tmp_path: Path
) -> None:
    events: list[object] = []
    job = workflows.export_build_push(model, tmp_path / "fw", pictures, "host", port)
    done = run_job(job, events.append)
    steps = [event.step for event in events if isinstance(event, workflows.StepBegun)]
    assert steps == ["export", "build", "push"]
    assert done.pushed.written == done.pushed.blocks
    assert done.exported.digest == run_job(workflows.ask_board(port), lambda e: None).model.digest


@needs_compiler
def test_another_board_than_meant_is_said_before_the_export(
    model: Path, pictures: Path, port: str, tmp_path: Path
) -> None:
    job = workflows.export_build_push(model, tmp_path / "fw", pictures, "qemu-vexpress-a9", port)
    with pytest.raises(LinkError, match="there is a host, expected a qemu-vexpress-a9; choose"):
        run_job(job, lambda event: None)
    assert not (tmp_path / "fw").exists()
    run_job(workflows.ask_board(port), lambda event: None)  # the port is free again


# Bad input: one line each


@pytest.fixture
def silent() -> Iterator[str]:
    """A port with nobody at its other end."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    yield os.ttyname(theirs)
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("verb", ["push", "run", "monitor", "ports"])
def test_no_such_port(verb: str, project: Path, tmp_path: Path, fails: Fails) -> None:
    before = {"push": [project], "run": [tmp_path / "ct.nii.gz", tmp_path / "mr.nii.gz"]}
    line = fails(verb, *before.get(verb, []), "--port", "/dev/ttyNONE9")
    assert "/dev/ttyNONE9: no such port; plug the board in, or choose another; `ct2mri po" in line


def test_no_permission(project: Path, fails: Fails, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("serial.serial_for_url", refuse)
    monkeypatch.setattr(grp, "getgrgid", lambda _: SimpleNamespace(gr_name="dialout"))
    line = fails("push", project, "--port", "/dev/tty")
    assert "no permission; join the group that owns it: sudo usermod -aG dialout $USER" in line


@needs_compiler
def test_a_busy_port_says_by_whom(project: Path, ready: str, fails: Fails) -> None:
    with held(ready) as pid:
        line = fails("push", project, "--port", ready)
    assert f"{ready}: busy, held by python" in line
    assert f"(pid {pid}); close it first" in line


def test_nobody_answers(silent: str, project: Path, fails: Fails) -> None:
    line = fails("push", project, "--port", silent)
    assert f"{silent}: no answer to HELLO within 3 s" in line
    assert "its firmware does not run; a C6748 that was just reset must be booted first" in line
    assert "rate" not in line  # it has none


def test_a_rate_that_the_board_has_not(project: Path, fails: Fails) -> None:
    with board_on_a_terminal(Board(rates=(115200, 921600))) as port:
        line = fails("push", project, "--port", port, "--baud", 57600)
    assert "reference has no rate 57600; it has 115200, 921600" in line


@needs_compiler
@pytest.mark.parametrize("verb", ["push", "run", "monitor", "ports"])
def test_a_rate_for_a_line_without_one(
    verb: str, project: Path, ready: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {
        "push": [project], "run": [ct_file(tmp_path / "ct.nii.gz"), tmp_path / "mr.nii.gz"],
        "monitor": ["--once"], "ports": [],
    }[verb]  # fmt: skip
    command(verb, *before, "--port", ready, "--baud", 921600)
    note = "note: the line of this host has no rate, as in a simulation: --baud 921600 changes"
    assert note in capsys.readouterr().err


@needs_compiler
@pytest.mark.parametrize("verb", ["push", "run", "monitor"])
def test_another_board_than_meant(
    verb: str, project: Path, ready: str, tmp_path: Path, fails: Fails
) -> None:
    before = {
        "push": [project], "run": [ct_file(tmp_path / "ct.nii.gz"), tmp_path / "mr.nii.gz"],
        "monitor": ["--once"],
    }[verb]  # fmt: skip
    line = fails(verb, *before, "--port", ready, "--board", "c6748-lcdk")
    assert f"{ready}: there is a host, expected a c6748-lcdk; choose another port or board" in line
    command(verb, *before, "--port", ready, "--board", "host")


@pytest.mark.parametrize("verb", ["push", "run", "monitor"])
def test_no_such_board_and_no_such_rate(
    verb: str, project: Path, tmp_path: Path, fails: Fails
) -> None:
    before = {"push": [project], "run": [tmp_path / "ct.nii.gz", tmp_path / "mr.nii.gz"]}
    start = [verb, *before.get(verb, []), "--port", "/dev/ttyNONE9"]
    line = fails(*start, "--board", "foo")
    assert "there is no board 'foo'; there are host, qemu-vexpress-a9, c6748-lcdk" in line
    assert "a rate of -1 bit/s; expected one above 0" in fails(*start, "--baud", "-1")


@needs_compiler
def test_a_new_board_says_that_it_has_no_model(
    port: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    command("ports", "--port", port)
    rows = [" ".join(row.split()) for row in capsys.readouterr().out.splitlines()]
    assert "model no model is committed: push one first" in rows


@needs_compiler
def test_ctrl_c_in_run_says_what_is_left(ready: str, tmp_path: Path) -> None:
    """Of a single volume nothing; of a list the files so far."""
    job = workflows.run(ct_file(tmp_path / "ct.nii.gz"), tmp_path / "mr.nii.gz", ready)
    with pytest.raises(JobCancelled, match=r"^cancelled; nothing was written$"):
        run_job(job, lambda event: None, lambda: True)
    assert not (tmp_path / "mr.nii.gz").exists()


@needs_compiler
def test_ctrl_c_in_the_run_of_a_list_says_what_is_left(
    ready: str, pictures: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    job = workflows.run(pictures, output, ready)
    with pytest.raises(JobCancelled) as why:
        run_job(job, lambda event: None, lambda: any(output.rglob("*.png")))
    assert (
        str(why.value) == f"cancelled; {len([*output.rglob('*.png')])} files are written and kept"
    )


def test_what_is_in_the_way_of_a_port_is_listed_with_what_to_do(
    silent: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "napari_ct2mri.link.ports.list_ports", lambda: [Port(silent, "c6748-lcdk", "a probe")]
    )
    capsys.readouterr()
    with held(silent) as pid:
        command("ports")
    assert f"(pid {pid}); close that first, or choose another port" in capsys.readouterr().out
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(grp, "getgrgid", lambda _: SimpleNamespace(gr_name="dialout"))
    command("ports")
    out = capsys.readouterr().out
    assert f"{silent}: no permission; join the group that owns it: sudo usermod -aG dial" in out


def test_a_file_for_its_folder(project: Path, fails: Fails) -> None:
    path = project / "model.ctm"
    line = fails("push", path, "--port", "/dev/ttyNONE9")
    assert f"{path}: a file, expected the folder that `ct2mri export` wrote; push {project}" in line


@needs_compiler
def test_a_file_for_a_store(firmware: Path, tmp_path: Path, fails: Fails) -> None:
    store = tmp_path / "store"
    store.touch()
    line = fails("board", "--board", "host", "--store", store)
    assert f"{store}: a file, expected a folder, which stands for the board's flash" in line
    assert store.read_bytes() == b""


def test_no_port_at_all(project: Path, fails: Fails) -> None:
    assert "no port is named; choose one; `ct2mri ports` shows" in fails(
        "push", project, "--port", ""
    )


def test_layers_without_a_name_get_numbers() -> None:
    assert _named((5, 6, 7)) == (("layer 0", 5), ("layer 1", 6), ("layer 2", 7))
    assert _named((1, 2, 3, 4)) == (("down.0", 1), ("down.1", 2), ("up.1", 3), ("up.0", 4))
    assert _named(()) == ()


def test_an_older_protocol(project: Path, fails: Fails) -> None:
    board = Board()
    board.protocol = 0
    with board_on_a_terminal(board) as port:
        line = fails("push", project, "--port", port)
    assert "protocol 0, expected 1: the board's firmware is the older one; rebuild it and" in line


def test_a_model_too_large(project: Path, fails: Fails) -> None:
    with board_on_a_terminal(Board(slot_bytes=8192)) as port:
        line = fails("push", project, "--port", port)
    assert "bytes, a slot of reference 8192: export one with fewer filters" in line


@needs_compiler
def test_a_model_of_another_abi(project: Path, port: str, tmp_path: Path, fails: Fails) -> None:
    data = bytearray((project / "model.ctm").read_bytes())
    data[14] = ABI + 1
    folder = projected(tmp_path / "newer", seal(data))
    line = fails("push", folder, "--port", port)
    assert f"of ABI {ABI + 1}, the firmware of host of {ABI}: rebuild the firmware and reb" in line


@needs_compiler
@pytest.mark.parametrize("verb", ["run", "monitor"])
def test_before_a_commit(verb: str, port: str, tmp_path: Path, fails: Fails) -> None:
    ct = ct_file(tmp_path / "ct.nii.gz")
    before = [ct, tmp_path / "mr.nii.gz"] if verb == "run" else []
    assert "no model is committed: push one first" in fails(verb, *before, "--port", port)


def test_a_container_that_was_altered(project: Path, tmp_path: Path, fails: Fails) -> None:
    data = bytearray((project / "model.ctm").read_bytes())
    data[-1] ^= 1
    folder = projected(tmp_path / "altered", bytes(data))
    line = fails("push", folder, "--port", "/dev/ttyNONE9")
    assert f"{folder / 'model.ctm'}: model container, error 6: its SHA-256 differs" in line


def test_no_project(tmp_path: Path, fails: Fails) -> None:
    line = fails("push", tmp_path, "--port", "/dev/ttyNONE9")
    assert f"{tmp_path}: no exported project; run `ct2mri export` first" in line


@needs_compiler
def test_an_mr_is_no_ct(ready: str, volumes: Path, tmp_path: Path, fails: Fails) -> None:
    mr = volumes.parent / "dot" / "mr.nii.gz"
    line = fails("run", mr, tmp_path / "new" / "out.nii.gz", "--port", ready, "--modality", "MR")
    assert "expected a CT, got an MR" in line
    assert not (tmp_path / "new").exists()


@needs_compiler
def test_a_board_that_ends_by_itself(firmware: Path, tmp_path: Path) -> None:
    start = [*COMMAND, "board", "--board", "host", "--store", str(tmp_path / "store")]
    pipe = subprocess.PIPE
    with subprocess.Popen(start, stdout=pipe, stderr=pipe, text=True) as board:
        assert board.stdout
        assert board.stderr
        port = board.stdout.readline().strip()
        (program,) = Path(f"/proc/{board.pid}/task/{board.pid}/children").read_text().split()
        os.kill(int(program), signal.SIGKILL)
        assert board.wait(20) == 1
        assert f"ct2mri: {port}: the board's process has ended by itself" in board.stderr.read()


@needs_compiler
def test_a_store_in_use(port: str, firmware: Path, tmp_path: Path, fails: Fails) -> None:
    line = fails("board", "--board", "host", "--store", tmp_path / "store")
    assert "in use by another board" in line


def test_a_board_that_cannot_be_simulated(fails: Fails) -> None:
    assert "c6748-lcdk" in fails("board", "--board", "c6748-lcdk")


def test_no_compiler(fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    line = fails("board", "--board", "host")
    assert "cc is not installed; get it by: apt-get install gcc" in line


# A C6748: its boot ROM, emulated, then a board that speaks the protocol


@contextmanager
def rom_then(board: Board, rom: Rom) -> Iterator[str]:
    """A port behind which reset is pressed until somebody answers BOOTME, and a board boots."""
    line, is_over = Line(0), threading.Event()

    def serve() -> None:
        pressed_at: float | None = None
        was_heard = False
        while not is_over.is_set():
            heard = line.read() if line.poll(0.005) & select.POLLIN else b""
            was_heard |= bool(heard)
            if not was_heard and (pressed_at is None or time.monotonic() > pressed_at + 3):
                pressed_at = time.monotonic()
                rom.reset(pressed_at + 0.3)
            with suppress(OSError):
                if rom.done:
                    line.write(board.feed(heard) + board.tick(5))
                    continue
                if heard:
                    rom.receive(heard, time.monotonic())
                line.write(rom.send(time.monotonic()))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield line.path
    finally:
        is_over.set()
        thread.join()
        line.close()


@pytest.fixture
def bare(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project with a program for a C6748, made elsewhere: no compiler is needed for it."""
    folder = tmp_path / "fw"
    shutil.copytree(project, folder)
    program = folder / "build" / "c6748-lcdk" / "firmware.elf"
    program.parent.mkdir(parents=True)
    program.write_bytes(PROGRAM)
    monkeypatch.setenv("PATH", "/nowhere")
    return folder


def test_boot_then_push(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    board = Board()
    with rom_then(board, Rom()) as port:
        capsys.readouterr()
        command("boot", bare, "--port", port)
        out, err = capsys.readouterr()
        assert "note: waiting for BOOTME: press reset on the board" in err
        assert "reference runs" in out
        assert f"next: ct2mri push DIR --port {port}" in out
        command("push", bare, "--port", port)
        assert "blocks sent" in capsys.readouterr().out


def test_boot_without_a_program(
    project: Path, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    line = fails("boot", project, "--port", "/dev/ttyNONE9")
    assert "tic6x-elf-gcc is not installed; get it by: scripts/build-tic6x" in line


def test_a_program_that_says_nothing(
    bare: Path, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = Board()
    board.is_on = False
    with rom_then(board, Rom()) as port:
        line = fails("boot", bare, "--port", port)
    assert "the boot ROM has taken the program, but it does not answer" in line


# QEMU


@pytest.mark.skipif(
    not (shutil.which("arm-none-eabi-gcc") and shutil.which("qemu-system-arm")),
    reason="no arm-none-eabi-gcc or no qemu-system-arm here",
)
def test_qemu_power_cycled_between(project: Path, ready: str, tmp_path: Path, fails: Fails) -> None:
    board = "qemu-vexpress-a9"
    folder = run_job(workflows.firmware_for(board), lambda event: None)
    ct = ct_file(tmp_path / "ct.nii.gz")
    with workflows.start_board(folder, board, tmp_path / "nor") as running:
        assert running.port.startswith("socket://127.0.0.1:")
        command("push", project, "--port", running.port)
        with held(running.port) as pid:
            line = fails("run", ct, tmp_path / "mr.nii.gz", "--port", running.port)
            assert f"ct2mri: {running.port}: held by python" in line
            assert f"(pid {pid}): close it first, as a simulated board serves one program" in line
    with workflows.start_board(folder, board, tmp_path / "nor") as running:
        command("run", ct, tmp_path / "qemu.nii.gz", "--port", running.port)
        command("monitor", "--once", "--port", running.port)
    command("run", ct, tmp_path / "host.nii.gz", "--port", ready)
    qemu, host = (read_volume(tmp_path / f"{name}.nii.gz").data for name in ("qemu", "host"))
    np.testing.assert_array_equal(qemu, host)


# The bar


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
