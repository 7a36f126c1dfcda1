"""Real processes killed at random moments of a push: the board comes back with a whole model."""

from __future__ import annotations

import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from random import Random

import pytest

from napari_ct2mri.errors import JobCancelled, LinkError
from napari_ct2mri.firmware import runtime_folder
from napari_ct2mri.firmware.build import build
from napari_ct2mri.jobs import Event, Notice, run_job
from napari_ct2mri.link import connect, push_model

from .test_faults import containers

KILLS = 50


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The firmware of the host."""
    if shutil.which("make") is None or shutil.which("cc") is None:
        pytest.skip("no make or cc here")
    folder = tmp_path_factory.mktemp("firmware") / "project"
    shutil.copytree(runtime_folder(), folder)
    run_job(build(folder, "host"), lambda event: None)
    return folder / "build" / "host" / "firmware.elf"


@contextmanager
def running(program: Path, store: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A board's process, and its port."""
    with subprocess.Popen([program, store], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def push_and_kill(program: Path, store: Path, container: bytes, after_s: float) -> bool:
    """Whether the push came to its end before the kill."""
    lost: list[Event] = []

    def watch(event: Event) -> None:
        if isinstance(event, Notice) and "went away" in event.text:
            lost.append(event)

    with running(program, store) as (process, port):
        killer = threading.Timer(after_s, process.kill)
        killer.start()
        try:
            run_job(push_model(lambda: connect(port), container), watch, lambda: bool(lost))
        except (JobCancelled, LinkError):
            return False
        finally:
            killer.cancel()
            killer.join()
    return True


def is_running(program: Path, store: Path) -> bytes:
    """Digest of the model that it comes back with, once that has proved itself."""
    with running(program, store) as (_, port), connect(port) as connection:
        hello = connection.hello
        if hello.status:
            return b""
        assert sha256(connection.read(0, hello.size)).digest() == hello.digest
        assert connection.test()[0] == 0
        return hello.digest


def seconds_of_a_push(program: Path, store: Path) -> float:
    """On this machine, as busy as it is."""
    pushed = containers()[::2]
    with running(program, store) as (_, port):
        start = time.monotonic()
        for container in pushed:
            run_job(push_model(lambda: connect(port), container), lambda event: None)
        return (time.monotonic() - start) / len(pushed)


def test_killed_at_fifty_moments(program: Path, tmp_path: Path):
    chance, store, old = Random(5), tmp_path / "slots.bin", b""
    taken_s = seconds_of_a_push(program, tmp_path / "other.bin")
    whole = kept = 0
    for number in range(KILLS):
        container = chance.choice(containers())
        digest = sha256(container).digest()
        is_over = push_and_kill(program, store, container, chance.uniform(0.0, 1.5 * taken_s))
        found = is_running(program, store)
        assert found in ((digest,) if is_over else (old, digest)), f"kill {number}"
        whole, kept = whole + (found == digest != old), kept + (found == old != digest)
        old = found
    assert min(whole, kept) >= 5  # both happened, with another model than the one that ran
