"""Records whose bytes are whole and whose content is not what flipbench writes: named, put aside, and nothing stops."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flipbench.analysis import frame as frames
from flipbench.analysis import metrics
from flipbench.analysis.folders.run_comparison import compare_folders
from flipbench.analysis.warnings import guards
from flipbench.cli.app import app
from flipbench.report import write
from flipbench.spec.cell import FIELDS, Cell
from flipbench.spec.key import key
from flipbench.store.record_check import Odd, parsed
from flipbench.store.record_format import encode
from flipbench.store.store import Store
from tests.helpers import records
from tests.store.store_cases import path_of

MAP = {"targeted(source=4, target=9)": [(4, 9)]}
Change = Callable[[dict[str, Any]], Any]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two rules under one attack, two seeds, with their clean twins."""
    return small(tmp_path / "g")


def small(folder: Path) -> Store:
    axes: dict[str, Any] = {"aggregators": ("fedavg", "krum"), "fractions": (0.2,), "flip_rates": (1.0,)}
    return records.write_grid(folder, attacks=MAP, seeds=(0, 1), **axes)


def overwrite(store: Store, record: dict[str, Any], wanted: str | None = None) -> None:
    """The record in the place of a cell's file, with a hash that is right."""
    path_of(store, wanted or record["key"]).write_bytes(encode(record))


ODD: dict[str, tuple[str, Change]] = {
    "a seed of another cell": ("facts", lambda r: r["facts"].update(seed=7)),
    "text for a number": ("facts: rounds", lambda r: r["facts"].update(rounds="4")),
    "1.0 for 1": ("facts: rounds", lambda r: r["facts"].update(rounds=4.0)),
    "no facts": ("facts", lambda r: r.pop("facts")),
    "facts that are a list": ("facts", lambda r: r.update(facts=[1, 2])),
    "no result": ("result", lambda r: r.update(result=None)),
    "negative counts": ("result.confusion", lambda r: r["result"]["confusion"][0][1].__setitem__(2, -1)),
    "a table of too few classes": ("result.confusion", lambda r: r["result"]["confusion"][0].pop()),
    "a row too short": ("result.confusion", lambda r: r["result"]["confusion"][1][2].pop()),
    "rounds out of order": ("result.rounds", lambda r: r["result"]["rounds"].reverse()),
    "a round too many": ("result.confusion", lambda r: r["result"]["rounds"].append(9)),
    "counts beyond 64 bits": ("result.confusion", lambda r: r["result"]["confusion"][0][0].__setitem__(0, 2**70)),
    "text in a matrix": ("result.influence", lambda r: r["result"]["influence"][0].__setitem__(0, "0.05")),
    "other totals": ("result.confusion", lambda r: r["result"]["confusion"][0][0].__setitem__(0, 5)),
    "a client twice": ("result.clients", lambda r: r["result"]["clients"][0].__setitem__(1, 0)),
    "a client beyond all": ("result.clients", lambda r: r["result"]["clients"][0].__setitem__(1, 99)),
    "no classes": ("task.classes", lambda r: r["task"].update(classes=[])),
    "a class map beyond the classes": ("mapping", lambda r: r.update(mapping=[[4, 10]])),
    "negative seconds": ("seconds", lambda r: r["seconds"].update(local=-1.0)),
    "a strange status": ("status", lambda r: r.update(status="perhaps")),
    "a failure among results": ("result", lambda r: r.update(status="failed")),
    "a twin that is no key": ("twin", lambda r: r.update(twin="../../etc")),
    "its own twin": ("twin", lambda r: r.update(twin=r["key"])),
    "a malicious client beyond all": ("result.malicious", lambda r: r["result"].update(malicious=[99])),
    "too many malicious clients": ("result.malicious", lambda r: r["result"].update(malicious=[*range(20)])),
    "an attempt of text": ("attempts", lambda r: r.update(attempts="1")),
    "deep nesting": ("", lambda r: r["provenance"].update(python=json.loads("[" * 300 + "]" * 300))),
}


@pytest.mark.parametrize(("where", "change"), ODD.values(), ids=ODD)
def test_an_odd_record_is_put_aside_named_and_counts_as_missing(store: Store, where: str, change: Change) -> None:
    keys = store.read_plan()["keys"]
    record = store.read(next(k for k in keys if store.read(k)["facts"]["attack"] != "none"))
    own = record["key"]
    change(record)
    overwrite(store, record, own)
    with pytest.raises(Odd) as caught:
        parsed(encode(record))
    assert where in str(caught.value)
    for repairs in (False, True):  # a reader leaves the file where it lies; who draws the report puts it aside
        frame = frames.load(store.folder, repairs)
        assert path_of(store, own).exists() is not repairs
        assert (frame["status"] == "missing").sum() == 1
        said = next(g for g in guards(frame, metrics.evaluate(frame)) if g.kind == "damaged")
        assert own in said.text
        assert where in said.text
        assert "run the grid again" in said.text
    assert store.read(own) is None
    ran = CliRunner().invoke(app, ["results", str(store.folder)])
    assert ran.exit_code == 0
    assert f"{own}.json.odd." in ran.output


