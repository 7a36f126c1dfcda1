"""Simulated heads: look like heads by their numbers, differ from one another, stay the same."""

from __future__ import annotations

import csv
import hashlib
import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_ct2mri.errors import ConfigError, ImageError, VolumeError
from napari_ct2mri.imaging.fingerprint import (
    MATCH_BITS,
    distances,
    fingerprint,
    mirrored,
    seen,
)
from napari_ct2mri.imaging.io import read_volume
from napari_ct2mri.imaging.phantom import (
    PROPERTIES,
    SEQUENCES,
    Phantom,
    Tissue,
    phantom,
    phantom_job,
    sample_pair,
    splits,
)
from napari_ct2mri.imaging.phantom.scanner import Grid, Scan, acquire_ct, acquire_mr, scan
from napari_ct2mri.imaging.phantom.shapes import Ellipsoid, Folds, Points, SplineField, Tube
from napari_ct2mri.imaging.phantom.subject import draw_subject
from napari_ct2mri.imaging.phantom.tissues import hu_table, signal_table
from napari_ct2mri.jobs import Progress, run_job

SMALL = {"shape": (12, 80, 80), "spacing": (11.5, 3.0, 3.0)}
TINY = {"shape": (3, 24, 24), "spacing": (30.0, 10.0, 10.0)}


@pytest.fixture(scope="module")
def head() -> Phantom:
    return phantom(7, shape=(40, 128, 128), spacing=(3.5, 1.9, 1.9), contrasts=tuple(SEQUENCES))


@pytest.fixture(scope="module")
def crowd() -> list[Phantom]:
    return [phantom(n, shape=(16, 128, 128), spacing=(8.5, 1.875, 1.875)) for n in range(12)]


def inner(labels, tissue, size=3):
    """Voxels of ``tissue`` all of whose neighbours are of it too: no partial volume."""
    from scipy.ndimage import binary_erosion

    return binary_erosion(labels == tissue, np.ones((3, size, size)))


# ----------------------------------------------------------------------------- determinism


def digest(head: Phantom) -> str:
    parts = (head.ct.data, *(mr.data for mr in head.mr.values()), head.labels)
    return hashlib.sha256(b"".join(np.ascontiguousarray(p).tobytes() for p in parts)).hexdigest()


def test_same_seed_same_bytes_in_another_process():
    here = Path(__file__).parent
    code = "from test_phantom import *; print(digest(phantom(3, **TINY)))"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == digest(phantom(3, **TINY))


def test_another_seed_is_another_head():
    a, b = phantom(3, **SMALL), phantom(4, **SMALL)
    assert np.mean(a.labels != b.labels) > 0.05


def test_an_image_does_not_depend_on_the_other_contrasts():
    alone, among = phantom(5, **TINY), phantom(5, contrasts=("T1", "T2"), **TINY)
    assert np.array_equal(alone.ct.data, among.ct.data)
    assert np.array_equal(alone.mr["T2"].data, among.mr["T2"].data)


def test_one_seed_is_one_anatomy_on_every_grid():
    coarse = phantom(6, shape=(5, 40, 40), spacing=(25.0, 6.0, 6.0)).labels
    # twice as fine; every second in-plane sample falls within half a step of a coarse one
    fine = phantom(6, shape=(5, 80, 80), spacing=(25.0, 3.0, 3.0)).labels[:, ::2, ::2]
    head = (coarse > 0) | (fine > 0)
    assert np.mean((coarse > 0)[head] == (fine > 0)[head]) > 0.9


# ----------------------------------------------------------------------------- looks of a head


def test_types_geometry_and_meaning(head):
    volumes = [head.ct, *head.mr.values()]
    assert {v.geometry for v in volumes} == {head.ct.geometry}
    assert head.ct.geometry.spacing == (3.5, 1.9, 1.9)
    assert (head.ct.data.dtype, head.ct.unit, head.ct.modality) == (np.int16, "HU", "CT")
    assert all(
        (v.data.dtype, v.unit, v.modality) == (np.uint16, "arbitrary", "MR") for v in volumes[1:]
    )
    assert head.labels.dtype == np.uint8
    assert head.labels.shape == head.ct.data.shape


@pytest.mark.parametrize(
    ("tissue", "low", "high"),  # published ranges, HU; see napari_ct2mri.imaging.phantom.tissues
    [
        (Tissue.AIR, -1005, -990),
        (Tissue.FAT, -115, -75),
        (Tissue.CSF, 0, 15),
        (Tissue.WHITE, 20, 33),
        (Tissue.GREY, 33, 42),
        (Tissue.DEEP_GREY, 33, 42),
    ],
)
def test_ct_numbers_lie_in_published_ranges(head, tissue, low, high):
    values = head.ct.data[inner(head.labels, tissue)]
    assert values.size > 20
    assert low <= np.median(values) <= high


