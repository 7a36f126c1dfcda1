"""The board's end of the link, rule by rule (docs/link-protocol.md), as a library (c_board.py)."""

from __future__ import annotations

import ctypes
import hashlib
import struct
from collections.abc import Callable
from dataclasses import replace

import host_end as link
import numpy as np
import pytest
from c_board import CBoard, load
from host_end import Answer, BoardError, Client, answers, frame, identity, to_library
from hypothesis import given, settings
from hypothesis import strategies as st
from random_models import boxed, random_model

from napari_ct2mri.config import Window
from napari_ct2mri.firmware.arena import plan
from napari_ct2mri.firmware.container import Container, ct_tables, pack, seal
from napari_ct2mri.firmware.reference import run
from napari_ct2mri.link.codec import decode, encode

WINDOWS = (Window(), Window(level=600, width=2800))


@pytest.fixture(scope="module", params=["gcc", "clang"])
def library(request: pytest.FixtureRequest) -> ctypes.CDLL:
    return load(request.param)


@pytest.fixture(scope="module")
def box() -> Container:
    """One window, one slice; takes pictures."""
    return boxed(random_model(4, 3, 2))


@pytest.fixture(scope="module")
def wide() -> Container:
    """Three neighbour slices, two windows each."""
    model = random_model(4, 3, 2, windows=2, neighbours=1, size=(16, 24))
    return replace(boxed(model), tables=ct_tables(WINDOWS))


def board_with(library: ctypes.CDLL, *containers: Container, **options: int) -> CBoard:
    board = CBoard(library, 1 << 16, memory=1 << 18, **options)
    for container in containers:
        Client(to_library(board)).push(pack(container))
    return board


def say(board: CBoard, *frames: bytes) -> list[Answer]:
    """All at once; every answer."""
    return list(answers(to_library(board)(b"".join(frames))))


def refused(call: Callable[[], object]) -> tuple[int, int]:
    """Number and detail of the error."""
    with pytest.raises(BoardError) as told:
        call()
    return told.value.number, told.value.detail


def parts(
    id_: int, encoded: bytes, plane: int = 0, flags: int = 0, seq: int = 0, size: int = 1024
) -> list[bytes]:
    """The frames of one plane."""
    made = []
    for at in range(0, len(encoded), size):
        last = link.LAST if at + size >= len(encoded) else 0
        head = struct.pack("<BBHI", plane, flags | last, id_, at)
        made.append(frame(link.SLICE, seq + len(made), head + encoded[at : at + size]))
    return made


def run_frame(id_: int, seq: int, flags: int = 0) -> bytes:
    return frame(link.RUN, seq, struct.pack("<IB", id_, flags))


def again(id_: int, seq: int, offset: int, end: int) -> bytes:
    return frame(link.RUN, seq, struct.pack("<IBII", id_, 0x80, offset, end))


def mr_of(said: list[Answer], id_: int) -> bytes:
    """The MR frames of a run, put together in their order."""
    whole = b""
    for each in said:
        if each.kind == link.MR and struct.unpack_from("<I", each.payload)[0] == id_:
            assert struct.unpack_from("<I", each.payload, 4)[0] == len(whole)
            whole += each.payload[8:]
    return whole


def expected_mr(container: Container, network: np.ndarray) -> np.ndarray:
    return run(container.model, network)


def noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


# ---- frames, L1 ----


