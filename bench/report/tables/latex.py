r"""Tables as LaTeX for ``\input``: booktabs, numbers as siunitx's ``\num``; names stay text, no macro."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

from flipbench.report.tables.model import Block, Entry, header_groups
from flipbench.spec.distinct_texts import printable

NEEDS = (
    "% Needs \\usepackage{booktabs,graphicx,siunitx} and, for bold numbers and the plus-minus sign,\n"
    "% \\sisetup{separate-uncertainty=true, reset-text-series=false, text-series-to-math=true}."
)
_TEX = {
    **{c: f"\\{c}" for c in "#$%&_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''"},
    **{"±": r"$\pm$", "→": r"$\to$", "↔": r"$\leftrightarrow$", "–": "--", "…": r"\ldots{}", "†": r"$^\dagger$"},
}


def chosen_latex(block: Block, explanation: str) -> str:
    """One table of one's own for ``\\input``: booktabs, numbers as siunitx's ``\\num``."""
    return f"{NEEDS}\n{tex_table(block, f'{block.heading}. {explanation}')}\n"


def tex_text(text: str) -> str:
    """Text without a macro, on one line."""
    return "".join(_TEX.get(c, c if c != "\N{REPLACEMENT CHARACTER}" else "?") for c in text)


def tex_comment(text: str) -> str:
    """Text for behind a ``%``."""
    return printable(text)  # one line: nothing after it leaves the comment


def tex_table(block: Block, caption: str) -> str:
    """A table environment; columns of a wide table in several pieces below one another, none wider than the text."""
    lines = [
        r"\begin{table}",
        r"\centering\scriptsize\setlength{\tabcolsep}{3pt}\renewcommand{\arraystretch}{1.25}",
        rf"\caption{{{tex_text(caption)}}}",
        r"\vspace{2pt}",
    ]
    for place, part in enumerate(_pieces(block)):
        lines += [r"\par\medskip"] if place else []
        lines.append(_FITTED + "\n".join(_tabular(block, part)) + "}")
    lines += [rf"\par\smallskip\textsuperscript{{{tex_text(a)}}}\,{tex_text(text)}" for a, text in block.notes]
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
            lines.append(" & ".join([tex_text(corner), *map(tex_text, texts)]) + r" \\")
            continue
        groups, at, rules = header_groups(texts), 2, []
        for text, count in groups:
            rules += [rf"\cmidrule(lr){{{at}-{at + count - 1}}}"] if text and count > 1 else []
            at += count
        spans = [rf"\multicolumn{{{n}}}{{c}}{{{tex_text(t)}}}" if n > 1 else tex_text(t) for t, n in groups]
        lines += [" & ".join([tex_text(name), *spans]) + r" \\", *([" ".join(rules)] if rules else [])]
    lines.append(r"\midrule")
    lines += [
        " & ".join([tex_text(name), *(_tex_entry(entries[j]) for j in part)]) + r" \\" for name, entries in block.rows
    ]
    return [*lines, r"\bottomrule", r"\end{tabular}"]


_NUMBER = re.compile(r"(-?\d+\.\d+( ± \d+\.\d+)?)(?=$|, )")


def _tex_entry(entry: Entry) -> str:
    r"""A number as ``\num{90.1 +- 0.5}``, which siunitx formats as the paper wants it; what follows it as text."""
    number = _NUMBER.match(entry.text)
    text = tex_text(entry.text)
    if number:
        text = rf"\num{{{number[0].replace('±', '+-')}}}{tex_text(entry.text[number.end() :])}"
    text = rf"\textbf{{{text}}}" if entry.best else text
    text = rf"\underline{{{text}}}" if entry.tied else text
    return text + (rf"\textsuperscript{{{entry.note}}}" if entry.note else "")
