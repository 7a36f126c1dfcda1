"""Means of records: over patients, over seeds, over folds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from benchmarks.quality.protocols import FOLDS
from benchmarks.quality.records import FIGURES, Record, Score

from napari_ct2mri.errors import ConfigError

__all__ = ["CROSS_VALIDATION", "MODEL", "Entry", "Group", "entries"]

Means = Mapping[str, float | None]
CROSS_VALIDATION = "cross-validation"
MODEL = ("model", "model as published")
"""What records call a model's two scorings."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One predictor's figures for one contrast: a row of a table.

    Attributes
    ----------
    recipe : str
        Empty for a trivial predictor.
    scope : str or None
        The one contrast that the training was confined to.
    records : tuple of Record
        Of all seeds and, in cross-validation, folds.
    by_seed : seed to patient to means over slices
    """

    recipe: str
    scope: str | None
    predictor: str
    contrast: str
    records: tuple[Record, ...]
    by_seed: Mapping[int, Mapping[str, Means]]

    @property
    def title(self) -> str:
        """How tables call it."""
        if not self.recipe:
            return self.predictor
        recipe = self.records[0].recipe
        name = f"`{self.recipe}`"
        if self.scope and not (recipe.one_contrast or recipe.is_checkpoint):
            name += f" on the {self.scope} rows alone"
        if self.records[0].settings["preset"] == "classic":
            name += ", folded" if self.predictor == MODEL[0] else ", as published"
        return name

    @property
    def patients(self) -> frozenset[str]:
        """Whom every seed was scored on."""
        return frozenset.intersection(*(frozenset(own) for own in self.by_seed.values()))

    def over_patients(
        self, figure: str, patients: Iterable[str], seed: int | None = None
    ) -> list[float]:
        """A figure of each patient, by default the mean over seeds."""
        seeds = [seed] if seed is not None else list(self.by_seed)
        rows = [[self.by_seed[s][patient][figure] for s in seeds] for patient in sorted(patients)]
        return [fmean(v for v in row if v is not None) for row in rows if None not in row]

    def mean(self, figure: str, patients: Iterable[str] | None = None) -> float | None:
        """Mean over patients, of the mean over seeds."""
        values = self.over_patients(figure, self.patients if patients is None else patients)
        return fmean(values) if values else None

    def spread(self, figure: str) -> float | None:
        """Sample standard deviation over patients."""
        values = self.over_patients(figure, self.patients)
        return stdev(values) if len(values) > 1 else None

    def seed_range(
        self, figure: str, patients: Iterable[str] | None = None
    ) -> tuple[float, float] | None:
        """Lowest and highest mean over patients of any seed; nothing if there is but one."""
        who = list(self.patients if patients is None else patients)
        means = [self.over_patients(figure, who, seed) for seed in self.by_seed]
        if len(means) < 2 or not all(means):
            return None
        return min(map(fmean, means)), max(map(fmean, means))

    @property
    def missing_folds(self) -> tuple[str, ...]:
        """Folds that some seed lacks, in cross-validation."""
        there = {
            seed: {r.protocol for r in self.records if r.seed == seed} for seed in self.by_seed
        }
        if not any(protocol in FOLDS for own in there.values() for protocol in own):
            return ()
        return tuple(fold for fold in FOLDS if not all(fold in own for own in there.values()))


@dataclass(frozen=True, slots=True)
class Group:
    """All entries under one protocol, the folds being one."""

    protocol: str
    entries: tuple[Entry, ...]

    @property
    def contrasts(self) -> tuple[str, ...]:
        """Those that were scored, the one with most patients first."""
        patients: dict[str, set[str]] = defaultdict(set)
        for entry in self.entries:
            patients[entry.contrast] |= entry.patients
        return tuple(sorted(patients, key=lambda c: (-len(patients[c]), c)))

    def of(self, contrast: str) -> tuple[Entry, ...]:
        """The entries of one contrast, models first."""
        return tuple(e for e in self.entries if e.contrast == contrast)

    def find(self, recipe: str, contrast: str, scope: str | None = None) -> Entry | None:
        """A model's entry in its usual scoring."""
        for entry in self.of(contrast):
            if (entry.recipe, entry.scope, entry.predictor) == (recipe, scope, MODEL[0]):
                return entry
        return None


def entries(records: Sequence[Record], protocol: str) -> Group:
    """Gather the figures of one protocol, or of all folds for :data:`CROSS_VALIDATION`.

    Trivial predictors come from one record of each protocol; they are the same in all.

    Raises
    ------
    ConfigError
        If records of one protocol were scored on different images.
    """
    protocols = FOLDS if protocol == CROSS_VALIDATION else (protocol,)
    gathered: dict[tuple[str, str | None, str, str], dict[int, dict[str, Means]]] = {}
    sources: dict[tuple[str, str | None, str, str], dict[str, Record]] = defaultdict(dict)
    known: set[tuple[str, str, str]] = set()
    for record in sorted(records, key=_rank):
        if record.protocol not in protocols:
            continue
        for score in record.scores:
            is_model = score.predictor in MODEL
            trivial = (record.protocol, score.patient, score.contrast + score.predictor)
            if not is_model and trivial in known:
                continue
            known.add(trivial)
            recipe = (record.recipe.name, record.contrast) if is_model else ("", None)
            key = (*recipe, score.predictor, score.contrast)
            seed = record.seed if is_model else 0
            gathered.setdefault(key, {}).setdefault(seed, {})[score.patient] = _kept(score)
            sources[key][record.name] = record
    _check_alike(records, protocols)
    found = [
        Entry(*key, tuple(sources[key].values()), by_seed) for key, by_seed in gathered.items()
    ]
    return Group(protocol, tuple(sorted(found, key=lambda e: not e.recipe)))


def _kept(score: Score) -> Means:
    return {figure: score.mean.get(figure) for figure in FIGURES}


def _rank(record: Record) -> tuple[bool, bool, str, str, int]:
    """``default`` first, other built-in recipes, then what changes them."""
    recipe = record.recipe
    return recipe.name != "default", bool(recipe.base), recipe.name, record.protocol, record.seed


def _check_alike(records: Sequence[Record], protocols: Sequence[str]) -> None:
    scored_on: dict[tuple[str, str | None], tuple[str, str]] = {}
    for record in records:
        if record.protocol in protocols:
            own = record.scored_on, record.name
            first = scored_on.setdefault((record.protocol, record.contrast), own)
            if first[0] != own[0]:
                raise ConfigError(
                    f"records {first[1]} and {own[1]} were scored on different images; keep the "
                    "records of another pair list in another folder (--records)"
                )
