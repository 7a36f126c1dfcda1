"""The real MR of one patient, ready to be compared with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.app.workflows.files import stem

if TYPE_CHECKING:
    from napari_ct2mri.evaluation import Label, PatientImages
    from napari_ct2mri.imaging.intensity import MrRange
    from napari_ct2mri.imaging.volume import Volume
    from napari_ct2mri.pix2pix.slices import PatientPair

__all__ = ["Reference", "find_reference", "reference_of"]


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """The slices of one patient and contrast that show a head in the CT and in the MR.

    Attributes
    ----------
    pair : PatientPair
        All slices.
    slices : (n,) int, n > 0
        Which of them show a head.
    head : (n, H, W) bool
        Union of the CT's and the real MR's foreground.
    range : MrRange
        What maps to [-1, 1]: percentiles of the whole MR inside its own head.
    """

    pair: PatientPair
    slices: NDArray[np.intp]
    head: NDArray[np.bool_]
    range: MrRange

    def ct(self, part: slice = slice(None)) -> NDArray[np.float32]:
        """(n, H, W) CT in [-1, 1], in the window that models read by default."""
        from napari_ct2mri.config import ModelConfig
        from napari_ct2mri.imaging.intensity import ct_channels

        some = replace(self.pair.ct, data=self.pair.ct.data[self.slices[part]], notes=())
        return ct_channels(some, ModelConfig().input.windows)[:, 0]

    def real(self, part: slice = slice(None)) -> NDArray[np.float32]:
        """(n, H, W) MR in [-1, 1]."""
        from napari_ct2mri.imaging.intensity import mr_to_unit

        return mr_to_unit(self.pair.mr.data[self.slices[part]], self.range)

    def images(self, fake: NDArray[np.float32], label: Label, predictor: str) -> PatientImages:
        """Everything in output units and at the size at which it is measured.

        Parameters
        ----------
        fake : (n, H, W), output units
        label, predictor
            As :class:`~napari_ct2mri.evaluation.PatientImages` has them.
        """
        from napari_ct2mri.evaluation import PatientImages
        from napari_ct2mri.imaging.intensity import GREY_MAX, OUTPUT_MAX, as_picture

        ct = self.pair.ct
        return PatientImages(
            patient=self.pair.patient,
            contrast=self.pair.contrast,
            label=label,
            slice_names=self._names(),
            real=self.output(self.real()),
            fake=self._sized(fake),
            head=self._sized(self.head),
            data_range=GREY_MAX if ct.is_picture else OUTPUT_MAX,
            ct=self._sized(as_picture(ct.data[self.slices], ct.unit)),
            predictor=predictor,
        )

    def output(self, unit: NDArray[np.float32]) -> NDArray[np.float32]:
        """[-1, 1] to output units, at the size at which it is measured."""
        from napari_ct2mri.imaging.intensity import unit_to_output

        return self._sized(unit_to_output(unit, is_picture=self.pair.ct.is_picture))

    def _sized(self, images: NDArray[Any]) -> NDArray[Any]:
        from napari_ct2mri.evaluation import at_measuring_size

        return at_measuring_size(images) if self.pair.ct.is_picture else images

    def _names(self) -> tuple[str, ...]:
        """The CT file of a picture; file and axial slice, from inferior, of a volume."""
        rows = self.pair.rows
        if not self.pair.ct.is_picture:
            return tuple(f"{stem(rows[0].ct)}:{i}" for i in self.slices)
        is_each = len(rows) == len(self.pair.ct.data)  # a row a picture, not a stack of layers
        files = tuple(stem(rows[i].ct) for i in self.slices) if is_each else ()
        numbers = tuple(str(i) for i in self.slices)
        return files if len(set(files)) == len(numbers) else numbers


def find_reference(pair: PatientPair) -> Reference | None:
    """Find the slices of ``pair`` that can be measured, ``None`` if there are none."""
    from napari_ct2mri.imaging.head import head_mask
    from napari_ct2mri.imaging.intensity import mr_range
    from napari_ct2mri.pix2pix.slices import MIN_HEAD

    ct_head = head_mask(pair.ct.data, pair.ct.unit, "CT")
    mr_head = head_mask(pair.mr.data, pair.mr.unit, "MR")
    covered = np.minimum(ct_head.mean(axis=(1, 2)), mr_head.mean(axis=(1, 2)))
    full = np.flatnonzero(covered >= MIN_HEAD)
    if not len(full):
        return None
    return Reference(pair, full, (ct_head | mr_head)[full], mr_range(pair.mr, mr_head))


def reference_of(ct: Volume, mr: Volume, patient: str, contrast: str) -> Reference | None:
    """Find the slices of two volumes on one grid, closest axes, that no pair list names.

    ``patient`` is what reports call them.
    """
    from napari_ct2mri.pix2pix.pairs import PairRow
    from napari_ct2mri.pix2pix.slices import PatientPair

    row = PairRow(Path(patient), Path(), patient, contrast, "test")
    return find_reference(PatientPair((row,), ct, mr))
