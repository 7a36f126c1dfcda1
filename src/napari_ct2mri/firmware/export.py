"""A checkpoint to a C project: quantized, planned, written, with its proof inside."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri import __version__
from napari_ct2mri.config import InputConfig, ModelConfig
from napari_ct2mri.disk import sync
from napari_ct2mri.errors import FirmwareError
from napari_ct2mri.firmware import runtime_files, runtime_folder
from napari_ct2mri.firmware.arena import Plan, plan
from napari_ct2mri.firmware.boards import find_board
from napari_ct2mri.firmware.budget import Budget, budget, check_fits, widest_for
from napari_ct2mri.firmware.container import Container, ct_tables, pack
from napari_ct2mri.firmware.lower import lower
from napari_ct2mri.firmware.model import check_size
from napari_ct2mri.firmware.quantize import MIN_SLICES, Ranges, quantize
from napari_ct2mri.firmware.reference import quantize_input, run
from napari_ct2mri.imaging.intensity import ct_channels
from napari_ct2mri.jobs import Job, Notice
from napari_ct2mri.pix2pix.checkpoint import Checkpoint
from napari_ct2mri.pix2pix.pairs import PairList

__all__ = ["CALIBRATION_SLICES", "Exported", "calibration_slices", "export", "golden_slice"]

CALIBRATION_SLICES = 16

_SUMS = "SHA256SUMS"
_BUILT = "build/"


@dataclass(frozen=True, slots=True)
class Exported:
    """What ``export`` wrote."""

    folder: Path
    container: Path
    digest: str
    plan: Plan
    budget: Budget


def export(
    checkpoint: Checkpoint,
    name: str,
    folder: Path,
    pairs: PairList,
    *,
    contrast: str | None = None,
    size: tuple[int, int] | None = None,
    board: str = "host",
    fps: float | None = None,
    ranges: Ranges = "error",
) -> Job[Exported]:
    """Quantize a model and write it as a C project.

    Parameters
    ----------
    checkpoint : Checkpoint
    name : str
        Of the model, for people.
    folder : Path
        Is made; what an earlier export wrote there is replaced, and programs built of it go.
    pairs : PairList
        Its train rows of the contrast, or all if none is a train row, calibrate.
    contrast : str, optional
        By default the model's first.
    size : (height, width), optional
        Of the slices that the board runs; by default the model's frame.
    board : str
        Which the budget is for.
    fps : float, optional
        Wished slices a second: a notice says whether and how wide they are possible.

    Raises
    ------
    FirmwareError
        If the model has no integer form, calibration has too little, the board is too small, or
        the folder holds a file that no export wrote, or that was changed since.
    """
    target = find_board(board)
    _check_folder(folder)
    config = checkpoint.config.model
    contrast = contrast or checkpoint.contrasts[0]
    graph = lower(checkpoint, contrast)
    height, width = size or (config.scale.frame_px,) * 2
    check_size(config.network.levels, height, width)  # before the long part
    slices = yield from calibration_slices(pairs, config, contrast)
    quantized = yield from quantize(graph, slices, ranges)
    model = quantized.at_size(height, width)
    image = golden_slice(config.input, *model.size)
    container = Container(
        model,
        plan(model),
        ct_tables(config.input.windows),
        (image, run(model, image)),
        {
            "model": name,
            "contrast": contrast,
            "config": config.model_dump(mode="json"),
            "fingerprints": checkpoint.digest,
            "made_by": f"napari-ct2mri {__version__}",
        },
    )
    data = pack(container)
    cost = budget(model, container.plan, len(data), target)
    check_fits(cost)
    if fps is not None:
        yield Notice(widest_for(cost, fps))
    _write(folder, {"model.ctm": data, "README.md": _readme(container, cost, data).encode()})
    digest = hashlib.sha256(data).hexdigest()
    return Exported(folder, folder / "model.ctm", digest, container.plan, cost)


def calibration_slices(
    pairs: PairList, config: ModelConfig, contrast: str
) -> Job[NDArray[np.float32]]:
    """Slices spread evenly over the train rows, (n, C, H, W) in [-1, 1].

    Raises
    ------
    FirmwareError
        If there are too few.
    """
    from napari_ct2mri.pix2pix.slices import load_slices

    rows = pairs.where("train", contrast)
    rows = rows if rows.rows else pairs.where("all", contrast)
    if not rows.rows:
        raise FirmwareError(f"calibration: {pairs.path} has no row of contrast {contrast!r}")
    ct = (yield from load_slices(rows, config)).ct
    if len(ct) < MIN_SLICES:
        raise FirmwareError(
            f"calibration: {pairs.path} has {len(ct)} slices of contrast {contrast!r} that show a "
            f"head, expected at least {MIN_SLICES}; add pairs"
        )
    chosen = np.linspace(0, len(ct) - 1, min(len(ct), CALIBRATION_SLICES)).astype(int)
    slices: NDArray[np.float32] = ct[chosen].astype(np.float32)
    return slices


def golden_slice(entry: InputConfig, height: int, width: int) -> NDArray[np.uint8]:
    """A slice of a simulated head, (H, W, C) bytes: no patient's image goes into firmware."""
    from napari_ct2mri.imaging.phantom import phantom

    pixel_mm = 240 / min(height, width)
    reach = entry.neighbours
    ct = phantom(0, shape=(5, height, width), spacing=(18.0, pixel_mm, pixel_mm)).ct
    channels = ct_channels(ct, entry.windows)[2 - reach : 3 + reach]
    return quantize_input(channels.reshape(-1, height, width))


