"""DICOM in: series found by what files say, slices in order by where they lie.

Headers are read with pydicom (no pixels, no patient data). Pixels that lie in a file as plain
integers are read as they are; all others go through SimpleITK's GDCM, which knows the compressed
transfer syntaxes and applies slope and intercept. What both can read they read alike.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.errors import ImageError
from napari_ct2mri.imaging.dicom_header import Header, read_header
from napari_ct2mri.imaging.regrid import SAME_PLACE_MM, Grid, Pose, plan_grid, resample
from napari_ct2mri.imaging.series import Series, settle_modality
from napari_ct2mri.imaging.volume import DicomSlices, Modality, Source, Unit, Volume
from napari_ct2mri.quiet import quiet

__all__ = ["Stack", "find_stacks", "read_stack"]

_AIR_HU = -1000.0

_FILES_AT_ONCE = 16
"""Decoded by one thread in one go: 16 MiB of CT in 32 bits, which the C library keeps for the
next go. The memory of a whole series is asked for page by page, at half the cost of decoding it."""

_MOST_THREADS = 4

_SPLITTERS: tuple[Callable[[Header], str], ...] = (
    lambda header: header.echo,
    lambda header: header.moment,
    lambda header: header.image_type,
    lambda header: header.acquisition,
)
"""What may tell two images at one position apart, in the order in which it is tried."""


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Slices of one plane, size and series, in order, and the grid they will lie on.

    ``twins`` are pairs of files at one position, to be compared when pixels are read; the
    second of each is not in ``headers``. ``grid`` is None for a refused stack.
    """

    series: Series
    headers: tuple[Header, ...]
    grid: Grid | None = None
    twins: tuple[tuple[Path, Path], ...] = ()


def find_stacks(files: Iterable[Path]) -> tuple[Stack, ...]:
    """Everything DICOM among ``files``, ordered by series number, then UID.

    Files that are not DICOM are passed over in silence, DICOM files that cannot be read are
    counted in ``Series.problems``.
    """
    by_series: dict[str, list[Header]] = {}
    broken: list[str] = []
    with quiet():
        for file in files:
            try:
                header = read_header(file)
            except ImageError as error:
                broken.append(str(error))
                continue
            if header is not None:
                by_series.setdefault(header.series_uid, []).append(header)
    if broken and not by_series:
        rest = f" (and {len(broken) - 1} more like it)" if len(broken) > 1 else ""
        raise ImageError(broken[0] + rest)
    fault = f"{_count(len(broken), 'file')} left out: {broken[0]}" if broken else ""
    ordered = sorted(by_series.values(), key=lambda group: (group[0].number, group[0].series_uid))
    stacks = [stack for group in ordered for stack in _stacks(group)]
    return tuple(_with_problem(stack, fault) for stack in stacks)


def _with_problem(stack: Stack, problem: str) -> Stack:
    if not problem:
        return stack
    return replace(stack, series=replace(stack.series, problems=(*stack.series.problems, problem)))


def _stacks(headers: Sequence[Header]) -> list[Stack]:
    """The stacks of one series."""
    usable = [header for header in headers if not header.refusal]
    refused = Counter(header.refusal for header in headers if header.refusal)
    if not usable:
        reason = "; ".join(refused)
        return [Stack(_series(headers, headers[0].series_uid, (), refusal=reason), tuple(headers))]
    left_out = tuple(f"{_count(n, 'file')} left out: {why}" for why, n in refused.items())
    groups = [part for plane in _planes(usable) for part in _split(plane)]
    return [
        _stack(group, usable[0].series_uid + (f"#{i}" if i > 1 else ""), left_out)
        for i, group in enumerate(groups, start=1)
    ]


def _planes(headers: Iterable[Header]) -> list[list[Header]]:
    """Headers by plane: one orientation, size, pixel spacing and frame of reference each."""
    planes: list[list[Header]] = []
    for header in headers:
        for plane in planes:
            if header.lies_like(plane[0]):
                plane.append(header)
                break
        else:
            planes.append([header])
    return sorted(planes, key=lambda plane: (-len(plane), plane[0].orientation or ()))


def _split(plane: list[Header]) -> list[list[Header]]:
    """Part echoes, moments and the like, which share their positions."""
    if not _has_twins(plane):
        return [plane]
    for splitter in _SPLITTERS:
        groups: dict[str, list[Header]] = {}
        for header in plane:
            groups.setdefault(splitter(header), []).append(header)
        if len(groups) > 1 and not any(map(_has_twins, groups.values())):
            return [groups[key] for key in sorted(groups)]
    return [plane]


