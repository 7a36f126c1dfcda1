"""How far apart several predictions of one CT lie. No torch: the viewer reads these events.

The members are what a model makes of a CT and of its mirror image (mirrored back), and the same of
further models. Their standard deviation is the spread. It says where the members disagree, not how
far each is from the truth: an error that they share has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.jobs import Event

__all__ = ["MEANING", "SpreadDone", "spread_of"]

MEANING = (
    "standard deviation between predictions of the CT and of its mirror image; where they "
    "disagree, not how wrong they are"
)


@dataclass(frozen=True, slots=True)
class SpreadDone(Event):
    """Spread of slices ``start .. start + len(slices)``, (n, y, x) float32, output units."""

    start: int
    slices: NDArray[np.float32]


def spread_of(members: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The standard deviation of the members (population: of two, half their distance).

    Parameters
    ----------
    members : two or more of (n, y, x), output units
    """
    spread: NDArray[np.float32] = np.std(np.stack(members), axis=0, dtype=np.float64).astype(
        np.float32
    )
    return spread
