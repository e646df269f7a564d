"""Commands, options, make targets and references that pages, docstrings and help texts name: all exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer

from flipbench.cli.app import app
from flipbench.plugins import kinds, registry, signatures
from flipbench.spec.reference import BadReference, parse_chain
from tests.helpers.imports import SOURCES
from tests.helpers.paths import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "results").rglob("*.md")),
]
OF_PAPERS = "reproducing_a_paper.md"  # `mean(rounds=10)` is a way to read a paper's number there

MAIN = typer.main.get_command(app)
assert isinstance(MAIN, click.Group)
COMMANDS = dict(MAIN.commands)
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
CODE = re.compile(r"^```\w*\n(.*?)^```|(?<!`)``?([^`\n]+)``?(?!`)", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"^(?:\$ )?(?:\S*/)?flipbench ([a-z]+)\b([^|;#>\n]*)", re.MULTILINE)
MAKE = re.compile(r"(?:^|[$(] ?)make ([a-z-]+)", re.MULTILINE)
REFERENCE = re.compile(r"^[a-z_]\w*\(.+\)(?: \| .+)?$")
NAMED = {
    name: [registry.shipped(k)[name] for k in kinds.KINDS if name in registry.shipped(k)]
    for k in kinds.KINDS
    for name in registry.shipped(k)
}


def code_of(text: str) -> Iterator[str]:
    """What stands in blocks and spans of code, continued lines joined."""
    for block, span in CODE.findall(text):
        yield (block or span).replace("\\\n", " ")


def wrong_commands(text: str) -> Iterator[str]:
    """Commands and options of the command line, and targets of make, that there are not."""
    for code in code_of(text):
        for name, rest in COMMAND.findall(code):
            if name not in COMMANDS:
                yield f"flipbench {name}"
                continue
            known = {o for p in COMMANDS[name].params for o in (*p.opts, *p.secondary_opts)} | {"--help", "-h"}
            for option in re.findall(r"(?<![\w'\"=-])--?[a-zA-Z][\w-]*", rest):
                if option not in known:
                    yield f"flipbench {name} {option}"
        for target in MAKE.findall(code):
            if target not in TARGETS:
                yield f"make {target}"


def wrong_references(text: str) -> Iterator[str]:
    """References to something shipped with an option that it does not have."""
    for code in code_of(text):
        if not REFERENCE.match(code):
            continue
        try:
            parts = parse_chain(code)
        except BadReference:
            continue
        for part in parts:
            meant = NAMED.get(part.name, [])
            if meant and not any(part.options.keys() <= signatures.options(target).keys() for target in meant):
                yield str(part)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_page_names_exists(path: Path) -> None:
    text = path.read_text("utf-8")
    assert [*wrong_commands(text)] == []
    assert path.name == OF_PAPERS or [*wrong_references(text)] == []


def test_what_a_docstring_names_exists() -> None:
    found = {
        module: names
        for module, source in SOURCES.items()
        if (names := [*wrong_commands(source), *([] if ".papers." in module else wrong_references(source))])
    }
    assert found == {}


@pytest.mark.parametrize("name", COMMANDS)
def test_what_a_help_text_names_exists(name: str) -> None:
    command = COMMANDS[name]
    texts = [command.help or "", *(getattr(p, "help", None) or "" for p in command.params)]
    assert [*wrong_commands("\n".join(f"`{text}`" for text in texts if "flipbench" in text))] == []
    options = {option for text in texts for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)}
    assert options <= {o for c in COMMANDS.values() for p in c.params for o in (*p.opts, *p.secondary_opts)}


@pytest.mark.parametrize(
    "text",
    ["`flipbench runs smoke`", "```console\n$ flipbench run smoke \\\n    --worker 2\n```", "run `make benches`"],
)
def test_a_planted_command_is_seen(text: str) -> None:
    assert [*wrong_commands(text)]
    assert [*wrong_references("`krum(keep=5)`")] == ["krum(keep=5)"]
