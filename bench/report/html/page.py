"""The report as one file: what was run, warnings, the rules ranked, the explorer, figures, comparisons, the method.

It opens from disk, loads nothing, and runs one small script of its own. The explorer's numbers are computed here
and by the functions of the tables; the script chooses among them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import pandas as pd
from markupsafe import Markup

from flipbench.analysis.comparisons import compare, said
from flipbench.analysis.frame import headline_of
from flipbench.analysis.metric_columns import metric_column
from flipbench.analysis.pivot import Pivot
from flipbench.analysis.settings.sensitivity import Claim
from flipbench.analysis.statistics import LEAST_SEEDS
from flipbench.privacy import of_tables
from flipbench.report.html.explorer import choices, common
from flipbench.report.html.leaderboard import SAID, leaderboard
from flipbench.report.html.packed_json import embedded
from flipbench.report.html.rerun_command import rerun
from flipbench.report.html.templates import EXPLORING, block_table, image, plain_table, render
from flipbench.report.tables import attacks, detection, sensitivity, stability
from flipbench.report.tables import summary as tables
from flipbench.report.tables.model import by_rule, number
from flipbench.report.tables.tuned_settings import sentence as chosen_for
from flipbench.report.tables.tuned_settings import with_choices
from flipbench.spec.headline import LAST_ROUND, Headline
from flipbench.spec.labels import aggregator_label, attack_label, value_label
from flipbench.spec.metric_names import POINTS

MOST_BYTES = 4_900_000  # of the file
_FOR_METRICS, _FOR_FIGURES = 1_800_000, 600_000  # of them; the details of cells have the rest, figures what is left
_MOST_FIGURES = 1_500_000  # more only repeat what the explorer shows
_MOST_PAIRS = 200  # lines of the table of comparisons; comparisons.csv has all
# Parts of the names of figures that show what the explorer does not, the most telling first.
_TELLING = ("tuning-curve", "ranks", "worst-case", "by-partition", "declared", "pairs", "damage-bars")
_SECTIONS = ("Warnings", "Rules", "Explore", "Tables", "Figures", "Comparisons", "Settings", "Method")
NO_FIGURES = "Figures are in the folder heatmaps, as of the last run that ended or was drawn again."
_METHOD = (
    "Every number is computed from stored confusion matrices of the global model on the test set. The headline is "
    "{headline}, never the best one; statistics.csv has the mean of the last five evaluated rounds beside "
    "it, and stability.csv says whether the numbers still move at the end of training: a number that does is marked.",
    "The replicate is the seed: it draws partition, malicious clients, flips, initial weights and batches, alike for "
    "every rule. Intervals of shares are 95 % Wilson intervals of the mean over seeds with an effective number of "
    "examples, which stay between 0 and 100 %; damage and differences between rules are paired seed by seed, with "
    "Student's interval.",
    "Two rules are told apart where the paired t test gives p < 0.05 after Holm's correction over every pair of rules "
    "in every column of the table, from six seeds on. comparisons.csv has every pair with difference, interval, paired "
    "t and exact Wilcoxon signed-rank test, raw and corrected.",
    "Ranks are averaged within each seed first; the critical difference is Nemenyi's with N = number of seeds.",
)


def method(headline: Headline) -> tuple[str, ...]:
    """How the numbers were made, a paragraph each."""
    last = "that of the last evaluated round" if headline == LAST_ROUND else f"the {headline.said}"
    return (_METHOD[0].format(headline=last), *_METHOD[1:])


def order(names: Sequence[str]) -> list[str]:
    """The figures that the page shows, by how much they tell, else in the order drawn."""
    place = {name: next((i for i, part in enumerate(_TELLING) if part in name), None) for name in names}
    return sorted((n for n in names if place[n] is not None), key=lambda n: place[n] or 0)


def write(
    frame: pd.DataFrame,
    pivots: Sequence[Pivot],
    plan: Mapping[str, Any],
    warnings: Sequence[str],
    drawn: Mapping[str, bytes],
    beside: Sequence[str] = (),
    claims: Sequence[Claim] = (),
) -> str:
    """The page.

    Args:
        frame: of `analysis.frame.load`.
        pivots: of `analysis.pivot.pivots` on it.
        plan: the grid's.
        warnings: what to know before believing the numbers.
        drawn: name -> PNG; the telling ones are shown, as far as there is room.
        beside: files in the folder heatmaps, which get a link each.
        claims: of `analysis.settings.sensitivity`.
    """
    parts = [_static(pivot) for pivot in pivots]
    used = sum(len(text) for part in parts for text in (part["leaderboard"], part["comparisons"], *part["tables"]))
    settings = [block_table(block) for block in sensitivity.blocks(claims)]
    used += sum(map(len, settings))
    data, used = _data(frame, plan, pivots, used)
    figures, left_out = _figures_within(drawn, min(_MOST_FIGURES, MOST_BYTES - used))
    return render(
        "report.html",
        tables.title(plan),
        EXPLORING,
        contents=[(name.lower(), name) for name in _SECTIONS if claims or name != "Settings"],
        settings=settings,
        settings_said=[*sensitivity.sentences(claims), sensitivity.SAID] if claims else [],
        preface=tables.preface(frame, plan),
        warnings=warnings,
        pages=parts,
        leaderboard_said=SAID,
        statement=tables.statement(headline_of(frame)),
        steady=stability.sentence(pivots),
        stability_said=stability.SAID,
        claims=said(int(frame["seed"].nunique())),
        figures=figures,
        beside=beside,
        figures_said=f"{left_out} more in the folder heatmaps." if left_out else "" if drawn else NO_FIGURES,
        method=method(headline_of(frame)),
        data=Markup(embedded(data)),
    )


def _static(pivot: Pivot) -> dict[str, Any]:
    """What stands on the page without a script."""
    page = pivot.page
    steady = stability.stability_block(pivot)
    found = with_choices(page, [*attacks.worst_blocks(pivot, tables.MOST_COLUMNS), *attacks.regret_blocks(pivot)])
    caught = list(with_choices(page, detection.detection_blocks(pivot)))
    return {
        "about": ", ".join(value_label(f, v) for f, v in page.about.items()),
        "leaderboard": block_table(next(with_choices(page, [leaderboard(pivot)]))),
        "by_rule": (by_rule(page.by_row) + chosen_for(page)).strip(),
        "privacy": of_tables.sentence(page.cells),
        "tables": [block_table(block) for block in [*found, *caught]],
        "stability": block_table(next(with_choices(page, [steady]))) if steady else "",
        "detection_said": detection.SAID if caught else "",
        "comparisons": _comparisons(pivot),
    }


def _data(
    frame: pd.DataFrame, plan: Mapping[str, Any], pivots: Sequence[Pivot], used: int
) -> tuple[dict[str, Any], int]:
    """The explorer's data and how many bytes the file then has; the pages share the room."""
    commands = rerun(plan, frame[frame["status"] != "missing"])
    pages: list[dict[str, Any]] = []
    used += 100_000  # style, script, the rest of the text
    for_metrics = _FOR_METRICS
    for left, pivot in zip(range(len(pivots), 0, -1), pivots, strict=True):
        behind = MOST_BYTES - _FOR_FIGURES - used - for_metrics
        made, size = choices(pivot, commands, for_metrics // left, max(0, behind) // left)
        pages.append(made)
        used += size
        for_metrics -= min(for_metrics, sum(len(m["packed"]) for m in made["metrics"].values()))
    return {**common(headline_of(frame)), "pages": pages}, used


def _figures_within(drawn: Mapping[str, bytes], room: int) -> tuple[list[Markup], int]:
    """Those that fit into so many bytes of text, and how many do not."""
    figures: list[Markup] = []
    for name in order(list(drawn)):
        figure = image(name, drawn[name], name.replace("_", ", ").replace("-", " "))
        if len(figure) <= room:
            room -= len(figure)
            figures.append(figure)
    return figures, len(drawn) - len(figures)


def _comparisons(pivot: Pivot) -> Markup:
    """Pairs of rules by accuracy, those told apart first, then by how far they are apart."""
    plain = pivot.pooled.page
    values, columns = pivot.pooled.by_seed(metric_column("accuracy"), plain.attacks)
    if not values.size or len(plain.rows) < 2:
        return Markup("<p>A single rule: nothing to compare.</p>")
    pairs = compare(values)
    if pairs.n.max(initial=0) < LEAST_SEEDS:
        return Markup("<p>{} All pairs: tables/comparisons.csv.</p>").format(said(plain.seeds))
    mean, claimed = pairs.differences.mean(-1), pairs.claimed
    keys = [
        (not claimed[i, j], -abs(mean[i, j]), i, j)
        for i in range(len(columns))
        for j in range(len(pairs.first))
        if pairs.n[i, j] >= LEAST_SEEDS and mean[i, j] == mean[i, j]
    ]
    rows = []
    for unclaimed, _, i, j in islice(sorted(keys), _MOST_PAIRS):
        column, a, b = columns[i], plain.rows[pairs.first[j]], plain.rows[pairs.second[j]]
        fields = (*plain.settings, *plain.levels)
        texts = [value_label(f, v) for f, v in zip(fields, (*column.setting, *column.level), strict=False)]
        where = ", ".join([attack_label(column.attack, plain.classes), *texts])
        verdict = "not told apart" if unclaimed else aggregator_label(a if mean[i, j] > 0 else b)
        rows.append(
            [
                *(f"{aggregator_label(a)} minus {aggregator_label(b)}", where, number(mean[i, j])),
                *(f"{pairs.p[i, j]:.2g}", f"{pairs.corrected[i, j]:.2g}", str(pairs.n[i, j]), verdict),
            ]
        )
    names = ["rules", "attack", f"difference ({POINTS})", "p", "p corrected", "seeds", "better"]
    text = plain_table(f"Accuracy: {len(rows)} of {len(keys)} pairs, the clearest first", names, rows)
    return text + Markup("<p>All pairs and tests: tables/comparisons.csv.</p>")
