"""What is bold and what is underlined, by an oracle of its own: loops over records, SciPy's t test, Holm by hand."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from flipbench.analysis.columns import columns_of
from flipbench.analysis.pivot import pivots
from flipbench.analysis.worst_case import worst
from flipbench.report.tables import attacks, custom, model
from flipbench.spec.cell import Cell
from flipbench.spec.twins import clean_twin
from tests.analysis.naive_metrics import naive
from tests.helpers import records
from tests.report.attack_cases import ACCURACY, Read, read

RULES = ("fedavg", "krum", "median", "trimmed_mean")
ATTACKS = {"targeted(source=1, target=0)": [(1, 0)], "mirrored": [(0, 2), (1, 1), (2, 0)]}
SEEDS = range(7)
FRACTIONS = (0.2, 0.4)


def counts_of(cell: Cell) -> list[list[int]]:
    """Three classes of 40 to 200 examples; few levels, so that some rules show the same number."""
    drawn = random.Random(f"{cell.aggregator}{cell.attack}{cell.malicious_fraction}{cell.seed}")
    better = {"median": 4, "trimmed_mean": 4}.get(cell.aggregator, 0)
    rows = []
    for true, whole in enumerate((40, 80, 200)):
        wrong = max(0, drawn.randrange(8) - better) * whole // 40
        row = [0, 0, 0]
        row[true] += whole - wrong
        row[(true + 1 + drawn.randrange(2)) % 3] += wrong
        rows.append(row)
    return rows


def states(cell: Cell, fraction: float) -> str:
    """Krum refuses the higher fraction; the median lacks two seeds at the lower one under one attack."""
    if cell.aggregator == "krum" and fraction == 0.4:
        return "infeasible"
    lost = cell.aggregator == "median" and cell.attack == "mirrored" and fraction == 0.2
    return "failed" if lost and cell.seed > 4 else "done"


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Read:
    folder = tmp_path_factory.mktemp("best") / "best"
    store, keys = records.Store(folder), {}
    for rule in RULES:
        for attack in ATTACKS:
            for fraction in FRACTIONS:
                for seed in SEEDS:
                    cell = replace(records.BASE, aggregator=rule, attack=attack, malicious_fraction=fraction, seed=seed)
                    for one in (cell, clean_twin(cell)):
                        status = states(one, fraction)
                        why = None if status == "done" else f"ValueError: {status}"
                        made = records.record(
                            one, confusion=counts_of(one), mapping=ATTACKS.get(one.attack), status=status, reason=why
                        )
                        if made["key"] not in keys:
                            store.publish(made)
                        keys[made["key"]] = None
    store.write_plan({"grid": "best", "title": None, "source": "", "keys": list(keys), "figures": []})
    return read(folder)


def oracle(grid: Read, name: str, attack_list: list[str]) -> dict[tuple[str, str, float], Any]:
    """(rule, attack or "none", fraction) -> seed -> number, of the records as they lie in the folder."""
    _, frame, *_ = grid
    metric, part = name.removesuffix("_damage").removesuffix("_last5"), name
    found: dict[Any, dict[int, list[float]]] = {}
    cells = frame[frame["status"] == "done"].set_index("key")
    for cell in cells[cells["attack"].isin(attack_list)].to_dict("records"):
        pairs = [tuple(p) for p in cell["mapping"]]
        own = naive(metric, cell["confusion"][-1].tolist(), pairs)
        twin = cells.loc[cell["twin"]] if cell["twin"] in cells.index else None
        clean = float("nan") if twin is None else naive(metric, twin["confusion"][-1].tolist(), pairs)
        sign = -1 if metric == "attack_success_rate" else 1
        value = sign * (clean - own) if part.endswith("_damage") else own
        place = (cell["aggregator"], cell["attack"], cell["malicious_fraction"])
        found.setdefault(place, {}).setdefault(cell["seed"], []).append(value)
    return found


def expected_marks(columns: list[dict[str, dict[int, float]]], higher: bool) -> list[dict[str, str]]:
    """Of each column (rule -> seed -> number): rule -> bold or underlined."""
    tests = []
    for i, column in enumerate(columns):
        for a in range(len(RULES)):
            for b in range(a + 1, len(RULES)):
                common = sorted(set(column.get(RULES[a], {})) & set(column.get(RULES[b], {})))
                if len(common) > 1:
                    pair = [[column[RULES[r]][s] for s in common] for r in (a, b)]
                    p = float(stats.ttest_rel(*pair).pvalue) if pair[0] != pair[1] else 1.0
                    tests.append([p, i, RULES[a], RULES[b], len(common)])
    least, adjusted = 0.0, {}
    for place, (p, i, a, b, n) in enumerate(sorted(tests)):
        least = max(least, min(1.0, (len(tests) - place) * p))
        adjusted[i, a, b] = adjusted[i, b, a] = (least, n)
    found = []
    for i, column in enumerate(columns):
        most = max((len(seeds) for seeds in column.values()), default=0)
        complete = {r: seeds for r, seeds in column.items() if len(seeds) == most}
        means = {r: sum(seeds.values()) / most for r, seeds in complete.items()}
        sign = 1 if higher else -1
        marks: dict[str, str] = {}
        if len(means) > 1:
            shown = {r: f"{round(100 * m, 1):.1f}" for r, m in means.items()}
            top = max(means, key=lambda r: sign * means[r])
            best = max(sign * float(text) for text in shown.values())
            for rule, text in shown.items():
                p, n = adjusted.get((i, top, rule), (1.0, 0))
                if sign * float(text) == best:
                    marks[rule] = "bold"
                elif n >= 6 and not p < 0.05:
                    marks[rule] = "underlined"
        found.append(marks)
    return found


def marks_of(entry: model.Entry) -> str | None:
    assert not (entry.best and entry.tied)
    return "bold" if entry.best else "underlined" if entry.tied else None


@pytest.mark.parametrize(
    "name", ["accuracy", "accuracy_damage", "source_recall", "attack_success_rate", "attack_success_rate_damage"]
)
def test_bold_is_the_best_and_underlined_what_cannot_be_told_from_it(grid: Read, name: str) -> None:
    _, frame, tidy, _ = grid
    (pivot,) = pivots(frame, tidy)
    higher = name in ("accuracy", "source_recall")
    seen: set[str | None] = set()
    for shown, table in model.sections(pivot, [name]):
        asked = sorted({c.attack for c in columns_of(table) if not c.clean})
        numbers = oracle(grid, name, asked)
        columns, heads = [], columns_of(table)
        for c in heads:
            if c.clean:
                clean = table[table["column"] == c]
                columns.append(clean_of(grid, name, asked, clean["aggregator"].tolist()))
            else:
                places = {r: numbers.get((r, c.attack, c.level[0]), {}) for r in RULES}
                columns.append({r: {s: v[0] for s, v in seeds.items()} for r, seeds in places.items() if seeds})
        expected = expected_marks(columns, higher)
        (block,) = model.blocks(pivot, shown, table, 99)
        for rule, entries in block.rows:
            assert [marks_of(e) for e in entries] == [marks.get(rule) for marks in expected], (shown.name, rule)
            seen |= {marks_of(e) for e in entries}
        short = dict(block.rows)["median"]
        assert all(not e.best and not e.tied for e in short if "5 of 7" in dict(block.notes).get(e.note, ""))
    assert seen == {None, "bold", "underlined"}


def clean_of(grid: Read, name: str, asked: list[str], rules: list[str]) -> dict[str, dict[int, float]]:
    """Rule -> seed -> the mean of its clean twins' numbers, each twin (and map) once."""
    _, frame, *_ = grid
    cells = frame[frame["status"] == "done"].set_index("key")
    found: dict[str, dict[int, list[float]]] = {}
    attacked = frame[frame["attack"].isin(asked) & frame["aggregator"].isin(rules)]
    for twin in dict.fromkeys(attacked["twin"]):
        if twin in cells.index:
            cell = cells.loc[twin]
            pairs = ATTACKS[asked[0]] if name != "accuracy" else None
            value = naive(name, cell["confusion"][-1].tolist(), pairs)
            found.setdefault(cell["aggregator"], {}).setdefault(int(cell["seed"]), []).append(value)
    return {rule: {s: sum(v) / len(v) for s, v in seeds.items()} for rule, seeds in found.items()}


