"""Area-averaged resizing: each new pixel is the mean of the ground it covers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["area_mean", "area_weights"]


def area_weights(size: int, count: int, start: float, stop: float) -> NDArray[np.float64]:
    """(count, size) weights that average ``start .. stop`` of a line of pixels into cells.

    Pixel ``i`` covers ``[i, i + 1)``; ``0 <= start < stop <= size``. Each row sums to 1.
    """
    edges = np.linspace(start, stop, count + 1)
    pixel = np.arange(size)
    upper = np.minimum(edges[1:, None], pixel + 1)
    lower = np.maximum(edges[:-1, None], pixel)
    overlap: NDArray[np.float64] = np.clip(upper - lower, 0, None)
    overlap *= count / (stop - start)
    return overlap


def area_mean(
    images: NDArray[Any], shape: tuple[int, int], *, margin: float = 0.0
) -> NDArray[np.float32]:
    """Resize the last two axes to ``shape`` by area averaging.

    Parameters
    ----------
    images : (..., y, x)
    shape : (height, width)
    margin : float
        Share of each side that is cut off first, 0 <= margin < 0.5.

    Returns
    -------
    (..., height, width) float32
    """
    rows, columns = (
        area_weights(size, count, margin * size, (1 - margin) * size)
        for size, count in zip(images.shape[-2:], shape, strict=True)
    )
    result: NDArray[np.float32] = (rows @ images @ columns.T).astype(np.float32)
    return result
