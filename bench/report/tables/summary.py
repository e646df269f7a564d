"""Tables as text: every finished cell as CSV; the summary as Markdown, LaTeX, CSV and lines for a terminal.

Pure functions: equal cells give equal bytes. Whatever a grid or a plug-in is called, its name stays text: no markup,
no macro, no formula.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import pandas as pd

from flipbench.analysis.columns import columns_of
from flipbench.analysis.comparisons import said
from flipbench.analysis.pages import Page
from flipbench.analysis.pivot import Pivot
from flipbench.analysis.worst_case import overview_only
from flipbench.report.tables import attacks, cost_and_influence
from flipbench.report.tables.csv_format import csv_parts, csv_text
from flipbench.report.tables.model import Block, Entry, about_attack, blocks, sections
from flipbench.spec.cell import FIELDS
from flipbench.spec.labels import (
    aggregator_label,
    dataset_label,
    field_label,
    fields_line,
    is_nothing,
    printable,
    value_label,
)

MOST_COLUMNS = 9  # of a printed table: the clean twins and 4 malicious fractions x 2 flip rates
STATEMENT = (
    "Mean ± half width of the 95 % Student interval over seeds, of the last round, in %. Best of each column {best}. "
    "Clean: the same experiment without the attack, with the declared f less the sybils, if any; of twins with several "
    "declared f the mean, and a note names them. "
    "Damage: clean minus attacked, seed by seed. "
    "Mean of the last 5 evaluated rounds: of those in the second half of training. "
    "Worst case: the attack with the least mean, and that mean's interval; never bold where an attack or seeds are "
    "missing that others have. "
    "–: the rule is infeasible; ?: no number (yet)."
)
_UNSHOWN = ("classes", "traceback")


def cells_csv(tidy: pd.DataFrame) -> str:
    """One line a finished cell: key, split, every fact, every metric, flips, influence, seconds; shares from 0 to 1.

    Args:
        tidy: of `analysis.metrics.evaluate`.
    """
    return "".join(cells_parts(tidy))


def cells_parts(tidy: pd.DataFrame) -> Iterator[str]:
    """`cells_csv` some thousand lines at a time: of a large grid it has a hundred megabytes."""
    names = [c for c in tidy.columns if c not in _UNSHOWN]
    return csv_parts({name: _plain_column(name, tidy[name]) for name in names})


def summary_csv(pivots: Sequence[Pivot]) -> str:
    """One line a square of the summary, for further work; shares from 0 to 1.

    ``of_attack``: the attack that the table is about, whose source and target classes clean rows are measured by too;
    empty where the table has all attacks.
    """
    found = [pivot.page for pivot in pivots]
    varying = [f for f in FIELDS if any(f in (*p.about, *p.settings, *p.levels) for p in found)]
    facts = list(dict.fromkeys(["dataset", "partition", *varying]))
    numbers = ["state", "mean", "sd", "low", "high", "n", "planned", "reason"]
    lines = []
    for pivot, page in zip(pivots, found, strict=True):
        for shown, table in sections(pivot):
            about_one = about_attack(shown, columns_of(table))
            for square in table.to_dict("records"):
                column = square["column"]
                has = {**page.constant, **page.about}
                has |= dict(zip(page.settings, column.setting, strict=True))
                has |= dict.fromkeys(page.levels) | dict(zip(page.levels, column.level, strict=False))
                has["dataset"] = dataset_label(str(has["dataset"]))
                told = [column.attack in page.adaptive, *(has.get(f) for f in facts)]
                lines.append(
                    [shown.name, square["aggregator"], column.attack, about_one, *told, *(square[n] for n in numbers)]
                )
    return csv_text(["metric", "aggregator", "attack", "of_attack", "adaptive", *facts, *numbers], lines)


def markdown(frame: pd.DataFrame, pivots: Sequence[Pivot], plan: Mapping[str, Any], warnings: Sequence[str]) -> str:
    """The summary as GitHub's Markdown."""
    parts = [
        f"# {md_text(title(plan))}",
        *(md_text(line) for line in preface(frame, plan)),
        STATEMENT.format(best="bold"),
    ]
    for block in cost_and_influence.cost_blocks(pivots):
        parts += [f"### {md_text(block.heading)}", _md_table(block), md_text(cost_and_influence.COST_SAID)]
    for pivot in pivots:
        page = pivot.page
        parts += [f"## {md_text(about(page))}"] if page.about else []
        parts += [said(page.seeds).format(tied="Underlined")] if len(page.rows) > 1 else []
        parts.append(f"All: {md_text(fields_line(page.constant))}.")
        for block in _blocks(pivot):
            parts += [f"### {md_text(block.heading)}", _md_table(block)]
            parts += ["<br>".join(f"{letter}: {md_text(text)}" for letter, text in block.notes)] if block.notes else []
        for block in cost_and_influence.influence_blocks(pivot):
            parts += [f"### {md_text(block.heading)}", _md_table(block), md_text(cost_and_influence.INFLUENCE_SAID)]
    if warnings:
        parts += ["## Guards", "\n".join(f"- {md_text(text)}" for text in warnings)]
    return "\n\n".join(parts) + "\n"


