"""Form parts the panels share: choosers of layers and files."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollBar,
    QSizePolicy,
    QToolButton,
    QWidget,
)

from napari_ct2mri.errors import Ct2MriError
from napari_ct2mri.imaging.volume import Modality
from napari_ct2mri.widgets.layers import layer_origin

if TYPE_CHECKING:
    import napari.viewer
    from napari.layers import Layer
    from napari.utils.events import Event

__all__ = [
    "LayerChooser",
    "OutputField",
    "WheelGuard",
    "browse_button",
    "fold",
    "narrow",
    "plain_form",
    "wrapped",
    "written_path",
]


_BROWSE_PX = 32


def wrapped(text: str = "") -> QLabel:
    """Sentences, on as many lines as they need."""
    label = QLabel(text)
    label.setWordWrap(True)
    return label


def narrow(combo: QComboBox) -> QComboBox:
    """Keep a chooser from growing as wide as its longest entry, which would widen the dock."""
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(8)
    return combo


def browse_button(tip: str, on_click: Callable[[], None]) -> QPushButton:
    """A small button that opens a file dialog."""
    button = QPushButton("…")
    button.setFixedWidth(_BROWSE_PX)
    button.setToolTip(tip)
    button.clicked.connect(lambda: on_click())
    return button


def plain_form() -> QFormLayout:
    """Rows whose fields shrink with the dock; no margins."""
    form = QFormLayout()
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
    form.setContentsMargins(0, 0, 0, 0)
    return form


def fold(title: str, content: QWidget) -> QToolButton:
    """A line with an arrow that unfolds ``content``, which is folded away until somebody asks."""
    line = QToolButton()
    line.setText(title)
    line.setCheckable(True)
    line.setAutoRaise(True)
    line.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
    line.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def unfold(is_open: bool) -> None:
        content.setVisible(is_open)
        line.setArrowType(Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow)

    line.toggled.connect(unfold)
    unfold(False)
    return line


def written_path(text: str) -> Path:
    """A path as it is typed, at any moment; ``~`` is the home folder, where there is such a one."""
    path = Path(text.strip())
    with suppress(RuntimeError):  # ~ before a name that nobody has, or has not yet
        path = path.expanduser()
    return path


class WheelGuard(QObject):
    """Lets the wheel scroll a form, and turn only the field that the person went into.

    Qt's own way changes whatever chooser, spin box or slider happens to be under the mouse.

    Parameters
    ----------
    form : QWidget
        Parts that it gets later are guarded too.
    """

    def __init__(self, form: QWidget) -> None:
        super().__init__(form)
        self._form = form
        self._soon = QTimer(self)  # a newcomer tells of itself before it is what it will be
        self._soon.setSingleShot(True)
        self._soon.timeout.connect(self._look)
        self._look()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Notice newcomers; hand the wheel on to what lies behind a field without the focus."""
        if event.type() == QEvent.Type.ChildAdded:
            self._soon.start()
        elif event.type() == QEvent.Type.Wheel and _turns(watched) and not watched.hasFocus():
            event.ignore()
            return True
        return False

    def _look(self) -> None:
        for part in (self._form, *self._form.findChildren(QWidget)):
            part.installEventFilter(self)  # once, however often
            if _turns(part):
                part.setFocusPolicy(Qt.FocusPolicy.StrongFocus)  # not by the wheel


def _turns(part: QObject) -> bool:
    """Whether the wheel changes what a field says."""
    is_field = isinstance(part, (QComboBox, QAbstractSpinBox, QAbstractSlider))
    return is_field and not isinstance(part, QScrollBar)


