from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.quality.comparisons import against_classic, claim
from benchmarks.quality.protocols import FOLDS
from benchmarks.quality.recipes import RECIPES, Recipe
from benchmarks.quality.records import FIGURES, Machine, Record, Score, read_record, write_json
from benchmarks.quality.summaries import CROSS_VALIDATION, entries
from benchmarks.quality.tables import BEGIN, END, tables, write_block

from napari_ct2mri.errors import ConfigError


def score(patient: str, predictor: str = "model", label: str = "held-out", **mean: float) -> Score:
    return Score(
        predictor=predictor,
        contrast="T2",
        patient=patient,
        label=label,  # type: ignore[arg-type]
        slices=20,
        mean=dict.fromkeys(FIGURES, 0.5) | mean,
        spread=dict.fromkeys(FIGURES, 0.1),
    )


def record(
    recipe: Recipe, *scores: Score, protocol: str = "fixed", seed: int = 0, scored_on: str = "b"
) -> Record:
    return Record(
        protocol=protocol,
        recipe=recipe,
        contrast="T2" if recipe.one_contrast else None,
        seed=seed,
        held_out=tuple(s.patient for s in scores),
        train_pairs=37,
        trained_on="a",
        scored_on=scored_on,
        epochs=10,
        cpu_seconds=120.0,
        settings=recipe.config(seed).model_dump(mode="json"),
        trained_at=("abc",),
        scored_at="abc",
        machine=Machine(cores=2, processor="some processor", threads=1),
        scores=scores,
    )


DEFAULT, CLASSIC = RECIPES["default"], RECIPES["classic-32"]


def judged(*records: Record, protocol: str = "fixed") -> dict[str, list[str]]:
    """Cells of the comparison by figure."""
    fixed, crossed = (entries(records, name) for name in ("fixed", CROSS_VALIDATION))
    lines = against_classic(fixed, crossed).splitlines()
    cells = [[c.strip() for c in line.strip("|").split("|")] for line in lines if line[:1] == "|"]
    return {row[2]: row for row in cells if row[0] == protocol}


def test_classic_is_chosen_for_each_figure_in_its_favour() -> None:
    theirs = record(
        CLASSIC,
        score("a", head_psnr_fitted=13.0, head_ssim=0.2),
        score("a", "model as published", head_psnr_fitted=14.0, head_ssim=0.1),
    )
    ours = [
        record(DEFAULT, score("a", head_psnr_fitted=16.0, head_ssim=s), seed=i)
        for i, s in enumerate((0.30, 0.34, 0.32))
    ]
    found = judged(*ours, theirs)
    psnr = found[FIGURES["head_psnr_fitted"]]
    assert psnr[4:7] == ["16.00", "14.00 (`classic-32`, as published)", "+2.00"]
    assert psnr[8:] == ["≥ +1.9", "met"]
    ssim = found[FIGURES["head_ssim"]]
    assert ssim[4:8] == ["0.320", "0.200 (`classic-32`, folded)", "+0.120", "0.040"]
    assert ssim[9] == "not met"


def test_a_gain_within_the_range_over_seeds_is_none() -> None:
    theirs = record(CLASSIC, score("a", head_psnr_fitted=14.0))
    ours = [
        record(DEFAULT, score("a", head_psnr_fitted=v), seed=i)
        for i, v in enumerate((14.0, 18.0, 16.5))
    ]
    row = judged(*ours, theirs)[FIGURES["head_psnr_fitted"]]
    assert row[6:10] == ["+2.17", "4.00", "≥ +1.9", "not met: within the range over seeds"]


@pytest.mark.parametrize(
    ("figure", "value", "verdict"),
    [
        ("head_gradient_correlation", 0.42, "met"),
        ("head_gradient_correlation", 0.41, "not met"),
        ("head_sharpness", 0.6, "met"),
        ("head_sharpness", 0.59, "not met"),
        ("head_sharpness", 1.11, "not met"),
    ],
)
def test_neither_blur_nor_noise_passes(figure: str, value: float, verdict: str) -> None:
    found = judged(record(DEFAULT, score("a", **{figure: value})), record(CLASSIC, score("a")))
    assert found[FIGURES[figure]][9] == verdict


