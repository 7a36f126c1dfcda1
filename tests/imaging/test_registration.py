"""Registration against known motions: thick slices, tilted frames, no voxel on another."""

from __future__ import annotations

import pickle
import threading
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from benchmarks.displaced_heads import (
    Displaced,
    SimulatedHead,
    displace,
    moved,
    random_motion,
    simulate,
    surface,
    surface_errors,
)
from scipy.spatial.transform import Rotation

from napari_ct2mri.errors import ConfigError, VolumeError
from napari_ct2mri.imaging.io import read_volume
from napari_ct2mri.imaging.registration import (
    Landmarks,
    Registration,
    register,
    resample_onto,
)
from napari_ct2mri.imaging.volume import Geometry, Source, Volume
from napari_ct2mri.jobs import Event, Notice, Progress, run_job

from .geometries import places, rotation


@pytest.fixture(scope="module")
def head() -> SimulatedHead:
    return simulate(3, "T1", coarseness=1.7)


@pytest.fixture(scope="module")
def case(head: SimulatedHead) -> Displaced:
    return displace(head, np.random.default_rng(0), spacing=(5.5, 1.8, 1.8), shape=(26, 120, 120))


@dataclass(frozen=True)
class Watched:
    """A registration and the events on its way."""

    result: Registration
    events: tuple[Event, ...]


@pytest.fixture(scope="module")
def watched(case: Displaced) -> Watched:
    events: list[Event] = []
    return Watched(run(case.ct, case.mr, events), tuple(events))


def run(ct: Volume, mr: Volume, events: list[Event] | None = None, **options) -> Registration:
    return run_job(register(ct, mr, **options), (events if events is not None else []).append)


def p95(found: Registration, case: Displaced) -> float:
    return float(np.percentile(surface_errors(found.matrix, case.truth, surface(case.ct)), 95))


# ------------------------------------------------------------------------------ known motions


@pytest.mark.parametrize("seed", [1, 2])
def test_a_moved_head_comes_back_within_a_millimetre(head: SimulatedHead, seed: int) -> None:
    case = displace(
        head, np.random.default_rng(seed), spacing=(5.5, 1.8, 1.8), shape=(26, 120, 120)
    )
    assert np.percentile(surface_errors(np.eye(4), case.truth, surface(case.ct)), 95) > 5
    found = run(case.ct, case.mr)
    assert p95(found, case) < 1.0
    assert found.doubts == ()
    assert found.after > found.before + 0.2
    np.testing.assert_allclose(found.scales, 1, atol=1e-6)


def test_wrong_millimetres_are_found_by_affine_and_doubted_by_rigid(head: SimulatedHead) -> None:
    chance = np.random.default_rng(4)
    case = displace(head, chance, scale=1.05, spacing=(5.5, 1.8, 1.8), shape=(26, 120, 120))
    found = run(case.ct, case.mr, kind="affine")
    assert p95(found, case) < 1.5
    np.testing.assert_allclose(np.cbrt(np.prod(found.scales)), 1 / 1.05, rtol=0.01)
    np.testing.assert_allclose(found.scales, 1 / 1.05, rtol=0.02)
    assert found.doubts == ()
    wrong = displace(head, chance, scale=1.15, spacing=(5.5, 1.8, 1.8), shape=(26, 120, 120))
    assert run(wrong.ct, wrong.mr).is_unsure


def test_the_order_in_which_axes_are_stored_does_not_matter(
    case: Displaced, watched: Watched
) -> None:
    def as_sagittal(volume: Volume) -> Volume:
        """Axes (x, y, z) instead of (z, y, x), the first reversed."""
        old = volume.geometry
        last = np.array([volume.data.shape[2] - 1, 0, 0, 0])
        origin = (old.affine @ (0, 0, last[0], 1))[:3]
        columns = np.stack([old.matrix[:, 2], old.matrix[:, 1], -old.matrix[:, 0]], axis=1)
        geometry = Geometry(old.spacing[::-1], tuple(origin), tuple(columns.ravel()))
        return replace(volume, data=volume.data[:, :, ::-1].transpose(2, 1, 0), geometry=geometry)

    turned = as_sagittal(case.mr)
    places_before = places(case.mr)[:, :, ::-1].transpose(2, 1, 0, 3)
    np.testing.assert_allclose(places(turned), places_before, atol=1e-6)
    found = run(case.ct, turned)
    np.testing.assert_allclose(found.matrix, watched.result.matrix, atol=1e-4)


