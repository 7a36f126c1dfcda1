"""Load: see what a file or folder holds, and open one of its volumes as a layer."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
)

from napari_ct2mri.errors import Ct2MriError
from napari_ct2mri.imaging.volume import Volume
from napari_ct2mri.widgets import tasks
from napari_ct2mri.widgets.files import layer_name
from napari_ct2mri.widgets.layers import add_volume
from napari_ct2mri.widgets.panel import Panel

if TYPE_CHECKING:
    import napari.viewer

    from napari_ct2mri.imaging.io import Series

__all__ = ["LoadPanel"]


class LoadPanel(Panel):
    """Pick a file or folder, read the list of what it holds, load what is chosen."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer, "Load as layer")
        self._scanned: Path | None = None
        self._found: tuple[Series, ...] = ()

        form = self.section("File or folder")
        self.path = QLineEdit()
        self.path.setPlaceholderText("DICOM folder, .nii.gz, .nrrd, .mha, picture")
        self.path.returnPressed.connect(self.look)
        form.addRow(self.path)
        buttons = QHBoxLayout()
        for label, browse in (("File…", self._browse_file), ("Folder…", self._browse_folder)):
            button = QPushButton(label)
            button.clicked.connect(browse)
            buttons.addWidget(button)
        form.addRow(buttons)

        form = self.section("What it holds")
        self.list = QListWidget()
        self.list.setWordWrap(True)
        self.list.setAlternatingRowColors(True)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.itemDoubleClicked.connect(self._clicked)
        self.body.addWidget(self.list, 1)
        form = self.section("How to read it")
        self.modality = QComboBox()
        self.modality.addItem("as the file says", None)
        self.modality.addItem("CT", "CT")
        self.modality.addItem("MR", "MR")
        self.modality.setToolTip("NIfTI files and pictures do not say what they are.")
        form.addRow("Modality", self.modality)

    def look(self) -> None:
        """List what the path holds."""
        with self.telling():
            path = self._path()
            self.list.clear()
            self._found = ()
            self.run(partial(self._list, path), tasks.scan, path)

    def start(self) -> None:
        """Load the chosen series; look first, if the path was not looked at."""
        path = self._path()
        if path != self._scanned or not self._found:
            self.look()
            return
        row = self.list.currentRow()
        if row < 0:
            raise Ct2MriError(f"{path}: holds {len(self._found)} series; choose one in the list")
        self.run(
            partial(self._show, path, self._found[row]),
            tasks.read,
            path,
            series=str(row + 1),
            modality=self.modality.currentData(),
        )

    def _path(self) -> Path:
        text = self.path.text().strip()
        if not text:
            raise Ct2MriError("no file or folder chosen; type its path or press a button above")
        return Path(text).expanduser()

    def _list(self, path: Path, found: tuple[Series, ...]) -> None:
        self._scanned, self._found = path, found
        self.list.clear()
        for number, series in enumerate(found, start=1):
            lines = [f"{number}. {series}", *series.problems]
            item = QListWidgetItem("\n".join(lines))
            item.setToolTip("\n".join((f"{series.kind}, {len(series.files)} files", *lines)))
            if series.refusal:
                item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsEnabled)
            self.list.addItem(item)
        usable = [i for i, series in enumerate(found) if not series.refusal]
        if len(usable) == 1:
            self.list.setCurrentRow(usable[0])
        self.say(f"{len(found)} found" if len(found) > 1 else "")

    def _show(self, path: Path, series: Series, volume: Volume) -> None:
        name = layer_name(path)
        if len(self._found) > 1 and series.description not in ("", path.name):
            name = f"{name} · {series.description}"
        layer = add_volume(self.viewer, volume, name)
        self.say(f"{layer.name}: {'x'.join(map(str, layer.data.shape))} {volume.modality}")
        for note in volume.notes:
            self.note(note)

    def _browse_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open CT or MR", self.path.text())
        self._take_path(path)

    def _browse_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Open a folder", self.path.text())
        self._take_path(path)

    def _take_path(self, path: str) -> None:
        if path:
            self.path.setText(path)
            self.look()
