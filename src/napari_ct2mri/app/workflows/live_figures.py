"""What a person wants to know of slices that come back from a board: rate, agreement, a record."""

from __future__ import annotations

import csv
from collections import deque
from contextlib import suppress
from dataclasses import astuple, dataclass, fields
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.errors import CheckpointError, Ct2MriError

if TYPE_CHECKING:
    from napari_ct2mri.app.workflows.board_grid import BoardModel, Grid
    from napari_ct2mri.app.workflows.live import LiveSlice
    from napari_ct2mri.app.workflows.live_thread import SliceCame

__all__ = ["Comparison", "LogRow", "Rate", "RunLog", "figures_in_words", "find_twin"]

_WINDOW_S = 2.0  # over which slices a second are counted
_DECIMALS = 6


class Rate:
    """Slices a second over the last two seconds."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def add(self, now_s: float) -> float | None:
        """Count a slice that came at ``now_s``; ``None`` until there are two to count between."""
        self._times.append(now_s)
        while now_s - self._times[0] > _WINDOW_S:
            self._times.popleft()
        passed = now_s - self._times[0]
        return (len(self._times) - 1) / passed if passed > 0 else None


class Comparison:
    """What a board makes against what this machine makes of the same CT by the same model.

    Parameters
    ----------
    grid : Grid
        Of the CT, on closest axes, in HU or grey.
    """

    def __init__(self, grid: Grid) -> None:
        from napari_ct2mri.imaging.intensity import GREY_MAX, OUTPUT_MAX

        self._ct = grid.ct
        self._range = GREY_MAX if grid.ct.is_picture else OUTPUT_MAX
        white = grid.mr(np.full(grid.model.size, 255, np.uint8))
        self._covered = white > self._range / 2
        self._desktop: dict[int, NDArray[np.float32]] = {}
        self._heads: dict[int, NDArray[np.bool_]] = {}

    def take(self, start: int, slices: NDArray[np.float32]) -> None:
        """Slices ``start ..`` as this machine makes them, (n, y, x) in output units."""
        self._desktop.update(enumerate(slices, start))

    def has(self, k: int) -> bool:
        """Whether this machine has made slice ``k``."""
        return k in self._desktop

    def psnr(self, k: int, mr: NDArray[np.float32]) -> float | None:
        """PSNR in dB of the board's slice ``k`` against this machine's, inside the head.

        ``None`` while this machine has not made it, and where the CT shows no head. Air, which
        both make black, would flatter; what lies beyond the board's frame is not its fault.
        """
        from napari_ct2mri.evaluation.metrics import psnr

        real = self._desktop.get(k)
        if real is None or not (head := self._head(k)).any():
            return None
        return psnr(mr, real, self._range, head)

    def _head(self, k: int) -> NDArray[np.bool_]:
        from napari_ct2mri.imaging.head import head_mask

        if k not in self._heads:
            slice_ = self._ct.data[k : k + 1]
            self._heads[k] = head_mask(slice_, self._ct.unit, "CT")[0] & self._covered
        return self._heads[k]


def find_twin(model: BoardModel, chosen: Path | None) -> Path:
    """The checkpoint that a board's model was exported from.

    Parameters
    ----------
    chosen : Path, optional
        Is looked at first; then released models of that name.

    Raises
    ------
    CheckpointError
        If neither is it.
    """
    from napari_ct2mri.pix2pix.zoo import find_model

    candidates = [] if chosen is None else [chosen]
    with suppress(CheckpointError):
        candidates.append(find_model(model.name))
    for path in candidates:
        if _is_twin(model, path):
            return path
    raise CheckpointError(
        f"not compared: the board runs {model.name} ({model.contrast}), the model chosen above is "
        f"{chosen.stem if chosen else 'none'}; choose that file to compare with this machine"
    )


def _is_twin(model: BoardModel, path: Path) -> bool:
    """Name, settings and, where the container says, whom it was trained on."""
    from napari_ct2mri.pix2pix.checkpoint import Checkpoint, read_header

    checkpoint = Checkpoint(read_header(path), {})
    return (
        path.stem == model.name
        and model.contrast in checkpoint.contrasts
        and checkpoint.config.model == model.config
        and model.fingerprints in (model.digest, checkpoint.digest)
    )


@dataclass(frozen=True, slots=True)
class LogRow:
    """One line of a :class:`RunLog`; its fields are the columns.

    Attributes
    ----------
    time_s : float
        Since recording began.
    slice : int
        Which of the CT, counted from 0 as the viewer does.
    latency_s : float
        From the first byte out to the last in.
    board_us : int
        Microseconds that the board computed.
    sent_bytes, received_bytes : int
        Encoded, without frames.
    fps : float or None
        Slices a second over the last two seconds.
    psnr_db : float or None
        Against this machine, in the head; empty where it had not made the slice yet.
    board, model, contrast : str
    """

    time_s: float
    slice: int
    latency_s: float
    board_us: int
    sent_bytes: int
    received_bytes: int
    fps: float | None
    psnr_db: float | None
    board: str
    model: str
    contrast: str

    @classmethod
    def of(
        cls,
        made: LiveSlice,
        time_s: float,
        fps: float | None,
        psnr_db: float | None,
        names: tuple[str, str, str],
    ) -> LogRow:
        """The line of one slice; ``names`` are those of board, model and contrast."""
        return cls(
            time_s, made.k, made.latency_s, made.microseconds, made.sent_bytes,
            made.received_bytes, fps, psnr_db, *names,
        )  # fmt: skip


class RunLog:
    """A CSV of slices that came back; every line is on disk once it is added.

    Parameters
    ----------
    path : Path
        What was there is replaced.

    Raises
    ------
    Ct2MriError
        If it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.rows = path, 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: TextIO = path.open("w", newline="", encoding="utf-8")
        except OSError as error:
            raise self._unwritten(error) from error
        self._write([field.name for field in fields(LogRow)])

    def add(self, row: LogRow) -> None:
        """Write one line.

        Raises
        ------
        Ct2MriError
            If the disk is full, or gone.
        """
        values = astuple(row)
        self._write([round(v, _DECIMALS) if isinstance(v, float) else v for v in values])
        self.rows += 1

    def close(self) -> None:
        """Let go of the file."""
        try:
            self._file.close()
        except OSError as error:
            raise self._unwritten(error) from error

    def _write(self, values: list[object]) -> None:
        try:
            csv.writer(self._file).writerow(values)
            self._file.flush()
        except OSError as error:
            raise self._unwritten(error) from error

    def _unwritten(self, error: OSError) -> Ct2MriError:
        return Ct2MriError(
            f"{self.path}: the record could not be written: {error.strerror}; choose another place"
        )


def figures_in_words(came: SliceCame | None, psnr_db: float | None) -> dict[str, str]:
    """What came, by title, as a person reads it."""
    words = {"Agreement": "no head in this slice" if psnr_db is None else _decibels(psnr_db)}
    if came is None:
        return words
    made = came.made
    return words | {
        "Slice": str(made.k),
        "Latency": f"{made.latency_s * 1e3:.0f} ms",
        "Computing": f"{made.microseconds / 1e3:.1f} ms on the board",
        "Rate": "" if came.fps is None else f"{came.fps:.1f} slices a second",
        "On the line": f"{_kib(made.sent_bytes)} KiB out, {_kib(made.received_bytes)} back",
    }


def _decibels(psnr_db: float) -> str:
    return "identical" if psnr_db == inf else f"{psnr_db:.1f} dB to this machine"


def _kib(size_bytes: int) -> str:
    return f"{size_bytes / 1024:.1f}"
