"""Numbers and tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["cell", "number", "table"]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; every row as long as its head."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(figure: str, value: float | None, *, signed: bool = False) -> str:
    """A figure with the digits that it deserves; a dash where there is none."""
    if value is None:
        return "–"
    if "psnr" in figure:
        digits = 2
    elif "mae" in figure:
        digits = 1
    else:
        digits = 3
    return f"{value:{'+' if signed else ''}.{digits}f}"


def cell(figure: str, mean: float | None, spread: float | None) -> str:
    """Mean ± spread."""
    text = number(figure, mean)
    return text if mean is None or spread is None else f"{text} ± {number(figure, spread)}"
