"""Open volumes side by side: ``python -m napari_ct2mri.widgets.show CT REAL SYNTHETIC``.

With ``--screenshot PNG`` the whole window is written to a picture and closed again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_ct2mri.errors import Ct2MriError, ImageError
from napari_ct2mri.widgets.files import layer_name
from napari_ct2mri.widgets.layers import add_volume
from napari_ct2mri.widgets.words import RESEARCH_ONLY

if TYPE_CHECKING:
    import napari.viewer

__all__ = ["main", "open_files"]

_PANELS = ("Load", "Register & pair", "Train", "Synthesize", "Compare", "Board")
_SIZE_PX = (1440, 860)
_NOTIFICATION = "NapariQtNotification"  # of which there may be one over the images
_SETTLE_MS = 1500
"""Until a window without a window manager has drawn itself."""


def open_files(files: Sequence[Path], panel: str | None = None) -> napari.viewer.Viewer:
    """A viewer with each file as a layer, in a row in the order given.

    Parameters
    ----------
    files : sequence of Path
    panel : str, optional
        A panel of this plugin to open beside them.

    Raises
    ------
    ImageError
        If a file cannot be read; no window is left open.
    """
    import napari

    from napari_ct2mri.imaging.io import read_volume

    volumes = [(read_volume(path), layer_name(path)) for path in files]
    viewer = napari.Viewer(title="CT to MR")
    for volume, name in volumes:
        add_volume(viewer, volume, name)
    _arrange(viewer, len(files))
    if panel:
        viewer.window.add_plugin_dock_widget("napari-ct2mri", panel)
    viewer.window.resize(*_SIZE_PX)
    viewer.reset_view()
    return viewer


def _arrange(viewer: napari.viewer.Viewer, count: int) -> None:
    """One row, the first layer to the left; napari 0.9 moved these settings to ``canvas``."""
    canvas = getattr(viewer, "canvas", None)
    grid, text = (
        (viewer.grid, viewer.text_overlay)
        if canvas is None
        else (canvas.grid, canvas.overlays.text)
    )
    grid.stride = 1
    grid.shape = (1, max(1, count))
    grid.enabled = count > 1
    text.text = RESEARCH_ONLY
    text.visible = True


def main(arguments: Sequence[str] | None = None) -> int:
    """Show the files; 0, or 1 after an error in one line on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m napari_ct2mri.widgets.show", description=__doc__
    )
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--panel", choices=_PANELS)
    parser.add_argument("--screenshot", type=Path, metavar="PNG")
    options = parser.parse_args(arguments)
    try:
        _show(options.files, options.panel, options.screenshot)
    except Ct2MriError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _show(files: Sequence[Path], panel: str | None, picture: Path | None) -> None:
    import napari
    from qtpy.QtCore import QTimer
    from qtpy.QtWidgets import QApplication

    viewer = open_files(files, panel)
    problem: list[OSError] = []

    def take() -> None:
        for widget in QApplication.allWidgets():
            if type(widget).__name__ == _NOTIFICATION:
                widget.close()
        try:
            viewer.window.screenshot(str(picture), flash=False, canvas_only=False)
        except OSError as error:
            problem.append(error)
        viewer.close()

    if picture:
        QTimer.singleShot(_SETTLE_MS, take)
    napari.run()
    if problem:
        raise ImageError(f"{picture}: the screenshot could not be written: {problem[0]}")


if __name__ == "__main__":
    sys.exit(main())
