"""Whether two CT slices are the same picture: an exact and a difference hash.

A checkpoint keeps the fingerprints of the slices it was trained on, and an evaluation looks
its own slices up in that list. The difference hash (after Krawetz 2013, "Kind of like that")
survives what happens to a slice on its way from one data set into another.

Measured on the 266 CT slices of 15 patients of the development pictures and the 62 of two head
CT series in HU, in bits of 256 (largest over all slices, also mirrored):

=========================================  ===============================
JPEG at quality 60                         6
resized to 128 .. 512 from 256 or 512      8 (nearest neighbour: 9)
HU shown at 35/80, 40/100, 35/120, 50/150  10 (at 30/60: 12)
HU shown at 40/200                         17; 94 % of slices within 12
closest two slices of different patients   22 (20 under a narrower window)
=========================================  ===============================

A bone window is not recognised. It takes one recognised slice to mark a patient.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.errors import VolumeError
from napari_ct2mri.imaging.area import area_mean
from napari_ct2mri.imaging.intensity import as_picture
from napari_ct2mri.imaging.volume import Unit

__all__ = ["MATCH_BITS", "Fingerprint", "distances", "fingerprint", "mirrored", "seen", "was_seen"]

MATCH_BITS = 12
"""Slices whose difference hashes are this close, or closer, are taken for the same."""

_CELLS = 16
_MARGIN = 0.06
"""Of each side, left out: air in most pictures, which tells nobody from anybody."""

_STEP = 1.0
"""Grey levels of 255 between neighbouring cells. Less is taken for equal, so that flat air and
clipped bone give the same bits after JPEG and under another window."""

_MIN_BITS = 36
"""A hash with fewer bits set is that of the very top of a head, where heads are alike: those of
two simulated subjects came within 9 bits. Six of the 328 slices above are such; they are known
by their exact pixels alone."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What identifies a slice and cannot be turned back into it or into a patient's name.

    Attributes
    ----------
    sha256 : 64 hex digits
        Of the decoded pixels: shape, then values as little-endian float32.
    dhash : 64 hex digits, 256 bits, row-major
        Whether a cell of a 16 x 17 grid is darker than its right neighbour.
    """

    sha256: str
    dhash: str

    def __post_init__(self) -> None:
        for name, text in (("sha256", self.sha256), ("dhash", self.dhash)):
            if len(text) != 64 or set(text) - set("0123456789abcdef"):
                raise VolumeError(f"{name} {text[:80]!r}: expected 64 hexadecimal digits")


def fingerprint(slice_: NDArray[Any], unit: Unit) -> Fingerprint:
    """Fingerprint one CT slice as it was read.

    Parameters
    ----------
    slice_ : (y, x), HU or grey levels 0..255
    unit : Unit
        HU are looked at through the window that pictures are taken to show (level 40,
        width 80).
    """
    picture = np.nan_to_num(as_picture(slice_, unit))
    cells = area_mean(picture, (_CELLS, _CELLS + 1), margin=_MARGIN)
    bits = np.diff(cells, axis=1) > _STEP
    return Fingerprint(_sha256(slice_), np.packbits(bits).tobytes().hex())


def mirrored(slice_: NDArray[Any], unit: Unit) -> Fingerprint:
    """Fingerprint a slice as it would be stored left to right reversed."""
    return fingerprint(slice_[:, ::-1], unit)


def distances(queries: Sequence[Fingerprint], known: Sequence[Fingerprint]) -> NDArray[np.intp]:
    """(q, k) numbers of differing bits between difference hashes, 0..256."""
    ours, theirs = _bits(queries), _bits(known)
    return np.rint(ours @ (1 - theirs).T + (1 - ours) @ theirs.T).astype(np.intp)


def seen(queries: Sequence[Fingerprint], known: Sequence[Fingerprint]) -> NDArray[np.bool_]:
    """(q,) whether each query equals a known slice exactly or within :data:`MATCH_BITS`.

    Where next to nothing is to be seen only the exact pixels count, and in a flat slice not
    even they: all black slices are alike.
    """
    if not queries or not known:
        return np.zeros(len(queries), dtype=bool)
    ours, theirs = _bits(queries).sum(axis=1), _bits(known).sum(axis=1)
    close = (distances(queries, known) <= MATCH_BITS) & (theirs >= _MIN_BITS)
    shas = {f.sha256 for f in known}
    exact = np.array([f.sha256 in shas for f in queries])
    found: NDArray[np.bool_] = (close.any(axis=1) & (ours >= _MIN_BITS)) | (exact & (ours > 0))
    return found


def was_seen(data: NDArray[Any], unit: Unit, known: Sequence[Fingerprint]) -> NDArray[np.bool_]:
    """(z,) whether each CT slice of ``data`` (z, y, x) is known, as it is or mirrored."""
    straight = seen([fingerprint(slice_, unit) for slice_ in data], known)
    return straight | seen([mirrored(slice_, unit) for slice_ in data], known)


def _sha256(slice_: NDArray[Any]) -> str:
    values = np.ascontiguousarray(slice_, dtype="<f4") + np.float32(0)  # -0 becomes 0
    digest = hashlib.sha256(f"{slice_.shape[0]}x{slice_.shape[1]}:".encode())
    digest.update(values.astype("<f4", copy=False).tobytes())
    return digest.hexdigest()


def _bits(prints: Sequence[Fingerprint]) -> NDArray[np.float32]:
    """(n, 256) of 0 and 1."""
    raw = np.frombuffer(b"".join(bytes.fromhex(f.dhash) for f in prints), dtype=np.uint8)
    return np.unpackbits(raw.reshape(-1, 32), axis=1).astype(np.float32)
