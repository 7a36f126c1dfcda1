"""What napari sees of the plugin: manifest, reader, writer, sample data, through a viewer."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dropping import drop
from heads import OBLIQUE, head_pair, picture
from napari._qt.dialogs.qt_reader_dialog import QtReaderDialog
from napari.viewer import Viewer
from npe2 import PluginManager, PluginManifest
from numpy.typing import NDArray
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QDialog

import napari_ct2mri
from napari_ct2mri.errors import ImageError
from napari_ct2mri.imaging.io import read_volume, write_volume
from napari_ct2mri.imaging.volume import Geometry, Volume
from napari_ct2mri.widgets.files import get_reader, layer_name
from napari_ct2mri.widgets.layer_pairs import file_of
from napari_ct2mri.widgets.layers import (
    add_volume,
    layer_to_shown,
    layer_to_volume,
    synthetic_attributes,
    volume_to_layer_data,
)
from napari_ct2mri.widgets.panel import Panel
from napari_ct2mri.widgets.slices import add_made, as_filling

sys.path.append(str(Path(__file__).resolve().parents[1]))
from imaging.dicom_files import write_series

NAME = "napari-ct2mri"
MANIFEST = Path(napari_ct2mri.__file__).with_name("napari.yaml")
ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")

MakeViewer = Callable[..., Viewer]


@pytest.fixture
def viewer(make_napari_viewer: MakeViewer) -> Viewer:
    return make_napari_viewer()


def test_the_manifest_is_valid_and_every_command_exists() -> None:
    manifest = PluginManifest.from_file(MANIFEST)
    manifest.validate_imports()
    assert manifest.name == NAME
    assert [w.display_name for w in manifest.contributions.widgets] == [
        *("Load", "Register & pair", "Train", "Synthesize", "Compare", "Board")
    ]


def test_napari_finds_the_installed_plugin() -> None:
    manager = PluginManager.instance()
    manager.discover()
    assert manager.get_manifest(NAME).display_name == "CT to MR"


def entry(viewer: Viewer, *path: str) -> Any:
    """An action of the menu bar, found as a person finds it: by what the menus say."""
    menu: Any = viewer.window._qt_window.menuBar()
    for text in path:
        (action,) = [a for a in menu.actions() if a.text().replace("&", "") == text]
        if menu := action.menu():
            menu.aboutToShow.emit()  # napari fills it then
    return action


@pytest.mark.parametrize(
    ("path", "chooser"),
    [
        (("File", "IO Utilities", "Load (CT to MR)"), ""),
        (("Layers", "Register", "Register  pair (CT to MR)"), "ct"),
        (("Layers", "Filter", "Synthesize (CT to MR)"), "ct"),
        (("Layers", "Filter", "Train (CT to MR)"), "watch"),
        (("Layers", "Measure", "Compare (CT to MR)"), "ct"),
        (("File", "Acquire", "Board (CT to MR)"), ""),
    ],
)
def test_a_panel_opens_from_napari_s_own_menus_on_the_selected_layer(
    viewer: Viewer, path: tuple[str, ...], chooser: str
) -> None:
    wanted, _ = [add_volume(viewer, head_pair()[0], name) for name in ("wanted", "newest")]
    viewer.layers.selection.active = wanted
    entry(viewer, *path).trigger()
    (panel,) = viewer.window._qt_window.findChildren(Panel)
    try:
        assert panel.isVisibleTo(viewer.window._qt_window)
        if chooser:
            assert getattr(panel, chooser).layer() is wanted
    finally:
        panel.abandon()


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_volume_opens_and_saves_without_a_change(
    viewer: Viewer, tmp_path: Path, ending: str
) -> None:
    ct, _ = head_pair()
    write_volume(ct, tmp_path / f"head.v1{ending}")
    (layer,) = viewer.open(tmp_path / f"head.v1{ending}", plugin=NAME)
    assert layer.name == "head.v1"
    assert viewer.layers.save(str(tmp_path / f"again{ending}"), plugin=NAME)
    again = read_volume(tmp_path / f"again{ending}")
    np.testing.assert_array_equal(again.data, ct.data)
    assert again.geometry.is_close(OBLIQUE, 1e-4)
    assert (again.modality, again.unit) == ("CT", "HU")


SAGITTAL = Geometry(
    spacing=(3.3, 0.7, 0.9),
    origin=(61.5, -20.0, 140.25),
    direction=tuple(
        np.ravel(
            np.array([[0, 0, -1], [1, 0, 0], [0, -1, 0]])
            @ [[np.cos(0.3), -np.sin(0.3), 0], [np.sin(0.3), np.cos(0.3), 0], [0, 0, 1]]
        )
    ),
)
"""Slices from left to right, rows from top to bottom, turned in their plane by 17 degrees."""


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("grid", [OBLIQUE, SAGITTAL], ids=["axial", "sagittal"])
def test_an_oblique_volume_is_shown_upright_in_mm_and_written_back_exactly(
    viewer: Viewer, tmp_path: Path, grid: Geometry, ending: str
) -> None:
    values = np.arange(3 * 5 * 7, dtype=np.int16).reshape(3, 5, 7) - 1000
    stored = Volume(values, grid, "CT", "HU")
    write_volume(stored, tmp_path / f"one{ending}")
    (layer,) = viewer.open(tmp_path / f"one{ending}", plugin=NAME)
    assert [str(unit) for unit in layer.units] == ["millimeter"] * 3
    assert tuple(layer.axis_labels) == ("z", "y", "x")

    def place(*index: int) -> NDArray[np.float64]:
        """(z, y, x) mm in the world of a voxel that is shown, found by its value."""
        (found,) = np.argwhere(values == layer.data[index])
        return np.asarray((grid.affine @ (*found, 1))[2::-1])

    for axis in range(3):  # upright: what is shown further along an axis lies further along it
        index = [0, 0, 0]
        index[axis] = 1
        step = place(*index) - place(0, 0, 0)
        assert step.argmax() == np.abs(step).argmax() == axis
        assert layer.scale[axis] == pytest.approx(np.linalg.norm(step), abs=1e-4)

    assert viewer.layers.save(str(tmp_path / f"two{ending}"), plugin=NAME)
    back = read_volume(tmp_path / f"two{ending}")
    np.testing.assert_array_equal(back.data, values)
    exact = 1e-4 if "nii" in ending else 1e-9  # mm; NIfTI holds 32 bits
    assert back.geometry.is_close(grid, exact)
    (again,) = viewer.open(tmp_path / f"two{ending}", plugin=NAME)
    np.testing.assert_array_equal(again.data, layer.data)
    np.testing.assert_allclose(again.extent.world, layer.extent.world, atol=exact)
    assert (again.units, again.axis_labels) == (layer.units, layer.axis_labels)


def test_a_layer_that_still_fills_is_not_saved(viewer: Viewer, tmp_path: Path) -> None:
    data, attributes, _ = volume_to_layer_data(Volume(np.zeros((3, 4, 4), np.float32)), "live")
    layer = viewer.add_image(data, **as_filling(attributes))
    add_made(layer, [1])
    with pytest.raises(ImageError, match="1 of the layer's 3 slices are made so far"):
        viewer.layers.save(str(tmp_path / "live.nii.gz"), plugin=NAME)
    assert list(tmp_path.iterdir()) == []
    add_made(layer, [0, 2])
    assert viewer.layers.save(str(tmp_path / "live.nii.gz"), plugin=NAME)


def test_a_synthetic_layer_saves_as_a_series_in_its_cts_study(
    viewer: Viewer, tmp_path: Path
) -> None:
    planes = np.random.default_rng(0).integers(-1000, 1000, (4, 20, 24)).astype(np.int16)
    positions = np.arange(4)[:, None] * [0.0, 0.0, 5.0]
    write_series(tmp_path / "scan", planes, positions, np.eye(3)[:2], StudyInstanceUID="1.2.3")
    (ct,) = viewer.open(tmp_path / "scan", plugin=NAME)
    attributes = synthetic_attributes(ct, layer_to_shown(ct, "CT"), "ct2mri-base", "T2")
    made = viewer.add_image(np.full(ct.data.shape, 700.4, np.float32), **attributes)
    assert made.save(str(tmp_path / "mr.dcm"), plugin=NAME)
    series = read_volume(tmp_path / "mr.dcm")
    assert np.unique(series.data).tolist() == [700]
    assert series.geometry.is_close(read_volume(tmp_path / "scan").geometry)
    assert made.metadata["ct2mri"].source.path == ""
    assert pydicom.dcmread(tmp_path / "mr.dcm" / "IM0001.dcm").StudyInstanceUID == "1.2.3"


def test_a_plain_layer_saves_where_it_is_shown(viewer: Viewer, tmp_path: Path) -> None:
    viewer.add_image(np.ones((3, 4, 5), np.float32), scale=(3, 1, 1), translate=(7, 0, 0))
    assert viewer.layers.save(str(tmp_path / "plain.nrrd"), plugin=NAME)
    saved = read_volume(tmp_path / "plain.nrrd")
    assert saved.geometry.spacing == (3, 1, 1)
    assert saved.geometry.origin == (0, 0, 7)


def test_a_folder_of_files_without_ending_opens(viewer: Viewer, real_data: Path) -> None:
    (layer,) = viewer.open(real_data / "head_ct_dicom", plugin=NAME)
    assert layer.data.shape == (34, 512, 512)
    np.testing.assert_allclose(layer.scale, (5.0, 0.488281, 0.488281), atol=1e-6)
    assert layer.data.min() < -1000


def test_a_dicom_file_without_ending_opens(viewer: Viewer, real_data: Path, tmp_path: Path) -> None:
    first = min((real_data / "head_ct_dicom").iterdir())
    shutil.copy(first, tmp_path / "IM000001")
    (layer,) = viewer.open(tmp_path / "IM000001", plugin=NAME)
    assert layer.data.shape == (1, 512, 512)


def scan_of(folder: Path, uid: str, depth_mm: float = 5.0) -> list[Path]:
    planes = np.random.default_rng(0).integers(-1000, 1000, (4, 20, 24)).astype(np.int16)
    positions = np.arange(4)[:, None] * [0.0, 0.0, depth_mm]
    return write_series(folder, planes, positions, uid=uid, SeriesDescription=f"head {uid[-1]}")


def test_slices_opened_as_a_stack_are_one_layer(viewer: Viewer, tmp_path: Path) -> None:
    """File > Open Files as Stack."""
    files = scan_of(tmp_path / "scan", "2.25.1")
    (layer,) = viewer.open(files, stack=True, plugin=NAME)
    assert layer.name == "scan"
    whole = read_volume(tmp_path / "scan")
    volume = layer_to_volume(layer)
    assert volume.geometry == whole.geometry
    np.testing.assert_array_equal(volume.data, whole.data)
    assert file_of(layer, "CT") == (tmp_path / "scan", "2.25.1")
    (part,) = viewer.open(files[:3], stack=True, plugin=NAME)
    assert part.data.shape[0] == 3
    assert file_of(part, "CT") is None


def test_a_stack_of_several_series_is_a_layer_of_each(viewer: Viewer, tmp_path: Path) -> None:
    files = scan_of(tmp_path / "one", "2.25.1") + scan_of(tmp_path / "two", "2.25.2", 3.0)
    layers = viewer.open(files, stack=True, plugin=NAME)
    assert [layer.name for layer in layers] == ["one · head 1", "one · head 2"]
    assert [layer.data.shape[0] for layer in layers] == [4, 4]
    write_volume(head_pair()[1], tmp_path / "mr.nrrd")
    mixed = [str(path) for path in (tmp_path / "mr.nrrd", *files[:2])]
    read = get_reader(mixed)
    assert read is not None
    assert [attributes["name"] for _, attributes, _ in read(mixed)] == ["one", "mr"]
    bad = tmp_path / "bad"
    bad.mkdir()
    for file in files[:2]:
        (bad / file.name).write_bytes(file.read_bytes()[:200])
    with pytest.raises(ImageError, match=str(bad)):
        viewer.open(list(bad.iterdir()), stack=True, plugin=NAME)


def test_an_oblique_mr_keeps_its_grid(viewer: Viewer, real_data: Path, tmp_path: Path) -> None:
    path = real_data / "volumes" / "head_mr_oriented.mha"
    viewer.open(path, plugin=NAME)
    viewer.layers.save(str(tmp_path / "mr.mha"), plugin=NAME)
    before, after = read_volume(path), read_volume(tmp_path / "mr.mha")
    np.testing.assert_allclose(after.geometry.affine, before.geometry.affine, atol=1e-12)
    np.testing.assert_array_equal(after.data, before.data)


@pytest.fixture
def asked() -> Iterator[list[list[str]]]:
    """Answers napari's question for a reader as a person would, and keeps what it offered.

    Any other dialog is dismissed and fails the test: nobody is there to press its buttons.
    """
    offers: list[list[str]] = []
    strange: list[QDialog] = []

    def look() -> None:
        dialog = QApplication.activeModalWidget()
        if isinstance(dialog, QtReaderDialog):
            buttons = dialog.reader_btn_group.buttons()
            offers.append([button.text() for button in buttons])
            (ours,) = [button for button in buttons if button.text() == "CT to MR"]
            ours.click()
            dialog.accept()
        elif isinstance(dialog, QDialog):
            strange.append(dialog)
            dialog.reject()

    timer = QTimer()
    timer.timeout.connect(look)
    timer.start(50)
    yield offers
    timer.stop()
    assert not strange


@pytest.mark.parametrize(
    ("name", "others"), [("head.nii.gz", True), ("series", True), ("IM000001", False)]
)
def test_what_is_dropped_on_the_viewer_opens(
    viewer: Viewer,
    asked: list[list[str]],
    real_data: Path,
    tmp_path: Path,
    name: str,
    others: bool,
) -> None:
    """napari asks where a reader of its own claims the ending or the folder as well."""
    series = real_data / "head_ct_dicom"
    if name == "series":
        shutil.copytree(series, tmp_path / name)
    elif name == "IM000001":
        shutil.copy(min(series.iterdir()), tmp_path / name)
    else:
        write_volume(head_pair()[0], tmp_path / name)
    drop(viewer.window._qt_viewer, tmp_path / name)
    (layer,) = viewer.layers
    assert layer_to_volume(layer).modality == "CT"
    assert layer_to_volume(layer).source.path == str(tmp_path / name)
    assert asked == ([["CT to MR", "napari builtins"]] if others else [])


def test_what_is_dropped_and_damaged_is_refused_in_our_words(
    viewer: Viewer, asked: list[list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """napari notifies the person of what its event handlers raise."""
    raised: list[tuple[type, str]] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, e, _: raised.append((kind, str(e))))
    (tmp_path / "broken.nrrd").write_bytes(b"NRRD0004\nnot quite")
    drop(viewer.window._qt_viewer, tmp_path / "broken.nrrd")
    sys.last_value = sys.last_traceback = None  # which keep the viewer
    ((kind, words),) = raised
    assert kind is ImageError
    assert "broken.nrrd: not a NRRD file, or a damaged one" in words
    assert len(asked) == 1
    assert not viewer.layers


def test_pictures_stay_with_napari(viewer: Viewer, tmp_path: Path) -> None:
    ct, _ = head_pair(slices=2)
    write_volume(Volume(picture(ct), unit="grey"), tmp_path / "pictures")
    assert get_reader(str(tmp_path / "pictures")) is None
    first = min((tmp_path / "pictures").iterdir())
    readers = PluginManager.instance().iter_compatible_readers([str(first)])
    assert NAME not in {reader.plugin_name for reader in readers}


def test_a_text_without_ending_is_left_to_others(tmp_path: Path) -> None:
    (tmp_path / "README").write_text("no image")
    assert get_reader(str(tmp_path / "README")) is None


def test_several_series_in_a_folder_are_listed(tmp_path: Path) -> None:
    ct, mr = head_pair()
    write_volume(ct, tmp_path / "a.nrrd")
    write_volume(mr, tmp_path / "b.nrrd")
    read = get_reader(str(tmp_path))
    assert read is not None
    with pytest.raises(ImageError, match=r"several.*the Load panel: .*a\.nrrd.*b\.nrrd") as raised:
        read(str(tmp_path))
    assert "\n" not in str(raised.value)


def test_the_sample_is_a_ct_and_an_mr_on_one_grid(viewer: Viewer) -> None:
    mr, ct = viewer.open_sample(NAME, "head")
    assert ct.data.shape == mr.data.shape
    np.testing.assert_array_equal(ct.extent.world, mr.extent.world)
    assert ct.data.min() <= -900


@pytest.mark.parametrize(
    ("path", "name"), [("a/b.nii.gz", "b"), ("IM0001", "IM0001"), (".hidden", ".hidden")]
)
def test_layers_are_named_after_files(path: str, name: str) -> None:
    assert layer_name(Path(path)) == name


def test_opening_a_panel_is_quick_and_imports_no_torch(tmp_path: Path) -> None:
    """In a fresh interpreter, since another test may have imported it, which remembers nothing.

    Seconds are of the processor: those on the clock say how busy the machine is.
    """
    code = """
import sys, time
import napari
viewer = napari.Viewer(show=False)
for name in ("Load", "Register & pair", "Train", "Synthesize", "Compare", "Board"):
    start = time.process_time()
    viewer.window.add_plugin_dock_widget("napari-ct2mri", name)
    seconds = time.process_time() - start
    assert seconds < 1, f"{name} took {seconds:.2f} s to open"
heavy = {"torch", "SimpleITK", "pydicom"} & set(sys.modules)
assert not heavy, heavy
viewer.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"XDG_CONFIG_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr[-2000:]
