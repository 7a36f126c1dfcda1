"""The board's codec of slices against the one in Python: the same bytes, the same refusals."""

from __future__ import annotations

import ctypes
import shutil
from enum import IntEnum
from pathlib import Path

import numpy as np
import pytest
from corpus import FUZZ, replay, unpacked
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from native import UNDEFINED, buffer, compile_c

from napari_ct2mri.errors import LinkError
from napari_ct2mri.firmware import runtime_folder
from napari_ct2mri.link.codec import decode, encode

MAX_SIDE, LEVELS, GROUPS = 2048, 256, 32
SAMPLES = (np.uint8, np.int16)
MANY = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


class Status(IntEnum):
    """``ct_codec_status``."""

    DONE = 0
    MORE = 1
    PLANE = 2
    FORMAT = 3
    CODE = 4
    LEVEL = 5
    LONG = 6


class CPlane(ctypes.Structure):
    _fields_ = (
        ("pixels", ctypes.c_void_p),
        ("width", ctypes.c_uint32),
        ("height", ctypes.c_uint32),
        ("sample", ctypes.c_int),
    )


class CCodec(ctypes.Structure):
    _fields_ = (
        ("plane", CPlane),
        ("numbers", ctypes.c_uint32 * 6),
        ("level", ctypes.c_uint8 * LEVELS),
        ("rank", ctypes.c_uint8 * LEVELS),
        ("quiet", ctypes.c_uint8 * GROUPS),
        ("change", ctypes.c_uint8 * GROUPS),
        ("k", ctypes.c_uint8 * MAX_SIDE),
        ("magnitude", ctypes.c_uint16 * MAX_SIDE),
    )


class CDecoder(ctypes.Structure):
    _fields_ = (("codec", CCodec), ("zeros", ctypes.c_uint32), ("status", ctypes.c_int))


class CEncoder(ctypes.Structure):
    _fields_ = (("codec", CCodec), ("size", ctypes.c_size_t), ("format", ctypes.c_uint8))


def plane_of(pixels: np.ndarray, shape: tuple[int, int], dtype: type) -> CPlane:
    return CPlane(pixels.ctypes.data, shape[1], shape[0], np.dtype(dtype).itemsize)


class Board:
    """The C codec."""

    def __init__(self, library: Path) -> None:
        self.lib = ctypes.CDLL(str(library))
        for name in ("ct_decode_start", "ct_encode_start"):
            getattr(self.lib, name).argtypes = (ctypes.c_void_p, ctypes.POINTER(CPlane))
        for name in ("ct_decode", "ct_encode"):
            function = getattr(self.lib, name)
            function.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
        self.lib.ct_encode.restype = ctypes.c_size_t

    def encode(self, image: np.ndarray, room: int = 1 << 24) -> bytes:
        pixels = buffer(image.nbytes)
        pixels[:] = np.frombuffer(image.tobytes(), np.uint8)
        encoder = CEncoder()
        plane = plane_of(pixels, image.shape, image.dtype.type)
        assert self.lib.ct_encode_start(ctypes.byref(encoder), plane) == Status.MORE
        room = min(room, encoder.size + 8)
        out = np.zeros(room + 1, np.uint8)
        portions = []
        while True:
            out[-1] = 0x5A
            count = self.lib.ct_encode(ctypes.byref(encoder), out.ctypes.data, room)
            assert count <= room
            assert out[-1] == 0x5A
            if count == 0:
                break
            portions.append(out[:count].tobytes())
        assert all(len(portion) == room for portion in portions[:-1])
        stream = b"".join(portions)
        assert len(stream) == encoder.size
        return stream

    def decode(
        self, data: bytes, shape: tuple[int, int], dtype: type, portion: int = 1 << 24
    ) -> tuple[Status, np.ndarray]:
        pixels = buffer(shape[0] * shape[1] * np.dtype(dtype).itemsize + 64)
        decoder = CDecoder()
        plane = plane_of(pixels, shape, dtype)
        status = Status(self.lib.ct_decode_start(ctypes.byref(decoder), plane))
        stream = np.frombuffer(data, np.uint8)
        for start in range(0, len(data), portion):
            part = stream[start : start + portion].copy()
            status = Status(self.lib.ct_decode(ctypes.byref(decoder), part.ctypes.data, len(part)))
        assert (pixels[-64:] == 0xA5).all()  # nothing beyond the plane
        image = np.frombuffer(pixels[:-64].tobytes(), dtype).reshape(shape)
        row = decoder.codec.numbers[0]
        assert (image[row + 1 :].view(np.uint8) == 0xA5).all()  # nor beyond the row under way
        return status, image


