"""The images behind a list of pairs, and the slices a training learns from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.config import ModelConfig
from napari_ct2mri.errors import ImageError, PairError, VolumeError
from napari_ct2mri.imaging.fingerprint import Fingerprint, fingerprint, mirrored
from napari_ct2mri.imaging.head import MUCH_BESIDE, beside, head_mask
from napari_ct2mri.imaging.intensity import ct_channels, mr_range, mr_to_unit
from napari_ct2mri.imaging.io import read_volume
from napari_ct2mri.imaging.volume import Modality, Volume, closest_axes, difference
from napari_ct2mri.jobs import Job, Notice, Progress
from napari_ct2mri.pix2pix.frames import fit_frame
from napari_ct2mri.pix2pix.pairs import PairList, PairRow

__all__ = [
    "MIN_HEAD",
    "PatientPair",
    "SlicePairs",
    "load_slices",
    "read_patients",
    "with_neighbours",
]

MIN_HEAD = 0.01  # part of the slice that a head covers; less is an empty slice


@dataclass(frozen=True, slots=True, eq=False)
class PatientPair:
    """CT and MR of one patient and contrast on one grid: a volume, or pictures as a stack.

    ``rows`` has one row for a volume and one row per slice for pictures.
    """

    rows: tuple[PairRow, ...]
    ct: Volume
    mr: Volume

    @property
    def patient(self) -> str:
        """The pair list's own name of the patient."""
        return self.rows[0].patient

    @property
    def contrast(self) -> str:
        """What the MR shows."""
        return self.rows[0].contrast


@dataclass(frozen=True, slots=True, eq=False)
class SlicePairs:
    """Slices in the network's frame, ready to train on.

    Attributes
    ----------
    ct : (n, C, h, w) float16 in [-1, 1]
        Windows of the slice and of its neighbours.
    mr : (n, h, w) float16 in [-1, 1]
    head : (n, h, w) bool
        Union of the CT's and the MR's foreground.
    contrast : (n,) int64
        Index into the model's contrasts.
    patient : (n,) int64
        Slices of one patient and contrast share a number and stand in order.
    fingerprints : n of the CT slices as they were read
    mirrored : n of the same, mirrored
    """

    ct: NDArray[np.float16]
    mr: NDArray[np.float16]
    head: NDArray[np.bool_]
    contrast: NDArray[np.int64]
    patient: NDArray[np.int64]
    fingerprints: tuple[Fingerprint, ...]
    mirrored: tuple[Fingerprint, ...]

    def __len__(self) -> int:
        return len(self.ct)


def read_patients(pairs: PairList) -> Iterable[PatientPair]:
    """Read the images of each patient and contrast, one after the other.

    Raises
    ------
    PairError
        If CT and MR of a row do not lie on one grid, naming the line.
    """
    for rows in pairs.by_patient().values():
        volumes = [(row, *_read_row(pairs, row)) for row in rows]
        by_shape: dict[tuple[int, ...], list[tuple[PairRow, Volume, Volume]]] = defaultdict(list)
        for row, ct, mr in volumes:
            if ct.is_picture:
                by_shape[ct.data.shape].append((row, ct, mr))
            else:
                yield PatientPair((row,), ct, mr)
        for group in by_shape.values():
            yield PatientPair(
                tuple(row for row, _, _ in group),
                _stack([ct for _, ct, _ in group]),
                _stack([mr for _, _, mr in group]),
            )


def load_slices(pairs: PairList, model: ModelConfig) -> Job[SlicePairs]:
    """Bring every slice of ``pairs`` into the network's frame.

    Slices on which the CT or the MR shows no head are skipped, and counted in a notice. So are
    counted those that are learnt from although the CT is cut off where the MR is not.

    Parameters
    ----------
    model : ModelConfig
        Its ``contrasts`` must hold those of ``pairs``.

    Raises
    ------
    PairError
        If no slice is left.
    """
    parts: list[SlicePairs] = []
    skipped = cut_off = done = 0
    numbers: dict[tuple[str, str], int] = {}  # several volumes of a patient share one
    for pair in read_patients(pairs):
        number = numbers.setdefault((pair.patient, pair.contrast), len(numbers))
        with _naming(pairs, pair.rows[0]):
            part, empty, cut = _prepare(pair, number, model)
        skipped += empty
        cut_off += cut
        done += len(pair.rows)
        if len(part):
            parts.append(part)
        yield Progress(done, len(pairs.rows), "pairs read")
    if skipped:
        slices = "1 slice" if skipped == 1 else f"{skipped} slices"
        yield Notice(f"{slices} skipped: the CT or the MR shows no head there")
    if cut_off:
        slices = "1 slice has" if cut_off == 1 else f"{cut_off} slices have"
        yield Notice(
            f"{slices} much of the MR's head where the CT shows none, cut off or black: a network "
            "learns from such pairs to draw tissue into the air; better leave them out"
        )
    if not parts:
        raise PairError(f"{pairs.path}: no slice shows a head both in the CT and in the MR")
    return SlicePairs(
        ct=np.concatenate([part.ct for part in parts]),
        mr=np.concatenate([part.mr for part in parts]),
        head=np.concatenate([part.head for part in parts]),
        contrast=np.concatenate([part.contrast for part in parts]),
        patient=np.concatenate([part.patient for part in parts]),
        fingerprints=tuple(f for part in parts for f in part.fingerprints),
        mirrored=tuple(f for part in parts for f in part.mirrored),
    )


