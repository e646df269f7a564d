r"""Tables as LaTeX for ``\input``: booktabs alone, in one size of letters; names stay text, no macro.

A table stands in a column where it fits (``table``), else across both (``table*``); one that is wider than the text or
taller than a page is cut into parts with the same columns of names and heads. No part depends on the document's fonts:
long names break, and widths are estimated from above (`report.tables.latex_layout`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from flipbench.report.tables import latex_layout as layout
from flipbench.report.tables.model import Block, Entry, header_groups
from flipbench.spec.distinct_texts import printable
from flipbench.spec.labels import slug

NEEDS = "% Needs \\usepackage{booktabs} and no other package; with pdfLaTeX of before 2018 also [utf8]{inputenc}."
LONGEST = 300  # characters of a caption
_TEX = {
    **{c: f"\\{c}" for c in "#$%&_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''"},
    **{"±": r"$\pm$", "→": r"$\to$", "↔": r"$\leftrightarrow$", "–": "--", "…": r"\ldots{}", "†": r"$^\dagger$"},
    **{"—": "---", "−": "$-$", "×": r"$\times$", "≤": r"$\le$", "≥": r"$\ge$", "·": r"$\cdot$", "∞": r"$\infty$"},
    **{
        "‘": "`",
        "’": "'",
        "“": "``",
        "”": "''",
        "√": r"$\surd$",
        "½": "1/2",
        "²": "$^2$",
        "³": "$^3$",
        "°": r"$^\circ$",
    },
    **{"α": r"$\alpha$", "β": r"$\beta$", "γ": r"$\gamma$", "δ": r"$\delta$", "ε": r"$\epsilon$", "η": r"$\eta$"},
    **{"κ": r"$\kappa$", "λ": r"$\lambda$", "μ": r"$\mu$", "µ": r"$\mu$", "ρ": r"$\rho$", "σ": r"$\sigma$"},
    **{"τ": r"$\tau$", "θ": r"$\theta$", "φ": r"$\phi$", "ω": r"$\omega$", "π": r"$\pi$", "Δ": r"$\Delta$"},
}
_BREAKS = set(",;:_=|(/@-")  # behind which a name may go on in the next line
_NAMES, _TEXTS = 100.0, 90.0  # points: the widest column of names, of texts
_NUMBER = re.compile(r"(-?)(\d+)(\.\d+)?(?: ± (\d+)(\.\d+)?| (\[-?[\d.]+, -?[\d.]+\]))?(?=$|, )")


def chosen_latex(block: Block, explanation: str, of: str = "") -> str:
    r"""One table of one's own for ``\input``.

    Args:
        block: the table.
        explanation: what its marks mean, set below it.
        of: first part of its label, like the name of the grid.
    """
    return f"{NEEDS}\n{Labels(of).table(block, explanation)}\n"


def tex_text(text: str, breaks: bool = False) -> str:
    """Text without a macro, on one line; what pdfLaTeX has no letter for as its number, [U+1F600].

    Args:
        text: of a name or sentence.
        breaks: whether a line may also end within a name, behind a comma, underscore and the like.
    """
    if not breaks:
        return "".join(map(_letter, text))
    return "".join(
        _letter(c) + (r"\allowbreak{}" if c in _BREAKS and before.strip() and after.strip() else "")
        for before, c, after in zip(f" {text}", text, f"{text[1:]} ", strict=False)
    )


def tex_comment(text: str) -> str:
    """Text for behind a ``%``."""
    return printable(text)  # one line: nothing after it leaves the comment


class Labels:
    r"""Makes the tables of one file; their ``\label`` are ``tab:``, what they are of and their heading, each once.

    Args:
        of: what the file is of, like the name of a grid.
    """

    def __init__(self, of: str) -> None:
        self._of = of
        self._used: set[str] = set()
        self.last = ""  # of the last table

    def table(self, block: Block, explanation: str = "", about: str = "", see: str = "") -> str:
        r"""Environments ``table`` or ``table*``: one, or several where one would be taller than a page.

        Args:
            block: the table.
            explanation: sentences below it.
            about: what tells it from tables with the same heading; stands in its caption.
            see: label of the table that explains the marks of this one.
        """
        heading, more = _caption(": ".join(filter(None, [about, block.heading])))
        self.last = self._label(heading)
        return "\n\n".join(_environments(block, heading, f"{more} {explanation}".strip(), self.last, see))

    def _label(self, text: str) -> str:
        parts = [slug(self._of) if self._of else "", slug(text)[:48].rpartition("-")[0] or slug(text)[:48]]
        label = plain = "tab:" + "-".join(filter(None, parts))
        number = 2
        while label in self._used:
            label, number = f"{plain}-{number}", number + 1
        self._used.add(label)
        return label


def _caption(heading: str) -> tuple[str, str]:
    """A heading of at most `LONGEST` characters, and what of it goes into the notes."""
    if len(heading) < LONGEST:
        return heading, ""
    cut = max(heading.rfind(mark, 0, LONGEST - 1) for mark in ("; ", ", "))
    end = cut if cut > 0 else LONGEST - 2
    return heading[:end], f"{heading[end:].lstrip(';, ')}."


@dataclass(frozen=True)
class _Part:
    """Some columns and rows of a block as one ``tabular``."""

    block: Block
    columns: tuple[int, ...]
    rows: range
    names: float  # points of the first column
    widths: tuple[float, ...]  # of every column of the block

    @property
    def width(self) -> float:
        return self.names + layout.SEPARATION + sum(self.widths[j] + layout.SEPARATION for j in self.columns)

    @property
    def height(self) -> float:
        return _head_height(self.block, self.widths) + sum(_row_heights(self.block, self.names, self.widths, self.rows))

    @property
    def letters(self) -> set[str]:
        return {self.block.rows[i][1][j].note for i in self.rows for j in self.columns}


def _environments(block: Block, heading: str, explanation: str, label: str, see: str) -> list[str]:
    parts = _parts(block, _notes_height(block, heading, explanation))
    floats: list[list[_Part]] = [[]]
    room = layout.TALLEST - _notes_height(block, heading, explanation)
    for part in parts:
        if floats[-1] and sum(p.height + layout.LINE for p in floats[-1]) + part.height > room:
            floats.append([])
        floats[-1].append(part)
    found = []
    for place, own in enumerate(floats):
        letters = set().union(*(p.letters for p in own))
        used = [n for n in block.notes if n[0] in letters or len(n[0]) > 2 or not n[0].isalnum()]
        title = heading if place == 0 else f"{heading} (continued)"
        name = label if place == 0 else f"{label}-part{place + 1}"
        more = tex_text(explanation, breaks=True) if place == 0 else ""
        marks = see if place == 0 else label
        more += rf" Marks and intervals as in Table~\ref{{{marks}}}." if marks else ""
        found.append(_environment(own, title, more.strip(), used, name))
    return found


def _environment(
    parts: Sequence[_Part], title: str, explanation: str, notes: Iterable[tuple[str, str]], label: str
) -> str:
    wide = max(p.width for p in parts)
    kind = "table*" if wide > layout.COLUMN else "table"
    below = [rf"\textsuperscript{{{tex_text(a)}}}\,{tex_text(text, breaks=True)}." for a, text in notes]
    lines = [
        rf"\begin{{{kind}}}[tbp]",
        r"\centering\scriptsize\setlength{\tabcolsep}{3pt}\renewcommand{\arraystretch}{1.25}",
        rf"\caption{{{tex_text(title, breaks=True)}}}",
        rf"\label{{{label}}}",
        r"\vspace{2pt}",
        "\n\\par\\medskip\n".join("\n".join(_Tabular(p).lines()) for p in parts),
    ]
    if text := " ".join(filter(None, [*below, explanation])):
        lines.append(rf"\par\smallskip\begin{{minipage}}{{\linewidth}}\raggedright\scriptsize {text}\end{{minipage}}")
    return "\n".join([*lines, rf"\end{{{kind}}}"])


def _notes_height(block: Block, heading: str, explanation: str) -> float:
    """Points of caption and notes, as wide as a column."""
    notes = " ".join([*(f"{a} {text}." for a, text in block.notes), explanation])
    return 13 * layout.lines(heading, layout.COLUMN / 1.35) + layout.LINE * layout.lines(notes, layout.COLUMN) + 30


def _parts(block: Block, beside: float) -> list[_Part]:
    """A block cut to the width of the text and the height of a page."""
    names = _names_width(block)
    widths = tuple(_column_width(block, j) for j in range(block.width))
    groups = block.header[0] if len(block.header) > 1 else tuple(map(str, range(block.width)))
    columns = layout.column_parts([w + layout.SEPARATION for w in widths], groups, names + layout.SEPARATION)
    heights = _row_heights(block, names, widths, range(len(block.rows)))
    rows = layout.row_parts(heights, _head_height(block, widths), layout.TALLEST - beside)
    return [_Part(block, tuple(c), r, names, widths) for r in rows for c in columns]


def _names_width(block: Block) -> float:
    texts = [name for name, _ in block.rows] + [*block.levels[:-1], _corner(block)]
    natural = max(map(layout.width, texts), default=0.0)
    return min(natural, max(layout.least_width(texts, _NAMES), min(natural, _NAMES)))


def _column_width(block: Block, j: int) -> float:
    """Points of a column: its numbers whole, its texts and heads broken."""
    entries = [entries[j] for _, entries in block.rows]
    numbers, texts = [0.0], [header[j] for header in block.header[-1:]]
    for entry in entries:
        number, rest = _number_and_rest(entry)
        digits, points = sum(c.isdigit() for c in number), number.count(".")
        room = layout.number_width(digits, points, "±" in number, entry.best) + 6.2 * number.count("-")
        room += layout.width(" [, ]") if "[" in number else 0.0
        numbers.append(room + (4.0 if entry.note and j == block.width - 1 else 0.0))
        texts.append(rest)
    widest = max(layout.width(text) * layout.BOLD for text in texts)
    most = _TEXTS if j >= block.width - block.text else max(48.0, *numbers)
    return max(*numbers, min(widest, most), layout.least_width(texts, _TEXTS) * layout.BOLD if widest > most else 0.0)


def _head_height(block: Block, widths: Sequence[float]) -> float:
    last = [layout.lines(text, w) for text, w in zip(block.header[-1], widths, strict=True)]
    return layout.ROW * len(block.header) + layout.LINE * (max(last, default=1) - 1) + 6


def _row_heights(block: Block, names: float, widths: Sequence[float], rows: range) -> list[float]:
    found = []
    for i in rows:
        name, entries = block.rows[i]
        each = [layout.lines(name, names)]
        for entry, wide in zip(entries, widths, strict=True):
            number, rest = _number_and_rest(entry)
            each.append(bool(number) + (layout.lines(rest, wide / layout.BOLD) if rest else 0))
        found.append(layout.ROW + layout.LINE * (max(each) - 1))
    return found


def _number_and_rest(entry: Entry) -> tuple[str, str]:
    found = _NUMBER.match(entry.text)
    return (found[0], entry.text[found.end() :].removeprefix(", ")) if found else ("", entry.text)


def _corner(block: Block) -> str:
    return " \\ ".join(filter(None, [block.corner, block.levels[-1]]))


@dataclass(frozen=True)
class _Tabular:
    """One ``tabular`` of a table."""

    part: _Part

    def lines(self) -> list[str]:
        block, columns = self.part.block, self.part.columns
        numbers = sum(j < block.width - block.text for j in columns)
        lines = [rf"\begin{{tabular}}{{@{{}}l{'r' * numbers}{'l' * (len(columns) - numbers)}@{{}}}}", r"\toprule"]
        for place, (name, header) in enumerate(zip(block.levels, block.header, strict=True)):
            texts = [header[j] for j in columns]
            if place < len(block.levels) - 1:
                lines += self._groups(name, texts)
                continue
            heads = [self._text(t, j) for t, j in zip(texts, columns, strict=True)]
            lines.append(" & ".join([self._box(_corner(block), self.part.names), *heads]) + r" \\")
        lines.append(r"\midrule")
        for i in self.part.rows:
            name, entries = block.rows[i]
            texts = [self._entry(entries[j], j) for j in columns]
            lines.append(" & ".join([self._box(name, self.part.names), *texts]) + r" \\")
        return [*lines, r"\bottomrule", r"\end{tabular}"]

    def _groups(self, name: str, texts: Sequence[str]) -> list[str]:
        """A row of heads that stand above several columns, and the lines below them."""
        groups, at, rules, spans = header_groups(texts), 0, [], []
        for text, count in groups:
            own = self.part.columns[at : at + count]
            wide = sum(self.part.widths[j] + layout.SEPARATION for j in own) - layout.SEPARATION
            box = self._box(text, wide, r"\centering" if count > 1 else r"\raggedleft")
            spans.append(rf"\multicolumn{{{count}}}{{c}}{{{box}}}" if count > 1 else box)
            rules += [rf"\cmidrule(lr){{{at + 2}-{at + count + 1}}}"] if text and count > 1 else []
            at += count
        return [" & ".join([self._box(name, self.part.names), *spans]) + r" \\", *([" ".join(rules)] if rules else [])]

    def _text(self, text: str, j: int) -> str:
        right = j < self.part.block.width - self.part.block.text
        return self._box(text, self.part.widths[j], r"\raggedleft" if right else r"\raggedright")

    def _box(self, text: str, wide: float, side: str = r"\raggedright") -> str:
        """A text as it is where it fits, else in lines."""
        if layout.width(text) <= wide:
            return tex_text(text)
        # A part of a name that is wider than the box breaks anywhere.
        whole = "".join(_breakable(piece, wide) for piece in layout.unbreakable(text))
        return rf"\parbox[t]{{{wide / layout.EM:.2f}em}}{{{side}\hspace{{0pt}}{whole}\strut}}"

    def _entry(self, entry: Entry, j: int) -> str:
        found, rest = _NUMBER.match(entry.text), _number_and_rest(entry)[1]

        def marks(text: str) -> str:
            return _marked(text, entry)

        note = rf"\rlap{{\textsuperscript{{{tex_text(entry.note)}}}}}" if entry.note else ""
        if found is None:
            return self._text(rest, j) if not entry.note and not entry.best else marks(tex_text(rest)) + note
        text = marks(self._digits(found, j)) + note
        if not rest:
            return text
        wide = self.part.widths[j]
        # Underlined text would not break.
        below = _marked("".join(_breakable(p, wide) for p in layout.unbreakable(rest)), replace(entry, tied=False))
        return rf"\parbox[t]{{{wide / layout.EM:.2f}em}}{{\raggedleft {text}\\\hspace{{0pt}}{below}\strut}}"

    def _digits(self, found: re.Match[str], j: int) -> str:
        """A number whose plus-minus sign stands below those of its column."""
        sign, whole, decimals, half, half_decimals, ends = found.groups()
        text = ("$-$" if sign else "") + whole + (decimals or "")
        if ends is not None:
            return rf"{text}\,{ends.replace('-', '$-$')}".replace(", ", r",\,")
        if half is None:
            return text
        pad = r"\phantom{" + "0" * (self._digits_of_halves[j] - len(half)) + "}"
        return rf"{text}\,$\pm$\,{'' if pad == chr(92) + 'phantom{}' else pad}{half}{half_decimals or ''}"

    @cached_property
    def _digits_of_halves(self) -> dict[int, int]:
        found = {}
        for j in self.part.columns:
            each = [_NUMBER.match(self.part.block.rows[i][1][j].text) for i in self.part.rows]
            found[j] = max((len(m[4]) for m in each if m and m[4]), default=0)
        return found


def _marked(text: str, entry: Entry) -> str:
    text = rf"\textbf{{{text}}}" if entry.best else text
    return rf"\underline{{{text}}}" if entry.tied else text


def _letter(c: str) -> str:
    if c in _TEX:
        return _TEX[c]
    if c == "\N{REPLACEMENT CHARACTER}":
        return "?"
    return c if ord(c) < 0x180 else f"[U+{ord(c):04X}]"


def _breakable(piece: str, wide: float) -> str:
    """A part of a text behind which a line may end; one that is wider than its box may break anywhere."""
    if layout.width(piece.rstrip()) > wide:
        return "".join(_letter(c) + r"\allowbreak{}" for c in piece)
    return tex_text(piece) + ("" if piece.endswith(" ") else r"\allowbreak{}")
