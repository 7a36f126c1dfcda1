"""``run``: what ``synthesize`` does on this machine, on a board."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from napari_ct2mri.app.workflows.board_grid import BoardModel, Grid, read_model
from napari_ct2mri.app.workflows.board_line import BoardLine
from napari_ct2mri.app.workflows.files import (
    check_choice,
    is_pair_list,
    pair_stacks,
    single_stack,
)
from napari_ct2mri.app.workflows.manifest import Run, read_manifest, record
from napari_ct2mri.app.workflows.synthesis import as_ct, makeable
from napari_ct2mri.imaging.volume import Modality, Volume
from napari_ct2mri.jobs import Job, Kept, Notice, Progress, SlicesDone

if TYPE_CHECKING:
    from napari_ct2mri.app.workflows.files import Stack
    from napari_ct2mri.link.live import Runner

__all__ = ["BoardRun", "run"]

_POLL_S = 0.1
_AHEAD = 2  # slices that wait while others are on the line


@dataclass(frozen=True, slots=True)
class BoardRun:
    """The files that ``run`` wrote, and what the board did for them.

    Attributes
    ----------
    slice_us : float
        Mean microseconds that the board computed a slice.
    seconds : float
        From the first slice to the last, reading and writing of files left out.
    sent_bytes, received_bytes : int
        Over the line, frames and all.
    """

    outputs: tuple[Path, ...]
    manifest: Path
    board: str
    model: str
    slices: int
    slice_us: float
    seconds: float
    sent_bytes: int
    received_bytes: int


def run(
    path: Path,
    output: Path,
    port: str,
    *,
    baud: int | None = None,
    board: str | None = None,
    native: bool = False,
    series: str | None = None,
    modality: Modality | None = None,
    patient_data: bool = True,
) -> Job[BoardRun]:
    """Make an MR of every CT in INPUT on a board, as ``synthesize`` does on this machine.

    Parameters
    ----------
    board : str, optional
        The only board that is welcome.
    native : bool
        Leave the pixels as they are instead of bringing the head to the model's size.
    patient_data : bool
        Whether DICOM belongs to the CT's patient and study; nothing else holds patient data.

    Raises
    ------
    Ct2MriError
        If the board has no model, or INPUT does not suit it, before anything is written.
    """
    from napari_ct2mri.imaging.dicom_out import Derivation
    from napari_ct2mri.link.live import Runner

    with BoardLine(port, baud, board).connect() as connection:
        yield Kept("nothing was written")
        yield from map(Notice, connection.notes)
        model = read_model(connection)
        runner = Runner(connection)
        settings = {
            "contrast": model.contrast,
            "native": native,
            "board": model.board,
            "container": model.digest,
        }
        made_by = Run(model=model.name, digest=model.fingerprints, settings=settings)
        derivation = Derivation(f"{model.name} on {model.board}", model.contrast, patient_data)
        tally = _Tally()
        outputs: list[Path] = []
        for stack in (yield from _stacks(path, output, model, series, modality)):
            grid = Grid(as_ct(stack.volume), model, native=native)
            for note in (*stack.volume.notes, *grid.notes):
                yield Notice(note)
            folder = output if is_pair_list(path) else stack.folder
            read_manifest(folder)  # a damaged one is said before the work, not after it
            mr = yield from _run_volume(runner, grid, tally)
            stack.write(mr, derivation)
            manifest = record(folder, made_by, stack.outputs)
            outputs += stack.outputs
            yield Kept(f"{len(outputs)} files are written and kept")
        session = connection.session
        return BoardRun(
            tuple(outputs), manifest, model.board, model.name, tally.slices,
            tally.busy_us / max(1, tally.slices), tally.seconds, session.sent_bytes,
            session.received_bytes,
        )  # fmt: skip


@dataclass(slots=True)
class _Tally:
    slices: int = 0
    busy_us: int = 0
    seconds: float = 0.0


def _stacks(
    path: Path, output: Path, model: BoardModel, series: str | None, modality: Modality | None
) -> Job[Iterator[Stack]]:
    """What is to be made: of a pair list the rows whose contrast the board's model makes."""
    from napari_ct2mri.pix2pix.pairs import read_pairs

    check_choice(path, series, modality)
    if not is_pair_list(path):
        return iter([single_stack(path, output, series=series, modality=modality, as_dicom=True)])
    pairs, left_out = makeable(read_pairs(path), cast("Any", model))
    if left_out:
        yield Notice(left_out)
    return pair_stacks(pairs, output)


def _run_volume(runner: Runner, grid: Grid, tally: _Tally) -> Job[Volume]:
    """All slices of a CT, several on their way at a time."""
    result = np.zeros(grid.shape, np.float32)
    start, asked, done = time.monotonic(), 0, 0
    while done < grid.depth:
        while asked < grid.depth and runner.waiting < _AHEAD:
            runner.submit(grid.planes(asked))
            asked += 1
        answer = runner.poll(_POLL_S)
        if answer is not None:
            result[done] = grid.mr(answer.mr)
            tally.busy_us += answer.microseconds
            done += 1
            yield SlicesDone(done - 1, result[done - 1 : done])
        yield Progress(done, grid.depth, "slices")
    tally.slices += done
    tally.seconds += time.monotonic() - start
    return grid.volume(result)
