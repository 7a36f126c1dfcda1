"""How much of the line a push and live slices use, through a meter that is a line.

    python benchmarks/link.py PROJECT --slices PAIRS.csv [--baud 115200 921600 2000000]
                              [--latency 0 16] [--seconds 20] [--count 60] [--port PORT]

PROJECT is what ``export`` wrote and ``build`` compiled. For every rate and latency a new host board
is started (or the board at PORT is taken, whose model is then replaced), and between it and this
program stands the meter: a process of its own between two pseudo-terminals that lets through
no more than the rate, in each direction, holds at most 4 KiB a direction, and lets every byte wait
for the latency, as USB adapters do. Then

- push: the whole container, or ``--seconds`` of it where that takes longer (its name then says so);
- a queue: ``--count`` CT pictures, all known beforehand, their MR back; the share of the line in
  the fuller direction;
- live mode (``workflows.Live``, as the viewer's panel has it): a simulated head of 34 slices of
  512 x 512 in HU, scrolled through; the next slice is asked for when the last has come (one in the
  air), or while one is still on its way (two), with neighbours sent ahead or without. With
  ``--ct FILE`` that CT instead.

At the end, at the highest rate: the model with the weights of one layer changed, each layer in
turn, against its changed blocks of 4 KiB.

A share of the line is bytes on the wire, frames and all, over what the rate allows in that time;
"content" is without frames. Where the machine took the processor away from the meter for longer
than its buffer bridges, a line would have gone on: those seconds, "away", are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import select
import statistics
import subprocess
import sys
import time
import tty
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from napari_ct2mri.imaging.volume import Volume

BUFFER = 4096  # bytes a direction, what waits for the latency included
STEP_S = 0.001
BITS = 10  # 8N1
RUN_OUT = 4  # slices on their way
LIVE = ((1, False), (1, True), (2, False), (2, True))  # in the air, neighbours ahead
LIVE_BAUD = 921600  # below, a slice takes seconds and nothing is sent ahead


class Wire:
    """One direction: reads no faster than the rate, writes what has waited for the latency."""

    def __init__(self, source: int, target: int, baud: int, latency_s: float) -> None:
        self.source, self.target = source, target
        self.byte_s, self.latency_s = BITS / baud, latency_s
        self.held: deque[tuple[float, bytes]] = deque()
        self.held_bytes = self.carried = 0
        self.free_at = 0.0  # when the last byte has gone in
        self.is_busy = False

    def take(self, now: float, is_readable: bool) -> None:
        """Let in what the time allows; a wire that was busy has not stood still meanwhile."""
        if not is_readable:
            self.is_busy = self.is_busy and now < self.free_at
            return
        since = max(self.free_at, now - BUFFER * self.byte_s if self.is_busy else now - STEP_S)
        room = min(int((now - since) / self.byte_s), BUFFER - self.held_bytes)
        if room <= 0:
            return
        data = os.read(self.source, room)
        self.free_at = since + len(data) * self.byte_s
        self.is_busy = True
        self.held.append((max(now, self.free_at) + self.latency_s, data))
        self.held_bytes += len(data)

    def give(self, now: float) -> None:
        """Let out what has waited long enough, as far as it is taken."""
        while self.held and self.held[0][0] <= now:
            at, data = self.held.popleft()
            try:
                size = os.write(self.target, data)
            except BlockingIOError:
                size = 0
            self.held_bytes -= size
            self.carried += size
            if size < len(data):
                self.held.appendleft((at, data[size:]))
                return


def meter(port: str, baud: int, latency_s: float) -> None:
    """The process: prints its port, and its counts for each line that it is sent."""
    board = os.open(port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    host, ours = pty.openpty()
    for terminal in (board, ours):
        tty.setraw(terminal)
    os.set_blocking(host, False)
    print(os.ttyname(ours), flush=True)
    up, down = Wire(host, board, baud, latency_s), Wire(board, host, baud, latency_s)
    last, away = time.monotonic(), 0.0
    while True:
        readable, _, _ = select.select([host, board, sys.stdin], [], [], STEP_S)
        now = time.monotonic()
        away += max(0.0, now - last - BUFFER * up.byte_s)
        last = now
        up.take(now, host in readable)
        down.take(now, board in readable)
        up.give(now)
        down.give(now)
        if sys.stdin in readable:
            if not sys.stdin.readline():
                return
            print(json.dumps([now, up.carried, down.carried, away]), flush=True)
        if up.held or down.held or up.is_busy or down.is_busy:
            time.sleep(STEP_S / 2)  # a few bytes at a time would only cost


@dataclass(frozen=True)
class Count:
    """What the meter has seen so far."""

    at: float
    up: int
    down: int
    away: float


class Metered:
    """The meter's process, and the port that it offers."""

    def __init__(self, port: str, baud: int, latency_s: float) -> None:
        self.baud = baud
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--meter", port, str(baud), str(latency_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = self._process.stdout.readline().strip()

    def count(self) -> Count:
        """Ask it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return Count(*json.loads(self._process.stdout.readline()))

    def share(self, first: Count, last: Count, size: float) -> float:
        """Of the line in that time, that ``size`` bytes are."""
        seconds = last.at - first.at - (last.away - first.away)
        return size * BITS / self.baud / seconds

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


@contextmanager
def metered(port: str, baud: int, latency_s: float) -> Iterator[Metered]:
    line = Metered(port, baud, latency_s)
    try:
        yield line
    finally:
        line.close()


def tuned(container: bytes) -> Iterator[tuple[int, bytes]]:
    """For each layer the same model with that one's weights changed, and its golden pair."""
    from napari_ct2mri.firmware.container import pack, unpack
    from napari_ct2mri.firmware.reference import run

    whole = unpack(container)
    for number, layer in enumerate(whole.model.layers):
        layers = list(whole.model.layers)
        layers[number] = replace(layer, weights=np.roll(layer.weights, 1, axis=-1))
        model = replace(whole.model, layers=tuple(layers))
        golden = (whole.golden[0], run(model, whole.golden[0]))
        yield number, pack(replace(whole, model=model, golden=golden))


