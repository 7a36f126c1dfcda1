"""What a model costs on a board, and what is said of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from random_models import model_of

from napari_ct2mri.errors import FirmwareError
from napari_ct2mri.firmware.arena import plan
from napari_ct2mri.firmware.boards import BOARDS, Board, Memory
from napari_ct2mri.firmware.budget import Budget, budget, check_fits, widest_for

DSP = Board(
    "dsp",
    "a board",
    clock_hz=456e6,
    macs_per_cycle=8,
    slot=Memory("DDR2", 2**25),
    work=Memory("DDR2", 2**26),
    fast=Memory("L2", 2**17),
    watts=0.5,
)


def cost_of(width: int, board: Board, container_bytes: int = 1_000_000) -> Budget:
    model = model_of(width, 8, 8, 1, (256, 256))
    return budget(model, plan(model), container_bytes, board)


def test_unet_256_on_a_c6748() -> None:
    cost = cost_of(64, DSP)
    assert cost.bound_s == cost.expected_s == pytest.approx(1.63, abs=0.01)
    assert "5 slices a second are impossible on dsp" in widest_for(cost, 64, 5)
    assert "20 filters could" in widest_for(cost, 64, 5)
    assert "need 82% of the time of dsp, at its peak rate" in widest_for(cost, 64, 0.5)


def test_counted_cycles_decide_where_there_are_some() -> None:
    cost = cost_of(16, replace(DSP, cycles_per_mac=0.25))
    assert cost.counted_s == cost.expected_s == pytest.approx(2 * (cost.bound_s or 0))
    assert "need " in widest_for(cost, 16, 4)
    assert "6 slices a second are too many for dsp: 4.79 by counted" in widest_for(cost, 16, 6)
    assert "energy a slice, about | 104.5 mJ" in cost.table()


def test_each_memory_is_asked_for_what_lies_in_it() -> None:
    slot, work, fast = cost_of(16, DSP).needs
    assert slot.size_bytes == 1_000_000
    assert work.size_bytes == (768 + 5 * 64) * 1024  # arena; a plane of 16 bits, input, two MRs
    assert fast.size_bytes < 32 * 1024
    slow = cost_of(16, replace(DSP, fast=Memory("L2", 1000)))
    assert [need.what for need in slow.needs] == ["model, in each of two slots", "arena and slices"]
    assert slow.needs[1].size_bytes == work.size_bytes + fast.size_bytes


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"slot": Memory("flash", 900_000)}, "900000 bytes of flash for model"),
        ({"work": Memory("DDR2", 2**20)}, r"needed: 65536 too few; 12 filters fit"),
    ],
)
def test_a_memory_too_small_says_which_and_by_how_much(
    change: dict[str, Memory], said: str
) -> None:
    cost = cost_of(16, replace(DSP, **change))
    assert "DOES NOT FIT" in cost.table()
    with pytest.raises(FirmwareError, match=said):
        check_fits(cost, 16)
    check_fits(cost_of(16, DSP), 16)


def test_a_board_of_unknown_speed_promises_nothing() -> None:
    cost = cost_of(16, BOARDS["host"])
    assert cost.expected_s is None
    assert "only a measurement says" in widest_for(cost, 16, 5)
    assert "lower bound" not in cost.table()
