"""Whether a figure flatters: what a model has seen of the patient it is scored on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from numpy.typing import NDArray

from napari_ct2mri.imaging.fingerprint import Fingerprint, was_seen
from napari_ct2mri.imaging.volume import Unit

__all__ = ["LABELS", "MEANING", "Label", "label_of"]

Label = Literal["train-fit", "selection", "held-out", "unknown"]

MEANING: dict[Label, str] = {
    "train-fit": "the model was trained on slices of this patient",
    "selection": "slices of this patient chose the model's best epoch",
    "held-out": "no slice of this patient is recognised as one that trained the model or chose its "
    "epoch",
    "unknown": "nobody knows what the maker of these images has seen",
}

LABELS: tuple[Label, ...] = tuple(MEANING)


def label_of(
    ct: NDArray[Any],
    unit: Unit,
    trained_on: Sequence[Fingerprint],
    selected_on: Sequence[Fingerprint],
) -> Label:
    """Label one patient; a single known slice marks all of them.

    Parameters
    ----------
    ct : (z, y, x)
        Slices as they were read.
    unit : Unit
    trained_on, selected_on : sequence of Fingerprint
        A checkpoint's lists. Without the former nothing is held out for certain.
    """
    if was_seen(ct, unit, trained_on).any():
        return "train-fit"
    if was_seen(ct, unit, selected_on).any():
        return "selection"
    return "held-out" if trained_on else "unknown"
