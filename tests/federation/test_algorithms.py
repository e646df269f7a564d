"""FedProx, SCAFFOLD, FedNova and the server's optimisers against the papers' loops in float64, and on a quadratic."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flipbench import aggregators, attacks
from flipbench.aggregators import Infeasible
from flipbench.aggregators.contract import Cohort
from flipbench.federation.algorithms.choices import fednova, fedprox, scaffold
from flipbench.federation.algorithms.server_steps import ServerSteps
from flipbench.federation.federation import Federation
from flipbench.federation.population import populate
from flipbench.federation.task import Parts, Task
from flipbench.spec.cell import Cell
from flipbench.training import models, schedules
from flipbench.training.executors import choice
from flipbench.training.optimisers import local, server
from flipbench.training.optimisers.of_torch import pytorch
from tests.helpers.small_federation import CLASSES, FACTS, blobs, fedavg, mirror, uneven
from tests.oracles.algorithm_oracle import flat, middle, of_papers, weighted

CHOSEN: dict[str, Any] = {
    "fedprox(mu=0.5)": fedprox(0.5),
    "scaffold": scaffold(),
    "scaffold(option=1)": scaffold(1),
    "fednova": fednova(),
    "adam": server.adam(),
    "yogi(beta2=0.5)": server.yogi(beta2=0.5),
    "adagrad": server.adagrad(),
}


def mlp(shape: Any, classes: int) -> nn.Module:
    return models.mlp(shape, classes, widths=[8])


def plain_mean(updates: Tensor, cohort: Cohort) -> Tensor:
    return updates.mean(-2)


def federation_of(cells: list[Cell], rule: Any = fedavg, attack: Any = mirror, model: Any = mlp) -> Federation:
    task, labels = blobs()
    people = [populate(c, labels, CLASSES, uneven, attack if c.attacked else None) for c in cells]
    cell = cells[0]
    steps = lambda t, rounds: schedules.step(t, rounds, every=2, factor=0.5)  # noqa: E731
    chosen: dict[str, Any] = {}
    if cell.algorithm != "fedavg":
        chosen["algorithm"] = CHOSEN[cell.algorithm]
    if cell.server_optimiser != "sgd":
        chosen["server_optimiser"] = CHOSEN[cell.server_optimiser]
    schedule = schedules.constant if cell.schedule == "constant" else steps
    if cell.optimiser == "sgd(nesterov=true)":
        chosen["optimiser"] = local.sgd(True)
    return Federation(cells, people, task, Parts(model, schedule, rule, **chosen))


def finished(federation: Federation) -> Tensor:
    for r in range(1, federation.cell.rounds + 1):
        federation.round(r)
    return federation.weights


EPOCHS = {"local_steps": None, "local_epochs": 2}
CASES: dict[str, dict[str, Any]] = {
    "fedprox": {"algorithm": "fedprox(mu=0.5)", "momentum": 0.5, "weight_decay": 0.01},
    "scaffold": {"algorithm": "scaffold", "rounds": 6},
    "scaffold, epochs, sampling": {"algorithm": "scaffold", **EPOCHS, "clients_per_round": 3, "rounds": 8},
    "scaffold, momentum, rates": {
        **{"algorithm": "scaffold", "momentum": 0.6, "weight_decay": 0.02, "clip_gradient": 0.8, "optimiser": "sgd"},
        **{"schedule": "step(every=2, factor=0.5)", "schedule_clock": "local_step", "learning_rate": 0.1},
    },
    "scaffold, first option": {
        "algorithm": "scaffold(option=1)",
        **EPOCHS,
        "weight_decay": 0.02,
        "clients_per_round": 5,
    },
    "fednova": {"algorithm": "fednova", **EPOCHS},
    "fednova, momentum, rates": {
        **{"algorithm": "fednova", **EPOCHS, "momentum": 0.7, "clients_per_round": 4, "server_learning_rate": 0.8},
        **{"schedule": "step(every=2, factor=0.5)", "schedule_clock": "local_step", "learning_rate": 0.05},
    },
    "fednova, nesterov": {"algorithm": "fednova", **EPOCHS, "momentum": 0.7, "optimiser": "sgd(nesterov=true)"},
    "adam": {"server_optimiser": "adam", "server_learning_rate": 0.02, "rounds": 8},
    "yogi": {"server_optimiser": "yogi(beta2=0.5)", "server_learning_rate": 0.05, "rounds": 8},
    "adagrad": {"server_optimiser": "adagrad", "server_learning_rate": 0.05, "rounds": 8},
    "all at once": {"algorithm": "scaffold", "server_optimiser": "adam", "server_learning_rate": 0.02, "momentum": 0.3},
}


@pytest.mark.parametrize("attacked", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_it_is_the_papers_algorithm(name: str, attacked: bool) -> None:
    """Malicious clients with flipped labels follow the protocol, and a median stands in both places of the means."""
    attack = {"attack": "mirrored", "malicious_count": 2, "attack_start": 2} if attacked else {}
    cell = Cell(**(FACTS | CASES[name] | attack))
    median = attacked and cell.per_round % 2
    rule = aggregators.median if median else fedavg
    task, labels = blobs()
    people = populate(cell, labels, CLASSES, uneven, mirror if attacked else None)
    federation = federation_of([cell], rule)
    net = mlp(task.shape, task.classes).double()
    place = 0
    for p in net.parameters():
        p.data = federation.weights[0, place : place + p.numel()].double().view(p.shape).clone()
        place += p.numel()
    start, want = flat(net), of_papers(cell, middle if median else weighted, people, task, net)
    got = finished(federation)[0].double()
    assert float((want - start).norm()) > 0.1
    torch.testing.assert_close(got, want, rtol=1e-3, atol=2e-4)


class Quadratic:
    """A model with the loss a/2 |w - b|^2 on an example with the pixels (a, b)."""

    random, regression, whole_cells = False, None, False

    def __call__(self, x: Tensor, p: Any, training: bool, counts: Tensor | None) -> Any:
        w = p["weight"]
        rows, batch = x.shape[:2]
        w = w.repeat_interleave(rows // len(w), 0) if len(w) < rows else w
        a, b = x.flatten(2).unbind(-1)  # (rows, batch)
        logits = x.new_zeros(rows, batch, 2)

        def back(dy: Tensor, sink: Any, need_dx: bool) -> None:
            real = torch.ones_like(a) if counts is None else (torch.arange(batch) < counts[:, None]).to(a)
            each = a.unsqueeze(-1) * (w.unsqueeze(1) - b.unsqueeze(-1)) * real.unsqueeze(-1)
            sink.plain("weight", each.sum(1) / real.sum(1, keepdim=True))

        return logits, back

    def width(self, device: torch.device) -> None:
        return None


class Weight(nn.Module):
    def __init__(self, shape: Any, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))


A, B, N = torch.tensor([1.0, 4.0, 2.0, 0.5]), torch.tensor([3.0, -1.0, 0.5, 2.0]), (4, 8, 12, 16)


def on_quadratic(monkeypatch: pytest.MonkeyPatch, rounds: int, rule: Any = plain_mean, **facts: Any) -> Tensor:
    """The weight after some rounds of four clients with curvatures A, optima B and N examples, from 0."""
    monkeypatch.setattr(choice, "stack", lambda model, *shape: Quadratic())
    each = [torch.tensor([float(A[i]), float(B[i])]).expand(n, 2) for i, n in enumerate(N)]
    x = torch.cat(each).view(-1, 1, 1, 2).clone()
    cell = Cell(clients=4, rounds=rounds, batch_size=4, learning_rate=0.05, evaluate_every=rounds, **facts)
    deal = lambda labels, clients, draws: list(torch.arange(40).split(list(N)))  # noqa: E731
    people = populate(cell, torch.zeros(40, dtype=torch.int64), 2, deal, None)
    task = Task(x, x[:2], torch.zeros(2, dtype=torch.int64), 2)
    algorithm = {} if cell.algorithm == "fedavg" else {"algorithm": CHOSEN[cell.algorithm]}
    kind = {} if cell.server_optimiser == "sgd" else {"server_optimiser": CHOSEN[cell.server_optimiser]}
    w = finished(Federation([cell], [people], task, Parts(Weight, schedules.constant, rule, **algorithm, **kind)))[0]
    assert torch.equal(w, w[:1].expand(3))
    return w[:1].double()


def test_fedavg_and_fedprox_on_a_quadratic(monkeypatch: pytest.MonkeyPatch) -> None:
    """K steps from w come to w* + (1 - lr (a + mu))^K (w - w*) with w* = (a b + mu w) / (a + mu)."""
    for mu, algorithm in ((0.0, "fedavg"), (0.5, "fedprox(mu=0.5)")):
        left, w = (1 - 0.05 * (A.double() + mu)) ** 7, torch.zeros(1, dtype=torch.float64)
        for _ in range(3):
            best = (A * B + mu * w) / (A + mu)
            w = (best + left * (w - best)).mean(0, keepdim=True)
        got = on_quadratic(monkeypatch, 3, local_steps=7, algorithm=algorithm)
        torch.testing.assert_close(got, w, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("algorithm", ["scaffold", "scaffold(option=1)"])
def test_scaffold_ends_in_the_optimum_of_all_clients_where_fedavg_does_not(
    algorithm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With 7 local steps FedAvg ends at sum s b / sum s, s = 1 - (1 - lr a)^7; SCAFFOLD at sum a b / sum a."""
    pull = 1 - (1 - 0.05 * A.double()) ** 7
    drifted, best = (pull * B).sum() / pull.sum(), (A * B).sum().double() / A.sum()
    assert float((drifted - best).abs()) > 0.05
    got = on_quadratic(monkeypatch, 60, local_steps=7)
    torch.testing.assert_close(got, drifted.view(1), rtol=1e-4, atol=1e-4)
    got = on_quadratic(monkeypatch, 200, local_steps=7, algorithm=algorithm)
    torch.testing.assert_close(got, best.view(1), rtol=1e-3, atol=1e-3)
    got = on_quadratic(monkeypatch, 400, local_steps=7, algorithm=algorithm, clients_per_round=2)
    torch.testing.assert_close(got, best.view(1), rtol=1e-2, atol=1e-2)


