"""The container: round trip, and what is wrong has one number, in Python and in C."""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from native import Native
from random_models import boxed, random_model

from napari_ct2mri.errors import ContainerError
from napari_ct2mri.firmware.container import Fault, pack, seal, unpack

MOST_MEMORY = 16 << 20  # bytes of arena or scratch with which an altered model is run


@pytest.fixture(scope="module")
def whole() -> bytes:
    return pack(boxed(random_model(width=5)))


def fault(data: bytes) -> int:
    try:
        unpack(data)
    except ContainerError as error:
        return error.number
    return 0


def changed(data: bytes, at: int, form: str, value: int) -> bytes:
    """``data`` with a number replaced and the digest made right."""
    copy = bytearray(data)
    struct.pack_into(form, copy, at, value)
    return seal(copy)


def test_round_trip(whole: bytes) -> None:
    back = unpack(whole)
    assert pack(back) == whole
    assert back.plan.arena_bytes == boxed(random_model(width=5)).plan.arena_bytes


def test_layers_start_on_pages(whole: bytes) -> None:
    (layers_at,) = struct.unpack_from("<I", whole, 48)
    (place,) = struct.unpack_from("<I", whole, layers_at + 20)
    assert place % 4096 == 0
    assert len(whole) % 4096 == 0


@pytest.mark.parametrize(
    ("at", "form", "value", "expected"),
    [
        (0, "<B", 0x43 + 1, Fault.MAGIC),
        (8, "<I", 0x01020304, Fault.ORDER),
        (12, "<H", 2, Fault.FORMAT),
        (14, "<H", 2, Fault.ABI),
        (16, "<I", 2**31, Fault.CUT),
        (38, "<H", 33, Fault.HEADER),
        (34, "<H", 0, Fault.HEADER),
        (20, "<I", 64, Fault.IMAGE),
        (28, "<H", 24, Fault.IMAGE),
        (24, "<I", 64, Fault.LAYER),
        (52, "<I", 2**32 - 4, Fault.PLACE),
        (60, "<I", 2**32 - 64, Fault.PLACE),
    ],
)
def test_a_wrong_header_has_a_number(
    native: Native, whole: bytes, at: int, form: str, value: int, expected: Fault
) -> None:
    bad = changed(whole, at, form, value)
    assert fault(bad) == expected
    assert native.open(bad)[0] == expected


def test_information_nested_without_end_is_refused(native: Native) -> None:
    """A board does not look at it."""
    length = 200_000
    deep = replace(boxed(random_model(width=5)), info={"a": "." * length})
    bad = seal(bytearray(pack(deep).replace(b'"' + b"." * length, b"[" * (length + 1))))
    assert fault(bad) == Fault.HEADER
    assert native.open(bad)[0] == 0


@pytest.mark.parametrize("kept", [0, 127, 128, 4096, -1])
def test_a_cut_container_is_refused(native: Native, whole: bytes, kept: int) -> None:
    assert fault(whole[:kept]) == Fault.CUT
    assert native.open(whole[:kept])[0] == Fault.CUT


def test_an_altered_container_is_refused(native: Native, whole: bytes) -> None:
    bad = bytearray(whole)
    bad[-5000] ^= 1
    assert fault(bytes(bad)) == Fault.DIGEST
    assert native.open(bytes(bad))[0] == Fault.DIGEST


def test_bad_requantization_and_overflow_are_refused(native: Native, whole: bytes) -> None:
    (layers_at,) = struct.unpack_from("<I", whole, 48)
    (place,) = struct.unpack_from("<I", whole, layers_at + 20)
    channels = 6  # 5 filters and a zero channel, one phase
    for at, value, expected in (
        (place, 2**31 - 1, Fault.OVERFLOW),
        (place + 4 * channels, 2**30 - 1, Fault.RESCALE),
        (place + 4 * 3 * channels, 63, Fault.RESCALE),
    ):
        bad = changed(whole, at, "<i", value)
        assert fault(bad) == expected
        assert native.open(bad)[0] == expected


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(at=st.integers(8, 4095), value=st.integers(0, 255))
def test_both_readers_agree_on_any_byte_before_the_weights(
    native: Native, whole: bytes, at: int, value: int
) -> None:
    bad = bytearray(whole)
    bad[at] = value
    sealed = seal(bad)
    status, opened = native.open(sealed)
    (info_at, info_bytes) = struct.unpack_from("<2I", whole, 68)
    if not info_at <= at < info_at + info_bytes and not 68 <= at < 76:  # boards skip the JSON
        assert status == fault(sealed)
    if status == 0 and max(struct.unpack_from("<2I", sealed, 20)) <= MOST_MEMORY:
        opened.run(np.zeros(unpack(whole).golden[0].shape, np.uint8))
