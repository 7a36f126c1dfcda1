"""Whole networks in the interpreter, and their cycles by layer, counted under ideal memory.

    python -m tests.c674x.network model.ctm      from the project's folder, with the toolchain

Counted cycles are those of the processor alone: no cache, no DDR2. They are no board's latency.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_ct2mri.firmware.container import unpack

from . import kernels
from .machine import HERE, Machine, Program
from .toolchain import compile_c

CORE = ("layers.c", "container.c", "sha256.c", "port/freestanding.c")
MODEL, ARENA, SCRATCH, TIMES = 0xC000_0000, 0xC400_0000, 0xC800_0000, 0xC900_0000


@dataclass(frozen=True)
class Counted:
    """One layer: its products, as the network's definition has them, and its cycles."""

    name: str
    products: int
    cycles: int


def firmware(folder: Path) -> Program:
    """The runtime with the kernels written by hand, as the board's makefile builds it."""
    hand = (kernels.RUNTIME / "kernels_c674x.S", kernels.BOARD / "kernels_rest.c")
    core = [kernels.RUNTIME / name for name in CORE]
    flags = ("-O2", "-fno-tree-loop-distribute-patterns", f"-I{kernels.RUNTIME}")
    return Program(compile_c(folder, HERE / "network.c", *hand, *core, flags=flags))


def run_network(program: Program, data: bytes) -> tuple[int, list[Counted]]:
    """Run a container's golden pair.

    Returns
    -------
    wrong : int
        Bytes of the result that differ from the golden ones.
    layers : list of Counted
    """
    container = unpack(data)
    machine = Machine(program)
    machine.memory(MODEL, len(data), writable=False)[:] = np.frombuffer(data, np.uint8)
    machine.memory(ARENA, container.plan.arena_bytes)
    machine.memory(SCRATCH, container.plan.scratch_bytes)
    layers = container.model.layers
    times = machine.memory(TIMES, 4 * (len(layers) + 1)).view("<u4")
    status = machine.call(
        "run_network", MODEL, len(data), ARENA, SCRATCH, TIMES, limit=2_000_000_000
    )
    assert status >= 1000, f"the container is refused with status {status}"
    cycles = np.diff(times.astype(np.int64)) & 0xFFFF_FFFF
    return status - 1000, [
        Counted(each.layer.name, each.taps * out.height * out.width * out.channels, int(count))
        for each, out, count in zip(layers, container.model.images[1:], cycles, strict=True)
    ]


def table(layers: list[Counted]) -> str:
    """Cycles a product by layer, and the mean weighted by products."""
    whole = Counted("all", sum(x.products for x in layers), sum(x.cycles for x in layers))
    lines = [f"{'layer':10} {'products':>12} {'cycles':>12} {'cycles a product':>17}"]
    for each in (*layers, whole):
        share = each.cycles / each.products
        lines.append(f"{each.name:10} {each.products:12,} {each.cycles:12,} {share:17.3f}")
    return "\n".join(lines)


def main(path: str) -> None:
    """Print the table of a container."""
    with tempfile.TemporaryDirectory() as folder:
        wrong, layers = run_network(firmware(Path(folder)), Path(path).read_bytes())
    print(table(layers))
    print("golden pair: equal" if wrong == 0 else f"golden pair: {wrong} bytes differ")


if __name__ == "__main__":
    main(*sys.argv[1:])
