"""What one DICOM file says of its slice; nothing of it is about the patient."""

from __future__ import annotations

import sys
import zlib
from dataclasses import dataclass
from functools import cache, lru_cache
from io import BufferedReader, FileIO
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.errors import ImageError
from napari_ct2mri.imaging.volume import Modality

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.tag import BaseTag

__all__ = ["Header", "PlainPixels", "is_dicom", "read_header"]

_KEYWORDS = (
    "AcquisitionNumber",
    "BitsAllocated",
    "BitsStored",
    "Columns",
    "EchoNumbers",
    "EchoTime",
    "FrameOfReferenceUID",
    "HighBit",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "ImageType",
    "MediaStorageSOPClassUID",
    "Modality",
    "NumberOfFrames",
    "PhotometricInterpretation",
    "PixelRepresentation",
    "PixelSpacing",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "Rows",
    "SOPClassUID",
    "SamplesPerPixel",
    "SeriesDescription",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SliceThickness",
    "SpacingBetweenSlices",
    "SpecificCharacterSet",
    "TemporalPositionIdentifier",
    "TransferSyntaxUID",
)

_ENCODING = (
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "RescaleIntercept",
    "RescaleSlope",
)

_MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
_SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
_MAX_SIDE = 16384
_MAX_INFLATED = 2**27
"""Bytes of a deflated file, inflated: a slice of 8192 x 8192. A small file could claim memory
without bound."""
_SAME_PLANE = 2e-3
"""Difference of direction cosines, about 0.1 degrees, up to which slices are parallel."""


_CT = "1.2.840.10008.5.1.4.1.1.2"
"""CT Image Storage. Of other classes, decoders do not agree on when a slope is to be applied."""

_PIXEL_DATA = b"\xe0\x7f\x10\x00"
_OPENINGS = {
    "1.2.840.10008.1.2": _PIXEL_DATA,  # implicit VR, little-endian
    "1.2.840.10008.1.2.1": _PIXEL_DATA + b"OW\0\0",  # explicit VR, little-endian
}
"""How the element of uncompressed 16-bit pixels begins (PS3.5, 7.1), by transfer syntax; four
bytes of length follow, then the pixels."""


@dataclass(frozen=True, slots=True)
class PlainPixels:
    """Pixels that lie in a file as 16-bit integers of this machine, of slope 1.

    Attributes
    ----------
    offset_bytes : int
        Of the first pixel, from the start of the file.
    dtype : ``int16`` or ``uint16``
    low, high : int
        What the bits in use can hold; a number beyond has something else in the others.
    intercept : int
        To be added.
    """

    offset_bytes: int
    dtype: str
    low: int
    high: int
    intercept: int


@dataclass(frozen=True, slots=True)
class Header:
    """One file's slice.

    Attributes
    ----------
    position : (x, y, z) LPS mm, or None
    orientation : six direction cosines, or None
        Of the directions in which x, then y index grow.
    pixel_mm : (y, x), or None
    step_mm : float
        Spacing between slices or thickness as stated, for a slice without neighbours; else 1.
    encoding : str
        Equal where stored numbers mean the same: bits, sign, slope, intercept.
    plain : PlainPixels, optional
        None where pixels need decoding.
    refusal : str
        Why this is not a slice of a volume; empty if it is one.
    """

    path: Path
    series_uid: str
    number: int
    description: str
    stated_modality: str
    rescale_type: str
    frame_of_reference: str
    size: tuple[int, int]
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    pixel_mm: tuple[float, float] | None
    step_mm: float
    echo: str
    moment: str
    image_type: str
    acquisition: str
    encoding: str
    plain: PlainPixels | None
    refusal: str

    @property
    def modality(self) -> Modality:
        """CT, MR or unknown."""
        known: dict[str, Modality] = {"CT": "CT", "MR": "MR"}
        return known.get(self.stated_modality, "unknown")

    @property
    def is_hu(self) -> bool:
        """Whether rescaled values are Hounsfield units (the default where nothing is said)."""
        return self.rescale_type in ("", "HU", "HU_MOD")

    @property
    def normal(self) -> NDArray[np.float64]:
        """(3,) LPS unit vector across the slice; z where no orientation is stated."""
        if self.orientation is None:
            return np.array([0.0, 0.0, 1.0])
        normal = np.cross(self.orientation[:3], self.orientation[3:])
        return normal / max(float(np.linalg.norm(normal)), 1e-9)

    def lies_like(self, other: Header) -> bool:
        """Whether both can be slices of one stack, wherever along the normal they lie."""
        return (
            self.size == other.size
            and self.frame_of_reference == other.frame_of_reference
            and _close(self.pixel_mm, other.pixel_mm, 1e-4)
            and _close(self.orientation, other.orientation, _SAME_PLANE)
        )


