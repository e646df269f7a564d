"""Misuse of the public API is one message that says what was needed and what came, never a bare exception."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from torch import nn
from typer.testing import CliRunner

import flipbench as fb
from flipbench.cli.app import app
from tests.api.conftest import quick_figures
from tests.helpers.paths import ROOT


def rule(updates, cohort, /):
    """A rule, and nothing else."""
    return updates.mean(-2)


def three(shape, classes, /):
    """No model."""
    return 3


def broken(shape, classes, /):
    """A model that fails."""
    raise KeyError("depth")


def no_disk():
    """A data set whose file is gone."""
    raise OSError("no disk")


def five():
    """No data set."""
    return 5


def options_only(*, scale: float = 1.0):
    """Takes nothing by position."""
    return scale


class Plain:
    """A class without what a loss or an augmentation needs."""


@dataclass(frozen=True)
class OnlyDraws:
    """Half an augmentation."""

    def draw(self, number, generator):
        """Nothing."""


class NoShape(nn.Module):
    """A model that is made without the shape of its images."""

    def __init__(self):
        super().__init__()


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ({"dataset": rule}, "rule cannot be used as data set: it is called with 0 arguments by position and takes 2"),
        ({"model": NoShape}, "NoShape cannot be used as model: it is called with 2 arguments by position and takes 0"),
        ({"loss": rule}, "rule cannot be used as loss: a dataclass with weights is needed, got a function"),
        ({"augmentation": Plain}, "a dataclass with draw and apply and frozen is needed, got a class that is none"),
        ({"augmentation": OnlyDraws}, "it needs draw and apply and frozen, and apply and frozen are missing"),
        ({"schedule": options_only}, "it is called with 2 arguments by position and takes 0"),
        ({"initialisation": rule}, "it is called with 1 argument by position and takes 2"),
    ],
)
def test_a_function_in_the_wrong_place_is_refused_when_the_grid_is_read(override, expected):
    with pytest.raises(fb.GridError) as caught:
        fb.read_grid("smoke", override)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ({"dataset": no_disk}, r"data set \S*no_disk cannot be loaded: OSError: no disk \(test_misuse\.py:\d+\)"),
        ({"dataset": five}, r"data set \S*five returned an int: a loader returns a flipbench\.Dataset"),
        ({"dataset": Plain}, r"data set \S*Plain returned a Plain: a loader returns a flipbench\.Dataset"),
        ({"model": three}, r"model \S*three returned an int: a model is a torch\.nn\.Module"),
        ({"model": broken}, r"model \S*broken cannot be made for images of shape \(1, 8, 8\) and 10 classes: KeyError"),
        ({"model": rule}, r"model \S*rule cannot be made for images .*: AttributeError: 'InputShape' object"),
    ],
)
def test_a_data_set_or_model_that_fails_is_one_message_that_names_it(override, expected, tmp_path):
    grid = fb.read_grid("smoke", {"rounds": 1, "aggregator": "fedavg", "seed": 0, "attack": "none", **override})
    with pytest.raises(fb.UserError, match=expected):
        fb.run(grid, workers=1, results=tmp_path, progress=False, trial=False)


@pytest.mark.process
@pytest.mark.parametrize(("field", "name"), [("dataset", "no_disk"), ("dataset", "five"), ("model", "three")])
def test_plug_ins_in_files_fail_in_the_same_words_on_the_command_line(field, name, tmp_path):
    file = f"{Path(__file__).resolve()}:{name}"
    text = ["run", "smoke", "--set", f"{field}={file}", "--set", "rounds=1", "--set", "seed=0", "--workers", "1"]
    done = CliRunner().invoke(app, [*text, "--results", str(tmp_path)])
    assert done.exit_code == 2, done.output
    assert name in done.output
    assert "Traceback" not in done.output


def test_type_checkers_see_the_public_names_and_no_getattr_that_takes_every_name():
    tree = ast.parse(Path(str(fb.__file__)).read_text())
    blocks = {ast.unparse(node.test): node.body for node in tree.body if isinstance(node, ast.If)}
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert "__getattr__" not in functions
    assert "__getattr__" in {n.name for n in blocks["not TYPE_CHECKING"] if isinstance(n, ast.FunctionDef)}
    names = [a.asname for n in blocks["TYPE_CHECKING"] if isinstance(n, ast.ImportFrom) for a in n.names]
    assert {name for name in names if name} | {"__version__"} == set(fb.__all__)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"workers": -1}, "workers is a whole number, 0 (one a core) or more, got -1"),
        ({"workers": "2"}, "workers is a whole number, 0 (one a core) or more, got '2'"),
        ({"workers": 1.5, "progress": "no"}, "got 1.5; progress is True or False, got 'no'"),
        ({"results": None}, "results is a path, got None"),
        ({"retry_failed": 1}, "retry_failed is True or False, got 1"),
        ({"cell_timeout": "9"}, "cell_timeout is seconds above 0 or None, got '9'"),
        ({"memory_limit": 4}, "memory_limit is a size like '4G' or None, got 4"),
        ({"scheduler": 8786}, "scheduler is an address like 'tcp://host:8786' or None, got 8786"),
        ({"tls": "cert.pem"}, "tls is three paths"),
        ({"device": 0}, "device is cpu or cuda, got 0"),
    ],
)
def test_arguments_of_a_run_are_checked_before_anything_runs(arguments, expected, tmp_path):
    with pytest.raises(fb.UserError) as caught:
        fb.run("smoke", **{"results": tmp_path, **arguments})
    assert expected in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_plan_checks_its_workers_and_checks_their_argument():
    with pytest.raises(fb.UserError, match="workers is a whole number"):
        fb.plan("smoke", workers=-1)
    with pytest.raises(fb.UserError, match="on_fail is 'raise' or 'return', got 'rais'"):
        fb.check_aggregator("mean", on_fail="rais")
    with pytest.raises(fb.UserError, match="on_fail is 'raise' or 'return', got 'rais'"):
        fb.check_attack("mirrored", on_fail="rais")
    with pytest.raises(fb.UserError, match="one rule is needed, a name, a function or a class; got a list"):
        fb.check_aggregator(["krum"])
    with pytest.raises(fb.UserError, match="one attack is needed, a name, a function or a class; got an int"):
        fb.check_attack(3)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"weights": [1, -1, 1]}, "weights must be 0 or more, got -1"),
        ({"weights": [0, 0, 0]}, "weights are all 0: give each client its share"),
        ({"weights": [300, 500, 200]}, "shares that sum to 1, got a sum of 1000: divide by the sum"),
        ({"weights": [1, float("nan"), 1]}, "weights needs finite numbers"),
        ({"weights": [1, 1]}, r"weights needs the shape \(3,\), got \(2,\)"),
        ({"weights": "heavy"}, r"weights needs numbers of the shape \(3,\)"),
        ({"previous": [0.0, float("nan")]}, "previous needs finite numbers"),
        ({"trusted": [0.0, float("inf")]}, "trusted needs finite numbers"),
    ],
)
def test_fields_of_a_cohort_are_checked(fields, expected):
    with pytest.raises(fb.UserError, match=expected):
        fb.aggregate("fedavg", [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], **fields)


def test_weights_of_0_leave_clients_out():
    assert fb.aggregate("fedavg", [[1.0, 2.0], [3.0, 4.0]], weights=[0, 1]) == [3.0, 4.0]


def test_a_grid_of_a_wrong_type_is_one_message():
    for grid, kind in ((3, "an int"), (None, "a NoneType"), ([1], "a list")):
        with pytest.raises(fb.UserError, match=f"a grid is a name, a path or a dictionary, got {kind}"):
            fb.read_grid(grid)
    with pytest.raises(fb.UserError, match="overrides are a dictionary, field -> value, got a list"):
        fb.read_grid("smoke", [1])
    with pytest.raises(fb.UserError, match="aggregators are a list of names, functions and classes, got a str"):
        fb.read_grid("smoke", aggregators="krum")


def test_axes_of_a_wrong_type_are_one_message(results):
    for draw in (results.heatmap, results.curves):
        with pytest.raises(fb.UserError, match=r"ax is one matplotlib Axes, .* or None; got an int"):
            draw(ax=3)


def test_a_mistake_in_a_list_of_overrides_says_which_and_nothing_of_the_others():
    with pytest.raises(fb.GridError) as caught:
        fb.read_grid("smoke", {"aggregator": [lambda u, c: u, rule, "krun"]})
    assert len(caught.value.errors) == 2
    assert caught.value.errors[0].startswith("aggregator[0]: a lambda has no name")
    assert caught.value.errors[1].startswith("aggregator[2]: unknown aggregator 'krun' - did you mean 'krum'?")


def test_fixes_name_what_can_be_imported():
    for folder in ("docs", "bench/conformance", "bench/federation"):
        for file in (ROOT / folder).glob("*.[pm][yd]"):
            wrong = re.findall(r"(?<![\w./])(?:aggregators|attacks)\.(?:[A-Z]|per_cell)\w*", file.read_text())
            assert not wrong, (file, wrong)


NAMESAKES = [
    "def same(updates, cohort, /):\n    return updates.mean(-2)\n",
    "def same(updates, cohort, /):\n    return updates.median(-2).values\n",
]


@pytest.mark.slow
def test_where_a_function_of_two_with_one_name_selects_its_own_cells(tmp_path):
    functions = []
    for i, source in enumerate(NAMESAKES):
        (tmp_path / f"{i}").mkdir()
        path = tmp_path / f"{i}" / "notebook.py"
        path.write_text(source)
        space = {"__name__": "__main__"}
        exec(compile(source, str(path), "exec"), space)
        functions.append(space["same"])
    grid = fb.read_grid("smoke", {"rounds": 1, "seed": 0, "aggregator": functions})
    results = fb.run(grid, workers=1, results=tmp_path, progress=False, trial=False)
    quick_figures(results.folder)
    results = fb.load(results.folder)
    references = list(dict.fromkeys(cell.aggregator for cell in grid.cells))
    assert len(references) == 2
    for function, reference in zip(functions, references, strict=True):
        mine = results.cells[results.cells["aggregator"] == reference]
        frame = results.table("accuracy", where={"aggregator": function}).frame
        assert frame.shape[0] == 1
        assert frame.iloc[0, 0] == pytest.approx(mine[mine["attack"] == "none"]["accuracy"].item())
    labels = results.table("accuracy").frame.index.tolist()
    assert len(set(labels)) == 2
    assert all(re.fullmatch("same@[0-9a-f]{4}", label) for label in labels)
    assert all(label in results.table("accuracy").to_markdown() for label in labels)
    ticks = [tick.get_text().replace("\n", "") for tick in results.heatmap().get_yticklabels()]
    assert sorted(ticks) == sorted(labels)
    one = results.heatmap(where=f"aggregator={labels[0]}")
    assert len(one.get_yticklabels()) == 1
    results.report()
    for file in ("report.html", "tables/summary.md"):
        assert all(label in (tmp_path / "smoke" / file).read_text() for label in labels), file
