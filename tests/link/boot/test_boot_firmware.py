"""Programs that the C6000's own tools have linked by the port's own script, booted."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

from c674x.toolchain import run, tool
from napari_ct2mri.firmware import runtime_folder
from napari_ct2mri.firmware.ais import boot_image
from napari_ct2mri.firmware.build import build
from napari_ct2mri.jobs import run_job
from napari_ct2mri.link.boot.ais import Op, parse

from .test_dialogue import boot_over, memory_of, pytestmark, rom

__all__ = ["pytestmark"]

PORT = runtime_folder() / "port" / "c6748-lcdk"
MAIN = """
        .global ct_start
        .text
ct_start:
        b       .S2     B3
        nop     5
        .section .rodata
        .word   1, 2, 3
        .section .fardata, "aw"
        .word   42
        .section .bss, "aw", @nobits
        .space  100
"""


def check_booted(program: Path, folder: Path) -> None:
    """It lies in the ROM's memory as objcopy lays it out, and starts where readelf says."""
    flat = folder / "flat.bin"
    run(tool("objcopy"), "-O", "binary", program, flat)
    listed = run(tool("readelf"), "--file-header", "--segments", "--wide", program)
    entry = int(re.search(r"Entry point address: +(0x\w+)", listed)[1], 16)  # type: ignore[index]
    loaded = re.findall(r"LOAD +0x\w+ +0x\w+ +(0x\w+) +(0x\w+)", listed)
    first = min(int(address, 16) for address, size in loaded if int(size, 16))

    image = run_job(boot_image(program, "c6748-lcdk"), lambda _: None)
    sections = {each.words[0]: each.data for each in parse(image).values() if each.op is Op.LOAD}
    for address, data in sections.items():
        there = flat.read_bytes()[address - first :][: len(data)]
        assert data == there + bytes(-len(there) % 4)
    with rom() as board:
        boot_over(board.path, image)
        report = board.report()
    assert report["entry"] == entry
    assert memory_of(report) == {
        address: hashlib.sha256(data).hexdigest() for address, data in sections.items()
    }


def test_a_program_of_the_c6000s_linker_is_booted(tmp_path: Path) -> None:
    (tmp_path / "main.S").write_text(MAIN)
    for source in (PORT / "start.S", tmp_path / "main.S"):
        run(tool("as"), "-march=c674x", "-o", tmp_path / f"{source.stem}.o", source)
    program = tmp_path / "program.elf"
    objects = [tmp_path / "start.o", tmp_path / "main.o"]
    run(tool("ld"), "-T", PORT / "board.ld", "--no-warn-rwx-segments", "-o", program, *objects)
    check_booted(program, tmp_path)


def test_the_firmware_is_booted(tmp_path: Path) -> None:
    tool("gcc")
    project = tmp_path / "project"
    shutil.copytree(runtime_folder(), project)
    (project / "model.ctm").write_bytes(b"")  # is pushed later, not booted
    built = run_job(build(project, "c6748-lcdk"), lambda _: None)
    check_booted(built.program, tmp_path)
