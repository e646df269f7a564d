"""The attacks of a page: which stand side by side, which metrics say something of them, what they are called."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from flipbench.analysis.metric_columns import MetricColumn
from flipbench.analysis.pages import Page
from flipbench.spec.labels import ADAPTIVE, attack_label

EVERY_PAIR = "every_pair"  # as grids name them: all source and target classes, one attack each
MOST_PAIRS = 12  # attacks on a single pair that still stand side by side


def single_pairs(page: Page) -> dict[str, tuple[int, int]]:
    """Attacks that flip one source class to one target class in every cell, with the pair."""
    maps: dict[str, set[Any]] = {}
    for attack, mapping in page.cells[["attack", "mapping"]].drop_duplicates().itertuples(index=False):
        if mapping is not None:
            maps.setdefault(str(attack), set()).add(mapping)
    alone = {attack: next(iter(found)) for attack, found in maps.items() if len(found) == 1}
    return {attack: (int(m[0][0]), int(m[0][1])) for attack, m in alone.items() if len(m) == 1}


def showable(page: Page, shown: MetricColumn) -> list[str]:
    """The attacks that a metric says something of: that of source and target only those on one pair.

    With several sources and targets a mean over them would hide more than it tells. The attack success rate of a
    backdoor has no damage: the clean twin sees no stamped image.
    """
    if not shown.needs_mapping:
        return list(page.attacks)
    known = {*single_pairs(page), EVERY_PAIR}
    if shown.metric == "attack_success_rate" and not shown.damage:
        known |= page.backdoors
    return [a for a in page.attacks if a in known]


def attack_name(page: Page, attack: str) -> str:
    """An attack's label, marked where it knows the rule it faces."""
    return attack_label(attack, page.classes) + (ADAPTIVE if attack in page.adaptive else "")


def stamped_note(page: Page, shown: MetricColumn, attacks: Iterable[str]) -> str:
    """What a caption must say where the attack success rate of a backdoor stands."""
    backdoor = shown.name.startswith("attack_success_rate") and any(a in page.backdoors for a in attacks)
    return "of a backdoor: over stamped test images" if backdoor else ""


def pooled(page: Page) -> Page:
    """The page with its single-pair attacks as one, where they are too many to stand side by side."""
    pairs = single_pairs(page)
    if len(pairs) <= MOST_PAIRS:
        return page
    cells = page.cells.assign(attack=page.cells["attack"].where(~page.cells["attack"].isin(list(pairs)), EVERY_PAIR))
    attacks = dict.fromkeys(EVERY_PAIR if a in pairs else a for a in page.attacks)
    return replace(page, cells=cells, attacks=tuple(attacks))
