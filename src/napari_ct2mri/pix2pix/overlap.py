"""Three stages of a long row of work that keep each other busy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["overlapped"]

Item = TypeVar("Item")
Ready = TypeVar("Ready")
Made = TypeVar("Made")
Done = TypeVar("Done")


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
    ahead: Future[Ready] | None = None
    behind: Future[Done] | None = None
    with ThreadPoolExecutor(1) as front, ThreadPoolExecutor(1) as back:
        for item in items:
            coming = front.submit(before, item)
            if ahead is not None:
                made = during(ahead.result())
                if behind is not None:
                    yield behind.result()
                behind = back.submit(after, made)
            ahead = coming
        if ahead is not None:
            made = during(ahead.result())
            if behind is not None:
                yield behind.result()
            yield after(made)
