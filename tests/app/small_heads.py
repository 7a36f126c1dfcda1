"""Small heads: enough anatomy for the head mask, the windows and a tiny training."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.imaging.io import write_volume
from napari_ct2mri.imaging.volume import Geometry, Volume

OBLIQUE = Geometry(
    spacing=(4.0, 1.5, 1.25),
    origin=(-40.0, -50.0, 12.5),
    direction=(0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, 1.0),
)


def head(
    seed: int, slices: int = 4, side: int = 64
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(z, y, x) CT in HU and MR in arbitrary units of one subject."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / (side - 1) * 2 - 1
    ct = np.full((slices, side, side), -1000, np.float32)
    mr = np.zeros_like(ct)
    a, b = random.uniform(0.62, 0.78, 2)
    holes = random.uniform(-0.35, 0.35, (6, 2))
    for z in range(slices):
        size = 1 - 0.06 * z
        radius = np.hypot(y / (a * size), x / (b * size))
        for limit, hu, signal in ((1.0, 30, 500), (0.92, 900, 60), (0.8, 36, 620)):
            ct[z][radius < limit], mr[z][radius < limit] = hu, signal
        for k, (v, u) in enumerate(holes):
            hole = np.hypot(y - v, x - u) < 0.08 + 0.02 * ((z + k) % 3)
            ct[z][hole & (radius < 0.8)], mr[z][hole & (radius < 0.8)] = 6, 950
    ct += random.normal(0, 2, ct.shape).astype(np.float32)
    mr += np.abs(random.normal(0, 8, mr.shape)).astype(np.float32)
    return ct, mr


def shown(hu: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A CT as a picture in level 40, width 80."""
    return np.clip(hu / 80 * 255, 0, 255).astype(np.uint8)


def write_volumes(folder: Path, seed: int, geometry: Geometry = OBLIQUE) -> tuple[Path, Path]:
    """One subject as ``ct.nii.gz`` and ``mr.nii.gz``."""
    ct, mr = head(seed)
    paths = folder / "ct.nii.gz", folder / "mr.nii.gz"
    write_volume(Volume(np.rint(ct).astype(np.int16), geometry, "CT", "HU"), paths[0])
    write_volume(Volume(mr, geometry, "MR", "arbitrary"), paths[1])
    return paths


def write_pictures(folder: Path, seed: int) -> list[tuple[Path, Path]]:
    """One subject as ``CT/01.png`` ... and ``MR/01.png`` ..."""
    ct, mr = head(seed)
    names = [f"{i + 1:02d}.png" for i in range(len(ct))]
    for name, data in (("CT", shown(ct)), ("MR", np.clip(mr / 4, 0, 255).astype(np.uint8))):
        write_volume(Volume(data, unit="grey"), folder / name, names=names)
    return [(folder / "CT" / name, folder / "MR" / name) for name in names]


def write_csv(path: Path, rows: list[tuple[object, ...]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("ct", "mr", "patient", "contrast", "split", "slice"))
        writer.writerows(rows)
    return path


def picture_pairs(folder: Path, splits: dict[str, str], contrast: str = "T2") -> Path:
    """``pairs.csv`` of one subject for each ``{patient: split}``, as pictures."""
    rows: list[tuple[object, ...]] = []
    for seed, (patient, split) in enumerate(splits.items()):
        for index, files in enumerate(write_pictures(folder / patient, seed)):
            names = (file.relative_to(folder).as_posix() for file in files)
            rows.append((*names, patient, contrast, split, index))
    return write_csv(folder / "pairs.csv", rows)


def volume_pairs(folder: Path, splits: dict[str, str], contrast: str = "T2") -> Path:
    """The same, as volumes."""
    rows: list[tuple[object, ...]] = []
    for seed, (patient, split) in enumerate(splits.items()):
        (folder / patient).mkdir(parents=True)
        files = write_volumes(folder / patient, seed)
        names = (file.relative_to(folder).as_posix() for file in files)
        rows.append((*names, patient, contrast, split, ""))
    return write_csv(folder / "pairs.csv", rows)


SPLITS = {"ada": "train", "bea": "train", "cid": "val", "dot": "test"}
TINY = [
    *("--epochs", "1", "--batch", "4", "--width", "4", "--levels", "3"),
    *("--frame-px", "64", "--head-px", "46", "--pixel-mm", "1.4"),
    *("--threads", "1", "--device", "cpu"),
]
