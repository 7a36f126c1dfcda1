"""``evaluate``: right labels, right figures, from models and from folders."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
from small_heads import OBLIQUE, head, picture_pairs, volume_pairs, write_csv

from napari_ct2mri.app.cli import main
from napari_ct2mri.app.workflows.predictions import Seen
from napari_ct2mri.app.workflows.reference import reference_of
from napari_ct2mri.imaging.fingerprint import fingerprint
from napari_ct2mri.imaging.io import read_volume, write_volume
from napari_ct2mri.imaging.volume import Volume

Fails = Callable[..., str]
Show = dict[tuple[str, str], dict[str, Any]]
CPU = ("--device", "cpu")
TRIVIAL = {"black", "mean MR", "nearest CT"}


def patients(report: Path) -> Show:
    """(predictor, patient) to its row of the report."""
    rows = json.loads((report / "report.json").read_text())["patients"]
    return {(row["predictor"], row["patient"]): row for row in rows}


@pytest.fixture(scope="module")
def everything(model: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the tiny model on all splits."""
    output = tmp_path_factory.mktemp("evaluation") / "new" / "report"
    tokens = ["evaluate", str(pictures), "--output", str(output), "--model", str(model), *CPU]
    assert main([*tokens, "--split", "all"]) == 0
    return output


@pytest.fixture(scope="module")
def predictions(model: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("predictions")
    assert main(["synthesize", str(pictures), str(output), "--model", str(model), *CPU]) == 0
    return output


def test_it_knows_whom_the_model_has_seen(everything: Path) -> None:
    labels = {patient: row["label"] for (_, patient), row in patients(everything).items()}
    assert labels == {
        "ada": "train-fit",
        "bea": "train-fit",
        "cid": "selection",
        "dot": "held-out",
    }


def test_a_slice_that_this_mr_does_not_show_marks_the_patient() -> None:
    ct, mr = (Volume(data, OBLIQUE) for data in head(1))
    mr.data[:2] = 0
    reference = reference_of(replace(ct, unit="HU"), mr, "ada", "T2")
    assert reference is not None
    assert list(reference.slices) == [2, 3]
    first = fingerprint(ct.data[0], "HU")
    assert Seen((first,), ()).label(reference) == "train-fit"
    assert Seen((fingerprint(head(2)[0][0], "HU"),), (first,)).label(reference) == "selection"


def test_trivial_predictors_stand_beside_the_model(everything: Path) -> None:
    assert {name for name, _ in patients(everything)} == {"tiny", *TRIVIAL}


def test_pictures_are_measured_at_one_size_and_range(everything: Path) -> None:
    row = patients(everything)["tiny", "dot"]
    assert row["data_range"] == 255
    assert row["slices"] == 4


def test_nearest_ct_never_takes_the_patient_itself(everything: Path) -> None:
    assert patients(everything)["nearest CT", "ada"]["mean"]["head_psnr"] < 30


def test_the_report_has_tables_and_figures(everything: Path) -> None:
    names = {file.name for file in everything.iterdir()}
    assert {"report.json", "slices.csv", "patients.csv", "plots.png"} <= names
    assert "figure-T2-dot-tiny.png" in names
    with (everything / "slices.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 4 * 4 * 4  # predictors, patients, slices


def test_the_table_is_on_stdout(
    model: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens = ["evaluate", str(pictures), "--output", str(tmp_path), "--model", str(model), *CPU]
    assert main(tokens) == 0
    out = capsys.readouterr().out
    assert "T2, held-out: 1 patient, 4 slices, data range 255; no slice of this" in out
    assert "nearest CT" in out
    assert "SSIM, head" in out


def test_predictions_are_measured_as_the_model_is(
    everything: Path, predictions: Path, pictures: Path, tmp_path: Path
) -> None:
    tokens = ["evaluate", str(pictures), "--output", str(tmp_path), "--split", "all"]
    assert main([*tokens, "--predictions", str(predictions)]) == 0
    direct, read = patients(everything), patients(tmp_path)
    assert direct.keys() == read.keys()
    for key, row in direct.items():
        assert read[key]["label"] == row["label"]
        for name in ("head_psnr", "head_ssim", "psnr"):  # they were rounded to 8 bits
            assert read[key]["mean"][name] == pytest.approx(row["mean"][name], abs=0.05)


def label_of_test(folder: Path, pairs: Path, output: Path) -> str:
    """The label of the only test patient."""
    tokens = ["evaluate", str(pairs), "--output", str(output), "--predictions", str(folder)]
    assert main(tokens) == 0
    (label,) = {row["label"] for row in patients(output).values()}
    return str(label)


def without_manifest(folder: Path, pairs: Path) -> None:
    (folder / "manifest.json").unlink()


def by_another_model(folder: Path, pairs: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["runs"][0]["digest"] = "0" * 64
    (folder / "manifest.json").write_text(json.dumps(manifest))


def with_one_picture_exchanged(folder: Path, pairs: Path) -> None:
    real = pairs.parent / "dot" / "MR" / "02.png"
    (folder / "T2" / "dot" / "02.png").write_bytes(real.read_bytes())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without_manifest, "no manifest.json"),
        (by_another_model, "trained again"),
        (with_one_picture_exchanged, ""),
    ],
)
def test_what_nobody_vouches_for_is_unknown(
    predictions: Path,
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[Path, Path], None],
    said: str,
) -> None:
    folder = copytree(predictions, predictions.with_name(change.__name__))  # beside its model
    change(folder, pictures)
    assert label_of_test(folder, pictures, tmp_path / "report") == "unknown"
    err = capsys.readouterr().err
    assert said in err
    assert "cannot be asked" not in err


