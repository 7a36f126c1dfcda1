"""Trainings that take a second."""

from collections.abc import Callable
from pathlib import Path

import torch

from napari_ct2mri.config import TrainConfig, preset
from napari_ct2mri.jobs import Event, run_job
from napari_ct2mri.pix2pix.checkpoint import TrainResult, load_checkpoint
from napari_ct2mri.pix2pix.pairs import read_pairs
from napari_ct2mri.pix2pix.training import train

MakePairs = Callable[..., Path]
SMALL = {
    "width": 8,
    "levels": 3,
    "frame_px": 64,
    "head_px": 46,
    "batch": 2,
    "epochs": 4,
    "decay_epochs": 2,
    "discriminator_width": 8,
    "threads": 1,
    "device": "cpu",
}


def small(name: str = "default", **leaves: object) -> TrainConfig:
    return preset(name, **{**SMALL, **leaves})


def train_on(
    path: Path, output: Path, config: TrainConfig | None, **options: object
) -> tuple[TrainResult, list[Event]]:
    events: list[Event] = []
    return run_job(train(read_pairs(path), output, config, **options), events.append), events


def weights_of(path: Path) -> torch.Tensor:
    weights = load_checkpoint(path).weights
    return torch.cat([weights[name].double().ravel() for name in sorted(weights)])