def test_cross_validation_weighs_patients_not_folds_and_names_what_is_missing() -> None:
    values = {"cv-1": {"a": 10.0, "b": 10.0, "c": 10.0}, "cv-2": {"d": 20.0}, "cv-3": {"e": 20.0}}
    ours = [
        record(
            DEFAULT, *(score(p, head_psnr_fitted=v) for p, v in who.items()), protocol=fold,
            scored_on=fold,
        )
        for fold, who in values.items()
    ]  # fmt: skip
    entry = entries(ours, CROSS_VALIDATION).find("default", "T2")
    assert entry is not None
    assert entry.mean("head_psnr_fitted") == pytest.approx(14.0)
    assert entry.spread("head_psnr_fitted") == pytest.approx(30**0.5)
    assert entry.missing_folds == ("cv-4",)
    theirs = record(CLASSIC, score("d"), score("e"), protocol=FOLDS[1], scored_on="cv-2")
    row = judged(*ours, theirs, protocol=CROSS_VALIDATION)[FIGURES["head_psnr_fitted"]]
    assert row[3:5] == ["2", "20.00"]  # only those that both have
    assert row[9].endswith("(without cv-1, cv-3, cv-4)")


def test_records_of_other_images_are_not_mixed() -> None:
    others = [record(DEFAULT, score("a"), seed=i, scored_on=d) for i, d in enumerate("bc")]
    with pytest.raises(ConfigError, match="different images"):
        entries(others, "fixed")


def test_claim_is_judged_on_train_fit_and_shown_beside_held_out() -> None:
    recipe = RECIPES["by-heart"]
    seen = score("a", label="train-fit", ssim=0.97, psnr=37.0)
    page = claim(entries([record(recipe, seen, score("b"), protocol="train-fit")], "train-fit"))
    rows = [line for line in page.splitlines() if line.startswith("| `by-heart`")]
    assert ["train-fit" in rows[0], rows[0].endswith("| reached |")] == [True, True]
    assert ["held-out" in rows[1], rows[1].endswith("| – |")] == [True, True]
    poor = score("a", label="train-fit", ssim=0.95, psnr=37.0)
    page = claim(entries([record(recipe, poor, score("b"), protocol="train-fit")], "train-fit"))
    assert "not reached" in page


def test_changes_are_paired_and_named_by_what_they_change() -> None:
    base = [record(DEFAULT, score("a", head_ssim=v), seed=i) for i, v in enumerate((0.3, 0.31))]
    wide = record(DEFAULT.changed("wide", {"width": 48}), score("a", head_ssim=0.35))
    same = record(DEFAULT.changed("other", {"gamma": 0.1}), score("a", head_ssim=0.305))
    page = tables([*base, wide, same], Path("nowhere"), Path())
    (line,) = [line for line in page.splitlines() if "`wide`: width 48" in line]
    assert "+0.050" in line
    assert "1 of 1 | better |" in line
    (line,) = [line for line in page.splitlines() if "`other`: gamma 0.1" in line]
    assert "within the range over seeds" in line
    assert "--recipe default --name wide --set width=48" in page


def test_trivial_predictors_stand_once_beside_the_models() -> None:
    both = [
        record(recipe, score("a"), score("a", "black"), score("b"), score("b", "black"))
        for recipe in (DEFAULT, CLASSIC)
    ]
    titles = [entry.title for entry in entries(both, "fixed").entries]
    assert titles == ["`default`", "`classic-32`, folded", "black"]


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    one = record(CLASSIC, score("a"))
    write_json(path, one)
    assert read_record(path, Record) == one
    assert [file.name for file in tmp_path.iterdir()] == ["r.json"]
    path.write_text(path.read_text().replace('"seed"', '"sead"', 1))
    with pytest.raises(ConfigError, match=r"setting 'seed'"):
        read_record(path, Record)


def test_only_what_stands_between_the_marks_is_replaced(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_block(page, "new")
    assert page.read_text() == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    for broken in ("no marks", f"{END} {BEGIN}", f"{BEGIN}{END}{BEGIN}{END}"):
        page.write_text(broken)
        with pytest.raises(ConfigError, match="once each"):
            write_block(page, "new")
        assert page.read_text() == broken
