"""What can go wrong before a board runs: one line each, under :class:`LinkError`."""

from __future__ import annotations

from napari_ct2mri.errors import LinkError

__all__ = ["BootError", "BootImageError", "BootRefusedError", "BootSilentError"]


class BootError(LinkError):
    """A board was not booted. Reset it before the next attempt."""


class BootImageError(BootError):
    """A program or an AIS image is not what it should be; nothing was sent."""


class BootSilentError(BootError):
    """The boot ROM does not answer, or no longer, or the port went away."""


class BootRefusedError(BootError):
    """The boot ROM answers something else than agreed."""
