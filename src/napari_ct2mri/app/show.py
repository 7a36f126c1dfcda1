"""Results on stdout: tables on a terminal, the same tables as text elsewhere."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

    from napari_ct2mri.app.workflows import (
        Asked,
        BoardRun,
        BoardStats,
        Booted,
        Evaluated,
        Found,
        Info,
        PortState,
        RegisteredFile,
        Running,
    )
    from napari_ct2mri.evaluation import Label, SetFigures
    from napari_ct2mri.firmware.boards import Board
    from napari_ct2mri.firmware.build import Built
    from napari_ct2mri.firmware.export import Exported
    from napari_ct2mri.jobs import Event
    from napari_ct2mri.link.upload import Pushed
    from napari_ct2mri.pix2pix.checkpoint import TrainResult
    from napari_ct2mri.pix2pix.zoo import ModelCard

__all__ = [
    "as_json",
    "asked",
    "board_line",
    "board_stats",
    "board_view",
    "boards",
    "booted",
    "built",
    "evaluated",
    "exported",
    "in_viewer",
    "info",
    "models",
    "outputs",
    "ports",
    "pushed",
    "ran",
    "registered",
    "running",
    "trained",
]

_WIDE = 160  # characters, where no terminal says how many there are


def as_json(found: Info) -> None:
    """Print all that was found as JSON; of patients only names that a pair list gives them."""
    print(json.dumps(asdict(found), indent=2, default=str))


def info(found: Info) -> None:
    """Print series one below the other, pairs as a table."""
    for series in found.series:
        print("\n".join(_series_lines(series)))
    if found.pairs:
        rows = [(p.patient, p.contrast, p.split, str(p.rows)) for p in found.pairs]
        table(("patient", "contrast", "split", "pairs"), rows)


def outputs(paths: Sequence[Path]) -> None:
    """Print what was written: one file by its name, several by their folder and count."""
    folders = dict.fromkeys(path.parent for path in paths)
    if len(paths) == 1:
        print(paths[0])
    for folder in folders if len(paths) > 1 else ():
        print(f"{folder}: {sum(path.parent == folder for path in paths)} files")


def trained(result: TrainResult) -> None:
    """Print where the model is and how good it was on the selection patients."""
    figures = ", ".join(f"{name} {value:.4g}" for name, value in result.validation.items())
    print(f"{result.path}: epoch {result.epoch} of {result.epochs}")
    if figures:
        print(f"selection patients, in the head: {figures}")
    if result.stopped:
        print(f"stopped: {result.stopped}")


def registered(result: RegisteredFile) -> None:
    """Print where the MR is, how it was moved, and what makes that unsure."""
    found = result.registration
    print(f"{result.output}: {found.summary}")
    print(f"mutual information {found.before:.3f} before, {found.after:.3f} after")
    for doubt in found.doubts:
        print(f"unsure: {doubt}")


def evaluated(result: Evaluated) -> None:
    """Print a table for each contrast and label: a figure a row, a predictor a column."""
    from napari_ct2mri.evaluation import MEANING, TITLES

    cells = result.report.table().rows
    blocks: dict[tuple[str, Label], list[tuple[SetFigures, tuple[str, ...]]]] = {}
    for row, texts in zip(result.report.sets, cells, strict=True):
        blocks.setdefault((row.contrast, row.label), []).append((row, texts[-len(TITLES) :]))
    for (contrast, label), block in blocks.items():
        first = block[0][0]
        data_range = f"{first.data_range:g}" if first.data_range else "mixed"
        print(
            f"{contrast}, {label}: {_count(first.patients, 'patient')}, "
            f"{_count(first.slices, 'slice')}, data range {data_range}; {MEANING[label]}"
        )
        columns = ("mean over patients", *(row.predictor for row, _ in block))
        table(columns, zip(TITLES.values(), *(texts for _, texts in block), strict=True))
    outputs(result.files)


def in_viewer(files: Sequence[Path], picture: Path) -> None:
    """Open files in the viewer, or say where its picture is, or what is missing for it."""
    from napari_ct2mri.app.viewer import has_display, open_viewer, take_picture
    from napari_ct2mri.errors import JobError

    try:
        if has_display():
            print("opening the viewer; close its window to end")
            return open_viewer(files)
    except JobError as error:
        print(error)
    try:
        take_picture(files, picture)
        print(f"{picture}: the viewer with the result, as there is no display")
    except JobError as error:
        print(error)


def models(cards: Iterable[ModelCard]) -> None:
    """Print the released models."""
    rows = [
        (card.name, ", ".join(card.contrasts), f"{card.size_bytes / 1e6:.1f} MB", card.summary)
        for card in cards
    ]
    table(("name", "contrasts", "size", "what it is"), rows)


def exported(result: Exported) -> None:
    """Print the arena, the budget, and what to do next."""
    print(result.plan.table())
    print(result.budget.table())
    print(f"{result.container}: SHA-256 {result.digest}")
    board = result.budget.board
    if board.needs:
        print(f"next: ct2mri build {_quoted(result.folder)} --board {board.name}")


def built(result: Built) -> None:
    """Print where the program is, and how it comes to run."""
    from napari_ct2mri.firmware.simulate import SIMULATED

    print(f"{result.program}: {result.size_bytes} bytes, for {result.board}")
    folder = result.program.parents[2]
    if result.board in SIMULATED:
        print(f"next: ct2mri board --board {result.board} --project {_quoted(folder)}")
    else:
        print(f"next: ct2mri boot {_quoted(folder)} --port PORT")


def boards(known: Collection[Board]) -> None:
    """Print what there is to build for, and what that takes."""
    table(("board", "what it is", "reached by", "needs", "installed"), map(_board_row, known))
    for board in known:
        for tool in board.missing:
            print(f"{board.name} lacks {tool.program}: {tool.source}")


def running(board: Running) -> None:
    """Print the port alone on the first line, at once, for scripts; then what to do with it."""
    import sys

    print(board.port, flush=True)
    print(
        f"{board.board} is running; its models are kept in {board.store}\n"
        f"next: ct2mri push DIR --port {_quoted(board.port)}    Ctrl-C here ends it",
        file=sys.stderr,
        flush=True,
    )


def ports(found: Collection[PortState]) -> None:
    """Print what ``--port`` takes, or what to do where there is nothing."""
    if not found:
        return print(
            "nothing is plugged in, and no simulated board runs. Plug a board in and look again, "
            "or start one: ct2mri board --board host"
        )
    rows = []
    for each in found:
        state = each.obstacle.what if each.obstacle else "free"
        rows.append((each.port, each.board or "?", each.title, state))
    table(("port", "likely board", "what it is", "state"), rows)
    for each in found:
        if each.obstacle:
            print(f"{each.port}: {each.obstacle}")


def asked(result: Asked) -> None:
    """Print what a board says of itself."""
    from napari_ct2mri.link.messages import reason

    hello, model = result.hello, result.model
    rates = ", ".join(map(str, hello.rates)) or "none to set"
    rows = [
        ("board", hello.board),
        ("firmware", f"protocol {hello.protocol}, ABI {hello.abi}"),
        ("one of two model slots", f"{hello.slot} bytes"),
        ("arena and scratch", f"{hello.memory} bytes"),
        ("rates", f"{rates} bit/s" if hello.rates else rates),
    ]
    if model is None:
        rows.append(("model", reason(hello.status)))
    else:
        height, width = model.size
        rows += [
            ("model", f"{model.name}, {model.contrast}, {height} x {width} pixels"),
            ("container", f"{hello.size} bytes, SHA-256 {model.digest}"),
        ]
    table(("", ""), rows)


def booted(result: Booted, port: str) -> None:
    """Print that the program runs, and what to do next."""
    print(f"{result.hello.board} runs {result.program}: {result.image_bytes} bytes loaded")
    print(f"next: ct2mri push DIR --port {_quoted(port)}")


def pushed(result: Pushed) -> None:
    """Print what was sent and what was there."""
    golden = f"equal, {result.golden_us / 1e3:.1f} ms"
    if result.was_there:
        print(f"{result.board} has this model already, in slot {result.slot}; nothing was sent")
        print(f"golden pair {golden}")
    else:
        parts = [f"{result.written} of {_count(result.blocks, 'block')} sent"]
        if result.copied:
            parts.append(f"{result.copied} copied from the model before")
        if result.kept:
            parts.append(f"{result.kept} there already")
        print(
            f"{result.board}: {', '.join(parts)}; {result.sent_bytes} bytes on the line in "
            f"{result.seconds:.1f} s, {_count(result.resent, 'frame')} again"
        )
        print(f"committed in slot {result.slot}; golden pair {golden}")


def ran(result: BoardRun) -> None:
    """Print what was written, and what the board did for it."""
    rate = f": {result.slices / result.seconds:.1f} a second" if result.seconds > 0 else ""
    print(
        f"{result.model} on {result.board}: {_count(result.slices, 'slice')} in "
        f"{result.seconds:.1f} s{rate}; computing {result.slice_us / 1e3:.1f} ms each, "
        f"{result.sent_bytes} bytes out, {result.received_bytes} in"
    )
    outputs(result.outputs)


def board_stats(stats: BoardStats) -> None:
    """Print how a board does."""
    _print_view(board_view(stats))


def board_line(event: Event) -> str:
    """How a board does, in a line; empty for other events; a notice goes to stderr."""
    from napari_ct2mri.app.workflows import BoardStats

    _note(event)
    if not isinstance(event, BoardStats):
        return ""
    slowest = max(event.layers, key=lambda layer: layer[1], default=("no layer", 0))
    return f"{_board_sentence(event)}; slowest {slowest[0]} {slowest[1] / 1e3:.3f} ms"


def board_view(event: Event) -> RenderableType | None:
    """How a board does, as a table of its layers under two lines; ``None`` for other events.

    A notice goes to stderr.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from napari_ct2mri.app.workflows import BoardStats

    _note(event)
    if not isinstance(event, BoardStats):
        return None
    view = Table("layer", "ms", "share", box=SIMPLE_HEAD, pad_edge=False)
    total_us = max(1, sum(us for _, us in event.layers))
    for name, us in event.layers:
        view.add_row(name, f"{us / 1e3:.3f}", f"{us / total_us:.0%}")
    head = f"{event.model} on {event.board}, {event.slices} slices of a simulated head"
    return Group(Text(head), Text(_board_sentence(event)), view)


