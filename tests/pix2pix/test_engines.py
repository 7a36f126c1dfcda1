"""Every engine makes what torch makes; what is missing or refused is said in one line."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_ct2mri.config import preset
from napari_ct2mri.errors import ConfigError
from napari_ct2mri.pix2pix import engines
from napari_ct2mri.pix2pix.checkpoint import Checkpoint, Header
from napari_ct2mri.pix2pix.engines import load_generator, open_engine, open_onnx, pick_engine
from napari_ct2mri.pix2pix.networks import Generator
from napari_ct2mri.pix2pix.onnx import to_onnx

CPU = torch.device("cpu")
TOLERANCE = 2e-5
"""Of an output in [-1, 1]: about 170 units in the last place at 1, sums in another order."""

WITH_ONNX = [
    pytest.param(
        name,
        marks=pytest.mark.skipif(
            importlib.util.find_spec(name) is None or importlib.util.find_spec("onnx") is None,
            reason=f"{name} is not installed",
        ),
    )
    for name in ("onnxruntime", "openvino")
]


def _model(norm: str = "batch", neighbours: int = 0) -> Checkpoint:
    """One whose batch norms have seen something and whose output is not near 0."""
    torch.manual_seed(2)
    leaves = {"width": 6, "levels": 3, "widest": 2, "dropout": 0.5}
    config = preset("default", contrasts=("T1", "T2"), norm=norm, neighbours=neighbours, **leaves)
    generator = Generator(config.model)
    for module in generator.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            torch.nn.init.normal_(module.weight, 0, module.weight[0].numel() ** -0.5)
            if module.bias is not None:
                torch.nn.init.normal_(module.bias, 0, 0.3)
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            module.bias.data.normal_(0, 0.3)
    return Checkpoint(Header(config=config), generator.state_dict())


def _frames(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).uniform(-1, 1, shape).astype(np.float32)


@pytest.mark.parametrize("name", WITH_ONNX)
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_an_engine_makes_what_torch_makes(name: str, norm: str) -> None:
    model = _model(norm, neighbours=1)
    reference, engine = (open_engine(model, each, "cpu") for each in ("torch", name))
    assert (engine.name, engine.contrasts) == (name, ("T1", "T2"))
    for shape in ((1, 3, 32, 48), (5, 3, 32, 48), (2, 3, 64, 16)):  # any batch, any size
        frames = _frames(*shape)
        want, got = reference(frames), engine(frames)
        assert got.shape == (shape[0], 2, *shape[2:])
        assert got.dtype == np.float32
        assert np.ptp(want) > 1
        np.testing.assert_allclose(got, want, rtol=0, atol=TOLERANCE)


def test_batch_norm_is_folded() -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    graph = onnx.load_model_from_string(to_onnx(load_generator(_model(), CPU))).graph
    kinds = {node.op_type for node in graph.node}
    assert kinds == {"Conv", "ConvTranspose", "LeakyRelu", "Relu", "Concat", "Tanh"}


@pytest.mark.parametrize("name", WITH_ONNX)
def test_what_an_engine_returned_stays(name: str) -> None:
    engine = open_engine(_model(), name, "cpu")
    first = engine(_frames(1, 1, 32, 32))
    kept = first.copy()
    engine(-_frames(1, 1, 32, 32))
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("name", WITH_ONNX)
def test_frames_need_not_be_contiguous(name: str) -> None:
    engine, frames = open_engine(_model(), name, "cpu"), _frames(2, 1, 32, 32)
    mirrored = engine(frames[..., ::-1])
    np.testing.assert_array_equal(mirrored, engine(frames[..., ::-1].copy()))


@pytest.mark.parametrize("name", WITH_ONNX)
def test_a_graph_that_an_engine_refuses(name: str) -> None:
    words = rf"^engine {name} can't take this model: .*; choose the engine torch \(in a terminal"
    with pytest.raises(ConfigError, match=words):
        open_onnx(b"no graph", name, ("T2",))


_LISTENING = """
import os, sys
heard = []
sys.addaudithook(lambda event, args: heard.append(event) if event.startswith("socket.") else None)
import numpy as np
from napari_ct2mri.pix2pix.checkpoint import load_checkpoint
from napari_ct2mri.pix2pix.engines import open_engine
from napari_ct2mri.pix2pix.zoo import find_model
model = load_checkpoint(find_model("ct2mri-dsp8"))
open_engine(model, "{name}")(np.zeros((1, 1, 64, 64), np.float32))
open_files = "/proc/self/fd"
for number in os.listdir(open_files) if os.path.isdir(open_files) else ():
    try:
        held = os.readlink(f"{{open_files}}/{{number}}")
    except OSError:
        continue
    if held.startswith("socket:"):
        heard.append(held)
print(heard)
"""


_QUIET_WITH = ("ORT_DISABLE_TELEMETRY", "CI", "GITHUB_ACTIONS", "PYTEST_CURRENT_TEST")
"""By which engines know that nothing is to be reported anyway."""


@pytest.mark.parametrize("name", WITH_ONNX)
def test_an_engine_reports_to_nobody(name: str, tmp_path: Path) -> None:
    """Neither Python nor the engine's own code opens a socket, or notes down what to send later."""
    outside_ci = {key: value for key, value in os.environ.items() if key not in _QUIET_WITH}
    done = subprocess.run(
        [sys.executable, "-c", _LISTENING.format(name=name)],
        env=outside_ci | {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert done.stdout.strip() == "[]"
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


@contextmanager
def _without(*packages: str) -> Iterator[None]:
    """As on a machine where these are not installed."""
    found = engines.find_spec
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engines, "find_spec", lambda n: None if n in packages else found(n))
        yield


def test_auto_takes_the_fastest_that_is_installed() -> None:
    everything = {n for n in ("openvino", "onnxruntime") if engines.find_spec(n)}
    with _without("openvino", "onnxruntime"):
        assert pick_engine("auto", CPU) == "torch"
    with _without("onnx"):
        assert pick_engine("auto", CPU) == "torch"
    with _without("openvino"):
        second = "onnxruntime" if "onnxruntime" in everything else "torch"
        assert pick_engine("auto", CPU) == second
    fastest = next((n for n in ("openvino", "onnxruntime") if n in everything), "torch")
    assert pick_engine("auto", CPU) == fastest


@pytest.mark.parametrize(
    ("name", "missing", "extra"),
    [
        ("openvino", "openvino", "openvino"),
        ("openvino", "onnx", "openvino"),
        ("onnxruntime", "onnxruntime", "onnx"),
    ],
)
def test_a_missing_engine_names_its_extra(name: str, missing: str, extra: str) -> None:
    said = f"engine {name} needs the package {missing}.*napari-ct2mri\\[{extra}\\]"
    with _without(missing), pytest.raises(ConfigError, match=said):
        pick_engine(name, CPU)


def test_an_accelerator_is_torch_s() -> None:
    gpu = torch.device("cuda")
    assert pick_engine("auto", gpu) == "torch"
    with pytest.raises(ConfigError, match=re.escape("on the CPU, not on cuda; use --device cpu")):
        pick_engine("onnxruntime", gpu)


def test_an_unknown_engine() -> None:
    with pytest.raises(ConfigError, match="'tensorrt'; choose one of auto, openvino"):
        pick_engine("tensorrt", CPU)
