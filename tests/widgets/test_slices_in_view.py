"""Slices among layers of other extents: the right place in the world, one number everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from heads import head_pair
from napari.layers import Image
from napari.viewer import Viewer

from napari_ct2mri.errors import VolumeError
from napari_ct2mri.jobs import Preview
from napari_ct2mri.widgets.layers import layer_to_shown
from napari_ct2mri.widgets.preview import PreviewLayer
from napari_ct2mri.widgets.slice_choice import SliceChoice
from napari_ct2mri.widgets.slices import InView, Stack


@pytest.fixture
def ct(heads: Viewer) -> Image:
    """A CT whose slices stand between those that the slider counts, with thinner ones below."""
    ct = heads.layers["head CT"]
    step = float(ct.scale[0])
    below = (float(ct.translate[0]) - 9.5 * step, *ct.translate[1:])
    thin = (step / 4, *ct.scale[1:])
    add = {"scale": thin, "translate": below, "units": ct.units, "axis_labels": ct.axis_labels}
    heads.add_image(np.zeros((40, 8, 8)), name="neck MR", **add)
    return ct


def shows(ct: Image, index: int) -> bool:
    """Whether the canvas has that slice; napari's own word."""
    return np.array_equal(np.asarray(ct._slice.image.raw), ct.data[index])


def test_each_slice_comes_into_view_and_is_known_there(heads: Viewer, ct: Image) -> None:
    stack, words = Stack(heads, ct), InView(heads)
    words.follow(stack)
    heads.dims.ndisplay = 3
    for index in (2, 0, 3, 1):
        stack.show(index)
        assert heads.dims.ndisplay == 2
        assert shows(ct, index)
        assert stack.in_view() == index
        slider = heads.dims.current_step[0]
        assert slider > 30
        text = f"In view: slice {index} (the slider counts {slider})"
        assert words.text() == text
    heads.dims.set_current_step(0, 0)
    assert stack.in_view() is None
    assert words.text() == "In view: none of its slices"
    heads.layers.remove("neck MR")
    heads.dims.set_current_step(0, 2)
    assert words.text() == "In view: slice 2"


def test_half_way_between_two_slices_it_is_the_one_that_is_shown(heads: Viewer, ct: Image) -> None:
    for half in (0.5, 1.5, 2.5):
        heads.dims.set_point(0, ct.data_to_world((half, 0, 0))[0])
        index = Stack(heads, ct).in_view()
        assert index is not None
        assert shows(ct, index)


def test_the_slice_in_view_is_chosen_by_its_place(heads: Viewer, ct: Image) -> None:
    choice = SliceChoice(heads)
    choice.follow(ct)
    choice.which.setCurrentText("slice in view")
    Stack(heads, ct).show(2)
    assert choice.wanted(ct) == range(2, 3)
    assert choice.in_view.text().startswith("In view: slice 2 (the slider counts ")
    assert choice.in_view.isVisibleTo(choice)
    choice.which.setCurrentText("range")
    assert not choice.in_view.isVisibleTo(choice)


@pytest.mark.parametrize("view", [{"order": (2, 0, 1)}, {"order": (1, 0, 2)}, {"ndisplay": 3}])
def test_where_no_axial_slice_is_in_view_none_is_named(
    heads: Viewer, ct: Image, view: dict[str, Any]
) -> None:
    choice, words, stack = SliceChoice(heads), InView(heads), Stack(heads, ct)
    choice.which.setCurrentText("slice in view")
    words.follow(stack)
    asked: list[Any] = []
    preview = PreviewLayer(heads, ct, layer_to_shown(ct, "CT"), asked.append)
    stack.show(2)
    before = {name: getattr(heads.dims, name) for name in view}
    heads.dims.update(view)
    assert stack.in_view() is None
    assert words.text() == "In view: no axial slice"
    with pytest.raises(VolumeError, match="no axial slice of layer 'head CT' is in view"):
        choice.wanted(ct)
    heads.dims.set_point(0, ct.data_to_world((1, 0, 0))[0])
    assert asked[-1] == 2
    heads.dims.update(before)
    index = stack.in_view()
    assert index == (2 if "ndisplay" in view else 1)  # in 3D, z does not move
    assert asked[-1] == index
    assert words.text().startswith(f"In view: slice {index} ")
    assert choice.wanted(ct) == range(index, index + 1)
    preview.end()
    heads.dims.update(view)
    stack.show(3)
    assert asked[-1] is None


def test_a_preview_lies_where_one_looks(heads: Viewer, ct: Image) -> None:
    asked: list[Any] = []
    preview = PreviewLayer(heads, ct, layer_to_shown(ct, "CT"), asked.append)
    Stack(heads, ct).show(3)
    assert asked[-1] == 3
    made = np.ones(ct.data.shape[1:], np.float32)
    preview.show(Preview(1, 3, made, "T2", "train-fit"))
    assert preview.layer is not None
    np.testing.assert_allclose(preview.layer.data_to_world((0, 0, 0)), ct.data_to_world((3, 0, 0)))
    assert shows(preview.layer, 0)
    heads.dims.set_current_step(0, 0)  # beyond the CT: nobody looks elsewhere
    assert asked[-1] == 3
    preview.end()
    assert asked[-1] is None


def test_pictures_are_one_slice_wherever_one_looks(viewer: Viewer) -> None:
    picture = viewer.add_image(np.zeros((5, 6)), name="picture")
    assert Stack(viewer, picture).in_view() == 0
    ct, _ = head_pair()
    viewer.add_image(ct.data, name="stack")
    stack = Stack(viewer, picture)
    stack.show(0)
    assert (stack.count, stack.in_view(), stack.in_words()) == (1, 0, "slice 0")
