"""Predictors that have learnt nothing, for a figure to be read beside.

*black* is all zero; *mean MR* the mean of all training MR, brought to one size; *nearest CT*
the MR of the training slice whose CT is most alike. The patient's own slices take no part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.app.workflows.reference import Reference, find_reference
from napari_ct2mri.config import ModelConfig
from napari_ct2mri.jobs import Job, Progress

if TYPE_CHECKING:
    from napari_ct2mri.pix2pix.pairs import PairList

__all__ = ["Baselines", "read_baselines"]

Floats = NDArray[np.float32]

_MODEL = ModelConfig()
"""Its frame is the one size to which heads are brought; nothing else of it matters here."""

_REDUCED = 8  # CT slices are compared on the frame reduced by this factor
_BATCH = 16  # slices


@dataclass(frozen=True, slots=True, eq=False)
class Baselines:
    """Training slices of one contrast in one frame.

    Attributes
    ----------
    ct : (n, k) float32
        Reduced CT slices, flat.
    mr : (n, h, w) float16 in [-1, 1]
    patient : (n,) str
    """

    ct: Floats
    mr: NDArray[np.float16]
    patient: NDArray[np.str_]

    def predict(self, reference: Reference) -> Mapping[str, Floats]:
        """(n, H, W) MR in [-1, 1] for each slice of ``reference``, by name of the predictor."""
        from napari_ct2mri.pix2pix.frames import fit_frame

        black = np.full(reference.head.shape, -1, np.float32)
        others = np.flatnonzero(self.patient != reference.pair.patient)
        if not len(others):
            return {"black": black}
        frame = fit_frame(reference.pair.ct, _MODEL, fixed=True)
        mean = frame.put_back(self.mr[others].mean(axis=0, dtype=np.float32))
        nearest = np.empty_like(black)
        for part in _batches(len(black)):
            ct = _reduced(frame.take(reference.ct(part)))
            likest = others[_squared_distances(ct, self.ct[others]).argmin(axis=1)]
            nearest[part] = frame.put_back(self.mr[likest].astype(np.float32))
        mean_everywhere = np.broadcast_to(mean, black.shape)
        return {"black": black, "mean MR": mean_everywhere, "nearest CT": nearest}


def read_baselines(pairs: PairList, contrast: str) -> Job[Baselines]:
    """Read the train rows of one contrast; there may be none."""
    from napari_ct2mri.pix2pix.frames import fit_frame
    from napari_ct2mri.pix2pix.slices import read_patients

    rows = pairs.where("train", contrast)
    side = _MODEL.scale.frame_px
    ct: list[Floats] = [np.zeros((0, (side // _REDUCED) ** 2), np.float32)]
    mr: list[NDArray[np.float16]] = [np.zeros((0, side, side), np.float16)]
    names: list[str] = []
    done = 0
    for pair in read_patients(rows):
        done += len(pair.rows)
        if reference := find_reference(pair):
            frame = fit_frame(pair.ct, _MODEL, fixed=True)
            for part in _batches(len(reference.slices)):
                ct.append(_reduced(frame.take(reference.ct(part))))
                mr.append(frame.take(reference.real(part)).astype(np.float16))
            names += [pair.patient] * len(reference.slices)
        yield Progress(done, len(rows.rows), f"{contrast} pairs read for comparison")
    return Baselines(np.concatenate(ct), np.concatenate(mr), np.array(names, np.str_))


def _reduced(frames: Floats) -> Floats:
    """(n, h, w) to (n, k): means over square blocks, flat."""
    n, h, w = frames.shape
    blocks = frames.reshape(n, h // _REDUCED, _REDUCED, w // _REDUCED, _REDUCED)
    means: Floats = blocks.mean(axis=(2, 4), dtype=np.float32)
    return means.reshape(n, -1)


def _squared_distances(a: Floats, b: Floats) -> Floats:
    """(n, k) and (m, k) to (n, m)."""
    distances: Floats = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return distances


def _batches(count: int) -> Iterator[slice]:
    return (slice(start, min(start + _BATCH, count)) for start in range(0, count, _BATCH))
