"""A grid: ``axes`` of fields, whose product is the cells of a comparison.

``read`` takes a YAML file and the command line's overrides, reports every mistake at once with its position, and gives
the cells in order, each with the clean twin that its damage is measured against.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any

from flipbench import data
from flipbench.errors import UserError
from flipbench.grid import document, expansion, labels, seed_block, tune_block, yaml_tree
from flipbench.grid import overrides as overriding
from flipbench.grid.document import Mistake, Place
from flipbench.grid.fields import REFERENCES
from flipbench.grid.schema import schema
from flipbench.grid.trials import Tuning
from flipbench.plugins import source_hashes
from flipbench.spec.cell import CLEAN, Cell
from flipbench.spec.headline import LAST_ROUND, Headline, late_rounds
from flipbench.spec.key import ENGINE
from flipbench.spec.seed_plan import SeedPlan
from flipbench.spec.suggestions import near
from flipbench.versions import table as versions

__all__ = ["SHIPPED", "Grid", "GridError", "contents", "forget", "locate", "read", "schema", "shipped"]

SHIPPED = Path(__file__).parents[1] / "grids"

_LISTS = "; there are "  # begins a list of names in a message


class GridError(UserError):
    """All mistakes of one grid.

    Attributes:
        errors: one text a mistake, each with its position.
    """

    def __init__(self, errors: Sequence[str]) -> None:
        self.errors = tuple(errors)
        count = len(self.errors)
        super().__init__("\n".join([*self.errors, f"{count} mistake{'s' * (count > 1)}; nothing was run"]))


@dataclass(frozen=True, repr=False)
class Grid:
    """Cells to run and what to draw of them.

    Attributes:
        name: names the results folder.
        title: for reports.
        source: the YAML text.
        file: where it was read from.
        cells: in the order of the file, in normal form, without repetition, clean twins included.
        figures: ``{kind: heatmap, metric: accuracy}`` and the like.
        warnings: what is sound and hardly meant, each with its position: attacks that cannot act.
        labels: (field, or nothing for a reference in any field; value; what tables and figures call it).
        figure_options: of all figures (`spec.figure_options`).
        headline: which rounds the numbers of a cell are of.
        tuning: of a tuned grid: its trials. ``cells`` then are as the grid gives them, before anything is chosen.
        in_plan: what a run adds to its plan.
        seeds: of a sequential run, which may need only some of the cells; None for a fixed number of seeds.
    """

    name: str
    title: str | None
    source: str
    file: str
    cells: tuple[Cell, ...]
    figures: tuple[Mapping[str, Any], ...] = ()
    labels: tuple[labels.Entry, ...] = ()
    warnings: tuple[str, ...] = ()
    figure_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    headline: Headline = LAST_ROUND
    tuning: Tuning | None = None
    in_plan: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seeds: SeedPlan | None = None

    def __repr__(self) -> str:
        clean = sum(not cell.attacked for cell in self.cells)
        return f"<Grid {self.name}: {len(self.cells):,} cells, {clean:,} of them clean>"


def read(
    which: str | Path,
    overrides: Sequence[str] = (),
    add_aggregators: Iterable[str] = (),
    named: Callable[[str], None] | None = None,
    headline: str | None = None,
) -> Grid:
    """The grid of a file or of a shipped name.

    Args:
        which: a path, or the name of a shipped grid.
        overrides: ``field=value`` (a list makes an axis) or ``field.option=value`` (an option of a reference).
        add_aggregators: references to add to the axis of aggregators.
        named: called with the grid's name as soon as it is known, seconds before a large grid is read.
        headline: in place of the file's (`spec.headline.parse`); None: as it says.

    Raises:
        GridError: with all mistakes of file and overrides.
        UserError: no such grid.
    """
    path = locate(which)
    return read_text(text_of(path), path.stem, str(path), overrides, add_aggregators, named, headline=headline)


def read_text(
    text: str,
    default_name: str,
    file: str,
    overrides: Sequence[str] = (),
    add_aggregators: Iterable[str] = (),
    named: Callable[[str], None] | None = None,
    position: Callable[[Mistake], str] | None = None,
    headline: str | None = None,
) -> Grid:
    """The grid of a YAML text.

    Args:
        text: of the file.
        default_name: where the text gives no name.
        file: as messages and reports name it.
        overrides, add_aggregators, named, headline: as of `read`.
        position: says a mistake with its position; None: ``file:line:column: field: message``.

    Raises:
        GridError: with all mistakes of text and overrides.
    """
    forget()
    sheet = document.read(text, default_name, [seed_block.KEY])
    overriding.override(sheet, overrides, add_aggregators)
    seeds = seed_block.apply(sheet)
    if headline is not None:
        document.set_headline(sheet, Place(f"--headline {headline}"), headline)
    document.check(sheet)
    if named is not None and not sheet.mistakes:
        named(sheet.name)
    block = tune_block.read(sheet)
    cells, tuning = expansion.expand_with_trials(sheet, block)
    given = labels.read(sheet, cells) if not sheet.mistakes else ()
    _check_headline(sheet, cells)
    refuse(sheet, file, position)
    say = position or (lambda mistake: mistake.text(file))
    noted = tuple(map(say, sorted(sheet.warnings, key=lambda w: w.place)))
    drawn = tuple(sheet.figures), given, noted, dict(sheet.figure_options)
    return Grid(sheet.name, sheet.title, text, file, cells, *drawn, sheet.headline, tuning, seeds=seeds)


def _check_headline(sheet: document.Sheet, cells: Iterable[Cell]) -> None:
    """Every cell evaluates the late rounds that the headline needs."""
    needed = sheet.headline.rounds
    fewest = min(map(late_rounds, cells), default=needed) if needed > 1 else needed
    if fewest < needed:
        text = (
            f"{sheet.headline} needs {needed} evaluated rounds in the second half of training, and some cells have "
            f"{fewest}: set evaluate_last: {needed}"
        )
        sheet.wrong(sheet.headline_place or Place(), "headline", text)


def text_of(path: Path) -> str:
    """The text of a YAML file.

    Raises:
        GridError: too long, or not UTF-8.
        UserError: it cannot be read.
    """
    try:
        return yaml_tree.decode(_bytes(path))
    except yaml_tree.YamlError as error:
        p = error.problem
        raise GridError([Mistake(Place("", p.line, p.column), "", p.text).text(str(path))]) from error


def refuse(sheet: document.Sheet, file: str | Path, position: Callable[[Mistake], str] | None = None) -> None:
    """Raise all mistakes of a sheet, in the order of the file; nothing where there is none.

    Raises:
        GridError: with all of them.
    """
    if sheet.mistakes:
        say = position or (lambda mistake: mistake.text(str(file)))
        raise GridError(_lists_once([say(m) for m in sorted(sheet.mistakes, key=lambda m: m.place)]))


def _lists_once(errors: Sequence[str]) -> list[str]:
    """Many misspelt names of one kind fail alike: what there is to choose from is listed with the first."""
    listed: set[str] = set()
    short = []
    for error in errors:
        start, has_list, names = error.partition(_LISTS)
        short.append(start if names in listed else error)
        listed |= {names} if has_list else set()
    return short


def shipped(folder: Path = SHIPPED) -> list[str]:
    """Names of the grids that come with flipbench."""
    return sorted(p.stem for p in folder.glob("*.yaml"))


def locate(which: str | Path, folder: Path = SHIPPED, what: str = "grid") -> Path:
    """The file of a grid, or of something else that ships as YAML files in a folder.

    Raises:
        UserError: neither a file nor a shipped name.
    """
    text = str(which)
    looks_like_path = isinstance(which, Path) or "/" in text or "\\" in text or text.endswith((".yaml", ".yml"))
    if not looks_like_path and text in shipped(folder):
        return folder / f"{text}.yaml"
    path = Path(text)
    if os.path.isfile(text):  # of a name that is too long, too, it says no
        return path
    if os.path.isdir(text):
        raise UserError(f"{text} is a folder; give the path of a {what} file in it, like {path / f'my_{what}.yaml'}")
    if looks_like_path:
        raise UserError(f"there is no {what} file {text}; looked at {path.absolute()}")
    short = text if len(text) <= 200 else text[:200] + "…"
    raise UserError(
        f"there is no {what} {short!r}{near(text, shipped(folder))}; shipped are {', '.join(shipped(folder))}; "
        f"or give the path of a file, like ./my_{what}.yaml"
    )


def contents(cell: Cell) -> dict[str, str]:
    """Hashes of what the cell's fields only name, for its key.

    The data's bytes, the source of each plug-in, and the versions of the numbers of shipped code that is not at its
    first.
    """
    return dict(_contents(_references(cell)))


def forget() -> None:
    """Hash data and plug-ins anew: a file may have changed since."""
    _contents.cache_clear()
    _data_hash.cache_clear()
    _source_hash.cache_clear()
    versions.forget()


_references = attrgetter(*REFERENCES)


@cache
def _contents(references: tuple[str, ...]) -> dict[str, str]:
    given = dict(zip(REFERENCES, references, strict=True))
    hashes = {"dataset": _data_hash(given.pop("dataset"))}
    for field, text in given.items():
        if text != CLEAN and (value := _source_hash(REFERENCES[field], text)) is not None:
            hashes[field] = value
    if (engine := source_hashes.engine_mark()) is not None:
        hashes[ENGINE] = engine
    return hashes


@cache
def _data_hash(dataset: str) -> str:
    return data.content_hash(dataset)


@cache
def _source_hash(kind: str, text: str) -> str | None:
    return source_hashes.source_hash(kind, text)


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(yaml_tree.MAX_BYTES + 1)
    except OSError as error:
        raise UserError(f"the grid file {path} cannot be read: {error.strerror}") from error
