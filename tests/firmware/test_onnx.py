"""The QDQ network in ONNX Runtime against the reference."""

from __future__ import annotations

import numpy as np
import pytest
from random_models import random_model, smooth

from napari_ct2mri.firmware.onnx import to_onnx
from napari_ct2mri.firmware.reference import dequantize_output, quantize_input, run
from napari_ct2mri.pix2pix.silent import import_onnxruntime


@pytest.mark.parametrize(("width", "windows"), [(8, 1), (5, 2)])
def test_an_engine_agrees_to_45_db(width: int, windows: int) -> None:
    model = random_model(width, windows=windows, size=(32, 64))
    onnxruntime = import_onnxruntime()
    session = onnxruntime.InferenceSession(to_onnx(model), providers=["CPUExecutionProvider"])
    image = smooth(np.random.default_rng(5), windows, 32, 64)
    (theirs,) = session.run(None, {"ct": image[None]})
    ours = dequantize_output(run(model, quantize_input(image)))
    error = np.mean((theirs[0, 0] - ours) ** 2)
    assert np.ptp(ours) > 0.5
    assert 10 * np.log10(4 / error) >= 45


def test_same_model_same_bytes() -> None:
    assert to_onnx(random_model()) == to_onnx(random_model())
