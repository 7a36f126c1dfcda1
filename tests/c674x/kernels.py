"""The kernels of the firmware, on the host and as C674x code, called with arrays."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .machine import Machine, Program
from .toolchain import compile_c, run

RUNTIME = Path(__file__).parents[2] / "src" / "napari_ct2mri" / "firmware" / "runtime"
BOARD = RUNTIME / "port" / "c6748-lcdk"
BASE = 0xC000_0000  # where arguments are laid out, 1 MiB each


@cache
def program(folder: Path, optimization: str | None) -> Program:
    """The kernels as C674x code: by hand, or compiled from C with ``-O2`` and the like."""
    if optimization:
        return Program(compile_c(folder, RUNTIME / "kernels.c", flags=(optimization,)))
    sources = (RUNTIME / "kernels_c674x.S", BOARD / "kernels_rest.c")
    return Program(compile_c(folder, *sources, flags=("-O2",)))


@cache
def host(folder: Path) -> ctypes.CDLL:
    """The portable kernels compiled for this computer: what all others must equal."""
    library = folder / "kernels.so"
    run("cc", "-std=c99", "-O1", "-shared", "-fPIC", "-o", library, RUNTIME / "kernels.c")
    return ctypes.CDLL(str(library))


class Rescale(ctypes.Structure):
    """``ct_rescale``, with the host's pointers."""

    _fields_ = [
        ("multiplier", ctypes.c_void_p * 2),
        ("shift", ctypes.c_void_p * 2),
        ("zero_point", ctypes.c_int32),
        ("low", ctypes.c_int32),
        ("high", ctypes.c_int32),
    ]


class Board:
    """A machine whose memory is filled with one array after the other."""

    def __init__(self, code: Program) -> None:
        self.machine = Machine(code)
        self.next = BASE

    def put(self, array: NDArray[np.generic], offset: int = 0) -> int:
        """The address of a copy that ends where its region ends, so that no byte beyond is read."""
        address = self.next + offset
        content = self.machine.memory(address, array.nbytes)
        content[:] = np.frombuffer(array.tobytes(), np.uint8)
        self.next += max(0x10_0000, (array.nbytes // 0x10_0000 + 1) * 0x10_0000)
        return address

    def get(self, address: int, array: NDArray[np.generic]) -> NDArray[np.generic]:
        """What now stands where ``array`` was put."""
        return self.machine.bytes_at(address, array.nbytes).view(array.dtype).reshape(array.shape)


def matmul(
    code: Program,
    patches: NDArray[np.uint8],
    weights: NDArray[np.int8],
    bias: NDArray[np.int32],
) -> tuple[NDArray[np.int32], int]:
    """``ct_matmul``: the accumulators (pixels, channels), and the cycles."""
    (pixels, depth), channels = patches.shape, len(weights)
    board = Board(code)
    acc = np.full((pixels, channels), -1, np.int32)
    at = board.put(acc)
    inputs = [board.put(array) for array in (patches, weights, bias)]
    board.machine.call("ct_matmul", at, *inputs, pixels, channels, depth)
    return board.get(at, acc), board.machine.cycles


def requantize(
    code: Program | ctypes.CDLL,
    acc: NDArray[np.int32],
    channels: int,
    scales: tuple[NDArray[np.int32], ...],
    limits: tuple[int, int, int],
    out_step: int,
    table: NDArray[np.uint16] | None = None,
) -> tuple[NDArray[np.uint8], int]:
    """``ct_requantize``, with a table ``ct_requantize_tanh``: (pixels, out_step), and the cycles.

    ``scales``: multipliers for acc >= 0 and below, shifts for both; ``limits``: zero point, low,
    high. What lies between the channels of two pixels is 0xEE.
    """
    pixels, acc_step = acc.shape
    name = "ct_requantize" if table is None else "ct_requantize_tanh"
    out = np.full((pixels, out_step), 0xEE, np.uint8)
    if isinstance(code, ctypes.CDLL):
        pointers = [array.ctypes.data for array in scales]
        rescale = Rescale(
            (ctypes.c_void_p * 2)(*pointers[:2]), (ctypes.c_void_p * 2)(*pointers[2:]), *limits
        )
        arguments = [ctypes.c_void_p(out.ctypes.data), out_step, ctypes.c_void_p(acc.ctypes.data)]
        arguments += [acc_step, pixels, channels, ctypes.byref(rescale)]
        if table is not None:
            arguments.append(ctypes.c_void_p(table.ctypes.data))
        getattr(code, name)(*arguments)
        return out, 0
    board = Board(code)
    at = board.put(out, offset=1)
    numbers = [*(board.put(array) for array in scales), *limits]
    rescale_at = board.put(np.array(numbers, np.uint32))
    more = [] if table is None else [board.put(table)]
    board.machine.call(
        name, at, out_step, board.put(acc), acc_step, pixels, channels, rescale_at, *more
    )
    return board.get(at, out), board.machine.cycles


def gather(
    code: Program | ctypes.CDLL,
    source: NDArray[np.uint8],
    patches: NDArray[np.uint8],
    sizes: tuple[int, int, int, int],
    floor: int,
    offsets: tuple[int, int] = (0, 0),
) -> tuple[NDArray[np.uint8], int]:
    """``ct_gather``: the patches afterwards, as flat bytes, and the cycles.

    ``sizes``: depth, step, run, pixels; ``offsets``: of patches and source from a multiple of 8.
    """
    depth, step, run, pixels = sizes
    if isinstance(code, ctypes.CDLL):
        out = patches.copy()
        at, begin = (ctypes.c_void_p(array.ctypes.data) for array in (out, source))
        code.ct_gather(at, depth, begin, step, run, pixels, floor)
        return out, 0
    board = Board(code)
    to = board.put(patches, offsets[0])
    begin_at = board.put(source, offsets[1])
    board.machine.call("ct_gather", to, depth, begin_at, step, run, pixels, floor)
    return board.get(to, patches), board.machine.cycles
