"""``synthesize SCAN/ NAME.dcm``: a DICOM series beside its manifest, or one line on why not."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from small_heads import OBLIQUE, head, picture_pairs, write_volumes

from napari_ct2mri.app.cli import main
from napari_ct2mri.imaging.io import read_volume

sys.path.append(str(Path(__file__).resolve().parents[1]))
from imaging.dicom_files import PATIENT, PATIENT_ID, write_series

Fails = Callable[..., str]
CPU = ("--device", "cpu")
STUDY = "1.2.840.99999.7"


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A small head as an oblique CT series."""
    ct, _ = head(0)
    direction = np.array(OBLIQUE.direction).reshape(3, 3)
    positions = np.arange(len(ct))[:, None] * OBLIQUE.spacing[0] * direction[:, 2]
    write_series(
        tmp_path / "scan",
        np.rint(ct).astype(np.int16),
        positions + OBLIQUE.origin,
        direction[:, :2].T,
        spacing=OBLIQUE.spacing[1:],
        StudyInstanceUID=STUDY,
    )
    return tmp_path / "scan"


def test_a_series_on_the_grid_of_its_ct(model: Path, scan: Path, tmp_path: Path) -> None:
    nifti, series = tmp_path / "out" / "mr.nii.gz", tmp_path / "out" / "mr.dcm"
    for output in (nifti, series):
        assert main(["synthesize", str(scan), str(output), "--model", str(model), *CPU]) == 0
    ct, mr = read_volume(scan), read_volume(series)
    assert mr.geometry == ct.geometry
    assert mr.modality == "MR"
    np.testing.assert_array_equal(mr.data, np.rint(read_volume(nifti).data))
    assert mr.data.max() > 1
    names = [f"IM{i:04d}.dcm" for i in range(1, 5)]
    assert sorted(file.name for file in series.iterdir()) == names
    assert sorted(file.name for file in series.parent.iterdir()) == [
        *("manifest.json", "mr.dcm", "mr.nii.gz")
    ]
    runs = json.loads((series.parent / "manifest.json").read_text())["runs"]
    assert sorted(runs[0]["files"]) == [*(f"mr.dcm/{name}" for name in names), "mr.nii.gz"]
    slice_ = pydicom.dcmread(series / "IM0001.dcm")
    assert slice_.PatientName == PATIENT
    assert slice_.StudyInstanceUID == STUDY
    assert "synthetic T2" in slice_.SeriesDescription
    assert f"model {model.stem}" in slice_.DerivationDescription


def test_patient_data_are_in_the_series_alone(
    model: Path, scan: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out" / "mr.dcm"
    assert main(["synthesize", str(scan), str(output), "--model", str(model), *CPU]) == 0
    said = "".join(capfd.readouterr()) + (output.parent / "manifest.json").read_text()
    for text in ("Doe", PATIENT_ID, STUDY):
        assert text not in said
        assert text.encode() in (output / "IM0001.dcm").read_bytes()


def test_patient_data_are_left_out_on_demand(model: Path, scan: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "mr.dcm"
    tokens = ["synthesize", str(scan), str(output), "--model", str(model), *CPU]
    assert main([*tokens, "--no-patient-data"]) == 0
    for file in output.iterdir():
        content = file.read_bytes()
        assert not [text for text in ("Doe", PATIENT_ID, STUDY) if text.encode() in content]
        assert pydicom.dcmread(file).PatientIdentityRemoved == "YES"
    assert read_volume(output).geometry == read_volume(scan).geometry


def test_a_ct_that_is_not_dicom_is_refused_before_the_work(
    model: Path, tmp_path: Path, fails: Fails
) -> None:
    ct, _ = write_volumes(tmp_path, 0)
    line = fails("synthesize", ct, tmp_path / "out" / "mr.dcm", "--model", model, *CPU)
    assert "ct.nii.gz is none; write .nii.gz, .nrrd or .mha instead" in line
    assert not (tmp_path / "out").exists()


def test_what_is_there_stays(model: Path, scan: Path, tmp_path: Path, fails: Fails) -> None:
    taken = tmp_path / "mr.dcm"
    taken.mkdir()
    (taken / "IM0001.dcm").write_bytes(b"somebody's")
    assert "exists" in fails("synthesize", scan, taken, "--model", model, *CPU)
    assert (taken / "IM0001.dcm").read_bytes() == b"somebody's"


def test_convert_writes_no_dicom(scan: Path, tmp_path: Path, fails: Fails) -> None:
    line = fails("convert", scan, tmp_path / "copy.dcm")
    assert "only synthesize writes DICOM; end the name in .nii.gz" in line
    assert not (tmp_path / "copy.dcm").exists()


def test_a_pair_list_writes_no_dicom(model: Path, tmp_path: Path, fails: Fails) -> None:
    pairs = picture_pairs(tmp_path / "data", {"ada": "train"})
    line = fails("synthesize", pairs, tmp_path / "out.dcm", "--model", model, *CPU)
    assert "one by one" in line
    assert not (tmp_path / "out.dcm").exists()


def test_a_folder_without_an_ending_says_what_would_do(
    model: Path, scan: Path, tmp_path: Path, fails: Fails
) -> None:
    line = fails("synthesize", scan, tmp_path / "out", "--model", model, *CPU)
    assert ".dcm for the MR of a DICOM CT" in line


def test_cancelled_it_leaves_nothing(model: Path, scan: Path, tmp_path: Path) -> None:
    from napari_ct2mri.app import workflows
    from napari_ct2mri.errors import JobCancelled
    from napari_ct2mri.jobs import run_job

    job = workflows.synthesize(scan, tmp_path / "out" / "mr.dcm", model=model, device="cpu")
    with pytest.raises(JobCancelled):
        run_job(job, lambda event: None, lambda: True)
    assert not (tmp_path / "out").exists()
