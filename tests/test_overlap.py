"""Stages overlap, results keep their order, an error comes where it is due."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from napari_ct2mri.overlap import ahead, overlapped


@pytest.mark.parametrize("count", [0, 1, 2, 3, 17])
def test_the_order_is_that_of_the_items(count: int) -> None:
    done = overlapped(range(count), lambda i: i + 1, lambda i: i * 2, str)
    assert list(done) == [str(2 * (i + 1)) for i in range(count)]


def test_neighbours_are_in_work_at_once() -> None:
    """Stages wait for each other; one after the other they would wait for ever."""
    meeting = threading.Barrier(2, timeout=60)

    def before(item: int) -> int:
        if item == 1:
            meeting.wait()
        return item

    def during(item: int) -> int:
        if item == 0:
            meeting.wait()
            assert threading.current_thread() is threading.main_thread()
        return item

    assert list(overlapped(range(3), before, during, lambda i: i)) == [0, 1, 2]


def test_no_more_than_three_are_in_work() -> None:
    started = 0

    def before(item: int) -> int:
        nonlocal started
        started += 1
        return item

    done = overlapped(range(20), before, lambda i: i, lambda i: i)
    for finished, _ in enumerate(done):
        assert started - finished <= 3


@pytest.mark.parametrize("stage", ["before", "during", "after"])
def test_an_error_comes_after_what_was_ready(stage: str) -> None:
    def failing(item: int) -> int:
        if item == 2:
            raise ValueError("two")
        return item

    stages = {name: failing if name == stage else int for name in ("before", "during", "after")}
    done = overlapped(range(9), **stages)
    assert next(done) == 0
    with pytest.raises(ValueError, match="two"):
        list(done)


def test_closed_it_starts_nothing_more() -> None:
    started: list[int] = []
    others = set(threading.enumerate())

    def before(item: int) -> int:
        started.append(item)
        return item

    row = overlapped(range(100), before, int, int)
    assert next(row) == 0
    row.close()
    assert len(started) <= 3
    assert set(threading.enumerate()) <= others


def test_ahead_gets_the_next_while_one_is_in_use() -> None:
    meeting = threading.Barrier(2, timeout=60)

    def items() -> Iterator[int]:
        yield 0
        meeting.wait()
        yield 1

    coming = ahead(items())
    assert next(coming) == 0
    meeting.wait()
    assert list(coming) == [1]


def test_ahead_raises_an_error_where_it_is_due_and_ends_its_thread() -> None:
    others = set(threading.enumerate())

    def items() -> Iterator[int]:
        yield 0
        raise ValueError("one")

    coming = ahead(items())
    assert next(coming) == 0
    with pytest.raises(ValueError, match="one"):
        next(coming)
    assert set(threading.enumerate()) <= others
