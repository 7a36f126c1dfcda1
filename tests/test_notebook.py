"""The notebook for Colab, from top to bottom, on simulated heads; Drive itself is not here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from napari_ct2mri.imaging.phantom import phantom_job
from napari_ct2mri.jobs import run_job
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
    place = {"metadata": {"path": tmp_path}}
    # on a busy machine outputs come late: by default those of 4 s after a cell are dropped
    NotebookClient(notebook, timeout=300, iopub_timeout=120, resources=place).execute()
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    text = "".join(map(said, codes))
    assert "epoch 16 of 16" in text
    assert "kept: epoch" in text
    pictures = [out for cell in codes for out in cell.outputs if "image/png" in out.get("data", {})]
    assert len(pictures) == 2  # the curves, and the patient
    model = load_checkpoint(tmp_path / "ct2mri" / "simulated.safetensors")
    assert model.contrasts == ("T2",)
    losses = [sum(epoch.losses.values()) for epoch in model.header.history]
    assert len(losses) == 16
    assert losses[-1] < losses[0]
    assert said(codes[-1]).strip() == str((tmp_path / "ct2mri" / "simulated.safetensors").resolve())


def test_own_pairs_have_a_model_of_their_own_and_show_whom_it_has_not_learnt(
    notebook: Any, tmp_path: Path
) -> None:
    """A training on simulated heads, tried first, cannot be resumed on others."""
    source = {cell.id: cell.source for cell in notebook.cells}
    tiny = {"shape": (3, 24, 24), "spacing": (30.0, 10.0, 10.0)}
    pairs = run_job(phantom_job(tmp_path, 3, **tiny), lambda event: None)
    head, train, val, test = pairs.read_text().splitlines()
    for rows, split in ((test, val, train), "test"), ((val, train), "val"), ((train,), "train"):
        pairs.write_text("\n".join((head, *rows)))
        said = {"folder": tmp_path}
        for part in (source["cell-4"], source["cell-6"], source["cell-12"].split("ct, real")[0]):
            exec(part, said)
        assert said["model"] == tmp_path / "mine.safetensors"
        assert said["row"].split == split
