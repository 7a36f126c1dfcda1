"""How much of a grid a generator leaves in its MR.

    python -m benchmarks.checkerboard PAIRS MODEL ... [--split val]

Of each model's and contrast's MR of these rows, in the network's frame: the power along the lines
of the spectrum where transposed convolutions leave their grid, of a period of 2, 4 and 8 pixels,
over that of the lines beside. 1 is no grid; the real MR stands below. Prints Markdown.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from benchmarks.in_frame import Opened
from numpy.typing import NDArray

from napari_ct2mri.pix2pix.pairs import read_pairs

PERIODS = (2, 4, 8)
_BESIDE = (-6, -5, -4, 4, 5, 6)


def grid_power(images: NDArray[np.float32]) -> list[float]:
    """Of (n, h, w) images, h = w: for each period the lines' power over that beside them."""
    side = images.shape[-1]
    window = np.hanning(side)
    flat = images - images.mean(axis=(1, 2), keepdims=True)
    power = (np.abs(np.fft.fft2(flat * window[:, None] * window)) ** 2).mean(axis=0)

    def line(number: int) -> float:
        return float(power[number % side].sum() + power[:, number % side].sum())

    return [
        line(side // period) / float(np.mean([line(side // period + d) for d in _BESIDE]))
        for period in PERIODS
    ]


def main() -> None:
    """Measure each model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("model", nargs="+", help="files or released models, of one input and scale")
    parser.add_argument("--split", choices=["train", "val", "test", "all"], default="val")
    asked = parser.parse_args()
    pairs = read_pairs(asked.pairs).where(asked.split)
    print("| model | contrast | " + " | ".join(f"{p} px" for p in PERIODS) + " |")
    print("|---|---|" + "--:|" * len(PERIODS))
    for model in asked.model:
        opened = Opened.of(model)
        slices, mr = opened.predict(pairs)
        for index, contrast in enumerate(opened.contrasts):
            _print(opened.path.stem, contrast, mr[:, index].numpy())
    _print("the real MR", "all", slices.mr.astype(np.float32))


def _print(name: str, contrast: str, images: NDArray[np.float32]) -> None:
    figures = " | ".join(f"{figure:.2f}" for figure in grid_power(images))
    print(f"| {name} | {contrast} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
