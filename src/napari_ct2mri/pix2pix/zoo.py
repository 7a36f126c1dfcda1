"""Released models, by name."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from napari_ct2mri.errors import CheckpointError

__all__ = ["DEFAULT_MODEL", "ModelCard", "find_model", "models", "read_card"]

DEFAULT_MODEL = "ct2mri-base"
_ENDING = ".safetensors"


@dataclass(frozen=True, slots=True)
class ModelCard:
    """One model: its file, what it makes, its card in Markdown and that card's first paragraph."""

    name: str
    path: Path
    contrasts: tuple[str, ...]
    size_bytes: int
    summary: str
    text: str = ""


def models() -> tuple[ModelCard, ...]:
    """Every released model, by name."""
    return tuple(read_card(path) for path in sorted(_folder().glob(f"*{_ENDING}")))


def find_model(name_or_path: str | Path) -> Path:
    """The file of a released model's name, or the path itself if it is a file.

    Raises
    ------
    CheckpointError
        If it is neither; lists the names.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    released = _folder() / f"{name_or_path}{_ENDING}"
    if path.name == str(name_or_path) and released.is_file():
        return released
    names = ", ".join(card.name for card in models()) or "none"
    raise CheckpointError(
        f"{name_or_path}: neither a file nor a released model; released are: {names}"
    )


def read_card(path: Path) -> ModelCard:
    """What a checkpoint's header and, beside it, its card say; no weight is read.

    Raises
    ------
    CheckpointError
        If the file is no checkpoint.
    """
    from napari_ct2mri.pix2pix.checkpoint import read_header

    header = read_header(path)
    beside = path.with_suffix(".md")
    text = beside.read_text(encoding="utf-8") if beside.is_file() else ""
    plain = [p for p in text.split("\n\n") if p and not p.startswith(("#", "---", "|", "!"))]
    summary = " ".join(plain[0].split()) if plain else ""
    contrasts = header.config.model.contrasts
    return ModelCard(path.stem, path, contrasts, path.stat().st_size, summary, text)


def _folder() -> Path:
    return Path(str(resources.files("napari_ct2mri.models")))
