from __future__ import annotations

import struct
from contextlib import suppress
from hashlib import sha256
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_ct2mri.errors import BoardError, LinkError
from napari_ct2mri.jobs import run_job
from napari_ct2mri.link.connection import Connection
from napari_ct2mri.link.frame import FrameReader, Type, encode_frame
from napari_ct2mri.link.messages import Hello, Number
from napari_ct2mri.link.session import Chunk, Session, Stream
from napari_ct2mri.link.upload import push_model

from .board import Board
from .lines import Faults, VirtualLine

QUIET = Faults()
FAULTS = Faults(drop=0.004, flip=0.004, duplicate=0.01, delay=0.01)


def connect(board: Board | None = None, faults: Faults = QUIET, **more) -> Connection:
    return Connection(VirtualLine(board or Board(), faults, **more))


def chunks_of(sizes: list[int]) -> list[Chunk]:
    """A stream of one run."""
    made, at = [], 0
    for size in sizes:
        made.append(Chunk(bytes(size), at, at + size, 0))
        at += size
    return made


def test_hello_says_who_is_there():
    hello = connect(Board(rates=(115200, 921600)), baud=115200).hello
    assert (hello.protocol, hello.board, hello.window) == (1, "reference", 16)
    assert hello.status == Number.NO_MODEL
    assert hello.active is None
    assert hello.rates == (115200, 921600)
    assert hello.planes == 0


def hello_of(
    size: tuple[int, int] = (64, 48),
    channels: int = 2,
    windows: int = 1,
    layers: int = 6,
    rates: tuple[int, ...] = (115200,),
    status: int = 0,
    container: int = 1000,
) -> bytes:
    return struct.pack(
        "<BBHI 16s II HBB 8I 4H HH I 32s",
        1, 1, status, 0, b"host", 1 << 20, 1 << 20, 16, 0, len(rates),
        *(rates + 8 * (0,))[:8], *size, channels, windows, layers, 0, container, bytes(32),
    )  # fmt: skip


def test_a_hello_within_bounds_is_taken():
    assert Hello.unpack(hello_of()).planes == 2
    most = Hello.unpack(hello_of((2048, 2048), 252, 9, 32, (1, 10_000_000), container=1 << 20))
    assert (most.height, most.layers, most.rates) == (2048, 32, (1, 10_000_000))
    assert Hello.unpack(hello_of((0, 0), 0, 0, 0, (), Number.NO_MODEL, 0)).planes == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": (0, 48)}, {"size": (64, 0)}, {"size": (2049, 48)}, {"size": (64, 65535)},
        {"channels": 0}, {"channels": 256}, {"channels": 3, "windows": 2},
        {"windows": 0}, {"channels": 10, "windows": 10}, {"layers": 0}, {"layers": 33},
        {"container": 0}, {"container": (1 << 20) + 1},
        {"rates": (115200, 0)}, {"rates": (10_000_001,)}, {"rates": (4_000_000_000,)},
    ],
)  # fmt: skip
def test_a_hello_out_of_range_is_refused(wrong: dict[str, Any]):
    with pytest.raises(LinkError, match="the board's HELLO is out of range: rebuild its firmware"):
        Hello.unpack(hello_of(**wrong))


def test_a_request_is_said_again_and_done_once():
    session = Session()
    asked = session.ask(Type.STATS, b"", patience_s=5)
    first = session.send(0.0)
    assert session.send(0.1) == b""
    assert session.deadline == pytest.approx(0.13)
    assert session.send(0.2) == first
    (frame,) = FrameReader().feed(first)
    session.receive(encode_frame(Type.STATS | 0x80, frame.seq + 1, b"old"), 0.3)
    assert not asked.is_done
    session.receive(encode_frame(Type.STATS | 0x80, frame.seq, b"new"), 0.3)
    assert asked.result() == b"new"
    assert session.send(9.0) == b""
    assert session.deadline is None


def test_a_silent_board_is_given_up():
    board = Board()
    connection = connect(board)
    board.is_on = False
    with pytest.raises(LinkError, match=r"no answer to TEST within 120 s \(\d+ tries\)"):
        connection.test()
    with pytest.raises(LinkError, match="no answer to HELLO within 3 s"):
        connect(board)


def test_one_request_at_a_time():
    session = Session()
    session.ask(Type.TEST)
    with pytest.raises(LinkError, match="another request"):
        session.ask(Type.STATS)


def test_an_error_raises_what_to_do():
    with pytest.raises(BoardError, match="COMMIT, error 5: out of order") as info:
        connect().request(Type.COMMIT, struct.pack("<I32s", 5, bytes(32)))
    assert info.value.number == Number.ORDER


