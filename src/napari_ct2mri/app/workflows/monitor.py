"""``monitor``: how fast a board is, layer by layer, and what its line carries.

One program at a time can have a port, so the board is given work: slices of a simulated head, again
and again, as a viewer that scrolls would send them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING

from napari_ct2mri.app.workflows.board_grid import BoardModel, Grid, read_model
from napari_ct2mri.app.workflows.board_line import BoardLine
from napari_ct2mri.jobs import Event, Job, Notice, Progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_ct2mri.imaging.volume import Volume
    from napari_ct2mri.link.connection import Connection
    from napari_ct2mri.link.live import Answer, Runner

__all__ = ["BoardStats", "monitor"]

_POLL_S = 0.1
_BITS_A_BYTE = 10  # 8N1: start, eight, stop
_HEAD_SLICES = 9


@dataclass(frozen=True, slots=True)
class BoardStats(Event):
    """What a board did in the last second or so.

    Attributes
    ----------
    slices : int
        That came back.
    fps : float
        Slices a second.
    slice_us, latency_s : float
        Means: computing on the board; from the first byte out to the last in, waiting included.
    sent_rate, received_rate : float
        Bytes a second on the line, frames and all.
    use : float or None
        Of the fuller direction, 0..1; ``None`` where the line has no rate.
    dropped, overrun : int
        Since the start: frames that failed their check on either side; bytes the board's UART lost.
    layers : tuple of (str, int)
        Name and microseconds of each layer in the last slice.
    """

    board: str
    model: str
    baud: int | None
    slices: int
    fps: float
    slice_us: float
    latency_s: float
    sent_rate: float
    received_rate: float
    use: float | None
    dropped: int
    overrun: int
    layers: tuple[tuple[str, int], ...]


def monitor(
    port: str,
    *,
    baud: int | None = None,
    board: str | None = None,
    once: bool = False,
    every_s: float = 1.0,
) -> Job[BoardStats]:
    """Keep a board busy with a simulated head and say every ``every_s`` seconds how it does.

    Parameters
    ----------
    board : str, optional
        The only board that is welcome.
    once : bool
        End after the first :class:`BoardStats`; otherwise never.

    Raises
    ------
    LinkError
        If the board cannot be reached, has no model, or goes away.
    """
    from napari_ct2mri.link.live import Runner

    with BoardLine(port, baud, board).connect() as connection:
        yield from map(Notice, connection.notes)
        model = read_model(connection)
        yield Progress(0, 1, "heads simulated")
        grid = Grid(*_head(model))
        runner = Runner(connection)
        connection.stats()  # from here on it counts layers
        order = cycle(range(grid.depth))
        while True:
            stats = yield from _measure(connection, runner, grid, order, every_s)
            yield stats
            if once:
                return stats


def _head(model: BoardModel) -> tuple[Volume, BoardModel]:
    """Nobody's CT, about as wide as the model's frame."""
    from napari_ct2mri.imaging.phantom import phantom

    height, width = model.size
    pixel_mm = 240 / min(height, width)
    shape = (_HEAD_SLICES, height, width)
    return phantom(0, shape=shape, spacing=(10.0, pixel_mm, pixel_mm)).ct, model


def _measure(
    connection: Connection, runner: Runner, grid: Grid, order: Iterator[int], every_s: float
) -> Job[BoardStats]:
    """Slices for ``every_s``, at least two, until the last has come back."""
    session, line = connection.session, connection.line
    before = session.sent_bytes, session.received_bytes
    answers: list[Answer] = []
    start = first = last = time.monotonic()
    while (is_on := _is_on(start + every_s, answers, runner)) or runner.unanswered:
        if is_on and not runner.waiting:
            runner.submit(grid.planes(next(order)))
        answer = runner.poll(_POLL_S)
        if answer is not None:
            answers.append(answer)
            last = time.monotonic()
            first = last if len(answers) == 1 else first
        yield Progress(0, 1, "slices measured")
    taken_s = last - start
    rates = [
        (now - then) / taken_s
        for now, then in zip((session.sent_bytes, session.received_bytes), before, strict=True)
    ]
    baud = line.baud if connection.hello.rates else None
    stats = connection.stats()
    return BoardStats(
        connection.hello.board, grid.model.name, baud, len(answers),
        (len(answers) - 1) / max(last - first, 1e-6),
        sum(answer.microseconds for answer in answers) / len(answers),
        sum(answer.latency_s for answer in answers) / len(answers),
        rates[0], rates[1],
        None if baud is None else max(rates) * _BITS_A_BYTE / baud,
        stats.dropped + session.dropped, stats.overrun, _named(stats.layers_us),
    )  # fmt: skip


def _is_on(end: float, answers: Sequence[Answer], runner: Runner) -> bool:
    """Whether more is to be sent: until the time is over, and at least two slices."""
    return time.monotonic() < end or len(answers) + runner.unanswered < 2


def _named(layers_us: tuple[int, ...]) -> tuple[tuple[str, int], ...]:
    """A generator goes down to its middle, and up again; another network's layers get numbers."""
    half, is_odd = divmod(len(layers_us), 2)
    if is_odd:
        return tuple((f"layer {i}", us) for i, us in enumerate(layers_us))
    names = [f"down.{i}" for i in range(half)] + [f"up.{i}" for i in reversed(range(half))]
    return tuple(zip(names, layers_us, strict=True))
