"""A task over many items here: the next is read while one is worked on, nothing gets lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from napari_ct2mri.app.workflows.cluster import over
from napari_ct2mri.errors import Ct2MriError
from napari_ct2mri.jobs import Event, Job, Notice, Progress, run_job


def twice(value: int) -> Job[int]:
    yield Notice(str(value))
    return 2 * value


def numbers(count: int) -> Iterator[int]:
    yield from range(10 * count, 10 * count + count)


def test_every_thing_that_was_read_has_its_result_in_order() -> None:
    events: list[Event] = []
    job = over(twice, [2, 0, 3], None, what="things", size=lambda count: count, read=numbers)
    assert run_job(job, events.append) == [40, 42, 60, 62, 64]
    assert [event.done for event in events if isinstance(event, Progress)] == [2, 5]
    assert [event.text for event in events if isinstance(event, Notice)] == [
        "20", "21", "30", "31", "32",
    ]  # fmt: skip


def test_the_next_is_read_while_one_is_worked_on() -> None:
    meeting = threading.Barrier(2, timeout=60)

    def read(item: str) -> Iterator[str]:
        if item == "second":
            meeting.wait()
        yield item

    def work(item: str) -> Job[str]:
        if item == "first":
            meeting.wait()
        yield Notice(item)
        return item

    job = over(work, ["first", "second"], None, what="things", read=read)
    assert run_job(job, lambda event: None) == ["first", "second"]


def test_what_cannot_be_read_comes_after_what_could() -> None:
    done: list[str] = []

    def read(item: str) -> Iterator[str]:
        if item == "bad":
            raise Ct2MriError("bad cannot be read")
        yield item

    def work(item: str) -> Job[None]:
        done.append(item)
        yield Notice(item)

    with pytest.raises(Ct2MriError, match="bad cannot be read"):
        run_job(over(work, ["a", "b", "bad", "c"], None, what="things", read=read), lambda e: None)
    assert done == ["a", "b"]
