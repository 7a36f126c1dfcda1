"""``export`` and ``build``: a checkpoint to a C project, a C project to a program."""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from napari_ct2mri.app.workflows.files import new_folder
from napari_ct2mri.errors import ConfigError
from napari_ct2mri.jobs import Job

if TYPE_CHECKING:
    from napari_ct2mri.firmware.build import Built
    from napari_ct2mri.firmware.export import Exported

__all__ = ["build", "export"]


def export(
    model: str | Path,
    folder: Path,
    calibration: Path,
    *,
    contrast: str | None = None,
    size: tuple[int, int] | None = None,
    board: str = "host",
    fps: float | None = None,
) -> Job[Exported]:
    """Quantize a model and write it as a C project.

    Parameters
    ----------
    model : str or Path
        A released model's name or a checkpoint. The project names it by its file's name alone.
    folder : Path
        Is made; what an earlier export wrote there is replaced.
    calibration : Path
        A ``pairs.csv``; its train rows of the contrast calibrate.
    size : (height, width), optional
        In pixels; by default the model's frame.
    board : str
        Which the budget is for.
    fps : float, optional
        Wished slices a second, > 0.

    See Also
    --------
    napari_ct2mri.firmware.export.export : what it yields and raises.
    """
    from napari_ct2mri.firmware.boards import find_board
    from napari_ct2mri.firmware.export import export as write_project
    from napari_ct2mri.pix2pix.checkpoint import load_checkpoint
    from napari_ct2mri.pix2pix.pairs import read_pairs
    from napari_ct2mri.pix2pix.zoo import find_model

    find_board(board)
    if fps is not None and not 0 < fps < inf:
        raise ConfigError(f"fps: {fps:g} slices a second; expected a number above 0")
    path = find_model(model)
    checkpoint = load_checkpoint(path)
    pairs = read_pairs(calibration)
    folder = folder.absolute()
    with new_folder(folder.parent):
        return (
            yield from write_project(
                checkpoint,
                path.stem,
                folder,
                pairs,
                contrast=contrast,
                size=size,
                board=board,
                fps=fps,
            )
        )


def build(folder: Path, board: str) -> Job[Built]:
    """Compile an exported project for a board.

    See Also
    --------
    napari_ct2mri.firmware.build.build : what it yields and raises.
    """
    from napari_ct2mri.firmware.build import build as compile_project

    return (yield from compile_project(folder, board))
