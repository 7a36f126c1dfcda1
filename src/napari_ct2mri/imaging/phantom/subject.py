"""One simulated person: what differs between heads, drawn once from a seed.

The average head lies in coordinates close to those of the MNI 152 brain, but LPS: x left,
y posterior, z superior, mm, the anterior commissure at the origin, vertex of the scalp near
z = 97. A subject says how that head is scaled, bent, turned and what has happened to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.imaging.phantom.shapes import Array, Folds, Points, SplineField

__all__ = ["Lesion", "LesionKind", "Subject", "draw_subject"]

LesionKind: TypeAlias = Literal[
    "infarct", "haemorrhage", "tumour", "meningioma", "calcification", "oedema", "hygroma"
]
_KINDS: tuple[LesionKind, ...] = (
    "infarct", "haemorrhage", "tumour", "meningioma", "calcification", "oedema", "hygroma",
)  # fmt: skip
_AVERAGE_SCALE = 0.93
"""The MNI brain is larger than people's (Lancaster et al. 2007): ours is 7 % smaller."""

_CENTRE = (0.0, 14.0, 15.0)
"""About the middle of the head, head coordinates, mm; the pose turns about it."""


@dataclass(frozen=True)
class Lesion:
    """A rough ball; ``side`` -1 is the patient's right, +1 the left."""

    kind: LesionKind
    centre: tuple[float, float, float]
    radius_mm: float
    side: int


@dataclass(frozen=True)
class Subject:
    """A head: numbers that the anatomy reads, and its smooth random fields.

    ``atrophy`` 0 (young) to 1 (old) widens sulci, cisterns and ventricles; the rest are
    factors about 1, millimetres where the name says so, or chances that came true.
    """

    stretch: tuple[float, float, float]
    rotation: NDArray[np.float64]
    shift_mm: tuple[float, float, float]
    roundness: float
    atrophy: float
    ventricles: float
    skull_mm: float
    scalp_mm: float
    frontal_sinus: float
    maxillary_sinus: float
    sphenoid_sinus: float
    septum_mm: float
    nose: float
    mastoid_air: float
    calcified: frozenset[str]
    gliosis: float
    has_ears: bool
    head_rest: float
    lesions: tuple[Lesion, ...]
    bend: tuple[SplineField, SplineField, SplineField]
    bend_mm: float
    rough: SplineField
    fine: SplineField
    cells: SplineField
    sulci: Folds
    small_sulci: Folds

    def height_mm(self, z: float) -> float:
        """Height in the scanner of the head's midline at ``z``, mm, but for tilt and bend."""
        return (z - _CENTRE[2]) * self.stretch[2] + self.shift_mm[2]

    def slice_(self, z_mm: float, y_mm: Array, x_mm: Array) -> SliceFields:
        """Head coordinates and random fields of the scanner's points (z, y, x), (y, x) each."""
        right, back, up = self.shift_mm
        x, y, z = x_mm - right, y_mm[:, None] - back, z_mm - up
        head: list[Array] = []
        for axis, stretch, centre, bend in zip(
            self.rotation.tolist(), self.stretch, _CENTRE, self.bend, strict=True
        ):
            along = (axis[0] * x + axis[1] * y + axis[2] * z) / stretch
            warp = self.bend_mm * bend.slice_(z_mm, y_mm, x_mm)
            head.append((along + centre + warp).ravel())
        fields = (f.slice_(z_mm, y_mm, x_mm).ravel() for f in (self.rough, self.fine, self.cells))
        return SliceFields(self._pushed(Points(*head)), *fields)

    def _pushed(self, p: Points) -> Points:
        """Undo the shove of lesions that take room: what lies beside them came from inside."""
        for lesion in self.lesions:
            if lesion.kind in ("tumour", "haemorrhage", "meningioma"):
                cx, cy, cz = lesion.centre
                dx, dy, dz = p.x - cx * lesion.side, p.y - cy, p.z - cz
                r = np.sqrt(dx * dx + dy * dy + dz * dz) + 1
                shove = 0.45 * lesion.radius_mm * np.exp(-((r / (1.6 * lesion.radius_mm)) ** 2)) / r
                # the skull gives no way
                shove *= np.clip(
                    1.1 - (p.x / 68) ** 2 - ((p.y - 17) / 86) ** 2 - ((p.z - 4) / 76) ** 2, 0, 1
                )
                p = Points(p.x - dx * shove, p.y - dy * shove, p.z - dz * shove)
        return p


