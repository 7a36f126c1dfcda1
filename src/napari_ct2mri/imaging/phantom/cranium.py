"""The head around the brain: skin, fat, muscle, skull, sinuses, orbits, nose and ears.

Coordinates in the tables were read off the average head's T1 and CT appearance (MNI space,
y reversed) and are rounded to millimetres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.imaging.phantom.shapes import (
    Array,
    Ellipsoid,
    Mask,
    Points,
    Tube,
    smooth_union,
)
from napari_ct2mri.imaging.phantom.subject import SliceFields, Subject
from napari_ct2mri.imaging.phantom.tissues import Tissue

__all__ = ["Envelope", "envelope", "label_outside", "vertex_mm"]

# the cranial cavity
VAULT = Ellipsoid((0, 17, 0), (71.5, 90, 81.5))
TEMPORAL_POLE = Ellipsoid((42, -2, -27), (25, 25, 23))
TEMPORAL_BACK = Ellipsoid((44, 28, -14), (26, 36, 20))
POSTERIOR_FOSSA = Ellipsoid((0, 56, -35), (58, 43, 27))
STEM_CHANNEL = Tube(((0, 18, -12, 17), (0, 24, -34, 18), (0, 36, -56, 15), (0, 43, -84, 12)))

# skin below the vault: height, half width, front, back (mm), joined linearly
_FACE = np.array(
    [
        (-110, 66, -60, 84),
        (-90, 70, -64, 96),
        (-66, 76, -67, 102),
        (-56, 76, -69, 105),
        (-46, 76, -72, 108),
        (-36, 78, -77, 110),
        (-26, 79, -84, 112),
        (-16, 80, -87, 113),
        (6, 78, -84, 110),
    ],
    dtype=np.float32,
)
_FACE_CENTRE_Y = 17.0
NOSE = Tube(((0, -71, -34, 8), (0, -77, -50, 10), (0, -79, -62, 13), (0, -70, -72, 12)))
EYE = Ellipsoid((34, -59, -40), (12.3, 12.3, 12.3))
LENS = Ellipsoid((35, -68.5, -40), (4.6, 2.2, 4.6))
ORBIT = Tube(((36, -64, -40, 19), (24, -40, -37, 12), (12, -20, -34, 4)))
OPTIC_NERVE = Tube(((33, -47, -40, 2.1), (22, -30, -36, 2.0), (11, -14, -30, 2.0)))
EYE_MUSCLES = (
    Tube(((21, -62, -40, 1.4), (17, -44, -38, 2.8), (13, -24, -34, 1.4))),
    Tube(((47, -62, -40, 1.4), (37, -42, -38, 2.6), (15, -22, -34, 1.4))),
    Tube(((34, -60, -27, 1.3), (27, -42, -29, 2.4), (14, -22, -32, 1.4))),
    Tube(((34, -60, -53, 1.3), (27, -42, -46, 2.6), (14, -22, -37, 1.4))),
)

MUSCLES = (
    Ellipsoid((71, -14, -20), (11, 38, 44)),  # temporalis
    Ellipsoid((63, -18, -52), (10, 22, 28)),
    Ellipsoid((65, -14, -86), (8, 18, 28)),  # masseter
    Ellipsoid((40, -8, -64), (17, 15, 10), 35),  # pterygoids
    Ellipsoid((34, -6, -84), (8, 14, 18)),
    Ellipsoid((14, 84, -78), (12, 15, 34)),  # neck
    Ellipsoid((34, 78, -80), (17, 16, 30), -25),
    Ellipsoid((54, 52, -84), (12, 18, 28), -30),
    Ellipsoid((8, 14, -80), (9, 7, 24)),
)
SPONGY_BLOCKS = (
    Ellipsoid((0, 0, -41), (26, 20, 14)),  # sphenoid body
    Tube(((0, 6, -36, 9), (0, 16, -50, 9), (0, 24, -64, 7))),  # clivus
    Ellipsoid((20, 34, -66), (9, 12, 8)),  # occipital condyles
    Ellipsoid((53, -46, -55), (7, 8, 11)),  # zygoma
    Tube(((0, -76, -18, 9), (30, -72, -20, 6.5), (50, -57, -22, 6), (53, -47, -30, 4))),  # brow
    Ellipsoid((56, 41, -50), (13, 19, 21)),  # mastoid
    Ellipsoid((20, -52, -86), (26, 12, 12)),  # maxilla's alveolar part
    Ellipsoid((16, 36, -82), (16, 8, 7)),  # atlas
)
THIN_BONES = (
    Tube(((51, -50, -52, 4), (51, -46, -28, 4.5), (44, -60, -24, 4.5))),  # lateral orbital rim
    Tube(((55, -45, -57, 4), (71, -18, -59, 3), (70, 6, -57, 3.5), (60, 14, -54, 5))),  # arch
    Tube(((53, 8, -57, 6), (53, 6, -66, 5), (50, 0, -110, 5))),  # mandible
    Tube(((24, -22, -34, 4), (40, -30, -30, 5), (54, -38, -24, 5))),  # wing of the sphenoid
    Tube(((4, -74, -32, 4), (4, -82, -46, 2.5))),  # nasal bones
    Tube(((26, 2, -62, 3), (24, -8, -84, 3))),  # pterygoid plates
)
PETROUS = Tube(((15, 12, -40, 6), (34, 20, -42, 8.5), (56, 30, -46, 10)))
FRONTAL_SINUS = Ellipsoid((11, -78, -17), (13, 4.5, 10))
MAXILLARY_SINUS = Ellipsoid((33, -37, -67), (15.5, 19, 18))
SPHENOID_SINUS = Ellipsoid((8.5, -8, -42), (8.5, 13, 10.5))
ETHMOID = Ellipsoid((7, -45, -39), (10, 24, 15))
NASAL_CAVITY = Ellipsoid((0, -44, -66), (15, 34, 22))
NOSTRIL = Tube(((6, -84, -66, 4), (6, -70, -64, 5)))
TURBINATES = (
    Ellipsoid((9, -44, -74), (4, 24, 6)),
    Ellipsoid((8.5, -40, -62), (3.6, 22, 6)),
    Ellipsoid((8, -34, -53), (2.6, 16, 3.5)),
)
PHARYNX = Ellipsoid((0, 0, -80), (14, 9, 26))
EAR_CANAL = Tube(((86, 24, -50, 3.2), (68, 24, -49, 3), (52, 24, -47, 3)))
MIDDLE_EAR = Ellipsoid((46, 22, -45), (4, 6, 5))
MASTOID_CELLS = Ellipsoid((56, 40, -50), (10.5, 16.5, 19))
PITUITARY = Ellipsoid((0, 6, -29), (6.5, 5, 4))


@dataclass(frozen=True)
class Envelope:
    """Signed distances of one slice's points, mm, negative inside."""

    vault: Array
    cavity: Array
    skin: Array


