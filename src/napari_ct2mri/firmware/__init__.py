"""From a trained generator to firmware: integers that are exact, C that computes them."""

from __future__ import annotations

from pathlib import Path

__all__ = ["runtime_files", "runtime_folder"]

_SOURCES = (".c", ".h", ".S", ".mk", ".ld", ".cmd", ".asm", "")


def runtime_folder() -> Path:
    """Where the C runtime lies."""
    return Path(__file__).parent / "runtime"


def runtime_files() -> tuple[Path, ...]:
    """Every source file of the C runtime, in one order."""
    files = (path for path in runtime_folder().rglob("*") if path.is_file())
    return tuple(sorted(path for path in files if path.suffix in _SOURCES))
