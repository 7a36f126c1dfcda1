"""What ends a training early, in words a person can act on."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from napari_ct2mri.errors import TrainingError
from napari_ct2mri.pix2pix.state import TrainingState

__all__ = ["Diverged", "errors_in_words"]


class Diverged(Exception):
    """What is no finite number any more."""


@contextmanager
def errors_in_words(output: Path, state: TrainingState) -> Iterator[None]:
    """Say what to do when memory, disk or processes go, or a loss or weight is no number.

    Raises
    ------
    TrainingError
    """
    try:
        yield
    except Diverged as error:
        done = len(state.history)
        kept = (
            f"the weights of epoch {done} are kept in {output}" if done else "nothing was written"
        )
        raise TrainingError(
            f"epoch {done + 1}: {error} became infinite or no number; {kept}. Lower learning_rate "
            "or a loss weight"
        ) from error
    except OSError as error:
        if error.errno != errno.ENOSPC and "No space" not in str(error):
            raise TrainingError(f"{output}: cannot be written: {error}") from error
        raise TrainingError(
            f"{output}: the disk is full; what was saved before is whole. Free some space and "
            "resume the run"
        ) from error
    except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        if _is_lost(error):
            done = len(state.history)
            kept = (
                f"epoch {done} is kept in {output}; --resume goes on, with as many processes as "
                "there are"
                if done
                else "no epoch was finished, so nothing is kept"
            )
            raise TrainingError(f"another process of this training has ended; {kept}") from error
        is_memory = not isinstance(error, RuntimeError) or any(
            word in str(error).lower() for word in ("out of memory", "alloc")
        )
        if not is_memory:
            raise
        config = state.config
        raise TrainingError(
            f"out of memory with batch {config.optimizer.batch}, width "
            f"{config.model.network.width}, frame_px {config.model.scale.frame_px}; lower batch "
            "first, then width"
        ) from error


def _is_lost(error: BaseException) -> bool:
    """Whether the error is that of an exchange with another process which is no more.

    Gloo's have no class of their own.
    """
    text = str(error)
    return isinstance(error, torch.distributed.DistError) or "gloo" in text or "NCCL" in text
