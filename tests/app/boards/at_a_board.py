"""What tests of boards share: models to push, CTs to run, ports that are held."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_heads import OBLIQUE, head

from napari_ct2mri.app import workflows
from napari_ct2mri.app.cli import main
from napari_ct2mri.firmware.container import Container, unpack
from napari_ct2mri.firmware.reference import run as run_reference
from napari_ct2mri.imaging.io import write_volume
from napari_ct2mri.imaging.volume import Volume

Fails = Callable[..., str]
COMMAND = [sys.executable, "-c", "from napari_ct2mri.app.cli import main; raise SystemExit(main())"]

needs_compiler = pytest.mark.skipif(
    not (shutil.which("cc") and shutil.which("make")), reason="no C compiler here"
)


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


def until(live: workflows.Live, timeout_s: float = 20.0) -> workflows.LiveSlice:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if (made := live.poll()) is not None:
            return made
    raise AssertionError(live.problem or "no slice came back")


def quiet(live: workflows.Live) -> int:
    """Until nothing more goes out; slices that the board has computed in this session."""
    idle = 0
    while idle < 3:
        assert live.poll(0.02) is None  # what was not asked for does not come out
        idle = 0 if live.unanswered else idle + 1
    stats = live.stats()
    assert stats is not None
    return stats.slices


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
