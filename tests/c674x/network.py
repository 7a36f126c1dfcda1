"""Whole networks in the interpreter, and their cycles by layer, counted under ideal memory.

    python -m tests.c674x.network model.ctm      from the project's folder, with the toolchain

prints a table in Markdown. Counted cycles are those of the processor alone: no cache, no DDR2.
They are no board's latency.
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


KERNELS = {
    "products": ("ct_matmul",),
    "requantizing": (
        "ct_requantize", "ct_requantize_tanh", "ct_requantize_portable",
        "ct_requantize_tanh_portable",
    ),
    "gathering": ("ct_gather",),
}  # fmt: skip


@dataclass(frozen=True)
class Counted:
    """One layer: its products, as the network's definition has them, and its cycles.

    ``parts``: cycles in each of :data:`KERNELS`; the rest is compiled C.
    """

    name: str
    products: int
    cycles: int
    parts: tuple[int, ...]


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
    counts, taken = machine.profile(), []

    def note(address: int, size: int, time: int) -> None:
        taken.append((time, *(machine.cycles_in(counts, names) for names in KERNELS.values())))

    machine.window(TIMES, 4 * (len(layers) + 1), lambda address, size: 0, note)
    status = machine.call(
        "run_network", MODEL, len(data), ARENA, SCRATCH, TIMES, limit=2_000_000_000
    )
    assert status >= 1000, f"the container is refused with status {status}"
    spent = np.diff(np.array(taken, np.int64), axis=0) & 0xFFFF_FFFF
    return status - 1000, [
        Counted(each.layer.name, each.taps * out.size_bytes, int(row[0]), tuple(map(int, row[1:])))
        for each, out, row in zip(layers, container.model.images[1:], spent, strict=True)
    ]


def table(layers: list[Counted]) -> str:
    """Cycles a product by layer, whole and in parts, and the mean weighted by products."""
    parts = tuple(map(sum, zip(*(each.parts for each in layers), strict=True)))
    whole = (sum(each.products for each in layers), sum(each.cycles for each in layers))
    head = ["layer", "products", "cycles", "cycles a product", *(f"in {k}" for k in KERNELS)]
    lines = [f"| {' | '.join([*head, 'in compiled C'])} |", f"|---|{'--:|' * len(head)}"]
    for each in (*layers, Counted("all", *whole, parts)):
        cycles = (each.cycles, *each.parts, each.cycles - sum(each.parts))
        shares = " | ".join(f"{part / each.products:.3f}" for part in cycles)
        lines.append(f"| {each.name} | {each.products:,} | {each.cycles:,} | {shares} |")
    return "\n".join(lines)


def main(path: str) -> None:
    """Print the table of a container."""
    with tempfile.TemporaryDirectory() as folder:
        wrong, layers = run_network(firmware(Path(folder)), Path(path).read_bytes())
    print(table(layers))
    print("golden pair: equal" if wrong == 0 else f"golden pair: {wrong} bytes differ")


if __name__ == "__main__":
    main(*sys.argv[1:])