def _check_folder(folder: Path) -> None:
    """Whether all that a new export would replace was written by an export."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / "model.ctm").is_file():
        raise FirmwareError(
            f"{folder}: exists and is no exported project; choose another folder, so that nothing "
            "is lost"
        )
    try:
        written = set((folder / _SUMS).read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError):
        written = set()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name == _SUMS or name.startswith(_BUILT) or (path.is_dir() and not path.is_symlink()):
            continue
        if not path.is_file() or _sum(name, path.read_bytes()) not in written:
            raise FirmwareError(
                f"{path}: was changed or added after the export, and a new one would delete it; "
                f"move it out of {folder} first, or delete that folder"
            )


def _sum(name: str, data: bytes) -> str:
    """A line as ``sha256sum`` writes and checks it."""
    return f"{hashlib.sha256(data).hexdigest()}  {name}"


def _write(folder: Path, files: dict[str, bytes]) -> None:
    """The runtime, ``files`` and their digests: complete, or what was there is still there."""
    workshop = folder.parent / f".{folder.name}.{uuid4().hex[:8]}"
    old = workshop.with_name(f"{workshop.name}.old")
    try:
        for path in runtime_files():
            files[path.relative_to(runtime_folder()).as_posix()] = path.read_bytes()
        sums = [_sum(name, data) for name, data in sorted(files.items())]
        files[_SUMS] = "\n".join((*sums, "")).encode()
        for name, data in sorted(files.items()):
            target = workshop / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
            sync(target)
        _check_folder(folder)  # again: calibration took minutes
        if folder.exists():
            folder.rename(old)
        try:
            workshop.rename(folder)
        except BaseException:
            if old.exists():
                old.rename(folder)
            raise
        rmtree(old, ignore_errors=True)
    except OSError as error:
        raise FirmwareError(f"{folder}: could not be written: {error.strerror}") from error
    finally:
        rmtree(workshop, ignore_errors=True)


def _readme(container: Container, cost: Budget, data: bytes) -> str:
    info = container.info
    height, width = container.model.size
    return f"""# {info["model"]}: {info["contrast"]} MR from CT, as firmware

For research; not a diagnostic device. Made by {info["made_by"]}.

`model.ctm` holds the model: slices of {height} x {width} pixels and
{container.model.images[0].channels} channel(s), 8-bit integers, SHA-256
`{hashlib.sha256(data).hexdigest()}`.
The sources are the same for every model: C99, no heap, no libc but on the host. No accumulator can
overflow: proved at export, and again by the board when it opens the container.

    make                          build/host/firmware.elf
    make test                     runs the golden pair: a simulated head and what must come out
    make BOARD=qemu-vexpress-a9   bare-metal ARM (Debian: gcc-arm-none-eabi)
    make BOARD=c6748-lcdk         TMS320C6748, GNU tic6x (scripts/build-tic6x of napari-ct2mri)

With napari-ct2mri installed, a board of this machine runs it, and a real one takes it the same way:

    ct2mri board --board host --project .             prints its port; also qemu-vexpress-a9
    ct2mri push . --port PORT
    ct2mri run ct.nii.gz mr.nii.gz --port PORT

TI's own compiler: `port/c6748-lcdk/cl6x.mk`, written after its manuals and **never compiled**.
No firmware made of this has run on a real board yet.

docs/link-protocol.md of napari-ct2mri says how to talk to it over its serial line (rules "L" in
comments), docs/quantization.md what it computes (rules "Q"), `ct.h` how to call it from a program;
error numbers are those of `ct_status` there.

A new export to this folder replaces it, `build/` included, unless a file was changed or added:
`sha256sum -c SHA256SUMS` tells which were changed.

## Budget

{cost.table()}

## Arena

Layers are counted from 0; two images share bytes only if they are never alive together.

{container.plan.table()}
"""
