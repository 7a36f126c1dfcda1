"""The exported project: the same bytes every time, built and run on boards of this machine."""

from __future__ import annotations

import csv
import hashlib
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from errno import ENOSPC
from pathlib import Path

import numpy as np
import pytest
from c_board import session
from native import compile_c
from random_models import random_generator, smooth
from skimage.io import imsave

from napari_ct2mri.config import ModelConfig, NetworkConfig, ScaleConfig, TrainConfig
from napari_ct2mri.errors import BoardError, FirmwareError
from napari_ct2mri.firmware import runtime_folder
from napari_ct2mri.firmware.build import build
from napari_ct2mri.firmware.container import pack, unpack
from napari_ct2mri.firmware.export import Exported, export
from napari_ct2mri.firmware.reference import each_layer, quantize_input
from napari_ct2mri.firmware.simulate import simulated
from napari_ct2mri.jobs import run_job
from napari_ct2mri.pix2pix.checkpoint import Checkpoint, Header
from napari_ct2mri.pix2pix.pairs import PairList, read_pairs

SIDE = 32
SIZE = (32, 48)


def make_checkpoint(width: int = 4) -> Checkpoint:
    network = NetworkConfig(width=width, levels=3)
    model = ModelConfig(
        network=network, scale=ScaleConfig(frame_px=SIDE, head_px=20), contrasts=("T1", "T2")
    )
    weights = random_generator(network).state_dict()
    return Checkpoint(Header(config=TrainConfig(model=model)), weights)


