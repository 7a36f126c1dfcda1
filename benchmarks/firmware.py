"""What quantization costs, and that every level of proof computes the same.

    python benchmarks/firmware.py PAIRS.csv PROJECT [--board host] [--every N]

PROJECT is what ``export`` wrote and ``build`` compiled. Every val slice runs through the
float network, through the NumPy reference (L0) and through the board; prints one table.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np

from napari_ct2mri.evaluation.metrics import psnr, ssim
from napari_ct2mri.firmware.container import unpack
from napari_ct2mri.firmware.reference import dequantize_output, each_layer, quantize_input
from napari_ct2mri.firmware.simulate import Line, simulated
from napari_ct2mri.jobs import run_job
from napari_ct2mri.pix2pix.checkpoint import Checkpoint, load_checkpoint
from napari_ct2mri.pix2pix.pairs import read_pairs
from napari_ct2mri.pix2pix.slices import SlicePairs, load_slices
from napari_ct2mri.pix2pix.synthesis import load_generator
from napari_ct2mri.pix2pix.zoo import find_model

RANGE = 2.0  # of images in [-1, 1]


def float_outputs(checkpoint: Checkpoint, contrast: str, slices: SlicePairs) -> np.ndarray:
    """The float network's MR of every slice, (n, H, W)."""
    import torch

    generator = load_generator(checkpoint, torch.device("cpu"))
    head = checkpoint.contrasts.index(contrast)
    with torch.inference_mode():
        made = [
            generator(torch.from_numpy(ct[None].astype(np.float32)))[0, head] for ct in slices.ct
        ]
    return np.stack([each.numpy() for each in made])


def against_mr(fakes: np.ndarray, slices: SlicePairs) -> np.ndarray:
    """PSNR (dB) and SSIM in the head against the real MR, (n, 2)."""
    rows = []
    for fake, mr, head in zip(fakes, slices.mr.astype(np.float32), slices.head, strict=True):
        rows.append((psnr(fake, mr, RANGE, head), ssim(fake + 1, mr + 1, RANGE, head)))
    return np.array(rows)


def check_layers(line: Line, project: Path, image: np.ndarray) -> np.ndarray:
    """The board's MR, once every layer is known to equal the reference's."""
    model = unpack((project / "model.ctm").read_bytes()).model
    made, digests = line.run_with_digests(image)
    for number, stored in enumerate(each_layer(model, image)):
        if hashlib.sha256(np.ascontiguousarray(stored)).digest() != digests[number]:
            raise SystemExit(f"layer {number} differs from the reference")
    return made


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("project", type=Path)
    parser.add_argument("--board", default="host")
    parser.add_argument("--every", type=int, default=1, help="take every Nth slice")
    asked = parser.parse_args()
    info = unpack((asked.project / "model.ctm").read_bytes()).info
    checkpoint = load_checkpoint(find_model(info["model"]))
    contrast = info["contrast"]
    rows = read_pairs(asked.pairs).where("val", contrast)
    slices = run_job(load_slices(rows, checkpoint.config.model), lambda event: None)
    chosen = np.arange(0, len(slices), asked.every)
    floats = float_outputs(checkpoint, contrast, slices)
    made = floats.copy()
    with simulated(asked.project, asked.board) as line:
        for i in chosen:
            image = quantize_input(slices.ct[i].astype(np.float32))
            made[i] = dequantize_output(check_layers(line, asked.project, image))
    near = np.array([psnr(made[i], floats[i], RANGE) for i in chosen])
    change = (against_mr(made, slices) - against_mr(floats, slices))[chosen]
    print(f"| {info['model']}, {contrast}, {len(chosen)} val slices, {asked.board} | |\n|---|---|")
    print(f"| int8 against float, mean | {near.mean():.1f} dB |")
    print(f"| int8 against float, worst | {near.min():.1f} dB |")
    for name, column, unit in (("PSNR", 0, " dB"), ("SSIM", 1, "")):
        worst = change[np.abs(change[:, column]).argmax(), column]
        print(
            f"| change of {name} against the real MR, in the head: mean, largest | "
            f"{change[:, column].mean():+.4f}, {worst:+.4f}{unit} |"
        )
    print(f"| layers equal to the reference | all, {line.layers} of every slice |")


if __name__ == "__main__":
    main()
