"""Records as Markdown, between two marks of a file."""

from __future__ import annotations

import json
import math
import os
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean

from benchmarks.quality.comparisons import ablation, against_classic, claim
from benchmarks.quality.markdown import cell, number, table
from benchmarks.quality.pace import PaceRecord
from benchmarks.quality.recipes import RECIPES
from benchmarks.quality.records import FIGURES, Record, read_record, write_file
from benchmarks.quality.spread import SpreadRecord, SpreadRow
from benchmarks.quality.summaries import CROSS_VALIDATION, Entry, Group, entries

from napari_ct2mri.errors import ConfigError

__all__ = ["BEGIN", "END", "tables", "write_block"]

BEGIN, END = "<!-- quality: begin -->", "<!-- quality: end -->"
_BETWEEN = (
    "### With a head start: slices between those it learnt\n\nThe patients of the fixed split, "
    "every other slice of whom was learnt from, scored on the slices between. No figure for a "
    "stranger: with the neighbours' pairs a network knows the patient, the contrast of the very "
    "scan, and how its pairs are misplaced. (The nearest CT is a neighbour of the same patient.)"
)
_PATIENT_FIGURES = (
    "head_psnr_fitted",
    "head_psnr",
    "head_ssim",
    "head_gradient_correlation",
    "head_sharpness",
    "head_mae",
)


def write_block(path: Path, text: str) -> None:
    """Put ``text`` between the marks of a file; the rest of it stays as it is.

    Raises
    ------
    ConfigError
        If the two marks do not stand there once each, in order.
    """
    try:
        page = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end) or any(mark in before + after for mark in (BEGIN, END)):
        raise ConfigError(f"{path}: expected a line {BEGIN} and below it a line {END}, once each")
    write_file(path, f"{before}{BEGIN}\n\n{text.strip()}\n\n{END}{after}".encode())


def tables(records: Sequence[Record], folder: Path, beside: Path) -> str:
    """Everything that records of a folder say; links are relative to the folder ``beside``."""
    fixed, crossed = (entries(records, name) for name in ("fixed", CROSS_VALIDATION))
    parts = [
        "Means over patients ± standard deviation over patients; several seeds are averaged first. "
        "Computed from the records in `benchmarks/records/`; nothing here is typed by hand.",
        _means(fixed, "### Held-out patients of the fixed split"),
        _seeds(fixed),
        _means(crossed, "### Cross-validation: four folds by patient"),
        against_classic(fixed, crossed),
        claim(entries(records, "train-fit")),
        _means(entries(records, "between"), _BETWEEN),
        ablation(fixed, crossed),
        _paces(sorted(folder.glob("pace.*.json")), beside),
        _spreads(sorted(folder.glob("spread.*.json")), beside),
        _by_patient(fixed),
        _by_patient(crossed),
        _commands(records),
    ]
    return "\n\n".join(part for part in parts if part)


def _means(group: Group, title: str) -> str:
    parts = [title] if group.entries else []
    for contrast in group.contrasts:
        rows = []
        for entry in group.of(contrast):
            if entry.recipe and entry.records[0].recipe.base:
                continue  # stands among the changes
            figures = [cell(f, entry.mean(f), entry.spread(f)) for f in FIGURES]
            rows.append((entry.title, str(len(entry.patients)), *_effort(entry), *figures))
        head = ("predictor", "patients", "seeds", "epochs", "CPU min", *FIGURES.values())
        parts += [f"{contrast}:", table(head, rows)]
        parts += [
            f"*{entry.title}: {', '.join(entry.missing_folds)} not recorded yet.*"
            for entry in group.of(contrast)
            if entry.recipe and entry.missing_folds
        ]
    return "\n\n".join(parts)


def _effort(entry: Entry) -> tuple[str, str, str]:
    """Seeds, epochs and CPU minutes of a training."""
    if not entry.recipe:
        return "", "", ""
    epochs = sorted({record.epochs for record in entry.records})
    minutes = fmean(record.cpu_seconds for record in entry.records) / 60
    return (
        " ".join(map(str, sorted(entry.by_seed))),
        str(epochs[0]) if len(epochs) == 1 else f"{epochs[0]}–{epochs[-1]}",
        f"{minutes:.1f}",
    )


def _seeds(group: Group) -> str:
    """What the seed alone changes."""
    rows = []
    for contrast in group.contrasts:
        for entry in group.of(contrast):
            ranges = {f: entry.seed_range(f) for f in FIGURES}
            if any(ranges.values()):
                figures = [
                    f"{number(f, entry.mean(f))} ({number(f, low)} to {number(f, high)})"
                    for f, found in ranges.items()
                    for low, high in [found or (None, None)]
                ]
                rows.append((contrast, entry.title, str(len(entry.by_seed)), *figures))
    if not rows:
        return ""
    head = ("contrast", "predictor", "seeds", *FIGURES.values())
    return "Mean over seeds, and lowest to highest of any seed:\n\n" + table(head, rows)


def _by_patient(group: Group) -> str:
    """Means over slices of every patient, models only."""
    titles = [FIGURES[figure] for figure in _PATIENT_FIGURES]
    rows = []
    for contrast in group.contrasts:
        for entry in group.of(contrast):
            if not entry.recipe or entry.records[0].recipe.base:
                continue
            seed = min(entry.by_seed)
            for record in entry.records:
                for score in record.scores if record.seed == seed else ():
                    if (score.contrast, score.predictor) != (contrast, entry.predictor):
                        continue
                    figures = [cell(f, score.mean[f], score.spread[f]) for f in _PATIENT_FIGURES]
                    who = (contrast, score.patient, str(score.slices), score.label)
                    rows.append((*who, entry.title, *figures))
    if not rows:
        return ""
    head = ("contrast", "patient", "slices", "label", "predictor", *titles)
    rows.sort(key=lambda row: (group.contrasts.index(row[0]), row[1]))
    return (
        f"### Each patient, {group.protocol}\n\nMean ± standard deviation over slices, lowest seed:"
        f"\n\n{table(head, rows)}"
    )


