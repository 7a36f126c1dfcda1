"""CT and MR made ready for registration: head, no head rest, evenly filled histograms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.errors import VolumeError
from napari_ct2mri.imaging.head import head_mask
from napari_ct2mri.imaging.pose import Matrix, Points, moved
from napari_ct2mri.imaging.volume import Geometry, Unit, Volume, closest_axes, from_sitk, to_sitk

if TYPE_CHECKING:
    import SimpleITK as sitk

__all__ = ["Head", "Prepared", "is_inside", "prepare", "share_inside"]

_FINEST_MM = 2.0
"""Finer voxels are averaged to about this: a head's pose has six numbers, not millions."""

_MARGIN_MM = 10.0
"""Air around the head that counts: the scalp is the strongest edge that both images show."""

_REST_MM = 6.0
"""Farther from the head, what is brighter than air is head rest, tubes, pillow."""

_MIN_STEPS = 5
_MIN_EXTENT_MM = 30.0
"""A head that is seen in less, along any axis, can be anywhere."""

_HU_KNOTS = ((-1000, -150, -30, 90, 300, 1500), (0.0, 0.1, 0.2, 0.75, 0.85, 1.0))
"""HU to histogram: half of the bins to what is soft, where an MR shows most. Mutual information
does not depend on such a map but through its bins."""


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """Where an image shows the head, LPS mm; a sample of its voxels.

    Attributes
    ----------
    inside : (n, 3)
    surface : (m, 3)
        Not where the field of view cuts the head.
    """

    inside: Points
    surface: Points

    @property
    def centre(self) -> NDArray[np.float64]:
        """(3,)."""
        return np.asarray(self.inside.mean(axis=0))

    @classmethod
    def of(cls, mask: NDArray[np.bool_], geometry: Geometry) -> Head:
        """Take the sample from a mask."""
        from scipy.ndimage import binary_erosion

        edge = mask & ~binary_erosion(mask, border_value=1)
        return cls(_places(mask, geometry), _places(edge, geometry))


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """CT and MR made ready: values in [0, 1], voxels of 2 mm or more, the CT cut to its head.

    Attributes
    ----------
    ct, mr : sitk.Image, float32
    near : sitk.Image, uint8
        On the CT: 1 in the head and a little around it.
    ct_head, mr_head : Head
    """

    ct: sitk.Image
    mr: sitk.Image
    near: sitk.Image
    ct_head: Head
    mr_head: Head

    def at(self, mm: float) -> Prepared:
        """The same, in voxels of about ``mm``."""
        ct, mr = (_shrink(_smooth(image, mm), mm) for image in (self.ct, self.mr))
        return replace(self, ct=ct, mr=mr, near=_shrink(self.near, mm))

    def thinned(self, most: int, seed: int) -> Prepared:
        """The same, with at most about ``most`` voxels near the head, drawn at random.

        ITK's own draw moves each voxel's place by a third of its size, which along slices of
        5 mm blurs what is compared: affine heads came out 2 % too short.
        """
        import SimpleITK as sitk

        near = sitk.GetArrayFromImage(self.near)
        share = most / max(1, int(np.count_nonzero(near)))
        if share >= 1:
            return self
        drawn = near * (np.random.default_rng(seed).random(near.shape, np.float32) < share)
        thin = sitk.GetImageFromArray(drawn.astype(np.uint8))
        thin.CopyInformation(self.near)
        return replace(self, near=thin)

    def with_air(self, mm: float) -> Prepared:
        """The same, with ``mm`` of air around the MR, so that leaving its field costs."""
        import SimpleITK as sitk

        around = [int(np.ceil(mm / step)) for step in self.mr.GetSpacing()]
        return replace(self, mr=sitk.ConstantPad(self.mr, around, around, 0.0))


def prepare(ct: Volume, mr: Volume) -> Prepared:
    """Reduce a CT and an MR to what a search for their pose needs.

    Raises
    ------
    VolumeError
        If one of them shows no head, or too little of it.
    """
    import SimpleITK as sitk
    from scipy.ndimage import distance_transform_edt

    small, mask = _reduced(ct, "CT")
    away = distance_transform_edt(~mask, sampling=small.geometry.spacing)
    levels = _ct_levels(small.data, ct.unit, mask)
    levels[away > _REST_MM] = levels.min()
    near = away <= _MARGIN_MM
    box = _box(near)
    fixed = sitk.RegionOfInterest(to_sitk(small.with_data(levels)), *box)
    close = sitk.RegionOfInterest(to_sitk(small.with_data(near)), *box)

    mr_small, mr_mask = _reduced(mr, "MR")
    moving = to_sitk(mr_small.with_data(_mr_levels(mr_small.data, mr_mask)))
    heads = Head.of(mask, small.geometry), Head.of(mr_mask, mr_small.geometry)
    return Prepared(fixed, moving, close, *heads)