def test_headers_that_do_not_meet_are_said_and_overcome(case: Displaced) -> None:
    far = np.eye(4)
    far[:3, 3] = (40, -300, 700)
    events: list[Event] = []
    found = run(case.ct, moved(case.mr, far), events)
    away = replace(case, truth=case.truth @ np.linalg.inv(far))
    assert p95(found, away) < 1.0
    assert found.before == 0
    assert any("do not overlap" in e.text for e in events if isinstance(e, Notice))


def test_average_heads_do_not_depend_on_the_start(real_data: Path) -> None:
    folder = real_data / "templates"
    ct = read_volume(folder / "scct_2mm.nii", modality="CT")
    mr = read_volume(folder / "MNI152_T1_2mm.nii.gz", modality="MR")
    points = surface(ct)
    motion = random_motion(np.random.default_rng(5), points.mean(axis=0), 10, 10)
    undisplaced, displaced = run(ct, mr), run(ct, moved(mr, motion))
    off = surface_errors(displaced.matrix @ motion, undisplaced.matrix, points)
    assert np.percentile(off, 95) < 2.0


# ---------------------------------------------------------------------------------- landmarks


def landmarks(case: Displaced, error_mm: float) -> Landmarks:
    """Six places that somebody clicked, each off by a few millimetres."""
    chance = np.random.default_rng(0)
    ct = chance.choice(surface(case.ct), 6, replace=False)
    back = np.linalg.inv(case.truth)
    mr = ct @ back[:3, :3].T + back[:3, 3]
    return Landmarks(ct, mr + chance.normal(0, error_mm, mr.shape))


def test_landmarks_rescue_a_head_that_lies_the_other_way_round(case: Displaced) -> None:
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("y", 170, degrees=True).as_matrix()
    other = replace(case, mr=moved(case.mr, turn), truth=case.truth @ np.linalg.inv(turn))
    lost = run(other.ct, other.mr)
    assert p95(lost, other) > 10
    assert lost.is_unsure
    found = run(other.ct, other.mr, landmarks=landmarks(other, 2.0))
    assert p95(found, other) < 1.0
    assert not any("landmarks" in doubt for doubt in found.doubts)


def test_landmarks_that_contradict_each_other_are_said(case: Displaced) -> None:
    found = run(case.ct, case.mr, landmarks=landmarks(case, 25.0))
    assert any("landmarks miss each other" in doubt for doubt in found.doubts)


def test_landmarks_far_from_the_head_lose_it(case: Displaced) -> None:
    good = landmarks(case, 0.0)
    with pytest.raises(VolumeError, match=r"lost each other.*landmarks"):
        run(case.ct, case.mr, landmarks=Landmarks(good.ct, good.mr + 500.0))


@pytest.mark.parametrize(
    ("ct", "mr", "words"),
    [
        (np.eye(3)[:2] * 50, np.eye(3)[:2] * 50, "3 pairs or more, got 2"),
        (np.eye(3) * 50, np.eye(4)[:, :3] * 50, "as many points"),
        (np.outer([0, 1, 2], [30, 20, 10]), np.eye(3) * 50, "in the CT lie on a line"),
        (np.eye(3) * 50, np.full((3, 3), np.nan), "finite"),
    ],
)
def test_landmarks_that_say_nothing_are_refused(ct: np.ndarray, mr: np.ndarray, words: str) -> None:
    with pytest.raises(VolumeError, match=words):
        Landmarks(ct.astype(float), mr.astype(float))


