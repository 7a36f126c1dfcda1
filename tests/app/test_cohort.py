"""Cohorts on a real Dask cluster of two processes: the same results, whatever happens to it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from dask.distributed import Client, Future, LocalCluster
from small_heads import volume_pairs, write_csv

import napari_ct2mri
from napari_ct2mri.app import workflows
from napari_ct2mri.app.workflows import cluster, cluster_line
from napari_ct2mri.app.workflows.cluster import Sealed
from napari_ct2mri.app.workflows.engines import Engines
from napari_ct2mri.app.workflows.evaluation import _measure
from napari_ct2mri.app.workflows.manifest import read_manifest
from napari_ct2mri.app.workflows.models import Model, load_model
from napari_ct2mri.app.workflows.predictions import ModelPredictions
from napari_ct2mri.errors import CheckpointError, JobError
from napari_ct2mri.jobs import Event, Notice, Progress, run_job
from napari_ct2mri.pix2pix.pairs import read_pairs

Fails = Callable[..., str]
COHORT = {"ada": "train", "bea": "train", "cid": "val", "dot": "test", "eve": "test", "fay": "test"}


@dataclass(frozen=True)
class Running:
    """A cluster somebody else has started."""

    address: str
    client: Client
    cluster: LocalCluster


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            memory_limit=0,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield Running(cluster.scheduler_address, client, cluster)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return volume_pairs(tmp_path_factory.mktemp("cohort"), COHORT)


@pytest.fixture(scope="module")
def plain(cohort: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the plain run makes of the cohort."""
    output = tmp_path_factory.mktemp("plain") / "out"  # as deep as those it is compared with
    run_job(workflows.synthesize(cohort, output, model=model), lambda event: None)
    return output


def assert_same(a: Path, b: Path) -> None:
    """Every file, byte for byte, and nothing else."""

    def content(folder: Path) -> dict[str, bytes]:
        files = (file for file in folder.rglob("*") if file.is_file())
        return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}

    assert content(a) == content(b)


