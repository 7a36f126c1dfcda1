from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from skimage.io import imread, imsave

from napari_ct2mri.config import ModelConfig, preset
from napari_ct2mri.errors import PairError
from napari_ct2mri.imaging.io import write_volume
from napari_ct2mri.imaging.volume import Geometry, Volume
from napari_ct2mri.jobs import Notice, run_job
from napari_ct2mri.pix2pix.pairs import read_pairs
from napari_ct2mri.pix2pix.slices import (
    SlicePairs,
    load_slices,
    read_patients,
    with_neighbours,
)

HEADER = "ct,mr,patient,contrast,split\n"
MakePairs = Callable[..., Path]


def _model(**leaves: object) -> ModelConfig:
    leaves = {"levels": 3, "frame_px": 64, "head_px": 46, "contrasts": ("T2",), **leaves}
    return preset("default", **leaves).model


def _load(path: Path, model: ModelConfig) -> tuple[SlicePairs, list[str]]:
    notices: list[str] = []
    slices = run_job(
        load_slices(read_pairs(path), model),
        lambda event: notices.append(event.text) if isinstance(event, Notice) else None,
    )
    return slices, notices


def test_slices_come_in_the_network_s_frame(make_pairs: MakePairs) -> None:
    slices, notices = _load(make_pairs(), _model(frame_px=128, head_px=92))
    assert slices.ct.shape == (9, 1, 128, 128)
    assert slices.mr.shape == slices.head.shape == (9, 128, 128)
    assert float(slices.ct.min()) == -1
    assert float(slices.ct.max()) == 1
    area = slices.head.mean(axis=(1, 2)).max() * 128**2
    assert 2 * np.sqrt(area / np.pi) == pytest.approx(92, rel=0.06)
    assert slices.patient.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert len({f.sha256 for f in slices.fingerprints}) == 9
    assert not notices


def test_pictures_of_several_sizes_are_one_patient(make_pairs: MakePairs, tmp_path: Path) -> None:
    path = make_pairs({"a": ("T2", "train"), "b": ("T2", "train")})
    for kind in ("ct", "mr"):
        file = tmp_path / f"a-{kind}-1.png"
        imsave(file, np.pad(imread(file), 8), check_contrast=False)
    slices, _ = _load(path, _model())
    assert slices.patient.tolist() == [0, 0, 0, 1, 1, 1]


def test_ct_and_mr_stay_aligned(make_pairs: MakePairs) -> None:
    slices, _ = _load(make_pairs(), _model(frame_px=128, head_px=100))
    ct, mr = slices.ct[:, 0].astype(float), slices.mr.astype(float)
    bone, fluid = ct > 0.9, (ct < -0.6) & (ct > -0.9) & slices.head
    assert mr[bone].mean() < -0.3
    assert mr[fluid].mean() > 0.2


def test_empty_slices_are_skipped_and_counted(make_pairs: MakePairs, tmp_path: Path) -> None:
    path = make_pairs()
    black = np.zeros((64, 64), np.uint8)
    imsave(tmp_path / "a-mr-1.png", black, check_contrast=False)
    imsave(tmp_path / "b-ct-0.png", black, check_contrast=False)
    slices, notices = _load(path, _model())
    assert len(slices) == 7
    assert len(notices) == 1
    assert notices[0].startswith("2 slices skipped")


def test_a_ct_that_is_cut_off_is_counted(make_pairs: MakePairs, tmp_path: Path) -> None:
    path = make_pairs({"a": ("T2", "train")})
    whole, _ = _load(path, _model())
    picture = imread(tmp_path / "a-ct-1.png")
    picture[: len(picture) // 2] = 0
    imsave(tmp_path / "a-ct-1.png", picture, check_contrast=False)
    slices, notices = _load(path, _model())
    assert len(slices) == len(whole)
    (notice,) = notices
    assert notice.startswith("1 slice has much of the MR's head where the CT shows none")


def test_sizes_that_differ_are_named(make_pairs: MakePairs, tmp_path: Path) -> None:
    path = make_pairs()
    imsave(tmp_path / "b-mr-0.png", np.full((32, 64), 9, np.uint8), check_contrast=False)
    with pytest.raises(
        PairError, match=r"line 5: CT and MR differ in size: \(1, 64, 64\) vs \(1, 32"
    ):
        _load(path, _model())


def test_volumes_must_lie_on_one_grid(tmp_path: Path) -> None:
    hu = np.full((4, 32, 32), -1000, np.int16)
    hu[:, 8:24, 8:24] = 40
    tilt = np.deg2rad(20)
    oblique = (1, 0, 0, 0, np.cos(tilt), -np.sin(tilt), 0, np.sin(tilt), np.cos(tilt))
    ct = Volume(hu, Geometry((5, 1, 0.8), (3, 4, 5), oblique), "CT", "HU")
    moved = Geometry((5, 1, 0.8), (3, 4, 6), oblique)
    mr = Volume((hu + 1000).astype(np.uint16), moved, "MR", "arbitrary")
    write_volume(ct, tmp_path / "ct.nrrd")
    write_volume(mr, tmp_path / "mr.nrrd")
    (tmp_path / "pairs.csv").write_text(HEADER + "ct.nrrd,mr.nrrd,a,T2,train\n")
    with pytest.raises(PairError, match=r"line 2: CT and MR differ in (spacing|origin) in mm"):
        list(read_patients(read_pairs(tmp_path / "pairs.csv")))


def test_an_image_that_cannot_be_used_is_named_by_its_line(
    make_pairs: MakePairs, tmp_path: Path
) -> None:
    path = make_pairs()
    (tmp_path / "b-ct-1.png").write_bytes(b"no picture")
    with pytest.raises(PairError, match=r"pairs\.csv, line 6: .*b-ct-1\.png"):
        _load(path, _model())


def test_neighbours_need_an_order(make_pairs: MakePairs) -> None:
    path = make_pairs()
    rows = [line.rsplit(",", 1)[0] for line in path.read_text().splitlines()]
    path.write_text("\n".join(rows))
    with pytest.raises(PairError, match="need the column 'slice'"):
        _load(path, _model(neighbours=1))


def test_neighbours_stay_within_the_patient() -> None:
    windows = np.arange(3, dtype=np.float32)[:, None, None, None]
    near = with_neighbours(windows, 2)[:, :, 0, 0]
    assert near.tolist() == [[0, 0, 0, 1, 2], [0, 0, 1, 2, 2], [0, 1, 2, 2, 2]]


def test_neighbours_are_the_true_ones_beside_a_skipped_slice(
    make_pairs: MakePairs, tmp_path: Path
) -> None:
    path = make_pairs({"a": ("T2", "train")}, slices=4)
    alone, _ = _load(path, _model())
    imsave(tmp_path / "a-mr-1.png", np.zeros((64, 64), np.uint8), check_contrast=False)
    slices, _ = _load(path, _model(neighbours=1))
    assert slices.ct.shape[:2] == (3, 3)
    assert np.array_equal(slices.ct[1], alone.ct[[1, 2, 3], 0])