def envelope(f: SliceFields, who: Subject) -> Envelope:
    """Cavity of the skull and surface of the skin."""
    p = f.points
    vault = vault_distance(p, who.roundness)
    cavity = smooth_union(vault, TEMPORAL_POLE.distance(p), 8)
    cavity = smooth_union(cavity, TEMPORAL_BACK.distance(p), 10)
    cavity = smooth_union(cavity, POSTERIOR_FOSSA.distance(p), 6)
    cavity = smooth_union(cavity, STEM_CHANNEL.distance(p), 6)
    return Envelope(vault, cavity, _skin_distance(f, who, vault))


def vertex_mm(who: Subject) -> float:
    """Height of the scalp's top in head coordinates, mm."""
    return VAULT.radii[2] + who.skull_mm + who.scalp_mm


def vault_distance(p: Points, roundness: float) -> Array:
    """First-order distance ``(f - 1) / |grad f|`` to an egg, ``f = (sum u_i^e_i)^(1/e)``.

    ``e`` is ``roundness`` but downwards, where 4 makes it flat: in front the floor of the
    anterior fossa, behind, deeper, the occipital squama.
    """
    e = roundness
    rx, ry, up = VAULT.radii
    behind = np.clip(p.y / 60, 0, 1)
    down = 26 + 28 * behind * behind * (3 - 2 * behind)
    rz = np.where(p.z > 0, up, down).astype(np.float32)
    ez = np.where(p.z > 0, e, 4).astype(np.float32)
    u, v, w = p.lateral / rx, np.abs(p.y - VAULT.centre[1]) / ry, np.abs(p.z) / rz
    du, dv, dw = (np.power(t + 1e-4, k - 1) for t, k in ((u, e), (v, e), (w, ez)))
    total = u * du + v * dv + w * dw
    f = np.power(total, 1 / e)
    slope = np.sqrt((du / rx) ** 2 + (dv / ry) ** 2 + (ez * dw / (e * rz)) ** 2) * f / total
    distance: Array = (f - 1) / slope
    return distance


