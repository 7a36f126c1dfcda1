"""Layers in µm beside layers in mm: one world, as napari shows it."""

from __future__ import annotations

import numpy as np
import pytest
from heads import to_micrometres
from napari.layers import Image
from napari.viewer import Viewer

from napari_ct2mri.imaging.intensity import mr_range
from napari_ct2mri.widgets.forms import LayerChooser
from napari_ct2mri.widgets.landmarks import LandmarkChooser
from napari_ct2mri.widgets.layers import layer_to_shown, layer_to_volume, synthetic_attributes
from napari_ct2mri.widgets.live import slice_in_view
from napari_ct2mri.widgets.overlay import Overlay
from napari_ct2mri.widgets.placing import points_of
from napari_ct2mri.widgets.profile import Along, ProfileView
from napari_ct2mri.widgets.slices import Stack
from napari_ct2mri.widgets.world import step, to_data, to_world, world_units

LAYERS = ["head CT", "head T2"]
UM = 1000
MM = ("mm",) * 3


@pytest.fixture(params=LAYERS)
def mixed(request: pytest.FixtureRequest, heads: Viewer) -> Viewer:
    """Both heads where they were, one of them in µm."""
    before = layer_to_volume(heads.layers[request.param]).geometry
    to_micrometres(heads.layers[request.param])
    assert heads.dims.units is not None
    assert {str(unit) for unit in heads.dims.units} == {"micrometer"}
    assert layer_to_volume(heads.layers[request.param]).geometry is before
    return heads


def shows(layer: Image, index: int) -> bool:
    """Whether the canvas has that slice; napari's own word."""
    return np.array_equal(np.asarray(layer._slice.image.raw), layer.data[index])


def test_slices_and_places_are_the_same_in_both(mixed: Viewer) -> None:
    ct, mr = (mixed.layers[name] for name in LAYERS)
    for layer in (ct, mr):
        for index in (2, 0, 3):
            Stack(mixed, layer).show(index)
            assert [Stack(mixed, each).in_view() for each in (ct, mr)] == [index, index]
            assert [slice_in_view(mixed, each) for each in (ct, mr)] == [index, index]
            assert shows(ct, index)
            assert shows(mr, index)
    units, index = world_units(mixed), (2, 10, 40)
    worlds = [to_world(mixed.layers[name], index, units) for name in LAYERS]
    np.testing.assert_allclose(*worlds)
    low, high = mixed.layers.extent.world
    np.testing.assert_array_less(low, worlds[0])
    np.testing.assert_array_less(worlds[0], high)
    for name in LAYERS:
        layer = mixed.layers[name]
        np.testing.assert_allclose(to_data(layer, (7.0, *worlds[0]), units), index)


@pytest.mark.parametrize("mixed", ["head CT"], indirect=True)
def test_without_a_world_in_units_numbers_are_taken_as_they_stand(mixed: Viewer) -> None:
    ct = mixed.layers["head CT"]
    mixed.add_image(np.zeros((4, 5, 6)), name="in pixels")
    assert world_units(mixed) is None
    np.testing.assert_array_equal(to_world(ct, (2, 1, 0), None), ct.data_to_world((2, 1, 0)))
    Stack(mixed, ct).show(2)
    assert shows(ct, 2)
    assert Stack(mixed, ct).in_view() == 2


@pytest.mark.parametrize("mixed", ["head CT"], indirect=True)
def test_landmarks_are_where_they_were_set(mixed: Viewer) -> None:
    ct = mixed.layers["head CT"]
    index = np.array([(0, 10, 40), (3, 50, 21)])
    affine = layer_to_shown(ct).geometry.affine
    expected = index @ affine[:3, :3].T + affine[:3, 3]
    places = np.array([to_world(ct, place, MM) for place in index])
    for unit, size in (("mm", 1), ("um", UM)):
        points = mixed.add_points(places * size, units=(unit,) * 3)
        np.testing.assert_allclose(points_of(ct, points, "CT"), expected, atol=1e-6)
    image = LayerChooser(mixed, "CT", "CT")
    image.select(ct)
    marks = LandmarkChooser(mixed, image, "CT")
    marks.combo.setCurrentIndex(0)
    marks.start_marking()
    made = marks.layer()
    assert made is not None
    assert made.units == ct.units
    np.testing.assert_allclose(step(made, MM), 1)  # in which the size of a mark is counted


@pytest.mark.parametrize("mixed", ["head CT"], indirect=True)
def test_what_is_made_of_a_layer_lies_on_it(mixed: Viewer) -> None:
    ct, mr = (mixed.layers[name] for name in LAYERS)
    for slices in (range(4), range(1, 3)):
        attributes = synthetic_attributes(ct, layer_to_shown(ct), "base", "T2", slices)
        made = mixed.add_image(np.zeros((len(slices), *ct.data.shape[1:])), **attributes)
        assert made.units == ct.units
        place = ct.data_to_world((slices.start, 3, 5))
        np.testing.assert_allclose(made.data_to_world((0, 3, 5)), place)
        part, whole = layer_to_volume(made).geometry, layer_to_volume(ct).geometry
        assert part.spacing == whole.spacing
        assert part.direction == whole.direction
    overlay = Overlay(mixed, ct, mr, "both")
    np.testing.assert_array_equal(overlay.layer.extent.world, ct.extent.world)
    assert overlay.layer.units == ct.units
    overlay.close()


@pytest.mark.parametrize("mixed", ["head T2"], indirect=True)
def test_a_profile_is_of_the_voxels_under_the_line(mixed: Viewer) -> None:
    """The same whatever the world is measured in."""
    ct, mr = (mixed.layers[name] for name in LAYERS)
    real = layer_to_shown(mr)
    fake = np.asarray(real.data, np.float32)
    along = Along(real.data, fake, mr_range(real), False, (1.0, 1.0), ct)
    view = ProfileView(mixed, lambda: 1)
    view.look_at(along)
    view.draw()
    (line,) = (layer for layer in mixed.layers if layer.name == "profile line")
    ends = [(10, 12), (50, 40)]
    line.add_lines(np.array(ends, float))  # on the pixels of the CT
    distance, values = view.plot.fake.getData()
    assert distance[-1] == pytest.approx(np.hypot(40, 28))
    assert (values[0], values[-1]) == pytest.approx([mr.data[1][end] for end in ends])
    other = "mm" if str(line.units[0]) == "micrometer" else "um"
    factor = 1 / UM if other == "mm" else UM
    scale, translate = line.scale * factor, line.translate * factor
    line.units, line.scale, line.translate = (other,) * 2, scale, translate
    view.renew()
    assert view.plot.isVisibleTo(view), view.words.text()
    np.testing.assert_allclose(view.plot.fake.getData()[1], values)
