"""How small slices get on the wire, against zlib and PNG in the same run, and how long it takes.

    python benchmarks/codec.py PAIRS_OR_FOLDER ... [--every N]

A ``pairs.csv`` is taken apart by source (what its patients' names begin with) and by modality;
anything else is read as one volume, CT in HU as int16. Every plane goes through as it is stored,
and shrunk to 256 x 256 by area where it is larger, as a board gets it. Each is decoded again and
compared. Ratios are means over planes, and the least; ``C`` is the board's codec as the system's
compiler makes it. Times are processor time, medians.
"""

from __future__ import annotations

import argparse
import ctypes
import io
import os
import platform
import statistics
import subprocess
import tempfile
import time
import zlib
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_ct2mri.firmware import runtime_folder
from napari_ct2mri.imaging.area import area_mean
from napari_ct2mri.imaging.io import read_volume
from napari_ct2mri.imaging.pictures import read_pictures
from napari_ct2mri.link.codec import decode, encode
from napari_ct2mri.pix2pix.pairs import read_pairs

SIDE = 256
TIMES = (" encode ms |", " decode ms |", " encode C ms |", " decode C ms |")
_STATE_BYTES = 16384  # more than an encoder or a decoder is

Planes = list[NDArray[np.generic]]


def planes_of(source: Path, every: int) -> dict[str, Planes]:
    """Planes by set."""
    if source.suffix != ".csv":
        volume = read_volume(source)
        return {f"{source.name} {volume.modality}": list(_integer(volume.data))[::every]}
    files: dict[str, dict[Path, None]] = defaultdict(dict)  # in order, each once
    for row in read_pairs(source).rows:
        group = row.patient.partition("-")[0]
        files[f"{group} CT"][row.ct] = None
        files[f"{group} MR"][row.mr] = None
    return {
        name: [_integer(read_pictures([file]))[0] for file in list(paths)[::every]]
        for name, paths in files.items()
    }


def _integer(values: NDArray[np.generic]) -> NDArray[np.generic]:
    if values.dtype in (np.uint8, np.int16):
        return values
    return np.rint(values).clip(-32768, 32767).astype(np.int16)


def _shrunk(plane: NDArray[np.generic]) -> NDArray[np.generic]:
    return np.rint(area_mean(plane, (SIDE, SIDE))).astype(plane.dtype)


def _png(plane: NDArray[np.generic]) -> bytes:
    levels = plane if plane.dtype == np.uint8 else (plane.astype(np.int32) + 32768).astype("<u2")
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "png")
    return file.getvalue()


class _Plane(ctypes.Structure):
    _fields_ = (
        ("pixels", ctypes.c_void_p),
        ("width", ctypes.c_uint32),
        ("height", ctypes.c_uint32),
        ("sample", ctypes.c_int),
    )

    def __init__(self, plane: NDArray[np.generic]) -> None:
        height, width = plane.shape
        super().__init__(plane.ctypes.data, width, height, plane.itemsize)


class Board:
    """The board's codec on this machine."""

    def __init__(self, folder: Path) -> None:
        target = folder / "codec.so"
        source = runtime_folder() / "codec.c"
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", source, "-o", target], check=True)
        self.lib = ctypes.CDLL(str(target))
        self.lib.ct_encode.restype = ctypes.c_size_t
        self.state = ctypes.create_string_buffer(_STATE_BYTES)

    def encode(self, plane: NDArray[np.generic]) -> bytes:
        """As :func:`napari_ct2mri.link.codec.encode`."""
        out = np.empty(plane.nbytes + 1, np.uint8)
        self.lib.ct_encode_start(self.state, ctypes.byref(_Plane(plane)))
        size = ctypes.c_size_t(out.nbytes)
        made = self.lib.ct_encode(self.state, out.ctypes.data_as(ctypes.c_void_p), size)
        return out[:made].tobytes()

    def decode(
        self, data: bytes, shape: tuple[int, int], dtype: np.dtype[np.generic]
    ) -> NDArray[np.generic]:
        """As :func:`napari_ct2mri.link.codec.decode`."""
        plane = np.empty(shape, dtype)
        self.lib.ct_decode_start(self.state, ctypes.byref(_Plane(plane)))
        status = self.lib.ct_decode(self.state, data, ctypes.c_size_t(len(data)))
        assert status == 0, status
        return plane


def _timed(call: Callable[..., object], *arguments: object) -> tuple[object, float]:
    start = time.process_time()
    result = call(*arguments)
    return result, (time.process_time() - start) * 1e3


def measure(planes: Planes, board: Board) -> str:
    """A row of the table."""
    ratios: dict[str, list[float]] = defaultdict(list)
    times: dict[str, list[float]] = defaultdict(list)
    for plane in map(np.ascontiguousarray, planes):
        data, spent = _timed(encode, plane)
        times["encode"].append(spent)
        back, spent = _timed(decode, data, plane.shape, plane.dtype)
        times["decode"].append(spent)
        data_c, spent = _timed(board.encode, plane)
        times["encode C"].append(spent)
        back_c, spent = _timed(board.decode, data, plane.shape, plane.dtype)
        times["decode C"].append(spent)
        assert data_c == data
        assert np.array_equal(back, plane)
        assert np.array_equal(back_c, plane)
        sizes = {"ours": len(data), "zlib": len(zlib.compress(plane.tobytes(), 6))}
        sizes["PNG"] = len(_png(plane))
        for name, size in sizes.items():
            ratios[name].append(plane.nbytes / size)
    cells = [f"{statistics.mean(each):.2f} / {min(each):.2f}" for each in ratios.values()]
    cells += [f"{statistics.median(each):.1f}" for each in times.values()]
    return " | ".join(cells)


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", nargs="+", type=Path, metavar="PAIRS_OR_FOLDER")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="each N-th plane only")
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} cores, NumPy {np.__version__}, Python {platform.python_version()}\n")
    print("| set | planes | sides | ours, mean / least | zlib -6 | PNG |", *TIMES, sep="")
    print("|---" * (6 + len(TIMES)) + "|")
    with tempfile.TemporaryDirectory() as folder:
        board = Board(Path(folder))
        for source in arguments.sources:
            for name, planes in planes_of(source, arguments.every).items():
                _print_rows(name, planes, board)


def _print_rows(name: str, planes: Planes, board: Board) -> None:
    sides = "×".join(map(str, planes[0].shape))
    print(f"| {name} | {len(planes)} | {sides} | {measure(planes, board)} |", flush=True)
    if max(planes[0].shape) > SIDE:
        small = [_shrunk(plane) for plane in planes]
        row = measure(small, board)
        print(f"| {name}, shrunk | {len(small)} | {SIDE}×{SIDE} | {row} |", flush=True)


if __name__ == "__main__":
    main()
