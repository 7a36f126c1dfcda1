"""Real viewers, real panels, real child processes; waits that give up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from counting import Counting, is_open
from heads import head_pair
from napari.utils.notifications import Notification, notification_manager
from napari.viewer import Viewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QSettings

from napari_ct2mri.imaging.io import write_volume
from napari_ct2mri.jobs import run_job
from napari_ct2mri.widgets import tasks
from napari_ct2mri.widgets.layers import add_volume
from napari_ct2mri.widgets.patient_data import patient_data

PATIENCE_MS = 180_000
"""A child imports torch before its first word; a busy machine takes its time."""

SMALL = {"levels": 3, "frame_px": 64, "head_px": 46, "pixel_mm": 1.4, "threads": 1, "batch": 4}

MakeViewer = Callable[..., Viewer]
OpenPanel = Callable[[str], Any]


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _no_memory(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Panels remember in a folder of the test's own, not in the person's settings."""
    folder = str(tmp_path_factory.mktemp("settings"))
    QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, folder)
    patient_data.cache_clear()


@pytest.fixture
def viewer(make_napari_viewer: MakeViewer) -> Viewer:
    return make_napari_viewer()


@pytest.fixture
def heads(viewer: Viewer) -> Viewer:
    """A viewer with a CT and a T2 on one oblique grid."""
    ct, mr = head_pair()
    add_volume(viewer, mr, "head T2")
    add_volume(viewer, ct, "head CT")
    return viewer


@pytest.fixture
def panel(viewer: Viewer, qtbot: QtBot) -> Iterator[OpenPanel]:
    """Open a panel of the plugin, as napari does."""
    opened: list[Any] = []

    def open_panel(name: str) -> Any:
        _, widget = viewer.window.add_plugin_dock_widget("napari-ct2mri", name)
        opened.append(widget)
        return widget

    yield open_panel
    for widget in opened:
        widget.job.abandon()


@pytest.fixture
def train(heads: Viewer, panel: OpenPanel) -> Any:
    """Train with two patients to learn from, one of whom chooses the epoch."""
    train = panel("Train")
    ct, mr = head_pair(seed=5)
    val = add_volume(heads, ct, "bea CT"), add_volume(heads, mr, "bea T2")
    heads.layers.selection.active = heads.layers["head CT"]
    train.pairs.add_layers(heads.layers["head CT"], heads.layers["head T2"], "ada", "T2", "train")
    train.pairs.add_layers(*val, "bea", "T2", "val")
    train.watch.select(heads.layers["head CT"])
    return train


@pytest.fixture
def counting(
    make_napari_viewer: MakeViewer,
    qtbot: QtBot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[Viewer, Counting]]:
    """A visible viewer with a panel whose job runs."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))  # the child's
    viewer = make_napari_viewer(show=True)
    panel = Counting(viewer, tmp_path / "left")
    viewer.window.add_dock_widget(panel, name="Counting")
    panel.go.click()
    qtbot.waitUntil(lambda: hasattr(panel, "saw"), timeout=PATIENCE_MS)
    qtbot.waitUntil(lambda: panel.isVisible(), timeout=PATIENCE_MS)
    window = viewer.window._qt_window
    yield viewer, panel
    panel.job.abandon()
    if not is_open(window) and hasattr(viewer.window, "_qt_window"):
        del viewer.window._qt_window  # closed by a person; the fixture would close it again


@pytest.fixture
def settle(qtbot: QtBot) -> Callable[[Any], None]:
    """Wait until a panel's job has ended."""

    def wait(panel: Any) -> None:
        qtbot.waitUntil(lambda: not panel.job.is_running, timeout=PATIENCE_MS)

    return wait


@pytest.fixture
def told() -> Iterator[list[str]]:
    """What napari notified the person of, but for its remark on layers without units."""
    messages: list[str] = []

    def remember(notification: Notification) -> None:
        if not notification.message.startswith("Inconsistent units across layers"):
            messages.append(notification.message)

    notification_manager.notification_ready.connect(remember)
    yield messages
    notification_manager.notification_ready.disconnect(remember)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, trained on the head that :func:`heads` shows."""
    folder = tmp_path_factory.mktemp("model")
    ct, mr = head_pair()
    write_volume(ct, folder / "ct.mha")
    write_volume(mr, folder / "mr.mha")
    entry = tasks.PairEntry(folder / "ct.mha", folder / "mr.mha", "ada", "T2", "train")
    job = tasks.train(
        [entry], folder / "tiny.safetensors", "default", SMALL | {"epochs": 1, "width": 4}
    )
    return run_job(job, lambda event: None).path
