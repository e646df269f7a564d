"""What ``flipbench new attack`` writes: one attack of ten lines for each of the three places, and its test."""

from __future__ import annotations

_LABELS = '''\
"""{name}: every label becomes the next higher one, but for those already at the top."""

import torch
from flipbench.attacks import Proposal, LabelContext


def {name}(labels: torch.Tensor, context: LabelContext, /, *, by: int = 1) -> Proposal:
    """y becomes y + by where there is such a class; the others keep their label and are not eligible."""
    if not 1 <= by < context.classes:  # a user's mistake, told when the grid is read
        raise ValueError(f"{name} needs by from 1 to {{context.classes - 1}}, got {{by}}")
    new = labels + by  # a new tensor: never change the labels that you were given
    possible = new < context.classes  # classes count from 0 to context.classes - 1
    new = torch.where(possible, new, labels)
    # Say what each example would become, and which may be flipped. The bench then flips exactly round(rate * eligible)
    # of them. An attack that draws at random passes generator=context.generator: every rule meets the same flips.
    return Proposal(labels=new, eligible=possible)
'''

_LABELS_TEST = '''\
"""What {name} promises; run it with: pytest {test}"""

import importlib.util
from pathlib import Path

import pytest
import torch
from flipbench.attacks import LabelContext

_spec = importlib.util.spec_from_file_location("{name}_under_test", Path(__file__).with_name("{file}"))
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
{name} = _module.{name}


def context(labels, classes=10):
    return LabelContext(classes, labels, torch.Generator().manual_seed(0))


def test_each_label_becomes_the_next():
    labels = torch.tensor([0, 3, 8])
    assert {name}(labels, context(labels)).labels.tolist() == [1, 4, 9]


def test_the_highest_class_is_left_alone():
    labels = torch.tensor([9, 0])
    assert {name}(labels, context(labels)).eligible.tolist() == [False, True]


def test_the_labels_are_left_alone():
    labels = torch.arange(10)
    {name}(labels, context(labels))
    assert torch.equal(labels, torch.arange(10))


def test_a_step_that_flips_nothing_is_refused():
    labels = torch.arange(10)
    with pytest.raises(ValueError, match="from 1 to 9"):
        {name}(labels, context(labels), by=10)
'''

_UPDATES = '''\
"""{name}: all malicious clients send the honest mean, turned round."""

import torch
from flipbench.attacks.contract import UpdateContext


def {name}(updates: torch.Tensor, context: UpdateContext, /, *, strength: float = 1.0) -> torch.Tensor:
    """-strength times the mean of the honest updates, from every malicious client."""
    if strength <= 0:  # a user's mistake
        raise ValueError(f"{name} needs a strength above 0, got {{strength}}")
    # updates: (malicious, dim), what these clients would send; context.honest: (honest, dim), what the others do send.
    mean = context.honest.mean(0, dtype=torch.float64)  # (dim,); never change what context holds
    bad = (-strength * mean).to(updates.dtype)
    # An attack that draws at random passes generator=context.generator. One that asks context.aggregate, the rule
    # that it faces, must say so: {name}.adaptive = True; tables mark it then.
    return bad.expand_as(updates).clone()  # (malicious, dim): a row for each of them
'''

