"""Boards that run on this machine: their firmware, their flash, and which of them are running."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from napari_ct2mri.disk import alone, cache_folder, parse_json, whole_file
from napari_ct2mri.errors import FirmwareError
from napari_ct2mri.jobs import Job

__all__ = [
    "Running",
    "firmware_for",
    "running_boards",
    "start_board",
    "users_of_socket",
]

_ESTABLISHED = "01"  # Linux, net/tcp_states.h


@dataclass(frozen=True, slots=True)
class Running:
    """A simulated board that runs now.

    Attributes
    ----------
    port : str
        Path of a pseudo-terminal, or a ``socket://`` URL.
    store : str
        The folder that stands for its flash.
    pid : int
        Of the process that started it.
    """

    board: str
    port: str
    store: str
    pid: int


def firmware_for(board: str, project: Path | None = None) -> Job[Path]:
    """A folder with ``build/<board>/firmware.elf``, built if it is not there.

    Parameters
    ----------
    board : str
    project : Path, optional
        What ``export`` wrote; by default the runtime alone, in the user's cache: the firmware is
        the same for every model.

    Raises
    ------
    FirmwareError
        If there is no such board, or it cannot be built here.
    """
    from napari_ct2mri.firmware.boards import find_board
    from napari_ct2mri.firmware.build import build

    tools = find_board(board).needs
    folder = _runtime_folder() if project is None else project
    is_built = (folder / "build" / board / "firmware.elf").is_file()
    if not is_built or all(tool.is_installed for tool in tools):  # make knows what is out of date
        yield from build(folder, board)
    return folder


def _runtime_folder() -> Path:
    """The runtime's sources in the cache, by their digest."""
    from napari_ct2mri.firmware import runtime_files, runtime_folder

    sources = {path.relative_to(runtime_folder()): path.read_bytes() for path in runtime_files()}
    digest = hashlib.sha256(repr(sorted(sources.items())).encode()).hexdigest()
    folder = cache_folder() / "firmware" / digest[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with alone(folder):
            for name, data in sources.items():
                target = folder / name
                if not target.is_file() or target.read_bytes() != data:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with whole_file(target) as new:
                        new.write_bytes(data)
    except OSError as error:
        raise FirmwareError(
            f"{folder}: could not be written: {error.strerror}; set XDG_CACHE_HOME to a folder "
            "that can"
        ) from error
    return folder


@contextmanager
def start_board(folder: Path, board: str, store: Path | None = None) -> Iterator[Running]:
    """A simulated board, until the end of the block; ``running_boards`` shows it meanwhile.

    Parameters
    ----------
    folder : Path
        Of :func:`firmware_for`.
    board : str
    store : Path, optional
        Folder that stands for the board's flash; by default one in the user's cache.

    Raises
    ------
    FirmwareError
        If it cannot be simulated or does not start.
    """
    from napari_ct2mri.firmware.simulate import start_board as start

    store = cache_folder() / "boards" / board if store is None else store
    if store.is_file():
        raise FirmwareError(
            f"{store}: a file, expected a folder, which stands for the board's flash; name another "
            "--store, it is made if it is not there"
        )
    with start(folder, board, store) as port:
        running = Running(board, port, str(store), os.getpid())
        with _listed(running):
            yield running


@contextmanager
def _listed(running: Running) -> Iterator[None]:
    """Keep a note for other programs; it is locked as long as its writer lives."""
    path = _notes() / f"{running.pid}-{id(running):x}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    begun = path.with_suffix(".part")
    with begun.open("w", encoding="utf-8") as file:
        _lock(file)
        json.dump(asdict(running), file)
        file.flush()
        begun.replace(path)  # once it is locked and whole: others take one without a lock for dead
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def running_boards() -> tuple[Running, ...]:
    """The simulated boards of this user that run now; notes of those that died are removed."""
    found = []
    for path in sorted(_notes().glob("*.json")):
        with suppress(OSError, ValueError, TypeError), path.open("r+", encoding="utf-8") as file:
            if _lock(file):
                path.unlink()
            else:
                found.append(Running(**parse_json(file.read())))
    return tuple(found)


def users_of_socket(url: str) -> list[str]:
    """Programs that are connected to a simulated board's socket, where Linux tells.

    Its emulator serves one at a time; to others it is silent.
    """
    number = urlsplit(url).port or 0
    try:
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    except OSError:
        return []
    sockets = {
        f"socket:[{row[9]}]"
        for row in rows
        if row[3] == _ESTABLISHED and int(row[2].partition(":")[2], 16) == number
    }
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if int(process.name) != os.getpid() and _holds(process, sockets):
                found.append(f"{(process / 'comm').read_text().strip()} (pid {process.name})")
    return found


def _holds(process: Path, sockets: set[str]) -> bool:
    for handle in (process / "fd").iterdir():
        with suppress(OSError):
            if str(handle.readlink()) in sockets:
                return True
    return False


def _notes() -> Path:
    return cache_folder() / "running"


def _lock(file: IO[str]) -> bool:
    """Take the lock of an open file; ``False`` if somebody alive has it."""
    try:
        import fcntl
    except ImportError:  # no simulated board runs where there is none
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
