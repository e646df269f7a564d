"""Edited source makes other experiments, of just those rules that reach the edit; a comment makes none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flipbench.grid import reader
from flipbench.plugins import kinds, registry, source_hashes
from flipbench.spec.cell import Cell
from flipbench.spec.key import key
from flipbench.versions import sources, table
from flipbench.versions.sources import SourceChangedError

Edit = Callable[[str, str, str], None]
MEDIAN = "flipbench.aggregators.rules.coordinatewise"


@pytest.fixture
def edit(monkeypatch: pytest.MonkeyPatch) -> Iterator[Edit]:
    """Edits what a module's file seems to hold."""
    held = dict(sources.contents())
    reader.forget()
    monkeypatch.setattr(sources, "contents", lambda: held)

    def change(module: str, old: str, new: str) -> None:
        text = held[module].decode()
        assert text.count(old) >= 1, f"{module} has no {old!r}"
        held[module] = text.replace(old, new).encode()
        reader.forget.__globals__["_contents"].cache_clear()
        reader.forget.__globals__["_source_hash"].cache_clear()
        table.engine_sources.cache_clear()
        table.edited.cache_clear()

    monkeypatch.setattr(sources, "forget", lambda: None)
    yield change
    monkeypatch.undo()
    reader.forget()


def marks(kind: str) -> dict[str, str | None]:
    return {name: source_hashes.source_hash(kind, name) for name in registry.shipped(kind)}


def edited(kind: str) -> set[str]:
    """The names whose source is edited; a raised version is no edit."""
    return {name for name, mark in marks(kind).items() if str(mark).startswith(table.EDITED)}


def test_what_is_not_edited_adds_nothing_to_keys() -> None:
    assert not any(edited(kind) for kind in kinds.KINDS)
    assert source_hashes.engine_mark() is None
    assert reader.contents(Cell(dataset="digits", aggregator="median")).keys() == {"dataset"}


def test_an_edited_rule_is_another_experiment_and_the_others_are_not(edit: Edit) -> None:
    cells = {name: Cell(dataset="digits", aggregator=name) for name in ("median", "krum", "nnm | median", "fedavg")}
    before = {name: key(cell, reader.contents(cell)) for name, cell in cells.items()}
    edit(MEDIAN, "import annotations\n", "import annotations\n\nEDITED = 1\n")
    assert edited("aggregator") == set(), "a name that no rule reads"
    edit(MEDIAN, "def median(", "@(lambda f: f)\ndef median(")
    now = {name: key(cell, reader.contents(cell)) for name, cell in cells.items()}
    assert {name for name in cells if now[name] != before[name]} == {"median", "nnm | median"}
    assert str(source_hashes.source_hash("aggregator", "median")).startswith(table.EDITED)
    assert source_hashes.engine_mark() is None


def test_comments_docstrings_and_messages_change_no_key(edit: Edit) -> None:
    for module, source in sources.contents().items():
        text = source.decode()
        edit(module, text, "# a comment\n" + text.replace(' """', ' """Said anew. ', 1) + "\n# and another\n")
    assert table.edited() == frozenset()
    assert not any(edited(kind) for kind in kinds.KINDS)


def test_an_edited_kernel_changes_the_rules_that_reach_it(edit: Edit) -> None:
    edit("flipbench.aggregators.numerics.distances", "def squared_distances(", "@(lambda f: f)\ndef squared_distances(")
    changed = edited("aggregator")
    assert {"krum", "multi_krum"} <= changed
    assert not {"median", "trimmed_mean", "fedavg"} & changed
    assert source_hashes.engine_mark() is not None, "the influence that is recorded uses it"


def test_an_edited_engine_changes_all_keys(edit: Edit) -> None:
    cell = Cell(dataset="digits", aggregator="median")
    before = key(cell, reader.contents(cell))
    edit("flipbench.training.optimizer", "\nclass ", "\n@(lambda c: c)\nclass ")
    assert reader.contents(cell)["engine"].startswith(table.EDITED)
    assert key(cell, reader.contents(cell)) != before
    assert source_hashes.engine_source().startswith(table.EDITED)


@pytest.mark.parametrize(
    ("statement", "use", "changes"),
    [
        ("from flipbench.aggregators import median", "median", True),
        ("from flipbench import aggregators as a", "a.median", True),
        ("import flipbench.aggregators", "flipbench.aggregators.median", True),
        ("import flipbench.aggregators.rules.coordinatewise as c", "c.median", True),
        ("from flipbench.aggregators.rules import coordinatewise", "coordinatewise.median", True),
        ("from flipbench.aggregators import krum", "krum", False),
        ("import flipbench.aggregators", "flipbench.aggregators.krum", False),
    ],
)
def test_a_plug_in_changes_with_what_it_imports_from_the_suite(
    edit: Edit, tmp_path: Path, statement: str, use: str, changes: bool
) -> None:
    (tmp_path / "rule.py").write_text("import helper\ndef mine(updates, cohort, /):\n    return helper.ask(updates)\n")
    (tmp_path / "helper.py").write_text(f"{statement}\ndef ask(updates):\n    return {use}(updates, None)\n")
    name = f"{tmp_path}/rule.py:mine"
    before = source_hashes.source_hash("aggregator", name)
    edit(MEDIAN, "def median(", "@(lambda f: f)\ndef median(")
    assert (source_hashes.source_hash("aggregator", name) != before) is changes


def test_a_raised_version_is_in_the_key(edit: Edit, monkeypatch: pytest.MonkeyPatch) -> None:
    known = table.table()
    krum = {**known.entries["aggregator"], "krum": table.Known(2, known.entries["aggregator"]["krum"].source)}
    raised = table.Table(3, {**known.entries, "aggregator": krum}, known.parts, known.modules, known.digests)
    monkeypatch.setattr(table, "table", lambda: raised)
    assert source_hashes.source_hash("aggregator", "krum") == "version 2"
    assert source_hashes.source_hash("aggregator", "median") is None
    assert source_hashes.engine_mark() == "version 3"


def test_source_that_changes_under_a_running_process_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    first = dict(sources.contents())
    monkeypatch.setattr(sources, "_first", first | {MEDIAN: first[MEDIAN] + b"\n"})
    sources.forget()
    with pytest.raises(SourceChangedError, match=r"coordinatewise.py changed while this program was running"):
        sources.contents()
    monkeypatch.undo()
    sources.forget()
