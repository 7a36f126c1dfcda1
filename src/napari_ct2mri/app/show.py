"""Results on stdout: tables on a terminal, the same tables as text elsewhere."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_ct2mri.app.workflows import Evaluated, Found, Info
    from napari_ct2mri.evaluation import Label, SetFigures
    from napari_ct2mri.firmware.boards import Board
    from napari_ct2mri.firmware.build import Built
    from napari_ct2mri.firmware.export import Exported
    from napari_ct2mri.pix2pix.checkpoint import TrainResult
    from napari_ct2mri.pix2pix.zoo import ModelCard

__all__ = [
    "as_json",
    "boards",
    "built",
    "evaluated",
    "exported",
    "in_viewer",
    "info",
    "models",
    "outputs",
    "trained",
]

_WIDE = 160  # characters, where no terminal says how many there are


def as_json(found: Info) -> None:
    """Print all that was found as JSON; no patient data is in it."""
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
        print(f"next: ct2mri build {result.folder} --board {board.name}")


def built(result: Built) -> None:
    """Print where the program is."""
    print(f"{result.program}: {result.size_bytes} bytes, for {result.board}")


def boards(known: Collection[Board]) -> None:
    """Print what there is to build for, and what that takes."""
    table(("board", "what it is", "reached by", "needs", "installed"), map(_board_row, known))
    for board in known:
        for tool in board.missing:
            print(f"{board.name} lacks {tool.program}: {tool.source}")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table."""
    import sys

    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    view = Table(*columns, box=SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        view.add_row(*row)
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


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _times(values: Sequence[float]) -> str:
    return " x ".join(f"{value:g}" for value in values)


def _list(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
