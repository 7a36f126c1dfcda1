"""A CT through a generator: slice by slice, streaming, back onto the CT's own grid.

While the engine runs a batch, the next one is windowed and resampled and the last one put back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from napari_ct2mri.config import ModelConfig, Window
from napari_ct2mri.errors import ConfigError
from napari_ct2mri.imaging.intensity import ct_channels, unit_to_output
from napari_ct2mri.imaging.volume import Volume, axial_slices, closest_axes
from napari_ct2mri.jobs import Job, Progress, SlicesDone
from napari_ct2mri.overlap import overlapped
from napari_ct2mri.pix2pix.checkpoint import Checkpoint
from napari_ct2mri.pix2pix.engines import Engine, TorchEngine, load_generator, open_engine
from napari_ct2mri.pix2pix.frames import fit_frame
from napari_ct2mri.pix2pix.networks import pick_device
from napari_ct2mri.pix2pix.slices import with_neighbours
from napari_ct2mri.pix2pix.spread import MEANING, SpreadDone, spread_of

__all__ = ["FramedCt", "as_synthetic", "synthesize", "synthesize_with_spread"]

Floats = NDArray[np.float32]


def synthesize(
    ct: Volume,
    model: Checkpoint,
    *,
    contrast: str | None = None,
    native: bool = False,
    published: bool = False,
    window: Window | None = None,
    slices: range | None = None,
    engine: Engine | None = None,
    device: str = "auto",
) -> Job[Volume]:
    """Make an MR of the axial slices of ``ct``.

    Parameters
    ----------
    ct : Volume
        In HU, or pictures (grey) of one patient.
    contrast : str, optional
        One of the model's; by default its first.
    native : bool
        Leave the pixels' size as it is (see ``frames.fit_frame``).
    published : bool
        As Isola et al. 2017 test: each slice alone, normalised by its own statistics, dropout
        on (drawn from a fixed seed). Otherwise batch norm uses its running statistics.
    window : Window, optional
        Shows the CT to a one-window model in another window than its own.
    slices : range, optional
        Of the axial slices in closest-axes order; by default all. The head is framed, and
        neighbours are seen, in the whole CT.
    engine : Engine, optional
        Already open for this model and contrast; by default the fastest in float on ``device``,
        torch for ``published``.

    Yields
    ------
    Progress and SlicesDone, whose ``start`` counts the CT's axial slices in closest-axes order.

    Returns
    -------
    Volume
        float32 on the CT's own grid, of which other slices are absent: 0 to 1000, or 0 to 255
        for pictures; 0 beyond the frame.

    Raises
    ------
    ConfigError, VolumeError
        If contrast, window or CT do not suit the model, or the CT has no such slices.
    """
    turned, order = closest_axes(ct)
    wanted = slices or range(len(turned.data))
    part = axial_slices(ct, wanted)
    made = _checked(model, contrast)
    engine = engine or _own_engine(model, published, device)
    framed = FramedCt(turned, _with_window(model.config.model, window), native=native)
    channel = engine.contrasts.index(made)
    result = np.zeros((len(wanted), *turned.data.shape[1:]), np.float32)
    batches = _batches(wanted, 1 if published else framed.batch(engine))
    parts = overlapped(
        batches, framed.frames, lambda frames: engine(frames)[:, channel], framed.slices
    )
    for batch, slices_ in zip(batches, parts, strict=True):
        here = slice(batch.start - wanted.start, batch.stop - wanted.start)
        result[here] = slices_
        yield SlicesDone(batch.start, result[here])
        yield Progress(here.stop, len(wanted), "slices")
    return as_synthetic(part, np.ascontiguousarray(order.undo(result)), made)


def synthesize_with_spread(
    ct: Volume,
    model: Checkpoint,
    others: Sequence[Checkpoint] = (),
    *,
    contrast: str | None = None,
    native: bool = False,
    window: Window | None = None,
    slices: range | None = None,
    engines: Sequence[Engine] = (),
    device: str = "auto",
) -> Job[tuple[Volume, Volume]]:
    """As :func:`synthesize`, and how far apart several predictions lie (see ``spread``).

    Parameters
    ----------
    others : sequence of Checkpoint
        Further models that make the contrast; the MR is that of ``model`` alone.
    engines : sequence of Engine, optional
        One for ``model`` and for each of ``others``; by default the fastest in float.

    Yields
    ------
    SlicesDone, SpreadDone and Progress.

    Returns
    -------
    (MR, spread)
        Both on the CT's own grid and in output units.
    """
    turned, order = closest_axes(ct)
    wanted = slices or range(len(turned.data))
    part = axial_slices(ct, wanted)
    made = _checked(model, contrast)
    models = [model, *others]
    for each in others:
        _checked(each, made)
    engines = engines or [open_engine(each, device=device) for each in models]
    channels = [engine.contrasts.index(made) for engine in engines]
    several = [
        FramedCt(turned, _with_window(each.config.model, window), native=native) for each in models
    ]

    def both_sides(frames: list[Floats]) -> list[Floats]:
        return [
            fakes
            for engine, channel, each in zip(engines, channels, frames, strict=True)
            for fakes in (engine(each)[:, channel], engine(each[..., ::-1])[:, channel, :, ::-1])
        ]

    def put_back(fakes: list[Floats]) -> tuple[Floats, Floats]:
        made = [several[i // 2].slices(each) for i, each in enumerate(fakes)]
        return made[0], spread_of(made)

    shape = (len(wanted), *turned.data.shape[1:])
    result, spread = (np.zeros(shape, np.float32) for _ in range(2))
    batches = _batches(wanted, several[0].batch(engines[0]))
    parts = overlapped(
        batches, lambda batch: [each.frames(batch) for each in several], both_sides, put_back
    )
    for batch, (slices_, apart_) in zip(batches, parts, strict=True):
        here = slice(batch.start - wanted.start, batch.stop - wanted.start)
        result[here], spread[here] = slices_, apart_
        yield SlicesDone(batch.start, result[here])
        yield SpreadDone(batch.start, spread[here])
        yield Progress(here.stop, len(wanted), "slices")
    mr = as_synthetic(part, np.ascontiguousarray(order.undo(result)), made)
    note = f"spread of synthetic {made}, research use only: {MEANING}"
    apart = replace(mr, data=np.ascontiguousarray(order.undo(spread)), notes=(note,))
    return mr, replace(apart, modality="unknown")


def as_synthetic(ct: Volume, data: NDArray[np.generic], contrast: str) -> Volume:
    """What :func:`synthesize` makes of ``ct``: ``data`` in output units, (z, y, x) as the CT's."""
    return Volume(
        data,
        ct.geometry,
        "MR",
        "grey" if ct.is_picture else "arbitrary",
        replace(ct.source, series_uid=""),
        (f"synthetic {contrast}, research use only",),
    )


