"""Draw ``pictures/board.png``: the Board panel in live mode, on a simulated head and board.

    python docs/make_board_picture.py [PICTURE]

Everything is done as a person would: a board is simulated, the released model pushed to it, the
CT scrolled. Without a screen: ``xvfb-run -s "-screen 0 1600x1000x24 +extension GLX" python ...``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

import napari
from qtpy.QtWidgets import QApplication

from napari_ct2mri.imaging.phantom import sample_pair
from napari_ct2mri.widgets.layers import add_volume

PICTURE = Path(__file__).parent / "pictures" / "board.png"
SIZE_PX = (1500, 950)
PATIENCE_S = 600
ZOOM = 1.35
SLICES = (20, 40)
"""Parts of a hundred of the CT that are scrolled, from and to."""


def main(picture: Path) -> None:
    """Set the panel up, push, go live, scroll, take the picture."""
    viewer = napari.Viewer(title="CT to MR")
    viewer.window.resize(*SIZE_PX)
    ct, _ = sample_pair()
    add_volume(viewer, ct, "simulated CT")
    _, panel = viewer.window.add_plugin_dock_widget("napari-ct2mri", "Board")
    with TemporaryDirectory() as folder:
        panel.folder.line.setText(str(Path(folder) / "board-project"))
        panel.simulate.click()
        wait_for(lambda: panel.port.state() is not None and panel.port.state().board == "host")
        panel.go.click()
        wait_for(lambda: not panel.job.is_running)
        panel.folder.line.setText("~/ct2mri/board-project")
    panel.live.go.click()
    wait_for(lambda: "dB" in panel.live.figures["Agreement"].text())
    scroll(viewer, panel, len(ct.data))
    grid = getattr(viewer, "canvas", viewer).grid
    grid.enabled, grid.stride = True, 1
    viewer.reset_view()
    viewer.camera.zoom *= ZOOM
    for widget in QApplication.allWidgets():
        if type(widget).__name__ == "NapariQtNotification":
            widget.close()
    rest(1.0)
    viewer.window.screenshot(str(picture), flash=False, canvas_only=False)
    viewer.close()
    rest(0.5)


def scroll(viewer: napari.Viewer, panel: Any, depth: int) -> None:
    """Slice by slice, each until it has come back."""
    first, last = (depth * part // 100 for part in SLICES)
    for k in range(first, last):
        viewer.dims.set_current_step(0, k)
        wait_for(partial(is_shown, panel, k))


def is_shown(panel: Any, k: int) -> bool:
    """Whether slice ``k`` came last."""
    return bool(panel.live.figures["Slice"].text() == str(k))


def wait_for(condition: Callable[[], bool]) -> None:
    """Let the viewer work until ``condition`` holds."""
    end = monotonic() + PATIENCE_S
    while not condition():
        QApplication.processEvents()
        if monotonic() > end:
            sys.exit("gave up waiting; what the panel says last is on the screen")


def rest(seconds: float) -> None:
    """Let the viewer draw."""
    end = monotonic() + seconds
    wait_for(lambda: monotonic() > end)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURE)
