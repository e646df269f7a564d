"""Which cells have an ε: what one client can do to each rule, and every reason why none is stated."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

from flipbench.aggregators.contract import Cohort
from flipbench.attacks import ATTACKS
from flipbench.attacks.contract import place
from flipbench.plugins import registry
from flipbench.privacy import accounting, guarantee, of_tables, sensitivity
from flipbench.privacy.guarantee import of_cell
from flipbench.spec.cell import Cell
from flipbench.spec.twins import normal

CLIP, N = 2.0, 7
NOISY = {"clients": 40, "rounds": 10, "clip_update": CLIP, "noise_multiplier": 8.0}
needs_library = pytest.mark.skipif(not accounting.installed(), reason="ε needs the extra privacy")


def row(places: tuple[str, ...] = (), adaptive: bool = False, **facts: Any) -> dict[str, Any]:
    """A cell as a table has it."""
    return {**asdict(normal(Cell(**{**NOISY, **facts}))), "places": places, "adaptive": adaptive}


def movement(rule: str, updates: Tensor, other: Tensor, sizes: Tensor, new_size: float) -> float:
    """How far the answer moves when the first client sends something else and has another size."""
    replaced, resized = updates.clone(), sizes.clone()
    replaced[0], resized[0] = other, new_size
    previous = torch.full((updates.shape[1],), 0.01)
    answers = []
    for sent, held in ((updates, sizes), (replaced, resized)):
        cohort = Cohort.of(sent, 1, weights=held / held.sum(), previous=previous)
        answers.append(registry.resolve("aggregator", rule)(sent, cohort).double())
    return float((answers[0] - answers[1]).norm())


@pytest.mark.parametrize(
    "rule",
    [
        *("fedavg", "mean", "norm_clipping(radius=0.5)", "norm_clipping(radius=9)"),
        *("centered_clipping(radius=0.5)", "centered_clipping(radius=9)", "centered_clipping(radius=0.7, steps=3)"),
    ],
)
def test_no_client_moves_a_rule_further_than_is_counted(rule: str) -> None:
    draws, most = torch.Generator().manual_seed(0), 0.0
    share = sensitivity.of_rule(rule, CLIP)
    assert share is not None
    for trial in range(200):
        updates = torch.randn(N, 3, generator=draws)
        updates = updates * (CLIP / updates.norm(dim=1).clamp(min=CLIP if trial % 2 else 1e-9)).unsqueeze(1)
        other = -updates[0] if trial % 3 else updates[1] * 0.2
        sizes = torch.randint(1, 9, (N,), generator=draws).float()
        sizes[1:] = 1.0 if trial % 5 == 0 else sizes[1:]
        new_size = float(torch.randint(1, 9, (1,), generator=draws))
        weight = 8 / (8 + N - 1)  # the largest share that a client of 1 to 8 examples can have
        moved = movement(rule, updates, other, sizes, new_size) / (2 * share * CLIP * weight)
        most = max(most, moved)
    assert most <= 1 + 1e-5
    assert most > (0.9 if rule == "fedavg" else 0.1)  # the bound of the mean is reached


def test_one_client_moves_other_rules_by_as_much_as_it_sends() -> None:
    """Why no ε is stated for them: with n clients the movement is not 2 C / n."""
    at = torch.tensor([[1.0], [1.0], [1.0], [1.0], [-1.0], [-1.0], [-1.0]]) * CLIP
    assert movement("median", at, at[-1], torch.ones(N), 1.0) == pytest.approx(2 * CLIP)
    others = (
        "median",
        "krum",
        "trimmed_mean",
        "norm_clipping",
        "centered_clipping",
        "nnm | fedavg",
        "clipping(radius=1) | mean",
    )
    assert [sensitivity.of_rule(rule, CLIP) for rule in others] == [None] * len(others)


REFUSED = {
    "robust rule": (row(aggregator="median"), "noise of the server has no ε with this rule"),
    "a radius of the median": (row(aggregator="norm_clipping"), "noise of the server has no ε"),
    "rule in a file": (row(aggregator="mine.py:mine"), "noise of the server has no ε"),
    "updates before noise": (
        row(("updates",), attack="sign_flip", malicious_count=3),
        "see the updates of honest clients",
    ),
    "searched": (row(("labels",), True, attack="worst_case", malicious_count=3, noise_at="client"), "was searched"),
    "clean model": (
        row(("labels",), attack="confusable", malicious_count=3, noise_at="client"),
        "a model that was trained",
    ),
    "plug-in before an attack on updates": (
        row(("labels", "updates"), attack="mine | scaled", malicious_count=3, noise_at="client"),
        "what mine | scaled knows",
    ),
    "plug-in": (row(("labels",), attack="mine", malicious_count=3, noise_at="client"), "what mine knows"),
    "features": (row(features="standard"), "standard(mean=..., std=...)"),
    "features of a plug-in": (row(features="mine.py:mine"), "a plug-in for features"),
    "counts": (row(loss="class_balanced(counts=federation)"), "counts of all clients' labels"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_no_epsilon_is_stated_where_it_may_be_wrong(name: str) -> None:
    cell, said = REFUSED[name]
    found = of_cell(cell)
    assert found is not None
    assert found.epsilon is None
    assert said in found.reason


@needs_library
def test_what_is_known_has_the_epsilon_of_the_accountant() -> None:
    def of(*given: Any, **facts: Any) -> float:
        found = of_cell(row(*given, **facts))
        assert found is not None
        assert (found.reason, found.delta) == ("", 1e-5)
        assert found.epsilon is not None
        return found.epsilon

    plain = accounting.epsilon(8.0, 10, 40, 40, 1e-5)
    assert of() == of(aggregator="mean") == of(aggregator="centered_clipping(radius=2)") == plain
    assert of(aggregator="median", noise_at="client") == of(
        ("updates",), attack="sign_flip", malicious_count=3, noise_at="client"
    )
    assert of(("labels",), attack="mirrored", malicious_count=3) == plain
    assert of(aggregator="norm_clipping(radius=1)") == accounting.epsilon(16.0, 10, 40, 40, 1e-5)
    assert of(features="standard(mean=0.1, std=0.3)") == plain
    sampled = of(clients_per_round=10, noise_at="client")
    assert sampled == accounting.epsilon(8.0, 10, 40, 10, 1e-5, "client") < plain
    sybils = {"malicious_data": "fresh", "malicious_count": 10, "attack": "mirrored"}
    assert of(("labels",), clients_per_round=10, noise_at="client", **sybils) == accounting.epsilon(
        8.0, 10, 50, 10, 1e-5, "client"
    )
    assert of_cell(row(noise_multiplier=0.0)) is None


@needs_library
def test_malicious_clients_know_who_was_not_drawn() -> None:
    """Where none of them takes part, the others were drawn from fewer; a server that sees all knows it anyway."""

    def of(places: tuple[str, ...] = ("labels",), **facts: Any) -> float:
        found = of_cell(row(places, **({"clients_per_round": 4, "attack": "mirrored", "malicious_count": 20} | facts)))
        assert found is not None
        assert found.epsilon is not None
        return found.epsilon

    assert of() == accounting.epsilon(8.0, 10, 40, 4, 1e-5, malicious=20) > of((), attack="none")
    assert of(malicious_count=37) == accounting.epsilon(8.0, 10, 40, 4, 1e-5, "client")
    assert of(noise_at="client") == of((), attack="none", noise_at="client")


def test_every_shipped_attack_on_labels_or_images_is_judged() -> None:
    shipped = {name for name, attack in ATTACKS.items() if place(attack) != "updates"}
    assert shipped - {"confusable", "worst_case"} == guarantee._FROM_MODELS_ALONE
    assert set(registry.shipped("features")) == guarantee._FEATURES
    assert set(registry.shipped("loss")) == guarantee._LOSSES


@needs_library
def test_tables_have_the_columns_and_the_labels() -> None:
    cells = pd.DataFrame(
        [row(), row(noise_multiplier=0.0), row(noise_multiplier=2.0, aggregator="krum"), row(noise_multiplier=2.0)]
    )
    found = of_tables.columns(cells)
    assert found["epsilon"].tolist()[0] == pytest.approx(accounting.epsilon(8.0, 10, 40, 40, 1e-5))
    assert pd.isna(found["epsilon"]).tolist() == [False, True, True, False]
    assert pd.isna(found["delta"]).tolist() == [False, True, False, False]
    assert [bool(text) for text in found["epsilon_reason"]] == [False, False, True, False]
    assert of_tables.labels([cells], []) == [
        ("noise_multiplier", 8.0, f"8 (ε = {found['epsilon'][0]:.3g})")
    ]  # 2: not all
    assert of_tables.labels([cells], [("noise_multiplier", 8.0, "much")]) == []
    longer = pd.DataFrame([row(rounds=20)])  # beside them 8 has two values of ε
    assert of_tables.labels([cells, longer], []) == []
    assert "δ = 1e-05" in of_tables.sentence(cells)
    assert of_tables.sentence(cells.iloc[1:3]) == ""


def test_a_cell_without_noise_stands_with_the_noisy_cells_of_its_rule() -> None:
    kinds = [("fedavg", 0.0, "server"), ("fedavg", 1.0, "client"), ("mean", 0.0, "server"), ("mean", 1.0, "server")]
    both = [("krum", 0.0, "server"), ("krum", 1.0, "server"), ("krum", 1.0, "client")]
    cells = pd.DataFrame([*kinds, *both], columns=["aggregator", "noise_multiplier", "noise_at"])
    placed = of_tables.with_places(cells)["noise_at"].tolist()
    assert placed == ["client", "client", "server", "server", "server", "server", "client"]
    assert of_tables.with_places(cells[cells["noise_multiplier"] == 0])["noise_at"].tolist() == ["server"] * 3


def test_without_the_library_the_column_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounting, "installed", lambda: False)
    found = of_tables.columns(pd.DataFrame([row()]))
    assert pd.isna(found["epsilon"]).all()
    assert "pip install 'flipbench[privacy]'" in found["epsilon_reason"][0]
