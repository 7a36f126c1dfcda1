"""``export``, ``build`` and ``boards`` end to end on a tiny model, and what stops them."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from skimage.io import imsave
from small_heads import TINY, picture_pairs

from napari_ct2mri.app.cli import main
from napari_ct2mri.firmware.boards import BOARDS, Memory
from napari_ct2mri.firmware.container import unpack
from napari_ct2mri.firmware.simulate import simulated

Fails = Callable[..., str]


@pytest.fixture(scope="module")
def project(model: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("firmware") / "new" / "project"
    tokens = ["export", model, folder, "--calibration", pictures, "--size", 64, 80]
    assert main([str(token) for token in tokens]) == 0
    return folder


def test_export_prints_arena_and_budget(
    model: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens = ["export", model, tmp_path / "out", "--calibration", pictures, "--fps", 1e6]
    assert main([*map(str, tokens), "--board", "c6748-lcdk"]) == 0
    out, err = capsys.readouterr()
    container = unpack((tmp_path / "out" / "model.ctm").read_bytes())
    assert container.plan.table() in out
    assert "| board | c6748-lcdk: TMS320C6748, 456 MHz |" in out
    assert "push at 115200 baud" in out
    assert "next: ct2mri build" in out
    assert "1e+06 slices a second are impossible on c6748-lcdk" in err


def test_a_project_names_its_model_without_a_path(project: Path, model: Path) -> None:
    container = unpack((project / "model.ctm").read_bytes())
    assert container.model.size == (64, 80)
    assert container.info["model"] == model.stem
    assert str(model.parent).encode() not in (project / "model.ctm").read_bytes()
    assert str(model.parent) not in (project / "README.md").read_text()


def test_build_and_run_on_this_machine(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", str(project), "--board", "host"]) == 0
    assert str(project / "build" / "host" / "firmware.elf") in capsys.readouterr().out
    with simulated(project, "host") as line:
        assert line.self_test() == 0


def test_boards_says_what_is_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("XDG_CACHE_HOME", "/nowhere")
    assert main(["boards"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in BOARDS)
    assert "qemu-vexpress-a9 lacks arm-none-eabi-gcc: apt-get install gcc-arm-none-eabi\n" in out
    assert "c6748-lcdk lacks tic6x-elf-gcc: scripts/build-tic6x\n" in out


def test_a_model_without_integer_form_names_the_layer(
    pictures: Path, tmp_path: Path, fails: Fails
) -> None:
    path = tmp_path / "instance.safetensors"
    tokens = ["train", pictures, "--output", path, "--norm", "instance", *TINY]
    assert main([str(token) for token in tokens]) == 0
    line = fails("export", path, tmp_path / "out", "--calibration", pictures)
    assert "lower: InstanceNorm2d at 'down." in line
    assert not (tmp_path / "out").exists()


def test_too_few_slices(model: Path, tmp_path: Path, fails: Fails) -> None:
    pairs = picture_pairs(tmp_path / "few", {"ada": "train"})
    line = fails("export", model, tmp_path / "new" / "out", "--calibration", pairs)
    assert "has 4 slices of contrast 'T2' that show a head, expected at least 8" in line
    assert [path.name for path in tmp_path.iterdir()] == ["few"]


def test_slices_that_show_nothing(model: Path, tmp_path: Path, fails: Fails) -> None:
    pairs = picture_pairs(tmp_path / "flat", {"ada": "train", "bob": "train", "cyd": "train"})
    with pairs.open(newline="") as file:
        for row in csv.DictReader(file):
            ct = np.zeros((64, 64), np.uint8)
            imsave(pairs.parent / row["ct"], ct, check_contrast=False)
    line = fails("export", model, tmp_path / "out", "--calibration", pairs)
    assert "no slice shows a head" in line
    assert not (tmp_path / "out").exists()


def test_a_board_too_small_says_by_how_much(
    model: Path, pictures: Path, tmp_path: Path, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(BOARDS["c6748-lcdk"], work=Memory("DDR2", 5_000))
    monkeypatch.setitem(BOARDS, "c6748-lcdk", small)
    line = fails("export", model, tmp_path / "out", "--calibration", pictures,
                 "--board", "c6748-lcdk")  # fmt: skip
    assert "c6748-lcdk has 5000 bytes of DDR2 for arena and slices, and" in line
    assert "too few; " in line
    assert "fit" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (("--board", "arduino"), "there is no board 'arduino'; there are host"),
        (("--contrast", "FLAIR"), "does not make 'FLAIR'; it makes T2"),
        (("--size", "60", "64"), "needs multiples of"),
        (("--size", "0", "64"), "needs multiples of"),
        (("--size", "64"), "--size"),
        (("--fps", "0"), "expected a number above 0"),
        (("--fps", "nan"), "expected a number above 0"),
    ],
)
def test_a_wrong_flag(
    model: Path, pictures: Path, tmp_path: Path, fails: Fails, tokens: tuple[str, ...], said: str
) -> None:
    line = fails("export", model, tmp_path / "new" / "out", "--calibration", pictures, *tokens)
    assert said in line
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_else(
    model: Path, pictures: Path, tmp_path: Path, fails: Fails
) -> None:
    (tmp_path / "thesis.tex").touch()
    line = fails("export", model, tmp_path, "--calibration", pictures)
    assert "is no exported project" in line
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_build_of_something_else(tmp_path: Path, fails: Fails) -> None:
    line = fails("build", tmp_path, "--board", "host")
    assert "no exported project; run `ct2mri export` first" in line


def test_a_missing_compiler_names_its_package(
    project: Path, fails: Fails, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    line = fails("build", project, "--board", "qemu-vexpress-a9")
    assert "arm-none-eabi-gcc is not installed; get it by: apt-get install gcc-arm" in line


def test_what_the_compiler_says_is_passed_on(project: Path, tmp_path: Path, fails: Fails) -> None:
    shutil.copytree(project, tmp_path / "copy")
    (tmp_path / "copy" / "layers.c").write_text("int wrong")
    line = fails("build", tmp_path / "copy", "--board", "host")
    assert "make BOARD=host failed: layers.c" in line
