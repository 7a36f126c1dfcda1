"""What the panels ask of a child, asked here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from heads import head_pair

from napari_ct2mri.imaging.io import read_volume
from napari_ct2mri.jobs import run_job
from napari_ct2mri.pix2pix.pairs import PairRow, read_pairs
from napari_ct2mri.widgets.tasks import PairEntry, save_pairs


def entry(patient: str, seed: int) -> PairEntry:
    ct, mr = head_pair(seed)
    return PairEntry(ct, mr, patient, "T2", "train")


def saved(path: Path, entries: Sequence[PairEntry]) -> list[PairRow]:
    run_job(save_pairs(path, entries), lambda event: None)
    return list(read_pairs(path).rows)


def as_entry(row: PairRow) -> PairEntry:
    return PairEntry(row.ct, row.mr, row.patient, row.contrast, row.split)


def test_a_row_that_moved_up_keeps_its_images(tmp_path: Path) -> None:
    path, ben, cleo = tmp_path / "pairs.csv", entry("ben", 1), entry("cleo", 2)
    _, row = saved(path, [entry("anna", 0), ben])
    rows = saved(path, [as_entry(row), cleo])
    assert [row.patient for row in rows] == ["ben", "cleo"]
    for row, given in zip(rows, (ben, cleo), strict=True):
        np.testing.assert_array_equal(read_volume(row.ct).data, given.ct.data)
        np.testing.assert_array_equal(read_volume(row.mr).data, given.mr.data)


def test_another_list_of_that_name_keeps_its_images(tmp_path: Path) -> None:
    anna = entry("anna", 0)
    (row,) = saved(tmp_path / "pairs.csv", [anna])
    (tmp_path / "pairs.csv").rename(tmp_path / "kept.csv")
    saved(tmp_path / "pairs.csv", [entry("ben", 1)])
    np.testing.assert_array_equal(read_volume(row.mr).data, anna.mr.data)


def test_saving_again_writes_no_image_twice(tmp_path: Path) -> None:
    entries = [entry("anna", 0), entry("ben", 1)]
    first = saved(tmp_path / "pairs.csv", entries)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.glob("*.mha")}
    assert saved(tmp_path / "pairs.csv", entries) == first
    assert {file: file.stat().st_mtime_ns for file in tmp_path.glob("*.mha")} == before


def test_equal_images_of_two_rows_have_two_files(tmp_path: Path) -> None:
    """Each row's prediction is named after its CT."""
    anna = entry("anna", 0)
    one, two = saved(tmp_path / "pairs.csv", [anna, replace(anna, contrast="T1")])
    assert one.ct != two.ct
    assert one.mr != two.mr
