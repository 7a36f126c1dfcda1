"""A model by its name, and the same one again in another process."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from napari_ct2mri.errors import CheckpointError

if TYPE_CHECKING:
    from napari_ct2mri.pix2pix.checkpoint import Checkpoint

__all__ = ["Model", "load_model", "weights_digest"]


class Model:
    """A checkpoint and what to call it. Pickled, its weights stay behind, to be loaded anew.

    Attributes
    ----------
    name : str
        A released model's, or the file's whole path.
    contrasts : tuple of str
    digest : str
        SHA-256 over the lists of what it has seen.
    """

    def __init__(self, name: str, checkpoint: Checkpoint) -> None:
        self.name, self.contrasts, self.digest = name, checkpoint.contrasts, checkpoint.digest
        self._weights = ""  # their digest, once it is needed
        self._checkpoint: Checkpoint | None = checkpoint

    def __getstate__(self) -> dict[str, object]:
        if self._checkpoint is not None and not self._weights:
            self._weights = weights_digest(self._checkpoint)
        return self.__dict__ | {"_checkpoint": None}

    @property
    def checkpoint(self) -> Checkpoint:
        """The whole; in another process it is loaded when it is first asked for.

        Raises
        ------
        CheckpointError
            If another model lies there.
        """
        if self._checkpoint is None:
            _, found = load_model(self.name)
            if (weights_digest(found), found.digest) != (self._weights, self.digest):
                raise CheckpointError(
                    f"{self.name}: another model lies there than where it was first read; bring "
                    "the same file to every machine"
                )
            self._checkpoint = found
        return self._checkpoint


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
    digest = hashlib.sha256(model.config.model.model_dump_json().encode())
    for name, tensor in sorted(model.weights.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().numpy().tobytes())
    return digest.hexdigest()
