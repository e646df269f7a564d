"""Facts in which published protocols differ: against the plain loop, stacked or alone, and that each one tells."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from flipbench.federation import sybil_data as malicious_data
from flipbench.federation.federation import run
from flipbench.federation.population import Population, populate
from flipbench.federation.task import Parts
from flipbench.spec.cell import Cell
from flipbench.spec.twins import clean_twin, normal
from flipbench.training import initialisation, losses, models, schedules
from flipbench.training.augmentation import crop
from tests.helpers.small_federation import CLASSES, FACTS, blobs, fedavg, mirror, uneven
from tests.oracles.federation_oracle import naive

MLP = partial(models.mlp, widths=[8])
CNN = partial(models.cnn, channels=[3, 4], kernel=3, padding=1, hidden=[6], channel_dropout=0.4, dropout=0.3)
DECAY = partial(schedules.decay, rate=0.2)
STEP = partial(schedules.step, every=2, factor=0.3)


def balanced(own: list[int], everybody: list[int], federation: bool = False, power: float = 1.0) -> list[float]:
    """Weights of the classes, with Python's own numbers."""
    counted = everybody if federation else own
    raw = [counted.count(c) ** -power if c in counted else 0.0 for c in range(CLASSES)]
    scale = len(counted) / sum(raw[y] for y in counted)
    return [scale * w for w in raw]


def case(facts: dict[str, Any], **parts: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    return FACTS | facts, parts


KEPT = {"momentum": 0.8, "learning_rate": 0.05, "optimiser_state": "kept"}
SYBILS = {"malicious_count": 2, "attack": "mirrored", "local_steps": 4, "malicious_data": "fresh"}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "sum of the batch": case({"reduction": "sum", "learning_rate": 0.05, "local_steps": None, "weight_decay": 0.01}),
    "kept buffers": case(KEPT | {"local_steps": None}),
    "kept buffers of sampled clients": case(KEPT | {"clients_per_round": 3, "rounds": 9, "local_steps": 1}),
    "kept buffers and client momentum": case(KEPT | {"client_momentum": 0.3, "local_steps": 1, "rounds": 9}),
    "by participation": case(
        {"schedule_clock": "participation", "clients_per_round": 2, "rounds": 9, "schedule_start": 1}, schedule=STEP
    ),
    "by step of the round": case({"schedule_clock": "local_step", "local_steps": None}, schedule=DECAY),
    "by step of the client": case(
        {"schedule_clock": "client_step", "local_steps": None, "local_epochs": 2, "clients_per_round": 4, "rounds": 6},
        schedule=DECAY,
    ),
    "by step of all": case(
        {"schedule_clock": "shared_step", "local_steps": None, "schedule_start": 7, "momentum": 0.5}, schedule=DECAY
    ),
    "by step of all, FedSGD": case(
        {"schedule_clock": "shared_step", "local_steps": 1, "weight_decay": 0.1, "rounds": 9}, schedule=DECAY
    ),
    "equal weights": case({"client_weights": "equal"}),
    "norm clipped": case({"clip_update": 0.3, **SYBILS}, sybil_data=malicious_data.fresh),
    "norm clipped behind momentum": case({"clip_update": 0.1, "client_momentum": 0.5, "local_steps": 1, "rounds": 9}),
    "noise of the clients": case({"clip_update": 0.3, "noise_multiplier": 0.2, "noise_at": "client", **SYBILS}),
    "noise of sampled clients with momentum": case(
        {"clip_update": 0.1, "noise_multiplier": 0.1, "noise_at": "client", "client_momentum": 0.5, "local_steps": 1}
        | {"rounds": 9, "clients_per_round": 4}
    ),
    "noise of the server": case({"clip_update": 0.3, "noise_multiplier": 0.5, "server_momentum": 0.3}),
    "noise of the server, sampled clients": case(
        {"clip_update": 0.3, "noise_multiplier": 0.5, "clients_per_round": 3, "rounds": 8, "client_weights": "equal"}
    ),
    "noise of the server, sampled clients of many sizes": case(
        {"clip_update": 0.3, "noise_multiplier": 0.5, "clients_per_round": 3, "rounds": 8}
    ),
    "validation": case({"validation_share": 0.4, "local_steps": None}),
    "evaluated on what clients hold out": case(
        {"validation_share": 0.4, "evaluate_on": "validation", "malicious_count": 3, "attack": "mirrored"}
    ),
    "evaluated on what the N hold out, not sybils": case(
        SYBILS | {"validation_share": 0.3, "evaluate_on": "validation", "root_examples": 9},
        sybil_data=malicious_data.fresh,
    ),
    "last batch dropped": case({"drop_last": True, "local_steps": None, "local_epochs": 2}),
    "batches drawn anew": case({"sampling": "independent", "rounds": 8}),
    "balanced batches": case({"sampling": "balanced"}),
    "balanced loss": case({"malicious_count": 3, "attack": "mirrored"}, loss=losses.class_balanced(), weigh=balanced),
    "balanced loss of the federation": case(
        {"local_steps": None, "reduction": "sum", "learning_rate": 0.05},
        loss=losses.class_balanced("federation", 0.5),
        weigh=partial(balanced, federation=True, power=0.5),
    ),
    "cropped": case({"rounds": 6, "local_steps": None}, augment=crop(padding=1), padding=1),
    "sybils of a class": case(SYBILS, sybil_data=partial(malicious_data.of_class, label=1)),
    "sybils under sampling": case(
        SYBILS | {"clients_per_round": 4, "rounds": 8, "validation_share": 0.2},
        sybil_data=partial(malicious_data.fresh, examples=40),
    ),
    "flips after the batches": case({"malicious_count": 4, "attack": "mirrored", "flips_trained": False}),
    "drawn weights": case({}, initialise=partial(initialisation.uniform, low=-0.3, high=0.3)),
    "dropout": case({"rounds": 2, "local_steps": None, "learning_rate": 0.1}, model=CNN),
    "dropout, FedSGD": case({"rounds": 3, "local_steps": 1, "learning_rate": 0.1}, model=CNN),
}
_OF_THE_LOOP = ("weigh", "padding")