def push(line: Metered, container: bytes, most_s: float) -> tuple[str, bool]:
    """Push for at most ``most_s``: a row of the table, and whether it came to its end."""
    from napari_ct2mri.errors import JobCancelled
    from napari_ct2mri.jobs import Event, Progress, run_job
    from napari_ct2mri.link import connect, push_model

    seen: list[tuple[Count, int]] = []
    start = time.monotonic()

    def watch(event: Event) -> None:
        if isinstance(event, Progress) and event.what == "bytes" and event.done:
            seen.append((line.count(), event.done))

    name, is_whole = f"push, {len(container)} bytes", True
    try:
        job = push_model(lambda: connect(line.port), container)
        run_job(job, watch, lambda: time.monotonic() - start > most_s)
    except JobCancelled:
        name, is_whole = f"push, first {seen[-1][1]} of {len(container)} bytes", False
    (first, done), (last, end) = seen[0], seen[-1]
    wire, content = line.share(first, last, last.up - first.up), line.share(first, last, end - done)
    return f"{name} | {wire:.1%} | {content:.1%} | {last.away - first.away:.2f} s", is_whole


def push_tuned(line: Metered, old: bytes, new: bytes) -> tuple[str, float]:
    """A row of the table of layers, and the share of bytes sent beside the changed blocks."""
    from napari_ct2mri.jobs import run_job
    from napari_ct2mri.link import connect, push_model

    blocks = [at for at in range(0, len(new), 4096) if old[at : at + 4096] != new[at : at + 4096]]
    changed = sum(len(new[at : at + 4096]) for at in blocks)
    before = line.count()
    run_job(push_model(lambda: connect(line.port), new), lambda event: None)
    sent = line.count().up - before.up
    more = sent / changed - 1
    return f"{len(blocks)} of {-(-len(new) // 4096)} | {changed} | {sent} | {more:+.2%}", more


