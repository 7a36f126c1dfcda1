"""``demo`` in small, ``phantom``, ``models``, and a picture of the viewer."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from small_heads import write_volumes

from napari_ct2mri.app import viewer, workflows
from napari_ct2mri.app.cli import main
from napari_ct2mri.app.workflows.demo import demo_config
from napari_ct2mri.config import preset
from napari_ct2mri.errors import JobError
from napari_ct2mri.imaging.io import read_volume
from napari_ct2mri.jobs import Event, Notice, run_job
from napari_ct2mri.pix2pix.zoo import models

Fails = Callable[..., str]
SMALL = preset(
    "default",
    epochs=1,
    decay_epochs=0,
    width=4,
    levels=3,
    frame_px=64,
    pixel_mm=3.75,
    device="cpu",
)


def test_demo_runs_from_end_to_end_and_again(tmp_path: Path) -> None:
    events: list[Event] = []
    job = workflows.demo(tmp_path, subjects=3, shape=(6, 64, 64), config=SMALL)
    result = run_job(job, events.append)
    assert [e.text[:6] for e in events if isinstance(e, Notice) and " of 4:" in e.text] == [
        f"{i} of 4" for i in range(1, 5)
    ]
    synthetic, real = read_volume(result.synthetic), read_volume(result.real)
    assert synthetic.geometry.is_close(real.geometry)
    assert {row.label for row in result.evaluated.report.patients} == {"held-out"}
    assert all(file.is_file() for file in result.evaluated.files)
    again = workflows.demo(tmp_path, subjects=3, shape=(6, 64, 64), config=SMALL)
    assert run_job(again, lambda event: None).model == result.model


def test_demo_does_not_touch_what_is_not_its_own(tmp_path: Path, fails: Fails) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert "other files" in fails("demo", tmp_path)
    assert "a file" in fails("demo", tmp_path / "thesis.txt")
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_demo_does_not_take_other_people_s_patients_for_its_own(
    tmp_path: Path, fails: Fails
) -> None:
    pairs = tmp_path / "patients" / "pairs.csv"
    pairs.parent.mkdir()
    pairs.write_text("a list made by hand\n")
    assert "holds other files; give an empty or a new folder" in fails("demo", tmp_path)
    assert pairs.read_text() == "a list made by hand\n"
    assert {*tmp_path.rglob("*")} == {pairs, pairs.parent}


def test_demo_goes_on_in_a_folder_where_it_was_cut_off(tmp_path: Path, fails: Fails) -> None:
    folder = tmp_path / "demo"
    for _ in range(2):
        job = workflows.demo(folder, subjects=3, shape=(6, 64, 64), config=SMALL)
        next(job)
        job.close()
    (mark,) = folder.iterdir()
    assert "writes over what is in it" in mark.read_text()
    (tmp_path / "file").write_text("")
    assert "cannot be written" in fails("demo", tmp_path / "file" / "demo")


def test_demo_trains_the_default_made_small() -> None:
    config = demo_config()
    default = preset("default")
    assert config.loss == default.loss
    assert config.augment == default.augment
    assert config.model.network.width < default.model.network.width


def test_phantom_is_a_pair_list(tmp_path: Path, fails: Fails) -> None:
    assert "subjects" in fails("phantom", tmp_path / "p", "--subjects", "0")
    assert list(tmp_path.iterdir()) == []


def test_models_lists_every_released_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    out = capsys.readouterr().out
    assert all(card.name in out for card in models())


def test_without_xvfb_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if find_spec("napari") is None:
        pytest.skip("napari is not installed")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(JobError, match="apt install xvfb"):
        viewer.take_picture([tmp_path / "ct.nii.gz"], tmp_path / "viewer.png")


@pytest.mark.skipif(find_spec("napari") is None, reason="napari is not installed")
@pytest.mark.skipif(shutil.which("Xvfb") is None, reason="Xvfb is not installed")
def test_a_picture_of_the_viewer(tmp_path: Path) -> None:
    ct, mr = write_volumes(tmp_path, 0)
    picture = tmp_path / "viewer.png"
    viewer.take_picture([ct, mr], picture)
    from matplotlib.image import imread

    pixels = imread(picture)
    height, width = pixels.shape[:2]
    canvas = pixels[height // 5 : -height // 5, width // 3 : -width // 20, :3]
    assert canvas.max() > 0.8  # bone and fluid are white
    assert len(set(canvas.mean(axis=2).ravel().round(2).tolist())) > 20
