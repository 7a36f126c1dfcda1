"""Where a synthetic MR differs from the real one: maps pixel by pixel, profiles along a line."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, hypot

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.errors import EvaluationError
from napari_ct2mri.evaluation.metrics import ssim_map
from napari_ct2mri.evaluation.scores import PatientImages

__all__ = ["Maps", "Profile", "draw_maps", "line_profile", "on_grid"]

Floats = NDArray[np.float32]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Maps:
    """One slice's maps, NaN outside the head.

    Attributes
    ----------
    difference : (H, W) float32, output units
        Synthetic - real; the mean of its size is the in-head MAE.
    similarity : (H, W) float32, -1..1
        SSIM with the Gaussian window; its mean is the in-head SSIM.
    """

    difference: Floats
    similarity: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """Values along a line: ``distance`` (n,) from its start, in mm; ``values`` (n,)."""

    distance: NDArray[np.float64]
    values: NDArray[np.float64]


def draw_maps(images: PatientImages, index: int) -> Maps:
    """Map one slice, from the very images that its figures are measured on."""
    fake, real, head = images.fake[index], images.real[index], images.head[index]
    similar = ssim_map(fake, real, images.data_range)
    return Maps(_inside(fake.astype(np.float64) - real, head), _inside(similar, head))


def on_grid(image: Floats, shape: tuple[int, int]) -> Floats:
    """Bring a map from the measuring size to ``shape`` by the nearest pixel: no value is new."""
    if image.shape == shape:
        return image
    rows, columns = (
        ((np.arange(n) + 0.5) * size / n).astype(int)
        for n, size in zip(shape, image.shape, strict=True)
    )
    return image[np.ix_(rows, columns)]


def line_profile(image: NDArray[np.generic], start: Point, stop: Point, spacing: Point) -> Profile:
    """Read an image along a straight line, by linear interpolation, a sample a pixel.

    Parameters
    ----------
    image : (H, W)
    start, stop : (y, x)
        In pixels, pixel centres at whole numbers; may lie outside the image.
    spacing : (y, x), mm

    Returns
    -------
    Profile
        NaN where the line leaves the image.

    Raises
    ------
    EvaluationError
        If the line has no length.
    """
    from scipy import ndimage

    length = hypot(*((b - a) * s for a, b, s in zip(start, stop, spacing, strict=True)))
    if not length:
        raise EvaluationError("the line has no length; draw it from one point to another")
    count = max(2, ceil(length / min(spacing)) + 1)
    places = np.linspace(start, stop, count).T  # (2, n)
    values = ndimage.map_coordinates(
        np.asarray(image, np.float64), places, order=1, mode="constant", cval=np.nan
    )
    return Profile(np.linspace(0, length, count), values)


def _inside(image: NDArray[np.floating], head: NDArray[np.bool_]) -> Floats:
    return np.where(head, image, np.nan).astype(np.float32)
