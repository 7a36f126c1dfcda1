"""Each instruction against TI's manual (SPRUFE8, chapter 4): registers before and after.

The expectations are written out by hand from the manual's definitions, none is computed by code;
the instructions pass through the real assembler. Registers not named before hold 0xDEADBEEF.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from .machine import STOP, Machine, Program, operations
from .toolchain import assemble

JUNK = 0xDEAD_BEEF

# (instruction, registers before, registers after, delay slots)
CASES: list[tuple[str, dict[str, int], dict[str, int], int]] = [
    # --- whole words
    ("abs .L1 a1,a5", {"a1": 0x80004E3D}, {"a5": 0x7FFFB1C3}, 0),
    ("abs .L1 a1,a5", {"a1": 0x80000000}, {"a5": 0x7FFFFFFF}, 0),
    ("add .L2x b1,a1,b2", {"a1": 0x0000325A, "b1": 0xFFFFFF12}, {"b2": 0x0000316C}, 0),
    ("add .L1 -16,a1,a2", {"a1": 1}, {"a2": 0xFFFFFFF1}, 0),
    ("add .S1 a1,a2,a3", {"a1": 0xFFFFFFFF, "a2": 2}, {"a3": 1}, 0),
    ("add .D1 a1,31,a3", {"a1": 1}, {"a3": 32}, 0),
    # 40 bits: -1 + (2^32 - 1) = 2^32 - 2, so the upper byte is 0
    ("add .L1 a1,a3:a2,a5:a4", {"a1": 0xFFFFFFFF, "a2": 0xFFFFFFFF, "a3": 0}, {"a4": 0xFFFFFFFE, "a5": 0}, 0),
    ("add .L1 a1,a2,a5:a4", {"a1": 0xFFFFFFFF, "a2": 0xFFFFFFFF}, {"a4": 0xFFFFFFFE, "a5": 0xFF}, 0),
    ("addu .L1 a1,a2,a5:a4", {"a1": 0x0000325A, "a2": 0xFFFFFF12}, {"a4": 0x0000316C, "a5": 1}, 0),
    # only 8 bits of a pair's upper register are read
    ("addu .L1 a1,a3:a2,a5:a4", {"a1": 1, "a2": 0xFFFFFFFF, "a3": 0xABCDEF7F}, {"a4": 0, "a5": 0x80}, 0),
    ("addk .S1 15401,a1", {"a1": 0x0021F8FA}, {"a1": 0x00223523}, 0),
    ("addk .S1 -2,a1", {"a1": 1}, {"a1": 0xFFFFFFFF}, 0),
    ("sub .L1 a1,a2,a3", {"a1": 0x0000325A, "a2": 0xFFFFFF12}, {"a3": 0x00003348}, 0),
    ("sub .L1 1,a2,a3", {"a2": 3}, {"a3": 0xFFFFFFFE}, 0),
    ("sub .D2 b1,3,b2", {"b1": 2}, {"b2": 0xFFFFFFFF}, 0),
    ("sub .L1 a1,a2,a5:a4", {"a1": 0x80000000, "a2": 1}, {"a4": 0x7FFFFFFF, "a5": 0xFF}, 0),
    ("subu .L1 a1,a2,a5:a4", {"a1": 0, "a2": 1}, {"a4": 0xFFFFFFFF, "a5": 0xFF}, 0),
    ("neg .L1 a1,a2", {"a1": 5}, {"a2": 0xFFFFFFFB}, 0),
    ("neg .S2 b1,b2", {"b1": 0x80000000}, {"b2": 0x80000000}, 0),
    ("mv .D1 a1,a2", {"a1": 0x12345678}, {"a2": 0x12345678}, 0),
    ("mv .L2x a1,b2", {"a1": 0x87654321}, {"b2": 0x87654321}, 0),
    ("mvk .S1 -32768,a1", {}, {"a1": 0xFFFF8000}, 0),
    ("mvk .S2 32767,b1", {}, {"b1": 0x00007FFF}, 0),
    ("mvk .L1 -16,a1", {}, {"a1": 0xFFFFFFF0}, 0),
    ("mvk .D2 15,b1", {}, {"b1": 15}, 0),
    ("mvkl .S1 0x12348765,a1", {}, {"a1": 0xFFFF8765}, 0),
    ("mvkh .S1 0x12348765,a1", {"a1": 0xFFFF8765}, {"a1": 0x12348765}, 0),
    ("mvklh .S1 0x7654,a1", {"a1": 0x00008765}, {"a1": 0x76548765}, 0),
    ("zero .L1 a1", {}, {"a1": 0}, 0),
    ("zero .D2 b1", {}, {"b1": 0}, 0),
    ("and .L1x a1,b1,a2", {"a1": 0xF7A1302A, "b1": 0x02B6E724}, {"a2": 0x02A02020}, 0),
    ("and .S1 -16,a1,a2", {"a1": 0x12345678}, {"a2": 0x12345670}, 0),
    ("andn .L1 a1,a2,a3", {"a1": 0x1957215F, "a2": 0x0F0F0F0F}, {"a3": 0x10502050}, 0),
    ("or .D1 a1,a2,a3", {"a1": 0x08A3A49F, "a2": 0x00FF375A}, {"a3": 0x08FFB7DF}, 0),
    ("xor .S1 a1,a2,a3", {"a1": 0x0721325A, "a2": 0x0019FF0F}, {"a3": 0x0738CD55}, 0),
    ("xor .L1 -1,a2,a3", {"a2": 0x0F0F00FF}, {"a3": 0xF0F0FF00}, 0),
    ("not .L1 a1,a2", {"a1": 0x12345678}, {"a2": 0xEDCBA987}, 0),
    ("cmpeq .L1x a1,b1,a2", {"a1": 0x00000F8E, "b1": 0x00000F8E}, {"a2": 1}, 0),
    ("cmpeq .L1 -1,a1,a2", {"a1": 0x0000FFFF}, {"a2": 0}, 0),
    ("cmpeq .L1 a1,a3:a2,a4", {"a1": 0xFFFFFFFF, "a2": 0xFFFFFFFF, "a3": 0xFF}, {"a4": 1}, 0),
    ("cmpgt .L1 a1,a2,a3", {"a1": 0x80000000, "a2": 1}, {"a3": 0}, 0),
    ("cmpgt .L1 5,a2,a3", {"a2": 0xFFFFFFFB}, {"a3": 1}, 0),
    ("cmpgt .L1 a1,a2,a3", {"a1": 7, "a2": 7}, {"a3": 0}, 0),
    ("cmpgtu .L1 a1,a2,a3", {"a1": 0x80000000, "a2": 1}, {"a3": 1}, 0),
    ("cmpgtu .L1 10,a2,a3", {"a2": 11}, {"a3": 0}, 0),
    ("cmplt .L1 a1,a2,a3", {"a1": 0x80000000, "a2": 1}, {"a3": 1}, 0),
    ("cmplt .L1 9,a2,a3", {"a2": 10}, {"a3": 1}, 0),
    ("cmpltu .L1 a1,a2,a3", {"a1": 0x80000000, "a2": 1}, {"a3": 0}, 0),
    ("cmpltu .L2 b1,b2,b3", {"b1": 1, "b2": 0xFFFFFFFF}, {"b3": 1}, 0),
    ("lmbd .L1 a1,a2,a3", {"a1": 1, "a2": 0x009E3A81}, {"a3": 8}, 0),
    ("lmbd .L1 0,a2,a3", {"a2": 0xFF2CB0A1}, {"a3": 8}, 0),
    ("lmbd .L1 1,a2,a3", {"a2": 0}, {"a3": 32}, 0),
    ("norm .L1 a1,a2", {"a1": 0x02A3469F}, {"a2": 5}, 0),
    ("norm .L1 a1,a2", {"a1": 0xFFFFF25A}, {"a2": 19}, 0),
    ("norm .L1 a1,a2", {"a1": 0}, {"a2": 31}, 0),
    ("sadd .L1 a1,a2,a3", {"a1": 0x5A2E51A3, "a2": 0x012A3FA2}, {"a3": 0x5B589145}, 0),
    ("sadd .L1 a1,a2,a3", {"a1": 0x4367719A, "a2": 0x5A2E51A3}, {"a3": 0x7FFFFFFF}, 0),
    ("sadd .S1 a1,a2,a3", {"a1": 0x80000000, "a2": 0xFFFFFFFF}, {"a3": 0x80000000}, 0),
    ("ssub .L1 a1,a2,a3", {"a1": 0x80000000, "a2": 1}, {"a3": 0x80000000}, 0),
    ("ssub .L1 a1,a2,a3", {"a1": 10, "a2": 0xFFFFFFFF}, {"a3": 11}, 0),
    ("sat .L1 a3:a2,a5", {"a2": 0x80000000, "a3": 0}, {"a5": 0x7FFFFFFF}, 0),
    ("sat .L1 a3:a2,a5", {"a2": 0xA1907321, "a3": 0xFE}, {"a5": 0x80000000}, 0),
    ("sat .L1 a3:a2,a5", {"a2": 0xFFFFFFFE, "a3": 0xFF}, {"a5": 0xFFFFFFFE}, 0),
    # one step of a division: 4986 - 36864 < 0, and 38901 - 36864 = 2037
    ("subc .L1 a0,a1,a2", {"a0": 0x0000137A, "a1": 0x00009000}, {"a2": 0x000026F4}, 0),
    ("subc .L1 a0,a1,a2", {"a0": 0x000097F5, "a1": 0x00009000}, {"a2": 0x00000FEB}, 0),
    ("shl .S1 a0,4,a1", {"a0": 0x29E3D31C}, {"a1": 0x9E3D31C0}, 0),
    ("shl .S2 b0,b1,b2", {"b0": 0x4197A51A, "b1": 9}, {"b2": 0x2F4A3400}, 0),
    ("shl .S1 a0,a1,a2", {"a0": 0xFFFFFFFF, "a1": 32}, {"a2": 0}, 0),
    ("shl .S1 a0,8,a3:a2", {"a0": 0xFF000001}, {"a2": 0x00000100, "a3": 0xFF}, 0),
    ("shl .S1 a1:a0,1,a3:a2", {"a0": 0x80000001, "a1": 0xC0}, {"a2": 2, "a3": 0x81}, 0),
    ("shr .S1 a0,8,a1", {"a0": 0xF12363D1}, {"a1": 0xFFF12363}, 0),
    ("shr .S1 a0,a1,a2", {"a0": 0x80000000, "a1": 40}, {"a2": 0xFFFFFFFF}, 0),
    ("shr .S1 a1:a0,4,a3:a2", {"a0": 0x00000010, "a1": 0xF1}, {"a2": 0x10000001, "a3": 0xFF}, 0),
    ("shru .S1 a0,8,a1", {"a0": 0xF12363D1}, {"a1": 0x00F12363}, 0),
    ("shru .S1 a0,a1,a2", {"a0": 0xFFFFFFFF, "a1": 32}, {"a2": 0}, 0),
    ("shru .S1 a1:a0,4,a3:a2", {"a0": 0x00000010, "a1": 0xF1}, {"a2": 0x10000001, "a3": 0x0F}, 0),
    ("clr .S1 a1,4,19,a2", {"a1": 0x07A43F2A}, {"a2": 0x07A0000A}, 0),
    ("clr .S2 b1,b3,b2", {"b1": 0x03B6E7D5, "b3": 0x00000052}, {"b2": 0x03B00001}, 0),
    ("set .S1 a0,7,21,a1", {"a0": 0x4B13F01E}, {"a1": 0x4B3FFF9E}, 0),
    ("ext .S1 a1,10,19,a2", {"a1": 0x07A43F2A}, {"a2": 0xFFFFF21F}, 0),
    ("ext .S1 a1,a2,a3", {"a1": 0x03B6E7D5, "a2": 0x00000073}, {"a3": 0x000003B6}, 0),
    ("extu .S1 a1,10,19,a2", {"a1": 0x07A43F2A}, {"a2": 0x0000121F}, 0),
    ("extu .S1 a1,a2,a3", {"a1": 0x80000000, "a2": 31}, {"a3": 1}, 0),
    ("addab .D1 a4,a2,a4", {"a4": 0x00000100, "a2": 0x0B}, {"a4": 0x0000010B}, 0),
    ("addah .D1 a4,a2,a4", {"a4": 0x00000100, "a2": 0x0B}, {"a4": 0x00000116}, 0),
    ("addaw .D1 a4,2,a4", {"a4": 0x00020000}, {"a4": 0x00020008}, 0),
    ("addad .D1 a4,a2,a4", {"a4": 0x00001234, "a2": 2}, {"a4": 0x00001244}, 0),
    ("addab .D1x b14,42,a4", {"b14": 0x0020F000}, {"a4": 0x0020F02A}, 0),
    ("subab .D1 a5,a0,a5", {"a5": 0x00000100, "a0": 4}, {"a5": 0x000000FC}, 0),
    ("subah .D1 a5,a0,a5", {"a5": 0x00000100, "a0": 4}, {"a5": 0x000000F8}, 0),
    ("subaw .D1 a5,2,a3", {"a5": 0x00000100}, {"a3": 0x000000F8}, 0),
    # --- packed halfwords and bytes
    ("add2 .S1 a1,a2,a3", {"a1": 0x0021FFFF, "a2": 0x039AE4B8}, {"a3": 0x03BBE4B7}, 0),
    ("sub2 .S1 a1,a2,a3", {"a1": 0x11050000, "a2": 0x11060001}, {"a3": 0xFFFFFFFF}, 0),
    ("add4 .L1 a1,a2,a3", {"a1": 0xFF684E3D, "a2": 0x3FF6F105}, {"a3": 0x3E5E3F42}, 0),
    ("sub4 .L1 a1,a2,a3", {"a1": 0x00010203, "a2": 0x01010101}, {"a3": 0xFF000102}, 0),
    ("max2 .L1 a2,a8,a9", {"a2": 0x3789F23A, "a8": 0x04B84975}, {"a9": 0x37894975}, 0),
    ("min2 .L1 a2,a8,a9", {"a2": 0x3789F23A, "a8": 0x04B84975}, {"a9": 0x04B8F23A}, 0),
    ("maxu4 .L1 a2,a8,a9", {"a2": 0x37894975, "a8": 0x04B8F23A}, {"a9": 0x37B8F275}, 0),
    ("minu4 .L1 a2,a8,a9", {"a2": 0x37894975, "a8": 0x04B8F23A}, {"a9": 0x0489493A}, 0),
    ("cmpeq2 .S1 a3,a4,a5", {"a3": 0x11056E30, "a4": 0x11056980}, {"a5": 2}, 0),
    ("cmpgt2 .S1 a3,a4,a5", {"a3": 0x1105F238, "a4": 0x11036980}, {"a5": 2}, 0),
    ("cmpeq4 .S1 a3,a4,a5", {"a3": 0x023A4E1C, "a4": 0x03B84E76}, {"a5": 2}, 0),
    ("cmpgtu4 .S1 a3,a4,a5", {"a3": 0x253A1CE4, "a4": 0x02B84E76}, {"a5": 9}, 0),
    ("shr2 .S1 a2,8,a3", {"a2": 0xA6E28123}, {"a3": 0xFFA6FF81}, 0),
    ("shru2 .S1 a2,8,a3", {"a2": 0xA6E28123}, {"a3": 0x00A60081}, 0),
    ("pack2 .L1 a2,a8,a9", {"a2": 0x3789F23A, "a8": 0x04B84975}, {"a9": 0xF23A4975}, 0),
    ("packh2 .L1 a2,a8,a9", {"a2": 0x3789F23A, "a8": 0x04B84975}, {"a9": 0x378904B8}, 0),
    ("packhl2 .L1 a2,a8,a9", {"a2": 0x3789F23A, "a8": 0x04B84975}, {"a9": 0x37894975}, 0),
    ("packlh2 .S1 a2,a8,a9", {"a2": 0x3789F23A, "a8": 0x04B84975}, {"a9": 0xF23A04B8}, 0),
    ("swap2 .L1 a2,a3", {"a2": 0x3789F23A}, {"a3": 0xF23A3789}, 0),
    ("packl4 .L1 a2,a8,a9", {"a2": 0x3789F23A, "a8": 0x04B84975}, {"a9": 0x893AB875}, 0),
    ("packh4 .L1 a2,a8,a9", {"a2": 0x3789F23A, "a8": 0x04B84975}, {"a9": 0x37F20449}, 0),
    ("spack2 .S1 a2,a8,a9", {"a2": 0x3789F23A, "a8": 0xFFFF8001}, {"a9": 0x7FFF8001}, 0),
    ("spacku4 .S1 a2,a8,a9", {"a2": 0x3789F23A, "a8": 0x00B80100}, {"a9": 0xFF00B8FF}, 0),
    ("unpkhu4 .L1 a1,a2", {"a1": 0x9E526E30}, {"a2": 0x009E0052}, 0),
    ("unpklu4 .S1 a1,a2", {"a1": 0x9E526E30}, {"a2": 0x006E0030}, 0),
    ("swap4 .L1 a1,a2", {"a1": 0x9E526E30}, {"a2": 0x529E306E}, 0),
    ("shlmb .L1 a2,a8,a9", {"a2": 0x3789F23A, "a8": 0x04B84975}, {"a9": 0xB8497537}, 0),
    ("shrmb .L1 a2,a8,a9", {"a2": 0x3789F23A, "a8": 0x04B84975}, {"a9": 0x3A04B849}, 0),
    ("dmv .S1 a0,a1,a3:a2", {"a0": 0x87654321, "a1": 0x12345678}, {"a2": 0x12345678, "a3": 0x87654321}, 0),
    (
        "dpack2 .L1 a0,a1,a3:a2",
        {"a0": 0x87654321, "a1": 0x12345678},
        {"a2": 0x43215678, "a3": 0x87651234},
        0,
    ),
    # --- .M
    # 291 x -239 = -69549
    ("mpy .M1 a1,a2,a3", {"a1": 0x01230123, "a2": 0x0AAAFF11}, {"a3": 0xFFFEF053}, 1),
    ("mpy .M1 13,a1,a2", {"a1": 0x3497FFF3}, {"a2": 0xFFFFFF57}, 1),
    ("mpyu .M1 a1,a2,a3", {"a1": 0x0001FFFF, "a2": 0x0001FFFF}, {"a3": 0xFFFE0001}, 1),
    ("mpysu .M1 a1,a2,a3", {"a1": 0x0000FFFF, "a2": 0x0000FFFF}, {"a3": 0xFFFF0001}, 1),
    ("mpyus .M1 a1,a2,a3", {"a1": 0x0000FFFF, "a2": 0x0000FFFE}, {"a3": 0xFFFE0002}, 1),
    # 35 x -89 = -3115
    ("mpyh .M1 a1,a2,a3", {"a1": 0x00230000, "a2": 0xFFA71234}, {"a3": 0xFFFFF3D5}, 1),
    ("mpyhu .M1 a1,a2,a3", {"a1": 0xFFFF0000, "a2": 0x00020000}, {"a3": 0x0001FFFE}, 1),
    # 138 x 167 = 23046
    ("mpyhl .M1 a1,a2,a3", {"a1": 0x008A003E, "a2": 0x21FF00A7}, {"a3": 0x00005A06}, 1),
    ("mpyhlu .M1 a1,a2,a3", {"a1": 0xFFFF0003, "a2": 0x0003FFFF}, {"a3": 0xFFFE0001}, 1),
    ("mpylh .M1 a1,a2,a3", {"a1": 0x0900000E, "a2": 0x002900A7}, {"a3": 0x0000023E}, 1),
    ("mpylhu .M1 a1,a2,a3", {"a1": 0x0003FFFF, "a2": 0xFFFF0003}, {"a3": 0xFFFE0001}, 1),
    ("rotl .M2 b2,b4,b5", {"b2": 0xA6E2C179, "b4": 0x1458}, {"b5": 0x79A6E2C1}, 1),
    ("rotl .M1 a1,0,a2", {"a1": 0x12345678}, {"a2": 0x12345678}, 1),
    ("avgu4 .M1 a1,a2,a3", {"a1": 0x1A2E5F4E, "a2": 0x9EF26E3F}, {"a3": 0x5C906747}, 1),
    ("xpnd2 .M1 a1,a2", {"a1": 0xFFFFFFFE}, {"a2": 0xFFFF0000}, 1),
    ("xpnd4 .M1 a1,a2", {"a1": 0x000000F5}, {"a2": 0x00FF00FF}, 1),
    ("mvd .M2x a5,b8", {"a5": 0x6A321193}, {"b8": 0x6A321193}, 3),
    ("dotp2 .M1 a5,a6,a8", {"a5": 0x6A321193, "a6": 0xB1746CA4}, {"a8": 0xE6DFF6D4}, 3),
    (
        "dotp2 .M1 a5,a6,a9:a8",
        {"a5": 0x80008000, "a6": 0x80008000},
        {"a8": 0x80000000, "a9": 0},
        3,
    ),
    # 27186 x -20108 - 4499 x 27812 = -671782276
    ("dotpn2 .M1 a5,a6,a8", {"a5": 0x6A321193, "a6": 0xB1746CA4}, {"a8": 0xD7F56A7C}, 3),
    # 106 x 177 + 50 x 116 + 17 x 108 + 147 x 164 = 50506, the manual's example
    ("dotpu4 .M1 a5,a6,a8", {"a5": 0x6A321193, "a6": 0xB1746CA4}, {"a8": 0x0000C54A}, 3),
    # 106 x 177 + 50 x 116 + 17 x 108 - 109 x 164 = 8522, the manual's example
    ("dotpsu4 .M1 a5,a6,a8", {"a5": 0x6A321193, "a6": 0xB1746CA4}, {"a8": 0x0000214A}, 3),
    # src1 is signed and may not cross, src2 is unsigned and may: -128 x 255 x 4 = -130560
    ("dotpsu4 .M2x b5,a6,b8", {"b5": 0x80808080, "a6": 0xFFFFFFFF}, {"b8": 0xFFFE0200}, 3),
    ("dotpsu4 .M1 a5,a6,a8", {"a5": 0x000000FF, "a6": 0x00000001}, {"a8": 0xFFFFFFFF}, 3),
    (
        "mpy2 .M1 a5,a6,a9:a8",
        {"a5": 0x6A321193, "a6": 0xB1746CA4},
        {"a8": 0x0775462C, "a9": 0xDF6AB0A8},
        3,
    ),
    (
        "mpyu4 .M1 a5,a6,a9:a8",
        {"a5": 0x6A321193, "a6": 0xB1746CA4},
        {"a8": 0x072C5E2C, "a9": 0x494A16A8},
        3,
    ),
    (
        "mpysu4 .M1 a5,a6,a9:a8",
        {"a5": 0x6A321193, "a6": 0xB1746CA4},
        {"a8": 0x072CBA2C, "a9": 0x494A16A8},
        3,
    ),
    # 1 x 2^31 - as signed -2147483648, and -1 x 0x00010000
    ("mpyhi .M1 a5,a6,a9:a8", {"a5": 0x0001FFFF, "a6": 0x80000000}, {"a8": 0x80000000, "a9": 0xFFFFFFFF}, 3),
    ("mpyli .M1 a5,a6,a9:a8", {"a5": 0x0001FFFF, "a6": 0x00010000}, {"a8": 0xFFFF0000, "a9": 0xFFFFFFFF}, 3),
    # (0x4000 x 3 + 0x4000) >> 15 = 2; (0x4000 x 2 + 0x3fff.. rounds 1.5 up)
    ("mpyhir .M1 a5,a6,a8", {"a5": 0x40000000, "a6": 3}, {"a8": 2}, 3),
    ("mpylir .M1 a5,a6,a8", {"a5": 0x00004000, "a6": 0xFFFFFFFD}, {"a8": 0xFFFFFFFF}, 3),
    ("mpy32 .M1 a5,a6,a8", {"a5": 0x00010001, "a6": 0xFFFFFFFE}, {"a8": 0xFFFDFFFE}, 3),
    (
        "mpy32 .M1 a5,a6,a9:a8",
        {"a5": 0x80000000, "a6": 0x7FFFFFFF},
        {"a8": 0x80000000, "a9": 0xC0000000},
        3,
    ),
    (
        "mpy32u .M1 a5,a6,a9:a8",
        {"a5": 0xFFFFFFFF, "a6": 0xFFFFFFFF},
        {"a8": 0x00000001, "a9": 0xFFFFFFFE},
        3,
    ),
    (
        "mpy32su .M1 a5,a6,a9:a8",
        {"a5": 0xFFFFFFFF, "a6": 0xFFFFFFFF},
        {"a8": 0x00000001, "a9": 0xFFFFFFFF},
        3,
    ),
    (
        "mpy32us .M1 a5,a6,a9:a8",
        {"a5": 0xFFFFFFFF, "a6": 0xFFFFFFFE},
        {"a8": 0x00000002, "a9": 0xFFFFFFFE},
        3,
    ),
]

BYTES = bytes.fromhex("01 82 03 84 05 86 07 88 09 8a 0b 8c 0d 8e 0f 90")  # at 0x20000

# (instruction, registers before, registers after, delay slots); a4 and b4 are in the memory's middle
LOADS = [
    ("ldb .D1T1 *a4,a1", {"a4": 0x20001}, {"a1": 0xFFFFFF82}, 4),
    ("ldbu .D1T1 *a4,a1", {"a4": 0x20001}, {"a1": 0x82}, 4),
    ("ldh .D1T1 *+a4[1],a1", {"a4": 0x20000}, {"a1": 0xFFFF8403}, 4),
    ("ldhu .D1T2 *-a4[1],b1", {"a4": 0x20004}, {"b1": 0x8403}, 4),
    ("ldw .D1T1 *a4++,a1", {"a4": 0x20000}, {"a1": 0x84038201}, 4),
    ("ldw .D2T2 *++b4[2],b1", {"b4": 0x20000}, {"b1": 0x8C0B8A09, "b4": 0x20008}, 4),
    ("ldw .D2T1 *b4--[1],a1", {"b4": 0x20004}, {"a1": 0x88078605}, 4),
    ("ldw .D1T1 *--a4[1],a1", {"a4": 0x20008}, {"a1": 0x88078605, "a4": 0x20004}, 4),
    ("ldw .D1T1 *+a4[a5],a1", {"a4": 0x20000, "a5": 2}, {"a1": 0x8C0B8A09}, 4),
    ("ldb .D1T1 *-a4[a5],a1", {"a4": 0x20004, "a5": 2}, {"a1": 3}, 4),
    ("ldw .D2T2 *+b15(12),b1", {"b15": 0x20000}, {"b1": 0x900F8E0D}, 4),
    ("ldw .D2T2 *+b14(260),b1", {"b14": 0x1FF00}, {"b1": 0x88078605}, 4),
    ("lddw .D1T1 *a4++,a1:a0", {"a4": 0x20000}, {"a0": 0x84038201, "a1": 0x88078605}, 4),
    ("lddw .D2T2 *+b4[1],b1:b0", {"b4": 0x20000}, {"b0": 0x8C0B8A09, "b1": 0x900F8E0D}, 4),
    ("ldnw .D1T1 *a4,a1", {"a4": 0x20001}, {"a1": 0x05840382}, 4),
    ("ldndw .D1T1 *a4,a1:a0", {"a4": 0x20003}, {"a0": 0x07860584, "a1": 0x0B8A0988}, 4),
    ("ldndw .D1T1 *a4++[1],a1:a0", {"a4": 0x20001}, {"a0": 0x05840382, "a1": 0x09880786}, 4),
    ("ldndw .D1T1 *+a4(3),a1:a0", {"a4": 0x20000}, {"a0": 0x07860584, "a1": 0x0B8A0988}, 4),
    ("ldndw .D1T1 *+a4[a5],a1:a0", {"a4": 0x20000, "a5": 1}, {"a0": 0x8C0B8A09, "a1": 0x900F8E0D}, 4),
]

# (instruction, registers before, registers after, the first 16 bytes after)
STORES = [
    ("stb .D1T1 a1,*+a4[1]", {"a4": 0x20000, "a1": 0x11223344}, {}, "0144038405860788098a0b8c0d8e0f90"),
    ("sth .D1T1 a1,*a4++", {"a4": 0x20002, "a1": 0x11223344}, {"a4": 0x20004}, "0182443305860788098a0b8c0d8e0f90"),
    ("stw .D2T2 b1,*b4--[1]", {"b4": 0x20004, "b1": 0x11223344}, {"b4": 0x20000}, "0182038444332211098a0b8c0d8e0f90"),
    ("stw .D1T2 b1,*++a4[1]", {"a4": 0x20000, "b1": 0x11223344}, {"a4": 0x20004}, "0182038444332211098a0b8c0d8e0f90"),
    ("stdw .D1T1 a1:a0,*a4", {"a4": 0x20008, "a0": 0x11223344, "a1": 0x55667788}, {}, "01820384058607884433221188776655"),
    ("stnw .D1T1 a1,*a4", {"a4": 0x20001, "a1": 0x11223344}, {}, "0144332211860788098a0b8c0d8e0f90"),
    ("stndw .D1T1 a1:a0,*a4", {"a4": 0x20001, "a0": 0x11223344, "a1": 0x55667788}, {}, "01443322118877665 58a0b8c0d8e0f90".replace(" ", "")),
]

# tested by their own files: pipeline and loop buffer
ELSEWHERE = {"nop", "b", "bnop", "bdec", "bpos", "callp", "addkpc", "mvc"}
ELSEWHERE |= {"sploop", "sploopd", "spkernel", "spmask"}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """Every case behind its own label, each with room for its delay slots."""
    texts = [case[0] for case in (*CASES, *LOADS, *STORES)]
    lines = [f"case_{n}:\n\t{text}\n\tnop 9\n\tnop 9" for n, text in enumerate(texts)]
    return Program(assemble("\n".join(lines), tmp_path_factory.mktemp("cases")))


def prepared(program: Program, before: dict[str, int]) -> Machine:
    machine = Machine(program)
    machine.state.reg[:] = [JUNK] * 64
    for name, value in before.items():
        machine[name] = value
    machine["b3"] = before.get("b3", STOP)
    return machine


def check(program: Program, number: int, before: dict[str, int], after: dict[str, int], delay: int) -> Machine:
    """The results stand after the delay slots, the last to come not a cycle before."""
    machine = prepared(program, before)
    machine.memory(0x20000, 16)[:] = list(BYTES)
    old = [machine.state.reg[k] for k in range(64)]
    if delay:
        machine.step(program.symbols[f"case_{number}"], delay)
        slow = {name for name in after if name not in before}
        assert all(machine[name] == JUNK for name in slow), "a result came early"
    machine.step(machine.state.pc if delay else program.symbols[f"case_{number}"], 1)
    assert {name: hex(machine[name]) for name in after} == {n: hex(v) for n, v in after.items()}
    touched = {*after, *before}
    names = [f"{'ab'[k // 32]}{k % 32}" for k in range(64)]
    others = [k for k, name in enumerate(names) if name not in touched]
    assert all(machine.state.reg[k] == old[k] for k in others), "another register changed"
    return machine


@pytest.mark.parametrize("number", range(len(CASES) + len(LOADS)))
def test_registers(program: Program, number: int) -> None:
    _, before, after, delay = [*CASES, *LOADS][number]
    check(program, number, before, after, delay)


@pytest.mark.parametrize("number", range(len(STORES)))
def test_stores(program: Program, number: int) -> None:
    _, before, after, content = STORES[number]
    machine = check(program, len(CASES) + len(LOADS) + number, before, after, 0)
    assert bytes(machine.memories[-1]).hex() == content


def test_every_operation_has_a_case() -> None:
    tested = {case[0].split()[0] for case in (*CASES, *LOADS, *STORES)}
    assert set(operations()) - tested - ELSEWHERE == set()
