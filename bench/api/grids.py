"""Grids from Python: a shipped name, a file or a dictionary; functions and classes where a file has names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import yaml

from flipbench.errors import UserError
from flipbench.grid import reader
from flipbench.grid.document import Mistake
from flipbench.grid.fields import REFERENCES
from flipbench.grid.reader import Grid, GridError
from flipbench.plugins import objects
from flipbench.plugins.definitions import kind_of
from flipbench.spec.cell import FIELDS, Cell
from flipbench.spec.reference import CODE

_ELSEWHERE = re.compile(r"\bat (\d+):(\d+)")  # the position of another value, within a message
_PLAIN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
UNNAMED, IN_PYTHON = "grid", "<dict>"  # name and file of a dictionary that gives no name
_WIDTH = 1 << 30  # characters a line: one value, one line


def read_grid(
    grid: str | Path | Mapping[str, Any], overrides: Mapping[str, Any] | None = None, *, aggregators: Iterable[Any] = ()
) -> Grid:
    """The cells of a grid: a shipped name, a YAML file, or a dictionary with the keys of such a file.

    >>> import flipbench as fb
    >>> fb.read_grid("smoke", {"seed": range(2), "aggregator": ["fedavg", "krum"]})
    <Grid smoke: 12 cells, 4 of them clean>

    In a dictionary and in overrides a function, a class or a `functools.partial` with options may stand where a file
    has the name of an aggregator, an attack, a data set, a model or anything else that can be a plug-in:

    >>> def halved(updates, cohort, /, *, factor: float = 0.5):
    ...     return factor * updates.mean(-2)
    >>> fb.read_grid({"name": "mine", "axes": {"aggregator": ["fedavg", halved]}})  # doctest: +SKIP
    <Grid mine: 2 cells, 2 of them clean>

    Args:
        grid: a name of ``flipbench list grid``, a path, or ``{"base": {...}, "axes": {...}, "cases": [...]}``.
        overrides: field -> value, as ``--set`` does: a list, a tuple or a range makes an axis, anything else a value of
            all cells; ``"dataset.train": 600`` sets an option.
        aggregators: added to the axis of aggregators, as ``--aggregator`` does.

    Raises:
        GridError: all mistakes at once. Each names its place: line and column of a file, the path of keys of a
            dictionary (``axes.aggregator[1]``), or the override.
        UserError: an argument of a wrong type, no such grid, or a file that cannot be read.
    """
    if not isinstance(grid, str | PurePath | Mapping):
        raise UserError(f"a grid is a name, a path or a dictionary, got {kind_of(grid)}")
    if not isinstance(overrides, Mapping | None):
        raise UserError(f"overrides are a dictionary, field -> value, got {kind_of(overrides)}")
    if isinstance(aggregators, str) or not isinstance(aggregators, Iterable):
        raise UserError(f"aggregators are a list of names, functions and classes, got {kind_of(aggregators)}")
    mistakes: list[str] = []
    texts = [_override(name, value, mistakes) for name, value in (overrides or {}).items()]
    added = [_named("aggregator", v, f"aggregators[{i}]", mistakes) for i, v in enumerate(aggregators)]
    try:
        found = (
            _of_mapping(grid, texts, added, mistakes) if isinstance(grid, Mapping) else reader.read(grid, texts, added)
        )
    except GridError as error:
        raise GridError([*mistakes, *(CODE.sub("", e.removeprefix("--set ")) for e in error.errors)]) from None
    if mistakes:
        raise GridError(mistakes)
    return found


def _of_mapping(grid: Mapping[str, Any], texts: Sequence[str], added: Sequence[str], mistakes: list[str]) -> Grid:
    """A dictionary is read as the YAML text that it is equal to; positions become paths of keys."""
    text = _yaml(_plain(grid, "", mistakes, ()), flow=False)
    paths = dict(_paths(yaml.compose(text, Loader=yaml.SafeLoader), ""))

    def path_of(line: int, column: int) -> str:
        return paths.get((line, column)) or "grid"

    def position(mistake: Mistake) -> str:
        if mistake.place.override:
            return mistake.text("")
        message = _ELSEWHERE.sub(lambda m: f"at {path_of(int(m[1]), int(m[2]))}", mistake.message)
        return f"{path_of(mistake.place.line, mistake.place.column)}: {message}"

    return reader.read_text(text, UNNAMED, IN_PYTHON, texts, added, position=position)


def _paths(node: Any, path: str) -> Iterator[tuple[tuple[int, int], str]]:
    """Line and column of every key and value -> the path of keys that leads there."""
    yield (node.start_mark.line + 1, node.start_mark.column + 1), path
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = f"{path}.{key.value}" if path else str(key.value)
            yield from _paths(value, inner)
            yield (key.start_mark.line + 1, key.start_mark.column + 1), inner
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            yield from _paths(value, f"{path}[{i}]")


def _override(name: str, value: Any, mistakes: list[str]) -> str:
    """``field=value`` as after ``--set``."""
    return f"{name}={_yaml(_plain(value, str(name), mistakes, (str(name),)), flow=True)}"


def _plain(value: Any, path: str, mistakes: list[str], keys: tuple[str, ...]) -> Any:
    """A value as YAML has it; ``keys`` lead to it, the last one of a field names what its functions are."""
    if isinstance(value, Mapping):
        return {k: _plain(v, f"{path}.{k}" if path else str(k), mistakes, (*keys, str(k))) for k, v in value.items()}
    if hasattr(value, "tolist") and hasattr(value, "dtype"):  # numbers of NumPy, PyTorch or pandas
        value = value.tolist()
    if isinstance(value, list | tuple | range):
        return [_plain(v, f"{path}[{i}]", mistakes, keys) for i, v in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, PurePath):
        return str(value)
    field = next((key for key in reversed(keys) if key in FIELDS), "")
    return _named(field, value, path, mistakes)


def _named(field: str, value: Any, path: str, mistakes: list[str]) -> Any:
    """The reference of a function, a class or an object of one; the field's usual value where there is none."""
    if isinstance(value, str):
        return value
    if field not in REFERENCES:
        mistakes.append(f"{path}: needs a number or a text, got {type(value).__name__}")
        return getattr(Cell(), field, None)
    if not callable(value) and not hasattr(value, "links") and not hasattr(value, "as_reference"):
        kind = type(value).__name__
        mistakes.append(f"{path}: needs a name, a function or a class, got {kind}")
        return getattr(Cell(), field)
    try:
        return objects.reference(REFERENCES[field], value)
    except UserError as error:
        mistakes.append(f"{path}: {error}")
        return getattr(Cell(), field)


class _Dumper(yaml.SafeDumper):
    """Texts in quotes unless they are words, for YAML versions differ in what else is one; no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        """Every value is written out."""
        return True


def _text(dumper: _Dumper, text: str) -> Any:
    style = None if _PLAIN_TEXT.fullmatch(text) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _yaml(value: Any, flow: bool) -> str:
    text: str = yaml.dump(
        value, Dumper=_Dumper, default_flow_style=flow, width=_WIDTH, allow_unicode=True, sort_keys=False
    )
    return text.strip().removesuffix("...").strip() if flow else text
