"""Load: see what a file or folder holds, and open one of its volumes as a layer."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QDragEnterEvent, QDropEvent, QIcon, QImage, QPixmap
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
)

from napari_ct2mri.errors import Ct2MriError
from napari_ct2mri.imaging.volume import Volume
from napari_ct2mri.jobs import Event
from napari_ct2mri.widgets import tasks
from napari_ct2mri.widgets.command_line import CommandLine, file_name
from napari_ct2mri.widgets.files import layer_name
from napari_ct2mri.widgets.forms import written_path
from napari_ct2mri.widgets.found import details, said_of_all, size_in_words, title
from napari_ct2mri.widgets.glances import Glanced, glances
from napari_ct2mri.widgets.job import QtJob
from napari_ct2mri.widgets.layers import add_volume
from napari_ct2mri.widgets.panel import Panel

if TYPE_CHECKING:
    import napari.viewer

    from napari_ct2mri.imaging.io import Series

__all__ = ["LoadPanel"]

_THUMBNAIL_PX = 72
_LIST_PX = 220
_NAMED = 3  # of several that were dropped
_HINT = "drop it here: DICOM folder, .nii.gz, .nrrd, .mha, picture"


class LoadPanel(Panel):
    """Pick or drop a file or folder, read the list of what it holds, load what is chosen."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer, "Load as layer")
        self._dropped: tuple[Path, ...] = ()  # several at once, while no path is typed
        self._scanned: tuple[Path, ...] = ()
        self._found: tuple[Series, ...] = ()
        self.pictures = QtJob()  # beside the panel's job: nobody waits for thumbnails
        self.pictures.event_came.connect(self._show_glance)
        self.destroyed.connect(self.pictures.abandon)
        self.setAcceptDrops(True)
        self._build_path()
        self._build_list()
        self._build_reading()
        self.remember(path=self.path)
        self._show_command()

    def look(self) -> None:
        """List what the path holds, or what was dropped."""
        with self.telling():
            paths = self._paths()
            self.run(partial(self._list, paths), tasks.scan, *paths)
            self._forget()

    def start(self) -> None:
        """Load the chosen series; look first, if the path was not looked at."""
        paths = self._paths()
        if paths != self._scanned or not self._found:
            self.look()
            return
        row = self.list.currentRow()
        if row < 0:
            held = f"{len(self._found)} series; choose one in the list"
            where = f"{paths[0]}: holds" if len(paths) == 1 else "what was dropped holds"
            raise Ct2MriError(f"{where} {held}")
        series, modality = self._found[row], self.modality.currentData()
        self.run(partial(self._show, paths, series), tasks.read, series, *paths, modality=modality)

    def at_work(self) -> tuple[str, ...]:
        """Nothing that would be missed: to load again takes seconds."""
        return ()

    def abandon(self) -> None:
        """Stop reading."""
        super().abandon()
        self.pictures.abandon()

    # ------------------------------------------------------------ files that are dropped

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802
        """Take files and folders of this machine."""
        if _dropped(event):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802
        """Look at what was dropped, and at nothing else."""
        if not (paths := _dropped(event)):
            return
        event.acceptProposedAction()
        if len(paths) == 1:
            self._take_path(str(paths[0]))
            return
        self.path.clear()
        self._dropped = paths
        names = ", ".join(path.name for path in paths[:_NAMED])
        more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
        self.path.setPlaceholderText(f"{len(paths)} dropped: {names}{more}")
        self.look()

    # ------------------------------------------------------------ what was found

    def _paths(self) -> tuple[Path, ...]:
        if text := self.path.text().strip():
            return (written_path(text),)
        if not self._dropped:
            raise Ct2MriError(
                "no file or folder chosen; type its path, drop it here or press a button above"
            )
        return self._dropped

    def _forget(self) -> None:
        self.pictures.abandon()
        self.list.clear()
        self._scanned, self._found = (), ()
        self._show_command()

    def _list(self, paths: tuple[Path, ...], found: tuple[Series, ...]) -> None:
        self._scanned, self._found = paths, found
        for problem in said_of_all(found):
            self.note(problem)
        if sum(series.kind == "picture" for series in found) > 1:
            self.note("pictures that are slices of one volume are opened as one by their folder")
        for number, series in enumerate(found, start=1):
            item = QListWidgetItem(_blank(), "")
            _write(item, number, series, self._details(series))
            if series.refusal:
                item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsEnabled)
            self.list.addItem(item)
        usable = [i for i, series in enumerate(found) if not series.refusal]
        if len(usable) == 1:
            self.list.setCurrentRow(usable[0])
        self.say(f"{len(found)} series found" if len(found) > 1 else "1 series found")
        self._show_command()
        self.pictures.start(glances, found)

    def _show_glance(self, event: Event) -> None:
        if not isinstance(event, Glanced) or event.index >= self.list.count():
            return
        item, series = self.list.item(event.index), self._found[event.index]
        height, width = event.glance.picture.shape
        data = event.glance.picture.tobytes()
        image = QImage(data, width, height, width, QImage.Format.Format_Grayscale8)
        icon = QIcon(QPixmap.fromImage(image))
        icon.addPixmap(QPixmap.fromImage(image), QIcon.Mode.Selected)  # else Qt tints it
        item.setIcon(icon)
        guessed = event.glance.notes if series.modality == "unknown" else ()
        _write(item, event.index + 1, series, self._details(series, guessed))

    def _details(self, series: Series, guessed: tuple[str, ...] = ()) -> tuple[str, ...]:
        return details(series, guessed, but_for=said_of_all(self._found))

    def _show(self, paths: tuple[Path, ...], series: Series, volume: Volume) -> None:
        name = layer_name(paths[0]) if len(paths) == 1 else _called(series)
        if len(paths) == 1 < len(self._found) and series.description != paths[0].name:
            name = f"{name} · {_called(series)}"
        layer = add_volume(self.viewer, volume, name)
        self.say(f"{layer.name}: {'x'.join(map(str, layer.data.shape))} {volume.modality}")
        for note in volume.notes:
            self.note(note)

    def _show_command(self) -> None:
        """How the list, then the chosen series, is had in a terminal."""
        row = self.list.currentRow()
        words, why_not = self._as_command(row) if self._scanned else ([], "")
        self.command.show_command(shlex.join(words), why_not)
        self.command_title.setVisible(bool(words))
        self.command.setVisible(bool(words or why_not))

    def _as_command(self, row: int) -> tuple[list[str], str]:
        """What a terminal would be told; or nothing, and why."""
        from napari_ct2mri.imaging.io import own_file

        series = self._found[row] if row >= 0 else None
        file = own_file(series) if series else None
        if file is None and len(self._scanned) > 1:
            return [], "several were dropped at once, a command takes one; drop their folder"
        path = str(file or self._scanned[0])
        if series is None:
            return ["ct2mri", "info", path], ""
        words = ["ct2mri", "convert", path, _output(series)]
        if file is None and len(self._found) > 1:
            words += ["--series", series.uid or str(row + 1)]
        modality = self.modality.currentData()
        return words + (["--modality", modality] if modality else []), ""

    # ------------------------------------------------------------ the parts

    def _build_path(self) -> None:
        form = self.section("File or folder")
        self.path = QLineEdit()
        self.path.setPlaceholderText(_HINT)
        self.path.setAcceptDrops(False)  # the panel takes what is dropped
        self.path.returnPressed.connect(self.look)
        self.path.textChanged.connect(self._forget_dropped)
        form.addRow(self.path)
        buttons = QHBoxLayout()
        for label, browse in (("File…", self._browse_file), ("Folder…", self._browse_folder)):
            button = QPushButton(label)
            button.clicked.connect(browse)
            buttons.addWidget(button)
        form.addRow(buttons)

    def _build_list(self) -> None:
        self.section("What it holds")
        self.list = QListWidget()
        self.list.setWordWrap(True)
        self.list.setIconSize(QSize(_THUMBNAIL_PX, _THUMBNAIL_PX))
        self.list.setMinimumHeight(_LIST_PX)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setVerticalScrollMode(QListWidget.ScrollMode.ScrollPerPixel)
        self.list.itemDoubleClicked.connect(self._clicked)
        self.list.currentRowChanged.connect(lambda row: self._show_command())
        self.body.addWidget(self.list, 1)

    def _build_reading(self) -> None:
        form = self.section("How to read it")
        self.modality = QComboBox()
        self.modality.addItem("as the file says", None)
        self.modality.addItem("CT", "CT")
        self.modality.addItem("MR", "MR")
        self.modality.setToolTip("NIfTI files and pictures do not say what they are.")
        self.modality.currentIndexChanged.connect(lambda index: self._show_command())
        form.addRow("Modality", self.modality)
        self.command_title = QLabel("The same on the command line")
        self.command = CommandLine()
        self.body.addWidget(self.command_title)
        self.body.addWidget(self.command)

    def _browse_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open CT or MR", self.path.text())
        self._take_path(path)

    def _browse_folder(self) -> None:
        path = QFileDialog.getExistingDirectory(self, "Open a folder", self.path.text())
        self._take_path(path)

    def _forget_dropped(self) -> None:
        self._dropped = ()
        self.path.setPlaceholderText(_HINT)

    def _take_path(self, path: str) -> None:
        if path:
            self.path.setText(path)
            self.look()


