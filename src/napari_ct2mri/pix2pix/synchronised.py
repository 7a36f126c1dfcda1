"""Layers that see only a share of a batch and act as if they saw all of it.

Batch norm takes mean and variance over the slices of all processes (Ioffe & Szegedy 2015, algorithm
1, over the whole mini-batch), forth and back: ``torch.nn.SyncBatchNorm`` does so on GPUs only.
Dropout draws for the whole batch and keeps its own rows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from napari_ct2mri.pix2pix.team import Team

__all__ = ["synchronise"]


def synchronise(module: nn.Module, team: Team) -> None:
    """Put a synchronised layer in the place of each batch norm and dropout in ``module``.

    Parameters, statistics and their names stay.
    """
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, _BatchNorm(child, team))
        elif isinstance(child, nn.Dropout):
            setattr(module, name, _Dropout(child, team))
        else:
            synchronise(child, team)


class _BatchNorm(nn.BatchNorm2d):
    """Normalises by the statistics of the whole batch while it trains."""

    def __init__(self, plain: nn.BatchNorm2d, team: Team) -> None:
        super().__init__(plain.num_features, plain.eps, plain.momentum, device="meta")
        self.weight, self.bias = plain.weight, plain.bias
        for buffer_name, buffer in plain.named_buffers():
            self.register_buffer(buffer_name, buffer)
        self.training = plain.training
        self._team = team

    def forward(self, x: Tensor) -> Tensor:
        """(b, C, H, W) to the same."""
        if not self.training:
            return super().forward(x)
        y, mean, variance, count = _Normalise.apply(  # type: ignore[no-untyped-call]
            x, self.weight, self.bias, self.eps, self._team
        )
        with torch.no_grad():
            unbiased = variance * (count / (count - 1).clamp(min=1))
            self.running_mean.lerp_(mean, self.momentum)  # type: ignore[union-attr, arg-type]
            self.running_var.lerp_(unbiased, self.momentum)  # type: ignore[union-attr, arg-type]
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        return y  # type: ignore[no-any-return]


class _Normalise(torch.autograd.Function):
    """``y = weight (x - mean) / sqrt(variance + eps) + bias`` over all processes' rows.

    Rows that do not count, those of a process whose share is empty, are normalised by the others'
    statistics and do not move them. The passes over pixels are torch's own, and as many as its
    batch norm needs: fresh memory costs more than arithmetic.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,  # (b, C, H, W)
        weight: Tensor,  # (C,)
        bias: Tensor,  # (C,)
        eps: float,
        team: Team,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        is_counted = team.share.weight > 0
        ours = torch.zeros_like(weight), torch.zeros_like(weight)  # running ones, which must be
        mean, variance = torch.ops.aten.batch_norm_update_stats(x, *ours, 0.0)
        mean, variance = mean.double(), variance.double()  # squares that nearly cancel
        moments = torch.stack([torch.ones_like(mean), mean, variance + mean.square()])
        totals = team.add_up(moments * (x.numel() // x.shape[1] * is_counted))
        count = totals[0]
        mean = totals[1] / count
        variance = (totals[2] / count - mean.square()).clamp(min=0)
        count, mean, variance = count.float(), mean.float(), variance.float()
        y = nn.functional.batch_norm(x, mean, variance, weight, bias, training=False, eps=eps)
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.eps, ctx.is_counted, ctx.team = eps, is_counted, team
        ctx.mark_non_differentiable(mean, variance, count)
        return y, mean, variance, count

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        x, weight, mean, variance, count = ctx.saved_tensors
        # sums over the rows of here, of grad * normalised x and of grad
        _, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            grad, x, weight, mean, variance, None, None, False, ctx.eps, [False, True, True]
        )
        totals = ctx.team.add_up(torch.stack([grad_weight, grad_bias]))
        inverse = (variance + ctx.eps).rsqrt()
        gain = weight * inverse
        if not ctx.is_counted:
            grad_x = _by_channel(grad, gain, torch.zeros_like(gain))
            return grad_x, grad_weight, grad_bias, None, None
        # gain (grad - mean of grad - normalised x * mean of grad * normalised x); of these only
        # the last, small term is rounded before it is added up
        slope = (-gain * inverse * totals[0] / count).to(x.dtype)
        offset = -gain * totals[1] / count - slope * mean
        grad_x = _by_channel(grad, gain, offset).addcmul_(x, slope[:, None, None])
        return grad_x, grad_weight, grad_bias, None, None


def _by_channel(x: Tensor, slope: Tensor, offset: Tensor) -> Tensor:
    """``slope x + offset`` of each channel, by batch norm's kernel: of bfloat16 the fastest."""
    mean, variance = torch.zeros_like(slope), torch.ones_like(slope)
    return nn.functional.batch_norm(x, mean, variance, slope, offset, eps=0.0)


class _Dropout(nn.Dropout):
    """Drops, of the rows of here, what one process would that saw them all (on the CPU)."""

    def __init__(self, plain: nn.Dropout, team: Team) -> None:
        super().__init__(plain.p)
        self.training = plain.training
        self._team = team

    def forward(self, x: Tensor) -> Tensor:
        """(b, ...) to the same."""
        if not self.training:
            return x
        share = self._team.share
        kept = x.new_empty((share.batch, *x.shape[1:])).bernoulli_(1 - self.p)
        return x * kept[share.rows].div_(1 - self.p)
