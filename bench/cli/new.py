"""``flipbench new``: a rule or an attack of ten lines that works, with its own test beside it, to be written over.

The templates are real ones, not shapes with holes: they run in a grid as they stand.
"""

from __future__ import annotations

import keyword
from pathlib import Path

from flipbench.cli import new_templates
from flipbench.errors import UserError

KINDS = ("aggregator", "attack")
PLACES = tuple(new_templates.ATTACKS)

_RULE = '''\
"""{name}: the mean of the n - f updates that lie nearest to the coordinate-wise median."""

import torch
from flipbench.aggregators import Cohort, Infeasible, median
from flipbench.aggregators.validation import guarded


@guarded  # leaves out updates that hold a NaN or an infinity, and lowers f
def {name}(updates: torch.Tensor, cohort: Cohort, /, *, spare: int = 0) -> torch.Tensor:
    """Mean of the n - f - spare updates nearest to the median; needs f + spare < n / 2."""
    n, gone = updates.shape[-2], cohort.byzantine + spare  # updates: (*cells, clients, dim), one row a client
    if 2 * gone >= n:  # not a crash but a result: a dash in tables, hatched in heatmaps
        raise Infeasible(f"{name} needs n > 2 (f + spare) = {{2 * gone}} clients, got {{n}}")
    far = (updates - median(updates, cohort).unsqueeze(-2)).square().sum(-1)  # (*cells, clients)
    order = far.argsort(dim=-1, stable=True)  # stable: ties go to the lower row
    near = order[..., : n - gone].unsqueeze(-1)  # (*cells, kept, 1)
    kept = updates.gather(-2, near.expand(*near.shape[:-1], updates.shape[-1]))  # a copy: never change the updates
    return kept.mean(-2)  # (*cells, dim): the step that the server takes
'''

_TEST = '''\
"""What {name} promises; run it with: pytest {test}"""

import importlib.util
from pathlib import Path

import pytest
import torch
from flipbench.aggregators import Cohort, Infeasible

_spec = importlib.util.spec_from_file_location("{name}_under_test", Path(__file__).with_name("{file}"))
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
{name} = _module.{name}


def updates(clients=10, dim=50):
    return torch.randn(clients, dim, generator=torch.Generator().manual_seed(0))


def test_clients_that_agree_are_followed():
    same = torch.ones(10, 50)
    assert torch.allclose({name}(same, Cohort.of(same, byzantine=3)), torch.ones(50))


def test_far_liars_do_not_count():
    x = updates()
    honest = x[3:].mean(0)
    x[:3] = 1e6
    assert ({name}(x, Cohort.of(x, byzantine=3)) - honest).norm() <= honest.norm() + 50**0.5


def test_a_stack_equals_its_cells_one_by_one():
    a, b = updates(), 2 - updates()
    both = torch.stack([a, b])
    alone = torch.stack([{name}(x, Cohort.of(x, byzantine=3)) for x in (a, b)])
    assert torch.allclose({name}(both, Cohort.of(both, byzantine=3)), alone)


def test_the_updates_are_left_alone():
    x = updates()
    before = x.clone()
    {name}(x, Cohort.of(x, byzantine=3))
    assert torch.equal(x, before)


def test_too_many_liars_are_refused_with_the_numbers():
    x = updates()
    with pytest.raises(Infeasible, match="10"):
        {name}(x, Cohort.of(x, byzantine=5))
'''


class TemplateError(UserError):
    """The files cannot be written as asked; the message says what to do."""


def new(kind: str, path: Path, place: str | None = None) -> tuple[Path, Path]:
    """Write a working plug-in and its test; the rule or attack is named after the file.

    Args:
        kind: what to write: ``aggregator`` or ``attack``.
        path: the file to make, like ``rules/my_rule.py``; missing folders are made.
        place: of an attack, what it acts on: ``labels`` (where none is given), ``updates`` or ``examples``.

    Returns:
        The file of the rule or attack and the file of its test.

    Raises:
        TemplateError: another kind or place, a place for a rule, a name that is no Python name, a file that exists, a
            folder that cannot be written.
    """
    code, tests = _template(kind, place)
    name, noun = path.stem, "rule" if kind == "aggregator" else "attack"
    if path.suffix != ".py" or not name.isidentifier() or not name.isascii() or keyword.iskeyword(name):
        raise TemplateError(
            f"{path} cannot be the file of an {kind}: the {noun} is named after it, so it needs the form "
            f"path/my_{noun}.py with a name of letters, digits and '_'"
        )
    test = path.with_name(f"test_{path.name}")
    texts = {
        path: code.format(name=name),
        test: tests.format(name=name, file=path.name, test=test.name),
    }
    for file in texts:
        if file.exists() or file.is_symlink():
            raise TemplateError(f"{file} exists and is not overwritten: choose another name, or remove it first")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for file, text in texts.items():
            with file.open("x", encoding="utf-8") as out:  # x: refuses what appeared meanwhile
                out.write(text)
    except OSError as error:
        raise TemplateError(
            f"{path} cannot be written ({error.strerror}): choose a folder that you may write"
        ) from error
    return path, test


def _template(kind: str, place: str | None) -> tuple[str, str]:
    """The texts of the plug-in and of its test, with the name left open."""
    if kind not in KINDS:
        raise TemplateError(f"there is a template for {' and '.join(KINDS)}, not for {kind!r}")
    if kind == "aggregator":
        if place is not None:
            raise TemplateError(f"--place {place} says where an attack acts; an aggregator has none: leave it out")
        return _RULE, _TEST
    chosen = "labels" if place is None else place
    if chosen not in PLACES:
        raise TemplateError(f"an attack acts on {', '.join(PLACES)}, not on {chosen!r}: name one with --place")
    return new_templates.ATTACKS[chosen]
