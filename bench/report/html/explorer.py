"""The data of the explorer: what a reader can choose among, every metric of every square, and the details behind.

The numbers are those of `analysis.pivot.Pivot`, rounded as the tables round them: whole numbers are tenths of a per
cent, and the page's script only puts the point in. It chooses, colours and sorts them; it computes none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.colors import Normalize, to_hex

from flipbench.analysis.columns import WORST, Column
from flipbench.analysis.metric_columns import MetricColumn, metric_column
from flipbench.analysis.metrics import METRICS
from flipbench.analysis.pages import Page, attack_name
from flipbench.analysis.pivot import Pivot
from flipbench.analysis.rounds import stability
from flipbench.analysis.rounds.late_rounds import CLEAN_VALUE, LAST, LAST_ROUNDS
from flipbench.analysis.squares import BEST, STATES, TIED, Numbers
from flipbench.analysis.statistics import uneven
from flipbench.report.figures import style
from flipbench.report.html.cell_details import details
from flipbench.report.html.packed_json import Dictionary, packed, tenths
from flipbench.report.html.rerun_command import Rerun
from flipbench.spec.distinct_texts import printable
from flipbench.spec.headline import Headline
from flipbench.spec.labels import (
    aggregator_label,
    class_name,
    field_label,
    fields_line,
    is_nothing,
    labelled,
    value_label,
)
from flipbench.spec.metric_names import DAMAGE

SHOWN = ("", DAMAGE, LAST_ROUNDS)
OWN_TWIN = CLEAN_VALUE  # of the very twins of a square's cells
MARKS = {None: 0, BEST: 1, TIED: 2}
_STOPS = 32  # of a colour scale


def common(headline: Headline) -> dict[str, Any]:
    """What all pages share: metrics, what is shown of them, states, colours."""
    stops = [i / _STOPS for i in range(_STOPS + 1)]
    norm = Normalize(0.0, 1.0)
    return {
        "metrics": [{"name": m.name, "label": m.label, "mapped": m.needs_mapping} for m in METRICS.values()],
        "shown": [
            {"name": name, "label": label}
            for name, label in zip(SHOWN, (headline.short, "damage", f"last {LAST} rounds"), strict=True)
        ],
        "states": list(STATES),
        "stability": list(stability.CLASSES),
        "colours": {
            name: [[to_hex(cmap(s)), style.ink(s, norm, cmap)] for s in stops]
            for name, cmap in (("good", style.colours(True)), ("harm", style.colours(False)))
        },
    }


def choices(pivot: Pivot, rerun: Rerun, room: int, most_details: int) -> tuple[dict[str, Any], int]:
    """One page.

    Args:
        pivot: of the page.
        rerun: the commands of the grid.
        room: bytes for the metrics; those that do not fit are named in ``left_out``.
        most_details: bytes for the details, and what the metrics leave of theirs.

    Returns:
        What the script reads (``bench/page/state.js`` says how), and about how many bytes it takes.
    """
    page, columns, standing = pivot.page, pivot.placement.columns, pivot.standing
    reasons = Dictionary()
    reason = [reasons.number(None if r is None else printable(r, 300)) for r in standing.reason.ravel()]
    caveats = Dictionary()
    found, left_out, used = _metrics(pivot, room, caveats)
    behind, size = details(pivot, rerun, most_details + room - used)
    data = {
        "name": ", ".join(value_label(f, v) for f, v in page.about.items()),
        "about": fields_line({**page.about, **page.constant}),
        "constant": [
            [field_label(f), value_label(f, v)] for f, v in {**page.about, **page.constant}.items() if not is_nothing(v)
        ],
        "rules": _distinct([aggregator_label(r) for r in page.rows]),
        "classes": [printable(c, 24) for c in page.classes],
        "seeds": page.seeds,
        "pooled": pools_twins(pivot),
        "facets": _facets(pivot),
        "kinds": [kind_of(c) for c in columns],
        "columns": _distinct([_name(page, c) for c in columns]),
        "states": [STATES.index(s) for s in standing.state.ravel()],
        "planned": standing.planned.ravel().tolist(),
        "reasons": reasons.texts,
        "reason": reason,
        "caveats": caveats.texts,
        "metrics": found,
        "left_out": left_out,
        "details": behind,
    }
    return data, used + size + 12 * len(reason)


def shown_metrics(pooled: bool = False) -> Iterator[MetricColumn]:
    """All that can be chosen; where clean columns are pooled also what stands in an opened square's column of twins."""
    for shown in SHOWN:
        for name in METRICS:
            yield metric_column(name + shown)
    for name in METRICS if pooled else ():
        own = metric_column(name)
        yield replace(own, name=name + OWN_TWIN, label=f"{own.label} of the clean twins", clean=None)


def kind_of(column: Column) -> str:
    """What stands in a column: attacked or clean cells, clean ones by the class map of an attack, the worst case."""
    if column.clean:
        return "clean_of" if column.of else "clean"
    return "worst" if column.attack == WORST else "attacked"


