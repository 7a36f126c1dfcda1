"""``train`` end to end on tiny heads, and what stops it."""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small_heads import SPLITS, TINY, picture_pairs, write_csv

from napari_ct2mri.app.cli import main
from napari_ct2mri.pix2pix.checkpoint import load_checkpoint

Fails = Callable[..., str]


def test_flags_reach_the_checkpoint(model: Path) -> None:
    checkpoint = load_checkpoint(model)
    assert checkpoint.config.model.network.width == 4
    assert checkpoint.config.model.scale.frame_px == 64
    assert checkpoint.config.preset == "default"
    assert checkpoint.contrasts == ("T2",)
    assert len(checkpoint.trained_on) == 8
    assert len(checkpoint.selected_on) == 4


def test_init_keeps_the_network_and_inherits_who_was_seen(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = picture_pairs(tmp_path / "new", {"eve": "train"})
    tuned = tmp_path / "models" / "tuned.safetensors"
    tokens = ["train", str(pairs), "--output", str(tuned), "--init", str(model)]
    assert main([*tokens, "--epochs", "1", "--threads", "1", "--device", "cpu"]) == 0
    assert str(tuned) in capsys.readouterr().out
    before, after = load_checkpoint(model), load_checkpoint(tuned)
    assert after.config.model == before.config.model
    assert set(before.trained_on) <= set(after.trained_on)


def test_resume_takes_the_settings_of_the_run(model: Path, pictures: Path, tmp_path: Path) -> None:
    output = tmp_path / "run.safetensors"
    assert main(["train", str(pictures), "--output", str(output), *TINY]) == 0
    first = load_checkpoint(output)
    assert main(["train", str(pictures), "--output", str(output), "--resume"]) == 0
    assert load_checkpoint(output).config == first.config


def test_resume_refuses_another_preset(
    model: Path, pictures: Path, tmp_path: Path, fails: Fails
) -> None:
    output = tmp_path / "run.safetensors"
    again = ("train", pictures, "--output", output, "--resume", "--preset")
    assert main(["train", str(pictures), "--output", str(output), *TINY]) == 0
    before = output.read_bytes()
    assert "where preset was default, not classic" in fails(*again, "classic")
    assert output.read_bytes() == before
    assert main([str(token) for token in (*again, "default")]) == 0


def test_an_unknown_contrast(pictures: Path, tmp_path: Path, fails: Fails) -> None:
    output = tmp_path / "new" / "m.safetensors"
    line = fails("train", pictures, "--output", output, "--contrast", "FLAIR", *TINY)
    assert "FLAIR" in line
    assert "T2" in line
    assert list(tmp_path.iterdir()) == []


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def rewrite(path: Path, rows: list[dict[str, str]]) -> None:
    write_csv(path, [tuple(row.values()) for row in rows])


def test_a_missing_file_names_its_line(tmp_path: Path, fails: Fails) -> None:
    pairs = picture_pairs(tmp_path / "data", {**SPLITS, "eve": "train"})
    rows = rows_of(pairs)
    rows[15]["mr"] = "nowhere.png"  # the header is line 1
    rewrite(pairs, rows)
    line = fails("train", pairs, "--output", tmp_path / "m.safetensors", *TINY)
    assert "line 17" in line
    assert "nowhere.png" in line
    assert [file.name for file in tmp_path.iterdir()] == ["data"]


def test_a_patient_in_two_splits_is_named(tmp_path: Path, fails: Fails) -> None:
    pairs = picture_pairs(tmp_path / "data", SPLITS)
    rows = rows_of(pairs)
    rows[0]["split"] = "val"
    rewrite(pairs, rows)
    assert "'ada'" in fails("train", pairs, "--output", tmp_path / "m.safetensors", *TINY)


@pytest.mark.parametrize("text", ["", "ct,mr,patient,contrast,split\n", "ct;mr\n1;2\n"])
def test_an_empty_or_foreign_csv(tmp_path: Path, fails: Fails, text: str) -> None:
    pairs = tmp_path / "pairs.csv"
    pairs.write_text(text)
    assert "pairs.csv" in fails("train", pairs, "--output", tmp_path / "new" / "m.safetensors")
    assert list(tmp_path.iterdir()) == [pairs]


def test_sizes_that_differ(tmp_path: Path, fails: Fails) -> None:
    from napari_ct2mri.imaging.io import read_volume, write_volume

    pairs = picture_pairs(tmp_path / "data", {"ada": "train"})
    mr = tmp_path / "data" / "ada" / "MR" / "02.png"
    volume = read_volume(mr)
    write_volume(type(volume)(volume.data[:, :32], unit="grey"), mr)
    line = fails("train", pairs, "--output", tmp_path / "m.safetensors", *TINY)
    assert "line 3" in line
    assert [file.name for file in tmp_path.iterdir()] == ["data"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_leaves_a_whole_checkpoint(pictures: Path, tmp_path: Path) -> None:
    output = tmp_path / "m.safetensors"
    code = "import sys; from napari_ct2mri.app.cli import main; sys.exit(main())"
    endless = [*TINY[:1], "9999", *TINY[2:]]
    tokens = ["train", str(pictures), "--output", str(output), *endless]
    with subprocess.Popen(
        [sys.executable, "-c", code, *tokens],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch 2/9999"):
                break
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1].startswith("ct2mri: cancelled")
    assert load_checkpoint(output).header.epochs >= 1
    assert not list(tmp_path.glob(".*"))
