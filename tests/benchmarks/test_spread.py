from __future__ import annotations

import numpy as np
import pytest
from benchmarks.quality.spread import calibrate

from napari_ct2mri.errors import EvaluationError


def test_error_that_grows_with_spread_is_found() -> None:
    spread = np.random.default_rng(0).permutation(np.arange(1000, dtype=np.float32))
    found = calibrate(spread, spread * 2)
    expected = [2 * (100 * tenth + 49.5) for tenth in range(10)]
    assert found.error_by_decile == pytest.approx(expected)
    assert found.top_error == pytest.approx(1899)
    assert found.rest_error == pytest.approx(899)
    assert found.correlation == pytest.approx(1)


def test_correlation_is_of_ranks_and_signed() -> None:
    spread = np.arange(1.0, 101.0)
    assert calibrate(spread, 1 / spread).correlation == pytest.approx(-1)
    rng = np.random.default_rng(1)
    noise = calibrate(rng.random(20000), rng.random(20000))
    assert abs(noise.correlation) < 0.03
    assert noise.top_error == pytest.approx(noise.rest_error, rel=0.05)


def test_constant_spread_tells_nothing() -> None:
    found = calibrate(np.ones(50), np.arange(50.0))
    assert found.correlation == 0


@pytest.mark.parametrize(
    ("spread", "error"),
    [
        (np.ones(20), np.ones(21)),
        (np.ones(9), np.ones(9)),
        (np.ones((2, 10)), np.ones((2, 10))),
        (np.full(20, np.nan), np.ones(20)),
    ],
)
def test_what_cannot_be_compared_is_refused(spread: np.ndarray, error: np.ndarray) -> None:
    with pytest.raises(EvaluationError):
        calibrate(spread, error)
