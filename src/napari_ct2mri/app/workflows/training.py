"""``train``: a pair list into a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_ct2mri.app.workflows.files import new_folder
from napari_ct2mri.jobs import Job

if TYPE_CHECKING:
    from napari_ct2mri.config import TrainConfig
    from napari_ct2mri.imaging.volume import Volume
    from napari_ct2mri.pix2pix.checkpoint import TrainResult

__all__ = ["settings_of", "train"]


def train(
    pairs: Path,
    output: Path,
    config: TrainConfig | None,
    *,
    contrast: str | None = None,
    init: str | Path | None = None,
    teachers: Sequence[str | Path] = (),
    resume: bool = False,
    watched: Volume | None = None,
) -> Job[TrainResult]:
    """Train a generator on the train rows of a ``pairs.csv``.

    Parameters
    ----------
    config : TrainConfig or None
        None: the settings of the run to resume.
    contrast : str, optional
        Only the rows of this contrast.
    init : str or Path, optional
        A released model's name or a checkpoint to start from.
    teachers : sequence of str or Path
        Names or checkpoints whose mean prediction is a second target.
    resume : bool
        Go on where a former run into ``output`` stopped.
    watched : Volume, optional
        A CT on closest axes, whose slice in view is previewed.

    See Also
    --------
    napari_ct2mri.pix2pix.training.train : what it yields and raises.
    """
    from napari_ct2mri.pix2pix import training
    from napari_ct2mri.pix2pix.pairs import read_pairs
    from napari_ct2mri.pix2pix.zoo import find_model

    start = find_model(init) if init else None
    taught_by = [find_model(teacher) for teacher in teachers]
    rows = read_pairs(pairs)
    with new_folder(output.absolute().parent):
        return (
            yield from training.train(
                rows,
                output,
                config,
                contrast=contrast,
                init=start,
                teachers=taught_by,
                resume=resume,
                watched=watched,
            )
        )


def settings_of(output: Path) -> TrainConfig | None:
    """The settings of the run that wrote ``output``, ``None`` if there was none."""
    if not output.exists():
        return None
    from napari_ct2mri.pix2pix.checkpoint import read_header

    return read_header(output).config