def latex(pivots: Sequence[Pivot], plan: Mapping[str, Any]) -> str:
    """The summary as LaTeX tables for ``\\input``: booktabs, numbers as siunitx's ``\\num``."""
    parts = [f"% {_tex_comment(title(plan))}\n{_NEEDS}"]
    costs = cost_and_influence.cost_blocks(pivots)
    parts += [_tex_table(b, f"{b.heading}. {cost_and_influence.COST_SAID}") for b in costs]
    for pivot in pivots:
        page = pivot.page
        facts = fields_line({**page.about, **page.constant})
        claims = f" {said(page.seeds).format(tied='Underlined')}" if len(page.rows) > 1 else ""
        for place, block in enumerate(_blocks(pivot)):
            caption = f"{block.heading}. {STATEMENT.format(best='bold')}{claims}" if place == 0 else f"{block.heading}."
            parts.append(_tex_table(block, f"{caption} All: {facts}." if place == 0 else caption))
        blocks_here = cost_and_influence.influence_blocks(pivot)
        parts += [_tex_table(b, f"{b.heading}. {cost_and_influence.INFLUENCE_SAID}") for b in blocks_here]
    return "\n\n".join(parts) + "\n"


def terminal(pivots: Sequence[Pivot], width: int, names: Sequence[str] = ("accuracy",)) -> str:
    """The summary as plain lines of at most ``width`` characters, where the names of the rules leave room."""
    parts = []
    for pivot in pivots:
        page = pivot.page
        parts += [about(page)] if page.about else []
        label = max([len("aggregator"), *(len(field_label(f)) for f in (*page.settings, *page.levels))])
        label = max([label, *(min(len(aggregator_label(r)), 40) for r in page.rows)])
        if names[0] == "accuracy":
            whole = list(attacks.worst_blocks(pivot, len(page.cells), named=False))
            most = max(1, (width - label) // _cell(whole)) if whole else 1
            parts += [_lines(b, label, _cell(whole)) for b in attacks.worst_blocks(pivot, most, named=False)]
        if overview_only(page):
            parts.append(f"{len(page.attacks)} attacks one by one: see tables/summary.md")
            continue
        for shown, table in sections(pivot, names):
            cell = _cell(blocks(pivot, shown, table, len(table) + 1))
            parts += [_lines(b, label, cell) for b in blocks(pivot, shown, table, max(1, (width - label) // cell))]
    return "\n\n".join(parts)


def title(plan: Mapping[str, Any]) -> str:
    """The grid's title, else its name."""
    return printable(str(plan.get("title") or plan.get("grid") or "results"))


def about(page: Page) -> str:
    """The facts that tell a page from the others."""
    return ", ".join(value_label(f, v) for f, v in page.about.items())


def preface(frame: pd.DataFrame, plan: Mapping[str, Any]) -> list[str]:
    """What was run, how far it got, and on what: the provenance of every number below."""
    count = frame["status"].value_counts()
    other = [("infeasible", "infeasible"), ("failed", "failed"), ("missing", "not run yet")]
    told = [f"{int(count.get('done', 0))} of {len(frame)} cells done"]
    told += [f"{int(count[s])} {text}" for s, text in other if count.get(s, 0)]
    lines = [f"Grid {printable(str(plan.get('grid')))}: {', '.join(told)}."]
    if plan.get("command"):
        lines.append(f"Command: {printable(str(plan['command']), 1000)}")
    done = frame[frame["status"] == "done"]
    made = []
    for name in ("flipbench", "commit", "python", "torch", "device", "platform"):
        values = sorted({str(v) for v in done[f"provenance_{name}"].unique() if not is_nothing(v)})
        made += [f"{name} {printable(' and '.join(values))}"] if values else []
    splits = sorted({str(s) for s in done["split"].unique() if not is_nothing(s)})
    made += [f"split {printable(' and '.join(splits))}"] if splits else []
    return [*lines, f"Made with {', '.join(made)}."] if made else lines


def _blocks(pivot: Pivot) -> Iterable[Block]:
    """What a defence is worth first; then every attack, side by side where they are many."""
    yield from attacks.worst_blocks(pivot, MOST_COLUMNS)
    yield from attacks.regret_blocks(pivot)
    yield from attacks.declared_blocks(pivot)
    yield from attacks.overview_blocks(pivot)
    if not overview_only(pivot.page):
        for shown, table in sections(pivot):
            yield from blocks(pivot, shown, table, MOST_COLUMNS)


def chosen_markdown(block: Block, told: str) -> str:
    """One table of one's own as GitHub's Markdown."""
    notes = ["<br>".join(f"{letter}: {md_text(text)}" for letter, text in block.notes)] if block.notes else []
    return "\n\n".join([f"### {md_text(block.heading)}", _md_table(block), *notes, md_text(told)]) + "\n"


def chosen_latex(block: Block, told: str) -> str:
    """One table of one's own for ``\\input``: booktabs, numbers as siunitx's ``\\num``."""
    return f"{_NEEDS}\n{_tex_table(block, f'{block.heading}. {told}')}\n"


def _plain_column(name: str, column: pd.Series[Any]) -> Any:
    """A column of the tidy frame as it is written: each name looked at once, numbers as they are."""
    if column.dtype.kind in "biuf":
        return column
    show: Callable[[Any], Any] = lambda value: printable(value, 2000) if isinstance(value, str) else value  # noqa: E731
    if name in {"dataset", "task"}:
        show = lambda value: dataset_label(str(value))  # noqa: E731
    if name == "mapping":
        show = lambda value: "" if value is None else " ".join(f"{s}>{t}" for s, t in value)  # noqa: E731
    values = column.tolist()
    if set(map(type, values)) <= {str, tuple, type(None)}:
        shown = {v: show(v) for v in set(values)}
        return list(map(shown.__getitem__, values))
    known: dict[tuple[type, Any], Any] = {}  # by type too: 1 and 1.0 are written apart
    return [known[k] if (k := (type(v), v)) in known else known.setdefault(k, show(v)) for v in values]


_NEEDS = (
    "% Needs \\usepackage{booktabs,graphicx,siunitx} and, for bold numbers and the plus-minus sign,\n"
    "% \\sisetup{separate-uncertainty=true, reset-text-series=false, text-series-to-math=true}."
)
_MD = {c: f"\\{c}" for c in "\\`*_[]|~#!"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;", "$": "&#36;"}
_TEX = {
    **{c: f"\\{c}" for c in "#$%&_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''"},
    **{"±": r"$\pm$", "→": r"$\to$", "↔": r"$\leftrightarrow$", "–": "--", "…": r"\ldots{}", "†": r"$^\dagger$"},
}


def md_text(text: str) -> str:
    """Text that GitHub's Markdown shows as it is."""
    return "".join(_MD.get(c, c) for c in text)


def _tex(text: str) -> str:
    return "".join(_TEX.get(c, c if c != "\N{REPLACEMENT CHARACTER}" else "?") for c in text)


def _tex_comment(text: str) -> str:
    return printable(text)  # one line: nothing after it leaves the comment


def _md_table(block: Block) -> str:
    """Header rows joined into the one that Markdown has."""
    heads = [", ".join(dict.fromkeys(t for t in column if t)) for column in zip(*block.header, strict=True)]
    corner = " \\ ".join(filter(None, [block.corner, ", ".join(filter(None, block.levels))]))
    aligned = ["---:"] * (block.width - block.text) + ["---"] * block.text
    lines = [[md_text(corner), *map(md_text, heads)], ["---", *aligned]]
    lines += [[md_text(name), *map(_md_entry, entries)] for name, entries in block.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _md_entry(entry: Entry) -> str:
    text = f"**{md_text(entry.text)}**" if entry.best else md_text(entry.text)
    text = f"<ins>{text}</ins>" if entry.tied else text  # GitHub's underline
    return f"{text} <sup>{entry.note}</sup>" if entry.note else text


def _groups(texts: Sequence[str]) -> list[tuple[str, int]]:
    """Equal neighbours as (text, how many)."""
    return [(text, len(list(same))) for text, same in groupby(texts)]


def _tex_table(block: Block, caption: str) -> str:
    """A table environment; columns of a wide table in several pieces below one another, none wider than the text."""
    lines = [
        r"\begin{table}",
        r"\centering\scriptsize\setlength{\tabcolsep}{3pt}\renewcommand{\arraystretch}{1.25}",
        rf"\caption{{{_tex(caption)}}}",
        r"\vspace{2pt}",
    ]
    for place, part in enumerate(_pieces(block)):
        lines += [r"\par\medskip"] if place else []
        lines.append(_FITTED + "\n".join(_tabular(block, part)) + "}")
    lines += [rf"\par\smallskip\textsuperscript{{{_tex(a)}}}\,{_tex(text)}" for a, text in block.notes]
    return "\n".join([*lines, r"\end{table}"])


_MOST_TEX = 6  # columns beside one another: with intervals in script size as wide as the text of an article
_FITTED = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{"


def _pieces(block: Block) -> list[list[int]]:
    """Columns in pieces of at most `_MOST_TEX`, cut between the outermost groups where that is possible."""
    found: list[list[int]] = [[]]
    for _, same in groupby(range(block.width), key=lambda j: block.header[0][j] if len(block.header) > 1 else j):
        group = list(same)
        if found[-1] and len(found[-1]) + len(group) > _MOST_TEX:
            found.append([])
        while len(group) > _MOST_TEX:
            found[-1] += group[:_MOST_TEX]
            group = group[_MOST_TEX:]
            found.append([])
        found[-1] += group
    return [part for part in found if part]


def _tabular(block: Block, part: Sequence[int]) -> list[str]:
    numbers = sum(j < block.width - block.text for j in part)
    lines = [rf"\begin{{tabular}}{{l{'r' * numbers}{'l' * (len(part) - numbers)}}}", r"\toprule"]
    for place, (name, header) in enumerate(zip(block.levels, block.header, strict=True)):
        texts = [header[j] for j in part]
        if place == len(block.levels) - 1:
            corner = " \\ ".join(filter(None, [block.corner, name]))
            lines.append(" & ".join([_tex(corner), *map(_tex, texts)]) + r" \\")
            continue
        groups, at, rules = _groups(texts), 2, []
        for text, count in groups:
            rules += [rf"\cmidrule(lr){{{at}-{at + count - 1}}}"] if text and count > 1 else []
            at += count
        spans = [rf"\multicolumn{{{n}}}{{c}}{{{_tex(t)}}}" if n > 1 else _tex(t) for t, n in groups]
        lines += [" & ".join([_tex(name), *spans]) + r" \\", *([" ".join(rules)] if rules else [])]
    lines.append(r"\midrule")
    lines += [
        " & ".join([_tex(name), *(_tex_entry(entries[j]) for j in part)]) + r" \\" for name, entries in block.rows
    ]
    return [*lines, r"\bottomrule", r"\end{tabular}"]


_NUMBER = re.compile(r"(-?\d+\.\d+( ± \d+\.\d+)?)(?=$|, )")


def _tex_entry(entry: Entry) -> str:
    r"""A number as ``\num{90.1 +- 0.5}``, which siunitx formats as the paper wants it; what follows it as text."""
    number = _NUMBER.match(entry.text)
    text = _tex(entry.text)
    if number:
        text = rf"\num{{{number[0].replace('±', '+-')}}}{_tex(entry.text[number.end() :])}"
    text = rf"\textbf{{{text}}}" if entry.best else text
    text = rf"\underline{{{text}}}" if entry.tied else text
    return text + (rf"\textsuperscript{{{entry.note}}}" if entry.note else "")


_WIDEST = 24  # characters of a column in a terminal; a longer name is cut


def _cell(whole: Sequence[Block]) -> int:
    """Characters that a column of these tables needs, the space between two included."""
    entries = [len(_short(e)) for block in whole for _, line in block.rows for e in line]
    heads = [len(text) for block in whole for text in block.header[-1]]
    return min(_WIDEST, max([*entries, *(h + 1 for h in heads), 8]) + 1)


def _lines(block: Block, label: int, cell: int) -> str:
    """Aligned columns; the best of each has a star, what cannot be told from it a tilde: a terminal may lack bold."""
    lines = [block.heading]
    for name, texts in zip(block.levels, block.header, strict=True):
        if name == block.levels[-1]:
            # One short of the column's end: there the numbers have their star or footnote.
            named = "".join(f"{_cut(text, cell - 2):>{cell - 1}} " for text in texts)
        else:
            named = "".join(f" {_cut(t, n * cell - 1):^{n * cell - 1}}" for t, n in _groups(texts))
        lines.append(f"{printable(name, label):<{label}}{named}".rstrip())
    lines += [_row(name, [_short(e) for e in entries], label, cell) for name, entries in block.rows]
    return "\n".join([*lines, *(f"  {letter}: {text}" for letter, text in block.notes)])


def _row(name: str, cells: Sequence[str], label: int, cell: int) -> str:
    return (printable(name, label).ljust(label) + "".join(c.rjust(cell) for c in cells)).rstrip()


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 1] + "…"


def _short(entry: Entry) -> str:
    """One character behind the number, star, tilde or space, so that numbers stand below each other; then the note."""
    mark = "*" if entry.best else "~" if entry.tied else " "
    return entry.text.replace(" ± ", " ±") + mark + entry.note
