"""A checkpoint in 8 bits for desktop engines, calibrated on simulated heads.

Not on the CT that is run: then the same slice would give another MR in another file. And on no
patient: nothing of one lies in a cache.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.config import ModelConfig
from napari_ct2mri.firmware.lower import lower
from napari_ct2mri.firmware.onnx import to_onnx
from napari_ct2mri.firmware.quantize import quantize
from napari_ct2mri.imaging.intensity import ct_channels
from napari_ct2mri.jobs import Job, Progress
from napari_ct2mri.pix2pix.checkpoint import Checkpoint

__all__ = ["RECIPE", "quantized_onnx", "simulated_slices"]

RECIPE = 1
"""Changes with whatever changes the integers."""

_LARGEST_WEIGHT = 63
_HEADS = 4
_SLICES = 4  # of each head
_STEP_MM = 22.0  # between them: from the skull base to the vertex


def quantized_onnx(checkpoint: Checkpoint, contrast: str) -> Job[bytes]:
    """The network for one contrast, (n, C, h, w) to (n, 1, h, w), as ONNX with QDQ nodes.

    Weights have 7 bits: processors without VNNI add products in pairs in 16 bits, and only
    2 x 255 x 63 fits.

    Raises
    ------
    FirmwareError
        If a layer has no integer form (instance norm).
    ConfigError
        If the package ``onnx`` is not installed.
    """
    graph = lower(checkpoint, contrast)
    slices = yield from simulated_slices(checkpoint.config.model)
    model = yield from quantize(graph, slices, largest_weight=_LARGEST_WEIGHT)
    return to_onnx(model)


def simulated_slices(config: ModelConfig) -> Job[NDArray[np.float32]]:
    """Slices of several heads in the model's frame, (n, C, h, w) in [-1, 1]; always the same."""
    from napari_ct2mri.imaging.phantom import phantom
    from napari_ct2mri.pix2pix.slices import with_neighbours

    side, pixel_mm = config.scale.frame_px, config.scale.pixel_mm
    reach = config.input.neighbours
    slices = []
    for seed in range(_HEADS):
        # one more at each end, which shows too little
        shape, spacing = (_SLICES + 2, side, side), (_STEP_MM, pixel_mm, pixel_mm)
        ct = phantom(seed, shape=shape, spacing=spacing).ct
        slices.append(with_neighbours(ct_channels(ct, config.input.windows), reach)[1:-1])
        yield Progress(seed + 1, _HEADS, "heads simulated")
    return np.concatenate(slices)
