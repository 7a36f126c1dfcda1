"""Parts of ``speed.py``: engines on one slice, and a whole volume from file to file."""

from __future__ import annotations

import importlib.util
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from napari_ct2mri.app import workflows
from napari_ct2mri.config import preset
from napari_ct2mri.firmware.desktop import quantized_onnx
from napari_ct2mri.imaging.intensity import ct_channels, unit_to_output
from napari_ct2mri.imaging.io import read_volume
from napari_ct2mri.imaging.phantom import phantom
from napari_ct2mri.imaging.volume import Geometry, Volume
from napari_ct2mri.jobs import run_job
from napari_ct2mri.pix2pix.checkpoint import Checkpoint, Header, load_checkpoint
from napari_ct2mri.pix2pix.engines import Engine, open_engine, open_onnx
from napari_ct2mri.pix2pix.frames import Frame, fit_frame
from napari_ct2mri.pix2pix.networks import Generator, parameter_count
from napari_ct2mri.pix2pix.zoo import DEFAULT_MODEL, find_model

Row = tuple[str, str]
Floats = NDArray[np.float32]

_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx_vnni", "avx512_vnni", "amx_int8")
_ONNX = ("openvino", "onnxruntime")
_BATCH = 4


def machine() -> str:
    """Processor, its instructions for such networks, threads, versions, and how busy it is."""
    cpuinfo = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    lines = dict(line.split(":", 1) for line in cpuinfo.splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in lines.items()}
    there = [flag for flag in _FLAGS if flag in fields.get("flags", "").split()]
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", *_installed()))
    load = f"; load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"{fields.get('model name', 'processor unknown')}, {os.cpu_count()} processors, "
        f"{' '.join(there) or 'none of ' + ' '.join(_FLAGS)}; {torch.get_num_threads()} threads; "
        f"{versions}{load}"
    )


def part_slice() -> Iterator[Row]:
    """A slice through the 54.4 M generator: torch eager against each engine, in turns."""
    config = preset("classic", contrasts=("T2",), width=64, levels=8)
    torch.manual_seed(0)
    generator = Generator(config.model)
    model = Checkpoint(Header(config=config), generator.state_dict())
    eager = open_engine(model, "torch", "cpu")
    rivals = {f"{name} float": open_engine(model, name, "cpu") for name in _installed()}
    if _installed():
        data = run_job(quantized_onnx(model, "T2"), lambda event: None)
        rivals |= {f"{name} int8": open_onnx(data, name, ("T2",)) for name in _installed()}
    frame = np.random.default_rng(0).uniform(-1, 1, (1, 1, 256, 256)).astype(np.float32)
    everyone: dict[str, Engine] = {"torch": eager, **rivals}
    seconds = in_turns({name: _call(engine, frame) for name, engine in everyone.items()}, 15)
    size = f"{parameter_count(generator) / 1e6:.1f} M parameters, 256x256, one slice at once"
    yield f"torch eager, {size}", f"{1e3 * statistics.median(seconds['torch']):.0f} ms"
    for name in rivals:
        ratio = _ratio(seconds["torch"], seconds[name])
        yield (
            f"{name}, {size}",
            f"{1e3 * statistics.median(seconds[name]):.0f} ms, {ratio:.2f} x torch's speed",
        )


def part_files() -> Iterator[Row]:
    """A 512x512x300 NRRD to NRRD and to NIfTI: the command's job against bare calls, in turns."""
    with tempfile.TemporaryDirectory() as folder:
        ct = Path(folder) / "ct.nrrd"
        _write_ct(ct)
        frame = fit_frame(read_volume(ct), load_checkpoint(find_model(DEFAULT_MODEL)).config.model)
        for ending in ("nrrd", "nii.gz"):
            rivals: dict[str, Callable[[], object]] = {
                "ours": partial(_ours, ct, Path(folder) / "ours" / f"mr.{ending}"),
                "bare": partial(_bare, ct, Path(folder) / f"bare.{ending}", frame),
            }
            seconds = in_turns(rivals, 5, warm=1)
            ours, bare = (statistics.median(seconds[name]) for name in rivals)
            ratio = _ratio(seconds["ours"], seconds["bare"])
            yield (
                f"512x512x300 NRRD to .{ending}, `{DEFAULT_MODEL}`: ours, bare calls one after "
                "another",
                f"{ours:.1f} s, {bare:.1f} s, ratio {ratio:.2f}",
            )


def in_turns(
    rivals: dict[str, Callable[[], object]], rounds: int, warm: int = 2
) -> dict[str, list[float]]:
    """Seconds of each rival in each round; a round goes once around, the first ``warm`` unseen."""
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for turn in range(warm + rounds):
        for name, run in rivals.items():
            start = time.perf_counter()
            run()
            if turn >= warm:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def _call(engine: Engine, frame: Floats) -> Callable[[], Floats]:
    return lambda: engine(frame)


def _ratio(slow: list[float], fast: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def _installed() -> tuple[str, ...]:
    return tuple(
        n for n in _ONNX if importlib.util.find_spec(n) and importlib.util.find_spec("onnx")
    )


def _write_ct(path: Path) -> None:
    """A simulated head, its slices repeated; uncompressed."""
    import SimpleITK as sitk

    head = phantom(0, shape=(30, 512, 512), spacing=(5.0, 0.488, 0.488)).ct
    data = np.repeat(head.data, 10, axis=0).astype(np.int16)
    image = sitk.GetImageFromArray(data)
    image.SetSpacing((0.488, 0.488, 0.5))
    sitk.WriteImage(image, str(path), False)


def _ours(ct: Path, output: Path) -> None:
    job = workflows.synthesize(ct, output, model=DEFAULT_MODEL, device="cpu", modality="CT")
    run_job(job, lambda event: None)


def _bare(ct: Path, output: Path, frame: Frame) -> None:
    """Read, resample, network, write: each once, none beside another, nothing checked.

    The frame is given; ours has to find it.
    """
    import SimpleITK as sitk

    model = load_checkpoint(find_model(DEFAULT_MODEL))
    engine = open_engine(model, "auto", "cpu")
    image = sitk.ReadImage(str(ct))
    data = sitk.GetArrayFromImage(image)
    result = np.empty(data.shape, np.float32)
    for start in range(0, len(data), _BATCH):
        part = Volume(data[start : start + _BATCH], Geometry(), "CT", "HU")
        frames = frame.take(ct_channels(part, model.config.model.input.windows)).clip(-1, 1)
        fakes = engine(frames)[:, 0]
        result[start : start + _BATCH] = unit_to_output(frame.put_back(fakes), is_picture=False)
    made = sitk.GetImageFromArray(result)
    made.CopyInformation(image)
    sitk.WriteImage(made, str(output))
