"""Tables as GitHub's Markdown; whatever a grid or a plug-in is called stays text."""

from __future__ import annotations

from flipbench.report.tables.model import Block, Entry

_MD = {c: f"\\{c}" for c in "\\`*_[]|~#!"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;", "$": "&#36;"}


def chosen_markdown(block: Block, explanation: str) -> str:
    """One table of one's own as GitHub's Markdown."""
    notes = ["<br>".join(f"{letter}: {md_text(text)}" for letter, text in block.notes)] if block.notes else []
    return "\n\n".join([f"### {md_text(block.heading)}", md_table(block), *notes, md_text(explanation)]) + "\n"


def md_text(text: str) -> str:
    """Text that GitHub's Markdown shows as it is."""
    return "".join(_MD.get(c, c) for c in text)


def md_table(block: Block) -> str:
    """Header rows joined into the one that Markdown has."""
    columns = [[text for text in column if text] for column in zip(*block.header, strict=True)]
    heads = [", ".join(dict.fromkeys(column)) for column in columns]
    heads = heads if len(set(heads)) == len(set(map(tuple, columns))) else [", ".join(column) for column in columns]
    corner = " \\ ".join(filter(None, [block.corner, ", ".join(filter(None, block.levels))]))
    aligned = ["---:"] * (block.width - block.text) + ["---"] * block.text
    lines = [[md_text(corner), *map(md_text, heads)], ["---", *aligned]]
    lines += [[md_text(name), *map(_md_entry, entries)] for name, entries in block.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _md_entry(entry: Entry) -> str:
    text = f"**{md_text(entry.text)}**" if entry.best else md_text(entry.text)
    text = f"<ins>{text}</ins>" if entry.tied else text  # GitHub's underline
    return f"{text} <sup>{entry.note}</sup>" if entry.note else text
