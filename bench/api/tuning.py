"""Runs a tuned grid: its trials, the choice, then the reported cells with the grid's settings and with the chosen ones.

Each stage has a store of its own, so that an interrupted run goes on where it was: ``results/NAME/tuning`` holds the
trials, ``results/NAME`` what is reported. The choice follows from the trials alone, so it is made again at every run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from flipbench.analysis import frame as frames
from flipbench.analysis.settings import choice
from flipbench.analysis.settings.choice import Decision
from flipbench.analysis.settings.forms import ATTRIBUTE, BOTH, FIXED, TUNED
from flipbench.execution.runner import Outcome
from flipbench.grid.reader import Grid, contents
from flipbench.grid.trials import Tuning
from flipbench.report import write
from flipbench.report.tables.csv_format import csv_text
from flipbench.spec.cell import Cell
from flipbench.spec.key import key_of_normal
from flipbench.store.store import Store

FOLDER = choice.FOLDER
CHOSEN = "chosen.json"

Run = Callable[[Grid, Path], Outcome]


def run(grid: Grid, folder: Path, one: Run, *, retry_failed: bool = True) -> Outcome:
    """Run what a grid lacks, stage by stage; of a grid without ``tune:`` there is one.

    Args:
        grid: to run.
        folder: of its results.
        one: runs the cells of a grid into a folder.
        retry_failed: False: candidates whose trials failed are left out of the choice. True: nothing is chosen while
            some trials fail, and the outcome is that of the trials.

    Returns:
        The outcome of the reported cells, with what failed among the trials; that of the trials where the run ended
        there.
    """
    if grid.tuning is None:
        return one(grid, folder)
    tried = one(of_trials(grid), folder / FOLDER)
    if tried.interrupted or (tried.failed and retry_failed):
        return replace(tried, only_trials=True)
    decisions = decided(folder)
    publish(folder, decisions)
    outcome = one(reported(grid, decisions), folder)
    return replace(outcome, ran=outcome.ran + tried.ran, failed=(*tried.failed, *outcome.failed))


def of_trials(grid: Grid) -> Grid:
    """The trials as a grid of their own; its plan says what they are trials of."""
    own = _tuning(grid)
    keys = [_key(cell) for cell in own.trials]
    belongs: dict[str, list[list[int]]] = {}
    for key, of in zip(keys, own.belongs, strict=True):
        belongs.setdefault(key, []).extend(list(pair) for pair in of)
    said = {
        **{name: getattr(own, name) for name in ("metric", "criterion", "budget", "draw")},
        "seeds": list(own.seeds),
        "fields": {name: list(values) for name, values in own.fields.items()},
        "choices": [
            {
                "aggregator": c.aggregator,
                "setting": dict(c.setting),
                "possible": c.possible,
                "candidates": [dict(candidate) for candidate in c.candidates],
            }
            for c in own.choices
        ],
        "belongs": belongs,
    }
    title = f"Trials of {grid.title or grid.name}"
    said_so = {choice.MEMBER: said}
    return replace(grid, title=title, cells=own.trials, figures=(), tuning=None, seeds=None, in_plan=said_so)


def reported(grid: Grid, decisions: Sequence[Decision]) -> Grid:
    """The reported cells of both forms, and what the plan says of them."""
    own = _tuning(grid)
    tuned = own.tuned([d.picked.best for d in decisions])
    cells = tuple(dict.fromkeys((*grid.cells, *tuned)))
    keys = {cell: _key(cell) for cell in cells}
    fixed = {keys[cell] for cell in grid.cells}
    forms = {keys[c]: BOTH if c in tuned and keys[c] in fixed else TUNED if c in tuned else FIXED for c in cells}
    named = {keys[c]: name for c, name in tuned.items() if c.aggregator != name}
    facts = {"metric": own.metric, "criterion": own.criterion, "seeds": list(own.seeds), "candidates": own.budget}
    chosen = [
        {"aggregator": d.aggregator, "setting": dict(d.setting), "values": _plain(d.chosen), "reason": d.reason}
        for d in decisions
    ]
    said = {**facts, "fields": list(own.fields), "forms": forms, "compared_as": named, "chosen": chosen}
    return replace(grid, cells=cells, tuning=None, in_plan={ATTRIBUTE: said})


def short(own: Tuning) -> Iterator[str]:
    """Sentences about choices with fewer candidates than the budget, and about those drawn from more."""
    few = {c.aggregator: len(c.candidates) for c in own.choices if len(c.candidates) < own.budget}
    for aggregator, number in few.items():
        yield f"  {aggregator} has {number} combinations, fewer than the budget of {own.budget}: each is tried once"
    many = {c.aggregator: c.possible for c in own.choices if c.possible > own.budget}
    for aggregator, number in many.items():
        yield f"  {aggregator}: {own.budget} of {number} combinations are tried, drawn with seed {own.draw}"


def decided(folder: Path) -> list[Decision]:
    """The choices that follow from the trials in a folder of results."""
    return choice.read(folder)


def publish(folder: Path, decisions: Sequence[Decision]) -> None:
    """Write what was chosen, and the tables of candidates and trials, beside the trials."""
    place = folder / FOLDER
    plan = Store(place).read_plan()[choice.MEMBER]
    text = json.dumps(choice.document(decisions, plan), indent=1, allow_nan=False) + "\n"
    write.put(place / CHOSEN, text.encode())
    tables = {"candidates.csv": choice.table(decisions), "trials.csv": choice.trials(frames.load(place), plan)}
    for name, table in tables.items():
        lines = [[None if v != v else v for v in row] for row in table.astype(object).to_numpy().tolist()]
        write.put(place / write.TABLES / name, csv_text(list(table.columns), lines).encode())


def on_device(own: Tuning, device: Any) -> Tuning:
    """The same on another device."""
    reported_cells = tuple((replace(cell, device=device), number) for cell, number in own.reported)
    return replace(own, trials=tuple(replace(c, device=device) for c in own.trials), reported=reported_cells)


def _tuning(grid: Grid) -> Tuning:
    assert grid.tuning is not None
    return grid.tuning


def _plain(candidate: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if candidate is None else dict(candidate)


def _key(cell: Cell) -> str:
    return key_of_normal(cell, contents(cell))
