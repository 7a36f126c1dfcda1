"""What runs a generator: torch always, ONNX Runtime and OpenVINO where they are installed.

An engine takes frames (n, C, h, w) float32 in [-1, 1] to (n, K, h, w), one channel for each of
its contrasts; h and w are multiples of ``2**levels``. All compute in float32, unless the graph
itself is quantized, and on as many threads as torch is told (``OMP_NUM_THREADS``,
``torch.set_num_threads``). None of them opens a connection (``silent``).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

from napari_ct2mri.errors import ConfigError
from napari_ct2mri.pix2pix.silent import import_onnxruntime, import_openvino

if TYPE_CHECKING:  # the command line takes the names below before it answers --help
    import numpy as np
    from numpy.typing import NDArray
    from torch import device

    from napari_ct2mri.pix2pix.checkpoint import Checkpoint
    from napari_ct2mri.pix2pix.networks import Generator

    Floats = NDArray[np.float32]

__all__ = [
    "Engine",
    "EngineName",
    "Precision",
    "TorchEngine",
    "installed_engines",
    "load_generator",
    "open_engine",
    "open_onnx",
    "pick_engine",
]

EngineName = Literal["auto", "openvino", "onnxruntime", "torch"]
"""After ``auto`` the fastest first, as measured on CPUs (docs/speed.md)."""

Precision = Literal["float", "int8"]

_EXTRAS = {"openvino": "openvino", "onnxruntime": "onnx"}
_CPU_BATCH_PX = 4 * 256 * 256  # network pixels: keeps activations in the cache
_ACCELERATOR_BATCH_PX = 16 * 256 * 256  # keeps its units busy


class Engine(Protocol):
    """See the head of this module.

    Attributes
    ----------
    name : str
    contrasts : tuple of str
        What the K channels of its output show.
    batch_px : int
        How many network pixels it likes to be given at once.
    """

    name: str
    contrasts: tuple[str, ...]
    batch_px: int

    def __call__(self, frames: Floats) -> Floats:
        """(n, C, h, w) float32 in [-1, 1] to (n, K, h, w) float32 in [-1, 1]."""


class TorchEngine:
    """The generator itself, where it lies: on the CPU, CUDA or MPS (the last two never run here).

    Parameters
    ----------
    generator : Generator
        Its mode, training or evaluation, is left as it is.
    contrasts : tuple of str
    """

    name = "torch"

    def __init__(self, generator: Generator, contrasts: tuple[str, ...]) -> None:
        self._generator, self.contrasts = generator, contrasts
        self._device = next(generator.parameters()).device
        is_cpu = self._device.type == "cpu"
        self.batch_px = _CPU_BATCH_PX if is_cpu else _ACCELERATOR_BATCH_PX

    def __call__(self, frames: Floats) -> Floats:
        """See :class:`Engine`."""
        import torch

        with torch.inference_mode():
            made = self._generator(torch.from_numpy(frames).to(self._device))
        result: Floats = made.cpu().numpy()
        return result


class _OnnxEngine:
    """An ONNX graph from ``ct`` to ``mr`` on the CPU."""

    batch_px = _CPU_BATCH_PX

    def __init__(
        self, name: str, contrasts: tuple[str, ...], run: Callable[[Floats], Floats]
    ) -> None:
        self.name, self.contrasts, self._run = name, contrasts, run

    def __call__(self, frames: Floats) -> Floats:
        """See :class:`Engine`."""
        import numpy as np

        return self._run(np.ascontiguousarray(frames, np.float32))


def installed_engines() -> tuple[EngineName, ...]:
    """Those that are there, the fastest on CPUs first, ``torch`` last; none is imported."""
    return tuple(each for each in get_args(EngineName)[1:] if _lacks(each) is None)


def pick_engine(name: EngineName, device: device) -> EngineName:
    """The engine that ``name`` means on ``device``; ``auto``: the fastest that is installed.

    Raises
    ------
    ConfigError
        If it is not installed, or computes elsewhere than on ``device``.
    """
    if name == "auto":
        return installed_engines()[0] if device.type == "cpu" else "torch"
    if name not in get_args(EngineName):
        known = ", ".join(get_args(EngineName))
        raise ConfigError(f"no engine is called {name!r}; choose one of {known}")
    if (lacking := _lacks(name)) is not None:
        raise ConfigError(
            f"engine {name} needs the package {lacking}, which is not installed: "
            f"pip install 'napari-ct2mri[{_EXTRAS[name]}]', or use --engine auto"
        )
    if name != "torch" and device.type != "cpu":
        raise ConfigError(
            f"engine {name} computes on the CPU, not on {device.type}; use --device cpu, or "
            "--engine torch"
        )
    return name


def open_engine(model: Checkpoint, name: EngineName = "auto", device: str = "auto") -> Engine:
    """An engine for a checkpoint's generator.

    Parameters
    ----------
    device : str
        See :func:`~napari_ct2mri.pix2pix.networks.pick_device`.

    Raises
    ------
    ConfigError
        If the engine is not installed, computes elsewhere, or refuses the model.
    """
    from napari_ct2mri.pix2pix.networks import pick_device

    place = pick_device(device)
    picked = pick_engine(name, place)
    generator = load_generator(model, place)
    if picked == "torch":
        return TorchEngine(generator, model.contrasts)
    from napari_ct2mri.pix2pix.onnx import to_onnx

    return open_onnx(to_onnx(generator), picked, model.contrasts)


def load_generator(model: Checkpoint, device: device) -> Generator:
    """The checkpoint's generator on ``device``, in evaluation mode."""
    from napari_ct2mri.pix2pix.checkpoint import load_weights
    from napari_ct2mri.pix2pix.networks import Generator

    generator = Generator(model.config.model)
    load_weights(generator, model.weights, "checkpoint")
    return generator.to(device).eval()


def open_onnx(model: bytes, name: EngineName, contrasts: tuple[str, ...]) -> Engine:
    """An engine for an ONNX graph from ``ct`` to ``mr``.

    Parameters
    ----------
    name : "openvino" or "onnxruntime"

    Raises
    ------
    ConfigError
        If the engine refuses the graph.
    """
    import torch

    start = {"openvino": _openvino, "onnxruntime": _onnxruntime}[name]
    try:
        run = start(model, torch.get_num_threads())
    except Exception as error:  # each engine has its own tree, or none
        raise ConfigError(
            f"engine {name} can't take this model: {_first_line(error)}; choose the engine torch "
            "(in a terminal, --engine torch)"
        ) from error
    return _OnnxEngine(name, contrasts, run)


def _lacks(name: str) -> str | None:
    """The package that an engine needs and that is not installed."""
    needed = ("onnx", name) if name in _EXTRAS else ()
    return next((package for package in needed if find_spec(package) is None), None)


def _onnxruntime(model: bytes, threads: int) -> Callable[[Floats], Floats]:
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    # between two runs its threads sleep, so that resampling and writing have the processor
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(frames: Floats) -> Floats:
        made: Floats = session.run(["mr"], {"ct": frames})[0]
        return made

    return run


def _openvino(model: bytes, threads: int) -> Callable[[Floats], Floats]:
    core = import_openvino().Core()
    settings: dict[str, Any] = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",  # by itself it takes bfloat16 where there is such
    }
    compiled = core.compile_model(core.read_model(model), "CPU", settings)

    def run(frames: Floats) -> Floats:
        made: Floats = compiled(frames, share_inputs=True)["mr"]
        return made

    return run


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1].rstrip(".")