def _paces(files: Iterable[Path], beside: Path) -> str:
    """When a training was as good as another at its end, with its picture."""
    parts = []
    for path in files:
        record = read_record(path, PaceRecord)
        rows = []
        for curve in record.curves:
            who = (f"`{curve.recipe}`", str(curve.seed))
            if point := curve.reached(record.goal):
                share = point.cpu_seconds / record.goal_cpu_seconds
                latest = "≤ " if len(curve.points) == 1 else ""
                figures = (str(point.epoch), f"{point.cpu_seconds:.0f}", f"{share:.3f}")
                when = tuple(latest + figure for figure in figures)
            else:
                when = (f"not in {curve.points[-1].epoch}", "–", "–")
            rows.append((*who, *when))
        goal = ", ".join(f"{FIGURES[name]} {number(name, v)}" for name, v in record.goal.items())
        parts.append(
            f"`{record.goal_recipe}` at the end of its {record.goal_epochs} epochs, "
            f"{record.goal_cpu_seconds:.0f} s of processor time, on {record.contrast} of the "
            f"held-out patients, each figure in its better scoring: {goal}. The first of the kept "
            "checkpoints that is no worse in any of the three (≤: none was kept before the end):"
            f"\n\n{table(('recipe', 'seed', 'epoch', 'CPU s', 'share'), rows)}"
            f"\n\n![Figures over processor time]({_link(path, beside)})"
        )
    return "\n\n".join(["### Time to `classic`'s quality", *parts]) if parts else ""


def _link(record: Path, beside: Path) -> str:
    """To the picture of a record."""
    return Path(os.path.relpath(record.with_suffix(".png"), beside)).as_posix()


def _spreads(files: Iterable[Path], beside: Path) -> str:
    """Error in the top tenth of spread against the rest, with its picture."""
    parts = []
    head = ("contrast", "patient", "head pixels", "error, top tenth of spread", "error, the rest")
    head_end = ("ratio", "rank correlation")
    for path in files:
        record = read_record(path, SpreadRecord)
        rows = [
            (row.contrast, row.patient, str(row.pixels), *_spread_cells([row]))
            for row in record.rows
        ]
        rows.append(("", "**mean over patients**", "", *_spread_cells(record.rows)))
        parts.append(
            f"`{'`, `'.join(record.models)}` ({record.label} patients): {record.members} "
            f"predictions, of {record.between}; absolute error per pixel in the head, output units."
            f"\n\n{table((*head, *head_end), rows)}"
            f"\n\n![Error over tenths of spread]({_link(path, beside)})"
        )
    return "\n\n".join(["### Does the spread know the error?", *parts]) if parts else ""


def _spread_cells(rows: Sequence[SpreadRow]) -> tuple[str, ...]:
    top, rest = fmean(row.top_error for row in rows), fmean(row.rest_error for row in rows)
    ratio = fmean(row.top_error / row.rest_error if row.rest_error else math.nan for row in rows)
    correlation = fmean(row.correlation for row in rows)
    return f"{top:.1f}", f"{rest:.1f}", f"{ratio:.2f}", f"{correlation:.2f}"


def _commands(records: Sequence[Record]) -> str:
    """A line for each recipe; running it again skips what is recorded."""
    lines: dict[str, None] = {}
    for record in records:
        alike = [r for r in records if (r.recipe, r.contrast) == (record.recipe, record.contrast)]
        words = ["python -m benchmarks.quality run pairs.csv --work WORK", *_recipe_words(record)]
        words.append("--protocol " + " ".join(dict.fromkeys(r.protocol for r in alike)))
        if not record.recipe.is_checkpoint:  # which says its contrast and seed itself
            words += [f"--contrast {record.contrast}"] if record.contrast else []
            words.append("--seed " + " ".join(map(str, sorted({r.seed for r in alike}))))
        lines[" ".join(words)] = None
    trained = sorted({commit for record in records for commit in record.trained_at})
    scored = sorted({record.scored_at for record in records})
    machines = sorted({_machine(record) for record in records})
    return (
        "### Commands\n\n```sh\n"
        + "\n".join(lines)
        + f"\n```\n\nTrained at commits {', '.join(trained) or 'unknown'}; scored at "
        + f"{', '.join(scored)}. {'; '.join(machines)}."
    )


def _recipe_words(record: Record) -> list[str]:
    """What names a recipe on the command line."""
    recipe = record.recipe
    if recipe.is_checkpoint:
        return [f"--checkpoint {recipe.name}"]
    if not recipe.base:
        return [f"--recipe {recipe.name}"]
    before = RECIPES[recipe.base].leaves
    changed = {leaf: v for leaf, v in recipe.leaves.items() if before.get(leaf) != v}
    settings = [shlex.quote(f"{leaf}={_literal(value)}") for leaf, value in changed.items()]
    return [f"--recipe {recipe.base}", f"--name {recipe.name}", "--set", *settings]


def _machine(record: Record) -> str:
    machine = record.machine
    return f"{machine.cores} cores of {machine.processor}, threads: {machine.threads}"


def _literal(value: object) -> str:
    """As ``--set`` reads it."""
    return value if isinstance(value, str) else json.dumps(value)
