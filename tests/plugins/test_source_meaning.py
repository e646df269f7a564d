"""The text of a function or class means what its program means, or the function is refused."""

from __future__ import annotations

import linecache
import sys
import textwrap

import pytest
import torch

from flipbench.plugins import loading, objects, registry
from flipbench.plugins.definitions import SourceError
from tests.plugins.source_code_cases import again, notebook, script, text_of

UPDATES = torch.arange(6.0).view(3, 2)

CARRIED = {
    "a base class that makes its own subclass": """
        class Rule:
            def sharper(self): return Sharper()
            def __call__(self, u, c): return self.sharper().k * u.mean(-2)
        class Sharper(Rule):
            k = 2
        rule = Rule
    """,
    "class attributes made from global names of the same name": """
        scale = 3
        class Rule:
            scale = scale * 2
            def __call__(self, u, c): return u.mean(-2) * self.scale
        rule = Rule
    """,
    "a subclass that calls super, with a class attribute and every kind of method": """
        FACTOR = 2
        class Base(torch.nn.Module):
            width = 3
            def __init__(self):
                super().__init__()
                self.size = self.width * FACTOR
        class Rule(Base):
            @property
            def a(self): return FACTOR
            @staticmethod
            def b(): return FACTOR
            @classmethod
            def c(cls): return cls.width
            @functools.cached_property
            def d(self): return self.size
            def forward(self, u, cohort): return u.mean(-2) * (self.a + self.b() + self.c() + self.d)
        rule = Rule
    """,
    "a dataclass that inherits and has slots": """
        from dataclasses import dataclass, field
        @dataclass
        class Base:
            many: list = field(default_factory=lambda: [FACTOR])
        FACTOR = 4
        @dataclass(slots=True)
        class Rule(Base):
            z: float = 2.0
            def __call__(self, u, c): return u.mean(-2) * self.z * self.many[0]
        rule = Rule
    """,
    "an enumeration, a typed tuple and an inner class": """
        from enum import Enum
        from typing import NamedTuple
        class Mode(Enum):
            A = 5
        class Pair(NamedTuple):
            x: int
            def twice(self): return 2 * self.x
        class Rule:
            class Inner:
                z = 7
            def __call__(self, u, c): return u.mean(-2) * Mode.A.value * Pair(3).twice() * self.Inner.z
        rule = Rule
    """,
    "mutual recursion, an alias, a shadowed builtin and a name in an f-string": """
        N = 3
        def even(n): return n == 0 or odd(n - 1)
        def odd(n): return n != 0 and even(n - 1)
        is_even = even
        def sum(x): return x.sum(-2) * 2
        def rule(u, c): return sum(u) * (1 + is_even(4)) * len(f"{N!r}{odd(N)}")
    """,
    "imports under other names, with a star, of built-in functions": """
        from math import *
        from scipy.special import expit
        from torch.linalg import norm, vector_norm as length
        from torch.nn.functional import relu as positive
        def rule(u, c): return positive(u.mean(-2)) * pi * sqrt(4) * norm(u) * length(u) * expit(0)
    """,
    "tabs, an indented text, a condition and letters beyond ASCII": """
        α = 0.5
        if α > 1:
        \tdef rule(u, c): return u
        else:
        \tdef rule(u, c):
        \t\t'''Größe
        of é'''
        \t\treturn u.mean(-2) * α * len(rule.__doc__)
    """,
    "a counter, a range and constants that are not finite": """
        COUNT, R, BIG = 0, range(3), {"a": float("inf"), "b": float("nan")}
        def rule(u, c):
            global COUNT
            COUNT += 1
            return u.mean(-2) * COUNT * len(R) * BIG["a"]
    """,
}


@pytest.mark.parametrize("what", CARRIED)
def test_the_text_means_what_the_program_means(what, monkeypatch):
    rule = script(CARRIED[what], monkeypatch).rule
    copy = loading.from_text(objects.reference("aggregator", rule))
    ours, theirs = (r() if isinstance(r, type) else r for r in (rule, copy))
    assert copy is not rule
    assert torch.equal(theirs(UPDATES, None), ours(UPDATES, None))


