"""Misuse of the public API is one message that says what was needed and what came, never a bare exception."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest
from torch import nn
from typer.testing import CliRunner

import flipbench as fb
from flipbench.cli.app import app


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
        ({"model": rule}, r"model \S*rule cannot be made for images .*: AttributeError: 'tuple' object"),
    ],
)
def test_a_data_set_or_model_that_fails_is_one_message_that_names_it(override, expected, tmp_path):
    grid = fb.read_grid("smoke", {"rounds": 1, "aggregator": "fedavg", "seed": 0, "attack": "none", **override})
    with pytest.raises(fb.UserError, match=expected):
        fb.run(grid, workers=1, results=tmp_path, progress=False)
    if "dataset" in override:
        with pytest.raises(fb.UserError, match=expected):
            fb.plan(grid, results=tmp_path, workers=1)


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
    imported = {a.asname for n in blocks["TYPE_CHECKING"] if isinstance(n, ast.ImportFrom) for a in n.names}
    assert imported | {"__version__"} == set(fb.__all__)
