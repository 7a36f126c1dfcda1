from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_ct2mri.errors import VolumeError
from napari_ct2mri.imaging.head import MUCH_BESIDE, beside, head_box, head_diameter_px, head_mask

SIDE = 160
Y, X = np.mgrid[:SIDE, :SIDE].astype(float)
HEAD_AREA = np.pi * 60 * 45


def ellipse(ry: float, rx: float, cy: float = 75, cx: float = 80) -> NDArray[np.bool_]:
    return ((Y - cy) / ry) ** 2 + ((X - cx) / rx) ** 2 <= 1


HEAD = ellipse(60, 45)


def ct_slice(sinus: bool = True, rest: bool = True) -> NDArray[np.float32]:
    """Scalp, skull, brain, an air-filled sinus, and a head rest below, HU."""
    hu = np.full((SIDE, SIDE), -1000.0)
    hu[HEAD] = 20
    hu[ellipse(56, 41)] = 1200
    hu[ellipse(50, 36)] = 35
    if sinus:
        hu[ellipse(8, 12, cy=40)] = -900
    if rest:
        radius = np.hypot(Y - 75, X - 80)
        hu[(np.abs(radius - 70) < 1.5) & (Y > 110)] = 300
    return hu.astype(np.float32)


def overlap(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Dice."""
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_ct_head_is_filled_and_the_head_rest_left_out() -> None:
    mask = head_mask(ct_slice()[None], "HU", "CT")[0]
    assert overlap(mask, HEAD) > 0.98
    assert mask[40, 80]  # the sinus
    assert not mask[144:146, 75:85].any()  # the rest


def test_a_head_rest_alone_is_no_head() -> None:
    above = np.full((SIDE, SIDE), -1000.0, dtype=np.float32)
    above[(np.abs(np.hypot(Y - 75, X - 80) - 70) < 4) & (Y > 110)] = 300
    mask = head_mask(np.stack([ct_slice(), above]), "HU", "CT")
    assert mask[0].any()
    assert not mask[1].any()


def test_a_picture_of_a_ct_gives_the_same_head() -> None:
    grey = np.clip(ct_slice(), 0, 80) / 80 * 255
    assert overlap(head_mask(grey[None].astype(np.uint8), "grey", "CT")[0], HEAD) > 0.98


@pytest.mark.parametrize("offset", [0, 40])
@pytest.mark.parametrize("gain", [1.0, 0.02, 30.0])
def test_mr_head_at_any_scale_with_noise_and_a_lifted_background(gain: float, offset: int) -> None:
    rng = np.random.default_rng(1)
    tissue = np.where(HEAD, 120.0, 0.0)
    tissue[ellipse(50, 36)] = 90
    tissue[ellipse(15, 6)] = 250
    noisy = np.hypot(tissue + rng.normal(0, 5, HEAD.shape), rng.normal(0, 5, HEAD.shape))
    mask = head_mask((noisy[None] + offset) * gain, "arbitrary", "MR")
    assert overlap(mask[0], HEAD) > 0.97


@pytest.mark.parametrize("value", [0, 7])
def test_a_flat_image_has_no_head(value: int) -> None:
    assert not head_mask(np.full((2, 32, 40), value, np.uint8), "grey", "MR").any()


def test_not_finite_voxels_are_air() -> None:
    hu = ct_slice()[None].copy()
    hu[0, :12] = np.nan
    hu[0, -12:] = -np.inf
    assert overlap(head_mask(hu, "HU", "CT")[0], HEAD) > 0.98


def test_large_slices_are_measured_on_a_reduced_grid_of_their_own_size() -> None:
    large = ct_slice().repeat(5, axis=0).repeat(5, axis=1)[None, :797, :799]
    mask = head_mask(large, "HU", "CT")
    assert mask.shape == large.shape
    truth = HEAD.repeat(5, axis=0).repeat(5, axis=1)[:797, :799]
    assert overlap(mask[0], truth) > 0.97


def test_diameter_and_box_of_known_discs() -> None:
    mask = np.stack([np.hypot(Y - 80, X - 60) <= 20, np.hypot(Y - 90, X - 60) <= 35])
    assert head_diameter_px(mask) == pytest.approx(70, rel=0.01)
    assert head_box(mask) == (55, 126, 25, 96)


@pytest.mark.parametrize("measure", [head_diameter_px, head_box])
def test_no_head_is_an_error_that_says_so(measure: object) -> None:
    with pytest.raises(VolumeError, match=r"only background in 2 slices of 8x9"):
        measure(np.zeros((2, 8, 9), bool))  # type: ignore[operator]


@pytest.mark.parametrize(
    ("folder", "files", "smallest", "largest"),
    [("aanlib/CT", "34*.png", 0.75, 0.85), ("k18/02/CT", "*.png", 0.9, 1.05)],
)
def test_real_pictures_show_heads_of_known_size(
    real_data: Path, folder: str, files: str, smallest: float, largest: float
) -> None:
    from skimage.io import imread

    paths = sorted((real_data / folder).glob(files))
    grey = np.stack([imread(p) for p in paths])
    grey = grey[..., 0] if grey.ndim == 4 else grey
    mask = head_mask(grey, "grey", "CT")
    assert mask.any(axis=(1, 2)).all()
    assert smallest < head_diameter_px(mask) / grey.shape[1] < largest
    assert not mask[:, -3:, :40].any()  # where the head rests of aanlib end


def test_what_a_cut_off_ct_lacks_is_told_from_what_is_misplaced() -> None:
    moved = np.roll(HEAD, (5, -5), (0, 1))
    upper_half, chin = HEAD & (Y < 75), HEAD & (Y < 125)
    cts = np.stack([HEAD, moved, upper_half, chin, np.zeros_like(HEAD)])
    share = beside(cts, np.stack([HEAD] * 4 + [np.zeros_like(HEAD)]))
    assert share[[0, 1, 4]].tolist() == [0, 0, 0]
    assert share[2] == pytest.approx(0.5 - 0.06 * SIDE * 90 / HEAD_AREA, abs=0.03)
    assert share[3] < MUCH_BESIDE < share[2]
