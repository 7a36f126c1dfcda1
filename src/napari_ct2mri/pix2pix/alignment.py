"""Training MRs moved to where the network expects them: one similarity a patient and contrast.

Registered pairs are still off by pixels, and some by several per cent of scale, where two scanners
disagree on the field of view. A network learns the mean of all patients, so what it makes of a CT
lies where that CT's MR should lie; its smoothed gradients tell by how much the real one is off.
Four numbers for all slices of a patient cannot bend an MR to fit a wrong prediction, as smooth
fields slice by slice did. Only what is learnt from is moved, never what is measured.
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from napari_ct2mri.pix2pix.losses import gradient_correlation
from napari_ct2mri.pix2pix.slices import SlicePairs

__all__ = ["POSE", "align", "align_patients", "move", "moved"]

POSE = ("log zoom", "angle (rad)", "dy (px)", "dx (px)")
"""Of a similarity; an image at rest has four zeros."""

_UNIT = torch.tensor([0.01, 0.01, 1.0, 1.0])  # steps of about one pixel at the rim of a head
_LIMIT = torch.tensor([0.12, math.radians(10), 12.0, 12.0])  # beyond, it is no small misalignment
_ZOOMS = (-0.06, -0.03, 0.0, 0.03, 0.06)
_SHIFTS_PX = (-6.0, -3.0, 0.0, 3.0, 6.0)
_SHRINK = 4
_STEPS = 20
_GAIN = 0.003  # of gradient correlation; less is noise, and the MR stays
_SPARSE = 12  # slices of a patient that are looked at


def align(fake: Tensor, real: Tensor) -> Tensor:
    """Find the pose in which ``real`` agrees best with ``fake``, in gradient correlation.

    A search over zoom and shift at a quarter of the size, then L-BFGS over all four numbers.

    Parameters
    ----------
    fake, real : (n, 1, h, w) in [-1, 1]; h and w at least 64
        Slices of one patient.

    Returns
    -------
    (4,) :data:`POSE`; zeros where nothing is gained, or where the optimum is implausibly far.
    """
    steps = (_coarse(fake, real) / _UNIT).requires_grad_(True)
    optimizer = torch.optim.LBFGS([steps], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = -gradient_correlation(fake, move(real, steps * _UNIT))
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    pose = steps.detach() * _UNIT
    with torch.no_grad():
        gain = gradient_correlation(fake, move(real, pose)) - gradient_correlation(fake, real)
    is_better = bool(gain > _GAIN) and bool((pose.abs() <= _LIMIT).all())
    return pose if is_better else torch.zeros(4)


@torch.no_grad()
def _coarse(fake: Tensor, real: Tensor) -> Tensor:
    """The best of a grid of zooms and shifts."""
    small_fake, small_real = F.avg_pool2d(fake, _SHRINK), F.avg_pool2d(real, _SHRINK)
    poses = [torch.tensor([z, 0.0, y, x]) for z, y, x in product(_ZOOMS, _SHIFTS_PX, _SHIFTS_PX)]
    small = torch.tensor([1.0, 1.0, 1 / _SHRINK, 1 / _SHRINK])
    scores = [float(gradient_correlation(small_fake, move(small_real, p * small))) for p in poses]
    return poses[int(np.argmax(scores))]


def align_patients(fakes: NDArray[np.float32], slices: SlicePairs) -> Tensor:
    """Align every patient's MR to predictions of it.

    Parameters
    ----------
    fakes : (n, h, w) in [-1, 1]
        What the network makes of each CT of ``slices``, whose MRs are as they were read.

    Returns
    -------
    (patients, 4) by the numbers in ``slices.patient``
    """
    poses = torch.zeros(int(slices.patient.max()) + 1, 4)
    for number in np.unique(slices.patient):
        mine = np.flatnonzero(slices.patient == number)
        mine = mine[np.linspace(0, len(mine) - 1, min(len(mine), _SPARSE)).astype(int)]
        fake, real = (
            torch.from_numpy(images[mine].astype(np.float32))[:, None]
            for images in (fakes, slices.mr)
        )
        poses[number] = align(fake, real)
    return poses


def moved(slices: SlicePairs, poses: Tensor) -> NDArray[np.float16]:
    """The MRs of ``slices``, each in its patient's pose, (n, h, w) in [-1, 1]."""
    mr = slices.mr.copy()
    for number in np.flatnonzero(poses.abs().sum(dim=1).numpy()):
        mine = np.flatnonzero(slices.patient == number)
        images = torch.from_numpy(slices.mr[mine].astype(np.float32))[:, None]
        placed = move(images, poses[number], mode="bicubic").clamp(-1, 1)
        mr[mine] = placed[:, 0].numpy().astype(np.float16)
    return mr


def move(images: Tensor, pose: Tensor, mode: str = "bilinear") -> Tensor:
    """Resample (n, 1, h, w) images by a similarity about their middle; air, -1, comes in.

    A positive log zoom enlarges; dy and dx are where, in pixels, the middle is taken from.
    """
    height, width = images.shape[-2:]
    cos, sin = torch.cos(pose[1]) * torch.exp(-pose[0]), torch.sin(pose[1]) * torch.exp(-pose[0])
    theta = torch.stack(
        [
            torch.stack([cos, -sin * height / width, pose[3] * 2 / width]),
            torch.stack([sin * width / height, cos, pose[2] * 2 / height]),
        ]
    )
    grid = F.affine_grid(theta.expand(len(images), -1, -1), list(images.shape), align_corners=False)
    return F.grid_sample(images + 1, grid, mode=mode, align_corners=False) - 1
