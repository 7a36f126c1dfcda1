from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_ct2mri.errors import EvaluationError
from napari_ct2mri.evaluation import (
    Label,
    PatientImages,
    SliceFigures,
    at_measuring_size,
    fit_patient,
    per_patient,
    per_set,
    psnr,
    score_patient,
)

Images = NDArray[np.float64]


def patient(name: str = "a", *, slices: int = 3, label: Label = "held-out") -> PatientImages:
    rng = np.random.default_rng(len(name) + slices)
    real = rng.uniform(0, 255, (slices, 24, 20))
    return PatientImages(
        patient=name,
        contrast="T2",
        label=label,
        slice_names=tuple(f"s{i}" for i in range(slices)),
        real=real,
        fake=real + rng.normal(0, 20, real.shape) * np.arange(1, slices + 1)[:, None, None],
        head=np.ones(real.shape, bool),
        data_range=255.0,
    )


def test_one_gain_and_offset_serve_the_whole_patient() -> None:
    images = patient(slices=2)
    fake = np.stack(
        [2 * images.real[0] + 30, 3 * images.real[1] - 10]
    )  # two gains: no fit is exact
    a, b = fake.ravel(), images.real.ravel()
    gain, offset = np.polyfit(a, b, 1)
    rows = score_patient(images.by("x", fake))
    for row, f, r in zip(rows, fake, images.real, strict=True):
        expected = psnr(gain * f + offset, r, 255)
        assert row.figures.head_psnr_fitted == pytest.approx(expected, rel=1e-9)
    one = score_patient(images.by("x", 2 * images.real + 30))
    assert all(row.figures.head_psnr_fitted > 200 for row in one)  # one gain: exact but rounding


def test_one_gain_and_offset_serve_all_volumes_of_a_patient() -> None:
    one = patient(slices=2)
    whole = patient(slices=5)
    parts = [replace(whole, **_cut(whole, part)) for part in (slice(0, 2), slice(2, 5))]
    fit = fit_patient(parts)
    assert fit == pytest.approx(fit_patient([whole]), rel=1e-9)
    assert fit != pytest.approx(fit_patient([one]), rel=1e-3)
    rows = [row for part in parts for row in score_patient(part, fit)]
    for row, expected in zip(rows, score_patient(whole), strict=True):
        assert row.figures.head_psnr_fitted == pytest.approx(expected.figures.head_psnr_fitted)


def _cut(images: PatientImages, part: slice) -> dict[str, Any]:
    return {name: getattr(images, name)[part] for name in ("slice_names", "real", "fake", "head")}


def test_patients_weigh_the_same_in_a_set_however_many_slices_they_have() -> None:
    rows = [*score_patient(patient("a", slices=2)), *score_patient(patient("bb", slices=5))]
    a, b = per_patient(rows)
    mae = [row.figures.mae for row in rows]
    assert (a.slices, b.slices) == (2, 5)
    assert a.mean.mae == pytest.approx(np.mean(mae[:2]))
    assert b.spread.mae == pytest.approx(np.std(mae[2:], ddof=1))
    (whole,) = per_set([a, b])
    assert (whole.patients, whole.slices, whole.data_range) == (2, 7, 255)
    assert whole.mean.mae == pytest.approx((np.mean(mae[:2]) + np.mean(mae[2:])) / 2)
    assert whole.spread.mae == pytest.approx(np.std([a.mean.mae, b.mean.mae], ddof=1))


def test_labels_and_predictors_are_never_averaged_together() -> None:
    rows: list[SliceFigures] = []
    for name, label in (("a", "held-out"), ("bb", "train-fit"), ("ccc", "held-out")):
        images = patient(name, label=label)  # type: ignore[arg-type]
        rows += score_patient(images)
        rows += score_patient(images.by("black", 0 * images.real))
    found = {(s.label, s.predictor): s.patients for s in per_set(per_patient(rows))}
    assert found == {
        ("train-fit", "model"): 1,
        ("train-fit", "black"): 1,
        ("held-out", "model"): 2,
        ("held-out", "black"): 2,
    }


def test_sets_of_mixed_data_range_say_so() -> None:
    volume = replace(patient("bb"), data_range=1000.0)
    (both,) = per_set(per_patient([*score_patient(patient()), *score_patient(volume)]))
    assert both.data_range is None


def test_a_patient_with_pictures_and_volumes_is_one_patient() -> None:
    pictures, volumes = patient("a", slices=2), replace(patient("a", slices=4), data_range=1000.0)
    rows = [*score_patient(pictures), *score_patient(volumes)]
    (alone,) = per_set(per_patient(rows))
    assert (alone.patients, alone.slices, alone.data_range) == (1, 6, None)
    assert alone.mean.mae == pytest.approx(np.mean([row.figures.mae for row in rows]))
    assert np.isnan(alone.spread.mae)
    other = score_patient(patient("bb", slices=5))
    (both,) = per_set(per_patient([*rows, *other]))
    assert (both.patients, both.slices) == (2, 11)
    means = [np.mean([row.figures.mae for row in each]) for each in (rows, other)]
    assert both.mean.mae == pytest.approx(np.mean(means))
    assert both.spread.mae == pytest.approx(np.std(means, ddof=1))


def test_a_single_patient_has_no_spread() -> None:
    (one,) = per_set(per_patient(score_patient(patient())))
    assert np.isnan(one.spread.mae)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": "seen"}, "label 'seen', expected one of"),
        ({"real": np.zeros((24, 20))}, "expected slices"),
        ({"real": np.zeros((0, 24, 20))}, "expected slices"),
        ({"fake": np.zeros((2, 24, 20))}, r"but synthetic \(2, 24, 20\)"),
        ({"ct": np.zeros((3, 24, 21))}, r"but CT \(3, 24, 21\)"),
        ({"slice_names": ("a", "b", "b")}, "3 different slice names"),
        ({"slice_names": ("a",)}, "3 different slice names"),
        ({"data_range": 0.0}, "data range"),
        ({"head": np.zeros((3, 24, 20), bool)}, "slice s0 shows no head"),
    ],
)
def test_images_that_do_not_fit_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(EvaluationError, match=message) as raised:
        replace(patient(), **changes)
    assert str(raised.value).startswith("patient 'a', T2, model: ")
    assert "\n" not in str(raised.value)


def test_pictures_are_measured_at_256() -> None:
    image = np.random.default_rng(0).uniform(0, 255, (2, 512, 512))
    expected = image.reshape(2, 256, 2, 256, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(at_measuring_size(image), expected, rtol=1e-5)
    assert at_measuring_size(image[:, :256]).shape == (2, 128, 256)
    np.testing.assert_array_equal(at_measuring_size(image[:, :256, :256]), image[:, :256, :256])


def test_masks_stay_masks() -> None:
    mask = np.zeros((1, 512, 512), bool)
    mask[:, :101, :] = True  # half a pixel at the edge is not more than half
    small = at_measuring_size(mask)
    assert small.dtype == bool
    assert small.sum() == 50 * 256