def pools_twins(pivot: Pivot) -> bool:
    """Whether clean columns hold twins that were told different f, so that they are no square's own twins."""
    cells, columns = pivot.placement.cells, pivot.placement.columns
    clean = np.array([kind_of(c) == "clean" for c in columns], dtype=bool)[cells.column]
    places = zip(*(a[clean].tolist() for a in (cells.column, cells.row, cells.seed)), strict=True)
    return len(set(places)) < int(clean.sum())


def targets(page: Page) -> dict[str, str]:
    """Attack -> the class that it sends examples to: its name, "several", or "none" where it has no fixed one."""
    found: dict[str, set[int]] = {}
    each = (page.cells[name].tolist() for name in ("attack", "mapping", "target"))
    for attack, mapping, target in zip(*each, strict=True):
        classes = found.setdefault(attack, set())
        classes |= {int(t) for _, t in mapping or ()}
        if target is not None and target == target:
            classes.add(int(target))
    label = {a: class_name(next(iter(t)), page.classes) if len(t) == 1 else "several" for a, t in found.items() if t}
    return {attack: label.get(attack, "none") for attack in page.attacks}


def _metrics(pivot: Pivot, room: int, caveats: Dictionary) -> tuple[dict[str, Any], list[str], int]:
    """Every metric that has numbers, while they fit; the labels of those that do not; bytes."""
    found: dict[str, Any] = {}
    left_out: list[str] = []
    used = 0
    for shown in shown_metrics(pools_twins(pivot)):
        text = None if left_out else _metric(pivot, shown, caveats)
        if text is not None and used + len(text["packed"]) <= room:
            found[shown.name], used = text, used + len(text["packed"])
        elif text is not None or left_out:
            left_out.append(shown.label)
    return found, left_out, used


def _metric(pivot: Pivot, shown: MetricColumn, caveats: Dictionary) -> dict[str, Any] | None:
    """One metric, ``(columns, rules)`` row by row; None where no square has a number."""
    whole = pivot.whole(shown)
    numbers = whole.numbers
    mean = tenths(numbers.mean)
    if all(m is None for m in mean):
        return None
    scale = style.scale(numbers.mean.ravel().tolist(), harm=not shown.higher_is_better)
    flat: dict[str, Any] = {"mean": mean, **_ends(numbers)}
    flat |= {"n": numbers.n.ravel().tolist(), "mark": [MARKS[m] for m in whole.marks.ravel()]}
    said = pivot.caveats(shown).ravel()
    flat |= {
        "caveat": {i: caveats.number(text) for i, text in enumerate(said) if text is not None and numbers.n.ravel()[i]}
    }
    flat |= {"worst": whole.chosen.ravel().tolist()} if (whole.chosen >= 0).any() else {}
    return {
        "label": shown.label,
        "unit": shown.unit,
        "higher": shown.higher_is_better,
        "mapped": shown.needs_mapping,
        "range": tenths([scale.vmin or 0.0, scale.vmax or 1.0]),
        "packed": packed(flat),
    }


def _ends(numbers: Numbers) -> dict[str, Any]:
    """Half widths of intervals; of those with unequal sides both ends, by the place of the square."""
    low, high = numbers.low.ravel(), numbers.high.ravel()
    half = tenths((numbers.high - numbers.low) / 2)
    cut = [i for i in np.flatnonzero(np.isfinite(low)) if uneven(numbers.mean.ravel()[i], low[i], high[i])]
    return {"half": half, "ends": {int(i): tenths([low[i], high[i]]) for i in cut}}


def _facets(pivot: Pivot) -> list[dict[str, Any]]:
    """What columns can be chosen by: the attack, its target, every field that varies; -1 where a column has none."""
    page, columns = pivot.page, pivot.placement.columns
    aims = targets(page)
    facets = []
    for name, label in (("attack", "attack"), ("target", "target class")):
        known = Dictionary([attack_name(page, a) for a in page.attacks] if name == "attack" else [])
        which = [
            known.number(attack_name(page, c.about) if name == "attack" else aims[c.about]) if c.about in aims else -1
            for c in columns
        ]
        facets.append({"name": name, "label": label, "values": known.texts, "of": which})
    for field in (*page.settings, *page.levels):
        known = Dictionary()
        which = [known.number(value_label(field, v)) if has else -1 for has, v in _values(page, field, columns)]
        facets.append({"name": field, "label": field_label(field), "values": known.texts, "of": which})
    return facets


def _values(page: Page, field: str, columns: Sequence[Column]) -> list[tuple[bool, Any]]:
    """Of each column: whether it has a value of the field, and which."""
    if field in page.settings:
        at = page.settings.index(field)
        return [(True, c.setting[at]) for c in columns]
    at = page.levels.index(field)
    return [(bool(c.level), c.level[at] if c.level else None) for c in columns]


def _name(page: Page, column: Column) -> str:
    """A column in words, as links and lists call it."""
    first = {"clean": "clean", "worst": "worst attack"}.get(kind_of(column)) or attack_name(page, column.about)
    first = f"clean, for {first}" if column.of else first
    return ", ".join([first, *labelled((*page.settings, *page.levels), (*column.setting, *column.level))])


def _distinct(names: list[str]) -> list[str]:
    """Names that are the same are numbered, so that each leads to one place."""
    seen: dict[str, int] = {}
    distinct = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        distinct.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return distinct