def queue(line: Metered, planes: list[list[NDArray]]) -> str:
    """All slices; measured from the second answer until nothing is left to send."""
    from napari_ct2mri.link import Runner, connect

    with connect(line.port) as connection:
        answers, counts = [], []
        for answer in Runner(connection).run(planes):
            answers.append(answer)
            counts.append(line.count())
        first, last = counts[1], counts[-1 - RUN_OUT]
        up = line.share(first, last, last.up - first.up)
        down = line.share(first, last, last.down - first.down)
        mine = answers[2:-RUN_OUT]
        content = max(sum(a.sent_bytes for a in mine), sum(a.received_bytes for a in mine))
        fps = len(mine) / (last.at - first.at)
        latency = statistics.median(a.latency_s for a in mine)
        computed = statistics.median(a.microseconds for a in mine)
    return (
        f"queue, {len(mine)} slices, {fps:.1f} FPS, latency {latency * 1e3:.0f} ms, computed in "
        f"{computed / 1e3:.0f} ms | {up:.1%} up, {down:.1%} down | "
        f"{line.share(first, last, content):.1%} | {last.away - first.away:.2f} s"
    )


def live(line: Metered, ct: Volume, in_the_air: int, look_ahead: bool) -> str:
    """Scroll through a CT; measured from the first answer to the last, waits from asking on."""
    from napari_ct2mri.app.workflows import Live

    asked_at: dict[int, float] = {}
    waits, counts = [], []
    with Live(line.port, look_ahead=look_ahead) as board:
        depth = board.show(ct).depth
        while len(waits) < depth:
            if (k := len(asked_at)) < depth and k - len(waits) < in_the_air:
                asked_at[k] = time.monotonic()
                board.ask(k)
            if (made := board.poll(0.01)) is not None:
                waits.append(time.monotonic() - asked_at[made.k])
                counts.append(line.count())
    first, last = counts[0], counts[-1]
    fps = (depth - 1) / (last.at - first.at)
    up, down = (
        line.share(first, last, getattr(last, way) - getattr(first, way)) for way in ("up", "down")
    )
    ahead = "neighbours ahead" if look_ahead else "nothing ahead"
    return (
        f"live mode, {in_the_air} in the air, {ahead}: {fps:.1f} FPS, wait "
        f"{statistics.median(waits) * 1e3:.0f} ms | {up:.1%} up, {down:.1%} down | | "
        f"{last.away - first.away:.2f} s"
    )


def head(path: Path | None) -> Volume:
    """The CT to scroll through: a file's, or nobody's."""
    from napari_ct2mri.imaging.io import read_volume
    from napari_ct2mri.imaging.phantom import phantom

    if path is not None:
        return read_volume(path)
    return phantom(0, shape=(34, 512, 512), spacing=(5.0, 0.45, 0.45)).ct


