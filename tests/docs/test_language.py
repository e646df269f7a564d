"""Plain English: words that the pages, docstrings, comments and messages do without, and what to write instead."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

# A pattern of whole words, in any case, and what to write. Names in code (`mend`, --all-pictures, "liars") are none.
INSTEAD = {
    r"liars?|lied|lying": "malicious client, malicious update",
    r"mourn\w*": "a worker process that has ended",
    r"errands?|circumstances": "run context, provenance",
    r"worth nothing": "the number",
    r"told f": "declared f",
    r"wards?|desks?|crews?": "worker process, child process",
    r"pictures?": "image (data), figure (plot)",
    r"everybody|everyone|nobody|somebody|anybody": "the noun: all clients, no rule, another package",
    r"mend\w*": "fix, correct, replace",
    r"flatter\w*|poison cells?": "what happens",
}
FOLDERS = ("aggregators", "attacks", "bench")
# The opening idea of a rule may be an image: "Averages: trust everybody."
OPENINGS = "aggregators/rules"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "results/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "bench/grids").glob("*.yaml")),
    *sorted((ROOT / "bench/papers").glob("*.yaml")),
]
TEXT = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1)}


def english(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of what a person reads: all of a page; of a module its docstrings, messages and comments."""
    source = path.read_text("utf-8")
    if path.suffix != ".py":
        yield from enumerate(source.splitlines(), 1)
        return
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in TEXT and not (token.start[0] == 1 and path.is_relative_to(ROOT / OPENINGS)):
            yield from enumerate(token.string.splitlines(), token.start[0])


def hits(lines: Iterator[tuple[int, str]]) -> Iterator[str]:
    """The words of `INSTEAD` in a text, with line and advice."""
    for line, text in lines:
        for word, instead in INSTEAD.items():
            if match := re.search(rf"(?<![-{{/`])\b(?:{word})\b(?![-}}/`\"])", text, re.IGNORECASE):
                yield f"line {line}: {match[0]!r}: write {instead}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_is_in_plain_words(path: Path) -> None:
    assert [*hits(english(path))] == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_modules_are_in_plain_words(folder: str) -> None:
    found = {
        str(p.relative_to(ROOT)): words for p in sorted((ROOT / folder).rglob("*.py")) if (words := [*hits(english(p))])
    }
    assert found == {}


def test_a_planted_word_is_seen() -> None:
    planted = iter([(1, "the worker was mourned"), (2, "f liars"), (3, "a good picture"), (4, "a figure of images")])
    assert [text.split(":")[0] for text in hits(planted)] == ["line 1", "line 2", "line 3"]
