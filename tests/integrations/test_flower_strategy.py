"""Our rules inside a Flower federation, of Flower's own messages."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest
import torch

from flipbench.aggregators import Cohort, Infeasible

needs_flower = pytest.mark.skipif(
    importlib.util.find_spec("flwr") is None, reason="flwr is not installed here: pip install 'flwr>=1.42,<2'"
)


def test_the_strategy_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "flwr", None)
    monkeypatch.setitem(sys.modules, "flwr.app", None)
    monkeypatch.delitem(sys.modules, "flipbench.integrations.flower", raising=False)
    with pytest.raises(ImportError, match="pip install 'flwr"):
        importlib.import_module("flipbench.integrations.flower")


# A federation of Flower's own messages, ClientApp and Strategy.start; the grid calls the clients in this process.

TRUTH = {"weight": [[1.0, -2.0], [0.5, 3.0]], "bias": [0.25, -1.0]}
LIARS = {3, 4}


def federation(
    strategy: Any, rounds: int = 4, claims: Mapping[int, float] = MappingProxyType({})
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Honest clients step half way to the truth, malicious ones far away or nowhere; the last and the first model."""
    import numpy as np
    from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
    from flwr.clientapp import ClientApp
    from flwr.serverapp import Grid
    from flwr.supercore.task_identity import TaskIdentity

    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 1  # what a SuperLink sets
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        model = message.content["arrays"].to_numpy_ndarrays()
        names, node = list(message.content["arrays"]), context.node_id
        goal = {k: np.array(v, np.float32) + 0.01 * node for k, v in TRUTH.items()}
        new = {n: w if n == "steps" else w + 0.5 * (goal[n] - w) for n, w in zip(names, model, strict=True)}
        if node == 3:
            new = {n: w if n == "steps" else w * 0 + 1e6 for n, w in new.items()}
        if node == 4:  # every round another nonsense
            turn = message.content["config"]["server-round"] % 3
            new = [{"other": new["bias"]}, {**new, "bias": new["bias"] * np.nan}, {**new, "bias": new["weight"]}][turn]
        arrays = ArrayRecord({n: Array(w.astype(np.float32) if n != "steps" else w) for n, w in new.items()})
        content = RecordDict(
            {"arrays": arrays, "metrics": MetricRecord({"num-examples": claims.get(node, 10.0), "loss": 1.0})}
        )
        return Message(content, reply_to=message)

    class InProcess(Grid):
        def set_run(self, run: Any) -> None: ...
        def run(self) -> Any: ...
        def create_message(self, *args: Any, **options: Any) -> Any: ...
        def push_messages(self, messages: Any) -> Any: ...
        def pull_messages(self, message_ids: Any) -> Any: ...

        def get_node_ids(self) -> list[int]:
            return list(range(9))

        def send_and_receive(self, messages: Any, *, timeout: float | None = None) -> list[Any]:
            return [app(m, Context(1, m.metadata.dst_node_id, {}, RecordDict(), {})) for m in messages]

    start = {**{k: np.zeros_like(np.array(v, np.float32)) for k, v in TRUTH.items()}, "steps": np.array(7)}
    result = strategy.start(InProcess(), ArrayRecord({k: Array(v) for k, v in start.items()}), num_rounds=rounds)
    return {k: v.numpy() for k, v in result.arrays.items()}, start


@needs_flower
@pytest.mark.parametrize("rule", ["krum", "trimmed_mean", "nnm | geometric_median", "foolsgold", "fedavg"])
def test_our_rules_run_a_federation_of_flowers(rule):
    import numpy as np

    from flipbench.integrations.flower import RobustStrategy

    rounds = 6
    model, _ = federation(RobustStrategy(rule, byzantine=2, fraction_evaluate=0.0), rounds)
    distance = max(np.abs(model[k] - np.array(v)).max() for k, v in TRUTH.items())
    assert model["steps"] == 7
    assert model["weight"].dtype == np.float32
    assert model["weight"].shape == (2, 2)
    if rule == "fedavg":
        assert distance > 1e4  # the negative control
    elif rule != "foolsgold":  # it takes those that agree for sybils; it has only to run and remember
        assert distance < 3 * 0.5**rounds + 0.1


@needs_flower
def test_the_strategy_moves_the_model_by_the_rules_update_and_shrinks_f():
    import numpy as np

    from flipbench.integrations.flower import RobustStrategy

    seen: list[tuple[Any, Cohort]] = []

    def spy(updates: Any, cohort: Cohort, /) -> Any:
        seen.append((updates.clone(), cohort))
        return updates.mean(-2)

    model, start = federation(RobustStrategy(spy, byzantine=2, fraction_evaluate=0.0, seed=5), 1)
    updates, cohort = seen[0]
    assert updates.shape == (8, 6)  # nobody but the client that sent nonsense is left out
    assert cohort.byzantine == 1
    assert torch.allclose(cohort.weights, torch.full((8,), 1 / 8))
    assert cohort.clients.tolist() == list(range(8))
    assert {k: s for k, (_, s) in cohort.layout.items()} == {"weight": (2, 2), "bias": (2,)}
    for name, (place, shape) in cohort.layout.items():
        step = updates.mean(0)[place].reshape(shape).numpy()
        assert np.allclose(model[name], start[name] + step)
    with pytest.raises(Infeasible, match="n"):
        federation(RobustStrategy("krum", byzantine=7, fraction_evaluate=0.0), 1)
    with pytest.raises(ValueError, match="byzantine"):
        RobustStrategy("krum", byzantine=-1)
    with pytest.raises(RuntimeError, match="configure_train"):
        RobustStrategy("krum").aggregate_train(1, [])


