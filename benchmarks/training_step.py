"""Where a training step of ``default`` goes, and what would not make it faster.

    OMP_NUM_THREADS=1 python benchmarks/training_step.py [profile] [rivals] [--batch 2]

``profile``: processor time of each stage, the stages of the real step, timed where they are called.
``rivals``: the step as it is against other ways to take it, a step of each in turn; the median of
ratios. Prints Markdown; run it on an idle machine.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from napari_ct2mri.config import TrainConfig, preset
from napari_ct2mri.pix2pix import step as one_step
from napari_ct2mri.pix2pix import training
from napari_ct2mri.pix2pix.slices import SlicePairs
from napari_ct2mri.pix2pix.state import TrainingState
from speed_engines import machine

WARM_UP = 3


def slices_for(config: TrainConfig) -> SlicePairs:
    """Noise in the network's frame: what a step takes does not depend on what it sees."""
    side, count = config.model.scale.frame_px, 8
    chance = np.random.default_rng(0)
    image = chance.uniform(-1, 1, (count, side, side)).astype(np.float16)
    return SlicePairs(
        ct=image[:, None],
        mr=image,
        head=np.ones(image.shape, bool),
        contrast=np.zeros(count, np.int64),
        patient=np.zeros(count, np.int64),
        fingerprints=(),
        mirrored=(),
    )


class Steps:
    """Steps as ``pix2pix.training`` takes them, after ``change`` to their state."""

    def __init__(
        self, config: TrainConfig, change: Callable[[TrainingState], None] | None = None
    ) -> None:
        self.state = TrainingState.fresh(config, "", torch.device("cpu"))
        if change:
            change(self.state)
        self._config = config
        self._slices = slices_for(config)
        self._chance = torch.Generator().manual_seed(0)

    def take(self) -> None:
        """Take one."""
        config, chance = self._config, self._chance
        index = torch.randperm(len(self._slices), generator=chance)[: config.optimizer.batch]
        ct, mr, contrast = training._batch(self._slices, index.numpy())
        multiple = 2**config.model.network.levels
        ct, mr = training.augment(ct, mr, config.augment, chance, multiple)
        training.train_step(self.state, ct, mr, contrast)
        self.state.update_average(1000)


def profile(config: TrainConfig, rounds: int) -> None:
    """Processor milliseconds a stage."""
    spent: dict[str, float] = defaultdict(float)

    def timed(owner: Any, name: str, stage: str) -> None:
        plain = getattr(owner, name)

        def call(*given: Any, **named: Any) -> Any:
            start = time.process_time()
            try:
                return plain(*given, **named)
            finally:
                spent[stage] += time.process_time() - start

        setattr(owner, name, call)

    steps = Steps(config)
    state = steps.state
    for _ in range(WARM_UP):
        steps.take()
    timed(training, "_batch", "slices out of memory")
    timed(training, "augment", "augmenting")
    timed(state.generator, "forward", "generator, forwards")
    timed(one_step, "_generator_terms", "losses, forwards")
    timed(torch.Tensor, "backward", "all of it, backwards")
    timed(state.optimizer, "step", "Adam")
    timed(state.generator, "constrain", "kernels kept smooth")
    timed(TrainingState, "update_average", "moving average")
    start = time.process_time()
    for _ in range(rounds):
        steps.take()
    whole = (time.process_time() - start) / rounds
    print("| stage | CPU ms | share |\n|---|--:|--:|")
    for stage, seconds in {k: v / rounds for k, v in spent.items()}.items():
        print(f"| {stage} | {1e3 * seconds:.1f} | {100 * seconds / whole:.1f} % |")
    print(f"| the whole step | {1e3 * whole:.1f} | |")


def rivals(config: TrainConfig, rounds: int) -> None:
    """Wall time of each way against the step as it is."""

    def with_adam(**options: Any) -> Callable[[TrainingState], None]:
        def change(state: TrainingState) -> None:
            rate, betas = config.optimizer.learning_rate, (config.optimizer.beta1, 0.999)
            parameters = state.generator.parameters()
            state.optimizer = torch.optim.Adam(parameters, rate, betas, **options)

        return change

    def channels_last(state: TrainingState) -> None:
        state.generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        forward = state.generator.forward
        state.generator.forward = lambda x: forward(x.contiguous(memory_format=torch.channels_last))

    def compiled(state: TrainingState) -> None:
        nn.Module.compile(state.generator)

    def in_precision(name: str) -> TrainConfig:
        return config.model_copy(update={"run": config.run.model_copy(update={"precision": name})})

    ways = {
        "as it is": Steps(config),
        "Adam, several passes": Steps(config, with_adam(foreach=False, fused=False)),
        "Adam, `foreach`": Steps(config, with_adam(foreach=True)),
        "channels last": Steps(config, channels_last),
        "`torch.compile`": Steps(config, compiled),
        "float32": Steps(in_precision("float32")),
        "bfloat16": Steps(in_precision("bfloat16")),
    }
    print("| way | first step, s | ms | times as long as it is |\n|---|--:|--:|--:|")
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(WARM_UP + rounds):
        for name, steps in ways.items():
            start = time.perf_counter()
            steps.take()
            times[name].append(time.perf_counter() - start)
    base = times["as it is"][WARM_UP:]
    for name, seconds in times.items():
        rest = seconds[WARM_UP:]
        ratio = statistics.median(a / b for a, b in zip(rest, base, strict=True))
        print(f"| {name} | {seconds[0]:.1f} | {1e3 * statistics.median(rest):.0f} | {ratio:.2f} |")


PARTS = {"profile": profile, "rivals": rivals}


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="by default both")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    config = preset("default", contrasts=("T2", "T1", "FLAIR"), batch=asked.batch)
    print(f"{machine()}\n")
    for name in asked.parts or PARTS:
        PARTS[name](config, asked.rounds)
        print()


if __name__ == "__main__":
    main()