class FramedCt:
    """A CT and the frame in which a network sees it.

    Parameters
    ----------
    ct : Volume
        On closest axes.
    config : ModelConfig
    native : bool
        See :func:`synthesize`.
    """

    def __init__(self, ct: Volume, config: ModelConfig, *, native: bool = False) -> None:
        self._ct, self._config = ct, config
        self._frame = fit_frame(ct, config, native=native)

    def batch(self, engine: Engine) -> int:
        """How many slices to run at once."""
        return max(1, engine.batch_px // (self._frame.shape[0] * self._frame.shape[1]))

    def frames(self, batch: range) -> Floats:
        """(n, C, h, w) in [-1, 1]: what the network sees of these slices."""
        channels = _channels(self._ct, self._config, batch.start, batch.stop)
        frames = self._frame.take(channels)
        return np.clip(frames, -1, 1, out=frames)

    def slices(self, fakes: Floats) -> Floats:
        """(n, h, w) in [-1, 1] to (n, H, W) MR in output units, on the CT's pixels."""
        return unit_to_output(self._frame.put_back(fakes), is_picture=self._ct.is_picture)


def _own_engine(model: Checkpoint, published: bool, device: str) -> Engine:
    """The fastest there is; for ``published`` torch, in training mode and with a fixed seed."""
    if not published:
        return open_engine(model, device=device)
    generator = load_generator(model, pick_device(device)).train()
    torch.manual_seed(0)
    return TorchEngine(generator, model.contrasts)


def _batches(wanted: range, size: int) -> list[range]:
    """``wanted`` in parts of ``size``, the last one perhaps shorter."""
    return [wanted[at : at + size] for at in range(0, len(wanted), size)]


def _channels(ct: Volume, config: ModelConfig, start: int, stop: int) -> NDArray[np.float32]:
    """(stop - start, C, H, W): the windows of each slice and of its neighbours, lowest first."""
    reach = config.input.neighbours
    low, high = max(0, start - reach), min(len(ct.data), stop + reach)
    part = replace(ct, data=ct.data[low:high], notes=())
    windows = with_neighbours(ct_channels(part, config.input.windows), reach)
    return windows[start - low : stop - low]


def _with_window(config: ModelConfig, window: Window | None) -> ModelConfig:
    if window is None:
        return config
    if len(config.input.windows) != 1:
        raise ConfigError(
            f"this model looks through {len(config.input.windows)} windows; only a model with one "
            "can be given another"
        )
    update = {"windows": (window,)}
    return config.model_copy(update={"input": config.input.model_copy(update=update)})


def _checked(model: Checkpoint, contrast: str | None) -> str:
    """The contrast, by default the model's first, once it is known that the model makes it."""
    if contrast is not None and contrast not in model.contrasts:
        raise ConfigError(
            f"the model does not make {contrast!r}; it makes {', '.join(model.contrasts)}"
        )
    return contrast or model.contrasts[0]
