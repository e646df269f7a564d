"""``flipbench results``: every state counted once, and exports that other tools can read."""

from __future__ import annotations

import csv
import io
import json
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flipbench.cli import export
from flipbench.cli.app import app
from flipbench.cli.holdings import failures, holdings, text
from flipbench.errors import UserError
from flipbench.store.store import Store
from tests.helpers.records import record


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One cell of each state; the plan asks for five."""
    store = Store(tmp_path / "grid")
    done, torn, absent = record(seed=1), record(seed=2), record(seed=3)
    refused = record(seed=4, status="infeasible", reason="krum needs at least 19 clients, got 18")
    broken = record(seed=5, status="failed", reason="ValueError: made up")
    for one in (done, torn, refused, broken, record(seed=6), {**broken, "key": "e" * 64}):
        store.publish(one)
    path = store.folder / "cells" / torn["key"][:2] / f"{torn['key']}.json"
    path.write_bytes(path.read_bytes()[:-5])
    keys = [one["key"] for one in (done, torn, absent, refused, broken)]
    store.write_plan({"grid": "grid", "title": None, "keys": keys, "figures": []})
    return store.folder


def test_every_state_is_counted(folder: Path) -> None:
    found = holdings(folder)
    assert sorted(found.states.values()) == ["done", "failed", "infeasible", "missing", "missing"]
    assert sorted(found.earlier.values()) == ["done", "failed"]
    assert list(found.quarantined.values()) == ["torn"]
    lines = {line.split()[0]: line.split()[1] for line in text(found).splitlines()[1:]}
    wanted = {"done": "1", "infeasible": "1", "failed": "1", "missing": "2", "earlier": "2", "quarantined": "1"}
    assert lines.items() >= wanted.items()
    assert "ValueError: made up" in text(found)
    assert text(holdings(folder)) == text(found)  # looking changes nothing more


def test_csv_is_the_table_of_cells(folder: Path, tmp_path: Path) -> None:
    assert export.cells(folder, tmp_path / "cells.csv") >= 1
    rows = list(csv.DictReader(io.StringIO((tmp_path / "cells.csv").read_text())))
    assert record(seed=1)["key"] in {row["key"] for row in rows}
    first = (tmp_path / "cells.csv").read_bytes()
    export.cells(folder, tmp_path / "cells.csv")
    assert (tmp_path / "cells.csv").read_bytes() == first
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cells.csv", "grid"]  # no temp file


def test_json_has_the_records_as_they_are(folder: Path, tmp_path: Path) -> None:
    assert export.cells(folder, tmp_path / "cells.json") == 3
    told = json.loads((tmp_path / "cells.json").read_text())
    assert [r["status"] for r in told] == ["done", "infeasible", "failed"]  # in the plan's order
    assert told[0] == json.loads(json.dumps(record(seed=1)))


@pytest.mark.skipif(
    find_spec("pyarrow") is None, reason="needs pyarrow: pip install -c constraints.txt -e '.[parquet]'"
)
def test_parquet_has_the_cells(folder: Path, tmp_path: Path) -> None:
    import pandas as pd

    export.cells(folder, tmp_path / "cells.parquet")
    assert record(seed=1)["key"] in set(pd.read_parquet(tmp_path / "cells.parquet")["key"])


def test_parquet_needs_pyarrow(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install -c constraints\.txt -e '\.\[parquet\]'"):
        export.cells(folder, tmp_path / "other.parquet")
    assert not (tmp_path / "other.parquet").exists()


def test_failures_of_one_kind_are_one_block_with_an_example_and_its_traceback(tmp_path: Path) -> None:
    store, keys = Store(tmp_path / "grid"), []
    reasons = [
        "RuntimeError: no update in round 3 (rule.py:14)",
        "RuntimeError: no update in round 12 (rule.py:14)",
        "RuntimeError: no update in round 12 (rule.py:14)",
        "RuntimeError: no update in round 3 (rule.py:15)",
        "used more than 1.50 GiB",
        "used more than 2 GiB",
        "a cell of median2 failed",
        "a cell of median3 failed",
    ]
    for seed, reason in enumerate(reasons):
        trace = f"Traceback of cell {seed}\nlast line" if "rule.py" in reason else None
        failed = {**record(seed=seed, status="failed", reason=reason), "traceback": trace}
        store.publish(failed)
        keys.append(failed["key"])
    store.write_plan({"grid": "grid", "title": None, "keys": keys, "figures": []})
    blocks = failures(holdings(store.folder)).split("\n\n")
    heads = [block.splitlines()[0] for block in blocks]
    assert heads == [
        "3 cells: RuntimeError: no update in round 3 (rule.py:14)",
        "2 cells: used more than 1.50 GiB",
        "1 cell: RuntimeError: no update in round 3 (rule.py:15)",
        "1 cell: a cell of median2 failed",
        "1 cell: a cell of median3 failed",
    ]
    assert f"  for example {keys[0][:12]}, " in blocks[0]
    assert blocks[0].endswith(
        "  1 other reason of this kind: only the numbers differ\n  Traceback of cell 0\n  last line"
    )
    assert blocks[1].endswith("  no traceback: its process ended")
    assert "other reason" not in blocks[2]
    done = CliRunner().invoke(app, ["results", str(store.folder), "--failures"])
    assert (done.exit_code, done.output) == (0, failures(holdings(store.folder)) + "\n")


def test_without_failures_it_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path / "grid")
    store.publish(record(seed=1))
    store.write_plan({"grid": "grid", "title": None, "keys": [record(seed=1)["key"]], "figures": []})
    assert failures(holdings(store.folder)) == "no cell of the latest plan failed"


def test_mistakes_are_one_message(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\.csv, \.json, \.parquet"):
        export.cells(folder, tmp_path / "cells.xlsx")
    call = CliRunner().invoke(app, ["results", str(folder), "--export", str(tmp_path / "cells.xlsx")])
    assert (call.exit_code, call.output.count("\n")) == (2, 1)  # no counts before it
    assert export.cells(folder, tmp_path / "CELLS.JSON") == 3
    with pytest.raises(UserError, match="cannot be written"):
        export.cells(folder, tmp_path / "nowhere" / "cells.json")
    with pytest.raises(UserError, match="another file with --export-rounds"):
        export.rounds(folder, tmp_path / "nowhere" / "rounds.csv")
    call = CliRunner().invoke(app, ["results", str(tmp_path / "empty")])
    assert call.exit_code == 2
    assert "run the grid first" in call.output
    call = CliRunner().invoke(app, ["results", str(folder), "--export", str(tmp_path / "c.json")])
    assert call.exit_code == 0, call.output
    assert "(3 cells)" in call.output
