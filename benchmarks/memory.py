"""Memory of the main job: ``python benchmarks/memory.py``; Linux.

Does it grow with what it should not grow with? The peak of synthesis over the depth of a CT, less
the CT and the result, which are as large as they are; and what a training holds after each of its
epochs. Each in a process of its own. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from napari_ct2mri.app.workflows import train
from napari_ct2mri.config import preset
from napari_ct2mri.imaging.phantom import phantom_job
from napari_ct2mri.jobs import EpochDone, run_job
from napari_ct2mri.pix2pix.checkpoint import load_checkpoint
from napari_ct2mri.pix2pix.synthesis import synthesize
from napari_ct2mri.pix2pix.zoo import DEFAULT_MODEL, find_model
from speed import head_of
from speed_engines import machine

_DEPTHS = (75, 150, 300)
_EPOCHS = 12


def resident_mib(field: str = "VmRSS") -> float:
    """Of this program alone; getrusage would count the one that started it. VmHWM is the peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def synthesis(depth: int) -> None:
    """Print MiB: before, peak, CT, result."""
    model = load_checkpoint(find_model(DEFAULT_MODEL))
    ct = head_of((depth, 512, 512), (180 / depth, 0.488, 0.488))
    before = resident_mib("VmHWM")
    mr = run_job(synthesize(ct, model, device="cpu"), lambda event: None)
    sizes = (before, resident_mib("VmHWM"), ct.data.nbytes / 2**20, mr.data.nbytes / 2**20)
    print(*map(round, sizes))


def training() -> None:
    """Print MiB after each epoch of ``default``."""
    held: list[int] = []
    with TemporaryDirectory() as name:
        folder = Path(name)
        few = phantom_job(folder / "heads", 4, shape=(4, 192, 192), spacing=(30, 1.25, 1.25))
        pairs = run_job(few, lambda event: None)
        config = preset("default", epochs=_EPOCHS, decay_epochs=_EPOCHS // 2, threads=1)
        job = train(pairs, folder / "model.safetensors", config)
        run_job(job, lambda e: held.append(round(resident_mib())) if type(e) is EpochDone else None)
    print(*held)


def measured(*words: str) -> list[int]:
    """What one of the above prints in a process of its own."""
    command = [sys.executable, __file__, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--depth", type=int, help="measure one synthesis in this process")
    parser.add_argument("--training", action="store_true", help="a training in this process")
    asked = parser.parse_args()
    if asked.depth:
        return synthesis(asked.depth)
    if asked.training:
        return training()
    print(f"{machine()}\n\n| what | measured |\n|---|---|")
    for depth in _DEPTHS:
        before, peak, ct, mr = measured("--depth", str(depth))
        parts = f"{before} with the CT ({ct}) loaded, result {mr}, rest {peak - before - mr}"
        print(f"| synthesis of 512x512x{depth} | peak {peak} MiB: {parts} |", flush=True)
    held = ", ".join(map(str, measured("--training")))
    print(f"| training of `default`, after each of {_EPOCHS} epochs | {held} MiB |")


if __name__ == "__main__":
    main()
