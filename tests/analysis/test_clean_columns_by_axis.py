"""A field of the attack as axis has one clean column of the twins of all its values."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from matplotlib.colors import Normalize
from matplotlib.text import Text

from flipbench.analysis import frame as frames
from flipbench.analysis import metrics
from flipbench.analysis.metric_columns import metric_column
from flipbench.analysis.pages import pages
from flipbench.analysis.pivot import Pivot
from flipbench.report.figures import (
    heatmap,
)
from flipbench.report.figures.captions import clean_twins
from flipbench.report.tables.custom import choose
from flipbench.report.tables.model import blocks
from flipbench.spec.field_groups import ATTACK_FIELDS, ATTACK_OPTIONS
from flipbench.spec.labels import value_label
from flipbench.spec.twins import clean_twin, normal
from flipbench.store.store import Store
from tests.analysis.clean_cases import ACCURACY, FLIPS, SEEDS, Read, clean_of, matrix, right
from tests.helpers.records import BASE, record

AXES: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "flip_rate": ([0.5, 1.0], {}),
    "attack_start": ([1, 3], {}),
    "attack_stop": ([2, None], {}),
    "attack_availability": ([0.5, 1.0], {}),
    "flips_trained": ([True, False], {}),
    "malicious_count": ([3, 6], {"declared_byzantine": 4}),
    "malicious_data": (["share", "fresh(examples=50)"], {}),
    "declared_byzantine": ([2, 6], {}),
}  # fields of the attack, and what the rule is told of it


def write_axis(folder: Path, field: str) -> Read:
    """A grid with one field of the attack as its axis; four malicious clients, one attack."""
    values, more = AXES[field]
    facts = {"malicious_count": 4, **more}
    store, keys = Store(folder), {}
    for rule, value, seed in product(("fedavg", "median"), values, SEEDS):
        attacked = replace(BASE, aggregator=rule, attack="mirrored", seed=seed, **{**facts, field: value})
        for cell in (normal(attacked), clean_twin(attacked)):
            own = FLIPS["mirrored"] if cell.attacked else None
            made = record(cell, confusion=matrix(right(cell)), mapping=own)
            if store.read(made["key"]) is None:
                store.publish(made)
            keys[made["key"]] = None
    store.write_plan({"grid": "axis", "title": "t", "source": "", "command": "c", "keys": list(keys)})
    frame = frames.load(folder)
    (page,) = pages(frame)
    return page, frame, metrics.evaluate(frame)


def test_the_axes_are_all_that_a_clean_twin_has_in_common_with_several_attacked_cells() -> None:
    assert {*AXES} == {*ATTACK_FIELDS, "declared_byzantine"} - {"attack", "malicious_fraction", "intent"}


@pytest.mark.parametrize("field", AXES)
def test_a_field_of_the_attack_as_axis_has_one_clean_column_of_the_twins_of_all(tmp_path: Path, field: str) -> None:
    page, frame, tidy = write_axis(tmp_path / "g", field)
    assert page.settings == ()
    table = Pivot(page, tidy).squares(ACCURACY, page.attacks)
    clean = table[[c.clean for c in table["column"]]]
    assert list(clean["state"]) == ["done", "done"]  # a square a rule
    assert len(set(table["column"])) == 1 + len(AXES[field][0])
    twins = set(frame.loc[frame["attack"] == "none", "declared_byzantine"])
    number = f"{94 - 2 * sum(twins) / len(twins):.1f}"  # of the median, mean over the f that its twins have
    (block,) = blocks(Pivot(page, tidy), ACCURACY, table, 9)
    assert sum("clean" in column for column in zip(*block.header, strict=True)) == 1
    assert clean_of(block, "median").startswith(number)
    chosen = choose(frame, tidy, columns=["attack", field])
    assert chosen.block.header[0].count("clean") == 1
    assert clean_of(chosen.block, "median").startswith(number)
    assert len(twins) == (2 if field in ("malicious_data", "declared_byzantine") else 1)
    said = f"mean over the declared f of the clean twins ({', '.join(map(str, sorted(twins)))})"
    for text in (dict(block.notes).get("clean", ""), clean_twins(table), chosen.said):
        assert (said in text) == (len(twins) > 1)
        assert ("declared f of the clean twins" in text) == (len(twins) > 1)


@pytest.mark.parametrize("field", AXES)
def test_clean_rows_are_as_many_as_there_are_different_twins(tmp_path: Path, field: str) -> None:
    """Where the field stands down: an option of the attack has one clean row, what changes f has one a value."""
    _, frame, tidy = write_axis(tmp_path / "g", field)
    names = [name for name, _ in choose(frame, tidy, rows=[field], columns=["aggregator"]).block.rows]
    clean = [name for name in names if name.startswith("clean")]
    assert len(set(names)) == len(names) == len(clean) + len(AXES[field][0])
    assert len(clean) == (1 if field in ATTACK_OPTIONS else len(AXES[field][0]))


@pytest.mark.parametrize("field", ["flips_trained", "malicious_data"])
@pytest.mark.parametrize("metric", ["accuracy", "source_recall"])
def test_a_figure_over_a_field_of_the_attack_has_one_clean_column_too(tmp_path: Path, field: str, metric: str) -> None:
    page, _, tidy = write_axis(tmp_path / "g", field)
    shown = metric_column(metric)
    table = Pivot(page, tidy).squares(shown, page.attacks)
    assert set(table["state"]) == {"done"}
    drawn = heatmap.draw(page, table, shown, page.attacks[0], Normalize(0, 1))
    words = [t.get_text().replace("\n", "") for t in drawn.findobj(Text)]
    assert words.count("clean") == 1
    for value in AXES[field][0]:
        assert value_label(field, value) in words
