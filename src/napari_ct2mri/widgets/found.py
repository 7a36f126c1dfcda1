"""What a scan found, as a person at a scanner says it. No Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_ct2mri.imaging.series import Series

__all__ = ["details", "size_in_words", "title"]


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


def details(series: Series, guessed: tuple[str, ...] = ()) -> tuple[str, ...]:
    """What is corrected, left out or guessed, a line each; or why it cannot be used."""
    if series.refusal:
        return (f"✗ cannot be used: {series.refusal}",)
    return tuple(f"⚠ {problem}" for problem in (*series.problems, *guessed))
