"""The summary of a grid: which tables stand in it, as CSV, Markdown, LaTeX and lines for a terminal.

Pure functions: equal cells give equal bytes. Whatever a grid or a plug-in is called, its name stays text: no markup,
no macro, no formula.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from flipbench.analysis.columns import columns_of, level_values
from flipbench.analysis.comparisons import said
from flipbench.analysis.frame import headline_of
from flipbench.analysis.pages import Page
from flipbench.analysis.pivot import Pivot
from flipbench.analysis.settings.sensitivity import Claim
from flipbench.analysis.worst_case import overview_only
from flipbench.privacy import of_tables
from flipbench.report.tables import attacks, cost_and_influence, detection, sensitivity, stability
from flipbench.report.tables.csv_format import csv_text
from flipbench.report.tables.latex import NEEDS, Labels, tex_comment
from flipbench.report.tables.markdown import md_table, md_text
from flipbench.report.tables.model import Block, about_attack, blocks, by_rule, sections
from flipbench.report.tables.terminal import column_width, lines_of
from flipbench.report.tables.tuned_settings import sentence as chosen_for
from flipbench.report.tables.tuned_settings import with_choices
from flipbench.spec.cell import CLEAN, FIELDS
from flipbench.spec.distinct_texts import printable
from flipbench.spec.headline import Headline
from flipbench.spec.labels import aggregator_label, dataset_text, field_label, fields_line, is_nothing, value_label

MOST_COLUMNS = 9  # of a printed table: the clean twins and 4 malicious fractions x 2 flip rates
_STATEMENT = (
    "Mean ± half width of the 95 % interval over seeds, {}, in %; damage, costs and regrets in percentage points. "
    "An interval of which one side is a quarter longer than the other, as near 0 and 100 %, is written [from, to]. "
    "Best of each column bold, among "
    "the rules that lack no seed and no attack that another has there. "
    "Clean: the same experiment without the attack, with the declared f less the sybils, if any; of twins with several "
    "declared f the mean, and a note names them. "
    "Damage: clean minus attacked, seed by seed. "
    "Mean of the last 5 evaluated rounds: of those in the second half of training. "
    "Worst case: the attack with the least mean, and that mean's interval. "
    "–: the rule is infeasible; ?: no number (yet)."
)


def statement(headline: Headline) -> str:
    """What the numbers and marks of all tables of a grid mean."""
    return _STATEMENT.format(headline.said)


def summary_csv(pivots: Sequence[Pivot]) -> str:
    """One line a square of the summary, for further work; shares from 0 to 1.

    ``of_attack``: the attack that the table is about, whose source and target classes clean rows are measured by too;
    empty where the table has all attacks.
    """
    found = [pivot.page for pivot in pivots]
    varying = [f for f in FIELDS if any(f in (*p.about, *p.settings, *p.by_row, *p.levels) for p in found)]
    fields = list(dict.fromkeys(["dataset", "partition", *varying]))
    numbers = ["state", "mean", "sd", "low", "high", "n", "planned", "reason", "caveat"]
    noisy = any(page.cells["noise_multiplier"].any() for page in found)
    lines = []
    for pivot, page in zip(pivots, found, strict=True):
        epsilons = _epsilons(pivot) if noisy else {}
        for shown, table in sections(pivot):
            about_one = about_attack(shown, columns_of(table))
            for square in table.to_dict("records"):
                column = square["column"]
                has = {**page.constant, **page.about}
                has |= {f: values[square["aggregator"]] for f, values in page.by_row.items()}
                has |= dict(zip(page.settings, column.setting, strict=True))
                has |= dict.fromkeys(page.levels) | dict(zip(page.levels, column.level, strict=False))
                has["dataset"] = dataset_text(str(has["dataset"]))
                values = [column.attack in page.adaptive, *(has.get(f) for f in fields)]
                place = (square["aggregator"], column.attack, column.setting, column.level)
                more = [epsilons.get(place)] if noisy else []
                known = (square[n] for n in numbers)
                lines.append([shown.name, square["aggregator"], column.attack, about_one, *values, *known, *more])
    names = ["metric", "aggregator", "attack", "of_attack", "adaptive", *fields, *numbers]
    return csv_text([*names, *["epsilon"] * noisy], lines)


def _epsilons(pivot: Pivot) -> dict[Any, float | None]:
    """(aggregator, attack, setting, level) -> the ε of the cells there; None where they have none or several."""
    page = pivot.pooled.page
    settings, levels = (level_values(page.cells, fields) for fields in (page.settings, page.levels))
    found: dict[Any, set[float | None]] = {}
    places = zip(page.cells["aggregator"], page.cells["attack"], settings, levels, strict=True)
    for (rule, attack, setting, level), known in zip(places, of_tables.guarantees(page.cells), strict=True):
        place = (rule, attack, setting, () if attack == CLEAN else level)
        found.setdefault(place, set()).add(known.epsilon if known else None)
    return {place: next(iter(several)) if len(several) == 1 else None for place, several in found.items()}


def markdown(
    frame: pd.DataFrame,
    pivots: Sequence[Pivot],
    plan: Mapping[str, Any],
    warnings: Sequence[str],
    claims: Sequence[Claim] = (),
) -> str:
    """The summary as GitHub's Markdown; ``claims``: of `analysis.settings.sensitivity`."""
    parts = [
        f"# {md_text(title(plan))}",
        *(md_text(line) for line in preface(frame, plan)),
        *(md_text(line) for line in [stability.sentence(pivots)] if line),
        statement(headline_of(frame)),
    ]
    for block in cost_and_influence.cost_blocks(pivots):
        parts += [f"### {md_text(block.heading)}", md_table(block), md_text(cost_and_influence.COST_SAID)]
    for pivot in pivots:
        page = pivot.page
        parts += [f"## {md_text(about(page))}"] if page.about else []
        parts += [said(page.seeds)] if len(page.rows) > 1 else []
        parts.append(f"All: {md_text(fields_line(page.constant))}.{md_text(by_rule(page.by_row) + chosen_for(page))}")
        parts += [md_text(privacy)] if (privacy := of_tables.sentence(page.cells)) else []
        for block in _blocks(pivot):
            parts += [f"### {md_text(block.heading)}", md_table(block)]
            parts += _md_notes(block)
        for block, explanation in _further(pivot):
            parts += [f"### {md_text(block.heading)}", md_table(block), *_md_notes(block), md_text(explanation)]
    if claims:
        parts += ["## Which comparisons hold in every setting", *map(md_text, sensitivity.sentences(claims))]
        parts.append(sensitivity.SAID)
    for block in sensitivity.blocks(claims):
        parts += [f"### {md_text(block.heading)}", md_table(block), *_md_notes(block)]
    if warnings:
        parts += ["## Guards", "\n".join(f"- {md_text(text)}" for text in warnings)]
    return "\n\n".join(parts) + "\n"


