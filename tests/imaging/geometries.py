"""Random oblique, anisotropic geometries for property tests, and the world they lie in."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from napari_ct2mri.imaging.volume import Geometry, Volume


def rotation(a: float, b: float, c: float) -> NDArray[np.float64]:
    """(3, 3) proper rotation by three angles, radians."""
    (ca, sa), (cb, sb), (cc, sc) = ((np.cos(t), np.sin(t)) for t in (a, b, c))
    about_x = np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    about_y = np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    about_z = np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


angles = st.tuples(*[st.floats(-3.1, 3.1) for _ in range(3)])
spacings = st.tuples(*[st.floats(0.2, 7.5) for _ in range(3)])
origins = st.tuples(*[st.floats(-400, 400) for _ in range(3)])


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    """Right- and left-handed."""
    matrix = rotation(*draw(angles)) * draw(st.sampled_from([(1, 1, 1), (1, 1, -1), (-1, 1, 1)]))
    return Geometry(draw(spacings), draw(origins), tuple(map(float, matrix.ravel())))


def places(volume: Volume) -> NDArray[np.float64]:
    """(z, y, x, 3) LPS mm of every voxel."""
    index = np.stack(np.indices(volume.data.shape), axis=-1)
    affine = volume.geometry.affine
    return index @ affine[:3, :3].T + affine[:3, 3]
