"""What 8 bits cost on a desktop: ``python benchmarks/precision.py PAIRS.csv [MODEL ...]``.

Every T2 *val* slice through OpenVINO in float and in 8 bits, at the size at which slices are
measured; prints a Markdown row a model with the PSNR (dB, range 255) of one against the other,
mean and worst, in the whole frame and in the head. ``ct2mri evaluate --precision int8`` says what
that does to the distance from the real MR.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from napari_ct2mri.app.workflows.engines import Engines
from napari_ct2mri.app.workflows.reference import find_reference
from napari_ct2mri.app.workflows.synthesis import as_ct, load_model
from napari_ct2mri.evaluation import at_measuring_size
from napari_ct2mri.evaluation.metrics import psnr
from napari_ct2mri.jobs import run_job
from napari_ct2mri.pix2pix.pairs import read_pairs
from napari_ct2mri.pix2pix.slices import read_patients
from napari_ct2mri.pix2pix.synthesis import synthesize

RANGE = 255.0
run = partial(run_job, on_event=lambda event: None)


def distances(pairs: Path, model: str) -> Iterator[tuple[float, float]]:
    """PSNR of 8 bits against float, slice by slice: in the frame, in the head."""
    _, checkpoint = load_model(model)
    engines = [
        run(Engines("openvino", precision).open(checkpoint, "T2"))
        for precision in ("float", "int8")
    ]
    for patient in read_patients(read_pairs(pairs).where("val", "T2")):
        reference = find_reference(patient)
        assert reference, "each patient shows a head"
        whole, rounded = (
            at_measuring_size(
                run(synthesize(as_ct(patient.ct), checkpoint, contrast="T2", engine=engine)).data[
                    reference.slices
                ]
            )
            for engine in engines
        )
        for a, b, head in zip(rounded, whole, at_measuring_size(reference.head), strict=True):
            yield psnr(a, b, RANGE), psnr(a, b, RANGE, head)


def main(pairs: str, *models: str) -> None:
    """Print the table."""
    print("| model | slices | frame: mean, worst | head: mean, worst |\n|---|--:|---|---|")
    for model in models or ("ct2mri-base", "ct2mri-dsp16", "ct2mri-dsp8"):
        frame, head = np.array(list(distances(Path(pairs), model))).T
        print(
            f"| `{model}` | {len(frame)} | {frame.mean():.1f}, {frame.min():.1f} dB "
            f"| {head.mean():.1f}, {head.min():.1f} dB |"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
