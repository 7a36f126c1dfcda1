"""Load in a real viewer: drops, the list with its thumbnails, what was corrected, wrong input."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from children import kill_child
from dropping import drop
from heads import OBLIQUE, head_pair, picture
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt

from conftest import PATIENCE_MS, OpenPanel
from napari_ct2mri.imaging.io import write_volume
from napari_ct2mri.imaging.volume import Volume
from napari_ct2mri.widgets.layers import layer_to_volume

sys.path.append(str(Path(__file__).resolve().parents[1]))
from imaging.dicom_files import write_series

Settle = Callable[[Any], None]


def click(qtbot: QtBot, button: Any) -> None:
    assert button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def texts(load: Any) -> list[str]:
    return [load.list.item(i).text() for i in range(load.list.count())]


def colours(load: Any, row: int) -> int:
    """How many grey levels the picture of a row has; one while there is none."""
    size = load.list.iconSize()
    image = load.list.item(row).icon().pixmap(size).toImage()
    return len({image.pixel(x, y) for x in range(image.width()) for y in range(image.height())})


def test_a_dropped_folder_is_listed_and_the_chosen_series_opened(
    viewer: Viewer, panel: OpenPanel, qtbot: QtBot, settle: Settle, tmp_path: Path
) -> None:
    ct, mr = head_pair()
    write_volume(ct, tmp_path / "a.nrrd")
    write_volume(mr, tmp_path / "b.mha")
    load = panel("Load")
    drop(load, tmp_path)
    settle(load)
    first, second = (text.splitlines() for text in texts(load))
    assert first == [
        "1. CT · a.nrrd",
        "4 slices · 64 × 64 · pixels 1.25 × 1.50 mm, step 4.00 mm · NRRD",
    ]
    assert second[0] == "2. MR · b.mha"
    assert load.command.line.text() == f"ct2mri info {tmp_path}"
    qtbot.waitUntil(lambda: colours(load, 0) > 2 and colours(load, 1) > 2, timeout=PATIENCE_MS)
    assert not viewer.layers
    load.list.setCurrentRow(1)
    assert load.command.line.text() == f"ct2mri convert {tmp_path / 'b.mha'} b.nii.gz"
    click(qtbot, load.go)
    settle(load)
    (layer,) = viewer.layers
    assert layer_to_volume(layer).geometry.is_close(OBLIQUE, 1e-9)
    np.testing.assert_array_equal(layer_to_volume(layer).data, mr.data)
    assert load.status.text().endswith("4x64x64 MR")


def test_a_broken_file_among_several_series_is_said_once(
    panel: OpenPanel, settle: Settle, tmp_path: Path
) -> None:
    ct = head_pair()[0].data
    for uid in ("2.25.1", "2.25.2"):
        (tmp_path / uid).mkdir()
        write_series(tmp_path / uid, ct, np.array([(0.0, 0.0, 4.0 * z) for z in range(4)]), uid=uid)
    whole = next((tmp_path / "2.25.1").iterdir()).read_bytes()
    (tmp_path / "broken.dcm").write_bytes(whole[:200])
    load = panel("Load")
    drop(load, tmp_path)
    settle(load)
    assert len(texts(load)) == 2
    assert not any("left out" in text for text in texts(load))
    assert load.notes.toPlainText().count("1 file left out: ") == 1


def test_the_command_line_does_not_write_over_what_it_reads(
    panel: OpenPanel, settle: Settle, tmp_path: Path
) -> None:
    write_volume(head_pair()[1], tmp_path / "T2.nii.gz")
    load = panel("Load")
    drop(load, tmp_path / "T2.nii.gz")
    settle(load)
    words = shlex.split(load.command.line.text())
    assert words[:4] == ["ct2mri", "convert", str(tmp_path / "T2.nii.gz"), "T2-converted.nii.gz"]


def scan_of(folder: Path, uid: str, description: str = "head") -> list[Path]:
    """The CT of :func:`heads.head_pair` as a DICOM series."""
    positions = np.arange(4)[:, None] * [0.0, 0.0, 4.0]
    data = head_pair()[0].data
    return write_series(folder, data, positions, uid=uid, SeriesDescription=description)


def test_of_several_dropped_files_these_are_listed_and_nothing_else(
    viewer: Viewer, panel: OpenPanel, qtbot: QtBot, settle: Settle, tmp_path: Path
) -> None:
    """A search of the folder that they share would find the DICOM alone."""
    ct, mr = head_pair()
    here, there = tmp_path / "here", tmp_path / "there"
    slices = scan_of(here / "old scan", "2.25.1")
    there.mkdir()
    write_volume(ct, here / "a.nrrd")
    write_volume(mr, there / "b.mha")
    load = panel("Load")
    drop(load, here / "a.nrrd", there / "b.mha")
    settle(load)
    assert [text.splitlines()[0] for text in texts(load)] == ["1. CT · a.nrrd", "2. MR · b.mha"]
    assert load.path.text() == ""
    assert load.path.placeholderText() == "2 dropped: a.nrrd, b.mha"
    click(qtbot, load.go)
    assert load.status.text() == "what was dropped holds 2 series; choose one in the list"
    load.list.setCurrentRow(1)
    assert load.command.line.text() == f"ct2mri convert {there / 'b.mha'} b.nii.gz"
    click(qtbot, load.go)
    settle(load)
    assert [layer.name for layer in viewer.layers] == ["b"]

    (here / "notes.txt").write_text("no image")
    drop(load, *slices[:2], here / "notes.txt")
    settle(load)
    first, second = (text.splitlines() for text in texts(load))
    assert first[:2] == [
        "1. CT · head",
        "2 slices · 64 × 64 · pixels 0.70 × 0.50 mm, step 4.00 mm · DICOM, 2 files",
    ]
    assert second[2].startswith("✗ cannot be used: not an image this program reads")
    assert load.list.currentRow() == 0
    assert load.command.why_not.text().startswith("No command line: several were dropped at once")
    click(qtbot, load.go)
    settle(load)
    assert viewer.layers[-1].name == "head"
    assert viewer.layers[-1].data.shape[0] == 2
    load.path.setText(str(here / "a.nrrd"))
    click(qtbot, load.go)  # looks
    settle(load)
    assert [text.splitlines()[0] for text in texts(load)] == ["1. CT · a.nrrd"]


def test_pictures_dropped_at_once_are_opened_one_by_one(
    viewer: Viewer, panel: OpenPanel, qtbot: QtBot, settle: Settle, tmp_path: Path
) -> None:
    """As a CT and its MR are; the slices of one volume are a folder."""
    write_volume(Volume(picture(head_pair(slices=3)[0]), unit="grey"), tmp_path / "slices")
    files = sorted((tmp_path / "slices").iterdir())[:2]
    load = panel("Load")
    drop(load, *files)
    settle(load)
    assert [text.splitlines()[1] for text in texts(load)] == ["1 slice · 64 × 64 · picture"] * 2
    assert "are opened as one by their folder" in load.notes.toPlainText()
    load.list.setCurrentRow(1)
    click(qtbot, load.go)
    settle(load)
    assert viewer.layers[0].metadata["ct2mri"].source.path == str(files[1])


def test_the_chosen_series_is_opened_whatever_came_into_the_folder_since(
    viewer: Viewer, panel: OpenPanel, qtbot: QtBot, settle: Settle, told: list[str], tmp_path: Path
) -> None:
    scan_of(tmp_path / "x", "2.25.5", "thick")
    scan_of(tmp_path / "y", "2.25.6", "thin")
    load = panel("Load")
    drop(load, tmp_path)
    settle(load)
    load.list.setCurrentRow(1)
    words = shlex.split(load.command.line.text())
    assert words[2:] == [str(tmp_path), "thin.nii.gz", "--series", "2.25.6"]
    scan_of(tmp_path / "z", "2.25.4", "other")  # listed first from now on
    click(qtbot, load.go)
    settle(load)
    (layer,) = viewer.layers
    assert layer.metadata["ct2mri"].source.series_uid == "2.25.6"
    assert layer.name == f"{tmp_path.name} · thin"
    shutil.rmtree(tmp_path / "y")
    click(qtbot, load.go)
    settle(load)
    assert told == [f"{tmp_path}: 'thin' is no longer there as it was listed; look again"]
    assert len(viewer.layers) == 1


def test_the_chosen_file_is_opened_whatever_came_into_the_folder_since(
    viewer: Viewer, panel: OpenPanel, qtbot: QtBot, settle: Settle, tmp_path: Path
) -> None:
    ct, mr = head_pair()
    write_volume(ct, tmp_path / "b.nrrd")
    write_volume(mr, tmp_path / "c.nrrd")
    load = panel("Load")
    drop(load, tmp_path)
    settle(load)
    load.list.setCurrentRow(0)
    write_volume(mr, tmp_path / "a.nrrd")
    scan_of(tmp_path / "scan", "2.25.4")
    click(qtbot, load.go)
    settle(load)
    volume = layer_to_volume(viewer.layers[0])
    assert volume.source.path == str(tmp_path / "b.nrrd")
    np.testing.assert_array_equal(volume.data, ct.data)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a file that never opens")
def test_a_search_is_cancelled_at_once(
    panel: OpenPanel, qtbot: QtBot, settle: Settle, told: list[str], tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "endless")
    load = panel("Load")
    drop(load, tmp_path / "endless")
    qtbot.waitUntil(lambda: "folders searched" in load.status.text(), timeout=PATIENCE_MS)
    start = time.monotonic()
    click(qtbot, load.stop)
    settle(load)
    assert time.monotonic() - start < 5  # of 10 that a job may take to clean up
    assert load.status.text() == "cancelled"
    assert load.go.isEnabled()
    assert not told


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a file that never opens")
def test_reading_is_cancelled_at_once(
    viewer: Viewer, panel: OpenPanel, qtbot: QtBot, settle: Settle, tmp_path: Path
) -> None:
    write_volume(head_pair()[0], tmp_path / "head.nrrd")
    load = panel("Load")
    drop(load, tmp_path / "head.nrrd")
    settle(load)
    (tmp_path / "head.nrrd").unlink()
    os.mkfifo(tmp_path / "head.nrrd")
    click(qtbot, load.go)
    qtbot.waitUntil(lambda: "volumes read" in load.status.text(), timeout=PATIENCE_MS)
    start = time.monotonic()
    click(qtbot, load.stop)
    settle(load)
    assert time.monotonic() - start < 5
    assert load.status.text() == "cancelled"
    assert not viewer.layers


def test_what_is_guessed_and_what_is_refused_is_said(
    panel: OpenPanel, qtbot: QtBot, settle: Settle, tmp_path: Path
) -> None:
    import SimpleITK as sitk

    ct, _ = head_pair()
    sitk.WriteImage(sitk.GetImageFromArray(ct.data), str(tmp_path / "a.nii"))
    sitk.WriteImage(sitk.Image([8, 8, 8], sitk.sitkVectorUInt8, 3), str(tmp_path / "b.nrrd"))
    load = panel("Load")
    drop(load, tmp_path)
    settle(load)
    qtbot.waitUntil(lambda: "taken for CT" in texts(load)[0], timeout=PATIENCE_MS)
    assert texts(load)[0].startswith("1. CT or MR? · a.nii")
    assert "cannot be used: 3 values a voxel" in texts(load)[1]
    assert load.list.currentRow() == 0
    load.modality.setCurrentText("MR")
    words = shlex.split(load.command.line.text())
    assert words == ["ct2mri", "convert", str(tmp_path / "a.nii"), "a.nii.gz", "--modality", "MR"]


def test_it_says_what_is_wrong_and_goes_on(
    viewer: Viewer, panel: OpenPanel, qtbot: QtBot, settle: Settle, told: list[str], tmp_path: Path
) -> None:
    load = panel("Load")
    click(qtbot, load.go)
    assert told[-1].startswith("no file or folder chosen")
    (tmp_path / "broken.nrrd").write_bytes(b"NRRD0004\nnot quite")
    drop(load, tmp_path / "broken.nrrd")
    settle(load)
    assert "broken.nrrd" in told[-1]
    assert load.status.text() == told[-1]
    write_volume(head_pair()[0], tmp_path / "sound.nrrd")
    drop(load, tmp_path / "sound.nrrd")
    settle(load)
    click(qtbot, load.go)
    settle(load)
    assert [layer.name for layer in viewer.layers] == ["sound"]


def test_the_corrections_of_a_tilted_series_are_listed(
    viewer: Viewer, panel: OpenPanel, qtbot: QtBot, settle: Settle, real_data: Path
) -> None:
    load = panel("Load")
    drop(load, real_data / "head_ct_dicom_tilted")
    settle(load)
    assert "⚠ gantry tilt of 18.5 degrees" in texts(load)[0]
    assert "⚠ uneven slice steps" in texts(load)[0]
    click(qtbot, load.go)
    settle(load)
    assert len(viewer.layers) == 1
    assert "tilt" in load.notes.toPlainText()


def test_a_child_that_is_killed_is_a_message_and_loading_goes_on(
    viewer: Viewer,
    panel: OpenPanel,
    qtbot: QtBot,
    settle: Settle,
    told: list[str],
    tmp_path: Path,
) -> None:
    write_volume(head_pair()[0], tmp_path / "head.nrrd")
    load = panel("Load")
    drop(load, tmp_path / "head.nrrd")
    kill_child(load.job)
    settle(load)
    assert "the job was killed" in told.pop()
    assert "the job was killed" in load.status.text()
    assert not texts(load)
    click(qtbot, load.go)  # looks again
    settle(load)
    click(qtbot, load.go)
    kill_child(load.job)
    settle(load)
    assert "the job was killed" in told.pop()
    assert not viewer.layers
    assert len(texts(load)) == 1
    click(qtbot, load.go)
    settle(load)
    assert [layer.name for layer in viewer.layers] == ["head"]
    assert not told


def test_thumbnails_that_cannot_be_made_are_not_missed(
    viewer: Viewer, panel: OpenPanel, qtbot: QtBot, settle: Settle, told: list[str], tmp_path: Path
) -> None:
    write_volume(head_pair()[0], tmp_path / "head.nrrd")
    load = panel("Load")
    drop(load, tmp_path / "head.nrrd")
    settle(load)
    kill_child(load.pictures)
    qtbot.waitUntil(lambda: not load.pictures.is_running, timeout=PATIENCE_MS)
    assert not told
    click(qtbot, load.go)
    settle(load)
    assert len(viewer.layers) == 1
