"""The memory plan: nothing alive overlaps, and no byte is wasted."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_models import model_of, random_model

from napari_ct2mri.errors import FirmwareError
from napari_ct2mri.firmware.arena import ALIGN, depth_of, plan, scratch_bytes


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(4, 40),
    levels=st.integers(3, 8),
    widest=st.integers(1, 8),
    channels=st.integers(1, 6),
    tall=st.integers(1, 3),
    wide=st.integers(1, 3),
)
def test_nothing_alive_overlaps(
    width: int, levels: int, widest: int, channels: int, tall: int, wide: int
) -> None:
    model = model_of(width, levels, widest, channels, (tall << levels, wide << levels))
    placed = plan(model)
    for a, b in combinations(placed.blocks, 2):
        assert not a.meets(b) or a.end <= b.offset or b.end <= a.offset
    assert all(block.offset % ALIGN == 0 for block in placed.blocks)
    assert placed.arena_bytes <= 1.05 * placed.bound_bytes
    for tile, each in zip(placed.tiles, model.layers, strict=True):
        assert scratch_bytes(tile, depth_of(each)) <= placed.scratch_bytes


def test_16_filters_need_768_kib() -> None:
    placed = plan(model_of(16, 8, 8, 1, (256, 256)))
    assert placed.bound_bytes == 768 * 1024
    assert placed.arena_bytes == 768 * 1024


def test_another_size_keeps_the_integers() -> None:
    model = random_model()
    larger = model.at_size(32, 8)
    assert larger.layers is model.layers
    assert larger.images[0].height == larger.images[-1].height == 32
    with pytest.raises(FirmwareError, match=r"size 20 x 8: .* multiples of 8"):
        model.at_size(20, 8)
