"""A CT of a patient in DICOM, and what of that patient stands in another series."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from heads import head_pair

sys.path.append(str(Path(__file__).resolve().parents[1]))
from imaging.dicom_files import write_series

NAMED = {"PatientName": "Doe^Jane", "PatientID": "PID-77", "StudyInstanceUID": "1.2.3.77"}


def named_scan(folder: Path) -> Path:
    """Write the CT of :func:`heads.head_pair` as a series that names its patient."""
    positions = np.arange(4)[:, None] * [0.0, 0.0, 4.0]
    write_series(folder, head_pair()[0].data, positions, **NAMED)
    return folder


def named_in(series: Path) -> set[str]:
    """Which of :data:`NAMED` stand in the files of a series."""
    content = b"".join(file.read_bytes() for file in series.glob("*.dcm"))
    assert content
    return {name for name, text in NAMED.items() if text.encode() in content}
