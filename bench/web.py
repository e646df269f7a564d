"""Tables and pages as HTML: everything escaped, one file, nothing from elsewhere, sorted by a small own script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby

from bench.blocks import Block, Entry

STYLE = """
:root { color-scheme: light dark; --line: #8884; --mark: #0072b222; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; } h3 { font-size: 1rem; }
nav a { margin-right: 1rem; }
.wide { overflow-x: auto; margin: .5rem 0; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
td { text-align: right; } td.text { text-align: left; white-space: normal; }
th { text-align: center; font-weight: 500; } th[scope=row] { text-align: left; }
tbody th[scope=row] { position: sticky; left: 0; background: Canvas; }
td.best { font-weight: 700; background: var(--mark); } td.tied { text-decoration: underline; }
th button { all: unset; cursor: pointer; } th button:focus-visible { outline: 2px solid #0072b2; }
th[aria-sort=ascending] button::after { content: " \\25B2"; }
th[aria-sort=descending] button::after { content: " \\25BC"; }
figure { margin: 1.5rem 0; } figure img { max-width: 100%; height: auto; background: white; }
figcaption, .notes { font-size: .8rem; opacity: .85; }
.warning { border-left: 4px solid #d55e00; padding-left: .8rem; }
@media print { body { max-width: none; font-size: 10pt; } .wide { overflow: visible; } figure { break-inside: avoid; } }
"""
SCRIPT = """
document.querySelectorAll("table.sortable").forEach(table => {
  const heads = table.tHead.rows[table.tHead.rows.length - 1].cells;
  Array.from(heads).forEach((head, at) => {
    const button = document.createElement("button");
    button.textContent = head.textContent;
    button.title = "sort";
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") === "descending" || (at === 0 && !head.hasAttribute("aria-sort"));
      Array.from(heads).forEach(h => h.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = row => { const n = parseFloat(row.cells[at].textContent); return n; };
      const rows = Array.from(table.tBodies[0].rows);
      rows.sort((a, b) => {
        const x = key(a), y = key(b), nx = Number.isNaN(x), ny = Number.isNaN(y);
        if (nx && ny) return (up ? 1 : -1) * row_text(a, at).localeCompare(row_text(b, at));
        if (nx || ny) return nx ? 1 : -1;
        return up ? x - y : y - x;
      });
      table.tBodies[0].append(...rows);
    });
  });
  function row_text(row, at) { return row.cells[at].textContent; }
});
"""


def policy() -> str:
    """The content security policy: this file's own style and script, pictures inside it, and no request at all."""
    style, script = (hash_of(text) for text in (STYLE, SCRIPT))
    own = f"img-src data:; style-src {style}; script-src {script}"
    return f"default-src 'none'; {own}; base-uri 'none'; form-action 'none'"


def hash_of(text: str) -> str:
    """How the policy knows a style or script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def page(title: str, body: Iterable[str]) -> str:
    """A whole document; ``body`` is markup, ``title`` text."""
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy()}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="referrer" content="no-referrer">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            "</head>",
            "<body>",
            *body,
            f"<script>{SCRIPT}</script>",
            "</body>",
            "</html>",
            "",
        ]
    )


def block_table(block: Block) -> str:
    """A table with grouped headers; a click on a column's name sorts by it."""
    lines = [f'<div class="wide"><table class="sortable"><caption>{escape(block.heading)}</caption>', "<thead>"]
    for place, (name, texts) in enumerate(zip(block.levels, block.header, strict=True)):
        if place == len(block.levels) - 1:
            cells = "".join(f'<th scope="col">{escape(t)}</th>' for t in texts)
            corner = ", ".join(filter(None, [block.corner, name]))
            lines.append(f'<tr><th scope="col">{escape(corner)}</th>{cells}</tr>')
        else:
            groups = [(text, len(list(same))) for text, same in groupby(texts)]
            cells = "".join(f'<th scope="colgroup" colspan="{n}">{escape(t)}</th>' for t, n in groups)
            lines.append(f"<tr><th>{escape(name)}</th>{cells}</tr>")
    lines += ["</thead>", "<tbody>"]
    numbers = block.width - block.text
    for name, entries in block.rows:
        cells = "".join(_cell(e, i >= numbers) for i, e in enumerate(entries))
        lines.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    lines += ["</tbody></table></div>"]
    if block.notes:
        notes = "<br>".join(f"{escape(letter)}: {escape(text)}" for letter, text in block.notes)
        lines.append(f'<p class="notes">{notes}</p>')
    return "\n".join(lines)


def _cell(entry: Entry, text: bool) -> str:
    kinds = [kind for kind, on in (("best", entry.best), ("tied", entry.tied), ("text", text)) if on]
    marked = f' class="{" ".join(kinds)}"' if kinds else ""
    note = f" <sup>{escape(entry.note)}</sup>" if entry.note else ""
    return f"<td{marked}>{escape(entry.text)}{note}</td>"


def plain_table(caption: str, names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of text; the first column names the rows."""
    heads = "".join(f'<th scope="col">{escape(n)}</th>' for n in names)
    lines = [f'<div class="wide"><table class="sortable"><caption>{escape(caption)}</caption>']
    lines.append(f"<thead><tr>{heads}</tr></thead><tbody>")
    for first, *others in rows:
        cells = "".join(f"<td>{escape(v)}</td>" for v in others)
        lines.append(f'<tr><th scope="row">{escape(first)}</th>{cells}</tr>')
    return "\n".join([*lines, "</tbody></table></div>"])


def picture(name: str, png: bytes, told: str) -> str:
    """A picture inside the file."""
    data = base64.b64encode(png).decode()
    return (
        f'<figure id="{escape(name)}"><img alt="{escape(told)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(told)}</figcaption></figure>"
    )
