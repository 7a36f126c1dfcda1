"""Thumbnails of what was found, made in a child process and shown as they come. No Qt."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_ct2mri.app.process import at_once
from napari_ct2mri.errors import Ct2MriError
from napari_ct2mri.jobs import Event, Job

if TYPE_CHECKING:
    from napari_ct2mri.imaging.glance import Glance
    from napari_ct2mri.imaging.io import Series

__all__ = ["Glanced", "glances"]


@dataclass(frozen=True, slots=True)
class Glanced(Event):
    """What the middle slice of series ``index`` of a list tells of it."""

    index: int
    glance: Glance


@at_once
def glances(found: Sequence[Series]) -> Job[None]:
    """Look at one slice of each series that can be used; one that cannot be read has none."""
    from napari_ct2mri.imaging.glance import glance

    for index, series in enumerate(found):
        if series.refusal:
            continue
        with suppress(Ct2MriError):
            yield Glanced(index, glance(series))
