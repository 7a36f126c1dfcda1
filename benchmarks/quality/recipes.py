"""What is trained: a preset with some settings changed, under a name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any, Literal

from pydantic import Field

from napari_ct2mri.app.flags import config_from_flags
from napari_ct2mri.config import AugmentConfig, Frozen, Preset, TrainConfig, leaf_paths

__all__ = ["RECIPES", "Recipe", "difference"]


class Recipe(Frozen):
    """One way to train.

    ``leaves`` are the settings in which it differs from its preset; ``base`` names the recipe that
    it changes, to be compared with. A recipe on equal time gets as many epochs as fit into the CPU
    time that ``default`` took under the same protocol.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,40}$")
    preset: Preset = "default"
    leaves: dict[str, Any] = Field(default_factory=dict)
    base: str = ""
    one_contrast: bool = Field(False, description="A network for each contrast, not one for all.")
    equal_time: Literal["never", "folds", "always"] = "never"
    is_checkpoint: bool = Field(False, description="A model from elsewhere, only scored here.")

    def changed(self, name: str, leaves: Mapping[str, Any]) -> Recipe:
        """Change some settings, under a name; the result is compared with this one."""
        update = {"name": name, "base": self.name, "leaves": {**self.leaves, **leaves}}
        return Recipe.parse({**self.model_dump(), **update}, f"recipe {name}")

    def on_equal_time(self, protocol: str) -> bool:
        """Whether its epochs follow from the time that ``default`` took."""
        if self.equal_time == "folds":
            return protocol.startswith("cv-")
        return self.equal_time == "always"

    def config(
        self, seed: int, threads: int = 1, *, reduced: bool = False, epochs: int | None = None
    ) -> TrainConfig:
        """All settings of a training that never looks at anybody but those it learns from.

        Parameters
        ----------
        reduced : bool
            A network so small, on frames so coarse, that it trains in seconds.
        epochs : int, optional
            Instead of its own number; the falling epochs follow in proportion.
        """
        run = {"seed": seed, "threads": threads, "validate_every": 0, "device": "cpu"}
        small = _REDUCED | (_REDUCED_CLASSIC if self.preset == "classic" else {}) if reduced else {}
        wanted = {"epochs": epochs} if epochs else {}
        return config_from_flags(self.preset, {**self.leaves, **small, **wanted, **run})


_REDUCED = {
    **{"width": 4, "levels": 4, "frame_px": 64, "pixel_mm": 3.75, "head_px": 45.75},
    **{"shift_px": 2, "elastic_px": 1, "batch": 2, "epochs": 2, "decay_epochs": 1},
}
_REDUCED_CLASSIC = {"crop_from_px": 72, "discriminator_width": 8, "shift_px": 0, "elastic_px": 0}

_STILL = {name: 1 if name == "patch" else 0 for name in AugmentConfig.model_fields}

_BUILT_IN = (
    Recipe(name="default"),
    Recipe(
        name="classic-32",
        preset="classic",
        leaves={"width": 32, "discriminator_width": 32},
        one_contrast=True,
        equal_time="folds",
    ),
    Recipe(
        name="classic-64",
        preset="classic",
        one_contrast=True,
        equal_time="always",
    ),
    # learns its pairs by heart: no chance in them, nothing but pixels to get right; each image its
    # own statistics, since a batch's do not give back to the decibel what was learnt with one's own
    Recipe(
        name="by-heart",
        leaves={
            **_STILL,
            **{"epochs": 300, "decay_epochs": 255, "batch": 1},
            **{"norm": "instance", "upsampling": "transposed"},
            **{"correlation": 0, "edges": 0},
        },
        one_contrast=True,
    ),
)

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in _BUILT_IN}


def difference(asked: TrainConfig, found: TrainConfig, *, but: frozenset[str] = frozenset()) -> str:
    """The first setting in which two trainings differ, in words; empty if they do not.

    ``but`` are leaves that may; where and with how many threads something ran never matters, and
    the contrasts follow from the rows.
    """
    for leaf, path in leaf_paths(TrainConfig):
        a, b = (reduce(getattr, path, config) for config in (asked, found))
        if a != b and leaf not in but | {"device", "threads", "contrasts"}:
            return f"{leaf} {b}, not {a}"
    return ""
