"""The first bytes to a bare board: a program as a boot image, the dialogue with TI's boot ROM."""

from napari_ct2mri.link.boot.ais import Command, ais_image, function, load, write
from napari_ct2mri.link.boot.errors import (
    BootError,
    BootImageError,
    BootRefusedError,
    BootSilentError,
)
from napari_ct2mri.link.boot.uart import Limits, boot

__all__ = [
    "BootError",
    "BootImageError",
    "BootRefusedError",
    "BootSilentError",
    "Command",
    "Limits",
    "ais_image",
    "boot",
    "function",
    "load",
    "write",
]
