"""A model by its name, and the same one again in another process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_ct2mri.errors import CheckpointError

if TYPE_CHECKING:
    from napari_ct2mri.pix2pix.checkpoint import Checkpoint

__all__ = ["LoadedModel", "load_model", "weights_digest"]


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A checkpoint and what to call it. Pickled it is its name and digest, and loaded anew."""

    name: str
    checkpoint: Checkpoint

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return _load_same, (self.name, _whole_digest(self.checkpoint))


def load_model(model: str | Path | None) -> tuple[str, Checkpoint]:
    """A checkpoint and what to call it: a released model's name, or the file's whole path.

    Raises
    ------
    CheckpointError
        If there is none of that name, or it is damaged.
    """
    from napari_ct2mri.pix2pix.checkpoint import load_checkpoint
    from napari_ct2mri.pix2pix.zoo import DEFAULT_MODEL, find_model, models

    path = find_model(model or DEFAULT_MODEL)
    released = {card.path: card.name for card in models()}
    return released.get(path, str(path.resolve())), load_checkpoint(path)


def weights_digest(model: Checkpoint) -> str:
    """Of weights and settings, SHA-256."""
    import hashlib

    digest = hashlib.sha256(model.config.model.model_dump_json().encode())
    for name, tensor in sorted(model.weights.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def _whole_digest(model: Checkpoint) -> str:
    """Of weights, settings and of what it has seen."""
    return f"{weights_digest(model)} {model.digest}"


def _load_same(name: str, digest: str) -> LoadedModel:
    found, checkpoint = load_model(name)
    if _whole_digest(checkpoint) != digest:
        raise CheckpointError(
            f"{name}: another model lies there than where the command was given; bring the same "
            "file to every machine"
        )
    return LoadedModel(found, checkpoint)