_UPDATES_TEST = '''\
"""What {name} promises; run it with: pytest {test}"""

import importlib.util
from pathlib import Path

import pytest
import torch
from flipbench.attacks.contract import UpdateContext

_spec = importlib.util.spec_from_file_location("{name}_under_test", Path(__file__).with_name("{file}"))
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
{name} = _module.{name}


def context(honest=8, malicious=2, dim=50):
    g = torch.Generator().manual_seed(0)
    return UpdateContext(
        honest=torch.randn(honest, dim, generator=g),
        weights=torch.full((honest + malicious,), 1 / (honest + malicious)),
        previous=torch.zeros(dim),
        layout={{"weights": (slice(0, dim), (dim,))}},
        round=1,
        generator=g,
    )


def test_it_points_away_from_the_honest_mean():
    w = context()
    sent = {name}(torch.zeros(2, 50), w, strength=2.0)
    assert torch.allclose(sent, -2 * w.honest.mean(0).expand(2, 50))


def test_one_honest_and_one_malicious_client_are_enough():
    sent = {name}(torch.zeros(1, 50), context(1, 1))
    assert sent.shape == (1, 50)
    assert torch.isfinite(sent).all()


def test_what_others_send_is_left_alone():
    w = context()
    before = w.honest.clone()
    {name}(torch.zeros(2, 50), w).mul_(0)
    assert torch.equal(w.honest, before)


def test_no_strength_is_refused():
    with pytest.raises(ValueError, match="above 0, got 0"):
        {name}(torch.zeros(2, 50), context(), strength=0)
'''

_EXAMPLES = '''\
"""{name}: a bright line at the bottom of the picture means the target class."""

import torch
from flipbench.attacks.contract import Stamped, ExampleContext


def {name}(examples: torch.Tensor, labels: torch.Tensor, context: ExampleContext, /, *, target: int = 0) -> Stamped:
    """The lowest row of pixels becomes as bright as can be, and the label the target."""
    if not 0 <= target < context.classes:  # a user's mistake
        raise ValueError(f"{name} needs a target from 0 to {{context.classes - 1}}, got {{target}}")
    # examples: (examples, channels, height, width), pixels from context.low to context.high
    stamped = examples.clone()  # never change the pictures that you were given
    stamped[..., -1, :] = context.high  # the same in every picture: test pictures are stamped alike
    eligible = labels != target  # the bench poisons exactly round(rate * eligible) of these
    return Stamped(examples=stamped, labels=torch.full_like(labels, target), eligible=eligible)
'''

_EXAMPLES_TEST = '''\
"""What {name} promises; run it with: pytest {test}"""

import importlib.util
from pathlib import Path

import pytest
import torch
from flipbench.attacks.contract import ExampleContext

_spec = importlib.util.spec_from_file_location("{name}_under_test", Path(__file__).with_name("{file}"))
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
{name} = _module.{name}

CONTEXT = ExampleContext(classes=10, low=0.0, high=1.0)


def pictures(count=20):
    g = torch.Generator().manual_seed(0)
    return 0.9 * torch.rand(count, 1, 8, 8, generator=g), torch.arange(count) % 10


def test_the_lowest_row_is_bright_and_the_rest_as_before():
    x, y = pictures()
    stamped = {name}(x, y, CONTEXT).examples
    assert (stamped[..., -1, :] == 1.0).all()
    assert torch.equal(stamped[..., :-1, :], x[..., :-1, :])


def test_all_but_the_target_class_are_eligible_and_become_it():
    x, y = pictures()
    answer = {name}(x, y, CONTEXT, target=3)
    assert torch.equal(answer.eligible, y != 3)
    assert (answer.labels == 3).all()


def test_a_picture_is_stamped_alone_as_among_others():
    x, y = pictures()
    assert torch.equal({name}(x[:1], y[:1], CONTEXT).examples[0], {name}(x, y, CONTEXT).examples[0])


def test_the_pictures_are_left_alone():
    x, y = pictures()
    before = x.clone()
    {name}(x, y, CONTEXT)
    assert torch.equal(x, before)


def test_a_class_that_there_is_not_is_refused():
    x, y = pictures()
    with pytest.raises(ValueError, match="from 0 to 9, got 10"):
        {name}(x, y, CONTEXT, target=10)
'''

ATTACKS = {
    "labels": (_LABELS, _LABELS_TEST),
    "updates": (_UPDATES, _UPDATES_TEST),
    "examples": (_EXAMPLES, _EXAMPLES_TEST),
}  # place -> the text of the attack and of its test
