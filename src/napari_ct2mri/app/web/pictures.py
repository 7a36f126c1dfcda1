"""Slices as pictures that a browser shows: PNG in the address itself."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["blue_red", "data_uri", "grey", "square"]

Levels = NDArray[np.uint8]

_MAX_SIDE = 4096
"""Of a picture; more no screen shows, and pixels far from square would need any number."""

_BLUE_RED = np.array([[5, 48, 97], [67, 147, 195], [247, 247, 247], [214, 96, 77], [103, 0, 31]])
"""ColorBrewer's RdBu: too dark is blue, too bright red, equal is white."""


def grey(values: NDArray[Any], low: float, high: float) -> Levels:
    """(y, x) values to 0..255, clipped outside ``low`` to ``high``."""
    unit = (values.astype(np.float32) - low) / max(high - low, 1e-6)
    return np.asarray(np.rint(np.clip(np.nan_to_num(unit), 0, 1) * 255), np.uint8)


def blue_red(difference: NDArray[np.float32], limit: float) -> Levels:
    """(y, x) from ``-limit`` to ``limit`` to (y, x, 3) RGB; NaN is black."""
    stops = np.linspace(-limit, limit, len(_BLUE_RED))
    colours = np.stack([np.interp(difference, stops, part) for part in _BLUE_RED.T], axis=-1)
    return np.asarray(np.nan_to_num(colours), np.uint8)


def square(levels: Levels, spacing: tuple[float, float]) -> Levels:
    """Repeat rows or columns until a pixel is as high as it is wide; ``spacing`` is (y, x), mm.

    What would be larger than a screen is thinned out.
    """
    extent = max(n * mm for n, mm in zip(levels.shape[:2], spacing, strict=True))
    step = max(min(spacing), extent / _MAX_SIDE)
    rows, columns = (
        ((np.arange(max(round(n * mm / step), 1)) + 0.5) * step / mm).astype(int).clip(0, n - 1)
        for n, mm in zip(levels.shape[:2], spacing, strict=True)
    )
    return np.asarray(levels[np.ix_(rows, columns)])


def data_uri(levels: Levels) -> str:
    """(y, x) grey or (y, x, 3) RGB as the address of a PNG that holds it."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(levels).save(file, "PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
