"""What the pages refer to exists: links and their anchors, paths of the repository, dotted names of flipbench."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from flipbench.plugins import registry
from tests.helpers.paths import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "results/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs").glob("*.ipynb")),
    *sorted((ROOT / "bench/papers").glob("*.yaml")),
    *sorted((ROOT / "bench/grids").glob("*.yaml")),
]
# A path that begins with a folder of the sources, up to its last letter. What lies in results/ is made by runs.
PATH = re.compile(r"(?<![\w/.:<-])(?:aggregators|attacks|bench|docs|tests)/[\w./-]*\w")
DOTTED = re.compile(r"(?<![\w/.:-])flipbench(?:\.\w+)+")
GROUPS = {kind.group for kind in registry.KINDS.values()}


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
    """Dotted names below flipbench that cannot be imported and are no entry-point group."""
    for name in set(DOTTED.findall(text)):
        if name not in GROUPS and not _imports(name):
            yield name


def _imports(name: str) -> bool:
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_page_refers_to_exists(path: Path) -> None:
    text = text_of(path)
    assert [*broken_links(path, text)] == []
    assert [*missing_paths(text)] == []
    assert [*unknown_names(text)] == []