def test_a_hello_of_a_session_of_old_is_passed_over():
    board, session = Board(), Session()
    asked = session.ask(Type.HELLO, struct.pack("<BI", 1, 7))
    session.receive(board.feed(encode_frame(Type.HELLO, 0, struct.pack("<BI", 1, 6))), 0.0)
    assert not asked.is_done
    session.receive(board.feed(session.send(0.0)), 0.0)
    assert asked.is_done


@pytest.mark.parametrize(("spoken", "older"), [(0, "the board's firmware"), (2, "this program")])
def test_another_protocol_says_who_is_older(spoken: int, older: str):
    board = Board()
    board.protocol = spoken
    with pytest.raises(LinkError, match=f"protocol {spoken}, expected 1: {older} is the older"):
        connect(board)


@given(st.binary(max_size=200), st.integers(0, 255))
def test_no_answer_breaks_the_session(payload: bytes, kind: int):
    """Whatever a frame holds, it is an answer, nothing, or a LinkError."""
    session = Session()
    session.ask(Type.STATS)
    session.stream = Stream(Type.WRITE, chunks_of([8, 8]))
    session.send(0.0)
    with suppress(LinkError):
        session.receive(encode_frame(kind, 1, payload), 0.1)
    assert session.is_asking or kind in (Type.STATS | 0x80, Type.ERROR)


def test_a_stream_keeps_a_window_in_the_air():
    session = Session()
    session.window = 3
    session.stream = Stream(Type.WRITE, chunks_of([8] * 5))
    assert len(FrameReader().feed(session.send(0.0))) == 3
    assert session.send(0.1) == b""
    session.receive(encode_frame(Type.ACK, 0, struct.pack("<IB", 8, 3)), 0.2)
    assert session.stream.taken == 1
    assert len(FrameReader().feed(session.send(0.2))) == 1


def test_a_lost_frame_is_gone_back_to_at_once():
    """The ACK of a frame that was passed over tells; no time-out is waited for."""
    session = Session()
    session.window = 4
    session.stream = Stream(Type.WRITE, chunks_of([8] * 6))
    session.send(0.0)
    session.receive(encode_frame(Type.ACK, 0, struct.pack("<IB", 8, 4)), 0.1)
    session.receive(encode_frame(Type.ACK, 2, struct.pack("<IB", 8, 4)), 0.1)  # 1 was lost
    again = FrameReader().feed(session.send(0.1))
    assert [frame.seq for frame in again] == [4, 5, 6, 7]
    session.receive(encode_frame(Type.ACK, 3, struct.pack("<IB", 8, 4)), 0.1)  # of before
    assert session.send(0.1) == b""
    session.receive(encode_frame(Type.ACK, 7, struct.pack("<IB", 40, 4)), 0.1)
    assert session.stream.taken == 5
    assert session.stream.resent == 3


def test_an_ack_behind_a_jump_does_not_cover_what_is_before():
    session = Session()
    session.window = 4
    near = [Chunk(b"a", 0, 8, 0, b"A"), Chunk(b"b", 8, 16, 0)]
    far = [Chunk(b"c", 4096, 4104, 2, b"C", is_break=True)]
    session.stream = Stream(Type.WRITE, near + far)
    assert [f.payload for f in FrameReader().feed(session.send(0.0))] == [b"a", b"b", b"C"]
    session.receive(encode_frame(Type.ACK, 2, struct.pack("<IB", 4104, 4)), 0.1)
    assert session.stream.taken == 0
    assert [f.payload for f in FrameReader().feed(session.send(0.1))] == [b"A", b"b", b"C"]
    for seq, next_ in ((3, 8), (4, 16), (5, 4104)):
        session.receive(encode_frame(Type.ACK, seq, struct.pack("<IB", next_, 4)), 0.2)
    assert session.stream.is_done


def test_a_stream_behind_another_waits_for_both():
    """What the first left in the air counts in the window, and starts no time-out anew."""
    session = Session()
    session.window = 3
    session.begin(Stream(Type.SLICE, chunks_of([8, 8])))
    session.send(100.0)
    second = Stream(Type.SLICE, chunks_of([8] * 4))
    session.begin(second)
    assert len(FrameReader().feed(session.send(100.1))) == 1
    assert session.deadline == pytest.approx(100.0 + session.rto_s)
    session.receive(encode_frame(Type.ACK, 1, struct.pack("<IB", 16, 3)), 100.2)
    assert second.taken == 0
    assert len(FrameReader().feed(session.send(100.2))) == 2
    session.receive(encode_frame(Type.ACK, 4, struct.pack("<IB", 24, 3)), 100.3)
    assert (second.taken, second.resent) == (3, 0)


