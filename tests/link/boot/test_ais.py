from __future__ import annotations

import re
import shutil
import struct
import subprocess
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_ct2mri.errors import FirmwareError
from napari_ct2mri.firmware.ais import LCDK_INIT, boot_image
from napari_ct2mri.jobs import Event, Notice, run_job
from napari_ct2mri.link.boot import BootImageError, Command, ais_image, function, load, write
from napari_ct2mri.link.boot.ais import MAGIC, Op, pack, parse, seek_target

from .programs import CODE, CONSTANTS, PROGRAM, elf

# An image that TI's AISgen for this ROM made of the four bytes "abc\n" at 0x80000000, entry 0, as
# shown in TI's forum (E2E, thread 52816).
FROM_AISGEN = bytes.fromhex(
    "54495041 0d595358 02000100 0b000000 03595358 01595358 00000080 04000000"
    "6162630a 02595358 889606ff e4ffffff 06595358 00000000"
)


def test_an_image_is_that_of_tis_own_maker() -> None:
    abc = elf([(0x80000000, b"abc\n")], 0x80000000)
    ours = ais_image(abc, [function(2, 0x0B)])
    assert ours[:-4] == FROM_AISGEN[:-4]
    assert ours[-4:] == struct.pack("<I", 0x80000000)  # theirs was given no entry
    assert pack(list(parse(FROM_AISGEN).values())) == FROM_AISGEN


def test_sections_are_padded_checked_and_repeated_from_their_start() -> None:
    commands = parse(ais_image(PROGRAM))
    assert [each.op for each in commands.values()] == [
        Op.ENABLE_CRC, Op.LOAD, Op.VALIDATE_CRC, Op.LOAD, Op.VALIDATE_CRC, Op.JUMP_CLOSE,
    ]  # fmt: skip
    loads = {at: each for at, each in commands.items() if each.op is Op.LOAD}
    code, constants = loads.values()
    assert (code.words, code.data) == ((0x11804000, len(CODE)), CODE)
    assert (constants.words, constants.data) == ((0x11810000, 8), CONSTANTS + bytes(3))
    checks = {at: each for at, each in commands.items() if each.op is Op.VALIDATE_CRC}
    for (at, section), (check_at, check) in zip(loads.items(), checks.items(), strict=True):
        assert check.words[0] == zlib.crc32(struct.pack("<2I", *section.words) + section.data)
        assert seek_target(check_at, check) == at
    assert list(commands.values())[-1].words == (0x11804020,)


def test_without_crc_nothing_is_checked() -> None:
    ops = {each.op for each in parse(ais_image(PROGRAM, crc=False)).values()}
    assert ops == {Op.LOAD, Op.JUMP_CLOSE}


def test_commands_are_named_in_words() -> None:
    named = [str(each) for each in (load(0x80, b"12345"), write(0xB0000020, 1), function(6, 1))]
    assert named == ["section load, 8 bytes at 0x00000080", "write 0xB0000020", "ROM function 6"]
    assert str(Command(Op.ENABLE_CRC)) == "enable crc"


