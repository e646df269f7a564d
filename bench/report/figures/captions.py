"""The sentences that several figures share: subtitles and captions, which say what is needed to read a figure alone."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from flipbench.analysis.caveats import MARK
from flipbench.analysis.caveats import of_cells as caveats_of
from flipbench.analysis.caveats import text as of_some
from flipbench.analysis.metric_columns import MetricColumn
from flipbench.analysis.pages import Page, stamped_note
from flipbench.analysis.pivot import several_f
from flipbench.analysis.settings.forms import FORM
from flipbench.analysis.squares import DONE
from flipbench.analysis.statistics import seed_plan
from flipbench.analysis.worst_case import Place
from flipbench.privacy import of_tables
from flipbench.report.tables.attacks import place_label
from flipbench.report.tables.model import by_rule
from flipbench.report.tables.tuned_settings import sentence as chosen_for
from flipbench.spec.cell import CLEAN
from flipbench.spec.labels import ADAPTIVE, aggregator_label, dataset_label, value_label

_MOST = 3  # caveats that a caption has room for


def subtitle(page: Page) -> str:
    """Data set, partition, model, clients, rounds and seeds of a page."""
    fields = {**page.constant, **page.about}
    parts = [dataset_label(str(fields["dataset"]))] if "dataset" in fields else []
    parts += [value_label(f, fields[f]) for f in ("partition", "model") if f in fields]
    parts += [f"{fields[f]} {f}" for f in ("clients", "rounds") if f in fields]
    for name, text in (("malicious_fraction", "{} malicious"), ("flip_rate", "flip rate {}")):
        parts += [text.format(value_label(name, fields[name]))] if name in fields else []
    parts += [str(page.about[FORM])] if FORM in page.about else []
    if (plan := seed_plan()) is not None:
        return ", ".join([*parts, f"{plan.least} to {page.seeds} seeds, until decided"])
    return ", ".join([*parts, f"{page.seeds} seed{'s' * (page.seeds > 1)}"])


def at_place(title: str, page: Page, place: Place) -> str:
    """A title with the settings and levels that it holds for."""
    return ": ".join([title, *filter(None, [", ".join(place_label(page, place))])])


def of_squares(page: Page, metric: MetricColumn, table: pd.DataFrame, names: Iterable[str], worst: str = "") -> str:
    """The caption of a table of `analysis.pivot.Pivot.squares` or `analysis.worst_case`.

    Args:
        page, metric, table: of the squares.
        names: of attacks, as drawn.
        worst: the sentence on the worst case, where the table has it.
    """
    text = "Mean over seeds and, below it, ± half width of its 95 % interval, or both its ends"
    if (table["n"] <= 1).all():
        text = "One seed" if page.seeds == 1 or (table["n"] == 1).any() else "Mean over seeds"
    text += f", in {metric.unit}, {metric.when or page.headline.when}."
    attacks = table["attack"] if "attack" in table else table["column"].map(lambda c: c.attack)
    if (attacks == CLEAN).any():
        text += clean_twins(table)
    elif metric.damage:
        text += " Damage: clean twin minus attacked, same seed."
    text += worst
    if note := stamped_note(page, metric, attacks):
        text += f" {note[0].upper()}{note[1:]}."
    text += adaptive(names) + by_rule(page.by_row) + chosen_for(page) + private(page) + marked(table["caveat"])
    partly = (table["n"] > 0) & (table["n"] < table["planned"])
    return f"{text} n: seeds, where some are not done." if partly.any() else text


def marked(caveats: Iterable[str | None]) -> str:
    """What the squares with `analysis.caveats.MARK` have, each caveat once, as far as there is room."""
    texts = list(dict.fromkeys(filter(None, caveats)))
    more = f"; {len(texts) - _MOST} more in tables/summary.csv" if len(texts) > _MOST else ""
    return f" {MARK}: {'; or '.join(texts[:_MOST])}{more}." if texts else ""


def of_cells(page: Page, attacks: Iterable[str]) -> str:
    """The end of the caption of a figure without squares: what varies from rule to rule, and of which rules' cells,
    under some attacks or none, what must be known."""
    here = page.cells[(page.cells["status"] == DONE) & page.cells["attack"].isin([CLEAN, *attacks])]
    found = []
    for rule, own in here.groupby("aggregator", sort=False):
        if text := of_some(caveats_of(own).tolist(), len(own)):
            found.append(f"{aggregator_label(str(rule))}: {text}")
    return by_rule(page.by_row) + chosen_for(page) + private(page) + marked(found)


def private(page: Page) -> str:
    """What the ε of a page bounds, where it has any."""
    text = of_tables.sentence(page.cells)
    return f" {text}" if text else ""


def clean_twins(table: pd.DataFrame) -> str:
    """What the clean squares of a table are."""
    if several := ", ".join(map(str, several_f(table))):
        return f" clean: without the attack, mean over the declared f of the clean twins ({several})."
    return " clean: without the attack, with the declared f less the sybils, if any."


def adaptive(names: Iterable[str]) -> str:
    """What the mark of adaptive attacks means, where one of the names has it."""
    return f" {ADAPTIVE}: knows the rule it faces." if any(ADAPTIVE in name for name in names) else ""
