"""The reduced form, end to end: phantoms, seconds of training, real evaluation and tables."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from benchmarks.quality.__main__ import main
from benchmarks.quality.pace import PaceRecord
from benchmarks.quality.recipes import RECIPES
from benchmarks.quality.records import Record, read_record, write_json
from benchmarks.quality.runs import Bench, Run, record_run
from benchmarks.quality.tables import BEGIN, END

from napari_ct2mri.jobs import EpochDone, Notice, run_job
from napari_ct2mri.pix2pix.pairs import read_pairs

_DEFAULT = ("--recipe", "default", "--keep-every", "1")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which one run is made."""
    folder = tmp_path_factory.mktemp("work")
    assert main(["run", "--reduced", "--work", str(folder), *_DEFAULT]) == 0
    return folder


@pytest.fixture
def run(work: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Run the command in that folder: exit code, and what it said."""

    def go(*words: str) -> tuple[int, str]:
        capsys.readouterr()
        code = main([words[0], "--reduced", "--work", str(work), *words[1:]])
        return code, "".join(capsys.readouterr())

    return go


def record(work: Path, name: str) -> Record:
    return read_record(work / "records" / f"{name}.json", Record)


def test_a_record_says_what_was_done_and_holds_no_place(work: Path) -> None:
    made = record(work, "fixed.default.all.0")
    patients = {(s.patient, s.contrast) for s in made.scores}
    assert patients == {(p, c) for p in made.held_out for c in ("T2", "T1")}
    assert {s.predictor for s in made.scores} == {"model", "black", "mean MR", "nearest CT"}
    assert {s.label for s in made.scores} == {"held-out"}
    assert made.config.run.validate_every == 0
    assert made.epochs == made.config.optimizer.epochs
    assert made.cpu_seconds > 0
    text = (work / "records" / "fixed.default.all.0.json").read_text()
    assert str(work) not in text
    assert ".png" not in text


def test_the_first_fold_is_the_fixed_split_and_the_next_takes_equal_time(
    work: Path, run: Callable[..., tuple[int, str]]
) -> None:
    code, said = run("run", "--recipe", "classic-32", "--contrast", "T2", "--protocol", "cv-1")
    assert code == 1
    assert "--recipe default --protocol cv-1 first" in said
    code, said = run("run", "--recipe", "default", "--protocol", "cv-1")
    assert code == 0
    assert "steps" not in said  # nothing was trained
    assert record(work, "cv-1.default.all.0").scores == record(work, "fixed.default.all.0").scores
    assert run("run", "--recipe", "classic-32", "--contrast", "T2", "--protocol", "cv-1")[0] == 0
    made = record(work, "cv-1.classic-32.T2.0")
    assert {"model", "model as published"} <= {s.predictor for s in made.scores}
    assert made.epochs == made.config.optimizer.epochs
    assert not list(work.glob("*probe*.safetensors*"))
    before = sorted(work.rglob("*"))
    code, said = run("run", "--recipe", "classic-32", "--contrast", "T2", "--protocol", "cv-1")
    assert (code, said) == (0, "cv-1.classic-32.T2.0: recorded\n")
    assert sorted(work.rglob("*")) == before

    page = work / "page.md"
    page.write_text(f"above\n{BEGIN}\n{END}\nbelow\n")
    assert main(["table", "--records", str(work / "records"), "--into", str(page)]) == 0
    text = page.read_text()
    assert "Cross-validation" in text
    assert "`classic-32`, as published" in text
    assert text.endswith("below\n")


def test_an_interrupted_training_goes_on(work: Path) -> None:
    bench = Bench(read_pairs(work / "phantoms" / "pairs.csv"), work, work / "records", reduced=True)
    asked = Run("train-fit", RECIPES["by-heart"], "T2")
    job = record_run(bench, asked)
    while not isinstance(next(job), EpochDone):
        pass
    job.close()
    assert not bench.record_path(asked).exists()
    events: list[object] = []
    made = run_job(record_run(bench, asked), events.append)
    notes = [event.text for event in events if isinstance(event, Notice)]
    assert any("resumed after epoch 1" in note for note in notes)
    assert len([event for event in events if isinstance(event, EpochDone)]) == made.epochs - 1
    assert {s.label for s in made.scores} == {"train-fit", "held-out"}


def test_a_patient_it_was_trained_on_is_never_recorded_as_held_out(
    work: Path, run: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    checkpoint = shutil.copy(work / "fixed.default.all.0.safetensors", tmp_path / "own.safetensors")
    code, said = run("run", "--checkpoint", str(checkpoint), "--protocol", "cv-2")
    assert code == 1
    assert "comes out train-fit, expected held-out; not recorded" in said
    assert not (work / "records" / "cv-2.own.all.0.json").exists()


def test_a_recorded_name_is_not_given_to_other_settings(
    work: Path, run: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    folder = tmp_path / "records"
    shutil.copytree(work / "records", folder)
    path = folder / "fixed.default.all.0.json"
    path.write_text(path.read_text().replace('"ema": 0.998', '"ema": 0.5'))
    code, said = run("run", "--recipe", "default", "--records", str(folder))
    assert code == 1
    assert "recorded already, with ema 0.5, not 0.998" in said
    code, said = run("run", "--recipe", "default", "--set", "width=8")
    assert code == 1
    assert "--name of its own" in said


def test_pace_scores_the_kept_checkpoints_against_the_end_of_another_training(
    work: Path, run: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    code, said = run("pace", "--seed", "0")
    assert code == 1
    assert "fixed.classic-32.T2.0 is not recorded yet" in said
    folder = tmp_path / "records"
    shutil.copytree(work / "records", folder)
    ours = record(work, "fixed.default.all.0")
    goal = ours.model_copy(update={"contrast": "T2", "cpu_seconds": 4 * ours.cpu_seconds})
    write_json(folder / "fixed.classic-32.T2.0.json", goal)
    words = ("--records", str(folder))
    code, said = run("pace", "--seed", "1", *words)
    assert code == 1
    assert "no checkpoint was kept" in said
    code, said = run("pace", "--seed", "0", *words)
    assert code == 0, said
    made = read_record(folder / "pace.default.fixed.json", PaceRecord)
    (curve,) = made.curves
    assert [point.epoch for point in curve.points] == [1, 2]
    assert 0 < curve.points[0].cpu_seconds < curve.points[1].cpu_seconds
    assert curve.points[1].cpu_seconds == pytest.approx(ours.cpu_seconds, abs=0.2)
    far = dict.fromkeys(made.goal, 99.0)
    near = dict(curve.points[0].figures)
    assert curve.reached(far) is None
    assert curve.reached(near) == curve.points[0]
    assert (folder / "pace.default.fixed.png").read_bytes().startswith(b"\x89PNG")
    for kept in work.glob("*.epoch-*.safetensors"):
        kept.unlink()
    assert run("pace", "--seed", "0", *words)[0] == 0
    (end,) = read_record(folder / "pace.default.fixed.json", PaceRecord).curves[0].points
    assert (end.epoch, end.cpu_seconds) == (ours.epochs, ours.cpu_seconds)
    (folder / "fixed.classic-32.T2.0.json").unlink()
    page = tmp_path / "page.md"
    page.write_text(f"{BEGIN}\n{END}\n")
    assert main(["table", "--records", str(folder), "--into", str(page)]) == 0
    assert "![Figures over processor time](records/pace.default.fixed.png)" in page.read_text()


def test_spread_against_error_leaves_figures_and_a_plot(
    work: Path, run: Callable[..., tuple[int, str]]
) -> None:
    model = str(work / "fixed.default.all.0.safetensors")
    assert run("spread", "--model", model, "--name", "default")[0] == 0
    plot = work / "records" / "spread.default.fixed.png"
    assert plot.read_bytes().startswith(b"\x89PNG")
    page = work / "spread.md"
    page.write_text(f"{BEGIN}\n{END}\n")
    assert main(["table", "--records", str(work / "records"), "--into", str(page)]) == 0
    assert "![Error over tenths of spread](records/spread.default.fixed.png)" in page.read_text()
    code, said = run("spread", "--model", model, "--protocol", "cv-2")
    assert code == 1
    assert "expected held-out" in said
