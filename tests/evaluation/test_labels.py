from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from napari_ct2mri.evaluation import label_of
from napari_ct2mri.imaging.fingerprint import Fingerprint, fingerprint


def stack(patient: int, depth: int = 5) -> NDArray[np.float64]:
    """(z, y, x) grey levels of a patient."""
    noise = np.random.default_rng(patient).normal(size=(depth, 64, 64))
    smooth = ndimage.gaussian_filter(noise, (0, 3, 3))
    return np.clip(128 + smooth / smooth.std() * 60, 0, 255)


def prints(images: NDArray[np.float64]) -> list[Fingerprint]:
    return [fingerprint(slice_, "grey") for slice_ in images]


A, B, C = stack(1), stack(2), stack(3)


@pytest.mark.parametrize(
    ("trained_on", "selected_on", "label"),
    [
        (A, B, "train-fit"),
        (A[3:4], B, "train-fit"),  # one slice marks the patient
        (A[3:4, :, ::-1], B, "train-fit"),  # even mirrored
        (A, A, "train-fit"),  # the graver of two
        (B, A[:1], "selection"),
        (B, C, "held-out"),
        (B, C[:0], "held-out"),
        (B[:0], C[:0], "unknown"),  # it does not say
        (B[:0], C, "unknown"),
        (B[:0], A[:1], "selection"),
    ],
)
def test_one_known_slice_marks_the_patient(
    trained_on: NDArray[np.float64], selected_on: NDArray[np.float64], label: str
) -> None:
    assert label_of(A, "grey", prints(trained_on), prints(selected_on)) == label
