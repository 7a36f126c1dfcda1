"""Two processes that train one model: they learn what one learns, and end together."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
import torch
from torch.distributed import TCPStore

from napari_ct2mri.app.cli import main
from napari_ct2mri.config import TrainConfig, preset
from napari_ct2mri.errors import ConfigError, TrainingError
from napari_ct2mri.pix2pix import team as team_module
from napari_ct2mri.pix2pix.augment import augment
from napari_ct2mri.pix2pix.checkpoint import load_checkpoint
from napari_ct2mri.pix2pix.state import TrainingState
from napari_ct2mri.pix2pix.state_file import read_state, state_path
from napari_ct2mri.pix2pix.step import train_step
from napari_ct2mri.pix2pix.synchronised import synchronise
from napari_ct2mri.pix2pix.team import Place, Team, joined, place_in_team

MakePairs = Callable[..., Path]
SMALL = {
    "width": 8,
    "levels": 4,
    "frame_px": 64,
    "head_px": 46,
    "discriminator_width": 8,
    "threads": 1,
    "device": "cpu",
    "precision": "float32",
}
CASES = (("default", 4), ("classic", 3), ("default", 1))  # of 1, one of two gets nothing
LIMIT_S = 30.0

processes = multiprocessing.get_context("forkserver")  # imports once for all of them
processes.set_forkserver_preload(
    ["torch._dynamo", "napari_ct2mri.pix2pix.training", "napari_ct2mri.app.cli", "skimage.io"]
)


@dataclass(frozen=True)
class Pair:
    """Two processes at work, and where each leaves what it says."""

    members: tuple[ForkServerProcess, ForkServerProcess]
    said_in: tuple[Path, Path]

    def ended(self) -> tuple[int | None, int | None]:
        """Wait for both; their exit codes."""
        limit = time.monotonic() + LIMIT_S
        for member in self.members:
            member.join(max(0.0, limit - time.monotonic()))
        return self.members[0].exitcode, self.members[1].exitcode

    def said(self) -> list[str]:
        """What the processes wrote, each on its own."""
        return [path.read_text() for path in self.said_in]


@contextmanager
def pair(folder: Path, work: Callable[..., object], *arguments: object) -> Iterator[Pair]:
    """Two processes with torchrun's variables and store, that end with this block."""
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    said_in = (folder / "said-0.txt", folder / "said-1.txt")
    members = tuple(
        processes.Process(target=_as_member, args=(rank, store.port, path, work, *arguments))
        for rank, path in enumerate(said_in)
    )
    for member in members:
        member.start()
    try:
        yield Pair(members, said_in)
    finally:
        for member in members:
            member.kill()
            member.join()


def _as_member(
    rank: int, port: int, said_in: Path, work: Callable[..., object], *arguments: object
) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
    with said_in.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    torch.set_num_threads(1)
    raise SystemExit(work(*arguments))


def _config(name: str) -> TrainConfig:
    """Batch norm in both networks, dropout, two contrasts, every random change."""
    every_term = {"gan": "lsgan", "edges": 1, "correlation": 1, "ssim": 1}
    return preset(name, contrasts=("T2", "T1"), **SMALL, **every_term, dropout=0.5, widest=2)


def _one_step(name: str, batch: int, team: Team) -> dict[str, torch.Tensor]:
    """Losses, gradients and statistics after one step, from a seed."""
    config = _config(name)
    state = TrainingState.fresh(config, "", torch.device("cpu"))
    assert state.discriminator is not None
    team.enlist(state.generator, state.discriminator)
    # a seed that leaves no activation within rounding of 0, where LeakyReLU has a kink
    chance = torch.Generator().manual_seed(8)
    ct, mr = torch.rand(2, batch, 1, 64, 64, generator=chance) * 2 - 1
    contrast = torch.arange(batch) % 2
    share = team.split(batch)
    ct, mr = augment(ct[share.rows], mr[share.rows], config.augment, chance, 16, share)
    losses = train_step(state, ct, mr, contrast[share.rows], None, team)
    found = {f"loss {name}": torch.tensor(value) for name, value in losses.items()}
    for part, module in (("G", state.generator), ("D", state.discriminator)):
        found |= {f"{part} {n}": p.grad for n, p in module.named_parameters() if p.grad is not None}
        found |= {f"{part} {n}": b for n, b in module.named_buffers()}
    return found


def _steps(team: Team) -> dict[str, dict[str, torch.Tensor]]:
    return {f"{name} {batch}": _one_step(name, batch, team) for name, batch in CASES}


