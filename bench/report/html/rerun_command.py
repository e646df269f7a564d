"""The command that runs one cell again: that of the run, with every field that varies set to the cell's value.

``--set`` takes a field out of axes, cases and base alike, so what is left is this one cell and its clean twin.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from flipbench.spec.cell import FIELDS
from flipbench.spec.labels import is_nothing

FOLDER = "rerun"  # another place for results, so that the stored cell is not taken for done
_FLAGS = {"--download", "--progress", "--no-progress", "--retry-failed", "--keep-failed"}
_PLAIN = re.compile(r"[A-Za-z_]\w*(\([\w=., \[\]-]*\))?")
_WORDS = {"null", "true", "false", "yes", "no", "on", "off", "y", "n", "nan", "inf"}  # to YAML more than text
_COUNT, _FRACTION, _DECLARED = "malicious_count", "malicious_fraction", "declared_byzantine"


@dataclass(frozen=True)
class Rerun:
    """How to run any cell of a grid again.

    Attributes:
        start: the command up to the fields; None where the plan does not tell how the grid was run.
        fields: those that tell its cells apart.
    """

    start: str | None
    fields: tuple[str, ...]

    def command(self, cell: Mapping[str, Any]) -> str | None:
        """The command of a cell, given as a row of `analysis.frame.load`."""
        options = [setting(f, cell[f]) for f in self.fields]
        return None if self.start is None else " ".join([self.start, *options])


def rerun(plan: Mapping[str, Any], cells: pd.DataFrame) -> Rerun:
    """The commands of a grid.

    Args:
        plan: the grid's.
        cells: those of its cells that have a record, of `analysis.frame.load`.
    """
    fields = [f for f in FIELDS if f != _FRACTION and len(pd.factorize(cells[f], use_na_sentinel=False)[1]) > 1]
    settled = {*fields}
    if _COUNT in fields:
        fields.remove(_COUNT)
        fields.append(_COUNT if _counted(plan) else _FRACTION)
        settled |= {_COUNT, _FRACTION}
        # The declared f follows from it, but a clean twin is told that of the attacked cell.
        fields += [] if _DECLARED in fields else [_DECLARED]
    return Rerun(_start(plan, settled), tuple(sorted(fields, key=FIELDS.index)))


def setting(field: str, value: Any) -> str:
    """The options that set a field to a value, quoted for a shell."""
    option = f"--set {shlex.quote(f'{field}={_yaml(value)}')}"
    return f"--set {_FRACTION}=null {option}" if field == _COUNT else option


def _counted(plan: Mapping[str, Any]) -> bool:
    """Whether the grid gives numbers of malicious clients rather than their share."""
    return any(_COUNT in str(plan.get(part) or "") for part in ("source", "command"))


def _yaml(value: Any) -> str:
    if is_nothing(value):
        return "null"
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS
        return value if plain else json.dumps(value, ensure_ascii=False)
    return json.dumps(value.item() if hasattr(value, "item") else value)


def _start(plan: Mapping[str, Any], settled: set[str]) -> str | None:
    """The run's command without what chose cells, workers or a folder."""
    try:
        words = shlex.split(str(plan.get("command") or ""))
    except ValueError:
        return None
    options, rest = _options(words[2:])
    if words[:2] != ["flipbench", "run"] or len(rest) != 1:
        return None
    words = ["flipbench", "run", rest[0]]
    for name, value in options:
        field = {"--set": re.split(r"[.=]", value, maxsplit=1)[0].strip(), "--device": "device"}.get(name)
        if field is not None and field not in settled:
            words += [name, value]
    return shlex.join([*words, "--results", FOLDER])


def _options(words: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """Options with their values; what is left."""
    options, rest, at = [], [], 0
    while at < len(words):
        name, equals, value = words[at].partition("=")
        if not name.startswith("--"):
            rest.append(words[at])
        elif equals:
            options.append((name, value))
        elif name not in _FLAGS and at + 1 < len(words):
            at += 1
            options.append((name, words[at]))
        at += 1
    return options, rest
