"""Compare in a real viewer: figures, maps, slices, profile, report of one head; what it refuses."""

from __future__ import annotations

import csv
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest
from heads import OBLIQUE, head_pair
from napari.layers import Image
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QEvent, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication

from conftest import PATIENCE_MS, OpenPanel
from napari_ct2mri.app.cli import main
from napari_ct2mri.app.workflows import synthesize_volume
from napari_ct2mri.errors import EvaluationError, VolumeError
from napari_ct2mri.imaging.io import write_volume
from napari_ct2mri.imaging.volume import Geometry, Volume, closest_axes
from napari_ct2mri.jobs import Event, run_job
from napari_ct2mri.widgets.comparison import Compared, MapsDone, compare
from napari_ct2mri.widgets.layers import add_volume, layer_to_shown, synthetic_attributes
from napari_ct2mri.widgets.slices import add_made, as_filling

Settle = Callable[[Any], None]
LONG = 400  # slices: what a person can stop


def click(qtbot: QtBot, button: Any) -> None:
    assert button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def make(ct: Volume, model: Path) -> Volume:
    return run_job(synthesize_volume(ct, model=model, contrast="T2"), lambda event: None)


def add_synthetic(viewer: Viewer, ct: Any, mr: Volume, model: str) -> Image:
    """What Synthesize adds."""
    attributes = synthetic_attributes(ct, layer_to_shown(ct, "CT"), model, "T2")
    return viewer.add_image(closest_axes(mr)[0].data, **attributes)


@pytest.fixture(scope="session")
def fake(model: Path) -> Volume:
    """What the tiny model makes of the head that it was trained on."""
    return make(head_pair()[0], model)


@dataclass
class Case:
    """Three layers; CT and real MR are in files."""

    ct: Image
    real: Image
    fake: Image


@pytest.fixture
def case(viewer: Viewer, model: Path, fake: Volume, tmp_path: Path) -> Case:
    ct, mr = head_pair()
    for volume, name in ((mr, "mr.nrrd"), (ct, "ct.nrrd")):
        write_volume(volume, tmp_path / name)
        viewer.open(tmp_path / name, plugin="napari-ct2mri")
    layers = viewer.layers["ct"], viewer.layers["mr"]
    return Case(*layers, add_synthetic(viewer, layers[0], fake, str(model)))


def drag(qtbot: QtBot, canvas: Any, start: QPointF, stop: QPointF) -> None:
    """Press at ``start``, move to ``stop`` in a few steps, let go."""
    left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
    moves = [start + (stop - start) * part for part in (0.3, 0.6, 1.0)]
    for kind, place, button, buttons in (
        (QEvent.Type.MouseMove, start, none, none),
        (QEvent.Type.MouseButtonPress, start, left, left),
        *((QEvent.Type.MouseMove, place, none, left) for place in moves),
        (QEvent.Type.MouseButtonRelease, stop, left, none),
    ):
        there = QPointF(canvas.mapToGlobal(place.toPoint()))
        modifiers = Qt.KeyboardModifier.NoModifier
        qtbot.wait(30)  # vispy passes over moves within 10 ms
        QApplication.sendEvent(canvas, QMouseEvent(kind, place, there, button, buttons, modifiers))


def is_whole(part: Any) -> bool:
    """Whether nothing of a part is scrolled out of sight."""
    return bool(part.visibleRegion().boundingRect() == part.rect())


def column(table: Any, index: int) -> list[str]:
    return [table.item(row, index).text() for row in range(table.rowCount())]


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# ---------------------------------------------------------------- one head, from end to end


def test_a_synthetic_mr_against_the_real_one(
    viewer: Viewer,
    panel: OpenPanel,
    qtbot: QtBot,
    settle: Settle,
    told: list[str],
    case: Case,
    model: Path,
    tmp_path: Path,
) -> None:
    with qtbot.waitExposed(viewer.window._qt_window):
        viewer.window.show()
    panel_ = panel("Compare")
    assert (panel_.ct.layer(), panel_.real.layer()) == (case.ct, case.real)
    assert panel_.fake.layer() is case.fake
    click(qtbot, panel_.go)
    settle(panel_)
    assert not told
    assert "<b>train-fit</b>" in panel_.verdict.text()
    assert "4 slices" in panel_.verdict.text()

    look_at_maps(viewer, case)
    look_at_figures(viewer, panel_)
    look_at_slices(viewer, panel_, qtbot, case)
    look_along_a_line(viewer, panel_, qtbot, case)
    save_the_report(panel_, qtbot, settle, told, model, tmp_path)