@pytest.fixture(scope="module", params=["gcc", "clang"])
def board(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Board:
    compiler = request.param
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} here")
    target = tmp_path_factory.mktemp("codec") / f"codec-{compiler}.so"
    flags = ["-O2", "-shared", "-fPIC", *UNDEFINED]
    return Board(compile_c(compiler, flags, [runtime_folder() / "codec.c"], target))


@st.composite
def images(draw: st.DrawFn) -> np.ndarray:
    """Planes of every shape and temper: noise, steps, ramps, few levels, constants, extremes."""
    dtype = draw(st.sampled_from(SAMPLES))
    height = draw(st.sampled_from([1, 2, 3, 8, 17, 33]))
    width = draw(st.sampled_from([1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 63, 64, 65, 129, 200]))
    chance = np.random.default_rng(draw(st.integers(0, 9999)))
    info = np.iinfo(dtype)
    kind = draw(st.sampled_from(["noise", "steps", "levels", "constant", "extremes", "smooth"]))
    shape = (height, width)
    if kind == "noise":
        span = draw(st.sampled_from([2, 5, 40, int(info.max) - int(info.min) + 1]))
        image = chance.integers(info.min, info.min + span, shape)
    elif kind == "steps":
        image = np.repeat(chance.integers(info.min, info.max, (height, 1)), width, 1)
        image[:, width // 2 :] = chance.integers(info.min, info.max)
    elif kind == "levels":
        image = chance.choice(chance.integers(info.min, info.max + 1, 6), shape)
    elif kind == "constant":
        image = np.full(shape, chance.integers(info.min, info.max + 1))
    elif kind == "extremes":
        image = chance.choice([info.min, info.max], shape, p=[0.9, 0.1])
    else:
        y, x = np.indices(shape)
        image = info.max // 2 + 3 * x - 2 * y + chance.integers(-2, 3, shape)
    return image.clip(info.min, info.max).astype(dtype)


@MANY
@given(image=images(), portion=st.sampled_from([1, 2, 3, 7, 64, 1 << 20]))
def test_same_bytes_and_back(board: Board, image: np.ndarray, portion: int) -> None:
    stream = encode(image)
    assert board.encode(image, portion) == stream
    status, there = board.decode(stream, image.shape, image.dtype.type, portion)
    assert status == Status.DONE
    assert np.array_equal(there, image)
    assert np.array_equal(decode(board.encode(image), image.shape, image.dtype), image)


@pytest.mark.parametrize("dtype", SAMPLES)
@pytest.mark.parametrize("shape", [(2048, 3), (3, 2048), (2, 2047)])
def test_longest_sides(board: Board, shape: tuple[int, int], dtype: type) -> None:
    info = np.iinfo(dtype)
    for span in (1, 9, int(info.max) - int(info.min) + 1):
        image = np.random.default_rng(span).integers(info.min, info.min + span, shape)
        image = image.astype(dtype)
        stream = encode(image)
        assert board.encode(image, 100) == stream
        status, there = board.decode(stream, shape, dtype, 100)
        assert status == Status.DONE
        assert np.array_equal(there, image)


def outcome(data: bytes, shape: tuple[int, int], dtype: type) -> np.ndarray | None:
    try:
        return decode(data, shape, dtype)
    except LinkError:
        return None


def check_same(board: Board, data: bytes, shape: tuple[int, int], dtype: type) -> None:
    status, there = board.decode(data, shape, dtype, 5)
    here = outcome(data, shape, dtype)
    assert (status == Status.DONE) == (here is not None), status
    if here is not None:
        assert np.array_equal(there, here)


@MANY
@given(
    image=images(),
    place=st.integers(0, 1 << 30),
    bit=st.integers(0, 7),
    how=st.sampled_from(["flip", "cut", "insert", "longer"]),
)
def test_altered_streams_come_to_the_same(
    board: Board, image: np.ndarray, place: int, bit: int, how: str
) -> None:
    stream = bytearray(encode(image))
    place %= len(stream)
    if how == "flip":
        stream[place] ^= 1 << bit
    elif how == "cut":
        del stream[place:]
    elif how == "insert":
        stream.insert(place, 1 << bit)
    else:
        stream.append(1 << bit)
    check_same(board, bytes(stream), image.shape, image.dtype.type)


@MANY
@given(
    form=st.integers(0, 4),
    body=st.binary(max_size=400),
    width=st.integers(1, 90),
    height=st.integers(1, 6),
    dtype=st.sampled_from(SAMPLES),
)
@example(form=1, body=b"", width=1, height=1, dtype=np.uint8)
def test_random_bytes_come_to_the_same(
    board: Board, form: int, body: bytes, width: int, height: int, dtype: type
) -> None:
    check_same(board, bytes([form]) + body, (height, width), dtype)


def test_each_refusal_has_its_number(board: Board) -> None:
    image = np.full((1, 8), 9, np.uint8)
    stream = encode(image)
    shape = image.shape
    assert board.decode(stream, shape, np.uint8)[0] == Status.DONE
    assert board.decode(stream[:-1], shape, np.uint8)[0] == Status.MORE
    assert board.decode(b"", shape, np.uint8)[0] == Status.MORE
    assert board.decode(b"\3", shape, np.uint8)[0] == Status.FORMAT
    assert board.decode(b"\2", shape, np.int16)[0] == Status.FORMAT
    assert board.decode(b"\1\0\0\0", shape, np.uint8)[0] == Status.CODE
    # no level listed, the only block quiet
    assert board.decode(b"\2" + bytes(32) + b"\xe0\0", shape, np.uint8)[0] == Status.LEVEL
    # lengths of 11 in a row whose parameters are those below magnitudes of 95 and 191
    row = "0" + 5 * "000000000001"
    digits = row + 18 * "1" + row + 40 * "1"
    stream = b"\1" + np.packbits([int(digit) for digit in digits]).tobytes()
    assert board.decode(stream, (2, 5), np.uint8)[0] == Status.CODE
    assert outcome(stream, (2, 5), np.uint8) is None
    assert board.decode(stream + b"\0", shape, np.uint8)[0] == Status.LONG
    assert board.decode(stream[:-1] + bytes([stream[-1] | 1]), shape, np.uint8)[0] == Status.LONG


@pytest.mark.parametrize(
    ("width", "height", "sample", "offset"),
    [(0, 1, 1, 0), (1, 0, 1, 0), (2049, 1, 1, 0), (1, 2049, 1, 0), (1, 1, 0, 0), (1, 1, 3, 0),
     (1, 1, 2, 1)],
)  # fmt: skip
def test_no_such_plane(board: Board, width: int, height: int, sample: int, offset: int) -> None:
    pixels = buffer(64)
    plane = CPlane(pixels.ctypes.data + offset, width, height, sample)
    decoder, encoder = CDecoder(), CEncoder()
    assert board.lib.ct_decode_start(ctypes.byref(decoder), plane) == Status.PLANE
    assert board.lib.ct_decode(ctypes.byref(decoder), b"\0\0", 2) == Status.PLANE
    assert board.lib.ct_encode_start(ctypes.byref(encoder), plane) == Status.PLANE
    assert board.lib.ct_encode(ctypes.byref(encoder), pixels.ctypes.data, 64) == 0
    assert (pixels == 0xA5).all()


def test_no_plane_at_all(board: Board) -> None:
    plane = CPlane(None, 1, 1, 1)
    assert board.lib.ct_decode_start(ctypes.byref(CDecoder()), plane) == Status.PLANE


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return unpacked("codec", tmp_path_factory.mktemp("codec-corpus"))


def test_sanitizers_find_nothing(corpus: list[Path], tmp_path: Path) -> None:
    replay([FUZZ / "codec.c", runtime_folder() / "codec.c"], corpus, tmp_path)


def test_what_the_fuzzer_found_comes_to_the_same(board: Board, corpus: list[Path]) -> None:
    statuses = set()
    for path in corpus:
        data = path.read_bytes()
        if len(data) < 4:
            continue
        shape = (1 + data[1] % 32, 1 + data[0])
        dtype = np.int16 if data[2] & 1 else np.uint8
        check_same(board, data[4:], shape, dtype)
        statuses.add(board.decode(data[4:], shape, dtype)[0])
    assert statuses == set(Status) - {Status.PLANE}
