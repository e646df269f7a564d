"""Who was caught: which clients a rule dropped, against which were malicious.

A client is *dropped* in a round if the rule said so itself (`Cohort.tell_kept`), or, where it told nothing, if its
least-squares weight in the update is below `DROPPED` / n with n clients in the round. To drop a malicious client is a
true positive, to drop an honest one a false positive. Counts are summed over the evaluated rounds in which malicious
clients take part and attack; without an attack over all evaluated rounds, and then only false positives are known.
Formulas: docs/definitions.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flipbench.analysis.statistics import ratio

Values = NDArray[np.float64]
Mask = NDArray[np.bool_]

DROPPED = 0.5  # of 1/n, the weight of a client in a plain mean: with less the rule has dropped it
SAME = 0.01  # of 1/n: weights that differ by no more count as equal
SELECTION, INFLUENCE = "selection", "influence"  # by what it is known who was dropped
SHARES = ("detection_precision", "detection_recall", "detection_f1", "detection_fpr", "detection_auc", "never_caught")
COUNTS = ("honest_dropped", "rounds_until_caught")
COLUMNS = (*SHARES, *COUNTS, "selection_agreement")  # numbers; beside them ``detection_by``
BY = "detection_by"
_MOST = 2**23  # pairs of clients that are compared at once


@dataclass(frozen=True)
class Rounds:
    """Evaluated rounds of cells with as many rounds and clients.

    Attributes:
        weights: ``(cells, rounds, n)``, least-squares weights; a round with NaN is not known.
        kept: ``(cells, rounds, n)``, 1 or 0 as the rule told, -1 in rounds in which it told nothing.
        malicious: ``(cells, rounds, n)``, who of those taking part is malicious.
        counts: ``(cells, rounds)``, rounds under attack; of cells without an attack all.
        numbers: ``(rounds,)``, of the rounds.
        clients: ``(cells, rounds, n)``, ids of those taking part.
    """

    weights: Values
    kept: NDArray[np.int8]
    malicious: Mask
    counts: Mask
    numbers: NDArray[np.int64]
    clients: NDArray[np.int64]

    @property
    def told(self) -> Mask:
        """Rounds in which the rule told whom it kept, ``(cells, rounds)``."""
        return np.asarray((self.kept >= 0).all(-1))

    @property
    def weighed(self) -> Mask:
        """Rounds whose weights are known, ``(cells, rounds)``."""
        return np.asarray(~np.isnan(self.weights).any(-1))

    @property
    def dropped(self) -> Mask:
        """Who was dropped, ``(cells, rounds, n)``; no client in rounds that are not known."""
        light = self.weights < DROPPED / self.weights.shape[-1]  # no NaN is below it
        return np.asarray(np.where(self.told[..., None], self.kept == 0, light & self.weighed[..., None]))


def scores(rounds: Rounds) -> dict[str, Values]:
    """The numbers `COLUMNS` of each cell, ``(cells,)``; NaN where there is none."""
    known = rounds.counts & (rounds.told | rounds.weighed)
    attacked: Mask = np.asarray(rounds.malicious.any((-2, -1)))
    known &= rounds.malicious.any(-1) | ~attacked[:, None]
    bad, good = rounds.malicious & known[..., None], ~rounds.malicious & known[..., None]
    dropped = rounds.dropped
    caught, missed = _count(bad & dropped), _count(bad & ~dropped)
    wrong, right = _count(good & dropped), _count(good & ~dropped)
    nowhere = np.where(attacked, 0.0, np.nan)  # without an attack nothing can be caught
    return {
        "detection_precision": ratio(caught, caught + wrong) + nowhere,
        "detection_recall": ratio(caught, caught + missed),
        "detection_f1": ratio(2 * caught, 2 * caught + wrong + missed) + nowhere,
        "detection_fpr": ratio(wrong, wrong + right),
        "detection_auc": _auc(rounds, bad, good),
        "never_caught": _never_caught(rounds.clients, bad, bad & dropped),
        "honest_dropped": ratio(wrong, known.sum(-1)),
        "rounds_until_caught": _until_caught(
            rounds.numbers, known & attacked[:, None], np.asarray((bad & dropped).any(-1))
        ),
        "selection_agreement": _agreement(rounds),
    }


def _count(clients: Mask) -> Values:
    return np.asarray(clients.sum((-2, -1)), dtype=np.float64)


def _auc(rounds: Rounds, bad: Mask, good: Mask) -> Values:
    """Chance that a malicious client has less weight than an honest one of the same round, ties half; mean over rounds.

    It is the area under the curve of recall against false positive rate over all thresholds. Where the rule told whom
    it kept, the weights are 1 and 0.
    """
    own = np.where(rounds.told[..., None], rounds.kept, rounds.weights.shape[-1] * rounds.weights)
    theirs = np.argsort(~bad, axis=-1, kind="stable")[..., : int(bad.sum(-1).max(initial=0))]  # malicious ones in front
    more = own[..., None, :] - np.take_along_axis(own, theirs, -1)[..., :, None]  # of client j than of malicious one i
    pairs = np.take_along_axis(bad, theirs, -1)[..., :, None] & good[..., None, :]
    won = np.count_nonzero((more > SAME) & pairs, axis=(-2, -1)) + np.count_nonzero(
        (more >= -SAME) & pairs, axis=(-2, -1)
    )
    of_rounds = ratio(won / 2, pairs.sum((-2, -1)))
    both = ~np.isnan(of_rounds)
    return ratio(np.where(both, of_rounds, 0.0).sum(-1), both.sum(-1))


def _never_caught(clients: NDArray[np.int64], bad: Mask, caught: Mask) -> Values:
    """Share of the malicious clients that took part and were dropped in no round."""
    cells, members = len(clients), int(clients.max(initial=0)) + 1
    there, ever = np.zeros((2, cells, members), dtype=bool)
    cell = np.broadcast_to(np.arange(cells)[:, None, None], clients.shape)
    there[cell[bad], clients[bad]] = True
    ever[cell[caught], clients[caught]] = True
    return ratio((there & ~ever).sum(-1), there.sum(-1))


def _until_caught(numbers: NDArray[np.int64], known: Mask, caught: Mask) -> Values:
    """Rounds from the first under attack that is known to the first in which a malicious client was dropped, both
    counted; NaN where none ever was."""
    first, at = (numbers[each.argmax(-1)].astype(np.float64) for each in (known, caught))
    return np.where(caught.any(-1), at - first + 1, np.nan)


def _agreement(rounds: Rounds) -> Values:
    """Share of the rounds with both in which the rule's word and the weights drop the same clients.

    Clients of equal weight, other than none, count as one where the rule kept some of them and not others: equal
    updates share their weight, and beside updates that are thousands of times as long all others look alike.
    """
    n, kept = rounds.weights.shape[-1], rounds.kept == 1
    both = rounds.told & rounds.weighed
    if not both.any():  # of most rules: nothing to compare
        return np.full(len(both), np.nan)
    own = n * rounds.weights
    like = (np.abs(own[..., None, :] - own[..., :, None]) <= SAME) & (kept[..., None, :] != kept[..., :, None])
    agree = (((own >= DROPPED) == kept) | ((own > SAME) & like.any(-1))).all(-1)
    return ratio((agree & both).sum(-1), both.sum(-1))


def columns(done: pd.DataFrame) -> dict[str, Any]:
    """`COLUMNS` and ``detection_by`` of finished cells (of `analysis.frame.load`)."""
    names = ("influence", "kept", "participants", "malicious", "rounds_evaluated", "attacked_rounds")
    weights, kept, clients, malicious, numbers, attacked = (done[name].tolist() for name in names)
    alike: dict[Any, list[int]] = {}
    for place in range(len(done)):
        when = attacked[place] if malicious[place] else None
        alike.setdefault((weights[place].shape, len(malicious[place]), numbers[place].tobytes(), when), []).append(
            place
        )
    found: dict[str, Any] = {name: np.full(len(done), np.nan) for name in COLUMNS}
    for (shape, count, _, when), members in alike.items():
        step = max(1, _MOST // max(1, shape[0] * shape[1] ** 2))
        for part in (members[i : i + step] for i in range(0, len(members), step)):
            nothing = np.full(shape, -1, dtype=np.int8)
            told = np.stack([nothing if kept[i] is None else kept[i] for i in part])
            ids = np.stack([clients[i] for i in part])
            bad = np.array([malicious[i] for i in part], dtype=np.int64).reshape(len(part), 1, 1, count)
            rounds = numbers[part[0]]
            counts = np.ones(shape[0], dtype=bool) if when is None else np.isin(rounds, np.array(when, dtype=np.int64))
            theirs = (ids[..., None] == bad).any(-1)
            every = np.broadcast_to(counts, (len(part), shape[0])).copy()
            of_cells = Rounds(np.stack([weights[i] for i in part]), told, theirs, every, rounds, ids)
            for name, values in scores(of_cells).items():
                found[name][part] = values
    found[BY] = np.array([INFLUENCE if each is None else SELECTION for each in kept], dtype=object)
    return found
