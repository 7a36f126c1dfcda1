"""Every setting and its default: one frozen tree for flags, forms and checkpoints.

The command line builds its flags and the viewer its rows from the fields below (name, title,
description, bounds); a checkpoint stores the tree as JSON. Leaf names are unique over the
tree, so that ``--width`` needs no path. An unknown key is an error that names it.
"""

from __future__ import annotations

from functools import reduce
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from napari_ct2mri.errors import ConfigError

__all__ = [
    "PRESETS",
    "AugmentConfig",
    "Contrast",
    "InputConfig",
    "LossConfig",
    "ModelConfig",
    "NetworkConfig",
    "OptimizerConfig",
    "Preset",
    "RunConfig",
    "ScaleConfig",
    "TrainConfig",
    "Window",
    "leaf_field",
    "leaf_paths",
    "leaf_text",
    "leaf_value",
    "preset",
]

Contrast = Annotated[str, Field(pattern=r"^[A-Za-z0-9_+-]{1,16}$")]
Preset = Literal["classic", "default"]
T = TypeVar("T", bound="Frozen")


class Frozen(BaseModel):
    """A value: no field can be set, none can be misspelt."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def parse(cls: type[T], data: Any, where: str) -> T:
        """Validate plain data, naming ``where`` it stood and the first key that is wrong."""
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"]) or cls.__name__
            raise ConfigError(f"{where}: setting {key!r}: {_sentence(first['msg'])}") from error


def _sentence(message: str) -> str:
    """Pydantic's message as the end of ours."""
    text = message.removeprefix("Value error, ")
    return text[:1].lower() + text[1:]


class Window(Frozen):
    """A CT window in HU: ``level - width / 2`` shows black, ``level + width / 2`` white."""

    level: float = Field(40.0, ge=-1024, le=4000)
    width: float = Field(80.0, gt=0, le=8000)

    @property
    def low(self) -> float:
        """HU shown black."""
        return self.level - self.width / 2

    @property
    def high(self) -> float:
        """HU shown white."""
        return self.level + self.width / 2


class InputConfig(Frozen):
    """What the generator is given of a CT."""

    windows: tuple[Window, ...] = Field(
        (Window(),),
        min_length=1,
        max_length=8,
        title="CT windows",
        description="One channel each, mapped to [-1, 1]. A model with one window also takes "
        "pictures, which it reads as shown in that window.",
    )
    neighbours: int = Field(
        0, ge=0, le=2, title="Neighbour slices", description="Slices given on each side."
    )

    @property
    def channels(self) -> int:
        """Channels of the generator's input: windows times slices, slice-major."""
        return len(self.windows) * (1 + 2 * self.neighbours)


class ScaleConfig(Frozen):
    """The one size at which a network sees heads."""

    pixel_mm: float = Field(
        0.9375, gt=0.1, le=5, title="Pixel size", description="Of the network's grid, mm."
    )
    head_px: float = Field(
        183.0,
        ge=16,
        le=2048,
        title="Head size",
        description="For pictures, which have no millimetres: the diameter of the disc with "
        "the area of the head's largest slice, network pixels.",
    )
    frame_px: int = Field(
        256, ge=32, le=1024, title="Frame", description="Side of the network's frame, pixels."
    )


class NetworkConfig(Frozen):
    """The U-Net generator (Isola et al. 2017, appendix 6.1; Ronneberger et al. 2015)."""

    width: int = Field(32, ge=4, le=128, title="Filters", description="Of the outermost level.")
    levels: int = Field(
        6, ge=3, le=9, title="Levels", description="Halvings of the frame; 8 is unet_256."
    )
    widest: int = Field(8, ge=1, le=16, title="Widest level", description="In units of filters.")
    norm: Literal["batch", "instance"] = Field(
        "batch", title="Normalisation", description="Only batch norm can be folded for a board."
    )
    dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        title="Dropout",
        description="In decoder blocks of the widest width but the innermost: three at 8 levels.",
    )
    upsampling: Literal["transposed", "resized"] = Field(
        "transposed",
        title="Upsampling",
        description="transposed, as published, leaves a faint checkerboard. resized has none: each "
        "4x4 kernel is kept to what doubling the pixels and a 3x3 would do, at the same cost.",
    )


