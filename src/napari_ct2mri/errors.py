"""The exception tree: one line a person can act on.

A message says what was expected, what was found, where, and what to do. The core raises,
the command line prints it and exits with 1, the viewer shows it as a notification.
"""

from __future__ import annotations

__all__ = [
    "BoardError",
    "CheckpointError",
    "ConfigError",
    "ContainerError",
    "Ct2MriError",
    "EvaluationError",
    "FirmwareError",
    "ImageError",
    "JobCancelled",
    "JobError",
    "LinkError",
    "PairError",
    "PortError",
    "TrainingError",
    "VolumeError",
]


class Ct2MriError(Exception):
    """Root of everything this package raises on purpose."""


class ConfigError(Ct2MriError):
    """A setting is unknown, out of range or does not fit the others."""


class ImageError(Ct2MriError):
    """A file or folder is not an image this package can use."""


class VolumeError(Ct2MriError):
    """The values or the geometry of a volume forbid what was asked."""


class PairError(Ct2MriError):
    """A list of CT/MR pairs is broken or contradicts itself."""


class CheckpointError(Ct2MriError):
    """A checkpoint is damaged, of another version or of another kind."""


class TrainingError(Ct2MriError):
    """A training could not go on; what was learnt so far is kept."""


class EvaluationError(Ct2MriError):
    """Predictions and references cannot be compared."""


class FirmwareError(Ct2MriError):
    """A model cannot be made into firmware, or the firmware not be built."""


class ContainerError(FirmwareError):
    """A model container is cut, altered, of another version or not for this firmware.

    ``number`` is that of the rule it breaks, the same on every board.
    """

    def __init__(self, message: str, number: int = 0) -> None:  # a default, so that it pickles
        super().__init__(message)
        self.number = number


class LinkError(Ct2MriError):
    """A board cannot be reached, falls silent, or does not speak as agreed."""


class PortError(LinkError):
    """There is no board at that port; at another one may be."""


class BoardError(LinkError):
    """A board refuses what it was asked.

    ``number`` is that of the reason, as ``docs/link-protocol.md`` lists them.
    """

    def __init__(self, message: str, number: int = 0) -> None:  # a default, so that it pickles
        super().__init__(message)
        self.number = number


class JobError(Ct2MriError):
    """A child process ended without a result."""


class JobCancelled(Ct2MriError):
    """The person cancelled a job; its clean-up has run."""
