"""The GNU C6000 toolchain, and what the tests let it do."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

FREESTANDING = ("-std=c99", "-march=c674x", "-ffreestanding", "-nostdlib", "-Wall", "-Werror")

# One program in one memory: code at 0x10000, in whole fetch packets (objdump reads no others),
# constants and data behind it.
LINK = """
ENTRY(_start)
SECTIONS {
  . = 0x10000;
  .text : { *(.text*) . = ALIGN(32); }
  . = ALIGN(4096);
  .rodata : { *(.rodata* .const*) }
  .data : ALIGN(8) { *(.neardata* .fardata* .data*) }
  __c6xabi_DSBT_BASE = .;
  __exidx_start = .; __exidx_end = .; /* nothing unwinds */
  .bss : ALIGN(8) { *(.bss* .far* COMMON) }
  /DISCARD/ : { *(.c6xabi.* .comment) }
}
"""


@cache
def tool(name: str) -> str:
    """The path of ``tic6x-elf-NAME``; without it the test is skipped."""
    cache_home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    places = f"{cache_home / 'napari-ct2mri' / 'tic6x' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    path = shutil.which(f"tic6x-elf-{name}", path=places)
    if path is None:
        pytest.skip(f"tic6x-elf-{name} is not installed; scripts/build-tic6x builds it")
    return path


def run(*command: str | Path) -> str:
    """What the command prints; its complaints become the test's."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


def assemble(text: str, folder: Path) -> Path:
    """A program of this assembly alone; it begins at the symbol ``_start``."""
    source, made, linked = folder / "test.s", folder / "test.o", folder / "test.elf"
    source.write_text(f"\t.text\n\t.global _start\n_start:\n{text}\n")
    script = folder / "link.ld"
    script.write_text(LINK)
    run(tool("as"), "-march=c674x", "-o", made, source)
    run(tool("ld"), "-T", script, "-o", linked, made)
    return linked


def compile_c(folder: Path, *sources: Path, flags: tuple[str, ...] = ()) -> Path:
    """A program of these C and assembly files with libgcc, and no other library."""
    script, linked = folder / "link.ld", folder / "program.elf"
    script.write_text(LINK)
    run(tool("gcc"), *FREESTANDING, *flags, f"-Wl,-T,{script}", "-o", linked, *sources, "-lgcc")
    return linked
