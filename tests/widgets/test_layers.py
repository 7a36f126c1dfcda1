"""Volumes to layers and back: exact on any grid, and plain words for what cannot be."""

from __future__ import annotations

import pickle
from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from heads import OBLIQUE, head_pair
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.layers import Image, Labels

from napari_ct2mri.errors import VolumeError
from napari_ct2mri.imaging.volume import Geometry, Source, Volume
from napari_ct2mri.widgets.layers import (
    KEY,
    check_one_grid,
    data_to_volume,
    is_as_read,
    layer_origin,
    layer_to_shown,
    layer_to_volume,
    synthetic_attributes,
    volume_to_layer_data,
)


def as_layer(volume: Volume, name: str = "scan") -> Image:
    data, attributes, kind = volume_to_layer_data(volume, name)
    assert kind == "image"
    return Image(data, **attributes)


@st.composite
def volumes(draw: st.DrawFn) -> Volume:
    """Any right- or left-handed oblique grid, voxels that are all different."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    matrix, _ = np.linalg.qr(random.normal(size=(3, 3)))
    spacing, origin = random.uniform(0.2, 7, 3), random.uniform(-300, 300, 3)
    shape = draw(st.tuples(*[st.integers(1, 5)] * 3))
    data = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    geometry = Geometry(tuple(spacing), tuple(origin), tuple(matrix.ravel()))
    return Volume(data, geometry, "CT", "HU", Source("somewhere", "1.2.3"), ("a note",))


@settings(max_examples=60, deadline=None)
@given(volumes())
def test_a_layer_gives_back_its_volume_exactly(volume: Volume) -> None:
    back = layer_to_volume(as_layer(volume))
    assert back.geometry == volume.geometry
    assert (back.modality, back.unit, back.source, back.notes) == (
        *("CT", "HU"),
        volume.source,
        volume.notes,
    )
    np.testing.assert_array_equal(back.data, volume.data)


@settings(max_examples=30, deadline=None)
@given(volumes(), st.data())
def test_a_layer_shows_each_voxel_near_its_place(volume: Volume, data: st.DataObject) -> None:
    """Along each shown axis, the world coordinate closest to it grows; no voxel moves."""
    shown = layer_to_shown(as_layer(volume))
    index = data.draw(st.tuples(*[st.integers(0, n - 1) for n in shown.data.shape]))
    place = shown.geometry.affine @ (*index, 1)
    stored = np.argwhere(volume.data == shown.data[index])[0]
    np.testing.assert_allclose(volume.geometry.affine @ (*stored, 1), place, atol=1e-6)
    assert np.trace(shown.geometry.matrix) > 0


def test_a_layer_is_in_millimetres_from_back_to_front() -> None:
    layer = as_layer(head_pair()[0])
    assert [str(unit) for unit in layer.units] == ["millimeter"] * 3
    assert tuple(layer.axis_labels) == ("z", "y", "x")
    np.testing.assert_allclose(layer.scale, OBLIQUE.spacing)
    assert tuple(layer.contrast_limits) == (0, 80)


def test_a_picture_has_no_millimetres() -> None:
    grey = Volume(np.zeros((1, 4, 5), np.uint8), unit="grey")
    layer = as_layer(grey)
    assert [str(unit) for unit in layer.units] == ["pixel"] * 3
    assert layer_to_volume(layer).is_picture


def test_a_layer_moved_by_hand_is_where_it_is_shown() -> None:
    ct, _ = head_pair()
    layer = as_layer(ct)
    assert is_as_read(layer)
    layer.translate = np.add(layer.translate, (0, 2, -3))
    assert not is_as_read(layer)
    moved = layer_to_volume(layer)
    before = layer_to_shown(as_layer(ct))
    step = np.subtract(moved.geometry.origin, before.geometry.origin)
    np.testing.assert_allclose(step, (-3, 2, 0))
    np.testing.assert_array_equal(moved.data, before.data)


def test_a_cropped_copy_does_not_claim_the_grid_it_came_from() -> None:
    layer = as_layer(head_pair()[0])
    crop = Image(layer.data[:, 8:40], scale=layer.scale, metadata=layer.metadata, units="mm")
    assert layer_to_volume(crop).data.shape == (4, 32, 64)
    assert not is_as_read(crop)


def test_a_layer_whose_voxels_were_changed_is_not_as_read() -> None:
    ct = replace(head_pair()[0], source=Source("ct.mha"))
    layer = as_layer(ct)
    assert is_as_read(layer)
    read = layer.data
    layer.data = np.maximum(read, -500)
    assert not is_as_read(layer)
    assert not is_as_read(copied(layer))
    layer.data = read
    assert is_as_read(layer)
    layer.data[1, 2, 3] += 1
    assert not is_as_read(layer)
    layer.data[1, 2, 3] -= 1
    assert is_as_read(layer)
    layer.data = read.view(np.uint16)
    assert not is_as_read(layer)


def test_a_copy_of_a_layer_is_as_read() -> None:
    ct = replace(head_pair()[0], source=Source("ct.mha"))
    copy = copied(as_layer(ct))
    assert copy.data.flags.c_contiguous
    assert is_as_read(copy)
    assert is_as_read(as_layer(pickle.loads(pickle.dumps(ct))))


def copied(layer: Image) -> Image:
    """As napari's "Duplicate Layer" makes it."""
    data, attributes, _ = layer.as_layer_data_tuple()
    return Image(deepcopy(data), **attributes)


