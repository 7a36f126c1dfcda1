"""What a generator is worth on prepared slices, and its batch statistics.

Jobs, as they may take long: each yields its progress after every batch.
"""

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
from napari_ct2mri.jobs import Job, Progress
from napari_ct2mri.pix2pix.checkpoint import SCORE
from napari_ct2mri.pix2pix.networks import Generator
from napari_ct2mri.pix2pix.slices import SlicePairs

__all__ = ["l1_error", "predict", "reestimate_statistics", "validate"]

_BATCH = 8
_RANGE = 2.0  # of images in [-1, 1]


def validate(generator: Generator, slices: SlicePairs) -> Job[dict[str, float]]:
    """In-head PSNR (dB, best gain and offset a patient), SSIM, gradient correlation.

    Means over slices, then over patients; measured in the network's frame.
    """
    fake = yield from predict(generator, slices, "slices validated")
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


def predict(generator: Generator, slices: SlicePairs, what: str) -> Job[NDArray[np.float32]]:
    """The labelled contrast of every slice, (n, h, w) in [-1, 1], with running statistics.

    ``what`` is how the slices are called in the progress.
    """
    generator.eval()
    fakes: list[NDArray[np.float32]] = []
    done = 0
    for ct, contrast in _batches(generator, slices):
        with torch.inference_mode():  # not round a yield, where it would hold for the driver too
            made = generator(ct)[torch.arange(len(ct)), contrast]
        fakes.append(made.cpu().numpy())
        done += len(ct)
        yield Progress(done, len(slices), what)
    return np.concatenate(fakes)


def l1_error(generator: Generator, slices: SlicePairs) -> Job[float]:
    """Mean absolute error over all pixels of all slices."""
    fake = yield from predict(generator, slices, "training slices measured")
    return float(np.mean([np.abs(f - r).mean() for f, r in zip(fake, slices.mr, strict=True)]))


def reestimate_statistics(generator: Generator, slices: SlicePairs) -> Job[None]:
    """Replace batch norm's running statistics by plain means over ``slices``, dropout off."""
    norms = [m for m in generator.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    generator.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch: a cumulative mean
        norm.train()
    done = 0
    for ct, _ in _batches(generator, slices):
        with torch.inference_mode():
            generator(ct)
        done += len(ct)
        yield Progress(done, len(slices), "slices for batch statistics")
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