def test_a_cohort_is_that_of_the_plain_run(
    running: Running, cohort: Path, model: Path, plain: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    events: list[Event] = []
    there = workflows.pick_cluster(running.address, None)
    job = workflows.synthesize(cohort, output, model=model, cluster=there)
    done = run_job(job, events.append)
    assert_same(output, plain)
    assert [file.parent.name for file in done.outputs] == list(COHORT)  # in the list's order
    bar = [event.done for event in events if isinstance(event, Progress) and event.what == "CTs"]
    assert bar == list(range(len(COHORT) + 1))


def test_a_relative_model_is_the_one_that_lies_here_not_where_a_worker_is(
    running: Running, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = volume_pairs(tmp_path / "data", {"ada": "test"})
    monkeypatch.chdir(model.parent)
    there = workflows.pick_cluster(running.address, None)
    job = workflows.synthesize(pairs, tmp_path / "out", model=model.name, cluster=there)
    assert [file.is_file() for file in run_job(job, lambda event: None).outputs] == [True]


def test_an_evaluation_is_that_of_the_plain_run(
    running: Running, model: Path, tmp_path: Path
) -> None:
    pairs = volume_pairs(tmp_path / "data", {"ada": "train", "dot": "test"})
    there = workflows.pick_cluster(running.address, None)
    report, here = tmp_path / "report", read_pairs(pairs)
    job = workflows.evaluate(pairs, report, model=model, split="all", cluster=there)
    measured = run_job(job, lambda event: None).report
    source = ModelPredictions(Model(*load_model(model)), Engines(), native=False, published=False)
    plain = run_job(_measure(source, here, here, None), lambda event: None).report(measured.notes)
    assert {row.patient for row in plain.slices} == {"ada", "dot"}
    assert repr(measured.slices) == repr(plain.slices)  # every figure, in order
    for one, other in zip(measured.examples, plain.examples, strict=True):
        assert repr(one.scored) == repr(other.scored)
        np.testing.assert_array_equal(one.fake, other.fake)
    assert (report / "report.html").is_file()


def test_one_that_fails_is_told_and_what_is_finished_is_kept(
    running: Running, model: Path, tmp_path: Path, fails: Fails
) -> None:
    pairs = volume_pairs(tmp_path / "data", COHORT)
    broken = tmp_path / "data" / "cid" / "ct.nii.gz"
    broken.write_bytes(broken.read_bytes()[:2000])
    output = tmp_path / "out"
    tokens = ("synthesize", pairs, output, "--model", model)
    said_here = fails("synthesize", pairs, tmp_path / "plain", "--model", model)
    said = fails(*tokens, "--scheduler", running.address)
    assert said.startswith(said_here)
    assert f"(on {socket.gethostname()}, tcp://" in said
    manifest = read_manifest(output)
    assert manifest is not None
    kept = sorted(file.relative_to(output).as_posix() for file in output.rglob("*.nii.gz"))
    assert sorted(manifest.runs[0].files) == kept
    assert {"T2/ada/ct.nii.gz", "T2/bea/ct.nii.gz"} <= set(kept)  # as in the plain run
    logs = f"{running.client.get_worker_logs()} {running.client.get_scheduler_logs()}"
    assert "tcp://" in logs
    assert not any(word in logs for word in ("nii.gz", str(tmp_path), "T2", "PairRow"))


def test_a_full_disk_of_a_worker(
    running: Running, cohort: Path, model: Path, tmp_path: Path, fails: Fails
) -> None:
    def limit_files(size: int) -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    output = tmp_path / "out"
    running.client.run(limit_files, 3000)  # bytes a file; the MR has more
    try:
        said = fails("synthesize", cohort, output, "--model", model, "--scheduler", running.address)
    finally:
        running.client.run(limit_files, -1)
    assert "ct.nii.gz: could not be written" in said
    assert "(on " in said
    assert not [file for file in output.rglob("*") if file.is_file()]


def test_a_worker_of_another_version(
    running: Running, cohort: Path, model: Path, tmp_path: Path, fails: Fails
) -> None:
    def call_it(version: str) -> None:
        napari_ct2mri.__version__ = version

    right = napari_ct2mri.__version__
    running.client.run(call_it, "0.0.1")
    output = tmp_path / "out"
    try:
        said = fails("synthesize", cohort, output, "--model", model, "--scheduler", running.address)
    finally:
        running.client.run(call_it, right)
    assert f"a worker has napari-ct2mri 0.0.1, expected {right}" in said
    assert not output.exists()


def test_a_worker_killed_in_the_middle(
    running: Running, cohort: Path, model: Path, plain: Path, tmp_path: Path
) -> None:
    pids: dict[str, int] = running.client.run(os.getpid)
    killed: list[int] = []
    events: list[Event] = []

    def kill_a_busy_one(event: Event) -> None:
        events.append(event)
        busy = [worker for worker, keys in running.client.processing().items() if keys]
        is_begun = isinstance(event, Progress) and event.what == "CTs" and event.done >= 1
        if is_begun and busy and not killed:
            killed.append(pids[busy[0]])
            os.kill(killed[0], signal.SIGKILL)

    there = workflows.pick_cluster(running.address, None)
    job = workflows.synthesize(cohort, tmp_path / "out", model=model, cluster=there)
    run_job(job, kill_a_busy_one)
    assert killed
    assert any(isinstance(e, Notice) and "a worker was lost" in e.text for e in events)
    assert_same(tmp_path / "out", plain)


def test_a_worker_killed_before_its_result_was_fetched(
    running: Running,
    cohort: Path,
    model: Path,
    plain: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pids: dict[str, int] = running.client.run(os.getpid)
    outcome, looks = cluster._outcome, []

    def kill_its_worker(future: Future[Any], scheduler: str | None) -> cluster.Outcome | None:
        if not looks:
            holders = running.client.who_has([future])[str(future.key)]
            os.kill(pids[holders[0]], signal.SIGKILL)
            while future.status == "finished":
                time.sleep(0.001)
        looks.append(future.key)
        return outcome(future, scheduler)

    monkeypatch.setattr(cluster, "_outcome", kill_its_worker)
    there = workflows.pick_cluster(running.address, None)
    job = workflows.synthesize(cohort, tmp_path / "out", model=model, cluster=there)
    run_job(job, lambda event: None)
    assert_same(tmp_path / "out", plain)
    assert 1 < looks.count(looks[0]) < 100  # lost, then there; and not asked all the time


def test_a_scheduler_killed_in_the_middle(
    cohort: Path, model: Path, plain: Path, tmp_path: Path
) -> None:
    where = tmp_path / "scheduler.json"

    def dask(*words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "dask", *words, "--scheduler-file", str(where)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(command, cwd=tmp_path, **quiet)

    def kill_it(event: Event) -> None:
        if isinstance(event, Progress) and event.what == "CTs" and event.done == 1:
            scheduler.kill()

    scheduler = dask("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard")
    worker = dask("worker", "--nthreads", "1", "--no-nanny", "--no-dashboard")
    try:
        deadline = time.monotonic() + 60
        while not where.is_file():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        there = workflows.pick_cluster(json.loads(where.read_bytes())["address"], None)
        job = workflows.synthesize(cohort, tmp_path / "out", model=model, cluster=there)
        with pytest.raises(JobError, match="the scheduler was lost; is it still running"):
            run_job(job, kill_it)
    finally:
        for process in (scheduler, worker):
            process.kill()
            process.wait()
    first = "T2/ada/ct.nii.gz"
    assert (tmp_path / "out" / first).read_bytes() == (plain / first).read_bytes()
    manifest = read_manifest(tmp_path / "out")
    assert manifest is not None
    assert first in manifest.runs[0].files


def test_another_model_under_the_same_name(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(model.read_bytes())
    sealed = Sealed.of(Model(*load_model(path)))
    assert sealed.opened().checkpoint.digest == load_model(path)[1].digest
    data = bytearray(path.read_bytes())
    data[-1] ^= 1  # of a weight
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="another model lies there"):
        _ = sealed.opened().checkpoint


def silent() -> socket.socket:
    """Accepts connections and says nothing."""
    return socket.create_server(("127.0.0.1", 0))


def closed() -> socket.socket:
    """A port where nobody listens."""
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    return bound


@pytest.mark.parametrize("make", [silent, closed])
def test_a_scheduler_that_does_not_answer(
    make: Callable[[], socket.socket],
    cohort: Path,
    model: Path,
    tmp_path: Path,
    fails: Fails,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cluster_line, "ANSWER_S", 1.0)
    with make() as there:
        address = f"tcp://127.0.0.1:{there.getsockname()[1]}"
        began = time.monotonic()
        said = fails("synthesize", cohort, tmp_path / "o", "--model", model, "--scheduler", address)
    assert f"{address}: no Dask scheduler answers there" in said
    assert time.monotonic() - began < 10
    assert not (tmp_path / "o").exists()


def test_flags_that_do_not_go_together(cohort: Path, tmp_path: Path, fails: Fails) -> None:
    tokens = ("synthesize", cohort, tmp_path / "out")
    assert "leave one out" in fails(*tokens, "--workers", "2", "--scheduler", "tcp://127.0.0.1:9")
    assert "expected 1 to" in fails(*tokens, "--workers", "0")
    assert "got none" in fails(*tokens, "--scheduler", "")


@pytest.mark.skipif(os.name != "posix", reason="limits open files")
def test_workers_that_cannot_start(cohort: Path, model: Path, tmp_path: Path) -> None:
    code = """if 1:
        import resource, sys
        from napari_ct2mri.app.cli import main
        resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))
        sys.exit(main())
    """
    command = ("synthesize", cohort, tmp_path / "out", "--model", model, "--workers", 2)
    run = subprocess.run(
        [sys.executable, "-c", code, *map(str, command)],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert run.returncode == 1
    said = [line for line in run.stderr.splitlines() if line.startswith("ct2mri: ")]
    assert len(said) == 1
    assert "--workers 2: could not be started" in said[0]
    assert "ask for fewer, or raise what the system allows of open files" in said[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.name != "posix", reason="sends signals to a process group")
def test_a_local_cluster_is_heard_here_only_and_ends_with_ctrl_c(
    cohort: Path, model: Path, tmp_path: Path
) -> None:
    files = [cohort.parent / "ada" / name for name in ("ct.nii.gz", "mr.nii.gz")]
    rows: list[tuple[object, ...]] = [(*files, f"p{i}", "T2", "test", "") for i in range(300)]
    pairs, output = write_csv(tmp_path / "pairs.csv", rows), tmp_path / "out"
    command = ("synthesize", pairs, output, "--model", model, "--workers", 2)
    code = "import sys; from napari_ct2mri.app.cli import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, command)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a process group of its own, as in a terminal
    )
    while not (output / "manifest.json").exists():
        assert process.poll() is None
        time.sleep(0.1)
    family = [psutil.Process(process.pid)]
    family += family[0].children(recursive=True)
    listening = [c.laddr.ip for p in family for c in p.net_connections() if c.status == "LISTEN"]
    assert len(listening) >= 3  # the scheduler and two workers
    assert set(listening) == {"127.0.0.1"}
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=60)[1].splitlines()
    assert process.returncode == 130
    assert re.search(r"cancelled; \d+ of 300 are finished and kept", said[-1])
    begins = ("models: ", "CTs: ", "cancelling", "ct2mri: cancelled")
    assert not [line for line in said if not line.startswith(begins)]
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive
    assert not list(output.rglob(".*"))
    made = {file.relative_to(output).as_posix() for file in output.rglob("*.nii.gz")}
    manifest = read_manifest(output)
    assert manifest is not None
    assert 0 < len(manifest.runs[0].files) <= len(made) < 300
    assert set(manifest.runs[0].files) <= made
