"""From a trained generator to firmware: integers that are exact, C that computes them."""

from __future__ import annotations

from pathlib import Path

__all__ = ["runtime_files"]

_RUNTIME = Path(__file__).parent / "runtime"


def runtime_files() -> tuple[Path, ...]:
    """Every file of the C runtime, in one order."""
    return tuple(sorted(path for path in _RUNTIME.rglob("*") if path.is_file()))
