"""Whether a rule drops honest clients with natural label noise: it is then intolerant, and no proof of robustness.

An attacked cell has a *noise twin* where the grid asks for it (`honest_noise`): the same experiment in which the
clients that would be malicious are honest, with some labels wrong by chance, and no client attacks.
`flipbench.spec.twins` makes it; its ``malicious`` clients are those with the noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flipbench.analysis.cell_scores import detection
from flipbench.analysis.frame import of_honest_noise

COLUMNS = ("noisy_dropped", "noisy_others_dropped")
INTOLERANT = "intolerant"
MOST = 0.5  # of the rounds: a rule that drops noisy honest clients more often is intolerant


def columns(done: pd.DataFrame, scores: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """What the noise twin of each finished cell says of its rule, and the scores without those of noise twins.

    Args:
        done: of `analysis.frame.load`.
        scores: of `cell_scores.detection.columns` on it.

    Returns:
        ``noisy_dropped``: how often a noisy honest client was dropped, in the noise twin; ``noisy_others_dropped``: the
        other honest clients there; NaN without a finished noise twin. ``intolerant``: whether the first is above
        `MOST`; None where it is not known. The scores, without those of noise twins: no client is malicious there.
    """
    noisy = of_honest_noise(done).to_numpy(dtype=bool)
    names = list(zip(done["twin"].tolist(), done["malicious_count"].tolist(), strict=True))
    at = {name: place for place, name in enumerate(names) if noisy[place]}
    clean = done["clean"].to_numpy(dtype=bool)
    twin = np.array([-1 if c else at.get(n, -1) for n, c in zip(names, clean, strict=True)], dtype=np.int64)
    known = twin >= 0
    dropped, others = (
        np.where(known, scores[name][twin], np.nan) if len(done) else scores[name]
        for name in ("detection_recall", "detection_fpr")
    )
    intolerant = np.full(len(done), None, dtype=object)
    intolerant[~np.isnan(dropped)] = (dropped > MOST)[~np.isnan(dropped)]
    return {
        **{
            name: np.where(noisy, np.nan, values) if name in detection.COLUMNS else values
            for name, values in scores.items()
        },
        "noisy_dropped": dropped,
        "noisy_others_dropped": others,
        INTOLERANT: intolerant,
    }
