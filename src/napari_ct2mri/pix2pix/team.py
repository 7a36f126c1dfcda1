"""Processes that train one model together, as ``torchrun`` starts them.

Each is given its place by environment variables and takes its share of every batch. Gradients are
averaged by DistributedDataParallel, batch statistics and random numbers are those of the whole
batch (``synchronised.py``, ``augment.py``), so that many processes learn what one learns. The first
writes and speaks. Who fails first says why; the others, whose connections break, end in silence.
Torch is imported where it is used: the command line asks for its place before any work.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import signature
from typing import TYPE_CHECKING, TypeVar

from napari_ct2mri.errors import ConfigError, TrainingError

if TYPE_CHECKING:
    from torch import Tensor, device, nn
    from torch.distributed.distributed_c10d import Store

__all__ = ["Place", "Share", "Team", "joined", "place_in_team"]

T = TypeVar("T")
_MOST = 4096
_WORD = "word"
_MEET_S = 300.0  # in which processes that a cluster starts together are there
_GLANCE_S = 0.5
_AWAKE_S = 0.02  # longer than processes in step wait for each other, shorter than a validation
_give_way = getattr(os, "sched_yield", lambda: None)  # Windows has none


@dataclass(frozen=True, slots=True)
class Place:
    """Which of how many processes this is; ``local`` counts those of this machine."""

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def is_first(self) -> bool:
        """Whether it writes files and speaks."""
        return self.rank == 0


def place_in_team(environment: Mapping[str, str] = os.environ) -> Place:
    """What ``torchrun``, or whoever set its variables, made of this process; else it is alone.

    Raises
    ------
    ConfigError
        If there are several, but it is not said which this is or where they meet.
    """
    if environment.get("WORLD_SIZE", "1") == "1":
        return Place()
    names = ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT")
    if missing := [name for name in names if not environment.get(name)]:
        raise ConfigError(
            f"WORLD_SIZE says that several processes train together, but {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not set; start them with torchrun, or "
            "unset WORLD_SIZE"
        )
    texts = (environment["RANK"], environment["WORLD_SIZE"], environment.get("LOCAL_RANK", "0"))
    if not all(text.isascii() and text.isdigit() and len(text) < 9 for text in texts):
        raise ConfigError(
            f"RANK, WORLD_SIZE, LOCAL_RANK are {', '.join(texts)}; expected whole numbers, as "
            "torchrun sets them"
        )
    rank, size, local = map(int, texts)
    if not (rank < size <= _MOST and local < size):
        raise ConfigError(
            f"RANK {rank} and LOCAL_RANK {local} of WORLD_SIZE {size}; expected ranks below the "
            f"size, which is at most {_MOST}"
        )
    return Place(rank, size, local)


@dataclass(frozen=True, slots=True)
class Share:
    """The part of a batch that is computed here.

    ``weight`` makes the mean over processes of ``weight * (mean over rows)`` the mean over the
    batch. Where a batch has fewer slices than there are processes, some compute its first slice
    with weight 0, as a loss of nothing is no number.
    """

    batch: int
    rows: slice = field(default_factory=lambda: slice(None))
    weight: float = 1.0


class Team:
    """The processes, seen from one of them; by default it is alone, and nothing is exchanged.

    Attributes
    ----------
    share : Share
        Of the batch in work, as :meth:`split` set it.
    """

    def __init__(self, place: Place | None = None, store: Store | None = None) -> None:
        self.place = place or Place()
        self.share = Share(1)
        self._store = store
        self._wrapped: dict[nn.Module, nn.Module] = {}

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and validates."""
        return self.place.is_first

    def device(self, name: str) -> device:
        """The device to compute on; of several GPUs each process of a machine has its own.

        Raises
        ------
        ConfigError
            If there are fewer GPUs than processes, or processes cannot share the device.
        """
        import torch

        from napari_ct2mri.pix2pix.networks import pick_device

        found = pick_device(name)
        if self.place.size == 1:
            return found
        if found.type == "mps":
            if name == "auto":
                return torch.device("cpu")
            raise ConfigError("several processes cannot train on mps; use --device cpu, or one")
        if found.type == "cuda":
            if self.place.local >= torch.cuda.device_count():
                raise ConfigError(
                    f"process {self.place.local} of this machine has no GPU of its own, there are "
                    f"{torch.cuda.device_count()}; start so many processes, or use --device cpu"
                )
            found = torch.device("cuda", self.place.local)
            torch.cuda.set_device(found)
        return found

    def check_batch(self, batch: int) -> None:
        """Refuse a batch that is not divided without rest.

        Raises
        ------
        ConfigError
        """
        size = self.place.size
        if batch % size:
            raise ConfigError(
                f"batch {batch} is that of all processes and cannot be divided among {size}; "
                f"choose --batch {-(-batch // size) * size}, or fewer processes"
            )

    def check_same(self, what: str) -> None:
        """Compare a text that says all that is learnt from, and by what settings.

        Raises
        ------
        TrainingError
            If it differs between processes.
        """
        if self.place.size == 1:
            return
        import torch.distributed as dist

        texts: list[str] = [""] * self.place.size
        dist.all_gather_object(texts, what)
        if odd := [rank for rank, text in enumerate(texts) if text != texts[0]]:
            raise TrainingError(
                f"process {odd[0]} of {self.place.size} has other slices, settings, saved epochs "
                "or numbers (bfloat16 or float32) than process 0; all must read the same files; "
                "--precision float32 is the same everywhere"
            )

    def enlist(self, *modules: nn.Module) -> None:
        """Let the modules' batch statistics, chance and gradients be those of all processes."""
        if self.place.size == 1:
            return
        from torch.nn.parallel import DistributedDataParallel

        from napari_ct2mri.pix2pix.synchronised import synchronise

        known = signature(DistributedDataParallel).parameters
        newer, older = "forward_sync_buffers", "broadcast_buffers"  # torch 2.13 renamed it
        options = {newer if newer in known else older: False, "gradient_as_bucket_view": True}
        for module in modules:
            synchronise(module, self)
            self._wrapped[module] = DistributedDataParallel(module, **options)  # type: ignore[arg-type]

    def through(self, module: nn.Module) -> nn.Module:
        """The module by which a step goes that shall leave gradients of the whole batch."""
        return self._wrapped.get(module, module)

    def split(self, batch: int) -> Share:
        """Take this process's share of a batch of so many slices."""
        rank, size = self.place.rank, self.place.size
        start, stop = batch * rank // size, batch * (rank + 1) // size
        rows = slice(start, stop) if start < stop else slice(0, 1)
        self.share = Share(batch, rows, (stop - start) * size / batch)
        return self.share

    def mean(self, values: Tensor) -> Tensor:
        """Of means over each process's share, the mean over the batch; no gradient."""
        if self.place.size == 1:
            return values.detach()
        return self.add_up(values.detach() * (self.share.weight / self.place.size))

    def tell(self, value: T) -> T:
        """What the first process says."""
        if self.place.size == 1:
            return value
        import torch.distributed as dist

        said = [value]
        dist.broadcast_object_list(said, src=0)
        return said[0]

    def total(self, value: float) -> float:
        """The sum over all processes."""
        if self.place.size == 1:
            return value
        import torch

        return float(self.add_up(torch.tensor(value, dtype=torch.float64)))

    def add_up(self, values: Tensor) -> Tensor:
        """The sum of a few numbers over all processes; no gradient.

        Gathered and added up by each: gloo's ``all_reduce``, made for many numbers, takes three
        times as long over so few. Awaited awake, as to be woken takes longer than the sum.
        """
        import torch
        import torch.distributed as dist

        everyones = [torch.empty_like(values) for _ in range(self.place.size)]
        gathering = dist.all_gather(everyones, values, async_op=True)
        end = time.perf_counter() + (_AWAKE_S if values.is_cpu else 0)
        while not gathering.is_completed() and time.perf_counter() < end:
            _give_way()
        gathering.wait()
        return torch.stack(everyones).sum(dim=0)

    def takes_the_word(self) -> bool:
        """Whether nobody of the team has spoken of an end yet; asked once."""
        if self._store is None:
            return True
        try:
            return bool(self._store.add(_WORD, 1) == 1)
        except RuntimeError:  # the store went with the process that kept it
            return True