@dataclass(frozen=True)
class SliceFields:
    """One slice in head coordinates with its random fields, flat, (n,) float32.

    ``rough`` (knots 26 mm), ``fine`` (9 mm) and ``cells`` (5 mm) have standard deviation 1.
    """

    points: Points
    rough: Array
    fine: Array
    cells: Array

    def take(self, mask: NDArray[np.bool_]) -> SliceFields:
        """Only the points under ``mask``."""
        return SliceFields(
            self.points.take(mask), self.rough[mask], self.fine[mask], self.cells[mask]
        )


def draw_subject(rng: np.random.Generator) -> Subject:
    """Draw a person: a size, an age, a pose, perhaps lesions.

    The head is 86-112 % of the average, each axis times another 92-108 %.
    """
    age = rng.beta(1.3, 1.6)
    size = _AVERAGE_SCALE * rng.uniform(0.86, 1.12)
    stretch = size * np.clip(rng.normal(1.0, 0.04, 3), 0.92, 1.08)
    atrophy = float(np.clip(0.75 * age + 0.35 * rng.random(), 0, 1))
    turned = np.deg2rad(np.clip(rng.normal(0, [7.0, 3.0, 6.0]), -14, 14))
    chances = {"pineal": 0.6, "choroid": 0.55, "falx": 0.3, "pallidum": 0.15}
    return Subject(
        stretch=(float(stretch[0]), float(stretch[1]), float(stretch[2])),
        rotation=_rotation(*turned),
        shift_mm=(float(rng.uniform(-15, 15)), float(rng.uniform(-7, 7)), 0.0),
        roundness=float(rng.uniform(2.05, 2.45)),
        atrophy=atrophy,
        ventricles=float(0.75 + 0.8 * atrophy + 0.45 * rng.random() ** 2),
        skull_mm=float(rng.uniform(5.0, 9.0)),
        scalp_mm=float(rng.uniform(4.0, 8.0)),
        frontal_sinus=float(rng.uniform(0.3, 1.5)),
        maxillary_sinus=float(rng.uniform(0.8, 1.12)),
        sphenoid_sinus=float(rng.uniform(0.7, 1.15)),
        septum_mm=float(rng.normal(0, 2.5)),
        nose=float(rng.uniform(0.8, 1.1)),
        mastoid_air=float(rng.uniform(-0.6, 0.6)),
        calcified=frozenset(
            k for k, chance in chances.items() if rng.random() < chance + 0.2 * age
        ),
        gliosis=float(max(0.0, age - 0.35) * rng.uniform(0.4, 1.6)),
        has_ears=bool(rng.random() < 0.85),
        head_rest=float(rng.uniform(104, 128)) if rng.random() < 0.6 else 0.0,
        lesions=_draw_lesions(rng),
        bend=(SplineField(rng, 55), SplineField(rng, 55), SplineField(rng, 55)),
        bend_mm=float(rng.uniform(2.0, 3.8)),
        rough=SplineField(rng, 26),
        fine=SplineField(rng, 9),
        cells=SplineField(rng, 5),
        sulci=Folds(rng, float(rng.uniform(20, 25))),
        small_sulci=Folds(rng, float(rng.uniform(15, 19))),
    )


def _rotation(pitch: float, roll: float, yaw: float) -> NDArray[np.float64]:
    """Rows: the head's axes in the scanner, for angles in radians about x, y and z."""
    (ca, sa), (cb, sb), (cc, sc) = ((np.cos(t), np.sin(t)) for t in (pitch, roll, yaw))
    about_x = np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    about_y = np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    about_z = np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
    rotation: NDArray[np.float64] = about_x @ about_y @ about_z
    return rotation


def _draw_lesions(rng: np.random.Generator) -> tuple[Lesion, ...]:
    count = int(rng.choice(4, p=[0.3, 0.4, 0.2, 0.1]))
    return tuple(_draw_lesion(rng) for _ in range(count))


def _draw_lesion(rng: np.random.Generator) -> Lesion:
    kind = _KINDS[int(rng.choice(len(_KINDS), p=[0.28, 0.16, 0.16, 0.12, 0.1, 0.1, 0.08]))]
    side = -1 if rng.random() < 0.5 else 1
    radius = {"calcification": (1.5, 4), "hygroma": (4, 9), "infarct": (10, 30)}.get(kind, (8, 19))
    away = rng.normal(size=3)
    away /= np.linalg.norm(away)
    # on the vault for what grows from the dura, else within the hemisphere
    reach = 0.99 if kind in ("meningioma", "hygroma") else rng.uniform(0.3, 0.8)
    x, y, z = abs(away[0]) * 68, 17 + away[1] * 84, 8 + abs(away[2]) * 68
    centre = (float(8 + reach * max(x - 8, 0)), float(17 + reach * (y - 17)), float(z * reach))
    return Lesion(kind, centre, float(rng.uniform(*radius)), side)
