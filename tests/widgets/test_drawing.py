"""Points and lines drawn with the mouse lie under it, whatever units the layers around are in."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from heads import head_pair, to_micrometres
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QEvent, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication

from conftest import MakeViewer
from napari_ct2mri.imaging.intensity import mr_range
from napari_ct2mri.widgets.forms import LayerChooser
from napari_ct2mri.widgets.landmarks import LandmarkChooser
from napari_ct2mri.widgets.layers import add_volume, layer_to_shown
from napari_ct2mri.widgets.placing import points_of
from napari_ct2mri.widgets.profile import Along, ProfileView
from napari_ct2mri.widgets.slices import Stack

Drag = Callable[[int, int], None]
MIDDLE = (1, 31.5, 31.5)
"""Of the canvas, in voxels of the CT."""


@pytest.fixture(params=["mm", "um"])
def window(request: pytest.FixtureRequest, make_napari_viewer: MakeViewer) -> Viewer:
    """A CT in mm, and a T2 that may be in µm."""
    viewer: Viewer = make_napari_viewer(show=True)
    ct, mr = head_pair()
    other = add_volume(viewer, mr, "head T2")
    add_volume(viewer, ct, "head CT")
    if request.param == "um":
        to_micrometres(other)
    viewer.dims.set_current_step(0, MIDDLE[0])
    return viewer


@pytest.fixture
def drag(window: Viewer, qtbot: QtBot) -> Drag:
    """Press so many pixels beside the middle of the canvas, go to as many on its other side."""

    def drag(start: int, stop: int) -> None:
        canvas = window.window._qt_viewer.canvas.native
        qtbot.wait(100)
        window.reset_view()
        middle = QPointF(canvas.width() / 2, canvas.height() / 2)
        left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
        way = [middle + QPointF(x, 0) for x in np.linspace(start, stop, 4)]
        for kind, place, button, buttons in (
            (QEvent.Type.MouseMove, way[0], none, none),
            (QEvent.Type.MouseButtonPress, way[0], left, left),
            *((QEvent.Type.MouseMove, place, none, left) for place in way[1:]),
            (QEvent.Type.MouseButtonRelease, way[-1], left, none),
        ):
            there = QPointF(canvas.mapToGlobal(place.toPoint()))
            keys = Qt.KeyboardModifier.NoModifier
            qtbot.wait(30)  # vispy passes over moves within 10 ms
            QApplication.sendEvent(canvas, QMouseEvent(kind, place, there, button, buttons, keys))

    return drag


def test_a_landmark_is_where_it_was_clicked(window: Viewer, drag: Drag) -> None:
    """In a layer that is new, and in one that was there before the units around it changed."""
    ct = window.layers["head CT"]
    image = LayerChooser(window, "CT", "CT")
    image.select(ct)
    marks = LandmarkChooser(window, image, "CT")
    marks.start_marking()
    drag(0, 0)
    points = marks.layer()
    assert points is not None
    if window.dims.units == ct.units:
        to_micrometres(window.layers["head T2"])
        Stack(window, ct).show(MIDDLE[0])
    marks.start_marking()
    drag(0, 0)
    middle = layer_to_shown(ct).geometry.affine @ (*MIDDLE, 1)
    np.testing.assert_allclose(points_of(ct, points, "CT"), [middle[:3]] * 2, atol=1.0)


def test_a_landmark_is_set_on_the_slice_in_view_though_one_looked_in_3d(
    window: Viewer, drag: Drag
) -> None:
    ct = window.layers["head CT"]
    image = LayerChooser(window, "CT", "CT")
    image.select(ct)
    marks = LandmarkChooser(window, image, "CT")
    window.dims.ndisplay = 3
    marks.start_marking()
    assert window.dims.ndisplay == 2
    drag(0, 0)
    points = marks.layer()
    assert points is not None
    middle = layer_to_shown(ct).geometry.affine @ (*MIDDLE, 1)
    np.testing.assert_allclose(points_of(ct, points, "CT"), [middle[:3]], atol=1.0)


def test_a_profile_is_of_what_the_mouse_went_over(window: Viewer, drag: Drag) -> None:
    ct, mr = window.layers["head CT"], layer_to_shown(window.layers["head T2"])
    view = ProfileView(window, lambda: 1)
    view.look_at(
        Along(mr.data, np.asarray(mr.data), mr_range(mr), False, mr.geometry.spacing[1:], ct)
    )
    view.draw()
    drag(-60, 60)
    line = view._line()
    assert line is not None
    (y0, x0), (y1, x1) = line
    assert (y0, y1) == pytest.approx([MIDDLE[1]] * 2, abs=1)
    assert (x0 + x1) / 2 == pytest.approx(MIDDLE[2], abs=1)
    assert 5 < abs(x1 - x0) < 60