def _note(event: Event) -> None:
    import sys

    from napari_ct2mri.jobs import Notice

    if isinstance(event, Notice):
        print(f"note: {event.text}", file=sys.stderr, flush=True)


def _board_sentence(stats: BoardStats) -> str:
    use = "no rate" if stats.use is None else f"{stats.use:.0%} of {stats.baud} bit/s"
    return (
        f"{stats.fps:.1f} slices a second, computing {stats.slice_us / 1e3:.1f} ms, latency "
        f"{stats.latency_s * 1e3:.0f} ms; line {stats.sent_rate / 1e3:.1f} kB/s out, "
        f"{stats.received_rate / 1e3:.1f} in ({use}); {stats.dropped} frames dropped, "
        f"{stats.overrun} overruns"
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    view = Table(*columns, box=SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        view.add_row(*row)
    _print_view(view)


def _print_view(view: RenderableType | None) -> None:
    import sys

    from rich.console import Console

    width = None if sys.stdout.isatty() else _WIDE
    Console(width=width, markup=False, highlight=False).print(view)


def _board_row(board: Board) -> tuple[str, ...]:
    tools = (*board.needs, *board.runs_with)
    if not tools:
        return board.name, board.title, "-", "-", "-"
    return (
        board.name,
        board.title,
        board.reached_by,
        ", ".join(tool.program for tool in tools),
        "no" if board.missing else "yes",
    )


def _series_lines(found: Found) -> list[str]:
    """One series as a person reads it."""
    lines = [f"({found.number}) {found.kind} {found.modality}: {found.description}"]
    if found.uid:
        lines.append(f"    series    {found.uid}")
    lines.append(f"    files     {found.files}")
    if found.shape:
        lines.append(f"    size      {_times(found.shape)} (z, y, x)")
    if found.geometry:
        lines += [
            f"    spacing   {_times(found.geometry.spacing)} mm",
            f"    origin    {_list(found.geometry.origin)} mm (x, y, z; LPS)",
            f"    direction {_list(found.geometry.direction)}",
        ]
    if found.values:
        low, high = found.values
        lines.append(f"    values    {low:g} to {high:g} {found.unit}")
    return lines + [f"    note      {problem}" for problem in found.problems]


def _quoted(word: object) -> str:
    """As a shell takes it."""
    return shlex.quote(str(word))


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _times(values: Sequence[float]) -> str:
    return " x ".join(f"{value:g}" for value in values)


def _list(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