def _steps_of_two(folder: Path) -> None:
    with joined() as team:
        torch.save(_steps(team), folder / f"steps-{team.place.rank}.pt")


def test_a_step_of_two_is_that_of_one(tmp_path: Path) -> None:
    with pair(tmp_path, _steps_of_two, tmp_path) as two:
        one = _steps(Team())
        assert two.ended() == (0, 0), two.said()
    for rank in (0, 1):
        shared = torch.load(tmp_path / f"steps-{rank}.pt", weights_only=True)
        for case, expected in one.items():
            assert shared[case].keys() == expected.keys()
            for name, value in expected.items():
                error = (shared[case][name] - value).abs().max() / (value.abs().max() + 1e-6)
                assert error < 2e-5, (case, name, float(error))


class _Alone(Team):
    """Adds up what is here."""

    def add_up(self, values: torch.Tensor) -> torch.Tensor:
        return values


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-4), (torch.bfloat16, 0.004)])
def test_batch_norm_is_as_exact_as_its_numbers(dtype: torch.dtype, bound: float) -> None:
    """Even of a gradient that is nearly all mean, of which nothing must be left."""
    torch.manual_seed(0)
    x = (torch.randn(8, 16, 24, 24) + 3).to(dtype)
    grad = (torch.randn_like(x) + 10).to(dtype)
    plain = torch.nn.BatchNorm2d(16)
    torch.nn.init.normal_(plain.weight, 1, 0.2)
    host = torch.nn.Sequential(deepcopy(plain))
    synchronise(host, team := _Alone())
    team.split(len(x))

    def answers(module: torch.nn.Module, dtype: torch.dtype) -> list[torch.Tensor]:
        leaf = x.detach().to(dtype).requires_grad_()
        y = module(leaf)
        y.backward(grad.to(dtype))
        assert leaf.grad is not None
        return [y, leaf.grad, *(p.grad for p in module.parameters() if p.grad is not None)]

    exact = answers(plain.double(), torch.float64)
    for found, expected in zip(answers(host, dtype), exact, strict=True):
        assert (found.double() - expected).norm() < bound * expected.norm()


def _train(pairs: Path, output: Path, *flags: str, **settings: object) -> int:
    leaves = {**SMALL, "batch": 2, "validate_every": 0, "ema": 0, **settings}
    options = [f"--{name.replace('_', '-')}={value}" for name, value in leaves.items()]
    return main(["train", str(pairs), "--output", str(output), *options, *flags])


def _ask_to_train(pairs: Path, output: Path, settings: dict[str, object]) -> int:
    return _train(pairs, output, **settings)


def _weights(path: Path) -> torch.Tensor:
    weights = load_checkpoint(path).weights
    return torch.cat([weights[name].double().ravel() for name in sorted(weights)])


def test_an_epoch_of_two_is_that_of_one(make_pairs: MakePairs, tmp_path: Path) -> None:
    people = {"a": ("T2", "train"), "b": ("T1", "train"), "c": ("T1", "train"), "d": ("T2", "val")}
    pairs = make_pairs(people)  # 9 slices: the last batch is one
    settings: dict[str, object] = {"epochs": 1, "decay_epochs": 0, "validate_every": 1}
    alone, shared = tmp_path / "alone.safetensors", tmp_path / "shared.safetensors"
    with pair(tmp_path, _ask_to_train, pairs, shared, settings) as two:
        assert _train(pairs, alone, **settings) == 0
        assert two.ended() == (0, 0), two.said()
    first, second = two.said()
    assert "epoch 1/1" in first
    assert second == ""
    one, both = (load_checkpoint(path).header.history[0] for path in (alone, shared))
    assert both.losses == pytest.approx(one.losses, rel=1e-5)
    assert both.validation == pytest.approx(one.validation, rel=1e-3)
    assert (_weights(alone) - _weights(shared)).abs().max() < 1e-5


