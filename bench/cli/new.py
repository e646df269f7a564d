"""``flipbench new``: a working rule, attack or optimiser of ten lines with its test beside it, to be written over.

What it writes are the files of `cli.templates`, which run in a grid as they stand, under the user's name.
"""

from __future__ import annotations

import keyword
from importlib.resources import files
from pathlib import Path

from flipbench.errors import UserError

KINDS = ("aggregator", "attack", "optimiser")
_TEMPLATES = {"labels": "my_label_attack", "updates": "my_update_attack", "examples": "my_example_attack"}
PLACES = tuple(_TEMPLATES)


class TemplateError(UserError):
    """The files cannot be written as asked; the message says what to do."""


def new(kind: str, path: Path, place: str | None = None) -> tuple[Path, Path]:
    """Write a working plug-in and its test; the rule or attack is named after the file.

    Args:
        kind: what to write: ``aggregator``, ``attack`` or ``optimiser``.
        path: the file to make, like ``rules/my_rule.py``; missing folders are made.
        place: of an attack, what it acts on: ``labels`` (where none is given), ``updates`` or ``examples``.

    Returns:
        The file of the rule or attack and the file of its test.

    Raises:
        TemplateError: another kind or place, a place for a rule, a name that is no Python name, a file that exists, a
            folder that cannot be written.
    """
    template = _template(kind, place)
    name, noun = path.stem, "rule" if kind == "aggregator" else kind
    if path.suffix != ".py" or not name.isidentifier() or not name.isascii() or keyword.iskeyword(name):
        raise TemplateError(
            f"{path} cannot be the file of an {kind}: the {noun} is named after it, so it needs the form "
            f"path/my_{noun}.py with a name of letters, digits and '_'"
        )
    test = path.with_name(f"test_{path.name}")
    texts = {path: _text(template, name), test: _text(f"test_{template}", name)}
    for file in texts:
        if file.exists() or file.is_symlink():
            raise TemplateError(f"{file} exists and is not overwritten: choose another name, or remove it first")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for file, text in texts.items():
            with file.open("x", encoding="utf-8") as out:  # x: refuses what appeared meanwhile
                out.write(text)
    except OSError as error:
        raise TemplateError(
            f"{path} cannot be written ({error.strerror}): choose a folder that you may write"
        ) from error
    return path, test


def _template(kind: str, place: str | None) -> str:
    """The name of the template."""
    if kind not in KINDS:
        raise TemplateError(f"there is a template for {', '.join(KINDS[:-1])} and {KINDS[-1]}, not for {kind!r}")
    if kind != "attack":
        if place is not None:
            raise TemplateError(f"--place {place} says where an attack acts; an {kind} has none: leave it out")
        return "my_rule" if kind == "aggregator" else "my_optimiser"
    chosen = "labels" if place is None else place
    if chosen not in PLACES:
        raise TemplateError(f"an attack acts on {', '.join(PLACES)}, not on {chosen!r}: name one with --place")
    return _TEMPLATES[chosen]


def _text(module: str, name: str) -> str:
    """A module of the templates, with the user's name in place of its own."""
    text = (files("flipbench.cli.templates") / f"{module}.py").read_text("utf-8")
    return text.replace(module.removeprefix("test_"), name)