def _close(a: tuple[float, ...] | None, b: tuple[float, ...] | None, tolerance: float) -> bool:
    if a is None or b is None:
        return a is b
    return max(abs(p - q) for p, q in zip(a, b, strict=True)) <= tolerance


@cache
def _tags() -> dict[str, BaseTag]:
    from pydicom.datadict import tag_for_keyword
    from pydicom.tag import Tag

    return {keyword: Tag(tag_for_keyword(keyword) or 0) for keyword in _KEYWORDS}


def is_dicom(path: Path) -> bool:
    """Whether a file starts like DICOM, with or without preamble."""
    with path.open("rb") as file:
        return _starts_like_dicom(file)


def _starts_like_dicom(file: BinaryIO) -> bool:
    start = file.read(132)
    file.seek(0)
    # without a preamble: the first element's group is 0008, little endian, its number small
    return start[128:] == b"DICM" or (start[:2] == b"\x08\x00" and start[3:4] == b"\x00")


def read_header(path: Path) -> Header | None:
    """The header of a DICOM file, or None for anything else (a DICOMDIR too).

    Raises
    ------
    ImageError
        If the file starts like DICOM but its header is cut off or damaged.
    """
    import pydicom

    try:
        with _Bounded(FileIO(path)) as file:
            if not _starts_like_dicom(file):
                return None
            dataset = pydicom.dcmread(
                file, stop_before_pixels=True, force=True, specific_tags=list(_tags().values())
            )
            storage = _text(dataset.file_meta, "MediaStorageSOPClassUID")
            if storage == _MEDIA_DIRECTORY:
                return None
            # pydicom stops in front of the pixels, or at the end of a file that has none
            return _header(path, dataset, file.read(12), file.tell())
    except ImageError:
        raise
    except OSError as error:
        raise ImageError(f"{path}: cannot be opened: {error.strerror}") from error
    except Exception as error:  # pydicom lets many kinds out on damaged bytes
        raise ImageError(f"{path}: its DICOM header is damaged or cut off") from error


class _Bounded(BufferedReader):
    """A file that is not read to its end if it then inflates (PS3.5, A.5) without bound.

    pydicom reads a file to its end for this alone, when it has found that syntax in its meta
    information.
    """

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(size)
        if size is None or size < 0:
            _check_inflates(Path(self.name), content)
        return content


