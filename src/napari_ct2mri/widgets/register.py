"""Register & pair: an MR moved onto a CT, looked at, and put into the table of pairs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QGridLayout,
    QLabel,
    QLineEdit,
    QPushButton,
)

from napari_ct2mri.app import workflows
from napari_ct2mri.errors import VolumeError
from napari_ct2mri.pix2pix.pairs import Split, read_pairs
from napari_ct2mri.widgets import tasks
from napari_ct2mri.widgets.command_line import CommandLine, file_name
from napari_ct2mri.widgets.forms import LayerChooser, narrow, wrapped
from napari_ct2mri.widgets.landmarks import LandmarkChooser
from napari_ct2mri.widgets.layer_pairs import REGISTERED, file_of, in_no_file, pairs_of
from napari_ct2mri.widgets.layers import volume_to_layer_data
from napari_ct2mri.widgets.look import LookBox
from napari_ct2mri.widgets.pairs_table import PairTable
from napari_ct2mri.widgets.panel import Panel
from napari_ct2mri.widgets.placing import direction, landmarks_of, to_register
from napari_ct2mri.widgets.world import on_layer

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Image, Layer
    from napari.utils.events import Event

    from napari_ct2mri.app.workflows import Registered
    from napari_ct2mri.imaging.pose import Landmarks, Registration
    from napari_ct2mri.widgets.layer_pairs import Pair

__all__ = ["RegisterPanel"]

_CSV = "Pair lists (*.csv)"
_POINTS = "Landmarks (*.csv)"
_LANDMARKS = "--landmarks"
_POINTS_TIP = (
    "The file that the command reads: columns ct_x,ct_y,ct_z,mr_x,mr_y,mr_z, LPS mm, a pair a row. "
    "What napari saves of a points layer is another."
)
_CONTRASTS = ("T2", "T1", "PD", "FLAIR")
_KINDS = (
    ("rigid", "move and turn (rigid)", "The head keeps its size: right for one person's images."),
    (
        "affine",
        "also scale and shear (affine)",
        "Where an image's millimetres are not to be trusted.",
    ),
)


@dataclass(slots=True, eq=False)
class _Made:
    """A registered layer, what of, and how it is made in a terminal.

    Attributes
    ----------
    words : list of str
        Of the command line; none where it cannot be.
    why_not : str
        Why it cannot.
    landmarks : Landmarks or None
        Where the search started; the command line reads them from a file.
    """

    ct: Layer
    mr: Layer
    layer: Image
    words: list[str]
    why_not: str
    landmarks: Landmarks | None


class RegisterPanel(Panel):
    """Choose two images, register, look, pair."""

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__(viewer, "Register")
        self.pairs = pairs_of(self.viewer)
        self._at_work: tuple[Layer, Layer] | None = None
        self._made: list[_Made] = []
        self._build_images()
        self._build_registration()
        self._build_look()
        self._build_pairs()
        self.body.addStretch(1)
        self.viewer.layers.events.removed.connect(self._follow_removed, position="last")
        self.pairs.changed.connect(self._count_pairs)
        for chooser in (self.ct, self.mr):
            chooser.currentIndexChanged.connect(self._chosen)
        self.job.finished.connect(self._forget_work)
        self.remember(kind=self.kind, contrast=self.contrast)
        self._chosen()
        self._count_pairs()

    # ------------------------------------------------------------ registration

    def start(self) -> None:
        """Register the chosen MR onto the chosen CT."""
        ct, mr = self.ct.required(), self.mr.required()
        volumes = to_register(ct, mr)
        landmarks, kind = self._landmarks(ct, mr), self.kind.currentData()
        self.run(
            partial(self._show, ct, mr, *_as_command(ct, mr, kind, landmarks), landmarks),
            workflows.register_volumes,
            *volumes,
            kind=kind,
            landmarks=landmarks,
        )
        self._at_work = ct, mr
        for chooser, layer in ((self.ct, ct), (self.mr, mr)):
            chooser.select(layer)  # stays chosen when the registered MR comes

    def _landmarks(self, ct: Layer, mr: Layer) -> Landmarks | None:
        points = self.ct_points.layer(), self.mr_points.layer()
        if points == (None, None):
            return None
        if points[0] is None or points[1] is None:
            where = "CT" if points[0] is None else "MR"
            raise VolumeError(
                f"landmarks: none are chosen in the {where}; mark the same places there, or choose "
                "'none' for both"
            )
        return landmarks_of(ct, points[0], mr, points[1])

    def _show(
        self,
        ct: Layer,
        mr: Layer,
        words: list[str],
        why_not: str,
        landmarks: Landmarks | None,
        registered: Registered,
    ) -> None:
        """Add the registered MR, say how it was moved, and show both in one picture."""
        if ct not in self.viewer.layers or mr not in self.viewer.layers:
            return  # it ended before the word that a layer is gone came to it
        found = registered.registration
        data, attributes, _ = volume_to_layer_data(registered.mr, f"{mr.name} · on {ct.name}")
        attributes["metadata"] = {**attributes["metadata"], REGISTERED: found}
        attributes |= on_layer(ct)
        for key in ("contrast_limits", "colormap", "gamma"):
            attributes[key] = getattr(mr, key)
        layer = self.viewer.add_image(data, **attributes)
        layer.contrast_limits_range = mr.contrast_limits_range
        self._made.append(_Made(ct, mr, layer, words, why_not, landmarks))
        self._chosen()
        if self.registered() is layer:
            self.look.show_after()
        self.say(f"{layer.name} is ready. Look at it before you pair it")

    def _tell(self, made: _Made) -> None:
        found: Registration = made.layer.metadata[REGISTERED]
        doubts = "".join(f"<li>{doubt}</li>" for doubt in found.doubts)
        verdict = f"<b>Unsure:</b><ul>{doubts}</ul>" if doubts else "Nothing speaks against it."
        self.result.setText(
            f"{found.summary[0].upper()}{found.summary[1:]}; the head's centre went "
            f"{direction(found)}.<br>Mutual information {found.before:.3f} before, "
            f"<b>{found.after:.3f}</b> after.<br>{verdict}"
        )
        self.result.show()
        self.command.show_command(shlex.join(made.words), made.why_not)
        self.command.show()
        self.save_points.setVisible(made.landmarks is not None and bool(made.words))

    def _follow_removed(self, event: Event) -> None:
        """A registration of a layer that is gone is of no use to anybody."""
        gone = event.value
        kept = [made for made in self._made if gone not in (made.ct, made.mr, made.layer)]
        if self._at_work is not None and gone in self._at_work:
            self.note(f"layer {gone.name!r} was removed, so its registration was cancelled")
            self.job.cancel()
        if len(kept) < len(self._made):
            self._made = kept
            self._chosen()

    def _forget_work(self) -> None:
        self._at_work = None

    def registered(self) -> Image | None:
        """The newest layer that was made of the chosen MR on the chosen CT, if any."""
        made = self._newest()
        return None if made is None else made.layer

    def _newest(self) -> _Made | None:
        chosen = self.ct.layer(), self.mr.layer()
        return next((m for m in reversed(self._made) if (m.ct, m.mr) == chosen), None)

    def _chosen(self, *_: object) -> None:
        """Other layers were chosen: what was said of the former is out of date."""
        made = self._newest()
        if made is None:
            self.result.hide()
            self.command.hide()
            self.save_points.hide()
        else:
            self._tell(made)
        self.look.follow(self.ct.layer(), self.mr.layer(), self.registered())
        self._say_pair()

    def save_landmarks(self, path: Path) -> None:
        """Write the landmarks that the newest registration started from, for its command line."""
        made = self._newest()
        assert made is not None
        assert made.landmarks is not None
        with self.telling():
            workflows.write_landmarks(path.absolute(), made.landmarks)
            made.words[made.words.index(_LANDMARKS) + 1] = str(path.absolute())
            self._tell(made)
            self.say(f"saved as {path}")

    # ------------------------------------------------------------ pairs

    def add_pair(self) -> None:
        """Put the chosen CT and the MR that lies on it into the table."""
        with self.telling():
            ct, mr = self.ct.required(), self.registered() or self.mr.required()
            self.pairs.add_layers(
                ct,
                mr,
                self.patient.text().strip(),
                self.contrast.currentText().strip(),
                self.split.currentData(),
            )
            found = mr.metadata.get(REGISTERED)
            self.say(f"{mr.name} is paired with {ct.name}")
            if found is not None and found.is_unsure:
                self.note(f"{mr.name} was paired though its registration is unsure")

    def open_pairs(self, path: Path) -> None:
        """Show the rows of a pair list."""
        with self.telling():
            self.pairs.fill(read_pairs(path).rows)
            self.say(f"{len(self.pairs)} pairs from {path.name}")

    def save_pairs(self, path: Path) -> None:
        """Write the table, and beside it the layers that are in no file."""
        with self.telling():
            rows, entries = tuple(self.pairs), self.pairs.entries()
            self.run(partial(self._saved, rows), tasks.save_pairs, path.absolute(), entries)

    def _saved(self, rows: Sequence[Pair], path: Path) -> None:
        is_all = self.pairs.replace(rows, read_pairs(path).rows)
        self.say(f"saved as {path}{'' if is_all else ', as the table was when saving began'}")

    def _say_pair(self) -> None:
        ct, mr = self.ct.layer(), self.registered() or self.mr.layer()
        names = [layer.name for layer in (ct, mr) if layer is not None]
        self.pair.setText(" with ".join(names) if len(names) == 2 else "choose a CT and an MR")

    def _count_pairs(self, event: Event | None = None) -> None:
        self.counted.setText(self.pairs.summary)
        self._say_pair()
        if words := getattr(event, "words", ""):
            self.note(words)

    # ------------------------------------------------------------ layout

    def _build_images(self) -> None:
        form = self.section("1 · Images of one head")
        self.ct = LayerChooser(self.viewer, "CT", "CT")
        self.mr = LayerChooser(self.viewer, "MR", "MR")
        self.ct.setToolTip("It stays where it is; its grid becomes the MR's.")
        self.mr.setToolTip("It is moved onto the CT, as a new layer; this one stays as it is.")
        form.addRow("CT", self.ct)
        form.addRow("MR", self.mr)

    def _build_registration(self) -> None:
        form = self.section("2 · Register the MR onto the CT")
        self.kind = narrow(QComboBox())
        for kind, title, tip in _KINDS:
            self.kind.addItem(title, kind)
            self.kind.setItemData(self.kind.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        form.addRow("Motion", self.kind)
        self.ct_points = LandmarkChooser(self.viewer, self.ct, "CT")
        self.mr_points = LandmarkChooser(self.viewer, self.mr, "MR")
        for chooser in (self.ct_points, self.mr_points):
            chooser.failed.connect(self._failed)
        form.addRow("CT points", self.ct_points)
        form.addRow("MR points", self.mr_points)
        self.result = wrapped()
        self.command = CommandLine()
        self.command.setToolTip("The same in a terminal.")
        self.save_points = QPushButton("Save landmarks for it…")
        self.save_points.setToolTip(_POINTS_TIP)
        self.save_points.clicked.connect(self._browse_points)
        for part in (self.result, self.command, self.save_points):
            part.hide()
            self.body.addWidget(part)

    def _build_look(self) -> None:
        self.body.addWidget(QLabel("<b>3 · See whether it fits</b>"))
        self.look = LookBox(self.viewer)
        self.look.failed.connect(self._failed)
        for chooser in (self.ct_points, self.mr_points):
            chooser.marking.connect(self.look.show_nothing)
        self.body.addWidget(self.look)

    def _build_pairs(self) -> None:
        form = self.section("4 · Pairs to train on")
        self.pair = wrapped()
        self.patient = QLineEdit("patient-1")
        self.contrast = narrow(QComboBox())
        self.contrast.setEditable(True)
        self.contrast.addItems(_CONTRASTS)
        self.split = QComboBox()
        for split in get_args(Split):
            self.split.addItem(split, split)
        self.split.setToolTip(
            "train is learnt from, val chooses the best epoch, test is left for Compare; "
            "a patient stands in one of them."
        )
        for label, field in (
            ("Pair", self.pair),
            ("Patient", self.patient),
            ("Contrast", self.contrast),
            ("Split", self.split),
        ):
            form.addRow(label, field)
        self.table = PairTable(self.pairs)
        self.counted = wrapped()
        self.add = QPushButton("Add pair")
        self.remove = QPushButton("Remove")
        opener = QPushButton("Open pairs.csv…")
        saver = QPushButton("Save pairs.csv…")
        self.add.clicked.connect(self.add_pair)
        self.remove.clicked.connect(self.table.remove_selected)
        opener.clicked.connect(self._browse_open)
        saver.clicked.connect(self._browse_save)
        grid = QGridLayout()
        for i, button in enumerate((self.add, self.remove, opener, saver)):
            grid.addWidget(button, i // 2, i % 2)
        self.body.addWidget(self.table)
        self.body.addWidget(self.counted)
        self.body.addLayout(grid)

    def _browse_open(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Open a pair list", "", _CSV)
        if path:
            self.open_pairs(Path(path))

    def _browse_points(self) -> None:
        made = self._newest()
        assert made is not None
        default = made.words[made.words.index(_LANDMARKS) + 1]
        path, _ = QFileDialog.getSaveFileName(self, "Save the landmarks", default, _POINTS)
        if path:
            self.save_landmarks(Path(path))

    def _browse_save(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Save the pair list", "pairs.csv", _CSV)
        if path:
            self.save_pairs(Path(path))

    # ------------------------------------------------------------ the end of the panel

    def event(self, event: QEvent) -> bool:
        """Notice being taken out of the window: the picture of both goes too."""
        handled = super().event(event)
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.look.show_nothing()
        return handled


def _as_command(
    ct: Layer, mr: Layer, kind: str, landmarks: Landmarks | None
) -> tuple[list[str], str]:
    """What a terminal would be told; or nothing, and why."""
    of_ct, of_mr = file_of(ct, "CT"), file_of(mr, "MR")
    if of_ct is None or of_mr is None:
        return [], in_no_file(ct, mr)
    (ct_path, series), (mr_path, mr_series) = of_ct, of_mr
    name = file_name(f"{mr.name}-on-{ct.name}", "registered")
    words = ["ct2mri", "register", str(ct_path), str(mr_path), f"{name}.nii.gz"]
    words += ["--kind", kind]
    for flag, uid in (("--series", series), ("--mr-series", mr_series)):
        words += [flag, uid] if uid else []
    words += [_LANDMARKS, f"{name}-landmarks.csv"] if landmarks else []
    return words, ""