def test_a_renamed_patient_is_still_recognised(model: Path, pictures: Path, tmp_path: Path) -> None:
    """Mirrored, resized and as JPEG, under another name and split."""
    import SimpleITK

    from napari_ct2mri.evaluation import at_measuring_size

    folder = tmp_path / "data"
    pairs = picture_pairs(folder, {"eve": "test"})  # seed 0, as ada
    for name in ("CT", "MR"):
        for file in sorted((folder / "eve" / name).iterdir()):
            data = read_volume(file).data[:, :, ::-1].astype(np.float32)
            image = np.clip(at_measuring_size(data, 150), 0, 255).astype(np.uint8)[0]
            SimpleITK.WriteImage(
                SimpleITK.GetImageFromArray(image), str(file.with_suffix(".jpg")), False, 90
            )
            file.unlink()
    pairs.write_text(pairs.read_text().replace(".png", ".jpg"))
    tokens = ["evaluate", str(pairs), "--output", str(tmp_path / "report"), *CPU]
    assert main([*tokens, "--model", str(model)]) == 0
    assert {row["label"] for row in patients(tmp_path / "report").values()} == {"train-fit"}


def test_a_perfect_prediction_scores_perfectly(pictures: Path, tmp_path: Path) -> None:
    folder = copytree(pictures.parent / "dot" / "MR", tmp_path / "made" / "T2" / "dot")
    stack = read_volume(folder)
    from napari_ct2mri.imaging.intensity import mr_range, mr_to_unit, unit_to_output

    mapped = unit_to_output(mr_to_unit(stack.data, mr_range(stack)), is_picture=True)
    names = [file.name for file in sorted(folder.iterdir())]
    write_volume(Volume(mapped, unit="grey"), folder, names=names)
    assert label_of_test(tmp_path / "made", pictures, tmp_path / "report") == "unknown"
    mean = patients(tmp_path / "report")["made", "dot"]["mean"]
    assert mean["head_psnr"] > 55  # rounded to 8 bits
    assert mean["head_ssim"] > 0.999
    assert mean["head_gradient_correlation"] > 0.999


def test_volumes_are_measured_on_their_own_grid(model: Path, volumes: Path, tmp_path: Path) -> None:
    made, by_files, direct = (tmp_path / name for name in ("made", "by_files", "direct"))
    tokens = ["--model", str(model), *CPU]
    assert main(["synthesize", str(volumes), str(made), *tokens]) == 0
    assert main(["evaluate", str(volumes), "--output", str(direct), *tokens]) == 0
    row = patients(direct)["tiny", "dot"]
    assert (row["data_range"], row["slices"]) == (1000, 4)
    label_of_test(made, volumes, by_files)
    again = patients(by_files)["tiny", "dot"]
    assert again["mean"]["head_mae"] == pytest.approx(row["mean"]["head_mae"], rel=1e-5)