def latex(pivots: Sequence[Pivot], plan: Mapping[str, Any], in_settings: Sequence[Claim] = ()) -> str:
    """The summary as LaTeX tables for ``\\input``; only the first of a page explains what its marks mean."""
    parts = [f"% {tex_comment(title(plan))}\n{NEEDS}"]
    labels = Labels(str(plan.get("grid") or ""))
    moving = f" {text}" if (text := stability.sentence(pivots)) else ""
    costs = cost_and_influence.cost_blocks(pivots)
    parts += [labels.table(block, cost_and_influence.COST_SAID) for block in costs]
    for pivot in pivots:
        page = pivot.page
        fields = fields_line({**page.about, **page.constant})
        claims = f" {said(page.seeds)}" if len(page.rows) > 1 else ""
        claims += f" {privacy}" if (privacy := of_tables.sentence(page.cells)) else ""
        explained = ""
        for block in _blocks(pivot):
            of_rules = by_rule(page.by_row) + chosen_for(page)
            explanation = "" if explained else f"{statement(page.headline)}{moving}{claims} All: {fields}.{of_rules}"
            parts.append(labels.table(block, explanation, about(page), explained))
            explained = explained or labels.last
        parts += [labels.table(block, text, about(page)) for block, text in _further(pivot)]
    parts += [labels.table(block, sensitivity.SAID) for block in sensitivity.blocks(in_settings)]
    return "\n\n".join(parts) + "\n"


