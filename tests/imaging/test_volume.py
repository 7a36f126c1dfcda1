from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_ct2mri.errors import VolumeError
from napari_ct2mri.imaging.io import read_volume, write_volume
from napari_ct2mri.imaging.volume import (
    Geometry,
    Volume,
    axial_slices,
    closest_axes,
    difference,
    from_sitk,
    to_sitk,
)

from .geometries import geometries, places, rotation

DATA = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5)


@given(geometries())
def test_closest_axes_moves_no_voxel_in_the_world(geometry: Geometry) -> None:
    volume = Volume(DATA, geometry, modality="CT", unit="HU", notes=("kept",))
    turned, _ = closest_axes(volume)
    before, after = np.argsort(volume.data.ravel()), np.argsort(turned.data.ravel())
    np.testing.assert_allclose(
        places(volume).reshape(-1, 3)[before], places(turned).reshape(-1, 3)[after], atol=1e-9
    )
    assert (turned.modality, turned.unit, turned.notes) == ("CT", "HU", ("kept",))


@given(geometries())
def test_closest_axes_run_to_superior_posterior_left(geometry: Geometry) -> None:
    turned, _ = closest_axes(Volume(DATA, geometry))
    matrix = turned.geometry.matrix  # columns x, y, z in LPS
    assert (np.diag(matrix) >= -1e-12).all()
    again, order = closest_axes(turned)
    assert order.axes == (0, 1, 2)
    assert again.geometry.is_close(turned.geometry)


@given(geometries())
def test_axis_order_undoes_itself_bit_for_bit(geometry: Geometry) -> None:
    turned, order = closest_axes(Volume(DATA, geometry))
    np.testing.assert_array_equal(order.undo(turned.data), DATA)
    np.testing.assert_array_equal(order.apply(DATA), turned.data)


@given(geometries(), st.data())
def test_axial_slices_stay_where_they_lie(geometry: Geometry, data: st.DataObject) -> None:
    volume = Volume(DATA, geometry, modality="CT", unit="HU", notes=("kept",))
    turned, _ = closest_axes(volume)
    start = data.draw(st.integers(0, len(turned.data) - 1))
    wanted = range(start, data.draw(st.integers(start + 1, len(turned.data))))
    part = axial_slices(volume, wanted)
    shown, _ = closest_axes(part)
    np.testing.assert_array_equal(shown.data, turned.data[wanted.start : wanted.stop])
    expected = places(turned)[wanted.start : wanted.stop]
    np.testing.assert_allclose(places(shown), expected, atol=1e-9)
    assert (part.modality, part.unit, part.notes) == ("CT", "HU", ("kept",))
    # voxel values are unique: each is where it was in the stored volume, too
    before = {int(v): p for v, p in zip(DATA.flat, places(volume).reshape(-1, 3), strict=True)}
    for value, place in zip(part.data.flat, places(part).reshape(-1, 3), strict=True):
        np.testing.assert_allclose(place, before[int(value)], atol=1e-9)


@pytest.mark.parametrize("wanted", [range(3, 3), range(2, 4), range(-1, 2), range(0, 3, 2)])
def test_slices_that_are_not_there_are_refused(wanted: range) -> None:
    with pytest.raises(VolumeError, match="expected slices within 0:3"):
        axial_slices(Volume(DATA), wanted)


@given(geometries())
def test_affine_agrees_with_simpleitk(geometry: Geometry) -> None:
    image = to_sitk(Volume(DATA, geometry))
    world = image.TransformIndexToPhysicalPoint((4, 1, 2))  # x, y, z
    np.testing.assert_allclose((geometry.affine @ (2, 1, 4, 1))[:3], world, atol=1e-9)


@given(geometries(), st.sampled_from(["int16", "uint8", "float32", "float64", ">i2", "int32"]))
def test_simpleitk_and_back_keeps_values_and_geometry(geometry: Geometry, dtype: str) -> None:
    back = from_sitk(to_sitk(Volume(DATA.astype(dtype), geometry)), modality="MR")
    np.testing.assert_array_equal(back.data, DATA)
    assert back.data.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_allclose(back.geometry.affine, geometry.affine, rtol=0, atol=1e-12)
    assert back.modality == "MR"


def test_types_simpleitk_has_not_are_widened_without_loss() -> None:
    for dtype, wider in (("bool", np.uint8), ("float16", np.float32)):
        back = from_sitk(to_sitk(Volume(DATA.astype(dtype))))
        assert back.data.dtype == wider
        np.testing.assert_array_equal(back.data, DATA.astype(dtype))


def test_a_grid_one_step_off_is_not_close() -> None:
    here = Geometry((2.0, 0.5, 0.7))
    assert here.is_close(Geometry((2.0, 0.5, 0.7), (0.0005, 0, 0)))
    assert not here.is_close(Geometry((2.0, 0.5, 0.7), (0.5, 0, 0)))
    assert not here.is_close(Geometry((2.0, 0.7, 0.5)))


LARGE = np.broadcast_to(np.int16(0), (200, 512, 512))


@given(geometries(), st.integers(0, 2))
def test_one_grid_reaches_to_the_far_end(geometry: Geometry, axis: int) -> None:
    def stretched(voxels: float) -> Geometry:
        """The last voxel along an axis lies so much of the smallest voxel further away."""
        spacing = list(geometry.spacing)
        spacing[axis] += voxels * min(geometry.spacing) / (LARGE.shape[axis] - 1)
        return replace(geometry, spacing=(spacing[0], spacing[1], spacing[2]))

    def turned(voxels: float) -> Geometry:
        """About the array's z axis, by which the opposite edge moves so much."""
        reach_mm = 511 * np.hypot(*geometry.spacing[1:])
        matrix = geometry.matrix @ rotation(0, 0, voxels * min(geometry.spacing) / reach_mm)
        return replace(geometry, direction=tuple(map(float, matrix.ravel())))

    here = Volume(LARGE, geometry)
    for change, says in ((stretched, "spacing in mm"), (turned, "direction")):
        assert difference(here, replace(here, geometry=change(0.09))) == ""
        assert difference(here, replace(here, geometry=change(0.11))).startswith(says)


@given(geometry=geometries())
def test_a_copy_in_a_nifti_file_lies_on_one_grid(
    geometry: Geometry, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "copy.nii"
    write_volume(Volume(DATA, geometry), path)  # its header holds float32
    copy = replace(read_volume(path), data=LARGE)
    assert difference(closest_axes(Volume(LARGE, geometry))[0], closest_axes(copy)[0]) == ""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"spacing": (1.0, 0.0, 1.0)}, "positive spacing"),
        ({"spacing": (1.0, float("nan"), 1.0)}, "positive spacing"),
        ({"origin": (float("inf"), 0.0, 0.0)}, "finite"),
        ({"direction": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.2, 1.0)}, "orthonormal"),
    ],
)
def test_impossible_geometry_is_refused(change: dict[str, tuple[float, ...]], says: str) -> None:
    with pytest.raises(VolumeError, match=says):
        Geometry(**change)  # type: ignore[arg-type]


def test_data_must_be_three_dimensional_and_fit_the_grid() -> None:
    with pytest.raises(VolumeError, match="three non-empty axes"):
        Volume(DATA[0])
    with pytest.raises(VolumeError, match="three non-empty axes"):
        Volume(DATA[:0])
    with pytest.raises(VolumeError, match=r"expected shape \(3, 4, 5\)"):
        Volume(DATA).with_data(DATA[:2])
