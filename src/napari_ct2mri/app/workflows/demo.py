"""``demo``: the main job, end to end, on simulated patients, in a few minutes."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from napari_ct2mri.app.workflows.evaluation import Evaluated, evaluate
from napari_ct2mri.app.workflows.synthesis import synthesize
from napari_ct2mri.app.workflows.training import train
from napari_ct2mri.config import TrainConfig, preset
from napari_ct2mri.errors import ConfigError
from napari_ct2mri.jobs import EpochDone, Job, Notice

__all__ = ["Demo", "demo", "phantom"]

SUBJECTS = 7  # five to train on, one that selects, one held out
SHAPE = (20, 160, 160)
EXTENT_MM = (130.0, 240.0, 240.0)  # (z, y, x)
TRAINING_S = 170.0
"""A slow machine stops training here, with what it has learnt; the rest takes about a minute."""


@dataclass(frozen=True, slots=True)
class Demo:
    """What the demo leaves behind: images of the held-out patient, model and report."""

    ct: Path
    real: Path
    synthetic: Path
    model: Path
    evaluated: Evaluated


def phantom(
    directory: Path, *, subjects: int = 6, seed: int = 0, contrasts: tuple[str, ...] = ("T2",)
) -> Job[Path]:
    """Simulate patients as CT/MR volume pairs.

    See Also
    --------
    napari_ct2mri.imaging.phantom.phantom_job : what it yields, returns and raises.
    """
    from napari_ct2mri.imaging.phantom import phantom_job

    return (yield from phantom_job(directory, subjects, seed=seed, contrasts=contrasts))


def demo(
    directory: Path,
    *,
    subjects: int = SUBJECTS,
    shape: tuple[int, int, int] = SHAPE,
    config: TrainConfig | None = None,
) -> Job[Demo]:
    """Simulate patients, train on them, synthesize a held-out one and measure it.

    Everything goes to ``directory``, which a next run overwrites; a text in it says so.

    Parameters
    ----------
    subjects : int, >= 2
    shape : (z, y, x)
        Of the simulated volumes, which always reach from the skull base to the vertex.
    config : TrainConfig, optional
        By default :func:`demo_config`.

    Raises
    ------
    ConfigError
        If ``directory`` holds other things than a demo's, or cannot be written.
    """
    from napari_ct2mri.imaging.phantom import phantom_job
    from napari_ct2mri.pix2pix.pairs import read_pairs

    _make_ours(directory)
    yield Notice(f"1 of 4: simulating {subjects} patients, CT and T2, in {directory}")
    z, y, x = (round(side / n, 4) for side, n in zip(EXTENT_MM, shape, strict=True))
    pairs = yield from phantom_job(directory / _PATIENTS, subjects, shape=shape, spacing=(z, y, x))
    model = directory / "demo.safetensors"
    yield Notice("2 of 4: training a small Pix2Pix for about two minutes")
    yield from _train_for(TRAINING_S, pairs, model, config or demo_config())
    row = read_pairs(pairs).where("test").rows[0]
    synthetic = directory / f"{row.patient}-synthetic-{row.contrast}.nii.gz"
    yield Notice(f"3 of 4: synthesizing {row.contrast} of {row.patient}, whom it has never seen")
    yield from synthesize(row.ct, synthetic, model=model, modality="CT")
    yield Notice("4 of 4: measuring it against the real one")
    evaluated = yield from evaluate(pairs, directory / "report", model=model)
    return Demo(row.ct, row.mr, synthetic, model, evaluated)


_PATIENTS = "patients"


def demo_config() -> TrainConfig:
    """``default``, made small: half the filters, pixels of 1.5 mm."""
    return preset(
        "default",
        width=16,
        levels=5,
        frame_px=160,
        pixel_mm=1.5,
        head_px=114.0,
        batch=2,
        epochs=70,
        decay_epochs=56,
        ema=0.99,
    )


def _train_for(seconds: float, pairs: Path, model: Path, config: TrainConfig) -> Job[None]:
    """Train; after ``seconds`` the epoch at hand is the last."""
    start = time.monotonic()
    with closing(train(pairs, model, config)) as job:
        for event in job:
            yield event
            if isinstance(event, EpochDone) and time.monotonic() - start > seconds:
                if event.epoch < event.epochs:
                    yield Notice(f"stopped after {event.epoch} epochs to save your time")
                return


_MARK = "made-by-ct2mri-demo.txt"
_MARK_TEXT = """\
The command `ct2mri demo` made this folder. Called again with it, it writes over what is in it:
keep nothing here that you have changed or added.
"""


def _make_ours(directory: Path) -> None:
    """Mark an empty or new folder as the demo's; refuse any other that is not marked."""
    mark = directory / _MARK
    try:
        if directory.exists() and not directory.is_dir():
            raise ConfigError(f"{directory} is a file; give a folder: ct2mri demo FOLDER")
        directory.mkdir(parents=True, exist_ok=True)
        if not mark.exists() and any(directory.iterdir()):
            raise ConfigError(
                f"{directory} holds other files; give an empty or a new folder: ct2mri demo FOLDER"
            )
        mark.write_text(_MARK_TEXT, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{directory}: cannot be written: {error.strerror}; give another folder: "
            "ct2mri demo FOLDER"
        ) from error
