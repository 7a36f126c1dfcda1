"""Generators with random weights, quantized on random images."""

from __future__ import annotations

import numpy as np
import torch

from napari_ct2mri.config import InputConfig, ModelConfig, NetworkConfig, Window
from napari_ct2mri.firmware.arena import plan
from napari_ct2mri.firmware.container import Container, ct_tables
from napari_ct2mri.firmware.lower import lower_generator, unet_layers
from napari_ct2mri.firmware.model import Numbers, QuantLayer, QuantModel
from napari_ct2mri.firmware.ops import Kind, phases
from napari_ct2mri.firmware.quantize import quantize
from napari_ct2mri.firmware.reference import quantize_input, run
from napari_ct2mri.jobs import run_job
from napari_ct2mri.pix2pix.networks import Generator


def smooth(chance: np.random.Generator, *shape: int) -> np.ndarray:
    """Images in [-1, 1] with structure at several scales."""
    coarse = chance.normal(size=(*shape[:-2], shape[-2] // 4, shape[-1] // 4))
    fine = np.repeat(np.repeat(coarse, 4, axis=-2), 4, axis=-1)
    return np.tanh(fine + 0.3 * chance.normal(size=shape)).astype(np.float32)


def random_generator(network: NetworkConfig, seed: int = 0, **model: object) -> Generator:
    """A generator whose batch norms have seen something."""
    torch.manual_seed(seed)
    config = ModelConfig(network=network, contrasts=("T1", "T2"), **model)
    generator = Generator(config)
    for module in generator.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            torch.nn.init.normal_(module.weight, 0, module.weight[0].numel() ** -0.5)
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            module.bias.data.normal_(0, 0.3)
    return generator.eval()


def random_model(
    width: int = 4, levels: int = 3, widest: int = 3, windows: int = 1, neighbours: int = 0,
    size: tuple[int, int] = (16, 24), seed: int = 0,
) -> QuantModel:  # fmt: skip
    """A quantized generator with random weights, calibrated on random images."""
    entry = InputConfig(windows=(Window(),) * windows, neighbours=neighbours)
    network = NetworkConfig(width=width, levels=levels, widest=widest)
    graph = lower_generator(random_generator(network, seed, input=entry), head=1)
    slices = smooth(np.random.default_rng(seed), 8, entry.channels, *size)
    return run_job(quantize(graph, slices), lambda event: None)


def boxed(model: QuantModel, seed: int = 0) -> Container:
    """A container whose golden pair is a random slice."""
    first = model.images[0]
    chance = np.random.default_rng(seed + 1)
    image = quantize_input(smooth(chance, first.channels, first.height, first.width))
    return Container(model, plan(model), ct_tables((Window(),)), (image, run(model, image)), {})


def model_of(
    width: int, levels: int, widest: int, channels: int, size: tuple[int, int]
) -> QuantModel:
    """A model of this shape; its numbers are all zero."""
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