class LossConfig(Frozen):
    """The generator's loss: a weighted sum of terms. Weight 0 leaves a term out."""

    l1: float = Field(1.0, ge=0, le=1000, title="L1", description="Weight of |fake - real|.")
    l2: float = Field(0.0, ge=0, le=1000, title="L2", description="Weight of (fake - real)^2.")
    ssim: float = Field(0.0, ge=0, le=1000, title="SSIM", description="Weight of 1 - SSIM.")
    gradient: float = Field(
        0.0, ge=0, le=1000, title="Gradient", description="Weight of the L1 of gradients."
    )
    correlation: float = Field(
        0.0,
        ge=0,
        le=1000,
        title="Gradient correlation",
        description="Weight of 1 - the correlation of smoothed gradients.",
    )
    edges: float = Field(
        0.0,
        ge=0,
        le=1000,
        title="Edges",
        description="Weight of (1 - strength of smoothed edges, as part of the real MR's)^2.",
    )
    gan: Literal["bce", "lsgan", "none"] = Field(
        "none", title="Adversary", description="How the PatchGAN judges."
    )
    gan_weight: float = Field(1.0, ge=0, le=1000, title="Adversary's weight")
    teacher_weight: float = Field(
        1.0,
        ge=0,
        le=1000,
        title="Teacher's weight",
        description="Weight of |fake - teacher| in every contrast, where there is one.",
    )
    discriminator_width: int = Field(64, ge=8, le=128, title="Discriminator filters")


class AugmentConfig(Frozen):
    """Random changes to a training pair; 0 leaves one out. Drawn anew at each step."""

    flip: float = Field(0.5, ge=0, le=1, title="Mirror", description="Chance, left to right.")
    crop_from_px: int = Field(
        0,
        ge=0,
        le=1152,
        title="Enlarge and crop",
        description="Scale the frame to this larger side, then crop the frame from it (classic: "
        "286).",
    )
    patch: float = Field(
        1.0,
        ge=0.25,
        le=1,
        title="Patch",
        description="Side of the random window that a step sees, of the frame's; at its middle, "
        "where the head is. The air around it teaches nothing and costs as much.",
    )
    rotate_deg: float = Field(0.0, ge=0, le=45, title="Rotation", description="Up to, degrees.")
    zoom: float = Field(0.0, ge=0, le=0.5, title="Zoom and stretch", description="Up to, fraction.")
    shift_px: float = Field(0.0, ge=0, le=64, title="Shift", description="Up to, pixels.")
    elastic_px: float = Field(
        0.0, ge=0, le=16, title="Elastic", description="Standard deviation of the smooth field, px."
    )
    window_jitter: float = Field(
        0.0,
        ge=0,
        le=0.5,
        title="Window jitter",
        description="CT level and width vary by up to this fraction of the window.",
    )
    gamma: float = Field(0.0, ge=0, le=0.9, title="CT gamma", description="Exponent in 1 +- this.")
    noise: float = Field(
        0.0, ge=0, le=0.5, title="CT noise", description="Largest standard deviation, of [-1, 1]."
    )
    head_rest: float = Field(
        0.0,
        ge=0,
        le=1,
        title="Head rest",
        description="Chance of an arc behind the head, in the CT alone: the MR shows none.",
    )


class OptimizerConfig(Frozen):
    """Adam (Kingma & Ba 2015) and its schedule."""

    learning_rate: float = Field(2e-4, gt=0, le=0.1, title="Learning rate")
    beta1: float = Field(0.5, ge=0, lt=1, title="Adam beta 1")
    batch: int = Field(1, ge=1, le=64, title="Batch", description="Slices a step.")
    epochs: int = Field(100, ge=1, le=10000, title="Epochs", description="In all.")
    decay_epochs: int = Field(
        50,
        ge=0,
        le=10000,
        title="Falling epochs",
        description="The last so many, over which the rate falls linearly to zero.",
    )
    ema: float = Field(
        0.0,
        ge=0,
        lt=1,
        title="Moving average",
        description="Decay a step of the averaged weights that are kept; 0 keeps the last.",
    )
    patience: int = Field(
        0,
        ge=0,
        le=10000,
        title="Patience",
        description="Stop after so many epochs without a better validation; 0 never.",
    )

    @model_validator(mode="after")
    def _decay_fits(self) -> OptimizerConfig:
        if self.decay_epochs > self.epochs:
            raise ValueError(f"{self.decay_epochs} falling epochs, but only {self.epochs} in all")
        return self


class ModelConfig(Frozen):
    """All that synthesis must know of a generator."""

    input: InputConfig = InputConfig()
    scale: ScaleConfig = ScaleConfig()
    network: NetworkConfig = NetworkConfig()
    contrasts: tuple[Contrast, ...] = Field(
        (),
        max_length=16,
        title="Contrasts",
        description="One output channel each. Empty: those of the training rows.",
    )


