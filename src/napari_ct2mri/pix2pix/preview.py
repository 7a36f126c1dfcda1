"""The slice in view through a network in training, as synthesis would make it."""

from __future__ import annotations

import time
from collections.abc import Callable

from napari_ct2mri.evaluation.labels import Label, label_of
from napari_ct2mri.imaging.volume import Volume
from napari_ct2mri.jobs import Job, Preview
from napari_ct2mri.pix2pix.checkpoint import Header
from napari_ct2mri.pix2pix.engines import TorchEngine
from napari_ct2mri.pix2pix.networks import Generator
from napari_ct2mri.pix2pix.synthesis import FramedCt

__all__ = ["SlicePreview"]

_SHARE = 10
"""A preview is followed by at least so many times its own duration of training."""

_SHORTEST_S = 0.5


class SlicePreview:
    """Previews slices of one CT. Draws no random number and moves no statistic.

    Parameters
    ----------
    ct : Volume
        On closest axes.
    header : Header
        Of the model in training: its network, and whom it has seen.
    contrast : str
        Which of its outputs is shown.
    clock : callable
        Seconds, never falling.

    Raises
    ------
    VolumeError
        If the CT does not suit the model.
    """

    def __init__(
        self,
        ct: Volume,
        header: Header,
        contrast: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        model = header.config.model
        self._framed = FramedCt(ct, model)
        self._depth = len(ct.data)
        self._contrast, self._channel = contrast, model.contrasts.index(contrast)
        self._label: Label = label_of(ct.data, ct.unit, *header.fingerprints)
        self._clock = clock
        self._due = clock()

    def look(
        self, generator: Generator, epoch: int, index: int | None, *, at_once: bool = False
    ) -> Job[None]:
        """Yield a preview of slice ``index``, if it is time or ``at_once``, and the CT has it.

        ``epoch`` are finished. The generator's mode stays as it was.
        """
        start = self._clock()
        if index is None or not 0 <= index < self._depth or (start < self._due and not at_once):
            return
        is_training = generator.training
        generator.eval()
        engine = TorchEngine(generator, (self._contrast,))
        fakes = engine(self._framed.frames(range(index, index + 1)))
        slice_ = self._framed.slices(fakes[:, self._channel])[0]
        generator.train(is_training)
        now = self._clock()
        self._due = now + max(_SHORTEST_S, _SHARE * (now - start))
        yield Preview(epoch, index, slice_, self._contrast, self._label)
