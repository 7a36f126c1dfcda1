"""The whole firmware of the C6748, as its makefile builds it, from reset: a session, a push, a run.

C674x machine code in the interpreter, over modelled UART and EDMA3 (``chip.py``).
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_ct2mri.firmware.boards import tool_path
from napari_ct2mri.firmware.container import Container, pack
from napari_ct2mri.firmware.reference import each_layer
from napari_ct2mri.link.codec import decode

from . import kernels
from .chip import L2, L2_BYTES, MAR192, THIRTEEN, Chip
from .machine import Machine, Program
from .toolchain import tool

sys.path.insert(0, str(Path(__file__).parents[1] / "firmware"))
from host_end import RATE, RESET, STATS, Client, is_all
from random_models import boxed, random_model

DDR = {0xC000_0000: 1 << 27}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Program:
    tool("gcc")
    folder = tmp_path_factory.mktemp("board") / "runtime"
    shutil.copytree(kernels.RUNTIME, folder)
    subprocess.run(
        ["make", "-s", "BOARD=c6748-lcdk"], cwd=folder, check=True, env={"PATH": tool_path()}
    )
    return Program(folder / "build" / "c6748-lcdk" / "firmware.elf")


@pytest.fixture(scope="module")
def chip(program: Program) -> Chip:
    machine = Machine(program, memories={L2: L2_BYTES, MAR192: 64, **DDR})
    machine.bytes_at(0xC000_0000, 1 << 26)[:: 1 << 12] = 0xA5  # what DDR2 holds after power-on
    return Chip(machine, cycles_per_byte=600)


@pytest.fixture(scope="module")
def client(chip: Chip) -> Client:
    chip.pass_byte_times(600)

    def exchange(data: bytes) -> bytes:
        got = b""
        chip.pass_byte_times(0, data)
        for _ in range(3000):
            chip.pass_byte_times(40)
            more = chip.said()
            got += more
            if got and not more and is_all(got):
                break
        return got

    return Client(exchange)


@pytest.fixture(scope="module")
def box() -> Container:
    return boxed(random_model(4, 3, 2))


@pytest.fixture(scope="module")
def pushed(client: Client, box: Container) -> Client:
    hello = client.hello()
    assert (hello.status, hello.active, hello.board) == (7, 0xFF, "c6748-lcdk")
    assert client.push(pack(box)) == 0
    return client


def test_it_fits(program: Program) -> None:
    """Program, data, stack and rings leave most of L2's half to scratch."""
    symbols = program.symbols
    assert symbols["ct_fast_end"] - symbols["ct_fast_start"] > 100_000


def test_a_model_runs(pushed: Client, box: Container) -> None:
    hello = pushed.hello()
    assert (hello.status, hello.active) == (0, 0)
    assert hello.digest == hashlib.sha256(pack(box)).digest()
    assert pushed.test() == 0
    image = box.golden[0]
    pushed.send_network(image)
    mr, _ = pushed.run(flags=1)
    expected = list(each_layer(box.model, image))
    np.testing.assert_array_equal(decode(mr, image.shape[:2], np.uint8), expected[-1][..., 0])
    layers = [hashlib.sha256(np.ascontiguousarray(each)).digest() for each in expected]
    assert pushed.digests(hello.layers) == layers


def test_a_reset_keeps_the_model(pushed: Client, chip: Chip) -> None:
    pushed.ask(RESET)
    chip.pass_byte_times(1500)
    assert pushed.hello().status == 0
    assert pushed.test() == 0


def test_the_rate_changes_once_the_answer_is_out(pushed: Client, chip: Chip) -> None:
    """That it falls back is tested on the host: half a second is long here."""
    pushed.hello()
    for rate, divisor in ((2_000_000, 7), (115_200, 152 | THIRTEEN)):
        pushed.ask(RATE, rate.to_bytes(4, "little"))
        chip.pass_byte_times(10)
        assert chip.uart.divisor == divisor
        assert pushed.hello().status == 0
        pushed.ask(STATS, b"\0")
