"""What quantization costs, that every level of proof computes the same, and how fast it is here.

    python benchmarks/firmware.py fidelity PAIRS.csv PROJECT [--board host] [--every N]
    python benchmarks/firmware.py speed [--model NAME | --width N --levels N] [--size H W]

``fidelity``: PROJECT is what ``export`` wrote and ``build`` compiled. Every val slice runs through
the float network, through the NumPy reference (L0) and through the board; prints one table.

``speed``: a slice through the firmware's C as the host's makefile compiles it, and through desktop
engines on the same network, one thread each, in turns; needs ``openvino``, ``onnx`` and
``onnxruntime``. Without a model the weights are random: the time does not depend on them.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import io
import os
import platform
import statistics
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.config import ModelConfig, NetworkConfig, Window
from napari_ct2mri.evaluation.metrics import psnr, ssim
from napari_ct2mri.firmware import runtime_folder
from napari_ct2mri.firmware.arena import plan
from napari_ct2mri.firmware.container import Container, ct_tables, pack, unpack
from napari_ct2mri.firmware.lower import lower_generator
from napari_ct2mri.firmware.onnx import to_onnx
from napari_ct2mri.firmware.quantize import quantize
from napari_ct2mri.firmware.reference import dequantize_output, each_layer, quantize_input, run
from napari_ct2mri.firmware.simulate import Line, simulated
from napari_ct2mri.jobs import run_job
from napari_ct2mri.pix2pix.checkpoint import Checkpoint, load_checkpoint
from napari_ct2mri.pix2pix.engines import load_generator
from napari_ct2mri.pix2pix.networks import Generator
from napari_ct2mri.pix2pix.pairs import read_pairs
from napari_ct2mri.pix2pix.silent import import_onnxruntime, import_openvino
from napari_ct2mri.pix2pix.slices import SlicePairs, load_slices
from napari_ct2mri.pix2pix.zoo import find_model

RANGE = 2.0  # of images in [-1, 1]


def float_outputs(checkpoint: Checkpoint, contrast: str, slices: SlicePairs) -> np.ndarray:
    """The float network's MR of every slice, (n, H, W)."""
    import torch

    generator = load_generator(checkpoint, torch.device("cpu"))
    head = checkpoint.contrasts.index(contrast)
    with torch.inference_mode():
        made = [
            generator(torch.from_numpy(ct[None].astype(np.float32)))[0, head] for ct in slices.ct
        ]
    return np.stack([each.numpy() for each in made])


def against_mr(fakes: np.ndarray, slices: SlicePairs) -> np.ndarray:
    """PSNR (dB) and SSIM in the head against the real MR, (n, 2)."""
    rows = []
    for fake, mr, head in zip(fakes, slices.mr.astype(np.float32), slices.head, strict=True):
        rows.append((psnr(fake, mr, RANGE, head), ssim(fake + 1, mr + 1, RANGE, head)))
    return np.array(rows)


def check_layers(line: Line, project: Path, image: np.ndarray) -> np.ndarray:
    """The board's MR, once every layer is known to equal the reference's."""
    model = unpack((project / "model.ctm").read_bytes()).model
    made, digests = line.run_with_digests(image)
    for number, stored in enumerate(each_layer(model, image)):
        if hashlib.sha256(np.ascontiguousarray(stored)).digest() != digests[number]:
            raise SystemExit(f"layer {number} differs from the reference")
    return made


def fidelity(asked: argparse.Namespace) -> None:
    """Measure what quantization costs, and print."""
    info = unpack((asked.project / "model.ctm").read_bytes()).info
    checkpoint = load_checkpoint(find_model(info["model"]))
    contrast = info["contrast"]
    rows = read_pairs(asked.pairs).where("val", contrast)
    slices = run_job(load_slices(rows, checkpoint.config.model), lambda event: None)
    chosen = np.arange(0, len(slices), asked.every)
    floats = float_outputs(checkpoint, contrast, slices)
    made = floats.copy()
    with simulated(asked.project, asked.board) as line:
        for i in chosen:
            image = quantize_input(slices.ct[i].astype(np.float32))
            made[i] = dequantize_output(check_layers(line, asked.project, image))
    near = np.array([psnr(made[i], floats[i], RANGE) for i in chosen])
    change = (against_mr(made, slices) - against_mr(floats, slices))[chosen]
    print(f"| {info['model']}, {contrast}, {len(chosen)} val slices, {asked.board} | |\n|---|---|")
    print(f"| int8 against float, mean | {near.mean():.1f} dB |")
    print(f"| int8 against float, worst | {near.min():.1f} dB |")
    for name, column, unit in (("PSNR", 0, " dB"), ("SSIM", 1, "")):
        worst = change[np.abs(change[:, column]).argmax(), column]
        print(
            f"| change of {name} against the real MR, in the head: mean, largest | "
            f"{change[:, column].mean():+.4f}, {worst:+.4f}{unit} |"
        )
    print(f"| layers equal to the reference | all, {line.layers} of every slice |")


