"""A task over many items: here, or on a cluster through Dask. The only place that knows which.

A task is a callable from what was read of an item to a Job. Here its events pass by as in any job,
and a second thread reads ahead. On a cluster the same code runs in the workers, one item of a
worker at a time, and of its events those arrive that must not be lost. A worker that dies has its
items done again by another.

Names of patients and files go to workers and back inside :class:`Sealed`, whose text says nothing,
and errors as results; so none of them is in a key, a log or a dashboard of Dask.
"""

from __future__ import annotations

import os
import pickle
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from uuid import uuid4

import napari_ct2mri
from napari_ct2mri.errors import Ct2MriError, JobError
from napari_ct2mri.jobs import Event, Job, Kept, Notice, Progress, run_job
from napari_ct2mri.overlap import ahead

if TYPE_CHECKING:
    from dask.distributed import Client, Future

__all__ = ["FilesWritten", "Place", "Sealed", "over"]

Item = TypeVar("Item")
R = TypeVar("R")

_Work: TypeAlias = tuple[Callable[[Any], Job[Any]], Callable[[Any], Iterable[Any]]]
"""A task, and how its items are read."""

_GATHER_S = 8.0  # how long a finished result may take to come
_GLANCE_S = 0.5  # how often a waiting job looks whether it was cancelled, or a lost result is back
_FAILED: dict[str, int] = {}  # by run, the first item, in order, that is known to have failed
_ONE_AT_A_TIME = threading.Lock()  # an engine is not run by two threads of a worker


@dataclass(frozen=True, slots=True)
class Place:
    """A line to a cluster that runs; ``scheduler`` is its address if others have started it."""

    client: Client
    scheduler: str | None


@dataclass(frozen=True, slots=True)
class FilesWritten(Event):
    """Files that are finished, whatever comes after them.

    Attributes
    ----------
    folder : Path
        In whose manifest they stand.
    files : tuple of (path, SHA-256)
    slices : int
        How many they hold together.
    """

    folder: Path
    files: tuple[tuple[Path, str], ...]
    slices: int


_LASTING = (Notice, FilesWritten)


def as_it_is(item: Item) -> Iterable[Item]:
    """How an item is read of which there is nothing to be read."""
    return (item,)


def over(
    task: Callable[[Any], Job[R]],
    items: Sequence[Item],
    place: Place | None,
    *,
    what: str,
    size: Callable[[Item], int] = lambda _: 1,
    read: Callable[[Item], Iterable[Any]] = as_it_is,
) -> Job[list[R]]:
    """Do ``task`` for everything that is read of every item.

    Parameters
    ----------
    task
        For a cluster it must pickle; what it has loaded should stay behind, to be loaded once in
        each worker.
    place : Place, optional
        By default this process, one item after the other.
    what : str
        What is counted, a plural noun; ``size`` says how many of them an item is.
    read
        What takes its time and is not the processor's: here it is done for the next while the task
        works on the last. It must pickle, too, with whatever it shares with ``task``.

    Yields
    ------
    Progress as items finish, and the events of ``task``; from a cluster only ``Notice`` and
    ``FilesWritten``.

    Returns
    -------
    list
        In the order of the items, a result for each thing that was read.

    Raises
    ------
    Ct2MriError
        That of the first item, in order, that failed; those before it are done. On a cluster
        those are, too, that had begun.
    JobError
        If the scheduler is lost, or a worker is of another version.
    """
    sizes = [size(item) for item in items]
    if place is not None:
        several = yield from _there((task, read), items, place, what, sizes)
        return [result for results in several for result in results]
    results: list[R] = []
    done = 0
    everything = ((number, each) for number, item in enumerate(items) for each in read(item))
    with closing(ahead(everything)) as coming:
        for number, each in coming:
            if number > done:
                done = number
                yield Progress(sum(sizes[:done]), sum(sizes), what)
            results.append((yield from task(each)))
    if len(items) > 1:
        yield Progress(sum(sizes), sum(sizes), what)
    return results


def _whole(task: Callable[[Any], Job[R]], ready: Iterable[Any]) -> Job[list[R]]:
    """All of one item, one thing after the other."""
    results = []
    for each in ready:
        results.append((yield from task(each)))
    return results


# ---------------------------------------------------------------- here, for a cluster


def _there(
    work: _Work,
    items: Sequence[Item],
    place: Place,
    what: str,
    sizes: Sequence[int],
) -> Job[list[list[Any]]]:
    """Hand out all items, and wait."""
    sealed_work, version, run = Sealed.of(work), napari_ct2mri.__version__, uuid4().hex
    results: dict[int, list[Any]] = {}
    errors: dict[int, Ct2MriError] = {}
    waiting: dict[str, tuple[int, Future[Any]]] = {}  # by key
    news: SimpleQueue[Future[Any] | Notice] = SimpleQueue()

    def hear(event: tuple[float, dict[str, Any]]) -> None:
        _, said = event
        again = [key for key in said.get("processing-tasks", ()) if key in waiting]
        if again and not said.get("expected"):
            news.put(Notice("a worker was lost; what it had begun is done again"))

    client = place.client
    client.subscribe_topic("all", hear)
    try:
        for index, item in enumerate(items):
            key = f"ct2mri-{uuid4().hex}"  # says nothing, unlike one that Dask makes
            which = run, index
            future = client.submit(_work, version, which, sealed_work, Sealed.of(item), key=key)
            waiting[key] = index, future
            future.add_done_callback(news.put)
        if not client.nthreads():
            yield Notice("the scheduler has no workers yet; the work waits for one")
        done = 0
        yield Progress(0, sum(sizes), what)
        while waiting:
            yield Kept(f"{len(results)} of {len(items)} are finished and kept")
            try:
                new = news.get(timeout=_GLANCE_S)
            except Empty:
                continue
            if isinstance(new, Notice):
                yield new
                continue
            outcome = _outcome(new, place.scheduler)
            if outcome is None:  # its worker was lost before it was asked: look again later
                threading.Timer(_GLANCE_S, news.put, [new]).start()
                continue
            index, _ = waiting.pop(str(new.key))
            yield from outcome.events
            if outcome.error is not None:
                errors[index] = outcome.error
                client.run(_give_up, run, min(errors), on_error="ignore")
            elif not outcome.is_skipped:
                results[index] = outcome.result
                done += sizes[index]
                yield Progress(done, sum(sizes), what)
    finally:
        client.unsubscribe_topic("all")
        client.cancel([future for _, future in waiting.values()], force=True)
    if errors:
        raise errors[min(errors)]
    return [results[index] for index in range(len(items))]


