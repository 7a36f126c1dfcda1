"""Whole networks as C674x code, bit for bit the integer reference, and what they cost."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_ct2mri.config import ModelConfig, NetworkConfig, Window
from napari_ct2mri.firmware.arena import plan
from napari_ct2mri.firmware.container import Container, ct_tables, pack
from napari_ct2mri.firmware.lower import lower_generator
from napari_ct2mri.firmware.quantize import quantize
from napari_ct2mri.firmware.reference import quantize_input, run
from napari_ct2mri.jobs import run_job
from napari_ct2mri.pix2pix.networks import Generator

from .machine import Program
from .network import firmware, run_network, table


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    return firmware(tmp_path_factory.mktemp("network"))


def random_container(network: NetworkConfig, size: tuple[int, int]) -> bytes:
    """A container of random weights, calibrated on noise, with a golden pair."""
    torch.manual_seed(3)
    generator = Generator(ModelConfig(network=network, contrasts=("T1",))).eval()
    chance = np.random.default_rng(4)
    slices = chance.uniform(-1, 1, (8, 1, *size)).astype(np.float32)
    model = run_job(quantize(lower_generator(generator), slices), lambda event: None)
    image = quantize_input(slices[0])
    golden = image, run(model, image)
    return pack(Container(model, plan(model), ct_tables((Window(),)), golden, {}))


@pytest.mark.parametrize("width", [4, 5])
def test_small_network(program: Program, width: int) -> None:
    """Widths that fill no word, sizes that fill no tile."""
    wrong, _ = run_network(
        program, random_container(NetworkConfig(width=width, levels=3, widest=2), (16, 40))
    )
    assert wrong == 0


def test_cycles_of_a_network_of_16_filters(program: Program) -> None:
    """Four levels at a sixteenth of the real area, where tiles are short: far below a quarter."""
    network = NetworkConfig(width=16, levels=4)
    wrong, layers = run_network(program, random_container(network, (64, 64)))
    assert wrong == 0
    assert sum(each.cycles for each in layers) < 0.25 * sum(each.products for each in layers)
    assert all(0 < sum(each.parts) < each.cycles for each in layers)
    assert len(table(layers).splitlines()) == 2 + len(layers) + 1
