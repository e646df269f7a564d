"""Accuracy client by client, where clients hold different classes.

The own test share of a client is the test set weighted so that its classes have the shares that they have among the
examples that the client trains on, by their true labels. The global model's accuracy on it is

    a_i = sum over classes c of p_i(c) recall(c),    p_i(c) the client's share of class c

which is the expected accuracy on test examples drawn for the client by its classes. Classes without test examples are
left out of p_i. Only honest clients count: a model owes the malicious ones nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

COLUMNS = ("client_accuracy_mean", "client_accuracy_worst", "client_accuracy_p10")
TENTH = 10.0  # the percentile beside the worst client, by linear interpolation between clients


def of_clients(
    counts: NDArray[np.number[Any]], class_counts: NDArray[np.int64], malicious: Sequence[int] = ()
) -> NDArray[np.float64]:
    """Accuracy of the global model on the own test share of each honest client that has one.

    Args:
        counts: ``(L, L)`` or ``(L, L + 1)``, a confusion matrix as `analysis.metrics` describes it.
        class_counts: ``(clients, L)``, true classes of what each trains on.
        malicious: ids that do not count.

    Returns:
        ``(honest clients with a share,)``.
    """
    support = counts.sum(-1, dtype=np.float64)
    tested = support > 0
    recall = np.diagonal(counts)[tested] / support[tested]
    honest = np.delete(class_counts, list(malicious), axis=0)[:, tested].astype(np.float64)
    own = honest.sum(1)
    return np.asarray((honest @ recall)[own > 0] / own[own > 0])


def columns(done: pd.DataFrame) -> dict[str, NDArray[np.float64]]:
    """`COLUMNS` of finished cells (of `analysis.frame.load`), last round; NaN where class counts are not stored."""
    found = {name: np.full(len(done), np.nan) for name in COLUMNS}
    cells = zip(done["confusion"].tolist(), done["class_counts"].tolist(), done["malicious"].tolist(), strict=True)
    for place, (confusion, class_counts, malicious) in enumerate(cells):
        if class_counts is None or not len(each := of_clients(confusion[-1], class_counts, malicious)):
            continue
        for name, value in zip(COLUMNS, (each.mean(), each.min(), np.percentile(each, TENTH)), strict=True):
            found[name][place] = value
    return found
