"""A folder of simulated patients with the pair list that trains on them."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from uuid import uuid4

import numpy as np

from napari_ct2mri.errors import ConfigError, ImageError
from napari_ct2mri.imaging.io import write_volume
from napari_ct2mri.imaging.phantom.make import SHAPE, SPACING, check_request, phantom
from napari_ct2mri.jobs import Job, Progress

__all__ = ["phantom_job", "splits"]

_MAX_SUBJECTS = 10_000


def phantom_job(
    directory: Path,
    subjects: int,
    *,
    seed: int = 0,
    contrasts: tuple[str, ...] = ("T2",),
    shape: tuple[int, int, int] = SHAPE,
    spacing: tuple[float, float, float] = SPACING,
) -> Job[Path]:
    """Simulate patients: ``<patient>/CT.nii.gz``, ``<patient>/<contrast>.nii.gz``, ``pairs.csv``.

    Everything is made in a hidden folder beside ``directory`` and moved there in the end, the
    list last; files of the same name are replaced. Cancelled or failed, nothing changed.

    Parameters
    ----------
    directory : Path
        Made if missing.
    subjects : int, 1..10000
        How many; with the same ``seed`` the first ones stay the same whatever the number.
    seed, contrasts, shape, spacing
        See :func:`phantom`.

    Yields
    ------
    Progress
        After every subject.

    Returns
    -------
    Path of ``pairs.csv``.

    Raises
    ------
    ConfigError, VolumeError
        If what is asked for cannot be made.
    ImageError
        If it cannot be written.
    """
    check_request(seed, shape, spacing, contrasts)
    if not 1 <= subjects <= _MAX_SUBJECTS:
        raise ConfigError(f"phantom: expected 1 to {_MAX_SUBJECTS} subjects, got {subjects}")
    directory = Path(directory)
    with _workshop(directory) as workshop:
        rows: list[tuple[str, ...]] = []
        yield Progress(0, subjects, "subjects")
        for number, split in enumerate(splits(subjects), start=1):
            patient = f"phantom-{seed}-{number:0{max(2, len(str(subjects)))}d}"
            person = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
            head = phantom(person, shape=shape, spacing=spacing, contrasts=contrasts)
            ct = f"{patient}/CT.nii.gz"
            write_volume(head.ct, workshop / ct)
            for contrast, mr in head.mr.items():
                name = f"{patient}/{contrast}.nii.gz"
                write_volume(mr, workshop / name)
                rows.append((ct, name, patient, contrast, split))
            yield Progress(number, subjects, "subjects")
        _write_list(workshop / "pairs.csv", rows)
    return directory / "pairs.csv"


def splits(subjects: int) -> list[str]:
    """The split of each subject: the last fifth test, one before it val, the others train.

    At least one trains; a second is tested, a third validates.
    """
    test = max(round(subjects / 5), 1) if subjects > 1 else 0
    val = 1 if subjects > 2 else 0
    return ["train"] * (subjects - test - val) + ["val"] * val + ["test"] * test


def _write_list(path: Path, rows: list[tuple[str, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("ct", "mr", "patient", "contrast", "split"))
        writer.writerows(rows)


@contextmanager
def _workshop(directory: Path) -> Iterator[Path]:
    """A hidden folder beside ``directory``; what it holds in the end moves there."""
    workshop = directory.parent / f".{directory.name}.{uuid4().hex[:8]}"
    try:
        workshop.mkdir(parents=True)
        yield workshop
        _publish(workshop, directory)
    except OSError as error:
        raise ImageError(
            f"{directory}: the phantoms could not be written: {error.strerror}; choose a folder "
            "that can be written, with room"
        ) from error
    finally:
        rmtree(workshop, ignore_errors=True)


def _publish(workshop: Path, directory: Path) -> None:
    if not directory.exists():
        workshop.rename(directory)
        return
    files = [path for path in workshop.rglob("*") if path.is_file()]
    for file in sorted(files, key=lambda path: path.suffix == ".csv"):  # the list last
        target = directory / file.relative_to(workshop)
        target.parent.mkdir(exist_ok=True)
        file.replace(target)