def test_fednova_on_a_quadratic_weighs_clients_and_not_their_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients make 1, 2, 3 and 4 steps: x = (1 - (1 - lr a)^K) (b - w), and the update tau sum p x / K."""
    steps, shares = torch.tensor([1.0, 2.0, 3.0, 4.0]).double(), torch.tensor(N).double() / 40
    w = torch.zeros(1, dtype=torch.float64)
    for _ in range(3):
        x = (1 - (1 - 0.05 * A.double()) ** steps) * (B - w)
        w = w + (shares * steps).sum() * (shares * x / steps).sum()
    got = on_quadratic(monkeypatch, 3, fedavg, local_epochs=1, algorithm="fednova")
    torch.testing.assert_close(got, w, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["adam", "adagrad", "yogi(beta2=0.5)"])
def test_server_optimisers_on_a_constant_update(name: str) -> None:
    """With x in every round: m = (1 - beta1^t) x; v = beta2^t tau^2 + (1 - beta2^t) x^2, or tau^2 + t x^2; Yogi's v
    grows by (1 - beta2) x^2 until it is above x^2."""
    x, tau, w = torch.tensor([[0.3, -2.0, 1e-4]]), 1e-3, torch.zeros(1, 3)
    steps = ServerSteps(CHOSEN[name], name, 0.1, {"w": (slice(0, 3), (3,))}, 3, 1)
    exact, want = x.double(), torch.zeros(1, 3, dtype=torch.float64)
    v = torch.full_like(exact, tau**2)
    for t in range(1, 6):
        w = steps.moved(w, x)
        if name == "adam":
            m, v = (1 - 0.9**t) * exact, 0.99**t * tau**2 + (1 - 0.99**t) * exact**2
        elif name == "adagrad":
            m, v = exact, tau**2 + t * exact**2
        else:
            m, v = (1 - 0.9**t) * exact, torch.where(v > exact**2, v - exact**2 / 2, v + exact**2 / 2)
        want = want + 0.1 * m / (v.sqrt() + tau)
    torch.testing.assert_close(w.double(), want, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("initial", [None, 0.0, 0.5])
@pytest.mark.parametrize("kind", [server.adam, server.yogi, server.adagrad])
def test_server_optimisers_on_other_options_and_updates(kind: Any, initial: float | None) -> None:
    """Algorithm 2 of Reddi et al. 2021, number by number: no bias correction, v from tau^2 or as given."""
    draw = torch.Generator().manual_seed(3)
    options = {"beta1": 0.6, "tau": 0.02, "initial": initial} | ({} if kind is server.adagrad else {"beta2": 0.7})
    steps = ServerSteps(kind(**options), "it", 0.1, {"w": (slice(0, 4), (4,))}, 4, 1)
    w, want = torch.zeros(1, 4), [0.0] * 4
    m, v = [0.0] * 4, [0.02**2 if initial is None else initial] * 4
    for _ in range(6):
        x = torch.randn(1, 4, generator=draw) * torch.tensor([1e-3, 0.1, 1.0, 30.0])
        w = steps.moved(w, x)
        for i, delta in enumerate(x[0].tolist()):
            m[i] = 0.6 * m[i] + 0.4 * delta
            if kind is server.adagrad:
                v[i] += delta**2
            elif kind is server.adam:
                v[i] = 0.7 * v[i] + 0.3 * delta**2
            else:
                v[i] -= 0.3 * delta**2 * ((v[i] > delta**2) - (v[i] < delta**2))
            want[i] += 0.1 * m[i] / (v[i] ** 0.5 + 0.02)
    torch.testing.assert_close(w[0], torch.tensor(want), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["RMSprop", "Adam", "Adagrad"])
def test_a_class_of_torch_optim_at_the_server_steps_along_the_update(name: str) -> None:
    steps = ServerSteps(pytorch(name), "it", 0.1, {"w": (slice(0, 3), (3,))}, 3, 1)
    own = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    optimiser, w = getattr(torch.optim, name)([own], lr=0.1), torch.zeros(1, 3)
    for k in range(4):
        x = torch.tensor([[0.3, -2.0, 1e-4]]) * (k - 1.5)
        own.grad = -x[0].double()
        optimiser.step()
        w = steps.moved(w, x)
    torch.testing.assert_close(w[0].double(), own.detach(), rtol=1e-5, atol=1e-7)


def test_running_statistics_move_by_the_update_alone() -> None:
    def normed(shape: Any, classes: int) -> nn.Module:
        return models.cnn(shape, classes, channels=[3], kernel=3, hidden=[4], norm="batch")

    for facts in ({"server_optimiser": "adam", "server_learning_rate": 0.01}, {"algorithm": "fednova", **EPOCHS}):
        cell = Cell(**(FACTS | {"rounds": 1} | facts))
        plain = {"algorithm": "fedavg", "server_optimiser": "sgd", "server_learning_rate": 1.0}
        one, other = (federation_of([c], model=normed) for c in (cell, replace(cell, **plain)))
        a, b = finished(one)[0], finished(other)[0]
        places = {name: place for name, (place, _) in one.layout.items()}
        for name in ("1.running_mean", "1.running_var"):
            torch.testing.assert_close(a[places[name]], b[places[name]])
        assert not torch.allclose(a[places["0.weight"]], b[places["0.weight"]])


@pytest.mark.parametrize("name", list(aggregators.RULES))
def test_every_rule_stands_where_the_means_stand(name: str) -> None:
    """SCAFFOLD and FedNova with sign-flipped updates; the numbers stay finite."""
    made: Any = aggregators.RULES[name]
    for algorithm in ("scaffold", "fednova"):
        facts = {"clients": 12, "rounds": 2, "malicious_count": 2, "attack": "sign_flip", "root_examples": 9}
        facts |= {**EPOCHS, "client_weights": "equal"}
        cell = Cell(**(FACTS | facts | {"algorithm": algorithm}))
        rule = made() if isinstance(made, type) else made
        federation = federation_of([cell], rule, attacks.sign_flip)
        try:
            assert bool(finished(federation).isfinite().all())
        except Infeasible as error:
            pytest.fail(f"{name}: {error}")


@pytest.mark.parametrize("malicious", ["consistent", "attacked", "honest"])
def test_what_malicious_clients_send_as_their_change(malicious: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Tensor, Tensor]] = []

    def looking(updates: Tensor, cohort: Cohort) -> Tensor:
        seen.append((updates.clone(), cohort.model.clone()))
        return fedavg(updates, cohort)

    monkeypatch.setitem(CHOSEN, "scaffold", scaffold(malicious=malicious))
    facts = {"rounds": 3, "malicious_count": 2, "attack": "sign_flip", "algorithm": "scaffold"}
    cell = Cell(**(FACTS | facts))
    federation = federation_of([cell], looking, attacks.sign_flip)
    honest = federation_of([replace(cell, attack="none")], looking)
    finished(federation)
    bad = [c in federation.populations[0].malicious for c in range(cell.clients)]
    for updates, changes in list(zip(seen[::2], seen[1::2], strict=True))[1:]:
        (x, _), (change, control) = updates, changes
        belief = -control[0] - x[0] / (cell.learning_rate * 3)
        assert torch.allclose(change[0][[not b for b in bad]], belief[[not b for b in bad]], atol=1e-4)
        assert torch.allclose(change[0][bad], belief[bad], atol=1e-4) == (malicious == "consistent")
    first = seen[1][0][0]
    seen.clear()
    honest.round(1)
    trained = seen[1][0][0]
    torch.testing.assert_close(
        first[bad], {"consistent": -trained, "attacked": -trained, "honest": trained}[malicious][bad]
    )


STATES: dict[str, dict[str, Any]] = {
    "scaffold": {"algorithm": "scaffold", "clients_per_round": 4},
    "fednova, yogi": {"algorithm": "fednova", "server_optimiser": "yogi(beta2=0.5)", "server_learning_rate": 0.05},
    "first option": {"algorithm": "scaffold(option=1)", "attack": "sign_flip", "malicious_count": 2},
}


@pytest.mark.parametrize("name", STATES)
def test_states_go_on_to_the_bits_of_an_unbroken_run_and_a_stack_equals_its_cells(name: str) -> None:
    cells = [Cell(**(FACTS | EPOCHS | {"rounds": 5, "seed": seed} | STATES[name])) for seed in (0, 1)]
    attack = attacks.sign_flip
    whole = finished(federation_of(cells, attack=attack)).clone()
    for s, cell in enumerate(cells):
        assert torch.equal(finished(federation_of([cell], attack=attack))[0], whole[s])
    broken, other = federation_of(cells, attack=attack), federation_of(cells, attack=attack)
    for r in (1, 2, 3):
        broken.round(r)
    for s in range(2):
        other.restore(s, copy.deepcopy(broken.state_of(s)))
    for r in (4, 5):
        other.round(r)
    assert torch.equal(other.weights, whole)


def test_a_client_that_diverges_keeps_its_control_variate() -> None:
    cell = Cell(**(FACTS | {"algorithm": "scaffold", "rounds": 1}))
    federation = federation_of([cell])
    assert federation.variates is not None
    ids, updates = torch.arange(6).unsqueeze(0), torch.ones(1, 6, federation.weights.shape[1])
    updates[0, 2, 5] = float("nan")
    federation.variates.trained(ids, updates, torch.full((1, 6), 0.5), lambda: updates)
    assert not federation.variates.clients[0, 2].any()
    assert torch.equal(federation.variates.clients[0, 1], torch.full_like(updates[0, 1], -2.0))