def look_at_maps(viewer: Viewer, case: Case) -> None:
    """Both lie on the CT, are of the head alone, and no chooser takes them for an MR."""
    difference, similarity = (viewer.layers[f"{case.fake.name} · {n}"] for n in MAPS)
    for layer in (difference, similarity):
        np.testing.assert_array_equal(layer.extent.world, case.ct.extent.world)
        assert layer.units == case.ct.units
        head = np.isfinite(layer.data)
        assert head[:, 30:34, 30:34].all()
        assert not head[:, :4].any()
    assert difference.visible
    assert not similarity.visible
    assert tuple(difference.contrast_limits) == (-500, 500)
    assert tuple(similarity.contrast_limits) == (0, 1)
    # what is left of the synthetic is the real MR, by one gain and offset
    head = np.isfinite(difference.data)
    real = case.fake.data[head] - difference.data[head]
    middle = (real > 1) & (real < 999)  # clipped beyond
    line = np.polyfit(case.real.data[head][middle], real[middle], 1)
    np.testing.assert_allclose(
        np.polyval(line, case.real.data[head][middle]), real[middle], atol=0.2
    )


MAPS = ("difference", "SSIM map")


def look_at_figures(viewer: Viewer, panel_: Any) -> None:
    table = panel_.table
    heads = [table.horizontalHeaderItem(i).text() for i in range(table.columnCount())]
    assert heads == ["tiny", "black"]
    titles = [table.verticalHeaderItem(i).text() for i in range(table.rowCount())]
    shown = column(table, 0)[titles.index("SSIM, head")]
    (similarity,) = (layer for layer in viewer.layers if layer.name.endswith(MAPS[1]))
    assert float(shown.split("\u2009")[0]) == pytest.approx(
        np.mean([np.nanmean(part) for part in similarity.data]), abs=0.001
    )
    assert panel_.tabs.isVisible()


def look_at_slices(viewer: Viewer, panel_: Any, qtbot: QtBot, case: Case) -> None:
    """A row that is clicked brings its slice into view, whatever the order; and back."""
    slices = panel_.slices
    panel_.tabs.setCurrentWidget(slices)
    assert column(slices, 0) == ["0", "1", "2", "3"]
    slices.sortItems(1, Qt.SortOrder.DescendingOrder)
    values = [float(text) for text in column(slices, 1)]
    assert values == sorted(values, reverse=True)
    for row in (3, 0):
        at = slices.visualItemRect(slices.item(row, 2)).center()
        qtbot.mouseClick(slices.viewport(), Qt.MouseButton.LeftButton, pos=at)
        assert viewer.dims.current_step[0] == slices.item(row, 0).value
    viewer.dims.set_current_step(0, 1)
    (row,) = {index.row() for index in slices.selectedIndexes()}
    assert slices.item(row, 0).value == 1
    assert panel_.in_view.text() == "In view: slice 1"
    for view, there, back in (("order", (2, 0, 1), (0, 1, 2)), ("ndisplay", 3, 2)):
        setattr(viewer.dims, view, there)
        assert not slices.selectedIndexes()
        assert panel_.in_view.text() == "In view: no axial slice"
        setattr(viewer.dims, view, back)
        assert {index.row() for index in slices.selectedIndexes()} == {row}
    below = (case.ct.translate[0] - 99, *case.ct.translate[1:])
    aside = viewer.add_image(np.zeros((9, 4, 4)), translate=below, units=case.ct.units)
    for row in (2, 1):
        at = slices.visualItemRect(slices.item(row, 2)).center()
        qtbot.mouseClick(slices.viewport(), Qt.MouseButton.LeftButton, pos=at)
        index = slices.item(row, 0).value
        np.testing.assert_array_equal(case.ct._slice.image.raw, case.ct.data[index])
        assert panel_.in_view.text().startswith(f"In view: slice {index} (the slider counts")
    viewer.layers.remove(aside)
    viewer.dims.set_current_step(0, 1)


