"""Attacks inside a federation: who is told what, what is sent, and what the others notice of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from flipbench.aggregators.contract import Cohort, Infeasible
from flipbench.attacks import ATTACKS, Chain, LabelContext, Proposal, UpdateContext
from flipbench.federation.federation import Federation
from flipbench.federation.malicious_clients import BadAttackError
from flipbench.federation.population import attack_rounds, populate
from flipbench.federation.records import Job
from flipbench.federation.run_stack import perform
from flipbench.federation.task import Parts
from flipbench.spec.cell import Cell
from flipbench.training import models, schedules
from tests.helpers.small_federation import CLASSES, FACTS, blobs, fedavg, uneven

BASE = Cell(**FACTS, attack="mirrored", malicious_count=2)


@dataclass
class Tap:
    """A rule that keeps what it is shown; the server's step is FedAvg's, or none."""

    still: bool = False

    def __post_init__(self) -> None:
        self.seen: list[Tensor] = []

    def __call__(self, updates: Tensor, cohort: Cohort, /) -> Tensor:
        self.seen.append(updates.clone())
        return torch.zeros_like(updates[:, 0]) if self.still else fedavg(updates, cohort)


def federation(cell: Cell, attack: Any, rule: Any = fedavg) -> Federation:
    task, labels = blobs()
    people = populate(cell, labels, CLASSES, uneven, attack)
    made = Parts(lambda s, c: models.mlp(s, c, widths=[8]), schedules.constant, rule)
    out = Federation([cell], [people], task, made)
    for r in range(1, cell.rounds + 1):
        out.round(r)
    return out


def test_honest_clients_send_what_they_always_send_and_malicious_ones_what_the_attack_says() -> None:
    asked: list[Tensor] = []

    def attack(updates: Tensor, context: UpdateContext, /) -> Tensor:
        asked.append(updates.clone())
        assert len(context.honest) + len(updates) == BASE.clients
        assert torch.isclose(context.weights.sum(), torch.tensor(1.0))
        return -3 * context.honest.mean(0)

    clean, attacked = Tap(still=True), Tap(still=True)
    federation(BASE, None, clean)
    people = federation(BASE, attack, attacked).populations[0]
    bad = list(people.malicious)
    good = [c for c in range(BASE.clients) if c not in bad]
    for before, after, own in zip(clean.seen, attacked.seen, asked, strict=True):
        assert torch.equal(before[0, good], after[0, good])
        assert torch.equal(before[0, bad], own)
        assert torch.equal(after[0, bad], (-3 * before[0, good].mean(0)).expand(len(bad), -1))


def test_a_client_keeps_its_own_momentum_whatever_it_sends() -> None:
    cell = replace(BASE, local_steps=1, client_momentum=0.9, attack_stop=2)
    clean, attacked = Tap(still=True), Tap(still=True)
    federation(cell, None, clean)
    federation(cell, _reversed, attacked)
    assert not torch.equal(clean.seen[0], attacked.seen[0])
    assert not torch.equal(clean.seen[1], attacked.seen[1])
    assert torch.equal(clean.seen[2], attacked.seen[2])
    assert torch.equal(clean.seen[3], attacked.seen[3])


def _reversed(updates: Tensor, context: UpdateContext, /) -> Tensor:
    return -updates


def test_an_adaptive_attack_hears_the_very_answer_of_the_rule() -> None:
    heard: list[Tensor] = []

    def attack(updates: Tensor, context: UpdateContext, /) -> Tensor:
        heard.append(context.aggregate(torch.stack([updates, -updates]))[1])
        return -updates

    attack.adaptive = True  # type: ignore[attr-defined]
    end = federation(BASE, attack, Tap())
    torch.testing.assert_close(heard[-1], end.previous[0])


def test_an_attack_that_does_not_declare_it_is_not_told_the_rule() -> None:
    with pytest.raises(ValueError, match="adaptive"):
        federation(BASE, _peeking)


def _peeking(updates: Tensor, context: UpdateContext, /) -> Tensor:
    return context.aggregate(updates.unsqueeze(0)).expand_as(updates)


@dataclass(frozen=True)
class Counting:
    """A rule with memory: its answer says how often it was asked."""

    def init(self, updates: Tensor, cohort: Cohort) -> Tensor:
        return torch.zeros(1)

    def __call__(self, updates: Tensor, cohort: Cohort, state: Tensor) -> tuple[Tensor, Tensor]:
        state += 1  # in place, as a careless author would
        return updates.mean(1) * 0 + state, state


def test_asking_a_rule_with_memory_leaves_no_trace() -> None:
    def attack(updates: Tensor, context: UpdateContext, /) -> Tensor:
        for _ in range(3):
            context.aggregate(torch.stack([updates] * 2))
        return updates

    attack.adaptive = True  # type: ignore[attr-defined]
    end = federation(BASE, attack, Counting())
    assert float(end.previous[0, 0]) == BASE.rounds


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lambda u: u[:1, :5], "must return updates of shape"),
        (lambda u: u.double(), "must return torch.float32"),
        (lambda u: 7, "got int"),
        (lambda u: u.mul_(2), "changed the updates"),
    ],
)
def test_an_answer_that_cannot_be_sent_is_one_clear_error(answer: Any, text: str) -> None:
    def attack(updates: Tensor, context: UpdateContext, /) -> Any:
        return answer(updates)

    with pytest.raises(BadAttackError, match=text):
        federation(BASE, attack)


def test_an_attack_without_anybody_honest_is_infeasible_and_not_left_out_in_silence() -> None:
    with pytest.raises(Infeasible, match="all 6 clients of round 1 are malicious"):
        federation(replace(BASE, malicious_count=6), _reversed)


def test_dynamic_labels_are_chosen_against_the_current_global_model() -> None:
    shown: list[tuple[Tensor, Tensor]] = []

    def attack(labels: Tensor, context: LabelContext, /) -> Proposal:
        everyone = torch.ones_like(labels, dtype=torch.bool)
        if context.scores is None:
            return Proposal(labels, everyone)
        shown.append((labels, context.scores))
        return Proposal((labels + 1) % CLASSES, everyone)

    attack.dynamic = True  # type: ignore[attr-defined]
    cell = replace(BASE, flip_rate=0.5)
    end = federation(cell, attack)
    people = end.populations[0]
    assert people.dynamic is not None
    assert torch.equal(people.flipped, people.labels)
    for client in people.malicious:
        mine = people.dynamic[people.parts[client]]
        assert int(mine.sum()) == round(0.5 * len(mine))
    assert int(people.dynamic.sum()) == sum(f.selected for f in people.flips)
    assert all(f["changed"] == f["selected"] for f in end.result(0)["flips"] if f["selected"])
    first, last = shown[0][1], shown[-1][1]
    assert first.shape[1] == CLASSES
    assert last.std() > first.std()  # logits of a trained model, not of the first one


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75, 1.0])
def test_availability_is_an_exact_share_of_the_window_and_nested(share: float) -> None:
    cell = replace(BASE, rounds=12, attack_start=3, attack_stop=10, attack_availability=share)
    rounds = attack_rounds(cell)
    assert len(rounds) == round(8 * share)
    assert rounds <= frozenset(range(3, 11))
    assert rounds <= attack_rounds(replace(cell, attack_availability=1.0))
    clean, attacked = Tap(still=True), Tap(still=True)
    federation(cell, None, clean)
    federation(cell, ATTACKS["mirrored"], attacked)
    differ = {r + 1 for r in range(12) if not torch.equal(clean.seen[r], attacked.seen[r])}
    assert differ == rounds


def test_a_chain_has_one_link_a_place() -> None:
    both = Chain.of(ATTACKS["mirrored"], ATTACKS["scaled"])
    assert both.places == ["labels", "updates"]
    with pytest.raises(ValueError, match="two on labels"):
        Chain.of(ATTACKS["mirrored"], ATTACKS["uniform"])
    with pytest.raises(ValueError, match="first parameter"):
        Chain.of(lambda x, y: x)


DIGITS: dict[str, Any] = {
    "dataset": "digits",
    "model": "softmax",
    "clients": 10,
    "rounds": 6,
    "evaluate_every": 3,
    "local_steps": 3,
    "learning_rate": 0.3,
    "malicious_count": 3,
    "aggregator": "trimmed_mean",
}
OPTIONS = {
    "targeted": "targeted(source=0, target=8)",
    "swapped": "swapped(first=0, second=9)",
    "all_to_one": "all_to_one(target=0)",
    "permuted": "permuted(mapping={1: 7, 7: 1})",
    "backdoor": "backdoor(target=3, size=2)",
    "worst_case": "worst_case(trials=6, finalists=2)",
}
EVERY = [OPTIONS.get(name, name) for name in ATTACKS] + ["mirrored | scaled(factor=2)", "mirrored | backdoor(target=1)"]


def done(*cells: Cell) -> list[dict[str, Any]]:
    records = perform([Job(c, {}) for c in cells], {})
    assert [r["reason"] for r in records] == [None] * len(cells)
    return records


@pytest.mark.parametrize("attack", EVERY)
def test_every_attack_runs_and_a_stack_equals_its_cells(attack: str) -> None:
    cells = [Cell(**DIGITS, attack=attack, seed=s, flip_rate=rate) for s in (0, 1) for rate in (0.5, 1.0)]
    together = done(*cells)
    for cell, one in zip(cells, together, strict=True):
        alone = done(cell)[0]
        assert alone["result"] == one["result"]
        assert alone["attack"] == one["attack"]
    told = together[-1]["attack"]
    assert told["places"] == Chain.of(*(ATTACKS[p.split("(")[0].strip()] for p in attack.split("|"))).places
    assert told["adaptive"] == attack.startswith(("worst_case", "optimal"))
    clean = done(replace(cells[-1], attack="none"))[0]
    assert clean["attack"] is None
    assert clean["result"]["norms"] != together[-1]["result"]["norms"]  # proof of life


@pytest.mark.parametrize("attack", ["mirrored", "least_likely", "backdoor(target=3, size=2)", "confusable"])
def test_a_flip_rate_of_zero_is_the_clean_twin(attack: str) -> None:
    flipped, clean = done(Cell(**DIGITS, attack=attack, flip_rate=0.0)), done(Cell(**DIGITS))
    for part in ("confusion", "norms", "influence"):
        assert flipped[0]["result"][part] == clean[0]["result"][part]


def test_a_backdoor_is_measured_on_stamped_test_images_of_the_other_classes() -> None:
    cell = Cell(**{**DIGITS, "aggregator": "fedavg", "rounds": 40}, attack="backdoor(target=3, size=3)")
    record = done(cell)[0]
    plain, stamped = (torch.tensor(record["result"][part]) for part in ("confusion", "stamped"))
    others = torch.arange(10) != 3
    assert stamped.shape == plain.shape
    assert torch.equal(stamped.sum(2)[:, others], plain.sum(2)[:, others])
    assert not stamped[:, 3].any()
    success = stamped[-1, :, 3].sum() / stamped[-1].sum()
    false = plain[-1][others][:, 3].sum() / plain[-1][others].sum()
    assert success > false + 0.3
    assert record["attack"]["target"] == 3
    assert record["mapping"] is None
    assert {f["place"] for f in record["result"]["flips"]} == {"examples"}


@pytest.mark.parametrize("aggregator", ["fedavg", "krum", "median", "foolsgold"])
def test_the_worst_case_does_no_less_than_the_flips_that_it_tries(aggregator: str) -> None:
    """By its own measure, and in the very federation that it then runs; it never sees the test images."""
    facts = {**DIGITS, "aggregator": aggregator, "malicious_count": 3}
    record = done(Cell(**facts, attack="worst_case(trials=30)"))[0]
    search = record["attack"]["search"]
    assert search["trials"] == 31
    assert search["harm"] == max(h for _, h in search["finalists"])
    static = {f"all_to_one(target={t})" for t in range(10)}
    assert static & {name for name, _ in search["finalists"]}
    named = search["flip"]
    again = done(Cell(**facts, attack=named))[0]
    assert again["result"]["confusion"] == record["result"]["confusion"]
    assert again["result"]["norms"] == record["result"]["norms"]


@pytest.mark.parametrize("objective", ["source_recall", "attack_success_rate"])
def test_the_worst_case_has_other_aims(objective: str) -> None:
    attack = f"worst_case(objective={objective}, trials=12, finalists=3)"
    search = done(Cell(**{**DIGITS, "aggregator": "fedavg", "rounds": 10}, attack=attack))[0]["attack"]["search"]
    assert search["objective"] == objective
    assert search["harm"] > 0
    assert search["mapping"]


@pytest.mark.parametrize("answer", ["None", "labels", "(labels, labels >= 0)", "Proposal(labels[:1], labels >= 0)"])
def test_another_answer_than_a_proposal_is_one_sentence(answer: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        f"from flipbench.attacks import Proposal\ndef flip(labels, context, /):\n    return {answer}\n"
    )
    facts: dict[str, Any] = {"dataset": "digits", "model": "softmax", "clients": 3, "rounds": 1, "malicious_count": 1}
    (record,) = perform([Job(Cell(**facts, attack=f"{tmp_path / 'mine.py'}:flip"), {})], {})
    assert record["status"] == "failed"
    assert record["reason"].startswith("attack ")
    assert "must" in record["reason"]
    assert "Error" not in record["reason"]
