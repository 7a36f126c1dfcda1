"""Lists of CT/MR pairs.

``pairs.csv`` has the columns ``ct,mr,patient,contrast,split`` and optionally ``slice`` (order
within a patient) and ``series``. A row pairs two volumes on one grid or two pictures of one
size; paths are relative to the file. A split holds whole patients, never single slices.
"""

from __future__ import annotations

import csv
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from napari_ct2mri.disk import whole_file
from napari_ct2mri.errors import PairError

__all__ = ["PairList", "PairRow", "Split", "read_pairs", "write_pairs"]

Split = Literal["train", "val", "test"]
_REQUIRED = ("ct", "mr", "patient", "contrast", "split")
_OPTIONAL = ("slice", "series")
_CONTRAST = re.compile(r"[A-Za-z0-9_+-]{1,16}")
_SLICE = re.compile(r"-?[0-9]{1,9}")
_MAX_BYTES = 64 * 2**20  # of a pairs.csv


@dataclass(frozen=True, slots=True)
class PairRow:
    """One row: two files of one patient. ``line`` is where it stands, the header being 1."""

    ct: Path
    mr: Path
    patient: str
    contrast: str
    split: Split
    slice_index: int | None = None
    series: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class PairList:
    """The rows of one ``pairs.csv``, paths resolved."""

    path: Path
    rows: tuple[PairRow, ...]

    def where(self, split: Split | Literal["all"] = "all", contrast: str | None = None) -> PairList:
        """The rows of one split and one contrast."""
        kept = (
            row
            for row in self.rows
            if split in ("all", row.split) and contrast in (None, row.contrast)
        )
        return replace(self, rows=tuple(kept))

    @property
    def contrasts(self) -> tuple[str, ...]:
        """Contrasts, the one with most rows first."""
        return tuple(name for name, _ in Counter(row.contrast for row in self.rows).most_common())

    def by_patient(self) -> dict[tuple[str, str], tuple[PairRow, ...]]:
        """Rows of each (patient, contrast), by slice where the file gives an order."""
        groups: dict[tuple[str, str], list[PairRow]] = defaultdict(list)
        for row in self.rows:
            groups[row.patient, row.contrast].append(row)
        return {
            key: tuple(sorted(rows, key=lambda row: row.slice_index or 0))
            for key, rows in groups.items()
        }


def read_pairs(path: str | Path) -> PairList:
    """Read and check a ``pairs.csv``.

    Raises
    ------
    PairError
        If the file is missing, empty or too large, a column or value is wrong, a file does not
        exist (with its line), or a patient stands in two splits (with the patient's name).
    """
    path = Path(path)
    if not path.is_file():
        raise PairError(f"{path}: no such pair list; expected a CSV file")
    if path.stat().st_size > _MAX_BYTES:
        raise PairError(f"{path}: larger than {_MAX_BYTES >> 20} MiB; not a pair list")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            _check_columns(path, reader.fieldnames)
            rows = tuple(_row(path, record, reader.line_num) for record in reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise PairError(f"{path}: not a CSV file in UTF-8: {error}") from error
    if not rows:
        raise PairError(f"{path}: has a header but no rows; add at least one CT/MR pair")
    _check_splits(path, rows)
    return PairList(path, rows)


def write_pairs(path: str | Path, rows: Iterable[PairRow]) -> None:
    """Write a ``pairs.csv`` in one step; paths become relative to it where they can.

    Raises
    ------
    OSError
        If it cannot be written; the former file, if any, is whole.
    """
    path = Path(path)
    with (
        whole_file(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow((*_REQUIRED, *_OPTIONAL))
        for row in rows:
            index = "" if row.slice_index is None else row.slice_index
            files = (_relative(p, path.parent) for p in (row.ct, row.mr))
            writer.writerow((*files, row.patient, row.contrast, row.split, index, row.series))


def _check_columns(path: Path, found: Sequence[str] | None) -> None:
    if not found:
        raise PairError(f"{path}: is empty; expected the columns {', '.join(_REQUIRED)}")
    missing = [name for name in _REQUIRED if name not in found]
    unknown = [name for name in found if name not in (*_REQUIRED, *_OPTIONAL)]
    if missing or unknown:
        problem = f"lacks {', '.join(missing)}" if missing else f"has unknown {', '.join(unknown)}"
        raise PairError(
            f"{path}: {problem}; columns are {', '.join(_REQUIRED)} and, if wanted, "
            f"{', '.join(_OPTIONAL)}"
        )


def _row(path: Path, record: dict[str, str], line: int) -> PairRow:
    """Check one record of the file."""

    def fail(problem: str) -> PairError:
        return PairError(f"{path}, line {line}: {problem}")

    if None in record or None in record.values():
        raise fail("has more or fewer cells than the header")
    empty = [name for name in _REQUIRED if not record[name].strip()]
    if empty:
        raise fail(f"{', '.join(empty)} is empty")
    split = record["split"].strip()
    if split not in get_args(Split):
        raise fail(f"split {split!r} is not one of {', '.join(get_args(Split))}")
    if not _CONTRAST.fullmatch(record["contrast"].strip()):
        raise fail(
            f"contrast {record['contrast'][:40]!r}: up to 16 letters, digits, _, + or -, such as T2"
        )
    ct, mr = (_existing(path, record[name], fail) for name in ("ct", "mr"))
    if ct == mr:
        raise fail(f"CT and MR are the same file: {record['ct']}")
    index = (record.get("slice") or "").strip()
    if index and not _SLICE.fullmatch(index):
        raise fail(f"slice {index!r} is not a whole number")
    return PairRow(
        ct,
        mr,
        record["patient"].strip(),
        record["contrast"].strip(),
        split,  # type: ignore[arg-type]
        int(index) if index else None,
        (record.get("series") or "").strip(),
        line,
    )


def _existing(path: Path, name: str, fail: Callable[[str], PairError]) -> Path:
    file = path.parent / name.strip()
    if not file.exists():
        raise fail(f"{name} does not exist (looked in {path.parent.resolve()})")
    return file


def _check_splits(path: Path, rows: Iterable[PairRow]) -> None:
    split_of: dict[str, Split] = {}
    for row in rows:
        known = split_of.setdefault(row.patient, row.split)
        if known != row.split:
            raise PairError(
                f"{path}, line {row.line}: patient {row.patient!r} stands in two splits, {known} "
                f"and {row.split}; keep all slices of a patient in one"
            )


def _relative(file: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(file.resolve(), folder.resolve())).as_posix()
    except ValueError:  # another drive: no relative path exists
        return file.resolve().as_posix()