def look_along_a_line(viewer: Viewer, panel_: Any, qtbot: QtBot, case: Case) -> None:
    """Drawn with the mouse, read by hand at its ends."""
    profile = panel_.profile
    panel_.tabs.setCurrentWidget(profile)
    viewer.reset_view()
    click(qtbot, profile.button)
    canvas = viewer.window._qt_viewer.canvas.native
    middle = QPointF(canvas.width() / 2, canvas.height() / 2)
    drag(qtbot, canvas, middle - QPointF(60, 20), middle + QPointF(60, 20))
    (line,) = (layer for layer in viewer.layers if layer.name == "profile line")
    assert list(line.shape_type) == ["line"]
    assert profile.plot.isVisible()
    viewer.window._qt_window.resize(1600, 900)
    qtbot.waitUntil(lambda: is_whole(profile.plot))  # with its axis
    distance, values = profile.plot.fake.getData()
    ends = np.array([line.data_to_world(end)[-2:] for end in (line.data[0][0], line.data[0][-1])])
    assert distance[-1] == pytest.approx(np.hypot(*(ends[1] - ends[0])), rel=1e-3)
    shown = case.fake.data[viewer.dims.current_step[0]]
    for end, value in zip(ends, (values[0], values[-1]), strict=True):
        y, x = (end - case.fake.translate[1:]) / case.fake.scale[1:]
        corner = shown[int(y) : int(y) + 2, int(x) : int(x) + 2]
        weights = np.outer((1 - y % 1, y % 1), (1 - x % 1, x % 1))
        assert value == pytest.approx((corner * weights).sum(), rel=1e-3, abs=0.1)
    viewer.dims.set_current_step(0, 3)
    assert not np.array_equal(profile.plot.fake.getData()[1], values)
    viewer.layers.remove(line)
    assert not profile.plot.isVisible()


def save_the_report(
    panel_: Any, qtbot: QtBot, settle: Settle, told: list[str], model: Path, tmp_path: Path
) -> None:
    """HTML and CSV; and the command line that is shown measures the same."""
    report, folder = panel_.report, tmp_path / "my report"
    panel_.tabs.setCurrentWidget(report)
    report.line.setText("")
    click(qtbot, report.save)
    assert "no folder is chosen" in told.pop()
    report.line.setText(str(folder))
    click(qtbot, report.save)
    assert not report.save.isEnabled()
    settle(panel_)
    assert not told
    assert "report.html" in panel_.status.text()
    assert report.open.isEnabled()
    assert "train-fit" in (folder / "report.html").read_text(encoding="utf-8")
    (pair,) = read_rows(folder / "pairs.csv")
    assert (folder / pair["ct"]).resolve() == tmp_path / "ct.nrrd"
    before = read_rows(folder / "slices.csv")
    assert {row["label"] for row in before} == {"train-fit"}

    words = shlex.split(report.command.line.text())
    assert words[0] == "ct2mri"
    assert main([*words[1:-1], str(tmp_path / "again")]) == 0
    after = read_rows(tmp_path / "again" / "slices.csv")
    names = ("predictor", "slice_name", "label")
    mine = [row for row in before if row["predictor"] == model.stem]
    same = [row for row in after if row["predictor"] == model.stem]
    assert [[row[name] for name in names] for row in mine] == [
        [row[name] for name in names] for row in same
    ]
    for a, b in zip(mine, same, strict=True):
        for figure in ("psnr", "head_psnr_fitted", "head_ssim", "head_mae", "head_sharpness"):
            assert float(a[figure]) == pytest.approx(float(b[figure]), rel=1e-4)


# ---------------------------------------------------------------- the label, without a viewer


def measured(ct: Volume, real: Volume, fake: Volume, model: str) -> tuple[Compared, list[Event]]:
    events: list[Event] = []
    volumes = (closest_axes(volume)[0] for volume in (ct, real, fake))
    job = compare(*volumes, patient="ada", contrast="T2", model=model)
    return run_job(job, events.append), events


def test_a_head_that_the_model_never_saw_is_held_out(model: Path) -> None:
    ct, real = head_pair(seed=5)
    compared, _ = measured(ct, real, make(ct, model), str(model))
    assert compared.label == "held-out"


