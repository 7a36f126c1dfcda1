"""Images in and out, and what is done to their values; knows nothing of networks.

``fingerprint.fingerprint`` is left in its module, whose name it would hide.
"""

from __future__ import annotations

from napari_ct2mri.imaging.dicom_out import Derivation
from napari_ct2mri.imaging.fingerprint import (
    MATCH_BITS,
    Fingerprint,
    distances,
    mirrored,
    seen,
    was_seen,
)
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
    DicomSlices,
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
    "MATCH_BITS",
    "OUTPUT_MAX",
    "AxisOrder",
    "Derivation",
    "DicomSlices",
    "Fingerprint",
    "Geometry",
    "Modality",
    "MrRange",
    "Series",
    "Source",
    "Unit",
    "Volume",
    "closest_axes",
    "ct_channels",
    "distances",
    "from_sitk",
    "head_box",
    "head_diameter_px",
    "head_mask",
    "mirrored",
    "mr_range",
    "mr_to_unit",
    "picture_files",
    "read_volume",
    "scan",
    "seen",
    "to_sitk",
    "unit_to_output",
    "was_seen",
    "window_to_unit",
    "write_volume",
]
