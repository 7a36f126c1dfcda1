from __future__ import annotations

import sys
from copy import deepcopy
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from random import Random

import numpy as np
import pytest

from napari_ct2mri.errors import BoardError, JobCancelled, LinkError
from napari_ct2mri.firmware.arena import plan
from napari_ct2mri.firmware.container import Container, ct_tables, pack
from napari_ct2mri.firmware.model import Numbers
from napari_ct2mri.jobs import Event, Notice, Progress, run_job
from napari_ct2mri.link.connection import Connection
from napari_ct2mri.link.messages import BLOCK, Number
from napari_ct2mri.link.upload import Pushed, push_model
from napari_ct2mri.pix2pix.checkpoint import load_checkpoint
from napari_ct2mri.pix2pix.zoo import find_model

from .board import Board, Refusal
from .lines import Faults, VirtualLine

sys.path.append(str(Path(__file__).resolve().parents[1] / "firmware"))
from random_models import model_of

FRAMING, FIXED = 0.0157, 300  # of a push, as docs/link-protocol.md says: a share, and bytes


def model(blocks: float, seed: int = 0) -> bytes:
    return Random(seed).randbytes(int(blocks * BLOCK))


def changed(container: bytes, *blocks: int) -> bytes:
    """Another model that differs in these blocks."""
    new = bytearray(container)
    for block in blocks:
        new[block * BLOCK + 7] ^= 0xFF
    return bytes(new)


def push(line: VirtualLine, container: bytes, **more) -> tuple[Pushed, list[Event]]:
    events: list[Event] = []
    done = run_job(push_model(lambda: Connection(line), container, **more), events.append)
    return done, events


def holds(board: Board) -> bytes:
    """What the board runs after a power cut."""
    board.power_cycle()
    assert board.active is not None
    slot = board.slots[board.active]
    content = slot.content(slot.record[1])
    assert sha256(content).digest() == slot.record[2]
    return content


