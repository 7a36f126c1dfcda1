"""Pair lists of small heads, a tiny model, and commands that must fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from small_heads import SPLITS, TINY, picture_pairs, volume_pairs

from napari_ct2mri.app.cli import main


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pair list of pictures: two to train on, one that selects, one for the test."""
    return picture_pairs(tmp_path_factory.mktemp("pictures"), SPLITS)


@pytest.fixture(scope="session")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same four subjects as volumes."""
    return volume_pairs(tmp_path_factory.mktemp("volumes"), SPLITS)


@pytest.fixture(scope="session")
def model(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, trained by the command itself."""
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    assert main(["train", str(pictures), "--output", str(path), *TINY]) == 0
    return path


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that must fail with one line and exit code 1; returns the line."""

    def run(*tokens: object) -> str:
        capsys.readouterr()
        assert main([str(token) for token in tokens]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        last = err.splitlines()[-1]
        assert last.startswith("ct2mri: ")
        assert "Traceback" not in err
        assert "unexpected" not in last
        others = err.splitlines()[:-1]
        assert all(line.startswith("note: ") or " of " in line for line in others), err
        return last

    return run