def with_neighbours(windows: NDArray[np.float32], reach: int) -> NDArray[np.float32]:
    """Give every slice the channels of ``reach`` neighbours on each side, lowest first.

    Parameters
    ----------
    windows : (n, C, h, w)
        All slices of one patient, in order; beyond the ends the first and the last repeat.

    Returns
    -------
    (n, C * (1 + 2 * reach), h, w)
    """
    index = np.arange(len(windows))
    steps = range(-reach, reach + 1)
    return np.concatenate([windows[(index + s).clip(0, index[-1])] for s in steps], axis=1)


def _prepare(pair: PatientPair, number: int, model: ModelConfig) -> tuple[SlicePairs, int, int]:
    """The slices of one patient in the network's frame; how many were empty, and cut off."""
    if model.input.neighbours and pair.ct.is_picture and None in _orders(pair.rows):
        raise PairError(
            f"patient {pair.patient!r}: neighbour slices need the column 'slice', which gives "
            "their order; add it, or set neighbours to 0"
        )
    mr_head = head_mask(pair.mr.data, pair.mr.unit, "MR")
    ct_head = head_mask(pair.ct.data, pair.ct.unit, "CT")
    full = np.flatnonzero(
        (mr_head.mean(axis=(1, 2)) >= MIN_HEAD) & (ct_head.mean(axis=(1, 2)) >= MIN_HEAD)
    )
    empty = len(mr_head) - len(full)
    if not len(full):
        return _no_slices(model), empty, 0
    cut_off = int((beside(ct_head[full], mr_head[full]) > MUCH_BESIDE).sum())
    frame = fit_frame(pair.ct, model, fixed=True)
    windows = frame.take(ct_channels(pair.ct, model.input.windows))
    channels = with_neighbours(windows, model.input.neighbours)[full]  # before any slice goes
    mr = mr_to_unit(pair.mr.data, mr_range(pair.mr, mr_head))[full]
    head = (ct_head | mr_head)[full].astype(np.float32)
    part = SlicePairs(
        ct=channels.clip(-1, 1).astype(np.float16),
        mr=frame.take(mr).clip(-1, 1).astype(np.float16),
        head=frame.take(head, outside=0.0) > 0.5,
        contrast=np.full(len(full), model.contrasts.index(pair.contrast)),
        patient=np.full(len(full), number),
        fingerprints=tuple(fingerprint(pair.ct.data[i], pair.ct.unit) for i in full),
        mirrored=tuple(mirrored(pair.ct.data[i], pair.ct.unit) for i in full),
    )
    return part, empty, cut_off


def _no_slices(model: ModelConfig) -> SlicePairs:
    side = model.scale.frame_px
    return SlicePairs(
        np.zeros((0, model.input.channels, side, side), np.float16),
        np.zeros((0, side, side), np.float16),
        np.zeros((0, side, side), bool),
        np.zeros(0, np.int64),
        np.zeros(0, np.int64),
        (),
        (),
    )


def _read_row(pairs: PairList, row: PairRow) -> tuple[Volume, Volume]:
    """CT and MR of one row, on closest axes and on one grid."""

    def read(path: Path, modality: Modality, series: str | None) -> Volume:
        return closest_axes(read_volume(path, series=series, modality=modality))[0]

    with _naming(pairs, row):
        ct = read(row.ct, "CT", row.series or None)
        mr = read(row.mr, "MR", None)
    if found := difference(ct, mr):
        raise PairError(
            f"{pairs.path}, line {row.line}: CT and MR differ in {found}. Register or resample one "
            "onto the other first."
        )
    return ct, mr


@contextmanager
def _naming(pairs: PairList, row: PairRow) -> Iterator[None]:
    """Say on which line of the list an image stands that cannot be used."""
    try:
        yield
    except (ImageError, VolumeError) as error:
        raise PairError(f"{pairs.path}, line {row.line}: {error}") from error


def _stack(volumes: Sequence[Volume]) -> Volume:
    data = np.concatenate([volume.data for volume in volumes])
    return replace(volumes[0], data=data)


def _orders(rows: Sequence[PairRow]) -> set[int | None]:
    return {row.slice_index for row in rows}
