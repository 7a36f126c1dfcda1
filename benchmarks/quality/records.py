"""What a run leaves behind: one JSON file of figures, without images, paths or host names."""

from __future__ import annotations

import json
import math
import os
import platform
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.quality.recipes import Recipe
from pydantic import Field

from napari_ct2mri.config import Frozen, TrainConfig
from napari_ct2mri.disk import whole_file
from napari_ct2mri.errors import ConfigError
from napari_ct2mri.evaluation import Label, PatientFigures

__all__ = [
    "FIGURES",
    "RECORDS",
    "ROOT",
    "Machine",
    "Record",
    "Score",
    "machine",
    "read_record",
    "read_records",
    "run_name",
    "score_of",
    "source_commit",
    "write_file",
    "write_json",
]

F = TypeVar("F", bound=Frozen)
ROOT = Path(__file__).resolve().parents[2]
RECORDS = ROOT / "benchmarks" / "records"
_MAX_BYTES = 4 * 2**20

FIGURES = {
    "head_psnr_fitted": "PSNR fitted, head (dB)",
    "head_psnr": "PSNR, head (dB)",
    "head_ssim": "SSIM, head",
    "head_gradient_correlation": "gradient corr., head",
    "head_sharpness": "sharpness, head",
    "head_mae": "MAE, head",
    "psnr": "PSNR, frame (dB)",
    "ssim": "SSIM, frame",
}
"""The figures that are kept, in the order of the tables."""


class Machine(Frozen):
    """What a run was made on."""

    cores: int
    processor: str
    threads: int


class Score(Frozen):
    """Figures of one patient and contrast, mean and spread over slices."""

    predictor: str = Field(description="model, model as published, or a trivial one's name.")
    contrast: str
    patient: str
    label: Label
    slices: int
    mean: dict[str, float | None]
    spread: dict[str, float | None]


class Record(Frozen):
    """One run: what was trained, on what, how long, and what came of it."""

    format: int = 1
    protocol: str
    recipe: Recipe
    contrast: str | None = Field(description="The only one it was trained on; null: all.")
    seed: int
    held_out: tuple[str, ...]
    train_pairs: int
    trained_on: str = Field(description="Digest of the train rows and their files.")
    scored_on: str = Field(description="Digest of the scored rows and their files.")
    epochs: int
    cpu_seconds: float
    settings: dict[str, Any]
    trained_at: tuple[str, ...] = Field(
        description="Commits; empty where the training was not ours."
    )
    scored_at: str
    machine: Machine
    scores: tuple[Score, ...]

    @property
    def name(self) -> str:
        """The run's."""
        return run_name(self.protocol, self.recipe.name, self.contrast, self.seed)

    @property
    def pairs_shown(self) -> int:
        """In all epochs together."""
        return self.epochs * self.train_pairs

    @property
    def config(self) -> TrainConfig:
        """The settings; a leaf that was added since has its default.

        Raises
        ------
        ConfigError
            If a leaf does not exist any more.
        """
        return TrainConfig.parse(self.settings, f"record {self.name}")


def run_name(protocol: str, recipe: str, contrast: str | None, seed: int) -> str:
    """How a run's files are called."""
    return f"{protocol}.{recipe}.{contrast or 'all'}.{seed}"


def score_of(row: PatientFigures, predictor: str) -> Score:
    """What is kept of an evaluation's row: six digits, null for what is no finite number."""

    def plain(values: dict[str, float]) -> dict[str, float | None]:
        return {k: float(f"{values[k]:.6g}") if math.isfinite(values[k]) else None for k in FIGURES}

    return Score(
        predictor=predictor,
        contrast=row.contrast,
        patient=row.patient,
        label=row.label,
        slices=row.slices,
        mean=plain(row.mean.as_dict()),
        spread=plain(row.spread.as_dict()),
    )


def write_json(path: Path, value: Frozen) -> None:
    """Write a value; the innermost objects stand on a line each."""
    text = json.dumps(value.model_dump(mode="json"), indent=1, allow_nan=False)
    flat = re.sub(r"\{[^{}\[\]]*\}", lambda found: re.sub(r"\s*\n\s*", " ", found[0]), text)
    write_file(path, f"{flat}\n".encode())


def write_file(path: Path, content: bytes) -> None:
    """Write a file in one step, and its folder where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        temporary.write_bytes(content)


def read_record(path: Path, kind: type[F]) -> F:
    """Read one file.

    Raises
    ------
    ConfigError
        If it is no record of ours.
    """
    if path.stat().st_size > _MAX_BYTES:
        raise ConfigError(f"{path}: larger than {_MAX_BYTES >> 20} MiB; not a record")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path}: damaged ({error}); restore or remove it") from error
    record: F = kind.parse(data, str(path))
    return record


def read_records(folder: Path, prefixes: Iterable[str]) -> tuple[Record, ...]:
    """All runs of a folder whose names begin with one of ``prefixes``, by name."""
    files = sorted(folder.glob("*.json"))
    wanted = tuple(f"{prefix}." for prefix in prefixes)
    return tuple(read_record(path, Record) for path in files if path.name.startswith(wanted))


def machine(threads: int) -> Machine:
    """The one this runs on."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.is_file() else ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    processor = found[1].strip() if found else platform.processor() or platform.machine()
    return Machine(cores=os.cpu_count() or 1, processor=processor, threads=threads)


def source_commit() -> str:
    """The commit of the code that runs, marked if its files were changed since."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "src", "benchmarks")
        return git("rev-parse", "--short=12", "HEAD") + (" with changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