def make_pairs(folder: Path, count: int = 9) -> PairList:
    """Pictures of bright discs with texture."""
    chance = np.random.default_rng(0)
    y, x = np.indices((SIDE, SIDE)) - SIDE / 2
    with (folder / "pairs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("ct", "mr", "patient", "contrast", "split", "slice"))
        for i in range(count):
            head = (y**2 + x**2 < 100) * (150 + 60 * smooth(chance, SIDE, SIDE))
            for name in ("ct", "mr"):
                imsave(folder / f"{name}{i}.png", head.astype(np.uint8), check_contrast=False)
            writer.writerow((f"ct{i}.png", f"mr{i}.png", f"p{i // 3}", "T2", "train", i % 3))
    return read_pairs(folder / "pairs.csv")


def export_to(folder: Path, pairs: PairList, **options: object) -> Exported:
    job = export(make_checkpoint(), "small", folder, pairs, contrast="T2", size=SIZE, **options)
    return run_job(job, lambda event: None)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("project")
    export_to(folder / "out", make_pairs(folder))
    return folder / "out"


def digest(folder: Path) -> str:
    whole = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        whole.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return whole.hexdigest()


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def a_slice() -> np.ndarray:
    return quantize_input(smooth(np.random.default_rng(9), 1, *SIZE))


def test_same_input_same_bytes(tmp_path: Path, project: Path) -> None:
    pairs = make_pairs(tmp_path)
    export_to(tmp_path / "a", pairs)
    first = digest(tmp_path / "a")
    export_to(tmp_path / "a", pairs)  # over the first
    assert digest(tmp_path / "a") == first
    assert hidden(tmp_path) == []
    text = (tmp_path / "a" / "README.md").read_text()
    assert "| up.0 |" in text
    assert str(tmp_path) not in text


def test_what_is_not_ours_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").touch()
    with pytest.raises(FirmwareError, match="is no exported project"):
        export_to(tmp_path / "thesis", make_pairs(tmp_path))


@pytest.mark.parametrize("name", ["port/c6748-lcdk/port.c", "notes.txt", ".git/HEAD", "SHA256SUMS"])
def test_what_a_person_wrote_into_a_project_is_not_replaced(
    project: Path, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "fw"
    shutil.copytree(project, folder)
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("mine")
    before = digest(folder)
    with pytest.raises(FirmwareError, match=r"changed or added.*move it out") as told:
        export_to(folder, make_pairs(tmp_path))
    if name != "SHA256SUMS":  # without it, any file may be a person's
        assert str(told.value).startswith(f"{folder / name}: ")
    assert digest(folder) == before


def test_a_file_changed_while_it_is_calibrated_is_not_replaced(
    project: Path, tmp_path: Path
) -> None:
    shutil.copytree(project, tmp_path / "fw")
    pairs = make_pairs(tmp_path)
    job = export(make_checkpoint(), "small", tmp_path / "fw", pairs, contrast="T2", size=SIZE)
    next(job)
    (tmp_path / "fw" / "main.c").write_text("mine")
    with pytest.raises(FirmwareError, match=r"main\.c: was changed"):
        run_job(job, lambda event: None)
    assert (tmp_path / "fw" / "main.c").read_text() == "mine"
    assert hidden(tmp_path) == []


def test_programs_and_missing_files_do_not_hinder(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "fw"
    shutil.copytree(project, folder)
    (folder / "main.c").unlink()
    (folder / "build" / "host").mkdir(parents=True, exist_ok=True)
    (folder / "build" / "host" / "firmware.elf").write_bytes(b"ELF")
    export_to(folder, make_pairs(tmp_path))
    assert (folder / "main.c").is_file()
    assert not (folder / "build").exists()


def test_what_a_killed_export_left_does_not_hinder(tmp_path: Path) -> None:
    pairs = make_pairs(tmp_path)
    export_to(tmp_path / "fw", pairs)
    (tmp_path / ".fw.old" / "port").mkdir(parents=True)
    export_to(tmp_path / "fw", pairs)
    assert hidden(tmp_path) == [".fw.old"]


def test_a_project_that_cannot_be_replaced_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = make_pairs(tmp_path)
    export_to(tmp_path / "fw", pairs)
    before, rename = digest(tmp_path / "fw"), Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if target == tmp_path / "fw" and not self.name.endswith(".old"):
            raise OSError(ENOSPC, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(FirmwareError, match="could not be written: No space left"):
        export_to(tmp_path / "fw", pairs)
    assert digest(tmp_path / "fw") == before
    assert hidden(tmp_path) == []


def test_the_digests_are_those_of_sha256sum(project: Path) -> None:
    listed = dict(
        reversed(line.split("  ")) for line in (project / "SHA256SUMS").read_text().splitlines()
    )
    files = {p.relative_to(project).as_posix(): p for p in project.rglob("*") if p.is_file()}
    files = {name: p for name, p in files.items() if not name.startswith("build/")}
    assert files.keys() == {*listed, "SHA256SUMS"}
    for name, sha in listed.items():
        assert hashlib.sha256(files[name].read_bytes()).hexdigest() == sha


def test_too_few_slices_leave_nothing(tmp_path: Path) -> None:
    with pytest.raises(FirmwareError, match="has 6 slices of contrast 'T2'"):
        export_to(tmp_path / "out", make_pairs(tmp_path, count=6))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("board", ["host", "qemu-vexpress-a9"])
def test_boards_equal_the_reference(project: Path, board: str) -> None:
    needed = {"host": ["make", "cc"], "qemu-vexpress-a9": ["arm-none-eabi-gcc", "qemu-system-arm"]}
    if missing := [tool for tool in needed[board] if shutil.which(tool) is None]:
        pytest.skip(f"{', '.join(missing)} not installed")
    assert run_job(build(project, board), lambda event: None).size_bytes > 0
    image = a_slice()
    expected = list(each_layer(unpack((project / "model.ctm").read_bytes()).model, image))
    with simulated(project, board) as line:
        assert line.self_test() == 0
        made, digests = line.run_with_digests(image)
        again, _ = line.run(image)
    assert digests == [hashlib.sha256(np.ascontiguousarray(e)).digest() for e in expected]
    assert np.array_equal(made, expected[-1][..., 0])
    assert np.array_equal(again, made)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_sanitizers_find_nothing(project: Path, tmp_path: Path, compiler: str) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} here")
    sources = [*session(), *(runtime_folder() / name for name in ("main.c", "port/host/port.c"))]
    program = tmp_path / "build" / "host" / "firmware.elf"
    program.parent.mkdir(parents=True)
    flags = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover", "-pthread"]
    compile_c(compiler, flags, sources, program)
    shutil.copy(project / "model.ctm", tmp_path)
    with simulated(tmp_path, "host") as line:
        assert line.self_test() == 0
        made, digests = line.run_with_digests(a_slice())
    expected = list(each_layer(unpack((project / "model.ctm").read_bytes()).model, a_slice()))
    assert np.array_equal(made, expected[-1][..., 0])
    assert digests == [hashlib.sha256(np.ascontiguousarray(e)).digest() for e in expected]


def test_a_refused_container_is_told_by_number(project: Path, tmp_path: Path) -> None:
    shutil.copytree(project, tmp_path / "copy")
    whole = bytearray((tmp_path / "copy" / "model.ctm").read_bytes())
    whole[-1] ^= 1
    (tmp_path / "copy" / "model.ctm").write_bytes(whole)
    run_job(build(tmp_path / "copy", "host"), lambda event: None)
    with pytest.raises(BoardError) as told, simulated(tmp_path / "copy", "host"):
        pass
    assert told.value.number == 106


def test_make_test_runs_the_golden_pair(project: Path, tmp_path: Path) -> None:
    shutil.copytree(project, tmp_path / "copy")
    make = ["make", "-s", "-C", tmp_path / "copy", "test"]
    done = subprocess.run(make, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "golden pair: equal\n")
    container = unpack((project / "model.ctm").read_bytes())
    golden = (container.golden[0], container.golden[1] ^ (np.indices(SIZE).sum(0) == 7))
    wrong = replace(container, golden=golden)
    (tmp_path / "copy" / "model.ctm").write_bytes(pack(wrong))
    done = subprocess.run(make, capture_output=True, text=True)
    assert done.returncode != 0
    assert "golden pair: 8 bytes differ" in done.stderr
    (tmp_path / "copy" / "model.ctm").write_bytes(b"CT2MRI")
    done = subprocess.run(make, capture_output=True, text=True)
    assert "refused with error 1 " in done.stderr


def test_build_says_what_is_missing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("XDG_CACHE_HOME", "/nowhere")
    with pytest.raises(FirmwareError, match="apt-get install gcc-arm-none-eabi"):
        run_job(build(project, "qemu-vexpress-a9"), lambda event: None)
    with pytest.raises(FirmwareError, match="scripts/build-tic6x"):
        run_job(build(project, "c6748-lcdk"), lambda event: None)
    with pytest.raises(FirmwareError, match="profile for planning"):
        run_job(build(project, "c6678-evm"), lambda event: None)
    with pytest.raises(FirmwareError, match="there is no board 'arduino'"):
        run_job(build(project, "arduino"), lambda event: None)