def terminal(pivots: Sequence[Pivot], width: int) -> str:
    """Accuracy as plain lines of at most ``width`` characters, where the names of the rules leave room."""
    parts = []
    for pivot in pivots:
        page = pivot.page
        parts += [about(page)] if page.about else []
        label = max([len("aggregator"), *(len(field_label(f)) for f in (*page.settings, *page.levels))])
        label = max([label, *(min(len(aggregator_label(r)), 40) for r in page.rows)])
        parts += [of_settings.strip()] if (of_settings := chosen_for(page)) else []
        if whole := list(attacks.worst_blocks(pivot, len(page.cells), named=False)):
            cell = column_width(whole)
            most = max(1, (width - label) // cell)
            parts += lines_of(list(attacks.worst_blocks(pivot, most, named=False)), label, cell)
        if overview_only(page):
            parts.append(f"{len(page.attacks)} attacks one by one: see tables/summary.md")
            continue
        for shown, table in sections(pivot, ["accuracy"]):
            cell = column_width(blocks(pivot, shown, table, len(table) + 1))
            parts += lines_of(blocks(pivot, shown, table, max(1, (width - label) // cell)), label, cell)
    return "\n\n".join(parts)


def title(plan: Mapping[str, Any]) -> str:
    """The grid's title, else its name."""
    return printable(str(plan.get("title") or plan.get("grid") or "results"))


def about(page: Page) -> str:
    """The fields that tell a page from the others."""
    return ", ".join(value_label(f, v) for f, v in page.about.items())


def preface(frame: pd.DataFrame, plan: Mapping[str, Any]) -> list[str]:
    """What was run, how far it got, and on what: the provenance of every number below."""
    count = frame["status"].value_counts()
    other = [("infeasible", "infeasible"), ("failed", "failed"), ("missing", "not run yet")]
    counts = [f"{int(count.get('done', 0))} of {len(frame)} cells done"]
    counts += [f"{int(count[s])} {text}" for s, text in other if count.get(s, 0)]
    lines = [f"Grid {printable(str(plan.get('grid')))}: {', '.join(counts)}."]
    if plan.get("command"):
        lines.append(f"Command: {printable(str(plan['command']), 1000)}")
    done = frame[frame["status"] == "done"]
    made = []
    for name in ("flipbench", "commit", "python", "torch", "numpy", "numba", "device", "processor", "platform"):
        values = sorted({str(v) for v in done[f"provenance_{name}"].unique() if not is_nothing(v)})
        made += [f"{name} {printable(' and '.join(values))}"] if values else []
    splits = sorted({str(s) for s in done["split"].unique() if not is_nothing(s)})
    made += [f"split {printable(' and '.join(splits))}"] if splits else []
    return [*lines, f"Made with {', '.join(made)}."] if made else lines


def _blocks(pivot: Pivot) -> Iterable[Block]:
    """What a defence is worth first; then every attack, side by side where they are many."""
    yield from with_choices(pivot.page, _every_block(pivot))


def _further(pivot: Pivot) -> Iterator[tuple[Block, str]]:
    """What is not a metric of the grid: influence, late rounds and detection, each with its explanation."""
    page = pivot.page
    for block in with_choices(page, cost_and_influence.influence_blocks(pivot)):
        yield block, cost_and_influence.INFLUENCE_SAID
    if (steady := stability.stability_block(pivot)) is not None:
        yield next(with_choices(page, [steady])), stability.SAID
    for block in with_choices(page, detection.detection_blocks(pivot)):
        yield block, detection.SAID


def _md_notes(block: Block) -> list[str]:
    return ["<br>".join(f"{letter}: {md_text(text)}" for letter, text in block.notes)] if block.notes else []


def _every_block(pivot: Pivot) -> Iterable[Block]:
    yield from attacks.worst_blocks(pivot, MOST_COLUMNS)
    yield from attacks.regret_blocks(pivot)
    yield from attacks.declared_blocks(pivot)
    yield from attacks.overview_blocks(pivot)
    if not overview_only(pivot.page):
        for shown, table in sections(pivot):
            yield from blocks(pivot, shown, table, MOST_COLUMNS)
