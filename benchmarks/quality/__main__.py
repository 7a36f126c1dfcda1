"""Train, score and tabulate: ``python -m benchmarks.quality``, from the project's folder.

    run PAIRS --work DIR      what is not recorded yet of the whole comparison, or what is asked for
    table --into FILE         what the records say, between the marks of a Markdown file
    lists PAIRS --work DIR    the pair list of every protocol, to train on by other means
    pace PAIRS --work DIR     how soon is `default` as good as `classic` at its end?
    spread PAIRS --work DIR --model FILE ...    does the spread of predictions tell where they err?

Ctrl-C, or the end of the machine, loses at most an epoch: the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.quality.pace import draw_pace, measure_pace
from benchmarks.quality.protocols import (
    FOLDS,
    PROTOCOLS,
    arrange,
    digest,
    scored_contrasts,
)
from benchmarks.quality.recipes import RECIPES
from benchmarks.quality.records import (
    RECORDS,
    Record,
    read_record,
    read_records,
    source_commit,
    write_file,
    write_json,
)
from benchmarks.quality.runs import Bench, Run, recipe_of, record_run
from benchmarks.quality.spread import draw, measure_spread
from benchmarks.quality.tables import tables, write_block

from napari_ct2mri.app.terminal import run_in_terminal
from napari_ct2mri.errors import ConfigError, Ct2MriError
from napari_ct2mri.imaging.phantom import phantom_job
from napari_ct2mri.pix2pix.pairs import read_pairs, write_pairs
from napari_ct2mri.pix2pix.zoo import find_model

_SEEDS = (0, 1, 2)
_PHANTOMS = {
    "subjects": 8,
    "contrasts": ("T2", "T1"),
    "shape": (5, 96, 96),
    "spacing": (26, 2.5, 2.5),
}


def planned(contrasts: Sequence[str]) -> Iterator[Run]:
    """The runs of the comparison, what matters most first; equal time after what it equals.

    Parameters
    ----------
    contrasts : sequence of str
        Those that can be scored; the first is the one that targets are set for.
    """
    default = RECIPES["default"]
    for protocol in ("fixed", *FOLDS):
        yield Run(protocol, default)
        yield Run(protocol, RECIPES["classic-32"], contrasts[0])
    yield from (Run("fixed", default, seed=seed) for seed in _SEEDS[1:])
    yield Run("train-fit", RECIPES["by-heart"], contrasts[0])
    yield Run("fixed", RECIPES["classic-64"], contrasts[0])
    for contrast, protocol in product(contrasts[1:], ("fixed", *FOLDS)):
        yield Run(protocol, RECIPES["classic-32"], contrast)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except Ct2MriError as error:
        print(f"quality: {error}", file=sys.stderr)
        return 1
    return 0


def run(options: argparse.Namespace) -> None:
    """Train, score and record."""
    bench = _bench(options)
    runs = _runs(options, bench)
    for asked in runs:
        is_known = bench.record_path(asked).is_file()
        print(f"{asked.name}: {'recorded' if is_known else 'to do'}", flush=True)
        if not options.list:
            checkpoint = find_model(options.checkpoint) if options.checkpoint else None
            run_in_terminal(record_run(bench, asked, checkpoint))
            if options.into and not is_known:
                _write_tables(bench.records, options.into)
    if options.into:
        _write_tables(bench.records, options.into)


def table(options: argparse.Namespace) -> None:
    """Print the tables, or write them into a file."""
    if options.into:
        _write_tables(options.records or RECORDS, options.into)
    else:
        print(_tables(options.records or RECORDS, Path()))


def lists(options: argparse.Namespace) -> None:
    """Write the pair list of every protocol."""
    bench = _bench(options)
    bench.work.mkdir(parents=True, exist_ok=True)
    for protocol in PROTOCOLS:
        contrast = scored_contrasts(bench.pairs)[0] if protocol == "train-fit" else None
        rows = arrange(bench.pairs, protocol, contrast, training=bench.training).rows
        path = bench.work / f"{protocol}.csv"
        write_pairs(path, rows)
        scored = sorted({(row.contrast, row.patient) for row in rows if row.split == "test"})
        print(
            f"{path}: scores " + ", ".join(f"{patient} {contrast}" for contrast, patient in scored)
        )


def spread(options: argparse.Namespace) -> None:
    """Measure the spread of a model's, or several models', predictions against their error."""
    bench = _bench(options)
    models = [find_model(model) for model in options.model]
    name = options.name or models[0].stem
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,80}", name):
        raise ConfigError(f"--name {name}: expected up to 80 letters, digits, _, . or -")
    rows = arrange(bench.pairs, options.protocol)
    known = digest(rows.where("test").rows)
    record = run_in_terminal(
        measure_spread(rows, models, scored_on=known, scored_at=source_commit())
    )
    path = bench.records / f"spread.{name}.{options.protocol}.json"
    write_file(path.with_suffix(".png"), draw(record))
    write_json(path, record)
    print(path)


def pace(options: argparse.Namespace) -> None:
    """Score kept checkpoints: processor time until a run is as good as another at its end."""
    bench = _bench(options)
    contrast = scored_contrasts(bench.pairs)[0]
    end = Run("fixed", RECIPES[options.goal], contrast)
    if not bench.record_path(end).is_file():
        raise ConfigError(f"{end.name} is not recorded yet; run it first")
    runs: list[Run] = []
    for recipe in (RECIPES[name] for name in options.recipe):
        only = contrast if recipe.one_contrast else None
        asked = [Run("fixed", recipe, only, seed) for seed in options.seed]
        runs += [run for run in asked if bench.has_left(run)] or asked
    goal = read_record(bench.record_path(end), Record)
    record = run_in_terminal(measure_pace(bench, runs, goal))
    path = bench.records / f"pace.{'-'.join(options.recipe)}.fixed.json"
    write_file(path.with_suffix(".png"), draw_pace(record))
    write_json(path, record)
    print(path)


def _bench(options: argparse.Namespace) -> Bench:
    """What all runs share; the reduced form makes its own patients if it is given none."""
    records = options.records or (options.work / "records" if options.reduced else RECORDS)
    if options.pairs is None and not options.reduced:
        raise ConfigError("expected a pair list; only --reduced goes without")
    pairs = options.pairs or options.work / "phantoms" / "pairs.csv"
    if options.pairs is None and not pairs.is_file():
        run_in_terminal(
            phantom_job(
                pairs.parent,
                subjects=6,
                contrasts=("T2", "T1"),
                shape=(4, 96, 96),
                spacing=(32.0, 2.5, 2.5),
            )
        )
    return Bench(
        read_pairs(pairs),
        options.work,
        records,
        read_pairs(options.train_from) if options.train_from else None,
        options.threads,
        options.reduced,
        getattr(options, "keep_every", 0),
    )


def _runs(options: argparse.Namespace, bench: Bench) -> list[Run]:
    """The runs that were asked for, or of the plan those that fit what was asked for."""
    contrasts = scored_contrasts(bench.pairs)
    if options.checkpoint:
        path = find_model(options.checkpoint)
        recipe, only, seed = recipe_of(path, options.name or path.stem)
        return [Run(protocol, recipe, only, seed) for protocol in options.protocol or ["fixed"]]
    if not options.recipe:
        if options.set or options.name:
            raise ConfigError("--set and --name change a recipe; name it with --recipe")
        return [
            run
            for run in planned(contrasts)
            if run.protocol in (options.protocol or PROTOCOLS)
            and (not options.contrast or run.contrast in options.contrast)
            and (not options.seed or run.seed in options.seed)
        ]
    runs = []
    for name in options.recipe:
        recipe = RECIPES[name]
        if options.set or options.name:
            if not (options.set and options.name):
                raise ConfigError("a changed recipe needs both --set and a --name of its own")
            recipe = recipe.changed(options.name, dict(options.set))
        scopes = options.contrast or (contrasts if recipe.one_contrast else [None])
        runs += [
            Run(protocol, recipe, contrast, seed)
            for protocol in options.protocol or ["fixed"]
            for contrast in scopes
            for seed in options.seed or [0]
        ]
    return runs


def _tables(records: Path, beside: Path) -> str:
    found: tuple[Record, ...] = read_records(records, PROTOCOLS)
    if not found:
        raise ConfigError(f"{records}: no records yet; make some with the command run")
    return tables(found, records, beside)


def _write_tables(records: Path, into: Path) -> None:
    write_block(into, _tables(records, into.parent))


def _setting(text: str) -> tuple[str, Any]:
    """``LEAF=VALUE``, the value as JSON or else as a word."""
    leaf, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text}: expected LEAF=VALUE, as in width=16")
    try:
        return leaf, json.loads(value)
    except json.JSONDecodeError:
        return leaf, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True)

    def command(function: Any) -> argparse.ArgumentParser:
        sub = commands.add_parser(function.__name__, help=function.__doc__)
        sub.set_defaults(command=function)
        sub.add_argument("--records", type=Path, help="folder of the records")
        return sub

    one = command(run)
    one.add_argument("--protocol", nargs="+", choices=PROTOCOLS)
    one.add_argument("--recipe", nargs="+", choices=RECIPES, help="by default the whole comparison")
    one.add_argument("--contrast", nargs="+", help="train and score these alone, each by itself")
    one.add_argument("--seed", nargs="+", type=int)
    one.add_argument(
        "--set", nargs="+", type=_setting, metavar="LEAF=VALUE", help="change the recipe"
    )
    one.add_argument("--name", help="of the changed recipe, or of the checkpoint's")
    one.add_argument("--checkpoint", help="score this file or released model, train nothing")
    one.add_argument("--into", type=Path, help="Markdown file to write the tables into")
    one.add_argument("--keep-every", type=int, default=0, metavar="EPOCHS", help="keep checkpoints")
    one.add_argument("--list", action="store_true", help="only say what there is to do")
    other = command(spread)
    other.add_argument("--model", nargs="+", required=True, help="files or released models")
    other.add_argument("--protocol", choices=("fixed", *FOLDS), default="fixed")
    other.add_argument("--name", help="of the record; by default the first model's")
    third = command(pace)
    third.add_argument("--recipe", nargs="+", choices=RECIPES, default=["default"])
    third.add_argument("--seed", nargs="+", type=int, default=list(_SEEDS))
    third.add_argument("--goal", choices=RECIPES, default="classic-32")
    for sub in (one, other, third, command(lists)):
        sub.add_argument("pairs", nargs="?", type=Path, help="pairs.csv; split by patient")
        sub.add_argument(
            "--work", type=Path, required=True, help="folder for checkpoints and reports"
        )
        sub.add_argument("--train-from", type=Path, help="pairs.csv with other images to train on")
        sub.add_argument("--threads", type=int, default=1)
        sub.add_argument("--reduced", action="store_true", help="all in minutes, to try it out")
    command(table).add_argument("--into", type=Path, help="Markdown file; by default printed")
    return parser


if __name__ == "__main__":
    sys.exit(main())
