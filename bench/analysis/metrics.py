"""From confusion counts to metrics: pure float64 functions of C (rows true, columns predicted) and the class mapping.

Notation: C[c, .] is the number of test examples of class c, s a source class, t its target. Where the model's logits
for some examples are not finite, it makes no prediction for them: C is then L x (L + 1), and its last column counts
them. They are part of C[c, .], so that every share counts them as wrong, and of no C[., c], so that they are never
taken for a target. What cannot be said is NaN, never 0: a class without test examples has no recall and is left out of
means over classes (`undefined` says why a value is NaN, `analysis.warnings.guards` which classes are absent).
Definitions: docs/definitions.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flipbench.analysis.cell_scores import client_accuracy, detection, label_noise
from flipbench.analysis.frame import headline_of, typed
from flipbench.analysis.record_rows import COST
from flipbench.analysis.rounds import late_rounds
from flipbench.analysis.rounds.late_rounds import CLEAN_VALUE, LAST, LAST_ROUNDS, LATE, STABILITY
from flipbench.analysis.settings.forms import COMPARED_AS, FORM
from flipbench.analysis.statistics import ratio
from flipbench.privacy import of_tables
from flipbench.spec.cell import FIELDS
from flipbench.spec.metric_names import DAMAGE, SHEET, MetricName

Counts = NDArray[np.number[Any]]  # (..., L, L), or (..., L, L + 1) with a column of examples without a prediction
Values = NDArray[np.float64]  # (...)
Mapping = Sequence[tuple[int, int]] | None  # (source, target) of every class that the attack flips

SUFFIXES = ("", LAST_ROUNDS, CLEAN_VALUE, DAMAGE, *LATE, STABILITY)  # after a metric's name: `evaluate`
LAST_SAID = f"mean of those of the last {LAST} evaluated rounds that lie in the second half of training"


def accuracy(counts: Counts, mapping: Mapping = None) -> Values:
    """Share of the test set that is recognised: sum_c C[c,c] / sum C."""
    return ratio(_diagonal(counts).sum(-1), _support(counts).sum(-1))


def recall(counts: Counts, mapping: Mapping = None) -> Values:
    """C[c,c] / C[c,.] for each class, ``(..., L)``."""
    return ratio(_diagonal(counts), _support(counts))


def balanced_accuracy(counts: Counts, mapping: Mapping = None) -> Values:
    """Mean recall over the classes that have test examples (Brodersen et al. 2010)."""
    return _mean(recall(counts))


def macro_f1(counts: Counts, mapping: Mapping = None) -> Values:
    """Mean over the classes with test examples of F1 = 2 C[c,c] / (C[c,.] + C[.,c]).

    The mean of F1s, not the F1 of means (Opitz & Burst 2019 on the two).
    """
    f1 = ratio(2 * _diagonal(counts), _support(counts) + _predicted(counts))
    return _mean(np.where(_support(counts) > 0, f1, np.nan))


def worst_recall(counts: Counts, mapping: Mapping = None) -> Values:
    """The lowest recall of a class with test examples."""
    each = recall(counts)
    lowest = np.where(np.isnan(each), np.inf, each).min(-1)
    return np.where(np.isinf(lowest), np.nan, lowest)


def source_recall(counts: Counts, mapping: Mapping = None) -> Values:
    """C[s,s] / C[s,.]; with several sources the mean over them (Tolpegin et al. 2020)."""
    if not mapping:
        return _unknown(counts)
    return _mean(recall(counts)[..., sorted({s for s, _ in mapping})])


def attack_success_rate(counts: Counts, mapping: Mapping = None) -> Values:
    """C[s,t] / C[s,.]; with several pairs the mean over them: the share of source examples taken for their target."""
    if not mapping:
        return _unknown(counts)
    sources, targets = (list(side) for side in zip(*mapping, strict=True))
    return _mean(ratio(_float(counts)[..., sources, targets], _support(counts)[..., sources]))


def backdoor_success_rate(stamped: Counts, target: int) -> Values:
    """Share of the test images with the trigger (none of the target's class) that are taken for the target."""
    return ratio(_float(stamped)[..., target].sum(-1), _support(stamped).sum(-1))


def target_precision(counts: Counts, mapping: Mapping = None) -> Values:
    """C[t,t] / C[.,t]; with several targets the mean over them; NaN where nothing is taken for a target."""
    if not mapping:
        return _unknown(counts)
    return _mean(ratio(_diagonal(counts), _predicted(counts))[..., sorted({t for _, t in mapping})])


def collateral(counts: Counts, mapping: Mapping = None) -> Values:
    """Accuracy over the test examples of classes that are no source; NaN when all are."""
    if not mapping:
        return _unknown(counts)
    rest = sorted(set(range(counts.shape[-2])) - {s for s, _ in mapping})
    return ratio(_diagonal(counts)[..., rest].sum(-1), _support(counts)[..., rest].sum(-1))


@dataclass(frozen=True)
class Metric(MetricName):
    """A metric with its function.

    Attributes:
        function: ``(counts (..., L, L), mapping) -> (...)`` float64, a share from 0 to 1, or NaN.
    """

    function: Callable[[Counts, Mapping], Values] = accuracy

    def damage(self, clean: Any, attacked: Any) -> Any:
        """How much the attack harmed, positive when it did: clean minus attacked, or the reverse where low is good."""
        return clean - attacked if self.higher_is_better else attacked - clean


METRICS: dict[str, Metric] = {m.name: Metric(**vars(m), function=globals()[m.name]) for m in SHEET}


def undefined(name: str, counts: Counts, mapping: Mapping, classes: Sequence[str]) -> str | None:
    """Why a metric of one confusion matrix ``(L, L)`` is NaN; None when it is a number."""
    metric = METRICS[name]
    if not np.isnan(metric.function(counts, mapping)):
        return None
    if metric.needs_mapping and not mapping:
        return f"{metric.label} needs a fixed map from source to target class, and this attack has none"
    sources, targets = {s for s, _ in mapping or ()}, {t for _, t in mapping or ()}
    if name == "target_precision":
        return f"nothing is taken for the target {', '.join(classes[t] for t in sorted(targets))}"
    of = {"source_recall": sources, "attack_success_rate": sources, "collateral": set(range(len(classes))) - sources}
    if not (rows := of.get(name, set(range(len(classes))))):
        return "every class is a source class"
    return f"the test set has no example of {', '.join(classes[c] for c in sorted(rows))}"


def evaluate(frame: pd.DataFrame) -> pd.DataFrame:
    """The tidy frame: one row a finished cell, in the order of ``frame``.

    Args:
        frame: of `analysis.frame.load`.

    Returns:
        ``key, twin, clean``, every field, ``task, classes, split, train, test, data_sha256, mapping``, and

        - for each metric m: ``m`` (the headline: of the last round, where the grid does not say otherwise),
          ``m_last5`` (mean over the last rounds: `rounds.late_rounds.last_rounds`),
          ``m_clean`` (the clean twin's headline, with this cell's mapping; NaN without a finished twin) and
          ``m_damage`` (paired with the twin; positive is harm). The attack success rate of a backdoor is that of
          stamped test images, which its twin never sees: its ``_clean`` and ``_damage`` are NaN;
        - ``m_late_mean``, ``_least``, ``_most``, ``_spread`` (most less least) over the evaluated rounds at the end
          of training, ``late_rounds``, and ``m_stability``, whether it still moves there (`rounds.stability`);
        - ``headline``: which rounds ``m`` is of (`spec.headline`);
        - ``rounds_in_last5``: how many rounds ``_last5`` is a mean over;
        - ``adaptive``: whether the attack knows the rule; ``search_trials``: federations that its search took;
        - ``flips_eligible, flips_selected, flips_changed``: training labels, summed over the malicious clients;
        - ``malicious_influence`` (last round) and ``malicious_influence_mean`` (over evaluated rounds): summed
          least-squares weight in the update of the malicious clients taking part; ``malicious_kept``: share of the
          evaluated rounds under attack in which the rule kept one of them (`malicious_kept`);
        - `cell_scores.detection.COLUMNS` and ``detection_by``: who was dropped, against who is malicious;
          ``noisy_dropped``, ``noisy_others_dropped``, ``intolerant``: of the noise twin (`cell_scores.label_noise`);
          `cell_scores.client_accuracy.COLUMNS`: accuracy on the own test shares of honest clients, last round;
        - ``bytes_up``, ``bytes_down`` (a round), ``rule_peak`` (bytes of one call of the rule),
          ``aggregation_to_local`` (seconds of aggregation over those of local training); NaN where it is not recorded;
        - ``no_prediction``: test images without a prediction in the last round (logits that are not finite; they count
          as wrong); ``no_prediction_rounds``: the evaluated rounds with any; ``clamped_rounds``: those in which running
          variances were set to zero (`training.running_variances`);
        - ``epsilon``, ``delta``, ``epsilon_reason``: of client-level differential privacy (`privacy.of_tables`);
        - of a tuned grid ``form`` and ``compared_as`` (`analysis.settings.forms`);
        - ``nonfinite_updates``: left out, over all rounds; ``seconds`` and ``seconds_<phase>``.

        The best round is never looked at. Columns whose names begin with an underscore are for the analysis alone.

    Raises:
        UserError: the grid's headline needs more late rounds than are evaluated.
    """
    finished = frame["status"] == "done"
    done = frame if finished.all() else frame[finished].reset_index(drop=True)
    known_as = ["key", "twin", "clean", *FIELDS, "task", "classes", "split", "train", "test", "data_sha256", "mapping"]
    # Whole numbers are whole again where a missing cell made them objects.
    known_as += [name for name in (FORM, COMPARED_AS) if name in done.columns]
    fields = pd.DataFrame({name: typed(done[name]) for name in known_as}, index=done.index)
    headline = headline_of(frame)
    added = late_rounds.columns(done, METRICS, headline)
    late_rounds.fill_backdoors(added, done, METRICS["attack_success_rate"], backdoor_success_rate, headline)
    added["headline"] = np.full(len(done), str(headline), dtype=object)
    flips = done["flips"].tolist()
    each = {id(of_cell): of_cell for of_cell in flips}  # rules share their flips
    for kind in ("eligible", "selected", "changed"):
        total = {name: sum(flip[kind] for flip in of_cell) for name, of_cell in each.items()}
        added[f"flips_{kind}"] = np.array([total[id(of_cell)] for of_cell in flips], dtype=np.int64)
    added["adaptive"] = done["adaptive"].to_numpy(dtype=bool)
    added["search_trials"] = done["trials"].to_numpy(dtype=np.float64)
    added |= _influences(done)
    added |= label_noise.columns(done, detection.columns(done)) | client_accuracy.columns(done)
    added |= {name: done[name].to_numpy(dtype=np.float64) for name in COST}
    added["aggregation_to_local"] = ratio(*(done[f"seconds_{p}"].to_numpy() for p in ("aggregation", "local")))
    added["no_prediction"] = np.array([without_prediction(c[-1]) for c in done["confusion"]], dtype=np.int64)
    added["no_prediction_rounds"], added["clamped_rounds"] = done["no_prediction"], done["clamped"]
    added["nonfinite_updates"] = np.array([sum(n.values()) for n in done["nonfinite"]], dtype=np.int64)
    added |= of_tables.columns(done)
    seconds = [c for c in done.columns if c.startswith("seconds")]
    return pd.concat([fields, pd.DataFrame(added, index=done.index), done[seconds]], axis=1)


def without_prediction(counts: Counts) -> int:
    """How many examples of one confusion matrix have no prediction."""
    return int(counts[:, counts.shape[0] :].sum())


def malicious_influence(influence: Values, participants: NDArray[np.int64], malicious: Any) -> Values:
    """Summed weight of the malicious clients among those taking part, ``(..., rounds)``; 0 where none takes part.

    Args:
        influence: ``(..., rounds, clients a round)``, the least-squares weights.
        participants: ``(..., rounds, clients a round)``, their ids.
        malicious: ids ``(..., malicious)``.
    """
    theirs = _theirs(participants, malicious)
    unknown = np.isnan(influence).any(-1) & theirs.any(-1)
    return np.where(unknown, np.nan, np.where(theirs, influence, 0.0).sum(-1))


KEPT = 0.5  # of 1/n, the weight of a client in a plain mean: with more the rule has kept it


def malicious_kept(
    influence: Values,
    participants: NDArray[np.int64],
    malicious: Any,
    rounds: NDArray[np.int64],
    attacked: Sequence[int] | None = None,
) -> Values:
    """Share of the evaluated rounds under attack in which some malicious client had a weight above `KEPT` / n.

    n is the number of clients in the round. Rounds without malicious clients do not count; NaN where no round does.

    Args:
        influence: ``(..., rounds, clients a round)``, the least-squares weights; a round with NaN is not known.
        participants: ``(..., rounds, clients a round)``, their ids.
        malicious: ids ``(..., malicious)``.
        rounds: ``(rounds,)``, their numbers.
        attacked: numbers of the rounds under attack; None where that was not recorded: all.
    """
    theirs = _theirs(participants, malicious)
    counts = theirs.any(-1) & ~np.isnan(influence).any(-1) & (rounds > 0)
    if attacked is not None:
        counts &= np.isin(rounds, np.array(attacked, dtype=np.int64))
    kept = (theirs & (influence > KEPT / influence.shape[-1])).any(-1)  # no NaN is above it
    return ratio((kept & counts).sum(-1), counts.sum(-1))


def _theirs(participants: NDArray[np.int64], malicious: Any) -> NDArray[np.bool_]:
    ids = np.asarray(malicious, dtype=np.int64)
    return np.asarray((participants[..., None] == ids[..., None, None, :]).any(-1))


_MOST = 2**23  # comparisons of ids that are held at once


def _influences(done: pd.DataFrame) -> dict[str, Values]:
    """The columns of influence; one call for all cells of one shape, evaluated and attacked in the same rounds."""
    columns = [done[name].tolist() for name in ("influence", "participants", "malicious", "rounds_evaluated")]
    attacked = done["attacked_rounds"].tolist()
    alike: dict[Any, list[int]] = {}
    for place, (weights, _, malicious, rounds) in enumerate(zip(*columns, strict=True)):
        alike.setdefault((weights.shape, len(malicious), rounds.tobytes(), attacked[place]), []).append(place)
    names = ("malicious_influence", "malicious_influence_mean", "malicious_kept")
    found = {name: np.full(len(done), np.nan) for name in names}
    for (shape, count, _, when), members in alike.items():
        step = max(1, _MOST // max(1, shape[0] * shape[1] * count))
        for part in (members[i : i + step] for i in range(0, len(members), step)):
            weights, clients, malicious = (np.array([column[i] for i in part]) for column in columns[:3])
            shares = malicious_influence(weights, clients, malicious)
            found["malicious_influence"][part] = shares[:, -1]
            found["malicious_influence_mean"][part] = shares.mean(-1)
            kept = malicious_kept(weights, clients, malicious, columns[3][part[0]], when)
            found["malicious_kept"][part] = kept
    return found


def _float(counts: Counts) -> Values:
    return np.asarray(counts, dtype=np.float64)


def _diagonal(counts: Counts) -> Values:
    return np.asarray(np.einsum("...cc->...c", _float(counts)[..., : counts.shape[-2]]))


def _support(counts: Counts) -> Values:
    return np.asarray(_float(counts).sum(-1))


def _predicted(counts: Counts) -> Values:
    return np.asarray(_float(counts)[..., : counts.shape[-2]].sum(-2))


def _unknown(counts: Counts) -> Values:
    return np.full(counts.shape[:-2], np.nan)


def _mean(values: Values) -> Values:
    """Mean over the last axis of what is known; NaN where nothing is."""
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0.0).sum(-1), known.sum(-1))