def _skin_distance(f: SliceFields, who: Subject, vault: Array) -> Array:
    p = f.points
    cover = who.skull_mm + who.scalp_mm + 0.7 * f.rough
    skin = vault - cover
    if p.z_range[0] < 6:
        skin = np.where(p.z < 6, smooth_union(skin, _face_distance(p), 10), skin)
        skin = smooth_union(skin, NOSE.grown(who.nose).distance(p), 8)
        skin = smooth_union(skin, EYE.distance(p) - 2.6, 5)
        if who.has_ears:
            skin = np.minimum(skin, _ear_distance(p))
    return skin.astype(np.float32)


def _face_distance(p: Points) -> Array:
    """In-plane distance along the ray from the middle to an egg that changes with height."""
    half, front, back = (np.interp(p.z, _FACE[:, 0], _FACE[:, i]) for i in (1, 2, 3))
    dy = p.y - _FACE_CENTRE_Y
    reach = np.where(dy < 0, _FACE_CENTRE_Y - front, back - _FACE_CENTRE_Y)
    f = ((p.lateral / half) ** 2.4 + (np.abs(dy) / reach) ** 2.4) ** (1 / 2.4)
    radius = np.sqrt(p.lateral**2 + dy**2)
    distance: Array = (radius * (1 - 1 / np.maximum(f, 1e-3))).astype(np.float32)
    return distance


def _ear_distance(p: Points) -> Array:
    plate = np.abs(p.lateral - 75 - 0.4 * (p.y - 22)) - 2
    rim = 14 * (np.sqrt(((p.y - 35) / 13) ** 2 + ((p.z + 40) / 27) ** 2) - 1)
    distance: Array = np.maximum(plate, rim).astype(np.float32)
    return distance


def label_outside(f: SliceFields, e: Envelope, who: Subject) -> NDArray[np.uint8]:
    """Labels of points inside the skin and outside the cranial cavity, (n,) uint8."""
    labels = np.full(e.skin.shape, Tissue.FAT, np.uint8)
    skull = _skull_distance(f, e, who)
    _paint_soft_tissue(labels, f, e, skull)
    _paint_skull(labels, f, e, skull)
    if f.points.z_range[0] < 8:
        _paint_face(labels, f, e, who)
    labels[e.skin > -1.7] = Tissue.SKIN
    if f.points.z_range[0] < 8:
        _paint_airways(labels, f, e, who)
    return labels


def _skull_distance(f: SliceFields, e: Envelope, who: Subject) -> Array:
    """Signed distance to the outer table; thicker in the midline, thin at the base."""
    p = f.points
    midline = 1.6 * np.exp(-((p.lateral / 14) ** 2))
    base = np.clip((-p.z - 8) / 24, 0, 1) * 0.42
    thickness = who.skull_mm * (1 - base) * (1 + 0.1 * f.rough) + midline
    distance: Array = (e.cavity - np.maximum(thickness, 2.2)).astype(np.float32)
    return distance


def _paint_soft_tissue(
    labels: NDArray[np.uint8], f: SliceFields, e: Envelope, skull: Array
) -> None:
    p = f.points
    septa = np.abs(f.fine) < 0.16
    for muscle in MUSCLES:
        labels[muscle.inside(p) & ~septa & (e.skin < -3.5)] = Tissue.MUSCLE
    deep = (p.z < -58) & (e.skin < -11) & (f.fine > -0.5) & ~septa
    labels[deep & (p.y > -30)] = Tissue.MUSCLE
    labels[(skull < 1.3) & (p.z > -40)] = Tissue.MUSCLE  # galea and pericranium


def _paint_skull(labels: NDArray[np.uint8], f: SliceFields, e: Envelope, skull: Array) -> None:
    """Two tables and the diploe between them, where the bone is thick enough to have one."""
    bone = (skull < 0) & (e.skin < -2.5)
    labels[bone] = Tissue.BONE
    inner, outer = e.cavity, -skull
    table = 1.5 + 0.25 * f.rough
    labels[bone & (inner > table) & (outer > table)] = Tissue.MARROW


