"""An MR onto a CT: the pose that makes their mutual information largest, and how sure that is.

Mattes mutual information (Mattes et al. 2003) over three resolutions, from where the files'
headers put the heads and from where the heads' centres meet; rigid, then, if asked for, affine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np

from napari_ct2mri.errors import ConfigError, VolumeError
from napari_ct2mri.imaging.alignment import (
    LEVELS,
    Level,
    mutual_information,
    optimise,
)
from napari_ct2mri.imaging.doubts import doubts, landmark_doubts, rivalry
from napari_ct2mri.imaging.pose import AlignKind, Landmarks, Matrix, Points, Registration, inverse
from napari_ct2mri.imaging.prepared import Prepared, prepare, share_inside
from napari_ct2mri.imaging.resampling import resample_onto
from napari_ct2mri.imaging.volume import Volume
from napari_ct2mri.jobs import Job, Notice, Progress

__all__ = ["AlignKind", "Landmarks", "Registration", "register", "resample_onto"]

_MOST_THREADS = 256
_NO_OVERLAP = 0.1
"""Share of the CT's head in the MR's field below which headers say nothing of one another."""

_AIR_MM = 80.0
_TURNS_DEG = 15.0
_SHIFTS_MM = (-50.0, -25.0, 0.0, 25.0, 50.0)
"""Starts that are tried about the heads' centres, along the body: images seldom end at the
same height."""


def register(
    ct: Volume,
    mr: Volume,
    *,
    kind: AlignKind = "rigid",
    landmarks: Landmarks | None = None,
    seed: int = 0,
    threads: int = 1,
) -> Job[Registration]:
    """Find where an MR lies on a CT of the same head.

    Parameters
    ----------
    ct, mr : Volume
        Anywhere in the world, at any angle to each other up to some 30 degrees.
    kind : "rigid" or "affine"
        Affine also scales and shears: for MR whose millimetres are not to be trusted.
    landmarks : Landmarks, optional
        The start, in place of the headers and the heads' centres.
    seed : int, >= 0
        Of the draw of voxels.
    threads : int
        With one, the same input gives the same matrix, bit for bit. More are faster, but ITK adds
        up what they found in the order in which they end, which moves a head by some 0.01 mm.
        0: one a core.

    Yields
    ------
    Progress
        After every iteration; closing the job there stops the search.
    Notice
        If headers cannot be a start.

    Raises
    ------
    ConfigError
        If ``seed`` or ``threads`` is out of range.
    VolumeError
        If the two are no CT and MR of a head in millimetres, or share too little of it.
    """
    if not 0 <= threads <= _MOST_THREADS or seed < 0:
        raise ConfigError(
            f"registration: expected 0 to {_MOST_THREADS} threads and a seed of 0 or more, got "
            f"{threads} and {seed}"
        )
    _check(ct, mr)
    plan = _Plan(kind, seed, threads)
    yield plan.progress()
    pair = prepare(ct, mr)
    starts = _starts(pair, landmarks)
    if landmarks is None and len(starts) == 1:
        yield Notice(
            "by their headers CT and MR do not overlap; the search starts where the heads' centres "
            "meet"
        )
    ends = yield from _coarse(pair, starts, plan)
    best = max(ends, key=lambda end: end[1])[0]
    best = yield from _fine(pair, best, plan)
    found = Registration(
        matrix=inverse(best),
        kind=kind,
        before=mutual_information(pair, np.eye(4), threads),
        after=mutual_information(pair, best, threads),
        overlap=share_inside(pair.ct_head.inside, pair.mr, best),
        centre=_triple(pair.ct_head.centre),
    )
    against = [*doubts(pair, found, threads), *rivalry(pair, ends), *plan.doubts]
    if landmarks is not None:
        against += landmark_doubts(landmarks, best)
    yield plan.progress(plan.total)
    return replace(found, doubts=tuple(against))


class _Plan:
    """What the stages of one search have in common, and how far they are."""

    def __init__(self, kind: AlignKind, seed: int, threads: int) -> None:
        self.kind, self.seed, self.threads = kind, seed, threads
        self.total = 2 * (LEVELS[0].limit + LEVELS[1].limit) + LEVELS[2].limit
        self.total += LEVELS[1].limit if kind == "affine" else 0
        self.before = 0  # iterations that earlier stages could have taken
        self.doubts: list[str] = []

    def progress(self, iteration: int = 0) -> Progress:
        return Progress(min(self.before + iteration, self.total), self.total, "iterations")

    def climb(self, pair: Prepared, start: Matrix, kind: AlignKind, level: Level) -> Job[Matrix]:
        end, at_limit = yield from optimise(
            pair, start, kind, level, self.progress, seed=self.seed, threads=self.threads
        )
        self.before += level.limit
        if at_limit and level is LEVELS[-1]:
            self.doubts.append(f"the search ended at its limit of {level.limit} iterations")
        return end


def _coarse(
    pair: Prepared, starts: list[list[Matrix]], plan: _Plan
) -> Job[list[tuple[Matrix, float]]]:
    """Follow the best start of each family; where the searches ended, and how good it is there."""
    coarse, middle = (pair.at(level.mm) for level in LEVELS[:2])
    coarse = coarse.with_air(_AIR_MM)
    ends: list[tuple[Matrix, float]] = []
    for number, family in enumerate(starts, start=1):
        start = max(family, key=lambda one: mutual_information(coarse, one, plan.threads))
        end = yield from plan.climb(coarse, start, "rigid", LEVELS[0])
        try:
            end = yield from plan.climb(middle, end, "rigid", LEVELS[1])
        except VolumeError:  # it lost the head; another start need not
            if number == len(starts) and not ends:
                raise
            continue
        ends.append((end, mutual_information(middle, end, plan.threads)))
    return ends


def _fine(pair: Prepared, start: Matrix, plan: _Plan) -> Job[Matrix]:
    """From the best rigid pose to the end."""
    if plan.kind == "affine":
        start = yield from plan.climb(pair.at(LEVELS[1].mm), start, "affine", LEVELS[1])
    return (yield from plan.climb(pair, start, plan.kind, LEVELS[2]))


def _check(ct: Volume, mr: Volume) -> None:
    """Refuse what cannot be registered, before any work."""
    if ct.is_picture or mr.is_picture:
        which = "CT" if ct.is_picture else "MR"
        raise VolumeError(
            f"the {which} is made of pictures, which have no millimetres; registration needs "
            "volumes with spacing (DICOM, NIfTI, NRRD, MHA)"
        )
    if ct.modality == "MR" and (mr.modality == "CT" or _is_hu(mr)):
        raise VolumeError("the first volume is an MR, the second a CT: give the CT first")
    if ct.modality == "MR":
        raise VolumeError("both volumes are MR; registration brings an MR onto a CT")
    if mr.modality == "CT" or mr.unit == "HU":
        raise VolumeError("both volumes are CT; registration brings an MR onto a CT")
    if _is_hu(mr):
        swapped = " (are CT and MR swapped?)" if not _is_hu(ct) else ""
        raise VolumeError(
            f"the MR's values from {mr.data.min():g} are those of a CT, with air at -1000{swapped}"
        )
    for name, volume in (("CT", ct), ("MR", mr)):
        if not np.isfinite([volume.data.min(), volume.data.max()]).all():
            raise VolumeError(f"the {name} holds NaN or infinity; replace them first")


def _is_hu(volume: Volume) -> bool:
    """Whether a good part of the values is air in HU."""
    sample = volume.data[:: max(1, len(volume.data) // 16), ::4, ::4]
    return bool((sample.astype(np.float32) < -500).mean() > 0.02)


def _starts(pair: Prepared, landmarks: Landmarks | None) -> list[list[Matrix]]:
    """Families of starts, CT points to MR points; of each the best is followed."""
    if landmarks is not None:
        return [[landmarks.fit()]]
    ct, mr = pair.ct_head.centre, pair.mr_head.centre
    families = []
    if share_inside(pair.ct_head.inside, pair.mr, np.eye(4)) >= _NO_OVERLAP:
        families.append([_about(ct, turn, np.zeros(3)) for turn in _turns()])
    apart = mr - ct
    shifts = [np.array([0, 0, shift]) for shift in _SHIFTS_MM]
    families.append([_about(ct, t, apart + s) for t, s in product(_turns(), shifts)])
    return families


def _turns() -> Iterator[Matrix]:
    """(3, 3) each: no turn, then one about each axis both ways."""
    yield np.eye(3)
    for axis in range(3):
        for sign in (-1, 1):
            a = np.radians(sign * _TURNS_DEG)
            turn = np.eye(3)
            i, j = (axis + 1) % 3, (axis + 2) % 3
            turn[[i, j], [i, j]] = np.cos(a)
            turn[i, j], turn[j, i] = -np.sin(a), np.sin(a)
            yield turn


def _about(centre: Points, turn: Matrix, move: Points) -> Matrix:
    """Turn about a centre, then move."""
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    matrix[:3, 3] = centre - turn @ centre + move
    return matrix


def _triple(values: Points) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in values)
    return x, y, z
