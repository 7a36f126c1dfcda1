"""A thousand pushes over a line that drops, flips, repeats, delays and breaks, to a board whose
power goes at random: each ends with the new model whole, or with the old one whole.

Both ends are those that run for real: the host's session, and the board's receiver in C on a store
of flash; the line and the clock are virtual.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from random import Random

import numpy as np
import pytest

from napari_ct2mri.errors import LinkError
from napari_ct2mri.jobs import run_job
from napari_ct2mri.link.connection import Connection
from napari_ct2mri.link.upload import push_model

from .board import Board
from .lines import End, Faults, VirtualLine

sys.path.insert(0, str(Path(__file__).parents[1] / "firmware"))

PUSHES = 1000


@cache
def containers() -> list[bytes]:
    """Small models: three strangers, and a fine-tuned relative of each, one layer changed."""
    from random_models import boxed, random_model

    from napari_ct2mri.firmware.container import pack

    made = []
    for seed in range(3):
        model = random_model(4, 3, 3, seed=seed)
        layer = model.layers[1]
        tuned = replace(layer, weights=np.roll(layer.weights, 1, axis=-1))
        layers = (model.layers[0], tuned, *model.layers[2:])
        made += [pack(boxed(model)), pack(boxed(replace(model, layers=layers)))]
    return made


class Shaky:
    """A board in C whose power goes at a random operation of its store, and comes back."""

    def __init__(self, board, chance: Random) -> None:
        self.board, self.chance = board, chance
        self.cuts, self.off_ms = 0, 0.0

    def arm(self) -> None:
        from c_board import Cut

        kind = self.chance.choice(list(Cut))
        self.board.cut(self.chance.randint(1, 60), kind, self.chance.randint(1, 1 << 30))

    def feed(self, data: bytes) -> bytes:
        return self.board.feed(data)

    def tick(self, ms: float) -> bytes:
        if self.board.is_off:
            self.off_ms += ms
            if self.off_ms > 200:
                self.cuts, self.off_ms = self.cuts + 1, 0.0
                self.board.power_cycle()
        return self.board.tick(ms)

    def power_cycle(self) -> None:
        self.board.power_cycle()


STORES = [(4096, 16, True), (16384, 256, True), (1 << 16, 256, True), (4096, 1, False)]
"""Bytes to erase and to write at once; whether it is flash, which must be erased."""


def shaky_c_board(store: tuple[int, int, bool], chance: Random) -> Shaky:
    from c_board import CBoard

    return Shaky(CBoard(library(), 1 << 17, *store), chance)


@cache
def library():
    from c_board import load

    return load()


def faults(chance: Random) -> Faults:
    """A line of its own for each push, from good to hopeless."""
    bad = 10 ** chance.uniform(-5, -2)
    return Faults(
        drop=bad, flip=bad, duplicate=bad, delay=bad, cut=bad / 5, sever=bad / 5, piece=128
    )


def is_running(board: End) -> bytes:
    """Digest of the model that a board runs after a power cycle, looked at over a good line."""
    board.power_cycle()
    connection = Connection(VirtualLine(board))
    hello = connection.hello
    if hello.status:
        return b""
    assert sha256(connection.read(0, hello.size)).digest() == hello.digest
    assert connection.test()[0] == 0
    return hello.digest


def push_often(board: End, models: list[bytes], chance: Random, pushes: int) -> Counter[str]:
    """Push after push; what became of them."""
    seen: Counter[str] = Counter()
    old = b""
    for number in range(pushes):
        new = chance.choice(models)
        digest = sha256(new).digest()
        line = VirtualLine(board, faults(chance), chance.randrange(1 << 30))
        if isinstance(board, Shaky) and chance.random() < 0.5:
            board.arm()
        try:
            done = run_job(push_model(lambda line=line: Connection(line), new), lambda event: None)
        except LinkError:
            seen["refused"] += 1
            is_over = False
        else:
            seen.update(committed=1, resent=done.resent, copied=done.copied, kept=done.kept)
            is_over = True
        seen["cuts"] += line.cuts
        found = is_running(board)
        assert found == digest if is_over else found in (old, digest), f"push {number}"
        old = found
    return seen


def check(seen: Counter[str], pushes: int) -> None:
    """Every kind of trouble must have come."""
    assert seen["committed"] + seen["refused"] == pushes
    assert min(seen[what] for what in ("committed", "refused", "resent", "copied", "kept")) > 10
    assert seen["cuts"] > 10


def test_pushes_to_the_reference_in_python():
    chance = Random(1)
    models = [chance.randbytes(size) for size in (100, 28_000, 60_000)]
    models += [model[:9000] + b"tuned" + model[9005:] for model in models[1:]]
    check(push_often(Board(), models, chance, 150), 150)


@pytest.mark.parametrize("store", STORES)
def test_a_thousand_pushes_to_the_receiver_in_c(store: tuple[int, int, bool]):
    chance = Random(STORES.index(store))
    board = shaky_c_board(store, chance)
    seen = push_often(board, containers(), chance, PUSHES // len(STORES))
    check(seen, PUSHES // len(STORES))
    assert board.cuts > 10
    assert board.board.violations == 0