@pytest.mark.parametrize("how", ["the second is killed", "the first is killed", "asked"])
def test_both_end_with_a_word_and_a_checkpoint(
    make_pairs: MakePairs, tmp_path: Path, how: str
) -> None:
    pairs, output = make_pairs({"a": ("T2", "train")}), tmp_path / "model.safetensors"
    settings: dict[str, object] = {"epochs": 40, "decay_epochs": 10}
    with pair(tmp_path, _ask_to_train, pairs, output, settings) as two:
        limit = time.monotonic() + LIMIT_S
        while not state_path(output).exists() and time.monotonic() < limit:
            time.sleep(0.01)
        if how == "asked":  # by Ctrl-C, by a cluster
            for member, number in zip(two.members, (signal.SIGINT, signal.SIGTERM), strict=True):
                os.kill(member.pid, number)  # type: ignore[arg-type]
        else:
            two.members[0 if "first" in how else 1].kill()
        codes = two.ended()
    said = "".join(two.said())
    if how == "asked":
        assert sorted(codes) == [1, 130]
        assert said.count("ct2mri: cancelled") == 1
    else:
        assert sorted(codes) == [-signal.SIGKILL, 1]
        assert said.count("ct2mri: another process of this training has ended; epoch") == 1
    done = len(read_state(output).history)
    assert 0 < done < 40
    assert load_checkpoint(output).header.epochs in (done, done + 1)  # written before the state
    if how == "the second is killed":  # one goes on
        assert _train(pairs, output, "--resume", **settings) == 0
        assert len(load_checkpoint(output).header.history) == 40


def test_a_batch_that_cannot_be_divided_is_refused_in_one_line(
    make_pairs: MakePairs, tmp_path: Path
) -> None:
    pairs, output = make_pairs(), tmp_path / "model.safetensors"
    with pair(tmp_path, _ask_to_train, pairs, output, {"batch": 3}) as two:
        assert two.ended() == (1, 1)
    (line,) = "".join(two.said()).splitlines()
    assert "batch 3" in line
    assert "--batch 4" in line
    assert not output.exists()


def _train_on_less(pairs: Path, output: Path) -> int:
    """The second process reads a list that lacks a row."""
    if os.environ["RANK"] == "1":
        text = "".join(pairs.read_text().splitlines(keepends=True)[:-1])
        pairs = pairs.with_name("less.csv")
        pairs.write_text(text)
    return _train(pairs, output)


def _train_as_another_processor(pairs: Path, output: Path) -> int:
    """The second process gains from bfloat16."""
    found = {"avx512_bf16": os.environ["RANK"] == "1"}
    torch.cpu.get_capabilities = lambda: found
    return _train(pairs, output, epochs=1, decay_epochs=0, precision="auto")


@pytest.mark.parametrize("train", [_train_on_less, _train_as_another_processor])
def test_who_would_learn_another_thing_ends_the_run_before_its_first_step(
    train: Callable[[Path, Path], int], make_pairs: MakePairs, tmp_path: Path
) -> None:
    pairs, output = make_pairs({"a": ("T2", "train")}), tmp_path / "model.safetensors"
    with pair(tmp_path, train, pairs, output) as two:
        assert two.ended() == (1, 1)
    said = "".join(two.said())
    assert said.count("process 1 of 2 has other slices, settings, saved epochs or numbers") == 1
    assert not output.exists()


@pytest.mark.parametrize(
    ("variables", "word"),
    [
        ({"WORLD_SIZE": "2"}, "RANK, MASTER_ADDR, MASTER_PORT"),
        ({"WORLD_SIZE": "two", "RANK": "0"}, "whole numbers"),
        ({"WORLD_SIZE": "2", "RANK": "2"}, "below the size"),
        ({"WORLD_SIZE": "99999", "RANK": "1"}, "at most 4096"),
    ],
)
def test_a_place_that_makes_no_sense_is_refused(variables: dict[str, str], word: str) -> None:
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"} if "RANK" in variables else {}
    with pytest.raises(ConfigError, match=word):
        place_in_team(variables | meeting)


@pytest.mark.parametrize("address", ["127.0.0.1", "nowhere.invalid"])
def test_a_first_process_that_is_not_there_is_said(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setattr(team_module, "_MEET_S", 0.2)
    variables = {"WORLD_SIZE": 2, "RANK": 1, "MASTER_ADDR": address, "MASTER_PORT": port}
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(TrainingError, match=f"{address}:{port}"), joined():
        pass


def test_without_variables_a_process_is_alone() -> None:
    assert place_in_team({}) == place_in_team({"WORLD_SIZE": "1"}) == Place()
    with joined() as team:
        assert team.split(3).weight == 1
        assert team.device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("batch", [1, 2, 5, 8])
@pytest.mark.parametrize("size", [2, 3, 8])
def test_shares_make_up_the_batch(batch: int, size: int) -> None:
    values = torch.arange(float(batch)).square()
    shares = [Team(Place(rank, size)).split(batch) for rank in range(size)]
    means = [share.weight * float(values[share.rows].mean()) for share in shares]
    assert sum(means) / size == pytest.approx(float(values.mean()))
    counted = [i for s in shares if s.weight for i in range(batch)[s.rows]]
    assert counted == list(range(batch))
