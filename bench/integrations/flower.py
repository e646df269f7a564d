"""A Flower strategy that aggregates by any of our rules.

    from flipbench.integrations.flower import RobustStrategy

    strategy = RobustStrategy("nnm | trimmed_mean", byzantine=2, fraction_evaluate=0.0)
    strategy.start(grid, initial_arrays, num_rounds=20)

The model that Flower sends out is w; a client's reply w_i becomes the update x_i = w_i - w, and the new model is
w + rule(x_1 ... x_n). Needs flwr 1.42 (message-based strategies). Sampling is Flower's, and how metrics are averaged.

A reply is left out and f shrinks by one, as for updates that are not finite, if it holds a NaN or an infinity,
if its arrays are not those that were sent (names, shapes), or if its number of examples is no positive number: one
malicious client does not stop the round. Weights are the examples that replies claim, but at most three times the
median claim (``most_examples``), so that one reply does not own the round, nor the averages of its metrics, in training
and in evaluation. Averaged are the metrics of replies whose names, lengths and finite values are those of most replies.
Flower's log says how many replies were left out. Arrays of whole numbers (BatchNorm's counters) stay as they were sent.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flipbench.aggregators.contract import Cohort, Layout, Update
from flipbench.integrations.claimed_examples import counted, like_most, number_of_examples, shares_of
from flipbench.plugins import registry
from flipbench.spec.seeds import named_seed

try:
    _app: Any = importlib.import_module("flwr.app")
    _strategies: Any = importlib.import_module("flwr.serverapp.strategy")
except ModuleNotFoundError as error:
    raise ImportError("flipbench.integrations.flower needs Flower: pip install 'flwr>=1.42,<2'") from error


_LOG = logging.getLogger("flwr")


class RobustStrategy(_strategies.FedAvg):  # type: ignore[misc]  # untyped where flwr is not installed
    """Flower's FedAvg with one of our rules in place of the average.

    Args:
        rule: a reference (``krum``, ``nnm | trimmed_mean(trim=2)``, ``path/file.py:my_rule``) or a rule itself.
        byzantine: f, the declared bound on malicious clients among a round's replies.
        trusted: the server's own training for rules that need root data (fltrust, monna): from the model's arrays by
            name to the trained ones.
        seed: of rules that draw at random.
        most_examples: a reply counts for at most so many times the median of the examples that the round's replies
            claim, because the server cannot check the claim; null: every reply counts alike, whatever it claims.
        **flower: what Flower's FedAvg takes (fraction_train, min_train_nodes, weighted_by_key, ...).

    Raises:
        UserError: no such rule, or options that do not fit.
        ValueError: a negative f, or ``most_examples`` below 1.
    """

    def __init__(
        self,
        rule: str | Callable[..., Any],
        *,
        byzantine: int = 0,
        trusted: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
        seed: int = 0,
        most_examples: float | None = 3.0,
        **flower: Any,
    ) -> None:
        super().__init__(**flower)
        if most_examples is not None and not 1 <= most_examples < float("inf"):
            raise ValueError(f"most_examples must be a number of at least 1, or null, got {most_examples!r}")
        if isinstance(byzantine, bool) or not isinstance(byzantine, int) or byzantine < 0:
            raise ValueError(f"byzantine (f) must be a whole number of at least 0, got {byzantine!r}")
        self.rule = registry.resolve("aggregator", rule) if isinstance(rule, str) else rule
        self.byzantine, self.trusted, self.seed = byzantine, trusted, seed
        self.most_examples = most_examples
        self._sent: dict[str, Any] = {}  # the model of the round, by array name
        self._clients: dict[int, int] = {}  # Flower's node id (unsigned, 64 bits) -> 0, 1, ...
        self._previous: Tensor | None = None
        self._state: Any = None

    def configure_train(self, server_round: int, arrays: Any, config: Any, grid: Any) -> Any:
        """Remember the model that is sent out, then do as FedAvg does."""
        self._sent = {name: array.numpy().copy() for name, array in arrays.items()}
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(self, server_round: int, replies: Iterable[Any]) -> tuple[Any, Any]:
        """The new model and the aggregated metrics; nothing where no reply can be used.

        Raises:
            Infeasible: the rule's conditions do not hold for the replies that arrived; with the numbers.
            RuntimeError: called before `configure_train`.
        """
        if not self._sent:
            raise RuntimeError("RobustStrategy.aggregate_train needs the model: call configure_train first")
        valid, _ = self._check_and_log_replies(replies, is_train=True, validate=False)
        rows = [(r.metadata.src_node_id, *_read(r.content, self._sent, self.weighted_by_key), r) for r in valid]
        used = sorted((row for row in rows if row[1] is not None), key=_node)
        _log_left_out("aggregate_train: replies cannot be used", len(rows) - len(used), len(rows))
        if not used:
            return None, None
        nodes, vectors, examples, messages = zip(*used, strict=True)
        update = self._ask(server_round, nodes, torch.stack(vectors), examples, len(rows) - len(used))
        contents = self._averaged("aggregate_train", [m.content for m in messages], examples)
        metrics = self.train_metrics_aggr_fn(contents, self.weighted_by_key)
        return _app.ArrayRecord({k: _app.Array(v) for k, v in _moved(self._sent, update).items()}), metrics

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Any]) -> Any:
        """The averaged metrics of the clients' evaluations; nothing where no reply can be used."""
        valid, _ = self._check_and_log_replies(replies, is_train=False, validate=False)
        rows = sorted(((r.metadata.src_node_id, _claim(r.content, self.weighted_by_key), r) for r in valid), key=_node)
        used = [(examples, reply.content) for _, examples, reply in rows if examples is not None]
        _log_left_out("aggregate_evaluate: replies cannot be used", len(rows) - len(used), len(rows))
        if not used:
            return None
        examples, contents = zip(*used, strict=True)
        averaged = self._averaged("aggregate_evaluate", contents, examples)
        return self.evaluate_metrics_aggr_fn(averaged, self.weighted_by_key)

    def _averaged(self, where: str, contents: Sequence[Any], examples: Sequence[float]) -> list[Any]:
        """Of replies that count, those whose metrics are averaged, with the numbers of examples that count."""
        alike = like_most([_metrics(content) for content in contents])
        _log_left_out(f"{where}: replies have other metrics than most", alike.count(False), len(alike))
        counts = counted(examples, self.most_examples).tolist()
        claims = zip(contents, counts, alike, strict=True)
        return [_claiming(content, self.weighted_by_key, count) for content, count, kept in claims if kept]

    def summary(self) -> None:
        """Log Flower's summary (the rule's name first)."""
        _LOG.info("\t├──> flipbench rule: %s, f = %d", getattr(self.rule, "__name__", self.rule), self.byzantine)
        super().summary()

    def _ask(
        self, server_round: int, nodes: Sequence[int], updates: Tensor, examples: Sequence[float], left_out: int
    ) -> Update:
        for node in nodes:
            self._clients.setdefault(node, len(self._clients))
        weights = shares_of(examples, self.most_examples)
        optional: dict[str, Any] = {} if self.trusted is None else {"trusted": self._own_update}
        cohort = Cohort(
            byzantine=max(0, self.byzantine - left_out),
            weights=weights.to(updates.dtype),
            clients=torch.tensor([self._clients[n] for n in nodes]),
            previous=torch.zeros_like(updates[0]) if self._previous is None else self._previous,
            model=_vector(self._sent).to(updates.dtype),
            layout=_layout(self._sent),
            round=server_round,
            seeds=torch.tensor(named_seed(self.seed, "flower")),
            **optional,
        )
        if hasattr(self.rule, "init"):
            self._state = self.rule.init(updates, cohort) if self._state is None else self._state
            update, self._state = self.rule(updates, cohort, self._state)
        else:
            update = self.rule(updates, cohort)
        if not isinstance(update, Tensor) or update.shape != updates.shape[1:]:
            came = tuple(update.shape) if isinstance(update, Tensor) else type(update).__name__
            raise ValueError(f"the rule must return a tensor of shape (dim,) = {tuple(updates.shape[1:])}, got {came}")
        self._previous = update.detach().clone()
        return update

    def _own_update(self) -> Update:
        """The server's own update on its root data."""
        assert self.trusted is not None
        trained = self.trusted({name: array.copy() for name, array in self._sent.items()})
        return _difference(trained, self._sent)


