"""The runtime as a shared library of the system's compiler, for comparison bit for bit."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from napari_ct2mri.firmware import runtime_folder

ALIGN = 64
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-pedantic"]
UNDEFINED = ["-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"]
_AFTER = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_uint32, ctypes.POINTER(ctypes.c_uint8), ctypes.c_size_t
)


class Hook(ctypes.Structure):
    _fields_ = (("after", _AFTER), ("user", ctypes.c_void_p))


class Memory(ctypes.Structure):
    _fields_ = (("arena", ctypes.c_void_p), ("scratch", ctypes.c_void_p))


class Rescale(ctypes.Structure):
    _fields_ = (
        ("multiplier", ctypes.c_void_p * 2),
        ("shift", ctypes.c_void_p * 2),
        ("zero_point", ctypes.c_int32),
        ("low", ctypes.c_int32),
        ("high", ctypes.c_int32),
    )


def compile_c(compiler: str, flags: Sequence[str], sources: Sequence[Path], target: Path) -> Path:
    command = [compiler, *STRICT, *flags, *map(str, sources), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


CORE = ("kernels.c", "layers.c", "container.c", "sha256.c")


def core() -> list[Path]:
    return [runtime_folder() / name for name in CORE]


def buffer(size: int, value: int = 0xA5) -> np.ndarray:
    """``size`` bytes at a multiple of 64."""
    whole = np.full(size + ALIGN, value, np.uint8)
    start = -whole.ctypes.data % ALIGN
    return whole[start : start + size]


class Native:
    """The runtime, loaded."""

    def __init__(self, library: Path) -> None:
        self.lib = ctypes.CDLL(str(library))
        self.lib.ct_run.argtypes = (ctypes.c_void_p, Memory, ctypes.POINTER(Hook))
        self.lib.ct_run.restype = None
        self.lib.ct_self_test.argtypes = (ctypes.c_void_p, Memory)
        self.lib.ct_open.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)

    def open(self, data: bytes) -> tuple[int, NativeModel]:
        container = buffer(max(1, len(data)))
        container[: len(data)] = np.frombuffer(data, np.uint8)
        model = buffer(16384)
        status = self.lib.ct_open(model.ctypes.data, container.ctypes.data, len(data))
        return status, NativeModel(self, container, model)


class NativeModel:
    """An open container."""

    def __init__(self, native: Native, container: np.ndarray, model: np.ndarray) -> None:
        self.native, self.container, self.model = native, container, model

    def _field(self, number: int) -> int:
        return int(self.model.view("<u4")[number])

    def _memory(self) -> tuple[np.ndarray, Memory]:
        arena, scratch = self._held = buffer(self._field(3)), buffer(self._field(4))
        return arena, Memory(arena.ctypes.data, scratch.ctypes.data)

    def run(self, image: np.ndarray) -> list[np.ndarray]:
        """What every layer stores, as flat bytes."""
        stored: list[np.ndarray] = []

        def after(_: int, number: int, data: ctypes._Pointer, size: int) -> None:
            assert number == len(stored)
            stored.append(np.ctypeslib.as_array(data, (size,)).copy())

        arena, memory = self._memory()
        start = self._field(5)
        arena[start : start + image.size] = image.ravel()
        hook = Hook(_AFTER(after), None)
        self.native.lib.ct_run(self.model.ctypes.data, memory, ctypes.byref(hook))
        return stored

    def self_test(self) -> int:
        return int(self.native.lib.ct_self_test(self.model.ctypes.data, self._memory()[1]))
