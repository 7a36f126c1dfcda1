"""Throughput of a cohort through Dask: ``python benchmarks/cohort.py``.

``ct2mri synthesize pairs.csv OUT --workers 2`` against two ``ct2mri synthesize`` on half the cohort
each, at the same time: simulated heads, one thread a process, whole commands from their start to
the last file on disk, in turns. Prints a Markdown table with the median of the rounds' ratios, its
quartiles, and whether both wrote the same bytes. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from shutil import rmtree

from speed_engines import machine

TARGET = 0.90
_PROCESSES = 2
_COMMAND = "import sys; from napari_ct2mri.app.cli import main; sys.exit(main())"


def start(*tokens: object) -> subprocess.Popen[bytes]:
    """``ct2mri`` with these tokens, in a process of one thread."""
    return subprocess.Popen(
        [sys.executable, "-c", _COMMAND, *map(str, tokens)],
        cwd=Path(__file__).parents[1],  # not here, where a module is named as one of Dask's
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def seconds(output: Path, lists: Sequence[Path], *flags: object) -> float:
    """How long it takes until all of ``lists``, at the same time, lie in ``output``."""
    rmtree(output, ignore_errors=True)
    began = time.perf_counter()
    running = [
        start("synthesize", pairs, output / str(number), *flags)
        for number, pairs in enumerate(lists)
    ]
    if max(process.wait() for process in running):
        raise SystemExit("a command failed; run it by itself to see why")
    return time.perf_counter() - began


def halves(pairs: Path) -> list[Path]:
    """The same rows in as many lists as there are processes, in turns."""
    with pairs.open(newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    lists = []
    for number in range(_PROCESSES):
        lists.append(pairs.with_name(f"part-{number}.csv"))
        with lists[-1].open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([head, *rows[number::_PROCESSES]])
    return lists


def written(folder: Path) -> dict[tuple[str, ...], bytes]:
    """Every volume below ``folder``, by contrast, patient and name."""
    return {file.parts[-3:]: file.read_bytes() for file in folder.rglob("*.nii.gz")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--subjects", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", help="by default the default model")
    asked = parser.parse_args()
    model = ("--model", Path(asked.model).resolve()) if asked.model else ()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pairs = folder / "cohort" / "pairs.csv"
        if start("phantom", pairs.parent, "--subjects", asked.subjects).wait():
            raise SystemExit("the cohort could not be simulated")
        parts = halves(pairs)
        dask, alone = [], []
        for number in range(asked.rounds):
            sides = [
                lambda: dask.append(seconds(folder / "dask", [pairs], "--workers", 2, *model)),
                lambda: alone.append(seconds(folder / "alone", parts, *model)),
            ]
            for side in sides if number % 2 else sides[::-1]:
                side()
            print(f"round {number + 1}: Dask {dask[-1]:.1f} s, alone {alone[-1]:.1f} s", flush=True)
        is_same = written(folder / "dask") == written(folder / "alone")
    ratios = [a / d for a, d in zip(alone, dask, strict=True)]
    quartiles = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else [ratios[0]] * 3
    rates = [asked.subjects / statistics.median(times) * 60 for times in (dask, alone)]
    print(machine())
    print()
    print("| what | value |")
    print("|---|---|")
    print(f"| `--workers {_PROCESSES}`, {asked.subjects} volumes | {rates[0]:.1f} a minute |")
    print(f"| {_PROCESSES} processes, half each | {rates[1]:.1f} a minute |")
    print(
        f"| throughput of Dask, median of {len(ratios)} ratios | {statistics.median(ratios):.3f} "
        f"(quartiles {quartiles[0]:.3f}, {quartiles[2]:.3f}; target {TARGET:.2f}) |"
    )
    print(f"| the same bytes | {'yes' if is_same else 'NO'} |")


if __name__ == "__main__":
    main()