REFUSED = {
    "a default that was made from another value": (
        "K = 2\ndef rule(u, c, *, k=K): return u\nK = 3",
        "the default of k of rule is not what the definition of rule gives now",
    ),
    "a helper's default that was made from another value": (
        "K = 2\ndef helper(k=K): return k\ndef rule(u, c): return helper() * u\nK = 3",
        "the default of k of helper is not what",
    ),
    "a class attribute set later": (
        "class Rule:\n    k = 1\n    def __call__(self, u, c): return u * self.k\nRule.k = 5\nrule = Rule",
        "Rule.k is not what",
    ),
    "a method replaced later": (
        "class Rule:\n    def __call__(self, u, c): return u\ndef other(self, u, c): return -u\n"
        "Rule.__call__ = other\nrule = Rule",
        "Rule.__call__ is not what",
    ),
    "a wrapper that a decorator hides": (
        "def mark(f): return f\n@mark\ndef inner(u, c): return u\n"
        "def double(f):\n    @functools.wraps(f)\n    def wrapped(*a): return 2 * f(*a)\n    return wrapped\n"
        "rule = double(inner)",
        "what wraps inner is not what",
    ),
    "a method that is a closure": (
        "k = 1\ndef make():\n    k = 2\n    class Rule:\n        def __call__(self, u, c): return u * k\n"
        "    return Rule\nrule = make()",
        "Rule is a closure: it uses k",
    ),
    "a base class that is local": (
        "class Base: pass\ndef make():\n    class Base:\n        def __call__(self, u, c): return u\n"
        "    class Rule(Base): pass\n    return Rule\nrule = make()",
        "Rule is a closure: it uses Base",
    ),
    "a tensor": ("W = torch.ones(2)\ndef rule(u, c): return u * W", "rule uses W, a Tensor that cannot be written"),
    "an array": ("W = np.ones(2)\ndef rule(u, c): return u * W", "rule uses W, a ndarray that cannot be written"),
    "a lambda of a global name": ("sq = lambda x: x * x\ndef rule(u, c): return sq(u)", "rule uses sq, a lambda"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_the_text_would_not_mean_is_refused(what, monkeypatch):
    source, message = REFUSED[what]
    main = script(source, monkeypatch)
    with pytest.raises(SourceError, match=message):
        objects.reference("aggregator", main.rule)


def test_a_class_whose_file_changed_is_refused(monkeypatch):
    source = "class Rule:\n    def __call__(self, u, c): return u\nrule = Rule"
    main = script(source, monkeypatch)
    script(source.replace("return u", "return -u"), monkeypatch)  # the cell's text, edited
    monkeypatch.setitem(sys.modules, "__main__", main)
    with pytest.raises(SourceError, match="the source of Rule has changed since it was defined"):
        objects.reference("aggregator", main.Rule)


def test_an_annotation_that_is_left_out_leaves_nothing_behind(monkeypatch):
    """A class that only an annotation names has no text, but a part of it is needed for the function."""
    source = """
        import torch
        def part(): return 3
        class Thing:
            def go(self): return part(), results
        results = object()
        def rule(u: Thing, c):
            return u.mean(-2) * part()
    """
    main = notebook(textwrap.dedent(source), "<ipython-input-21-t>", future=True)
    monkeypatch.setitem(sys.modules, "__main__", main)
    text = text_of(main.rule)
    assert "class Thing" not in text
    assert torch.equal(again("aggregator", main.rule)(UPDATES, None), UPDATES.mean(-2) * 3)


def test_a_function_redefined_in_a_later_cell_is_the_later_one(monkeypatch):
    first = script(
        "def helper(u): return u.mean(-2)\ndef rule(u, c): return helper(u)\n", monkeypatch, "<ipython-input-1-a>"
    )
    before = objects.reference("aggregator", first.rule)
    cell = "def helper(u): return u.sum(-2)\n"
    linecache.cache["<ipython-input-2-b>"] = (len(cell), None, cell.splitlines(keepends=True), "<ipython-input-2-b>")
    exec(compile(cell, "<ipython-input-2-b>", "exec", dont_inherit=True), first.__dict__)
    after = objects.reference("aggregator", first.rule)
    assert after != before
    assert torch.equal(registry.resolve("aggregator", after)(UPDATES, None), UPDATES.sum(-2))
    assert torch.equal(registry.resolve("aggregator", before)(UPDATES, None), UPDATES.mean(-2))


@pytest.mark.parametrize("how", ["import my_rules", "import my_rules_inside"])
def test_a_constant_of_a_module_behind_the_users_own_is_in_the_key(how, tmp_path, monkeypatch):
    (tmp_path / "my_rules.py").write_text("import my_constants\ndef f(u): return u.mean(-2) * my_constants.K\n")
    (tmp_path / "my_constants.py").write_text("K = 2\n")
    monkeypatch.syspath_prepend(tmp_path)
    outside, inside = ("import my_rules", "") if how == "import my_rules" else ("", "import my_rules; ")
    main = script(f"{outside}\ndef rule(u, c): {inside}return my_rules.f(u)", monkeypatch)
    first = objects.reference("aggregator", main.rule)
    (tmp_path / "my_constants.py").write_text("K = 33\n")
    assert objects.reference("aggregator", main.rule) != first
    for name in ("my_rules", "my_constants"):
        sys.modules.pop(name, None)
