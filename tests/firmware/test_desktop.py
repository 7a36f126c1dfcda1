"""The network in 8 bits for desktop engines: near the float one, in any batch and size."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from random_models import random_generator

from napari_ct2mri.config import NetworkConfig, preset
from napari_ct2mri.errors import FirmwareError
from napari_ct2mri.evaluation.metrics import psnr
from napari_ct2mri.firmware.desktop import quantized_onnx, simulated_slices
from napari_ct2mri.jobs import run_job
from napari_ct2mri.pix2pix.checkpoint import Checkpoint, Header
from napari_ct2mri.pix2pix.engines import open_engine, open_onnx
from napari_ct2mri.pix2pix.networks import Generator

ENGINES = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            importlib.util.find_spec(name) is None, reason=f"{name} is not installed"
        ),
    )
    for name in ("onnxruntime", "openvino")
]


def _model(norm: str = "batch", neighbours: int = 0) -> Checkpoint:
    shape = {"width": 8, "levels": 3, "widest": 2, "norm": norm}
    scale = {"frame_px": 64, "pixel_mm": 3.75, "head_px": 46}
    config = preset("default", contrasts=("T1", "T2"), neighbours=neighbours, **shape, **scale)
    if norm == "instance":
        return Checkpoint(Header(config=config), Generator(config.model).state_dict())
    network = NetworkConfig(width=8, levels=3, widest=2)
    generator = random_generator(network, seed=3, input=config.model.input)
    return Checkpoint(Header(config=config), generator.state_dict())


@pytest.mark.parametrize("name", ENGINES)
def test_bytes_stay_near_floats(name: str) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    model = _model(neighbours=1)
    data = run_job(quantized_onnx(model, "T2"), lambda event: None)
    engine = open_onnx(data, name, ("T2",))
    slices = run_job(simulated_slices(model.config.model), lambda event: None)
    other = np.concatenate([slices, slices[:, ::-1]], axis=-1)[:5]  # 64 x 128
    reference = open_engine(model, "torch", "cpu")
    for frames in (slices[:1], slices, other):
        want, got = reference(frames)[:, 1:], engine(frames)
        assert got.shape == want.shape
        assert np.ptp(want) > 0.5
        assert psnr(got, want, 2.0) > 35
        assert not np.array_equal(got, want)


def test_heads_fill_the_channels_and_are_always_the_same() -> None:
    config = _model(neighbours=1).config.model
    first, again = (run_job(simulated_slices(config), lambda event: None) for _ in range(2))
    assert first.shape == (16, 3, 64, 64)
    assert (first.std(axis=(1, 2, 3)) > 0.1).all()
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[0], first[4])  # another head


def test_instance_norm_is_refused() -> None:
    job = quantized_onnx(_model("instance"), "T2")
    with pytest.raises(FirmwareError, match=r"InstanceNorm2d at 'down\.1\.norm'"):
        next(job)


@pytest.mark.parametrize("name", ENGINES)
def test_no_engine_overflows(name: str) -> None:
    """All-white frames are what adds up to most; the reference has 32 bits to add in."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    data = run_job(quantized_onnx(_model(), "T2"), lambda event: None)
    tensors = onnx.load_model_from_string(data).graph.initializer
    weights = [onnx.numpy_helper.to_array(t) for t in tensors if t.name.endswith(".weights")]
    assert max(int(np.abs(each).max()) for each in weights) == 63
    assert 2 * 255 * 63 < 2**15
    frames = np.ones((1, 1, 64, 64), np.float32)
    made = open_onnx(data, name, ("T2",))(frames)
    want = open_engine(_model(), "torch", "cpu")(frames)[:, 1:]
    assert psnr(made, want, 2.0) > 25
