"""What the page shows: a CT, what a model makes of it and, where there is one, the real MR."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.errors import VolumeError
from napari_ct2mri.jobs import Job, run_job

if TYPE_CHECKING:
    from napari_ct2mri.app.workflows.reference import Reference
    from napari_ct2mri.evaluation import Figures, Label, PatientImages
    from napari_ct2mri.imaging.volume import Volume
    from napari_ct2mri.pix2pix.engines import EngineName

__all__ = ["Case", "Comparison", "make_case", "sample_case"]

Floats = NDArray[np.float32]

SAMPLE_SHAPE = (9, 256, 256)  # few slices: somebody waits for them
SAMPLE_SPACING = (14.0, 0.9375, 0.9375)  # mm: from the skull base to the vertex

_FEW_SLICES = 40
"""Up to so many, torch is done before a faster engine has been opened."""


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """A synthetic MR beside the real one, by the rules of ``ct2mri evaluate``.

    Attributes
    ----------
    reference : Reference
    images : PatientImages
        Of the slices that show a head.
    each : n of Figures
        One for each of those.
    mean, black : Figures
        Over all of them: of the model, and of a black image, which has learnt nothing.
    """

    reference: Reference
    images: PatientImages
    each: tuple[Figures, ...]
    mean: Figures
    black: Figures

    def real(self, index: int) -> Floats:
        """(y, x) real MR of a slice, in output units."""
        from napari_ct2mri.imaging.intensity import mr_to_unit, unit_to_output

        pair = self.reference.pair
        unit = mr_to_unit(pair.mr.data[index], self.reference.range)
        return unit_to_output(unit, is_picture=pair.ct.is_picture)

    def difference(self, index: int) -> Floats | None:
        """(y, x) synthetic - real, NaN outside the head; ``None`` where no head is shown."""
        from napari_ct2mri.evaluation.maps import draw_maps, on_grid

        place = self._place(index)
        if place is None:
            return None
        height, width = self.reference.pair.ct.data.shape[1:]
        return on_grid(draw_maps(self.images, place).difference, (height, width))

    def figures(self, index: int) -> Figures | None:
        """Of one slice; ``None`` where no head is shown."""
        place = self._place(index)
        return None if place is None else self.each[place]

    def _place(self, index: int) -> int | None:
        """Of a slice of the volume among those that show a head."""
        (places,) = np.nonzero(self.reference.slices == index)
        return int(places[0]) if len(places) else None


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One head.

    Attributes
    ----------
    ct : Volume
        On closest axes.
    fake : (z, y, x) float32, output units
    top : float
        White of the output: 1000, of pictures 255.
    label : Label
        Whether the model has seen this patient.
    comparison : Comparison or None
        With the real MR.
    notes : tuple of str
        What was guessed or corrected in the images, and why nothing is measured.
    """

    ct: Volume
    fake: Floats
    top: float
    label: Label
    comparison: Comparison | None
    notes: tuple[str, ...]


def sample_case(model: str = "", contrast: str | None = None) -> Case:
    """A simulated patient, made once for all visitors.

    Parameters
    ----------
    model : str
        A released model's name or a checkpoint; empty: the default one.
    contrast : str, optional
        By default the model's first.
    """
    from napari_ct2mri.pix2pix.zoo import DEFAULT_MODEL, find_model, read_card

    path = find_model(model or DEFAULT_MODEL)
    contrast = contrast or read_card(path).contrasts[0]
    with _making:
        return _sample_case(path, path.stat().st_mtime_ns, contrast)


_making = Lock()  # a second visitor waits for what the first one asked for


@lru_cache(maxsize=4)
def _sample_case(model: Path, changed_ns: int, contrast: str) -> Case:
    from napari_ct2mri.imaging.phantom import phantom

    head = phantom(0, shape=SAMPLE_SHAPE, spacing=SAMPLE_SPACING, contrasts=(contrast,))
    job = make_case(head.ct, str(model), contrast, head.mr[contrast])
    return run_job(job, lambda event: None)


def make_case(ct: Volume, model: str, contrast: str, real: Volume | None = None) -> Job[Case]:
    """Make the MR of ``ct`` and, where there is a real one, measure it.

    Parameters
    ----------
    ct : Volume
    model : str
        A released model's name or a checkpoint.
    contrast : str
        One of the model's.
    real : Volume, optional
        On the grid of ``ct``.

    Raises
    ------
    Ct2MriError
        If the model cannot read ``ct``, or ``real`` does not lie on its grid.
    """
    from napari_ct2mri.app.workflows import synthesize_volume
    from napari_ct2mri.evaluation import label_of
    from napari_ct2mri.imaging.intensity import GREY_MAX, OUTPUT_MAX
    from napari_ct2mri.imaging.volume import closest_axes, difference
    from napari_ct2mri.pix2pix.checkpoint import read_header
    from napari_ct2mri.pix2pix.zoo import find_model

    ct, _ = closest_axes(ct)
    notes = ct.notes
    if real is not None:
        real, _ = closest_axes(real)
        if found := difference(ct, real):
            raise VolumeError(f"CT and MR differ in {found}. Register them first: ct2mri register")
        notes += real.notes
    path = find_model(model)
    engine: EngineName = "torch" if len(ct.data) <= _FEW_SLICES else "auto"
    mr = yield from synthesize_volume(ct, model=path, contrast=contrast, engine=engine)
    label = label_of(ct.data, ct.unit, *read_header(path).fingerprints)
    comparison = None if real is None else _compare(ct, real, mr, contrast, label)
    if real is not None and comparison is None:
        notes += ("nothing is measured: no slice shows a head both in the CT and in the real MR",)
    return Case(
        ct,
        mr.data.astype(np.float32, copy=False),
        GREY_MAX if ct.is_picture else OUTPUT_MAX,
        label,
        comparison,
        tuple(dict.fromkeys(notes)),
    )


def _compare(
    ct: Volume, real: Volume, mr: Volume, contrast: str, label: Label
) -> Comparison | None:
    from napari_ct2mri.app.workflows.reference import reference_of
    from napari_ct2mri.evaluation import per_patient, score_patient

    reference = reference_of(ct, real, "patient", contrast)
    if reference is None:
        return None
    made = mr.data[reference.slices].astype(np.float32, copy=False)
    images = reference.images(made, label, "model")
    each = score_patient(images)
    black = score_patient(images.by("black", np.zeros_like(images.real)))
    return Comparison(
        reference,
        images,
        tuple(row.figures for row in each),
        per_patient(each)[0].mean,
        per_patient(black)[0].mean,
    )