def test_bone_is_bone_and_head_is_surrounded_by_air(head):
    assert np.percentile(head.ct.data[head.labels == Tissue.BONE], 80) > 700
    assert head.ct.data.max() > 1000
    edge = np.concatenate([head.labels[:, 0], head.labels[:, :, 0], head.labels[:, :, -1]], axis=1)
    assert not edge.any()


def test_mr_orders_tissues_as_its_contrast_does(head):
    def mean(contrast, tissue):
        return head.mr[contrast].data[inner(head.labels, tissue)].mean()

    csf, grey, white = Tissue.CSF, Tissue.GREY, Tissue.WHITE
    assert mean("T1", white) > mean("T1", grey) > mean("T1", csf)
    assert mean("T2", csf) > 1.5 * mean("T2", grey) > 1.5 * mean("T2", white)
    assert mean("FLAIR", grey) > mean("FLAIR", white) > 2 * mean("FLAIR", csf)
    assert mean("PD", grey) > mean("PD", white)
    assert all(mean(c, Tissue.BONE) < mean(c, white) for c in SEQUENCES)


def test_every_structure_is_there_where_it_belongs():
    """Heights in the average head: the ventricles above the eyes, the sinuses below them."""
    who = draw_subject(np.random.default_rng(0))
    grid = Grid.of((30, 128, 128), (5.0, 1.875, 1.875), 80.0)
    labels = scan(who, grid, ("T2",)).labels
    assert {Tissue.VITREOUS, Tissue.LENS, Tissue.NERVE, Tissue.DENSE_BONE, Tissue.MARROW,
            Tissue.PALLIDUM, Tissue.BRAIN_STEM, Tissue.CEREBELLUM, Tissue.DURA, Tissue.MUSCLE,
            Tissue.MUCOSA, Tissue.BLOOD} <= set(np.unique(labels))  # fmt: skip
    heights = {
        t: grid.z[np.nonzero((labels == t).any(axis=(1, 2)))[0]].mean()
        for t in Tissue
        if (labels == t).any()
    }
    assert heights[Tissue.VITREOUS] < heights[Tissue.DEEP_GREY] < heights[Tissue.GREY] + 20
    assert heights[Tissue.CEREBELLUM] < heights[Tissue.WHITE]
    front, back = (
        np.nonzero((labels == t).any(axis=(0, 2)))[0].mean()
        for t in (Tissue.VITREOUS, Tissue.CEREBELLUM)
    )
    assert front < back  # y grows to posterior


def test_brain_shares_are_human(crowd):
    """Fluid 8-40 % (young to shrunken) of the cavity, grey over white 0.9-1.9, in every head."""
    for seed, labels in enumerate(head.labels for head in crowd):
        count = np.bincount(labels.ravel(), minlength=len(Tissue))
        grey = count[Tissue.GREY] + count[Tissue.DEEP_GREY]
        brain = grey + count[[Tissue.WHITE, Tissue.CEREBELLUM, Tissue.BRAIN_STEM]].sum()
        assert 0.08 < count[Tissue.CSF] / (count[Tissue.CSF] + brain) < 0.4, seed
        assert 0.9 < grey / count[Tissue.WHITE] < 1.9, seed


def test_noise_is_like_a_scanner_s():
    """In flat white matter 1.5-9 HU, and blue: neighbours correlate, far pixels do not."""
    head = phantom(11, shape=(12, 256, 256), spacing=(3.5, 0.9375, 0.9375))
    flat = inner(head.labels, Tissue.WHITE, 7)
    residual = np.where(flat, head.ct.data - np.median(head.ct.data[flat]), 0).astype(float)
    assert 1.5 < residual[flat].std() < 9
    pairs = flat[:, :, 1:] & flat[:, :, :-1]
    near = (residual[:, :, 1:] * residual[:, :, :-1])[pairs].mean() / residual[flat].var()
    assert 0.05 < near < 0.6


@pytest.mark.parametrize("shape", [(2, 32, 32), (2, 1, 40), (1, 1, 1)])
@pytest.mark.parametrize("pixel_mm", [9.0, 15.0, 50.0])
def test_a_pixel_wider_than_the_kernel_is_still_a_ct(shape, pixel_mm):
    with np.errstate(divide="raise", invalid="raise"):
        head = phantom(0, shape=shape, spacing=(30.0, pixel_mm, pixel_mm))
    air = head.ct.data[head.labels == Tissue.AIR]
    if shape[1] > 1:
        assert abs(np.median(air) + 1000) < 20
        assert len(np.unique(air)) > 3  # there is noise
        assert head.ct.data.max() > -100


