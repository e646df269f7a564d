"""A reproduction as text: published beside ours with tolerance and verdict, as Markdown, CSV and LaTeX."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from flipbench.papers.model import UNITS, Number, Paper, Table
from flipbench.papers.results import Result, TableResult
from flipbench.papers.verdicts import (
    FAILS,
    HOLDS,
    IN_MEANS,
    MISSED,
    NOT_RUN,
    REPRODUCED,
    ROUNDING,
    UNFINISHED,
    UNJUDGED,
    Tested,
    Verdict,
)
from flipbench.report.tables import summary
from flipbench.report.tables.csv_format import csv_text
from flipbench.report.tables.latex import NEEDS, Labels, tex_comment
from flipbench.report.tables.markdown import chosen_markdown, md_text
from flipbench.report.tables.model import DASH, Block, Entry

HEADS = ("published", "ours", "n", "difference", "reproduced if", "verdict")
CLAIM_HEADS = ("comparison", "left less right", "n", "p", "verdict")
CLAIM_WORDS = (HOLDS, IN_MEANS, FAILS, UNFINISHED, NOT_RUN)
EXPLANATION = (
    "Ours: mean over n seeds ± half width of its 95 % Student interval. Difference: ours less published. Reproduced: "
    "our mean is where the last column but one says, fixed before the run; within rounding: outside by no more than "
    "half a unit of the last printed digit."
)
CLAIMS_EXPLANATION = (
    "Left less right: of the same seeds, with its 95 % interval; p: paired t test, Holm's correction over all strict "
    "comparisons of the paper. Holds: significant (of about the same, at least, at most: the whole interval within the "
    "margin); holds in the means: the means alone say so."
)


def headline(result: Result) -> str:
    """The verdict on the paper in one line."""
    if result.paper.changed is not None:
        return f"No verdict: {result.paper.changed}."
    own = [t for t in result.tables if t.table.kind == "published"]
    count = Counter(v.word for t in own for _, v in t.numbers)
    claims = Counter(word for t in own for _, _, word in t.claims)
    order = (REPRODUCED, ROUNDING, MISSED, UNFINISHED, NOT_RUN, UNJUDGED)
    parts = [f"{count[w]} {w}" for w in order if count[w]]
    line = f"{result.word[0].upper()}{result.word[1:]}. Numbers: {', '.join(parts) or 'none'}."
    if claims:
        line += f" Claims: {', '.join(_counted(claims[w], w) for w in CLAIM_WORDS if claims[w])}."
    waiting = sum(v.word == UNFINISHED for t in result.tables if t.table.kind != "published" for _, v in t.numbers)
    if waiting:
        line += f" Of experiments and extensions of ours {waiting} numbers are unfinished."
    return f"{line} {result.paper.caveat}".rstrip()


def _counted(number: int, word: str) -> str:
    """``1 holds``, ``2 hold``."""
    return f"{number} {word if number == 1 else word.replace('holds', 'hold').replace('fails', 'fail')}"


def markdown(result: Result, frame: pd.DataFrame, plan: Mapping[str, Any]) -> str:
    """Everything as GitHub's Markdown."""
    paper, md = result.paper, md_text
    parts = [f"# {md(paper.title)}", f"**{md(headline(result))}**", md(paper.paper), f"Source: {md(paper.source)}"]
    parts += [md(line) for line in summary.preface(frame, plan)]
    parts += [EXPLANATION]
    for table in result.tables:
        parts.append(chosen_markdown(number_block(table, paper), _said(table.table, paper)).rstrip("\n"))
        if table.claims:
            parts.append(chosen_markdown(claim_block(table), CLAIMS_EXPLANATION).rstrip("\n"))
    if paper.choices:
        parts += ["### What the paper leaves open", "\n".join(_choices(paper))]
    return "\n\n".join(parts) + "\n"


def _choices(paper: Paper) -> Iterable[str]:
    for choice in paper.choices:
        why = f" {choice.why}" if choice.why else ""
        yield f"- {md_text(choice.open)}: **{md_text(choice.taken)}**.{md_text(why)}"


def latex(result: Result) -> str:
    """The tables for ``\\input``; need booktabs."""
    parts = [f"% {tex_comment(result.paper.title)}: {tex_comment(headline(result))}\n{NEEDS}"]
    labels = Labels(result.paper.name)
    for table in result.tables:
        below = f"{_said(table.table, result.paper)} {EXPLANATION}"
        parts.append(labels.table(number_block(table, result.paper), below))
        if table.claims:
            parts.append(labels.table(claim_block(table), CLAIMS_EXPLANATION, title(table.table)))
    return "\n\n".join(parts) + "\n"


def terminal(result: Result) -> str:
    """Published beside ours in aligned columns."""
    parts = [result.paper.title, headline(result)]
    for table in result.tables:
        blocks = [number_block(table, result.paper), *([claim_block(table)] if table.claims else [])]
        parts += [aligned(block) for block in blocks]
    return "\n\n".join(parts)


