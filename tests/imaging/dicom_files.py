"""Real DICOM files, written slice by slice for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

PATIENT = "Doe^Jane"
PATIENT_ID = "PID-4711"


def ds(values: Any) -> list[str]:
    """Decimal strings of at most 16 characters."""
    return [f"{float(v):.9g}" for v in np.ravel(values)]


def write_slice(
    path: Path,
    pixels: NDArray[Any],
    position: Any = (0, 0, 0),
    cosines: Any = (1, 0, 0, 0, 1, 0),
    *,
    uid: str = "1.2.3",
    spacing: tuple[float, float] = (0.5, 0.7),
    **tags: Any,
) -> Path:
    """One file of 16-bit ``pixels``; a tag set to None is left out."""
    modality = tags.get("Modality", "CT")
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = MRImageStorage if modality == "MR" else CTImageStorage
    meta.MediaStorageSOPInstanceUID = tags.get("SOPInstanceUID") or generate_uid()
    slice_ = Dataset()
    slice_.file_meta = meta
    values: dict[str, Any] = {
        "SOPClassUID": meta.MediaStorageSOPClassUID,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "PatientName": PATIENT,
        "PatientID": PATIENT_ID,
        "Modality": modality,
        "SeriesInstanceUID": uid,
        "SeriesNumber": 1,
        "SeriesDescription": "head",
        "FrameOfReferenceUID": "1.2.9",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "ImagePositionPatient": ds(position),
        "ImageOrientationPatient": ds(cosines),
        "PixelSpacing": ds(spacing),
        "SliceThickness": "2.5",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "RescaleSlope": "1",
        "RescaleIntercept": "0",
        **tags,
    }
    for keyword, value in values.items():
        if value is not None:
            setattr(slice_, keyword, value)
    slice_.PixelData = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    slice_.save_as(path, enforce_file_format=True)
    return path


def write_series(
    folder: Path,
    volume: NDArray[Any],
    positions: NDArray[np.float64],
    cosines: Any = (1, 0, 0, 0, 1, 0),
    **tags: Any,
) -> list[Path]:
    """(n, y, x) int16 at (n, 3) mm, in files whose names say nothing of their order."""
    rng = np.random.default_rng(5)
    names = rng.permutation(len(volume))
    uid = tags.pop("uid", None) or generate_uid()
    return [
        write_slice(folder / f"IM{name}", pixels, position, cosines, uid=uid, **tags)
        for name, pixels, position in zip(names, volume, positions, strict=True)
    ]
