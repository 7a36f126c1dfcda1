"""What the tables conclude: against ``classic``, against the claim, one change at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from benchmarks.quality.markdown import number, table
from benchmarks.quality.records import FIGURES
from benchmarks.quality.summaries import Entry, Group

__all__ = ["ablation", "against_classic", "claim"]

GAINS = {"head_psnr_fitted": 1.9, "head_ssim": 0.15}
"""By how much ``default`` has to beat ``classic`` on T2."""

BANDS = {"head_gradient_correlation": (0.42, None), "head_sharpness": (0.6, 1.1)}
"""Between what ``default`` has to lie on T2: neither blur nor noise shall pass."""

CLAIM = {"ssim": 0.96, "psnr": 36.3}
"""What a train-fit has to reach, as published figures do."""

_JUDGED = (*GAINS, *BANDS)
_TARGETED = "T2"


def against_classic(fixed: Group, crossed: Group) -> str:
    """``default`` against the better-scored ``classic``, chosen for each figure in its favour."""
    rows: list[tuple[str, ...]] = []
    for group in (fixed, crossed):
        for contrast in group.contrasts:
            ours = group.find("default", contrast)
            theirs = [e for e in group.of(contrast) if _is_classic(e)]
            if ours and theirs:
                seeds = fixed.find("default", contrast)
                rows += (_versus(group, contrast, f, ours, theirs, seeds) for f in _JUDGED)
    if not rows:
        return ""
    figures = ("figure", "patients", "`default`", "best `classic`", "difference")
    head = ("protocol", "contrast", *figures, "range over seeds", "target", "verdict")
    return (
        "### `default` against `classic`\n\nOn the patients that all were scored on. Of the runs "
        "and scorings of `classic` the one with the best mean over patients, for each figure anew. "
        "A difference no larger than the range over `default`'s seeds on the fixed split is no "
        "gain."
        f"\n\n{table(head, rows)}"
    )


def _is_classic(entry: Entry) -> bool:
    recipe = entry.records[0].recipe
    return bool(entry.recipe) and recipe.preset == "classic" and not recipe.base


def _versus(
    group: Group,
    contrast: str,
    figure: str,
    ours: Entry,
    theirs: Sequence[Entry],
    seeds: Entry | None,
) -> tuple[str, ...]:
    """One figure's row."""
    patients = ours.patients.intersection(*(entry.patients for entry in theirs))
    best = max(theirs, key=lambda entry: _merit(figure, entry.mean(figure, patients)))
    mine, yours = ours.mean(figure, patients), best.mean(figure, patients)
    gain = None if mine is None or yours is None else mine - yours
    found = seeds.seed_range(figure) if seeds else None
    chance = found[1] - found[0] if found else None
    target, verdict = _verdict(figure, contrast, mine, gain, chance)
    if missing := set(ours.missing_folds).union(*(entry.missing_folds for entry in theirs)):
        verdict += f" (without {', '.join(sorted(missing))})"
    return (
        group.protocol,
        contrast,
        FIGURES[figure],
        str(len(patients)),
        number(figure, mine),
        f"{number(figure, yours)} ({best.title})",
        number(figure, gain, signed=True),
        number(figure, chance),
        target,
        verdict,
    )


def _merit(figure: str, value: float | None) -> float:
    """More is better; of sharpness, closeness to 1."""
    if value is None:
        return float("-inf")
    return -abs(value - 1) if figure == "head_sharpness" else value


def _verdict(
    figure: str, contrast: str, mine: float | None, gain: float | None, chance: float | None
) -> tuple[str, str]:
    """Target and whether it is met."""
    if mine is None or gain is None:
        return "–", "unknown"
    if figure in BANDS:
        low, high = BANDS[figure]
        target = f"≥ {low}" if high is None else f"{low} to {high}"
        is_met = low <= mine and (high is None or mine <= high)
        if contrast != _TARGETED:
            return "–", "–"
        return target, "met" if is_met else "not met"
    wanted = GAINS[figure] if contrast == _TARGETED else 0.0
    target = f"≥ +{wanted}" if wanted else "a gain"
    if chance is None:
        return target, ("met" if gain >= wanted and gain > 0 else "not met") + ", seeds unknown"
    if abs(gain) <= chance:
        return target, "not met: within the range over seeds"
    return target, "met" if gain >= wanted and gain > 0 else "not met"


