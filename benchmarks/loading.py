"""How long a CT series takes to load: ``python benchmarks/loading.py [--slices 300]``.

What this program does to load a folder, from the search for series to the volume in HU, beside
SimpleITK's own way: its list of series, its list of files, its series reader. Both in turns, in one
process, after one run each that does not count, so that the files lie in the system's memory.
Prints a Markdown table of medians: seconds on the clock, and seconds of processor time, which
say something on a busy machine too.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.imaging.io import read_volume

if TYPE_CHECKING:
    import SimpleITK as sitk

SIDE = 512
PIXEL_MM = 0.488281
STEP_MM = 0.625
NOISE_HU = 12.0
SERIES_UID = "1.2.826.0.1.3680043.10.1"
STORAGE = "1.2.840.10008.5.1.4.1.1.2"
PRIVATE_BYTES = 8000
"""Of a scanner's own elements, which every real header carries along."""


def slice_hu(z: int, slices: int, noise: NDArray[np.float32]) -> NDArray[np.int16]:
    """(512, 512) HU: a skull of brain in air."""
    y, x = np.mgrid[:SIDE, :SIDE] / (SIDE - 1) * 2 - 1
    radius = np.hypot(y / 0.85, x / 0.7) + 0.3 * (z / slices - 0.5) ** 2
    hu = np.select([radius < 0.88, radius < 0.95, radius < 1], [35.0, 1100.0, 20.0], -1000.0)
    return np.asarray(np.rint(hu + np.roll(noise, 7 * z, axis=1)), np.int16)


def write_series(folder: Path, slices: int) -> None:
    """A plain CT series, uncompressed, its file names out of order."""
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    rng = np.random.default_rng(0)
    noise = rng.normal(0, NOISE_HU, (SIDE, SIDE)).astype(np.float32)
    for z, name in enumerate(rng.permutation(slices)):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = STORAGE
        meta.MediaStorageSOPInstanceUID = f"{SERIES_UID}.{z + 1}"
        slice_ = Dataset()
        slice_.file_meta = meta
        for keyword, value in {
            "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
            "SOPClassUID": STORAGE,
            "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
            "StudyDate": "20260101",
            "StudyTime": "120000",
            "AccessionNumber": "1",
            "Modality": "CT",
            "Manufacturer": "none",
            "InstitutionName": "none",
            "StudyDescription": "head",
            "SeriesDescription": "head, thin",
            "ManufacturerModelName": "made by code",
            "PatientName": "Made^By Code",
            "PatientID": "1",
            "SliceThickness": str(STEP_MM),
            "KVP": "120",
            "DataCollectionDiameter": "250",
            "ReconstructionDiameter": "250",
            "GantryDetectorTilt": "0",
            "TableHeight": "150",
            "ExposureTime": "1000",
            "XRayTubeCurrent": "300",
            "ConvolutionKernel": "soft",
            "PatientPosition": "HFS",
            "StudyInstanceUID": f"{SERIES_UID}.0.1",
            "SeriesInstanceUID": SERIES_UID,
            "FrameOfReferenceUID": f"{SERIES_UID}.0.2",
            "StudyID": "1",
            "SeriesNumber": 2,
            "AcquisitionNumber": 1,
            "InstanceNumber": z + 1,
            "ImagePositionPatient": ["-125", "-125", f"{z * STEP_MM:.4f}"],
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "SliceLocation": f"{z * STEP_MM:.4f}",
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "Rows": SIDE,
            "Columns": SIDE,
            "PixelSpacing": [PIXEL_MM, PIXEL_MM],
            "BitsAllocated": 16,
            "BitsStored": 16,
            "HighBit": 15,
            "PixelRepresentation": 1,
            "WindowCenter": "40",
            "WindowWidth": "80",
            "RescaleIntercept": "-1024",
            "RescaleSlope": "1",
            "RescaleType": "HU",
        }.items():
            setattr(slice_, keyword, value)
        block = slice_.private_block(0x0029, "MADE BY CODE", create=True)
        block.add_new(0x10, "OB", bytes(PRIVATE_BYTES))
        slice_.PixelData = (slice_hu(z, slices, noise) + 1024).astype("<i2").tobytes()
        slice_.save_as(folder / f"IM{name:04d}", enforce_file_format=True)


def compress(source: Path, folder: Path) -> None:
    """The same series as JPEG Lossless, which GDCM writes and pydicom does not."""
    import SimpleITK as sitk

    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.KeepOriginalImageUIDOn()
    writer.UseCompressionOn()
    writer.SetCompressor("JPEG")
    for path in source.iterdir():
        writer.SetFileName(str(folder / f"{path.name}.dcm"))
        image = sitk.ReadImage(str(path), imageIO="GDCMImageIO")
        short = sitk.Cast(image, sitk.sitkInt16)  # of 32 bits GDCM makes no JPEG
        for key in image.GetMetaDataKeys():
            short.SetMetaData(key, image.GetMetaData(key))
        writer.Execute(short)


def ours(folder: Path) -> NDArray[np.generic]:
    return read_volume(folder).data


def theirs(folder: Path) -> sitk.Image:
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    (series,) = reader.GetGDCMSeriesIDs(str(folder))
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), series))
    return reader.Execute()


def seconds(load: Callable[[Path], object], folder: Path) -> tuple[float, float]:
    """On the clock, and of the processor in all threads."""
    clock, processor = time.perf_counter(), time.process_time()
    load(folder)
    return time.perf_counter() - clock, time.process_time() - processor


def row(what: str, folder: Path, runs: int) -> str:
    import SimpleITK as sitk

    if not np.array_equal(ours(folder), sitk.GetArrayFromImage(theirs(folder))):
        sys.exit(f"{what}: the two do not read the same values")
    pairs = [(seconds(ours, folder), seconds(theirs, folder)) for _ in range(runs)]
    times = np.asarray(pairs)  # (runs, ours and theirs, clock and processor)
    (us, us_cpu), (them, them_cpu) = np.median(times, axis=0)
    ratio, ratio_cpu = np.median(times[:, 0] / times[:, 1], axis=0)
    return (
        f"| {what} | {us:.2f} s | {them:.2f} s | **{ratio:.2f}** | {us_cpu:.2f} s | "
        f"{them_cpu:.2f} s | {ratio_cpu:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    print("| series | ours | SimpleITK | ratio | ours, CPU | SimpleITK, CPU | ratio |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        plain, jpeg = Path(scratch, "plain"), Path(scratch, "jpeg")
        for folder in (plain, jpeg):
            folder.mkdir()
        write_series(plain, options.slices)
        size = f"{SIDE}x{SIDE}x{options.slices}"
        print(row(f"{size}, uncompressed", plain, options.runs), flush=True)
        compress(plain, jpeg)
        print(row(f"{size}, JPEG Lossless", jpeg, options.runs))


if __name__ == "__main__":
    main()
