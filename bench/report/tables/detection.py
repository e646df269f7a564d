"""Who was caught: one table a page, a line a rule, means over attacks and all that varies, within each seed first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from flipbench.analysis import statistics
from flipbench.analysis.cell_scores.detection import DROPPED
from flipbench.analysis.cell_scores.label_noise import MOST
from flipbench.analysis.metric_columns import OF_CELLS
from flipbench.analysis.pivot import Pivot
from flipbench.analysis.squares import DONE, INFEASIBLE, Cells, standing
from flipbench.report.tables.model import UNKNOWN, Block, Entry, entry_of, footnotes
from flipbench.spec.cell import CLEAN
from flipbench.spec.labels import aggregator_label

_SHARES = {  # column -> its heading here
    "detection_precision": "precision",
    "detection_recall": "recall",
    "detection_f1": "F1",
    "detection_fpr": "false positives",
    "detection_auc": "AUC",
    "never_caught": "never caught",
}
_COUNTS = {
    "honest_dropped": ("honest dropped a round", "no round is known"),
    "rounds_until_caught": ("rounds until caught", "no malicious client was ever dropped"),
}
_NOISE = {"noisy_dropped": "noisy honest dropped", "noisy_others_dropped": "others then dropped"}
SAID = (
    "A client is dropped in a round if the rule says that it does not keep it or, where the rule does not say, if its "
    f"least-squares weight in the update is below {DROPPED:g}/n, n clients in the round. Precision, recall, F1 and "
    "false positives (%) are of dropping malicious clients, over evaluated rounds under attack; AUC (%) is over all "
    "thresholds of the weight, 50 for a rule that tells none apart. Never caught (%): malicious clients that were "
    "dropped in no round. Honest clients dropped and rounds until a malicious client was first dropped are counts. "
    "Clean: honest clients dropped (%) without an attack."
)
_NOISE_SAID = (
    "dropped (%) in a federation without an attack in which as many honest clients have wrong labels by chance: these, "
    "and the other clients; a rule that drops noisy ones in over half of the rounds is intolerant"
)


def detection_blocks(pivot: Pivot) -> Iterator[Block]:
    """The table of a page; none where no cell has malicious clients whose weights are known."""
    attacked = {name: _pooled(pivot, name) for name in (*_SHARES, *_COUNTS)}
    clean = _pooled(pivot, "detection_fpr", clean=True)
    if not any(square["state"] == DONE for square in attacked["detection_recall"]):
        return
    noise = {name: _pooled(pivot, name) for name in _NOISE}
    noisy = noise if any(square["state"] == DONE for square in noise["noisy_dropped"]) else None
    notes: dict[str, str] = {}
    heads = [*_SHARES.values(), *(head for head, _ in _COUNTS.values()), "false positives, clean"]
    columns = [*attacked.values(), clean]
    if noisy is not None:
        heads += [*_NOISE.values(), "label noise"]
        columns += noisy.values()
    explained = () if noisy is None else (("noisy honest", _NOISE_SAID),)
    lines = []
    for r, rule in enumerate(pivot.page.rows):
        entries = [entry_of(squares[r], notes) for squares in columns]
        if noisy is not None:
            entries.append(_intolerant(noisy["noisy_dropped"][r]))
        lines.append((aggregator_label(rule), tuple(entries)))
    yield Block(
        "Who was caught", ("",), (tuple(heads),), tuple(lines), footnotes(notes) + explained, text=noisy is not None
    )


def _intolerant(square: Mapping[Any, Any]) -> Entry:
    """Whether a rule drops noisy honest clients in over half of the rounds, on average."""
    return Entry(UNKNOWN if square["state"] != DONE else "intolerant" if square["mean"] > MOST else "tolerant")


def _pooled(pivot: Pivot, name: str, clean: bool = False) -> list[Mapping[Any, Any]]:
    """A square a rule, as `entry_of` reads it; counts are divided by 100, which it multiplies by."""
    page = pivot.page
    frame = page.cells[(page.cells["attack"] == CLEAN) == clean]
    value = pivot.tidy.set_index("key")[name].reindex(frame["key"]).to_numpy(dtype=float)
    rows = pd.Index(page.rows).get_indexer(pd.Index(frame["aggregator"])).astype(np.int64)
    cells, shape = Cells.of(frame, np.zeros(len(frame), dtype=np.int64), rows), (1, len(page.rows))
    states, values = standing(cells, shape), cells.by_seed(value / (100 if name in _COUNTS else 1), shape)
    undefined = _COUNTS[name][1] if name in _COUNTS else OF_CELLS[name].why
    bounds = statistics.UNBOUNDED if name in _COUNTS else statistics.SHARE
    squares: list[Mapping[Any, Any]] = []
    for r in range(len(page.rows)):
        numbers = {n: v.item() for n, v in statistics.over_seeds(values[0, r], bounds).items()}
        state = DONE if numbers["n"] else states.state[0, r]
        about = {"planned": int(states.planned[0, r]), "caveat": states.caveat[0, r]}
        reason = states.reason[0, r] if state == INFEASIBLE else undefined
        squares.append({**numbers, "state": state, "reason": reason, **about})
    return squares
