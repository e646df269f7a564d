"""A function or class that was passed in Python becomes the text of one module, or is refused by name."""

from __future__ import annotations

import functools
import linecache
import math
import os
import subprocess
import sys
import textwrap
from types import ModuleType

import pytest
import torch

from flipbench.aggregators import Cohort, compose, krum, nnm
from flipbench.plugins import loading, objects, registry, source_text
from flipbench.plugins.definitions import SourceError
from tests.plugins.source_code_cases import again, notebook, text_of

SCRIPT = '''\
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy
import scipy.stats
import torch
import torch.nn.functional as F
from torch import Tensor as Updates
from torch import float32, nn, relu

from flipbench.aggregators import Cohort, per_cell

FACTOR = 3
SHAPES = {"a": (1, 2.5), "b": {"y", "x"}}
FOLDER = Path("some/folder")
results = object()


def helper(x: Updates) -> Updates:
    return relu(x) * FACTOR + scipy.stats.norm.cdf(0.0)


@per_cell
def my_rule(updates, cohort: Cohort, /, *, power: int = 1):
    """A rule that uses much of its notebook."""
    results = helper(updates).mean(-2)
    return results.to(float32) ** power if SHAPES and FOLDER else None


@dataclass(frozen=True)
class Memory:
    beta: float = 0.9

    def init(self, updates, cohort):
        return torch.zeros(updates.shape[-1])

    def __call__(self, updates, cohort, state):
        return helper(updates).mean(-2), state


class Net(nn.Module):
    def __init__(self, shape, classes, *, wide: int = 4):
        super().__init__()
        self.layer = nn.Linear(math.prod(shape), classes)

    def forward(self, x):
        return F.relu(self.layer(x.flatten(1)))


@dataclass(frozen=True)
class Bare:
    size: int = 1


def even(n):
    return n == 0 or odd(n - 1)


def odd(n):
    return n != 0 and even(n - 1)


@functools.lru_cache
def cached(n):
    return np.ones(n)


def outer():
    factor = 2

    def closure(updates, cohort):
        return updates.mean(-2) * factor

    def nested(updates, cohort):
        """Indented
text"""
        return updates.mean(-2) * FACTOR

    return closure, nested


def attack(updates, wire):
    return updates


attack.adaptive = True
wrapped = functools.wraps(even)(lambda n: not even(n))


def uses_results(updates, cohort):
    return results


def uses_nothing_known(updates, cohort):
    return undefined_name


def annotated(updates: "Callable[..., results]", cohort):
    return updates
'''


@pytest.fixture
def main(monkeypatch):
    module = notebook(SCRIPT)
    monkeypatch.setitem(sys.modules, "__main__", module)
    return module


def test_the_text_holds_all_that_a_function_uses_and_no_more(main):
    text = text_of(main.my_rule)
    assert "from torch import Tensor as Updates\n" in text
    assert "import scipy.stats\n" in text
    assert "FACTOR = 3\n" in text
    assert "SHAPES = {'a': (1, 2.5), 'b': set(['x', 'y'])}\n" in text
    assert "FOLDER = Path('some/folder')\n" in text
    assert "def helper(x: Updates)" in text
    assert "numpy" not in text
    assert "object()" not in text  # a local variable has the name of an unrelated global one
    assert text.index("def helper") < text.index("def my_rule")


def test_it_computes_what_the_function_computes(main):
    updates = torch.randn(5, 4)
    cohort = Cohort.of(updates, 1)
    ours = again("aggregator", functools.partial(main.my_rule, power=2))(updates, cohort)
    assert torch.equal(ours, main.my_rule(updates, cohort, power=2))
    memory = again("aggregator", main.Memory(beta=0.5))
    assert memory.beta == 0.5
    assert torch.equal(memory(updates, cohort, memory.init(updates, cohort))[0], main.helper(updates).mean(-2))


def test_a_class_keeps_its_methods_and_options(main):
    net = again("model", main.Net)((1, 2, 2), 3)
    assert net(torch.zeros(1, 1, 2, 2)).shape == (1, 3)
    assert objects.reference("model", functools.partial(main.Net, wide=8)).endswith(":Net(wide=8)")
    assert "class Bare" in text_of(main.Bare)  # no method says where it stands


def test_functions_that_call_each_other(main):
    ref = objects.reference("aggregator", main.even)
    assert loading.from_text(ref)(10) is True
    assert source_text.text(ref).count("def even") == 1


def test_decorators_attributes_and_nested_functions(main):
    assert "@functools.lru_cache" in text_of(main.cached)
    assert registry.resolve("attack", objects.reference("attack", main.attack)).adaptive is True
    nested = main.outer()[1]
    assert "Indented\ntext" in text_of(nested)
    updates = torch.randn(3, 2)
    assert torch.equal(again("aggregator", nested)(updates, Cohort.of(updates)), updates.mean(-2) * 3)


def test_an_annotation_that_has_no_source_is_left_out(main, monkeypatch):
    assert "results" not in text_of(main.annotated).partition("def ")[0]
    lazy = notebook(
        "from torch import Tensor\nthing = object()\ndef rule(u: Tensor, c: thing):\n    return u\n",
        "<ipython-input-9-a>",
        True,
    )
    monkeypatch.setitem(sys.modules, "__main__", lazy)
    assert "from __future__ import annotations" in text_of(lazy.rule)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (lambda m: m.outer()[0], "closure is a closure: it uses factor of the function that made it"),
        (lambda m: lambda u, c: u, "a lambda has no name for keys and tables: write it with def"),
        (lambda m: m.uses_results, "uses_results uses results, an object that cannot be written as source"),
        (lambda m: m.uses_nothing_known, "uses undefined_name, which is not defined where"),
        (lambda m: m.wrapped, "wrapper"),
        (lambda m: functools.partial(m.my_rule, power=object()), "option power of my_rule is object"),
        (lambda m: functools.partial(m.helper, 1), "options are bound by name"),
        (lambda m: torch.Generator().seed, "not a function or a class that is written in Python"),
    ],
)
def test_what_has_no_source_is_refused_by_name(main, value, said):
    with pytest.raises(SourceError, match=said.replace("(", r"\(")):
        objects.reference("aggregator", value(main))


