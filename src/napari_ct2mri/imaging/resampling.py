"""An MR on the CT's grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_ct2mri.imaging.alignment import to_transform
from napari_ct2mri.imaging.pose import Matrix, Registration, inverse
from napari_ct2mri.imaging.volume import Volume, to_sitk
from napari_ct2mri.jobs import Job, Progress

if TYPE_CHECKING:
    import SimpleITK as sitk

__all__ = ["resample_onto"]

_MOST_PARTS = 8
"""Into which a voxel of the CT is cut along an axis."""


def resample_onto(ct: Volume, mr: Volume, registration: Registration) -> Job[Volume]:
    """Show an MR on the CT's grid.

    Cubic between voxels, within the MR's own range of values; where the CT's voxels are larger
    than the MR's, the mean over each of them.

    Parameters
    ----------
    ct : Volume
        The grid.
    mr : Volume
        The one that was registered.

    Yields
    ------
    Progress
        After every slice.

    Returns
    -------
    Volume
        On the CT's grid; dtype, modality, unit, source and notes of the MR, and a note on how
        it was moved. Outside the MR's field its lowest value.
    """
    import SimpleITK as sitk

    low, high = float(mr.data.min()), float(mr.data.max())
    ct_to_mr = inverse(registration.matrix)
    parts = _parts(ct, mr, ct_to_mr)
    resampler = _resampler(ct, parts, ct_to_mr, low)
    spline = sitk.BSplineDecomposition(sitk.Cast(to_sitk(mr), sitk.sitkFloat32))
    data = np.empty(ct.data.shape, mr.data.dtype)
    whole = np.issubdtype(data.dtype, np.integer)
    z_part, y_part, x_part = (1 / np.asarray(parts) - 1) / 2  # centre of a voxel's first part
    for z in range(len(data)):
        origin = ct.geometry.affine @ (z + z_part, y_part, x_part, 1.0)
        resampler.SetOutputOrigin(origin[:3].tolist())
        mean = sitk.BinShrink(resampler.Execute(spline), parts[::-1])
        values = np.clip(sitk.GetArrayFromImage(mean)[0], low, high)
        data[z] = np.rint(values) if whole else values
        yield Progress(z + 1, len(data), "slices")
    notes = (*mr.notes, f"registered onto the CT: {registration.summary}")
    notes += tuple(f"unsure: {doubt}" for doubt in registration.doubts)
    return ct.with_data(data, modality=mr.modality, unit=mr.unit, source=mr.source, notes=notes)


def _resampler(
    ct: Volume, parts: tuple[int, int, int], ct_to_mr: Matrix, fill: float
) -> sitk.ResampleImageFilter:
    """Takes a spline to one slice of the CT's grid, each voxel in ``parts`` (z, y, x)."""
    import SimpleITK as sitk

    _, height, width = ct.data.shape
    resampler = sitk.ResampleImageFilter()
    resampler.SetTransform(to_transform("affine", ct_to_mr, np.zeros(3)))
    resampler.SetInterpolator(sitk.sitkBSplineResampler)
    resampler.SetDefaultPixelValue(fill)
    resampler.SetOutputDirection(ct.geometry.direction)
    resampler.SetOutputSpacing((np.asarray(ct.geometry.spacing) / parts)[::-1].tolist())
    resampler.SetSize((width * parts[2], height * parts[1], parts[0]))
    return resampler


def _parts(ct: Volume, mr: Volume, ct_to_mr: Matrix) -> tuple[int, int, int]:
    """Into how many parts (z, y, x) a voxel of the CT is cut, each about one of the MR's."""
    steps = inverse(mr.geometry.affine) @ ct_to_mr @ ct.geometry.affine
    spans = np.abs(steps[:3, :3]).max(axis=0)
    z, y, x = (int(min(_MOST_PARTS, max(1, round(span)))) for span in spans)
    return z, y, x
