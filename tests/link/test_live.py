from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_ct2mri.errors import BoardError, LinkError
from napari_ct2mri.jobs import run_job
from napari_ct2mri.link.codec import decode, encode
from napari_ct2mri.link.connection import Connection
from napari_ct2mri.link.live import Runner
from napari_ct2mri.link.messages import Number
from napari_ct2mri.link.session import NoAnswer
from napari_ct2mri.link.upload import push_model

from .board import Board
from .lines import Faults, VirtualLine

SIDE = 64
QUIET = Faults()
FAULTS = Faults(drop=0.002, flip=0.002, duplicate=0.005, delay=0.002)
CUTS = Faults(drop=0.001, flip=0.001, duplicate=0.002, delay=0.001, cut=0.0007)


def network(planes: list[NDArray[np.generic]]) -> NDArray[np.uint8]:
    """Depends on every plane and on their order."""
    weighted = sum((i + 1) * plane.astype(np.int64) for i, plane in enumerate(planes))
    return (weighted // 8 % 251).astype(np.uint8)


def board(planes: int = 1, **more) -> Board:
    return Board(network, (SIDE, SIDE, planes), codec=(encode, decode), **more)


def runner(end: Board, faults: Faults = QUIET, seed: int = 0, **more) -> Runner:
    line = VirtualLine(end, seed=seed, **more)
    run_job(push_model(lambda: Connection(line), bytes(range(256)) * 8), lambda event: None)
    line.faults = faults
    return Runner(Connection(line))


def slices(count: int, seed: int = 0) -> list[NDArray[np.int16]]:
    noise = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE, :SIDE]
    return [
        (400 * np.sin((x + k) / 9) * np.cos(y / 7) + noise.normal(0, 20, x.shape)).astype(np.int16)
        for k in range(count)
    ]


def neighbours(volume: list[NDArray[np.int16]], count: int) -> list[list[NDArray[np.int16]]]:
    """Windows of ``count`` slices, as a model with neighbours takes them."""
    return [volume[i : i + count] for i in range(len(volume) - count + 1)]


def test_slices_come_back_in_order():
    end = board()
    volume = slices(12)
    answers = list(runner(end).run([each] for each in volume))
    assert [answer.number for answer in answers] == list(range(12))
    for answer, each in zip(answers, volume, strict=True):
        np.testing.assert_array_equal(answer.mr, network([each]))
        assert answer.sent_bytes == len(encode(each))
        assert answer.received_bytes == len(encode(answer.mr))
        assert answer.latency_s > 0
    assert end.counts["runs"] == 12


@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize("seed", range(8))
def test_a_bad_line_changes_no_pixel(seed: int, planes: int):
    inputs = neighbours(slices(8, seed), planes)
    end = board(planes, compute_ms=seed % 3 * 10.0)
    answers = list(runner(end, FAULTS, seed).run(inputs))
    assert len(answers) == len(inputs)
    for answer, given in zip(answers, inputs, strict=True):
        np.testing.assert_array_equal(answer.mr, network(given))


@pytest.mark.parametrize("seed", range(8))
def test_a_board_that_is_reset_meanwhile_changes_no_pixel(seed: int):
    inputs = neighbours(slices(10, seed), 3)
    answers = list(runner(board(3, compute_ms=5.0), CUTS, seed).run(inputs))
    for answer, given in zip(answers, inputs, strict=True):
        np.testing.assert_array_equal(answer.mr, network(given))


def test_neighbours_are_sent_once():
    end = board(3)
    inputs = neighbours(slices(10), 3)
    answers = list(runner(end).run(inputs))
    for answer, given in zip(answers, inputs, strict=True):
        np.testing.assert_array_equal(answer.mr, network(given))
    assert answers[0].sent_bytes == sum(len(encode(plane)) for plane in inputs[0])
    for answer, given in zip(answers[1:], inputs[1:], strict=True):
        assert answer.sent_bytes == len(encode(given[-1]))


def test_a_jump_sends_all_planes():
    volume = slices(9)
    inputs = [volume[0:3], volume[5:8], volume[6:9], volume[6:9]]
    answers = list(runner(board(3)).run(inputs))
    for answer, given in zip(answers, inputs, strict=True):
        np.testing.assert_array_equal(answer.mr, network(given))
    sent = [answer.sent_bytes for answer in answers]
    whole = [sum(len(encode(plane)) for plane in given) for given in inputs]
    assert sent == [whole[0], whole[1], len(encode(volume[8])), whole[3]]