class RunConfig(Frozen):
    """How a training runs, not what it shall learn."""

    seed: int = Field(0, ge=0, le=2**31 - 1, title="Seed")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "float32",
        title="Precision",
        description="In which both networks compute; weights and losses stay float32. bfloat16 is "
        "faster where the processor has it (AVX-512 BF16, recent GPUs), which auto finds out.",
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", title="Device")
    threads: int = Field(0, ge=0, le=256, title="Threads", description="0: as torch decides.")
    validate_every: int = Field(
        1,
        ge=0,
        le=1000,
        title="Validate every",
        description="Epochs between validations on the selection patients; 0 never looks at "
        "them, so that they stay held-out.",
    )


class TrainConfig(Frozen):
    """A whole training."""

    preset: Preset = "default"
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    augment: AugmentConfig = AugmentConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    run: RunConfig = RunConfig()


_CLASSIC = TrainConfig(
    preset="classic",
    model=ModelConfig(network=NetworkConfig(width=64, levels=8, dropout=0.5)),
    loss=LossConfig(l1=100.0, gan="bce"),
    augment=AugmentConfig(crop_from_px=286),
    optimizer=OptimizerConfig(epochs=200, decay_epochs=100),
)
"""The defaults of the authors' PyTorch implementation (Isola et al. 2017)."""

_DEFAULT = TrainConfig(
    preset="default",
    model=ModelConfig(network=NetworkConfig(upsampling="resized")),
    loss=LossConfig(l1=0.0, l2=2.0, ssim=0.5, correlation=1.0, edges=1.0),
    augment=AugmentConfig(
        patch=0.75,
        rotate_deg=12,
        zoom=0.12,
        shift_px=8,
        elastic_px=3,
        window_jitter=0.15,
        gamma=0.2,
        noise=0.1,
        head_rest=0.5,
    ),
    optimizer=OptimizerConfig(
        learning_rate=7e-4, beta1=0.9, batch=2, epochs=24, decay_epochs=20, ema=0.998
    ),
    run=RunConfig(precision="auto"),
)

PRESETS: dict[Preset, TrainConfig] = {"classic": _CLASSIC, "default": _DEFAULT}


def preset(name: Preset, **leaves: Any) -> TrainConfig:
    """A preset with some leaves changed by their unique names.

    Raises
    ------
    ConfigError
        If a leaf does not exist or its value is out of bounds.

    Examples
    --------
    >>> preset("default", width=16, epochs=40).model.network.width
    16
    """
    if name not in PRESETS:
        raise ConfigError(f"preset {name!r} does not exist; choose one of {', '.join(PRESETS)}")
    tree = PRESETS[name].model_dump()
    paths = dict(leaf_paths(TrainConfig))
    for leaf, value in leaves.items():
        if leaf not in paths:
            raise ConfigError(f"there is no setting {leaf!r}; there are {', '.join(sorted(paths))}")
        *parents, last = paths[leaf]
        node = tree
        for parent in parents:
            node = node[parent]
        node[last] = value
    return TrainConfig.parse(tree, f"preset {name}")


def leaf_paths(model: type[Frozen]) -> list[tuple[str, tuple[str, ...]]]:
    """``(leaf name, path in the tree)`` of every field that is not itself a settings group."""
    found: list[tuple[str, tuple[str, ...]]] = []
    for name, info in model.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, Frozen):
            found += [(leaf, (name, *path)) for leaf, path in leaf_paths(kind)]
        else:
            found.append((name, (name,)))
    return found


def leaf_field(path: tuple[str, ...]) -> FieldInfo:
    """Title, description, bounds and kind of the setting at ``path`` in :class:`TrainConfig`."""
    *parents, last = path
    group: type[Frozen] = TrainConfig
    for parent in parents:
        group = group.model_fields[parent].annotation  # type: ignore[assignment]
    return group.model_fields[last]


def leaf_value(config: Frozen, path: tuple[str, ...]) -> Any:
    """What a config says at ``path``."""
    return reduce(getattr, path, config)


def leaf_text(value: Any) -> str:
    """A setting's value as a person types it: windows as ``LEVEL/WIDTH``, lists with blanks."""
    if isinstance(value, tuple):
        return " ".join(leaf_text(item) for item in value)
    if isinstance(value, Window):
        return f"{value.level:g}/{value.width:g}"
    return f"{value:g}" if isinstance(value, float) else str(value)