def mkimage(folder: Path, settings: str, data: bytes, address: int) -> bytes:
    """What U-Boot's maker of AIS images makes of one section."""
    program = shutil.which("mkimage")
    if program is None:
        pytest.skip("mkimage is not installed; it is in u-boot-tools")
    (folder / "ais.cfg").write_text(settings)
    (folder / "data.bin").write_bytes(data)
    subprocess.run(
        [program, "-T", "aisimage", "-n", "ais.cfg", "-e", f"{address:x}", "-d", "data.bin", "out"],
        cwd=folder, check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    whole = (folder / "out").read_bytes()
    assert whole.endswith(data)  # once more, behind the end; the ROM does not come so far
    return whole.removesuffix(data)


def settings_of(commands: tuple[Command, ...]) -> str:
    """Commands in mkimage's own words (tools/aisimage.c of U-Boot)."""
    functions = {0: "PLL0", 1: "PLL1", 2: "CLK", 3: "DDR2", 6: "PLL", 7: "PSC", 8: "PINMUX"}
    others = {Op.WRITE: "BOOT_TABLE", Op.FILL: "FILL", Op.ENABLE_CRC: "CRCON"}
    lines = []
    for each in commands:
        is_function = each.op is Op.FUNCTION
        name = functions[each.words[0] & 0xFFFF] if is_function else others[each.op]
        lines.append(" ".join((name, *(f"{word:x}" for word in each.words[is_function:]))))
    return "\n".join(lines) + "\n"


def test_mkimage_makes_the_same_of_an_lcdks_image(tmp_path: Path) -> None:
    theirs = mkimage(tmp_path, settings_of(LCDK_INIT), CODE, 0x11804000)
    ours = ais_image(elf([(0x11804000, CODE)], 0x11804000), LCDK_INIT, crc=False)
    assert ours == theirs


def test_mkimage_makes_the_same_of_every_command_that_both_have(tmp_path: Path) -> None:
    commands = (
        function(0, 0x00180001, 0x00000205), function(1, 0x18010001, 2), function(2, 0x51),
        Command(Op.FILL, (0x80000000, 64, 2, 0xA5A5A5A5)), Command(Op.ENABLE_CRC), *LCDK_INIT,
    )  # fmt: skip
    theirs = mkimage(tmp_path, settings_of(commands), b"1234", 0x80000000)
    ours = pack([*commands, load(0x80000000, b"1234"), Command(Op.JUMP_CLOSE, (0x80000000,))])
    assert ours == theirs


def test_mkimage_pads_a_section_as_we_do_but_leaves_its_size(tmp_path: Path) -> None:
    theirs = mkimage(tmp_path, "", CONSTANTS, 0x80000000)
    ours = pack([load(0x80000000, CONSTANTS), Command(Op.JUMP_CLOSE, (0x80000000,))])
    assert len(ours) == len(theirs)
    assert (ours[12], theirs[12]) == (8, 5)  # AISgen, too, rounds up (TI E2E, thread 119062)
    assert ours[16:21] == theirs[16:21]
    (command, _) = parse(theirs).values()
    assert command.words == (0x80000000, 5)
    assert len(command.data) == 8


def test_mkimage_lists_what_we_made(tmp_path: Path) -> None:
    program = shutil.which("mkimage")
    if program is None:
        pytest.skip("mkimage is not installed; it is in u-boot-tools")
    (tmp_path / "boot.ais").write_bytes(ais_image(PROGRAM, LCDK_INIT, crc=False))
    listed = subprocess.run(
        [program, "-l", "boot.ais"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    ).stdout
    found = re.findall(r"Image at +: +(0x\w+) size (0x\w+)", listed)
    assert [(int(at, 16), int(size, 16)) for at, size in found] == [
        (0x11804000, len(CODE)),
        (0x11810000, 8),
    ]


WORDS = st.integers(0, 2**32 - 1)
COMMANDS = st.one_of(
    st.builds(load, WORDS, st.binary(max_size=40)),
    st.builds(write, WORDS, WORDS),
    st.builds(function, st.integers(0, 12), WORDS, WORDS),
    st.sampled_from([Command(Op.ENABLE_CRC), Command(Op.DISABLE_CRC), Command(Op.SEQUENTIAL_READ)]),
    st.builds(lambda to: Command(Op.JUMP, (to,)), WORDS),
)


@given(st.lists(COMMANDS, max_size=8), WORDS)
def test_what_is_packed_is_parsed(commands: list[Command], entry: int) -> None:
    commands.append(Command(Op.JUMP_CLOSE, (entry,)))
    image = pack(commands)
    assert list(parse(image).values()) == commands
    assert sum(each.size_bytes for each in commands) + 4 == len(image)


@given(st.data())
def test_a_cut_or_altered_image_is_refused_or_read_as_it_stands(data: st.DataObject) -> None:
    whole = ais_image(PROGRAM, LCDK_INIT)
    spoiled = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for at in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=3)):
        if at < len(spoiled):
            spoiled[at] = data.draw(st.integers(0, 255))
    with suppress(BootImageError):
        assert pack(list(parse(bytes(spoiled)).values())) == spoiled


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (b"", "is cut: a word at 0, but it has 0 bytes"),
        (b"\x7fELF" + bytes(60), "begins with 0x464C457F, expected 0x41504954"),
        (struct.pack("<2I", MAGIC, 0x58535908), "0x58535908 at 4, which is no opcode"),
        (struct.pack("<I", MAGIC), "does not end with its jump and close"),
        (pack([load(0, b"1234")]), "does not end"),
        (pack([Command(Op.JUMP_CLOSE, (0,)), load(0, b"1234")]), "does not end"),
        (pack([load(0, b"12345678")])[:-4], "cut: 8 bytes at 16"),
        (pack([function(3, *range(8))])[:-4], "cut: a word at 40"),
        (
            pack([Command(Op.VALIDATE_CRC, (0, 2**32 - 8)), Command(Op.JUMP_CLOSE, (0,))]),
            "CRC at 4 would repeat from 8, where no command stands",
        ),
    ],
)
def test_images_that_are_none_are_refused(image: bytes, words: str) -> None:
    with pytest.raises(BootImageError, match=words):
        parse(image)


