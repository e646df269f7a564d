"""A page of a grid as the data of the explorer: what can be chosen, every number as it is shown, and the details.

Whole numbers are tenths of a per cent, as the tables round them: the page's script only puts the point in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.colors import Normalize, to_hex

from flipbench.analysis.attack_selection import attack_name
from flipbench.analysis.metric_columns import MetricColumn
from flipbench.analysis.metrics import LAST, METRICS
from flipbench.analysis.pages import Page
from flipbench.report.figures import style
from flipbench.report.html.cell_details import details
from flipbench.report.html.encoding import Dictionary, packed, tenths
from flipbench.report.html.explorer_numbers import (
    ATTACKED,
    SHOWN,
    STATES,
    TWIN,
    TWIN_OF,
    WORST_OF,
    Placed,
    Square,
    measures,
    numbers,
    targets,
)
from flipbench.report.html.rerun_command import Rerun
from flipbench.spec.labels import aggregator_label, field_label, fields_line, is_nothing, printable, value_label

_STOPS = 32  # of a colour scale
_SHOWN = ("last round", "damage", f"last {LAST} rounds")
KINDS = {ATTACKED: "attacked", TWIN: "clean", TWIN_OF: "clean_of", WORST_OF: "worst"}


def common() -> dict[str, Any]:
    """What does not depend on the grid: metrics, what is shown of them, states, colours."""
    stops = [i / _STOPS for i in range(_STOPS + 1)]
    norm = Normalize(0.0, 1.0)
    return {
        "metrics": [{"name": m.name, "label": m.label, "mapped": m.needs_mapping} for m in METRICS.values()],
        "shown": [{"name": name, "label": label} for name, label in zip(SHOWN, _SHOWN, strict=True)],
        "states": list(STATES),
        "colours": {
            name: [[to_hex(cmap(s)), style.ink(s, norm, cmap)] for s in stops]
            for name, cmap in (("good", style.colours(True)), ("harm", style.colours(False)))
        },
    }


def choices(placed: Placed, rerun: Rerun, room: int, most_details: int) -> tuple[dict[str, Any], int]:
    """One page.

    Args:
        placed: its cells in their squares.
        rerun: the commands of the grid.
        room: bytes for the measures; those that do not fit are named in ``left_out``.
        most_details: bytes for the details, and what the measures leave of theirs.

    Returns:
        What the script reads (``bench/page/state.js`` says how), and about how many bytes it takes.
    """
    page = placed.page
    state, planned, why = placed.states
    reasons = Dictionary()
    reason = [reasons.number(None if r is None else printable(r, 300)) for line in why for r in line]
    found, left_out, used = _measures(placed, room)
    behind, size = details(placed, rerun, most_details + room - used)
    told = {
        "name": ", ".join(value_label(f, v) for f, v in page.about.items()),
        "circumstances": fields_line({**page.about, **page.constant}),
        "constant": [
            [field_label(f), value_label(f, v)] for f, v in {**page.about, **page.constant}.items() if not is_nothing(v)
        ],
        "rules": _distinct([aggregator_label(r) for r in page.rows]),
        "classes": [printable(c, 24) for c in page.classes],
        "seeds": page.seeds,
        "pooled": placed.pooled,
        "facets": _facets(placed),
        "kinds": [KINDS[c.kind] for c in placed.columns],
        "columns": _distinct([_name(page, c) for c in placed.columns]),
        "states": state.ravel().tolist(),
        "planned": planned.ravel().tolist(),
        "reasons": reasons.texts,
        "reason": reason,
        "measures": found,
        "left_out": left_out,
        "details": behind,
    }
    return told, used + size + 12 * len(reason)


def _measures(placed: Placed, room: int) -> tuple[dict[str, Any], list[str], int]:
    """Every measure that has numbers, while they fit; the labels of those that do not; bytes."""
    found: dict[str, Any] = {}
    left_out: list[str] = []
    used = 0
    for shown in measures(placed.pooled):
        text = None if left_out else _measure(placed, shown)
        if text is not None and used + len(text["packed"]) <= room:
            found[shown.name], used = text, used + len(text["packed"])
        elif text is not None or left_out:
            left_out.append(shown.label)
    return found, left_out, used


def _measure(placed: Placed, shown: MetricColumn) -> dict[str, Any] | None:
    """One measure, ``(columns, rules)`` row by row; None where no square has a number."""
    one = numbers(placed, shown)
    mean = tenths(one.mean)
    if all(m is None for m in mean):
        return None
    scale = style.scale(one.mean.ravel().tolist(), harm=not shown.higher_is_better)
    flat: dict[str, list[Any]] = {"mean": mean, "half": tenths(one.half)}
    flat |= {"n": one.n.ravel().tolist(), "mark": one.marks.ravel().tolist()}
    flat |= {"worst": one.chosen.ravel().tolist()} if (one.chosen >= 0).any() else {}
    return {
        "label": shown.label,
        "higher": shown.higher_is_better,
        "mapped": shown.needs_mapping,
        "range": tenths([scale.vmin or 0.0, scale.vmax or 1.0]),
        "packed": packed(flat),
    }


def _facets(placed: Placed) -> list[dict[str, Any]]:
    """What columns can be chosen by: the attack, its target, and every fact that varies; -1 where a column has none."""
    page = placed.page
    aims = targets(page)
    facets = []
    for name, label in (("attack", "attack"), ("target", "target class")):
        known = Dictionary([attack_name(page, a) for a in page.attacks] if name == "attack" else [])
        which = [
            known.number(attack_name(page, c.attack) if name == "attack" else aims[c.attack])
            if c.attack in aims
            else -1
            for c in placed.columns
        ]
        facets.append({"name": name, "label": label, "values": known.texts, "of": which})
    for fact in (*page.settings, *page.levels):
        known = Dictionary()
        which = [known.number(value_label(fact, v)) if has else -1 for has, v in _values(page, fact, placed)]
        facets.append({"name": fact, "label": field_label(fact), "values": known.texts, "of": which})
    return facets


def _values(page: Page, fact: str, placed: Placed) -> list[tuple[bool, Any]]:
    """Of each column: whether it has a value of the fact, and which."""
    if fact in page.settings:
        at = page.settings.index(fact)
        return [(True, c.setting[at]) for c in placed.columns]
    at = page.levels.index(fact)
    return [(bool(c.level), c.level[at] if c.level else None) for c in placed.columns]


def _name(page: Page, square: Square) -> str:
    """A column in words, as links and lists call it."""
    first = {TWIN: "clean", WORST_OF: "worst attack"}.get(square.kind) or attack_name(page, square.attack)
    first = f"clean, for {first}" if square.kind == TWIN_OF else first
    facts: Mapping[str, Any] = dict(zip((*page.settings, *page.levels), (*square.setting, *square.level), strict=False))
    return ", ".join([first, *(f"{field_label(f)} {value_label(f, v)}" for f, v in facts.items())])


def _distinct(names: list[str]) -> list[str]:
    """Names that are the same are numbered, so that each leads to one place."""
    seen: dict[str, int] = {}
    told = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        told.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return told