def test_a_record_under_the_key_of_another_cell_is_put_aside(store: Store) -> None:
    """Its facts, its key and its twin agree: only its place is wrong."""
    first, second = store.read_plan()["keys"][:2]
    record = {**(store.read(first) or {}), "key": second}
    overwrite(store, record)
    assert store.read(second) is None
    assert store.read(first) is not None


def test_members_of_later_versions_are_left_alone(store: Store) -> None:
    record = store.read(store.read_plan()["keys"][0])
    record["later"], record["result"]["later"], record["facts"]["later"] = 1, [1], "usual"
    overwrite(store, record)
    assert store.read(record["key"])["result"]["later"] == [1]


def test_a_plan_with_odd_members_is_one_message(store: Store) -> None:
    plan = store.read_plan()
    for name, value in {"title": 3, "figures": [3], "labels": [["a"]], "command": ["x"], "keys": {}}.items():
        (store.folder / "plan.json").write_text(json.dumps({**plan, name: value}))
        ran = CliRunner().invoke(app, ["report", str(store.folder)])
        assert ran.exit_code == 2
        assert "plan.json is no plan" in ran.output.replace("\n", " ")


VALUES = [
    None,
    True,
    -1,
    0,
    3,
    2**63,
    10**400,
    -0.5,
    1e308,
    math.nan,
    "",
    "x",
    "\u202e\ud800",
    [],
    [[]],
    {},
    {"a": 1},
    [[[0]]],
]


def mutated(record: Any, rng: random.Random) -> None:
    """One member somewhere in it is replaced, removed, repeated or renamed."""
    node = record
    while True:
        places = list(node) if isinstance(node, dict) else list(range(len(node)))
        place = rng.choice(places)
        if isinstance(node[place], dict | list) and node[place] and rng.random() < 0.75:
            node = node[place]
            continue
        how = rng.randrange(4)
        if how == 0:
            del node[place]
        elif how == 1 and isinstance(node, dict):
            node[f"{place}x"] = node.pop(place)
        elif how == 1:
            node.append(node[place])
        else:
            node[place] = rng.choice(VALUES)
        return


def test_no_mutation_of_a_record_stops_anything(store: Store) -> None:
    """500 mutations, each either read as a record that all tables can be made of, or put aside."""
    rng, keys = random.Random(18), store.read_plan()["keys"]
    good = {k: encode(store.read(k) or {}) for k in keys}
    pristine = {k: json.loads(raw) for k, raw in good.items()}
    refused = 0
    for step in range(500):
        own = keys[step % len(keys)]
        record = json.loads(json.dumps(pristine[own]))
        mutated(record, rng)
        path_of(store, own).write_bytes(raw := encode(record))
        try:
            found = parsed(raw)
            known = {n: v for n, v in found["facts"].items() if n in FIELDS}
            assert key(Cell(**known), found["content"]) == found["key"]
        except Odd:
            refused += 1
        if own == keys[-1] or step == 499:
            frame = frames.load(store.folder)
            guards(frame, metrics.evaluate(frame))
            for k, raw in good.items():
                path_of(store, k).write_bytes(raw)
    assert refused > 250


def test_reports_and_comparisons_of_odd_folders(store: Store, tmp_path: Path) -> None:
    """Every other cell is odd in another way: each command says what it can, and none ends in a traceback."""
    other = small(tmp_path / "other")
    for own, (_, change) in zip(store.read_plan()["keys"][::2], [*ODD.values()][::6], strict=False):
        record = store.read(own)
        change(record)
        overwrite(store, record, own)
    assert len(store.statuses()) >= 4
    assert "count as missing" in write.summary_text(store.folder)
    assert compare_folders(other.folder, store.folder).lost > 0
    assert CliRunner().invoke(app, ["compare", str(other.folder), str(store.folder)]).exit_code == 1


@pytest.mark.parametrize(("where", "change"), ODD.values(), ids=ODD)
def test_a_survey_in_full_counts_an_odd_record_as_missing(tmp_path: Path, where: str, change: Change) -> None:
    """As a run looks, which would otherwise pass the cell over and leave it to the report to refuse it."""
    store = small(tmp_path / "g")
    attacked = [(key, r) for key in sorted(store.keys()) if (r := store.read(key)) and r["facts"]["attack"] != "none"]
    (odd, record), (kept, _) = attacked[:2]
    change(record)
    overwrite(store, record, odd)
    seen = store.survey(whole={kept, odd})
    assert kept in seen.statuses
    assert odd not in seen.statuses
    assert f"{odd}.json" in seen.damaged
    assert not store.has(odd)
