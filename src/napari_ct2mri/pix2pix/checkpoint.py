"""A generator on disk: one safetensors file whose header says all that must be known of it.

The header's ``__metadata__`` holds one key, ``ct2mri``, with the JSON of :class:`Header`. Weights
are safetensors, never pickle. A file is written to a temporary name, synced and renamed, so
that a full disk or a crash leaves the former one whole. No patient data: of the training slices
it keeps a SHA-256 and a difference hash, by which an evaluation finds out whether it flatters.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import Field

from napari_ct2mri.config import Frozen, TrainConfig
from napari_ct2mri.disk import parse_json, whole_file
from napari_ct2mri.errors import CheckpointError, ConfigError, Ct2MriError
from napari_ct2mri.imaging.fingerprint import Fingerprint

if TYPE_CHECKING:  # a header is read without torch: the viewer lists models
    from torch import Tensor
    from torch.nn import Module

__all__ = [
    "SCORE",
    "Checkpoint",
    "EpochRecord",
    "Header",
    "TrainResult",
    "load_checkpoint",
    "load_weights",
    "parse_header",
    "read_header",
    "read_tensors",
    "save_checkpoint",
    "write_tensors",
]

F = TypeVar("F", bound=Frozen)
FORMAT = 1
_KEY = "ct2mri"
_MAX_HEADER_BYTES = 64 * 2**20
_HEADER_LENGTH = struct.Struct("<Q")  # safetensors: little-endian u64, then the JSON header
assert _HEADER_LENGTH.size == 8


SCORE = "ssim"
"""The figure of validation that chooses the best epoch: structure, which no change of gain buys."""


class EpochRecord(Frozen):
    """What one epoch of training came to."""

    epoch: int = Field(ge=0)
    losses: dict[str, float]
    validation: dict[str, float] = Field(default_factory=dict)
    cpu_seconds: float = Field(0.0, ge=0)


class Header(Frozen):
    """The JSON in a checkpoint."""

    format: int = FORMAT
    config: TrainConfig
    epochs: int = Field(0, ge=0, description="Epochs that made these weights.")
    history: tuple[EpochRecord, ...] = ()
    trained_on: tuple[tuple[str, str], ...] = Field(
        (), description="SHA-256 and difference hash of each slice it was trained on."
    )
    selected_on: tuple[tuple[str, str], ...] = Field(
        (), description="The same for each slice that chose its best epoch."
    )

    @property
    def fingerprints(self) -> tuple[tuple[Fingerprint, ...], tuple[Fingerprint, ...]]:
        """Of slices it, or what it started from, was trained on; of those that chose an epoch."""
        trained, selected = (
            tuple(Fingerprint(*pair) for pair in pairs)
            for pairs in (self.trained_on, self.selected_on)
        )
        return trained, selected


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A header and the generator's weights by name."""

    header: Header
    weights: Mapping[str, Tensor]

    @property
    def config(self) -> TrainConfig:
        """The training that made it."""
        return self.header.config

    @property
    def contrasts(self) -> tuple[str, ...]:
        """Contrasts of the output channels, in order."""
        return self.config.model.contrasts

    @property
    def trained_on(self) -> tuple[Fingerprint, ...]:
        """Every slice the weights, or those they started from, were trained on."""
        return self.header.fingerprints[0]

    @property
    def selected_on(self) -> tuple[Fingerprint, ...]:
        """Every slice that chose an epoch."""
        return self.header.fingerprints[1]

    @property
    def digest(self) -> str:
        """SHA-256 over both lists of fingerprints: who this model has seen."""
        seen = json.dumps([self.header.trained_on, self.header.selected_on])
        return hashlib.sha256(seen.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class TrainResult:
    """Where a trained model is and how it came to be.

    ``epoch`` made the kept weights, of ``epochs`` that ran; ``stopped`` is empty or says why
    fewer ran than were asked for.
    """

    path: Path
    epoch: int
    epochs: int
    validation: Mapping[str, float]
    stopped: str = ""


def save_checkpoint(path: str | Path, checkpoint: Checkpoint, *, half: bool = False) -> None:
    """Write ``checkpoint``; with ``half``, floating weights as 16-bit numbers.

    Raises
    ------
    OSError
        If it cannot be written; the former file, if any, is whole.
    """
    weights = {
        name: (w.half() if half and w.is_floating_point() else w).detach().cpu().contiguous()
        for name, w in checkpoint.weights.items()
    }
    write_tensors(path, weights, checkpoint.header.model_dump_json())


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint; weights come as 32-bit numbers on the CPU.

    Raises
    ------
    CheckpointError
        If the file is missing, a pickle, cut, of another version, or has an unknown field.
    """
    header = read_header(path)
    weights = {
        name: w.float() if w.is_floating_point() else w for name, w in read_tensors(path).items()
    }
    _check_weights(header, weights, path)
    return Checkpoint(header, weights)


def _check_weights(header: Header, weights: Mapping[str, Tensor], path: str | Path) -> None:
    """Compare names and shapes before any memory is taken for the network the header names."""
    import torch

    from napari_ct2mri.pix2pix.networks import Generator

    if not header.config.model.contrasts:
        raise CheckpointError(f"{path}: names no contrast, so it was never trained")
    with torch.device("meta"):
        expected = {n: w.shape for n, w in Generator(header.config.model).state_dict().items()}
    found = {name: weight.shape for name, weight in weights.items()}
    if odd := sorted(expected.items() ^ found.items()):
        raise CheckpointError(
            f"{path}: its weights do not fit the network in its header, first at {odd[0][0]}"
        )
    if bad := [n for n, w in weights.items() if not torch.isfinite(w).all()]:
        raise CheckpointError(f"{path}: {bad[0]} holds NaN or infinity; train anew")


def read_header(path: str | Path) -> Header:
    """Read only the header: what the model is, without its weights."""
    return parse_header(path, Header)


def parse_header(path: str | Path, kind: type[F]) -> F:
    """Read the JSON header of a file of this project as ``kind``."""
    text = _metadata(Path(path)).get(_KEY)
    if not isinstance(text, str):
        raise CheckpointError(f"{path}: safetensors, but not a checkpoint of napari-ct2mri")
    try:
        data = parse_json(text)
        if isinstance(data, dict) and data.get("format") != FORMAT:
            raise CheckpointError(
                f"{path}: format {data.get('format')}, but this version reads format {FORMAT}"
            )
        return kind.parse(data, str(path))
    except (ValueError, ConfigError) as error:
        raise CheckpointError(f"{path}: damaged or of another version: {error}") from error


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], header: str) -> None:
    """Write tensors and a JSON header in one step that succeeds whole or not at all."""
    from safetensors.torch import save_file

    try:
        with whole_file(Path(path)) as temporary:
            temporary.touch()
            mode = temporary.stat().st_mode  # as the umask says; safetensors makes files private
            save_file(dict(tensors), temporary, metadata={_KEY: header})
            temporary.chmod(mode)
    except (OSError, Ct2MriError):
        raise
    except Exception as error:  # safetensors has its own tree
        raise OSError(f"{path}: could not be written: {error}") from error


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Read all tensors of a safetensors file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    _metadata(Path(path))  # says in words what is wrong with a file that is none
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: is cut or damaged ({error}); copy it again or train anew"
        ) from error


def load_weights(module: Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Put ``weights`` into ``module``; names and shapes must agree."""
    try:
        module.load_state_dict(dict(weights))
    except RuntimeError as error:
        line = str(error).splitlines()[-1].strip()
        raise CheckpointError(
            f"{where}: weights do not fit the configured network: {line}"
        ) from error


def _metadata(path: Path) -> dict[str, Any]:
    """The safetensors header's metadata, read without trusting any length in it."""
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint; `ct2mri models` lists what there is")
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(_HEADER_LENGTH.size)
        is_json = file.read(1) == b"{"  # the length before it may start with any byte
        if not is_json and (start[:1] == b"\x80" or start[:2] == b"PK"):
            raise CheckpointError(
                f"{path}: is a pickle, which can run code; expected safetensors. Convert it where "
                "you trust it"
            )
        file.seek(_HEADER_LENGTH.size)
        if len(start) < _HEADER_LENGTH.size:
            raise CheckpointError(f"{path}: {size} bytes are too few for a checkpoint; is it cut?")
        (length,) = _HEADER_LENGTH.unpack(start)
        if length > min(size - _HEADER_LENGTH.size, _MAX_HEADER_BYTES):
            raise CheckpointError(
                f"{path}: header of {length} bytes in a file of {size}; expected a whole "
                "safetensors file, this one is cut or of another kind"
            )
        raw = file.read(length)
    try:
        header = parse_json(raw)
        metadata = header.get("__metadata__", {})
    except (ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: its header is not JSON; expected safetensors") from error
    return metadata if isinstance(metadata, dict) else {}
