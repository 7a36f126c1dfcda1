"""Draw the README's pictures from a finished demo: ``python docs/make_pictures.py ct2mri-demo``.

Nothing is drawn by hand: the architecture comes from the default settings, the curve from the
history in the demo's checkpoint, the sample from the patient it had not seen.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from napari_ct2mri.config import ModelConfig, preset
from napari_ct2mri.imaging import ct_channels, mr_range, mr_to_unit, read_volume
from napari_ct2mri.pix2pix.checkpoint import EpochRecord, read_header
from napari_ct2mri.pix2pix.networks import Generator, level_widths, parameter_count
from napari_ct2mri.pix2pix.pairs import read_pairs

PICTURES = Path(__file__).parent / "pictures"
INK, DOWN, UP, SKIP = "#1f2937", "#2f6fb2", "#c8553d", "#9aa3ad"
Image = NDArray[np.float32]


@dataclass(frozen=True)
class Sample:
    """One slice of the held-out patient, (y, x) in [-1, 1]; pixels of ``aspect`` y to x."""

    patient: str
    contrast: str
    ct: Image
    real: Image
    fake: Image
    aspect: float


def main(demo: Path) -> None:
    """Draw all three."""
    header = read_header(demo / "demo.safetensors")
    sample = read_sample(demo, header.config.model)
    default = preset("default", contrasts=(sample.contrast,)).model
    PICTURES.mkdir(exist_ok=True)
    draw_sample(sample, PICTURES / "sample.png")
    draw_curve(header.history, PICTURES / "curve.png")
    draw_architecture(default, sample, PICTURES / "architecture.png")


def read_sample(demo: Path, model: ModelConfig) -> Sample:
    """The slice through the middle of the head that the demo held out."""
    row = read_pairs(demo / "patients" / "pairs.csv").where("test").rows[0]
    (synthetic,) = demo.glob(f"{row.patient}-synthetic-*.nii.gz")
    ct = read_volume(row.ct, modality="CT")
    real, fake = (read_volume(path, modality="MR") for path in (row.mr, synthetic))
    middle = ct.data.shape[0] // 2
    return Sample(
        row.patient,
        row.contrast,
        ct_channels(ct, model.input.windows)[middle, 0],
        mr_to_unit(real.data[middle], mr_range(real)),
        mr_to_unit(fake.data[middle], mr_range(fake)),
        ct.geometry.spacing[1] / ct.geometry.spacing[2],
    )


def draw_sample(sample: Sample, path: Path) -> None:
    """CT, true MR, synthetic MR and their difference, side by side."""
    figure = new_figure(10, 2.9)
    images = (sample.ct, sample.real, sample.fake, sample.fake - sample.real)
    titles = ("CT", f"true {sample.contrast}", f"synthetic {sample.contrast}", "difference")
    for axes, image, title in zip(figure.subplots(1, 4), images, titles, strict=True):
        colours = "RdBu_r" if title == "difference" else "gray"
        axes.imshow(image, cmap=colours, vmin=-1, vmax=1, aspect=sample.aspect)
        axes.set_title(title, fontsize=10, color=INK)
        axes.axis("off")
    figure.savefig(path)


def draw_curve(history: tuple[EpochRecord, ...], path: Path) -> None:
    """The terms of the loss, and what the selection patient says of each epoch."""
    figure = new_figure(10, 2.9)
    left, right = figure.subplots(1, 2)
    epochs = [record.epoch for record in history]
    for name in history[0].losses:
        left.plot(epochs, [r.losses[name] for r in history], lw=1.8, label=name)
    left.set(title="training loss, by term", xlabel="epoch", ylim=(0, None))
    checked = [record for record in history if record.validation]
    for name in ("ssim", "gradient_correlation"):
        values = [r.validation[name] for r in checked]
        right.plot([r.epoch for r in checked], values, lw=1.8, label=name.replace("_", " "))
    right.set(title="validation, in the head", xlabel="epoch", ylim=(0, 1))
    for axes, corner in ((left, "upper right"), (right, "lower right")):
        axes.title.set(fontsize=10, color=INK)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=9, loc=corner)
    figure.savefig(path)


def draw_architecture(model: ModelConfig, sample: Sample, path: Path) -> None:
    """The U-Net as its tensors: the height of a block is its frame, the width its channels."""
    widths, levels = level_widths(model.network), model.network.levels
    figure = new_figure(10, 2.75)
    axes = figure.subplots()
    right = 1.3 * (2 * levels - 1)
    tops: dict[int, float] = {}
    for level, count in enumerate(widths, start=1):
        side = model.scale.frame_px // 2**level
        tall, wide = 2.4 * 0.7 ** (level - 1), 0.15 + 0.4 * count / max(widths)
        tops[level] = tall / 2
        draw_block(axes, 1.3 * level, tall, wide, DOWN, f"{count}\n{side}²")
        if level < levels:
            draw_block(axes, right + 1.3 - 1.3 * level, tall, wide, UP, f"{count}\n{side}²")
    for level in range(1, levels):
        ends = (1.3 * level, right + 1.3 - 1.3 * level)
        draw_skip(axes, ends, tops[level], height=2.5 - 0.27 * level)
    frame = f"{model.scale.frame_px}²"
    for x, image, name in ((-0.7, sample.ct, "CT"), (right + 2.0, sample.fake, "synthetic MR")):
        axes.imshow(image, cmap="gray", extent=(x - 1.3, x + 1.3, -1.3, 1.3), zorder=2)
        axes.text(x, -1.4, f"{name}\n{frame}", ha="center", va="top", fontsize=8, color=INK)
    parameters = parameter_count(Generator(model)) / 1e6
    title = (
        f"U-Net, {parameters:.1f} million parameters. Blue halves the frame by 4×4 convolutions, "
        "red doubles it, grey carries each level across."
    )
    axes.set_title(title, fontsize=9, color=INK)
    axes.set(xlim=(-2.1, right + 3.4), ylim=(-2.05, 2.4), aspect="equal")
    axes.axis("off")
    figure.savefig(path)


def draw_block(axes: Axes, x: float, tall: float, wide: float, colour: str, text: str) -> None:
    """One tensor, centred on ``x``, with its channels and its frame below."""
    axes.add_patch(Rectangle((x - wide / 2, -tall / 2), wide, tall, color=colour, lw=0))
    axes.text(x, -tall / 2 - 0.1, text, ha="center", va="top", fontsize=8, color=INK)


def draw_skip(axes: Axes, ends: tuple[float, float], top: float, height: float) -> None:
    """An arrow over the top, from a tensor on the way down to its partner on the way up."""
    start, end = ends
    axes.plot([start, start, end], [top + 0.06, height, height], color=SKIP, lw=1.1)
    arrow = FancyArrowPatch((end, height), (end, top), arrowstyle="-|>", shrinkA=0, shrinkB=1)
    arrow.set(color=SKIP, lw=1.1, mutation_scale=9)
    axes.add_patch(arrow)


def new_figure(width: float, height: float) -> Figure:
    """A white figure of ``width`` x ``height`` inches, without pyplot's state."""
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python docs/make_pictures.py DEMO_FOLDER (what ct2mri demo left)")
    main(Path(sys.argv[1]))
