"""What speaks against a registration, in words.

The bounds were set on simulated and average heads: right poses stay clear of them, the wrong
ones of the tests do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from napari_ct2mri.imaging.alignment import LEVELS, mutual_information
from napari_ct2mri.imaging.pose import (
    Landmarks,
    Matrix,
    Registration,
    distances_mm,
    inverse,
    moved,
)
from napari_ct2mri.imaging.prepared import Prepared, is_inside

__all__ = ["doubts", "landmark_doubts", "rivalry"]

_APART_MM = 3.0
_RIVAL = 0.97
"""Two ends of the search apart by more than the one, alike in mutual information by more than
the other, are both possible."""

_LITTLE_OVERLAP = 0.5
"""Of the CT's head in the MR's field."""

_WIDE_DEG = 35.0
_SMALLEST = 0.85
"""Factor by which millimetres are hardly ever wrong; nor by its inverse."""

_WORSE = 0.98
"""Of the mutual information before; a pair that lay right may lose a little to rounding."""

_BESIDE_MM = 10.0
_FLAT = 0.62
"""Mutual information beside the best place over that at it: 0.39 to 0.57 where the pose is right,
0.64 to 0.83 with other or mirrored heads."""

_GAP_MM = 5.0
"""Between the heads' outlines: 2 to 3.5 mm where the pose is right, from the voxels' size."""

_MISS_MM = 10.0
"""Of landmarks; clicked ones are good to a few millimetres."""


def doubts(pair: Prepared, found: Registration, threads: int) -> Iterator[str]:
    """What speaks against a result, by itself."""
    best = inverse(found.matrix)
    if found.overlap < _LITTLE_OVERLAP:
        yield f"the MR shows only {found.overlap:.0%} of the CT's head"
    if found.angle_deg > _WIDE_DEG:
        yield f"turned by {found.angle_deg:.0f} degrees, which is much for a head"
    if not _SMALLEST < found.scales[0] <= found.scales[-1] < 1 / _SMALLEST:
        yield "scaled by " + " x ".join(f"{s:.2f}" for s in found.scales) + ", which is much"
    if found.after < _WORSE * found.before:
        yield (
            f"mutual information fell from {found.before:.3f} to {found.after:.3f}: it lay better "
            "before"
        )
    here, beside = _peak(pair, best, threads)
    if beside > _FLAT * here:
        yield (
            f"mutual information is not much higher here ({here:.2f}) than {_BESIDE_MM:g} mm "
            f"beside ({beside:.2f}): another patient, a mirrored image or a wrong pose"
        )
    gap = _gap_mm(pair, best)
    if gap > _GAP_MM:
        yield (
            f"the outlines of the heads lie {gap:.1f} mm apart: another patient, wrong millimetres "
            "or a wrong pose"
        )


def _peak(pair: Prepared, best: Matrix, threads: int) -> tuple[float, float]:
    """Mutual information at the best place, and its mean over six around it."""
    coarser = pair.at(LEVELS[1].mm)
    values = []
    for axis, sign in product(range(3), (-1, 1)):
        beside = best.copy()
        beside[axis, 3] += sign * _BESIDE_MM
        values.append(mutual_information(coarser, beside, threads))
    return mutual_information(coarser, best, threads), float(np.mean(values))


def _gap_mm(pair: Prepared, best: Matrix) -> float:
    """Median distance of the CT's head surface, as far as the MR's field reaches, to the MR's."""
    from scipy.spatial import KDTree

    if not len(pair.mr_head.surface) or not len(pair.ct_head.surface):
        return 0.0
    points = moved(pair.ct_head.surface, best)
    points = points[is_inside(points, pair.mr)]
    return float(np.median(KDTree(pair.mr_head.surface).query(points)[0])) if len(points) else 0.0


def rivalry(pair: Prepared, ends: list[tuple[Matrix, float]]) -> Iterator[str]:
    """Say that two starts ended apart, one as good as the other."""
    (best, value), *others = sorted(ends, key=lambda end: -end[1])
    for other, worth in others:
        points = pair.ct_head.surface
        apart = float(np.percentile(distances_mm(moved(points, best), moved(points, other)), 95))
        if apart > _APART_MM and worth > _RIVAL * value:
            yield (
                f"from the headers and from the heads' centres the search ends {apart:.0f} mm apart"
            )


def landmark_doubts(landmarks: Landmarks, best: Matrix) -> Iterator[str]:
    """Say that landmarks disagree with one another, or with the result."""
    own, end = landmarks.miss_mm(landmarks.fit()), landmarks.miss_mm(best)
    if own > _MISS_MM:
        yield f"the landmarks miss each other by {own:.0f} mm however the head is turned"
    elif end > _MISS_MM:
        yield f"the landmarks end {end:.0f} mm apart"
