from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_ct2mri.errors import EvaluationError
from napari_ct2mri.evaluation import (
    NOTICE,
    PatientImages,
    Report,
    SliceFigures,
    pick_examples,
    score_patient,
    write_report,
)
from napari_ct2mri.evaluation.report import Example


def images(name: str, label: str, contrast: str = "T2", slices: int = 4) -> PatientImages:
    rng = np.random.default_rng(len(name))
    y, x = np.mgrid[:48, :48]
    head = np.hypot(y - 24, x - 24) < 20
    real = np.where(head, rng.uniform(50, 250, (slices, 48, 48)), 0)
    worse = 12.0 * np.arange(1, slices + 1)[:, None, None]
    return PatientImages(
        patient=name,
        contrast=contrast,
        label=label,  # type: ignore[arg-type]
        slice_names=tuple(f"{name}-{i}" for i in range(slices)),
        real=real,
        fake=real + rng.normal(0, 1, real.shape) * worse,
        head=np.broadcast_to(head, real.shape),
        data_range=255.0,
        ct=real,
        predictor="ct2mri-base",
    )


@pytest.fixture(scope="module")
def report() -> Report:
    slices: list[SliceFigures] = []
    examples: list[Example] = []
    for patient in (images("p/1", "held-out"), images("p_1", "train-fit")):
        scored = score_patient(patient)
        slices += scored
        examples += pick_examples(patient, scored)
        slices += score_patient(patient.by("black", 0 * patient.real))
    return Report(tuple(slices), tuple(examples), ("2 slices left out",))


