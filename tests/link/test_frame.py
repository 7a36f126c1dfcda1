from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_ct2mri.errors import LinkError
from napari_ct2mri.link.frame import FRAME_PAYLOAD, Frame, FrameReader, Type, encode_frame

frames = st.tuples(st.integers(0, 255), st.integers(0, 255), st.binary(max_size=FRAME_PAYLOAD))


@given(st.lists(frames, max_size=5), st.integers(1, 999))
def test_frames_come_back_however_they_are_cut(sent: list[tuple[int, int, bytes]], cut: int):
    line = b"".join(encode_frame(*each) for each in sent)
    reader = FrameReader()
    got = [f for i in range(0, len(line), cut) for f in reader.feed(line[i : i + cut])]
    assert got == [Frame(*each) for each in sent]
    assert reader.dropped == 0


@given(frames)
def test_a_frame_holds_no_zero_but_its_last(each: tuple[int, int, bytes]):
    coded = encode_frame(*each)
    assert coded.index(0) == len(coded) - 1
    assert len(coded) <= 1044


def test_a_frame_byte_by_byte():
    """HELLO, protocol 1, session 2: written down by hand from L1 and COBS."""
    body = bytes([1, 0, 1, 2, 0, 0, 0])
    crc = zlib.crc32(body).to_bytes(4, "little")
    assert 0 not in crc
    coded = encode_frame(Type.HELLO, 0, bytes([1, 2, 0, 0, 0]))
    assert coded == b"\x02\x01" + b"\x03\x01\x02" + b"\x01\x01" + b"\x05" + crc + b"\x00"


@given(frames, st.data())
def test_one_flipped_bit_is_noticed(each: tuple[int, int, bytes], data: st.DataObject):
    coded = bytearray(encode_frame(*each))
    at = data.draw(st.integers(0, len(coded) - 2))
    coded[at] ^= 1 << data.draw(st.integers(0, 7))
    reader = FrameReader()
    assert reader.feed(bytes(coded)) == []
    assert reader.dropped >= 1
    assert reader.feed(encode_frame(*each)) == [Frame(*each)]


@given(st.binary(max_size=5000))
def test_noise_costs_one_frame_at_most(noise: bytes):
    reader = FrameReader()
    reader.feed(noise)
    good = encode_frame(Type.TEST, 7, b"abc")
    assert reader.feed(b"\0" + good)[-1] == Frame(Type.TEST, 7, b"abc")


def test_a_flood_without_end_is_not_kept():
    reader = FrameReader()
    for _ in range(100):
        assert reader.feed(b"x" * 1000) == []
    assert len(reader._rest) <= 1044
    assert reader.feed(b"\0" + encode_frame(1, 2, b"3")) == [Frame(1, 2, b"3")]
    assert reader.dropped == 1


def test_a_payload_too_long_is_refused():
    encode_frame(1, 2, bytes(FRAME_PAYLOAD))
    with pytest.raises(LinkError, match="takes 1032 bytes, got 1033: send them in several"):
        encode_frame(1, 2, bytes(FRAME_PAYLOAD + 1))
