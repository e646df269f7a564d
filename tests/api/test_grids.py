"""Grids from Python are those of files and of the command line; mistakes are one exception, each with its place."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import flipbench as fb
from flipbench.aggregators import krum
from flipbench.grid import reader

SMOKE = reader.SHIPPED / "smoke.yaml"


def my_rule(updates, cohort, /, *, power: int = 1):
    """A rule of this module, which worker processes can import."""
    return updates.mean(-2) ** power


@pytest.mark.parametrize(
    ("overrides", "texts"),
    [
        ({"seed": range(6)}, ["seed=[0, 1, 2, 3, 4, 5]"]),
        ({"seed": np.arange(2), "rounds": np.int64(3)}, ["seed=[0, 1]", "rounds=3"]),
        (
            {"seed": (1,), "malicious_fraction": torch.tensor([0.25, 0.5])},
            ["seed=[1]", "malicious_fraction=[0.25, 0.5]"],
        ),
        (
            {"learning_rate": 1e-5, "aggregator": "nnm | krum(power=1)"},
            ["learning_rate=1e-5", "aggregator=nnm | krum(power=1)"],
        ),
        ({"aggregator": [partial(krum, power=1), "median"]}, ["aggregator=['krum(power=1)', median]"]),
        ({"dataset.train": 600, "drop_last": False}, ["dataset.train=600", "drop_last=false"]),
        ({"malicious_fraction": None, "malicious_count": 2}, ["malicious_fraction=null", "malicious_count=2"]),
        ({"model": {"name": "mlp", "widths": [8]}}, ["model={name: mlp, widths: [8]}"]),
    ],
)
def test_overrides_are_those_of_the_command_line(overrides, texts):
    assert fb.read_grid("smoke", overrides).cells == reader.read("smoke", texts).cells


def test_added_aggregators_are_those_of_the_command_line():
    expected = reader.read("smoke", (), ["geometric_median", f"{__name__}:my_rule(power=2)"])
    assert fb.read_grid("smoke", aggregators=["geometric_median", partial(my_rule, power=2)]).cells == expected.cells


def test_a_dictionary_is_the_file_that_it_is_equal_to(tmp_path):
    grid = yaml.safe_load(SMOKE.read_text())
    assert fb.read_grid(grid).cells == fb.read_grid(SMOKE).cells == fb.read_grid(str(SMOKE)).cells
    odd = {"name": "odd", "title": "no", "axes": {"attack": ["1e-3.py:x", "yes"], "seed": range(2)}}
    with pytest.raises(fb.GridError) as caught:
        fb.read_grid(odd)
    assert "axes.attack[0]: the plug-in file 1e-3.py cannot be read" in str(caught.value)
    assert "axes.attack[1]: unknown attack 'yes'" in str(caught.value)
    kept = fb.read_grid({"name": "kept", "title": "on: a 'title'", "base": {"rounds": 2}})
    assert (kept.name, kept.title) == ("kept", "on: a 'title'")
    again = tmp_path / "kept.yaml"
    again.write_text(kept.source)
    assert reader.read(again).cells == kept.cells


def test_all_mistakes_of_a_dictionary_at_once_with_the_path_of_keys():
    def closure(updates, cohort):
        return updates.mean(-2) * len(SEEN)

    SEEN = [1]
    grid = {
        "base": {"rounds": 2, "seed": 1},
        "axes": {"aggregator": ["krumm", closure, "fedavg"], "seed": [1, -1], "attack": [lambda labels, context: 0]},
        "cases": [{"flip_rate": 3}, {"model": object()}],
        "figures": [{"kind": "heatmapp"}],
        "foo": 1,
    }
    with pytest.raises(fb.GridError) as caught:
        fb.read_grid(grid, {"clients": "ten", "clints": 3, "loss": partial(print, 1)})
    told = "\n".join(caught.value.errors)
    for expected in (
        "clients=ten: should be a valid integer",
        "clints=3: unknown field 'clints' - did you mean 'clients'?",
        "loss: print: options are bound by name",
        "axes.aggregator[0]: unknown aggregator 'krumm' - did you mean 'krum'?",
        "axes.aggregator[1]: closure is a closure: it uses SEEN",
        "axes.attack[0]: a lambda has no name for keys and tables",
        "axes.seed[1]: should be greater than or equal to 0",
        "base.seed: given under base and as an axis at axes.seed; keep one",
        "cases[0].flip_rate: should be less than or equal to 1",
        "cases[1].model: needs a name, a function or a class, got object",
        "figures[0].kind: 'heatmapp' is none of",
        "foo: unknown key",
    ):
        assert expected in told, expected
    assert str(caught.value).endswith(f"{len(caught.value.errors)} mistakes; nothing was run")


def test_mistakes_of_a_file_have_line_and_column(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text("base:\n  rounds: 0\n")
    with pytest.raises(fb.GridError, match=r"grid\.yaml:2:11: rounds: .*\nclients=x: "):
        fb.read_grid(path, {"clients": "x"})
    with pytest.raises(fb.UserError, match="there is no grid 'smok' - did you mean 'smoke'"):
        fb.read_grid("smok")
    with pytest.raises(fb.UserError, match="there is no grid file"):
        fb.read_grid(Path("nowhere.yaml"))


def test_options_of_a_function_are_checked_before_anything_runs():
    with pytest.raises(fb.GridError, match="option power: needs a whole number, got 'x'"):
        fb.read_grid("smoke", {"aggregator": partial(my_rule, power="x")})
