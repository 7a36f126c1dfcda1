from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from napari_ct2mri.errors import VolumeError
from napari_ct2mri.imaging.fingerprint import (
    MATCH_BITS,
    Fingerprint,
    distances,
    fingerprint,
    mirrored,
    seen,
    was_seen,
)

Slice = NDArray[np.uint8]
OTHERS_BITS = 21
"""Other patients are that far away, or farther."""


def hu_slice(seed: int) -> NDArray[np.float32]:
    """A head-like slice in HU: skull, brain of a texture of its own."""
    y, x = np.mgrid[:256, :256]
    rng = np.random.default_rng(seed)
    radius = np.hypot((y - 128) / 1.2, x - 128)
    texture = ndimage.gaussian_filter(rng.normal(size=(256, 256)), 9)
    hu = np.where(radius < 95, 36 + texture / texture.std() * 9, -1000)
    hu[(radius > 85) & (radius < 95)] = 900
    return hu.astype(np.float32)


def shown(hu: NDArray[np.float32], level: float = 40, width: float = 80) -> Slice:
    return np.clip((hu - level + width / 2) / width * 255, 0, 255).round().astype(np.uint8)


def jpeg(grey: Slice, quality: int = 60) -> Slice:
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def resized(grey: Slice, side: int) -> Slice:
    return np.asarray(Image.fromarray(grey).resize((side, side), Image.Resampling.BILINEAR))


CHANGES = {
    "as it was": lambda s: s,
    "JPEG": jpeg,
    "larger": lambda s: resized(s, 512),
    "smaller": lambda s: resized(s, 128),
    "smaller, JPEG": lambda s: jpeg(resized(s, 200)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("is_mirrored", [False, True])
def test_a_changed_picture_is_known_and_another_is_not(change: object, is_mirrored: bool) -> None:
    known = [fingerprint(hu_slice(seed), "HU") for seed in range(4)]
    changed = change(shown(hu_slice(2)))  # type: ignore[operator]
    query = changed[:, ::-1] if is_mirrored else changed
    assert was_seen(query[None], "grey", known).all()
    assert not was_seen(query[None], "grey", known[:2] + known[3:]).any()


@pytest.mark.parametrize(("level", "width"), [(35, 80), (40, 100), (35, 120), (50, 150)])
def test_another_window_is_the_same_slice(level: float, width: float) -> None:
    other = fingerprint(shown(hu_slice(5), level, width), "grey")
    assert distances([other], [fingerprint(hu_slice(5), "HU")])[0, 0] <= MATCH_BITS


def test_sha256_is_of_values_not_of_their_type() -> None:
    grey = shown(hu_slice(0))
    print_ = fingerprint(grey, "grey")
    assert fingerprint(grey.astype(np.float64), "grey") == print_
    assert fingerprint(np.asfortranarray(grey), "grey") == print_
    assert fingerprint(grey.reshape(128, 512), "grey").sha256 != print_.sha256
    changed = grey.copy()
    changed[100, 100] ^= 1
    assert fingerprint(changed, "grey").sha256 != print_.sha256


def test_minus_zero_is_zero() -> None:
    zero, minus = np.zeros((4, 4), np.float32), np.full((4, 4), -0.0, np.float32)
    assert fingerprint(zero, "grey").sha256 == fingerprint(minus, "grey").sha256


def test_slices_that_show_nothing_are_never_seen() -> None:
    black = fingerprint(np.full((64, 64), -1000.0), "HU")
    assert not seen([black], [black]).any()


def test_the_top_of_a_head_is_known_by_its_pixels_alone() -> None:
    top = np.zeros((256, 256), np.uint8)
    top[110:150, 120:140] = 200
    print_ = fingerprint(top, "grey")
    assert seen([print_], [print_]).all()
    changed = fingerprint(jpeg(top), "grey")
    assert distances([changed], [print_])[0, 0] <= MATCH_BITS
    assert not seen([changed], [print_]).any()


def test_distances_count_bits() -> None:
    rng = np.random.default_rng(0)
    prints = [Fingerprint("0" * 64, rng.bytes(32).hex()) for _ in range(5)]
    expected = [[(int(a.dhash, 16) ^ int(b.dhash, 16)).bit_count() for b in prints] for a in prints]
    assert distances(prints, prints).tolist() == expected


def test_nothing_known_is_nothing_seen() -> None:
    print_ = fingerprint(hu_slice(0), "HU")
    assert seen([print_], []).tolist() == [False]
    assert seen([], [print_]).tolist() == []


@pytest.mark.parametrize("text", ["", "0" * 63, "g" * 64, "A" * 64])
def test_a_broken_fingerprint_is_refused(text: str) -> None:
    with pytest.raises(VolumeError, match="expected 64 hexadecimal digits"):
        Fingerprint("0" * 64, text)


@pytest.fixture(scope="module")
def real_slices(real_data: Path) -> dict[str, list[Slice]]:
    """CT slices by patient; every third keeps this quick, neighbours look alike anyway."""
    folders = {p.parent.name: sorted(p.glob("*.png")) for p in real_data.glob("k18/*/CT")}
    for path in sorted((real_data / "aanlib/CT").glob("*.png")):
        folders.setdefault(path.stem[:-3], []).append(path)
    return {
        name: [np.asarray(Image.open(path).convert("L")) for path in paths[1::3] + paths[-1:]]
        for name, paths in folders.items()
    }


def test_real_patients_are_told_apart(real_slices: dict[str, list[Slice]]) -> None:
    assert len(real_slices) == 15
    owners = np.array([name for name, slices in real_slices.items() for _ in slices])
    slices = [s for group in real_slices.values() for s in group]
    prints = [fingerprint(s, "grey") for s in slices]
    flipped = [mirrored(s, "grey") for s in slices]
    apart = np.minimum(distances(prints, prints), distances(flipped, prints))
    assert apart[owners[:, None] != owners].min() >= OTHERS_BITS


def test_real_slices_survive_jpeg_and_resizing(real_slices: dict[str, list[Slice]]) -> None:
    for slices in real_slices.values():
        for slice_ in slices[::2]:
            known = fingerprint(slice_, "grey")
            for change in CHANGES.values():
                print_ = fingerprint(change(slice_), "grey")  # type: ignore[no-untyped-call]
                assert distances([print_], [known])[0, 0] <= MATCH_BITS
