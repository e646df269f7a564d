"""What a rule tells of whom it kept: what the record says of it, and that the update shows the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from flipbench.aggregators import RULES, Cohort, compose, fedavg, krum, nnm, per_cell
from flipbench.aggregators.validation import guarded
from flipbench.federation.aggregation import Aggregation, BadUpdateError
from flipbench.federation.influence import influence

TELLING = ("krum", "multi_krum", "mda", "faba", "dnc", "flame", "lfighter", "cge", "aksel", "monna")
N, F, DIM = 16, 3, 160


def stack(seed: int, cells: int = 2) -> tuple[Tensor, Cohort]:
    """Honest updates around a common step, and the first F clients of each cell going the other way."""
    g = torch.Generator().manual_seed(seed)
    step = torch.randn(DIM, generator=g)
    updates = step + torch.randn(cells, N, DIM, generator=g)
    updates[:, :F] = 0.8 * torch.randn(cells, F, DIM, generator=g) - step
    layout = {"output.weight": (slice(0, 150), (10, 15)), "output.bias": (slice(150, 160), (10,))}
    fields = {"layout": layout, "trusted": step.expand(cells, DIM).clone(), "round": seed + 1}
    return updates, Cohort.of(updates, F, model=torch.zeros(cells, DIM), **fields)


def kept_by(rule: Any, updates: Tensor, cohort: Cohort) -> tuple[Tensor, np.ndarray]:
    """The rule's update, and whom it told that it kept, ``(cells, clients)``."""
    aggregation = Aggregation(rule, "rule")
    update, _ = aggregation.update(updates, cohort, updates.norm(dim=-1).double())
    return update, np.array([aggregation.kept.of_cell(s) for s in range(len(updates))])


@pytest.mark.parametrize("name", TELLING)
def test_in_every_round_the_update_shows_whom_the_rule_kept(name: str) -> None:
    for seed in range(6):
        updates, cohort = stack(seed)
        update, kept = kept_by(RULES[name], updates, cohort)
        weights = influence(updates, update).numpy()
        assert ((weights >= 0.5 / N) == (kept == 1)).all(), (name, seed, weights * N, kept)


@pytest.mark.parametrize("name", sorted(RULES))
def test_to_tell_changes_no_answer(name: str) -> None:
    updates, cohort = stack(0)
    rule = RULES[name]
    if hasattr(rule, "init"):
        rule = rule()
        told, plain = (rule(updates, c, rule.init(updates, c))[0] for c in (listened(cohort), cohort))
    else:
        told, plain = (rule(updates, c) for c in (listened(cohort), cohort))
    assert torch.equal(told, plain)


def listened(cohort: Cohort) -> Cohort:
    heard: list[Any] = []
    return replace(cohort, tell_kept=lambda kept, cell=None: heard.append(kept))


def test_krum_keeps_the_client_whose_update_it_answers() -> None:
    updates, cohort = stack(3)
    update, kept = kept_by(krum, updates, cohort)
    for s in range(2):
        (chosen,) = np.flatnonzero(kept[s])
        assert torch.equal(update[s], updates[s, chosen])


def test_rows_in_another_order_and_rows_that_are_not_finite_keep_their_places() -> None:
    updates, cohort = stack(1)
    _, straight = kept_by(RULES["multi_krum"], updates, cohort)
    back = torch.arange(N - 1, -1, -1)
    turned = replace(cohort, clients=cohort.clients[:, back], weights=cohort.weights[:, back])
    _, other = kept_by(RULES["multi_krum"], updates[:, back].clone(), turned)
    assert (other[:, ::-1] == straight).all()
    spoilt = updates.clone()
    spoilt[1, 5, 0] = float("nan")
    update, kept = kept_by(krum, spoilt, replace(cohort, byzantine=4))
    assert kept[1, 5] == 0
    for s in range(2):
        assert torch.equal(update[s], updates[s, int(kept[s].argmax())])
    heard: list[Tensor] = []
    alone = replace(Cohort.of(spoilt[1], 4), tell_kept=lambda kept, cell=None: heard.append(kept))
    krum(spoilt[1], alone)  # of its own, where no federation has left the row out
    assert heard[0].shape == (N,)
    assert heard[0].int().tolist() == kept[1].tolist()


@guarded
@per_cell
def longest(updates: Tensor, cohort: Cohort, /) -> Tensor:
    """A rule of an author, written for one matrix: the longest update."""
    row = int(updates.norm(dim=-1).argmax())
    cohort.tell_kept(torch.arange(len(updates)) == row)
    return updates[row].clone()


def test_a_rule_lifted_from_one_matrix_tells_cell_by_cell() -> None:
    updates, cohort = stack(2)
    back = torch.arange(N - 1, -1, -1)
    for rows in (torch.arange(N), back):
        turned = replace(cohort, clients=cohort.clients[:, rows])
        _, kept = kept_by(longest, updates[:, rows].clone(), turned)
        assert kept.argmax(1).tolist() == updates[:, rows].norm(dim=-1).argmax(1).tolist()
        assert kept.sum() == 2


def test_rules_that_keep_all_and_rules_behind_a_mix_tell_nothing() -> None:
    updates, cohort = stack(0)
    for rule in (fedavg, RULES["median"], compose(nnm, krum)):
        _, kept = kept_by(rule, updates, cohort)
        assert kept.tolist() == [None, None]


def test_what_is_no_list_of_clients_is_refused() -> None:
    def counting(updates: Tensor, cohort: Cohort) -> Tensor:
        cohort.tell_kept(torch.ones(2, N))
        return updates.mean(-2)

    updates, cohort = stack(0)
    with pytest.raises(BadUpdateError, match=r"tell_kept needs torch.bool of shape .* got torch.float32"):
        kept_by(counting, updates, cohort)
