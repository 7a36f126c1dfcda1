"""A cache of its own, the firmware in it, boards with and without a model."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from at_a_board import exported

from napari_ct2mri.app import workflows
from napari_ct2mri.jobs import run_job

TESTS = Path(__file__).resolve().parents[2]
sys.path += [str(TESTS), str(TESTS / "firmware")]  # random_models, link.board


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the firmware is built once for all modules."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module", autouse=True)
def cache(cache_folder: Path) -> Iterator[Path]:
    """The user's cache, during these tests alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache_folder))
        yield cache_folder


@pytest.fixture(scope="session")
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
