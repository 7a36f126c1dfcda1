"""How much of a grid a generator leaves in its MR.

    python benchmarks/checkerboard.py PAIRS MODEL ... [--split val]

Of each model's and contrast's MR of these rows, in the network's frame: the power along the lines
of the spectrum where transposed convolutions leave their grid, of a period of 2, 4 and 8 pixels,
over that of the lines beside. 1 is no grid; the real MR stands below. Prints Markdown.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from napari_ct2mri.jobs import run_job
from napari_ct2mri.pix2pix.checkpoint import load_checkpoint, load_weights
from napari_ct2mri.pix2pix.networks import Generator
from napari_ct2mri.pix2pix.pairs import read_pairs
from napari_ct2mri.pix2pix.slices import load_slices
from napari_ct2mri.pix2pix.zoo import find_model

PERIODS = (2, 4, 8)
_BESIDE = (-6, -5, -4, 4, 5, 6)
_BATCH = 4


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
        path = find_model(model)
        checkpoint = load_checkpoint(path)
        generator = Generator(checkpoint.config.model).eval()
        load_weights(generator, checkpoint.weights, str(path))
        slices = run_job(load_slices(pairs, checkpoint.config.model), lambda event: None)
        ct = torch.from_numpy(slices.ct.astype(np.float32))
        with torch.no_grad():
            mr = torch.cat([generator(batch) for batch in ct.split(_BATCH)]).numpy()
        for index, contrast in enumerate(checkpoint.contrasts):
            _print(path.stem, contrast, mr[:, index])
    _print("the real MR", "all", slices.mr.astype(np.float32))


def _print(name: str, contrast: str, images: NDArray[np.float32]) -> None:
    figures = " | ".join(f"{figure:.2f}" for figure in grid_power(images))
    print(f"| {name} | {contrast} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