def people_of(cell: Cell, parts: dict[str, Any]) -> Population:
    _, labels = blobs()
    data = parts.get("sybil_data", malicious_data.fresh)
    return populate(cell, labels, CLASSES, uneven, mirror if cell.attacked else None, sybil_data=data)


def go(cells: list[Cell], parts: dict[str, Any]) -> list[dict[str, Any]]:
    task, _ = blobs()
    task = replace(task, black=torch.full(task.shape, -0.5))
    known = {"model": MLP, "schedule": schedules.constant, "rule": fedavg, **parts}
    made = Parts(**{k: v for k, v in known.items() if k not in _OF_THE_LOOP})
    return [result for result, _ in run(cells, [people_of(c, parts) for c in cells], task, made)]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", CASES)
def test_it_is_the_loop_that_one_would_write_down(name: str, seed: int) -> None:
    facts, parts = CASES[name]
    cell = Cell(**(facts | {"seed": seed}))
    task, _ = blobs()
    task = replace(task, black=torch.full(task.shape, -0.5))
    told = {k: parts[k] for k in ("schedule", "initialise", *_OF_THE_LOOP) if k in parts}
    want = torch.tensor(naive(cell, people_of(cell, parts), task, parts.get("model", MLP), **told))
    got = torch.tensor(go([cell], parts)[0]["confusion"][-1])
    assert int((got - want).abs().sum()) <= 2, (got, want)


@pytest.mark.parametrize("name", CASES)
def test_stacked_or_one_by_one_the_stored_numbers_are_the_same(name: str) -> None:
    facts, parts = CASES[name]
    cells = [Cell(**(facts | {"seed": s})) for s in (0, 1, 2)]
    if not cells[0].sybils:
        cells += [Cell(**(facts | {"seed": s, "attack": "mirrored", "malicious_count": 2})) for s in (0, 2)]
    together = go(cells, parts)
    random.Random(0).shuffle(order := list(range(len(cells))))
    shuffled = go([cells[i] for i in order], parts)
    for i, cell in enumerate(cells):
        assert go([cell], parts)[0] == together[i]
        assert shuffled[order.index(i)] == together[i]


