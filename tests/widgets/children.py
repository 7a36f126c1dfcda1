"""What may happen to the process of a job."""

from __future__ import annotations

import os
import signal

from napari_ct2mri.widgets.job import QtJob


def kill_child(job: QtJob) -> None:
    """What the system does to a process when memory runs out."""
    process = job._process
    assert process is not None
    assert process._child is not None
    os.kill(process._child.pid, signal.SIGKILL)
