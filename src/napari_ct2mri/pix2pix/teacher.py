"""Trained generators as a second target: their mean teaches one that is smaller.

Hinton et al. 2015, "Distilling the Knowledge in a Neural Network", here as regression. Where the
real MR is one of many that fit a CT, and lies a pixel or two off, the mean of several
generators is the steadier target; and it has a value in every contrast, where a slice has one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from napari_ct2mri.config import ModelConfig
from napari_ct2mri.errors import ConfigError
from napari_ct2mri.pix2pix.checkpoint import Checkpoint
from napari_ct2mri.pix2pix.engines import load_generator

__all__ = ["Teacher"]


class Teacher:
    """The mean of generators, and of what each makes of the mirrored CT.

    Parameters
    ----------
    checkpoints : by the file each was read from; at least one
    student : ModelConfig
        Its input, scale and contrasts.

    Raises
    ------
    ConfigError
        If a teacher sees a CT otherwise than the student, or lacks one of its contrasts.
    """

    def __init__(
        self, checkpoints: Mapping[Path, Checkpoint], student: ModelConfig, device: torch.device
    ) -> None:
        for path, checkpoint in checkpoints.items():
            _check(path, checkpoint, student)
        self.members = [load_generator(c, device) for c in checkpoints.values()]
        self.channels = [
            [c.contrasts.index(name) for name in student.contrasts] for c in checkpoints.values()
        ]

    @torch.no_grad()
    def __call__(self, ct: Tensor) -> Tensor:
        """(B, C, H, W) to (B, student's contrasts, H, W) in [-1, 1]."""
        seen = [
            (member(ct) + member(ct.flip(-1)).flip(-1))[:, channels]
            for member, channels in zip(self.members, self.channels, strict=True)
        ]
        return torch.stack(seen).mean(dim=0) / 2

    def digest(self) -> str:
        """SHA-256 of all weights."""
        digest = hashlib.sha256()
        for member in self.members:
            for tensor in member.state_dict().values():
                digest.update(tensor.cpu().numpy().tobytes())
        return digest.hexdigest()


def _check(path: Path, checkpoint: Checkpoint, student: ModelConfig) -> None:
    theirs = checkpoint.config.model
    for part in ("input", "scale"):
        asked, taught = getattr(student, part), getattr(theirs, part)
        if asked != taught:
            raise ConfigError(
                f"{path}: this teacher's {part} settings are not the student's ({taught} vs "
                f"{asked}); a teacher must see the same CT"
            )
    if missing := [c for c in student.contrasts if c not in checkpoint.contrasts]:
        raise ConfigError(
            f"{path}: this teacher makes {', '.join(checkpoint.contrasts)}, not "
            f"{', '.join(missing)}; train on what it makes with --contrast"
        )
