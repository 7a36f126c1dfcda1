"""Slices on the wire: back bit for bit, small, never larger, and refused in words when broken."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from napari_ct2mri.errors import LinkError
from napari_ct2mri.imaging.area import area_mean
from napari_ct2mri.imaging.io import read_volume
from napari_ct2mri.imaging.pictures import read_pictures
from napari_ct2mri.link.codec import MAX_SIDE, decode, encode

MANY = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))


def returns(plane: np.ndarray) -> bytes:
    """The stream, after it came back as the same plane."""
    data = encode(plane)
    back = decode(data, plane.shape, plane.dtype)
    assert back.dtype == plane.dtype
    assert np.array_equal(back, plane)
    assert len(data) <= plane.nbytes + 1
    return data


def head_slice(chance: np.random.Generator) -> np.ndarray:
    """Padding, air, a table, skull and a noisy brain, in HU."""
    y, x = np.indices((256, 256)) - 128
    hu = np.full((256, 256), -1000.0)
    radius = np.hypot(x / 90, y / 110)
    hu[radius < 1], hu[radius < 0.9] = 900, 35
    hu[235:240] = -600
    hu += chance.normal(0, 4, hu.shape) * (radius < 1.1)
    hu[np.hypot(x, y) > 127] = -3024
    return np.rint(hu).astype(np.int16)


SHAPES = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=40)


@MANY
@given(plane=arrays(np.uint8, SHAPES))
def test_any_u8_returns(plane: np.ndarray) -> None:
    returns(plane)


@MANY
@given(plane=arrays(np.int16, SHAPES))
def test_any_s16_returns(plane: np.ndarray) -> None:
    returns(plane)


@MANY
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 300),
    levels=st.lists(st.integers(0, 255), min_size=1, max_size=160),
    seed=st.integers(0, 99),
)
@example(height=1, width=1, levels=[255], seed=0)
@example(height=3, width=300, levels=[0, 255], seed=0)
def test_few_levels_return(height: int, width: int, levels: list[int], seed: int) -> None:
    returns(np.random.default_rng(seed).choice(np.array(levels, np.uint8), (height, width)))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
@pytest.mark.parametrize("shape", [(1, MAX_SIDE), (MAX_SIDE, 1), (65, MAX_SIDE), (MAX_SIDE, 9)])
def test_longest_sides_return(shape: tuple[int, int], dtype: type) -> None:
    info = np.iinfo(dtype)
    chance = np.random.default_rng(0)
    returns(chance.integers(info.min, info.max + 1, shape).astype(dtype))
    returns(np.cumsum(chance.integers(-1, 2, shape), axis=1).astype(dtype))


def test_planes_of_any_memory_order_return() -> None:
    slice_ = head_slice(np.random.default_rng(1))
    data = returns(slice_)
    assert encode(np.asfortranarray(slice_)) == data
    assert encode(np.repeat(slice_, 2, axis=1)[:, ::2]) == data
    frozen = slice_.copy()
    frozen.flags.writeable = False
    assert encode(frozen) == data
    back = decode(data, slice_.shape, slice_.dtype)
    assert back.flags.writeable
    assert back.flags.c_contiguous


def test_bits_are_those_of_the_rules() -> None:
    """Worked out by hand from docs/codec.md."""
    plane = np.full((1, 8), 9, np.uint8)
    # magnitudes 18 and seven zeros; parameters 3, six times 4, 3, from 16s above
    bits = "0" + "001" + 7 * "1" + "010" + 6 * "0000" + "000"
    assert encode(plane) == b"\1" + np.packbits([int(bit) for bit in bits]).tobytes()

    two = np.zeros((2, 16), np.uint8)
    two[:, :8] = 200  # ranks 1 and 0; row 0: magnitudes 2, seven zeros, then 1, seven zeros
    listed = bytearray(32)
    listed[0] |= 1
    listed[25] |= 1
    parameters = [3, *14 * [4], 3]
    rests = [2, *7 * [0], 1, *7 * [0]]
    bits = "0" + 16 * "1"
    bits += "".join(f"{rest:0{k}b}" for rest, k in zip(rests, parameters, strict=True))
    bits += "1" + "1" + "11000000"  # row 1: both blocks become quiet
    expected = b"\2" + listed + np.packbits([int(bit) for bit in bits]).tobytes()
    raw = b"\0" + two.tobytes()
    assert encode(two) == raw  # which is shorter
    assert np.array_equal(decode(bytes(expected), two.shape, np.uint8), two)
    wide = np.hstack([two, *16 * [two[:, 8:]]])
    assert encode(wide)[:33] == expected[:33]
    assert encode(np.array([[-2, 258]], np.int16)) == b"\0\xfe\xff\x02\x01"


def test_constants_cost_next_to_nothing() -> None:
    for value in (-3024, -1024, 0, 32767):
        assert len(returns(np.full((256, 256), value, np.int16))) < 400
        assert len(returns(np.full((256, 256), value & 0xFF, np.uint8))) < 250


def test_noise_does_not_grow() -> None:
    chance = np.random.default_rng(0)
    assert len(returns(chance.integers(0, 256, (256, 256)).astype(np.uint8))) == 65537
    assert len(returns(chance.integers(-32768, 32768, (99, 99)).astype(np.int16))) == 2 * 99**2 + 1


def test_head_in_hu_is_small() -> None:
    slice_ = head_slice(np.random.default_rng(0))
    assert slice_.nbytes / len(returns(slice_)) > 4


def mean_ratio(planes: Iterable[np.ndarray]) -> float:
    return float(np.mean([plane.nbytes / len(returns(plane)) for plane in planes]))


def shrunk(plane: np.ndarray) -> np.ndarray:
    return np.rint(area_mean(plane, (256, 256))).astype(plane.dtype)


@pytest.mark.parametrize(
    ("source", "column", "least"),
    [("aanlib", "ct", 3.0), ("aanlib", "mr", 3.0), ("k18", "ct", 1.8), ("k18", "mr", 1.8)],
)
def test_real_pictures_are_small(real_data: Path, source: str, column: str, least: float) -> None:
    with (real_data / "pairs.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["patient"].startswith(source)]
    planes = [read_pictures([real_data / row[column]])[0] for row in rows[::15]]
    assert len(planes) >= 9
    assert mean_ratio(map(shrunk, planes)) > least
    assert mean_ratio(planes[:4]) > least


def test_real_hu_is_small(real_data: Path) -> None:
    volume = read_volume(real_data / "head_ct_dicom")
    assert volume.unit == "HU"
    assert mean_ratio(np.rint(volume.data[::9]).astype(np.int16)) > 3.5


@pytest.mark.parametrize(
    ("plane", "words"),
    [
        (np.zeros((2, 2), np.float32), "float32.*expected uint8 .* or int16"),
        (np.zeros((2, 2), np.uint16), "uint16"),
        (np.zeros((2, 2), ">i2"), ">i2"),
        (np.zeros((1, 2, 2), np.uint8), r"\(1, 2, 2\).*expected \(H, W\)"),
        (np.zeros(4, np.uint8), r"\(4,\)"),
        (np.zeros((0, 4), np.uint8), r"\(0, 4\).*sides 1 to 2048"),
        (np.zeros((1, MAX_SIDE + 1), np.uint8), "2049"),
    ],
)
def test_what_is_no_slice_is_refused(plane: np.ndarray, words: str) -> None:
    with pytest.raises(LinkError, match=words):
        encode(plane)
    with pytest.raises(LinkError, match=words):
        decode(b"\1\0\0", plane.shape, plane.dtype)


def test_broken_streams_are_refused_in_words() -> None:
    slice_ = head_slice(np.random.default_rng(0))
    data = encode(slice_)

    def refused(data: bytes, words: str, shape: tuple[int, int] = slice_.shape) -> None:
        with pytest.raises(LinkError, match=words):
            decode(data, shape, np.int16)

    for size in (0, 1, 2, 1000, len(data) - 1):
        refused(data[:size], "end before its last pixel")
    refused(data + b"\0", "1 bytes too many")
    refused(data, "too many", (255, 256))
    refused(b"\3" + data[1:], "begins with byte 3.*another version")
    refused(b"\2" + data[1:], "begins with byte 2")  # levels are for uint8
    refused(b"\1\0\0" + 99 * b"\xff", "a length of .* expected at most 12")
    raw = b"\0" + bytes(8)
    assert not decode(raw, (2, 2), np.int16).any()
    refused(raw + b"\0", "too many", (2, 2))
    refused(raw[:-1], "end before", (2, 2))
    with pytest.raises(LinkError, match="grey level 0 of 0"):
        decode(b"\2" + bytes(32) + b"\xe0\0", (1, 8), np.uint8)


@MANY
@given(
    place=st.integers(0, 1 << 20),
    change=st.integers(1, 255),
    plane=arrays(np.uint8, (12, 20), elements=st.integers(0, 9)),
)
def test_altered_streams_make_a_picture_or_a_link_error(
    place: int, change: int, plane: np.ndarray
) -> None:
    data = bytearray(encode(plane))
    data[place % len(data)] ^= change
    with suppress(LinkError):
        assert decode(bytes(data), plane.shape, np.uint8).shape == plane.shape
