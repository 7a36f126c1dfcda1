"""Whether a synthetic MR that is saved as DICOM belongs to its CT's patient: one choice for all.

The writer asks here in the moment that it writes. So it counts for every layer, whichever panel
made it, and with no panel open, too. It is kept across starts; of several napari that run at once
each goes by its own.
"""

from __future__ import annotations

from functools import cache

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QCheckBox

from napari_ct2mri.widgets.memory import remember

__all__ = ["PatientData", "PatientDataTick", "patient_data"]

_TIP = (
    "File > Save Selected Layers as NAME.dcm writes patient and study as the CT's files have them. "
    "Without, the series is nobody's, and nothing in it leads to the CT. It is one choice for all "
    "synthetic layers."
)


class PatientData(QObject):
    """The choice, held by the program so that it stands where settings cannot be written.

    Signals
    -------
    changed : bool
        It is wanted now, or no more.
    """

    changed = Signal(bool)

    def __init__(self) -> None:
        super().__init__()
        self.is_wanted = True

    def choose(self, is_wanted: bool) -> None:
        """Choose for all that is saved from now on."""
        if is_wanted != self.is_wanted:
            self.is_wanted = is_wanted
            self.changed.emit(is_wanted)

    def to_remember(self) -> str:
        """``1`` or ``0``."""
        return str(int(self.is_wanted))

    def recall(self, text: str) -> None:
        """Choose that again; what is not ``1`` leaves patient data out."""
        self.choose(text == "1")


class PatientDataTick(QCheckBox):
    """The choice as a check box; all of them say the same."""

    def __init__(self) -> None:
        super().__init__("patient data in DICOM")
        self.setToolTip(_TIP)
        choice = patient_data()
        self.setChecked(choice.is_wanted)
        self.toggled.connect(choice.choose)
        choice.changed.connect(self.setChecked)


@cache
def patient_data() -> PatientData:
    """The one choice of this program, as it was made last."""
    choice = PatientData()
    remember("SynthesizePanel", "patient_data", choice)  # where it has always been kept
    return choice
