"""A checkpoint as a short list of folded layers: what remains of a network for a board."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.errors import FirmwareError
from napari_ct2mri.firmware.ops import Activation, Kind, Layer, convolve, phases
from napari_ct2mri.pix2pix.checkpoint import Checkpoint

if TYPE_CHECKING:
    from torch import nn

__all__ = ["FloatLayer", "Graph", "lower", "lower_generator", "run_float", "unet_layers"]

Floats = NDArray[np.float32]
SLOPE = 0.2  # of LeakyReLU below zero, Isola et al. 2017


@dataclass(frozen=True, slots=True, eq=False)
class FloatLayer:
    """A layer with its folded weights.

    Attributes
    ----------
    layer : Layer
    weights : (phases, N, taps) float32
        Taps in the order of Q9 to Q11.
    bias : (N,) float32
    """

    layer: Layer
    weights: Floats
    bias: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """Layers in the order they run; image 0 is the input, layer ``i`` makes image ``i + 1``."""

    layers: tuple[FloatLayer, ...]

    @property
    def channels(self) -> int:
        """Of the input."""
        return int(self.layers[0].weights.shape[-1]) // 16


def lower(checkpoint: Checkpoint, contrast: str | None = None) -> Graph:
    """Fold a checkpoint's generator and keep the head of one contrast.

    Parameters
    ----------
    checkpoint : Checkpoint
    contrast : str, optional
        One of the model's; by default its first.

    Raises
    ------
    FirmwareError
        If the model does not make the contrast, or a layer has no integer form.
    """
    from torch import device

    from napari_ct2mri.pix2pix.engines import load_generator

    contrast = contrast or checkpoint.contrasts[0]
    if contrast not in checkpoint.contrasts:
        raise FirmwareError(
            f"the model does not make {contrast!r}; it makes {', '.join(checkpoint.contrasts)}"
        )
    generator = load_generator(checkpoint, device("cpu"))
    return lower_generator(generator, checkpoint.contrasts.index(contrast))


def lower_generator(generator: nn.Module, head: int = 0) -> Graph:
    """Fold a :class:`~napari_ct2mri.pix2pix.networks.Generator`, keeping output channel ``head``.

    Raises
    ------
    FirmwareError
        If a layer has no integer form.
    """
    _check_layers(generator)
    parts = dict(generator.named_children())
    down: Sequence[Any] = list(parts["down"].children())
    up: Sequence[Any] = list(parts["up"].children())
    folded = [*(_fold(block, Kind.DOWN) for block in down), *(_fold(b, Kind.UP) for b in up[::-1])]
    weights, bias = folded[-1]
    folded[-1] = weights[:, head : head + 1], bias[head : head + 1]
    layers = unet_layers(len(down))
    return Graph(
        tuple(FloatLayer(each, *arrays) for each, arrays in zip(layers, folded, strict=True))
    )


def run_float(graph: Graph, image: Floats) -> Iterator[tuple[FloatLayer, list[Floats], Floats]]:
    """Run a slice in float, a layer at a time.

    Parameters
    ----------
    image : (H, W, C) float32 in [-1, 1]

    Yields
    ------
    (layer, images, before)
        ``before`` is what the layer made, (h, w, N), before its activation; ``images`` holds
        all images so far, the layer's own last.
    """
    images = [image]
    for each in graph.layers:
        layer = each.layer
        sources = [
            np.maximum(images[i], 0) if relu else images[i]
            for i, relu in zip(layer.inputs, layer.rectified, strict=True)
        ]
        biases = np.broadcast_to(each.bias, (len(each.weights), len(each.bias)))
        before = convolve(layer.kind, sources, [0.0] * len(sources), each.weights, biases)
        images.append(activate(layer, before))
        yield each, images, before


def activate(layer: Layer, before: Floats) -> Floats:
    """The layer's activation in float."""
    if layer.activation == "tanh":
        return np.tanh(before)
    slope = SLOPE if layer.activation == "leaky" else 0.0
    return np.where(before >= 0, before, before * np.float32(slope))


def unet_layers(levels: int) -> list[Layer]:
    """The U-Net: level ``i`` makes skip ``i + 1`` on the way down, image ``2 * levels - i`` up."""
    last = levels - 1
    encoder = [
        Layer(f"down.{i}", Kind.DOWN, (i,), i + 1, "relu" if i == last else "leaky", (False,))
        for i in range(levels)
    ]
    decoder = [Layer(f"up.{last}", Kind.UP, (levels,), levels + 1, "relu", (False,))]
    for i in reversed(range(last)):
        made = 2 * levels - i
        kind: Activation = "relu" if i else "tanh"
        decoder.append(Layer(f"up.{i}", Kind.UP, (i + 1, made - 1), made, kind, (True, False)))
    return encoder + decoder


def _fold(block: Any, kind: Kind) -> tuple[Floats, Floats]:
    """Weights (phases, N, taps) and bias (N,) of a block, its batch norm folded in (Q14)."""
    from napari_ct2mri.pix2pix.onnx import folded

    kernel, bias = folded(block)
    kernel = kernel if kind is Kind.DOWN else kernel.transpose(1, 0, 2, 3)  # (N, C, 4, 4)
    if kind is Kind.DOWN:
        each = [kernel]
    else:  # Q10: the taps of phase (p, q) are elements 3 - p - 2r, 3 - q - 2c
        each = [kernel[:, :, 3 - p :: -2, 3 - q :: -2] for p, q in phases(kind)]
    packed = [part.transpose(0, 2, 3, 1).reshape(len(part), -1) for part in each]
    return np.stack(packed).astype(np.float32), bias.astype(np.float32)


def _check_layers(generator: nn.Module) -> None:
    """Refuse by its name whatever the rules do not cover."""
    from torch import nn

    for name, module in generator.named_modules():
        kind = type(module).__name__
        by_image = isinstance(module, nn.BatchNorm2d) and module.running_mean is None
        if by_image or isinstance(module, nn.InstanceNorm2d):
            raise FirmwareError(
                f"lower: {kind} at {name!r} normalises by the image it sees and has no integer "
                "form; train with norm='batch', or keep to float precision (in a terminal, "
                "--precision float)"
            )
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            _check_convolution(name, module)
        elif next(module.children(), None) is None and not isinstance(
            module, nn.BatchNorm2d | nn.Dropout | nn.Identity
        ):
            raise FirmwareError(
                f"lower: {kind} at {name!r} has no integer form; expected 4x4 convolutions at "
                "stride 2, batch norm and dropout only"
            )


def _check_convolution(name: str, conv: nn.Conv2d | nn.ConvTranspose2d) -> None:
    found = (conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups)
    if found != ((4, 4), (2, 2), (1, 1), (1, 1), 1):
        raise FirmwareError(
            f"lower: {type(conv).__name__} at {name!r} has kernel {conv.kernel_size}, stride "
            f"{conv.stride}, padding {conv.padding}, dilation {conv.dilation}, {conv.groups} "
            "groups; expected 4x4, stride 2, padding 1, neither dilated nor grouped"
        )
