"""What a model costs on a board, before anything is built."""

from __future__ import annotations

from dataclasses import dataclass

from napari_ct2mri.errors import FirmwareError
from napari_ct2mri.firmware.arena import Plan, total_weight_bytes
from napari_ct2mri.firmware.boards import Board
from napari_ct2mri.firmware.model import QuantModel

__all__ = ["Budget", "budget", "check_fits", "widest_for"]

_BITS_A_BYTE = 10  # 8N1: start, eight, stop


@dataclass(frozen=True, slots=True)
class Budget:
    """Costs of one slice and of one push.

    Attributes
    ----------
    macs : int
        Products a slice.
    bound_s : float or None
        Time of a slice if every cycle did all products it can; none is faster. None where the
        board's speed is not known.
    """

    board: Board
    macs: int
    weight_bytes: int
    container_bytes: int
    arena_bytes: int
    bound_bytes: int
    scratch_bytes: int
    bound_s: float | None

    @property
    def needed_bytes(self) -> int:
        """Two models, so that a broken push keeps the old one, and what one runs in."""
        return 2 * self.container_bytes + self.arena_bytes + self.scratch_bytes

    @property
    def free_bytes(self) -> int:
        """What the board has left; negative if it does not fit."""
        return self.board.memory_bytes - self.needed_bytes

    @property
    def most_fps(self) -> float | None:
        """Slices a second at the bound."""
        return None if self.bound_s is None else 1 / self.bound_s

    @property
    def least_joules(self) -> float | None:
        """Energy of a slice at the bound, by the data sheet's watts."""
        return self.bound_s * self.board.watts if self.bound_s and self.board.watts else None

    def push_s(self, baud_rate: int) -> float:
        """Seconds to send the whole container, 8N1, without protocol."""
        return self.container_bytes * _BITS_A_BYTE / baud_rate

    def table(self) -> str:
        """All of it as a table in Markdown."""
        rows = [
            ("board", f"{self.board.name}: {self.board.title}"),
            ("multiply-accumulates a slice", f"{self.macs / 1e6:.1f} M"),
            ("weights", f"{self.weight_bytes} bytes"),
            ("container", f"{self.container_bytes} bytes"),
            ("arena", f"{self.arena_bytes} bytes, at least {self.bound_bytes}"),
            ("scratch", f"{self.scratch_bytes} bytes, in the fastest memory"),
            ("two models, arena and scratch", f"{self.needed_bytes} bytes"),
            ("memory left", f"{self.free_bytes} bytes"),
        ]
        if self.bound_s is not None:
            rows.append(("lower bound of a slice", f"{self.bound_s * 1e3:.1f} ms at peak rate"))
            rows.append(("slices a second, at most", f"{1 / self.bound_s:.1f}"))
        if self.least_joules is not None:
            rows.append(("energy a slice, at least", f"{self.least_joules * 1e3:.1f} mJ"))
        rows += [(f"push at {b} baud", f"{self.push_s(b):.1f} s") for b in self.board.baud_rates]
        return "\n".join(["| | |", "|---|---|", *(f"| {what} | {much} |" for what, much in rows)])


def budget(model: QuantModel, plan: Plan, container_bytes: int, board: Board) -> Budget:
    """What ``model`` costs on ``board``."""
    macs = sum(model.macs(number) for number in range(len(model.layers)))
    rate = board.macs_per_second
    return Budget(
        board,
        macs,
        total_weight_bytes(model.layers),
        container_bytes,
        plan.arena_bytes,
        plan.bound_bytes,
        plan.scratch_bytes,
        macs / rate if rate else None,
    )


def check_fits(cost: Budget, width: int) -> None:
    """Refuse a board that is too small.

    Parameters
    ----------
    width : int
        Filters of the model.

    Raises
    ------
    FirmwareError
        Saying by how much, and about which width fits.
    """
    if cost.free_bytes < 0:
        part = cost.board.memory_bytes / cost.needed_bytes
        raise FirmwareError(
            f"{cost.board.name} has {cost.board.memory_bytes} bytes, the model needs "
            f"{cost.needed_bytes}: {-cost.free_bytes} too few; {_narrower(width, part)} fit"
        )


def widest_for(cost: Budget, width: int, fps: float) -> str:
    """A sentence on whether ``fps`` can be met, and the widest model that could.

    Products grow with the square of the filters.
    """
    if cost.most_fps is None:
        return f"how fast {cost.board.name} is, only a measurement says"
    if cost.most_fps >= fps:
        share = fps / cost.most_fps
        return f"{fps:g} slices a second need {share:.0%} of the peak rate of {cost.board.name}"
    return (
        f"{fps:g} slices a second are impossible on {cost.board.name}: at its peak rate "
        f"{cost.most_fps:.2f}; {_narrower(width, cost.most_fps / fps)} could"
    )


def _narrower(width: int, part: float) -> str:
    """The widest number of filters, a multiple of 4, for ``part`` of the cost."""
    narrower = int(width * part**0.5) // 4 * 4
    return f"{narrower} filters" if narrower >= 4 else "not even 4 filters"
