"""All that a training carries from one epoch to the next, and its file beside the checkpoint."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from napari_ct2mri.config import OptimizerConfig, TrainConfig
from napari_ct2mri.errors import CheckpointError
from napari_ct2mri.pix2pix.checkpoint import (
    EpochRecord,
    load_weights,
    parse_header,
    read_tensors,
    write_tensors,
)
from napari_ct2mri.pix2pix.networks import Discriminator, Generator
from napari_ct2mri.pix2pix.state_file import StateHeader

__all__ = ["TrainingState"]

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what Adam keeps of each parameter


@dataclass(slots=True)
class TrainingState:
    """Networks, optimizers and history of a running training.

    ``average`` is the moving average of ``generator``, or the generator itself where the
    config has none; it is what checkpoints keep and figures judge.
    """

    config: TrainConfig
    data: str
    generator: Generator
    average: Generator
    optimizer: torch.optim.Adam
    discriminator: Discriminator | None = None
    discriminator_optimizer: torch.optim.Adam | None = None
    history: tuple[EpochRecord, ...] = ()
    best_epoch: int = 0
    best_score: float | None = None
    contrast: str | None = None  # the only one of the pair list's that is learnt, if one is

    @classmethod
    def fresh(cls, config: TrainConfig, data: str, device: torch.device) -> TrainingState:
        """A state before the first epoch, its weights drawn from the seed."""
        torch.manual_seed(config.run.seed)
        model = config.model
        generator = Generator(model).to(device)
        generator.constrain()
        state = cls(
            config,
            data,
            generator,
            copy.deepcopy(generator) if config.optimizer.ema else generator,
            _adam(generator, config.optimizer),
        )
        if config.loss.gan != "none":
            planes = len(model.contrasts) if len(model.contrasts) > 1 else 0
            inputs = model.input.channels + planes + 1
            state.discriminator = Discriminator(inputs, config.loss.discriminator_width).to(device)
            state.discriminator_optimizer = _adam(state.discriminator, config.optimizer)
        return state

    def start_from(self, weights: Mapping[str, Tensor], where: str) -> None:
        """Take the generator's weights from elsewhere."""
        load_weights(self.generator, weights, where)
        if self.average is not self.generator:
            load_weights(self.average, weights, where)

    def is_best(self, score: float | None) -> bool:
        """Whether a validation's score beats all before it."""
        return score is not None and (self.best_score is None or score > self.best_score)

    def is_finite(self) -> bool:
        """Whether every number that would be saved is one."""
        tensors = (t for _, module in self._modules() for t in module.state_dict().values())
        return all(bool(torch.isfinite(t).all()) for t in tensors)

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of both optimizers."""
        for optimizer in (self.optimizer, self.discriminator_optimizer):
            for group in optimizer.param_groups if optimizer else ():
                group["lr"] = rate

    @torch.no_grad()
    def update_average(self, step: int) -> None:
        """Move the average towards the generator; faster in the first steps."""
        if self.average is self.generator:
            return
        keep = min(self.config.optimizer.ema, (1 + step) / (10 + step))
        source = self.generator.state_dict()
        for name, value in self.average.state_dict().items():
            if value.is_floating_point():
                value.lerp_(source[name], 1 - keep)
            else:
                value.copy_(source[name])

    def save(self, path: Path) -> None:
        """Write everything a resumed run needs; the former file stays whole on failure."""
        header = StateHeader(
            config=self.config,
            data=self.data,
            history=self.history,
            best_epoch=self.best_epoch,
            best_score=self.best_score,
            contrast=self.contrast,
        )
        write_tensors(path, dict(self._tensors()), header.model_dump_json())

    @classmethod
    def load(cls, path: Path, data: str, device: torch.device) -> TrainingState:
        """Read a state; ``data`` must be the digest of what it learnt from."""
        header = parse_header(path, StateHeader)
        if header.data != data:
            raise CheckpointError(
                f"{path}: was trained on other slices than the pair list holds now, or by other "
                "teachers; restore them, or train anew (in a terminal, without --resume)"
            )
        state = cls.fresh(header.config, data, device)
        tensors = read_tensors(path)
        for name, module in state._modules():
            prefix = f"{name}."
            own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            load_weights(module, own, str(path))
        for name, optimizer in state._optimizers():
            _restore(optimizer, name, tensors, path)
        state.history = header.history
        state.best_epoch, state.best_score = header.best_epoch, header.best_score
        state.contrast = header.contrast
        return state

    def _modules(self) -> Iterator[tuple[str, nn.Module]]:
        yield "generator", self.generator
        if self.average is not self.generator:
            yield "average", self.average
        if self.discriminator:
            yield "discriminator", self.discriminator

    def _optimizers(self) -> Iterator[tuple[str, torch.optim.Adam]]:
        yield "adam", self.optimizer
        if self.discriminator_optimizer:
            yield "adam_d", self.discriminator_optimizer

    def _tensors(self) -> Iterable[tuple[str, Tensor]]:
        for name, module in self._modules():
            for key, value in module.state_dict().items():
                yield f"{name}.{key}", value.detach().cpu().contiguous()
        for name, optimizer in self._optimizers():
            for i, parameter in enumerate(optimizer.param_groups[0]["params"]):
                for moment, value in optimizer.state.get(parameter, {}).items():
                    yield f"{name}.{i}.{moment}", value.detach().cpu().contiguous()


def _adam(module: nn.Module, config: OptimizerConfig) -> torch.optim.Adam:
    """Adam in one pass over the weights, a fifth of the time of its several, where there is one."""
    is_fused = next(module.parameters()).device.type in ("cpu", "cuda")
    return torch.optim.Adam(
        module.parameters(), config.learning_rate, (config.beta1, 0.999), fused=is_fused
    )


def _restore(
    optimizer: torch.optim.Adam, name: str, tensors: Mapping[str, Tensor], path: Path
) -> None:
    (group,) = optimizer.param_groups
    for i, parameter in enumerate(group["params"]):
        moments = {m: tensors.get(f"{name}.{i}.{m}") for m in _MOMENTS}
        present = {m: v for m, v in moments.items() if v is not None}
        shapes_fit = all(v.shape == parameter.shape for m, v in present.items() if m != "step")
        if len(present) not in (0, len(_MOMENTS)) or not shapes_fit:
            raise CheckpointError(f"{path}: state of {name} does not fit the network; train anew")
        if present:
            optimizer.state[parameter] = {
                m: v.to(parameter.device) if m != "step" or group["fused"] else v
                for m, v in present.items()
            }
