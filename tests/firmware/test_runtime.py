"""L0 = L1: the C runtime against the NumPy reference, bit for bit."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from native import Native
from random_models import boxed, random_model

from napari_ct2mri.firmware.container import pack
from napari_ct2mri.firmware.reference import each_layer


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    width=st.integers(4, 9),
    levels=st.integers(3, 4),
    widest=st.integers(1, 5),
    windows=st.integers(1, 3),
    neighbours=st.integers(0, 2),
    tall=st.integers(1, 3),
    wide=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_every_layer_is_the_reference(
    native: Native, width: int, levels: int, widest: int, windows: int, neighbours: int,
    tall: int, wide: int, seed: int,
) -> None:  # fmt: skip
    size = (tall * 2**levels, wide * 2**levels)
    model = random_model(width, levels, widest, windows, neighbours, size, seed)
    container = boxed(model, seed)
    status, opened = native.open(pack(container))
    assert status == 0
    expected = list(each_layer(model, container.golden[0]))
    stored = opened.run(container.golden[0])
    for number, (ours, theirs) in enumerate(zip(expected, stored, strict=True)):
        assert np.array_equal(ours.ravel(), theirs), f"layer {number}"
    assert opened.self_test() == 0