def test_the_worst_case_is_the_best_of_complete_rules(grid: Read) -> None:
    _, frame, tidy, _ = grid
    (pivot,) = pivots(frame, tidy)
    numbers = oracle(grid, "accuracy", list(ATTACKS))
    table = worst(pivot, ACCURACY)
    for column in [c for c in columns_of(table) if not c.clean]:
        fraction = column.level[0]
        means: dict[str, float] = {}
        for rule in RULES:
            each = [numbers.get((rule, a, fraction), {}) for a in ATTACKS]
            if all(len(seeds) == len(SEEDS) for seeds in each):
                means[rule] = min(sum(v[0] for v in seeds.values()) / len(seeds) for seeds in each)
        shown = {r: round(100 * m, 1) for r, m in means.items()}
        bold = {r for r, v in shown.items() if v == max(shown.values())}
        here = table[table["column"] == column]
        assert {r for r, m in zip(here["aggregator"], here["mark"], strict=True) if m == "best"} == bold
        assert bold


def test_every_form_marks_the_same(grid: Read) -> None:
    """Markdown, LaTeX and a table of one's own: one decision."""
    page, frame, tidy, _ = grid
    (pivot,) = pivots(frame, tidy)
    (block,) = attacks.worst_blocks(pivot, 99)
    where = ["attack=targeted(source=1, target=0)"]
    own = custom.choose(frame, tidy, "attack_success_rate", columns=["malicious_fraction"], where=where).block
    ((shown, table),) = [
        (s, t)
        for s, t in model.sections(pivot, ["attack_success_rate"])
        if any(c.attack.startswith("targeted") for c in columns_of(t))
    ]
    (of_report,) = model.blocks(pivot, shown, table, 99)
    assert [[e.best for e in entries] for _, entries in own.rows] == [
        [e.best for e in entries] for _, entries in of_report.rows
    ]
    assert json.dumps([name for name, _ in own.rows]) == json.dumps(list(page.rows))
    assert any(e.best for _, entries in block.rows for e in entries)
    assert np.isfinite(table["mean"].to_numpy(dtype=float)).any()
