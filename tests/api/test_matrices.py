"""`aggregate` on one's own matrix: the kind that comes is the kind that goes, and mistakes are told."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch

import flipbench as fb
from flipbench.aggregators import Cohort, compose, nnm, trimmed_mean

UPDATES = torch.randn(12, 5, generator=torch.Generator().manual_seed(1))


def doubled(updates, cohort, /, *, factor: float = 2.0):
    return factor * updates.mean(-2)


@dataclass(frozen=True)
class Memory:
    beta: float = 0.5

    def init(self, updates, cohort):
        return torch.zeros(updates.shape[-1])

    def __call__(self, updates, cohort, state):
        return updates.mean(-2) * self.beta + state, state


def test_a_chain_is_what_compose_makes_of_it():
    expected = compose(nnm, partial(trimmed_mean, trim=3))(UPDATES, Cohort.of(UPDATES, 4))
    assert torch.equal(fb.aggregate("nnm | trimmed_mean(trim=3)", UPDATES, byzantine=4), expected)
    assert torch.equal(fb.aggregate(compose(nnm, partial(trimmed_mean, trim=3)), UPDATES, 4), expected)


def test_the_same_kind_comes_back():
    of_tensor = fb.aggregate("median", UPDATES, byzantine=4)
    of_array = fb.aggregate("median", UPDATES.numpy(), byzantine=4)
    of_lists = fb.aggregate("median", UPDATES.tolist(), byzantine=4)
    assert isinstance(of_tensor, torch.Tensor)
    assert of_tensor.dtype == torch.float32
    assert isinstance(of_array, np.ndarray)
    assert of_array.dtype == np.float32
    assert isinstance(of_lists, list)
    assert np.allclose(of_tensor, of_array)
    assert np.allclose(of_tensor, of_lists)
    assert fb.aggregate("mean", [[1, 2], [3, 4]]) == [2.0, 3.0]
    assert fb.aggregate("mean", UPDATES.double().numpy()[:, ::-1]).dtype == np.float64


def test_a_stack_and_a_gradient():
    stack = torch.stack([UPDATES, 2 * UPDATES]).requires_grad_()
    answer = fb.aggregate("krum", stack, byzantine=4)
    assert answer.shape == (2, 5)
    assert not answer.requires_grad
    assert not np.shares_memory(fb.aggregate("mean", a := np.ones((1, 3))), a)


def test_functions_classes_and_options():
    mean = UPDATES.mean(-2)
    assert torch.allclose(fb.aggregate(doubled, UPDATES), 2 * mean)
    assert torch.allclose(fb.aggregate(partial(doubled, factor=3.0), UPDATES), 3 * mean)
    assert torch.allclose(fb.aggregate(Memory, UPDATES), 0.5 * mean)
    assert torch.allclose(fb.aggregate(Memory(beta=0.25), UPDATES), 0.25 * mean)
    weights = torch.arange(12.0) / 66
    assert torch.allclose(fb.aggregate("fedavg", UPDATES, weights=weights), weights @ UPDATES, atol=1e-6)
    own = UPDATES[0]
    assert torch.equal(
        fb.aggregate("fltrust", UPDATES, 4, trusted=own), fb.aggregate("fltrust", UPDATES, 4, trusted=lambda: own)
    )


@pytest.mark.parametrize(
    ("rule", "updates", "options", "error", "said"),
    [
        ("krum", UPDATES, {"byzantine": 5}, fb.Infeasible, r"2f \+ 3"),
        ("fltrust", UPDATES, {}, fb.Infeasible, "root data"),
        ("krumm", UPDATES, {}, fb.UserError, "did you mean 'krum'"),
        ("krum(kep=1)", UPDATES, {}, fb.UserError, "unknown option 'kep'"),
        (3, UPDATES, {}, fb.UserError, "a rule is a name or a function, got int"),
        ("mean", UPDATES[0], {}, fb.UserError, "one row a client; got shape"),
        ("mean", np.zeros((0, 3)), {}, fb.UserError, r"got shape \(0, 3\)"),
        ("mean", [[1.0], [2.0, 3.0]], {}, fb.UserError, "one row a client"),
        ("mean", [["a", "b"]], {}, fb.UserError, "numbers"),
        ("mean", np.ones((2, 2)) * 1j, {}, fb.UserError, "real numbers"),
        ("mean", [[1.0, np.nan], [1.0, 2.0]], {}, fb.UserError, r"1 client holds? NaN or infinity \(row 0\)|1 clients"),
        ("mean", UPDATES, {"byzantine": -1}, fb.UserError, "a whole number from 0 to 11"),
        ("mean", UPDATES, {"byzantine": 12}, fb.UserError, "a whole number from 0 to 11"),
        ("mean", UPDATES, {"byzantine": 1.0}, fb.UserError, "a whole number from 0 to 11"),
        ("fedavg", UPDATES, {"weights": [1.0]}, fb.UserError, r"weights needs the shape \(12,\), got \(1,\)"),
        ("mean", UPDATES, {"wieghts": 1}, fb.UserError, "no field 'wieghts'"),
        (lambda u, c: 0.0, UPDATES, {}, fb.UserError, "the rule gave float"),
        (lambda u, c: u, UPDATES, {}, fb.UserError, r"in place of a tensor of shape \(5,\)"),
    ],
)
def test_mistakes_are_told(rule, updates, options, error, said):
    with pytest.raises(error, match=said):
        fb.aggregate(rule, updates, **options)