@pytest.fixture(scope="module")
def folder(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("evaluation") / "new" / "report"
    assert sorted(write_report(report, directory)) == sorted(directory.iterdir())
    return directory


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def test_best_median_and_worst_are_shown() -> None:
    patient = images("a", "held-out", slices=5)
    examples = pick_examples(patient, score_patient(patient))
    assert [(e.rank, e.scored.slice_name) for e in examples] == [
        ("best", "a-0"),
        ("median", "a-2"),
        ("worst", "a-4"),
    ]
    np.testing.assert_array_equal(examples[2].fake, patient.fake[4])


def test_a_row_a_slice_a_patient_and_a_set(folder: Path, report: Report) -> None:
    slices, patients, sets = (
        rows_of(folder / f"{name}.csv") for name in ("slices", "patients", "sets")
    )
    assert (len(slices), len(patients), len(sets)) == (16, 4, 4)
    assert {row["label"] for row in slices} == {"held-out", "train-fit"}
    assert {row["data_range"] for row in slices} == {"255"}
    for row, scored in zip(slices, report.slices, strict=True):
        assert float(row["head_ssim"]) == pytest.approx(scored.figures.head_ssim, rel=1e-5)
    assert sets[0]["mae_spread"] == ""  # a single patient


def test_json_is_strict_and_agrees_with_the_tables(folder: Path, report: Report) -> None:
    def refuse(text: str) -> None:
        raise AssertionError(f"{text} is no JSON")

    found = json.loads((folder / "report.json").read_text(), parse_constant=refuse)
    assert found["notes"] == ["2 slices left out"]
    assert set(found["labels"]) == {"held-out", "train-fit"}
    assert [row["mean"]["ssim"] for row in found["sets"]] == [s.mean.ssim for s in report.sets]
    assert found["sets"][0]["spread"]["ssim"] is None
    assert len(found["slices"]) == 16


def test_every_output_says_that_it_is_synthetic(folder: Path) -> None:
    for path in folder.iterdir():
        content = path.read_bytes()
        if path.suffix == ".csv":
            assert all(row["notice"] == NOTICE for row in rows_of(path))
        else:
            assert NOTICE.encode() in content, path.name


def test_patients_with_like_names_have_figures_of_their_own(folder: Path) -> None:
    figures = sorted(path.name for path in folder.glob("figure-*.png"))
    assert figures == ["figure-T2-p_1-ct2mri-base.png", "figure-T2-p_1-ct2mri-base_.png"]


@pytest.mark.parametrize("letter", ["a", "ä", "頭"])
@pytest.mark.filterwarnings("ignore:Glyph:UserWarning", "ignore:constrained_layout:UserWarning")
def test_a_long_name_makes_a_file_name_that_a_disk_takes(tmp_path: Path, letter: str) -> None:
    patient = replace(images("a", "held-out"), patient=200 * letter, predictor=99 * f"x{letter}")
    scored = score_patient(patient)
    files = write_report(Report(scored, pick_examples(patient, scored)), tmp_path)
    (figure,) = (file for file in files if file.name.startswith("figure-"))
    assert figure.is_file()
    assert len(figure.name.encode()) < 160
    assert f"figure-T2-{letter}{letter}" in figure.name


def test_figures_are_pictures_with_something_on_them(folder: Path) -> None:
    from skimage.io import imread

    for path in folder.glob("*.png"):
        picture = imread(path)
        assert picture.shape[0] > 300
        assert picture.shape[1] > 900
        assert len(np.unique(picture[..., 0])) > 20


def test_pyplot_is_left_alone() -> None:
    code = (
        "import sys; from napari_ct2mri.evaluation import figures; "
        "figures._png(figures._figure(1, 1)); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_table_shows_labels_ranges_and_means(report: Report) -> None:
    table = report.table()
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert [row[:6] for row in table.rows] == [
        ("T2", "train-fit", "ct2mri-base", "1", "4", "255"),
        ("T2", "train-fit", "black", "1", "4", "255"),
        ("T2", "held-out", "ct2mri-base", "1", "4", "255"),
        ("T2", "held-out", "black", "1", "4", "255"),
    ]
    ssim = table.columns.index("SSIM, head")
    assert table.rows[0][ssim] == f"{report.sets[0].mean.head_ssim:.3f}"
    patients = report.table("patients")
    assert "±" in patients.rows[0][ssim]
    assert {row[3] for row in patients.rows} == {"p/1", "p_1"}


def test_a_perfect_prediction_can_be_written(tmp_path: Path) -> None:
    """Infinite PSNR is no JSON number, and its spread is no number at all."""
    real = images("a", "unknown")
    perfect = Report(score_patient(real.by("real", real.real)))
    write_report(perfect, tmp_path)
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["patients"][0]["mean"]["psnr"] is None
    assert found["patients"][0]["mean"]["ssim"] == 1
    assert "inf" in perfect.table().rows[0]


def test_nothing_measured_is_an_error() -> None:
    with pytest.raises(EvaluationError, match="nothing was measured"):
        Report(())


def test_a_file_in_the_way_is_an_error_and_stays(report: Report, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(EvaluationError, match="cannot write there"):
        write_report(report, tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "mine"


def test_figures_of_the_former_report_go_and_nothing_else(report: Report, tmp_path: Path) -> None:
    directory = tmp_path / "report"
    write_report(report, directory)
    listed = json.loads((directory / "report.json").read_text())["files"]
    assert sorted(listed) == sorted(path.name for path in directory.iterdir())
    others = [directory / "figure-mine.png", directory / "notes.csv", tmp_path / "figure-x.png"]
    for other in others:
        other.write_text("mine")
    found = json.loads((directory / "report.json").read_text())
    found["files"] += ["notes.csv", "../figure-x.png", "figure-/../../figure-x.png"]
    (directory / "report.json").write_text(json.dumps(found))
    write_report(replace(report, examples=report.examples[:3]), directory)
    assert len(list(directory.glob("figure-T2-*.png"))) == 1
    assert {other.read_text() for other in others} == {"mine"}


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"files": 3}', '{"files": [7]}', "[" * 200_000])
def test_a_former_report_that_is_none_is_replaced(
    report: Report, tmp_path: Path, text: str
) -> None:
    (tmp_path / "report.json").write_text(text)
    write_report(report, tmp_path)
    assert json.loads((tmp_path / "report.json").read_text())["format"] == 1


def test_writing_again_replaces_and_leaves_no_rest(folder: Path, report: Report) -> None:
    before = {path.name for path in folder.iterdir()}
    write_report(report, folder)
    assert {path.name for path in folder.iterdir()} == before