@pytest.mark.parametrize("name", ["", "nowhere.safetensors"])
def test_a_model_that_nobody_knows_has_seen_nobody_knows_whom(fake: Volume, name: str) -> None:
    compared, events = measured(*head_pair(), fake, name)
    assert compared.label == "unknown"
    assert sum(isinstance(event, MapsDone) for event in events) == len(compared.slices) == 4


def test_what_cannot_be_measured_is_said(fake: Volume) -> None:
    ct, real = head_pair()
    with pytest.raises(VolumeError, match="expected two MRs to compare, got a CT"):
        measured(ct, ct, fake, "")
    with pytest.raises(EvaluationError, match="no slice shows a head"):
        measured(ct.with_data(np.full_like(ct.data, -1000)), real, fake, "")


# ---------------------------------------------------------------- what is refused, and what is not


def test_what_is_no_such_triple_is_refused_in_words(
    viewer: Viewer, panel: OpenPanel, qtbot: QtBot, settle: Settle, told: list[str], case: Case
) -> None:
    panel_ = panel("Compare")

    def refused(real: Any = case.real, fake_: Any = case.fake, ct: Any = case.ct) -> str:
        panel_.ct.select(ct)
        panel_.real.select(real)
        panel_.fake.select(fake_)
        click(qtbot, panel_.go)
        assert not panel_.job.is_running
        assert panel_.status.text() == told[-1]
        return told.pop()

    assert "are not three layers" in refused(real=case.fake)
    assert "are not three layers" in refused(ct=case.real)

    data = np.asarray(case.fake.data)
    place = {"scale": case.fake.scale, "translate": case.fake.translate, "units": case.fake.units}
    photo = viewer.add_image(np.zeros((64, 64, 3), np.uint8), rgb=True, name="photo")
    assert "'photo' is in colour" in refused(fake_=photo)
    pyramid = viewer.add_image([data, data[:, ::2, ::2]], multiscale=True, name="pyramid", **place)
    assert "'pyramid' is multiscale" in refused(fake_=pyramid)
    plain = viewer.add_image(data, name="plain")
    assert "differ in spacing in mm: (4, 1.5, 1.25) vs (1, 1, 1)" in refused(fake_=plain)
    moved = Geometry(OBLIQUE.spacing, (0.0, 0.0, 0.0), OBLIQUE.direction)
    elsewhere = add_volume(viewer, head_pair(geometry=moved)[1], "elsewhere")
    assert "differ in origin in mm" in refused(real=elsewhere)
    one = viewer.add_image(data[1], name="one slice", **{k: v[1:] for k, v in place.items()})
    assert "differ in size: (4, 64, 64) vs (1, 64, 64)" in refused(real=one)
    film = viewer.add_image(data[None], name="film")
    assert "'film' has 4 axes" in refused(fake_=film)
    attributes = synthetic_attributes(
        case.ct, layer_to_shown(case.ct, "CT"), "tiny", "T2", range(1, 3)
    )
    part = viewer.add_image(data[1:3], **attributes | {"name": "part"})
    assert "'part' holds 2 of the 4 slices of 'ct'" in refused(fake_=part)
    labels = viewer.add_labels((data > 500).astype(np.uint8), name="labels", **place)
    for chooser in (panel_.ct, panel_.real, panel_.fake):
        assert all(chooser.itemData(i) is not labels for i in range(chooser.count()))

    # usable; another plugin's layer of what is backed by dask, shown on the CT, is brought in
    told.clear()  # napari tells of mixed units
    lazy = viewer.add_image(dask.array.from_array(data), name="lazy", **place)
    panel_.real.select(case.real)
    panel_.fake.select(lazy)
    panel_.with_maps.setChecked(False)
    click(qtbot, panel_.go)
    settle(panel_)
    assert not panel_.status.text()
    assert "<b>unknown</b>" in panel_.verdict.text()
    assert "does not say which model made it" in panel_.notes.toPlainText()
    assert not [layer for layer in viewer.layers if layer.name.endswith(MAPS)]


