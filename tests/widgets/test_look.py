"""CT and MR in one picture, in a real viewer: checkerboard, swipe, and what they leave alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from heads import head_pair, to_micrometres
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QEvent, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication

from conftest import OpenPanel
from napari_ct2mri.imaging.blend import SEAM
from napari_ct2mri.widgets.layers import add_volume


def camera(viewer: Viewer) -> Any:
    """Of the canvas; napari 0.9 moved it to ``scene``."""
    return getattr(viewer, "scene", viewer).camera


def choose(box: Any, data: object) -> None:
    box.setCurrentIndex(box.findData(data))


def test_checkerboard_and_swipe_show_both_images(heads: Viewer, panel: OpenPanel) -> None:
    register = panel("Register & pair")
    layers = len(heads.layers)
    choose(register.look.view, "squares")
    (shown,) = (layer for layer in heads.layers if layer.name.startswith("CT | MR"))
    coarse = np.array(shown.data[2])
    register.look.slider.setValue(8)
    fine = np.array(shown.data[2])
    assert (coarse != fine).any()

    assert [layer.visible for layer in heads.layers] == [False, False, True]
    choose(register.look.view, "swipe")
    register.look.slider.setValue(0)
    mr = np.array(shown.data[2])
    register.look.slider.setValue(register.look.slider.maximum())
    ct = np.array(shown.data[2])
    register.look.slider.setValue(register.look.slider.maximum() // 2)
    half = np.array(shown.data[2])
    width = half.shape[1]
    np.testing.assert_array_equal(half[:, : width // 2], ct[:, : width // 2])
    np.testing.assert_array_equal(half[:, width // 2 + 1 :], mr[:, width // 2 + 1 :])
    assert (half[:, width // 2] == SEAM).all()
    assert (ct[:, 1:] != mr[:, 1:]).any()
    assert set(map(tuple, fine.reshape(-1, 3))) <= set(
        map(tuple, np.concatenate([ct, mr]).reshape(-1, 3))
    )

    low, high = heads.layers["head CT"].contrast_limits
    heads.layers["head CT"].contrast_limits = (low, low + (high - low) / 4)
    assert (np.array(shown.data[2])[:, : width // 2] != half[:, : width // 2]).any()

    heads.layers.remove(shown)
    assert register.look.view.currentData() is None
    assert [layer.visible for layer in heads.layers] == [True] * layers


def test_in_3d_both_images_are_left_and_the_panel_says_so(
    heads: Viewer, panel: OpenPanel, qtbot: QtBot
) -> None:
    """A black box was there; and napari crashed at the end of this, with points marked."""
    register = panel("Register & pair")
    with qtbot.waitExposed(heads.window._qt_window):
        heads.window.show()
    choose(register.look.view, "squares")
    assert "2D" not in register.look.hint.text()
    heads.dims.ndisplay = 3
    qtbot.wait(100)  # the canvas draws
    assert [layer.name for layer in heads.layers if layer.visible] == ["head T2", "head CT"]
    assert "go back to 2D" in register.look.hint.text()
    choose(register.look.view, "swipe")
    assert register.look.overlay is None
    assert "go back to 2D" in register.look.hint.text()
    heads.dims.ndisplay = 2
    assert [layer for layer in heads.layers if layer.visible] == [register.look.overlay.layer]
    assert "2D" not in register.look.hint.text()
    qtbot.mouseClick(register.ct_points.mark, Qt.MouseButton.LeftButton)
    qtbot.wait(100)
    choose(register.look.view, "squares")
    qtbot.wait(100)
    assert heads.layers[-1] is register.look.overlay.layer


@pytest.mark.parametrize("in_um", [None, "head T2"])
def test_the_line_is_dragged_in_the_picture(
    heads: Viewer, panel: OpenPanel, qtbot: QtBot, in_um: str | None
) -> None:
    if in_um:
        to_micrometres(heads.layers[in_um])
    register = panel("Register & pair")
    with qtbot.waitExposed(heads.window._qt_window):
        heads.window.show()
    heads.reset_view()  # the line is in the middle of what is now laid out
    choose(register.look.view, "swipe")
    canvas = heads.window._qt_viewer.canvas.native
    middle = QPointF(canvas.width() / 2, canvas.height() / 2)
    assert heads.layers.selection.active is register.look.overlay.layer
    layer = register.look.overlay.layer
    centre = np.array(camera(heads).center)
    aside = middle + QPointF(60, 0)
    left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
    for kind, place, button, buttons in (
        (QEvent.Type.MouseMove, middle, none, none),
        (QEvent.Type.MouseButtonPress, middle, left, left),
        (QEvent.Type.MouseMove, aside, none, left),
        (QEvent.Type.MouseButtonRelease, aside, left, none),
    ):
        event = QMouseEvent(
            kind,
            place,
            QPointF(canvas.mapToGlobal(place.toPoint())),
            button,
            buttons,
            Qt.KeyboardModifier.NoModifier,
        )
        qtbot.wait(20)  # vispy passes over moves within 10 ms
        QApplication.sendEvent(canvas, event)
    assert register.look.slider.value() > register.look.slider.maximum() * 0.55
    np.testing.assert_array_equal(camera(heads).center, centre)  # the picture held still
    assert layer.mouse_pan


def test_the_picture_of_both_goes_with_an_image_and_with_the_panel(
    heads: Viewer, panel: OpenPanel
) -> None:
    register = panel("Register & pair")
    choose(register.look.view, "squares")
    assert len(heads.layers) == 3
    compare = panel("Compare")
    assert compare.fake.layer() is None  # no chooser takes it for an image by itself
    heads.layers.remove("head T2")
    assert [layer.name for layer in heads.layers] == ["head CT"]
    add_volume(heads, head_pair()[1], "head T2")
    choose(register.look.view, "squares")
    assert len(heads.layers) == 3
    heads.window.remove_dock_widget(register.parent())
    assert len(heads.layers) == 2


def test_layers_are_left_as_a_person_has_them(heads: Viewer, panel: OpenPanel) -> None:
    """What was hidden for the picture comes back, but for what somebody showed and hid since."""
    register = panel("Register & pair")
    ct, mr = heads.layers["head CT"], heads.layers["head T2"]
    register.ct.select(ct)
    register.mr.select(mr)
    hidden = add_volume(heads, head_pair(seed=1)[1], "hidden before")
    hidden.visible = False
    toggled = add_volume(heads, head_pair(seed=2)[1], "toggled")
    choose(register.look.view, "squares")
    assert not any(layer.visible for layer in (ct, mr, toggled))
    toggled.visible = True
    toggled.visible = False
    choose(register.look.view, None)
    assert [layer.visible for layer in (ct, mr, hidden, toggled)] == [True, True, False, False]
