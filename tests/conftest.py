from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in the background of a script
    signal.signal(signal.SIGINT, signal.default_int_handler)  # children must hear Ctrl-C


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images beside the checkout, or that of ``CT2MRI_DATA``."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("CT2MRI_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no real images at {folder}; CT2MRI_DATA may say where they are")
    return folder