def test_predictions_on_another_grid_are_refused(tmp_path: Path, fails: Fails) -> None:
    pairs = volume_pairs(tmp_path / "data", {"dot": "test"})
    made = read_volume(tmp_path / "data" / "dot" / "mr.nii.gz")
    x, y, z = made.geometry.origin
    moved = replace(made, geometry=replace(made.geometry, origin=(x, y, z + 0.5)))
    file = tmp_path / "made" / "T2" / "dot" / "ct.nii.gz"
    write_volume(moved, file)
    tokens = ("evaluate", pairs, "--output", tmp_path / "report", "--predictions", file.parents[2])
    assert "it and the CT of line 2 differ in origin in mm" in fails(*tokens)
    write_volume(made, file)
    assert main([str(token) for token in tokens]) == 0


def test_one_gain_and_offset_serve_both_volumes_of_a_patient(tmp_path: Path) -> None:
    """Each alone could be fitted by a gain of its own; the two have opposite ones."""
    rows: list[tuple[object, ...]] = []
    for index, gain in enumerate((1, -1)):
        ct, mr = head(index)
        for name, volume in {
            f"ct{index}.nii.gz": Volume(ct, OBLIQUE, "CT", "HU"),
            f"mr{index}.nii.gz": Volume(mr, OBLIQUE, "MR", "arbitrary"),
            f"made/T2/dot/ct{index}.nii.gz": Volume(gain * mr, OBLIQUE, "MR", "arbitrary"),
        }.items():
            write_volume(volume, tmp_path / name)
        rows.append((f"ct{index}.nii.gz", f"mr{index}.nii.gz", "dot", "T2", "test", ""))
    for name, some in (("one", rows[1:]), ("both", rows)):
        pairs = write_csv(tmp_path / f"{name}.csv", some)
        label_of_test(tmp_path / "made", pairs, tmp_path / name)
    fitted = {
        name: patients(tmp_path / name)["made", "dot"]["mean"]["head_psnr_fitted"]
        for name in ("one", "both")
    }
    assert fitted["one"] > 25
    assert fitted["both"] < 15


def test_published_differs_and_says_so(model: Path, pictures: Path, tmp_path: Path) -> None:
    tokens = ["evaluate", str(pictures), "--output", str(tmp_path), "--model", str(model), *CPU]
    assert main([*tokens, "--published"]) == 0
    assert ("tiny as published", "dot") in patients(tmp_path)


