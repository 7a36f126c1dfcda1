"""A generator as an ONNX graph, written node by node: no exporter stands between.

Batch norm is folded into the convolutions; instance norm stays a node of its own. Batch, height
and width are free.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri import __version__
from napari_ct2mri.errors import ConfigError

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto

    from napari_ct2mri.pix2pix.networks import Generator

__all__ = ["OnnxGraph", "folded", "to_onnx"]

_OPSET, _IR = 17, 8
_STRIDED = {"kernel_shape": [4, 4], "strides": [2, 2], "pads": [1, 1, 1, 1]}


def to_onnx(generator: Generator) -> bytes:
    """The float network: ``ct`` (n, C, h, w) to ``mr`` (n, contrasts, h, w), both in [-1, 1].

    Raises
    ------
    ConfigError
        If the package ``onnx`` is not installed.
    """
    from napari_ct2mri.pix2pix.networks import LEAK

    graph = OnnxGraph()
    image, skips = "ct", []
    for level, block in enumerate(generator.down):
        image = _normed(graph, "Conv", image, f"down.{level}", block)
        image = graph.node("LeakyRelu", [image], f"down.{level}.active", alpha=LEAK)
        skips.append(image)
    image = graph.node("Relu", [skips.pop()], "innermost")
    for level in reversed(range(len(generator.up))):
        if level < len(skips):
            both = graph.node("Concat", [skips.pop(), image], f"up.{level}.both", axis=1)
            image = graph.node("Relu", [both], f"up.{level}.input")
        image = _normed(graph, "ConvTranspose", image, f"up.{level}", generator.up[level])
    graph.node("Tanh", [image], "mr")
    inputs: int = generator.down[0].conv.in_channels  # type: ignore[union-attr,assignment]
    outputs: int = generator.up[0].conv.out_channels  # type: ignore[union-attr,assignment]
    return graph.to_bytes(["n", inputs, "h", "w"], ["n", outputs, "h", "w"])


def folded(block: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A block's convolution with its batch norm folded in.

    ``y = gamma (conv(x) - mean) / sqrt(var + eps) + beta`` is a convolution whose kernel is
    scaled by ``gamma / sqrt(var + eps)``. Any other norm is left out.

    Parameters
    ----------
    block : Down or Up of :mod:`~napari_ct2mri.pix2pix.networks`

    Returns
    -------
    (kernel, bias)
        Kernel as torch orders it, (N, C, 4, 4), transposed (C, N, 4, 4); bias (N,).
    """
    conv, norm = block.conv, block.norm
    kernel = conv.weight.detach().double().cpu().numpy()
    bias = np.zeros(conv.out_channels)
    if conv.bias is not None:
        bias = conv.bias.detach().double().cpu().numpy()
    if getattr(norm, "running_mean", None) is not None:
        mean, var, gamma, beta = (
            t.detach().double().cpu().numpy()
            for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        )
        gain = gamma / np.sqrt(var + norm.eps)
        axis = 1 if conv.transposed else 0
        kernel = kernel * np.expand_dims(gain, [a for a in range(4) if a != axis])
        bias = beta + (bias - mean) * gain
    return kernel, bias


class OnnxGraph:
    """Nodes and constants that grow in the order they run."""

    def __init__(self) -> None:
        if find_spec("onnx") is None:
            raise ConfigError("ONNX needs the package onnx: pip install 'napari-ct2mri[onnx]'")
        self._nodes: list[NodeProto] = []
        self._tensors: list[TensorProto] = []

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Append an operation; returns the name of what it makes."""
        from onnx import helper

        self._nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def convolution(self, kind: str, inputs: Sequence[str], output: str) -> str:
        """A 4x4 ``Conv`` or ``ConvTranspose`` at stride 2."""
        return self.node(kind, inputs, output, **_STRIDED)

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Append numbers; returns their name."""
        from onnx import numpy_helper

        self._tensors.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def to_bytes(self, ct: Sequence[int | str], mr: Sequence[int | str]) -> bytes:
        """The finished file, from an image ``ct`` to an image ``mr``, of these shapes."""
        from onnx import TensorProto, checker, helper

        ends = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in (("ct", ct), ("mr", mr))
        ]
        made = helper.make_model(
            helper.make_graph(self._nodes, "generator", ends[:1], ends[1:], self._tensors),
            opset_imports=[helper.make_opsetid("", _OPSET)],
            ir_version=_IR,
            producer_name="napari-ct2mri",
            producer_version=__version__,
        )
        checker.check_model(made)
        data: bytes = made.SerializeToString(deterministic=True)
        return data


def _normed(graph: OnnxGraph, kind: str, image: str, name: str, block: Any) -> str:
    """A block's convolution and its norm."""
    kernel, bias = (array.astype(np.float32) for array in folded(block))
    inputs = [
        image,
        graph.constant(f"{name}.weights", kernel),
        graph.constant(f"{name}.bias", bias),
    ]
    made = graph.convolution(kind, inputs, name)
    if not _is_per_image(block.norm):
        return made
    ones = graph.constant(f"{name}.gain", np.ones(len(bias), np.float32))
    zeros = graph.constant(f"{name}.offset", np.zeros(len(bias), np.float32))
    return graph.node(
        "InstanceNormalization", [made, ones, zeros], f"{name}.normed", epsilon=block.norm.eps
    )


def _is_per_image(norm: Any) -> bool:
    """Whether the norm looks at each image; without learnt gains, as ``networks`` makes it."""
    from torch import nn

    return isinstance(norm, nn.InstanceNorm2d)
