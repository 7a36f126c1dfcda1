"""Who is trained on and who is scored: the fixed split, four folds by patient, and two that cheat.

``fixed`` is the split of the pair list itself: everybody outside its train rows is scored. ``cv-1``
holds out the same patients, ``cv-2`` to ``cv-4`` share out the others, so that every patient of
every contrast is scored once. ``train-fit`` trains on two patients with about as many pairs as the
published figures come from, and scores those beside the patients of ``fixed``. ``between`` learns
from every other slice of the patients whom ``fixed`` holds out, and scores the slices between: what
a split by slice gives, and more than a stranger's slices can.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import combinations

from napari_ct2mri.errors import PairError
from napari_ct2mri.pix2pix.pairs import PairList, PairRow

__all__ = [
    "FOLDS",
    "PROTOCOLS",
    "arrange",
    "digest",
    "folds",
    "scored_contrasts",
    "scored_patients",
]

FOLDS = tuple(f"cv-{number}" for number in range(1, 5))
PROTOCOLS = ("fixed", *FOLDS, "train-fit", "between")

_CLAIMED_PAIRS = 37


def arrange(
    pairs: PairList, protocol: str, contrast: str | None = None, *, training: PairList | None = None
) -> PairList:
    """Rewrite the split column: rows to learn from are ``train``, rows to be scored ``test``.

    Under ``between`` the patients who are scored get another name, as a patient stands on one side.

    Parameters
    ----------
    contrast : str, optional
        Only the rows of this contrast; ``train-fit`` needs one.
    training : PairList, optional
        Where the train rows come from, if not from ``pairs`` itself: the same patients with other
        images, such as an MR registered better. Scored is always what ``pairs`` shows.

    Raises
    ------
    PairError
        If nothing is left to train on or to score, or a fold would leave a contrast untaught.
    """
    scored = scored_patients(pairs, protocol)
    lists = (training or pairs).where("all", contrast).rows, pairs.where("all", contrast).rows
    if protocol == "train-fit":
        learnt = _train_fit_patients(pairs.where("train", contrast))
        lists = tuple(r for r in lists[0] if r.patient in learnt), lists[1]
    train = [replace(row, split="train") for row in lists[0] if row.patient not in scored]
    test = [replace(row, split="test") for row in lists[1] if row.patient in scored]
    if protocol == "between":
        train += [replace(row, split="train") for row in _every_other(lists[0], scored, 1)]
        test = [
            replace(row, split="test", patient=f"{row.patient} between")
            for row in _every_other(lists[1], scored, 0)
        ]
    if not (train and test):
        raise PairError(
            f"{pairs.path}: {protocol}{f', {contrast}' if contrast else ''}, has {len(train)} rows "
            f"to train on and {len(test)} to score; expected some of both"
        )
    return PairList(pairs.path, (*train, *test))


def scored_contrasts(pairs: PairList) -> tuple[str, ...]:
    """Contrasts that several patients have, so that one can be scored and another teach."""
    patients = Counter(contrast for _, contrast in pairs.by_patient())
    return tuple(contrast for contrast in pairs.contrasts if patients[contrast] > 1)


def scored_patients(pairs: PairList, protocol: str) -> frozenset[str]:
    """The patients that a protocol holds out."""
    if protocol in FOLDS:
        return folds(pairs)[FOLDS.index(protocol)]
    held_out = frozenset(row.patient for row in pairs.rows if row.split != "train")
    if not held_out:
        raise PairError(
            f"{pairs.path}: all rows are train rows; give a patient the split val or test"
        )
    return held_out


def folds(pairs: PairList) -> tuple[frozenset[str], ...]:
    """Patients of each fold, the first being those the list itself holds out.

    The others go, those with most slices first, to the fold that has fewest patients of their
    contrasts from their source (the name before the last hyphen), then fewest slices. Patients
    who are alone in showing a contrast always teach.

    Raises
    ------
    PairError
        If there are too few patients for every fold to score some and to teach every contrast.
    """
    kinds: dict[str, set[tuple[str, str]]] = defaultdict(set)
    slices: Counter[str] = Counter()
    scored = scored_contrasts(pairs)
    for row in pairs.rows:
        if row.contrast in scored:
            kinds[row.patient].add((row.patient.rpartition("-")[0], row.contrast))
            slices[row.patient] += 1
    first = scored_patients(pairs, "fixed")
    members: list[set[str]] = [set(first), *(set() for _ in FOLDS[1:])]

    def crowd(fold: set[str], patient: str) -> tuple[int, int]:
        alike = sum(len(kinds[other] & kinds[patient]) for other in fold)
        return alike, sum(slices[other] for other in fold)

    for patient in sorted(kinds.keys() - first, key=lambda p: (-slices[p], p)):
        min(members[1:], key=lambda fold: crowd(fold, patient)).add(patient)
    shown = {c: {p for p, own in kinds.items() if c in {k[1] for k in own}} for c in scored}
    for name, fold in zip(FOLDS, members, strict=True):
        if untaught := [contrast for contrast, patients in shown.items() if patients <= fold]:
            raise PairError(f"{pairs.path}: {name} would leave nobody to teach {untaught[0]}")
        if not fold:
            raise PairError(
                f"{pairs.path}: {len(kinds)} patients are too few for {len(FOLDS)} folds"
            )
    return tuple(map(frozenset, members))


def digest(rows: tuple[PairRow, ...]) -> str:
    """SHA-256 over what rows say and over the content of their files; no path enters."""
    total = hashlib.sha256()
    for row in rows:
        total.update(f"{row.patient}\t{row.contrast}\t{row.slice_index}\n".encode())
        for file in (row.ct, row.mr):
            for part in sorted(file.rglob("*")) if file.is_dir() else [file]:
                if part.is_file():
                    with part.open("rb") as stream:
                        total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()


def _every_other(
    rows: Iterable[PairRow], patients: frozenset[str], start: int
) -> Iterator[PairRow]:
    """Of each patient and contrast every second row, from the first or from the second on."""
    groups: dict[tuple[str, str], list[PairRow]] = defaultdict(list)
    for row in rows:
        if row.patient in patients:
            groups[row.patient, row.contrast].append(row)
    for group in groups.values():
        yield from group[start::2]


def _train_fit_patients(train: PairList) -> frozenset[str]:
    """The two patients who together have as many pairs as the claim, or nearly."""
    count = Counter(row.patient for row in train.rows)
    two = min(
        combinations(sorted(count), 2),
        key=lambda pair: abs(sum(count[p] for p in pair) - _CLAIMED_PAIRS),
        default=(),
    )
    return frozenset(two)
