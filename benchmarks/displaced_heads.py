"""Simulated heads whose MR was moved by a known amount before it was cut into slices.

The CT has slices of 5 mm in a tilted frame. The MR comes from the same anatomy on a finer grid,
with noise of its own; it is moved, and thick slices are cut through it at yet another angle, so
that no voxel of the one image lies on a voxel of the other. The truth is exact.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, binary_erosion
from scipy.spatial.transform import Rotation

from napari_ct2mri.imaging.head import head_mask
from napari_ct2mri.imaging.phantom import phantom
from napari_ct2mri.imaging.volume import Geometry, Volume

Matrix = NDArray[np.float64]

_FRAME = Rotation.from_euler("xyz", (17, 4, -6), degrees=True).as_matrix()
_FRAME_MM = (12.0, -180.0, 340.0)
_MR_TILT = Rotation.from_euler("xyz", (12, -5, 3), degrees=True).as_matrix()
_SUB_SLICES = 5


@dataclass(frozen=True)
class SimulatedHead:
    """An upright CT with thick slices, and an MR of the same head with thin ones."""

    ct: Volume
    fine_mr: Volume
    contrast: str


@dataclass(frozen=True)
class Displaced:
    """A CT, an MR that was moved, and the motion (4, 4) that brings its points to the CT's."""

    ct: Volume
    mr: Volume
    truth: Matrix


def simulate(seed: int, contrast: str, coarseness: float = 1.0) -> SimulatedHead:
    """One person; ``coarseness`` multiplies the pixels, and the slices of the fine MR."""
    ct_px, mr_px, mr_step = 1.4 * coarseness, 1.7 * coarseness, 2.0 * min(coarseness, 1.3)
    side_ct, side_mr = round(224 / ct_px), round(218 / mr_px)
    ct = phantom(seed, shape=(32, side_ct, side_ct), spacing=(5.0, ct_px, ct_px))
    fine = phantom(
        seed,
        shape=(round(168 / mr_step), side_mr, side_mr),
        spacing=(mr_step, mr_px, mr_px),
        contrasts=(contrast,),
    )
    return SimulatedHead(ct.ct, fine.mr[contrast], contrast)


def displace(
    head: SimulatedHead,
    chance: np.random.Generator,
    *,
    mm: float = 10.0,
    degrees: float = 10.0,
    scale: float = 1.0,
    spacing: tuple[float, float, float] = (5.5, 0.9, 0.9),
    shape: tuple[int, int, int] = (26, 240, 240),
) -> Displaced:
    """Move the MR by up to ``mm`` along, and ``degrees`` about, each of the three axes.

    ``scale`` is by what the MR's millimetres are wrong.
    """
    centre = surface(head.ct).mean(axis=0)
    motion = random_motion(chance, centre, mm, degrees)
    mr = _cut(head.fine_mr, motion, spacing, shape)
    frame = np.eye(4)
    frame[:3, :3], frame[:3, 3] = _FRAME, _FRAME_MM
    mr = moved(mr, frame)
    truth = frame @ np.linalg.inv(motion) @ np.linalg.inv(frame)
    mr, wrong = _with_wrong_millimetres(mr, scale)
    return Displaced(moved(head.ct, frame), mr, truth @ np.linalg.inv(wrong))


def random_motion(
    chance: np.random.Generator, centre: NDArray[np.float64], mm: float, degrees: float
) -> Matrix:
    """Turn about ``centre`` and shift, uniformly within the bounds about and along each axis."""
    motion = np.eye(4)
    angles = chance.uniform(-degrees, degrees, 3)
    motion[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    motion[:3, 3] = centre - motion[:3, :3] @ centre + chance.uniform(-mm, mm, 3)
    return motion


def moved(volume: Volume, motion: Matrix) -> Volume:
    """The same voxels elsewhere: ``motion`` is rigid."""
    old = volume.geometry
    origin = motion[:3, :3] @ np.asarray(old.origin) + motion[:3, 3]
    return replace(volume, geometry=_geometry(old.spacing, origin, motion[:3, :3] @ old.matrix))


def surface(ct: Volume) -> NDArray[np.float64]:
    """(n, 3) LPS mm: the outline of the head in every slice of a CT."""
    mask = head_mask(ct.data, ct.unit, ct.modality)
    cross = np.array([[[0, 1, 0], [1, 1, 1], [0, 1, 0]]], dtype=bool)
    index = np.argwhere(mask & ~binary_erosion(mask, cross, border_value=1))
    return index @ ct.geometry.affine[:3, :3].T + ct.geometry.affine[:3, 3]


def surface_errors(found: Matrix, truth: Matrix, points: NDArray[np.float64]) -> Matrix:
    """(n,) mm: how far ``found`` puts from their place what ``truth`` puts on ``points``."""
    off = found @ np.linalg.inv(truth) - np.eye(4)
    return np.linalg.norm(points @ off[:3, :3].T + off[:3, 3], axis=1)


def _cut(
    fine: Volume,
    motion: Matrix,
    spacing: tuple[float, float, float],
    shape: tuple[int, int, int],
) -> Volume:
    """Thick oblique slices through a head that was moved; each the mean over its thickness."""
    middle = (np.append((np.asarray(fine.data.shape) - 1) / 2, 1) @ fine.geometry.affine.T)[:3]
    middle = (motion @ np.append(middle, 1))[:3]
    axes = _MR_TILT * spacing[::-1]
    origin = middle - axes @ ((np.asarray(shape[::-1]) - 1) / 2)
    geometry = _geometry(spacing, origin, _MR_TILT)
    index = np.linalg.inv(fine.geometry.affine) @ np.linalg.inv(motion) @ geometry.affine
    mean = np.zeros(shape, np.float32)
    data = fine.data.astype(np.float32)
    for part in range(_SUB_SLICES):
        start = index @ ((part + 0.5) / _SUB_SLICES - 0.5, 0, 0, 1)
        mean += affine_transform(data, index[:3, :3], start[:3], output_shape=shape, order=1)
    return Volume(np.rint(mean / _SUB_SLICES).astype(np.uint16), geometry, "MR")


def _with_wrong_millimetres(mr: Volume, scale: float) -> tuple[Volume, Matrix]:
    """The MR larger by ``scale`` about the world's origin, and the matrix that did it."""
    old = mr.geometry
    z, y, x = (scale * step for step in old.spacing)
    geometry = _geometry((z, y, x), scale * np.asarray(old.origin), old.matrix)
    return replace(mr, geometry=geometry), np.diag([scale, scale, scale, 1.0])


def _geometry(
    spacing: tuple[float, float, float],
    origin: NDArray[np.float64],
    direction: NDArray[np.float64],
) -> Geometry:
    x, y, z = (float(v) for v in origin)
    return Geometry(spacing, (x, y, z), tuple(float(v) for v in direction.ravel()))
