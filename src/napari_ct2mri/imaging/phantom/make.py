"""A simulated patient: CT and MR volumes of one head on one grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.errors import ConfigError, VolumeError
from napari_ct2mri.imaging.phantom.cranium import vertex_mm
from napari_ct2mri.imaging.phantom.scanner import Grid, acquire_ct, acquire_mr, scan
from napari_ct2mri.imaging.phantom.subject import draw_subject
from napari_ct2mri.imaging.phantom.tissues import SEQUENCES
from napari_ct2mri.imaging.volume import Geometry, Volume

__all__ = ["SHAPE", "SPACING", "Phantom", "check_request", "phantom", "sample_pair"]

SHAPE = (40, 256, 256)
SPACING = (3.5, 0.9375, 0.9375)
_MAX_VOXELS = 2**27
_BELOW_VERTEX_MM = 5.0
"""How far under the scalp's top the highest slice lies, so that it still shows some head."""


@dataclass(frozen=True, slots=True)
class Phantom:
    """One head.

    Attributes
    ----------
    ct : Volume
        int16, HU.
    mr : dict of str to Volume
        By contrast; uint16, arbitrary units, another scale each.
    labels : (z, y, x) uint8
        :class:`~napari_ct2mri.imaging.phantom.Tissue` at the voxels' centres.
    lesions : tuple of str
        What this head suffers from, if anything.
    """

    ct: Volume
    mr: dict[str, Volume]
    labels: NDArray[np.uint8]
    lesions: tuple[str, ...]


def phantom(
    seed: int,
    *,
    shape: tuple[int, int, int] = SHAPE,
    spacing: tuple[float, float, float] = SPACING,
    contrasts: tuple[str, ...] = ("T2",),
) -> Phantom:
    """Simulate a head.

    Parameters
    ----------
    seed : int, >= 0
        One seed is one person: the same voxels on every run, the same anatomy on every grid.
    shape : (z, y, x)
        Axial slices from below upwards; the highest shows the vertex.
    spacing : (z, y, x) mm
        The defaults reach from the skull base to the vertex.
    contrasts : tuple of str
        Among "T1", "T2", "PD", "FLAIR". An image does not depend on which others are made.

    Raises
    ------
    VolumeError, ConfigError
        If the grid or a contrast cannot be made.
    """
    check_request(seed, shape, spacing, contrasts)
    who = draw_subject(_generator(seed, "anatomy"))
    grid = Grid.of(shape, spacing, who.height_mm(vertex_mm(who)) - _BELOW_VERTEX_MM)
    ideal = scan(who, grid, contrasts)
    geometry = Geometry(spacing, (float(grid.x[0]), float(grid.y[0]), float(grid.z[0])))
    ct = acquire_ct(ideal, who, grid, _generator(seed, "CT"))
    return Phantom(
        ct=Volume(ct, geometry, "CT", "HU"),
        mr={
            c: Volume(acquire_mr(ideal.mr[c], grid, _generator(seed, c)), geometry, "MR")
            for c in contrasts
        },
        labels=ideal.labels,
        lesions=tuple(lesion.kind for lesion in who.lesions),
    )


def sample_pair(seed: int = 0) -> tuple[Volume, Volume]:
    """A CT and its T2 for a first look: 24 slices of 256 x 256, in about a second."""
    head = phantom(seed, shape=(24, 256, 256), spacing=(5.5, 0.9375, 0.9375))
    return head.ct, head.mr["T2"]


def check_request(
    seed: int,
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    contrasts: tuple[str, ...],
) -> None:
    """Refuse what cannot be made, before any work.

    Raises
    ------
    VolumeError, ConfigError
        With the bound that was broken.
    """
    if seed < 0:
        raise ConfigError(f"phantom: the seed must be 0 or more, got {seed}")
    if len(shape) != 3 or min(shape) < 1 or np.prod(shape, dtype=np.float64) > _MAX_VOXELS:
        raise VolumeError(
            f"phantom: expected a shape (z, y, x) of at most {_MAX_VOXELS:,} voxels, got {shape}"
        )
    if len(spacing) != 3 or not all(0.1 <= s <= 50 for s in spacing):
        raise VolumeError(f"phantom: expected (z, y, x) spacing of 0.1 to 50 mm, got {spacing}")
    if not contrasts or len(set(contrasts)) != len(contrasts) or set(contrasts) - set(SEQUENCES):
        raise ConfigError(
            f"phantom: expected different contrasts among {', '.join(SEQUENCES)}, "
            f"got {', '.join(contrasts) or 'none'}"
        )


def _generator(seed: int, purpose: str) -> np.random.Generator:
    """Random numbers of one purpose only, so that one image never shifts those of another."""
    return np.random.default_rng([seed, *purpose.encode()])
