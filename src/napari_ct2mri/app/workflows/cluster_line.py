"""Lines to clusters: one that runs somewhere, or processes of this machine started for a while.

Those are reached by nobody else: their scheduler and workers listen on localhost, without Dask's
dashboard, and end with the job.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from queue import Empty, SimpleQueue
from typing import Any

from napari_ct2mri.app.workflows.cluster import Place
from napari_ct2mri.errors import ConfigError, JobError

__all__ = ["Cluster", "at", "pick_cluster"]

MAX_WORKERS = 1024
ANSWER_S = 8.0
"""How long a scheduler may take to answer."""

_NOTHING = logging.CRITICAL + 1  # is logged in this process; what matters is raised
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), 1)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where items shall be worked on: at a scheduler's address, or by processes of this machine."""

    scheduler: str | None = None
    workers: int = 0


def pick_cluster(scheduler: str | None, workers: int | None) -> Cluster | None:
    """What was asked for; ``None``: to work here.

    Raises
    ------
    ConfigError
        If both are given, the number makes no sense, or Dask is not installed.
    """
    if scheduler is None and workers is None:
        return None
    if scheduler is not None and workers is not None:
        raise ConfigError(
            "--scheduler is a cluster that runs, --workers one that is started here; leave one out"
        )
    if scheduler == "":
        raise ConfigError("--scheduler: expected an address such as tcp://10.0.0.5:8786, got none")
    if workers is not None and not 1 <= workers <= MAX_WORKERS:
        raise ConfigError(f"--workers {workers}: expected 1 to {MAX_WORKERS}")
    from importlib.util import find_spec

    if find_spec("distributed") is None:
        raise ConfigError(
            "a cluster needs the package distributed, which is not installed: "
            "pip install 'napari-ct2mri[dask]'"
        )
    return Cluster(scheduler, workers or 0)


@contextmanager
def at(cluster: Cluster | None) -> Iterator[Place | None]:
    """A line to the scheduler; a local cluster is ended with it. ``None`` is here.

    Raises
    ------
    JobError
        If the scheduler does not answer, or the processes do not start.
    """
    if cluster is None:
        yield None
        return
    import dask
    from dask.distributed import Client, LocalCluster
    from distributed.utils import silence_logging_cmgr

    if cluster.scheduler is not None:
        _knock(cluster.scheduler)
        with (
            silence_logging_cmgr(_NOTHING),
            Client(cluster.scheduler, timeout=ANSWER_S, set_as_default=False) as client,
        ):
            yield Place(client, cluster.scheduler)
        return
    quiet: dict[str, Any] = {
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
        "distributed.worker.profile.enabled": False,
        # Dask's own list has MALLOC_TRIM_THRESHOLD_ in it, by which each large array is paged anew
        "distributed.nanny.pre-spawn-environ": _ONE_THREAD,
    }
    try:
        with _deaf_children(), dask.config.set(quiet):
            local = LocalCluster(
                n_workers=cluster.workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": False},
                memory_limit=0,  # as in the plain run, the system decides
                silence_logs=_NOTHING,
            )
    except (OSError, RuntimeError) as error:  # the latter is Dask's word for the former
        raise JobError(
            f"--workers {cluster.workers}: could not be started ({error}); ask for fewer, or "
            "raise what the system allows of open files, processes and memory (`ulimit -a`)"
        ) from error
    with local, Client(local, timeout=ANSWER_S, set_as_default=False) as client:
        yield Place(client, None)


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Threads and processes that begin within do not hear Ctrl-C, which is for this one to handle.

    So do those that they start, such as the worker after a killed one.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # it would let the first worker hear
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _knock(scheduler: str) -> None:
    """Greet what is at that address, as Dask does.

    In a thread of its own, since Dask waits without end for one that accepts a connection and
    says nothing; and without a client, since half of one cannot be closed.
    """
    answers: SimpleQueue[Exception | None] = SimpleQueue()

    async def greet() -> None:
        from distributed.comm.core import connect
        from distributed.security import Security

        known = Security().get_connection_args("client")
        comm = await connect(scheduler, timeout=ANSWER_S, **known)
        await comm.close()

    def wait() -> None:
        try:
            asyncio.run(greet())
            answers.put(None)
        except Exception as error:  # of the line, of TLS, of an address that is none
            answers.put(error)

    threading.Thread(target=wait, daemon=True).start()
    try:
        error = answers.get(timeout=ANSWER_S + 1)
    except Empty:
        error = TimeoutError()
    if error is not None:
        raise JobError(
            f"{scheduler}: no Dask scheduler answers there (waited up to {ANSWER_S:g} s); "
            "expected an address as `dask scheduler` prints it, such as tcp://10.0.0.5:8786"
        ) from error
