"""Paper files: numbers led to their cells, and every mistake at its place."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from flipbench.errors import UserError
from flipbench.grid.reader import GridError
from flipbench.papers import reader, schema, values
from flipbench.papers.model import Metric, Paper, Tolerance
from flipbench.spec.cell import Cell
from tests.helpers.paths import ROOT
from tests.helpers.yaml_mutations import PAPER


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def to_file(text: str) -> Path:
        path = tmp_path / "my_paper.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return to_file


def cells_of(paper: Paper) -> dict[tuple[str, str], list[tuple[str, str, int]]]:
    return {
        (n.row, n.column): [(c.aggregator, c.attack, c.seed) for c in n.cells] for t in paper.tables for n in t.numbers
    }


def test_each_number_is_led_to_its_cells_and_nothing_else_is_run(write: Callable[[str], Path]) -> None:
    paper = reader.read(write(PAPER))
    assert cells_of(paper) == {
        ("fedavg", "clean"): [("fedavg", "none", 0), ("fedavg", "none", 1)],
        ("fedavg", "flip"): [("fedavg", "mirrored", 0), ("fedavg", "mirrored", 1)],
        ("krum", "flip"): [("krum", "mirrored", 0), ("krum", "mirrored", 1)],
    }
    assert len(paper.cells) == 6  # Krum without attack has no number
    (table,) = paper.tables
    assert (table.decimals, table.unit, table.runs, table.kind) == (2, "percent", 5, "published")
    told = {(n.row, n.column): (n.value, n.sd, n.tolerance) for n in table.numbers}
    assert told == {
        ("fedavg", "clean"): (90.25, None, Tolerance("within", 1.5)),
        ("fedavg", "flip"): (80.0, 2.0, Tolerance("deviations", 2.0)),
        ("krum", "flip"): (70.0, 3.0, Tolerance("none")),
    }
    assert [h.label for h in table.rows] == ["FedAvg", "krum"]


def test_seeds_overrides_and_quick_runs(write: Callable[[str], Path]) -> None:
    path = write(PAPER)
    assert reader.read(path, seeds=3).seeds == (0, 1, 2)
    assert reader.read(path, ["device=cuda"]).changed is None  # low bits are no protocol
    assert "rounds=5" in str(reader.read(path, ["rounds=5", "evaluate_every=5"]).changed)
    quick = reader.read(path, quick=True)
    assert {(c.rounds, c.seed) for c in quick.cells} == {(2, 0)}
    assert "not the paper's protocol" in str(quick.changed)
    own = reader.read(write(PAPER + "quick: {rounds: 3, clients: 9}\n"), quick=True, seeds=2)
    assert {(c.rounds, c.clients, c.seed) for c in own.cells} == {(3, 9, 0), (3, 9, 1)}
    assert cells_of(own) == cells_of(reader.read(path))


def test_a_clean_cell_is_found_whatever_the_column_says_of_the_attack(write: Callable[[str], Path]) -> None:
    text = """\
name: counts
paper: x
source: x
base: {dataset: digits, clients: 8, rounds: 3}
axes: {attack: [mirrored, shifted], malicious_count: [0, 2], seed: [0]}
tables:
  - metric: recall(of=1)
    tolerance: none
    rows: {m0: {at: {malicious_count: 0}}, m2: {at: {malicious_fraction: 0.25}}}
    columns: {mirrored: {at: {attack: mirrored}}, shifted: {at: {attack: shifted}}}
