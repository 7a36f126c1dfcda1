"""Is the viewer fluent while it trains? ``xvfb-run -a python benchmarks/fluency.py [--rounds N]``.

A real viewer shows a CT of 512x512x200, on which the Train panel previews what its child process
learns: niced, on one thread. Slices are changed one by one, each timed until the canvas has
drawn it, in turns while the child trains and while it is paused, so that both see one machine.
Prints a Markdown table and what misses the aims: median at most 1.25 times, no stall over 250 ms
that idle does not have, the panel open in under 1 s, no torch in the viewer's process. Needs a
display; run it on an idle machine.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # the child inherits it

import napari
import numpy as np
from numpy.typing import NDArray
from qtpy.QtWidgets import QApplication

from napari_ct2mri.imaging.io import write_volume
from napari_ct2mri.imaging.phantom import sample_pair
from napari_ct2mri.imaging.volume import Volume
from napari_ct2mri.pix2pix.pairs import PairRow
from napari_ct2mri.widgets.layers import add_volume

FINER = (5, 2, 2)  # z, y, x: 40x256x256 becomes 200x512x512
WARM_UP = 20
CHANGES = 100  # slice changes a turn
PATIENCE_S = 300.0
MOST_TIMES, MOST_STALL_MS, MOST_OPENING_S = 1.25, 250.0, 1.0


def finer(volume: Volume) -> Volume:
    """The same head on a grid as of a real study."""
    data = volume.data
    for axis, times in enumerate(FINER):
        data = data.repeat(times, axis)
    spacing = tuple(s / f for s, f in zip(volume.geometry.spacing, FINER, strict=True))
    return replace(volume, data=data, geometry=replace(volume.geometry, spacing=spacing))


def wait_for(is_so: Callable[[], Any]) -> None:
    """Turn the viewer's event loop until something is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        QApplication.processEvents()
        time.sleep(0.002)
        if time.monotonic() > deadline:
            sys.exit(f"it did not come to that within {PATIENCE_S:.0f} s; is the machine idle?")


class Scroller:
    """Changes slices and times each until it is drawn."""

    def __init__(self, viewer: napari.Viewer) -> None:
        self._viewer = viewer
        self._drawn = 0
        canvas = viewer.window._qt_viewer.canvas._scene_canvas
        canvas.events.draw.connect(self._count)

    def times_ms(self, changes: int) -> NDArray[np.float64]:
        """Of so many slice changes, back and forth through the volume, in milliseconds."""
        depth = int(self._viewer.dims.nsteps[0])
        there = np.r_[1:depth, depth - 2 : -1 : -1]
        return np.array([self._change(int(there[i % len(there)])) for i in range(changes)])

    def _change(self, index: int) -> float:
        start, before = time.perf_counter(), self._drawn
        self._viewer.dims.set_current_step(0, index)
        while self._drawn == before:
            QApplication.processEvents()
        return (time.perf_counter() - start) * 1e3

    def _count(self, _: object) -> None:
        self._drawn += 1


def measure(rounds: int) -> tuple[float, dict[str, NDArray[np.float64]], int]:
    """Seconds the panel took to open, slice changes in ms by what the child did, epochs it made."""
    viewer = napari.Viewer()
    QApplication.processEvents()
    ct, mr = sample_pair()
    add_volume(viewer, finer(ct), "CT")
    scroller = Scroller(viewer)
    start = time.perf_counter()
    _, panel = viewer.window.add_plugin_dock_widget("napari-ct2mri", "Train")
    QApplication.processEvents()
    opening_s = time.perf_counter() - start
    times: dict[str, list[NDArray[np.float64]]] = {"idle": [], "training": []}
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "ct.mha", Path(folder) / "mr.mha"
        for volume, file in zip((ct, mr), files, strict=True):
            write_volume(volume, file)
        panel.pairs.fill([PairRow(*files, "phantom", "T2", "train")])
        panel.output.line.setText(str(Path(folder) / "model.safetensors"))
        panel.settings.epochs.setValue(10_000)
        panel.go.click()
        wait_for(lambda: panel._preview is not None and panel._preview.layer)
        scroller.times_ms(WARM_UP)
        for _ in range(rounds):
            for state in ("training", "idle"):
                if panel._run.state != {"training": "running", "idle": "paused"}[state]:
                    panel.pause.click()
                wait_for(
                    lambda s=state: panel._run.state == ("paused" if s == "idle" else "running")
                )
                times[state].append(scroller.times_ms(CHANGES))
        epochs = len(panel._run.records)
        panel.stop.click()
        wait_for(lambda: not panel.job.is_running)
    viewer.close()
    return opening_s, {state: np.concatenate(parts) for state, parts in times.items()}, epochs


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10, help="turns of each kind")
    opening_s, times, epochs = measure(parser.parse_args().rounds)
    print(f"| slice change, ms (n = {len(times['idle'])}) | idle | training | ratio |")
    print("|---|---|---|---|")
    figures: dict[str, Callable[[NDArray[np.float64]], Any]] = {
        "median": np.median,
        "95th percentile": lambda t: np.percentile(t, 95),
        "longest": np.max,
    }
    for name, figure in figures.items():
        idle, training = (float(figure(times[state])) for state in ("idle", "training"))
        print(f"| {name} | {idle:.1f} | {training:.1f} | {training / idle:.2f} |")
    print(f"\nThe Train panel opened in {opening_s:.2f} s; {epochs} whole epochs were trained.")
    idle, training = times["idle"], times["training"]
    misses = {
        f"the median is over {MOST_TIMES} times idle's": np.median(training)
        > MOST_TIMES * np.median(idle),
        f"a stall is over {MOST_STALL_MS:.0f} ms": training.max() > max(MOST_STALL_MS, idle.max()),
        f"the panel took over {MOST_OPENING_S:.0f} s": opening_s > MOST_OPENING_S,
        "torch is in the viewer's process": "torch" in sys.modules,
    }
    for words in (words for words, is_missed in misses.items() if is_missed):
        print(f"MISSED: {words}")
    sys.exit(any(misses.values()))


if __name__ == "__main__":
    main()
