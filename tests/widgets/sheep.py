"""A job without end, in a module that a child process can import."""

from __future__ import annotations

import time
from pathlib import Path

from napari_ct2mri.jobs import Job, Progress


def count(left_behind: Path) -> Job[None]:
    """Count until cancelled; the clean-up leaves a file."""
    try:
        for i in range(9999):
            time.sleep(0.05)
            yield Progress(i, 9999, "sheep")
    finally:
        left_behind.write_text("cleaned up")