def aligned(block: Block) -> str:
    """A block as lines, each column as wide as it needs."""
    lines = [[block.corner, *block.header[0]], *([name, *(e.text for e in row)] for name, row in block.rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = ["  ".join(_fit(c, widths[i], i in (0, len(widths) - 1)) for i, c in enumerate(line)) for line in lines]
    return "\n".join([block.heading, *(line.rstrip() for line in text)])


def _fit(text: str, width: int, left: bool) -> str:
    return text.ljust(width) if left else text.rjust(width)


def number_block(result: TableResult, paper: Paper) -> Block:
    """One line a number."""
    rows = []
    labels = {h.name: h.label for h in (*result.table.rows, *result.table.columns)}
    for number, verdict in result.numbers:
        name = f"{labels[number.row]}, {labels[number.column]}"
        rows.append((name, tuple(Entry(text) for text in number_texts(number, verdict, result.table))))
    heading = title(result.table) + (" (no verdict)" if paper.changed else "")
    return Block(heading, ("",), (HEADS,), tuple(rows), (), corner="", text=2)


def title(table: Table) -> str:
    """The heading of a table; ours are named as such."""
    kind = {"experiment": "Experiment: ", "extension": "Our extension: "}.get(table.kind, "")
    return f"{kind}{table.title or table.name}"


def number_texts(number: Number, verdict: Verdict, table: Table) -> tuple[str, ...]:
    """Published, ours, n, difference, tolerance, verdict."""
    digits = table.decimals + 1  # one more than printed, so that a rounded difference can be seen
    published = DASH if number.value is None else f"{number.value:.{table.decimals}f}"
    if number.sd is not None:
        published += f" (sd {number.sd:.{table.decimals}f})"
    own = DASH
    if verdict.n:
        own = _shown(verdict.mean, digits)
        if not math.isnan(verdict.high):
            own += f" ± {_shown(verdict.high - verdict.mean, digits)}"
    n = f"{verdict.n}" if verdict.n == verdict.planned else f"{verdict.n} of {verdict.planned}"
    difference = DASH if math.isnan(verdict.difference) else _shown(verdict.difference, digits, "+")
    word = f"{verdict.word}: {verdict.why}" if verdict.why else verdict.word
    return published, own, n, difference, band_text(verdict.allowed, digits), word


def _shown(value: float, digits: int, sign: str = "") -> str:
    """A number with so many decimals; no negative zero."""
    return f"{round(value, digits) + 0.0:{sign}.{digits}f}"


def band_text(allowed: tuple[float, float] | None, digits: int) -> str:
    """Between what ours counts as reproduced."""
    if allowed is None:
        return DASH
    low, high = (_shown(end, digits) for end in allowed)
    if math.isinf(allowed[1]):
        return f"at least {low}"
    return f"at most {high}" if math.isinf(allowed[0]) else f"{low} to {high}"


def claim_block(result: TableResult) -> Block:
    """One line a comparison; the claim's own verdict stands in its first."""
    rows = []
    for claim, steps, word in result.claims:
        for i, step in enumerate(steps):
            says = f"{claim.says}: {word}" if i == 0 else ""
            rows.append((says, tuple(Entry(text) for text in _step_texts(step, result.table, claim.margin))))
    return Block("Claims", ("",), (CLAIM_HEADS,), tuple(rows), (), corner="claim", text=1)


def _step_texts(step: Tested, table: Table, margin: float) -> tuple[str, ...]:
    digits = table.decimals + 1
    comparison = str(step.step) + (f" (margin {margin:g})" if step.step.sign in ("~", "<=", ">=") and margin else "")
    difference = DASH
    if step.n:
        difference = _shown(step.difference, digits, "+")
        if not math.isnan(step.low):
            difference += f" [{_shown(step.low, digits, '+')}, {_shown(step.high, digits, '+')}]"
    p = DASH if math.isnan(step.corrected) else f"{step.corrected:.2g}"
    return comparison, difference, str(step.n), p, step.word


def numbers_csv(result: Result) -> str:
    """One line a number, unrounded, in the table's unit."""
    names = ["paper", "table", "kind", "row", "column", "metric", "rounds", "unit", "published", "published_sd"]
    names += ["published_runs", "ours", "sd", "low", "high", "n", "planned", "difference", "allowed_low"]
    names += ["allowed_high", "verdict", "why"]
    lines = []
    for compared in result.tables:
        t = compared.table
        for number, v in compared.numbers:
            low, high = v.allowed or (None, None)
            about = [result.paper.name, t.name, t.kind, number.row, number.column, str(number.metric)]
            about += [str(number.window), t.unit]
            measured = [number.value, number.sd, t.runs, v.mean, v.sd, v.low, v.high, v.n, v.planned, v.difference]
            lines.append([*about, *measured, low, high, v.word, v.why])
    return csv_text(names, lines)


def claims_csv(result: Result) -> str:
    """One line a comparison of a claim."""
    names = ["paper", "table", "claim", "claim_verdict", "comparison", "margin", "difference", "low", "high", "n"]
    names += ["p", "p_holm", "verdict"]
    lines = []
    for compared in result.tables:
        for claim, steps, word in compared.claims:
            for s in steps:
                about = [result.paper.name, compared.table.name, claim.says, word, str(s.step), claim.margin]
                lines.append([*about, s.difference, s.low, s.high, s.n, s.p, s.corrected, s.word])
    return csv_text(names, lines)


def _said(table: Table, paper: Paper) -> str:
    metrics = list(dict.fromkeys(f"{n.metric}, {n.window}" for n in table.numbers))
    unit = {1.0: "shares from 0 to 1", 100.0: "per cent, differences in percentage points"}[UNITS[table.unit]]
    sentences = [table.about] if table.about else []
    if table.after_looking:
        sentences.append("Thought of after the numbers above were seen.")
    sentences.append(f"In {unit}: {'; '.join(metrics)}.")
    if table.runs:
        sentences.append(f"Published: mean of {table.runs} run{'s' * (table.runs > 1)}.")
    if paper.changed:
        sentences.append(f"Nothing is judged: {paper.changed}.")
    return " ".join(sentences)
