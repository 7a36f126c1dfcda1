"""Nothing is drawn into the air beside a real head, from the skull base to the vertex."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.air import brightest
from benchmarks.head_rest import synthetic

from napari_ct2mri.imaging.io import read_volume
from napari_ct2mri.pix2pix.zoo import find_model, models


@pytest.mark.parametrize("name", [card.name for card in models()])
def test_a_released_model_leaves_the_air_dark(name: str, real_data: Path) -> None:
    ct = read_volume(real_data / "head_ct_dicom")
    shares = brightest(ct, synthetic(ct, find_model(name), "T2"))
    assert len(shares) == 34
    assert shares.max() < 0.1


def test_what_is_drawn_there_is_found(real_data: Path) -> None:
    ct = read_volume(real_data / "head_ct_dicom")
    mr = synthetic(ct, find_model("ct2mri-dsp8"), "T2")
    mr[29, 20:60, 200:300] = mr.max()
    assert brightest(ct, mr).argmax() == 29
    assert brightest(ct, mr).max() > 0.5