Slice = NDArray[np.float32]  # (1, C, H, W) in [-1, 1]
Engine = Callable[[Slice], NDArray[np.float32]]  # to (H, W) in [-1, 1]
CFLAGS = ("-std=c99", "-O3", "-march=native", "-shared", "-fPIC")
FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx_vnni", "avx512_vnni", "amx_int8")


class _Memory(ctypes.Structure):
    _fields_ = (("arena", ctypes.c_void_p), ("scratch", ctypes.c_void_p))


def firmware(container: bytes, compiler: str) -> Engine:
    """The runtime as a shared library in this process, with this model open."""
    names = ("kernels.c", "layers.c", "container.c", "sha256.c")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "runtime.so"
        sources = [str(runtime_folder() / name) for name in names]
        subprocess.run([compiler, *CFLAGS, *sources, "-o", str(library)], check=True)
        loaded = ctypes.CDLL(str(library))
    data, model = _aligned(len(container)), _aligned(16384)
    data[:] = np.frombuffer(container, np.uint8)
    status = loaded.ct_open(
        ctypes.c_void_p(model.ctypes.data), ctypes.c_void_p(data.ctypes.data),
        ctypes.c_size_t(len(data)),
    )  # fmt: skip
    if status:
        raise SystemExit(f"the runtime refuses the container with error {status}")
    # the first numbers of ct_model: sizes of slice, arena and scratch, places of input and output
    height, width, channels, arena_bytes, scratch_bytes, start, end = map(
        int, model.view("<u4")[:7]
    )
    arena, scratch = _aligned(arena_bytes), _aligned(scratch_bytes)
    memory = _Memory(arena.ctypes.data, scratch.ctypes.data)
    loaded.ct_run.argtypes = (ctypes.c_void_p, _Memory, ctypes.c_void_p)

    def compute(image: Slice) -> NDArray[np.float32]:
        arena[start:][: height * width * channels] = quantize_input(image[0]).ravel()
        loaded.ct_run(model.ctypes.data, memory, None)
        return dequantize_output(arena[end:][: height * width].reshape(height, width))

    compute.keep = data, scratch  # type: ignore[attr-defined] # only C's pointers know them
    return compute


def _aligned(size: int) -> NDArray[np.uint8]:
    """Bytes at a multiple of 64."""
    whole = np.zeros(size + 64, np.uint8)
    return whole[-whole.ctypes.data % 64 :][:size]