def _paint_face(labels: NDArray[np.uint8], f: SliceFields, e: Envelope, who: Subject) -> None:
    p = f.points
    covered = e.skin < -4
    for block in SPONGY_BLOCKS:
        depth = -block.distance(p)
        labels[covered & (depth > 0)] = Tissue.BONE
        labels[covered & (depth > 2.0 + 0.3 * f.fine)] = Tissue.MARROW
    for bone in THIN_BONES:
        depth = -bone.distance(p)
        labels[(depth > 0) & (e.skin < -3)] = Tissue.BONE
        labels[(depth > 2.2) & (e.skin < -3)] = Tissue.MARROW
    petrous = -PETROUS.distance(p)
    labels[petrous > 0] = Tissue.BONE
    labels[petrous > 2.5 + f.fine] = Tissue.DENSE_BONE
    sinus = MAXILLARY_SINUS.scaled(who.maxillary_sinus)
    labels[covered & (np.abs(sinus.distance(p)) < 1.4)] = Tissue.BONE
    labels[PITUITARY.inside(p)] = Tissue.MUCOSA
    _paint_orbit(labels, p, e)


def _paint_orbit(labels: NDArray[np.uint8], p: Points, e: Envelope) -> None:
    orbit = ORBIT.distance(p)
    rim = np.clip((-p.y - 40) / 20, 0, 1) * 1.4  # the wall thickens to the front
    wall = (orbit > 0) & (orbit < 2.2 + rim) & (p.y > -64) & (e.skin < -3)
    labels[wall & (p.lateral > 15)] = Tissue.BONE
    labels[orbit < 0] = Tissue.FAT
    for muscle in EYE_MUSCLES:
        labels[muscle.inside(p) & (orbit < 1)] = Tissue.MUSCLE
    labels[OPTIC_NERVE.inside(p)] = Tissue.NERVE
    eye = EYE.distance(p)
    labels[eye < 0.9] = Tissue.MUSCLE  # sclera
    labels[eye < -0.6] = Tissue.VITREOUS
    labels[LENS.inside(p)] = Tissue.LENS


def _paint_airways(labels: NDArray[np.uint8], f: SliceFields, e: Envelope, who: Subject) -> None:
    p = f.points
    off_midline = np.abs(p.x - who.septum_mm) > 0.9
    straight = np.abs(p.x - 0.3 * who.septum_mm) > 0.9
    nasal = NASAL_CAVITY.distance(p)
    labels[(nasal < 1.5) & (e.skin < -4)] = Tissue.MUCOSA
    labels[(nasal < 0) & straight & (e.skin < -3)] = Tissue.AIR
    for turbinate in TURBINATES:
        labels[turbinate.inside(p)] = Tissue.MUCOSA
    _paint_cells(labels, ETHMOID.inside(p) & (e.cavity > 1.8) & straight, np.abs(f.cells) < 0.22)
    for sinus, size, gap in (
        (FRONTAL_SINUS, who.frontal_sinus, off_midline),
        (SPHENOID_SINUS, who.sphenoid_sinus, off_midline),
        (MAXILLARY_SINUS, who.maxillary_sinus, straight),
    ):
        hollow = sinus.scaled(size).distance(p) + 0.8 * f.fine
        free = (e.cavity > 2) & (e.skin < -5)
        labels[(hollow < 0) & gap & free] = Tissue.MUCOSA
        labels[(hollow < -0.8) & gap & free] = Tissue.AIR
    cells = MASTOID_CELLS.inside(p) & (e.cavity > 2) & (e.skin < -5)
    _paint_cells(labels, cells & (f.rough < 0.9 + who.mastoid_air), f.cells < -0.1)
    for way in (NOSTRIL, PHARYNX, EAR_CANAL, MIDDLE_EAR):
        labels[way.inside(p) & (e.cavity > 2)] = Tissue.AIR


def _paint_cells(labels: NDArray[np.uint8], region: Mask, walls: Mask) -> None:
    labels[region] = Tissue.AIR
    labels[region & walls] = Tissue.BONE
