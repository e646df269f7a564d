"""Tables and pages as HTML: everything escaped, one file, nothing from elsewhere, style and script of our own.

What a page consists of lies in ``bench/page``: templates, one style sheet, and scripts by purpose.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from flipbench.report.tables.model import Block, header_groups

PARTS = Path(__file__).parents[2] / "page"
SORTING = ("sort.js",)  # what a page of tables needs
EXPLORING = ("sort.js", "state.js", "draw.js", "choice.js", "squares.js", "details.js", "explorer.js")
_SELF = " connect-src 'self';"


def style() -> str:
    """The style sheet of every page."""
    return _text("page.css")


def script(names: Sequence[str]) -> str:
    """Scripts as one."""
    return "\n".join(_text(name) for name in names)


def policy(scripts: Sequence[str] = SORTING) -> str:
    """The content security policy: this file's own style and script, images inside it, and no request at all."""
    own = f"img-src data:; style-src {hash_of(style())}; script-src {hash_of(script(scripts))}"
    return f"default-src 'none'; {own}; base-uri 'none'; form-action 'none'"


def live(text: str, version: str) -> str:
    """A page that asks only its own server whether it has become old.

    Args:
        text: of `render`.
        version: what the server calls this state of the results.
    """
    allowed = text.replace("default-src 'none';", f"default-src 'none';{_SELF}", 1)
    return allowed.replace('<html lang="en">', str(Markup('<html lang="en" data-version="{}">').format(version)), 1)


def hash_of(text: str) -> str:
    """How the policy knows a style or script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def render(template: str, title: str, scripts: Sequence[str] = SORTING, **given: Any) -> str:
    """A whole document.

    Args:
        template: its name in ``bench/page``.
        title: text.
        scripts: names of its scripts.
        **given: what the template needs; text is escaped there.
    """
    code = script(scripts)
    own = {"style": Markup(style()), "script": Markup(code), "policy": Markup(policy(scripts))}
    return _environment().get_template(template).render(title=title, **own, **given)


def page(title: str, body: Iterable[str]) -> str:
    """A document of tables; ``body`` is markup, ``title`` text."""
    return render("plain.html", title, body=Markup("\n".join(body)))


def block_table(block: Block) -> Markup:
    """A table with grouped headers; a click on a column's name sorts by it."""
    lines = []
    for place, (name, texts) in enumerate(zip(block.levels, block.header, strict=True)):
        last = place == len(block.levels) - 1
        corner = ", ".join(filter(None, [block.corner, name])) if last else name
        lines.append((corner, [(t, 1) for t in texts] if last else header_groups(texts), last))
    return _macro("block_table", block, lines, block.width - block.text)


def plain_table(caption: str, names: Sequence[str], rows: Iterable[Sequence[str]]) -> Markup:
    """A table of text; the first column names the rows."""
    return _macro("plain_table", caption, names, list(rows))


def image(name: str, png: bytes, caption: str) -> Markup:
    """A figure inside the file."""
    return _macro("image", name, base64.b64encode(png).decode(), caption)


@cache
def _text(name: str) -> str:
    return (PARTS / name).read_text("utf-8")


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(PARTS), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def _macro(name: str, *given: Any) -> Markup:
    return Markup(getattr(_environment().get_template("tables.html").module, name)(*given))
