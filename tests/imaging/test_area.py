from __future__ import annotations

import numpy as np
import pytest

from napari_ct2mri.imaging.area import area_mean, area_weights


@pytest.mark.parametrize(("size", "count"), [(10, 4), (4, 10), (7, 7), (512, 256)])
def test_each_cell_is_a_mean(size: int, count: int) -> None:
    weights = area_weights(size, count, 0.1 * size, 0.9 * size)
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    assert (weights >= 0).all()


def test_whole_factors_are_block_means() -> None:
    image = np.random.default_rng(0).uniform(size=(3, 8, 12))
    blocks = image.reshape(3, 4, 2, 4, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(area_mean(image, (4, 4)), blocks, rtol=1e-6)


def test_the_mean_is_kept_and_a_margin_is_cut() -> None:
    image = np.random.default_rng(0).uniform(size=(20, 30))
    assert area_mean(image, (7, 11)).mean() == pytest.approx(image.mean(), rel=1e-6)
    np.testing.assert_allclose(
        area_mean(image, (4, 4), margin=0.1), area_mean(image[2:-2, 3:-3], (4, 4)), rtol=1e-5
    )