def test_a_layer_that_still_fills_is_measured_once_it_is_whole(
    viewer: Viewer, panel: OpenPanel, qtbot: QtBot, settle: Settle, told: list[str], case: Case
) -> None:
    """What a board has not made yet is not black: nobody knows what it will be."""
    whole = np.asarray(case.fake.data)
    attributes = synthetic_attributes(case.ct, layer_to_shown(case.ct, "CT"), "tiny", "T2")
    attributes["name"] = "ct · live T2 (host)"
    live = viewer.add_image(np.zeros_like(whole), **as_filling(attributes))
    panel_ = panel("Compare")
    panel_.fake.select(live)
    for made, k in ((0, 2), (1, 0), (2, 0), (2, 3), (3, 1)):
        click(qtbot, panel_.go)
        assert not panel_.job.is_running
        assert f"{live.name!r} is not whole: {made} of its 4 slices are made so far" in told[-1]
        assert "Press All slices in the Board panel" in told.pop()
        live.data[k] = whole[k]
        add_made(live, [k])
    click(qtbot, panel_.go)
    settle(panel_)
    assert not told
    assert len(panel_._compared.slices) == 4


def test_pictures_of_one_slice_without_spacing_are_compared(
    viewer: Viewer, panel: OpenPanel, qtbot: QtBot, settle: Settle, told: list[str]
) -> None:
    ct, mr = head_pair()
    for name, data in (
        ("photo of CT", np.clip(ct.data[1] / 80 * 255, 0, 255)),
        ("photo of MR", mr.data[1] / 4),
        ("another", mr.data[1] / 4 + 3),
    ):
        viewer.add_image(data.clip(0, 255).astype(np.uint8), name=name)
    panel_ = panel("Compare")
    panel_.ct.select(viewer.layers["photo of CT"])
    panel_.real.select(viewer.layers["photo of MR"])
    panel_.fake.select(viewer.layers["another"])
    click(qtbot, panel_.go)
    settle(panel_)
    assert not told
    assert column(panel_.slices, 0) == ["0"]
    assert viewer.layers["another · difference"].data.shape == (1, 64, 64)


# ---------------------------------------------------------------- ended before its end


def long_case(viewer: Viewer) -> Sequence[Image]:
    """CT, real and synthetic MR of many slices, as layers."""
    ct, mr = (
        replace(volume, data=np.tile(volume.data, (LONG // 4, 1, 1))) for volume in head_pair()
    )
    layers = [add_volume(viewer, mr, "real"), add_volume(viewer, mr, "made")]
    return [add_volume(viewer, ct, "ct"), *layers]


def is_measuring(panel_: Any) -> bool:
    return "slices measured" in panel_.status.text() and not panel_.status.text().startswith("0 ")


def test_cancel_and_a_second_job_while_one_runs(
    viewer: Viewer, panel: OpenPanel, qtbot: QtBot, settle: Settle, told: list[str]
) -> None:
    ct, real, made = long_case(viewer)
    panel_ = panel("Compare")
    for chooser, layer in ((panel_.ct, ct), (panel_.real, real), (panel_.fake, made)):
        chooser.select(layer)
    click(qtbot, panel_.go)
    assert not panel_.go.isEnabled()
    with panel_.telling():
        panel_.start()
    assert "still at work" in told.pop()
    qtbot.waitUntil(lambda: is_measuring(panel_), timeout=PATIENCE_MS)
    click(qtbot, panel_.stop)
    settle(panel_)
    assert panel_.status.text().startswith("cancelled")
    assert panel_.go.isEnabled()
    assert not panel_.tabs.isVisible()
    assert list(viewer.layers) == [real, made, ct]
    assert not told


def test_a_layer_that_is_deleted_ends_its_comparison(
    viewer: Viewer, panel: OpenPanel, qtbot: QtBot, settle: Settle, told: list[str]
) -> None:
    ct, real, made = long_case(viewer)
    panel_ = panel("Compare")
    for chooser, layer in ((panel_.ct, ct), (panel_.real, real), (panel_.fake, made)):
        chooser.select(layer)
    click(qtbot, panel_.go)
    qtbot.waitUntil(lambda: is_measuring(panel_), timeout=PATIENCE_MS)
    viewer.layers.remove(made)
    settle(panel_)
    assert panel_.status.text() == "stopped: layer 'made' was removed"
    assert list(viewer.layers) == [real, ct]
    assert panel_.go.isEnabled()
    assert not told


def test_the_plot_follows_the_theme(viewer: Viewer, panel: OpenPanel) -> None:
    plot = panel("Compare").profile.plot
    seen = set()
    for theme in ("dark", "light"):
        viewer.theme = theme
        seen.add(plot.backgroundBrush().color().name())
    assert len(seen) == 2
