"""What is settled before the first epoch: rows, network, header; and what forbids to start."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from napari_ct2mri.config import PRESETS, ModelConfig, TrainConfig
from napari_ct2mri.errors import ConfigError, PairError
from napari_ct2mri.imaging.fingerprint import Fingerprint
from napari_ct2mri.pix2pix.checkpoint import Checkpoint, Header
from napari_ct2mri.pix2pix.pairs import PairList
from napari_ct2mri.pix2pix.slices import SlicePairs

__all__ = [
    "check_disjoint",
    "check_same",
    "data_digest",
    "first_header",
    "split_rows",
    "with_contrasts",
    "with_heads",
    "with_model",
]


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
    wanted = (*known, *(c for c in contrasts if c not in known))
    side, step = model.scale.frame_px, 2**model.network.levels
    if side % step:
        raise ConfigError(
            f"frame_px {side} is not a multiple of 2^levels = {step}; choose "
            f"{-(-side // step) * step} or fewer levels"
        )
    return with_contrasts(config.model_copy(update={"model": model}), wanted)


def with_contrasts(config: TrainConfig, contrasts: tuple[str, ...]) -> TrainConfig:
    """The config of a model that makes ``contrasts``."""
    model = ModelConfig.parse({**config.model.model_dump(), "contrasts": contrasts}, "model")
    return config.model_copy(update={"model": model})


def check_disjoint(slices: SlicePairs, held_out: SlicePairs | None) -> None:
    """Refuse a CT slice that stands in both, whatever its patient is called."""
    if held_out is None:
        return
    known = {f.sha256 for f in slices.fingerprints}
    if any(f.sha256 in known for f in held_out.fingerprints):
        raise PairError(
            "a CT slice of the val rows is, pixel for pixel, one of the train rows under another "
            "patient's name; give both rows one patient and one split"
        )


def check_same(asked: TrainConfig, stored: TrainConfig) -> None:
    """Name the first setting in which a resumed run would differ."""
    a, b = asked.model_dump(exclude={"run"}), stored.model_dump(exclude={"run"})
    for group in a:
        if a[group] != b[group]:
            raise ConfigError(
                f"--resume goes on with the settings of the run, but {group} differs: "
                f"{a[group]} vs {b[group]}; leave the flags as they were, or train anew"
            )
    if asked.run.seed != stored.run.seed:
        raise ConfigError(f"--resume needs the run's seed {stored.run.seed}")


def first_header(
    config: TrainConfig,
    slices: SlicePairs,
    held_out: SlicePairs | None,
    before: Checkpoint | None,
) -> Header:
    """The part of the checkpoint's header that does not change from epoch to epoch."""

    def merge(
        own: tuple[Fingerprint, ...], before: tuple[tuple[str, str], ...]
    ) -> tuple[tuple[str, str], ...]:
        return tuple(dict.fromkeys((*before, *((f.sha256, f.dhash) for f in own))))

    return Header(
        config=config,
        trained_on=merge(slices.fingerprints, before.header.trained_on if before else ()),
        selected_on=merge(
            held_out.fingerprints if held_out else (),
            before.header.selected_on if before else (),
        ),
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


def data_digest(slices: SlicePairs) -> str:
    """One SHA-256 for all slices, in order."""
    text = "".join(f.sha256 for f in slices.fingerprints)
    return hashlib.sha256(text.encode()).hexdigest()
