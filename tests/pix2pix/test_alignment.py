from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from napari_ct2mri.pix2pix.alignment import align, align_patients, move, moved
from napari_ct2mri.pix2pix.slices import SlicePairs

SIDE = 128


def heads(count: int, seed: int) -> Tensor:
    """(count, 1, SIDE, SIDE) in [-1, 1]: a bright rim round smooth, slanted structure."""
    chance = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(*[torch.arange(SIDE) - (SIDE - 1) / 2] * 2, indexing="ij")
    inside = (y / 52) ** 2 + (x / 42) ** 2
    noise = torch.randn(count, 1, 12, 12, generator=chance)
    tissue = F.interpolate(noise, (SIDE, SIDE), mode="bicubic", align_corners=False)
    image = torch.where(inside < 0.8, 0.3 * tissue, torch.where(inside < 1, 0.8, -1.0))
    return F.avg_pool2d(image.clamp(-1, 1), 3, 1, 1)


@pytest.mark.parametrize(
    "pose",
    [
        [0.0, 0.0, 3.0, -2.0],
        [0.045, math.radians(3), -4.0, 1.5],
        [-0.05, math.radians(-2), 0.5, 5.0],
    ],
)
def test_a_known_misplacement_is_undone(pose: list[float]) -> None:
    fake = heads(5, 0)
    found = align(fake, move(fake, torch.tensor(pose), mode="bicubic"))
    back = move(move(fake, torch.tensor(pose), mode="bicubic"), found, mode="bicubic")
    zoom, angle, _, _ = (found + torch.tensor(pose)).tolist()
    assert abs(zoom) < 0.003
    assert abs(angle) < math.radians(0.3)
    middle = (..., slice(20, -20), slice(20, -20))
    assert (back - fake)[middle].abs().mean() < 0.05 * fake[middle].abs().mean() + 0.01


def test_contrast_may_differ_but_not_the_place() -> None:
    fake = heads(5, 1)
    darker = (fake * 0.4 + 0.1 * fake**2).clamp(-1, 1)
    assert align(fake, darker).tolist() == [0, 0, 0, 0]


def test_nothing_in_common_moves_nothing_far() -> None:
    real = torch.rand(4, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    pose = align(heads(4, 2), real)
    assert (pose.abs() <= torch.tensor([0.12, math.radians(10), 12.0, 12.0])).all()


def test_a_move_is_what_it_says() -> None:
    image = torch.full((1, 1, 64, 64), -1.0)
    image[..., 30:34, 40:44] = 1.0
    shifted = move(image, torch.tensor([0.0, 0.0, 2.0, -3.0]))
    assert torch.equal(shifted[..., 28:32, 43:47], torch.ones(1, 1, 4, 4))
    assert shifted[..., :, -1].max() == -1
    larger = move(heads(1, 0), torch.tensor([0.1, 0.0, 0.0, 0.0]))
    assert (larger > -0.9).sum() > 1.15 * (heads(1, 0) > -0.9).sum()


def test_every_patient_has_a_pose_of_its_own_and_only_it_moves() -> None:
    fakes = heads(6, 3)
    reals = fakes.clone()
    reals[:3] = move(fakes[:3], torch.tensor([0.0, 0.0, 4.0, 0.0]))
    slices = SlicePairs(
        ct=np.zeros((6, 1, SIDE, SIDE), np.float16),
        mr=reals[:, 0].numpy().astype(np.float16),
        head=np.ones((6, SIDE, SIDE), bool),
        contrast=np.zeros(6, np.int64),
        patient=np.array([0, 0, 0, 1, 1, 1]),
        fingerprints=(),
    )
    poses = align_patients(fakes[:, 0].numpy(), slices)
    assert poses[0, 2] == pytest.approx(-4, abs=0.2)
    assert not poses[1].any()
    placed = moved(slices, poses)
    assert np.array_equal(placed[3:], slices.mr[3:])
    before, after = (
        np.abs(mr[:3].astype(np.float32) - fakes[:3, 0].numpy()).mean()
        for mr in (slices.mr, placed)
    )
    assert after < 0.25 * before
