"""Small CT/MR picture pairs on disk, made by code."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from skimage.io import imsave

SIDE = 64


def head_pair(seed: int, slice_index: int) -> tuple[np.ndarray, np.ndarray]:
    """CT and MR, (SIDE, SIDE) uint8: skull ring, brain, ventricles and one lesion."""
    chance = np.random.default_rng(seed)
    y, x = np.indices((SIDE, SIDE)) - (SIDE - 1) / 2
    long, wide = chance.uniform(23, 27), chance.uniform(18, 22)
    shift = chance.uniform(-2, 2, size=2)
    r = np.hypot((y - shift[0]) / long, (x - shift[1]) / wide)
    spot = np.hypot(*(np.stack([y, x]) - chance.uniform(-9, 9, (2, 1, 1)))) < 3 + slice_index
    fluid = (np.abs(x - shift[1]) < 4) & (np.abs(y) < 5 + slice_index)
    ct, mr = np.zeros((2, SIDE, SIDE))
    ct[r < 1], mr[r < 1] = 255, 60
    brain = r < 0.85
    texture = chance.normal(0, 6, (SIDE, SIDE))
    ct[brain] = (110 + texture)[brain]
    mr[brain] = (120 - 2 * texture)[brain]
    ct[brain & fluid], mr[brain & fluid] = 30, 240
    ct[brain & spot], mr[brain & spot] = 160, 180
    return ct.clip(0, 255).astype(np.uint8), mr.clip(0, 255).astype(np.uint8)


@pytest.fixture
def make_pairs(tmp_path: Path) -> Callable[..., Path]:
    """Write pictures and a ``pairs.csv``; ``patients`` maps a name to (contrast, split)."""

    def make(
        patients: dict[str, tuple[str, str]] | None = None, slices: int = 3, first_seed: int = 0
    ) -> Path:
        patients = patients or {"a": ("T2", "train"), "b": ("T2", "train"), "c": ("T2", "val")}
        rows = []
        for seed, (patient, (contrast, split)) in enumerate(patients.items(), first_seed):
            for z in range(slices):
                names = [f"{patient}-{kind}-{z}.png" for kind in ("ct", "mr")]
                for name, image in zip(names, head_pair(seed, z), strict=True):
                    imsave(tmp_path / name, image, check_contrast=False)
                rows.append((*names, patient, contrast, split, z))
        header = ("ct", "mr", "patient", "contrast", "split", "slice")
        path = tmp_path / "pairs.csv"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([header, *rows])
        return path

    return make