@pytest.mark.parametrize("name", [n for n in CASES if "flips" not in n])
def test_every_fact_tells(name: str) -> None:
    """Without it the lengths of the last round's updates are others."""
    facts, parts = CASES[name]
    with_it = go([Cell(**facts)], parts)[0]
    usual = {f: v for f, v in facts.items() if f in FACTS or f in ("malicious_count", "attack")}
    kept = {k: v for k, v in parts.items() if k == "schedule"}
    if name.startswith("dropout"):
        kept = {"model": partial(CNN, channel_dropout=0.0, dropout=0.0)}
    without = go([Cell(**usual)], kept)[0]
    assert with_it["norms"][-1] != without["norms"][-1]


def test_flips_after_the_batches_leave_the_twin_and_are_counted() -> None:
    facts, parts = CASES["flips after the batches"]
    cell = Cell(**facts)
    got, twin = go([cell], parts)[0], go([clean_twin(cell)], parts)[0]
    assert got["confusion"] == twin["confusion"]
    assert sum(flip["changed"] for flip in got["flips"]) > 10
    assert go([replace(cell, flips_trained=True)], parts)[0]["norms"] != got["norms"]


def test_no_update_is_longer_than_what_is_let_through() -> None:
    facts, parts = CASES["norm clipped"]
    norms = torch.tensor(go([Cell(**facts)], parts)[0]["norms"])
    assert float(norms.max()) <= 0.3 * (1 + 1e-6)
    assert float((norms > 0.2999).double().mean()) > 0.3
    free = torch.tensor(go([Cell(**(facts | {"clip_update": 100.0}))], parts)[0]["norms"])
    assert torch.equal(free, torch.tensor(go([Cell(**(facts | {"clip_update": None}))], parts)[0]["norms"]))
    short = free[0] < 0.3  # of the first round, when all start alike: shorter ones are left alone
    assert torch.equal(norms[0][short], free[0][short])


def test_an_update_whose_square_leaves_float32_is_clipped_too() -> None:
    facts = FACTS | {"clip_update": 0.3, "learning_rate": 1e25, "local_steps": 1, "rounds": 1}
    norms = torch.tensor(go([Cell(**facts)], {})[0]["norms"])
    torch.testing.assert_close(norms, torch.full_like(norms, 0.3))


def test_the_last_rounds_are_all_evaluated() -> None:
    facts = FACTS | {"rounds": 12, "evaluate_every": 5, "evaluate_last": 3}
    some, parts = go([Cell(**facts)], {})[0], {}
    assert some["rounds"] == [1, 5, 10, 11, 12]
    every = go([Cell(**(facts | {"evaluate_every": 1, "evaluate_last": 1}))], parts)[0]
    assert some["confusion"] == [every["confusion"][r - 1] for r in some["rounds"]]
    assert normal(Cell(**(facts | {"evaluate_last": 99}))).evaluate_last == 12


def test_frozen_crops_are_the_same_in_every_pass() -> None:
    seen: list[Tensor] = []

    class Spy(crop):
        def apply(self, images: Tensor, drawn: Tensor, black: Tensor) -> Tensor:
            seen.append(drawn)
            return super().apply(images, drawn, black)

    def draws(frozen: bool) -> list[list[int]]:
        seen.clear()
        facts = FACTS | {"clients": 1, "local_steps": None, "batch_size": "full", "rounds": 3}
        go([Cell(**facts)], {"augment": Spy(padding=1, frozen=frozen)})
        return [sorted(d.tolist()) for d in seen]

    once = draws(True)
    assert len(once) == 3
    assert once[0] == once[1] == once[2]
    anew = draws(False)
    assert anew[0] != anew[1]


def test_a_kept_buffer_is_only_one_where_there_is_momentum() -> None:
    cell = Cell(**(FACTS | {"optimiser_state": "kept"}))
    assert normal(cell) == normal(Cell(**FACTS))
    assert go([cell], {})[0] == go([Cell(**FACTS)], {})[0]
