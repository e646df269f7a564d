"""Which cells of two results folders are the same experiment.

Cells are matched on their fields. What may differ between the two is the device, the place of a data or plug-in file,
and its content. A value that names content (a rule, an attack, a data set, a model, ...) is the same on both sides if
it has

1. the same text and the same content; else
2. the same text: its source was edited; else
3. the same name without its folder, and the same content: its file was moved; else
4. the same name without its folder, where either side has that name only once: moved and edited.

Each step only pairs what is left of the steps before, and only where both sides have one candidate. So no cell is
compared with a cell of another rule of the same name: what cannot be told is in neither pair, and said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flipbench.analysis.columns import Values, level_values
from flipbench.spec.cell import FIELDS
from flipbench.spec.field_groups import USUAL
from flipbench.spec.labels import placeless

IDENTITY = tuple(f for f in FIELDS if f != "device")
SETTING = tuple(f for f in IDENTITY if f != "seed")
_NAMING = frozenset(f for f in IDENTITY if isinstance(USUAL[f], str))  # fields whose value may name content
Where = NDArray[np.int64]
Named = tuple[str, str | None]  # the text of a value, and the hash of its content; None: it has none of its own


@dataclass(frozen=True)
class Matched:
    """Cells of two frames with the same fields.

    Attributes:
        first, second: places in the two frames, one pair of cells each.
        setting: which of ``settings`` they are of.
        settings: values of `SETTING`, in the order of the first folder's plan, as the first folder has them.
        only_first, only_second: places of cells that have no partner.
        ambiguous: what could not be told apart, one sentence each.
    """

    first: Where
    second: Where
    setting: Where
    settings: tuple[Values, ...]
    only_first: Where
    only_second: Where
    ambiguous: tuple[str, ...]


def match(first: pd.DataFrame, second: pd.DataFrame) -> Matched:
    """Pair the cells of two frames (without missing ones); no cell is in two pairs.

    Args:
        first, second: of `analysis.frame.load`.
    """
    codes: list[list[Sequence[Hashable]]] = [[], []]
    ambiguous: list[str] = []
    for name in IDENTITY:
        values = [[v for (v,) in level_values(frame, (name,))] for frame in (first, second)]
        if name in _NAMING:
            named = [
                list(zip(v, content_of(f, name), strict=True)) for v, f in zip(values, (first, second), strict=True)
            ]
            same, unclear = _partners(name, *(list(dict.fromkeys(side)) for side in named))
            ambiguous += unclear
            values = [[own.get(v, (n, v)) for v in side] for n, (own, side) in enumerate(zip(same, named, strict=True))]
        for side in (0, 1):
            codes[side].append(values[side])
    identities = [list(zip(*fields, strict=True)) for fields in codes]
    pairs, unclear = _pairs(identities, (first, second))
    at_first, at_second = (np.array(side, dtype=np.int64) for side in (zip(*pairs, strict=True) if pairs else ((), ())))
    seed = IDENTITY.index("seed")
    texts = level_values(first, SETTING)
    settings: dict[Any, tuple[int, Values]] = {}
    for place in at_first.tolist():
        own = identities[0][place]
        settings.setdefault(own[:seed] + own[seed + 1 :], (len(settings), texts[place]))
    of = [settings[identities[0][p][:seed] + identities[0][p][seed + 1 :]][0] for p in at_first.tolist()]
    return Matched(
        *(at_first, at_second, np.array(of, dtype=np.int64), tuple(values for _, values in settings.values())),
        np.setdiff1d(np.arange(len(first)), at_first),
        np.setdiff1d(np.arange(len(second)), at_second),
        (*dict.fromkeys(ambiguous), *unclear),
    )


def content_of(frame: pd.DataFrame, field: str) -> list[str | None]:
    """The hash of the content that a field of each cell names; None where it has none."""
    known: dict[int, str | None] = {}
    hashes = frame["content"].tolist()
    for content in hashes:
        if id(content) not in known:
            known[id(content)] = dict(content or ()).get(field)
    return [known[id(content)] for content in hashes]


def _partners(
    field: str, first: Sequence[Named], second: Sequence[Named]
) -> tuple[tuple[dict[Named, Named], dict[Named, Named]], list[str]]:
    """Value -> what stands for it and its partner, on either side; and which could be the partner of several."""
    same: tuple[dict[Named, Named], dict[Named, Named]] = ({}, {})
    short = {v: placeless(str(v[0]), field) for v in (*first, *second)}
    times = [Counter(short[v] for v in values) for values in (first, second)]
    left = [list(first), list(second)]
    steps: tuple[Callable[[Named], Hashable], ...] = (
        lambda v: v,
        lambda v: v[0],
        lambda v: (short[v], v[1]),
        lambda v: short[v] if max(side[short[v]] for side in times) == 1 else ("", v),
    )
    for step in steps:
        groups = [_grouped(values, step) for values in left]
        for name in groups[0].keys() & groups[1].keys():
            if len(groups[0][name]) == len(groups[1][name]) == 1:
                a, b = groups[0][name][0], groups[1][name][0]
                same[0][a] = same[1][b] = a
        left = [[v for v in values if v not in same[side]] for side, values in enumerate(left)]
    groups = [_grouped(values, short.__getitem__) for values in left]
    return same, list(_unclear(field, *groups))


def _grouped(values: Sequence[Any], step: Callable[[Any], Hashable]) -> dict[Any, list[Any]]:
    groups: dict[Any, list[Any]] = {}
    for value in values:
        groups.setdefault(step(value), []).append(value)
    return groups


def _unclear(field: str, first: dict[Any, list[Named]], second: dict[Any, list[Named]]) -> Iterator[str]:
    for name, own in first.items():
        if others := second.get(name):
            sides = [", ".join(dict.fromkeys(str(v[0]) for v in side)) for side in (own, others)]
            yield (
                f"several things are called {name} ({field}: {sides[0]} in A, {sides[1]} in B) and neither place nor "
                "content says which is which: their cells are not compared"
            )


def _pairs(
    identities: Sequence[Sequence[Any]], frames: tuple[pd.DataFrame, pd.DataFrame]
) -> tuple[list[tuple[int, int]], list[str]]:
    """Places of cells that are one another's only candidate: by their fields, then by the device, then by their key."""
    keys = [frame["key"].tolist() for frame in frames]
    devices = [frame["device"].tolist() for frame in frames]
    groups: list[dict[Any, list[int]]] = [{}, {}]
    for side, own in enumerate(identities):
        for place, identity in enumerate(own):
            groups[side].setdefault(identity, []).append(place)
    pairs: list[tuple[int, int]] = []
    unclear = 0
    for identity, own in groups[0].items():
        left = [own, groups[1].get(identity, [])]
        if len(left[0]) == len(left[1]) == 1:
            pairs.append((left[0][0], left[1][0]))
            continue
        for names in (keys, devices):
            named = [_grouped(places, names[side].__getitem__) for side, places in enumerate(left)]
            found = [
                (named[0][n][0], named[1][n][0])
                for n in named[0].keys() & named[1].keys()
                if len(named[0][n]) == len(named[1][n]) == 1
            ]
            pairs += found
            left = [[p for p in places if p not in {f[side] for f in found}] for side, places in enumerate(left)]
        unclear += len(left[0]) if left[1] else 0
    text = f"{unclear} cells of A have several cells of B with equal fields: they are not compared"
    return sorted(pairs), [text] if unclear else []
