"""Power cuts at every write and every erasure of a push: a whole old or a whole new model (L11)."""

from __future__ import annotations

import ctypes
import hashlib
import itertools
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from c_board import CUTS, HERE, CBoard, Cut, Unsynced, load, session
from host_end import BLOCK, COPY, BoardError, Client, SilenceError, to_library
from native import UNDEFINED, compile_c
from random_models import boxed, random_model

from napari_ct2mri.firmware import runtime_folder
from napari_ct2mri.firmware.container import pack, seal

RECORD = 0x5232544D  # its magic
FLASH = {"slot_bytes": 1 << 16, "unit": 1 << 14, "page": 1024}
STORES = {
    "flash": FLASH,
    "flash of blocks": {"slot_bytes": 1 << 16, "unit": BLOCK, "page": 2048},
    "memory": {"slot_bytes": 1 << 16, "unit": BLOCK, "page": 1024, "is_flash": False},
}
Push = Callable[[Client, bytes], int]


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    return load()


@pytest.fixture(scope="module")
def models() -> list[bytes]:
    """Three containers of one size; the second differs from the first in one layer."""
    made = []
    for seed in (1, 2):
        made.append(pack(boxed(random_model(4, 3, 3, seed=seed), seed)))
    near = bytearray(made[0])
    near[-1 - near[::-1].index(b"}")] = ord(" ")  # in the text that describes it
    return [made[0], seal(near), made[1]]


def fill(board: CBoard, slots: list[bytes]) -> None:
    for number, content in enumerate(slots):
        board.slot(number)[:] = content


def content(board: CBoard) -> list[bytes]:
    return [bytes(board.slot(number)) for number in (0, 1)]


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def push(client: Client, container: bytes) -> int:
    return client.push(container)


