"""Folded layers against torch; what has no integer form is refused by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from random_models import random_generator, smooth

from napari_ct2mri.config import InputConfig, NetworkConfig, Window
from napari_ct2mri.errors import FirmwareError
from napari_ct2mri.firmware.lower import lower_generator, run_float


@pytest.mark.parametrize("head", [0, 1])
@pytest.mark.parametrize("network", [
    NetworkConfig(width=5, levels=3, widest=4),
    NetworkConfig(width=4, levels=5, widest=1, dropout=0.5),
])  # fmt: skip
def test_folded_layers_are_the_network(network: NetworkConfig, head: int) -> None:
    entry = InputConfig(windows=(Window(), Window()), neighbours=1)
    generator = random_generator(network, input=entry)
    image = smooth(np.random.default_rng(1), 6, 32, 64)
    with torch.inference_mode():
        expected = generator(torch.from_numpy(image[None]))[0, head].numpy()
    *_, (_, images, _) = run_float(lower_generator(generator, head), image.transpose(1, 2, 0))
    np.testing.assert_allclose(images[-1][..., 0], expected, atol=2e-5)


def test_instance_norm_is_refused_by_name() -> None:
    generator = random_generator(NetworkConfig(width=4, levels=3, norm="instance"))
    words = r"InstanceNorm2d at 'down\.1\.norm'.*norm='batch', .*terminal, --precision float\)"
    with pytest.raises(FirmwareError, match=words):
        lower_generator(generator)


def test_batch_norm_without_running_statistics_is_refused() -> None:
    generator = random_generator(NetworkConfig(width=4, levels=3))
    generator.up[1].norm = torch.nn.BatchNorm2d(4, track_running_stats=False)
    with pytest.raises(FirmwareError, match=r"BatchNorm2d at 'up\.1\.norm'"):
        lower_generator(generator)


def test_an_unknown_layer_is_refused_by_name() -> None:
    generator = random_generator(NetworkConfig(width=4, levels=3))
    generator.down[1].norm = torch.nn.GELU()
    with pytest.raises(FirmwareError, match=r"GELU at 'down\.1\.norm'"):
        lower_generator(generator)


def test_another_convolution_is_refused_by_name() -> None:
    generator = random_generator(NetworkConfig(width=4, levels=3))
    generator.down[0].conv = torch.nn.Conv2d(1, 4, 3, 2, 1)
    with pytest.raises(FirmwareError, match=r"Conv2d at 'down\.0\.conv' has kernel \(3, 3\)"):
        lower_generator(generator)