"""
    found = cells_of(reader.read(write(text)))
    assert found["m0", "mirrored"] == found["m0", "shifted"] == [("fedavg", "none", 0)]
    assert found["m2", "shifted"] == [("fedavg", "shifted", 0)]


MISTAKES = [  # (what is replaced, by what, the text that the position must be that of, what is said)
    ("{attack: none}", "{attack: nobody}", "nobody", "unknown attack 'nobody'"),
    ("{attack: none}", "{atack: none}", "atack", "unknown field - did you mean 'attack'?"),
    ("krum: {at: {aggregator: krum}}", "krum: {at: {aggregator: median}}", "median}", "no cell with aggregator median"),
    ("krum: {at: {aggregator: krum}}", "krum: {}", "mirrored}", "2 settings of the protocol have these field values"),
    ("metric: accuracy", "metric: acuracy", "acuracy", "unknown metric 'acuracy' - did you mean 'accuracy'?"),
    ("metric: accuracy", "metric: recall(of=12)", "90.25", "digits has the classes 0 to 9"),
    ("metric: accuracy", "metric: recall", "recall", "write it as recall(of=CLASS)"),
    ("metric: accuracy", "rounds: last", "90.25", "has no metric"),
    ("metric: accuracy", "metric: source_recall", "90.25", "says nothing of a cell without attack"),
    ("unit: percent", "unit: per cent", "per cent", "is none of fraction, percent - did you mean 'percent'?"),
    ("runs: 5", "runs: 0", "0\n    tol", "whole number of 1 or more"),
    ("{within: 1.5}", "{within: 1.5, at_most: 3}", "{within", "needs one of within"),
    ("{within: 1.5}", "{at_least: 1, of: 3}", "{at_least", "needs one of within"),
    ("    tolerance: {within: 1.5}\n", "", "90.25", "needs a tolerance, fixed before the run"),
    ("runs: 5", "rounds: mean(rounds=5)", "90.25", "not evaluated in every round"),
    ("runs: 5", "rounds: at(round=30)", "90.25", "beyond the last round, 20"),
    ("runs: 5", "rounds: mean(rounds=30)", "90.25", "mean of the last 30 rounds needs as many, and there are 20"),
    ("runs: 5", "rounds: mean(rounds=0)", "mean(", "needs last, mean(rounds=10)"),
    ("runs: 5\n", "decimals: 1\n", "[80", "a tolerance in deviations needs"),
    ("fedavg: [90.25, [80, 2]]", "fedavg: [90.25]", "[90.25", "has 1 numbers for 2 columns"),
    ("fedavg: [90.25,", "fedavgs: [90.25,", "[90.25", "unknown row 'fedavgs' - did you mean 'fedavg'?"),
    ("[80, 2]", "[80, 2, 3]", "[80, 2, 3]", "a list needs two numbers"),
    ("90.25", "about 90", "about 90", "needs a number"),
    ("sd: 3", "std: 3", "std: 3", "unknown key 'std' - did you mean 'sd'?"),
    ("fedavg@clean >", "fedavg@cleen >", "fedavg@cleen", "unknown column 'cleen' - did you mean 'clean'?"),
    ("fedavg@clean >", "krum@clean >", "krum@clean", "holds no number at krum@clean"),
    ("fedavg@clean >", "fedavg@clean ~", "fedavg@clean ~", "'~' needs a margin"),
    ("fedavg@clean > fedavg@flip", "1 > 0", "1 > 0", "compares two numbers"),
    ("says: the flip harms, ", "", "{holds", "needs says"),
    ("paper: Somebody 2020\n", "", "name", "is missing: the citation"),
    ("paper: Somebody 2020\n", "papers: Somebody 2020\n", "papers", "unknown key - did you mean 'paper'?"),
    ("aggregator: [fedavg, krum]", "aggregator: [fedavg, crum]", "crum", "unknown aggregator 'crum'"),
    ("rounds: 20", "rounds: twenty", "twenty", "should be a valid integer"),
]


@pytest.mark.parametrize(("old", "new", "at", "said"), MISTAKES, ids=[said for *_, said in MISTAKES])
def test_every_mistake_is_told_at_its_place(
    write: Callable[[str], Path], old: str, new: str, at: str, said: str
) -> None:
    assert old in PAPER
    text = PAPER.replace(old, new, 1)
    with pytest.raises(GridError) as error:
        reader.read(write(text))
    told = [e for e in error.value.errors if said in e]
    assert told, error.value.errors
    before = text[: text.index(at)]
    place = f":{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}: "
    assert re.search(r"my_paper\.yaml(:\d+:\d+: )", told[0])[1] == place, told


def test_all_mistakes_are_told_at_once(write: Callable[[str], Path]) -> None:
    text = (
        PAPER.replace("rounds: 20", "rounds: twenty").replace("unit: percent", "unit: ppm").replace("sd: 3", "std: 3")
    )
    with pytest.raises(GridError) as error:
        reader.read(write(text + "minutes: soon\n"))
    said = "\n".join(error.value.errors)
    for part in ("valid integer", "'ppm' is none of", "unknown key 'std'", "minutes: needs a number"):
        assert part in said
    assert len(error.value.errors) == 4  # and nothing that follows from them


def test_a_paper_that_is_not_there_is_one_message() -> None:
    with pytest.raises(UserError, match="there is no paper 'foolsgld' - did you mean 'foolsgold'"):
        reader.read("foolsgld")


@pytest.fixture(scope="module")
def papers() -> dict[str, Paper]:
    return {name: reader.read(name) for name in reader.shipped()}


def test_shipped_papers_are_whole(papers: dict[str, Paper]) -> None:
    for name, paper in papers.items():
        assert paper.name == name
        assert paper.choices, f"{name}: what did it leave open?"
        published = [t for t in paper.tables if t.kind == "published"]
        can_fail = [t for t in published if t.claims or any(n.tolerance.kind != "none" for n in t.numbers)]
        assert can_fail, f"{name}: nothing can fail"
        for number in (n for t in paper.tables for n in t.numbers):
            assert bool(number.cells) != bool(number.not_run), (name, number)


def test_a_quick_run_is_shorter_than_the_protocol(papers: dict[str, Paper]) -> None:
    def work(cell: Cell) -> int:
        return cell.rounds * (cell.local_steps or 1) * cell.per_round

    for name, paper in papers.items():
        quick = reader.read(name, quick=True)
        assert 4 * max(map(work, quick.cells)) <= max(map(work, paper.cells)), name
        assert len(quick.cells) <= len(paper.cells)


def test_a_number_of_a_round_that_a_quick_run_does_not_reach_is_not_run(write: Callable[[str], Path]) -> None:
    path = write(PAPER.replace("    runs: 5\n", "    runs: 5\n    rounds: at(round=20)\n"))
    with pytest.raises(UserError, match="say under quick: how many rounds"):
        reader.read(path, quick=True)
    one = PAPER.replace("krum: {at: {aggregator: krum}}", "krum: {rounds: at(round=20), at: {aggregator: krum}}")
    quick = reader.read(write(one), quick=True)
    found = {(n.row, n.column): n for n in quick.tables[0].numbers}
    assert found["krum", "flip"].not_run == "in a quick run round 20 is beyond the last round, 2"
    assert found["krum", "flip"].cells == ()
    assert {c.aggregator for c in quick.cells} == {"fedavg"}


@pytest.mark.parametrize("take", ["max", "min"])
def test_the_best_round_is_that_of_all_evaluated_ones(take: str, write: Callable[[str], Path]) -> None:
    paper = reader.read(write(PAPER.replace("    runs: 5\n", f"    runs: 5\n    rounds: {take}\n")))
    window = paper.tables[0].numbers[0].window
    assert str(window) == f"{take} of the evaluated rounds"
    right = [[[9, 1], [1, 9]], [[10, 0], [0, 10]], [[5, 5], [5, 5]]]
    row = {"rounds": 20, "rounds_evaluated": [1, 10, 20], "confusion": right, "mapping": None}
    assert values.value(Metric("accuracy"), window, row) == {"max": 1.0, "min": 0.5}[take]
    lost = [[[0, 0], [1, 1]], [[0, 0], [1, 1]], [[0, 0], [1, 1]]]  # no example of class 0: no recall
    assert math.isnan(values.value(Metric("recall", {"of": 0}), window, {**row, "confusion": lost}))


HOUR = 60.0  # minutes on one core: the longest paper of `make paper`


def test_the_makefile_runs_every_shipped_paper_by_its_length(papers: dict[str, Paper]) -> None:
    lines = dict(re.findall(r"^(\w*PAPERS) +:= (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE))
    short = {name for name, paper in papers.items() if paper.minutes is not None and paper.minutes <= HOUR}
    assert set(lines["PAPERS"].split()) == short
    assert set(lines["LONG_PAPERS"].split()) == set(papers) - short


def test_the_committed_schema_is_the_readers() -> None:
    committed = (ROOT / "bench/papers/paper.schema.json").read_text("utf-8")
    assert json.loads(committed) == schema.schema()
    assert committed == schema.text()
    assert committed.count("\n") < 400  # each field and each part of a number is described once


EDITOR = Draft202012Validator(schema.schema())


def test_an_editor_takes_every_shipped_paper() -> None:
    for path in reader.SHIPPED.glob("*.yaml"):
        assert list(EDITOR.iter_errors(yaml.safe_load(path.read_text("utf-8")))) == []


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("paper: ", "papers: ", ()),
        ("rows:", "row:", ("tables", 0)),
        ("clients: 8", "clients: 0", ("base", "clients")),
        ("seed: [0, 1]", "seed: 0", ("axes", "seed")),
        ("unit: percent", "unit: per cent", ("tables", 0, "unit")),
        ("at: {aggregator: fedavg}", "at: {rule: fedavg}", ("tables", 0, "rows", "fedavg", "at")),
        ("{within: 1.5}", "{withing: 1.5}", ("tables", 0, "tolerance")),
        ("[80, 2]", "[80, 2, 3]", ("tables", 0, "values", "fedavg", 1)),
        ("says: the", "say: the", ("tables", 0, "claims", 0)),
    ],
)
def test_an_editor_underlines_typical_mistakes_of_a_paper(old: str, new: str, where: tuple[object, ...]) -> None:
    assert EDITOR.is_valid(yaml.safe_load(PAPER))
    assert old in PAPER
    errors = [tuple(error.absolute_path) for error in EDITOR.iter_errors(yaml.safe_load(PAPER.replace(old, new, 1)))]
    assert where in errors


def test_the_example_of_the_documentation_is_whole(write: Callable[[str], Path]) -> None:
    text = (ROOT / "docs/reproducing_a_paper.md").read_text("utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    paper = reader.read(write(example))
    assert len(paper.cells) == 5 * 3
    assert paper.tables[0].claims


def test_ours_is_not_judged_by_a_tolerance_in_deviations(write: Callable[[str], Path]) -> None:
    paper = reader.read(write(PAPER.replace("[80, 2]", "ours")))
    (number,) = (n for n in paper.tables[0].numbers if (n.row, n.column) == ("fedavg", "flip"))
    assert (number.value, number.tolerance) == (None, Tolerance("none"))


def test_a_file_of_ones_own_does_not_overwrite_the_tables_of_a_shipped_paper(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("name: foolsgold\n" + re.sub(r"^name:.*\n", "", PAPER, flags=re.M), encoding="utf-8")
    with pytest.raises(GridError, match=r"mine\.yaml:1:7: name: 'foolsgold' comes with flipbench.*another name"):
        reader.read(path)
    path.write_text((reader.SHIPPED / "foolsgold.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    assert reader.read(path).name == "foolsgold"  # a copy is the same paper