def test_silence_goes_back_with_a_jump_and_ends():
    stream = Stream(Type.WRITE, [Chunk(b"a", 0, 8, 0, b"A"), Chunk(b"b", 8, 16, 0)], 10.0)
    session = Session()
    session.window, session.stream = 2, stream
    session.send(0.0)
    session.receive(encode_frame(Type.ACK, 0, struct.pack("<IB", 8, 2)), 0.1)
    assert session.deadline == pytest.approx(0.1 + session.rto_s)
    assert [f.payload for f in FrameReader().feed(session.send(1.0))] == [b"A", b"b"]
    now = 1.0
    while not stream.is_done:
        assert session.deadline is not None
        now = session.deadline
        session.send(now)
    assert "fell silent for 10 s at WRITE 2 of 2" in str(stream.error)
    assert 10 < now < 30


def test_a_stream_that_gets_nowhere_ends():
    """A board that answers, but never takes the frame."""
    stream = Stream(Type.SLICE, chunks_of([8, 8]))
    session = Session()
    session.window, session.stream = 1, stream
    for seq in range(100):
        session.send(float(seq))
        session.receive(encode_frame(Type.ACK, seq, struct.pack("<IB", 0, 1)), seq + 0.5)
        if stream.is_done:
            break
    assert "did not get through in 21 tries" in str(stream.error)


def test_the_time_out_follows_the_line():
    session = Session()
    session.window, session.stream = 1, Stream(Type.WRITE, chunks_of([8] * 50))
    assert session.rto_s == 1.0
    for i in range(50):
        session.send(i * 0.5)
        session.receive(encode_frame(Type.ACK, i, struct.pack("<IB", 8 * i + 8, 1)), i * 0.5 + 0.4)
    assert 0.4 < session.rto_s < 0.5


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 20000))
def test_a_stream_arrives_whole_over_a_bad_line(seed: int, size: int):
    """WRITE into the reference board: in order, every byte, whatever the line does."""
    data = Random(seed).randbytes(size)
    board = Board()
    connection = connect(board, FAULTS, seed=seed, baud=None)
    connection.request(Type.BEGIN, struct.pack("<I32s", size, sha256(data).digest()))
    chunks = []
    for at in range(0, size, 1024):
        piece = data[at : at + 1024]
        jump = struct.pack("<I", at | 1 << 31) + piece if at % 4096 == 0 else None
        payload = struct.pack("<I", at) + piece
        chunks.append(Chunk(payload, at, at + len(piece), at // 4096 * 4, jump, at == 0))
    stream = connection.session.stream = Stream(Type.WRITE, chunks)
    for _ in connection.follow(stream):
        pass
    assert board._new.content(size) == data


def test_rates_change_on_both_ends_or_on_none():
    board = Board(rates=(115200, 2_000_000))
    line = VirtualLine(board, baud=115200)
    connection = Connection(line)
    connection.set_rate(2_000_000)
    assert line.baud == board.baud == 2_000_000
    with pytest.raises(LinkError, match="has no rate 921600; it has 115200, 2000000; choose one"):
        connection.set_rate(921600)


class NarrowLine(VirtualLine):
    """A cable that does not carry more than 1 Mbaud; the board falls back (L6)."""

    def transfer(self, data: bytes, timeout_s: float) -> tuple[int, bytes]:
        if self.baud is not None and self.baud > 1_000_000:
            self.time += timeout_s
            return len(data), b""
        return super().transfer(data, timeout_s)


def test_a_rate_that_the_cable_does_not_carry_is_given_up():
    line = NarrowLine(Board(rates=(115200, 2_000_000)), baud=115200)
    connection = Connection(line)
    with pytest.raises(
        LinkError, match=r"not heard at 2000000 bit/s.*choose a lower rate; still at"
    ):
        connection.set_rate(2_000_000)
    assert line.baud == 115200
    assert connection.stats().slices == 0


def test_statistics():
    connection = connect()
    assert connection.stats().layers_us == (10, 20, 30)
    assert connection.stats(count_layers=False).layers_us == ()
    assert connection.test() == (0, 1)
    connection.reset()
    assert connection.greet().board == "reference"


def test_the_active_container_is_read():
    data = Random(0).randbytes(5000)
    board = Board()
    line = VirtualLine(board)
    run_job(push_model(lambda: Connection(line), data), lambda event: None)
    connection = Connection(line)
    assert connection.read(100, 3000) == data[100:3100]
    with pytest.raises(BoardError, match="READ, error 4"):
        connection.read(4000, 1001)
