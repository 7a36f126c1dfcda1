"""Boards of this machine as processes: their lines, their flash, what stops them from starting."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from c_board import CUTS, Cut, Unsynced
from host_end import Client, over_terminal
from random_models import boxed, random_model
from writes import Write, cut, digest, do, logged, read_log, there

from napari_ct2mri.errors import FirmwareError, JobCancelled, LinkError
from napari_ct2mri.firmware import runtime_folder
from napari_ct2mri.firmware.build import build
from napari_ct2mri.firmware.container import Container, pack
from napari_ct2mri.firmware.reference import run
from napari_ct2mri.firmware.simulate import Line, start_board
from napari_ct2mri.jobs import run_job
from napari_ct2mri.link import Connection, connect, push_model
from napari_ct2mri.link.frame import Type, encode_frame

TOOLS = {
    "host": ("make", "cc"),
    "qemu-vexpress-a9": ("make", "arm-none-eabi-gcc", "qemu-system-arm"),
}
QEMU_KILLS = 4


@pytest.fixture(scope="module", params=TOOLS)
def board(request: pytest.FixtureRequest) -> str:
    if missing := [tool for tool in TOOLS[request.param] if shutil.which(tool) is None]:
        pytest.skip(f"{', '.join(missing)} not installed")
    return str(request.param)


@pytest.fixture(scope="module")
def folder(board: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The firmware, built without a model."""
    made = tmp_path_factory.mktemp(board) / "runtime"
    shutil.copytree(runtime_folder(), made)
    run_job(build(made, board), lambda event: None)
    return made


@pytest.fixture(scope="module")
def boxes() -> list[Container]:
    return [boxed(random_model(4, 3, 2, seed=seed), seed) for seed in (1, 2)]


def push(port: str, container: Container) -> None:
    run_job(push_model(lambda: connect(port), pack(container)), lambda event: None)


def runs(connection: Connection, container: Container) -> bool:
    """Whether it runs that very model, and rightly."""
    if connection.hello.digest != sha256(pack(container)).digest():
        return False
    assert connection.read(0, connection.hello.size) == pack(container)
    return computes(connection, container)


def computes(connection: Connection, container: Container) -> bool:
    line = Line(connection)
    image = np.random.default_rng(0).integers(0, 256, line.shape, np.uint8)
    assert np.array_equal(line.run(image)[0], run(container.model, image))
    return line.self_test() == 0


def test_what_is_pushed_lasts(folder: Path, board: str, boxes: list[Container], tmp_path: Path):
    store = tmp_path / "flash"
    with start_board(folder, board, store) as port, connect(port) as connection:
        assert (connection.hello.status, connection.hello.board) == (7, board)
    for slot, container in enumerate(boxes):
        with start_board(folder, board, store) as port:
            push(port, container)
        with start_board(folder, board, store) as port, connect(port) as connection:
            assert connection.hello.active == slot
            assert runs(connection, container)
    used = sum(path.stat().st_blocks * 512 for path in store.iterdir())
    assert used < 4 << 20  # though it stands for 128 MiB


def test_reset_is_as_power_on(folder: Path, board: str, boxes: list[Container], tmp_path: Path):
    with start_board(folder, board, tmp_path) as port:
        push(port, boxes[0])
        with connect(port) as connection:
            connection.reset()
            connection.greet(10.0)
            assert runs(connection, boxes[0])


def test_the_cable_is_pulled_and_put_back(
    folder: Path, board: str, boxes: list[Container], tmp_path: Path
):
    """In the middle of whatever: the next who comes is answered, not told what is old."""
    with start_board(folder, board, tmp_path) as port:
        push(port, boxes[0])
        for _ in range(3):
            with connect(port) as connection:
                tests = b"".join(encode_frame(Type.TEST, seq) for seq in range(1, 21))
                connection.line.transfer(tests + b"\5half", 1.0)
            with connect(port) as connection:
                assert runs(connection, boxes[0])


_BOARD_ALONE = """
import sys, time
from pathlib import Path
from napari_ct2mri.firmware.simulate import start_board
with start_board(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])) as port:
    print(port, flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's end")
def test_a_board_ends_with_whoever_started_it(folder: Path, board: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _BOARD_ALONE, folder, board, tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout
        port = starter.stdout.readline().strip()
        (process,) = children(starter.pid)
        with connect(port):
            pass
        starter.kill()
    end = time.monotonic() + 10
    while is_alive(process):
        assert time.monotonic() < end
        time.sleep(0.05)


def killed(folder: Path, store: Path, container: Container, after_s: float) -> bool:
    """Push to a QEMU that is killed after a while; whether the push came to its end."""
    others = children(os.getpid())
    with start_board(folder, "qemu-vexpress-a9", store) as port:
        with connect(port):
            pass  # it has started
        (process,) = children(os.getpid()) - others
        killer = threading.Timer(after_s, os.kill, (process, 9))
        killer.start()
        try:
            with connect(port) as connection:
                run_job(
                    push_model(lambda: connection, pack(container)),
                    lambda event: None,
                    lambda: not is_alive(process),
                )
        except (JobCancelled, LinkError):
            return False
        finally:
            killer.cancel()
            killer.join()
    return True


def children(of: int) -> set[int]:
    """Processes that this one has started."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            pid, rest = stat.read_text().split(" ", 1)
            _, _, fields = rest.rpartition(") ")
            if int(fields.split()[1]) == of:
                found.add(int(pid))
    return found


