"""What a generator is worth on prepared slices, and its batch statistics."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from napari_ct2mri.evaluation.metrics import (
    gain_and_offset,
    gradient_correlation,
    psnr,
    ssim,
)
from napari_ct2mri.pix2pix.networks import Generator
from napari_ct2mri.pix2pix.slices import SlicePairs

__all__ = ["SCORE", "l1_error", "predict", "reestimate_statistics", "validate"]

SCORE = "ssim"
"""The figure that chooses the best epoch: structure, which a change of gain can't buy."""

_BATCH = 8
_RANGE = 2.0  # of images in [-1, 1]


def validate(generator: Generator, slices: SlicePairs) -> dict[str, float]:
    """In-head PSNR (dB, best gain and offset a patient), SSIM, gradient correlation.

    Means over slices, then over patients; measured in the network's frame.
    """
    fake = predict(generator, slices)
    real = slices.mr.astype(np.float32)
    patients = []
    for number in np.unique(slices.patient):
        mine = np.flatnonzero(slices.patient == number)
        gain, offset = gain_and_offset(fake[mine], real[mine], slices.head[mine])
        rows = [
            (
                psnr(gain * fake[i] + offset, real[i], _RANGE, slices.head[i]),
                ssim(fake[i] + 1, real[i] + 1, _RANGE, slices.head[i]),
                gradient_correlation(fake[i], real[i], slices.head[i]),
            )
            for i in mine
        ]
        patients.append(np.mean(rows, axis=0))
    figures = np.mean(patients, axis=0)
    return dict(zip(("psnr", SCORE, "gradient_correlation"), map(float, figures), strict=True))


@torch.inference_mode()
def predict(generator: Generator, slices: SlicePairs) -> NDArray[np.float32]:
    """The labelled contrast of every slice, (n, h, w) in [-1, 1], with running statistics."""
    generator.eval()
    fakes = [
        generator(ct)[torch.arange(len(ct)), contrast].cpu().numpy()
        for ct, contrast in _batches(generator, slices)
    ]
    return np.concatenate(fakes)


def l1_error(generator: Generator, slices: SlicePairs) -> float:
    """Mean absolute error over all pixels of all slices."""
    fake = predict(generator, slices)
    return float(np.mean([np.abs(f - r).mean() for f, r in zip(fake, slices.mr, strict=True)]))


@torch.inference_mode()
def reestimate_statistics(generator: Generator, slices: SlicePairs) -> None:
    """Replace batch norm's running statistics by plain means over ``slices``, dropout off."""
    norms = [m for m in generator.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    generator.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch: a cumulative mean
        norm.train()
    for ct, _ in _batches(generator, slices):
        generator(ct)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    generator.eval()


def _batches(
    generator: Generator, slices: SlicePairs
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """CT (b, C, h, w) and contrast (b,), in order."""
    device = next(generator.parameters()).device
    for index in np.array_split(np.arange(len(slices)), -(-len(slices) // _BATCH)):
        yield (
            torch.from_numpy(slices.ct[index].astype(np.float32)).to(device),
            torch.from_numpy(slices.contrast[index]).to(device),
        )
