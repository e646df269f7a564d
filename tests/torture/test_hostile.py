"""Names from anyone, end to end: run, reported, exported, and opened in a browser; nothing escapes, nothing runs."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flipbench.cli import export, holdings
from flipbench.execution import runner
from flipbench.execution.progress import Quiet
from flipbench.grid import reader
from flipbench.grid.reader import GridError
from flipbench.report import write
from flipbench.store.store import Store
from tests.helpers.browser import Browser

pytestmark = pytest.mark.torture

Told = Callable[[str, str], None]
LIVE = "<script>window.ran=1</script><img src=x onerror=window.ran=1><svg onload=window.ran=1>"
NAMES = (
    *("../../../../escaped", "/tmp/../escaped", "..\\..\\escaped", LIVE, "'\"><script>window.ran=1</script>"),
    *(
        "javascript:window.ran=1",
        "</style></script></title><script>window.ran=1</script>",
        "]]><script>window.ran=1</script>",
    ),
    *("=cmd|' /C calc'!A0", "+1+1", "-1+1", "@SUM(1)", " =1+1", "\t=1+1", "\uff1d1+1", "\r=1+1"),
    *("a\nb", "a\r\nb,c", "\u202edcba", "\u2028", 'a"b,c;d', "\\input{escaped}", "$(touch escaped)", "`touch escaped`"),
    *("x" * 900, "{{7*7}}", "%s%n", "_id__", "|", "&amp;&lt;"),
)
PLUGINS = """
import torch
from flipbench.aggregators import Infeasible
from flipbench.attacks.contract import Proposal
from flipbench.data.dataset import Dataset

NAMES = {names!r}


def rule(updates, cohort, /, *, label="plain"):
    if label.startswith("="):
        raise Infeasible(label + NAMES[3] + "x" * 10_000)
    if label.startswith("@"):
        raise ValueError(label + NAMES[3] + "\\n=1+1\\n" + "x" * 10_000)
    return updates.mean(dim=-2)


def flip(labels, scene, /, *, label="plain"):
    return Proposal(labels=(labels + 1) % 4, eligible=torch.ones_like(labels, dtype=torch.bool))


def shapes():
    g = torch.Generator().manual_seed(0)
    y = torch.arange(80) % 4
    x = (torch.rand(80, 1, 4, 4, generator=g) * 255).to(torch.uint8)
    return Dataset(
        name=NAMES[3], classes=(NAMES[3], "=1+1", "../../escaped", "x" * 10_000), train_x=x[:60], train_y=y[:60],
        test_x=x[60:], test_y=y[60:], split="official", sha256="0" * 64, sources=(NAMES[0],), notes=(NAMES[3],),
    )
"""
SHEET = """
name: hostile
title: {title}
base:
  {{dataset: "{file}:shapes", clients: 4, model: softmax, rounds: 1, local_steps: 1, batch_size: 4, malicious_count: 1}}
axes:
  aggregator: [fedavg, {rules}]
  attack: [{attacks}]
  seed: [0]
figures:
  - {{kind: heatmap, metric: accuracy}}
"""


def quoted(text: str) -> str:
    """A YAML text in double quotes."""
    return '"' + "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in text) + '"'


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of folders, so that a name that climbs stays inside it; the grid was run and reported in the deepest."""
    top = tmp_path_factory.mktemp("hostile")
    work = top / "a" / "b" / "c" / "d"
    work.mkdir(parents=True)
    (work / "=cmd.py").write_text(PLUGINS.format(names=NAMES))
    return top


def sheet_of(work: Path) -> Path:
    rules = ", ".join(quoted(f"=cmd.py:rule(label={name!r})") for name in NAMES)
    attacks = ", ".join(quoted(f"=cmd.py:flip(label={name!r})") for name in (NAMES[3], "=1+1"))
    path = work / "hostile.yaml"
    path.write_text(SHEET.format(title=quoted(LIVE), file="=cmd.py", rules=rules, attacks=attacks))
    return path


