"""What a scan found, as a person at a scanner says it. No Qt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_ct2mri.imaging.series import Series

__all__ = ["details", "said_of_all", "size_in_words", "title"]


def title(number: int, series: Series) -> str:
    """``2. CT · head, thin``."""
    what = "CT or MR?" if series.modality == "unknown" else series.modality
    return f"{number}. {what} · {series.description}"


def size_in_words(series: Series) -> str:
    """Slices, matrix, voxels, kind and number of files; what is not known is left out."""
    parts = []
    if series.shape:
        slices, rows, columns = series.shape
        parts += [f"{slices} slice{'' if slices == 1 else 's'}", f"{columns} × {rows}"]
    if series.spacing:
        step, y, x = series.spacing
        pixel = f"{x:.2f}" if abs(x - y) < 5e-3 else f"{x:.2f} × {y:.2f}"
        parts.append(f"pixels {pixel} mm, step {step:.2f} mm")
    files = len(series.files)
    parts.append(series.kind if files == 1 else f"{series.kind}, {files} files")
    return " · ".join(parts)


def said_of_all(found: Sequence[Series]) -> tuple[str, ...]:
    """Problems that all of several DICOM series have: a file that is broken belongs to none."""
    several = [series for series in found if series.kind == "DICOM"]
    if len(several) < 2:
        return ()
    first, *others = several
    return tuple(p for p in first.problems if all(p in other.problems for other in others))


def details(
    series: Series, guessed: tuple[str, ...] = (), *, but_for: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """What is corrected, left out or guessed, a line each; or why it cannot be used.

    ``but_for`` are problems that are said elsewhere.
    """
    if series.refusal:
        return (f"✗ cannot be used: {series.refusal}",)
    told = (problem for problem in (*series.problems, *guessed) if problem not in but_for)
    return tuple(f"⚠ {problem}" for problem in told)
