"""What each tissue of the phantom looks like to a CT and to an MR scanner.

Sources
-------
Rounded; what matters is their order and distance. CT numbers: the usual ranges (Buzug 2008,
"Computed Tomography", p. 475: fat -100..-50, white matter 20..30, grey 37..45, clot 40..90,
bone from 700 HU; CSF 0..15). Relaxation at 1.5 T: T1 of brain and CSF near Rooney et al. 2007
(MRM 57:308), T2 of brain, muscle and nerve near Stanisz et al. 2005 (MRM 54:507), fat near
de Bazelaire et al. 2004 (Radiology 230:652); water content relative to CSF near Tofts 2003
("Quantitative MRI of the Brain"). Lesions lie between their tissues' values.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "PROPERTIES",
    "SEQUENCES",
    "Properties",
    "Sequence",
    "Tissue",
    "hu_table",
    "signal_table",
]


class Tissue(IntEnum):
    """Labels of the anatomy model; 0 is air outside and inside the head."""

    AIR = 0
    SKIN = 1
    FAT = 2
    MUSCLE = 3
    MUCOSA = 4
    BONE = 5
    DENSE_BONE = 6
    MARROW = 7
    CSF = 8
    GREY = 9
    WHITE = 10
    DEEP_GREY = 11
    PALLIDUM = 12
    BRAIN_STEM = 13
    CEREBELLUM = 14
    DURA = 15
    BLOOD = 16
    VITREOUS = 17
    LENS = 18
    NERVE = 19
    CALCIUM = 20
    OEDEMA = 21
    INFARCT = 22
    GLIOSIS = 23
    CLOT = 24
    TUMOUR = 25
    NECROSIS = 26
    MENINGIOMA = 27
    HYGROMA = 28


@dataclass(frozen=True, slots=True)
class Properties:
    """CT number (HU), proton density relative to CSF, T1 and T2 (ms) at 1.5 T."""

    hu: float
    pd: float
    t1: float
    t2: float


PROPERTIES: Mapping[Tissue, Properties] = MappingProxyType(
    {
        Tissue.AIR: Properties(-1000, 0.0, 1000, 50),
        Tissue.SKIN: Properties(20, 0.55, 500, 35),
        Tissue.FAT: Properties(-95, 0.90, 288, 75),
        Tissue.MUSCLE: Properties(52, 0.78, 1008, 44),
        Tissue.MUCOSA: Properties(35, 0.90, 1100, 120),
        Tissue.BONE: Properties(1150, 0.06, 800, 12),
        Tissue.DENSE_BONE: Properties(1600, 0.03, 800, 8),
        Tissue.MARROW: Properties(480, 0.50, 420, 55),
        Tissue.CSF: Properties(7, 1.00, 4300, 2000),
        Tissue.GREY: Properties(38.5, 0.82, 1188, 95),
        Tissue.WHITE: Properties(28.5, 0.70, 656, 72),
        Tissue.DEEP_GREY: Properties(37.5, 0.80, 1050, 84),
        Tissue.PALLIDUM: Properties(38, 0.76, 860, 66),
        Tissue.BRAIN_STEM: Properties(30, 0.73, 740, 78),
        Tissue.CEREBELLUM: Properties(37, 0.81, 1100, 91),
        Tissue.DURA: Properties(60, 0.40, 900, 35),
        Tissue.BLOOD: Properties(52, 0.08, 1441, 40),  # flowing: MR signal is washed out
        Tissue.VITREOUS: Properties(8, 1.00, 4000, 1500),
        Tissue.LENS: Properties(85, 0.60, 1000, 30),
        Tissue.NERVE: Properties(35, 0.72, 815, 77),
        Tissue.CALCIUM: Properties(170, 0.25, 800, 20),
        Tissue.OEDEMA: Properties(20, 0.86, 1250, 150),
        Tissue.INFARCT: Properties(18, 0.88, 1400, 170),
        Tissue.GLIOSIS: Properties(22, 0.82, 1050, 135),
        Tissue.CLOT: Properties(68, 0.80, 900, 55),
        Tissue.TUMOUR: Properties(40, 0.86, 1350, 125),
        Tissue.NECROSIS: Properties(17, 0.95, 2200, 350),
        Tissue.MENINGIOMA: Properties(47, 0.82, 1150, 92),
        Tissue.HYGROMA: Properties(14, 0.98, 2600, 800),
    }
)


@dataclass(frozen=True, slots=True)
class Sequence:
    """Times of a spin-echo sequence, ms; ``ti`` > 0 makes it an inversion recovery."""

    tr: float
    te: float
    ti: float = 0.0


SEQUENCES: Mapping[str, Sequence] = MappingProxyType(
    {
        "T1": Sequence(tr=500, te=15),
        "T2": Sequence(tr=4500, te=100),
        "PD": Sequence(tr=2600, te=20),
        "FLAIR": Sequence(tr=9000, te=110, ti=2480),  # ti nulls CSF: T1 ln(2 / (1 + e^(-TR/T1)))
    }
)


def hu_table() -> NDArray[np.float32]:
    """CT numbers indexed by label, (n,) float32, HU."""
    return np.array([PROPERTIES[t].hu for t in Tissue], dtype=np.float32)


def signal_table(contrast: str) -> NDArray[np.float32]:
    """MR signal indexed by label, (n,) float32, 0..1 of the whole proton density of CSF.

    ``S = PD |1 - 2 e^(-TI/T1) + e^(-TR/T1)| e^(-TE/T2)`` with inversion, else
    ``S = PD (1 - e^(-TR/T1)) e^(-TE/T2)`` (Bernstein et al. 2004, "Handbook of MRI Pulse
    Sequences", ch. 14).

    Raises
    ------
    ConfigError
        If there is no sequence for ``contrast``.
    """
    if contrast not in SEQUENCES:
        raise ConfigError(
            f"the phantom has no contrast {contrast!r}; choose among {', '.join(SEQUENCES)}"
        )
    s = SEQUENCES[contrast]
    pd, t1, t2 = np.array([(p.pd, p.t1, p.t2) for p in map(PROPERTIES.__getitem__, Tissue)]).T
    recovered = 1 - np.exp(-s.tr / t1)
    if s.ti > 0:
        recovered = np.abs(1 - 2 * np.exp(-s.ti / t1) + np.exp(-s.tr / t1))
    signal: NDArray[np.float32] = (pd * recovered * np.exp(-s.te / t2)).astype(np.float32)
    return signal
