"""The header of the file that a training leaves beside its checkpoint, to go on from. No torch."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from napari_ct2mri.config import Frozen, TrainConfig
from napari_ct2mri.errors import CheckpointError
from napari_ct2mri.pix2pix.checkpoint import FORMAT, EpochRecord, parse_header

__all__ = ["StateHeader", "read_state", "state_path"]


class StateHeader(Frozen):
    """The JSON in a state file."""

    format: int = FORMAT
    config: TrainConfig
    data: str = Field(description="Digest of what is learnt from.")
    contrast: str | None = Field(None, description="The only one of the pair list's, if one was.")
    history: tuple[EpochRecord, ...] = ()
    best_epoch: int = 0
    best_score: float | None = None


def state_path(checkpoint: Path) -> Path:
    """The state file that belongs to a checkpoint."""
    return checkpoint.with_name(checkpoint.name + ".state")


def read_state(checkpoint: Path) -> StateHeader:
    """What the state beside a checkpoint says of the run that made both.

    Raises
    ------
    CheckpointError
        If there is none, or it is damaged.
    """
    path = state_path(checkpoint)
    if not path.is_file():
        raise CheckpointError(
            f"{path}: is not there, so there is nothing to resume from; a training leaves it "
            "beside the model with each finished epoch. Put it back, or train anew (in a terminal, "
            "without --resume)"
        )
    return parse_header(path, StateHeader)
