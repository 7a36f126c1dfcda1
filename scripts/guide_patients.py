"""The patients of the guide's pictures: all simulated, stored as scanners store theirs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from scipy.spatial.transform import Rotation

from napari_ct2mri.imaging.phantom import phantom, phantom_job
from napari_ct2mri.imaging.volume import Volume, to_sitk
from napari_ct2mri.jobs import run_job

SEED, SUBJECTS = 7, 5
TURN_DEG, SHIFT_MM = (4.0, 0.0, 6.0), (7.0, -5.0, 6.0)
"""How the MR was moved: turned round x, y and z of the patient, then shifted."""
MISSING = 11
"""Of the series with every second slice, the one that got lost."""


def simulate(
    patient: Path,
    pairs: Path,
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
) -> None:
    """Some patients to train on, and one more: a CT in two DICOM series, and a T2 elsewhere.

    ``shape`` and ``spacing``, (z, y, x) and mm, are those of the latter.
    """
    if pairs.exists():
        return
    head = phantom(SEED, shape=shape, spacing=spacing)
    study, frame = generate_uid(), generate_uid()
    every = range(len(head.ct.data))
    second = [k for k in every[::2] if k != 2 * MISSING]
    write_ct(patient / "CT", head.ct, every, study, frame, 2, "thin")
    write_ct(patient / "CT", head.ct, second, study, frame, 3, "thick")
    # not by write_volume, which would note in it that it is MR: others do not
    sitk.WriteImage(to_sitk(displaced(head.mr["T2"])), patient / "T2.nii.gz")
    run_job(phantom_job(pairs.parent, SUBJECTS, seed=1), lambda event: None)


def displaced(mr: Volume) -> Volume:
    """The same voxels in another place, as a second visit to another scanner gives them."""
    geometry = mr.geometry
    turn = Rotation.from_euler("xyz", TURN_DEG, degrees=True).as_matrix()
    middle = (geometry.affine @ [*(np.array(mr.data.shape) / 2), 1])[:3]
    origin = turn @ (np.array(geometry.origin) - middle) + middle + SHIFT_MM
    direction = (turn @ geometry.matrix).ravel()
    moved = replace(geometry, origin=tuple(origin), direction=tuple(direction))
    return replace(mr, geometry=moved)


def write_ct(
    folder: Path,
    ct: Volume,
    slices: list[int] | range,
    study: str,
    frame: str,
    number: int,
    description: str,
) -> None:
    """A series as a scanner would store it: a file a slice, named by number."""
    folder.mkdir(parents=True, exist_ok=True)
    series, geometry = generate_uid(), ct.geometry
    for count, k in enumerate(slices, start=1):
        position = (geometry.affine @ [k, 0, 0, 1])[:3]
        rows, columns = ct.data[k].shape
        tags = {
            "SOPClassUID": CTImageStorage,
            "SOPInstanceUID": generate_uid(),
            "StudyInstanceUID": study,
            "SeriesInstanceUID": series,
            "FrameOfReferenceUID": frame,
            "PatientName": "Simulated^Seven",
            "PatientID": "simulated-7",
            "PatientBirthDate": "",
            "PatientSex": "",
            "StudyDate": "",
            "StudyTime": "",
            "StudyID": "1",
            "StudyDescription": "simulated head",
            "AccessionNumber": "",
            "ReferringPhysicianName": "",
            "Modality": "CT",
            "SeriesNumber": number,
            "SeriesDescription": description,
            "InstanceNumber": count,
            "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
            "ImagePositionPatient": decimals(position),
            "ImageOrientationPatient": decimals(geometry.matrix[:, :2].T),
            "PixelSpacing": decimals(geometry.spacing[1:]),
            "SliceThickness": f"{geometry.spacing[0]:.9g}",
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "Rows": rows,
            "Columns": columns,
            "BitsAllocated": 16,
            "BitsStored": 16,
            "HighBit": 15,
            "PixelRepresentation": 1,
            "RescaleSlope": "1",
            "RescaleIntercept": "0",
            "PixelData": ct.data[k].astype("<i2").tobytes(),
        }
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = tags["SOPClassUID"]
        meta.MediaStorageSOPInstanceUID = tags["SOPInstanceUID"]
        slice_ = Dataset()
        slice_.file_meta = meta
        for keyword, value in tags.items():
            setattr(slice_, keyword, value)
        slice_.save_as(folder / f"IM{number}{count:03d}", enforce_file_format=True)


def decimals(values: object) -> list[str]:
    """Decimal strings (DS) of at most 16 characters."""
    return [f"{float(v):.9g}" for v in np.ravel(values)]
