"""Which slice of a layer is in view, where it lies, and how it is called.

A slice's number is its layer's own, from 0 at the bottom of the stack; so files, the command line
and a board count. napari's slider counts steps over all layers together, and so from elsewhere
where another layer reaches farther or has thinner slices. Between the two lies the world.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QLabel

from napari_ct2mri.widgets.layers import MADE, slices_made
from napari_ct2mri.widgets.world import to_data, to_world, world_units

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer

__all__ = ["InView", "Stack", "add_made", "as_filling"]

_AXES = 3


def as_filling(attributes: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments of a layer that is empty as yet, and fills slice by slice."""
    return attributes | {"metadata": {**attributes["metadata"], MADE: frozenset()}}


def add_made(layer: Layer, slices: Iterable[int]) -> None:
    """Remember that these slices of a filling layer are made."""
    before: frozenset[int] = layer.metadata.get(MADE, frozenset())
    layer.metadata[MADE] = before.union(slices)  # another set: a copy of the layer keeps its own


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """The slices of an image layer in its viewer; an image of two axes is one, in view anywhere."""

    viewer: napari.viewer.Viewer
    layer: Layer

    @property
    def count(self) -> int:
        """How many there are."""
        return 1 if self.layer.ndim < _AXES else len(self.layer.data)

    @property
    def made(self) -> int:
        """See :func:`slices_made`."""
        return slices_made(self.layer.metadata, self.count)

    @property
    def is_sliced(self) -> bool:
        """Whether the viewer shows one at a time: not in 3D, nor along other axes."""
        return self._is_flat or self._axis in self.viewer.dims.not_displayed

    def in_view(self) -> int | None:
        """The one that the viewer shows; None beyond the stack, in 3D and along other axes."""
        if self._is_flat:
            return 0
        if not self.is_sliced:
            return None
        place = to_data(self.layer, self.viewer.dims.point, world_units(self.viewer))
        index = round(float(place[-_AXES]))
        return index if 0 <= index < self.count else None

    def show(self, index: int) -> None:
        """Bring one into view, upright."""
        dims, axis = self.viewer.dims, self._axis
        if self._is_flat:
            return
        if dims.ndisplay != 2 or axis in dims.displayed:
            dims.ndisplay = 2
            dims.order = tuple(range(dims.ndim))
        place = to_world(self.layer, (index, *(0,) * (_AXES - 1)), world_units(self.viewer))
        dims.set_point(axis, float(place[-_AXES]))

    def in_words(self) -> str:
        """``slice 3``, and what the slider says where that is another number."""
        index = self.in_view()
        if index is None:
            return "none of its slices" if self.is_sliced else "no axial slice"
        words = f"slice {index}"
        if self._is_flat:
            return words
        step = self.viewer.dims.current_step[self._axis]
        return words if step == index else f"{words} (the slider counts {step})"

    @property
    def _is_flat(self) -> bool:
        return self.layer.ndim < _AXES or self._axis < 0

    @property
    def _axis(self) -> int:
        return int(self.viewer.dims.ndim) - _AXES


class InView(QLabel):
    """Says which slice of a stack is in view; empty while there is no stack."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self._stack: Stack | None = None
        self.setWordWrap(True)
        for what in ("point", "range", "order", "ndisplay"):
            viewer.dims.events[what].connect(self._tell)

    def follow(self, stack: Stack | None) -> None:
        """Speak of another stack."""
        self._stack = stack
        self._tell()

    def _tell(self, _: object = None) -> None:
        self.setText(f"In view: {self._stack.in_words()}" if self._stack else "")
