"""Real pseudo-terminals and sockets, and ports that don't open."""

from __future__ import annotations

import fcntl
import os
import pty
import socket
import subprocess
import sys
import termios
import threading
import time
import tty
from pathlib import Path

import pytest

from napari_ct2mri.errors import LinkError, PortError
from napari_ct2mri.link.connection import Connection
from napari_ct2mri.link.transport import LineLost, SerialLine, users_of

from .board import Board
from .terminals import board_on_a_terminal


def test_a_board_on_a_pseudo_terminal():
    with board_on_a_terminal(Board()) as port, Connection(SerialLine(port)) as connection:
        assert connection.hello.board == "reference"
        assert connection.stats().slices == 0


def test_a_board_on_a_socket():
    board = Board()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            with client:
                while data := client.recv(4096):
                    client.sendall(board.feed(data))

        thread = threading.Thread(target=serve)
        thread.start()
        with Connection(SerialLine(f"socket://127.0.0.1:{server.getsockname()[1]}")) as connection:
            assert connection.hello.board == "reference"
        thread.join()


def test_both_directions_at_once_do_not_block():
    """A board that reads nothing before it has said all, more than any buffer holds."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    line = SerialLine(os.ttyname(theirs))
    said = bytes(range(1, 256)) * 1000

    def speak() -> None:
        rest = memoryview(said)
        while rest:
            rest = rest[os.write(ours, rest) :]

    thread = threading.Thread(target=speak)
    thread.start()
    data, heard = b"x" * 200_000, b""
    while len(heard) < len(said):
        taken, got = line.transfer(data, 1.0)
        data, heard = data[taken:], heard + got
    thread.join()
    assert heard == said
    assert data  # it was never read
    line.close()
    os.close(ours)
    os.close(theirs)


def test_waiting_takes_no_longer_than_asked_nor_less():
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    line = SerialLine(os.ttyname(theirs))
    start = time.monotonic()
    assert line.transfer(b"", 0.2) == (0, b"")
    assert 0.2 <= time.monotonic() - start < 2.0
    os.write(ours, b"abc")
    start = time.monotonic()
    assert line.transfer(b"", 5.0) == (0, b"abc")
    assert time.monotonic() - start < 2.0
    line.close()
    os.close(ours)
    os.close(theirs)


def test_what_nobody_reads_is_not_waited_for():
    ours, theirs = pty.openpty()
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"socket://127.0.0.1:{server.getsockname()[1]}"
        for line in (SerialLine(os.ttyname(theirs)), SerialLine(url)):
            assert line.transfer(b"x" * 1000, 1.0)[0] == 1000
            start = time.monotonic()
            line.drain()
            assert time.monotonic() - start < 1.0
            line.close()
    line = SerialLine(os.ttyname(theirs))
    os.close(ours)
    os.close(theirs)
    with pytest.raises(LineLost, match="the port went away"):
        line.drain()
    line.close()


def test_no_such_port():
    with pytest.raises(PortError, match="/dev/ttyNONE9: no such port; plug the board in, or ch"):
        SerialLine("/dev/ttyNONE9")


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"socket://127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(LinkError) as why:
        SerialLine(url)
    assert str(why.value) == (
        f"{url}: Connection refused; start the board that listens there, or correct the URL"
    )


def test_a_file_is_no_port(tmp_path: Path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(LinkError, match=f"^{file}: a file, but no terminal; choose another port$"):
        SerialLine(str(file))
    with pytest.raises(LinkError, match=r"^/dev/null: a device, but no terminal; choose another"):
        SerialLine("/dev/null")


def test_a_folder_is_no_port(tmp_path: Path):
    with pytest.raises(LinkError, match=f"^{tmp_path}: a folder, expected a serial port; choose"):
        SerialLine(str(tmp_path))


@pytest.mark.parametrize("port", ["", " "])
def test_no_port_is_named(port: str):
    with pytest.raises(LinkError, match=r"^no port is named; choose one$"):
        SerialLine(port)


@pytest.mark.parametrize(
    "address", ["127.0.0.1:22x", "127.0.0.1", "127.0.0.1:0", ":4711", "h:99999"]
)
def test_a_url_without_a_port(address: str):
    url = f"socket://{address}"
    with pytest.raises(LinkError) as why:
        SerialLine(url)
    assert str(why.value).startswith(f"{url}: expected socket://HOST:PORT, the last a number from")


def test_an_unknown_kind_of_url():
    with pytest.raises(
        LinkError, match=r"^nonsense://x: .*'nonsense' not known; expected socket://HOST:PORT"
    ):
        SerialLine("nonsense://x")


def test_no_permission_names_the_group():
    """Opened by a process that is nobody, where we are allowed everything."""
    ours, theirs = pty.openpty()
    port = os.ttyname(theirs)
    Path(port).chmod(0)
    group = Path(port).group()
    code = f"""
import os, grp, serial
from napari_ct2mri.link.transport import SerialLine
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
SerialLine({port!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert f"{port}: no permission" in done.stderr
    assert (f"usermod -aG {group} $USER" in done.stderr) == (group != "root")
    os.close(ours)
    os.close(theirs)


def test_a_busy_port_names_who_holds_it():
    ours, theirs = pty.openpty()
    port = os.ttyname(theirs)
    code = f"import fcntl, os; fcntl.flock(os.open({port!r}, os.O_RDWR), fcntl.LOCK_EX); input()"
    with subprocess.Popen(
        [sys.executable, "-c", f"{code}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        until_locked(theirs)
        with pytest.raises(LinkError, match=rf"{port}: busy, held by .* \(pid {holder.pid}\)"):
            SerialLine(port)
        assert any(str(holder.pid) in user for user in users_of(port))
        holder.communicate(b"\n", timeout=30)
    SerialLine(port).close()
    os.close(ours)
    os.close(theirs)


def until_locked(handle: int) -> None:
    for _ in range(500):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        fcntl.flock(handle, fcntl.LOCK_UN)
        time.sleep(0.02)
    raise AssertionError("nobody locked it")


def test_what_a_driver_refuses_is_said(monkeypatch: pytest.MonkeyPatch):
    """``termios.error`` is no OSError."""

    def refuse(*_: object) -> None:
        raise termios.error(22, "Invalid argument")

    ours, theirs = pty.openpty()
    port = os.ttyname(theirs)
    line = SerialLine(port)
    monkeypatch.setattr(termios, "tcsetattr", refuse)
    with pytest.raises(LinkError, match=f"^{port} has no rate 2000000: choose another$"):
        line.set_baud(2_000_000)
    assert line.baud == 115200
    line.close()
    with pytest.raises(PortError, match=f"^{port}: not a serial port that opens .*Invalid argum"):
        SerialLine(port)
    os.close(ours)
    os.close(theirs)


def test_an_unplugged_cable_is_noticed():
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    line = SerialLine(os.ttyname(theirs))
    os.close(theirs)
    os.close(ours)
    with pytest.raises(LineLost, match="the port went away: unplugged"):
        line.transfer(b"x", 0.1)
    line.close()