def _floats(arrays: dict[str, Any]) -> list[str]:
    """The arrays that are trained."""
    return [name for name, array in arrays.items() if np.issubdtype(array.dtype, np.floating)]


def _layout(arrays: dict[str, Any]) -> Layout:
    places, start = {}, 0
    for name in _floats(arrays):
        places[name] = (slice(start, start + arrays[name].size), tuple(arrays[name].shape))
        start += arrays[name].size
    return places


def _difference(new: dict[str, Any], old: dict[str, Any]) -> Update:
    """new - old as one vector, ``(dim,)``; float32 unless the model is in float64."""
    names = _floats(old)
    kind = np.float64 if any(old[n].dtype == np.float64 for n in names) else np.float32
    with np.errstate(all="ignore"):  # what overflows is not finite, and left out for it
        parts = [(np.asarray(new[n], np.float64) - old[n]).ravel().astype(kind) for n in names]
    return torch.from_numpy(np.concatenate(parts))


def _vector(arrays: dict[str, Any]) -> Tensor:
    """The arrays that are trained as one vector, ``(dim,)`` float64."""
    return torch.from_numpy(np.concatenate([np.asarray(arrays[n], np.float64).ravel() for n in _floats(arrays)]))


def _moved(arrays: dict[str, Any], update: Update) -> dict[str, Any]:
    """The model after the step, each array in its own shape and type."""
    step, moved = update.detach().cpu().double().numpy(), dict(arrays)
    for name, (place, shape) in _layout(arrays).items():
        moved[name] = np.asarray(arrays[name] + step[place].reshape(shape), dtype=arrays[name].dtype)
    return moved


