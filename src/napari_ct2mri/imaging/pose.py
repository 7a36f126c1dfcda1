"""A pose: how an MR lies on a CT, and points that say so. World coordinates, LPS mm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.errors import VolumeError

__all__ = [
    "AlignKind",
    "Landmarks",
    "Matrix",
    "Points",
    "Registration",
    "distances_mm",
    "inverse",
    "moved",
]

AlignKind = Literal["rigid", "affine"]

Matrix: TypeAlias = NDArray[np.float64]
"""(4, 4), homogeneous."""

Points: TypeAlias = NDArray[np.float64]
"""(n, 3) LPS mm."""

_WIDTH_MM = 5.0
"""Landmarks that spread less than this across their line do not say how a head is turned."""


@dataclass(frozen=True, slots=True, eq=False)
class Landmarks:
    """Places that somebody found in both images, (n, 3) LPS mm each, n >= 3.

    Raises
    ------
    VolumeError
        If there are fewer than three pairs, or they lie on a line.
    """

    ct: Points
    mr: Points

    def __post_init__(self) -> None:
        if self.ct.shape != self.mr.shape or self.ct.ndim != 2 or self.ct.shape[1:] != (3,):
            raise VolumeError(
                f"landmarks: expected as many points (x, y, z) in the CT as in the MR, got "
                f"{self.ct.shape} and {self.mr.shape}"
            )
        if not np.isfinite([self.ct, self.mr]).all():
            raise VolumeError("landmarks: expected finite numbers, got NaN or infinity")
        if len(self.ct) < 3:
            raise VolumeError(f"landmarks: expected 3 pairs or more, got {len(self.ct)}")
        for name, points in (("CT", self.ct), ("MR", self.mr)):
            widths = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
            if widths[1] < _WIDTH_MM:
                raise VolumeError(
                    f"landmarks: those in the {name} lie on a line or in one place; spread them "
                    "over the head"
                )

    def fit(self) -> Matrix:
        """The rigid motion that brings the CT's points closest to the MR's."""
        import SimpleITK as sitk

        pose = sitk.LandmarkBasedTransformInitializer(
            sitk.VersorRigid3DTransform(), self.ct.ravel().tolist(), self.mr.ravel().tolist()
        )
        matrix = np.eye(4)
        matrix[:3, :3] = np.reshape(pose.GetMatrix(), (3, 3))
        matrix[:3, 3] = pose.TransformPoint((0.0, 0.0, 0.0))
        return matrix

    def miss_mm(self, ct_to_mr: Matrix) -> float:
        """Root mean square of what lies between each pair after a motion."""
        return float(np.sqrt(np.mean(distances_mm(moved(self.ct, ct_to_mr), self.mr) ** 2)))


@dataclass(frozen=True, slots=True, eq=False)
class Registration:
    """Where the MR lies on the CT.

    Attributes
    ----------
    matrix : (4, 4)
        Points of the MR to points of the CT, LPS mm.
    kind : "rigid" or "affine"
    before, after : float, nats
        Mattes mutual information as the headers put the images, and as registered.
    overlap : float, 0..1
        Share of the CT's head that the MR shows.
    centre : (3,) LPS mm
        Of the CT's head.
    doubts : tuple of str
        Why the result is unsure, as sentences; empty if nothing speaks against it.
    """

    matrix: Matrix
    kind: AlignKind
    before: float
    after: float
    overlap: float
    centre: tuple[float, float, float]
    doubts: tuple[str, ...] = ()

    @property
    def is_unsure(self) -> bool:
        """Whether somebody should look before the result is used."""
        return bool(self.doubts)

    @property
    def shift_mm(self) -> float:
        """How far what now is the head's centre was moved."""
        centre = np.asarray([self.centre])
        return float(distances_mm(moved(centre, inverse(self.matrix)), centre)[0])

    @property
    def angle_deg(self) -> float:
        """How far it was turned, about whatever axis."""
        u, _, vh = np.linalg.svd(self.matrix[:3, :3])
        return float(np.degrees(np.arccos(np.clip((np.trace(u @ vh) - 1) / 2, -1, 1))))

    @property
    def scales(self) -> tuple[float, float, float]:
        """Factors along its three principal axes, ascending; ones if rigid."""
        small, middle, large = sorted(np.linalg.svd(self.matrix[:3, :3], compute_uv=False))
        return float(small), float(middle), float(large)

    @property
    def summary(self) -> str:
        """How the MR was moved, in words."""
        text = f"moved {self.shift_mm:.1f} mm, turned {self.angle_deg:.1f} degrees"
        if self.kind == "affine":
            text += ", scaled by " + ", ".join(f"{scale:.3f}" for scale in self.scales)
        return text


def moved(points: Points, matrix: Matrix) -> Points:
    """Points after a motion."""
    return np.asarray(points @ matrix[:3, :3].T + matrix[:3, 3])


def inverse(matrix: Matrix) -> Matrix:
    """The way back."""
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)


def distances_mm(a: Points, b: Points) -> NDArray[np.float64]:
    """(n,) between points and points."""
    return np.asarray(np.linalg.norm(a - b, axis=1), dtype=np.float64)
