"""The memory plan: nothing alive overlaps, and no byte is wasted."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_models import random_model

from napari_ct2mri.errors import FirmwareError
from napari_ct2mri.firmware.arena import ALIGN, depth_of, plan, scratch_bytes
from napari_ct2mri.firmware.boards import Board
from napari_ct2mri.firmware.budget import budget, check_fits, widest_for
from napari_ct2mri.firmware.model import Numbers, QuantLayer, QuantModel
from napari_ct2mri.firmware.ops import Kind, phases


def model_of(
    width: int, levels: int, widest: int, channels: int, size: tuple[int, int]
) -> QuantModel:
    """A model of this shape; its numbers are all zero."""
    from napari_ct2mri.firmware.lower import unet_layers

    widths = [width * min(2**i, widest) for i in range(levels)]
    outputs = [*widths, *widths[-2::-1], 1]
    inputs = [channels, *outputs]
    made = []
    for layer, n in zip(unet_layers(levels), outputs, strict=True):
        taps = sum(inputs[i] for i in layer.inputs) * (16 if layer.kind is Kind.DOWN else 4)
        count = len(phases(layer.kind))
        made.append(
            QuantLayer(
                layer, np.zeros((count, n, taps), np.int8), np.zeros((count, n), np.int32),
                np.zeros((2, n), np.int32), np.zeros((2, n), np.int32),
            )
        )  # fmt: skip
    return QuantModel(tuple(made), (Numbers(1.0, 0),) * (len(made) + 1), size)


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


def test_budget_of_unet_256_on_a_c6748() -> None:
    model = model_of(64, 8, 8, 1, (256, 256))
    board = Board("dsp", "a board", clock_hz=456e6, macs_per_cycle=8, memory_bytes=2**27)
    cost = budget(model, plan(model), 55_000_000, board)
    assert cost.bound_s == pytest.approx(1.63, abs=0.01)
    assert "impossible" in widest_for(cost, 64, 5)
    assert "20 filters could" in widest_for(cost, 64, 5)
    assert "of the peak rate" in widest_for(cost, 64, 0.5)
    with pytest.raises(FirmwareError, match=r"too few; \d+ filters fit"):
        check_fits(budget(model, plan(model), 2**27, board), 64)
