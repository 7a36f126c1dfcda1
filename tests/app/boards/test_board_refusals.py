"""Bad input: one line each, which says what to do."""

from __future__ import annotations

import grp
import os
import pty
import signal
import struct
import subprocess
import tty
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from at_a_board import COMMAND, Fails, command, ct_file, held, needs_compiler, projected

from link.board import Board
from link.terminals import board_on_a_terminal
from napari_ct2mri.app import workflows
from napari_ct2mri.app.workflows.board_grid import read_model
from napari_ct2mri.app.workflows.monitor import _named
from napari_ct2mri.errors import Ct2MriError, JobCancelled
from napari_ct2mri.firmware.container import ABI, seal
from napari_ct2mri.jobs import run_job
from napari_ct2mri.link.ports import Port


@pytest.fixture
def silent() -> Iterator[str]:
    """A port with nobody at its other end."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    yield os.ttyname(theirs)
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("info", [b"[" * 60_000, b"{", b"[]", b'{"config": {"colour": 1}}'])
def test_a_board_whose_model_describes_itself_wrongly(info: bytes) -> None:
    parts = {68: struct.pack("<II", 128, len(info)), 128: info}
    connection = SimpleNamespace(
        hello=SimpleNamespace(board="host", size=100_000),
        check_model=lambda: None,
        read=lambda place, size: parts[place],
    )
    with pytest.raises(Ct2MriError, match=r"export it anew and push|'colour'"):
        read_model(connection)


@pytest.mark.parametrize("verb", ["push", "run", "monitor", "ports"])
def test_no_such_port(verb: str, project: Path, tmp_path: Path, fails: Fails) -> None:
    before = {"push": [project], "run": [tmp_path / "ct.nii.gz", tmp_path / "mr.nii.gz"]}
    line = fails(verb, *before.get(verb, []), "--port", "/dev/ttyNONE9")
    assert "/dev/ttyNONE9: no such port; plug the board in, or choose another; `ct2mri po" in line


def test_no_permission(project: Path, fails: Fails, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("serial.serial_for_url", refuse)
    monkeypatch.setattr(grp, "getgrgid", lambda _: SimpleNamespace(gr_name="dialout"))
    line = fails("push", project, "--port", "/dev/tty")
    assert "no permission; join the group that owns it: sudo usermod -aG dialout $USER" in line


@needs_compiler
def test_a_busy_port_says_by_whom(project: Path, ready: str, fails: Fails) -> None:
    with held(ready) as pid:
        line = fails("push", project, "--port", ready)
    assert f"{ready}: busy, held by python" in line
    assert f"(pid {pid}); close it first" in line


def test_nobody_answers(silent: str, project: Path, fails: Fails) -> None:
    line = fails("push", project, "--port", silent)
    assert f"{silent}: no answer to HELLO within 3 s" in line
    assert "its firmware does not run; a C6748 that was just reset must be booted first" in line
    assert "rate" not in line  # it has none


def test_a_rate_that_the_board_has_not(project: Path, fails: Fails) -> None:
    with board_on_a_terminal(Board(rates=(115200, 921600))) as port:
        line = fails("push", project, "--port", port, "--baud", 57600)
    assert "reference has no rate 57600; it has 115200, 921600" in line


@needs_compiler
@pytest.mark.parametrize("verb", ["push", "run", "monitor", "ports"])
def test_a_rate_for_a_line_without_one(
    verb: str, project: Path, ready: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {
        "push": [project], "run": [ct_file(tmp_path / "ct.nii.gz"), tmp_path / "mr.nii.gz"],
        "monitor": ["--once"], "ports": [],
    }[verb]  # fmt: skip
    command(verb, *before, "--port", ready, "--baud", 921600)
    note = "note: the line of this host has no rate, as in a simulation: --baud 921600 changes"
    assert note in capsys.readouterr().err


@needs_compiler
@pytest.mark.parametrize("verb", ["push", "run", "monitor"])
def test_another_board_than_meant(
    verb: str, project: Path, ready: str, tmp_path: Path, fails: Fails
) -> None:
    before = {
        "push": [project], "run": [ct_file(tmp_path / "ct.nii.gz"), tmp_path / "mr.nii.gz"],
        "monitor": ["--once"],
    }[verb]  # fmt: skip
    line = fails(verb, *before, "--port", ready, "--board", "c6748-lcdk")
    assert f"{ready}: there is a host, expected a c6748-lcdk; choose another port or board" in line
    command(verb, *before, "--port", ready, "--board", "host")


@pytest.mark.parametrize("verb", ["push", "run", "monitor"])
def test_no_such_board_and_no_such_rate(
    verb: str, project: Path, tmp_path: Path, fails: Fails
) -> None:
    before = {"push": [project], "run": [tmp_path / "ct.nii.gz", tmp_path / "mr.nii.gz"]}
    start = [verb, *before.get(verb, []), "--port", "/dev/ttyNONE9"]
    line = fails(*start, "--board", "foo")
    assert "there is no board 'foo'; there are host, qemu-vexpress-a9, c6748-lcdk" in line
    assert "a rate of -1 bit/s; expected one above 0" in fails(*start, "--baud", "-1")


@needs_compiler
def test_a_new_board_says_that_it_has_no_model(
    port: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    command("ports", "--port", port)
    rows = [" ".join(row.split()) for row in capsys.readouterr().out.splitlines()]
    assert "model no model is committed: push one first" in rows


@needs_compiler
def test_ctrl_c_in_run_says_what_is_left(ready: str, tmp_path: Path) -> None:
    """Of a single volume nothing; of a list the files so far."""
    job = workflows.run(ct_file(tmp_path / "ct.nii.gz"), tmp_path / "mr.nii.gz", ready)
    with pytest.raises(JobCancelled, match=r"^cancelled; nothing was written$"):
        run_job(job, lambda event: None, lambda: True)
    assert not (tmp_path / "mr.nii.gz").exists()


@needs_compiler
def test_ctrl_c_in_the_run_of_a_list_says_what_is_left(
    ready: str, pictures: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    job = workflows.run(pictures, output, ready)
    with pytest.raises(JobCancelled) as why:
        run_job(job, lambda event: None, lambda: any(output.rglob("*.png")))
    assert (
        str(why.value) == f"cancelled; {len([*output.rglob('*.png')])} files are written and kept"
    )


def test_what_is_in_the_way_of_a_port_is_listed_with_what_to_do(
    silent: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "napari_ct2mri.link.ports.list_ports", lambda: [Port(silent, "c6748-lcdk", "a probe")]
    )
    capsys.readouterr()
    with held(silent) as pid:
        command("ports")
    assert f"(pid {pid}); close that first, or choose another port" in capsys.readouterr().out
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(grp, "getgrgid", lambda _: SimpleNamespace(gr_name="dialout"))
    command("ports")
    out = capsys.readouterr().out
    assert f"{silent}: no permission; join the group that owns it: sudo usermod -aG dial" in out


def test_a_file_for_its_folder(project: Path, fails: Fails) -> None:
    path = project / "model.ctm"
    line = fails("push", path, "--port", "/dev/ttyNONE9")
    assert f"{path}: a file, expected the folder that `ct2mri export` wrote; push {project}" in line


@needs_compiler
def test_a_file_for_a_store(firmware: Path, tmp_path: Path, fails: Fails) -> None:
    store = tmp_path / "store"
    store.touch()
    line = fails("board", "--board", "host", "--store", store)
    assert f"{store}: a file, expected a folder, which stands for the board's flash" in line
    assert store.read_bytes() == b""


def test_no_port_at_all(project: Path, fails: Fails) -> None:
    assert "no port is named; choose one; `ct2mri ports` shows" in fails(
        "push", project, "--port", ""
    )


def test_layers_without_a_name_get_numbers() -> None:
    assert _named((5, 6, 7)) == (("layer 0", 5), ("layer 1", 6), ("layer 2", 7))
    assert _named((1, 2, 3, 4)) == (("down.0", 1), ("down.1", 2), ("up.1", 3), ("up.0", 4))
    assert _named(()) == ()


def test_an_older_protocol(project: Path, fails: Fails) -> None:
    board = Board()
    board.protocol = 0
    with board_on_a_terminal(board) as port:
        line = fails("push", project, "--port", port)
    assert "protocol 0, expected 1: the board's firmware is the older one; rebuild it and" in line


def test_a_model_too_large(project: Path, fails: Fails) -> None:
    with board_on_a_terminal(Board(slot_bytes=8192)) as port:
        line = fails("push", project, "--port", port)
    assert "bytes, a slot of reference 8192: export one with fewer filters" in line


@needs_compiler
def test_a_model_of_another_abi(project: Path, port: str, tmp_path: Path, fails: Fails) -> None:
    data = bytearray((project / "model.ctm").read_bytes())
    data[14] = ABI + 1
    folder = projected(tmp_path / "newer", seal(data))
    line = fails("push", folder, "--port", port)
    assert f"of ABI {ABI + 1}, the firmware of host of {ABI}: rebuild the firmware and reb" in line


@needs_compiler
@pytest.mark.parametrize("verb", ["run", "monitor"])
def test_before_a_commit(verb: str, port: str, tmp_path: Path, fails: Fails) -> None:
    ct = ct_file(tmp_path / "ct.nii.gz")
    before = [ct, tmp_path / "mr.nii.gz"] if verb == "run" else []
    assert "no model is committed: push one first" in fails(verb, *before, "--port", port)


def test_a_container_that_was_altered(project: Path, tmp_path: Path, fails: Fails) -> None:
    data = bytearray((project / "model.ctm").read_bytes())
    data[-1] ^= 1
    folder = projected(tmp_path / "altered", bytes(data))
    line = fails("push", folder, "--port", "/dev/ttyNONE9")
    assert f"{folder / 'model.ctm'}: model container, error 6: its SHA-256 differs" in line


def test_no_project(tmp_path: Path, fails: Fails) -> None:
    line = fails("push", tmp_path, "--port", "/dev/ttyNONE9")
    assert f"{tmp_path}: no exported project; run `ct2mri export` first" in line


@needs_compiler
def test_an_mr_is_no_ct(ready: str, volumes: Path, tmp_path: Path, fails: Fails) -> None:
    mr = volumes.parent / "dot" / "mr.nii.gz"
    line = fails("run", mr, tmp_path / "new" / "out.nii.gz", "--port", ready, "--modality", "MR")
    assert "expected a CT, got an MR" in line
    assert not (tmp_path / "new").exists()


@needs_compiler
def test_a_board_that_ends_by_itself(firmware: Path, tmp_path: Path) -> None:
    start = [*COMMAND, "board", "--board", "host", "--store", str(tmp_path / "store")]
    pipe = subprocess.PIPE
    with subprocess.Popen(start, stdout=pipe, stderr=pipe, text=True) as board:
        assert board.stdout
        assert board.stderr
        port = board.stdout.readline().strip()
        (program,) = Path(f"/proc/{board.pid}/task/{board.pid}/children").read_text().split()
        os.kill(int(program), signal.SIGKILL)
        assert board.wait(20) == 1
        assert f"ct2mri: {port}: the board's process has ended by itself" in board.stderr.read()


@needs_compiler
def test_a_store_in_use(port: str, firmware: Path, tmp_path: Path, fails: Fails) -> None:
    line = fails("board", "--board", "host", "--store", tmp_path / "store")
    assert "in use by another board" in line


def test_a_board_that_cannot_be_simulated(fails: Fails) -> None:
    assert "c6748-lcdk" in fails("board", "--board", "c6748-lcdk")


def test_no_compiler(fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    line = fails("board", "--board", "host")
    assert "cc is not installed; get it by: apt-get install gcc" in line
