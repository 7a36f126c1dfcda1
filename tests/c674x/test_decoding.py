"""Machine words as others than GNU binutils read them, so that no misreading is on both sides.

The first lists hold words that TI's own tools assembled and listed (published listings of TI
compiler output); the last is put together by hand from the opcode maps of SPRUFE8, appendix E
(.M, extended) and chapter 7 (loop buffer).
"""

from __future__ import annotations

from pathlib import Path

from .machine import Program
from .toolchain import assemble

LISTED = {
    0x00A45664: "ldw .D1T1 *a9++(8),a1",  # LDW.D1T1 *A9++[2],A1
    0x002456E6: "ldw .D2T2 *b9++(8),b0",
    0x036CE264: "ldw .D1T1 *+a27(28),a6",
    0x0394A0E6: "ldw .D2T2 *-b5(20),b7",
    0x02802EEE: "ldw .D2T2 *+b15(184),b5",  # LDW.D2T2 *+B15[46],B5
    0x008053FE: "stw .D2T2 b1,*+b15(332)",
    0x0870AA74: "stw .D1T1 a16,*+a28[a5]",
    0x025022F4: "stw .D2T1 a4,*+b20(4)",
    0x21E00274: "[b0] stw .D1T1 a3,*+a24(0)",
    0x38E80324: "[!b0] ldndw .D1T1 *+a26[0],a17:a16",
    0x138042FC: "addaw .D1X b15,66,a7",
    0x08430CA0: "shl .S1 a16,24,a16",
    0x06A013A2: "mvc .S2X a8,ilc",
    0x044C0FDA: "or .L2 0,b19,b8",  # MV.L2 B19,B8
    0x289006A0: "[b0] or .S1 0,a4,a17",  # [B0] MV.S1 A4,A17
    0x2E000040: "[b0] mvk .D1 0,a28",
    0x2210B2FA: "[b0] sub .L2X a5,b4,b4",
    0x0283A000: "sploopd 6",
    0x00830000: "spmask D2",  # not all ones: D2 is bit 5 of the mask
}

# (SPLOOP, SPKERNEL): how many of its six bits count cycles depends on the interval, and those that
# count stages are reversed (SPRUFE8B, table 3-29)
LISTED_LOOPS = {
    (0x01838000, 0x0C034000): "spkernel 3,0",
    (0x01038000, 0x00834000): "spkernel 0,2",
    (0x02838000, 0x0D434000): "spkernel 3,5",
    (0x00838000, 0x00034000): "spkernel 0,0",
}


def extended_m(op: int, src1: int, src2: int, dst: int, cross: int = 0, side: int = 0) -> int:
    """31-28 creg z, 27-23 dst, 22-18 src2, 17-13 src1, 12 x, 11 0, 10-6 op, 5-2 1100, 1 s, 0 p."""
    return dst << 23 | src2 << 18 | src1 << 13 | cross << 12 | op << 6 | 0b1100 << 2 | side << 1


BUILT = {
    extended_m(0b00010, 5, 6, 8): "dotpsu4 .M1 a5,a6,a8",
    extended_m(0b00010, 16, 20, 26, cross=1, side=1): "dotpsu4 .M2X b16,a20,b26",
    extended_m(0b00110, 5, 6, 8): "dotpu4 .M1 a5,a6,a8",
    extended_m(0b00101, 5, 6, 8): "mpysu4 .M1 a5,a6,a9:a8",
    extended_m(0b00100, 5, 6, 8): "mpyu4 .M1 a5,a6,a9:a8",
    extended_m(0b00000, 5, 6, 8): "mpy2 .M1 a5,a6,a9:a8",
    extended_m(0b01100, 5, 6, 8): "dotp2 .M1 a5,a6,a8",
    extended_m(0b01001, 5, 6, 8): "dotpn2 .M1 a5,a6,a8",
    extended_m(0b10000, 5, 6, 8): "mpyhir .M1 a5,a6,a8",
    0x00038000 | (4 - 1) << 23: "sploop 4",
}


def test_words_read_as_others_read_them(tmp_path: Path) -> None:
    words = {**LISTED, **BUILT}
    program = Program(assemble("\n".join(f"\t.word 0x{word:08x}" for word in words), tmp_path))
    start = program.symbols["_start"]
    read = {word: program.text[start + 4 * n] for n, word in enumerate(words)}
    assert {hex(word): text for word, text in read.items()} == {
        hex(word): text for word, text in words.items()
    }


def test_ends_of_loops_read_as_others_read_them(tmp_path: Path) -> None:
    lines = []
    for start, end in LISTED_LOOPS:
        lines += [f"\t.word 0x{start:08x},0x00006000,0x00006000,0x{end:08x}", "\tnop 9"]
    program = Program(assemble("\n".join(lines), tmp_path))
    read = [text for text in program.text.values() if text.startswith("spkernel")]
    assert read == list(LISTED_LOOPS.values())
