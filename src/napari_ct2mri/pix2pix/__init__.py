"""Pairs of CT and MR, the generator that learns them, and synthesis.

Names load on first use, so that asking for a pair list does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "Checkpoint": "checkpoint",
    "load_checkpoint": "checkpoint",
    "read_header": "checkpoint",
    "save_checkpoint": "checkpoint",
    "Discriminator": "networks",
    "Generator": "networks",
    "PairList": "pairs",
    "PairRow": "pairs",
    "read_pairs": "pairs",
    "write_pairs": "pairs",
    "synthesize": "synthesis",
    "TrainResult": "checkpoint",
    "train": "training",
    "DEFAULT_MODEL": "zoo",
    "ModelCard": "zoo",
    "find_model": "zoo",
    "models": "zoo",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