def _has_twins(plane: Sequence[Header]) -> bool:
    if len(plane) < 2 or any(header.position is None for header in plane):
        return False
    return bool((np.diff(np.sort(_depths(plane))) < SAME_PLACE_MM).any())


def _depths(plane: Sequence[Header]) -> NDArray[np.float64]:
    """(n,) mm along the normal."""
    positions = np.array([header.position for header in plane], np.float64)
    return positions @ plane[0].normal


def _stack(plane: list[Header], uid: str, problems: tuple[str, ...]) -> Stack:
    """Order one plane's slices and plan their grid, or say why that cannot be."""
    if len(plane) == 1:
        return _lone(plane[0], uid, problems)
    try:
        ordered, twins = _in_order(plane)
        first = ordered[0]
        if first.pixel_mm is None or first.orientation is None:
            raise ImageError("its slices state no pixel spacing, so their geometry is unknown")
        pose = Pose.from_dicom(first.orientation, first.pixel_mm, first.size)
        positions = np.array([header.position for header in ordered], np.float64)
        grid = plan_grid(pose, positions, first.step_mm)
    except ImageError as error:
        return Stack(_series(plane, uid, problems, refusal=str(error)), tuple(plane))
    if twins:
        problems += (f"{_count(len(twins), 'position')} occupied twice; copies are left out",)
    series = _series(ordered, uid, problems + grid.notes, grid=grid)
    return Stack(series, tuple(ordered), grid, twins)


def _in_order(plane: list[Header]) -> tuple[list[Header], tuple[tuple[Path, Path], ...]]:
    """Slices ascending along the normal, one a position, and the pairs at one position."""
    if any(header.position is None or header.orientation is None for header in plane):
        raise ImageError(
            f"{len(plane)} slices, not all of which say where they lie, so they cannot be put in "
            "order; read them one by one"
        )
    depths = _depths(plane)
    kept: list[int] = []
    twins: list[tuple[Path, Path]] = []
    for i in np.lexsort((np.arange(len(plane)), depths)):
        if kept and depths[i] - depths[kept[-1]] < SAME_PLACE_MM:
            twins.append((plane[kept[-1]].path, plane[i].path))
        else:
            kept.append(int(i))
    return [plane[i] for i in kept], tuple(twins)


def _lone(header: Header, uid: str, problems: tuple[str, ...]) -> Stack:
    """A single slice is a volume of one; what it does not say is assumed, and said."""
    missing = [
        name
        for name, value in (
            ("pixel spacing (1 mm assumed)", header.pixel_mm),
            ("orientation (axial assumed)", header.orientation),
            ("position (origin assumed)", header.position),
        )
        if value is None
    ]
    if missing:
        problems += (f"the file states no {', no '.join(missing)}",)
    try:
        pose = Pose.from_dicom(
            header.orientation or (1, 0, 0, 0, 1, 0), header.pixel_mm or (1.0, 1.0), header.size
        )
    except ImageError as error:
        return Stack(_series([header], uid, problems, refusal=str(error)), (header,))
    grid = plan_grid(pose, np.array([header.position or (0, 0, 0)], np.float64), header.step_mm)
    return Stack(_series([header], uid, problems, grid=grid), (header,), grid)


def _series(
    headers: Sequence[Header],
    uid: str,
    problems: tuple[str, ...],
    grid: Grid | None = None,
    refusal: str = "",
) -> Series:
    first = headers[0]
    return Series(
        uid=uid,
        kind="DICOM",
        modality=first.modality,
        description=first.description,
        files=tuple(header.path for header in headers),
        shape=grid.shape if grid else None,
        spacing=grid.geometry.spacing if grid else None,
        problems=problems,
        refusal=refusal,
    )