def test_layers_of_others_lie_where_they_are_shown() -> None:
    layer = Image(
        np.full((3, 4, 5), -900.0), scale=(2000, 500, 500), translate=(1000, 0, 0), units="um"
    )
    volume = layer_to_volume(layer, "CT")
    assert volume.geometry.spacing == pytest.approx((2, 0.5, 0.5))
    assert volume.geometry.origin == pytest.approx((0, 0, 1))
    assert (volume.modality, volume.unit) == ("CT", "HU")


@pytest.mark.parametrize(
    ("data", "unit"), [(np.zeros((4, 5), np.uint8), "grey"), (np.zeros((4, 5)), "arbitrary")]
)
def test_one_slice_is_a_volume(data: np.ndarray, unit: str) -> None:
    volume = layer_to_volume(Image(data), "MR")
    assert volume.data.shape == (1, 4, 5)
    assert (volume.modality, volume.unit) == ("MR", unit)


def test_what_a_layer_states_is_not_overruled() -> None:
    _, mr = head_pair()
    assert layer_to_volume(as_layer(mr), "CT").modality == "MR"


LAZY = SimpleNamespace(ndim=3, shape=(4000, 2000, 2000), dtype=np.dtype(np.float32))


@pytest.mark.parametrize(
    ("data", "attributes", "words"),
    [
        (np.zeros((4, 5, 3), np.uint8), {"rgb": True}, "is in colour"),
        (np.zeros((2, 3, 4, 5)), {}, "4 axes of 2x3x4x5"),
        (np.zeros((4, 5)), {"multiscale": True}, "is multiscale"),
        (np.zeros((4, 5), bool), {}, "holds bool"),
        (np.zeros((4, 5), complex), {}, "holds complex128"),
        (np.zeros((4, 5)), {"rotate": [[0, -1], [1, 0]]}, "rotated"),
        (np.zeros((4, 5)), {"shear": [0.2]}, "sheared"),
        (np.zeros((4, 5)), {"affine": np.diag([2.0, 1, 1])}, "affine"),
        (np.zeros((4, 5)), {"scale": (1, -1)}, "mirrored"),
        (LAZY, {}, "is 59.6 GiB and not in memory"),
    ],
)
def test_layers_that_are_no_volume_are_refused_in_one_line(
    data: Any, attributes: dict[str, Any], words: str
) -> None:
    with pytest.raises(VolumeError, match=words) as caught:
        data_to_volume(data, {"name": "odd", **attributes})
    assert "'odd'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_are_refused() -> None:
    with pytest.raises(VolumeError, match="holds labels, expected an image"):
        layer_to_volume(Labels(np.zeros((3, 4, 5), int)))


@pytest.mark.parametrize("by", [(0, 0, 0), (1, 0, -2)])
def test_a_synthesized_layer_lies_on_its_ct(by: tuple[int, int, int]) -> None:
    ct = as_layer(head_pair()[0], "head")
    ct.translate = np.add(ct.translate, by)
    shown = layer_to_shown(ct)
    mr = Image(
        np.zeros(ct.data.shape, np.float32), **synthetic_attributes(ct, shown, "ct2mri-base", "T2")
    )
    assert mr.name == "head · synthetic T2"
    np.testing.assert_array_equal(mr.extent.world, ct.extent.world)
    assert layer_to_volume(mr).geometry == layer_to_volume(ct).geometry
    origin = layer_origin(mr)
    assert origin is not None
    assert (origin.modality, origin.model, origin.contrast) == ("MR", "ct2mri-base", "T2")
    assert origin.source == Source()


def test_metadata_of_others_is_left_alone() -> None:
    assert layer_origin(Image(np.zeros((3, 4)), metadata={KEY: "theirs"})) is None


def test_one_grid_is_asked_for_in_numbers() -> None:
    ct, mr = head_pair()
    check_one_grid({"CT": ct, "MR": mr})
    thick = replace(mr, geometry=replace(mr.geometry, spacing=(4.5, 1.5, 1.25)))
    with pytest.raises(
        VolumeError, match=r"CT and MR differ in spacing in mm: \(4, 1.5, 1.25\) vs"
    ):
        check_one_grid({"CT": ct, "MR": thick})
    with pytest.raises(VolumeError, match="differ in size"):
        check_one_grid({"CT": ct, "MR": replace(mr, data=mr.data[:2])})
    with pytest.raises(VolumeError, match="a picture and a volume"):
        check_one_grid({"CT": ct, "MR": replace(mr, unit="grey")})