def push_changes(client: Client, container: bytes) -> int:
    """What the active model has is copied there, the rest is sent."""
    size = client.hello().size
    client.begin(container)
    known = client.hashes(1, 0, size // BLOCK)
    for number in range(-(-len(container) // BLOCK)):
        block = container[number * BLOCK : (number + 1) * BLOCK]
        if number < len(known) and digest(block)[:8] == known[number]:
            client.ask(COPY, np.array([number, number], "<u4").tobytes() + b"\1\0")
        else:
            for at in range(0, len(block), 1024):
                client.write(number * BLOCK + at, block[at : at + 1024], jump=at == 0)
    return client.commit(container)


def is_cut(client: Client, container: bytes, how: Push) -> bool:
    try:
        how(client, container)
    except SilenceError:
        return True
    return False


def vouched(board: CBoard) -> list[bytes]:
    """The containers that valid records stand for; each must be there, whole."""
    found = []
    for slot in content(board):
        note = slot[board.slot_bytes + board.unit :][:48]
        magic, _, size, sha256, crc = struct.unpack("<III32sI", note)
        if magic == RECORD and crc == zlib.crc32(note[:44]):
            found.append(slot[:size])
            assert digest(slot[:size]) == sha256, "a record stands before what it vouches for lasts"
    return found


def starts_with(board: CBoard, *allowed: bytes) -> bytes:
    """The model that runs after power-on: one of those, all of it, and its golden pair is right."""
    board.power_cycle()
    client = Client(to_library(board))
    hello = client.hello()
    found = [model for model in allowed if digest(model) == hello.digest]
    assert hello.status == 0, "the board came back without a model"
    assert found, "the board came back with something else"
    assert bytes(board.slot(hello.active)[: hello.size]) == found[0]
    assert client.test() == 0
    return found[0]


def cut_everywhere(library: ctypes.CDLL, models: list[bytes], store: str, how: Push) -> None:
    old, new, older = models
    board = CBoard(library, memory=1 << 17, **STORES[store])
    for model in (older, old):
        Client(to_library(board)).push(model)
    before = content(board)
    start = board.operations
    how(Client(to_library(board)), new)
    assert starts_with(board, new) == new
    operations = board.operations - start
    assert operations > 10
    for number, (kind, fate) in itertools.product(range(1, operations + 1), CUTS):
        fill(board, before)
        board.power_cycle()
        board.unsynced(fate)
        board.cut(number, kind, seed=number)
        assert is_cut(Client(to_library(board)), new, how)
        assert board.is_off
        assert old in vouched(board)
        # the last operation writes the record, and all else lasts by then
        is_over = number == operations and kind == Cut.AFTER
        assert starts_with(board, old, new) == (new if is_over else old)
        Client(to_library(board)).push(new)  # goes on where it was cut, whatever was left
        assert starts_with(board, new) == new  # it was told so: nothing of it is lost
    assert board.violations == 0


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("how", [push, push_changes])
def test_cut_at_every_operation(
    library: ctypes.CDLL, models: list[bytes], store: str, how: Push
) -> None:
    cut_everywhere(library, models, store, how)


@pytest.fixture(scope="module")
def rest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of the board's end but ``store.c`` and ``push.c``, compiled."""
    sources = [HERE / "c_board.c", *session()]
    kept = [source for source in sources if source.name not in {"store.c", "push.c"}]
    flags = ["-O2", "-r", "-nostdlib", "-fPIC", f"-I{runtime_folder()}", *UNDEFINED]
    return compile_c("cc", flags, kept, tmp_path_factory.mktemp("rest") / "rest.o")


SYNC = "store->sync(store->user)"
FAULTS = {
    "written notes are not synced": ("store.c", SYNC, "0", 1),
    "erased notes are not synced": ("store.c", SYNC, "0", 2),
    "the container is not synced": ("store.c", SYNC, "0", 3),
    "the old record stays": ("store.c", "erase_note(store, slot, record_at(store))", "0", 1),
    "the old journal stays": ("store.c", "erase_note(store, slot, journal_at(store))", "0", 1),
    "written over what is there": ("store.c", "is_blank(there, CT_BLOCK)", "1", 1),
    "into the slot that runs": ("push.c", "kept == 0 ? 1 : 0", "kept == 0 ? 0 : 1", 1),
    "no newer than the old one": ("push.c", "active->sequence + 1", "0", 1),
}
"""Faults by name: the source, what stands there, what stands there instead, at which occurrence."""


def with_fault(folder: Path, fault: str) -> list[Path]:
    """Copies of ``store.c`` and ``push.c``, one of them with the fault."""
    name, right, wrong, number = FAULTS[fault]
    made = []
    for source in ("store.c", "push.c"):
        text = (runtime_folder() / source).read_text()
        if source == name:
            parts = text.split(right)
            assert len(parts) > number, f"{name} has no such place any more"
            text = right.join(parts[:number]) + wrong + right.join(parts[number:])
        (folder / source).write_text(text)
        made.append(folder / source)
    return made


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_order_is_found(
    models: list[bytes], rest: Path, tmp_path: Path, fault: str
) -> None:
    """The cuts above see each of these; with the source as it is they pass."""
    library = load(sources=[*with_fault(tmp_path, fault), rest])
    with pytest.raises((AssertionError, BoardError)):
        cut_everywhere(library, models, "flash", push_changes)


def test_every_sync_is_among_the_faults() -> None:
    text = (runtime_folder() / "store.c").read_text()
    assert text.count("store->sync") == sum(right == SYNC for _, right, *_ in FAULTS.values())


@pytest.mark.parametrize("store", STORES)
def test_cut_of_a_first_push(library: ctypes.CDLL, models: list[bytes], store: str) -> None:
    """With no model to fall back to: none, or the new one whole."""
    board = CBoard(library, memory=1 << 17, **STORES[store])
    empty, start = content(board), board.operations
    Client(to_library(board)).push(models[0])
    operations = board.operations - start
    for number, (kind, fate) in itertools.product(range(1, operations + 1), CUTS):
        fill(board, empty)
        board.power_cycle()
        board.unsynced(fate)
        board.cut(number, kind, seed=number)
        assert is_cut(Client(to_library(board)), models[0], push)
        board.power_cycle()
        hello = Client(to_library(board)).hello()
        is_there = number == operations and kind == Cut.AFTER
        assert (hello.status, hello.digest == digest(models[0])) == ((0, 1) if is_there else (7, 0))
        assert vouched(board) == [models[0]] * is_there
        Client(to_library(board)).push(models[0])
        starts_with(board, models[0])
    assert board.violations == 0


@pytest.mark.parametrize("seed", range(40))
def test_cut_again_and_again(library: ctypes.CDLL, models: list[bytes], seed: int) -> None:
    """Pushes of changing models, most of them cut, on what the cuts before have left."""
    chance = np.random.default_rng(seed)
    board = CBoard(library, memory=1 << 17, **STORES[list(STORES)[seed % 3]])
    runs = models[0]
    Client(to_library(board)).push(runs)
    for step in range(12):
        new = models[chance.integers(3)]
        how = push_changes if chance.random() < 0.5 else push
        kind, fate = CUTS[chance.integers(len(CUTS))]
        board.unsynced(fate)
        board.cut(int(chance.integers(1, 45)), kind, seed=seed * 100 + step)
        was_cut = is_cut(Client(to_library(board)), new, how)
        runs = starts_with(board, runs, new) if was_cut else starts_with(board, new)
        assert runs in vouched(board)
        board.cut(1 << 30)
    assert board.violations == 0


def test_what_a_broken_push_left_is_not_sent_again(
    library: ctypes.CDLL, models: list[bytes]
) -> None:
    board = CBoard(library, memory=1 << 17, **FLASH)
    model = models[0]
    client = Client(to_library(board))
    assert client.begin(model) is False
    for at in range(0, 3 * BLOCK, 1024):
        client.write(at, model[at : at + 1024])
    client.write(3 * BLOCK, model[3 * BLOCK : 3 * BLOCK + 1024])  # not a whole block
    board.power_cycle()
    client = Client(to_library(board))
    with pytest.raises(BoardError, match="error 5"):  # ORDER
        client.hashes(0, 0, 1)
    assert client.begin(model) is True
    blocks = [model[at : at + BLOCK] for at in range(0, len(model), BLOCK)]
    is_there = [
        known == digest(block)[:8]
        for known, block in zip(client.hashes(0, 0, len(blocks)), blocks, strict=True)
    ]
    assert is_there == [True] * 3 + [False] * (len(blocks) - 3)
    start = board.operations
    client.push(model)
    assert board.operations - start < len(model) / 1024  # only what was missing was written
    assert client.begin(models[2]) is False  # another one begins anew


def test_back_to_the_model_before_sends_nothing(library: ctypes.CDLL, models: list[bytes]) -> None:
    board = CBoard(library, memory=1 << 17, **FLASH)
    client = Client(to_library(board))
    client.push(models[0])
    client.push(models[2])
    assert client.begin(models[0]) is True
    start = board.operations
    client.commit(models[0])
    assert board.operations - start == 1  # the record
    assert starts_with(board, models[0])


def test_an_altered_container_is_not_taken(library: ctypes.CDLL, models: list[bytes]) -> None:
    """A flash that has lost a bit: the other slot's model, or none."""
    board = CBoard(library, memory=1 << 17, **FLASH)
    for model in (models[0], models[2]):
        Client(to_library(board)).push(model)
    board.slot(1)[5000] ^= 4
    assert starts_with(board, models[0], models[2]) == models[0]
    board.slot(0)[6000] ^= 4
    board.power_cycle()
    assert Client(to_library(board)).hello().status == 7
    Client(to_library(board)).push(models[1])
    starts_with(board, models[1])


@pytest.mark.parametrize("fate", Unsynced)
def test_a_sync_that_fails(library: ctypes.CDLL, models: list[bytes], fate: Unsynced) -> None:
    """What may not last is not vouched for, nor is a record found that was refused."""
    old, new, older = models
    board = CBoard(library, memory=1 << 17, **FLASH)
    for model in (older, old):
        Client(to_library(board)).push(model)
    before, start = content(board), board.syncs
    Client(to_library(board)).push(new)
    syncs = board.syncs - start
    assert syncs >= 5  # record and journal gone; journal; container; record
    for number in range(1, syncs + 1):
        fill(board, before)
        board.power_cycle()
        board.unsynced(fate)
        board.fail_sync(number)
        with pytest.raises(BoardError, match="error 11"):  # STORE
            Client(to_library(board)).push(new)
        assert starts_with(board, old) == old
        assert new not in vouched(board)
        Client(to_library(board)).push(new)
        assert starts_with(board, new) == new


def test_an_altered_note_is_none(library: ctypes.CDLL, models: list[bytes]) -> None:
    """A bit of any byte of a record or a journal: its number, too, which nothing else tells of."""
    board = CBoard(library, memory=1 << 17, **FLASH)
    client = Client(to_library(board))
    for model in models[:2]:
        client.push(model)
    before = content(board)
    for at in range(48):
        fill(board, before)
        board.slot(1)[board.slot_bytes + board.unit + at] ^= 1 << at % 8
        assert starts_with(board, *models[:2]) == models[0]
        assert vouched(board) == models[:1]
    fill(board, before)
    board.power_cycle()
    for at in range(48):
        assert client.begin(models[2]) is False
        assert client.begin(models[2]) is True
        board.slot(0)[board.slot_bytes + at] ^= 1 << at % 8
        board.power_cycle()
    assert client.begin(models[2]) is False


@pytest.mark.parametrize("number", [1, 2], ids=["record", "journal"])
def test_a_note_that_stays_is_seen_at_once(
    library: ctypes.CDLL, models: list[bytes], number: int
) -> None:
    """The store says that it has erased it; nothing of the container is touched then."""
    board = CBoard(library, memory=1 << 17, **FLASH)
    client = Client(to_library(board))
    for model in (models[2], models[0]):
        client.push(model)
    before = content(board)
    board.fail(number, silently=True)
    with pytest.raises(BoardError, match="error 11"):  # STORE
        client.begin(models[1])
    assert [slot[: board.slot_bytes] for slot in content(board)] == [
        slot[: board.slot_bytes] for slot in before
    ]