def test_code_without_source_is_refused(monkeypatch):
    main = ModuleType("__main__")
    exec("def rule(updates, cohort):\n    return updates.mean(-2)\n", main.__dict__)
    monkeypatch.setitem(sys.modules, "__main__", main)
    with pytest.raises(SourceError, match="the source of rule cannot be found"):
        objects.reference("aggregator", main.rule)


def test_source_that_changed_since_is_refused(main):
    """A script that was edited while it runs: its lines are no longer what was compiled."""
    changed = SCRIPT.replace("relu(x) * FACTOR", "relu(x) - FACTOR")
    name = "<ipython-input-1-abc>"
    linecache.cache[name] = (len(changed), None, changed.splitlines(keepends=True), name)
    with pytest.raises(SourceError, match="the source of helper has changed since it was defined"):
        objects.reference("aggregator", main.my_rule)


def test_a_changed_body_is_another_name_and_the_same_body_the_same(monkeypatch):
    texts = {"a": "return updates.mean(-2)", "b": "return updates.sum(-2)"}
    names = []
    for which in ("a", "b", "a"):
        source = f"def rule(updates, cohort):\n    {texts[which]}\n"
        main = notebook(source, f"<ipython-input-{len(names)}-x>")
        monkeypatch.setitem(sys.modules, "__main__", main)
        names.append(objects.reference("aggregator", main.rule))
    assert names[0] == names[2] != names[1]
    updates = torch.ones(3, 2)
    both = [registry.resolve("aggregator", n)(updates, Cohort.of(updates)).tolist() for n in names[:2]]
    assert both == [[1.0, 1.0], [3.0, 3.0]]  # two functions of one name stay apart


def test_a_helper_module_of_the_users_own_is_in_the_hash(tmp_path, monkeypatch):
    helper = tmp_path / "my_own_helper.py"
    helper.write_text("def mean(updates):\n    return updates.mean(-2)\n")
    monkeypatch.syspath_prepend(tmp_path)
    source = "import my_own_helper\ndef rule(updates, cohort):\n    return my_own_helper.mean(updates)\n"
    main = notebook(source, "<ipython-input-7-h>")
    monkeypatch.setitem(sys.modules, "__main__", main)
    first = objects.reference("aggregator", main.rule)
    assert registry.resolve("aggregator", first)
    helper.write_text("def mean(updates):\n    return updates.mean(-2) * 2\n")
    assert objects.reference("aggregator", main.rule) != first
    del sys.modules["flipbench_plugin_" + first.partition(":")[0]]  # as another process
    with pytest.raises(loading.PluginFileError, match="my_own_helper, which changed since the grid was read"):
        registry.resolve("aggregator", first)
    sys.modules.pop("my_own_helper")


def test_two_things_of_one_name_are_refused(monkeypatch):
    source = textwrap.dedent("""
        def part(u):
            return u.mean(-2)
        old = part
        def part(u):
            return u.sum(-2)
        def rule(updates, cohort):
            return part(updates) + old(updates)
    """)
    main = notebook(source, "<ipython-input-8-t>")
    monkeypatch.setitem(sys.modules, "__main__", main)
    with pytest.raises(SourceError, match="two different things called part"):
        objects.reference("aggregator", main.rule)


def test_what_a_grid_can_name_keeps_its_name():
    assert objects.reference("aggregator", krum) == "krum"
    assert objects.reference("aggregator", functools.partial(krum, keep=3)) == "krum(keep=3)"
    assert objects.reference("aggregator", compose(nnm, krum)) == "nnm | krum"
    assert objects.reference("aggregator", math.hypot) == "math:hypot"
    assert objects.reference("aggregator", "nnm | krum") == "nnm | krum"
    assert objects.reference("model", {"name": "cnn"}) == {"name": "cnn"}


def test_a_name_without_source_says_what_to_do():
    with pytest.raises(source_text.NoSourceError, match="run the program that defined it"):
        registry.resolve("aggregator", "code_0123456789abcdef:rule")
    with pytest.raises(ValueError, match="has another hash"):
        source_text.add({"code_0123456789abcdef": "x = 1\n"})


def test_an_error_in_it_names_its_line(monkeypatch):
    main = notebook("def rule(updates, cohort):\n    raise RuntimeError('here')\n", "<ipython-input-6-e>")
    monkeypatch.setitem(sys.modules, "__main__", main)
    rule = again("aggregator", main.rule)
    import traceback

    try:
        rule(None, None)
    except RuntimeError:
        assert "raise RuntimeError('here')" in traceback.format_exc()


@pytest.mark.process
def test_the_same_text_has_the_same_name_in_another_process_and_folder(tmp_path):
    """A script is run in two folders with two orders of hashing; imports, sets and definitions keep their order."""
    names = set()
    for seed in ("1", "2"):
        folder = tmp_path / seed
        folder.mkdir()
        body = SCRIPT + 'from flipbench.plugins import objects\nprint(objects.reference("aggregator", my_rule))\n'
        (folder / "script.py").write_text(body)
        environment = {**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, "script.py"], cwd=folder, env=environment, capture_output=True, text=True, check=True
        )
        names.add(done.stdout.strip())
    assert len(names) == 1
