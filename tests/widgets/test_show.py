"""The window that ``ct2mri demo`` opens, as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from heads import head_pair
from skimage.io import imread

from napari_ct2mri.app import viewer
from napari_ct2mri.errors import JobError
from napari_ct2mri.imaging.io import write_volume


def show(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "napari_ct2mri.widgets.show", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_the_window_is_pictured_with_every_image(tmp_path: Path) -> None:
    ct, mr = head_pair()
    write_volume(ct, tmp_path / "ct.nii.gz")
    write_volume(mr, tmp_path / "real.nii.gz")
    picture = tmp_path / "window.png"
    done = show(tmp_path / "ct.nii.gz", tmp_path / "real.nii.gz", "--screenshot", picture)
    assert done.returncode == 0, done.stderr
    window = imread(picture)[..., :3].astype(float).mean(axis=-1)
    canvas = window[60:-60, 380:-20]
    left, right = np.array_split(canvas, 2, axis=1)
    assert left.max() > 150  # bone
    assert right.max() > 150  # fluid


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    done = show(tmp_path / "none.nii.gz", "--screenshot", tmp_path / "window.png")
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith(f"{tmp_path / 'none.nii.gz'}: does not")
    assert not (tmp_path / "window.png").exists()


def test_no_python_file_of_the_folder_one_is_in_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "argparse.py").write_text("raise SystemExit('imported from here')")
    monkeypatch.chdir(tmp_path)
    asked = [tmp_path / "none.nii.gz", Path("--screenshot"), tmp_path / "window.png"]
    with pytest.raises(JobError, match=r"none\.nii\.gz: does not exist"):
        viewer._run(asked, os.environ)
