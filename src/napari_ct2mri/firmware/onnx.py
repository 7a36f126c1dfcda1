"""The same network for desktop engines: ONNX with quantize and dequantize nodes (QDQ).

Weights, zero points and clipping are those of the container. Engines requantize in float, so
results may differ from the reference in the last bit of a layer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.firmware.lower import SLOPE
from napari_ct2mri.firmware.model import Numbers, QuantLayer, QuantModel
from napari_ct2mri.firmware.ops import Kind, phases
from napari_ct2mri.pix2pix.onnx import OnnxGraph

__all__ = ["to_onnx"]

_BEFORE_TANH = 2.0**-12


def to_onnx(model: QuantModel) -> bytes:
    """The model as an ONNX file: ``ct`` (n, C, h, w) to ``mr`` (n, 1, h, w), float in [-1, 1].

    Raises
    ------
    ConfigError
        If the package ``onnx`` is not installed.
    """
    graph = _Graph()
    graph.quantized("ct", "image.0", model.numbers[0])
    for number, each in enumerate(model.layers):
        graph.layer(model, number, each)
    return graph.to_bytes(["n", model.images[0].channels, "h", "w"], ["n", 1, "h", "w"])


class _Graph(OnnxGraph):
    """Nodes and constants that grow layer by layer."""

    def quantized(self, source: str, target: str, numbers: Numbers) -> str:
        """``source`` in steps of ``numbers``; returns the bytes."""
        return self.node(
            "QuantizeLinear", [source, *self._numbers(target, numbers)], f"{target}.bytes"
        )

    def back(self, bytes_: str, target: str, numbers: Numbers) -> str:
        """What bytes stand for."""
        scale_zero = self._numbers(f"{target}.back", numbers)
        return self.node("DequantizeLinear", [bytes_, *scale_zero], target)

    def layer(self, model: QuantModel, number: int, each: QuantLayer) -> None:
        """Input, convolution, activation and quantized output of a layer."""
        layer, name = each.layer, each.layer.name
        source = self._inputs(model, each)
        unit = _unit(model, each)
        s_x = model.numbers[layer.inputs[0]].scale
        axis = 0 if layer.kind is Kind.DOWN else 1
        weights = self.node(
            "DequantizeLinear",
            [
                self.constant(f"{name}.weights", _kernel(each)),
                self.constant(f"{name}.weights.scale", (unit / s_x).astype(np.float32)),
                self.constant(f"{name}.weights.zero", np.zeros(each.channels, np.int8)),
            ],
            f"{name}.kernel",
            axis=axis,
        )
        bias = self.constant(f"{name}.bias", _bias(model, each, unit))
        kind = "Conv" if layer.kind is Kind.DOWN else "ConvTranspose"
        made = self.convolution(kind, [source, weights, bias], f"{name}.made")
        output = f"image.{layer.output}"
        if layer.activation == "leaky":
            made = self.node("LeakyRelu", [made], f"{name}.active", alpha=SLOPE)
        else:
            made = self.node(layer.activation.title(), [made], f"{name}.active")
        bytes_ = self.quantized(made, output, model.numbers[layer.output])
        if number == len(model.layers) - 1:
            self.back(bytes_, "mr", model.numbers[layer.output])

    def _inputs(self, model: QuantModel, each: QuantLayer) -> str:
        """What the layer reads.

        Two inputs share the skip's scale, since the weights hold the ratio (Q11), and after ReLU
        the zero point 0, so that their bytes stay whole steps.
        """
        layer, name = each.layer, each.layer.name
        numbers = [model.numbers[i] for i in layer.inputs]
        read = []
        for i, number, relu in zip(layer.inputs, numbers, layer.rectified, strict=True):
            scaled = Numbers(numbers[0].scale, number.zero_point)
            value = self.back(f"image.{i}.bytes", f"{name}.input.{i}", scaled)
            read.append(self.node("Relu", [value], f"{value}.relu") if relu else value)
        if len(read) == 1:
            return read[0]
        both = self.node("Concat", read, f"{name}.both", axis=1)
        shared = Numbers(numbers[0].scale, 0)
        return self.back(self.quantized(both, f"{name}.both", shared), f"{name}.input", shared)

    def _numbers(self, name: str, numbers: Numbers) -> tuple[str, str]:
        return (
            self.constant(f"{name}.scale", np.array(numbers.scale, np.float32)),
            self.constant(f"{name}.zero", np.array(numbers.zero_point, np.uint8)),
        )


def _unit(model: QuantModel, each: QuantLayer) -> NDArray[np.float64]:
    """What one step of each channel's accumulator stands for, (N,)."""
    is_last = each.layer.activation == "tanh"
    s_y = _BEFORE_TANH if is_last else model.numbers[each.layer.output].scale
    unit: NDArray[np.float64] = each.multiplier[0] * 0.5 ** each.shift[0] * s_y
    return unit


def _bias(model: QuantModel, each: QuantLayer, unit: NDArray[np.float64]) -> NDArray[np.float32]:
    """The float bias behind Q4, (N,)."""
    zeros = [model.numbers[i].zero_point for i in each.layer.inputs]
    positions = each.taps // sum(model.images[i].channels for i in each.layer.inputs)
    counts = [model.images[i].channels for i in each.layer.inputs]
    z_x = np.tile(np.repeat(zeros, counts), positions)
    whole = each.bias[0] + each.weights[0].astype(np.int64) @ z_x
    bias: NDArray[np.float32] = (whole * unit).astype(np.float32)
    return bias


def _kernel(each: QuantLayer) -> NDArray[np.int8]:
    """Weights as ONNX orders them: (N, C, 4, 4), or (C, N, 4, 4) for the transpose."""
    if each.layer.kind is Kind.DOWN:
        down: NDArray[np.int8] = each.weights[0].reshape(each.channels, 4, 4, -1)
        return down.transpose(0, 3, 1, 2)
    kernel = np.zeros((each.taps // 4, each.channels, 4, 4), np.int8)
    for (p, q), part in zip(phases(Kind.UP), each.weights, strict=True):  # Q10
        taps = part.reshape(each.channels, 2, 2, -1).transpose(3, 0, 1, 2)
        kernel[:, :, 3 - p :: -2, 3 - q :: -2] = taps
    return kernel
