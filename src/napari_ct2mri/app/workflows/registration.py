"""``register``: an MR moved onto a CT and shown on its grid."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_ct2mri.app.workflows.files import single_stack
from napari_ct2mri.disk import whole_file
from napari_ct2mri.errors import ImageError, VolumeError
from napari_ct2mri.imaging.volume import Volume
from napari_ct2mri.jobs import Job, Notice

if TYPE_CHECKING:
    from napari_ct2mri.imaging.registration import AlignKind, Landmarks, Registration

__all__ = [
    "Registered",
    "RegisteredFile",
    "read_landmarks",
    "register",
    "register_volumes",
    "write_landmarks",
]

_COLUMNS = ("ct_x", "ct_y", "ct_z", "mr_x", "mr_y", "mr_z")


@dataclass(frozen=True, slots=True, eq=False)
class Registered:
    """An MR on the CT's grid, and how it came there."""

    mr: Volume
    registration: Registration


@dataclass(frozen=True, slots=True, eq=False)
class RegisteredFile:
    """The file that ``register`` wrote, and how the MR came to lie as it does."""

    output: Path
    registration: Registration


def register(
    ct: Path,
    mr: Path,
    output: Path,
    *,
    kind: AlignKind = "rigid",
    landmarks: Path | None = None,
    series: str | None = None,
    mr_series: str | None = None,
    threads: int = 1,
) -> Job[RegisteredFile]:
    """Move MR onto CT and write it on the CT's grid.

    Parameters
    ----------
    ct, mr : Path
        A volume each, in any format that is read.
    output : Path
        Its ending is the format.
    kind : "rigid" or "affine"
    landmarks : Path, optional
        See :func:`read_landmarks`.
    series, mr_series : str, optional
        Which of several in ``ct`` and in ``mr``.
    threads : int
        Of the search; with one, the same input gives the same bits. 0: one a core.

    Raises
    ------
    Ct2MriError
        If an input is wrong or OUTPUT cannot hold the result, before anything is searched.
    """
    from napari_ct2mri.imaging.io import read_volume

    if output.resolve() == mr.resolve():
        raise ImageError(f"{output}: OUTPUT would overwrite the MR; give another name")
    points = read_landmarks(landmarks) if landmarks is not None else None
    stack = single_stack(ct, output, series=series, modality="CT")
    moving = read_volume(mr, series=mr_series, modality="MR")
    for name, volume in (("CT", stack.volume), ("MR", moving)):
        for note in volume.notes:
            yield Notice(f"{name}: {note}")
    try:
        result = yield from register_volumes(
            stack.volume, moving, kind=kind, landmarks=points, threads=threads
        )
    except VolumeError as error:
        raise VolumeError(f"{mr} onto {ct}: {error}") from error
    stack.write(result.mr)
    return RegisteredFile(output, result.registration)


def register_volumes(
    ct: Volume,
    mr: Volume,
    *,
    kind: AlignKind = "rigid",
    landmarks: Landmarks | None = None,
    threads: int = 1,
) -> Job[Registered]:
    """Move an MR in memory onto a CT and show it on the CT's grid; for the viewer.

    See Also
    --------
    napari_ct2mri.imaging.registration.register : what it yields and raises.
    """
    from napari_ct2mri.imaging.registration import register as align
    from napari_ct2mri.imaging.registration import resample_onto

    found = yield from align(ct, mr, kind=kind, landmarks=landmarks, threads=threads)
    return Registered((yield from resample_onto(ct, mr, found)), found)


def read_landmarks(path: Path) -> Landmarks:
    """Landmarks from a CSV with columns ct_x, ct_y, ct_z, mr_x, mr_y, mr_z: LPS mm, a pair a row.

    Raises
    ------
    VolumeError
        If it cannot be read, a column is missing, or a row does not hold six numbers; by line.
    """
    import numpy as np

    from napari_ct2mri.imaging.registration import Landmarks

    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise VolumeError(
                    f"{path}: no column {', '.join(missing)}; expected {','.join(_COLUMNS)}, "
                    "LPS mm, a pair of points a row"
                )
            rows = [_numbers(path, reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a CSV file"
        raise VolumeError(f"{path}: the landmarks cannot be read: {reason}") from error
    points = np.asarray(rows, dtype=np.float64).reshape(-1, 6)
    try:
        return Landmarks(points[:, :3], points[:, 3:])
    except VolumeError as error:
        raise VolumeError(f"{path}: {error}") from error


def write_landmarks(path: Path, landmarks: Landmarks) -> None:
    """Write landmarks as :func:`read_landmarks` reads them, to the last bit.

    Raises
    ------
    VolumeError
        If it cannot be written.
    """
    try:
        with (
            whole_file(path) as temporary,
            temporary.open("w", encoding="utf-8", newline="") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(_COLUMNS)
            for ct, mr in zip(landmarks.ct.tolist(), landmarks.mr.tolist(), strict=True):
                writer.writerow([*ct, *mr])
    except OSError as error:
        raise VolumeError(f"{path}: the landmarks cannot be written: {error.strerror}") from error


def _numbers(path: Path, line: int, row: dict[str, str]) -> list[float]:
    try:
        return [float(row[name]) for name in _COLUMNS]
    except (TypeError, ValueError) as error:
        values = ", ".join(str(row[name]) for name in _COLUMNS)
        raise VolumeError(f"{path}, line {line}: expected six numbers, got {values}") from error