# ------------------------------------------------------------------------------------- doubts


def test_another_head_and_a_mirrored_one_are_doubted(case: Displaced) -> None:
    other = simulate(6, "T2", coarseness=1.7)
    foreign = displace(other, np.random.default_rng(1), shape=(26, 120, 120), spacing=(5.5, 2, 2))
    assert run(case.ct, foreign.mr).is_unsure
    mirrored = replace(case.mr, data=case.mr.data[:, :, ::-1])
    assert any("mirrored" in doubt for doubt in run(case.ct, mirrored).doubts)


def test_a_small_part_of_the_head_is_doubted(case: Displaced) -> None:
    old = case.mr.geometry
    geometry = replace(old, origin=tuple((old.affine @ (12, 0, 0, 1))[:3]))
    part = replace(case.mr, data=case.mr.data[12:19], geometry=geometry)
    found = run(case.ct, part)
    assert found.overlap < 0.5
    assert any("shows only" in doubt for doubt in found.doubts)


# ---------------------------------------------------------------------------------- as a job


def test_the_same_input_gives_the_same_bits(case: Displaced, watched: Watched) -> None:
    assert run(case.ct, case.mr).matrix.tobytes() == watched.result.matrix.tobytes()


def test_threads_and_seeds_hardly_move_a_head(case: Displaced, watched: Watched) -> None:
    points = surface(case.ct)
    two, other = run(case.ct, case.mr, threads=2), run(case.ct, case.mr, seed=5)
    assert surface_errors(two.matrix, watched.result.matrix, points).max() < 0.1
    assert surface_errors(other.matrix, watched.result.matrix, points).max() < 0.3


def test_progress_grows_to_its_end(watched: Watched) -> None:
    steps = [event for event in watched.events if isinstance(event, Progress)]
    assert len(steps) > 30
    assert all(a.done <= b.done and a.total == b.total for a, b in pairwise(steps))
    assert steps[-1].done == steps[-1].total


@pytest.mark.parametrize("after", [1, 2, 40])
def test_closing_ends_the_search_and_its_thread(case: Displaced, after: int) -> None:
    before = threading.active_count()
    job = register(case.ct, case.mr)
    for _ in range(after):
        next(job)
    job.close()
    assert threading.active_count() == before


def test_a_result_pickles(case: Displaced) -> None:
    matrix = np.eye(4)
    matrix[:3, :3] = 1.1 * rotation(0, 0, 0.3)
    result = Registration(matrix, "affine", 0.1, 0.2, 1.0, (10.0, 0.0, 0.0), ("because",))
    again = pickle.loads(pickle.dumps(result))
    assert again.is_unsure
    np.testing.assert_allclose(again.angle_deg, np.degrees(0.3))
    np.testing.assert_allclose(again.scales, 1.1)
    back = np.linalg.inv(matrix)[:3, :3] @ (10, 0, 0) - (10, 0, 0)
    np.testing.assert_allclose(again.shift_mm, np.linalg.norm(back))


# ----------------------------------------------------------------------------------- refusals


def refused(ct: Volume, mr: Volume, **options) -> str:
    with pytest.raises((VolumeError, ConfigError)) as error:
        run(ct, mr, **options)
    return str(error.value)


def test_what_is_no_ct_with_an_mr_is_refused(case: Displaced) -> None:
    ct, mr = case.ct, case.mr
    assert "both volumes are CT" in refused(ct, ct)
    assert "both volumes are MR" in refused(mr, mr)
    assert "give the CT first" in refused(mr, ct)
    unnamed = replace(ct, modality="unknown", unit="arbitrary")
    assert "swapped" in refused(replace(mr, modality="unknown"), unnamed)
    assert "no millimetres" in refused(ct, replace(mr, unit="grey"))
    assert "no millimetres" in refused(replace(ct, unit="grey"), mr)


