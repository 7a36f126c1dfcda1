"""What a fuzzer (``fuzz/fuzz``) tried on the reader of containers, tried again."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from native import Native, compile_c, core

from napari_ct2mri.errors import ContainerError
from napari_ct2mri.firmware import runtime_folder
from napari_ct2mri.firmware.container import Fault, seal, unpack

FUZZ = Path(__file__).parent / "fuzz"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("corpus")
    with tarfile.open(FUZZ / "corpus.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return sorted(path for path in folder.iterdir() if path.is_file())


def sealed(data: bytes) -> bytes:
    """With the right digest, as ``fuzz/container.c`` makes it."""
    size = int.from_bytes(data[16:20], "little")
    return seal(bytearray(data[:size])) + data[size:] if 128 <= size <= len(data) else data


def fault(data: bytes) -> int:
    try:
        unpack(data)
    except ContainerError as error:
        return error.number
    return 0


def test_sanitizers_find_nothing(corpus: list[Path], tmp_path: Path) -> None:
    if shutil.which("clang") is None:
        pytest.skip("no clang here")
    flags = ["-g", "-O1", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"]
    sources = [FUZZ / "container.c", *core()]
    program = compile_c("clang", [*flags, f"-I{runtime_folder()}"], sources, tmp_path / "fuzz")
    done = subprocess.run([program, *corpus], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Executed ") == len(corpus)


def test_both_readers_say_the_same(native: Native, corpus: list[Path]) -> None:
    numbers = {}
    for path in corpus:
        data = sealed(path.read_bytes())
        numbers[path.name] = native.open(data)[0]
        assert numbers[path.name] == fault(data), path.name
    assert set(numbers.values()) >= {0, *Fault} - {Fault.DIGEST}