def _claiming(content: Any, weight_key: str, examples: float) -> Any:
    """A reply's content with another number of examples, for the metrics that are averaged by it."""
    name, metrics = next(iter(content.metric_records.items()))
    arrays = dict(content.array_records.items())
    return _app.RecordDict({**arrays, name: _app.MetricRecord({**metrics, weight_key: examples})})


def _metrics(content: Any) -> Any:
    """A reply's metrics, of which it has one record."""
    return next(iter(content.metric_records.values()))


def _claim(content: Any, weight_key: str) -> float | None:
    """The number of examples that a reply claims; None where the reply cannot be used."""
    return number_of_examples(_metrics(content).get(weight_key)) if len(content.metric_records) == 1 else None


def _node(row: tuple[Any, ...]) -> Any:
    """Which node a reply came from: replies arrive in any order."""
    return row[0]


def _log_left_out(what: str, count: int, of: int) -> None:
    if count:
        _LOG.warning("%s: %d of %d are left out", what, count, of)


def _read(content: Any, sent: dict[str, Any], weight_key: str) -> tuple[Update | None, float]:
    """A reply's update and number of examples; no update where the reply cannot be used."""
    arrays, examples = list(content.array_records.values()), _claim(content, weight_key)
    if len(arrays) != 1 or examples is None or set(arrays[0]) != set(sent):
        return None, 0.0
    try:
        new = {name: array.numpy() for name, array in arrays[0].items()}
    except (ValueError, EOFError, OSError):  # bytes that are no array
        return None, 0.0
    if any(new[n].shape != sent[n].shape or new[n].dtype.kind not in "fiu" for n in _floats(sent)):
        return None, 0.0
    update = _difference(new, sent)
    return (update, examples) if bool(torch.isfinite(update).all()) else (None, 0.0)