class LayerChooser(QComboBox):
    """Chooses one image layer; follows layers that come, go and change their name.

    Parameters
    ----------
    viewer : napari.Viewer
    what : str
        What it asks for, as a person says it: ``"CT"``.
    modality : Modality
        Layers of this modality are preferred while the person has not chosen.
    synthetic : bool
        Whether a synthesized layer is wanted, or a real one.
    optional : bool
        Whether ``none`` is a choice too.
    """

    def __init__(
        self,
        viewer: napari.viewer.Viewer,
        what: str,
        modality: Modality,
        *,
        synthetic: bool = False,
        optional: bool = False,
    ) -> None:
        super().__init__()
        narrow(self)
        self._viewer = viewer
        self._what = what
        self._modality = modality
        self._synthetic = synthetic
        self._optional = optional
        self._is_chosen = False  # by the person, who then keeps the say
        self._tip = ""
        self.currentIndexChanged.connect(self._show_tip)
        self.activated.connect(self._choose)
        viewer.layers.events.inserted.connect(self._refill)
        viewer.layers.events.removed.connect(self._refill)
        viewer.layers.events.reordered.connect(self._refill)
        viewer.layers.events.renamed.connect(self._refill)
        self._refill()

    def layer(self) -> Layer | None:
        """The layer that is chosen, or None."""
        return self.currentData()

    def required(self) -> Layer:
        """The layer that is chosen.

        Raises
        ------
        Ct2MriError
            If there is none.
        """
        layer = self.layer()
        if layer is None:
            raise Ct2MriError(
                f"no layer is chosen as {self._what}; choose one, or open one with the Load panel "
                "or File > Open Sample > CT to MR"
            )
        return layer

    def select(self, layer: Layer) -> None:
        """Choose ``layer``, as the person would."""
        self.setCurrentIndex(self._index(layer))
        self._choose()

    def setToolTip(self, tip: str) -> None:  # noqa: N802
        """Say ``tip`` after the whole name of the layer, which may be cut off."""
        self._tip = tip
        self._show_tip()

    def _show_tip(self, *_: object) -> None:
        super().setToolTip("\n".join(filter(None, (self.currentText(), self._tip))))

    def _choose(self, *_: object) -> None:
        self._is_chosen = True

    def _refill(self, event: Event | None = None) -> None:
        """Take the viewer's layers, newest first; keep the choice while its layer is there.

        Until the person has chosen, a layer that comes is looked at first; and when there is no
        choice yet, the layer that is selected in the viewer.
        """
        from napari.layers import Image

        before = self.layer()
        layers = [layer for layer in reversed(self._viewer.layers) if isinstance(layer, Image)]
        self.blockSignals(True)
        self.clear()
        if self._optional:
            self.addItem("none", None)
        for layer in layers:
            self.addItem(layer.name, layer)
            self.setItemData(self.count() - 1, layer.name, Qt.ItemDataRole.ToolTipRole)
        self._is_chosen &= before is None or before in layers
        if self._is_chosen and before in layers:
            best = before
        else:
            comes = event.value if event is not None and event.type == "inserted" else None
            likely = (comes, before or self._viewer.layers.selection.active)
            best = self._best([*(layer for layer in likely if layer in layers), *layers])
        self.setCurrentIndex(self._index(best))
        self.blockSignals(False)
        self._show_tip()
        if self.layer() is not before:
            self.currentIndexChanged.emit(self.currentIndex())

    def _best(self, layers: list[Layer]) -> Layer | None:
        """The first layer of the right kind, else one of unknown kind, never a wrong one."""
        for layer in layers:
            origin = layer_origin(layer)
            if (
                origin is not None
                and origin.modality == self._modality
                and bool(origin.model) == self._synthetic
            ):
                return layer
        unknown = (layer for layer in layers if layer_origin(layer) is None)
        return None if self._optional else next(unknown, None)

    def _index(self, layer: Layer | None) -> int:
        """Where ``layer`` stands; userData is compared by identity, not by Qt's equality."""
        places = (i for i in range(self.count()) if self.itemData(i) is layer)
        return next(places, -1)


class OutputField(QWidget):
    """A path with a button that opens a file dialog."""

    changed = Signal(str)

    def __init__(self, title: str, kinds: str, default: Path) -> None:
        super().__init__()
        self._title, self._kinds = title, kinds
        self.line = QLineEdit(str(default))
        self.line.setToolTip(str(default))
        self.line.textChanged.connect(self.line.setToolTip)
        self.line.textChanged.connect(self.changed)
        button = browse_button(title, self._browse)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.line, 1)
        row.addWidget(button)

    @property
    def is_empty(self) -> bool:
        """Whether the field names no file, being empty or ``/``."""
        return not self.path().name

    def path(self) -> Path:
        """What is written in the field."""
        return written_path(self.line.text())

    def to_remember(self) -> str:
        """The path as it is written."""
        return self.line.text()

    def recall(self, text: str) -> None:
        """Write a path again, if its folder is still there."""
        with suppress(OSError):
            if text.strip() and written_path(text).parent.is_dir():
                self.line.setText(text)

    def _browse(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, self._title, str(self.path()), self._kinds)
        if path:
            self.line.setText(path)
