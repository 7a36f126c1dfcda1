"""What a board's model expects of a CT, and how its MR comes back onto the CT's own grid.

A board sees one size and knows neither millimetres nor heads: the host brings slices to the
model's frame, by the same rule as ``synthesize``, and back.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_ct2mri.config import ModelConfig
from napari_ct2mri.disk import parse_json
from napari_ct2mri.errors import LinkError, VolumeError
from napari_ct2mri.imaging.volume import Volume, closest_axes

if TYPE_CHECKING:
    from napari_ct2mri.link.connection import Connection
    from napari_ct2mri.link.live import Planes
    from napari_ct2mri.pix2pix.frames import Frame

__all__ = ["BoardModel", "Grid", "read_model"]

_INFO_AT = 68  # in a container's header: where its information for the host lies, and its bytes
_INFO = struct.Struct("<II")
_MAX_INFO = 65536
assert _INFO.size == 8


@dataclass(frozen=True, slots=True)
class BoardModel:
    """The model that a board has committed, as its container describes it.

    Attributes
    ----------
    board : str
        The board's name.
    name, contrast : str
        Of the model, and of the MR that it makes.
    config : ModelConfig
    size : (height, width)
        Of the slices that it runs, network pixels.
    digest : str
        SHA-256 of the container, hexadecimal.
    fingerprints : str
        SHA-256 of the lists of slices it was trained on; the container's where it does not say.
    """

    board: str
    name: str
    contrast: str
    config: ModelConfig
    size: tuple[int, int]
    digest: str
    fingerprints: str

    @property
    def contrasts(self) -> tuple[str, ...]:
        """What it makes, as of a checkpoint."""
        return (self.contrast,)


def read_model(connection: Connection) -> BoardModel:
    """Ask a board which model it runs.

    Raises
    ------
    BoardError
        If none is committed.
    LinkError
        If what it says of its model makes no sense.
    """
    connection.check_model()
    hello = connection.hello
    place, size = _INFO.unpack(connection.read(_INFO_AT, _INFO.size))
    if size > _MAX_INFO or place + size > hello.size:
        raise LinkError(f"{hello.board}: its container is not as expected; push the model again")
    try:
        info = parse_json(connection.read(place, size))
        config = ModelConfig.parse(info["config"], f"the model on {hello.board}")
        name, contrast = str(info["model"]), str(info["contrast"])
    except (ValueError, KeyError, TypeError) as error:
        raise LinkError(
            f"{hello.board}: its container does not describe its model; export it anew and push"
        ) from error
    digest = hello.digest.hex()
    fingerprints = str(info.get("fingerprints", digest))
    size_px = (hello.height, hello.width)
    return BoardModel(hello.board, name, contrast, config, size_px, digest, fingerprints)


class Grid:
    """A CT on its way to a board's model, and the MR on its way back.

    Slices are counted in closest-axes order, as the viewer shows them.

    Parameters
    ----------
    ct : Volume
        In HU, or pictures (grey) of one patient.
    model : BoardModel
    native : bool
        Leave the pixels' size as it is.

    Attributes
    ----------
    depth : int
        Slices.
    notes : tuple of str
        What a person should know.

    Raises
    ------
    VolumeError
        If it is no CT for this model.
    """

    def __init__(self, ct: Volume, model: BoardModel, *, native: bool = False) -> None:
        from napari_ct2mri.imaging.intensity import ct_channels

        self.ct, self.model = ct, model
        self._turned, self._order = closest_axes(ct)
        self.depth = len(self._turned.data)
        windows = model.config.input.windows
        ct_channels(replace(self._turned, data=self._turned.data[:1]), windows)  # checks
        self._low = min(window.low for window in windows)
        self._high = max(window.high for window in windows)
        self._frame, self.notes = _frame(self._turned, model, native)
        self._kept: dict[int, NDArray[Any]] = {}

    def planes(self, k: int) -> Planes:
        """Slice ``k`` and its neighbours in the model's frame, lowest first.

        HU are clipped to what the model's windows show before they are resampled, so that bone
        does not ring into brain.

        Returns
        -------
        list of (h, w) int16 in HU, or uint8 grey levels of pictures
        """
        reach = self.model.config.input.neighbours
        wanted = [min(max(i, 0), self.depth - 1) for i in range(k - reach, k + reach + 1)]
        self._kept = {i: self._kept[i] if i in self._kept else self._plane(i) for i in wanted}
        return [self._kept[i] for i in wanted]

    def mr(self, output: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What the board made, (h, w), as a slice of the CT, (y, x), in output units."""
        from napari_ct2mri.firmware.reference import dequantize_output
        from napari_ct2mri.imaging.intensity import unit_to_output

        unit = self._frame.put_back(dequantize_output(output)).clip(-1, 1)
        return unit_to_output(unit, is_picture=self.ct.is_picture)

    def volume(self, slices: NDArray[np.float32]) -> Volume:
        """All slices, (z, y, x) in closest-axes order, as an MR on the CT's own grid."""
        return Volume(
            np.ascontiguousarray(self._order.undo(slices)),
            self.ct.geometry,
            "MR",
            "grey" if self.ct.is_picture else "arbitrary",
            replace(self.ct.source, series_uid=""),
            (f"synthetic {self.model.contrast}, research use only",),
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(z, y, x) in closest-axes order."""
        depth, height, width = self._turned.data.shape
        return depth, height, width

    def _plane(self, k: int) -> NDArray[Any]:
        values = np.asarray(self._turned.data[k], np.float32)
        if not np.isfinite(values).all():
            raise VolumeError(
                f"slice {k} of the CT holds NaN or infinity; replace them, by -1000 HU for air"
            )
        if self.ct.is_picture:
            return np.rint(self._frame.take(values, outside=0.0)).clip(0, 255).astype(np.uint8)
        clipped = values.clip(self._low, self._high)
        return np.rint(self._frame.take(clipped, outside=self._low)).astype(np.int16)


def _frame(ct: Volume, model: BoardModel, native: bool) -> tuple[Frame, tuple[str, ...]]:
    """The model's frame on a CT: that of ``synthesize``, in the one size that the board has."""
    from napari_ct2mri.pix2pix.frames import fit_frame

    free = fit_frame(ct, model.config, native=native)
    wanted, there = (" x ".join(map(str, shape)) for shape in (free.shape, model.size))
    is_larger = any(a > b for a, b in zip(free.shape, model.size, strict=True))
    if is_larger and native:
        raise VolumeError(
            f"slices of {wanted} pixels do not fit {model.name} on {model.board}, which runs "
            f"{there}; leave --native away, or export with --size"
        )
    notes = (
        f"the head needs {wanted} network pixels, {model.name} on {model.board} runs {there}: what "
        "lies beyond stays empty, unless the model is exported for larger slices",
    )
    return replace(free, shape=model.size), notes if is_larger else ()
