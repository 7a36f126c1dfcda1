"""What the Board panel asks of a child process: jobs, without Qt."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_ct2mri.app import workflows
from napari_ct2mri.disk import cache_folder
from napari_ct2mri.errors import FirmwareError
from napari_ct2mri.jobs import Event, Job

if TYPE_CHECKING:
    from napari_ct2mri.firmware.budget import Budget

__all__ = ["BudgetKnown", "budget", "exported_budget", "push", "simulated_pairs"]

_SUBJECTS = 1
_SHAPE, _SPACING = (20, 160, 160), (9.0, 1.5, 1.5)
"""Of the simulated head that calibrates: as many slices as are used, and some that show none."""


@dataclass(frozen=True, slots=True)
class BudgetKnown(Event):
    """What a model costs on a board: what, and how much, in words; and the gist of it."""

    rows: tuple[tuple[str, str], ...]
    summary: str


def budget(model: Path, board: str, contrast: str) -> Job[BudgetKnown]:
    """What a model costs on a board, before it is exported.

    Sizes and products do not depend on what calibrates, so that noise may.

    Raises
    ------
    FirmwareError
        If the model has no integer form, or does not fit on the board.
    """
    import numpy as np

    from napari_ct2mri.firmware import arena
    from napari_ct2mri.firmware import budget as costs
    from napari_ct2mri.firmware.boards import find_board
    from napari_ct2mri.firmware.container import Container, ct_tables, pack
    from napari_ct2mri.firmware.lower import lower
    from napari_ct2mri.firmware.quantize import MIN_SLICES, quantize
    from napari_ct2mri.pix2pix.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(model)
    config = checkpoint.config.model
    graph = lower(checkpoint, contrast)
    side, frame = 2**config.network.levels, config.scale.frame_px
    shape = (MIN_SLICES, graph.channels, side, side)
    noise = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    quantized = (yield from quantize(graph, noise)).at_size(frame, frame)
    plan = arena.plan(quantized)
    black = np.zeros((frame, frame, shape[1]), np.uint8)
    info = {"model": model.stem, "contrast": contrast, "config": config.model_dump(mode="json")}
    tables = ct_tables(config.input.windows)
    container = Container(quantized, plan, tables, (black, black[..., 0]), info)
    cost = costs.budget(quantized, plan, len(pack(container)), find_board(board))
    costs.check_fits(cost)
    return BudgetKnown(cost.rows(), cost.summary())


def push(
    model: Path,
    folder: Path,
    calibration: Path | None,
    board: str,
    port: str,
    *,
    contrast: str,
) -> Job[workflows.ExportedPushed]:
    """Export, build and push; without pairs, simulated heads calibrate.

    See Also
    --------
    napari_ct2mri.app.workflows.export_build_push : the rest.
    """
    if calibration is None:
        yield workflows.StepBegun("export")
        calibration = yield from simulated_pairs(contrast)
    job = workflows.export_build_push(model, folder, calibration, board, port, contrast=contrast)
    return (yield from _with_budget(job, folder, board))


def simulated_pairs(contrast: str) -> Job[Path]:
    """A pair list of simulated heads in the user's cache, made once.

    Raises
    ------
    FirmwareError
        If no scanner is simulated that makes ``contrast``.
    """
    from napari_ct2mri.errors import ConfigError
    from napari_ct2mri.imaging.phantom import phantom_job

    folder = cache_folder() / "calibration" / f"{contrast}-{_SUBJECTS}"
    if (folder / "pairs.csv").is_file():
        return folder / "pairs.csv"
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        return (
            yield from phantom_job(
                folder, _SUBJECTS, contrasts=(contrast,), shape=_SHAPE, spacing=_SPACING
            )
        )
    except ConfigError as error:
        raise FirmwareError(
            f"no simulated head calibrates {contrast}: {error}; choose a pair list to calibrate on"
        ) from error


def _with_budget(
    job: Job[workflows.ExportedPushed], folder: Path, board: str
) -> Generator[Event, None, workflows.ExportedPushed]:
    """The same events, and the budget as soon as the project is written."""
    try:
        while True:
            event = next(job)
            if event == workflows.StepBegun("build"):
                cost = exported_budget(folder, board)
                yield BudgetKnown(cost.rows(), cost.summary())
            yield event
    except StopIteration as stop:
        done: workflows.ExportedPushed = stop.value
        return done
    finally:
        job.close()


def exported_budget(folder: Path, board: str) -> Budget:
    """The budget of an exported project."""
    from napari_ct2mri.firmware.boards import find_board
    from napari_ct2mri.firmware.budget import budget
    from napari_ct2mri.firmware.container import unpack

    data = (folder / "model.ctm").read_bytes()
    container = unpack(data)
    return budget(container.model, container.plan, len(data), find_board(board))