@pytest.mark.parametrize("blocks", [0.01, 1, 1.5, 2, 40.3])
def test_a_model_arrives(blocks: float):
    board, container = Board(), model(blocks)
    done, events = push(VirtualLine(board), container)
    count = -(-len(container) // BLOCK)
    assert holds(board) == container
    assert (done.blocks, done.written, done.kept, done.copied) == (count, count, 0, 0)
    assert done.resent == 0
    last = [event for event in events if isinstance(event, Progress) and event.what == "bytes"][-1]
    assert (last.done, last.total) == (len(container), len(container))


def test_a_model_that_is_there_is_not_sent():
    board, container = Board(), model(20)
    line = VirtualLine(board)
    push(line, container)
    done, _ = push(line, container)
    assert done.was_there
    assert done.sent_bytes < 50


def test_only_what_changed_is_sent():
    """No more than the changed blocks and 2 %."""
    board, old = Board(), model(400.5)
    line = VirtualLine(board)
    push(line, old)
    new = changed(old, 0, *range(100, 160), 400)
    done, events = push(line, new)
    assert holds(board) == new
    assert (done.written, done.copied) == (62, 339)
    assert done.sent_bytes <= 62 * BLOCK * 1.02
    assert any(isinstance(event, Notice) and "339 come from" in event.text for event in events)


@pytest.fixture(scope="module")
def dsp16() -> Container:
    """A container of the released model's shape, its numbers random."""
    checkpoint = load_checkpoint(find_model("ct2mri-dsp16"))
    config, chance = checkpoint.config.model, np.random.default_rng(0)
    network, side = config.network, config.scale.frame_px
    bare = model_of(network.width, network.levels, network.widest, 1, (side, side))
    layers = [
        replace(
            each,
            weights=chance.integers(-127, 128, each.weights.shape, np.int8),
            bias=chance.integers(-9999, 9999, each.bias.shape, np.int32),
        )
        for each in bare.layers
    ]
    whole = replace(bare, layers=tuple(layers), numbers=(Numbers(1.0, 128),) * len(bare.numbers))
    golden = noise(chance, side, side, 1), noise(chance, side, side)
    return Container(whole, plan(whole), ct_tables(config.input.windows), golden, {"model": "a"})


def noise(chance: np.random.Generator, *shape: int) -> np.ndarray:
    return chance.integers(0, 256, shape, np.uint8)


@pytest.fixture(scope="module")
def has_dsp16(dsp16: Container) -> Board:
    board = Board()
    push(VirtualLine(board), pack(dsp16))
    return board


def push_layer(
    board: Board, container: Container, number: int, **parts: np.ndarray
) -> tuple[int, int]:
    """Push a model of which this layer differs: bytes of the changed blocks, bytes on the line.

    Another layer's weights make another golden slice, all of it.
    """
    layers = list(container.model.layers)
    layers[number] = replace(layers[number], **parts)
    image, made = container.golden
    golden = image, made[::-1] if "weights" in parts else made
    model = replace(container.model, layers=tuple(layers))
    old, new = pack(container), pack(replace(container, model=model, golden=golden))
    blocks = [i for i in range(0, len(old), BLOCK) if old[i:][:BLOCK] != new[i:][:BLOCK]]
    done, _ = push(VirtualLine(deepcopy(board)), new)
    assert done.written == len(blocks) < done.blocks
    return sum(len(new[i : i + BLOCK]) for i in blocks), done.sent_bytes


def test_any_layer_of_the_released_model_takes_2_percent_more_than_its_blocks(
    has_dsp16: Board, dsp16: Container
):
    extra = []
    for number, layer in enumerate(dsp16.model.layers):
        weights = np.roll(layer.weights, 1, axis=-1)
        changed, sent = push_layer(has_dsp16, dsp16, number, weights=weights)
        assert sent <= changed * (1 + FRAMING) + FIXED
        extra.append(sent / changed - 1)
    assert max(extra) <= 0.02


def test_a_few_numbers_take_a_few_hundred_bytes_more_than_their_blocks(
    has_dsp16: Board, dsp16: Container
):
    bias = dsp16.model.layers[5].bias
    changed, sent = push_layer(has_dsp16, dsp16, 5, bias=bias + 1)
    assert changed == 2 * BLOCK  # the header's, and the layer's
    assert sent <= changed * (1 + FRAMING) + FIXED


class Colliding(Board):
    """Shows an old block by a new one's hash."""

    def __init__(self, old: bytes, new: bytes) -> None:
        super().__init__()
        self.old, self.new = old, new

    def hash_of(self, block: bytes) -> bytes:
        return super().hash_of(self.new if block == self.old else block)


def test_blocks_that_share_a_hash_are_told_apart_by_the_whole():
    old = model(20)
    new = changed(old, 3)
    board = Colliding(old[3 * BLOCK :][:BLOCK], new[3 * BLOCK :][:BLOCK])
    line = VirtualLine(board)
    push(line, old)
    done, events = push(line, new)
    assert holds(board) == new
    assert (done.kept, done.written) == (0, 20)
    assert any(isinstance(event, Notice) and "error 8" in event.text for event in events)


def test_what_moved_is_copied():
    """A layer that grew by a block shifts those behind it."""
    board, old = Board(), model(30)
    line = VirtualLine(board)
    push(line, old)
    new = old[: 5 * BLOCK] + model(1, seed=9) + old[5 * BLOCK :]
    done, _ = push(line, new)
    assert holds(board) == new
    assert (done.written, done.copied) == (1, 30)


def test_a_broken_push_goes_on_where_it_broke_off():
    board, old, new = Board(), model(10, 1), model(100, 2)
    line = VirtualLine(board)
    push(line, old)

    def is_half(seen: list[Event]) -> bool:
        event = seen[-1] if seen else None
        is_bytes = isinstance(event, Progress) and event.what == "bytes"
        return is_bytes and event.done > event.total / 2

    seen: list[Event] = []
    with pytest.raises(JobCancelled):
        run_job(push_model(lambda: Connection(line), new), seen.append, lambda: is_half(seen))
    assert holds(board) == old
    done, _ = push(line, new)
    assert holds(board) == new
    assert 40 <= done.kept <= 70
    assert done.written == 100 - done.kept


@pytest.mark.parametrize("after_s", [0.02, 0.1, 0.3, 0.6])
def test_a_board_that_loses_power_is_filled_on(after_s: float):
    board, container = Board(), model(40)
    line = PowerCut(board, after_s)
    done, events = push(line, container)
    assert holds(board) == container
    assert line.was_cut
    assert (done.blocks, done.copied) == (40, 0)
    assert 40 <= done.kept + done.written <= 42  # the block in the air may be sent twice
    assert any(isinstance(event, Notice) and "going on" in event.text for event in events)


class PowerCut(VirtualLine):
    """Power is cut once, at a moment."""

    def __init__(self, board: Board, after_s: float) -> None:
        super().__init__(board)
        self.after_s, self.was_cut = after_s, False

    def transfer(self, data: bytes, timeout_s: float) -> tuple[int, bytes]:
        if self.time >= self.after_s and not self.was_cut:
            self.was_cut = True
            self.board.power_cycle()
        return super().transfer(data, timeout_s)


class BadStore(Board):
    """A store that loses a block, once, unnoticed."""

    was_lost = False

    def _commit(self, payload: bytes) -> bytes:
        if not self.was_lost:
            self.was_lost = True
            del self._new.blocks[3]
        return super()._commit(payload)


def test_a_block_that_went_wrong_is_sent_again():
    board, container = BadStore(), model(8)
    done, events = push(VirtualLine(board), container)
    assert holds(board) == container
    assert (done.kept, done.written) == (0, 9)
    assert any(isinstance(event, Notice) and "error 8" in event.text for event in events)


class Forgetful(Board):
    """It says that it has committed, and has not."""

    commits = 0

    def _commit(self, payload: bytes) -> bytes:
        self.commits += 1
        before = self.active
        answer = super()._commit(payload)
        self.active = before
        return answer


class Miscounting(Board):
    """The whole is never what it should be, by its SHA-256."""

    commits = 0

    def _commit(self, payload: bytes) -> bytes:
        self.commits += 1
        raise Refusal(Number.DIGEST)


@pytest.mark.parametrize("kind", [Forgetful, Miscounting])
def test_a_whole_that_is_never_right_is_given_up(kind: type[Forgetful | Miscounting]):
    board = kind()
    with pytest.raises(BoardError, match="COMMIT, error 8: what it holds is not what was sent"):
        push(VirtualLine(board), model(8))
    assert board.commits == 3
    assert board.active is None


class WrongKernels(Board):
    def _answer(self, kind: int, payload: bytes) -> bytes:
        return bytes([9, 0, 0, 0, 1, 0, 0, 0]) if kind == 11 else super()._answer(kind, payload)


def test_a_golden_pair_that_comes_out_wrong_is_an_error():
    with pytest.raises(BoardError, match="wrong in 9 bytes") as info:
        push(VirtualLine(WrongKernels()), model(2))
    assert info.value.number == Number.GOLDEN


def test_a_model_too_large_is_refused_before_it_is_sent():
    board = Board(slot_bytes=10 * BLOCK)
    line = VirtualLine(board)
    with pytest.raises(BoardError, match="has 45056 bytes, a slot of reference 40960: export"):
        push(line, model(11))
    assert line.sent < 100


def test_another_abi_says_rebuild_and_reboot():
    with pytest.raises(BoardError, match=r"of ABI 2, the firmware .* of 1: rebuild .* reboot"):
        push(VirtualLine(Board()), model(2), abi=2)


def test_a_board_that_dies_for_good_is_reported():
    board = Board()
    line = VirtualLine(board)

    def kill(event: Event) -> None:
        if isinstance(event, Progress) and event.what == "bytes":
            board.is_on = False

    with pytest.raises(LinkError, match="no answer to HELLO"):
        run_job(push_model(lambda: Connection(line), model(100)), kill)


@pytest.mark.parametrize("baud", [115200, 921600, 2_000_000])
@pytest.mark.parametrize("latency_s", [0.0005, 0.016])
def test_the_line_is_kept_busy(baud: int, latency_s: float):
    """At least 90 % of the line, with the latency of an adapter each way."""
    board = Board(window=32, rates=(baud,))
    line = VirtualLine(board, baud=baud, latency_s=latency_s)
    container = model(100)
    done, _ = push(line, container)
    rate = len(container) / done.write_seconds
    assert rate >= 0.9 * baud / 10


@pytest.mark.parametrize("seed", range(20))
def test_a_bad_line_slows_but_does_not_falsify(seed: int):
    board, container = Board(), model(20 + seed % 3 / 2, seed)
    faults = Faults(drop=0.002, flip=0.002, duplicate=0.005, delay=0.002, cut=0.0005)
    push(VirtualLine(board, faults, seed), container)
    assert holds(board) == container
