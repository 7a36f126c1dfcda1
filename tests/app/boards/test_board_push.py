"""``board`` and ``push``, in processes of their own and in one go with ``export`` and ``build``."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from at_a_board import COMMAND, command, container_of, ct_file, needs_compiler, projected
from random_models import boxed, random_model

from napari_ct2mri.app import workflows
from napari_ct2mri.errors import LinkError
from napari_ct2mri.firmware.container import pack
from napari_ct2mri.firmware.reference import run as run_reference
from napari_ct2mri.imaging.io import read_volume
from napari_ct2mri.jobs import run_job


@contextmanager
def slowed(port: str, rate: int = 400_000) -> Iterator[str]:
    """The same port behind a line of ``rate`` bytes a second."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    board, is_over = os.open(port, os.O_RDWR | os.O_NOCTTY), threading.Event()

    def serve() -> None:
        while not is_over.is_set():
            ready, _, _ = select.select([ours, board], [], [], 0.05)
            for source, sink in ((ours, board), (board, ours)):
                if source in ready:
                    data = os.read(source, 1024)
                    os.write(sink, data)
                    time.sleep(len(data) / rate)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield os.ttyname(theirs)
    finally:
        is_over.set()
        thread.join()
        for handle in (ours, theirs, board):
            os.close(handle)


@needs_compiler
def test_a_board_in_one_terminal_commands_in_another(
    project: Path, firmware: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ct = ct_file(tmp_path / "ct.nii.gz")
    start = [*COMMAND, "board", "--board", "host", "--store", str(tmp_path / "store")]
    for turn in range(2):  # the second time it has its model already
        with subprocess.Popen(
            start, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as board:
            assert board.stdout
            assert board.stderr
            port = board.stdout.readline().strip()
            assert Path(port).is_char_device()
            capsys.readouterr()
            command("ports")
            assert f"{port} " in capsys.readouterr().out
            if turn == 0:
                command("push", project, "--port", port)
                out = capsys.readouterr().out
                blocks = -(-(project / "model.ctm").stat().st_size // 4096)
                assert f"host: {blocks} of {blocks} blocks sent" in out
                assert "committed in slot 0; golden pair equal" in out
            command("push", project, "--port", port)
            out = capsys.readouterr().out
            assert "host has this model already, in slot 0; nothing was sent" in out
            assert "golden pair equal" in out
            assert "committed" not in out
            command("run", ct, tmp_path / f"mr{turn}.nii.gz", "--port", port)
            out = capsys.readouterr().out
            assert "tiny on host: 4 slices in" in out
            board.send_signal(signal.SIGINT)
            assert board.wait(20) == 0
            assert f"its models are kept in {tmp_path / 'store'}" in board.stderr.read()
            assert not Path(port).exists()
    first, second = (read_volume(tmp_path / f"mr{turn}.nii.gz").data for turn in range(2))
    np.testing.assert_array_equal(first, second)
    command("ports")
    assert port not in capsys.readouterr().out


@needs_compiler
def test_only_changed_blocks_are_sent(
    project: Path, port: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    container = container_of(project)
    command("push", project, "--port", port)
    *others, last = container.model.layers
    finer = replace(last, bias=last.bias + 100)  # as after a fine-tuning of the last layer
    model = replace(container.model, layers=(*others, finer))
    image = container.golden[0]
    golden = image, run_reference(model, image)
    changed = replace(container, model=model, golden=golden)
    old, new = (project / "model.ctm").read_bytes(), pack(changed)
    blocks = [old[i : i + 4096] for i in range(0, len(old), 4096)]
    differing = sum(new[i * 4096 :][:4096] != block for i, block in enumerate(blocks))
    assert 1 < differing < len(blocks)
    capsys.readouterr()
    command("push", projected(tmp_path / "new", new), "--port", port)
    out = capsys.readouterr().out
    assert f"{differing} of {len(blocks)} blocks sent" in out
    assert f"{len(blocks) - differing} copied from the model before" in out
    assert "committed in slot 1" in out


@needs_compiler
def test_a_push_goes_on_after_ctrl_c(
    port: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = pack(boxed(random_model(width=32, levels=5, widest=8, size=(32, 32))))
    folder = projected(tmp_path / "large", data)
    with (
        slowed(port) as slow,
        subprocess.Popen(
            [*COMMAND, "push", str(folder), "--port", slow], stderr=subprocess.PIPE, text=True
        ) as pushing,
    ):
        assert pushing.stderr
        assert pushing.stderr.readline().startswith("bytes: ")
        time.sleep(0.5)
        pushing.send_signal(signal.SIGINT)
        assert pushing.wait(20) == 130
        assert "cancelled; what was finished before is kept" in pushing.stderr.read()
    asked = run_job(workflows.ask_board(port), lambda event: None)
    assert asked.model is None
    capsys.readouterr()
    command("push", folder, "--port", port)
    out, err = capsys.readouterr()
    sent, kept = (int(out.split(word)[0].split()[-1]) for word in (" of", " there already"))
    assert kept > 0
    assert sent + kept == -(-len(data) // 4096)
    assert f"note: {kept} of {sent + kept} blocks are there already" in err


@needs_compiler
def test_export_build_and_push_in_one_go(
    model: Path, pictures: Path, port: str, tmp_path: Path
) -> None:
    events: list[object] = []
    job = workflows.export_build_push(model, tmp_path / "fw", pictures, "host", port)
    done = run_job(job, events.append)
    steps = [event.step for event in events if isinstance(event, workflows.StepBegun)]
    assert steps == ["export", "build", "push"]
    assert done.pushed.written == done.pushed.blocks
    assert done.exported.digest == run_job(workflows.ask_board(port), lambda e: None).model.digest


@needs_compiler
def test_another_board_than_meant_is_said_before_the_export(
    model: Path, pictures: Path, port: str, tmp_path: Path
) -> None:
    job = workflows.export_build_push(model, tmp_path / "fw", pictures, "qemu-vexpress-a9", port)
    with pytest.raises(LinkError, match="there is a host, expected a qemu-vexpress-a9; choose"):
        run_job(job, lambda event: None)
    assert not (tmp_path / "fw").exists()
    run_job(workflows.ask_board(port), lambda event: None)  # the port is free again