def slices(pairs: Path, count: int, side: int, planes: int) -> list[list[NDArray]]:
    """CT pictures of the list, in the frame of a model, as often as needed."""
    from napari_ct2mri.imaging.area import area_mean
    from napari_ct2mri.imaging.pictures import read_pictures
    from napari_ct2mri.pix2pix.pairs import read_pairs

    files = list(dict.fromkeys(row.ct for row in read_pairs(pairs).rows))
    step = max(1, len(files) // count)
    pictures = []
    for file in (files * (count * step // len(files) + 1))[: count * step : step]:
        picture = read_pictures([file])[0]
        if picture.shape != (side, side):
            picture = np.rint(area_mean(picture, (side, side))).astype(np.uint8)
        pictures.append(picture)
    return [[picture] * planes for picture in pictures]


def dsp(project: Path) -> str:
    """What a C6748 would do, by its budget."""
    from napari_ct2mri.firmware.boards import find_board
    from napari_ct2mri.firmware.budget import budget
    from napari_ct2mri.firmware.container import unpack

    data = (project / "model.ctm").read_bytes()
    whole = unpack(data)
    cost = budget(whole.model, whole.plan, len(data), find_board("c6748-lcdk"))
    assert cost.bound_s is not None
    expected = "" if cost.counted_s is None else f", {cost.counted_s * 1e3:.0f} ms as counted"
    return (
        f"A C6748, by its budget and never measured: a slice of {cost.macs / 1e6:.0f} M products "
        f"takes {cost.bound_s * 1e3:.0f} ms at its peak rate{expected}."
    )


def measure(asked: argparse.Namespace, baud: int, latency_ms: float) -> None:
    from napari_ct2mri.firmware.container import unpack

    container = (asked.project / "model.ctm").read_bytes()
    first = unpack(container).model.images[0]
    with board_of(asked) as port:
        prefix = f"| {baud} | {latency_ms:g} ms |"
        with metered(port, baud, latency_ms / 1000) as line:
            row, is_whole = push(line, container, asked.seconds)
            print(prefix, row, "|", flush=True)
        if not is_whole:  # the rest without a meter, so that there is a model to run
            fill(port, container)
        with metered(port, baud, latency_ms / 1000) as line:
            given = slices(asked.slices, asked.count, first.height, first.channels)
            print(prefix, queue(line, given), "|", flush=True)
            for how in LIVE if baud >= LIVE_BAUD else ():
                print(prefix, live(line, asked.head, *how), "|", flush=True)


def measure_layers(asked: argparse.Namespace, baud: int) -> None:
    """Each layer's change over the same model; bytes do not depend on rate and latency."""
    container = (asked.project / "model.ctm").read_bytes()
    print("\n| layer | changed blocks | their bytes | sent | more |\n|--:|--:|--:|--:|--:|")
    worst = 0.0
    with board_of(asked) as port:
        for number, new in tuned(container):
            fill(port, container)
            with metered(port, baud, 0.0) as line:
                row, more = push_tuned(line, container, new)
            print(f"| {number} | {row} |", flush=True)
            worst = max(worst, more)
    print(f"\nOne layer changed: at worst {worst:+.2%}.")


@contextmanager
def board_of(asked: argparse.Namespace) -> Iterator[str]:
    """The port of a board: that which runs, or a new one on this host."""
    from napari_ct2mri.firmware.simulate import start_board

    if asked.port:
        yield asked.port
        return
    with TemporaryDirectory() as store, start_board(asked.project, "host", Path(store)) as port:
        yield port


def fill(port: str, container: bytes) -> None:
    from napari_ct2mri.jobs import run_job
    from napari_ct2mri.link import connect, push_model

    run_job(push_model(lambda: connect(port), container), lambda event: None)


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["--meter"]:
        meter(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", type=Path)
    parser.add_argument("--slices", type=Path, required=True)
    parser.add_argument("--baud", type=int, nargs="+", default=[115200, 921600, 2_000_000])
    parser.add_argument("--latency", type=float, nargs="+", default=[0, 16], help="ms each way")
    parser.add_argument("--seconds", type=float, default=20, help="of a push, at most")
    parser.add_argument("--count", type=int, default=60, help="slices")
    parser.add_argument("--ct", type=Path, help="for live mode; default: a simulated head")
    parser.add_argument("--port", help="of a board that runs; default: a host board is started")
    asked = parser.parse_args()
    asked.head = head(asked.ct)
    print("| baud | latency | what | wire | content | away |\n|--:|--:|---|---|---|---|")
    for baud in asked.baud:
        for latency_ms in asked.latency:
            measure(asked, baud, latency_ms)
    measure_layers(asked, max(asked.baud))
    print(f"\n{dsp(asked.project)}")


if __name__ == "__main__":
    main()
