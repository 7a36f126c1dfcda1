"""What a model costs on a board, before anything is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from napari_ct2mri.errors import FirmwareError
from napari_ct2mri.firmware.arena import Plan, total_weight_bytes
from napari_ct2mri.firmware.boards import Board, Memory
from napari_ct2mri.firmware.model import QuantModel

__all__ = ["Budget", "Need", "budget", "check_fits", "widest_for"]

_MOST_FILTERS = 128  # that a generator may have
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
    width : int
        Filters of the model.
    macs : int
        Products a slice.
    """

    board: Board
    width: int
    size: tuple[int, int]
    macs: int
    weight_bytes: int
    container_bytes: int
    arena_bytes: int
    bound_bytes: int
    scratch_bytes: int
    slices_bytes: int

    @property
    def bound_s(self) -> float | None:
        """Seconds a slice if every cycle did all products it can; none is faster. None: unknown."""
        rate = self.board.macs_per_second
        return self.macs / rate if rate else None

    @property
    def counted_s(self) -> float | None:
        """Seconds of the cycles that our code takes under ideal memory; None: nobody counted.

        Caches that miss come on top.
        """
        cycles = self.macs * self.board.cycles_for(self.width) / self.board.cores
        return cycles / self.board.clock_hz if cycles else None

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

    def at_width(self, width: int) -> Budget:
        """About what the same network would cost with another number of filters.

        Products and weights grow with its square, images with it, tables and slices not at all.
        """
        ratio = width / self.width
        weights = round(self.weight_bytes * ratio**2)
        return replace(
            self,
            width=width,
            macs=round(self.macs * ratio**2),
            weight_bytes=weights,
            container_bytes=self.container_bytes - self.weight_bytes + weights,
            arena_bytes=round(self.arena_bytes * ratio),
            bound_bytes=round(self.bound_bytes * ratio),
        )

    def line_fps(self, baud_rate: int) -> float:
        """Slices a second that the line carries as plain bytes, one way; both ways at once."""
        height, width = self.size
        return baud_rate / (height * width * _BITS_A_BYTE)

    def push_s(self, baud_rate: int) -> float:
        """Seconds to send the whole container, 8N1, without protocol."""
        return self.container_bytes * _BITS_A_BYTE / baud_rate

    def rows(self) -> tuple[tuple[str, str], ...]:
        """All of it: what, and how much, in words."""
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
            rows.append(("expected of a slice", _pace(self.counted_s, self._how())))
        if self.expected_s and self.board.watts:
            joules = self.expected_s * self.board.watts
            rows.append(
                ("energy a slice, about", f"{joules * 1e3:.1f} mJ at the data sheet's watts")
            )
        for baud in self.board.baud_rates:
            rows.append((f"push at {baud} baud", f"{self.push_s(baud):.1f} s"))
            rows.append(
                (
                    f"slices a second over {baud} baud",
                    f"{self.line_fps(baud):.1f} uncompressed, 2 to 5 times as many compressed",
                )
            )
        return tuple(rows)

    def table(self) -> str:
        """All of it as a table in Markdown."""
        lines = (f"| {what} | {much} |" for what, much in self.rows())
        return "\n".join(["| | |", "|---|---|", *lines])

    def summary(self) -> str:
        """The gist: bytes to push, and time or work of a slice."""
        if self.expected_s is None:
            pace = f"{self.macs / 1e6:.0f} M products a slice"
        else:
            pace = f"{self.expected_s * 1e3:.0f} ms a slice"
        return f"{self.container_bytes / 1e6:.1f} MB, {pace}"

    def _how(self) -> str:
        is_counted = self.width in dict(self.board.cycles_per_mac)
        return ("counted" if is_counted else "from counts at other widths") + ", ideal memory"


def _pace(seconds: float, how: str) -> str:
    return f"{seconds * 1e3:.1f} ms, {1 / seconds:.1f} slices a second, {how}"


def budget(model: QuantModel, plan: Plan, container_bytes: int, board: Board) -> Budget:
    """What ``model`` costs on ``board``."""
    height, width = model.size
    planes = 4 + model.images[0].channels  # of 16 bits on their way in, bytes of the input, two MRs
    return Budget(
        board,
        model.images[1].channels,
        model.size,
        sum(model.macs(number) for number in range(len(model.layers))),
        total_weight_bytes(model.layers),
        container_bytes,
        plan.arena_bytes,
        plan.bound_bytes,
        plan.scratch_bytes,
        height * width * planes,
    )


def check_fits(cost: Budget) -> None:
    """Refuse a board one of whose memories is too small.

    Raises
    ------
    FirmwareError
        Saying which, by how much, and which width fits.
    """
    for need in cost.needs:
        if not need.is_met:
            has = need.memory.size_bytes
            fits = _widest(cost, lambda other: all(each.is_met for each in other.needs))
            raise FirmwareError(
                f"{cost.board.name} has {has} bytes of {need.memory.name} for {need.what}, and "
                f"{need.size_bytes} are needed: {need.size_bytes - has} too few; {fits} fit"
            )


def widest_for(cost: Budget, fps: float) -> str:
    """A sentence on whether ``fps`` can be met, and the widest model that could.

    Where cycles were counted, they decide.
    """
    if cost.expected_s is None or cost.bound_s is None:
        return f"how fast {cost.board.name} is, only a measurement says"
    how = f"as {cost._how()}" if cost.counted_s else "at its peak rate"
    wish, name = f"{fps:g} slices a second", cost.board.name
    widest = _widest(cost, lambda other: fps * (other.expected_s or 0) <= 1)
    if fps * cost.expected_s <= 1:
        share = f"{fps * cost.expected_s:.0%} of the time of {name}, {how}"
        return f"{wish} need {share}; up to {widest} could"
    if fps * cost.bound_s > 1:
        pace = f"are impossible on {name}: {1 / cost.bound_s:.2f} at its peak rate"
    else:
        pace = f"are too many for {name}: {1 / cost.expected_s:.2f} {how}"
    return f"{wish} {pace}; {widest} could"


def _widest(cost: Budget, suits: Callable[[Budget], bool]) -> str:
    """The most filters, a multiple of 4, at which the network suits."""
    widths = [w for w in range(4, _MOST_FILTERS + 1, 4) if suits(cost.at_width(w))]
    return f"{widths[-1]} filters" if widths else "not even 4 filters"
