"""``manifest.json``: which model made which files, so that an evaluation can tell.

Each file stands with its SHA-256 under the run that wrote it last. A file that is not listed,
or was changed since, is of unknown origin.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import Field

from napari_ct2mri import __version__
from napari_ct2mri.config import Frozen, Window, leaf_text
from napari_ct2mri.disk import alone, parse_json, whole_file
from napari_ct2mri.errors import ConfigError, EvaluationError

__all__ = [
    "AS_PUBLISHED",
    "AS_THEY_ARE",
    "IN_8_BITS",
    "NAME",
    "Manifest",
    "Run",
    "hashed",
    "read_manifest",
    "record",
    "record_hashed",
]

NAME = "manifest.json"
AS_PUBLISHED = " as published"
IN_8_BITS = "computed in 8 bits"
AS_THEY_ARE = "pixels as they are: not scaled to the model's head size"
_MAX_BYTES = 64 * 2**20


class Run(Frozen):
    """One run of ``synthesize``."""

    model: str = Field(
        description="A released model's name, or the checkpoint's path, as seen from the folder."
    )
    digest: str = Field(
        pattern="^[0-9a-f]{64}$", description="SHA-256 over the checkpoint's two fingerprint lists."
    )
    version: str = Field(default=__version__, description="Of this package.")
    settings: dict[str, Any] = Field(default_factory=dict)
    files: dict[str, str] = Field(
        default_factory=dict, description="Path under the folder: SHA-256 of the file."
    )

    @property
    def name(self) -> str:
        """What a report calls it: the model, and whether it ran as published."""
        is_published = self.settings.get("published") is True
        return Path(self.model).stem + (AS_PUBLISHED if is_published else "")

    @property
    def remarks(self) -> tuple[str, ...]:
        """How else it ran the model than is usual, as sentences; not with which engine."""
        found, board = [], self.settings.get("board")
        if board or self.settings.get("precision") == "int8":
            found.append(IN_8_BITS + (f", on the board {board}" if board else ""))
        if self.settings.get("native") is True:
            found.append(AS_THEY_ARE)
        with suppress(ConfigError):  # somebody wrote that by hand
            if window := self.settings.get("window"):
                shown = leaf_text(Window.parse(window, NAME))
                found.append(f"CT shown to the model in the window {shown} HU")
        return tuple(found)

    def checkpoint(self, folder: Path) -> str | Path:
        """The model as ``find_model`` takes it."""
        path = folder / self.model
        return path.resolve() if path.is_file() else self.model


class Manifest(Frozen):
    """What lies in a folder of synthetic MR."""

    format: int = 1
    notice: str = "Synthetic MR, computed from CT. For research; not for diagnosis."
    runs: tuple[Run, ...] = ()

    def maker(self, folder: Path, file: Path) -> Run | None:
        """The run that wrote ``file`` as it is now; ``None`` if none did."""
        name = file.relative_to(folder).as_posix()
        for run in self.runs:
            if name in run.files:
                return run if run.files[name] == _sha256(file) else None
        return None


def read_manifest(folder: Path) -> Manifest | None:
    """The folder's manifest, ``None`` if it has none.

    Raises
    ------
    EvaluationError
        If there is one but it is damaged, or something else has its name.
    """
    path = folder / NAME
    if not path.exists():
        return None
    if not path.is_file():
        raise EvaluationError(f"{path}: is no file, but that is the manifest's name; move it away")
    if path.stat().st_size > _MAX_BYTES:
        raise EvaluationError(f"{path}: larger than {_MAX_BYTES >> 20} MiB; not a manifest")
    try:
        return Manifest.parse(parse_json(path.read_text(encoding="utf-8")), str(path))
    except (ValueError, ConfigError) as error:
        raise EvaluationError(
            f"{path}: damaged ({error}); remove it to have the origin 'unknown', or synthesize anew"
        ) from error


def hashed(files: Iterable[Path]) -> tuple[tuple[Path, str], ...]:
    """Each file with its SHA-256."""
    return tuple((file, _sha256(file)) for file in files)


def record(folder: Path, run: Run, files: Iterable[Path]) -> Path:
    """Add files that ``run`` has just written under ``folder``; see :func:`record_hashed`."""
    return record_hashed(folder, run, hashed(files))


def record_hashed(folder: Path, run: Run, files: Iterable[tuple[Path, str]]) -> Path:
    """Add files that ``run`` has just written, with their SHA-256; they leave older runs.

    Several processes may do so for one folder at a time.
    A model's whole path, which may name a person, is kept as seen from ``folder``.

    Returns
    -------
    Path
        The manifest, replaced in one step.
    """
    run = run.model_copy(update={"model": _seen_from(folder, run.model)})
    written = {file.relative_to(folder).as_posix(): sha for file, sha in files}
    path = folder / NAME
    with alone(path):
        manifest = _with_run(read_manifest(folder) or Manifest(), run, written)
        with whole_file(path) as temporary:
            temporary.write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
    return path


def _with_run(known: Manifest, run: Run, written: Mapping[str, str]) -> Manifest:
    runs = [_without(old, written) for old in known.runs]
    same = [old for old in runs if _key(old) == _key(run)]
    files_of_run = dict(sorted({**(same[0].files if same else {}), **written}.items()))
    others = tuple(old for old in runs if old.files and _key(old) != _key(run))
    return known.model_copy(
        update={"runs": (*others, run.model_copy(update={"files": files_of_run}))}
    )


def _seen_from(folder: Path, model: str) -> str:
    """A path relative to ``folder``; a released model's name as it is."""
    if not Path(model).is_absolute():
        return model
    try:
        return Path(os.path.relpath(model, folder.resolve())).as_posix()
    except ValueError:  # on another drive of Windows
        return Path(model).name


def _without(run: Run, files: Mapping[str, str]) -> Run:
    return run.model_copy(
        update={"files": {name: sha for name, sha in run.files.items() if name not in files}}
    )


def _key(run: Run) -> str:
    """What makes two runs the same: all but their files."""
    return run.model_dump_json(exclude={"files"})


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
