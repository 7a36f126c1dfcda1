"""A CT through a generator: slice by slice, streaming, back onto the CT's own grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from napari_ct2mri.config import ModelConfig, Window
from napari_ct2mri.errors import ConfigError
from napari_ct2mri.imaging.intensity import ct_channels, unit_to_output
from napari_ct2mri.imaging.volume import Volume, axial_slices, closest_axes
from napari_ct2mri.jobs import Job, Progress, SlicesDone
from napari_ct2mri.pix2pix.checkpoint import Checkpoint, load_weights
from napari_ct2mri.pix2pix.frames import Frame, fit_frame
from napari_ct2mri.pix2pix.networks import Generator, pick_device
from napari_ct2mri.pix2pix.slices import with_neighbours
from napari_ct2mri.pix2pix.spread import MEANING, SpreadDone, spread_of

__all__ = ["FramedCt", "load_generator", "synthesize", "synthesize_with_spread"]

_BATCH_PX = 4 * 256 * 256  # network pixels a batch: keeps activations in the cache


def synthesize(
    ct: Volume,
    model: Checkpoint,
    *,
    contrast: str | None = None,
    native: bool = False,
    published: bool = False,
    window: Window | None = None,
    slices: range | None = None,
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
    member = _Member(turned, model, contrast, native, window, device)
    if published:
        member.generator.train()
        torch.manual_seed(0)
    result = np.zeros((len(wanted), *turned.data.shape[1:]), np.float32)
    for start, stop, here in _batches(wanted, 1 if published else member.batch):
        result[here] = member.run(start, stop)
        yield SlicesDone(start, result[here])
        yield Progress(here.stop, len(wanted), "slices")
    return _output(part, order.undo(result), contrast or model.contrasts[0])


def synthesize_with_spread(
    ct: Volume,
    model: Checkpoint,
    others: Sequence[Checkpoint] = (),
    *,
    contrast: str | None = None,
    native: bool = False,
    window: Window | None = None,
    slices: range | None = None,
    device: str = "auto",
) -> Job[tuple[Volume, Volume]]:
    """As :func:`synthesize`, and how far apart several predictions lie (see ``spread``).

    Parameters
    ----------
    others : sequence of Checkpoint
        Further models that make the contrast; the MR is that of ``model`` alone.

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
    made = contrast or model.contrasts[0]
    members = [_Member(turned, each, made, native, window, device) for each in (model, *others)]
    shape = (len(wanted), *turned.data.shape[1:])
    result, spread = (np.zeros(shape, np.float32) for _ in range(2))
    for start, stop, here in _batches(wanted, members[0].batch):
        several = [m.run(start, stop, is_mirrored=side) for m in members for side in (False, True)]
        result[here], spread[here] = several[0], spread_of(several)
        yield SlicesDone(start, result[here])
        yield SpreadDone(start, spread[here])
        yield Progress(here.stop, len(wanted), "slices")
    mr = _output(part, order.undo(result), made)
    note = f"spread of synthetic {made}, research use only: {MEANING}"
    apart = replace(mr, data=np.ascontiguousarray(order.undo(spread)), notes=(note,))
    return mr, replace(apart, modality="unknown")


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

    @property
    def batch(self) -> int:
        """How many slices to run at once."""
        return max(1, _BATCH_PX // (self._frame.shape[0] * self._frame.shape[1]))

    def run(
        self,
        generator: Generator,
        channel: int,
        start: int,
        stop: int,
        *,
        is_mirrored: bool = False,
    ) -> NDArray[np.float32]:
        """(stop - start, H, W) MR in output units; of the mirrored frame, mirrored back."""
        channels = _channels(self._ct, self._config, start, stop)
        unit = _run(generator, channels, self._frame, channel, is_mirrored)
        return unit_to_output(unit, is_picture=self._ct.is_picture)


class _Member:
    """One model, one of its contrasts, and a CT as it sees it."""

    def __init__(
        self,
        ct: Volume,
        model: Checkpoint,
        contrast: str | None,
        native: bool,
        window: Window | None,
        device: str,
    ) -> None:
        self._channel = _channel(model, contrast)
        self._framed = FramedCt(ct, _with_window(model.config.model, window), native=native)
        self.batch = self._framed.batch
        self.generator = load_generator(model, pick_device(device))

    def run(self, start: int, stop: int, *, is_mirrored: bool = False) -> NDArray[np.float32]:
        """As :meth:`FramedCt.run`."""
        return self._framed.run(self.generator, self._channel, start, stop, is_mirrored=is_mirrored)


def _batches(wanted: range, size: int) -> Iterator[tuple[int, int, slice]]:
    """Start and stop of each batch among the CT's slices, and its place in the result."""
    for start in wanted[::size]:
        stop = min(start + size, wanted.stop)
        yield start, stop, slice(start - wanted.start, stop - wanted.start)


def _output(ct: Volume, data: NDArray[np.generic], contrast: str) -> Volume:
    return Volume(
        np.ascontiguousarray(data),
        ct.geometry,
        "MR",
        "grey" if ct.is_picture else "arbitrary",
        replace(ct.source, series_uid=""),
        (f"synthetic {contrast}, research use only",),
    )


def load_generator(model: Checkpoint, device: torch.device) -> Generator:
    """The checkpoint's generator on ``device``, in evaluation mode."""
    generator = Generator(model.config.model)
    load_weights(generator, model.weights, "checkpoint")
    return generator.to(device).eval()


@torch.inference_mode()
def _run(
    generator: Generator,
    channels: NDArray[np.float32],
    frame: Frame,
    channel: int,
    is_mirrored: bool,
) -> NDArray[np.float32]:
    """(n, C, H, W) CT channels to (n, H, W) MR in [-1, 1]."""
    device = next(generator.parameters()).device
    frames = torch.from_numpy(frame.take(channels).clip(-1, 1)).to(device)
    if is_mirrored:
        frames = frames.flip(-1)
    made = generator(frames)[:, channel]
    fake = (made.flip(-1) if is_mirrored else made).cpu().numpy()
    mr: NDArray[np.float32] = frame.put_back(fake).clip(-1, 1)
    return mr


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


def _channel(model: Checkpoint, contrast: str | None) -> int:
    if contrast is None:
        return 0
    if contrast not in model.contrasts:
        raise ConfigError(
            f"the model does not make {contrast!r}; it makes {', '.join(model.contrasts)}"
        )
    return model.contrasts.index(contrast)
