"""Stages of a long row of work that keep each other busy, in threads."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar

__all__ = ["ahead", "overlapped"]

Item = TypeVar("Item")
Ready = TypeVar("Ready")
Made = TypeVar("Made")
Done = TypeVar("Done")

_END = object()


def ahead(items: Iterable[Item]) -> Generator[Item, None, None]:
    """The same items; while one is in use, a second thread gets the next.

    Never more than one waits. An error is raised where its item is due; closing the iterator waits
    for the one that is on its way and gets no other.
    """
    source: Iterator[Item | object] = iter(items)
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, source, _END)
        while (item := coming.result()) is not _END:
            coming = thread.submit(next, source, _END)
            yield item  # type: ignore[misc]


def overlapped(
    items: Iterable[Item],
    before: Callable[[Item], Ready],
    during: Callable[[Ready], Made],
    after: Callable[[Made], Done],
) -> Iterator[Done]:
    """``after(during(before(item)))`` of each item, in order.

    ``during`` runs in the caller's thread; meanwhile a second thread does ``before`` of the next
    item and a third ``after`` of the last, so both should release the GIL for most of their time.
    Never more than three items are in work. An error is raised where its item is due; closing the
    iterator waits for what is in work and starts nothing more.
    """
    behind: Future[Done] | None = None
    with ThreadPoolExecutor(1) as back, closing(ahead(map(before, items))) as coming:
        for ready in coming:
            made = during(ready)
            if behind is not None:
                yield behind.result()
            behind = back.submit(after, made)
        if behind is not None:
            yield behind.result()