def _dropped(event: QDropEvent) -> tuple[Path, ...]:
    """Paths of the files and folders that are dropped."""
    urls = event.mimeData().urls()
    return tuple(Path(url.toLocalFile()) for url in urls if url.isLocalFile())


def _called(series: Series) -> str:
    """Its description; a file, which is described by its name, without the ending."""
    file = series.files[0]
    return layer_name(file) if series.description == file.name else series.description


def _output(series: Series) -> str:
    """A file for it in the folder one is in, and never the one that it came from."""
    name, taken = file_name(_called(series), "volume"), {file.name for file in series.files}
    is_taken = f"{name}.nii.gz".lower() in {other.lower() for other in taken}
    return f"{name}{'-converted' if is_taken else ''}.nii.gz"


def _write(item: QListWidgetItem, number: int, series: Series, lines: Sequence[str]) -> None:
    item.setText("\n".join((title(number, series), size_in_words(series), *lines)))
    item.setToolTip("\n".join((str(series.files[0].parent), *lines)))


def _blank() -> QIcon:
    """Keeps the place of a thumbnail that is to come."""
    pixmap = QPixmap(_THUMBNAIL_PX, _THUMBNAIL_PX)
    pixmap.fill(Qt.GlobalColor.transparent)
    return QIcon(pixmap)