def is_alive(process: int) -> bool:
    with suppress(OSError):  # there is none, or it is reaped while we look
        _, _, fields = Path(f"/proc/{process}/stat").read_text().rpartition(") ")
        return not fields.startswith("Z")
    return False


@pytest.mark.parametrize("board", ["qemu-vexpress-a9"], indirect=True)
def test_qemu_killed_in_a_push(folder: Path, boxes: list[Container], tmp_path: Path):
    old, new = boxes
    store = tmp_path / "flash"
    with start_board(folder, "qemu-vexpress-a9", store) as port:
        push(port, old)
        start = time.monotonic()
        with connect(port):
            taken_s = time.monotonic() - start
        start = time.monotonic()
        push(port, new)
        taken_s = time.monotonic() - start - taken_s
    old, new = new, old
    for number in range(QEMU_KILLS):
        was_whole = killed(folder, store, new, taken_s * (number + 1) / QEMU_KILLS)
        with start_board(folder, "qemu-vexpress-a9", store) as port, connect(port) as connection:
            is_new = runs(connection, new)
            assert is_new or (not was_whole and runs(connection, old))
        if is_new:
            old, new = new, old
    with start_board(folder, "qemu-vexpress-a9", store) as port:
        push(port, new)
        with connect(port) as connection:
            assert runs(connection, new)


# ---- power cut at every write of the program to its flash or its file ----

HOST_SLOT = (64 << 20) + (8 << 10)  # bytes
FLASH_CUTS = [(Cut.TORN, Unsynced.LASTS), (Cut.AFTER, Unsynced.LASTS)]
"""QEMU's flash has no cache; a cut before a write is one after that before it."""
AGAIN = (1, 2, 3, 4, 5)
"""The first of each kind; after these and the last QEMU's slow board is pushed to again."""


@dataclass(frozen=True)
class Push:
    """One more push to a board with two models, as it was written to its files."""

    store: Path
    before: list[Write]
    writes: list[Write]
    synced: int
    container: Container


@pytest.fixture(scope="module")
def third(
    folder: Path, board: str, boxes: list[Container], tmp_path_factory: pytest.TempPathFactory
) -> Push:
    """Its files are those before the push."""
    place = tmp_path_factory.mktemp("third")
    pushed, store = place / "pushed", place / "store"
    for container in boxes:
        with start_board(folder, board, pushed) as port:
            push(port, container)
    subprocess.run(["cp", "-r", pushed, store], check=True)
    container = boxed(random_model(4, 3, 2, seed=3), 3)
    with logged(place / "log"), start_board(folder, board, pushed) as port:
        push(port, container)
    writes, synced = read_log(place / "log", pushed)
    return Push(store, [there(store, write) for write in writes], writes, synced, container)


