"""Throughput of training on several processes: ``python benchmarks/together.py``.

Two processes, one thread each, that train one model together, against the same two training a model
each, with as many slices a step: in turns, in one run. A round is some steps of each; all start
together, and a round together is as long as its slowest process's. Prints a Markdown table with
the median of the rounds' ratios, its quartiles, and what the exchange itself takes: the gradients'
sum alone, and one of a batch norm's small ones. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
import torch.distributed as dist

from napari_ct2mri.config import Preset, preset
from napari_ct2mri.pix2pix.augment import augment
from napari_ct2mri.pix2pix.networks import parameter_count
from napari_ct2mri.pix2pix.state import TrainingState
from napari_ct2mri.pix2pix.step import train_step
from napari_ct2mri.pix2pix.team import Team, joined
from speed_engines import machine

TARGET = 0.85
_PROCESSES = 2


def steps(team: Team, name: Preset, width: int, each: int) -> Callable[[int], None]:
    """A function that takes so many training steps, with ``each`` slices of here in each.

    Within a team the batch is that of all; alone, a process's own.
    """
    config = preset(name, contrasts=("T2",), width=width, discriminator_width=width)
    state = TrainingState.fresh(config, "", torch.device("cpu"))
    team.enlist(state.generator, *([state.discriminator] if state.discriminator else []))
    batch = each * team.place.size
    chance = torch.Generator().manual_seed(0)
    side = config.model.scale.frame_px
    ct, mr = torch.rand(2, batch, 1, side, side, generator=chance) * 2 - 1
    multiple = 2**config.model.network.levels

    def take(count: int) -> None:
        for step in range(count):
            share = team.split(batch)
            pair = augment(ct[share.rows], mr[share.rows], config.augment, chance, multiple, share)
            train_step(state, *pair, torch.zeros(each, dtype=torch.int64), None, team)
            state.update_average(step)

    return take


def timed(work: Callable[[], object]) -> float:
    """Seconds of ``work``, begun when every process is ready."""
    dist.barrier()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(team: Team, name: Preset, width: int, each: int, rounds: int, count: int) -> str:
    """A row of the table; the same work in every process."""
    together, apart = steps(team, name, width, each), steps(Team(), name, width, each)
    for take in (together, apart):
        timed(lambda take=take: take(1))  # the first step prepares what the others use
    ratios, rates = [], []
    slices = each * count
    for number in range(rounds):
        order = (together, apart) if number % 2 else (apart, together)
        seconds = {take: timed(lambda take=take: take(count)) for take in order}
        slowest = torch.tensor(seconds[together])
        dist.all_reduce(slowest, dist.ReduceOp.MAX)
        independent = team.total(slices / seconds[apart])
        rates.append((slices * team.place.size / float(slowest), independent))
        ratios.append(rates[-1][0] / independent)
    low, median, high = statistics.quantiles(ratios, n=4)
    verdict = "met" if median >= TARGET else "not met"
    ours, theirs = (statistics.median(column) for column in zip(*rates, strict=True))
    return (
        f"| `{name}`, {width} filters, {each} a process | {ours:.2f} | {theirs:.2f} | "
        f"{median:.3f} ({low:.3f} to {high:.3f}) | >= {TARGET} | {verdict} |"
    )


def exchange(team: Team, name: Preset, width: int, rounds: int) -> str:
    """Milliseconds that sums over the processes take when nothing else is done."""
    config = preset(name, contrasts=("T2",), width=width)
    numbers = parameter_count(TrainingState.fresh(config, "", torch.device("cpu")).generator)
    gradients, moments = torch.zeros(numbers), torch.zeros(3, width)
    sums = {
        f"{numbers / 1e6:.1f} M gradients": lambda: dist.all_reduce(gradients),
        "one batch norm": lambda: team.add_up(moments),
    }
    texts = []
    for what, work in sums.items():
        seconds = statistics.median(timed(work) for _ in range(rounds))
        texts.append(f"{what} {1e3 * seconds:.2f} ms")
    return f"The sum alone, `{name}`: {', '.join(texts)}."


def measure(options: argparse.Namespace) -> None:
    """What each process runs."""
    torch.set_num_threads(1)
    with joined() as team:
        say = print if team.is_first else lambda *_, **__: None
        say(f"{machine() if team.is_first else ''}; {team.place.size} processes\n", flush=True)
        say("| training | slices/s together | apart | ratio | target | verdict |")
        say("|---|--:|--:|--:|--:|---|", flush=True)
        for name in options.recipes:
            for each in options.each:
                say(
                    compare(team, name, options.width, each, options.rounds, options.steps),
                    flush=True,
                )
        say()
        for name in options.recipes:
            say(exchange(team, name, options.width, max(options.rounds, 5)), flush=True)


def main() -> int:
    """Start the processes, or be one of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", nargs="+", choices=["default", "classic"], default=["default"])
    parser.add_argument("--width", type=int, default=32, help="filters of both networks")
    parser.add_argument("--each", nargs="+", type=int, default=[1, 2], help="slices a process")
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--steps", type=int, default=4, help="of each kind in a round")
    options = parser.parse_args()
    if "WORLD_SIZE" in os.environ:
        measure(options)
        return 0
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={_PROCESSES}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *torchrun, *sys.argv], env=environment).returncode


if __name__ == "__main__":
    raise SystemExit(main())