def claim(group: Group) -> str:
    """A model on the pairs it was trained on, beside patients that it never saw."""
    rows = []
    for entry in group.entries:
        if not entry.recipe:
            continue
        labels = {s.patient: s.label for record in entry.records for s in record.scores}
        for label in dict.fromkeys(labels.values()):
            patients = [p for p in sorted(entry.patients) if labels[p] == label]
            means = {figure: entry.mean(figure, patients) for figure in FIGURES}
            is_met = all((means[figure] or 0) >= least for figure, least in CLAIM.items())
            who = (entry.title, label, entry.contrast, ", ".join(patients))
            figures = [number(figure, mean) for figure, mean in means.items()]
            verdict = ("reached" if is_met else "not reached") if label == "train-fit" else "–"
            rows.append((*who, str(entry.records[0].train_pairs), *figures, verdict))
    if not rows:
        return ""
    head = ("predictor", "label", "contrast", "patients", "pairs trained on")
    return (
        "### The claim, reproduced as what it is\n\nOne checkpoint, scored on the very pairs that "
        "it was trained on (*train-fit*) and on patients whom it never saw (*held-out*). Reached "
        f"means, full frame on the former: SSIM ≥ {CLAIM['ssim']}, PSNR ≥ {CLAIM['psnr']} dB."
        f"\n\n{table((*head, *FIGURES.values(), 'verdict'), rows)}"
    )


def ablation(fixed: Group, crossed: Group) -> str:
    """Each changed recipe against the one it changes, on the same patients and seeds."""
    rows: list[tuple[str, ...]] = []
    for group in (fixed, crossed):
        for entry in group.entries:
            recipe = entry.records[0].recipe if entry.recipe else None
            if recipe is None or not recipe.base or entry.predictor != "model":
                continue
            if base := group.find(recipe.base, entry.contrast, entry.scope):
                known = fixed.find("default", entry.contrast)
                rows.append(_change(group, entry, base, known))
    if not rows:
        return ""
    who = ("protocol", "contrast", "change", "against", "patients")
    head = (*who, *(FIGURES[f] for f in _JUDGED), "patients better in SSIM, head", "verdict")
    return (
        "### One change at a time\n\nDifferences of means over patients. Better or worse is said "
        "only where fitted PSNR or SSIM differ by more than the range over `default`'s seeds."
        f"\n\n{table(head, rows)}"
    )


def _change(group: Group, entry: Entry, base: Entry, known: Entry | None) -> tuple[str, ...]:
    """One row: seeds and patients that both have, paired."""
    seeds = sorted(entry.by_seed.keys() & base.by_seed.keys())
    patients = sorted(entry.patients & base.patients)
    before = base.records[0].recipe.leaves
    leaves = {k: v for k, v in entry.records[0].recipe.leaves.items() if before.get(k) != v}
    change = ", ".join(f"{leaf} {value}" for leaf, value in leaves.items()) or "same settings"
    who = (group.protocol, entry.contrast, f"`{entry.recipe}`: {change}", f"`{base.recipe}`")
    if not (seeds and patients):
        return (*who, "0", *("–" for _ in _JUDGED), "–", "nothing in common yet")

    def gain(figure: str, patients: Sequence[str], seed: int) -> float:
        ours, theirs = (e.over_patients(figure, patients, seed) for e in (entry, base))
        return fmean(ours) - fmean(theirs) if ours and theirs else math.nan

    gains = {f: fmean(gain(f, patients, seed) for seed in seeds) for f in _JUDGED}
    each = [gain("head_ssim", [patient], seed) for patient in patients for seed in seeds]
    better = f"{sum(g > 0 for g in each)} of {len(each)}"
    figures = [number(figure, value, signed=True) for figure, value in gains.items()]
    return (*who, str(len(patients)), *figures, better, _judge(gains, known))


def _judge(gains: dict[str, float], known: Entry | None) -> str:
    """Whether fitted PSNR and SSIM changed by more than chance does, and which way."""
    ranges = {f: known.seed_range(f) if known else None for f in GAINS}
    if not all(ranges.values()):
        return "seeds unknown"
    signs = {
        (gains[f] > 0) - (gains[f] < 0)
        for f, found in ranges.items()
        if found and abs(gains[f]) > found[1] - found[0]
    }
    words = {(): "within the range over seeds", (1,): "better", (-1,): "worse"}
    return words.get(tuple(signs), "better and worse")
