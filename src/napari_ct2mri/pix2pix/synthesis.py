"""A CT through a generator: slice by slice, streaming, back onto the CT's own grid."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from napari_ct2mri.config import ModelConfig, Window
from napari_ct2mri.errors import ConfigError
from napari_ct2mri.imaging.intensity import ct_channels, unit_to_output
from napari_ct2mri.imaging.volume import Volume, closest_axes
from napari_ct2mri.jobs import Job, Progress, SlicesDone
from napari_ct2mri.pix2pix.checkpoint import Checkpoint, load_weights
from napari_ct2mri.pix2pix.frames import Frame, fit_frame
from napari_ct2mri.pix2pix.networks import Generator, pick_device
from napari_ct2mri.pix2pix.slices import with_neighbours

__all__ = ["load_generator", "synthesize"]

_BATCH_PX = 4 * 256 * 256  # network pixels a batch: keeps activations in the cache


def synthesize(
    ct: Volume,
    model: Checkpoint,
    *,
    contrast: str | None = None,
    native: bool = False,
    published: bool = False,
    window: Window | None = None,
    device: str = "auto",
) -> Job[Volume]:
    """Make an MR of every axial slice of ``ct``.

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

    Yields
    ------
    Progress and SlicesDone, whose ``start`` counts axial slices in closest-axes order.

    Returns
    -------
    Volume
        float32 on the CT's own grid: 0 to 1000, or 0 to 255 for pictures; 0 beyond the frame.

    Raises
    ------
    ConfigError, VolumeError
        If contrast, window or CT do not suit the model.
    """
    config = _with_window(model.config.model, window)
    channel = _channel(model, contrast)
    turned, order = closest_axes(ct)
    frame = fit_frame(turned, config, native=native)
    generator = load_generator(model, pick_device(device))
    if published:
        generator.train()
        torch.manual_seed(0)
    depth = len(turned.data)
    batch = 1 if published else max(1, _BATCH_PX // (frame.shape[0] * frame.shape[1]))
    result = np.zeros(turned.data.shape, np.float32)
    for start in range(0, depth, batch):
        stop = min(start + batch, depth)
        unit = _run(generator, _channels(turned, config, start, stop), frame, channel)
        result[start:stop] = unit_to_output(unit, is_picture=ct.is_picture)
        yield SlicesDone(start, result[start:stop])
        yield Progress(stop, depth, "slices")
    return Volume(
        np.ascontiguousarray(order.undo(result)),
        ct.geometry,
        "MR",
        "grey" if ct.is_picture else "arbitrary",
        replace(ct.source, series_uid=""),
        (f"synthetic {contrast or model.contrasts[0]}, research use only",),
    )


def load_generator(model: Checkpoint, device: torch.device) -> Generator:
    """The checkpoint's generator on ``device``, in evaluation mode."""
    generator = Generator(model.config.model)
    load_weights(generator, model.weights, "checkpoint")
    return generator.to(device).eval()


@torch.inference_mode()
def _run(
    generator: Generator, channels: NDArray[np.float32], frame: Frame, channel: int
) -> NDArray[np.float32]:
    """(n, C, H, W) CT channels to (n, H, W) MR in [-1, 1]."""
    device = next(generator.parameters()).device
    frames = torch.from_numpy(frame.take(channels).clip(-1, 1))
    fake = generator(frames.to(device))[:, channel].cpu().numpy()
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
