"""What the pages refer to exists: links and their anchors, paths of the repository, dotted names of flipbench."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flipbench.plugins import kinds
from tests.helpers.imports import FRONT, MAY, SOURCES, module_of
from tests.helpers.paths import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "results").rglob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs").glob("*.ipynb")),
    *sorted((ROOT / "bench/papers").glob("*.yaml")),
    *sorted((ROOT / "bench/grids").glob("*.yaml")),
]
# A path that begins with a folder of the sources, up to its last letter. What lies in results/ is made by runs.
PATH = re.compile(r"(?<![\w/.:<-])(?:aggregators|attacks|bench|docs|tests)/[\w./-]*\w")
DOTTED = re.compile(r"(?<![\w/.:-])flipbench(?:\.\w+)+")
SHORT = re.compile(rf"`((?:{'|'.join(sorted({*MAY, *FRONT}))})(?:\.\w+)+)`")
GROUPS = {kind.group for kind in kinds.KINDS.values()}


def text_of(path: Path) -> str:
    """The text of a page; of a notebook its sources, without outputs."""
    text = path.read_text("utf-8")
    if path.suffix == ".ipynb":
        return "\n\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    return text


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ +(.*)$", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken_links(path: Path, text: str) -> Iterator[str]:
    """Relative links whose file or heading is not there."""
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        there = (path.parent / name).resolve() if name else path
        if not there.exists():
            yield target
        elif anchor and anchor not in anchors(text_of(there)):
            yield f"{target}: no such heading"


def missing_paths(text: str) -> Iterator[str]:
    """Paths of the repository that are not there."""
    for name in PATH.findall(text):
        if not (ROOT / name).exists():
            yield name


def unknown_names(text: str) -> Iterator[str]:
    """Dotted names below flipbench that are neither defined in a module nor an entry-point group."""
    for name in sorted(set(DOTTED.findall(text)) - GROUPS):
        if not defined(name):
            yield name


def unknown_short_names(text: str, module: str) -> Iterator[str]:
    """Names like ``analysis.pivot.pivot`` in backticks, as docstrings write them, that no module defines."""
    for name in sorted(set(SHORT.findall(text))):
        if not defined(f"flipbench.{name}") and not defined(f"{module.rpartition('.')[0]}.{name}"):
            yield name


def defined(name: str) -> bool:
    """Whether a dotted name is a module, or a module whose source has every further part as a word."""
    module = module_of(name)
    rest = name.removeprefix(module).split(".")[1:]
    if rest and "." not in module:  # not found below flipbench: then only what the public API offers
        return len(rest) == 1 and f'"{rest[0]}"' in SOURCES[module]
    return all(re.search(rf"\b{part}\b", SOURCES[module]) for part in rest)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_page_refers_to_exists(path: Path) -> None:
    text = text_of(path)
    assert [*broken_links(path, text)] == []
    assert [*missing_paths(text)] == []
    assert [*unknown_names(text)] == []


def test_what_a_module_refers_to_exists() -> None:
    found = {
        module: names
        for module, source in SOURCES.items()
        if (names := [*missing_paths(source), *unknown_names(source), *unknown_short_names(source, module)])
    }
    assert found == {}


@pytest.mark.parametrize(
    ("text", "check"),
    [
        ("see bench/local.py", missing_paths),
        ("see `docs/no_such_page.md`.", missing_paths),
        ("flipbench.flower.RobustStrategy", unknown_names),
        ("flipbench.spec.cell.Cel", unknown_names),
        ("flipbench.no_such_function", unknown_names),
    ],
)
def test_a_stale_reference_is_seen(text: str, check: Callable[[str], Iterator[str]]) -> None:
    assert [*check(text)]


def test_a_stale_link_is_seen() -> None:
    assert [*broken_links(ROOT / "README.md", "[a](docs/none.md) [b](docs/grids.md#no-such-heading)")] == [
        "docs/none.md",
        "docs/grids.md#no-such-heading: no such heading",
    ]
    assert [*unknown_short_names("`analysis.no_such_module.f`", "flipbench.analysis.metrics")]
