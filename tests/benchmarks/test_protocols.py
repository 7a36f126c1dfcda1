from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.quality.protocols import FOLDS, arrange, digest, folds, scored_contrasts

from napari_ct2mri.errors import PairError
from napari_ct2mri.pix2pix.pairs import PairList, PairRow, Split

# two sources: one with T2 alone, one with T1 and FLAIR, of which one patient has T2 instead
PATIENTS: dict[str, tuple[dict[str, int], Split]] = {
    "atlas-0": ({"PD": 19}, "train"),
    **{f"atlas-{n}": ({"T2": 15 + n}, "train") for n in range(1, 7)},
    "atlas-7": ({"T2": 20}, "val"),
    **{f"city-{n}": ({"T1": 8 + n, "FLAIR": 8 + n}, "train") for n in range(1, 6)},
    "city-6": ({"T1": 20, "FLAIR": 20}, "val"),
    "city-7": ({"T1": 20, "T2": 20}, "test"),
}


def pair_list(patients: dict[str, tuple[dict[str, int], Split]] = PATIENTS) -> PairList:
    rows = [
        PairRow(Path(f"{p}/ct{i}"), Path(f"{p}/{c}{i}"), p, c, split, i)
        for p, (contrasts, split) in patients.items()
        for c, slices in contrasts.items()
        for i in range(slices)
    ]
    return PairList(Path("pairs.csv"), tuple(rows))


def shown(pairs: PairList, split: Split) -> Counter[tuple[str, str]]:
    return Counter((row.patient, row.contrast) for row in pairs.where(split).rows)


def test_every_patient_of_every_scored_contrast_is_scored_exactly_once() -> None:
    pairs = pair_list()
    assert scored_contrasts(pairs) == ("T2", "T1", "FLAIR")
    arranged = [arrange(pairs, fold) for fold in FOLDS]
    scored = sum((shown(fold, "test") for fold in arranged), Counter())
    everybody = Counter((r.patient, r.contrast) for r in pairs.rows if r.contrast != "PD")
    assert scored == everybody
    for fold in arranged:
        learnt, tested = shown(fold, "train"), shown(fold, "test")
        assert not {p for p, _ in learnt} & {p for p, _ in tested}
        assert {c for _, c in learnt} == {"T2", "T1", "FLAIR", "PD"}


def test_folds_are_balanced_over_contrasts_and_sources() -> None:
    members = folds(pair_list())
    for contrast in ("T2", "T1", "FLAIR"):
        counts = [sum(contrast in PATIENTS[p][0] for p in fold) for fold in members]
        assert max(counts) - min(counts) <= 1, (contrast, counts)
    assert members[0] == {"atlas-7", "city-6", "city-7"}  # whom the list itself holds out


def test_folds_do_not_depend_on_the_order_of_rows() -> None:
    pairs = pair_list()
    assert folds(replace(pairs, rows=pairs.rows[::-1])) == folds(pairs)


def test_one_contrast_has_the_same_folds_as_all() -> None:
    pairs = pair_list()
    for fold in FOLDS:
        alone = arrange(pairs, fold, "T1")
        assert shown(alone, "test") == shown(arrange(pairs, fold).where("all", "T1"), "test")
        assert {row.contrast for row in alone.rows} == {"T1"}


def test_train_fit_learns_two_patients_with_the_claimed_number_of_pairs() -> None:
    rows = arrange(pair_list(), "train-fit", "T2")
    learnt, tested = shown(rows, "train"), shown(rows, "test")
    assert learnt == {("atlas-1", "T2"): 16, ("atlas-6", "T2"): 21}  # 37
    assert {p for p, _ in tested} == {"atlas-7", "city-7"}


def test_between_learns_every_other_slice_and_scores_the_rest() -> None:
    pairs = pair_list()
    rows = arrange(pairs, "between")
    train, test = rows.where("train").rows, rows.where("test").rows
    scored = (("atlas-7", "T2"), *(("city-6", c) for c in ("T1", "FLAIR")))
    scored += tuple(("city-7", c) for c in ("T1", "T2"))
    assert shown(rows, "test") == {(f"{p} between", c): 10 for p, c in scored}
    assert not {row.mr for row in train} & {row.mr for row in test}
    assert {row.mr for row in (*train, *test)} == {row.mr for row in pairs.rows}
    assert {row.slice_index for row in test} == set(range(0, 20, 2))


def test_images_to_train_on_may_come_from_another_list() -> None:
    pairs = pair_list()
    better = replace(pairs, rows=tuple(replace(r, mr=Path("aligned") / r.mr) for r in pairs.rows))
    mixed = arrange(pairs, "cv-2", training=better)
    assert all(row.mr.parts[0] == "aligned" for row in mixed.where("train").rows)
    assert all(row.mr.parts[0] != "aligned" for row in mixed.where("test").rows)


def test_too_few_patients_are_refused() -> None:
    few = {"a-1": ({"T2": 3}, "train"), "a-2": ({"T2": 3}, "val")}
    with pytest.raises(PairError, match=r"too few|nobody to teach"):
        folds(pair_list(few))  # type: ignore[arg-type]
    nobody = {p: (c, "train") for p, (c, _) in PATIENTS.items()}
    with pytest.raises(PairError, match="all rows are train rows"):
        folds(pair_list(nobody))  # type: ignore[arg-type]


def test_digest_knows_content_and_names_but_no_place(tmp_path: Path) -> None:
    def row(folder: str, content: bytes, patient: str = "a") -> PairRow:
        files = [tmp_path / folder / name for name in ("ct", "mr")]
        for file in files:
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(content + file.name.encode())
        return PairRow(files[0], files[1], patient, "T2", "train", 0)

    first = digest((row("here", b"1"),))
    assert digest((row("there", b"1"),)) == first
    assert digest((row("there", b"2"),)) != first
    assert digest((row("there", b"1", "b"),)) != first
