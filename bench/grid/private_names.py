"""Names that would carry a user or the folders of a machine into results, which are published.

Results hold the names of plug-ins and their options as the grid gives them, because the key of a cell depends on them.
Where a data set's files lie is no part of the key: results hold those paths shortened (`system.private_paths`).
"""

from __future__ import annotations

from collections.abc import Iterator

from flipbench.grid.document import Given, Mistake, Sheet
from flipbench.grid.fields import REFERENCES
from flipbench.spec.key import PLACES
from flipbench.spec.reference import parse
from flipbench.system import private_paths


def warnings(sheet: Sheet) -> Iterator[Mistake]:
    """Each such name of a sound grid once, with its position."""
    seen: set[str] = set()
    for field, given in _given(sheet):
        if field not in REFERENCES or not isinstance(given.value, str) or given.value in seen:
            continue
        seen.add(given.value)
        if (shown := private_paths.in_text(name := _stored(field, given.value))) != name:
            text = (
                f"{given.value!r} stands in all results as it is, and says who you are or how this machine is laid out "
                f"(without that it is {shown!r}): put the file below the working folder or the home folder, "
                "and give options paths from the working folder"
            )
            yield Mistake(given.place, field, text)


def _given(sheet: Sheet) -> Iterator[tuple[str, Given]]:
    yield from sheet.base.items()
    for field, values in sheet.axes.items():
        yield from ((field, given) for given in values)
    for case in sheet.cases or ():
        yield from case.items()


def _stored(field: str, value: str) -> str:
    """A name as results hold it."""
    return str(parse(value).without(*PLACES)) if field == "dataset" else value
