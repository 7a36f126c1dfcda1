"""Rate, agreement and record of slices that come back from a board; no board needed."""

from __future__ import annotations

import csv
from dataclasses import fields
from math import inf
from pathlib import Path

import numpy as np
import pytest
from small_heads import OBLIQUE, head

from napari_ct2mri.app import workflows
from napari_ct2mri.app.workflows.live_figures import (
    Comparison,
    LogRow,
    Rate,
    RunLog,
    figures_in_words,
    find_twin,
)
from napari_ct2mri.app.workflows.live_thread import SliceCame
from napari_ct2mri.errors import CheckpointError, Ct2MriError
from napari_ct2mri.imaging.head import head_mask
from napari_ct2mri.imaging.volume import Volume, closest_axes
from napari_ct2mri.pix2pix.checkpoint import read_header


@pytest.fixture(scope="module")
def board_model(model: Path) -> workflows.BoardModel:
    """What a board would say that runs the tiny model."""
    config = read_header(model).config.model
    return workflows.BoardModel("host", model.stem, "T2", config, (64, 64), "d" * 64, "d" * 64)


def ct() -> Volume:
    data = np.rint(head(3)[0]).astype(np.int16)
    return closest_axes(Volume(data, OBLIQUE, "CT", "HU"))[0]


def test_the_rate_is_that_of_the_last_two_seconds() -> None:
    rate = Rate()
    assert rate.add(10.0) is None
    assert rate.add(10.5) == pytest.approx(2.0)
    assert rate.add(11.0) == pytest.approx(2.0)
    assert rate.add(30.0) is None  # the person looked elsewhere
    assert rate.add(30.1) == pytest.approx(10.0)


def test_agreement_is_measured_in_the_head_and_inside_the_frame(
    board_model: workflows.BoardModel,
) -> None:
    volume = ct()
    comparison = Comparison(workflows.Grid(volume, board_model))
    k, size = 1, volume.data.shape[1:]
    made = np.full(size, 500, np.float32)
    assert not comparison.has(k)
    assert comparison.psnr(k, made) is None
    comparison.take(0, np.stack([made, made + 10]))
    assert comparison.has(k)
    inside = head_mask(volume.data[1:2], "HU", "CT")[0]
    assert comparison.psnr(k, made) == pytest.approx(40.0)  # 10 of 1000
    made[~inside] = 0  # air does not count
    assert comparison.psnr(k, made) == pytest.approx(40.0)
    made[inside] = 510
    assert comparison.psnr(k, made) == inf


def test_what_the_frame_does_not_reach_is_not_counted(board_model: workflows.BoardModel) -> None:
    small = workflows.BoardModel(
        "host", "tiny", "T2", board_model.config, (32, 32), "d" * 64, "d" * 64
    )
    volume = ct()
    grid = workflows.Grid(volume, small)
    made = grid.mr(np.full((32, 32), 255, np.uint8))
    comparison = Comparison(grid)
    comparison.take(0, np.full((1, *made.shape), made.max(), np.float32))
    assert (made == 0).any()
    head_there = head_mask(volume.data[:1], "HU", "CT")[0]
    assert (made[head_there] == 0).any()  # it lies outside the frame
    agreement = comparison.psnr(0, made)
    assert agreement is not None
    assert agreement > 20


def test_a_slice_without_a_head_has_no_figure(board_model: workflows.BoardModel) -> None:
    volume = ct()
    data = volume.data.copy()
    data[2] = -1000
    air = volume.with_data(data)
    comparison = Comparison(workflows.Grid(air, board_model))
    made = np.zeros(air.data.shape[1:], np.float32)
    comparison.take(2, made[None])
    assert comparison.psnr(2, made) is None


def test_the_checkpoint_of_a_boards_model_is_found(
    model: Path, board_model: workflows.BoardModel, tmp_path: Path
) -> None:
    assert find_twin(board_model, model) == model
    renamed = tmp_path / "other.safetensors"
    renamed.write_bytes(model.read_bytes())
    with pytest.raises(CheckpointError, match=r"the board runs tiny .*chosen above is other"):
        find_twin(board_model, renamed)
    with pytest.raises(CheckpointError, match="chosen above is none"):
        find_twin(board_model, None)
    wider = board_model.config.model_copy(
        update={"network": board_model.config.network.model_copy(update={"width": 8})}
    )
    retrained = workflows.BoardModel("host", "tiny", "T2", wider, (64, 64), "d" * 64, "d" * 64)
    with pytest.raises(CheckpointError, match="not compared"):
        find_twin(retrained, model)
    others = workflows.BoardModel(
        "host", "tiny", "T2", board_model.config, (64, 64), "d" * 64, "e" * 64
    )
    with pytest.raises(CheckpointError, match="not compared"):  # trained on other slices
        find_twin(others, model)


def row(k: int, psnr_db: float | None = None) -> LogRow:
    made = workflows.LiveSlice(k, np.zeros((2, 2), np.float32), 1500, 0.25, 100, 50)
    return LogRow.of(made, 0.5 * k, None, psnr_db, ("host", "tiny", "T2"))


def test_a_record_is_on_disk_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "new" / "run.csv"
    log = RunLog(path)
    log.add(row(0))
    log.add(row(1, 41.25))
    with path.open(newline="") as file:  # not closed yet
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [field.name for field in fields(LogRow)]
    assert [each["psnr_db"] for each in rows] == ["", "41.25"]
    assert rows[1]["time_s"] == "0.5"
    assert rows[1]["board_us"] == "1500"
    assert log.rows == 2
    log.close()


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    with pytest.raises(Ct2MriError, match="could not be written: Is a directory"):
        RunLog(tmp_path)
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with pytest.raises(Ct2MriError, match="/dev/full: the record could not be written: No space"):
        RunLog(Path("/dev/full"))


def test_figures_in_words() -> None:
    made = workflows.LiveSlice(7, np.zeros((2, 2), np.float32), 31_400, 0.1234, 2048, 1024)
    words = figures_in_words(SliceCame(made, 7.42, 45.46, is_compared=True), 45.46)
    assert words == {
        "Slice": "7",
        "Latency": "123 ms",
        "Computing": "31.4 ms on the board",
        "Rate": "7.4 slices a second",
        "On the line": "2.0 KiB out, 1.0 back",
        "Agreement": "45.5 dB to this machine",
    }
    assert figures_in_words(None, inf) == {"Agreement": "identical"}
    assert figures_in_words(None, None) == {"Agreement": "no head in this slice"}