def _reduced(volume: Volume, name: str) -> tuple[Volume, NDArray[np.bool_]]:
    """On closest axes in voxels of 2 mm, float32, and where its head is."""
    import SimpleITK as sitk

    upright, _ = closest_axes(volume)
    image = sitk.Cast(_shrink(to_sitk(upright), _FINEST_MM), sitk.sitkFloat32)
    small = from_sitk(image, modality=volume.modality, unit=volume.unit)
    mask = head_mask(small.data, volume.unit, volume.modality)
    seen = [np.flatnonzero(mask.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
    if not seen[0].size:
        raise VolumeError(f"the {name} shows no head; check the series and its modality")
    for along, step in zip(seen, small.geometry.spacing, strict=True):
        count = int(np.ptp(along)) + 1
        if count < _MIN_STEPS or count * step < _MIN_EXTENT_MM:
            raise VolumeError(
                f"the {name} shows the head in {count} layers of {step:.3g} mm, expected at least "
                f"{_MIN_STEPS} and {_MIN_EXTENT_MM:g} mm: so thin a slab fits in many places"
            )
    return small, mask


def _shrink(image: sitk.Image, mm: float) -> sitk.Image:
    """Average whole blocks of voxels, to about ``mm`` along each axis that is finer."""
    import SimpleITK as sitk

    factors = [
        max(1, min(size, int(mm / step + 0.3)))
        for step, size in zip(image.GetSpacing(), image.GetSize(), strict=True)
    ]
    return sitk.BinShrink(image, factors) if max(factors) > 1 else image


def _smooth(image: sitk.Image, mm: float) -> sitk.Image:
    import SimpleITK as sitk

    return sitk.SmoothingRecursiveGaussian(image, mm / 3) if mm > _FINEST_MM else image


def _ct_levels(data: NDArray[Any], unit: Unit, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """CT values in [0, 1]; those of unknown scale by their rank in the head, half and half."""
    if unit == "HU":
        return np.asarray(np.interp(data, *_HU_KNOTS), dtype=np.float32)
    linear = _mr_levels(data, mask)
    counts, edges = np.histogram(linear[mask], 512, (0, 1))
    rank = np.concatenate([[0.0], np.cumsum(counts) / counts.sum()])
    return np.asarray((linear + np.interp(linear, edges, rank)) / 2, dtype=np.float32)


def _mr_levels(data: NDArray[Any], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Linearly to [0, 1]: from the background to the brightest in the head but outliers."""
    values = data.astype(np.float32)
    low, high = float(np.percentile(values, 1)), float(np.percentile(values[mask], 99.8))
    levels: NDArray[np.float32] = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    return levels.astype(np.float32, copy=False)


def _box(mask: NDArray[np.bool_]) -> tuple[list[int], list[int]]:
    """Size and index (x, y, z) of the box around a mask, for SimpleITK."""
    index = np.argwhere(mask)[:, ::-1]
    low, high = index.min(axis=0), index.max(axis=0) + 1
    return (high - low).tolist(), low.tolist()


def _places(mask: NDArray[np.bool_], geometry: Geometry) -> Points:
    """Some 20 000 voxels of a mask."""
    index = np.argwhere(mask)
    index = index[:: max(1, len(index) // 20_000)]
    return np.asarray(index @ geometry.affine[:3, :3].T + geometry.affine[:3, 3])


def share_inside(points: Points, image: sitk.Image, matrix: Matrix) -> float:
    """Share of ``points``, LPS mm, that ``matrix`` puts into an image's field of view."""
    return float(is_inside(moved(points, matrix), image).mean())


def is_inside(points: Points, image: sitk.Image) -> NDArray[np.bool_]:
    """(n,) whether each of ``points``, (n, 3) LPS mm, lies in an image's field of view."""
    axes = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    index = np.linalg.solve(axes, (points - image.GetOrigin()).T).T
    inside = (index >= -0.5) & (index <= np.array(image.GetSize()) - 0.5)
    return np.asarray(inside.all(axis=1))
