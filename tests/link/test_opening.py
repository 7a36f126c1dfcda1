from __future__ import annotations

import os
import pty
import threading
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest
from serial.tools.list_ports import comports
from serial.tools.list_ports_common import ListPortInfo

from napari_ct2mri.errors import LinkError
from napari_ct2mri.jobs import Event, Notice, Progress, run_job
from napari_ct2mri.link import LineLost, NoAnswer, connect, connect_again, list_ports, push_model
from napari_ct2mri.link.connection import Connection
from napari_ct2mri.link.opening import _raise_rate
from napari_ct2mri.link.ports import _port

from .board import Board
from .lines import VirtualLine
from .terminals import board_on_a_terminal


@pytest.fixture
def terminal() -> Iterator[tuple[int, str]]:
    """A pseudo-terminal with nobody at its other end."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    yield ours, os.ttyname(theirs)
    os.close(ours)
    os.close(theirs)


def test_a_port_by_its_path(tmp_path: Path):
    with board_on_a_terminal(Board(rates=(115200,))) as port:
        link = tmp_path / "board"
        link.symlink_to(port)
        with connect(str(link)) as connection:
            assert connection.hello.board == "reference"
            assert not connection.line.has_rate


def test_a_push_through_a_real_terminal():
    board, container = Board(), os.urandom(100_000)
    with board_on_a_terminal(board) as port:
        done = run_job(push_model(lambda: connect(port), container), lambda event: None)
    assert done.written == 25
    assert board.slots[done.slot].content(len(container)) == container


def test_nobody_answers(terminal: tuple[int, str]):
    _, port = terminal
    with pytest.raises(NoAnswer, match=f"{port}: no answer to HELLO within 3 s"):
        connect(port)


def test_somebody_else_answers(terminal: tuple[int, str]):
    ours, port = terminal
    threading.Timer(0.3, lambda: os.write(ours, b"login: ")).start()
    with pytest.raises(LinkError, match=r"7 bytes came, but no answer: another program.* 115200"):
        connect(port)


def test_the_fastest_rate_is_taken():
    line = VirtualLine(Board(rates=(115200, 921600, 2_000_000)), baud=115200)
    _raise_rate(Connection(line), None)
    assert line.baud == 2_000_000
    connection = Connection(line)
    _raise_rate(connection, 921600)
    assert line.baud == 921600
    connection.close()
    assert line.baud == line.board.baud == 115200


def test_a_line_without_a_rate_says_so():
    connection = Connection(VirtualLine(Board(rates=()), baud=115200))
    _raise_rate(connection, 921600)
    assert connection.notes == (
        "the line of this reference has no rate, as in a simulation: --baud 921600 changes nothing",
    )
    connection = Connection(VirtualLine(Board(rates=(115200, 921600)), baud=115200))
    _raise_rate(connection, 921600)
    assert connection.notes == ()
    assert connection.line.baud == 921600


def test_an_unplugged_board_is_waited_for():
    came_back = time.monotonic() + 1.0
    line = VirtualLine(Board())

    def open_it() -> Connection:
        if time.monotonic() < came_back:
            raise LineLost("not yet")
        return Connection(line)

    seen: list[Event] = []
    connection = run_job(connect_again(open_it, LineLost("unplugged")), seen.append)
    assert connection.hello.board == "reference"
    (said,) = (event.text for event in seen if isinstance(event, Notice))
    assert said == "the line is gone; plug the board in again, within 60 s"
    assert [event.total for event in seen if isinstance(event, Progress)] == [60] * (len(seen) - 1)
    came_back = time.monotonic() + 1.0
    with pytest.raises(LinkError, match="not yet"):
        run_job(connect_again(open_it, LinkError("silent")), seen.append)


def test_ports_of_this_machine():
    """The system's own list, whose terminals are real here, where there are any."""
    there = {each.device for each in comports()}
    assert {port.device for port in list_ports()} == there


def test_likely_boards_come_first(monkeypatch: pytest.MonkeyPatch):
    def plugged(device: str, vendor: int | None, product: int | None) -> ListPortInfo:
        found = ListPortInfo(device)
        found.vid, found.pid, found.description = vendor, product, "n/a"
        return found

    ports = [
        plugged("/dev/ttyS0", None, None),
        plugged("/dev/ttyUSB1", 0x10C4, 0xEA60),
        plugged("/dev/ttyUSB0", 0x0403, 0x6001),
    ]
    monkeypatch.setattr("serial.tools.list_ports.comports", lambda: ports)
    found = list_ports()
    assert [port.device for port in found] == ["/dev/ttyUSB0", "/dev/ttyUSB1", "/dev/ttyS0"]
    assert [port.board for port in found] == ["c6748-lcdk", "", ""]
    assert [port.usb for port in found] == ["0403:6001", "10c4:ea60", ""]


def test_boards_by_usb_number():
    assert _port("/dev/ttyUSB0", 0x0403, 0x6001, "FT232R", "A1").board == "c6748-lcdk"
    assert _port("/dev/ttyACM0", 0x0451, 0xBEF3, None, None).usb == "0451:bef3"
    adapter = _port("/dev/ttyUSB1", 0x10C4, 0xEA60, "CP2102", None)
    assert (adapter.board, adapter.title) == ("", "Silicon Labs CP210x adapter")
    other = _port("/dev/ttyACM1", 0x2341, 0x0043, "Something", "7")
    assert (other.board, other.title, other.serial_number) == ("", "Something", "7")
    assert _port("/dev/ttyS0", None, None, "n/a", None).title == ""
