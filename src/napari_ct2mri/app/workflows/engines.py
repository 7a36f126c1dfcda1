"""What runs a model: the fastest engine in float or, if asked for, in 8 bits."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from napari_ct2mri import __version__
from napari_ct2mri.app.workflows.cluster import Place, over
from napari_ct2mri.app.workflows.models import Model, load_model, weights_digest
from napari_ct2mri.disk import cache_folder, whole_file
from napari_ct2mri.errors import ConfigError
from napari_ct2mri.jobs import Job, Notice

if TYPE_CHECKING:
    from napari_ct2mri.pix2pix.checkpoint import Checkpoint
    from napari_ct2mri.pix2pix.engines import Engine, EngineName, Precision

__all__ = ["Engines", "open_model"]


class Engines:
    """Opens engines, each model and contrast once.

    Parameters
    ----------
    engine : EngineName
    precision : "float" or "int8"
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``mps``; int8 computes on the CPU.
    published : bool
        Whether the model shall run as published, which only torch in float can.

    Attributes
    ----------
    device : str
        The one that is meant.

    Raises
    ------
    ConfigError
        If these do not go together, or the engine is not installed.
    """

    def __init__(
        self,
        engine: EngineName = "auto",
        precision: Precision = "float",
        device: str = "auto",
        *,
        published: bool = False,
    ) -> None:
        from torch import device as torch_device

        from napari_ct2mri.pix2pix.engines import pick_engine
        from napari_ct2mri.pix2pix.networks import pick_device

        if published and (engine not in ("auto", "torch") or precision != "float"):
            raise ConfigError(
                "--published draws dropout anew for each slice, which only --engine torch in float "
                "can; leave --engine and --precision out"
            )
        if precision == "int8" and device not in ("auto", "cpu"):
            raise ConfigError(f"--precision int8 computes on the CPU, not on {device}")
        is_whole = precision == "float"
        place = pick_device(device) if is_whole else torch_device("cpu")
        self._name = "torch" if published else pick_engine(engine, place)
        if not is_whole and self._name == "torch":
            is_there = pick_engine("auto", place) != "torch"
            remedy = "leave --engine out" if is_there else "pip install 'napari-ct2mri[openvino]'"
            raise ConfigError(
                f"--precision int8 needs the engine openvino, or onnxruntime: {remedy}"
            )
        self._precision, self.device = precision, place.type
        self._open: dict[tuple[str, str], Engine] = {}

    def __getstate__(self) -> dict[str, object]:
        """Without what is open: the same engine, on the same kind of device, is opened anew."""
        return self.__dict__ | {"_open": {}}

    @property
    def settings(self) -> dict[str, str]:
        """For the manifest."""
        return {"engine": self._name, "precision": self._precision}

    def open(self, model: Checkpoint, contrast: str) -> Job[Engine]:
        """One that makes ``contrast``; in float the same for all contrasts of a model.

        Raises
        ------
        ConfigError, FirmwareError
            If the engine refuses the model, or it has no integer form.
        """
        from napari_ct2mri.pix2pix.engines import open_engine

        is_whole = self._precision == "float"
        key = weights_digest(model), "" if is_whole else contrast
        if key not in self._open:
            if is_whole:
                self._open[key] = open_engine(model, self._name, self.device)
            else:
                self._open[key] = yield from self._open_quantized(model, contrast)
        return self._open[key]

    def _open_quantized(self, model: Checkpoint, contrast: str) -> Job[Engine]:
        """From the user's cache, or calibrated and kept there."""
        from napari_ct2mri.firmware.desktop import quantized_onnx
        from napari_ct2mri.pix2pix.engines import open_onnx

        path = _cached(model, contrast)
        if path.is_file():
            try:
                return open_onnx(path.read_bytes(), self._name, (contrast,))
            except (OSError, ConfigError):
                yield Notice(f"{path}: damaged; the model is quantized anew")
        data = yield from quantized_onnx(model, contrast)
        engine = open_onnx(data, self._name, (contrast,))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as temporary:
                temporary.write_bytes(data)
        except OSError as error:
            yield Notice(f"{path}: could not be kept for next time: {error.strerror}")
        return engine


def open_model(
    model: str | Path | None,
    engine: EngineName,
    precision: Precision,
    device: str,
    place: Place | None,
    *,
    published: bool,
) -> Job[tuple[Model, Engines]]:
    """A model and what runs it; at ``place`` a worker looks, and only it needs torch.

    Raises
    ------
    CheckpointError, ConfigError
        If there is no such model, or the rest does not go together.
    """
    if place is not None and model is not None and Path(model).is_file():
        model = Path(model).absolute()  # the workers are in other folders
    asked = model, engine, precision, device, published
    (opened,) = yield from over(_open_model, [asked], place, what="models")
    return opened


def _open_model(
    asked: tuple[str | Path | None, EngineName, Precision, str, bool],
) -> Job[tuple[Model, Engines]]:
    model, engine, precision, device, published = asked
    yield from ()
    return Model(*load_model(model)), Engines(engine, precision, device, published=published)


def _cached(model: Checkpoint, contrast: str) -> Path:
    from napari_ct2mri.firmware.desktop import RECIPE

    what = f"{weights_digest(model)} {contrast} {RECIPE} {__version__}"
    name = hashlib.sha256(what.encode()).hexdigest()
    return cache_folder() / "int8" / f"{name}.onnx"
