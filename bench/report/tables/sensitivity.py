"""Which comparisons of rules hold in every setting of a grid, as tables: the reversals by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from flipbench.analysis.columns import WORST
from flipbench.analysis.settings.forms import FORM
from flipbench.analysis.settings.sensitivity import TRIALS, Claim, Reversal, strongest, table
from flipbench.report.tables.csv_format import csv_text
from flipbench.report.tables.model import Block, Entry, number
from flipbench.report.tables.tuned_settings import name_of, value_of
from flipbench.spec.cell import CLEAN
from flipbench.spec.labels import aggregator_label, attack_label, labelled, value_label
from flipbench.spec.metric_names import POINTS

MOST = 25  # claims of a table; sensitivity.csv has all
SAID = (
    "A setting is a value of every varying field that is not the attack's, and of a tuned grid its form. The claim is "
    "stated for the rule that is better in more settings; significant: the tables tell the two apart there. Worst "
    "case: each rule under its own worst attack, without a test. sensitivity.csv has every comparison."
)


def blocks(claims: Sequence[Claim]) -> Iterator[Block]:
    """A table of the reported cells and one of the trials, each with the claims that are reversed in some setting."""
    for source in dict.fromkeys(c.source for c in claims):
        own = [c for c in claims if c.source == source]
        if shown := strongest(own)[:MOST]:
            many = f", the {len(shown)} strongest" if len(shown) < sum(bool(c.reversals) for c in own) else ""
            what = "on validation examples, in the trials" if source == TRIALS else "of the reported cells"
            yield Block(
                f"Comparisons {what} that some settings reverse{many} (accuracy)",
                ("",),
                (("under", "holds", "significant", f"reversed in ({POINTS})"),),
                tuple((_pair(c), tuple(map(Entry, _entries(c)))) for c in shown),
                (("*", "significantly"),) if any(r.claimed for c in shown for r in c.reversals) else (),
                corner="claim",
                text=4,
            )


def sentences(claims: Sequence[Claim]) -> list[str]:
    """How many comparisons hold in all settings, how many do not; one sentence for each source."""
    found = []
    for source in dict.fromkeys(c.source for c in claims):
        own = [c for c in claims if c.source == source]
        reversed_ = [c for c in own if c.reversals]
        against = sum(c.contradicted for c in own)
        where = "In the trials (validation examples)" if source == TRIALS else "Among the reported cells"
        text = f"{where} {len(own) - len(reversed_)} of {len(own)} comparisons of two rules hold in every setting"
        text += f", {len(reversed_)} are reversed in some"
        text += f"; {against} of these are significant both ways" if against else ""
        found.append(f"{text}.")
    return found


def csv(claims: Sequence[Claim]) -> str | None:
    """Every claim; None where the grid varies no setting."""
    if not claims:
        return None
    rows = table(claims)
    lines = [[None if v != v else v for v in row] for row in rows.astype(object).to_numpy().tolist()]
    return csv_text(list(rows.columns), lines)


def _pair(claim: Claim) -> str:
    return f"{aggregator_label(claim.better)} better than {aggregator_label(claim.worse)}"


def _entries(claim: Claim) -> list[str]:
    under = {CLEAN: "no attack", WORST: "worst case"}.get(claim.attack) or attack_label(claim.attack)
    level = labelled([f for f, _ in claim.level], [v for _, v in claim.level])
    page = [value_label(f, v) for f, v in claim.about.items()]
    of = f"of {claim.settings}"
    tested = "not tested" if claim.attack == WORST else f"{claim.claimed} {of}"
    shown = "; ".join(map(_reversal, claim.reversals[:4]))
    more = f"; and {len(claim.reversals) - 4} more" if len(claim.reversals) > 4 else ""
    return [", ".join([under, *level, *page]), f"{claim.holds} {of}", tested, shown + more]


def _reversal(reversal: Reversal) -> str:
    named = ", ".join(_said(f, v) for f, v in reversal.setting)
    return f"{named} (by {number(reversal.difference)}{'*' if reversal.claimed else ''})"


def _said(name: str, value: Any) -> str:
    return str(value) if name == FORM else f"{name_of(name)} {value_of(name, value)}"
