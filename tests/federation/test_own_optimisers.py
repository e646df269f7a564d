"""An optimiser of one's own, for the clients' steps and for the server's."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from flipbench.errors import UserError
from flipbench.federation.federation import Federation
from flipbench.federation.population import populate
from flipbench.federation.task import Parts
from flipbench.spec.cell import Cell
from flipbench.training import models, schedules
from flipbench.training.optimisers.contract import Step
from flipbench.training.optimisers.local import adam
from tests.helpers.paths import ROOT
from tests.helpers.small_federation import CLASSES, FACTS, blobs, fedavg, uneven


@dataclass(frozen=True)
class own_adam:  # noqa: N801 - named like the shipped one
    """Adam once more, without changing anything in place."""

    wrong: str = ""

    def init(self, weights: Tensor, layout: Any, /) -> Any:
        zeros = torch.zeros_like(weights)
        return [zeros] if self.wrong == "state" else {"first": zeros, "second": zeros.clone()}

    def step(self, weights: Tensor, gradients: Tensor, state: Any, step: Step, /) -> Any:
        first = 0.9 * state["first"] + 0.1 * gradients
        second = 0.999 * state["second"] + 0.001 * gradients**2
        t = step.t.unsqueeze(1).to(weights.dtype)
        direction = first / (1 - 0.9**t) / ((second / (1 - 0.999**t)).sqrt() + 1e-3)
        if self.wrong == "direction":
            return direction[:1, :2], {"first": first, "second": second}
        if self.wrong == "names":
            return direction, {"first": first}
        if self.wrong == "form":
            return direction
        if self.wrong == "nan":
            direction = direction * float("nan")
        return direction, {"first": first, "second": second}


def federation_of(facts: dict[str, Any], **parts: Any) -> Federation:
    cell = Cell(**(FACTS | {"learning_rate": 0.02, "local_steps": None, "local_epochs": 1} | facts))
    (task, labels), make = blobs(), lambda s, c: models.mlp(s, c, widths=[8])
    people = [populate(c, labels, CLASSES, uneven, None) for c in (cell, replace(cell, seed=1))]
    built = Parts(make, schedules.constant, fedavg, **parts)
    return Federation([cell, replace(cell, seed=1)], people, task, built)


def finished(federation: Federation) -> Tensor:
    for r in range(1, 5):
        federation.round(r)
    return federation.weights


@pytest.mark.parametrize("kept", [{}, {"optimiser_state": "kept", "clients_per_round": 4}])
def test_an_own_adam_is_the_shipped_one(kept: dict[str, Any]) -> None:
    facts = {"optimiser": "mine.py:own_adam", "weight_decay": 0.01, **kept}
    got = finished(federation_of(facts, optimiser=own_adam()))
    want = finished(federation_of(facts, optimiser=adam(epsilon=1e-3)))
    torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-4)
    whole, broken, other = got, *(federation_of(facts, optimiser=own_adam()) for _ in range(2))
    broken.round(1)
    broken.round(2)
    for s in range(2):
        other.restore(s, copy.deepcopy(broken.state_of(s)))
    other.round(3)
    other.round(4)
    assert torch.equal(other.weights, whole)


def test_the_optimiser_of_the_page_trains_clients_and_server() -> None:
    page = (ROOT / "docs/writing_an_optimiser.md").read_text("utf-8")
    found = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert found is not None
    names: dict[str, Any] = {"__name__": __name__}
    exec(found[1], names)
    for place in ("optimiser", "server_optimiser"):
        facts = {place: "optimisers/lion.py:lion", "learning_rate": 0.01}
        federation = federation_of(facts, **{place: names["lion"]()})
        start = federation.weights.clone()
        end = finished(federation)
        assert bool(end.isfinite().all())
        assert not torch.equal(end, start)


@pytest.mark.parametrize("place", ["optimiser", "server_optimiser"])
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("state", "init must return a dictionary of tensors"),
        ("direction", "the direction must be like the weights"),
        ("names", "init made a state of first, second, and step answers first"),
        ("form", r"step must return \(direction, state\)"),
    ],
)
def test_a_wrong_answer_is_one_sentence(wrong: str, said: str, place: str) -> None:
    federation = federation_of({place: "mine.py:own_adam"}, **{place: own_adam(wrong)})
    with pytest.raises(UserError, match=f"optimiser mine.py:own_adam: {said}"):
        federation.round(1)


def test_a_step_of_the_server_that_is_no_number_is_refused() -> None:
    federation = federation_of({"server_optimiser": "mine.py:own_adam"}, server_optimiser=own_adam("nan"))
    with pytest.raises(UserError, match="answered a direction that is not finite"):
        federation.round(1)