def test_blur_and_noise_are_in_mm_along_both_axes():
    """Pixels of 2 x 0.5 mm: neighbours along x see much of one another, those along y nothing."""
    grid = Grid.of((1, 64, 256), (1.0, 2.0, 0.5), 0.0)
    who = draw_subject(np.random.default_rng(0))
    rng = np.random.default_rng(1)
    point = np.zeros((1, 64, 256), np.float32)
    point[0, 32, 128] = 4
    (seen,) = acquire_mr(point, grid, rng).astype(float)
    along_x, along_y = seen[32, 129] / seen[32, 128], seen[33, 128] / seen[32, 128]
    assert along_x == pytest.approx(np.exp(-(0.5**2) / (2 * 0.55**2)), abs=0.08)
    assert along_y < 0.08
    flat = Scan(np.full((1, 64, 256), 40, np.float32), {}, np.zeros((1, 64, 256), np.uint8))
    noise = acquire_ct(flat, replace(who, head_rest=0.0), grid, rng)[0].astype(float)
    noise -= noise.mean()
    beside = (noise[:, 1:] * noise[:, :-1]).mean() / noise.var()
    above = (noise[1:] * noise[:-1]).mean() / noise.var()
    assert beside > 0.6
    assert abs(above) < 0.3


# ----------------------------------------------------------------------------- variety


def test_no_slice_matches_a_slice_of_another_subject(crowd):
    known = [[fingerprint(s, "HU") for s in h.ct.data] for h in crowd]
    asked = [k + [mirrored(s, "HU") for s in h.ct.data] for k, h in zip(known, crowd, strict=True)]
    for a, b in itertools.permutations(range(len(crowd)), 2):
        assert not seen(asked[a], known[b]).any(), (a, b)
        assert distances(telling(asked[a]), telling(known[b])).min() > MATCH_BITS + 4


def telling(prints):
    """Those of slices with much to see, nine in ten: not the caps of bone at the top."""
    return [p for p in prints if int(p.dhash, 16).bit_count() >= 48]


def test_sizes_and_shapes_vary_as_heads_do():
    people = [draw_subject(np.random.default_rng(seed)) for seed in range(25)]
    size = np.array([np.cbrt(np.prod(p.stretch)) for p in people]) / 0.93
    assert 0.8 < size.min() < 0.93
    assert 1.07 < size.max() < 1.2
    assert np.ptp([p.ventricles for p in people]) > 0.8
    kinds = {lesion.kind for p in people for lesion in p.lesions}
    assert {"infarct", "haemorrhage", "tumour", "meningioma", "calcification"} <= kinds
    assert any(not p.lesions for p in people)


def test_every_slice_shows_some_head():
    for seed in range(10):
        labels = phantom(seed, shape=(3, 48, 48), spacing=(40.0, 5.0, 5.0)).labels
        assert (labels > 0).any(axis=(1, 2)).all(), seed


# ----------------------------------------------------------------------------- tissues and shapes


def test_flair_nulls_fluid():
    t = PROPERTIES[Tissue.CSF]
    s = SEQUENCES["FLAIR"]
    assert s.ti == pytest.approx(t.t1 * np.log(2 / (1 + np.exp(-s.tr / t.t1))), rel=0.01)
    assert signal_table("FLAIR")[Tissue.CSF] < 0.01


def test_spin_echo_equation():
    t, s = PROPERTIES[Tissue.WHITE], SEQUENCES["T1"]
    expected = t.pd * (1 - np.exp(-s.tr / t.t1)) * np.exp(-s.te / t.t2)
    assert signal_table("T1")[Tissue.WHITE] == pytest.approx(expected, rel=1e-5)
    assert hu_table()[Tissue.AIR] == -1000


def test_ellipsoid_and_tube_distances():
    x = np.linspace(-40, 40, 81, dtype=np.float32)
    p = Points(x, np.zeros_like(x), np.zeros_like(x))
    ball = Ellipsoid((20, 0, 0), (5, 5, 5))
    np.testing.assert_allclose(ball.distance(p), np.abs(np.abs(x) - 20) - 5, atol=1e-3)
    assert np.array_equal(ball.inside(p), ball.distance(p) < 0)
    tube = Tube(((10, 0, -5, 3), (10, 0, 5, 3)))
    np.testing.assert_allclose(tube.distance(p), np.abs(np.abs(x) - 10) - 3, atol=1e-3)


def test_spline_field_is_standard_and_smooth():
    field = SplineField(np.random.default_rng(0), 5.0)
    mm = np.arange(-100, 100, 1, dtype=np.float32)
    plane = field.slice_(3.0, mm, mm)
    assert plane.std() == pytest.approx(1, abs=0.12)
    assert np.abs(np.diff(plane)).max() < 1.5


