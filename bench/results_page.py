"""The report as one file: what was run, the rules at a glance, tables, pictures, comparisons, how it was computed.

It opens from disk, asks for nothing, and runs one small script of its own (sorting).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import islice
from typing import Any

import pandas as pd

from bench import attack_blocks, tables
from bench.arrangement import Page, by_seed, measure, pages
from bench.blocks import Block, blocks, number, sections
from bench.comparisons import compare, said
from bench.labels import aggregator_label, attack_label, facts_line, value_label
from bench.leaderboard import SAID, leaderboard
from bench.page_attacks import pooled
from bench.statistics import LEAST_SEEDS
from bench.web import block_table, page, picture, plain_table
from bench.worst import overview_only

MOST_BYTES = 3_000_000  # of pictures in the file; base64 makes 4 MB of them
_MOST_PAIRS = 200  # lines of the table of comparisons; comparisons.csv has all
_FIRST = ("ranks", "worst-case", "every-attack", "accuracy_damage", "accuracy")  # of the names of pictures
_SECTIONS = ("Run", "Rules", "Warnings", "Tables", "Pictures", "Comparisons", "Method")
METHOD = (
    "Every number is computed from stored confusion matrices of the global model on the test set. The headline is the "
    "last evaluated round, never the best one; statistics.csv has the mean of the last five evaluated rounds beside "
    "it.",
    "The replicate is the seed: it draws partition, malicious clients, flips, initial weights and batches, alike for "
    "every rule. Intervals are 95 % Student intervals of the mean over seeds. Damage and differences between rules are "
    "paired seed by seed, and so are their intervals.",
    "Two rules are told apart where the paired t test gives p < 0.05 after Holm's correction over every pair of rules "
    "in every column of the table, from six seeds on. comparisons.csv has every pair with difference, interval, paired "
    "t and exact Wilcoxon signed-rank test, raw and corrected, effect sizes and the probability of improvement.",
    "Ranks are averaged within each seed first; the critical difference is Nemenyi's with N = number of seeds.",
)


def order(names: Sequence[str]) -> list[str]:
    """Pictures by how much they tell, else in the order drawn."""
    return sorted(names, key=lambda n: next((i for i, part in enumerate(_FIRST) if part in n), len(_FIRST)))


def write(
    frame: pd.DataFrame,
    tidy: pd.DataFrame,
    plan: Mapping[str, Any],
    warnings: Sequence[str],
    drawn: Mapping[str, bytes],
) -> str:
    """The page.

    Args:
        frame: of `bench.frame.load`.
        tidy: of `bench.metrics.evaluate` on it.
        plan: the grid's.
        warnings: what to know before believing the numbers.
        drawn: name -> PNG; those that fit into `MOST_BYTES` are shown.
    """
    found = pages(frame)
    body = [f"<h1>{escape(tables.title(plan))}</h1>", _contents()]
    body += [_head("Run"), *(f"<p>{escape(line)}</p>" for line in tables.preface(frame, plan))]
    body += [f"<p>All: {escape(facts_line(p.constant))}.</p>" for p in found]
    body.append(_head("Rules"))
    for one in found:
        body += [_about(one), block_table(leaderboard(one, tidy)), f'<p class="notes">{escape(SAID)}</p>']
    body.append(_head("Warnings"))
    body += [f'<p class="warning">{escape(text)}</p>' for text in warnings] or ["<p>None.</p>"]
    body += [_head("Tables"), f"<p>{escape(tables.STATEMENT.format(best='bold'))}</p>"]
    for one in found:
        claims = said(one.seeds).format(tied="Underlined") if len(one.rows) > 1 else ""
        body += [_about(one), f"<p>{escape(claims)}</p>", *map(block_table, _blocks(one, tidy))]
    body += [_head("Pictures"), *_pictures(drawn), _head("Comparisons")]
    for one in found:
        body += [_about(one), _comparisons(one, tidy)]
    body += [_head("Method"), *(f"<p>{escape(text)}</p>" for text in METHOD)]
    return page(tables.title(plan), body)


def _contents() -> str:
    links = "".join(f'<a href="#{name.lower()}">{name}</a> ' for name in _SECTIONS)
    return f'<nav aria-label="contents">{links}</nav>'


def _head(name: str) -> str:
    return f'<h2 id="{name.lower()}">{name}</h2>'


def _about(one: Page) -> str:
    told = ", ".join(value_label(f, v) for f, v in one.about.items())
    return f"<h3>{escape(told)}</h3>" if told else ""


def _blocks(one: Page, tidy: pd.DataFrame) -> Iterator[Block]:
    yield from attack_blocks.worst_blocks(one, tidy, tables.MOST_COLUMNS)
    yield from attack_blocks.regret_blocks(one, tidy)
    yield from attack_blocks.overview_blocks(one, tidy)
    if not overview_only(one):
        for shown, table in sections(one, tidy):
            yield from blocks(one, shown, table, tables.MOST_COLUMNS)


def _pictures(drawn: Mapping[str, bytes]) -> Iterator[str]:
    room, left_out = MOST_BYTES, 0
    for name in order(list(drawn)):
        if len(drawn[name]) > room:
            left_out += 1
            continue
        room -= len(drawn[name])
        yield picture(name, drawn[name], name.replace("_", ", ").replace("-", " "))
    if left_out:
        yield f"<p>{left_out} more in the folder heatmaps.</p>"


def _comparisons(one: Page, tidy: pd.DataFrame) -> str:
    """Pairs of rules by accuracy, those told apart first, then by how far they are apart."""
    plain, shown = pooled(one), measure("accuracy")
    values, columns = by_seed(plain, tidy, shown, plain.attacks)
    if not values.size or len(one.rows) < 2:
        return "<p>A single rule: nothing to compare.</p>"
    pairs = compare(values)
    if pairs.n.max(initial=0) < LEAST_SEEDS:
        return f"<p>{escape(said(one.seeds))} All pairs: tables/comparisons.csv.</p>"
    mean = pairs.differences.mean(-1)
    keys = [
        (not pairs.claimed[i, j], -abs(mean[i, j]), i, j)
        for i in range(len(columns))
        for j in range(len(pairs.first))
        if pairs.n[i, j] >= LEAST_SEEDS and mean[i, j] == mean[i, j]
    ]
    rows = []
    for unclaimed, _, i, j in islice(sorted(keys), _MOST_PAIRS):
        column, a, b = columns[i], plain.rows[pairs.first[j]], plain.rows[pairs.second[j]]
        facts = (*plain.settings, *plain.levels)
        told = [value_label(f, v) for f, v in zip(facts, (*column.setting, *column.level), strict=False)]
        where = ", ".join([attack_label(column.attack, plain.classes), *told])
        verdict = "not told apart" if unclaimed else aggregator_label(a if mean[i, j] > 0 else b)
        rows.append(
            [
                *(f"{aggregator_label(a)} minus {aggregator_label(b)}", where, number(mean[i, j])),
                *(f"{pairs.p[i, j]:.2g}", f"{pairs.corrected[i, j]:.2g}", str(pairs.n[i, j]), verdict),
            ]
        )
    names = ["rules", "attack", "difference (%)", "p", "p corrected", "seeds", "better"]
    text = plain_table(f"Accuracy: {len(rows)} of {len(keys)} pairs, the clearest first", names, rows)
    return f"{text}<p>All pairs and tests: tables/comparisons.csv.</p>"
