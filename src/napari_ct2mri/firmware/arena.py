"""Where every image lies in the one static arena, and how layers are cut to fit the caches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from napari_ct2mri.firmware.model import QuantLayer, QuantModel
from napari_ct2mri.firmware.ops import Kind, phases

__all__ = ["ALIGN", "Block", "Plan", "Tile", "aligned", "depth_of", "even", "plan"]

ALIGN = 64  # bytes; the longest cache line of any board
DEPTH_STEP = 32  # taps that a row of weights is filled up to (Q15); kernels.h
PATCH_BYTES = 16384  # of gathered taps at a time: half the first cache of a C674x
TILE_BYTES = 131072  # of weights at a time: half its second cache
ACC_BYTES = 8192  # of accumulators at a time


@dataclass(frozen=True, slots=True)
class Block:
    """An image in the arena, alive while layers ``first`` to ``last`` run (-1: before any)."""

    name: str
    offset: int
    size: int
    first: int
    last: int

    def meets(self, other: Block) -> bool:
        """Whether both are alive at one time."""
        return self.first <= other.last and other.first <= self.last

    @property
    def end(self) -> int:
        """The first byte beyond it."""
        return self.offset + self.size


@dataclass(frozen=True, slots=True)
class Tile:
    """How much of a layer is computed at a time: neighbouring pixels of a row, and channels."""

    pixels: int
    channels: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The memory a model runs in.

    Attributes
    ----------
    blocks : one an image, in the model's order
    tiles : one a layer
    scratch_bytes : int
        Patches and accumulators of the largest tile; belongs into the fastest memory.
    """

    blocks: tuple[Block, ...]
    tiles: tuple[Tile, ...]
    scratch_bytes: int

    @property
    def arena_bytes(self) -> int:
        """What all images need together."""
        return _height(self.blocks)

    @property
    def bound_bytes(self) -> int:
        """The most that is alive at one time: no plan can need less."""
        times = range(-1, max(block.last for block in self.blocks) + 1)
        return max(sum(b.size for b in self.blocks if b.first <= t <= b.last) for t in times)

    def table(self) -> str:
        """The plan as a table in Markdown."""
        rows = [f"| {b.name} | {b.offset} | {b.size} | {b.first} | {b.last} |" for b in self.blocks]
        head = ["| image | offset | bytes | from layer | to layer |", "|---|--:|--:|--:|--:|"]
        total = f"\n{self.arena_bytes} bytes; alive at one time at most {self.bound_bytes}."
        return "\n".join([*head, *rows, total])


def plan(model: QuantModel) -> Plan:
    """Place the images of ``model`` and cut its layers.

    Blocks are placed one after the other as low as they fit, in several orders. The best order is
    mended, a block moved at a time, as long as that helps.
    """
    blocks = lifetimes(model)
    placed = _mend(min((_place(sorted(blocks, key=order)) for order in _ORDERS), key=_height))
    by_name = {block.name: block for block in placed}
    tiles = tuple(_tile(model, number) for number in range(len(model.layers)))
    scratch = max(
        scratch_bytes(tile, depth_of(each)) for tile, each in zip(tiles, model.layers, strict=True)
    )
    return Plan(tuple(by_name[block.name] for block in blocks), tiles, scratch)


def scratch_bytes(tile: Tile, depth: int) -> int:
    """Accumulators, then patches; transposed convolutions gather one patch more (layers.c)."""
    return aligned(4 * tile.pixels * tile.channels) + (tile.pixels + 1) * depth


def aligned(size: int, step: int = ALIGN) -> int:
    """``size`` rounded up to a multiple of ``step``."""
    return -(-size // step) * step


def even(channels: int) -> int:
    """Channels with the zero channel that an odd number is filled up with (Q15)."""
    return channels + channels % 2


def depth_of(each: QuantLayer) -> int:
    """Bytes of a row of weights."""
    return aligned(each.taps, DEPTH_STEP)


_ORDERS: tuple[Callable[[Block], tuple[int, ...]], ...] = (
    lambda block: (-block.size, block.first),
    lambda block: (block.first - block.last, block.first),
    lambda block: (block.first, -block.size),
    lambda block: (block.size * (block.first - block.last), block.first),
)


def lifetimes(model: QuantModel) -> list[Block]:
    names = ["input", *(each.layer.name for each in model.layers)]
    last = {each.layer.output: i for i, each in enumerate(model.layers)}  # at least its own layer
    for i, each in enumerate(model.layers):
        last.update(dict.fromkeys(each.layer.inputs, i))
    return [
        Block(name, 0, aligned(shape.size_bytes), i - 1, last[i])
        for i, (name, shape) in enumerate(zip(names, model.images, strict=True))
    ]


def _mend(placed: list[Block]) -> list[Block]:
    """Take one block out of the order and put it in elsewhere, until no such move gains."""
    while True:
        moves = (
            _place([*others[:place], block, *others[place:]])
            for i, block in enumerate(placed)
            for others in [placed[:i] + placed[i + 1 :]]
            for place in range(len(placed))
        )
        best = min(moves, key=_height)
        if _height(best) >= _height(placed):
            return placed
        placed = best


def _height(placed: Sequence[Block]) -> int:
    """Bytes from the first to beyond the last."""
    return max(block.end for block in placed)


def _place(blocks: Iterable[Block]) -> list[Block]:
    """Each block, in this order, at the lowest offset where it meets none placed before."""
    placed: list[Block] = []
    for block in blocks:
        offset = 0
        for other in sorted((b for b in placed if b.meets(block)), key=lambda b: b.offset):
            if offset + block.size <= other.offset:
                break
            offset = max(offset, other.end)
        placed.append(Block(block.name, offset, block.size, block.first, block.last))
    return placed


def _tile(model: QuantModel, number: int) -> Tile:
    each, out = model.layers[number], model.images[model.layers[number].layer.output]
    is_up = each.layer.kind is Kind.UP
    at_once = 2 if is_up else 1  # phases that share the patches of a tile
    row = out.width // at_once
    assert len(phases(each.layer.kind)) == at_once**2
    depth = depth_of(each)
    channels = max(2, min(even(each.channels), TILE_BYTES // (depth * at_once) // 2 * 2))
    pixels = min(row, PATCH_BYTES // depth - (at_once - 1), ACC_BYTES // (4 * channels))
    return Tile(max(1, pixels), channels)


def total_weight_bytes(layers: Sequence[QuantLayer]) -> int:
    """Weights of all layers as they lie in the container."""
    return sum(len(e.weights) * even(e.channels) * depth_of(e) for e in layers)
