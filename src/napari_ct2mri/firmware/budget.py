"""What a model costs on a board, before anything is built."""

from __future__ import annotations

from dataclasses import dataclass

from napari_ct2mri.errors import FirmwareError
from napari_ct2mri.firmware.arena import Plan, total_weight_bytes
from napari_ct2mri.firmware.boards import Board, Memory
from napari_ct2mri.firmware.model import QuantModel

__all__ = ["Budget", "Need", "budget", "check_fits", "widest_for"]

_BITS_A_BYTE = 10  # 8N1: start, eight, stop


@dataclass(frozen=True, slots=True)
class Need:
    """What one memory of the board is asked for."""

    what: str
    memory: Memory
    size_bytes: int

    @property
    def is_met(self) -> bool:
        """Whether it fits."""
        return self.size_bytes <= self.memory.size_bytes

    def __str__(self) -> str:
        verdict = "fits" if self.is_met else "DOES NOT FIT"
        return f"{self.size_bytes} of {self.memory.size_bytes} bytes: {verdict}"


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
    counted_s : float or None
        Time of the cycles that our code takes, counted under ideal memory: caches that miss come on
        top. None where nobody counted them.
    """

    board: Board
    macs: int
    weight_bytes: int
    container_bytes: int
    arena_bytes: int
    bound_bytes: int
    scratch_bytes: int
    slices_bytes: int
    bound_s: float | None
    counted_s: float | None

    @property
    def needs(self) -> tuple[Need, ...]:
        """What lies where, as ``ct_use`` of the runtime lays it out."""
        board = self.board
        is_fast = self.scratch_bytes <= board.fast.size_bytes
        work = self.arena_bytes + self.slices_bytes + (0 if is_fast else self.scratch_bytes)
        return (
            Need("model, in each of two slots", board.slot, self.container_bytes),
            Need("arena and slices", board.work, work),
            *([Need("scratch", board.fast, self.scratch_bytes)] if is_fast else []),
        )

    @property
    def expected_s(self) -> float | None:
        """Seconds a slice: counted, or else the bound."""
        return self.counted_s or self.bound_s

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
            ("scratch", f"{self.scratch_bytes} bytes"),
            *((f"{need.what} ({need.memory.name})", str(need)) for need in self.needs),
        ]
        if self.bound_s is not None:
            rows.append(("lower bound of a slice", _pace(self.bound_s, "at peak rate")))
        if self.counted_s is not None:
            rows.append(("expected of a slice", _pace(self.counted_s, "counted, ideal memory")))
        if self.expected_s and self.board.watts:
            joules = self.expected_s * self.board.watts
            rows.append(
                ("energy a slice, about", f"{joules * 1e3:.1f} mJ at the data sheet's watts")
            )
        rows += [(f"push at {b} baud", f"{self.push_s(b):.1f} s") for b in self.board.baud_rates]
        return "\n".join(["| | |", "|---|---|", *(f"| {what} | {much} |" for what, much in rows)])


def _pace(seconds: float, how: str) -> str:
    return f"{seconds * 1e3:.1f} ms, {1 / seconds:.1f} slices a second, {how}"


def budget(model: QuantModel, plan: Plan, container_bytes: int, board: Board) -> Budget:
    """What ``model`` costs on ``board``."""
    macs = sum(model.macs(number) for number in range(len(model.layers)))
    rate = board.macs_per_second
    cycles = macs * board.cycles_per_mac / board.cores
    height, width = model.size
    planes = 4 + model.images[0].channels  # of 16 bits on their way in, bytes of the input, two MRs
    return Budget(
        board,
        macs,
        total_weight_bytes(model.layers),
        container_bytes,
        plan.arena_bytes,
        plan.bound_bytes,
        plan.scratch_bytes,
        height * width * planes,
        macs / rate if rate else None,
        cycles / board.clock_hz if cycles else None,
    )


def check_fits(cost: Budget, width: int) -> None:
    """Refuse a board one of whose memories is too small.

    Parameters
    ----------
    width : int
        Filters of the model.

    Raises
    ------
    FirmwareError
        Saying which, by how much, and about which width fits.
    """
    for need in cost.needs:
        if not need.is_met:
            has = need.memory.size_bytes
            raise FirmwareError(
                f"{cost.board.name} has {has} bytes of {need.memory.name} for {need.what}, and "
                f"{need.size_bytes} are needed: {need.size_bytes - has} too few; "
                f"{_narrower(width, has / need.size_bytes)} fit"
            )


def widest_for(cost: Budget, width: int, fps: float) -> str:
    """A sentence on whether ``fps`` can be met, and the widest model that could.

    Products grow with the square of the filters. Where cycles were counted, they decide.
    """
    if cost.expected_s is None or cost.bound_s is None:
        return f"how fast {cost.board.name} is, only a measurement says"
    wish, how = f"{fps:g} slices a second", "by counted cycles, ideal memory"
    if not cost.counted_s:
        how = "at its peak rate"
    if fps * cost.expected_s <= 1:
        return f"{wish} need {fps * cost.expected_s:.0%} of the time of {cost.board.name}, {how}"
    narrower = _narrower(width, 1 / (fps * cost.expected_s))
    if fps * cost.bound_s > 1:
        pace = f"are impossible on {cost.board.name}: {1 / cost.bound_s:.2f} at its peak rate"
    else:
        pace = f"are too many for {cost.board.name}: {1 / cost.expected_s:.2f} {how}"
    return f"{wish} {pace}; {narrower} could"


def _narrower(width: int, part: float) -> str:
    """The widest number of filters, a multiple of 4, for ``part`` of the cost."""
    narrower = int(width * part**0.5) // 4 * 4
    return f"{narrower} filters" if narrower >= 4 else "not even 4 filters"
