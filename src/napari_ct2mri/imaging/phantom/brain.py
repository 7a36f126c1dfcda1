"""Inside the cranial cavity: fluid, cortex, white matter, nuclei, ventricles, lesions.

Coordinates as in ``cranium``. The cortex is folded by sheets of noise that run from the
surface towards a line inside each hemisphere, so that sulci stand upright on it everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.imaging.phantom.cranium import (
    POSTERIOR_FOSSA,
    TEMPORAL_BACK,
    TEMPORAL_POLE,
    Envelope,
)
from napari_ct2mri.imaging.phantom.shapes import (
    Array,
    Ellipsoid,
    Mask,
    Points,
    Tube,
    smooth_union,
)
from napari_ct2mri.imaging.phantom.subject import Lesion, SliceFields, Subject
from napari_ct2mri.imaging.phantom.tissues import Tissue

__all__ = ["label_inside"]

Labels = NDArray[np.uint8]

DEEP_ZONE = Ellipsoid((0, 5, 2), (1e3, 39, 26))  # callosum and below: no fissure here
HEMISPHERE_AXIS = (21.0, -32.0, 62.0, 6.0)  # x, first y, last y, z
FOLD_RADIUS_MM = 54.0

LATERAL_VENTRICLE = Tube(
    (
        (15, -33, 3, 2.2),
        (9, -19, 10, 4.2),
        (7, -4, 17, 4.0),
        (11, 14, 22, 4.2),
        (20, 33, 18, 5.2),
        (26, 43, 7, 5.6),
    )
)
OCCIPITAL_HORN = Tube(((26, 43, 7, 4.6), (24, 58, 5, 3.0), (20, 72, 5, 0.5)))
TEMPORAL_HORN = Tube(((27, 44, 5, 4.0), (34, 30, -9, 2.2), (31, 8, -21, 1.6)))
CHOROID = Tube(((18, 30, 16, 1.5), (25, 42, 9, 2.8)))
THIRD_VENTRICLE = Ellipsoid((0, 9, -1), (2.2, 16, 11))
AQUEDUCT = Tube(((0, 27, -6, 1.0), (0, 36, -26, 1.2)))
FOURTH_VENTRICLE = Ellipsoid((0, 43, -34), (8, 6, 12))
CAUDATE = Tube(((14, -17, 5, 6.5), (15, -6, 12, 5.5), (19, 10, 21, 3.2), (25, 27, 18, 1.6)))
PUTAMEN = Ellipsoid((27, -1, 2), (5.2, 17, 11), -14)
PALLIDUM = Ellipsoid((20, 3, -1), (4.2, 9, 6.5), -24)
THALAMUS = Ellipsoid((12.5, 17, 7), (8.5, 15, 9.5), -22)
HIPPOCAMPUS = Tube(((26, 10, -19, 4.5), (31, 26, -10, 3.6), (26, 38, -1, 2.2)))
PINEAL = Ellipsoid((0, 32, 2), (3, 3.5, 3))
MIDBRAIN = Tube(((8, 16, -8, 9), (6, 20, -18, 9), (0, 23, -26, 12)))
TECTUM = Tube(((4, 30, -6, 5), (4, 33, -16, 5)))
PONS = Ellipsoid((0, 24, -34), (19, 13, 14))
MEDULLA = Tube(((0, 31, -42, 11), (0, 38, -58, 9), (0, 43, -90, 7)))
PEDUNCLE = Tube(((14, 30, -34, 7), (24, 46, -38, 9)))
CISTERNS = (
    Ellipsoid((0, 2, -22), (17, 17, 10)),  # suprasellar and interpeduncular
    Ellipsoid((0, 41, -2), (13, 6.5, 7)),  # quadrigeminal
    Ellipsoid((0, 40, -8), (16, 5, 6)),
)
CEREBELLUM = Ellipsoid((25, 59, -36), (32, 34, 23))
VERMIS = Ellipsoid((0, 62, -30), (14, 30, 25))
CEREBELLAR_WHITE = Ellipsoid((20, 52, -38), (17, 14, 8))
DENTATE = Ellipsoid((14, 52, -36), (5, 7, 5))
ARTERIES = (
    Tube(((0, 8, -22, 1.6), (0, 9, -40, 1.7), (5, 22, -58, 1.6))),  # basilar, vertebral
    Tube(((13, 4, -36, 2.4), (12, -4, -24, 2.3), (14, -3, -17, 2.0))),  # carotid
    Tube(((14, -3, -17, 1.7), (28, -8, -15, 1.5), (40, -6, -8, 1.2))),  # middle cerebral
    Tube(((12, -6, -17, 1.3), (2, -14, -14, 1.2), (2, -36, 0, 1.1), (2, -33, 20, 0.9))),
)
STRAIGHT_SINUS = Tube(((0, 42, 4, 2.0), (0, 92, -14, 2.5)))


def label_inside(f: SliceFields, e: Envelope, who: Subject) -> Labels:
    """Labels of points inside the cranial cavity, (n,) uint8."""
    labels = np.full(e.cavity.shape, Tissue.CSF, np.uint8)
    p = f.points
    _paint_dura(labels, p, e, who)
    if p.z_range[0] < 8:
        _paint_hindbrain(labels, f, e, who)
    lobes = _lobes(f, e, who)
    cerebrum = lobes.depth > 0
    if cerebrum.any():
        labels[cerebrum] = _label_cerebrum(f.take(cerebrum), lobes.take(cerebrum), who)
    if p.z_range[0] < 0:
        _paint_brain_stem(labels, p)
    _paint_ventricles(labels, f, who)
    _paint_calcium(labels, f, who)
    for lesion in who.lesions:
        _paint_lesion(labels, f, e, lesion)
    return labels


@dataclass(frozen=True)
class Lobes:
    """Depths of points in the cerebrum, mm, positive inside.

    ``depth`` below any surface of the brain, ``sunk`` below the outer one, against the skull.
    """

    depth: Array
    sunk: Array

    def take(self, mask: Mask) -> Lobes:
        """Only the points under ``mask``."""
        return Lobes(self.depth[mask], self.sunk[mask])


def _lobes(f: SliceFields, e: Envelope, who: Subject) -> Lobes:
    p = f.points
    outer = smooth_union(e.vault, TEMPORAL_POLE.distance(p), 8)
    outer = smooth_union(outer, TEMPORAL_BACK.distance(p), 10)
    gap = 1.1 + 1.8 * who.atrophy + 0.25 * f.fine
    sunk = -outer - np.maximum(gap, 0.6)
    depth = sunk
    flare = np.clip(1 - 0.12 * sunk, 0, 1) * (0.3 + 0.9 * who.atrophy)
    fissure = 0.4 + 0.6 * who.atrophy + flare + 0.12 * f.fine
    between = np.where(DEEP_ZONE.inside(p), 99, p.lateral - fissure)
    depth = np.minimum(depth, between)
    depth = np.minimum(depth, _above_tentorium(p) - 1.2)
    for cistern in CISTERNS:
        depth = np.minimum(depth, cistern.distance(p))
    return Lobes(depth.astype(np.float32), sunk.astype(np.float32))


def _above_tentorium(p: Points) -> Array:
    """Height over the tentorium, mm; far where there is none, in front of the petrous ridge."""
    roof = -2 - 3.1 * np.sqrt(p.lateral + 1) - 0.2 * (p.y - 42)
    front = 16 + 0.5 * p.lateral
    above: Array = np.maximum(0.9 * (p.z - roof), 0.9 * (front - p.y)).astype(np.float32)
    return above


def _label_cerebrum(f: SliceFields, lobes: Lobes, who: Subject) -> Labels:
    """Cortex, sulci, white matter and deep nuclei of points inside the cerebrum."""
    p = f.points
    labels = np.full(p.x.shape, Tissue.WHITE, np.uint8)
    ribbon = 2.7 - 0.5 * who.atrophy + 0.25 * f.fine
    deep = DEEP_ZONE.inside(p) & (p.lateral < 34)
    labels[(lobes.depth < ribbon) & ~deep] = Tissue.GREY
    _paint_sulci(labels, f, lobes, who, ribbon)
    _paint_sylvian(labels, f, lobes, who)
    _paint_gliosis(labels, f, lobes, who)
    labels[HIPPOCAMPUS.inside(p)] = Tissue.DEEP_GREY
    for nucleus in (CAUDATE, PUTAMEN, THALAMUS):
        labels[nucleus.inside(p)] = Tissue.DEEP_GREY
    labels[PALLIDUM.inside(p)] = Tissue.PALLIDUM
    return labels


def _paint_sulci(labels: Labels, f: SliceFields, lobes: Lobes, who: Subject, ribbon: Array) -> None:
    p = f.points
    ax, first, last, az = (v for v in HEMISPHERE_AXIS)
    dx, dy, dz = p.x - np.copysign(ax, p.x), p.y - np.clip(p.y, first, last), p.z - az
    radius = np.sqrt(dx * dx + dy * dy + dz * dz) + 1e-3
    out = FOLD_RADIUS_MM / radius
    at = (p.x - dx + dx * out, p.y - dy + dy * out, p.z - dz + dz * out)
    wavy = (at[0], at[1] + 2.2 * f.fine, at[2] + 6 * f.rough)
    near_surface = np.clip(radius / 24 - 0.35, 0, 1)
    near_surface = near_surface * np.clip(1 + (p.z + 8) / 40, 0.45, 1)  # flat lobes at the base
    some = np.clip(f.rough + 0.5, 0.1, 1.3)  # secondary sulci stand in groups
    for folds, reach, narrow in ((who.sulci, 24.0, 1.0), (who.small_sulci, 9.0 * some, 0.6)):
        sheet = np.abs(folds.distance(*wavy)) / out
        floor = reach * near_surface * (1 + 0.28 * f.rough)
        opening = np.clip(1 - lobes.depth / np.maximum(floor, 1), 0, 1)
        width = 0.15 + 0.45 * who.atrophy + (0.3 + 0.6 * who.atrophy) * opening**2
        width = narrow * width + 0.1 * f.fine
        beside = np.hypot(sheet, np.maximum(lobes.depth - floor, 0))
        labels[(beside < width + ribbon * 0.9) & (labels == Tissue.WHITE)] = Tissue.GREY
        labels[(sheet < width) & (lobes.depth < floor)] = Tissue.CSF


def _paint_sylvian(labels: Labels, f: SliceFields, lobes: Lobes, who: Subject) -> None:
    """The lateral fissure rises backwards from the temporal pole to the island behind it."""
    p = f.points
    half = (0.25 + 0.8 * who.atrophy) * (1 + 0.6 * f.fine)
    lift = np.abs(p.z + 5 - 0.42 * p.y + f.rough) * 0.92
    island = Ellipsoid((29, -1, 3), (9.5, 24, 17), -8).distance(p) + 0.5 * f.fine
    around = (p.lateral > 30) & (np.abs(p.y) < 22)
    cleft = (p.y > -24) & (p.y < 36) & (p.lateral > 38)
    labels[around & (np.abs(island - half) < half + 2.5)] = Tissue.GREY
    labels[cleft & (lift < half + 2.5)] = Tissue.GREY
    labels[around & (np.abs(island - half) < half)] = Tissue.CSF
    opening = 0.03 + 0.05 * who.atrophy * np.clip(20 - lobes.sunk, 0, 20)
    labels[cleft & (lift < half + opening)] = Tissue.CSF


def _paint_gliosis(labels: Labels, f: SliceFields, lobes: Lobes, who: Subject) -> None:
    """White matter beside the ventricles that aged, and scattered spots."""
    if who.gliosis <= 0.1:
        return
    beside = LATERAL_VENTRICLE.grown(who.ventricles).distance(f.points)
    caps = beside + 1.3 * f.fine < 5 * who.gliosis
    spots = (f.fine > 2.9 - 0.8 * who.gliosis) & (lobes.depth > 5)
    labels[(caps | spots) & (labels == Tissue.WHITE)] = Tissue.GLIOSIS


def _paint_hindbrain(labels: Labels, f: SliceFields, e: Envelope, who: Subject) -> None:
    p = f.points
    body = smooth_union(CEREBELLUM.distance(p), VERMIS.distance(p), 5)
    inside = -np.maximum(body, POSTERIOR_FOSSA.distance(p) + 1.5 + 1.5 * who.atrophy)
    inside = np.minimum(inside, -_above_tentorium(p) - 0.8)
    inside = np.minimum(inside, -e.cavity - 1)
    tissue = inside > 0
    labels[tissue] = Tissue.CEREBELLUM
    arcs = np.hypot(0.9 * p.lateral, p.y - 25) + 0.8 * p.z + 1.2 * f.fine
    folia = np.abs(arcs % 5.2 - 2.6)  # 0 in a fissure, 2.6 in the middle of a folium
    white = CEREBELLAR_WHITE.distance(p) + 1.2 * f.fine
    labels[tissue & (folia > 2.0) & (inside > 3) & (white < 9)] = Tissue.WHITE
    shallow = np.clip(1 - inside / 12, 0, 1)
    labels[tissue & (folia < (0.2 + 0.4 * who.atrophy) * shallow) & (white > 2)] = Tissue.CSF
    labels[tissue & (white < 0)] = Tissue.WHITE
    labels[DENTATE.inside(p) & tissue] = Tissue.DEEP_GREY


def _paint_brain_stem(labels: Labels, p: Points) -> None:
    for part in (MIDBRAIN, TECTUM, PONS, MEDULLA, PEDUNCLE):
        labels[part.inside(p)] = Tissue.BRAIN_STEM
    chiasm = Tube(((0, 0, -18, 2.2), (8, -9, -21, 2.0)))
    labels[chiasm.inside(p)] = Tissue.NERVE
    for artery in ARTERIES:
        labels[artery.inside(p)] = Tissue.BLOOD


def _paint_ventricles(labels: Labels, f: SliceFields, who: Subject) -> None:
    p = f.points
    grow, extra = who.ventricles, 0.5 * (who.ventricles - 1)
    for horn in (LATERAL_VENTRICLE, OCCIPITAL_HORN, TEMPORAL_HORN):
        wall = horn.grown(grow, extra).distance(p) + 0.35 * f.fine
        labels[(wall < 0) & (p.lateral > 0.9)] = Tissue.CSF
    third = Ellipsoid(THIRD_VENTRICLE.centre, (2.0 * who.ventricles, 16, 11))
    for hollow in (third, AQUEDUCT, FOURTH_VENTRICLE.scaled(0.85 + 0.15 * grow)):
        labels[hollow.inside(p)] = Tissue.CSF
    labels[CHOROID.inside(p) & (labels == Tissue.CSF)] = Tissue.TUMOUR  # enhances as one


def _paint_dura(labels: Labels, p: Points, e: Envelope, who: Subject) -> None:
    falx = (p.lateral < 0.7) & ~DEEP_ZONE.inside(p) & (p.z > -12) & (e.vault > -34)
    labels[falx] = Tissue.DURA
    labels[np.abs(_above_tentorium(p)) < 0.5] = Tissue.DURA
    sagittal = (p.lateral < 3.6 + e.vault * 0.5) & (e.vault > -6) & (p.z > -12) & (p.y > -55)
    labels[sagittal] = Tissue.BLOOD
    transverse = (np.abs(p.z + 17) < 4) & (p.y > 60) & (e.cavity > -5)
    labels[transverse | STRAIGHT_SINUS.inside(p)] = Tissue.BLOOD


def _paint_calcium(labels: Labels, f: SliceFields, who: Subject) -> None:
    p = f.points
    labels[PINEAL.inside(p)] = Tissue.DEEP_GREY
    if "pineal" in who.calcified:
        labels[PINEAL.scaled(0.7).inside(p)] = Tissue.CALCIUM
    if "choroid" in who.calcified:
        labels[CHOROID.grown(0.8).inside(p) & (p.y > 36) & (f.fine > -0.4)] = Tissue.CALCIUM
    if "pallidum" in who.calcified:
        labels[PALLIDUM.scaled(0.5).inside(p) & (f.fine > 0)] = Tissue.CALCIUM
    if "falx" in who.calcified:
        plate = (p.lateral < 1.3) & (labels == Tissue.DURA) & (f.rough > 0.9)
        labels[plate] = Tissue.CALCIUM


def _paint_lesion(labels: Labels, f: SliceFields, e: Envelope, lesion: Lesion) -> None:
    """A ball with a rough edge, painted over the tissues its kind can take."""
    p, r = f.points, lesion.radius_mm
    cx, cy, cz = lesion.centre
    dx, dy, dz = p.x - cx * lesion.side, p.y - cy, p.z - cz
    ragged = 0.3 if lesion.kind in ("infarct", "oedema") else 0.18
    away = np.sqrt(dx * dx + dy * dy + dz * dz) + ragged * r * f.rough + 0.5 * f.fine
    brain = _is_one_of(labels, Tissue.GREY, Tissue.WHITE, Tissue.DEEP_GREY, Tissue.PALLIDUM,
                       Tissue.GLIOSIS, Tissue.BRAIN_STEM, Tissue.CEREBELLUM)  # fmt: skip
    white = _is_one_of(labels, Tissue.WHITE, Tissue.GLIOSIS)
    solid = brain | (labels == Tissue.CSF)
    match lesion.kind:
        case "infarct":
            labels[brain & (away < r) & (p.x * lesion.side > 1)] = Tissue.INFARCT  # one territory
        case "oedema":
            labels[white & (away < 1.2 * r)] = Tissue.OEDEMA
        case "haemorrhage":
            labels[white & (away < 1.35 * r + 3)] = Tissue.OEDEMA
            labels[solid & (away < r)] = Tissue.CLOT
        case "tumour":
            labels[white & (away < 1.7 * r)] = Tissue.OEDEMA
            labels[solid & (away < r)] = Tissue.TUMOUR
            labels[solid & (away < 0.62 * r - 2)] = Tissue.NECROSIS
        case "meningioma":
            labels[white & (away < 1.4 * r)] = Tissue.OEDEMA
            labels[solid & (away < r)] = Tissue.MENINGIOMA
        case "calcification":
            labels[solid & (away < r)] = Tissue.CALCIUM
        case "hygroma":
            crescent = -e.cavity < 1.3 * r * np.exp(-((away / 48) ** 2)) - 1
            labels[solid & crescent] = Tissue.HYGROMA


def _is_one_of(labels: Labels, *tissues: Tissue) -> Mask:
    table = np.zeros(len(Tissue), np.bool_)
    table[list(tissues)] = True
    mask: Mask = table[labels]
    return mask