def _check_inflates(path: Path, content: bytes) -> None:
    """Refuse what inflates to more than memory should hold; damage is left to pydicom."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    left = _MAX_INFLATED
    while content and left >= 0 and not inflater.eof:  # a byte may follow, to make them even
        left -= len(inflater.decompress(content, 2**20))
        content = inflater.unconsumed_tail
    if left < 0:
        raise ImageError(
            f"{path}: unpacks to more than {_MAX_INFLATED // 2**20} MiB, far more than a slice; "
            "save it uncompressed"
        )


def _header(path: Path, dataset: Dataset, opening: bytes, read_bytes: int) -> Header:
    if "SOPClassUID" not in dataset and "Rows" not in dataset:
        raise ImageError(f"{path}: a DICOM file that holds no image, or is cut off")
    size = (_binary(dataset, "Rows", 0), _binary(dataset, "Columns", 0))
    pixel_mm = _numbers(dataset, "PixelSpacing", 2)
    steps = _numbers(dataset, "SpacingBetweenSlices", 1) or _numbers(dataset, "SliceThickness", 1)
    return Header(
        path=path,
        series_uid=_text(dataset, "SeriesInstanceUID"),
        number=_integer(dataset, "SeriesNumber", 0),
        description=_description(dataset),
        stated_modality=_text(dataset, "Modality"),
        rescale_type=_text(dataset, "RescaleType").upper(),
        frame_of_reference=_text(dataset, "FrameOfReferenceUID"),
        size=size,
        position=_numbers(dataset, "ImagePositionPatient", 3),
        orientation=_numbers(dataset, "ImageOrientationPatient", 6),
        pixel_mm=(pixel_mm[0], pixel_mm[1]) if pixel_mm and min(pixel_mm) > 0 else None,
        step_mm=steps[0] if steps and steps[0] > 0 else 1.0,
        echo=_text(dataset, "EchoNumbers") + "/" + _text(dataset, "EchoTime"),
        moment=_text(dataset, "TemporalPositionIdentifier"),
        image_type=_text(dataset, "ImageType"),
        acquisition=_text(dataset, "AcquisitionNumber"),
        encoding="/".join(_bytes(dataset, keyword).hex() for keyword in _ENCODING),
        plain=_plain_pixels(dataset, size, opening, read_bytes),
        refusal=_refusal(dataset, size),
    )


def _plain_pixels(
    dataset: Dataset, size: tuple[int, int], opening: bytes, read_bytes: int
) -> PlainPixels | None:
    """Where the pixels of a CT lie, given the first 12 bytes of their element.

    Parameters
    ----------
    opening : bytes
    read_bytes : int
        Where in the file ``opening`` ends.
    """
    syntax = _text(dataset.file_meta, "TransferSyntaxUID")
    classes = _text(dataset.file_meta, "MediaStorageSOPClassUID"), _text(dataset, "SOPClassUID")
    element = _OPENINGS.get(syntax, b"") + (2 * size[0] * size[1]).to_bytes(4, "little")
    bits, sign = _binary(dataset, "BitsStored", 0), _binary(dataset, "PixelRepresentation", 0)
    slope, intercept = (_numbers(dataset, f"Rescale{word}", 1) for word in ("Slope", "Intercept"))
    if (
        sys.byteorder != "little"
        or syntax not in _OPENINGS
        or not opening.startswith(element)
        or classes != (_CT, _CT)
        or _binary(dataset, "BitsAllocated", 0) != 16
        or not 1 <= bits <= 16
        or _binary(dataset, "HighBit", 0) != bits - 1
        or sign not in (0, 1)
        or _text(dataset, "PhotometricInterpretation") != "MONOCHROME2"
        or slope != (1.0,)
        or intercept is None
        or not intercept[0].is_integer()
    ):
        return None
    half = 1 << (bits - 1)
    return PlainPixels(
        offset_bytes=read_bytes - len(opening) + len(element),
        dtype="int16" if sign else "uint16",
        low=-half if sign else 0,
        high=half - 1 if sign else 2 * half - 1,
        intercept=int(intercept[0]),
    )


def _refusal(dataset: Dataset, size: tuple[int, int]) -> str:
    """Why a file is not one grey slice; empty if it is."""
    from pydicom.uid import UID

    storage = UID(_text(dataset, "SOPClassUID"))
    what = storage.name.removesuffix(" Storage") if storage else "a file of unknown class"
    frames = _integer(dataset, "NumberOfFrames", 1)
    if min(size) < 1:
        return f"{what}: holds no image"
    if max(size) > _MAX_SIDE:
        return f"claims {size[0]}x{size[1]} pixels, expected at most {_MAX_SIDE} a side"
    if storage == _SEGMENTATION or _binary(dataset, "BitsAllocated", 16) == 1:
        return f"{what}: holds labels, expected the image they were drawn on"
    if _binary(dataset, "SamplesPerPixel", 1) != 1 or "PALETTE" in _text(
        dataset, "PhotometricInterpretation"
    ):
        return f"{what}: a colour image, expected one grey value a pixel"
    if frames > 1:
        return (
            f"{what}: holds {frames} frames in one file, expected one slice a file; convert it to "
            "single frames or NIfTI first"
        )
    if "LOCALIZER" in _text(dataset, "ImageType").upper():
        return "a scout (localizer), expected slices of a scan"
    return ""


def _description(dataset: Dataset) -> str:
    stated = _bytes(dataset, "SeriesDescription"), _bytes(dataset, "SpecificCharacterSet")
    return _decoded(*stated) or f"series {_integer(dataset, 'SeriesNumber', 0)}"


@lru_cache(maxsize=64)  # the same in every file of a series
def _decoded(text: bytes, characters: bytes) -> str:
    """A text in its character set (PS3.5, 6.1), of what can be printed the first 64."""
    from pydicom.charset import convert_encodings, decode_bytes

    try:
        encodings = convert_encodings(characters.decode("ascii").strip(" \0").split("\\"))
        stated = decode_bytes(text.strip(b" \0"), encodings, set())
    except (ValueError, LookupError):
        return ""
    return "".join(c for c in stated if c.isprintable())[:64].strip()


def _bytes(dataset: Dataset, keyword: str) -> bytes:
    """A value as it stands in the file: pydicom's conversion costs more than reading it."""
    element = dataset.get_item(_tags()[keyword])
    value = None if element is None else element.value
    return value if isinstance(value, bytes) else str(value or "").encode()


def _text(dataset: Dataset, keyword: str) -> str:
    return _bytes(dataset, keyword).decode("latin-1").strip(" \0")


def _binary(dataset: Dataset, keyword: str, default: int) -> int:
    """A number of value representation US."""
    value = _bytes(dataset, keyword)
    little = dataset.original_encoding[1] is not False
    return int.from_bytes(value[:2], "little" if little else "big") if len(value) >= 2 else default


def _integer(dataset: Dataset, keyword: str, default: int) -> int:
    """A number of value representation IS."""
    try:
        return int(_text(dataset, keyword))
    except ValueError:
        return default


def _numbers(dataset: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Exactly ``count`` finite numbers of value representation DS, or None."""
    try:
        numbers = tuple(float(part) for part in _text(dataset, keyword).split("\\"))
    except ValueError:
        return None
    return numbers if len(numbers) == count and all(map(isfinite, numbers)) else None