def test_pictures():
    grey = (slices(1)[0] % 256).astype(np.uint8)
    (answer,) = runner(board(takes_pictures=True)).run([[grey]])
    np.testing.assert_array_equal(answer.mr, network([grey]))


def test_what_waits_can_be_replaced():
    """Who scrolls faster than the board computes sees the newest."""
    volume, live = slices(6), runner(board(compute_ms=50.0))
    numbers = [live.submit([each], replace=True) for each in volume[:1]]
    assert live.poll(0.0) is None
    numbers += [live.submit([each], replace=True) for each in volume[1:]]
    answers = []
    while live.unanswered:
        answer = live.poll()
        if answer is not None:
            answers.append(answer)
    assert [answer.number for answer in answers] == [numbers[0], numbers[-1]]
    np.testing.assert_array_equal(answers[-1].mr, network([volume[-1]]))


def test_a_slice_alone_comes_back():
    """Nothing follows that would push it along."""
    live = runner(board(), FAULTS, seed=3)
    for each in slices(5):
        live.submit([each])
        answer = None
        while answer is None:
            answer = live.poll()
        np.testing.assert_array_equal(answer.mr, network([each]))
        assert live.unanswered == 0


@pytest.mark.parametrize("baud", [115200, 921600, 2_000_000])
@pytest.mark.parametrize("latency_s", [0.0005, 0.016])
def test_the_line_is_kept_busy(baud: int, latency_s: float):
    """The fuller direction, though the board computes meanwhile: 95 % with frames."""
    noise = np.random.default_rng(1)
    depths = [8 << k * 3 % 4 for k in range(10)]  # slices are not all of one size
    volume = [noise.integers(0, depth, (256, 256)).astype(np.int16) for depth in depths]
    end = Board(
        lambda planes: (planes[0] * 3).astype(np.uint8), (256, 256, 1), window=32, rates=(baud,),
        codec=(encode, decode), compute_ms=30.0,
    )  # fmt: skip
    live = runner(end, baud=baud, latency_s=latency_s)
    line = live.connection.line
    marks = []
    for _ in live.run([each] for each in volume):
        marks.append((line.now(), line.sent, line.received))
    first, last = marks[1], marks[-3]  # until there is nothing more to send
    seconds, *moved = (end - start for start, end in zip(first, last, strict=True))
    assert max(moved) / seconds >= 0.95 * baud / 10
    assert live.connection.session.stream.resent == 0


def test_no_model_says_push_first():
    with pytest.raises(BoardError, match="no model is committed: push one first") as info:
        Runner(Connection(VirtualLine(board())))
    assert info.value.number == Number.NO_MODEL


@pytest.mark.parametrize(
    ("planes", "words"),
    [
        ([np.zeros((SIDE, SIDE), np.int16)] * 2, r"takes 1 planes \(64, 64\), got 2"),
        ([np.zeros((SIDE, 32), np.int16)], r"takes 1 planes \(64, 64\), got 1: \(64, 32\)"),
        ([np.zeros((SIDE, SIDE), np.float32)], "int16 .HU. or uint8 .grey., got float32"),
        ([np.zeros((SIDE, SIDE), np.uint8)], "takes CT volumes in HU, no pictures"),
        ([], "got 0"),
    ],
)
def test_planes_of_another_shape_are_refused(planes: list[NDArray[np.generic]], words: str):
    with pytest.raises(LinkError, match=words):
        runner(board()).submit(planes)


def test_a_board_that_dies_is_reported():
    end = board()
    live = runner(end)
    line = live.connection.line
    for is_first, patience_s in ((True, 120), (False, 10)):
        end.is_on = True
        end.power_cycle()
        live = Runner(Connection(line))
        if not is_first:  # now it is known how long a slice takes
            assert len(list(live.run([[slices(1)[0]]]))) == 1
        live.submit([slices(1)[0]])
        end.is_on = False
        with pytest.raises(NoAnswer, match=rf"silent for {patience_s} s|within {patience_s} s"):
            list(live.run([]))
