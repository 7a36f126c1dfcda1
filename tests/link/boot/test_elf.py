from __future__ import annotations

import re
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_ct2mri.link.boot import BootImageError
from napari_ct2mri.link.boot.elf import Segment, read_elf

from .programs import CODE, CONSTANTS, PROGRAM, elf


def test_segments_lie_by_address_and_hold_what_the_file_holds() -> None:
    program = read_elf(elf([(0xC0000000, b"second"), (0x11804000, b"first")], 0x11804002))
    assert program.entry == 0x11804002
    assert program.segments == (Segment(0x11804000, b"first"), Segment(0xC0000000, b"second"))


def test_bss_is_not_loaded() -> None:
    zeros = elf([(0x11804000, CODE), (0x11820000, b"")], 0x11804000)
    assert [segment.address for segment in read_elf(zeros).segments] == [0x11804000]


def test_binutils_read_the_same(tmp_path: Path) -> None:
    readelf = shutil.which("readelf")
    if readelf is None:
        pytest.skip("readelf is not installed; it is in binutils")
    file = tmp_path / "program.elf"
    file.write_bytes(PROGRAM)
    listed = subprocess.run(
        [readelf, "--file-header", "--segments", "--wide", file],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    program = read_elf(PROGRAM)
    assert "Texas Instruments TMS320C6000" in listed
    assert re.search(rf"Entry point address: +0x{program.entry:x}\b", listed)
    loads = re.findall(r"LOAD +(0x\w+) +0x\w+ +(0x\w+) +(0x\w+)", listed)
    found = [(int(address, 16), int(size, 16)) for _, address, size in loads]
    assert found == [(segment.address, len(segment.data)) for segment in program.segments]
    assert [len(CODE), len(CONSTANTS)] == [size for _, size in found]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"machine": 40}, "machine 40.*expected 140"),
        ({"bits": 2}, "class 2"),
        ({"order": 2}, "byte order 2"),
        ({"kind": 1}, "type 1, expected 2; link it"),
        ({"table": 10**6}, "1 segment headers at 1000000 lie outside"),
        ({"count": 99}, "99 segment headers"),
        ({"step": 8}, "segment headers"),
    ],
)
def test_foreign_and_spoiled_headers_are_named(changes: dict[str, int], words: str) -> None:
    with pytest.raises(BootImageError, match=words):
        read_elf(elf([(0x11804000, CODE)], 0x11804000, **changes))


@pytest.mark.parametrize(
    ("segments", "entry", "words"),
    [
        ([(0x11804000, b"code")], 0x11804004, "starts at 0x11804004, where it loads nothing"),
        ([], 0, "where it loads nothing"),
        ([(0x100, b"code"), (0x103, b"data")], 0x100, "loads 0x00000103 twice"),
        ([(0xFFFFFFFE, b"code")], 0xFFFFFFFE, "beyond 32 bits"),
    ],
)
def test_what_cannot_be_loaded_is_refused(
    segments: list[tuple[int, bytes]], entry: int, words: str
) -> None:
    with pytest.raises(BootImageError, match=words):
        read_elf(elf(segments, entry))


def test_other_files_are_refused() -> None:
    with pytest.raises(BootImageError, match="has 0 bytes"):
        read_elf(b"")
    with pytest.raises(BootImageError, match="begins with b'MZ"):
        read_elf(b"MZ" + bytes(100))


@given(st.data())
def test_a_cut_or_altered_file_is_refused_or_read_as_it_stands(data: st.DataObject) -> None:
    spoiled = bytearray(PROGRAM[: data.draw(st.integers(0, len(PROGRAM)))])
    for at, value in data.draw(
        st.lists(st.tuples(st.integers(0, 115), st.integers(0, 255)), max_size=4)
    ):
        if at < len(spoiled):
            spoiled[at] = value
    with suppress(BootImageError):
        for segment in read_elf(bytes(spoiled)).segments:
            assert segment.data in spoiled
            assert segment.end <= 2**32
