"""A name that tries to become markup in every format, and a parser that lists the markup of a page."""

from __future__ import annotations

from html.parser import HTMLParser

HOSTILE = "evil.mod:rule(note='<script>alert(1)</script> =1+1 $x_1$ 100% {a} ^~ #1 & | `b` **c** \\\\input{d}')"


class Markup(HTMLParser):
    """Tags, attributes and texts of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def parsed(text: str) -> Markup:
    found = Markup()
    found.feed(text)
    return found
