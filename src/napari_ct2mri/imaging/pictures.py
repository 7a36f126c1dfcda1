"""Pictures: grey levels without millimetres, one by one or a folder of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.errors import ImageError
from napari_ct2mri.imaging.itk import MAX_VOXELS, open_image
from napari_ct2mri.quiet import quiet

__all__ = ["PICTURE_ENDINGS", "picture_files", "pictures_shape", "read_pictures", "to_levels"]

PICTURE_ENDINGS = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")

_GREY_SPREAD = 16
"""Largest difference between the channels of one pixel, of 255, that JPEG makes of grey."""

_COLOURED_SHARE = 1e-3
"""Share of pixels that may differ by more: specks along hard edges."""

_TRANSPARENT_SHARE = 0.05
"""Share of pixels that may be less than opaque: the soft rim of a screenshot."""


def picture_files(folder: Path) -> tuple[Path, ...]:
    """The pictures directly in ``folder``, in natural order: 9 before 10.

    Raises
    ------
    ImageError
        If there is none.
    """
    files = [
        file
        for file in folder.iterdir()
        if file.suffix.lower() in PICTURE_ENDINGS and file.is_file() and file.name[0] != "."
    ]
    if not files:
        raise ImageError(f"{folder}: holds no picture ({', '.join(PICTURE_ENDINGS)})")
    return tuple(sorted(files, key=_natural))


def _natural(file: Path) -> tuple[tuple[int, str], ...]:
    parts = re.findall(r"\d+|\D+", file.name.lower())
    return (*((int(p), "") if p.isdecimal() else (-1, p) for p in parts), (-2, file.name))


def pictures_shape(files: Sequence[Path]) -> tuple[int, int, int]:
    """(z, y, x) of the volume of pictures, without reading pixels; pages of a TIFF are slices.

    Raises
    ------
    ImageError
        If one cannot be read, they are not of one size, or are too many.
    """
    shapes = [_shape(file) for file in files]
    for file, shape in zip(files, shapes, strict=True):
        _check_size(file, shape, files[0], shapes[0])
    pages, (_, height, width) = sum(shape[0] for shape in shapes), shapes[0]
    if pages * height * width > MAX_VOXELS:
        raise ImageError(
            f"{files[0].parent}: {pages} pictures of {width}x{height} pixels, expected at most "
            f"{MAX_VOXELS} pixels together"
        )
    return (pages, height, width)


def _shape(file: Path) -> tuple[int, int, int]:
    width, height, *pages = open_image(file, "picture").GetSize()
    return (pages[0] if pages else 1, height, width)


def _check_size(
    file: Path, shape: tuple[int, ...], first: Path, first_shape: tuple[int, ...]
) -> None:
    if shape[1:] != first_shape[1:]:
        raise ImageError(
            f"{file}: {_size(shape)} pixels, but {first.name} has {_size(first_shape)}; "
            "pictures of one folder are slices of one volume and share their size"
        )


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[2]}x{shape[1]}"


def read_pictures(files: Sequence[Path]) -> NDArray[np.uint8] | NDArray[np.float32]:
    """(z, y, x) grey levels 0..255 of pictures of one size; 16-bit files give float32.

    Raises
    ------
    ImageError
        If a picture is coloured, transparent, not of 8 or 16 bits, or of another size.
    """
    stacks: list[NDArray[Any]] = [_read_picture(file) for file in files]
    for file, stack in zip(files, stacks, strict=True):
        _check_size(file, stack.shape, files[0], stacks[0].shape)
    return np.concatenate(stacks)


def _read_picture(file: Path) -> NDArray[np.uint8] | NDArray[np.float32]:
    import SimpleITK as sitk

    reader = open_image(file, "picture")
    try:
        with quiet():
            image = reader.Execute()
    except RuntimeError as error:
        raise ImageError(f"{file}: the picture is cut off or damaged") from error
    values = sitk.GetArrayFromImage(image)
    if image.GetNumberOfComponentsPerPixel() > 1:
        values = _grey(values, file)
    if values.ndim == 2:
        values = values[None]
    if values.dtype == np.uint8:
        return np.asarray(values, np.uint8)
    if values.dtype == np.uint16:
        return values.astype(np.float32) / np.float32(257)  # 65535 / 257 = 255
    raise ImageError(f"{file}: pixels are {values.dtype}, expected 8 or 16 bits without sign")


def _grey(values: NDArray[Any], file: Path) -> NDArray[Any]:
    """(..., channels) that show grey to (...): RGB, RGBA or grey with alpha."""
    channels = values.shape[-1]
    limit = np.iinfo(values.dtype).max if values.dtype.kind == "u" else 1
    if channels in (2, 4):
        clear = float((values[..., -1] < limit).mean())
        if clear > _TRANSPARENT_SHARE:
            raise ImageError(
                f"{file}: {clear:.0%} of it is transparent, expected an opaque picture"
            )
        values = values[..., :-1]
    first = values[..., 0]
    if all(np.array_equal(first, values[..., c]) for c in range(1, values.shape[-1])):
        return np.asarray(first)
    spread = np.ptp(values, axis=-1).astype(np.float64) * (255 / limit)
    coloured = float((spread > _GREY_SPREAD).mean())
    if coloured > _COLOURED_SHARE:
        raise ImageError(
            f"{file}: {coloured:.1%} of its pixels are coloured, expected a grey picture; "
            "remove colour overlays or convert it to grey"
        )
    grey: NDArray[Any] = np.rint(values.mean(axis=-1)).astype(values.dtype)
    return grey


def to_levels(data: NDArray[np.generic]) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Grey values 0..255 as the levels of a file, clipped.

    16 bits if they hold the values exactly and 8 bits do not (such a picture was read from a
    16-bit file), else 8 bits, rounded.
    """
    if data.dtype == np.uint8:
        return data.astype(np.uint8, copy=False)
    values = np.clip(np.nan_to_num(data.astype(np.float64)), 0, 255)
    fine = values * 257
    is_fine = np.abs(fine - np.rint(fine)).max() < 1e-2
    if is_fine and not np.array_equal(values, np.rint(values)):
        return np.rint(fine).astype(np.uint16)
    return np.rint(values).astype(np.uint8)