def test_fold_distance_is_a_distance():
    """Close to a sheet its value changes by a millimetre for each across it."""
    folds = Folds(np.random.default_rng(0), 22.0)
    grid = np.stack(np.meshgrid(*[np.arange(0, 60, 1.0)] * 3, indexing="ij")).astype(np.float32)
    d = folds.distance(*grid.reshape(3, -1)).reshape(grid.shape[1:])
    slope = np.sqrt(sum(g * g for g in np.gradient(d)))
    assert np.median(slope[np.abs(d) < 2]) == pytest.approx(1, abs=0.2)


# ----------------------------------------------------------------------------- a study on disk


def test_job_writes_volumes_and_a_list_that_reads(tmp_path):
    events = []
    path = run_job(
        phantom_job(tmp_path / "study", 3, contrasts=("T1", "T2"), **TINY), events.append
    )
    assert events == [Progress(i, 3, "subjects") for i in range(4)]
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["ct", "mr", "patient", "contrast", "split"]
    assert [(r["contrast"], r["split"]) for r in rows] == [
        (c, s) for s in ("train", "val", "test") for c in ("T1", "T2")
    ]
    for row in rows:
        ct = read_volume(path.parent / row["ct"], modality="CT")
        mr = read_volume(path.parent / row["mr"], modality="MR")
        assert ct.geometry.is_close(mr.geometry)
        assert ct.data.min() < -900
    assert sorted(p.name for p in tmp_path.iterdir()) == ["study"]


def test_a_larger_study_begins_with_the_smaller_one(tmp_path):
    for name, count in (("a", 1), ("b", 2)):
        run_job(phantom_job(tmp_path / name, count, seed=5, **TINY), lambda _: None)
    a, b = (read_volume(tmp_path / n / "phantom-5-01" / "CT.nii.gz", modality="CT") for n in "ab")
    assert np.array_equal(a.data, b.data)


@pytest.mark.parametrize(
    ("n", "expected"),
    [(1, "R"), (2, "RT"), (3, "RVT"), (6, "RRRRVT"), (10, "RRRRRRRVTT"), (20, "R" * 15 + "VTTTT")],
)
def test_splits(n, expected):
    assert "".join({"train": "R", "val": "V", "test": "T"}[s] for s in splits(n)) == expected


@pytest.mark.parametrize("exists", [False, True])
def test_cancelled_job_leaves_nothing(tmp_path, exists):
    target = tmp_path / "study"
    if exists:
        target.mkdir()
        (target / "pairs.csv").write_text("mine\n")
    job = phantom_job(target, 3, **TINY)
    next(job), next(job)
    job.close()
    assert [p.name for p in tmp_path.iterdir()] == (["study"] if exists else [])
    if exists:
        assert (target / "pairs.csv").read_text() == "mine\n"


def test_job_into_an_existing_folder_replaces_the_list_only(tmp_path):
    (tmp_path / "notes.txt").write_text("keep")
    path = run_job(phantom_job(tmp_path, 1, **TINY), lambda _: None)
    assert path.read_text().startswith("ct,mr,")
    assert (tmp_path / "notes.txt").read_text() == "keep"


def test_unwritable_place_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ImageError, match="could not be written") as caught:
        run_job(phantom_job(tmp_path / "file" / "study", 1, **TINY), lambda _: None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"seed": -1}, ConfigError, "seed"),
        ({"contrasts": ()}, ConfigError, "got none"),
        ({"contrasts": ("T2", "T2")}, ConfigError, "different contrasts"),
        ({"contrasts": ("SWI",)}, ConfigError, "SWI"),
        ({"shape": (0, 9, 9)}, VolumeError, "shape"),
        ({"shape": (4096, 4096, 4096)}, VolumeError, "voxels"),
        ({"spacing": (1.0, float("nan"), 1.0)}, VolumeError, "spacing"),
    ],
)
def test_what_cannot_be_made_is_refused(change, error, message):
    request = {"seed": 0, **TINY, **change}
    with pytest.raises(error, match=message):
        phantom(**request)


@pytest.mark.parametrize("subjects", [0, -1, 10**9])
def test_absurd_numbers_of_subjects_are_refused(tmp_path, subjects):
    with pytest.raises(ConfigError, match="subjects"):
        run_job(phantom_job(tmp_path / "s", subjects), lambda _: None)


def test_sample_pair():
    ct, mr = sample_pair()
    assert ct.data.shape == mr.data.shape == (24, 256, 256)
    assert ct.geometry == mr.geometry
    assert (ct.modality, mr.modality) == ("CT", "MR")
