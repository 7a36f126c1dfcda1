"""``run``: what a board computes is what the integer reference does."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from at_a_board import (
    Fails,
    command,
    container_of,
    ct_file,
    exported,
    needs_compiler,
    psnr,
    reference,
    until,
)
from small_heads import OBLIQUE, SPLITS, TINY, head, shown

from napari_ct2mri.app import workflows
from napari_ct2mri.app.workflows.manifest import read_manifest
from napari_ct2mri.errors import LinkError
from napari_ct2mri.imaging.io import read_volume, write_volume
from napari_ct2mri.imaging.volume import Volume
from napari_ct2mri.jobs import Notice, run_job


@needs_compiler
@pytest.mark.parametrize("kind", ["volume", "pictures"])
def test_a_board_computes_what_the_reference_does(
    project: Path, ready: str, model: Path, tmp_path: Path, kind: str
) -> None:
    """Bit for bit before resampling; after it near the floats of ``synthesize``."""
    if kind == "volume":
        path, output = ct_file(tmp_path / "ct.nii.gz"), "{}.nii.gz"
    else:
        path, output = tmp_path / "ct", "{}"
        grey = Volume(shown(head(3)[0]), unit="grey")
        write_volume(grey, path, names=[f"{i}.png" for i in range(4)])
    ct = read_volume(path, modality="CT")
    container = container_of(project)
    with workflows.Live(ready) as live:
        grid = live.show(ct)
        expected = []
        for k in range(grid.depth):
            live.ask(k)
            made = until(live)
            expected.append(grid.mr(reference(container, grid.planes(k))))
            assert made.k == k
            np.testing.assert_array_equal(made.mr, expected[-1])
        mr = grid.volume(np.stack(expected))
    command("run", path, tmp_path / output.format("board"), "--port", ready)
    command(
        "synthesize", path, tmp_path / output.format("float"), "--model", model, "--device", "cpu"
    )
    board, floats = (
        read_volume(tmp_path / output.format(name), modality="MR") for name in ("board", "float")
    )
    if kind == "volume":
        np.testing.assert_array_equal(board.data, mr.data)
        assert board.geometry.is_close(ct.geometry, tolerance_mm=1e-4)
        assert psnr(board.data, floats.data, 1000) > 30
    else:
        np.testing.assert_array_equal(board.data, np.rint(mr.data).clip(0, 255))
        assert psnr(board.data, floats.data, 255) > 30


@needs_compiler
def test_neighbours_and_windows(
    volumes: Path, port: str, tmp_path: Path, fails: Fails, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "wide.safetensors"
    command(
        "train",
        volumes,
        "--output",
        path,
        *TINY,
        "--neighbours",
        1,
        "--windows",
        "40/80",
        "300/1500",
    )
    project = exported(path, volumes, tmp_path / "fw")
    command("push", project, "--port", port)
    container, ct = container_of(project), read_volume(ct_file(tmp_path / "ct.nii.gz"))
    with workflows.Live(port) as live:
        grid = live.show(ct)
        for k in (0, 1, 2, 3, 1):
            live.ask(k)
            planes = grid.planes(k)
            assert [plane.dtype for plane in planes] == [np.int16] * 3
            np.testing.assert_array_equal(until(live).mr, grid.mr(reference(container, planes)))
    command("run", ct.source.path, tmp_path / "b.nii.gz", "--port", port)
    command("synthesize", ct.source.path, tmp_path / "f.nii.gz", "--model", path, "--device", "cpu")
    board, floats = (read_volume(tmp_path / name).data for name in ("b.nii.gz", "f.nii.gz"))
    assert psnr(board, floats, 1000) > 25
    picture = tmp_path / "ct.png"
    write_volume(Volume(shown(head(3)[0][:1]), unit="grey"), picture)
    line = fails("run", picture, tmp_path / "mr.png", "--port", port)
    assert "the model reads 2 CT windows, a picture shows one" in line
    assert not (tmp_path / "mr.png").exists()


@needs_compiler
def test_a_pair_list_and_its_manifest(
    project: Path, ready: str, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    command("run", pictures, output, "--port", ready)
    files = sorted(path.relative_to(output).as_posix() for path in output.rglob("*.png"))
    assert files == sorted(f"T2/{patient}/{i:02d}.png" for patient in SPLITS for i in range(1, 5))
    manifest = read_manifest(output)
    assert manifest is not None
    (made,) = manifest.runs
    digest = run_job(workflows.ask_board(ready), lambda event: None).hello.digest.hex()
    assert made.model == "tiny"
    assert made.settings == {
        "contrast": "T2", "native": False, "board": "host", "container": digest
    }  # fmt: skip
    assert sorted(made.files) == files
    command("evaluate", pictures, "--output", tmp_path / "report", "--predictions", output)
    assert "T2, unknown: 1 patient, 4 slices" in capsys.readouterr().out


@needs_compiler
def test_whom_a_board_s_released_model_has_seen_is_known(
    port: str, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = exported(Path("ct2mri-dsp8"), pictures, tmp_path / "dsp8")
    command("push", project, "--port", port)
    command("run", pictures, tmp_path / "out", "--port", port)
    command("evaluate", pictures, "--output", tmp_path / "r", "--predictions", tmp_path / "out")
    assert "T2, held-out: 1 patient, 4 slices" in capsys.readouterr().out


@needs_compiler
def test_rows_of_other_contrasts_are_left_out(
    ready: str, pictures: Path, tmp_path: Path, fails: Fails
) -> None:
    text = pictures.read_text().replace("T2,train", "FLAIR,train")
    pairs = pictures.with_name("mixed.csv")
    pairs.write_text(text)
    events: list[object] = []
    made = run_job(workflows.run(pairs, tmp_path / "out", ready), events.append)
    assert made.slices == 8
    assert any("8 of 16 rows left out" in e.text for e in events if isinstance(e, Notice))
    pairs.write_text(text.replace("T2,", "FLAIR,"))
    line = fails("run", pairs, tmp_path / "none", "--port", ready)
    assert "the model makes T2, not FLAIR" in line
    assert not (tmp_path / "none").exists()


@needs_compiler
def test_a_head_larger_than_the_frame_is_said(ready: str, tmp_path: Path, fails: Fails) -> None:
    data = np.repeat(np.repeat(head(3)[0], 2, 1), 2, 2).astype(
        np.int16
    )  # 128 x 128, twice as large
    path = tmp_path / "ct.nii.gz"
    write_volume(Volume(data, OBLIQUE, "CT", "HU"), path)
    events: list[object] = []
    run_job(workflows.run(path, tmp_path / "mr.nii.gz", ready), events.append)
    notes = [event.text for event in events if isinstance(event, Notice)]
    assert any("tiny on host runs 64 x 64: what lies beyond stays empty" in note for note in notes)
    line = fails("run", path, tmp_path / "native.nii.gz", "--port", ready, "--native")
    assert "slices of 128 x 128 pixels do not fit tiny on host, which runs 64 x 64" in line
    assert not (tmp_path / "native.nii.gz").exists()


@needs_compiler
def test_cancelled_it_leaves_nothing(ready: str, tmp_path: Path) -> None:
    job = workflows.run(ct_file(tmp_path / "ct.nii.gz"), tmp_path / "new" / "mr.nii.gz", ready)
    next(job)
    job.close()
    assert not (tmp_path / "new").exists()
    assert run_job(workflows.ask_board(ready), lambda event: None).hello.board == "host"


@needs_compiler
def test_a_board_that_dies_meanwhile(firmware: Path, project: Path, tmp_path: Path) -> None:
    with ExitStack() as stack:
        running = stack.enter_context(workflows.start_board(firmware, "host", tmp_path / "store"))
        run_job(workflows.push(project, running.port), lambda event: None)
        job = workflows.run(ct_file(tmp_path / "ct.nii.gz"), tmp_path / "mr.nii.gz", running.port)
        next(job)
        stack.close()
        with pytest.raises(LinkError, match="the port went away: unplugged, or the board's"):
            run_job(job, lambda event: None)
    assert not (tmp_path / "mr.nii.gz").exists()
