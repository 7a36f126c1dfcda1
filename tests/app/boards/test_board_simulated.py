"""Boards of this machine, when several programs want one at once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import pytest

from napari_ct2mri.app.workflows import Running, running_boards, simulated

STARTER = """
import sys
from pathlib import Path
from napari_ct2mri.app import workflows
from napari_ct2mri.jobs import run_job
folder = run_job(workflows.firmware_for("host"), lambda event: None)
with workflows.start_board(folder, "host", Path(sys.argv[1])) as running:
    print(running.port)
"""
SLOW_COMPILER = """#!/bin/sh
while [ $# -gt 0 ]; do [ "$1" = -o ] && out=$2; shift; done
printf '#!/bin/sh\\n' > "$out"
chmod +x "$out"
sleep 3
printf 'echo a-port\\nexec sleep 60\\n' >> "$out"
"""


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
def test_two_programs_build_one_firmware(tmp_path: Path) -> None:
    """The second comes when the first one's compiler has written half."""
    compiler, cache = tmp_path / "bin" / "cc", tmp_path / "cache"
    compiler.parent.mkdir()
    compiler.write_text(SLOW_COMPILER)
    compiler.chmod(0o755)
    paths = f"{compiler.parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": paths, "XDG_CACHE_HOME": str(cache)}

    def start(store: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", STARTER, tmp_path / store]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)

    with start("first") as first:
        end = time.monotonic() + 30
        while not any(cache.rglob("firmware.elf.part")):
            assert time.monotonic() < end
            time.sleep(0.01)
        with start("second") as second:
            assert second.communicate(timeout=60)[0] == "a-port\n"
        assert first.communicate(timeout=60)[0] == "a-port\n"
    assert not [path for path in cache.rglob(".*") if path.suffix in (".lock", ".part")]


def test_a_note_that_is_being_written_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody looks before it is locked, as long as it is empty, and when it is there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    lock, dump = simulated._lock, json.dump
    seen: list[tuple[Running, ...]] = []

    def look(*_: object) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(simulated, "_lock", lock)
            seen.append(running_boards())

    def lock_late(file: IO[str]) -> bool:
        look()
        return lock(file)

    def dump_late(data: object, file: IO[str]) -> None:
        look()
        dump(data, file)

    monkeypatch.setattr(simulated, "_lock", lock_late)
    monkeypatch.setattr(json, "dump", dump_late)
    running = Running("host", "a-port", "a-store", os.getpid())
    with simulated._listed(running):
        look()
    look()
    assert seen == [(), (), (running,), ()]