def onnxruntime_engine(model: bytes) -> Engine:
    """ONNX Runtime on one thread."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda image: session.run(None, {name: image})[0][0, 0]


def openvino_engine(model: bytes) -> Engine:
    """OpenVINO on one thread."""
    core = import_openvino().Core()
    threads = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(core.read_model(model), "CPU", threads)
    return lambda image: compiled([image])[0][0, 0]


def torch_engine(generator: Generator) -> Engine:
    """torch, eager, on one thread."""
    import torch

    def compute(image: Slice) -> NDArray[np.float32]:
        with torch.inference_mode():
            made: NDArray[np.float32] = generator(torch.from_numpy(image))[0, 0].numpy()
        return made

    return compute


def float_onnx(generator: Generator, image: Slice) -> bytes:
    """The float network as ONNX."""
    import torch

    file = io.BytesIO()
    with warnings.catch_warnings(action="ignore"):
        torch.onnx.export(generator, (torch.from_numpy(image),), file, dynamo=False)
    return file.getvalue()


def network(asked: argparse.Namespace) -> Generator:
    """The generator of the model asked for, its first contrast alone, or a random one."""
    import torch

    torch.manual_seed(0)
    if asked.model is None:
        config = NetworkConfig(width=asked.width, levels=asked.levels)
        return Generator(ModelConfig(network=config, contrasts=("T2",))).eval()
    checkpoint = load_checkpoint(find_model(asked.model))
    generator = load_generator(checkpoint, torch.device("cpu"))
    last = generator.up[0].conv
    last.weight, last.out_channels = torch.nn.Parameter(last.weight[:, :1]), 1
    if last.bias is not None:
        last.bias = torch.nn.Parameter(last.bias[:1])
    return generator.eval()


def speed(asked: argparse.Namespace) -> None:
    """Measure a slice's time in turns, and print."""
    import torch

    torch.set_num_threads(1)
    generator = network(asked)
    channels = generator.down[0].conv.in_channels
    chance = np.random.default_rng(0)
    slices = chance.uniform(-1, 1, (8, channels, *asked.size)).astype(np.float32)
    model = run_job(quantize(lower_generator(generator), slices), lambda event: None)
    entry = quantize_input(slices[0])
    golden = run(model, entry)
    tables = ct_tables((Window(),) * channels)
    container = pack(Container(model, plan(model), tables, (entry, golden), {}))
    qdq, image = to_onnx(model), slices[:1]
    engines = {
        f"firmware, {asked.cc}": firmware(container, asked.cc),
        "OpenVINO int8": openvino_engine(qdq),
        "ONNX Runtime int8": onnxruntime_engine(qdq),
        "ONNX Runtime fp32": onnxruntime_engine(float_onnx(generator, image)),
        "torch fp32": torch_engine(generator),
    }
    want = dequantize_output(golden)
    if not np.array_equal(next(iter(engines.values()))(image), want):
        raise SystemExit("the firmware's slice differs from the reference")
    print(f"{machine(asked.cc)}\nload before: {os.getloadavg()[0]:.1f}")
    seconds = in_turns(engines, image, asked.rounds, asked.repeats)
    print(f"load after: {os.getloadavg()[0]:.1f}\n")
    products = sum(model.macs(number) for number in range(len(model.layers)))
    title = asked.model or f"{asked.width} filters, {asked.levels} levels, random weights"
    print(f"{title}, {asked.size[0]} x {asked.size[1]}, {products / 1e6:.0f} M products;")
    print(f"medians of {asked.rounds} rounds of {asked.repeats} slices, one thread\n")
    print("| engine | ms a slice | firmware's time over it | against L0 |\n|---|--:|--:|--:|")
    ours = seconds[next(iter(engines))]
    for name, engine in engines.items():
        ratio = statistics.median(a / b for a, b in zip(ours, seconds[name], strict=True))
        error = engine(image) - want
        near = f"{psnr(engine(image), want, RANGE):.1f} dB" if error.any() else "equal"
        print(f"| {name} | {1e3 * statistics.median(seconds[name]):.2f} | {ratio:.2f} | {near} |")


def in_turns(
    engines: dict[str, Engine], image: Slice, rounds: int, repeats: int
) -> dict[str, list[float]]:
    """Seconds a slice of each engine in each round; a round goes once around."""
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for engine in engines.values():
        for _ in range(3):
            engine(image)
    for _ in range(rounds):
        for name, engine in engines.items():
            start = time.perf_counter()
            for _ in range(repeats):
                engine(image)
            seconds[name].append((time.perf_counter() - start) / repeats)
    return seconds


def machine(compiler: str) -> str:
    """Processor, its instructions for such networks, and versions."""
    cpuinfo = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    lines = dict(line.split(":", 1) for line in cpuinfo.splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in lines.items()}
    flags = [flag for flag in FLAGS if flag in fields.get("flags", "").split()]
    first = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True)
    versions = [f"{name} {version(name)}" for name in ("openvino", "onnxruntime", "torch")]
    return (
        f"{fields.get('model name', platform.processor())}, {os.cpu_count()} processors: "
        f"{' '.join(flags)}\n{first.stdout.splitlines()[0]}, {' '.join(CFLAGS[:3])}; "
        f"{', '.join(versions)}, Python {platform.python_version()}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = parser.add_subparsers(required=True)
    part = parts.add_parser("fidelity")
    part.set_defaults(part=fidelity)
    part.add_argument("pairs", type=Path)
    part.add_argument("project", type=Path)
    part.add_argument("--board", default="host")
    part.add_argument("--every", type=int, default=1, help="take every Nth slice")
    part = parts.add_parser("speed")
    part.set_defaults(part=speed)
    part.add_argument("--model", help="a released model or a checkpoint; by default random weights")
    part.add_argument("--width", type=int, default=16)
    part.add_argument("--levels", type=int, default=6)
    part.add_argument("--size", type=int, nargs=2, default=(256, 256))
    part.add_argument("--rounds", type=int, default=15)
    part.add_argument("--repeats", type=int, default=10, help="slices a round")
    part.add_argument("--cc", default="cc", help="C compiler")
    asked = parser.parse_args()
    asked.part(asked)


if __name__ == "__main__":
    main()
