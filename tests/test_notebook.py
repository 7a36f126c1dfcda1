"""The notebook for Colab, from top to bottom, on simulated heads; Drive itself is not here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from napari_ct2mri.pix2pix.checkpoint import load_checkpoint

PATH = Path(__file__).resolve().parents[1] / "notebooks" / "train.ipynb"


def said(cell: Any) -> str:
    """What a cell printed."""
    return "".join(out.text for out in cell.outputs if out.output_type == "stream")


@pytest.fixture(scope="module")
def notebook() -> Any:
    return nbformat.read(PATH, as_version=4)


def test_it_is_kept_without_outputs(notebook: Any) -> None:
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert codes
    assert not any(cell.outputs or cell.execution_count for cell in codes)


def test_it_runs_from_top_to_bottom(
    notebook: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("MPLBACKEND", raising=False)  # another test's; the kernel draws into cells
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": tmp_path}}).execute()
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    text = "".join(map(said, codes))
    assert "epoch 16 of 16" in text
    assert "kept: epoch" in text
    pictures = [out for cell in codes for out in cell.outputs if "image/png" in out.get("data", {})]
    assert len(pictures) == 2  # the curves, and the patient
    model = load_checkpoint(tmp_path / "ct2mri" / "mine.safetensors")
    assert model.contrasts == ("T2",)
    losses = [sum(epoch.losses.values()) for epoch in model.header.history]
    assert len(losses) == 16
    assert losses[-1] < losses[0]
    assert said(codes[-1]).strip() == str((tmp_path / "ct2mri" / "mine.safetensors").resolve())
