"""``--engine`` and ``--precision``: what computes is what was asked for, and is on record."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_heads import write_volumes

from napari_ct2mri.app import workflows
from napari_ct2mri.app.cli import main
from napari_ct2mri.imaging.io import read_volume
from napari_ct2mri.imaging.volume import Volume
from napari_ct2mri.jobs import Event, Notice, Progress, SlicesDone, run_job
from napari_ct2mri.pix2pix import engines

Fails = Callable[..., str]
CPU = ("--device", "cpu")


def _needs(name: str) -> pytest.MarkDecorator:
    is_there = all(importlib.util.find_spec(package) for package in ("onnx", name))
    return pytest.mark.skipif(not is_there, reason=f"{name} is not installed")


ENGINES = [pytest.param(n, marks=_needs(n)) for n in ("openvino", "onnxruntime")]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one in place of the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "napari-ct2mri"


def _settings(output: Path) -> dict[str, object]:
    manifest = json.loads((output.parent / "manifest.json").read_text())
    settings: dict[str, object] = manifest["runs"][-1]["settings"]
    return settings


@pytest.mark.parametrize("name", ENGINES)
def test_engines_agree_and_are_on_record(name: str, model: Path, tmp_path: Path) -> None:
    ct, _ = write_volumes(tmp_path, 0)
    made = {}
    for engine in ("torch", name):
        output = tmp_path / engine / "mr.nrrd"
        command = ["synthesize", str(ct), str(output), "--model", str(model), *CPU]
        assert main([*command, "--engine", engine]) == 0
        assert _settings(output)["engine"] == engine
        assert _settings(output)["precision"] == "float"
        made[engine] = read_volume(output).data
    np.testing.assert_allclose(made["torch"], made[name], rtol=0, atol=0.01)


@pytest.mark.parametrize("name", ENGINES)
def test_int8_is_near_on_record_and_kept(
    name: str, model: Path, tmp_path: Path, cache: Path
) -> None:
    ct, _ = write_volumes(tmp_path, 0)
    whole, rounded = tmp_path / "float" / "mr.nrrd", tmp_path / "int8" / "mr.nrrd"
    command = ["synthesize", str(ct)]
    options = ["--model", str(model), *CPU, "--engine", name]
    assert main([*command, str(whole), *options]) == 0
    assert not cache.exists()  # nothing is quantized without being asked
    assert main([*command, str(rounded), *options, "--precision", "int8"]) == 0
    assert (_settings(rounded)["engine"], _settings(rounded)["precision"]) == (name, "int8")
    before, after = read_volume(whole).data, read_volume(rounded).data
    error = np.sqrt(np.mean((before - after) ** 2))
    assert 0 < error < 30  # of 0..1000
    assert len(list((cache / "int8").iterdir())) == 1


@_needs("openvino")
def test_a_model_is_quantized_once(model: Path, tmp_path: Path, cache: Path) -> None:
    path, _ = write_volumes(tmp_path, 0)
    ct = read_volume(path)

    def run() -> tuple[Volume, list[Event]]:
        events: list[Event] = []
        job = workflows.synthesize_volume(ct, model=model, device="cpu", precision="int8")
        return run_job(job, events.append), events

    first, calibrating = run()
    second, running = run()
    np.testing.assert_array_equal(first.data, second.data)
    assert {e.what for e in calibrating if isinstance(e, Progress)} == {
        "heads simulated",
        "layers quantized",
        "slices",
    }
    assert {e.what for e in running if isinstance(e, Progress)} == {"slices"}
    assert any(isinstance(e, SlicesDone) for e in running)
    (kept,) = (cache / "int8").iterdir()
    kept.write_bytes(kept.read_bytes()[:100])
    third, again = run()
    np.testing.assert_array_equal(first.data, third.data)
    assert any("damaged; the model is quantized anew" in e.text for e in again if _is_notice(e))


def _is_notice(event: Event) -> bool:
    return isinstance(event, Notice)


@_needs("openvino")
def test_evaluate_says_that_it_computed_in_8_bits(
    model: Path, volumes: Path, tmp_path: Path, cache: Path
) -> None:
    report = tmp_path / "report"
    command = ["evaluate", str(volumes), "--output", str(report), "--model", str(model), *CPU]
    assert main([*command, "--precision", "int8"]) == 0
    assert "computed in 8 bits" in (report / "report.json").read_text()


def test_what_does_not_go_together(
    model: Path, volumes: Path, tmp_path: Path, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    ct, _ = write_volumes(tmp_path, 0)
    output = tmp_path / "out" / "mr.nrrd"
    told = ("synthesize", ct, output, "--model", model)
    assert "computes on the CPU, not on cuda" in fails(
        *told, "--precision", "int8", "--device", "cuda"
    )
    assert "needs the engine openvino" in fails(
        *told, *CPU, "--precision", "int8", "--engine", "torch"
    )
    for flag, value in (("--engine", "onnxruntime"), ("--precision", "int8")):
        assert "only --engine torch in float" in fails(*told, *CPU, "--published", flag, value)
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    assert "pip install 'napari-ct2mri[openvino]'" in fails(*told, *CPU, "--engine", "openvino")
    assert "pip install 'napari-ct2mri[onnx]'" in fails(*told, *CPU, "--engine", "onnxruntime")
    assert "pip install" in fails(*told, *CPU, "--precision", "int8")
    read = ("evaluate", volumes, "--output", tmp_path / "report", "--predictions", tmp_path)
    assert "read, not made" in fails(*read, "--precision", "int8")
    assert not output.parent.exists()