@needs_flower
def test_the_servers_own_training_reaches_rules_that_trust_it():
    import numpy as np

    from flipbench.integrations.flower import RobustStrategy

    def own(arrays: dict[str, Any]) -> dict[str, Any]:
        return {k: w if k == "steps" else w + 0.5 * (np.array(TRUTH[k], np.float32) - w) for k, w in arrays.items()}

    model, _ = federation(RobustStrategy("fltrust", byzantine=2, trusted=own, fraction_evaluate=0.0), 8)
    assert max(np.abs(model[k] - np.array(v)).max() for k, v in TRUTH.items()) < 0.2


@needs_flower
def test_one_claim_of_examples_does_not_own_the_round():
    """1e30 examples count as three times the median, in the rule and in the averages of metrics; others as nonsense."""
    from flipbench.integrations.flower import RobustStrategy

    seen: list[Cohort] = []
    averaged: list[list[float]] = []

    def spy(updates: Any, cohort: Cohort, /) -> Any:
        seen.append(cohort)
        return updates.mean(-2)

    def metrics(contents: Any, key: str) -> Any:
        averaged.append([next(iter(c.metric_records.values()))[key] for c in contents])
        return next(iter(contents[0].metric_records.values()))

    strategy = RobustStrategy(spy, byzantine=4, fraction_evaluate=0.0, train_metrics_aggr_fn=metrics)
    claims = {3: 1e30, 5: -10.0, 6: float("nan"), 7: 0.0}
    federation(strategy, 1, claims)
    cohort = seen[0]
    assert cohort.clients.tolist() == list(range(5))  # without 4, whose arrays are others, and 5, 6 and 7
    assert cohort.byzantine == 0
    assert torch.allclose(cohort.weights.sort().values, torch.tensor([1.0, 1.0, 1.0, 1.0, 3.0]) / 7)
    assert sorted(averaged[0]) == [10.0, 10.0, 10.0, 10.0, 30.0]


def replies(metrics: list[dict[str, Any]], arrays: bool) -> list[Any]:
    """What nodes 0, 1, ... answer, with one array where they were trained."""
    import numpy as np
    from flwr.app import Array, ArrayRecord, MetricRecord, RecordDict

    def content(one: dict[str, Any]) -> Any:
        model = {"arrays": ArrayRecord({"w": Array(np.ones(2, np.float32))})} if arrays else {}
        return RecordDict({**model, "metrics": MetricRecord(one)})

    return [
        SimpleNamespace(metadata=SimpleNamespace(src_node_id=node), content=content(one), has_error=lambda: False)
        for node, one in enumerate(metrics)
    ]


HONEST: list[dict[str, Any]] = [{"num-examples": 10, "loss": float(node)} for node in range(4)]  # mean 1.5


@needs_flower
@pytest.mark.parametrize("trains", [True, False])
@pytest.mark.parametrize(
    ("claim", "loss"),
    [
        ({"num-examples": 10, "loss": [9.0, 9.0]}, 1.5),
        ({"num-examples": 10, "loss": float("nan")}, 1.5),
        ({"num-examples": 10, "other": 9.0}, 1.5),
        ({"num-examples": 1e30, "loss": 9.0}, (6 + 3 * 9) / 7),
        ({"num-examples": -5, "loss": 9.0}, 1.5),
        ({"loss": 9.0}, 1.5),
    ],
)
def test_one_reply_does_not_own_the_averages_of_metrics(trains: bool, claim: dict[str, Any], loss: float) -> None:
    """In training and in evaluation: what differs from most is left out, and a count is capped."""
    import numpy as np

    from flipbench.integrations.flower import RobustStrategy

    strategy = RobustStrategy("median", byzantine=1)
    strategy._sent = {"w": np.zeros(2, np.float32)}
    given = replies([*HONEST, claim], trains)[::-1]  # in any order
    averaged = strategy.aggregate_train(1, given)[1] if trains else strategy.aggregate_evaluate(1, given)
    assert dict(averaged) == {"loss": pytest.approx(loss)}


@needs_flower
def test_evaluations_without_a_usable_reply_have_no_average() -> None:
    from flipbench.integrations.flower import RobustStrategy

    assert RobustStrategy("median").aggregate_evaluate(1, replies([{"loss": 1.0}], False)) is None
