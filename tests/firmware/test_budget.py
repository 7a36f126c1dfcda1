"""What a model costs on a board, and what is said of it."""

from __future__ import annotations

import re
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
    assert "5 slices a second are impossible on dsp" in widest_for(cost, 5)
    assert "20 filters could" in widest_for(cost, 5)
    assert "need 82% of the time of dsp, at its peak rate" in widest_for(cost, 0.5)


def test_counted_cycles_decide_where_there_are_some() -> None:
    cost = cost_of(16, replace(DSP, cycles_per_mac=((16, 0.25),)))
    assert cost.counted_s == cost.expected_s == pytest.approx(2 * (cost.bound_s or 0))
    assert "need " in widest_for(cost, 4)
    assert "6 slices a second are too many for dsp: 4.79 as counted" in widest_for(cost, 6)
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
        ({"work": Memory("DDR2", 2**20)}, "1114112 are needed: 65536 too few"),
    ],
)
def test_a_memory_too_small_says_which_by_how_much_and_what_fits(
    change: dict[str, Memory], said: str
) -> None:
    board = replace(DSP, **change)
    cost = cost_of(16, board, 3_600_000)
    assert "DOES NOT FIT" in cost.table()
    with pytest.raises(FirmwareError, match=said) as refused:
        check_fits(cost)
    found = re.search(r"(\d+) filters fit", str(refused.value))
    width = int(found[1]) if found else 0
    check_fits(cost.at_width(width))
    with pytest.raises(FirmwareError):
        check_fits(cost.at_width(width + 4))
    check_fits(cost_of(16, DSP, 3_600_000))


@pytest.mark.parametrize("width", [8, 32])
def test_another_width_costs_about_what_is_foretold(width: int) -> None:
    foretold, cost = cost_of(16, DSP).at_width(width), cost_of(width, DSP)
    assert foretold.macs == pytest.approx(cost.macs, rel=0.04)
    assert foretold.arena_bytes == cost.arena_bytes
    assert foretold.weight_bytes == pytest.approx(cost.weight_bytes, rel=0.04)


def test_cycles_between_counted_widths() -> None:
    board = replace(DSP, cycles_per_mac=((8, 0.18), (16, 0.15)))
    found = [board.cycles_for(width) for width in (4, 8, 12, 16, 64)]
    assert found == pytest.approx([0.18, 0.18, 0.165, 0.15, 0.15])
    assert "counted, ideal memory" in cost_of(16, board).table()
    assert "from counts at other widths, ideal memory" in cost_of(12, board).table()


def test_the_widest_is_named_whether_or_not_the_wish_is_met() -> None:
    cost = cost_of(16, replace(DSP, cycles_per_mac=((16, 0.15),)))
    assert "5 slices a second need 63% of the time of dsp" in widest_for(cost, 5)
    assert "up to 20 filters could" in widest_for(cost, 5)
    assert "12 filters could" in widest_for(cost, 9)


def test_a_board_of_unknown_speed_promises_nothing() -> None:
    cost = cost_of(16, BOARDS["host"])
    assert cost.expected_s is None
    assert "only a measurement says" in widest_for(cost, 5)
    assert "lower bound" not in cost.table()
