"""How well an MR is brought onto a CT: ``python -m benchmarks.registration [PART ...]``.

Parts: ``rigid`` (20 simulated heads, moved by up to 10 mm along and 10 degrees about each axis),
``affine`` (the same, their MR's millimetres wrong by 5 %), ``doubts`` (MR of other heads and
mirrored ones: is it said?), ``templates`` (average CT and T1 on one grid, moved, against not
moved; needs ``--templates FOLDER``), ``speed``. From the project's folder; prints one Markdown
table and, with ``--each``, every case on stderr.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
from benchmarks.displaced_heads import (
    Displaced,
    SimulatedHead,
    displace,
    moved,
    random_motion,
    simulate,
    surface,
    surface_errors,
)
from numpy.typing import NDArray

from napari_ct2mri.imaging.io import read_volume
from napari_ct2mri.imaging.registration import AlignKind, Registration, register, resample_onto
from napari_ct2mri.imaging.volume import Volume
from napari_ct2mri.jobs import run_job

Row = tuple[str, str]

HEADS = 20
CONTRASTS = ("T2", "T1", "FLAIR", "PD")
WRONG = 1.05


@cache
def head(seed: int) -> SimulatedHead:
    return simulate(seed, CONTRASTS[seed % len(CONTRASTS)])


def run(ct: Volume, mr: Volume, kind: AlignKind = "rigid") -> Registration:
    return run_job(register(ct, mr, kind=kind), lambda event: None)


def p95(found: Registration, case: Displaced) -> float:
    return float(np.percentile(surface_errors(found.matrix, case.truth, surface(case.ct)), 95))


def say(text: str) -> None:
    if "--each" in sys.argv:
        print(text, file=sys.stderr, flush=True)


def summary(errors: list[float], bound: float) -> str:
    under = sum(error < bound for error in errors)
    return (
        f"median {np.median(errors):.2f}, worst {max(errors):.2f} mm; under {bound:g} mm in "
        f"{under} of {len(errors)}"
    )


def part_rigid(templates: Path) -> Iterator[Row]:
    """Twenty heads, one displacement each."""
    before, after, unsure = [], [], 0
    for seed in range(HEADS):
        case = displace(head(seed), np.random.default_rng(1000 + seed))
        found = run(case.ct, case.mr)
        start = surface_errors(np.eye(4), case.truth, surface(case.ct))
        before.append(float(np.percentile(start, 95)))
        after.append(p95(found, case))
        unsure += found.is_unsure
        say(f"rigid {seed}: {before[-1]:.1f} -> {after[-1]:.2f} mm {found.doubts}")
    yield "p95 of head-surface error, as displaced", f"{min(before):.0f} to {max(before):.0f} mm"
    yield "the same, registered rigidly", summary(after, 1.0)
    yield "of these, called unsure", f"{unsure} of {HEADS}"


def part_affine(templates: Path) -> Iterator[Row]:
    """The same heads, too large or too small by 5 %."""
    errors, means, axes = [], [], []
    for seed in range(HEADS):
        scale = WRONG if seed % 2 else 1 / WRONG
        case = displace(head(seed), np.random.default_rng(2000 + seed), scale=scale)
        found = run(case.ct, case.mr, "affine")
        off = np.asarray(found.scales) * scale - 1
        errors.append(p95(found, case))
        means.append(abs(float(np.cbrt(np.prod(found.scales))) * scale - 1))
        axes.append(float(np.abs(off).max()))
        say(f"affine {seed}: {errors[-1]:.2f} mm, scale off by {off} {found.doubts}")
    yield "p95 of head-surface error, millimetres wrong by 5 %, affine", summary(errors, 1.0)
    yield (
        "scale recovered within (mean of axes; worst axis)",
        f"median {np.median(means):.2%}, worst {max(means):.2%}; median {np.median(axes):.2%}, "
        f"worst {max(axes):.2%}",
    )


def part_doubts(templates: Path) -> Iterator[Row]:
    """What cannot be right must be called unsure."""
    said = {"MR of another head": 0, "mirrored MR": 0}
    count = HEADS // 2
    for seed in range(count):
        case = displace(head(seed), np.random.default_rng(3000 + seed))
        other = displace(head(seed + 1), np.random.default_rng(4000 + seed)).mr
        mirrored = replace(case.mr, data=case.mr.data[:, :, ::-1].copy())
        for name, mr in zip(said, (other, mirrored), strict=True):
            found = run(case.ct, mr)
            said[name] += found.is_unsure
            say(f"{name} {seed}: {found.doubts}")
    for name, times in said.items():
        yield f"{name}, called unsure", f"{times} of {count}"


def part_templates(templates: Path) -> Iterator[Row]:
    """Where mutual information alone drifts: the answer must not depend on the start."""
    ct = read_volume(templates / "scct_2mm.nii", modality="CT")
    mr = read_volume(templates / "MNI152_T1_2mm.nii.gz", modality="MR")
    points = surface(ct)
    undisplaced = run(ct, mr).matrix
    drift = np.percentile(surface_errors(undisplaced, np.eye(4), points), 95)
    errors = []
    for seed in range(HEADS):
        motion = random_motion(np.random.default_rng(seed), points.mean(axis=0), 10, 10)
        found = run(ct, moved(mr, motion)).matrix @ motion
        errors.append(float(np.percentile(surface_errors(found, undisplaced, points), 95)))
        say(f"templates {seed}: {errors[-1]:.2f} mm")
    yield "templates: p95, displaced against undisplaced", summary(errors, 2.0)
    yield "templates: p95, undisplaced against the identity", f"{drift:.2f} mm"


def part_speed(templates: Path) -> Iterator[Row]:
    """A CT and an MR of usual size, by the clock."""
    from scipy.ndimage import zoom

    case = displace(head(0), np.random.default_rng(0), spacing=(6, 0.9, 0.9), shape=(24, 256, 256))
    factor = 512 / case.ct.data.shape[1]
    large: NDArray[np.int16] = zoom(case.ct.data, (34 / 32, factor, factor), order=1)
    z, y, x = (
        step * (old - 1) / (new - 1)
        for step, old, new in zip(
            case.ct.geometry.spacing, case.ct.data.shape, large.shape, strict=True
        )
    )
    ct = replace(case.ct, data=large, geometry=replace(case.ct.geometry, spacing=(z, y, x)))
    sizes = " with ".join("x".join(map(str, v.data.shape[::-1])) for v in (ct, case.mr))
    for kind in ("rigid", "affine"):
        start = time.perf_counter()
        found = run(ct, case.mr, kind)
        yield f"{sizes}, {kind}", f"{time.perf_counter() - start:.1f} s"
    start = time.perf_counter()
    run_job(resample_onto(ct, case.mr, found), lambda event: None)
    yield "MR onto that CT's grid", f"{time.perf_counter() - start:.1f} s"


PARTS = {
    "rigid": part_rigid,
    "affine": part_affine,
    "doubts": part_doubts,
    "templates": part_templates,
    "speed": part_speed,
}


def main() -> None:
    """Run the parts asked for and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="by default all")
    parser.add_argument("--templates", type=Path, help="scct_2mm.nii and MNI152_T1_2mm.nii.gz")
    parser.add_argument("--each", action="store_true", help="every case on stderr")
    given = parser.parse_args()
    wanted = given.parts or [p for p in PARTS if p != "templates" or given.templates]
    if "templates" in wanted and not given.templates:
        parser.error("templates needs --templates FOLDER")
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}\n\n| what | measured |")
    print("|---|---|")
    for name in wanted:
        for what, figure in PARTS[name](given.templates):
            print(f"| {what} | {figure} |", flush=True)


if __name__ == "__main__":
    main()