def test_what_shows_no_head_or_too_little_is_refused(case: Displaced) -> None:
    ct, mr = case.ct, case.mr
    assert "MR shows no head" in refused(ct, replace(mr, data=np.zeros_like(mr.data)))
    assert "CT shows no head" in refused(replace(ct, data=np.full_like(ct.data, -1000)), mr)
    assert "in 3 layers of 5.5 mm" in refused(ct, replace(mr, data=mr.data[12:15]))
    broken = mr.data.astype(np.float32)
    broken[3, 3, 3] = np.nan
    assert "NaN" in refused(ct, replace(mr, data=broken))
    assert "threads" in refused(ct, mr, threads=-1)


# --------------------------------------------------------------------------------- resampling

OBLIQUE_CT = Geometry((5.0, 1.3, 1.1), (-20, 7, 30), tuple(rotation(0.3, -0.2, 0.4).ravel()))
OBLIQUE_MR = Geometry((1.5, 0.9, 1.0), (-90, -80, -60), tuple(rotation(-0.2, 0.1, 0.1).ravel()))
MOTION = np.eye(4)
MOTION[:3, :3] = rotation(0.1, 0.2, -0.1)
MOTION[:3, 3] = (3.0, -2.0, 4.0)


def by(matrix: np.ndarray, doubts: tuple[str, ...] = ()) -> Registration:
    return Registration(matrix, "rigid", 0.1, 0.5, 1.0, (0.0, 0.0, 0.0), doubts)


def test_a_ramp_stays_a_ramp_at_its_new_place() -> None:
    """Neither cubic interpolation nor averaging over a slice of 5 mm changes a linear one."""
    slope = np.array([1.3, -0.7, 2.1])
    blank = Volume(np.zeros((120, 200, 180), np.float32), OBLIQUE_MR, "MR")
    mr = replace(blank, data=(places(blank) @ slope + 1000).astype(np.float32))
    ct = Volume(np.zeros((9, 30, 34), np.int16), OBLIQUE_CT, "CT", "HU")
    made = run_job(resample_onto(ct, mr, by(MOTION)), lambda event: None)
    back = np.linalg.inv(MOTION)
    expected = (places(ct) @ back[:3, :3].T + back[:3, 3]) @ slope + 1000
    np.testing.assert_allclose(made.data, expected, atol=0.05)
    assert made.geometry == OBLIQUE_CT


def test_on_its_own_grid_nothing_changes() -> None:
    data = np.random.default_rng(0).integers(0, 900, (7, 20, 22)).astype(np.uint16)
    mr = Volume(data, OBLIQUE_MR, "MR", "arbitrary", Source("mr.nii"), ("a note",))
    ct = replace(mr, data=data.astype(np.int16), modality="CT", unit="HU", notes=())
    events: list[Event] = []
    made = run_job(resample_onto(ct, mr, by(np.eye(4), ("a doubt",))), events.append)
    np.testing.assert_array_equal(made.data, data)
    assert made.data.dtype == np.uint16
    assert (made.modality, made.unit, made.source) == ("MR", "arbitrary", Source("mr.nii"))
    assert made.notes[0] == "a note"
    assert "unsure: a doubt" in made.notes
    assert events[-1] == Progress(7, 7, "slices")


def test_values_stay_in_the_range_of_the_mr() -> None:
    data = np.zeros((12, 40, 40), np.int16)
    data[4:8, 10:30, 10:30] = 1000  # an edge, beside which a cubic would ring
    mr = Volume(data + np.int16(50), OBLIQUE_MR, "MR")
    ct = Volume(np.zeros((10, 60, 60), np.int16), replace(OBLIQUE_MR, spacing=(2, 0.7, 0.7)), "CT")
    made = run_job(resample_onto(ct, mr, by(MOTION)), lambda event: None)
    assert made.data.min() == 50
    assert 900 < made.data.max() <= 1050
