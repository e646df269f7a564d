"""From the confusion counts of the evaluated rounds to the numbers of a cell: headline, damage, means, stability."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flipbench.analysis.rounds import stability
from flipbench.analysis.rounds.stability import Movement
from flipbench.errors import UserError
from flipbench.spec.headline import Headline
from flipbench.spec.metric_names import DAMAGE

Values = NDArray[np.float64]
Counts = NDArray[np.number[Any]]
Map = Sequence[tuple[int, int]] | None

LAST = 5  # evaluated rounds behind `<metric>_last5`, at most: `last_rounds`
LAST_ROUNDS, CLEAN_VALUE = f"_last{LAST}", "_clean"  # after a metric's name, as `DAMAGE`
ROUNDS_IN_LAST = f"rounds_in_last{LAST}"  # the column that says how many they are
LATE = ("_late_mean", "_late_least", "_late_most", "_late_spread")  # after a metric's name
STABILITY, ROUNDS_LATE = "_stability", "late_rounds"
HIDDEN = "_"  # begins the names of columns that no file has: `Movement` objects
_AT_ONCE = 2048  # cells whose counts are stacked: 8 MB of float64 with ten classes


class MetricFunction(Protocol):
    """What is needed of a metric (`analysis.metrics.Metric`)."""

    @property
    def name(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def higher_is_better(self) -> bool: ...
    @property
    def needs_mapping(self) -> bool: ...
    @property
    def function(self) -> Callable[[Counts, Map], Values]: ...

    def damage(self, clean: Any, attacked: Any) -> Any:
        """How much the attack harmed."""


class Depth(NamedTuple):
    """How many of the last evaluated rounds of a cell are behind its numbers.

    Attributes:
        last: behind ``_last5``.
        late: looked at for its stability.
        seen: whether they show stability (`stability.in_sequence`).
        half: lie in the second half of training.
    """

    last: int
    late: int
    seen: bool
    half: int


def last_rounds(evaluated: NDArray[np.int64], rounds: int) -> int:
    """How many of the last `LAST` evaluated rounds lie in the second half of training (round >= rounds / 2).

    A federation that is evaluated seldom has fewer: its first rounds are no late ones. At least the last round counts.

    Args:
        evaluated: their numbers, ascending, ``(rounds evaluated,)``.
        rounds: how many rounds the training has.
    """
    return max(1, int((2 * evaluated[-LAST:] >= rounds).sum()))


def movement_column(metric: str, *, of_twin: bool = False) -> str:
    """The hidden column with the `Movement` of each cell that is not steady by a metric, or of its clean twin."""
    return f"{HIDDEN}{metric}{CLEAN_VALUE if of_twin else ''}_movement"


def movements(tidy: pd.DataFrame, metric: str, *, of_twin: bool = False) -> NDArray[np.object_]:
    """`movement_column` of all cells; nothing for a number of the whole cell (`spec.metric_names.CELL_SHEET`)."""
    name = movement_column(metric, of_twin=of_twin)
    return tidy[name].to_numpy(dtype=object) if name in tidy else np.full(len(tidy), None, dtype=object)


def moves(tidy: pd.DataFrame, keys: pd.Series[Any], metric: str, *, of_twin: bool = False) -> list[Movement | None]:
    """How a metric moved in each of some cells; None where it is steady, or where that is not known.

    Args:
        tidy: of `analysis.metrics.evaluate`.
        keys: of the cells.
        metric: its name.
        of_twin: in their clean twins, by the class map of the cells.
    """
    column = movements(tidy, metric, of_twin=of_twin)
    known = {key: move for key, move in zip(tidy["key"], column, strict=True) if move is not None}
    return [known.get(key) for key in keys]


def columns(done: pd.DataFrame, metrics: Mapping[str, MetricFunction], headline: Headline) -> dict[str, Any]:
    """Column -> value of each finished cell; one call a metric for all cells that are alike.

    Args:
        done: rows of finished cells, of `analysis.frame.load`.
        metrics: by name.
        headline: which rounds the number of a cell is of.

    Returns:
        Of each metric m: ``m``, ``m_last5``, ``m_clean``, ``m_damage``, ``m_late_...`` and ``m_stability``, as
        `analysis.metrics.evaluate` describes them; `ROUNDS_IN_LAST`, `ROUNDS_LATE`; the columns of `movement_column`.

    Raises:
        UserError: fewer rounds are evaluated in the second half of training than the headline needs.
    """
    depths = _depths(done)
    _refuse(headline, depths, len(done))
    counts, mappings = done["confusion"].tolist(), done["mapping"].tolist()
    place = {key: i for i, key in enumerate(done["key"])}
    twins = [place.get(twin) for twin in done["twin"]]
    found: dict[str, Any] = {}
    for name in metrics:
        found |= {name + suffix: np.full(len(done), np.nan) for suffix in ("", LAST_ROUNDS, CLEAN_VALUE, DAMAGE)}
        found |= {name + suffix: np.full(len(done), np.nan) for suffix in LATE}
        found[name + STABILITY] = np.full(len(done), None, dtype=object)
        found |= {movement_column(name, of_twin=t): np.full(len(done), None, dtype=object) for t in (False, True)}
    rounds = done["rounds_evaluated"].tolist()
    found[ROUNDS_IN_LAST] = np.array([d.last for d in depths], dtype=np.int64)
    found[ROUNDS_LATE] = [tuple(r[-d.late :].tolist()) for r, d in zip(rounds, depths, strict=True)]
    ends = [(numbers[0], numbers[-1]) for numbers in found[ROUNDS_LATE]]
    for mapping, depth, members in _alike(mappings, counts, depths):
        deep = max(depth.last, depth.late, headline.rounds)
        own = np.stack([counts[i][-deep:] for i in members]).astype(np.float64)  # once for all metrics
        # Without a finished twin: no examples at all, of which every metric is NaN.
        nothing = np.zeros((deep, *counts[members[0]].shape[1:]), dtype=np.int64)
        clean = _stacked([nothing if (t := twins[i]) is None else counts[t][-deep:] for i in members])
        for name, metric in metrics.items():
            values, twin = metric.function(own, mapping), metric.function(clean, mapping)
            shown, of_twin = (_headline(v, headline, metric.higher_is_better) for v in (values, twin))
            _fill(found, metric, members, values, depth)
            found[name][members], found[name + CLEAN_VALUE][members] = shown, of_twin
            found[name + DAMAGE][members] = metric.damage(of_twin, shown)
            for side, numbers, matrices in ((False, values, own), (True, twin, clean)):
                kinds, moved = _stability(metric, numbers, depth, matrices[:, -1], mapping, [ends[i] for i in members])
                if not side:
                    found[name + STABILITY][members] = kinds
                found[movement_column(name, of_twin=side)][members] = moved
    return found


def fill_backdoors(
    found: dict[str, Any],
    done: pd.DataFrame,
    metric: MetricFunction,
    rate: Callable[[Counts, int], Values],
    headline: Headline,
) -> None:
    """Put the attack success of backdoors, over stamped test images, into the columns of a metric.

    Args:
        found: of `columns`; is changed.
        done: rows of finished cells.
        metric: the attack success rate.
        rate: of the counts of stamped images and the target class.
        headline: as of `columns`.
    """
    depths = _depths(done)
    for i, (stamped, target) in enumerate(zip(done["stamped"], done["target"], strict=True)):
        if stamped is None or target is None:
            continue
        depth, numbers = depths[i], found[ROUNDS_LATE][i]
        rates = rate(stamped[-max(depth.last, depth.late, headline.rounds) :], int(target))[None]
        _fill(found, metric, [i], rates, depth)
        found[metric.name][i] = _headline(rates, headline, metric.higher_is_better)[0]
        found[metric.name + CLEAN_VALUE][i] = found[metric.name + DAMAGE][i] = np.nan
        limit = stability.threshold([float(stamped[-1].sum())])
        kinds, moved = _told(metric, rates[:, -depth.late :], limit, depth.seen, [(numbers[0], numbers[-1])])
        found[metric.name + STABILITY][i], found[movement_column(metric.name)][i] = kinds[0], moved[0]
        found[movement_column(metric.name, of_twin=True)][i] = None


def _depths(done: pd.DataFrame) -> list[Depth]:
    """Of each cell; cells share their rounds."""
    known: dict[tuple[int, int], Depth] = {}
    found = []
    for evaluated, rounds in zip(done["rounds_evaluated"].tolist(), done["rounds"].tolist(), strict=True):
        name = (id(evaluated), rounds)
        if name not in known:
            late = stability.late(evaluated, rounds)
            seen = stability.in_sequence(evaluated[-late:])
            known[name] = Depth(last_rounds(evaluated, rounds), late, seen, int((2 * evaluated >= rounds).sum()))
        found.append(known[name])
    return found


def _refuse(headline: Headline, depths: Sequence[Depth], total: int) -> None:
    few = [depth.half for depth in depths if depth.half < headline.rounds] if headline.rounds > 1 else []
    if few:
        raise UserError(
            f"headline {headline} needs {headline.rounds} evaluated rounds in the second half of training, and "
            f"{len(few)} of {total} cells have {min(few)}{f' to {max(few)}' if max(few) > min(few) else ''}: run the "
            f"grid with evaluate_last: {headline.rounds}, or choose the headline last"
        )


Alike = tuple[Map, Depth, list[int]]


def _alike(mappings: Sequence[Map], counts: Sequence[Counts], depths: Sequence[Depth]) -> Iterator[Alike]:
    """Cells that can be computed together: a map, a depth, and at most `_AT_ONCE` places."""
    alike: dict[Any, list[int]] = {}
    for i, (mapping, own, depth) in enumerate(zip(mappings, counts, depths, strict=True)):
        alike.setdefault((mapping, own.shape[1:], depth), []).append(i)
    for (mapping, _, depth), some in alike.items():
        for at in range(0, len(some), _AT_ONCE):
            yield mapping, depth, some[at : at + _AT_ONCE]


def _stacked(counts: Sequence[Counts]) -> Values:
    """Matrices of several cells in one array, with a column of examples without a prediction where one has it."""
    width = max(each.shape[-1] for each in counts)
    return np.stack([np.pad(each.astype(np.float64), ((0, 0), (0, 0), (0, width - each.shape[-1]))) for each in counts])


def _headline(values: Values, headline: Headline, higher_is_better: bool) -> Values:
    """``(cells, rounds) -> (cells,)``; the worst of some rounds is the greatest where low is good."""
    own = values[:, -headline.rounds :]
    if headline.take == "mean":
        return np.asarray(own.mean(-1))
    if headline.take == "min":
        return np.asarray(own.min(-1) if higher_is_better else own.max(-1))
    return np.asarray(own[:, -1])


def _fill(found: dict[str, Any], metric: MetricFunction, members: Sequence[int], values: Values, depth: Depth) -> None:
    """What does not depend on the headline."""
    at, name = list(members), metric.name
    found[name + LAST_ROUNDS][at] = values[:, -depth.last :].mean(-1)
    own = values[:, -depth.late :]
    least, most = own.min(-1), own.max(-1)
    for suffix, column in zip(LATE, (own.mean(-1), least, most, most - least), strict=True):
        found[name + suffix][at] = column


def _stability(
    metric: MetricFunction,
    values: Values,
    depth: Depth,
    counts: Values,
    mapping: Map,
    ends: Sequence[tuple[int, int]],
) -> tuple[list[str | None], list[Movement | None]]:
    """The class of each cell (None without a number), and the movement of those that are not steady."""
    support = counts.sum(-1)
    rows, mean_of_rows = _rows(metric, support.shape[-1], mapping)
    if metric.name == "worst_recall":
        limit = stability.threshold(np.where(support > 0, support, np.inf).min(-1))
    else:
        limit = stability.threshold(stability.examples(support, rows, mean_of_rows=mean_of_rows))
    return _told(metric, values[:, -depth.late :], limit, depth.seen, ends)


def _rows(metric: MetricFunction, classes: int, mapping: Map) -> tuple[list[int] | None, bool]:
    """The classes whose test examples a metric is about, and whether it is a mean over them."""
    sources, targets = ({pair[side] for pair in mapping or ()} for side in (0, 1))
    if metric.name == "collateral":
        return sorted(set(range(classes)) - sources), False
    if metric.name == "target_precision":
        return sorted(targets), True
    return (sorted(sources), True) if metric.needs_mapping else (None, metric.name != "accuracy")


def _told(
    metric: MetricFunction, own: Values, limit: Values, seen: bool, ends: Sequence[tuple[int, int]]
) -> tuple[list[str | None], list[Movement | None]]:
    kinds = stability.classes(own, limit, seen, metric.higher_is_better)
    defined = ~np.isnan(own[:, -1])
    least, most = own.min(-1), own.max(-1)
    moved: list[Movement | None] = [None] * len(own)
    for i in np.flatnonzero(np.isin(kinds, stability.UNSTABLE) & defined).tolist():
        span = float(least[i]), float(most[i])
        moved[i] = Movement(metric.label, str(kinds[i]), metric.higher_is_better, *span, *ends[i])
    return [str(kind) if known else None for kind, known in zip(kinds, defined.tolist(), strict=True)], moved
