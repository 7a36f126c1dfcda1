"""What every room does with the disk: whole files, one writer at a time, JSON, the cache."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISDIR
from typing import Any
from uuid import uuid4

__all__ = ["alone", "cache_folder", "closed_to_files", "parse_json", "sync", "whole_file"]


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A new name beside ``path``; what the block writes there takes the place of ``path``.

    It is synced first, so that a full disk, an error or a loss of power leaves the former file
    or the new one, whole. After an error nothing of it is left.

    Raises
    ------
    OSError
        If it cannot be written; the former file, if any, is as it was.
    """
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}.part")
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
    finally:
        with suppress(OSError):  # such as: its folder is a file
            temporary.unlink()


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Until the end of the block no other process has come as far with the same ``path``.

    For a file that is read, changed and replaced. Windows, and file systems that have no locks,
    do without.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    lock = path.with_name(f".{path.name}.lock")
    while True:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        with suppress(OSError):  # there are none
            fcntl.flock(handle, fcntl.LOCK_EX)
        if _is_at(handle, lock):
            break
        os.close(handle)  # whoever had it before has removed it
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(handle)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def sync(path: Path) -> None:
    """Wait until a file, or (not on Windows) the names in a folder, would outlive a loss of power.

    Raises
    ------
    OSError
        If they would not.
    """
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def closed_to_files(folder: Path) -> Path | None:
    """What would keep files out of ``folder``, which need not exist yet; ``None``: nothing."""
    for there in (folder.absolute(), *folder.absolute().parents):
        try:
            is_folder = S_ISDIR(there.stat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            if there.is_symlink():  # to nowhere
                return there
        except OSError:  # such as: the name is too long
            return there
        else:
            return None if is_folder and os.access(there, os.W_OK | os.X_OK) else there
    return None


def cache_folder() -> Path:
    """What can be made again, of this user; ``scripts/build-tic6x`` finds it by the same rule."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "napari-ct2mri"


def parse_json(text: str | bytes) -> Any:
    """JSON that somebody else may have written.

    Raises
    ------
    ValueError
        If it is none, or nested more deeply than Python goes.
    """
    import json

    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