def read_stack(stack: Stack, path: Path, modality: Modality | None = None) -> Volume:
    """Read the pixels of a stack that was not refused.

    Returns
    -------
    Volume
        Slope and intercept applied, so a CT is in HU: int16 (int32 if that is too narrow), or
        float32 where they are not whole; never clipped, with the padding the scanner wrote.

    Raises
    ------
    ImageError
        If a file cannot be decoded, two files at one position differ, or they state another
        modality than ``modality``.
    """
    if stack.grid is None:
        raise ImageError(f"{path}: {stack.series.refusal}")
    first = stack.headers[0]
    chosen, passed_over = settle_modality(first.stated_modality, modality, path)
    with quiet():
        _compare_twins(stack.twins)
        data = _pixels(stack.headers)
    notes = stack.series.problems + ((passed_over,) if passed_over else ())
    if chosen == "unknown":
        notes += (f"modality {first.stated_modality or 'not stated'}, neither CT nor MR",)
    unit: Unit = "HU" if chosen == "CT" and first.is_hu else "arbitrary"
    if chosen == "CT" and unit != "HU":
        notes += (f"the CT's values are stated in {first.rescale_type!r}, not in HU",)
    if not stack.grid.is_exact:
        lowest = float(data.min())
        data = resample(data, stack.grid, min(lowest, _AIR_HU) if unit == "HU" else lowest)
    files = tuple(header.path.absolute() for header in stack.headers)
    slices = DicomSlices(first.series_uid, files)
    source = Source(str(path), stack.series.uid, slices)
    return Volume(data, stack.grid.geometry, chosen, unit, source, notes)


def _compare_twins(twins: Iterable[tuple[Path, Path]]) -> None:
    for kept, twin in twins:
        if not np.array_equal(_decode([kept]), _decode([twin])):
            raise ImageError(
                f"{kept.name} and {twin.name} lie at one position but differ: several images a "
                "position (times, echoes or reconstructions) are not one volume; split the series"
            )


def _pixels(headers: Sequence[Header]) -> NDArray[np.generic]:
    """(n, y, x) values of all slices: read where they are plain, decoded where they are not."""
    size = headers[0].size
    data: NDArray[np.generic] = np.empty((len(headers), *size), np.int16)
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        is_read = list(pool.map(_read_plain, headers, data))
        portions = list(_portions(headers, [i for i, done in enumerate(is_read) if not done]))
        files = ([headers[i].path for i in portion] for portion in portions)
        for portion, part in zip(portions, pool.map(_decode, files), strict=True):
            if part.shape[1:] != size:
                raise ImageError(
                    f"{headers[portion[0]].path}: decoded to {part.shape[1:]} pixels, its header "
                    f"says {size}"
                )
            data = data.astype(np.promote_types(data.dtype, part.dtype), copy=False)
            data[portion] = part
    return data


def _read_plain(header: Header, out: NDArray[np.int16]) -> bool:
    """Read a slice into ``out`` (y, x), its intercept added; False if it needs decoding.

    So does one that is gone or cut off, whose numbers use bits that they should not, or do not
    fit; the decoder then has the say, or names the fault.
    """
    plain = header.plain
    if plain is None:
        return False
    try:
        with header.path.open("rb", buffering=0) as file:
            file.seek(plain.offset_bytes)
            is_whole = file.readinto(out.data) == out.nbytes
    except OSError:
        is_whole = False
    if not is_whole:
        return False
    stored = out.view(plain.dtype)
    low, high = int(stored.min()), int(stored.max())
    bounds = np.iinfo(np.int16)
    if low < plain.low or high > plain.high:
        return False
    if low + plain.intercept < bounds.min or high + plain.intercept > bounds.max:
        return False
    bit_pattern = out.view(np.uint16)  # whose sums wrap around, for either sign
    bit_pattern += np.uint16(plain.intercept % 2**16)
    return True


def _portions(headers: Sequence[Header], indices: Iterable[int]) -> Iterator[list[int]]:
    """Indices in order, a few at a time, those of one portion encoded alike."""
    for _, alike in groupby(indices, lambda i: headers[i].encoding):
        group = list(alike)
        for start in range(0, len(group), _FILES_AT_ONCE):
            yield group[start : start + _FILES_AT_ONCE]


def _narrow(values: NDArray[Any]) -> NDArray[Any]:
    """Integers as int16 where they fit, else int32; other numbers as float32."""
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    bounds = np.iinfo(np.int16)
    fits = bounds.min <= int(values.min()) and int(values.max()) <= bounds.max
    return values.astype(np.int16 if fits else np.int32)


def _decode(files: Sequence[Path]) -> NDArray[np.generic]:
    """(n, y, x) values of files of one encoding, slope and intercept applied, narrowed."""
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileNames([str(file) for file in files])
    try:
        image = reader.Execute()
    except RuntimeError as error:
        for file in files[:-1] if len(files) > 1 else ():
            _decode([file])  # finds the one at fault
        raise ImageError(
            f"{files[-1]}: its pixels cannot be decoded: the file is truncated, damaged or "
            "compressed in an unknown way; copy it again from its source"
        ) from error
    return _narrow(sitk.GetArrayViewFromImage(image))  # a copy: the view dies with the image


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"