def test_an_empty_slice_is_left_out_and_counted(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = picture_pairs(tmp_path / "data", {"dot": "test"})
    file = tmp_path / "data" / "dot" / "MR" / "03.png"
    write_volume(Volume(np.zeros((1, 64, 64), np.uint8), unit="grey"), file)
    tokens = ["evaluate", str(pairs), "--output", str(tmp_path / "report"), *CPU]
    assert main([*tokens, "--model", str(model)]) == 0
    assert "1 slices left out" in capsys.readouterr().err
    assert patients(tmp_path / "report")["tiny", "dot"]["slices"] == 3


def test_without_train_rows_only_black_is_left(model: Path, tmp_path: Path) -> None:
    pairs = volume_pairs(tmp_path / "data", {"dot": "test"})
    tokens = ["evaluate", str(pairs), "--output", str(tmp_path / "report"), *CPU]
    assert main([*tokens, "--model", str(model)]) == 0
    assert {name for name, _ in patients(tmp_path / "report")} == {"tiny", "black"}


def test_no_rows_of_a_split(model: Path, tmp_path: Path, fails: Fails) -> None:
    pairs = picture_pairs(tmp_path / "data", {"ada": "train"})
    line = fails("evaluate", pairs, "--output", tmp_path / "report", "--model", model)
    assert "train T2" in line
    assert "--split" in line
    assert not (tmp_path / "report").exists()


def test_a_missing_prediction_names_file_and_line(
    predictions: Path, pictures: Path, tmp_path: Path, fails: Fails
) -> None:
    folder = copytree(predictions, tmp_path / "copy")
    (folder / "T2" / "dot" / "03.png").unlink()
    tokens = ("evaluate", pictures, "--output", tmp_path / "report", "--predictions", folder)
    line = fails(*tokens)
    assert "03.png" in line
    assert "line 16" in line
    assert not (tmp_path / "report").exists()


def test_model_and_predictions_exclude_each_other(
    model: Path, pictures: Path, tmp_path: Path, fails: Fails
) -> None:
    tokens = ("evaluate", pictures, "--output", tmp_path / "report", "--model", model)
    assert "--predictions" in fails(*tokens, "--predictions", tmp_path)


def test_a_folder_that_is_not_there(pictures: Path, tmp_path: Path, fails: Fails) -> None:
    nowhere = tmp_path / "nowhere"
    tokens = ("evaluate", pictures, "--output", tmp_path / "report", "--predictions", nowhere)
    assert "nowhere" in fails(*tokens)


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused is refused before anything is measured."""

    def measure(*_: object) -> None:
        raise AssertionError("it measures")

    monkeypatch.setattr("napari_ct2mri.app.workflows.evaluation._measure", measure)


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("name", ["patients.csv", "slices.csv", "sets.csv"])
def test_a_report_does_not_take_the_place_of_the_pair_list(
    model: Path, tmp_path: Path, fails: Fails, name: str
) -> None:
    folder = tmp_path / "data"
    pairs = picture_pairs(folder, {"dot": "test"}).rename(folder / name)
    before = pairs.read_bytes()
    (tmp_path / "link").symlink_to(folder)
    for output in (folder, tmp_path / "link"):
        line = fails("evaluate", pairs, "--output", output, "--model", model)
        assert f"{pairs}: the report" in line
        assert "--output" in line
    assert pairs.read_bytes() == before
    assert sorted(file.name for file in folder.iterdir()) == sorted([name, "dot"])


@pytest.mark.usefixtures("unmeasured")
@pytest.mark.parametrize("name", ["plots.png", "figure-T2-dot-tiny.png"])
def test_a_report_does_not_take_the_place_of_a_picture(
    model: Path, tmp_path: Path, fails: Fails, name: str
) -> None:
    pairs = picture_pairs(tmp_path, {"dot": "test"})
    ct = (tmp_path / "dot" / "CT" / "03.png").rename(tmp_path / name)
    pairs.write_text(pairs.read_text().replace("dot/CT/03.png", name))
    before = ct.read_bytes()
    assert f"{ct}: " in fails("evaluate", pairs, "--output", tmp_path, "--model", model)
    assert ct.read_bytes() == before


def test_a_report_may_lie_beside_its_pair_list(model: Path, tmp_path: Path) -> None:
    pairs = picture_pairs(tmp_path, {"dot": "test"})
    tokens = ["evaluate", str(pairs), "--output", str(tmp_path), "--model", str(model), *CPU]
    assert main(tokens) == 0
    assert main(tokens) == 0  # over the former report
    assert ("tiny", "dot") in patients(tmp_path)


@pytest.mark.usefixtures("unmeasured")
def test_an_output_that_takes_no_files_is_said_first(
    model: Path, pictures: Path, tmp_path: Path, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(output: Path) -> str:
        line = fails("evaluate", pictures, "--output", output, "--model", model)
        assert str(output) in line
        return line

    file, nowhere = tmp_path / "file", tmp_path / "nowhere"
    file.write_text("mine")
    nowhere.symlink_to(tmp_path / "gone" / "elsewhere")
    for output, there in (
        (file, file),
        (file / "deeper" / "report", file),
        (nowhere, nowhere),
        (tmp_path / ("long" * 70), tmp_path / ("long" * 70)),
    ):
        assert f"{there} takes no files" in refused(output)
    assert file.read_text() == "mine"
    (tmp_path / "report" / "sets.csv").mkdir(parents=True)
    assert "sets.csv is a folder" in refused(tmp_path / "report")
    locked, access = tmp_path / "locked", os.access
    locked.mkdir()
    monkeypatch.setattr(
        os, "access", lambda path, mode: Path(path) != locked and access(path, mode)
    )
    assert f"{locked} takes no files" in refused(locked / "report")
    assert not any(locked.iterdir())


def test_predictions_of_another_size_name_the_file(
    predictions: Path, pictures: Path, tmp_path: Path, fails: Fails
) -> None:
    folder = copytree(predictions, tmp_path / "copy")
    for name in ("02.png", "03.png"):
        file = folder / "T2" / "dot" / name
        write_volume(Volume(read_volume(file).data[:, :48], unit="grey"), file)
        line = fails("evaluate", pictures, "--output", tmp_path / "report", "--predictions", folder)
        assert f"{folder / 'T2' / 'dot' / '02.png'}: 48 x 64 pixels, expected 64 x 64" in line
        assert "line 15" in line
    assert not (tmp_path / "report").exists()


def measured(pairs: Path, output: Path, *more: object) -> tuple[set[str], list[str]]:
    """Predictors other than the trivial ones, and the notes but the first."""
    tokens = ["evaluate", str(pairs), "--output", str(output), *map(str, more)]
    assert main(tokens) == 0
    notes = json.loads((output / "report.json").read_text())["notes"]
    return {name for name, _ in patients(output)} - TRIVIAL, notes[1:]


def test_files_of_a_published_run_say_so(model: Path, pictures: Path, tmp_path: Path) -> None:
    made = tmp_path / "made"
    how = ("--model", str(model), "--published", *CPU)
    assert main(["synthesize", str(pictures), str(made), *how]) == 0
    names, notes = measured(pictures, tmp_path / "read", "--predictions", made)
    assert (names, notes) == ({"tiny as published"}, [])


def with_settings(folder: Path, *several: dict[str, Any]) -> Path:
    """The folder as if each of its runs had been told so; the files go round."""
    manifest = json.loads((folder / "manifest.json").read_text())
    (run,) = manifest["runs"]
    files = list(run["files"].items())
    manifest["runs"] = [
        run
        | {
            "settings": run["settings"] | settings,
            "files": dict(files[number :: len(several)]),
        }
        for number, settings in enumerate(several)
    ]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


WINDOW = {"window": {"level": 600.0, "width": 2800.5}}


@pytest.mark.parametrize(
    ("settings", "notes"),
    [
        ({}, []),
        ({"precision": "int8"}, ["computed in 8 bits"]),
        ({"board": "qemu", "precision": None}, ["computed in 8 bits, on the board qemu"]),
        ({"native": True}, ["pixels as they are: not scaled to the model's head size"]),
        (WINDOW, ["CT shown to the model in the window 600/2800.5 HU"]),
        ({"window": "wide"}, []),  # somebody wrote that by hand
        (
            {**WINDOW, "precision": "int8"},
            ["computed in 8 bits", "CT shown to the model in the window 600/2800.5 HU"],
        ),
        ({"published": "yes", "engine": "another", "contrast": "T2"}, []),
    ],
)
def test_what_the_manifest_knows_is_in_the_report(
    predictions: Path,
    pictures: Path,
    tmp_path: Path,
    settings: dict[str, Any],
    notes: list[str],
) -> None:
    folder = with_settings(copytree(predictions, tmp_path / "copy"), settings)
    names, found = measured(pictures, tmp_path / "report", "--predictions", folder)
    assert names == {"tiny"}
    assert found[: len(notes)] == notes
    assert all("cannot be asked" in note for note in found[len(notes) :])  # its model is elsewhere


def test_runs_with_different_settings_are_named(
    predictions: Path, pictures: Path, tmp_path: Path
) -> None:
    folder = copytree(predictions, predictions.with_name("several"))  # beside its model
    with_settings(folder, {}, {"published": True}, {"native": True, "precision": "int8"}, {})
    names, (note,) = measured(pictures, tmp_path / "one", "--predictions", folder)
    assert names == {"several"}
    assert note == (
        f"{folder} is from runs with different settings: tiny; tiny as published; tiny (computed "
        "in 8 bits; pixels as they are: not scaled to the model's head size)"
    )


def test_runs_that_made_other_files_say_nothing(
    predictions: Path, pictures: Path, tmp_path: Path
) -> None:
    folder = copytree(predictions, predictions.with_name("others"))
    manifest = json.loads((folder / "manifest.json").read_text())
    other = manifest["runs"][0] | {"settings": {"native": True}, "files": {"T1/eve/01.png": "0"}}
    manifest["runs"] = [*manifest["runs"], other]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert measured(pictures, tmp_path / "one", "--predictions", folder) == ({"tiny"}, [])


def test_a_native_model_is_noted(model: Path, pictures: Path, tmp_path: Path) -> None:
    how = ("--model", model, "--native", *CPU)
    _, notes = measured(pictures, tmp_path, *how)
    assert notes == ["pixels as they are: not scaled to the model's head size"]


@pytest.mark.parametrize(
    "ignored", [("--device", "cuda"), ("--engine", "torch"), ("--precision", "int8"), ("--native",)]
)
def test_what_predictions_cannot_obey_is_refused(
    predictions: Path, pictures: Path, tmp_path: Path, fails: Fails, ignored: tuple[str, ...]
) -> None:
    tokens = ("evaluate", pictures, "--output", tmp_path / "report", "--predictions", predictions)
    assert "leave --model and its flags out" in fails(*tokens, *ignored)
