"""ε and δ of the cells of a table: as columns, in the labels of noise multipliers, and as sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flipbench.privacy import guarantee
from flipbench.privacy.guarantee import Guarantee
from flipbench.spec.labels import is_nothing

_FIELD, _PLACE = "noise_multiplier", "noise_at"
_DEPENDS_ON = (
    *("noise_multiplier", "noise_at", "clip_update", "aggregator", "attack", "places", "adaptive", "features", "loss"),
    *("rounds", "clients", "clients_per_round", "malicious_count", "malicious_data"),
)


def guarantees(cells: pd.DataFrame) -> list[Guarantee | None]:
    """The guarantee of each cell with its fields, ``places`` and ``adaptive``; None without noise."""
    found: list[Guarantee | None] = [None] * len(cells)
    if _FIELD not in cells:
        return found
    noisy = [place for place, z in enumerate(cells[_FIELD].tolist()) if not is_nothing(z) and z]
    known: dict[tuple[Any, ...], Guarantee | None] = {}
    for place, values in zip(noisy, cells.iloc[noisy][list(_DEPENDS_ON)].itertuples(index=False), strict=True):
        name = tuple(None if is_nothing(v) else v for v in values)
        if name not in known:
            known[name] = guarantee.of_cell(dict(zip(_DEPENDS_ON, name, strict=True)))
        found[place] = known[name]
    return found


def columns(cells: pd.DataFrame) -> dict[str, NDArray[Any]]:
    """``epsilon`` and ``delta`` of each cell, NaN where there is none; ``epsilon_reason``: why ε is not known."""
    found = guarantees(cells)
    known = [g.epsilon if g and g.epsilon is not None else np.nan for g in found]
    return {
        "epsilon": np.array(known, dtype=np.float64),
        "delta": np.array([g.delta if g else np.nan for g in found], dtype=np.float64),
        "epsilon_reason": np.array([g.reason if g else "" for g in found], dtype=object),
    }


def with_places(cells: pd.DataFrame) -> pd.DataFrame:
    """The cells, with the ``noise_at`` of each rule's noisy cells for those without noise, where it says nothing.

    A rule that is used with one place of the noise then has that one value, as tables need it to name it once.
    """
    if not {_FIELD, _PLACE} <= set(cells) or not cells[_FIELD].any():
        return cells
    noisy = cells[_FIELD].astype(bool)
    of_rule: dict[str, set[str]] = {}
    for rule, place in cells.loc[noisy, ["aggregator", _PLACE]].drop_duplicates().itertuples(index=False):
        of_rule.setdefault(rule, set()).add(place)
    only = {rule: next(iter(places)) for rule, places in of_rule.items() if len(places) == 1}
    return cells.assign(**{_PLACE: cells[_PLACE].where(noisy, cells["aggregator"].map(only).fillna(cells[_PLACE]))})


def labels(frames: Sequence[pd.DataFrame], given: list[tuple[str, Any, str]]) -> list[tuple[str, Any, str]]:
    """The noise multipliers whose cells all have one ε, with it: field, value and label, as a grid gives labels.

    Args:
        frames: of `analysis.frame.load`, shown together.
        given: the labels of the grid, which stay as they are.
    """
    of_value: dict[float, set[float | None]] = {}
    for cells in frames:
        for z, found in zip(cells.get(_FIELD, ()), guarantees(cells), strict=False):
            if found is not None:
                of_value.setdefault(float(z), set()).add(found.epsilon)
    named = {value for name, value, _ in given if name == _FIELD}
    one = {z: next(iter(several)) for z, several in of_value.items() if len(several) == 1 and z not in named}
    return [(_FIELD, z, f"{z:g} (ε = {epsilon:.3g})") for z, epsilon in one.items() if epsilon is not None]


def sentence(cells: pd.DataFrame) -> str:
    """What ε bounds in some cells, and with which δ; empty where none has a known ε."""
    found = zip(cells.get(_PLACE, ()), guarantees(cells), strict=False)
    known = [(at, g) for at, g in found if g is not None and g.epsilon is not None]
    if not known:
        return ""
    towards = {"client": "the server", "server": "all who see the global models"}
    whom = " or ".join(towards[at] for at in dict.fromkeys(str(at) for at, _ in known))
    deltas = " or ".join(f"{delta:.2g}" for delta in sorted({g.delta for _, g in known}))
    return (
        f"ε: differential privacy of an honest client towards {whom}, δ = {deltas}, where all of its data are replaced "
        "(docs/privacy.md)."
    )
