"""The records in the tree are of recipes that are still there."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks.quality.pace import PaceRecord
from benchmarks.quality.protocols import PROTOCOLS
from benchmarks.quality.recipes import RECIPES, difference
from benchmarks.quality.records import RECORDS, Record, read_record, read_records, run_name

from napari_ct2mri.config import AugmentConfig

_RECORDS = read_records(RECORDS, PROTOCOLS)


@pytest.mark.parametrize("record", _RECORDS, ids=lambda record: record.name)
def test_a_recorded_training_is_what_its_recipe_asks_for(record: Record) -> None:
    known = RECIPES.get(record.recipe.name)
    recipe = known or RECIPES[record.recipe.base].changed(record.recipe.name, record.recipe.leaves)
    may = {"epochs", "decay_epochs"} if recipe.on_equal_time(record.protocol) else set()
    asked = recipe.config(record.seed)
    assert difference(asked, record.config, but=frozenset(may)) == ""


@pytest.mark.parametrize("path", sorted(RECORDS.glob("pace.*.json")), ids=lambda path: path.name)
def test_a_pace_ends_where_its_trainings_end(path: Path) -> None:
    pace = read_record(path, PaceRecord)
    ends = {record.name: record for record in _RECORDS}
    for curve in pace.curves:
        only = pace.contrast if RECIPES[curve.recipe].one_contrast else None
        record = ends[run_name(pace.protocol, curve.recipe, only, curve.seed)]
        assert curve.points[-1].epoch == record.epochs


def test_learning_by_heart_leaves_nothing_to_chance() -> None:
    augment = RECIPES["by-heart"].config(0).augment
    neutral = {name: 1.0 if name == "patch" else 0.0 for name in AugmentConfig.model_fields}
    assert augment.model_dump() == neutral