def files_in(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_hostile_names_end_to_end(place: Path, told: Told, monkeypatch: pytest.MonkeyPatch, browser: Browser) -> None:
    work = place / "a" / "b" / "c" / "d"
    monkeypatch.chdir(work)
    sheet = sheet_of(work)
    before = files_in(place) | {str(p) for p in Path("/tmp").glob("escaped*")}
    outcome = runner.run(reader.read(sheet), work / "results" / "hostile", workers=1, progress=Quiet())
    assert outcome.done > 2 * len(NAMES)
    assert outcome.infeasible >= 2
    assert len(outcome.failed) >= 2
    folder = work / "results" / "hostile"
    write.write(folder)
    export.cells(folder, folder / "cells.csv")
    assert all(line.isprintable() and len(line) < 300 for line in holdings.text(holdings.holdings(folder)).split("\n"))
    written = (files_in(place) | {str(p) for p in Path("/tmp").glob("escaped*")}) - before
    outside = [
        name for name in written if not name.startswith("a/b/c/d/results/hostile/") and "__pycache__" not in name
    ]
    assert outside == []
    assert all(re.fullmatch(r"[A-Za-z0-9._-]{1,120}", part) for name in written for part in Path(name).parts), written
    assert all(key == p.stem for p in folder.glob("cells/*/*.json") for key in [Store(folder).read(p.stem)["key"]])
    cells = check_csv(folder)
    pages = check_pages(folder, browser)
    told("hostile names", f"{len(NAMES)} names x 2 attacks, {cells:,} CSV cells, {pages} pages in Chromium: all inert")


def check_csv(folder: Path) -> int:
    """No cell of any CSV is a formula, and none is broken over lines by a name."""
    seen = 0
    for path in folder.rglob("*.csv"):
        with path.open(newline="") as file:
            for row in csv.reader(file):
                for cell in row:
                    seen += 1
                    number = re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", cell)
                    assert number or cell.lstrip()[:1] not in "=+-@\uff1d" or cell == "", (path, cell)
    assert seen > 1000
    return seen


def check_pages(folder: Path, browser: Browser) -> int:
    """The report, and every picture as a page of its own: no script of a name ran, nothing was asked for."""
    pages = [folder / "report.html", *sorted((folder / "heatmaps").glob("*.svg"))]
    for page in pages:
        browser.open(page)
        assert browser.run("return typeof window.ran") == "undefined", page
        assert browser.requests() == [], page
        assert browser.errors() == [], page  # a refused script would be one
        assert browser.run("return document.querySelectorAll('[onerror], [onload], img[src=x]').length") == 0, page
    browser.open(pages[0])
    assert "window.ran=1" in browser.text()  # the names are there, as text
    return len(pages)


def test_the_check_sees_live_markup(tmp_path: Path, browser: Browser) -> None:
    (tmp_path / "heatmaps").mkdir()
    (tmp_path / "report.html").write_text(f"<!DOCTYPE html><body>{LIVE}")
    with pytest.raises(AssertionError):
        check_pages(tmp_path, browser)


@pytest.mark.parametrize(
    "name",
    [
        "x" * 10_240,
        "rule(label='" + "x" * 10_240 + "')",
        "a\nb",
        "../x",
        "<script>",
        "=cmd",
        "a/../b.py",
        "\0",
        "r.py:\n",
    ],
)
@pytest.mark.parametrize("field", ["aggregator", "attack", "dataset", "model"])
def test_what_is_no_name_is_refused_with_its_place(tmp_path: Path, name: str, field: str) -> None:
    path = tmp_path / "g.yaml"
    path.write_text(f"name: g\nbase:\n  {field}: {quoted(name)}\n")
    with pytest.raises(GridError) as caught:
        reader.read(path)
    assert all(re.match(re.escape(str(path)) + r":[1-9]\d*:[1-9]\d*: \S", line) for line in caught.value.errors)
    assert len(str(caught.value)) < 3000


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "..", "x/y", "", "X", "a\nb", "x" * 65, "x" * 9999, ".x", "con\0"])
def test_a_grid_whose_name_would_leave_the_folder_is_refused(tmp_path: Path, name: Any) -> None:
    path = tmp_path / "g.yaml"
    path.write_text(f"name: {quoted(name)}\n")
    with pytest.raises(GridError, match=r":1:\d+: name") as caught:
        reader.read(path)
    assert len(str(caught.value)) < 1500