@pytest.mark.skipif(sys.platform != "linux", reason="writes are logged by a preloaded library")
def test_a_push_is_logged_whole(board: str, third: Push) -> None:
    """The log makes of the files before the push those after it; all of the host's is synced."""
    start = digest(third.store)
    do(third.store, third.writes)
    assert digest(third.store) == digest(third.store.parent / "pushed")
    do(third.store, third.before)
    assert digest(third.store) == start
    erasures = [write.is_erasure for write in third.writes]
    size = len(pack(third.container))
    if board == "host":  # the record goes, the journal; a journal, blocks, the record
        assert erasures == [True] * 2 + [False] * (2 + -(-size // 4096))
        assert third.synced == len(third.writes)
    else:  # and a unit of the container; as many bytes at once as the flash's buffer holds
        assert erasures == [True] * 3 + [False] * (2 + -(-size // 2048))


@pytest.mark.skipif(sys.platform != "linux", reason="writes are logged by a preloaded library")
def test_cut_at_every_write(folder: Path, board: str, boxes: list[Container], third: Push) -> None:
    last = len(third.writes)
    again = range(1, last + 1) if board == "host" else (*AGAIN, last)
    cuts = CUTS if board == "host" else FLASH_CUTS
    for number, (kind, fate) in itertools.product(range(1, last + 1), cuts):
        do(third.store, third.before)
        cut(third.store, third.writes, number, kind, fate)
        is_over = number == last and kind == Cut.AFTER
        with start_board(folder, board, third.store) as port:
            with connect(port) as connection:
                assert holds(connection, third.store, third.container if is_over else boxes[1])
            if kind == Cut.TORN and number in again:
                push(port, third.container)
                with connect(port) as connection:
                    assert holds(connection, third.store, third.container)


def holds(connection: Connection, store: Path, container: Container) -> bool:
    """As ``runs``, but looks at the file: QEMU reads little in a second."""
    hello, data = connection.hello, pack(container)
    name, at = f"nor{hello.active}.bin", 0
    if hello.board == "host":
        name, at = "slots.bin", hello.active * HOST_SLOT
    with (store / name).open("rb") as file:
        file.seek(at)
        is_there = file.read(len(data)) == data
    return is_there and hello.digest == sha256(data).digest() and computes(connection, container)


# ---- what the host's board says at its start ----


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("host") / "runtime"
    shutil.copytree(runtime_folder(), made)
    run_job(build(made, "host"), lambda event: None)
    return made


def test_its_first_line_is_its_port(host: Path, tmp_path: Path) -> None:
    program = host / "build" / "host" / "firmware.elf"
    command = [program, tmp_path / "slots.bin"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            path = Path(process.stdout.readline().strip())
            assert path.is_char_device()
            assert Client(over_terminal(path)).hello().board == "host"
        finally:
            process.kill()


def test_one_store_one_board(host: Path, tmp_path: Path) -> None:
    with (
        start_board(host, "host", tmp_path),
        pytest.raises(FirmwareError, match=r"slots\.bin: in use by another board"),
        start_board(host, "host", tmp_path),
    ):
        pass


def test_what_is_no_store_is_left_alone(host: Path, tmp_path: Path) -> None:
    (tmp_path / "slots.bin").write_text("my thesis")
    with (
        pytest.raises(FirmwareError, match=r"slots\.bin: is no store, which would have 134234112"),
        start_board(host, "host", tmp_path),
    ):
        pass
    assert (tmp_path / "slots.bin").read_text() == "my thesis"


@pytest.mark.parametrize("tokens", [[], ["--help"], ["a", "b"], ["--self-test"]])
def test_how_it_is_called(host: Path, tokens: list[str]) -> None:
    command = [host / "build" / "host" / "firmware.elf", *tokens]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert "STORE, or" in done.stderr


def test_start_says_what_is_missing(
    host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(board: str, store: Path = tmp_path, port: int | None = None) -> Iterator[str]:
        with start_board(host, board, store, port) as url:
            yield url

    with pytest.raises(FirmwareError, match="c6748-lcdk can't be simulated; host and qemu-v"):
        next(start("c6748-lcdk"))
    with pytest.raises(FirmwareError, match="run `ct2mri build` for qemu-vexpress-a9 first"):
        next(start("qemu-vexpress-a9"))
    (tmp_path / "file").touch()
    with pytest.raises(FirmwareError, match="could not be made"):
        next(start("host", tmp_path / "file"))
    program = host / "build" / "qemu-vexpress-a9" / "firmware.elf"
    program.parent.mkdir(exist_ok=True)
    program.touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(FirmwareError, match=f"port {number}: .*; choose another"):
            next(start("qemu-vexpress-a9", port=number))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(FirmwareError, match="qemu-system-arm"):
        next(start("qemu-vexpress-a9"))


def spoken(folder: Path, script: str) -> Path:
    """A project whose host board is a shell script."""
    program = folder / "build" / "host" / "firmware.elf"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return folder


def test_a_board_that_complains_at_length_does_not_stand_still(tmp_path: Path) -> None:
    """More than a pipe holds, before and after it has started."""
    much = "head -c 300000 /dev/zero | tr '\\0' x >&2"
    done = tmp_path / "done"
    folder = spoken(tmp_path, f"{much}\necho a-port\n{much}\ntouch '{done}'\nexec sleep 60")
    with start_board(folder, "host", tmp_path / "store") as port:
        assert port == "a-port"
        end = time.monotonic() + 30
        while not done.exists() and time.monotonic() < end:
            time.sleep(0.02)
        assert done.exists()


def test_the_last_complaint_says_why_it_did_not_start(tmp_path: Path) -> None:
    much = "head -c 300000 /dev/zero | tr '\\0' x >&2"
    folder = spoken(tmp_path, f"{much}\necho >&2\necho no such drive >&2\nexit 1")
    with (
        pytest.raises(FirmwareError, match=r"^the board did not start: no such drive$"),
        start_board(folder, "host", tmp_path / "store"),
    ):
        pass


def test_nobody_there_is_a_link_error(host: Path, tmp_path: Path) -> None:
    with start_board(host, "host", tmp_path) as port:
        assert Path(port).is_char_device()
    with pytest.raises(LinkError):
        connect(port)
