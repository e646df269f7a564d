"""The two forms of a tuned grid: every rule with the grid's own settings (fixed), and with those chosen for it (tuned).

A cell may be of both: where what was chosen is what the grid gives. A table shows one form; the rules of the tuned one
have the names that the grid gives them, whatever options were chosen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from flipbench.errors import UserError

FORM, COMPARED_AS = "form", "compared_as"  # columns of the frame of a tuned grid
FIXED, TUNED, BOTH = "fixed", "tuned", "both"
SAID = {FIXED: "fixed settings", TUNED: "tuned settings"}  # a form in headings and file names
ORDER = (TUNED, FIXED)  # of pages: first the comparison that gives each rule its own settings
ATTRIBUTE = "tuning"  # of a frame's ``attrs``: the plan's member of that name


@dataclass(frozen=True)
class Chosen:
    """What a page says of the settings of its rules.

    Attributes:
        fields: that were tuned, as the grid names them.
        choices: of the rules of the page: ``aggregator``, ``setting``, ``values`` (None: nothing could be chosen).
        metric, criterion, seeds, candidates: of the trials.
    """

    fields: tuple[str, ...]
    choices: tuple[Mapping[str, Any], ...]
    metric: str
    criterion: str
    seeds: tuple[int, ...]
    candidates: int


def added(frame: pd.DataFrame, plan: Mapping[str, Any]) -> pd.DataFrame:
    """The frame with the columns ``form`` and ``compared_as``, where its grid was tuned.

    Args:
        frame: one row a cell of the plan.
        plan: of its store.
    """
    tuning = plan.get(ATTRIBUTE)
    if not tuning:
        return frame
    forms, names = tuning["forms"], tuning["compared_as"]
    named = [names.get(key, own) for key, own in zip(frame["key"], frame["aggregator"], strict=True)]
    found = frame.copy()  # in one piece: pandas warns of frames of many columns that grow by one more
    found[FORM], found[COMPARED_AS] = frame["key"].map(forms), pd.Series(named, index=frame.index, dtype=object)
    found.attrs[ATTRIBUTE] = tuning
    return found


def is_tuned(frame: pd.DataFrame) -> bool:
    """Whether the grid has two forms."""
    return FORM in frame.columns


def of_form(frame: pd.DataFrame, form: str) -> pd.DataFrame:
    """The cells of one form, by the names under which they are compared; all of a grid without forms.

    Raises:
        UserError: no such form.
    """
    if form not in ORDER:
        raise UserError(f"a form is {' or '.join(ORDER)}, got {form!r}")
    if not is_tuned(frame):
        return frame
    cells = frame[frame[FORM].isin([form, BOTH])]
    cells = cells.assign(**{FORM: form})
    return cells.assign(aggregator=cells[COMPARED_AS]) if form == TUNED else cells


def asked(frame: pd.DataFrame, where: Sequence[str]) -> tuple[str | None, list[str]]:
    """The form that conditions like ``form=fixed`` ask for, and the other conditions.

    Raises:
        UserError: the grid has no forms, or several are asked for.
    """
    of = [condition.partition("=")[2].strip() for condition in where if condition.partition("=")[0].strip() == FORM]
    rest = [condition for condition in where if condition.partition("=")[0].strip() != FORM]
    if of and not is_tuned(frame):
        raise UserError("form is of tuned grids, and this one has no tune: block; leave form out")
    if unknown := [form for form in of if form not in ORDER]:
        raise UserError(f"a form is {' or '.join(ORDER)}, got {unknown[0]!r}")
    if len(set(of)) > 1:
        raise UserError(f"one form at a time: {' or '.join(dict.fromkeys(of))}")
    return (of[0] if of else None), rest


def each(frame: pd.DataFrame) -> Iterator[tuple[dict[str, str], pd.DataFrame]]:
    """What tells the forms apart, and their cells; all cells at once of a grid without forms."""
    if not is_tuned(frame):
        yield {}, frame
        return
    for form in ORDER:
        if len(cells := of_form(frame, form)):
            yield {FORM: SAID[form]}, cells


def chosen(frame: pd.DataFrame, about: Mapping[str, Any]) -> Chosen | None:
    """What was chosen for the rules of a page; None on a page of anything else than tuned cells.

    Args:
        frame: of `analysis.frame.load`.
        about: the fields that tell the page from others.
    """
    tuning = frame.attrs.get(ATTRIBUTE)
    if tuning is None or about.get(FORM) != SAID[TUNED]:
        return None
    here = [c for c in tuning["chosen"] if all(c["setting"].get(f, v) == v for f, v in about.items())]
    settings = [{f: v for f, v in c["setting"].items() if f not in about} for c in here]
    choices = tuple({**c, "setting": own} for c, own in zip(here, settings, strict=True))
    facts = tuning["metric"], tuning["criterion"], tuple(tuning["seeds"]), int(tuning["candidates"])
    return Chosen(tuple(tuning["fields"]), choices, *facts)


def fixed(frame: pd.DataFrame, about: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields that were tuned, on a page of the grid's own settings; nothing on other pages."""
    tuning = frame.attrs.get(ATTRIBUTE)
    return () if tuning is None or about.get(FORM) != SAID[FIXED] else fields_of(tuning["fields"])


def fields_of(names: Sequence[str]) -> tuple[str, ...]:
    """The fields of a cell that names of tuned fields and options are of."""
    return tuple(dict.fromkeys(name.partition(".")[0] for name in names))