def _outcome(future: Future[Any], scheduler: str | None) -> Outcome | None:
    """What came of one item, ``None`` if it has to come again; Dask's own troubles are raised."""
    from dask.distributed import KilledWorker

    where, status = scheduler or "the local cluster", future.status
    if status == "finished":
        try:
            outcome: Outcome = future.result(timeout=_GATHER_S).opened()
        except TimeoutError:
            return None
        if outcome.error is not None and scheduler is not None:
            outcome.error = _placed(outcome.error, outcome.host)
        return outcome
    if status in ("pending", "lost") and future.client.status == "running":
        return None
    if status != "error":
        raise JobError(f"{where}: the scheduler was lost; is it still running?")
    error = future.exception(timeout=_GATHER_S)
    if isinstance(error, KilledWorker):
        text = (
            f"{error.allowed_failures + 1} workers died of the same item, most likely for lack of "
            "memory; give workers more of it, or fewer to a machine"
        )
    else:
        lines = [line.strip() for line in f"{error}".splitlines() if line.strip()]
        text = (
            f"{type(error).__name__}: {lines[0] if lines else ''} (is napari-ct2mri "
            f"{napari_ct2mri.__version__} installed at the scheduler and at every worker?)"
        )
    raise JobError(f"{where}: {text}")


def _placed(error: Ct2MriError, host: str) -> Ct2MriError:
    """The same error, saying where."""
    placed = type(error)(f"{error} (on {host})")
    for note in getattr(error, "__notes__", ()):
        placed.add_note(note)
    return placed


# ---------------------------------------------------------------- in a worker


@dataclass(frozen=True, slots=True, repr=False)
class Sealed:
    """Something pickled, whose text says nothing."""

    data: bytes

    @classmethod
    def of(cls, value: object) -> Sealed:
        """Pickle ``value``."""
        return cls(pickle.dumps(value, protocol=5))

    def opened(self) -> Any:
        """A new copy of what it was made of."""
        return pickle.loads(self.data)

    def __repr__(self) -> str:
        return "<sealed>"


@dataclass(slots=True)
class Outcome:
    """What came of one item: a result or an error, and what must not be lost on the way."""

    result: Any = None
    events: list[Event] = field(default_factory=list)
    error: Ct2MriError | None = None
    is_skipped: bool = False
    host: str = ""


def _give_up(run: str, failed: int) -> None:
    """Begin no item after this one; what has begun is finished, so that every file is heard of."""
    _FAILED[run] = failed


def _work(version: str, which: tuple[str, int], work: Sealed, item: Sealed) -> Sealed:
    """Do one item, in a worker; errors are results, so that no log of Dask names them."""
    from dask.distributed import get_worker

    worker = get_worker()
    tasks, key = worker.state.tasks, worker.get_current_task()

    def is_cancelled() -> bool:
        state = tasks.get(key)
        return state is None or state.state == "cancelled"

    outcome = Outcome(host=f"{socket.gethostname()}, {worker.address}")

    def keep(event: Event) -> None:
        if isinstance(event, _LASTING):
            outcome.events.append(event)

    with _ONE_AT_A_TIME:
        run, index = which
        if index > _FAILED.get(run, index):
            return Sealed.of(Outcome(is_skipped=True))
        try:
            _check_version(version)
            task, read = _opened(work.data)
            job = _whole(task, read(item.opened()))
            outcome.result = run_job(job, keep, is_cancelled)
        except Ct2MriError as error:
            outcome.error = error
        except Exception as error:
            import traceback

            text = " ".join(f"{type(error).__name__}: {error}".split())
            outcome.error = JobError(f"{text} (unexpected; --debug shows where)")
            outcome.error.add_note(traceback.format_exc())
    return Sealed.of(outcome)


def _check_version(expected: str) -> None:
    found = napari_ct2mri.__version__
    if found != expected:
        raise JobError(
            f"a worker has napari-ct2mri {found}, expected {expected} as here; install the same "
            "everywhere and start the workers again"
        )


@lru_cache(maxsize=1)
def _opened(data: bytes) -> _Work:
    """The task, with all that it keeps loaded from item to item: once in a process."""
    if "OMP_NUM_THREADS" not in os.environ:  # a worker without a nanny
        import torch

        torch.set_num_threads(1)
    work: _Work = pickle.loads(data)
    return work