class Frames:
    """``frame.c``, called."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.lib = library
        self.reader = (ctypes.c_uint8 * 2048)()
        self.dropped_at = 1040 + 8

    def write(self, kind: int, seq: int, payload: bytes) -> bytes:
        out, writer = (ctypes.c_uint8 * 1100)(), (ctypes.c_uint8 * 64)()
        self.lib.ct_frame_begin(writer, out, ctypes.c_uint8(kind), ctypes.c_uint8(seq))
        self.lib.ct_frame_add(writer, payload, ctypes.c_size_t(len(payload)))
        self.lib.ct_frame_end(writer)
        assert bytes(out[1044:]) == bytes(len(out) - 1044)  # nothing beyond CT_FRAME_ENCODED
        return bytes(out[: struct.unpack_from("<I", writer, 8)[0]])

    def read(self, data: bytes) -> list[bytes]:
        """Type, seq and payload of every frame that is whole."""
        found = []
        while data:
            used = ctypes.c_size_t()
            size = ctypes.c_size_t(len(data))
            if self.lib.ct_frame_read(self.reader, data, size, ctypes.byref(used)):
                found.append(bytes(self.reader[: struct.unpack_from("<I", self.reader, 1040)[0]]))
            data = data[used.value :]
        return found

    @property
    def dropped(self) -> int:
        return int(struct.unpack_from("<I", self.reader, self.dropped_at)[0])


PAYLOADS = st.one_of(
    st.binary(max_size=1032),
    st.builds(  # runs without zeros as long as COBS counts, and their neighbours
        lambda n, fill, zeros: (bytes([fill]) * n + bytes(zeros))[:1032],
        st.integers(246, 1032), st.integers(1, 255), st.integers(0, 3),
    ),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(kind=st.integers(0, 255), seq=st.integers(0, 255), payload=PAYLOADS)
def test_frames_are_those_of_the_rule(
    library: ctypes.CDLL, kind: int, seq: int, payload: bytes
) -> None:
    coded = Frames(library).write(kind, seq, payload)
    assert coded == frame(kind, seq, payload)
    assert Frames(library).read(coded) == [bytes([kind, seq]) + payload]


@settings(max_examples=100, deadline=None)
@given(
    frames=st.lists(PAYLOADS, min_size=1, max_size=4),
    noise=st.binary(max_size=40),
    cuts=st.lists(st.integers(1, 400), min_size=1),
)
def test_frames_come_in_any_portions(
    library: ctypes.CDLL, frames: list[bytes], noise: bytes, cuts: list[int]
) -> None:
    stream = noise + b"\0" + b"\0".join(frame(7, i, each) for i, each in enumerate(frames))
    end, found, at, turn = Frames(library), [], 0, 0
    while at < len(stream):
        step = cuts[turn % len(cuts)]
        found += end.read(stream[at : at + step])
        at, turn = at + step, turn + 1
    assert found[-len(frames) :] == [bytes([7, i]) + each for i, each in enumerate(frames)]


def test_what_is_no_frame_is_dropped_and_counted(library: ctypes.CDLL) -> None:
    end = Frames(library)
    good = frame(1, 2, b"abc")
    assert end.read(b"\0\0\0") == []
    assert end.dropped == 0  # nothing between two zeros is no frame
    flipped = bytes([good[0], good[1] ^ 2, *good[2:]])
    too_long = frame(1, 2, bytes(1033))
    too_short = link.cobs(b"\1\2\3\4\5") + b"\0"
    cut = b"\x09abc\0"  # a code that promises more
    for number, bad in enumerate((flipped, too_long, too_short, cut, b"\xff" * 5000 + b"\0")):
        assert end.read(bad) == []
        assert end.dropped == number + 1
        assert end.read(good) == [b"\1\2abc"]
    assert end.read(frame(1, 2, bytes(1032))) == [b"\1\2" + bytes(1032)]


# ---- requests, L2 to L6 ----


def test_a_new_board_says_why_it_runs_nothing(library: ctypes.CDLL, box: Container) -> None:
    board = board_with(library)
    client = Client(to_library(board))
    hello = client.hello(session=0xCAFEBABE)
    assert (hello.protocol, hello.abi, hello.status, hello.session) == (1, 1, 7, 0xCAFEBABE)
    assert (hello.board, hello.slot, hello.memory, hello.window) == (
        "c-board",
        1 << 16,
        1 << 18,
        16,
    )
    assert (hello.active, hello.rates) == (255, (115200, 921600, 2000000))
    assert (hello.shape, hello.windows, hello.layers, hello.size) == ((0, 0, 0), 0, 0, 0)
    for call in (client.test, client.run, lambda: client.send_plane(0, 0, b"\0")):
        assert refused(call)[0] == 7
    client.push(pack(box))
    hello = client.hello()
    assert (hello.status, hello.active, hello.shape) == (0, 0, (16, 24, 1))
    assert (hello.windows, hello.layers, hello.pictures) == (1, 6, 1)
    assert (hello.size, hello.digest) == (len(pack(box)), hashlib.sha256(pack(box)).digest())


def test_another_protocol_gets_the_version_and_nothing_else(library: ctypes.CDLL) -> None:
    (answer,) = say(board_with(library), frame(link.HELLO, 0, b"\2and more of it"))
    assert (answer.kind, answer.payload) == (0x81, b"\1")


def test_answers_and_noise_get_no_answer(library: ctypes.CDLL) -> None:
    board = board_with(library)
    assert say(board, frame(0x81, 0, b""), frame(0xFF, 0, bytes(7)), b"\x05abc\0") == []
    assert refused(lambda: Client(to_library(board)).ask(0x0F)) == (2, 0)  # TYPE
    assert refused(lambda: Client(to_library(board)).ask(0)) == (2, 0)


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        *((link.HELLO, b""), (link.HELLO, b"\1" + bytes(5)), (link.RATE, bytes(3))),
        *((link.BEGIN, bytes(35)), (link.WRITE, bytes(4)), (link.COPY, bytes(9))),
        *((link.HASH, bytes(8)), (link.COMMIT, bytes(37)), (link.RUN, bytes(6))),
        *((link.RUN, bytes(4) + b"\x80"), (link.RUN, bytes(13)), (link.SLICE, bytes(7))),
        *((link.STATS, b""), (link.TEST, b"\0"), (link.RESET, b"\0"), (link.DIGEST, bytes(5))),
        (14, bytes(5)),
    ],
)
def test_a_payload_of_a_wrong_length(
    library: ctypes.CDLL, box: Container, kind: int, payload: bytes
) -> None:
    client = Client(to_library(board_with(library, box)))
    assert refused(lambda: client.ask(kind, payload)) == (3, len(payload))


def test_a_request_said_twice_is_done_once(library: ctypes.CDLL, box: Container) -> None:
    board = board_with(library, box)
    begin = frame(link.BEGIN, 9, identity(pack(box)))
    first = say(board, begin)
    before = board.operations
    assert say(board, begin, begin) == first * 2
    assert board.operations == before
    other = say(board, frame(link.BEGIN, 10, identity(pack(box))))
    assert board.operations > before
    assert other[0].seq == 10
    assert say(board, frame(link.HASH, 11, struct.pack("<BIH", 0, 0, 99))) == (
        say(board, frame(link.HASH, 11, struct.pack("<BIH", 0, 0, 99)))
    )  # an error is remembered, too


def test_hello_forgets_what_was_remembered(library: ctypes.CDLL, box: Container) -> None:
    board = board_with(library, box)
    begin = frame(link.BEGIN, 1, identity(pack(box)))
    say(board, begin)
    before = board.operations
    say(board, frame(link.HELLO, 0, struct.pack("<BI", 1, 5)), begin)
    assert board.operations > before


def test_a_push_goes_on_after_hello(library: ctypes.CDLL, box: Container) -> None:
    client = Client(to_library(board_with(library)))
    data = pack(box)
    client.begin(data)
    client.write(0, data[:1024])
    client.hello(2)
    assert client.write(1024, data[1024:2048]) == 2048


def test_a_rate_that_is_not_heard_is_left_again(library: ctypes.CDLL) -> None:
    board = board_with(library)
    client = Client(to_library(board))
    assert refused(lambda: client.ask(link.RATE, struct.pack("<I", 115201))) == (14, 115201)
    asked = frame(link.RATE, 1, struct.pack("<I", 2_000_000))
    assert [a.kind for a in say(board, asked)] == [0x82]
    assert board.rate == 2_000_000
    board.feed(b"\x55" * 50 + b"\0")  # what the host's old rate looks like
    board.tick(499)
    assert board.rate == 2_000_000
    board.tick(2)
    assert board.rate == 115200
    say(board, asked)  # not remembered: done again
    assert board.rate == 2_000_000


def test_hello_alone_makes_no_rate_stay(library: ctypes.CDLL) -> None:
    """Who asks nothing else has perhaps not heard the answers."""
    board = board_with(library)
    client = Client(to_library(board))
    client.ask(link.RATE, struct.pack("<I", 921600))
    for session in range(5):
        board.tick(400)
        client.hello(session)
    say(board, frame(link.STATS | 0x80, 1, bytes(18)), frame(link.ERROR, 1, bytes(7)))  # echoes
    board.tick(499)
    assert board.rate == 921600
    board.tick(2)
    assert board.rate == 115200


def settled(library: ctypes.CDLL, rate: int = 921600) -> tuple[CBoard, Client]:
    """A board at another rate than its first, for good."""
    board = board_with(library)
    client = Client(to_library(board))
    client.ask(link.RATE, struct.pack("<I", rate))
    client.hello()
    client.ask(link.STATS, b"\0")
    return board, client


def test_a_rate_at_which_more_is_heard_than_hello_stays(library: ctypes.CDLL) -> None:
    board, client = settled(library)
    board.tick(1_000_000)
    assert board.rate == 921600
    client.ask(link.RATE, struct.pack("<I", 115200))
    board.tick(501)
    assert board.rate == 921600  # back to the one before, not to the first


def test_a_refused_request_is_heard_too(library: ctypes.CDLL) -> None:
    board = board_with(library)
    client = Client(to_library(board))
    client.ask(link.RATE, struct.pack("<I", 921600))
    assert refused(lambda: client.ask(link.TEST))[0] == 7
    board.tick(10_000)
    assert board.rate == 921600


NOISES = [bytes(12), b"\xa5" * 12, b"\x05abc\0", b"\x01"]
"""What a host that calls at another rate may read as: breaks, bytes, broken frames."""


@pytest.mark.parametrize("noise", NOISES)
def test_a_raised_rate_is_left_where_only_noise_comes(library: ctypes.CDLL, noise: bytes) -> None:
    board, client = settled(library)
    stats = frame(link.STATS, 2, b"\0")
    for _ in range(5):
        assert board.feed(noise) == b""
        assert board.rate == 921600
        board.tick(490)
    assert board.feed(noise) == b""
    board.tick(1)
    assert board.rate == 115200
    board.tick(10_000)
    assert board.rate == 115200
    say(board, stats)  # the reader begins anew, whatever the noise began
    assert client.hello(9).session == 9


def test_a_rate_that_serves_is_not_left_for_some_noise(library: ctypes.CDLL) -> None:
    board, client = settled(library)
    for number in range(100):  # a frame now and then
        board.feed(b"\xa5" * 3)
        board.tick(400)
        if number % 4 == 3:
            say(board, b"\0" + frame(link.HELLO, 0, struct.pack("<BI", 1, number)))
    for _ in range(20):  # seldom
        board.feed(b"\xa5")
        board.tick(1001)
    assert board.rate == 921600
    board.feed(b"\0")
    board.tick(600_000)  # silence, as of a host that waits for a person
    assert client.hello(7).session == 7
    assert board.rate == 921600


def test_a_board_at_its_first_rate_stays_there(library: ctypes.CDLL) -> None:
    board = board_with(library)
    client = Client(to_library(board))
    client.hello()
    before = say(board, frame(link.STATS, 1, b"\0"))
    for _ in range(20):
        board.feed(b"\0\0\xa5\0")
        board.tick(300)
    assert board.rate == 115200
    assert say(board, frame(link.STATS, 1, b"\0")) == before  # still remembered


def test_what_was_said_at_the_old_rate_does_not_count_at_the_new(library: ctypes.CDLL) -> None:
    board = board_with(library)
    asked = frame(link.RATE, 1, struct.pack("<I", 2_000_000))
    assert len(say(board, asked, asked)) == 1
    board.tick(501)
    assert board.rate == 115200


def test_reset_answers_then_starts_again(library: ctypes.CDLL, box: Container) -> None:
    board = board_with(library, box)
    client = Client(to_library(board))
    client.begin(pack(box))
    client.ask(link.RATE, struct.pack("<I", 921600))
    client.hello()
    assert board.rate == 921600
    client.ask(link.RESET)
    assert board.rate == 115200
    assert client.hello().status == 0
    assert refused(lambda: client.write(0, bytes(8)))[0] == 5  # ORDER


# ---- push, L7 to L11 (power cuts: test_store.py) ----


def test_what_a_push_refuses(library: ctypes.CDLL, box: Container) -> None:
    data = pack(box)
    client = Client(to_library(board_with(library)))
    assert refused(lambda: client.write(0, bytes(8)))[0] == 5
    assert refused(lambda: client.ask(link.COPY, bytes(10)))[0] == 5
    assert refused(lambda: client.hashes(0, 0, 1))[0] == 5
    assert refused(lambda: client.commit(data))[0] == 5
    assert refused(lambda: client.hashes(1, 0, 1))[0] == 7
    big = struct.pack("<I", (1 << 16) + 1) + bytes(32)
    assert refused(lambda: client.ask(link.BEGIN, big)) == (6, 1 << 16)
    assert refused(lambda: client.ask(link.BEGIN, bytes(36)))[0] == 6
    assert refused(lambda: client.write(0, bytes(8)))[0] == 5
    client.begin(data)
    assert client.write(0, data[:8]) == 8
    assert refused(lambda: client.ask(link.BEGIN, big))[0] == 6
    assert refused(lambda: client.write(8, data[8:16]))[0] == 5  # it has ended the push before
    client.begin(data)
    assert refused(lambda: client.ask(link.COPY, struct.pack("<IIH", 0, 0, 1)))[0] == 7
    assert refused(lambda: client.commit(data[:-1]))[0] == 5  # not what was begun
    assert refused(lambda: client.commit(data))[0] == 8  # nothing was written


@pytest.mark.parametrize(
    ("offset", "size", "is_jump"),
    [
        *((4, 8, False), (0, 7, False), (4088, 16, False), (1024, 8, True)),
        *((1 << 30, 8, False), (0x7FFFFFF8, 8, True), (len, 8, False), (len, 8, True)),
    ],
)
def test_a_write_outside_of_what_there_is(
    library: ctypes.CDLL, box: Container, offset: int, size: int, is_jump: bool
) -> None:
    data = pack(box)
    client = Client(to_library(board_with(library)))
    client.begin(data)
    place = len(data) if offset is len else offset
    assert refused(lambda: client.write(place, bytes(size), is_jump)) == (4, place)


def test_the_last_bytes_may_be_odd(library: ctypes.CDLL) -> None:
    odd = bytes(range(1, 251)) * 21 + b"end"  # 5253 bytes, no container
    board = board_with(library)
    client = Client(to_library(board))
    client.begin(odd)
    for at in range(0, len(odd), 1024):
        client.write(at, odd[at : at + 1024])
    assert client.hashes(0, 1, 1) == [hashlib.sha256(odd[4096:]).digest()[:8]]
    assert refused(lambda: client.write(5248, odd[5248:5252]))[0] == 4  # nor a multiple of 8
    assert refused(lambda: client.write(5248, bytes(8)))[0] == 4  # beyond
    assert refused(lambda: client.commit(odd)) == (102, 0)  # not what a container begins with
    assert board.violations == 0


def test_a_gap_in_a_block_drops_it(library: ctypes.CDLL, box: Container) -> None:
    data = pack(box)
    board = board_with(library)
    client = Client(to_library(board))
    client.begin(data)
    before = board.operations
    assert client.write(0, data[:1024]) == 1024
    assert client.write(2048, data[2048:3072]) == 1024  # passed over
    assert client.write(4096, data[4096:5120]) == 1024
    assert client.write(4096, data[4096:5120], jump=True) == 5120
    assert client.write(1024, data[1024:2048]) == 5120
    assert client.write(0, data[:1024], jump=True) == 1024
    assert board.operations == before  # no block was whole
    for at in range(1024, 4096, 1024):
        client.write(at, data[at : at + 1024])
    assert client.hashes(0, 0, 1) == [hashlib.sha256(data[:4096]).digest()[:8]]


def test_a_block_may_be_written_again(library: ctypes.CDLL, box: Container) -> None:
    """Flash must be erased for that, and its neighbours come through it."""
    data = bytearray(pack(box))
    board = board_with(library, page=512, unit=1 << 14)
    client = Client(to_library(board))
    client.begin(bytes(data))
    wrong = bytes(data[:4096])[::-1]
    for block in (bytes(data[4096:8192]), wrong, bytes(data[:4096])):
        start = 4096 if block == data[4096:8192] else 0
        for at in range(0, 4096, 1024):
            client.write(start + at, block[at : at + 1024], jump=at == 0)
    assert client.hashes(0, 0, 2) == [
        hashlib.sha256(data[at : at + 4096]).digest()[:8] for at in (0, 4096)
    ]
    assert board.violations == 0


@pytest.mark.parametrize(
    ("first", "count", "slot", "number"),
    [
        (0, 0, 0, 4),
        (0, 129, 0, 4),
        (6, 2, 0, 4),
        (1 << 31, 1, 0, 4),
        (0xFFFFFFFF, 2, 1, 4),
        (0, 1, 2, 4),
    ],
)
def test_hashes_outside(
    library: ctypes.CDLL, box: Container, first: int, count: int, slot: int, number: int
) -> None:
    client = Client(to_library(board_with(library, box)))
    client.begin(pack(box))
    assert len(pack(box)) == 7 * 4096 or count != 2
    assert refused(lambda: client.hashes(slot, first, count))[0] == number


def test_as_many_hashes_as_an_answer_holds(library: ctypes.CDLL) -> None:
    client = Client(to_library(CBoard(library, 1 << 20)))
    client.begin(bytes(1 << 20))
    assert client.hashes(0, 20, 128) == [hashlib.sha256(b"\xff" * 4096).digest()[:8]] * 128
    assert refused(lambda: client.hashes(0, 20, 129)) == (4, 20)


@pytest.mark.parametrize(
    ("start", "to", "count"), [(0, 0, 0), (7, 0, 1), (0, 7, 1), (0, 0, 8), (0xFFFFFFFF, 0, 1)]
)
def test_copies_outside(
    library: ctypes.CDLL, box: Container, start: int, to: int, count: int
) -> None:
    client = Client(to_library(board_with(library, box)))
    client.begin(pack(box))
    copy = struct.pack("<IIH", start, to, count)
    assert refused(lambda: client.ask(link.COPY, copy))[0] == 4


def altered(data: bytes, at: int, value: bytes) -> bytes:
    return seal(bytearray(data[:at] + value + data[at + len(value) :]))


def test_a_refused_model_leaves_the_old_one(library: ctypes.CDLL, box: Container) -> None:
    old = pack(box)
    board = board_with(library, box)
    client = Client(to_library(board))
    golden = box.golden[1].copy()
    golden[3, 4:7] ^= 1
    strangers = {
        105: altered(old, 14, b"\2\0"),  # ABI
        106: bytes(old[:-1]) + bytes([old[-1] ^ 1]),
        9: altered(old, 20, struct.pack("<I", 1 << 19)),  # arena: more than there is
        10: pack(replace(box, golden=(box.golden[0], golden))),
    }
    for number, stranger in strangers.items():
        found, detail = refused(lambda container=stranger: client.push(container))
        assert found == number
        assert number != 10 or detail == 3
        assert client.hello().digest == hashlib.sha256(old).digest()
        client.send_network(box.golden[0])
        assert np.array_equal(decode(client.run()[0], (16, 24), np.uint8), box.golden[1])
        board.power_cycle()
        assert client.hello().digest == hashlib.sha256(old).digest()
        assert client.test() == 0


def test_an_old_model_that_reads_otherwise_by_then_runs_no_more(
    library: ctypes.CDLL, box: Container
) -> None:
    """The refused model has taken its place in memory, and the store has lost it meanwhile."""
    board = board_with(library, box)
    client = Client(to_library(board))
    client.send_network(box.golden[0])
    client.run()
    kept = bytes(board.slot(0)[:100])
    board.slot(0)[:6] = b"MI2RCT"
    refused_one = altered(pack(box), 20, struct.pack("<I", 1 << 19))  # arena: more than there is
    assert refused(lambda: client.push(refused_one))[0] == 9
    hello = client.hello()
    assert (hello.status, hello.active, hello.size) == (102, 0xFF, 0)
    ways = (client.test, client.run, lambda: client.send_network(box.golden[0]))
    assert [refused(call)[0] for call in ways] == [7] * 3
    assert board.slot(0)[:6] == b"MI2RCT"  # it is still spared
    board.slot(0)[:100] = kept
    board.power_cycle()
    assert client.hello().status == 0
    board.slot(0)[:6] = b"MI2RCT"
    assert refused(lambda: client.push(refused_one))[0] == 9
    client.push(pack(box))  # a push mends it
    client.send_network(box.golden[0])
    assert np.array_equal(decode(client.run()[0], (16, 24), np.uint8), box.golden[1])


@pytest.mark.parametrize("is_flash", [True, False])
def test_a_store_that_fails(library: ctypes.CDLL, box: Container, is_flash: bool) -> None:
    """At any operation of a push: told by its number, the old model stays, again is enough."""
    old, new = pack(box), pack(boxed(random_model(4, 3, 2, seed=5), 5))
    board = board_with(library, box, page=1024, unit=4096, is_flash=is_flash)
    client = Client(to_library(board))
    before, start = [bytes(board.slot(slot)) for slot in (0, 1)], board.operations
    client.push(new)
    for number in range(1, board.operations - start + 1):
        for slot in (0, 1):
            board.slot(slot)[:] = before[slot]
        board.power_cycle()
        board.fail(number)
        assert refused(lambda: client.push(new))[0] == 11
        assert client.hello().digest == hashlib.sha256(old).digest()
        assert client.test() == 0
        client.push(new)
        board.power_cycle()
        assert client.hello().digest == hashlib.sha256(new).digest()
        assert client.test() == 0
    assert board.violations == 0


@pytest.mark.parametrize("is_flash", [True, False])
def test_a_store_that_lies(library: ctypes.CDLL, box: Container, is_flash: bool) -> None:
    """It says that it has done what it has not: seen when read back, or made good."""
    old, new = pack(box), pack(boxed(random_model(4, 3, 2, seed=5), 5))
    board = board_with(library, box, page=4096, unit=4096, is_flash=is_flash)
    client = Client(to_library(board))
    before, start = [bytes(board.slot(slot)) for slot in (0, 1)], board.operations
    client.push(new)
    told = []
    for number in range(1, board.operations - start + 1):
        for slot in (0, 1):
            board.slot(slot)[:] = before[slot]
        board.power_cycle()
        board.fail(number, silently=True)
        try:
            client.push(new)
            expected = new  # a unit of the container that was not erased is, when it is written
        except BoardError as error:
            expected = old
            told.append(error.number)
        board.power_cycle()
        assert client.hello().digest == hashlib.sha256(expected).digest()
        assert client.test() == 0
    assert set(told) == {11}
    assert len(told) >= 9


def test_a_block_that_failed_is_expected_again(library: ctypes.CDLL, box: Container) -> None:
    data = pack(box)
    board = board_with(library)
    client = Client(to_library(board))
    client.begin(data)
    for at in range(0, 3072, 1024):
        client.write(at, data[at : at + 1024])
    board.fail(1)
    assert refused(lambda: client.write(3072, data[3072:4096])) == (11, 3072)
    assert client.write(3072, data[3072:4096]) == 0  # `next` is the block's first byte


def test_a_model_of_another_firmware_is_told_at_power_on(
    library: ctypes.CDLL, box: Container
) -> None:
    """Its record is valid, its ABI another: the firmware was replaced meanwhile."""
    board = board_with(library, box)
    other = altered(pack(box), 14, b"\2\0")
    slot = board.slot(0)
    slot[: len(other)] = other
    note = bytes(slot[-board.unit :][:12]) + hashlib.sha256(other).digest()
    slot[-board.unit :][:48] = note + struct.pack("<I", link.zlib.crc32(note))
    board.power_cycle()
    client = Client(to_library(board))
    assert (client.hello().status, client.hello().active) == (105, 255)
    assert client.push(pack(box)) == 1  # spares the one that it can't run
    assert client.hello().status == 0


def test_reading_what_runs(library: ctypes.CDLL, box: Container) -> None:
    data = pack(box)
    client = Client(to_library(board_with(library, box)))
    got = b""
    for at in range(0, len(data), 1024):
        count = min(1024, len(data) - at)
        (answer,) = client.ask(14, struct.pack("<IH", at, count))
        assert answer.payload[:4] == struct.pack("<I", at)
        got += answer.payload[4:]
    assert got == data
    for at, count in ((0, 0), (0, 1025), (len(data), 1), (len(data) - 7, 8), (1 << 31, 8)):
        asked = struct.pack("<IH", at, count)
        assert refused(lambda asked=asked: client.ask(14, asked)) == (4, at)


# ---- slices, L12 ----


def hu_slices(seed: int, count: int) -> list[np.ndarray]:
    chance = np.random.default_rng(seed)
    smooth = chance.normal(0, 300, (count, 4, 6)).repeat(4, 1).repeat(4, 2)
    return list((smooth + chance.normal(0, 30, smooth.shape)).astype(np.int16))


def network_input(container: Container, planes: list[np.ndarray]) -> np.ndarray:
    """Q13, by NumPy."""
    channels = []
    for plane in planes:
        for table in container.tables:
            if table.window is not None:
                place = np.clip(plane.astype(int) - table.first, 0, len(table.values) - 1)
                channels.append(table.values[place])
    return np.ascontiguousarray(np.stack(channels, -1))


def test_hounsfield_units_through_the_tables(library: ctypes.CDLL, wide: Container) -> None:
    client = Client(to_library(board_with(library, wide)))
    planes = hu_slices(1, 3)
    client.slices = 5
    for number, plane in enumerate(planes):
        client.send_plane(number, 0, encode(plane))
    mr = decode(client.run()[0], (16, 24), np.uint8)
    assert np.array_equal(mr, expected_mr(wide, network_input(wide, planes)))


def test_neighbours_shift(library: ctypes.CDLL, wide: Container) -> None:
    """A volume: after the first slice only its newest plane is sent; each shift said twice."""
    board = board_with(library, wide)
    client = Client(to_library(board))
    volume = hu_slices(2, 6)
    client.slices = 0xFFFF  # ids go round
    for number, plane in enumerate(volume[:3]):
        client.send_plane(number, 0, encode(plane))
    client.run()
    for last in range(3, 6):
        client.slices += 1
        shift = frame(link.SLICE, 9, struct.pack("<BBHI", 0, link.SHIFT, client.slices & 0xFFFF, 0))
        for answer in say(board, shift, shift):
            assert answer.payload == struct.pack("<IB", 2 << 24, client.slices & 0xFF)
        client.send_plane(2, 0, encode(volume[last]))
        mr = decode(client.run()[0], (16, 24), np.uint8)
        planes = volume[last - 2 : last + 1]
        assert np.array_equal(mr, expected_mr(wide, network_input(wide, planes)))


def test_a_shift_without_the_slice_before(library: ctypes.CDLL, wide: Container) -> None:
    client = Client(to_library(board_with(library, wide)))

    def shift(id_: int) -> None:
        client.ask(link.SLICE, struct.pack("<BBHI", 0, link.SHIFT, id_, 0))

    assert refused(lambda: shift(1)) == (5, 1)
    planes = hu_slices(3, 3)
    for number, plane in enumerate(planes[:2]):
        client.slices = 7
        client.send_plane(number, 0, encode(plane))
    assert refused(lambda: shift(8)) == (5, 8)  # it is not whole
    client.send_plane(2, 0, encode(planes[2]))
    assert refused(lambda: shift(9)) == (5, 9)  # another is between
    shift(8)


def test_pictures(library: ctypes.CDLL, box: Container, wide: Container) -> None:
    picture = noise(4, 16, 24)
    client = Client(to_library(board_with(library, box)))
    client.send_plane(0, 1, encode(picture))
    mr = decode(client.run()[0], (16, 24), np.uint8)
    grey = next(table for table in box.tables if table.window is None)
    assert np.array_equal(mr, expected_mr(box, grey.values[picture][..., None]))
    client = Client(to_library(board_with(library, wide)))
    assert refused(lambda: client.send_plane(0, 1, encode(picture)))[0] == 12  # KIND


def test_frames_out_of_turn_are_passed_over(library: ctypes.CDLL, box: Container) -> None:
    board = board_with(library, box)
    image = noise(5, 16, 24)
    first, second, last = parts(3, b"\0" + image.tobytes(), 0, link.NETWORK, size=150)

    def next_of(*frames: bytes) -> list[int]:
        return [struct.unpack("<IB", a.payload)[0] for a in say(board, *frames)]

    assert next_of(second, last) == [0, 0]  # nothing is begun
    assert next_of(first, last, last, first) == [150] * 4
    assert next_of(second, second) == [300, 300]
    stranger = parts(9, b"\0" + bytes(384), 0, link.NETWORK, size=150)[1]
    assert next_of(stranger) == [300]
    assert next_of(last, last, first) == [385] * 3  # whole; the same id again is a duplicate
    (ran, *mr) = say(board, run_frame(3, 1))
    assert ran.kind == 0x88
    assert np.array_equal(
        decode(mr_of(mr, 3), (16, 24), np.uint8), expected_mr(box, image[..., None])
    )


def test_an_ack_says_of_which_slice(library: ctypes.CDLL, box: Container) -> None:
    board = board_with(library, box)
    (frame_,) = parts(0x1234, b"\0" + bytes(384), 0, link.NETWORK)
    assert say(board, parts(1, b"\0" + bytes(384), 0, link.NETWORK, size=9)[3])[0].payload[4] == 0
    assert say(board, frame_)[0].payload == struct.pack("<IB", 385, 0x34)


def test_what_a_slice_refuses(library: ctypes.CDLL, wide: Container) -> None:
    board = board_with(library, wide)
    client = Client(to_library(board))
    whole = encode(hu_slices(6, 1)[0])
    for plane, flags in ((3, 0), (255, 0), (6, link.NETWORK)):
        assert refused(lambda p=plane, f=flags: client.send_plane(p, f, whole)) == (4, plane)
    beyond = struct.pack("<BBHI", 0, 0, 1, 1 << 24)
    assert refused(lambda: client.ask(link.SLICE, beyond))[0] == 4
    assert refused(lambda: client.send_plane(0, 0, b"\x77" + whole[1:])) == (13, 3)  # a format
    client.slices += 1
    assert refused(lambda: client.send_plane(0, 0, whole[:-9])) == (13, 1)  # ends too early
    client.slices += 1
    assert refused(lambda: client.send_plane(0, 0, whole + bytes(3)))[0] == 13
    assert refused(client.run)[0] == 5
    (answer,) = say(board, parts(client.slices, whole, size=9)[1])
    assert answer.payload == struct.pack("<IB", 0, 0)  # dropped: none is in progress
    client.slices += 1
    client.send_plane(0, 0, whole)


def test_a_frame_that_is_refused_leaves_the_slice(library: ctypes.CDLL, wide: Container) -> None:
    """Whatever but CODEC it is refused for."""
    board = board_with(library, wide)
    for channel in range(6):
        say(board, *parts(1, b"\0" + noise(1, 16, 24).tobytes(), channel, link.NETWORK))
    for plane, flags, number in ((7, 0, 4), (0, 1, 12)):  # RANGE, KIND
        (refusal,) = say(board, frame(link.SLICE, 9, struct.pack("<BBHI", plane, flags, 2, 0)))
        assert (refusal.kind, refusal.payload[0]) == (link.ERROR, number)
    assert say(board, run_frame(1, 1))[0].kind == 0x88


# ---- runs, L13 ----


def test_a_run_names_its_slice(library: ctypes.CDLL, box: Container) -> None:
    client = Client(to_library(board_with(library, box)))
    assert refused(client.run)[0] == 5
    client.send_network(noise(7, 16, 24, 1))
    client.slices += 1
    assert refused(client.run) == (5, 1)
    client.slices += 0xFFFF  # only the low half is compared
    assert len(client.run()[0]) > 0


def test_two_mrs_are_kept(library: ctypes.CDLL, box: Container) -> None:
    board = board_with(library, box)
    client = Client(to_library(board))
    made = {}
    for _ in range(3):
        client.send_network(noise(client.slices, 16, 24, 1))
        made[client.slices] = client.run()[0]
    assert refused(lambda: list(say_again(board, 1, 0, 4)))[0] == 4  # RANGE: no longer there
    for id_ in (2, 3):
        size = len(made[id_])
        for offset, end in ((0, size), (100, size), (100, 205), (size, size), (7, 7)):
            first, *rest = say_again(board, id_, offset, end)
            assert struct.unpack("<III", first.payload)[::2] == (id_, size)
            data = b"".join(part.payload[8:] for part in rest)
            assert data == made[id_][offset:end]
            if rest:
                assert struct.unpack_from("<II", rest[0].payload) == (id_, offset)
        for offset, end in ((0, size + 1), (9, 8), (0, 1 << 31)):
            assert refused(lambda o=offset, e=end, i=id_: list(say_again(board, i, o, e)))[0] == 4


_seqs = iter(range(20, 1 << 20))


def say_again(board: CBoard, id_: int, offset: int, end: int) -> list[Answer]:
    said = say(board, again(id_, next(_seqs) & 255, offset, end))
    if said[0].kind == link.ERROR:
        raise BoardError(*struct.unpack("<HBI", said[0].payload))
    return said


def test_the_next_slice_comes_while_one_is_computed(library: ctypes.CDLL, box: Container) -> None:
    """The next slice and its RUN arrive between two layers: taken there, both right."""
    board = board_with(library, box)
    images = [noise(seed, 16, 24) for seed in range(10, 14)]
    breath = [
        [*parts(id_, b"\0" + image.tobytes(), 0, link.NETWORK), run_frame(id_, id_)]
        for id_, image in enumerate(images, start=1)
    ]
    board.feed_late(b"".join(breath[1] + breath[2] + breath[3]))
    said = say(board, *breath[0])
    kinds = [a.kind for a in said]
    assert kinds[:3] == [link.ACK, link.ACK, 0x88]  # the second slice was in before the first MR
    assert kinds.count(link.ACK) == 4
    for id_, image in enumerate(images, start=1):
        mr = decode(mr_of(said, id_), (16, 24), np.uint8)
        assert np.array_equal(mr, expected_mr(box, image[..., None]))
    runs = [a for a in said if a.kind == 0x88]
    assert [struct.unpack_from("<I", a.payload)[0] for a in runs] == [1, 2, 3, 4]


def test_an_mr_comes_before_the_answer_to_the_next_run(
    library: ctypes.CDLL, box: Container
) -> None:
    board = board_with(library, box, room=64)  # a slow transmitter
    images = [noise(seed, 16, 24) for seed in (20, 21)]
    breath = b""
    for id_, image in enumerate(images, start=1):
        breath += b"".join(parts(id_, b"\0" + image.tobytes(), 0, link.NETWORK))
        breath += run_frame(id_, id_)
    said = list(answers(to_library(board)(breath)))
    order = [
        (a.kind, struct.unpack_from("<I", a.payload)[0]) for a in said if a.kind in (0x88, link.MR)
    ]
    assert order == [(0x88, 1), (link.MR, 1), (0x88, 2), (link.MR, 2)]


def test_an_mr_that_is_sent_again_is_not_written_over(library: ctypes.CDLL) -> None:
    """The third run has to wait for the place of the first, which goes out once more."""
    large = boxed(random_model(4, 3, 2, size=(48, 64)))
    board = board_with(library, large, room=64)
    images = [noise(seed, 48, 64) for seed in (30, 31, 32)]
    breath = [
        [*parts(id_, b"\0" + image.tobytes(), 0, link.NETWORK), run_frame(id_, id_)]
        for id_, image in enumerate(images, start=1)
    ]
    first, _ = (mr_of(say(board, *breath[id_ - 1]), id_) for id_ in (1, 2))
    assert len(first) > 2048  # more than one frame, so that it is encoded in several steps
    said = say(board, again(1, 60, 0, len(first)), *breath[2])
    assert mr_of(said, 1) == first
    mr = decode(mr_of(said, 3), (48, 64), np.uint8)
    assert np.array_equal(mr, expected_mr(large, images[2][..., None]))


def test_a_run_said_twice_is_done_once(library: ctypes.CDLL, box: Container) -> None:
    board = board_with(library, box)
    breath = [*parts(1, b"\0" + noise(1, 16, 24).tobytes(), 0, link.NETWORK), run_frame(1, 1)]
    board.feed_late(run_frame(1, 1))
    said = say(board, *breath)
    assert [a.kind for a in said] == [link.ACK, 0x88, link.MR]
    assert [a.kind for a in say(board, run_frame(1, 1))] == [0x88]  # its answer, not the MR again
    (stats,) = say(board, frame(link.STATS, 2, b"\0"))
    assert struct.unpack_from("<I", stats.payload)[0] == 1


def test_hello_ends_a_run(library: ctypes.CDLL, box: Container) -> None:
    """Answered while it computes; the MR never comes; what needs the processor waits."""
    board = board_with(library, box)
    hello = frame(link.HELLO, 0, struct.pack("<BI", 1, 77))
    slice_ = parts(1, b"\0" + noise(1, 16, 24).tobytes(), 0, link.NETWORK)
    for late in (False, True):
        if late:
            board.feed_late(hello + frame(link.TEST, 1))
        said = say(board, *slice_, run_frame(1, 1), *([] if late else (hello, frame(link.TEST, 1))))
        assert [a.kind for a in said] == [link.ACK, 0x81, 0x8B]
        assert struct.unpack_from("<I", said[-1].payload)[0] == 0
        (stats,) = say(board, frame(link.STATS, 9, b"\0"))
        assert struct.unpack_from("<I", stats.payload)[0] == 0
    said = say(board, *slice_, run_frame(1, 2))  # the id of the session before is free again
    assert [a.kind for a in said] == [link.ACK, 0x88, link.MR]


def test_a_run_that_hello_has_ended_is_not_told_of(library: ctypes.CDLL, box: Container) -> None:
    board = board_with(library, box)
    hello = frame(link.HELLO, 0, struct.pack("<BI", 1, 77))
    board.feed_late(hello + frame(link.STATS, 1, b"\1"))
    slice_ = parts(1, b"\0" + noise(1, 16, 24).tobytes(), 0, link.NETWORK)
    said = say(board, *slice_, run_frame(1, 1, flags=1))
    assert [a.kind for a in said] == [link.ACK, 0x81, 0x8A]
    (stats,) = say(board, frame(link.STATS, 2, b"\1"))
    assert struct.unpack("<IIIIH", stats.payload) == (0, 0, 0, 0, 0)
    (digests,) = say(board, frame(link.DIGEST, 3, struct.pack("<HH", 0, 1)))
    assert digests.kind == link.ERROR
    assert struct.unpack_from("<H", digests.payload) == (5,)


def test_a_reset_while_it_computes(library: ctypes.CDLL, box: Container) -> None:
    board = board_with(library, box)
    slice_ = parts(1, b"\0" + noise(1, 16, 24).tobytes(), 0, link.NETWORK)
    board.feed_late(frame(link.RESET, 2) + frame(link.HELLO, 0, bytes(5)))
    said = say(board, *slice_, run_frame(1, 1))
    assert [a.kind for a in said] == [link.ACK, 0x8C]
    assert Client(to_library(board)).hello().status == 0


def test_a_commit_waits_for_the_run(library: ctypes.CDLL, box: Container) -> None:
    """A push while slices are computed; the new model runs from COMMIT on."""
    other = boxed(random_model(4, 3, 2, seed=5), 5)
    data, board = pack(other), board_with(library, box)
    client = Client(to_library(board))
    client.begin(data)
    image = noise(2, 16, 24)
    late = []
    for at in range(0, len(data), 1024):
        place = struct.pack("<I", at)
        late.append(frame(link.WRITE, at >> 10, place + data[at : at + 1024]))
    board.feed_late(b"".join((*late, frame(link.COMMIT, 51, identity(data)))))
    said = say(board, *parts(1, b"\0" + image.tobytes(), 0, link.NETWORK), run_frame(1, 50))
    assert [a.kind for a in said if a.kind != link.ACK] == [0x88, link.MR, 0x87]
    mr = decode(mr_of(said, 1), (16, 24), np.uint8)
    assert np.array_equal(mr, expected_mr(box, image[..., None]))
    client.slices = 1
    assert refused(client.run)[0] == 5  # what was sent for the old model is gone
    assert refused(lambda: say_again(board, 1, 0, 8))[0] == 4
    assert client.hello().digest == hashlib.sha256(data).digest()


# ---- what is told, L14 and L15 ----


def test_statistics(library: ctypes.CDLL, box: Container) -> None:
    board = board_with(library, box)
    client = Client(to_library(board))
    client.hello()

    def stats(flags: int) -> tuple[int, ...]:
        payload = client.ask(link.STATS, bytes([flags]))[0].payload
        return (*struct.unpack_from("<4IH", payload), len(payload) - 18)

    assert stats(0) == (0, 0, 0, 0, 0, 0)
    client.send_network(noise(1, 16, 24, 1))
    client.run()
    assert stats(1) == (1, 0, 0, 0, 0, 0)  # not counted yet
    client.run()
    board.feed(b"\x03ab\0" + frame(1, 2, b"abc")[:-2] + b"\0")
    assert stats(0) == (2, 0, 2, 0, 6, 24)
    client.hello()
    assert stats(0) == (0, 0, 0, 0, 0, 0)


def test_digests(library: ctypes.CDLL, box: Container) -> None:
    from napari_ct2mri.firmware.reference import each_layer

    client = Client(to_library(board_with(library, box)))
    assert refused(lambda: client.digests(1))[0] == 5
    image = noise(3, 16, 24, 1)
    client.send_network(image)
    client.run(flags=1)
    expected = [
        hashlib.sha256(np.ascontiguousarray(each)).digest() for each in each_layer(box.model, image)
    ]
    assert client.digests(6) == expected
    assert refused(lambda: client.digests(7)) == (4, 6)
    assert refused(lambda: client.digests(0)) == (4, 6)


# ---- any bytes at all ----


def conversation(box: Container) -> bytes:
    """A whole session, as the bytes of its frames."""
    data, said = pack(box), [frame(link.HELLO, 0, struct.pack("<BI", 1, 3))]
    said.append(frame(link.BEGIN, 1, identity(data)))
    said += [
        frame(link.WRITE, at >> 10, struct.pack("<I", at) + data[at : at + 1024])
        for at in range(0, len(data), 1024)
    ]
    said.append(frame(link.COMMIT, 2, identity(data)))
    said += parts(1, b"\0" + noise(1, 16, 24).tobytes(), 0, link.NETWORK, size=100)
    said += [run_frame(1, 3, 1), frame(link.TEST, 4), frame(link.STATS, 5, b"\1")]
    said += [again(1, 6, 5, 99), frame(link.DIGEST, 7, struct.pack("<HH", 2, 4))]
    return b"".join(said)


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.one_of(st.integers(1, 30), st.integers(1, 5000)), min_size=1, max_size=30))
def test_portions_make_no_difference(library: ctypes.CDLL, box: Container, cuts: list[int]) -> None:
    def said(portions: list[int]) -> list[Answer]:
        board, stream, got, at, turn = board_with(library), conversation(box), b"", 0, 0
        while at < len(stream):
            step = portions[turn % len(portions)]
            got += to_library(board)(stream[at : at + step])
            at, turn = at + step, turn + 1
        return list(answers(got))

    whole = said([1 << 20])
    assert [a for a in said(cuts) if a.kind == link.MR] == [a for a in whole if a.kind == link.MR]
    assert sorted(said(cuts), key=repr) == sorted(whole, key=repr)  # MRs may stand elsewhere
    assert not [a for a in whole if a.kind == link.ERROR]


WORDS = st.lists(st.sampled_from((0, 1, 8, 4096, 1 << 24, 1 << 31, 0xFFFFFFFF)), max_size=4)
BYTES = st.binary(max_size=60)
PAYLOAD = st.one_of(
    BYTES,
    st.builds(
        lambda words, rest: struct.pack(f"<{len(words)}I", *words) + rest, WORDS, st.binary()
    ),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 16), st.integers(0, 3), PAYLOAD), max_size=12))
def test_no_frame_ends_a_board(
    library: ctypes.CDLL, box: Container, frames: list[tuple[int, int, bytes]]
) -> None:
    """Whatever valid frames say; under the undefined behaviour sanitizer, which stops at a find."""
    board = boards.setdefault(id(library), board_with(library, box))
    said = say(board, *(frame(*each) for each in frames))
    assert all(answer.kind & 0x80 for answer in said)
    hello = Client(to_library(board)).hello()
    assert hello.status == 0
    assert board.violations == 0


boards: dict[int, CBoard] = {}


def test_memory_is_laid_out_within_what_there_is(library: ctypes.CDLL, box: Container) -> None:
    """The least memory that a model runs in, to the byte that a refusal names."""
    small = CBoard(library, 1 << 16, memory=1024)
    number, needed = refused(lambda: Client(to_library(small)).push(pack(box)))
    assert number == 9
    plan_ = plan(box.model)
    pixels = 16 * 24
    assert needed == plan_.arena_bytes + plan_.scratch_bytes + (2 + 1 + 1 + 1) * pixels
    assert refused(
        lambda: Client(to_library(CBoard(library, 1 << 16, memory=needed - 64))).push(pack(box))
    ) == (9, needed)
    exact = CBoard(library, 1 << 16, memory=needed)
    client = Client(to_library(exact))
    client.push(pack(box))
    client.send_network(box.golden[0])
    assert np.array_equal(decode(client.run()[0], (16, 24), np.uint8), box.golden[1])
