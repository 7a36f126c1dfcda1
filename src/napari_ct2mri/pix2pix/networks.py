"""The U-Net generator and the PatchGAN discriminator of Pix2Pix.

Isola et al. 2017, "Image-to-Image Translation with Conditional Adversarial Networks",
appendix 6.1, in the form of the authors' PyTorch implementation (``unet_256``, ``basic``).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from napari_ct2mri.config import ModelConfig, NetworkConfig
from napari_ct2mri.errors import ConfigError

__all__ = ["Discriminator", "Generator", "is_half", "parameter_count", "pick_device"]

LEAK = 0.2  # slope of LeakyReLU below zero, Isola et al. 2017


class Generator(nn.Module):
    """CT channels in, one MR channel per contrast out, both in [-1, 1].

    Level ``i`` halves the frame and has ``width * min(2**i, widest)`` channels. Every
    convolution is 4x4 with stride 2; every skip is stored once, after LeakyReLU, since
    ``relu(leaky(x)) == relu(x)`` gives the decoder what the published network gives it.

    Parameters
    ----------
    model : ModelConfig
        ``contrasts`` must not be empty.
    """

    def __init__(self, model: ModelConfig) -> None:
        super().__init__()
        net = model.network
        widths = level_widths(net)
        inputs = [model.input.channels, *widths[:-1]]
        outputs = [len(model.contrasts), *widths[:-1]]
        last = net.levels - 1
        self.down = nn.ModuleList(
            Down(inputs[i], widths[i], net.norm if 0 < i < last else None)
            for i in range(net.levels)
        )
        self.up = nn.ModuleList(
            Up(
                widths[i] * (1 if i == last else 2),
                outputs[i],
                net.norm if i > 0 else None,
                net.dropout if i < last and outputs[i] == widths[-1] else 0.0,
            )
            for i in range(net.levels)
        )
        self._is_resized = net.upsampling == "resized"
        self.apply(_init_normal)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, contrasts, H, W); H and W multiples of ``2**levels``."""
        skips: list[Tensor] = []
        for down in self.down:
            x = down(x)
            skips.append(x)
        y = self.up[-1](nn.functional.relu(skips.pop()))
        for up in reversed(list(self.up)[:-1]):
            y = up(torch.cat([skips.pop(), y], dim=1).relu_())
        return torch.tanh(y)

    @torch.no_grad()
    def constrain(self) -> None:
        """Bring the weights back to what the settings allow, at the start and after each step."""
        if self._is_resized:
            for up in self.up:
                smooth_kernels(up.conv.weight)  # type: ignore[union-attr, arg-type]


class Down(nn.Module):
    """4x4 convolution at stride 2, normalisation, LeakyReLU."""

    def __init__(self, inputs: int, outputs: int, norm: str | None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 4, 2, 1, bias=norm == "instance")
        self.norm = _norm(norm, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, outputs, H/2, W/2)."""
        return nn.functional.leaky_relu(self.norm(self.conv(x)), LEAK, inplace=True)


class Up(nn.Module):
    """4x4 transposed convolution at stride 2, normalisation, dropout; its input has been ReLU'd."""

    def __init__(self, inputs: int, outputs: int, norm: str | None, dropout: float) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=norm != "batch")
        self.norm = _norm(norm, outputs)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, outputs, 2H, 2W)."""
        y: Tensor = self.dropout(self.norm(self.conv(x)))
        return y


class Discriminator(nn.Module):
    """The 70x70 PatchGAN: one logit for each overlapping patch of (condition, MR)."""

    def __init__(self, inputs: int, width: int = 64) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width, 8 * width]
        layers: list[nn.Module] = [nn.Conv2d(inputs, width, 4, 2, 1), nn.LeakyReLU(LEAK, True)]
        for before, after, stride in zip(widths, widths[1:], (2, 2, 1), strict=False):
            layers += [
                nn.Conv2d(before, after, 4, stride, 1, bias=False),
                nn.BatchNorm2d(after),
                nn.LeakyReLU(LEAK, True),
            ]
        layers.append(nn.Conv2d(widths[-1], 1, 4, 1, 1))
        self.layers = nn.Sequential(*layers)
        self.apply(_init_normal)

    def forward(self, condition: Tensor, mr: Tensor) -> Tensor:
        """(B, C, H, W) and (B, 1, H, W) to (B, 1, H/8 - 2, W/8 - 2) logits."""
        logits: Tensor = self.layers(torch.cat([condition, mr], dim=1))
        return logits


def pick_device(name: str = "auto") -> torch.device:
    """The device to compute on; ``auto`` takes CUDA, then MPS, then the CPU.

    Raises
    ------
    ConfigError
        If the device asked for is not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next((kind for kind, is_there in there.items() if is_there), "cpu")
    elif not there.get(name, name == "cpu"):
        raise ConfigError(
            f"device {name!r} is not available here; choose cpu or auto (in a terminal, --device)"
        )
    return torch.device(name)


def is_half(precision: str, device: torch.device) -> bool:
    """Whether networks compute in bfloat16; ``auto`` does where ``device`` gains from it."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):  # torch before 2.10
        return False
    return bool(torch.cpu.get_capabilities().get("avx512_bf16"))


def smooth_kernels(weight: Tensor) -> None:
    """Take from (..., 4, 4) kernels, in place, what alternates along either axis.

    What is left, and the nearest to what was there, is a 3x3 kernel after a doubling of pixels,
    written as one transposed convolution of stride 2 (as polynomials along an axis, those with the
    factor 1 + z). Flat stays flat under it: no checkerboard (Odena et al. 2016, "Deconvolution and
    Checkerboard Artifacts", Distill).
    """
    sign = weight.new_tensor([1.0, -1.0, 1.0, -1.0])
    along = torch.eye(4).to(weight) - torch.outer(sign, sign) / 4
    # both axes as one product of 16 numbers: a tenth of the time that one after the other takes
    weight.copy_((weight.flatten(-2) @ torch.kron(along, along)).view_as(weight))


def level_widths(net: NetworkConfig) -> list[int]:
    """Channels of each level, outermost first."""
    return [net.width * min(2**i, net.widest) for i in range(net.levels)]


def parameter_count(module: nn.Module) -> int:
    """How many numbers the module learns."""
    return sum(p.numel() for p in module.parameters())


def _norm(kind: str | None, channels: int) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    return nn.InstanceNorm2d(channels) if kind == "instance" else nn.Identity()


def _init_normal(module: nn.Module) -> None:
    """Convolutions N(0, 0.02), batch norm weights N(1, 0.02), biases 0: Isola et al. 2017."""
    if any(weight.is_meta for weight in module.parameters(recurse=False)):
        return  # there are no numbers to draw, for which torch would load its whole compiler
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)
