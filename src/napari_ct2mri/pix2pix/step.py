"""One step of the discriminator and one of the generator: Isola et al. 2017, section 3.3."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from napari_ct2mri.config import LossConfig
from napari_ct2mri.pix2pix import losses
from napari_ct2mri.pix2pix.failures import Diverged
from napari_ct2mri.pix2pix.networks import is_half
from napari_ct2mri.pix2pix.state import TrainingState
from napari_ct2mri.pix2pix.teacher import Teacher
from napari_ct2mri.pix2pix.team import Team

__all__ = ["train_step"]


def train_step(
    state: TrainingState,
    ct: Tensor,
    mr: Tensor,
    contrast: Tensor,
    teacher: Teacher | None = None,
    team: Team | None = None,
) -> dict[str, float]:
    """One step of the discriminator, where there is one, then one of the generator.

    Of several processes each brings its share of the batch; losses are those of the whole.
    """
    team = team or Team()
    loss = state.config.loss
    device = next(state.generator.parameters()).device
    ct, mr = ct.to(device), mr.to(device)
    half = is_half(state.config.run.precision, device)
    with torch.autocast(device.type, torch.bfloat16, enabled=half):
        every_head = team.through(state.generator)(ct)  # (B, contrasts, H, W)
    fake = every_head[torch.arange(len(ct)), contrast][:, None].float()
    terms: dict[str, float] = {}
    adversary = None
    if state.discriminator and state.discriminator_optimizer:
        learning = team.through(state.discriminator)
        condition = _condition(ct, contrast, every_head.shape[1])

        def judge(judging: nn.Module, image: Tensor, is_real: bool) -> Tensor:
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                logits = judging(condition, image)
            return losses.adversarial(logits.float(), is_real, loss.gan)

        judged = 0.5 * (judge(learning, mr, True) + judge(learning, fake.detach(), False))
        state.discriminator_optimizer.zero_grad(set_to_none=True)
        terms = _whole({"discriminator": judged}, team)
        (team.share.weight * judged).backward()
        state.discriminator_optimizer.step()
        state.discriminator.requires_grad_(False)
        adversary = judge(state.discriminator, fake, True)
    parts = _generator_terms(fake, mr, loss, adversary)
    if teacher:
        parts["teacher"] = loss.teacher_weight, (every_head.float() - teacher(ct)).abs().mean()
    terms = {**_whole({name: value for name, (_, value) in parts.items()}, team), **terms}
    state.optimizer.zero_grad(set_to_none=True)
    total = sum(weight * value for weight, value in parts.values())
    (team.share.weight * total).backward()  # type: ignore[union-attr]
    state.optimizer.step()
    state.generator.constrain()
    if state.discriminator:
        state.discriminator.requires_grad_(True)
    return terms


def _generator_terms(
    fake: Tensor, real: Tensor, loss: LossConfig, adversary: Tensor | None
) -> dict[str, tuple[float, Tensor]]:
    """Weight and value of each term in use."""
    parts: dict[str, tuple[float, Tensor]] = {}
    if loss.l1:
        parts["l1"] = loss.l1, (fake - real).abs().mean()
    if loss.l2:
        parts["l2"] = loss.l2, (fake - real).square().mean()
    if loss.ssim:
        parts["ssim"] = loss.ssim, 1 - losses.ssim(fake, real)
    if loss.gradient:
        parts["gradient"] = loss.gradient, losses.gradient_l1(fake, real)
    if loss.correlation:
        parts["correlation"] = loss.correlation, 1 - losses.gradient_correlation(fake, real)
    if loss.edges:
        shortfall = 1 - losses.edge_strength(fake, real)
        parts["edges"] = loss.edges, shortfall.square().mean()
    if adversary is not None:
        parts["gan"] = loss.gan_weight, adversary
    return parts


def _whole(terms: Mapping[str, Tensor], team: Team) -> dict[str, float]:
    """The terms of the whole batch; looked at before the step, so that no weight is spoilt."""
    values = team.mean(torch.stack(list(terms.values()))).tolist()
    for name, value in zip(terms, values, strict=True):
        if not math.isfinite(value):
            raise Diverged(f"loss {name}")
    return dict(zip(terms, values, strict=True))


def _condition(ct: Tensor, contrast: Tensor, contrasts: int) -> Tensor:
    """What the discriminator sees beside the MR: the CT and, of several contrasts, which."""
    if contrasts == 1:
        return ct
    planes = torch.nn.functional.one_hot(contrast, contrasts).to(ct)[:, :, None, None]
    return torch.cat([ct, planes.expand(-1, -1, *ct.shape[2:])], dim=1)
