"""C programs, compiled for the C674x and run in the interpreter, give what they give here."""

from __future__ import annotations

import ctypes

import pytest

from . import kernels
from .machine import HERE, Machine, Program
from .toolchain import compile_c, run

PROGRAMS = [
    "crc32", "crc32_check", "long_words", "sorting", "products", "division", "copies", "calls",
]  # fmt: skip


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    library = tmp_path_factory.mktemp("host") / "programs.so"
    run("cc", "-std=c99", "-O1", "-fwrapv", "-shared", "-fPIC", "-o", library, HERE / "programs.c")
    return ctypes.CDLL(str(library))


@pytest.fixture(scope="module", params=["-O0", "-O2", "-O3"])
def code(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Program:
    folder = tmp_path_factory.mktemp("programs")
    flags = (request.param, "-fno-tree-loop-distribute-patterns")
    freestanding = kernels.RUNTIME / "port" / "freestanding.c"
    return Program(compile_c(folder, HERE / "programs.c", freestanding, flags=flags))


@pytest.mark.parametrize("name", PROGRAMS)
def test_program(code: Program, host: ctypes.CDLL, name: str) -> None:
    for seed in (1, 0x12345678):
        machine = Machine(code)
        assert machine.call(name, seed) == getattr(host, name)(seed) & 0xFFFF_FFFF


def test_crc_of_the_catalogue(code: Program) -> None:
    assert Machine(code).call("crc32_check", 0) == 0xCBF43926