@contextmanager
def joined() -> Iterator[Team]:
    """Within: this process trains with those that its environment names, or alone.

    Leaving early breaks the others' connections, so that all end. Where another has already said
    why, this one exits in silence.

    Raises
    ------
    ConfigError
        See :func:`place_in_team`.
    TrainingError
        If the others cannot be reached.
    SystemExit
        Instead of an error that is another's.
    """
    place = place_in_team()
    if place.size == 1:
        yield Team()
        return
    import torch
    import torch.distributed as dist
    from torch.distributed.rendezvous import rendezvous

    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        _await_first(place)
        store, _, _ = next(rendezvous("env://"))
        dist.init_process_group(backend, store=store, rank=place.rank, world_size=place.size)
    except (RuntimeError, OSError, ValueError) as error:
        raise TrainingError(
            f"process {place.rank} of {place.size} cannot meet the others at "
            f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}: {error}; these two "
            "(MASTER_ADDR, MASTER_PORT) say where process 0 listens"
        ) from error
    team = Team(place, store)
    try:
        yield team
    except BaseException as error:
        if team.takes_the_word():
            raise
        raise SystemExit(1) from error
    finally:
        dist.destroy_process_group()


def _await_first(place: Place) -> None:
    """Wait for the first process to listen; PyTorch's own wait cannot be interrupted.

    Raises
    ------
    OSError
        If it does not within ``_MEET_S`` seconds.
    ValueError
        If the port is no number.
    """
    if place.is_first:
        return
    address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    end = time.monotonic() + _MEET_S
    while True:
        try:
            socket.create_connection(address, timeout=_GLANCE_S).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
        time.sleep(_GLANCE_S)
