"""What fuzzers (``fuzz/fuzz``, ``fuzz/fuzz-codec``) have kept, and trying it again."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from native import compile_c

from napari_ct2mri.firmware import runtime_folder

__all__ = ["FUZZ", "replay", "unpacked"]

FUZZ = Path(__file__).parent / "fuzz"


def unpacked(name: str, folder: Path) -> list[Path]:
    """The inputs of one fuzzer, as files in ``folder``."""
    found = []
    with tarfile.open(FUZZ / f"{name}.tar.xz") as archive:
        for member in archive:
            if (content := archive.extractfile(member)) is not None:
                found.append(folder / Path(member.name).name)
                found[-1].write_bytes(content.read())
    return sorted(found)


def replay(sources: Sequence[Path], inputs: Sequence[Path], folder: Path) -> None:
    """Every input once, in a folder of its own, all but the hash under the sanitizers."""
    if shutil.which("clang") is None:
        pytest.skip("no clang here")
    checked = []
    for source in sources:
        if source.name == "sha256.c":  # most of the time, and tested elsewhere
            source = compile_c("clang", ["-O3", "-c"], [source], folder / "sha256.o")
        checked.append(source)
    flags = ["-g", "-O2", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"]
    program = compile_c("clang", [*flags, f"-I{runtime_folder()}"], checked, folder / "fuzz")
    done = subprocess.run([program, *inputs], capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Executed ") == len(inputs)
