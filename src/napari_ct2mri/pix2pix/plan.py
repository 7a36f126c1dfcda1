"""What is settled before the first epoch: rows, network, header; and what forbids to start."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import reduce
from pathlib import Path

import torch
from torch import Tensor

from napari_ct2mri.config import PRESETS, ModelConfig, TrainConfig, leaf_paths
from napari_ct2mri.errors import ConfigError, PairError
from napari_ct2mri.imaging.fingerprint import Fingerprint, seen
from napari_ct2mri.pix2pix.checkpoint import Checkpoint, Header
from napari_ct2mri.pix2pix.pairs import PairList
from napari_ct2mri.pix2pix.slices import SlicePairs

__all__ = [
    "check_disjoint",
    "check_output",
    "check_same",
    "data_digest",
    "first_header",
    "split_rows",
    "with_contrasts",
    "with_heads",
    "with_model",
]


def check_output(output: Path, pairs: PairList) -> None:
    """Refuse to write a checkpoint over anything that is not one."""
    if output.suffix != ".safetensors":
        raise ConfigError(f"{output}: a checkpoint's name ends in .safetensors; add that")
    if output.is_dir():
        raise ConfigError(f"{output}: is a folder; give the name of a file to write")
    if not output.absolute().parent.is_dir():
        raise ConfigError(f"{output}: its folder does not exist; make it first")
    if not os.access(output.absolute().parent, os.W_OK):
        raise ConfigError(f"{output}: its folder cannot be written to; choose another")
    used = {pairs.path, *(file for row in pairs.rows for file in (row.ct, row.mr))}
    if output.exists() and output.resolve() in {file.resolve() for file in used}:
        raise ConfigError(f"{output}: is one of the files to train on; choose another name")


def split_rows(
    pairs: PairList, contrast: str | None, config: TrainConfig
) -> tuple[PairList, PairList]:
    """Rows to train on, and rows that choose the epoch (none if nothing is validated)."""
    train_rows = pairs.where("train", contrast)
    if not train_rows.rows:
        of = f" of contrast {contrast!r}" if contrast else ""
        raise PairError(
            f"{pairs.path}: no train rows{of}; its contrasts are {', '.join(pairs.contrasts)}"
        )
    val_rows = pairs.where("val", contrast)
    known = train_rows.contrasts
    kept = tuple(row for row in val_rows.rows if row.contrast in known)
    return train_rows, PairList(pairs.path, kept if config.run.validate_every else ())


def with_model(
    config: TrainConfig, contrasts: tuple[str, ...], before: Checkpoint | None
) -> TrainConfig:
    """The config with its contrasts, on the network of the model it starts from."""
    model = config.model
    known = model.contrasts
    if before:
        free = {"contrasts": ()}
        asked = model.model_copy(update=free)
        theirs = before.config.model.model_copy(update=free)
        if asked not in (theirs, PRESETS[config.preset].model):
            raise ConfigError(
                "the model to start from fixes network, input and scale; leave those settings out"
            )
        model, known = before.config.model, before.contrasts
    elif untaught := [c for c in known if c not in contrasts]:
        raise ConfigError(
            f"no train rows show {', '.join(untaught)}, so that nobody would teach it; the rows "
            f"have {', '.join(contrasts)}"
        )
    wanted = (*known, *(c for c in contrasts if c not in known))
    config = with_contrasts(config.model_copy(update={"model": model}), wanted)
    _check_settings(config)
    return config


def _check_settings(config: TrainConfig) -> None:
    """Refuse settings that are fine one by one but not together."""
    side, step = config.model.scale.frame_px, 2**config.model.network.levels
    if side % step:
        raise ConfigError(
            f"frame_px {side} is not a multiple of 2^levels = {step}; choose "
            f"{-(-side // step) * step} or fewer levels"
        )
    if 0 < config.augment.crop_from_px <= side:
        raise ConfigError(
            f"crop_from_px {config.augment.crop_from_px} is not larger than frame_px {side}, so "
            "there is nothing to crop; choose more, or 0 for no cropping"
        )
    loss = config.loss
    supervised = (loss.l1, loss.l2, loss.ssim, loss.gradient, loss.correlation, loss.edges)
    if not (any(supervised) or (loss.gan != "none" and loss.gan_weight)):
        raise ConfigError(
            "every weight of the loss is 0; give l1, l2, ssim, gradient, correlation, "
            "edges or gan a weight"
        )


def with_contrasts(config: TrainConfig, contrasts: tuple[str, ...]) -> TrainConfig:
    """The config of a model that makes ``contrasts``."""
    model = ModelConfig.parse({**config.model.model_dump(), "contrasts": contrasts}, "model")
    return config.model_copy(update={"model": model})


def check_disjoint(slices: SlicePairs, held_out: SlicePairs | None) -> None:
    """Refuse a CT slice that stands in both, changed as ``fingerprint.py`` says, under any name."""
    if held_out is None:
        return
    known = slices.fingerprints
    if count := int((seen(held_out.fingerprints, known) | seen(held_out.mirrored, known)).sum()):
        raise PairError(
            f"{count} CT slices of the val rows are slices of the train rows under another "
            "patient's name; give them one patient and one split"
        )


def check_same(asked: TrainConfig, stored: TrainConfig) -> None:
    """Name the first setting in which a resumed run would differ."""
    for leaf, path in leaf_paths(TrainConfig):
        a, b = (reduce(getattr, path, config) for config in (asked, stored))
        if a != b and leaf not in ("device", "threads"):
            raise ConfigError(
                f"--resume goes on with the settings of the run, where {leaf} was {b}, not {a}; "
                "leave the flags as they were, or train anew"
            )


def first_header(
    config: TrainConfig,
    slices: SlicePairs,
    held_out: SlicePairs | None,
    ancestors: Sequence[Checkpoint],
) -> Header:
    """The part of the checkpoint's header that does not change from epoch to epoch.

    What its ancestors have seen, the model it starts from and its teachers, it has seen too.
    """

    def with_theirs(own: tuple[Fingerprint, ...], name: str) -> tuple[tuple[str, str], ...]:
        theirs = [entry for a in ancestors for entry in getattr(a.header, name)]
        return tuple(dict.fromkeys((*theirs, *((f.sha256, f.dhash) for f in own))))

    return Header(
        config=config,
        trained_on=with_theirs(slices.fingerprints, "trained_on"),
        selected_on=with_theirs(held_out.fingerprints if held_out else (), "selected_on"),
    )


def with_heads(checkpoint: Checkpoint, contrasts: tuple[str, ...]) -> dict[str, Tensor]:
    """Weights with one output channel per contrast; new ones start as the mean of the old."""
    weights = dict(checkpoint.weights)
    known = checkpoint.contrasts
    for name, axis in (("up.0.conv.weight", 1), ("up.0.conv.bias", 0)):
        old = weights[name]
        mean = old.mean(dim=axis, keepdim=True)
        weights[name] = torch.cat(
            [old.narrow(axis, known.index(c), 1) if c in known else mean for c in contrasts],
            dim=axis,
        )
    return weights


def data_digest(slices: SlicePairs, teacher: str = "") -> str:
    """One SHA-256 for all that is learnt from: CT, MR and contrast in order, a teacher's own."""
    digest = hashlib.sha256("".join(f.sha256 for f in slices.fingerprints).encode())
    digest.update(slices.mr.tobytes())
    digest.update(slices.contrast.tobytes())
    digest.update(teacher.encode())
    return digest.hexdigest()
