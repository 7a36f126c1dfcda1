"""Real and synthetic MR along a line that a person draws across a slice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QLabel, QPushButton, QVBoxLayout, QWidget

from napari_ct2mri.errors import EvaluationError
from napari_ct2mri.evaluation.maps import Point, Profile, line_profile
from napari_ct2mri.imaging.intensity import MrRange, mr_to_unit, unit_to_output
from napari_ct2mri.widgets.forms import wrapped
from napari_ct2mri.widgets.plots import ThemedPlot
from napari_ct2mri.widgets.world import on_layer, prepare_to_draw, to_data, to_world, world_units

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer, Shapes

__all__ = ["Along", "ProfileView"]

_PLOT_PX = 210
_LINE = "profile line"
_LINE_COLOUR = "#ffd400"
_REAL, _FAKE = "#1f9bd6", "#e8833a"  # as in widgets/curves.py
_LEGEND = f'<span style="color:{_REAL}">▬</span> real &nbsp; '
_LEGEND += f'<span style="color:{_FAKE}">▬</span> synthetic'
_ASK = (
    "Press the button, then press in the image where the line begins, drag, and let go. It goes "
    "through all slices, and can be moved; the profile is that of the slice in view."
)


@dataclass(frozen=True, slots=True, eq=False)
class Along:
    """Two volumes on one grid, ready to be read along a line.

    Attributes
    ----------
    real, fake : (z, y, x)
        In their own units, and in output units.
    range : MrRange
        Of the real one.
    is_picture : bool
    spacing : (y, x), mm
    layer : napari layer
        The CT's, on whose grid both lie.
    """

    real: NDArray[np.generic]
    fake: NDArray[np.generic]
    range: MrRange
    is_picture: bool
    spacing: Point
    layer: Layer

    def profiles(self, index: int, start: Point, stop: Point) -> tuple[Profile, Profile]:
        """Both in output units along a line from ``start`` to ``stop``, (y, x) in voxels."""
        unit = mr_to_unit(self.real[index], self.range)
        real = unit_to_output(unit, is_picture=self.is_picture)
        return (
            line_profile(real, start, stop, self.spacing),
            line_profile(self.fake[index], start, stop, self.spacing),
        )


class ProfileView(QWidget):
    """A button that begins a line, and the values along it.

    Parameters
    ----------
    viewer : napari.Viewer
    index_in_view : callable
        Which slice the viewer shows; None beyond the compared stack.
    """

    def __init__(
        self, viewer: napari.viewer.Viewer, index_in_view: Callable[[], int | None]
    ) -> None:
        super().__init__()
        self._viewer = viewer
        self._index_in_view = index_in_view
        self._along: Along | None = None
        self._layer: Shapes | None = None
        self.button = QPushButton("Draw a line")
        self.button.setToolTip("Adds a layer of shapes; a second line takes the place of the first")
        self.button.clicked.connect(self.draw)
        self.words = wrapped(_ASK)
        self.legend = QLabel(_LEGEND)  # above the plot: within it, it would lie on the curves
        self.legend.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.plot = _Plot(viewer)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 6, 0, 0)
        for part in (self.button, self.words, self.legend):
            layout.addWidget(part)
        layout.addWidget(self.plot, 1)
        layout.addStretch(0)
        viewer.dims.events.point.connect(self.renew)
        viewer.layers.events.removed.connect(self._forget)
        self.empty()

    def empty(self) -> None:
        """Wait for a comparison."""
        self._along = None
        self.renew()

    def look_at(self, along: Along) -> None:
        """Take the volumes of a comparison."""
        self._along = along
        self.plot.set_units("grey level" if along.is_picture else "output units", along.is_picture)
        self.renew()

    def draw(self) -> None:
        """Let the person draw a line in the axial plane."""
        dims = self._viewer.dims
        dims.ndisplay = 2
        dims.order = tuple(range(dims.ndim))
        if self._layer is None:
            self._layer = self._add_layer()
            self._layer.events.data.connect(self.renew)
            self._layer.events.set_data.connect(self.renew)
        prepare_to_draw(self._viewer, self._layer)
        self._viewer.layers.selection.active = self._layer
        self._layer.mode = "add_line"

    def renew(self, _: object = None) -> None:
        """Draw the profile of the slice in view, or say why there is none."""
        profiles, why = self._profiles()
        self.words.setText(why)
        self.words.setVisible(bool(why))
        for part in (self.legend, self.plot):
            part.setVisible(profiles is not None)
        self.button.setEnabled(self._along is not None)
        if profiles is not None:
            self.plot.show_profiles(*profiles)

    def _profiles(self) -> tuple[tuple[Profile, Profile] | None, str]:
        if self._along is None:
            return None, "Compare first; then draw a line across the head."
        line = self._line()
        if line is None:
            return None, _ASK
        index = self._index_in_view()
        if index is None:
            return None, "No slice of the compared layers is in view."
        try:
            real, fake = self._along.profiles(index, *line)
        except EvaluationError as error:
            return None, str(error)
        if np.isnan(real.values).all():
            return None, "The line lies outside the images; move it onto the head."
        return (real, fake), ""

    def _line(self) -> tuple[Point, Point] | None:
        """Both ends of the chosen line, else of the latest, (y, x) in voxels."""
        if self._layer is None or self._along is None:
            return None
        kinds = self._layer.shape_type
        lines = [i for i, kind in enumerate(kinds) if kind == "line"]
        chosen = [i for i in lines if i in self._layer.selected_data]
        if not lines:
            return None
        ends = self._layer.data[(chosen or lines)[-1]]
        units = world_units(self._viewer)
        places = (to_world(self._layer, end, units)[-2:] for end in (ends[0], ends[-1]))
        start, stop = (to_data(self._along.layer, place, units)[-2:] for place in places)
        return (float(start[0]), float(start[1])), (float(stop[0]), float(stop[1]))

    def _add_layer(self) -> Shapes:
        assert self._along is not None
        return self._viewer.add_shapes(
            ndim=2,
            name=_LINE,
            **{key: value[-2:] for key, value in on_layer(self._along.layer).items()},
            axis_labels=("y", "x"),
            edge_color=_LINE_COLOUR,
            edge_width=1,
        )

    def _forget(self, event: Any) -> None:
        layer: Layer = event.value
        if layer is self._layer:
            self._layer = None
            self.renew()


class _Plot(ThemedPlot):
    """Two curves."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer)
        self.setMinimumHeight(_PLOT_PX)
        self.real = self.plot([], [], pen=pg.mkPen(_REAL, width=2))
        self.fake = self.plot([], [], pen=pg.mkPen(_FAKE, width=2))

    def sizeHint(self) -> QSize:  # noqa: N802
        """Room for the curves; more where there is some, instead of pushing the axis out."""
        return QSize(_PLOT_PX, _PLOT_PX)

    def set_units(self, values: str, is_picture: bool) -> None:
        """Name the axes."""
        self.setLabel("left", values)
        self.setLabel("bottom", "pixels along the line" if is_picture else "mm along the line")

    def show_profiles(self, real: Profile, fake: Profile) -> None:
        """Draw both; gaps where the line leaves the image."""
        self.real.setData(real.distance, real.values, connect="finite")
        self.fake.setData(fake.distance, fake.values, connect="finite")
