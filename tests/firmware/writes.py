"""What a board's process writes to the files of its store, and what a cut of power leaves there.

A push is run once, its writes logged one by one (``writes.c``). From the log the files are made
that the power's going at any one of them would have left, and a board is started on these.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from c_board import HERE, Cut, Unsynced
from native import compile_c

_HEAD = struct.Struct("<3Q")  # inode, offset, size
_SYNC = (1 << 64) - 1  # instead of an offset


@dataclass(frozen=True)
class Write:
    """Bytes that go to a place of a file, after so many writes have been synced."""

    file: str
    offset: int
    data: bytes
    synced: int

    @property
    def is_erasure(self) -> bool:
        return self.data.count(0xFF) == len(self.data)


@contextmanager
def logged(log: Path) -> Iterator[None]:
    """Processes that are started meanwhile log what they write and sync."""
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        flags = ["-shared", "-fPIC", "-O1", "-pthread"]
        library = compile_c("cc", flags, [HERE / "writes.c"], Path(folder) / "writes.so")
        patch.setenv("LD_PRELOAD", str(library))
        patch.setenv("CT_WRITES", str(log))
        yield


def read_log(log: Path, store: Path) -> tuple[list[Write], int]:
    """The writes to the files of a store, and how many of them were synced at the end."""
    names = {path.stat().st_ino: path.name for path in store.iterdir()}
    writes: list[Write] = []
    data, at, synced = log.read_bytes(), 0, 0
    while at < len(data):
        inode, offset, size = _HEAD.unpack_from(data, at)
        at += _HEAD.size + size
        if inode in names and offset == _SYNC:
            synced = len(writes)
        elif inode in names:
            writes.append(Write(names[inode], offset, data[at - size : at], synced))
    return writes, synced


def digest(store: Path) -> dict[str, bytes]:
    """SHA-256 of each file."""
    return {path.name: hashlib.sha256(path.read_bytes()).digest() for path in store.iterdir()}


def there(store: Path, write: Write) -> Write:
    """The same place, with the bytes that it holds now."""
    with (store / write.file).open("rb") as file:
        file.seek(write.offset)
        return replace(write, data=file.read(len(write.data)))


def do(store: Path, writes: Sequence[Write]) -> None:
    for write in writes:
        with (store / write.file).open("r+b") as file:
            file.seek(write.offset)
            file.write(write.data)


def cut(
    store: Path, writes: Sequence[Write], number: int, kind: Cut, fate: Unsynced = Unsynced.LASTS
) -> None:
    """Leave what there is when the power goes at the write of this number, from 1 on.

    Parameters
    ----------
    kind : Cut
        What of that write is done.
    fate : Unsynced
        What becomes of those before it which no sync had followed.
    """
    chance = np.random.default_rng(number)
    last = writes[number - 1]
    for index, write in enumerate(writes[: number - 1]):
        done = Cut.AFTER
        if index >= last.synced and fate != Unsynced.LASTS:
            done = Cut.BEFORE if fate == Unsynced.LOST else Cut(chance.integers(3))
        _do_in_part(store, write, done, chance)
    _do_in_part(store, last, kind, chance)


def _do_in_part(store: Path, write: Write, done: Cut, chance: np.random.Generator) -> None:
    if done == Cut.TORN:
        do(store, [_torn(there(store, write), write, chance)])
    elif done == Cut.AFTER:
        do(store, [write])


def _torn(before: Write, write: Write, chance: np.random.Generator) -> Write:
    """Some bits have changed; of an erasure all in one half. A flash changes no others."""
    old, new = (np.frombuffer(each.data, np.uint8) for each in (before, write))
    reached = chance.integers(0, 256, old.size, np.uint8)
    if write.is_erasure:
        half = int(chance.integers(2)) * (old.size // 2)
        reached[half : half + old.size // 2] = 0xFF
    return replace(write, data=(new & reached | old & ~reached).tobytes())
