"""Images in and out, and what is done to their values; knows nothing of networks."""

from __future__ import annotations

from napari_ct2mri.imaging.head import head_box, head_diameter_px, head_mask
from napari_ct2mri.imaging.intensity import (
    GREY_MAX,
    OUTPUT_MAX,
    MrRange,
    ct_channels,
    mr_range,
    mr_to_unit,
    unit_to_output,
    window_to_unit,
)
from napari_ct2mri.imaging.io import Series, picture_files, read_volume, scan, write_volume
from napari_ct2mri.imaging.volume import (
    AxisOrder,
    Geometry,
    Modality,
    Source,
    Unit,
    Volume,
    closest_axes,
    from_sitk,
    to_sitk,
)

__all__ = [
    "GREY_MAX",
    "OUTPUT_MAX",
    "AxisOrder",
    "Geometry",
    "Modality",
    "MrRange",
    "Series",
    "Source",
    "Unit",
    "Volume",
    "closest_axes",
    "ct_channels",
    "from_sitk",
    "head_box",
    "head_diameter_px",
    "head_mask",
    "mr_range",
    "mr_to_unit",
    "picture_files",
    "read_volume",
    "scan",
    "to_sitk",
    "unit_to_output",
    "window_to_unit",
    "write_volume",
]
