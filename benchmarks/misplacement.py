"""How far a patient's MR lies from where a model puts it, and what that costs the figures.

    python -m benchmarks.misplacement PAIRS MODEL ... [--split val]

The real MR of each patient and contrast is moved as a whole (zoom, turn and shift in the slice, one
for all slices) to where it agrees best with the prediction, in the network's frame. The place is
found on every other slice; the figures before and after are those of the slices between, so that
four free numbers gain nothing by chance. Of a patient whom the model never saw what is found is the
pair's own error of registration, as far as the prediction can tell. Prints Markdown.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from benchmarks.in_frame import Opened
from scipy.optimize import minimize
from torch import Tensor
from torch.nn import functional as F

from napari_ct2mri.evaluation.metrics import gain_and_offset, measure
from napari_ct2mri.pix2pix.losses import gradient_correlation
from napari_ct2mri.pix2pix.pairs import PairList, read_pairs

_UNIT = np.array([0.03, math.radians(2), 3, 3])  # of zoom (its logarithm), turn, shift y and x (px)
_MOST = 4.0  # of each unit, either way
_FIGURES = {
    "head_psnr_fitted": "PSNR fitted",
    "head_ssim": "SSIM",
    "head_gradient_correlation": "gradient corr.",
    "head_sharpness": "sharpness",
}


def main() -> None:
    """Measure each model on each patient."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("model", nargs="+", help="files or released models")
    parser.add_argument("--split", choices=["train", "val", "test", "all"], default="val")
    asked = parser.parse_args()
    pairs = read_pairs(asked.pairs).where(asked.split)
    print(
        "| model | contrast | patient | zoom | turn | shift | "
        + " | ".join(_FIGURES.values())
        + " |"
    )
    print("|---|---|---|--:|--:|--:|" + "--:|" * len(_FIGURES))
    for model in asked.model:
        opened = Opened.of(model)
        for (patient, contrast), rows in pairs.by_patient().items():
            if contrast not in opened.contrasts:
                continue
            slices, made = opened.predict(PairList(pairs.path, rows))
            fake = made[:, opened.contrasts.index(contrast), None]
            real = torch.from_numpy(slices.mr.astype(np.float32))[:, None]
            head = torch.from_numpy(slices.head)[:, None]
            place = best_place(fake[::2], real[::2])
            before = figures(fake[1::2], real[1::2], head[1::2])
            after = figures(fake[1::2], moved(real, place)[1::2], head[1::2])
            print(
                f"| {opened.path.stem} | {contrast} | {patient} | {math.exp(place[0]) - 1:+.1%} | "
                f"{math.degrees(place[1]):+.1f}° | {math.hypot(place[2], place[3]):.1f} px | "
                + " | ".join(f"{before[k]:.3g} → {after[k]:.3g}" for k in _FIGURES)
                + " |",
                flush=True,
            )


def moved(images: Tensor, place: Sequence[float]) -> Tensor:
    """(n, 1, h, w) enlarged by exp(place[0]), turned and shifted; air, -1, comes in."""
    log_zoom, angle, down, right = place
    side = images.shape[-1]
    shrink = math.exp(-log_zoom)
    cos, sin = math.cos(angle) * shrink, math.sin(angle) * shrink
    x, y = -2 * right / side, -2 * down / side
    theta = torch.tensor([[cos, sin, cos * x + sin * y], [-sin, cos, cos * y - sin * x]])
    shape = list(images.shape)
    grid = F.affine_grid(theta.expand(len(images), 2, 3), shape, align_corners=False)
    return F.grid_sample(images + 1, grid, mode="bicubic", align_corners=False).clamp(0, 2) - 1


def best_place(fake: Tensor, real: Tensor) -> list[float]:
    """Where ``real``, moved, has the edges of ``fake``: (log zoom, radians, px down, px right)."""

    def lack(units: Sequence[float]) -> float:
        place = np.clip(units, -_MOST, _MOST) * _UNIT
        return -float(gradient_correlation(fake, moved(real, place.tolist())))

    # edges are narrow: from several zooms, the way down from the best
    start = min(([zoom, 0.0, 0.0, 0.0] for zoom in (-2.0, -1.0, 0.0, 1.0, 2.0)), key=lack)
    found = minimize(lack, start, method="Powell", options={"xtol": 0.02, "ftol": 1e-4})
    return (np.clip(found.x, -_MOST, _MOST) * _UNIT).tolist()


def figures(fake: Tensor, real: Tensor, head: Tensor) -> dict[str, float]:
    """Means over slices, of (n, 1, h, w), with a data range of 255."""
    a, b = ((image[:, 0].numpy() + 1) * 127.5 for image in (fake, real))
    heads = head[:, 0].numpy()
    fit = gain_and_offset(a, b, heads)
    each = [measure(*s, 255.0, fit).as_dict() for s in zip(a, b, heads, strict=True)]
    return {name: float(np.mean([one[name] for one in each])) for name in _FIGURES}


if __name__ == "__main__":
    main()
