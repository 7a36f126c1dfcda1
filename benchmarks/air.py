"""What a generator draws into the air beside a head.

    python -m benchmarks.air --ct SERIES [SERIES ...] --model MODEL [MODEL ...]

Of each CT in HU, model and contrast: the brightest square centimetre of MR that lies farther than
15 mm from all that is no air, as a share of the mean MR in the head, and in how many slices such a
square exceeds a tenth. A real MR has nothing there. Prints Markdown.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from benchmarks.head_rest import synthetic
from numpy.typing import NDArray
from scipy import ndimage

from napari_ct2mri.imaging.head import head_mask
from napari_ct2mri.imaging.io import read_volume
from napari_ct2mri.imaging.volume import Volume
from napari_ct2mri.pix2pix.checkpoint import load_checkpoint
from napari_ct2mri.pix2pix.zoo import find_model

_AIR_HU = -600.0  # foam and paper are above
_CLEAR_MM = 15.0
_PATCH_MM = 10.0
_MUCH = 0.1


def brightest(ct: Volume, mr: NDArray[np.float32]) -> NDArray[np.float64]:
    """(z,): of each slice the brightest patch in the air, as a share of the head's mean MR."""
    spacing = np.asarray(ct.geometry.spacing)[1:]
    size = np.maximum(1, np.round(_PATCH_MM / spacing)).astype(int)
    found = np.zeros(len(mr))
    for k, (hu, drawn) in enumerate(zip(ct.data, mr, strict=True)):
        clear = ndimage.distance_transform_edt(hu < _AIR_HU, sampling=spacing) > _CLEAR_MM
        found[k] = np.where(clear, ndimage.uniform_filter(drawn, size), 0).max()
    return found / mr[head_mask(ct.data, ct.unit, "CT")].mean()


def main() -> None:
    """Measure each model on each CT."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ct", nargs="+", type=Path, required=True, help="series or files, in HU")
    parser.add_argument("--model", nargs="+", required=True, help="files or released models")
    asked = parser.parse_args()
    print("| CT | model | contrast | brightest | slices over 10 % |\n|---|---|---|--:|--:|")
    for path in asked.ct:
        ct = read_volume(path)
        for model in map(find_model, asked.model):
            for contrast in load_checkpoint(model).contrasts:
                shares = brightest(ct, synthetic(ct, model, contrast))
                print(
                    f"| {path.name} | {model.stem} | {contrast} | {shares.max():.0%} | "
                    f"{(shares > _MUCH).sum()} of {len(shares)} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
