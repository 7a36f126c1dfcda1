"""What a model makes of a pair list's slices, in the network's own frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from napari_ct2mri.config import ModelConfig
from napari_ct2mri.jobs import run_job
from napari_ct2mri.pix2pix.checkpoint import load_checkpoint, load_weights
from napari_ct2mri.pix2pix.networks import Generator
from napari_ct2mri.pix2pix.pairs import PairList
from napari_ct2mri.pix2pix.slices import SlicePairs, load_slices
from napari_ct2mri.pix2pix.zoo import find_model

_BATCH = 4


@dataclass(frozen=True, slots=True)
class Opened:
    """A model to be asked more than once."""

    path: Path
    config: ModelConfig
    contrasts: tuple[str, ...]
    generator: Generator

    @classmethod
    def of(cls, model: str) -> Opened:
        """Open a file, or a released model by its name."""
        path = find_model(model)
        checkpoint = load_checkpoint(path)
        generator = Generator(checkpoint.config.model).eval()
        load_weights(generator, checkpoint.weights, str(path))
        return cls(path, checkpoint.config.model, checkpoint.contrasts, generator)

    @torch.no_grad()
    def predict(self, pairs: PairList) -> tuple[SlicePairs, Tensor]:
        """The slices, and (n, contrasts, h, w) in [-1, 1] made of their CTs."""
        slices = run_job(load_slices(pairs, self.config), lambda event: None)
        ct = torch.from_numpy(slices.ct.astype(np.float32))
        return slices, torch.cat([self.generator(batch) for batch in ct.split(_BATCH)])
