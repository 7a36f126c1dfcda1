"""Time of the main job: ``python benchmarks/speed.py [PART ...]``.

Parts: ``step`` (a training step of ``classic`` against the plain recipe written as published,
in turns), ``slice`` (the engines on a slice of the published network), ``files`` (a 512x512x300
NRRD to an MR on disk against bare calls), ``volume`` (seconds a volume of synthesis), ``import``
(the package against a bare interpreter), ``panel`` (first opening of the panels; needs a display).
Prints a Markdown table; run it on an idle machine.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from napari_ct2mri.config import preset
from napari_ct2mri.imaging.volume import Geometry, Volume
from napari_ct2mri.jobs import run_job
from napari_ct2mri.pix2pix.augment import augment
from napari_ct2mri.pix2pix.checkpoint import load_checkpoint
from napari_ct2mri.pix2pix.state import TrainingState
from napari_ct2mri.pix2pix.step import train_step
from napari_ct2mri.pix2pix.synthesis import synthesize
from napari_ct2mri.pix2pix.zoo import DEFAULT_MODEL, find_model
from speed_engines import machine, part_files, part_slice

Row = tuple[str, str]


class PlainUNet(nn.Module):
    """One block of the published generator around the next: Isola et al. 2017, appendix 6.1."""

    def __init__(self, outer: int, inner: int, inside: nn.Module | None, *, outputs: int = 0):
        super().__init__()
        first, last = bool(outputs), inside is None
        down: list[nn.Module] = [] if first else [nn.LeakyReLU(0.2, True)]
        down.append(nn.Conv2d(1 if first else outer, inner, 4, 2, 1, bias=False))
        if not first and not last:
            down.append(nn.BatchNorm2d(inner))
        up: list[nn.Module] = [nn.ReLU(True)]
        up.append(
            nn.ConvTranspose2d(inner * (1 if last else 2), outputs or outer, 4, 2, 1, bias=first)
        )
        up.append(nn.Tanh() if first else nn.BatchNorm2d(outer))
        if not first and not last and outer == inner:
            up.append(nn.Dropout(0.5))
        self.layers = nn.Sequential(*down, *([inside] if inside else []), *up)
        self.first = first

    def forward(self, x: Tensor) -> Tensor:
        """Pass what is inside, beside what came in."""
        y: Tensor = self.layers(x)
        return y if self.first else torch.cat([x, y], 1)


def plain_generator(width: int) -> PlainUNet:
    """Unet_256 from the inside out."""
    block = PlainUNet(8 * width, 8 * width, None)
    for _ in range(3):
        block = PlainUNet(8 * width, 8 * width, block)
    for outer in (4, 2, 1):
        block = PlainUNet(outer * width, 2 * outer * width, block)
    return PlainUNet(0, width, block, outputs=1)


def plain_discriminator(width: int) -> nn.Sequential:
    """The 70x70 PatchGAN."""
    layers: list[nn.Module] = [nn.Conv2d(2, width, 4, 2, 1), nn.LeakyReLU(0.2, True)]
    for before, after, stride in ((1, 2, 2), (2, 4, 2), (4, 8, 1)):
        layers += [
            nn.Conv2d(before * width, after * width, 4, stride, 1, bias=False),
            nn.BatchNorm2d(after * width),
            nn.LeakyReLU(0.2, True),
        ]
    return nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, 1, 1))


def plain_step(width: int) -> Callable[[Tensor, Tensor], None]:
    """One step of the published recipe, resize-and-crop and flip included."""
    generator, discriminator = plain_generator(width), plain_discriminator(width)
    optimizers = [
        torch.optim.Adam(m.parameters(), 2e-4, (0.5, 0.999)) for m in (generator, discriminator)
    ]
    chance = np.random.default_rng(0)
    judge, l1 = nn.BCEWithLogitsLoss(), nn.L1Loss()

    def step(ct: Tensor, mr: Tensor) -> None:
        pair = nn.functional.interpolate(torch.cat([ct, mr], 1), size=286, mode="bicubic")
        y, x = chance.integers(0, 31, 2)
        pair = pair[:, :, y : y + 256, x : x + 256]
        ct, mr = (pair.flip(3) if chance.random() < 0.5 else pair).split(1, 1)
        fake = generator(ct)
        for p in discriminator.parameters():
            p.requires_grad_(True)
        optimizers[1].zero_grad()
        on_fake = discriminator(torch.cat([ct, fake.detach()], 1))
        on_real = discriminator(torch.cat([ct, mr], 1))
        loss = judge(on_fake, torch.zeros_like(on_fake)) + judge(on_real, torch.ones_like(on_real))
        (0.5 * loss).backward()
        optimizers[1].step()
        for p in discriminator.parameters():
            p.requires_grad_(False)
        optimizers[0].zero_grad()
        on_fake = discriminator(torch.cat([ct, fake], 1))
        (judge(on_fake, torch.ones_like(on_fake)) + 100 * l1(fake, mr)).backward()
        optimizers[0].step()

    return step


def our_step(width: int) -> Callable[[Tensor, Tensor], None]:
    """One step of ``classic`` as ``ct2mri train`` takes it."""
    leaves = {"width": width, "discriminator_width": width}
    config = preset("classic", contrasts=("T2",), **leaves)
    state = TrainingState.fresh(config, "", torch.device("cpu"))
    chance = torch.Generator().manual_seed(0)
    contrast = torch.zeros(1, dtype=torch.int64)
    return lambda ct, mr: _discard(
        train_step(state, *augment(ct, mr, config.augment, chance), contrast)
    )


def _discard(_: object) -> None:
    return None


def part_step() -> list[Row]:
    """Ours against the plain recipe, a step of each in turn; the median of ratios."""
    rows = []
    chance = torch.Generator().manual_seed(0)
    images = torch.rand(2, 1, 1, 256, 256, generator=chance) * 2 - 1
    for width, rounds in ((32, 12), (64, 8)):
        steps = (our_step(width), plain_step(width))
        times: list[list[float]] = [[], []]
        for _ in range(rounds):
            for step, seconds in zip(steps, times, strict=True):
                start = time.perf_counter()
                step(images[0], images[1])
                seconds.append(time.perf_counter() - start)
        ours, plain = (t[2:] for t in times)  # the first two warm up
        ratio = statistics.median(a / b for a, b in zip(ours, plain, strict=True))
        ours_ms, plain_ms = (statistics.median(t) * 1e3 for t in (ours, plain))
        text = f"{ours_ms:.0f} ms against {plain_ms:.0f} ms, ratio {ratio:.2f}"
        rows.append((f"training step, `classic`, {width} filters, batch 1", text))
    return rows


def head_of(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Volume:
    """A skull with brain in HU; only its size matters here."""
    hu = np.full(shape, -1000, np.int16)
    y, x = np.ogrid[: shape[1], : shape[2]]
    r = np.hypot((y / shape[1] - 0.5) / 0.42, (x / shape[2] - 0.5) / 0.34)
    section = np.where(r < 1, np.where(r > 0.9, 900, 35), -1000).astype(np.int16)
    hu[:] = section
    return Volume(hu, Geometry(spacing), "CT", "HU")


def part_volume() -> list[Row]:
    """Seconds from a CT in memory to its MR in memory, with the released model."""
    model = load_checkpoint(find_model(DEFAULT_MODEL))
    rows = []
    for shape, spacing in (
        ((34, 512, 512), (5, 0.488, 0.488)),
        ((300, 512, 512), (0.6, 0.488, 0.488)),
    ):
        ct = head_of(shape, spacing)
        start = time.perf_counter()
        run_job(synthesize(ct, model, device="cpu"), _discard)
        seconds = time.perf_counter() - start
        size = "x".join(map(str, shape[::-1]))
        rows.append(
            (
                f"synthesis of {size}, `{DEFAULT_MODEL}`",
                f"{seconds:.1f} s, {seconds / shape[0] * 1e3:.0f} ms a slice",
            )
        )
    return rows


def part_import() -> list[Row]:
    """Best of several fresh interpreters."""

    def best(program: str) -> float:
        seconds = []
        for _ in range(9):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", program], check=True)
            seconds.append(time.perf_counter() - start)
        return min(seconds)

    bare, package = best("pass"), best("import napari_ct2mri")
    subprocess.run(
        [sys.executable, "-c", "import napari_ct2mri, sys; assert 'torch' not in sys.modules"],
        check=True,
    )
    return [
        (
            "`import napari_ct2mri` over a bare interpreter",
            f"{(package - bare) * 1e3:.0f} ms, without torch",
        )
    ]


_PANEL = """
import time, napari, qtpy.QtWidgets as w
viewer = napari.Viewer(); w.QApplication.processEvents()
start = time.perf_counter()
viewer.window.add_plugin_dock_widget("napari-ct2mri", "{panel}"); w.QApplication.processEvents()
print(time.perf_counter() - start)
import sys; print('torch' in sys.modules)
"""


def part_panel() -> list[Row]:
    """First opening of each panel in a fresh viewer."""
    rows = []
    for panel in ("Load", "Register & pair", "Train", "Synthesize", "Compare", "Board"):
        done = subprocess.run(
            [sys.executable, "-c", _PANEL.format(panel=panel)],
            capture_output=True,
            text=True,
            check=True,
        )
        seconds, torch_there = done.stdout.split()[-2:]
        rows.append(
            (f"panel {panel} opens", f"{float(seconds):.2f} s, torch imported: {torch_there}")
        )
    return rows


PARTS = {
    "step": part_step,
    "slice": part_slice,
    "files": part_files,
    "volume": part_volume,
    "import": part_import,
    "panel": part_panel,
}


def main() -> None:
    """Run the parts asked for and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="by default all")
    wanted = parser.parse_args().parts or list(PARTS)
    print(f"{machine()}\n\n| what | measured |\n|---|---|")
    for name in wanted:
        for what, figure in PARTS[name]():
            print(f"| {what} | {figure} |", flush=True)


if __name__ == "__main__":
    main()
