"""What a scan of a path finds, how one of several is chosen, and what it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_ct2mri.errors import ImageError
from napari_ct2mri.imaging.volume import Modality

__all__ = ["Series", "pick", "settle_modality"]

_LISTED = 12
_KNOWN: dict[str, Modality] = {"CT": "CT", "MR": "MR"}


@dataclass(frozen=True, slots=True)
class Series:
    """One readable (or refused) image of a path; no pixel was read for it.

    Attributes
    ----------
    uid : str
        DICOM Series Instance UID, with ``#2``, ``#3`` ... for the further stacks of a series
        that holds several (echoes, orientations); empty for other files.
    kind : str
        ``DICOM``, ``NIfTI``, ``NRRD``, ``MetaImage``, ``picture`` or ``pictures``.
    modality : Modality
        As stated; ``unknown`` where the file does not say.
    description : str
        SeriesDescription or file name; never patient data.
    files : tuple of Path
        In order along the slice normal.
    shape, spacing : (z, y, x), voxels and mm
        Of the volume that reading gives; None where that is not known.
    problems : tuple of str
        What was left out or is going to be corrected, as sentences.
    refusal : str
        Why it cannot be read; empty if it can.
    """

    uid: str
    kind: str
    modality: Modality
    description: str
    files: tuple[Path, ...]
    shape: tuple[int, int, int] | None
    spacing: tuple[float, float, float] | None
    problems: tuple[str, ...] = ()
    refusal: str = ""

    def __str__(self) -> str:
        """One phrase for a list to choose from."""
        if self.refusal:
            return f"{self.kind} {self.description!r}, unusable: {self.refusal}"
        shape = "x".join(map(str, self.shape)) if self.shape else "size unknown"
        mm = " at " + "x".join(f"{s:.4g}" for s in self.spacing) + " mm" if self.spacing else ""
        uid = f", ...{self.uid[-12:]}" if self.uid else ""
        return f"{self.modality} {self.description!r} {shape}{mm}{uid}"


def pick(found: Sequence[Series], key: str | None, path: Path) -> int:
    """Index of the series that ``key`` names, or of the only usable one.

    Parameters
    ----------
    key : str, optional
        A number counted from 1, a UID, or a beginning or end of one that fits no other.

    Raises
    ------
    ImageError
        If none or several fit, with the list; or if the one meant is refused.
    """
    if key is None:
        fits = [i for i, series in enumerate(found) if not series.refusal]
        if not fits and len(found) > 1:
            raise ImageError(f"{path}: nothing usable among {_listing(found)}")
        fits = fits or [0]
    elif key.isdecimal() and 1 <= int(key) <= len(found):
        fits = [int(key) - 1]
    else:
        exact = [i for i, series in enumerate(found) if series.uid == key]
        fits = exact or [
            i
            for i, series in enumerate(found)
            if key and (series.uid.startswith(key) or series.uid.endswith(key))
        ]
    if len(fits) != 1:
        asked = "several series" if key is None else f"{len(fits)} series that fit {key!r}"
        raise ImageError(
            f"{path}: holds {asked}; choose one by its number or UID: {_listing(found)}"
        )
    chosen = found[fits[0]]
    if chosen.refusal:
        raise ImageError(f"{chosen.files[0] if len(chosen.files) == 1 else path}: {chosen.refusal}")
    return fits[0]


def settle_modality(stated: str, asked: Modality | None, path: Path | str) -> tuple[Modality, str]:
    """What an image is: as it states itself; as asked only where it does not.

    Parameters
    ----------
    stated : str
        The file's own word (``CT``, ``MR``, ``OT`` ...); empty where it has none.
    asked : Modality, optional
    path : Path or str
        Named in the error.

    Returns
    -------
    (Modality, str)
        ``unknown`` where nobody says; and a note if a word of the file was passed over.

    Raises
    ------
    ImageError
        If it states the other of CT and MR than was asked for.
    """
    if known := _KNOWN.get(stated):
        if asked in _KNOWN and asked != known:
            raise ImageError(
                f"{path}: states that it is {stated}, expected {asked}; give the {asked} here "
                "(are CT and MR swapped?)"
            )
        return known, ""
    if asked is None or asked == "unknown":
        return "unknown", ""
    return asked, f"the file states modality {stated}, taken for {asked} as asked" if stated else ""


def _listing(found: Sequence[Series]) -> str:
    lines = [f"({i}) {series}" for i, series in enumerate(found[:_LISTED], start=1)]
    rest = len(found) - len(lines)
    return "; ".join(lines) + (f"; and {rest} more" if rest else "")