def test_lcdk_sets_456_mhz_and_150_mhz_and_the_roms_own_rate() -> None:
    by_index = {
        each.words[0] & 0xFFFF: each.words[1:] for each in LCDK_INIT if each.op is Op.FUNCTION
    }
    pll0, dividers, uart = by_index[6]
    clkmode, pllm, prediv, postdiv = struct.pack(">I", pll0)
    cpu_hz = 24e6 * (pllm + 1) / (prediv + 1) / (postdiv + 1) / ((dividers >> 16) + 1)
    assert (clkmode, cpu_hz) == (0, 456e6)
    assert cpu_hz / ((dividers & 0xFF) + 1) <= 50e6  # SYSCLK7
    assert uart >> 16 == 1  # 13 samples a bit
    assert cpu_hz / 2 / 13 / (uart & 0xFFFF) == pytest.approx(115200, rel=0.002)
    pllm, postdiv, div1, _ = struct.pack(">I", by_index[3][0])
    twice_ddr_hz = 24e6 * (pllm + 1) / (postdiv + 1) / (div1 + 1)
    assert twice_ddr_hz == 300e6
    refresh = by_index[3][6] & 0xFFFF
    assert refresh / (twice_ddr_hz / 2) == pytest.approx(7.8e-6, rel=0.001)  # JEDEC DDR2, tREFI


def test_lcdk_memory_timing_is_that_of_u_boots_fields() -> None:
    ddr2 = next(each.words[1:] for each in LCDK_INIT if each.words[0] & 0xFFFF == 3)
    # include/configs/omapl138_lcdk.h: value << shift of arch/arm/mach-davinci's ddr2_defs.h
    sdtimr = [(19, 25), (1, 22), (1, 19), (2, 16), (6, 11), (8, 6), (1, 3), (1, 0)]
    sdtimr2 = [(7, 27), (2, 25), (0, 23), (20, 16), (199, 8), (1, 5), (2, 0)]
    assert ddr2[4] == sum(value << shift for value, shift in sdtimr)
    assert ddr2[5] == sum(value << shift for value, shift in sdtimr2)
    assert ddr2[2] == 0x40 | 0x80 | 5  # powers down inputs, external strobe, read latency


def image_of(program: Path, board: str = "c6748-lcdk") -> tuple[bytes, list[str]]:
    """The image, and what the job noted."""
    events: list[Event] = []
    image = run_job(boot_image(program, board), events.append)
    return image, [event.text for event in events if isinstance(event, Notice)]


def test_a_boards_image_is_made_of_its_program(tmp_path: Path) -> None:
    program = tmp_path / "firmware.elf"
    program.write_bytes(PROGRAM)
    assert image_of(program) == image_of(program) == (ais_image(PROGRAM, LCDK_INIT), [])


@pytest.mark.parametrize("address", [0x11800000, 0x11803FFC])
def test_a_program_where_the_rom_works_is_noted(tmp_path: Path, address: int) -> None:
    program = tmp_path / "firmware.elf"
    program.write_bytes(elf([(address, b"12345678")], address))
    _, (note,) = image_of(program)
    assert f"8 bytes at 0x{address:08X}" in note
    assert "link the program behind that" in note


def test_a_board_without_rom_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(FirmwareError, match="host starts without a boot image"):
        image_of(tmp_path, "host")
    with pytest.raises(FirmwareError, match="run `ct2mri build` first"):
        image_of(tmp_path / "firmware.elf")
