"""Volumes and their geometry: the only place where array order meets world order.

Arrays are indexed ``[z, y, x]``. The world is LPS (x to the patient's left, y to posterior,
z to superior, mm), as in DICOM and SimpleITK. SimpleITK's tuples are ``(x, y, z)``; they are
turned round here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations, product
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.errors import VolumeError

if TYPE_CHECKING:
    import SimpleITK as sitk

__all__ = [
    "AxisOrder",
    "DicomSlices",
    "Geometry",
    "Modality",
    "Source",
    "Unit",
    "Volume",
    "axial_slices",
    "closest_axes",
    "difference",
    "from_sitk",
    "storable",
    "to_sitk",
]

Modality = Literal["CT", "MR", "unknown"]

Unit = Literal["HU", "arbitrary", "grey"]
"""``HU``: Hounsfield units. ``arbitrary``: MR, or a CT whose scale is unknown. ``grey``: a
picture, 0 to 255, without spacing (its geometry counts pixels)."""

_LPS = np.eye(3)

_ONE_GRID = 0.1
"""Of the smallest voxel, from corner to corner: more than headers round, and nothing to be seen."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where voxels lie in the world.

    Attributes
    ----------
    spacing : (z, y, x) mm, each > 0
    origin : (x, y, z) LPS mm
        Centre of voxel ``[0, 0, 0]``.
    direction : 3x3, row-major
        Columns are the LPS unit vectors along which the array's x, y and z index grow
        (SimpleITK's convention). Right- or left-handed, orthonormal within 1e-3.
    """

    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)

    def __post_init__(self) -> None:
        values = (*self.spacing, *self.origin, *self.direction)
        if not np.isfinite(values).all() or min(self.spacing) <= 0 or len(self.direction) != 9:
            raise VolumeError(
                "geometry needs positive spacing and finite numbers, got spacing "
                f"{self.spacing} mm, origin {self.origin} mm, direction {self.direction}"
            )
        matrix = self.matrix
        if not np.allclose(matrix.T @ matrix, _LPS, atol=1e-3):
            raise VolumeError(f"direction is not orthonormal: {self.direction}")

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Direction as a (3, 3) array; columns for x, y, z."""
        return np.asarray(self.direction, dtype=np.float64).reshape(3, 3)

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4): homogeneous array index (z, y, x, 1) to LPS mm (x, y, z, 1)."""
        affine = np.eye(4)
        affine[:3, :3] = (self.matrix * self.spacing[::-1])[:, ::-1]
        affine[:3, 3] = self.origin
        return affine

    def is_close(self, other: Geometry, tolerance_mm: float = 1e-3) -> bool:
        """Whether both put voxels at the same places, within ``tolerance_mm`` a step."""
        return bool(np.allclose(self.affine, other.affine, rtol=0, atol=tolerance_mm))

    def apart_mm(self, other: Geometry, shape: Sequence[int]) -> float:
        """How far apart both put a voxel of an array of that shape, at most: that of a corner."""
        corners = np.array([(*index, 1) for index in product(*((0, n - 1) for n in shape))])
        apart = corners @ (self.affine - other.affine).T  # (8, 4)
        return float(np.linalg.norm(apart[:, :3], axis=1).max())


@dataclass(frozen=True, slots=True)
class DicomSlices:
    """The DICOM files on whose grid a volume lies, in order along their normal.

    A synthetic MR keeps those of its CT, of which ``series_uid`` is the series. Empty for
    volumes of other formats.
    """

    series_uid: str = ""
    files: tuple[Path, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a volume came from. Holds no patient data, only paths and series UIDs."""

    path: str = ""
    series_uid: str = ""
    slices: DicomSlices = field(default_factory=DicomSlices)


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """Voxels, where they lie and what they mean.

    Attributes
    ----------
    data : (z, y, x), any real dtype
    geometry : Geometry
        For pictures (``unit == "grey"``): 1 mm steps that mean pixels.
    modality, unit
        See :data:`Modality` and :data:`Unit`.
    source : Source
    notes : tuple of str
        What was found, guessed or corrected on the way in, as sentences to show.
    """

    data: NDArray[np.generic]
    geometry: Geometry = field(default_factory=Geometry)
    modality: Modality = "unknown"
    unit: Unit = "arbitrary"
    source: Source = field(default_factory=Source)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.data.ndim != 3 or 0 in self.data.shape:
            raise VolumeError(
                f"a volume needs three non-empty axes (z, y, x), got shape {self.data.shape}"
            )

    @property
    def is_picture(self) -> bool:
        """Whether the volume has grey levels and no millimetres."""
        return self.unit == "grey"

    def with_data(self, data: NDArray[np.generic], **changes: object) -> Volume:
        """A volume on the same grid; ``data`` must have this volume's shape."""
        if data.shape != self.data.shape:
            raise VolumeError(f"expected shape {self.data.shape} on this grid, got {data.shape}")
        return replace(self, data=data, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class AxisOrder:
    """How a volume was turned to the closest LPS axes; applies and undoes it without loss.

    ``axes[i]`` is the stored axis that became axis ``i``; ``flips[i]`` says whether it was
    reversed.
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    @property
    def keeps_slices(self) -> bool:
        """Whether slices stay in their order, each turned in itself at most."""
        return self.axes[0] == 0 and not self.flips[0]

    def apply(self, data: NDArray[np.generic]) -> NDArray[np.generic]:
        """Stored order to closest-axes order, (z, y, x); a view."""
        turned = data.transpose(self.axes)
        return turned[tuple(slice(None, None, -1 if f else 1) for f in self.flips)]

    def undo(self, data: NDArray[np.generic]) -> NDArray[np.generic]:
        """Closest-axes order to stored order; a view."""
        unflipped = data[tuple(slice(None, None, -1 if f else 1) for f in self.flips)]
        return unflipped.transpose(np.argsort(self.axes))


def closest_axes(volume: Volume) -> tuple[Volume, AxisOrder]:
    """Turn a volume so that its axes run as close to LPS as flips and swaps can bring them.

    No voxel changes its value or its place in the world. Afterwards axis 0 is the one
    closest to superior, 1 to posterior, 2 to left, each growing that way.

    Returns
    -------
    (Volume, AxisOrder)
        The turned volume (a view of the data) and the way back.
    """
    geometry = volume.geometry
    columns = geometry.matrix[:, ::-1]  # LPS unit vectors of the stored axes z, y, x
    world = (2, 1, 0)  # what axes 0, 1, 2 should follow: S, P, L
    axes = max(
        permutations(range(3)),
        key=lambda p: sum(abs(columns[w, a]) for w, a in zip(world, p, strict=True)),
    )
    flips = tuple(bool(columns[w, a] < 0) for w, a in zip(world, axes, strict=True))
    order = AxisOrder((axes[0], axes[1], axes[2]), (flips[0], flips[1], flips[2]))

    # the voxel that becomes [0, 0, 0], as a stored index
    first = np.zeros(3)
    for axis, flip in zip(axes, flips, strict=True):
        first[axis] = volume.data.shape[axis] - 1 if flip else 0
    origin = (geometry.affine @ np.append(first, 1.0))[:3]
    signs = np.where(flips, -1.0, 1.0)
    matrix = (columns[:, list(axes)] * signs)[:, ::-1]
    turned = Geometry(
        spacing=_triple(geometry.spacing[a] for a in axes),
        origin=_triple(origin),
        direction=tuple(float(v) for v in matrix.ravel()),
    )
    return replace(volume, data=order.apply(volume.data), geometry=turned), order


def difference(one: Volume, other: Volume) -> str:
    """In what two volumes differ whose voxels do not lie in the same places; empty if they do.

    A tenth of the smallest voxel, at the far end, is the same place. Of pictures only the size is
    compared.

    Examples
    --------
    >>> difference(Volume(np.zeros((4, 64, 64))), Volume(np.zeros((1, 64, 64))))
    'size: (4, 64, 64) vs (1, 64, 64)'
    """
    if one.is_picture != other.is_picture:
        return "kind: a picture and a volume"
    if one.data.shape != other.data.shape:
        return f"size: {one.data.shape} vs {other.data.shape}"
    a, b, shape = one.geometry, other.geometry, one.data.shape
    limit_mm = _ONE_GRID * min(*a.spacing, *b.spacing)
    if one.is_picture or a.apart_mm(b, shape) <= limit_mm:
        return ""

    def moves_mm(part: str) -> float:
        return min(limit_mm, a.apart_mm(replace(a, **{part: getattr(b, part)}), shape))

    part = max(("spacing", "origin", "direction"), key=moves_mm)  # the first that would do
    unit = "" if part == "direction" else " in mm"
    return f"{part}{unit}: {_text(getattr(a, part))} vs {_text(getattr(b, part))}"


def _text(values: Iterable[float]) -> str:
    return f"({', '.join(f'{value:.6g}' for value in values)})"


def axial_slices(volume: Volume, wanted: range) -> Volume:
    """Some axial slices of a volume, in its own stored order; each stays where it lies.

    Parameters
    ----------
    volume : Volume
    wanted : range
        Neighbours, as :func:`closest_axes` counts them: 0 is the most inferior.

    Returns
    -------
    Volume
        The data is a view.

    Raises
    ------
    VolumeError
        If the volume does not have them.
    """
    turned, order = closest_axes(volume)
    count = len(turned.data)
    if not 0 <= wanted.start < wanted.stop <= count or wanted.step != 1:
        raise VolumeError(
            f"expected slices within 0:{count}, which is all there are, got "
            f"{wanted.start}:{wanted.stop}"
        )
    first = np.zeros(3)  # the first voxel that is kept, as a stored index
    first[order.axes[0]] = count - wanted.stop if order.flips[0] else wanted.start
    origin = (volume.geometry.affine @ np.append(first, 1.0))[:3]
    return replace(
        volume,
        data=order.undo(turned.data[wanted.start : wanted.stop]),
        geometry=replace(volume.geometry, origin=_triple(origin)),
    )


def to_sitk(volume: Volume) -> sitk.Image:
    """A SimpleITK image of the same voxels on the same grid."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(storable(volume.data))
    image.SetSpacing(volume.geometry.spacing[::-1])
    image.SetOrigin(volume.geometry.origin)
    image.SetDirection(volume.geometry.direction)
    return image


def from_sitk(image: sitk.Image, **attributes: object) -> Volume:
    """A volume from a 3-D scalar SimpleITK image; ``attributes`` are those of :class:`Volume`."""
    import SimpleITK as sitk

    geometry = Geometry(
        spacing=_triple(image.GetSpacing()[::-1]),
        origin=_triple(image.GetOrigin()),
        direction=tuple(image.GetDirection()),
    )
    return Volume(sitk.GetArrayFromImage(image), geometry, **attributes)  # type: ignore[arg-type]


def storable(data: NDArray[np.generic]) -> NDArray[np.generic]:
    """The same values, contiguous, in native byte order, of a type that SimpleITK has."""
    wider = {"bool": np.uint8, "float16": np.float32, "longdouble": np.float64}
    dtype = wider.get(data.dtype.name, data.dtype.newbyteorder("="))
    return np.ascontiguousarray(data, dtype=dtype)


def _triple(values: Iterable[float]) -> tuple[float, float, float]:
    a, b, c = (float(v) for v in values)
    return a, b, c
