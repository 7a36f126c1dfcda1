"""How much of a scanner's head rest a generator draws into its MR.

    python benchmarks/head_rest.py MODEL ... [--heads 4]

Of each model and contrast, over simulated heads whose CT shows a rest: the mean MR where the rest
lies, clear of the head, as a share of the mean MR in the head. A real MR has nothing there. The
rest is the simulated scanner's, not one of those that training draws. Prints Markdown.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_ct2mri.app.workflows import synthesize_volume
from napari_ct2mri.imaging.phantom import Tissue, phantom
from napari_ct2mri.imaging.volume import Volume
from napari_ct2mri.jobs import run_job
from napari_ct2mri.pix2pix.checkpoint import load_checkpoint
from napari_ct2mri.pix2pix.zoo import find_model

_SHAPE, _SPACING = (10, 256, 256), (14.0, 0.9375, 0.9375)
_REST_HU = -300
_CLEAR_MM = 6
Mask = NDArray[np.bool_]


def main() -> None:
    """Measure each model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="+", help="files or released models")
    parser.add_argument("--heads", type=int, default=4)
    asked = parser.parse_args()
    heads = list(islice(heads_on_rests(), asked.heads))
    print(f"{len(heads)} heads, {sum(int(rest.sum()) for _, _, rest in heads)} voxels of a rest\n")
    print("| model | contrast | MR on the rest, of the head's |\n|---|---|--:|")
    for model in asked.model:
        path = find_model(model)
        for contrast in load_checkpoint(path).contrasts:
            shares = [
                float(mr[rest].mean() / mr[head].mean())
                for ct, head, rest in heads
                for mr in [synthetic(ct, path, contrast)]
            ]
            print(f"| {path.stem} | {contrast} | {np.mean(shares):.1%} |", flush=True)


def synthetic(ct: Volume, model: Path, contrast: str) -> NDArray[np.float32]:
    """MR on the CT's grid, (z, y, x)."""
    made = run_job(synthesize_volume(ct, model=model, contrast=contrast), lambda event: None)
    return np.asarray(made.data, np.float32)


def heads_on_rests() -> Iterator[tuple[Volume, Mask, Mask]]:
    """CT, head and rest of simulated patients, those without a rest left out."""
    for seed in count(100):
        made = phantom(seed, shape=_SHAPE, spacing=_SPACING)
        ct, head = made.ct, made.labels != Tissue.AIR
        away = ndimage.distance_transform_edt(~head, sampling=_SPACING) > _CLEAR_MM
        rest = away & (ct.data > _REST_HU)
        if rest.any():
            yield ct, head, rest


if __name__ == "__main__":
    main()
