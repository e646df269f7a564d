"""``flipbench paper``: lists the shipped reproductions; runs one, compares it with the paper and writes the result."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flipbench.analysis import frame as frames
from flipbench.execution import runner
from flipbench.execution.progress import Progress, clock, counted
from flipbench.execution.runner import Outcome
from flipbench.grid import reader as grids
from flipbench.papers import figure, reader
from flipbench.papers import results as paper_results
from flipbench.papers import text as paper_tables
from flipbench.papers.model import Paper
from flipbench.papers.results import Result
from flipbench.report import write as report
from flipbench.spec.figure_options import FORMATS
from flipbench.spec.key import key
from flipbench.spec.reference import parse
from flipbench.store.store import Store

FOLDER = "papers"  # below the results
QUICK = "-quick"


@dataclass(frozen=True)
class Ran:
    """The result of running one paper.

    Attributes:
        outcome: the runner's.
        result: the comparison of published and measured numbers.
        files: the files that were written.
    """

    outcome: Outcome
    result: Result
    files: tuple[Path, ...]


def listing() -> str:
    """The shipped reproductions as a table for the terminal."""
    lines = [("name", "reproduces", "data", "cells", "on one core")]
    for name in reader.shipped():
        paper = reader.read(name)
        lines.append((name, paper.title, ", ".join(data_of(paper)), f"{len(paper.cells):,}", _time(paper)))
    widths = [max(len(line[i]) for line in lines) for i in range(5)]
    return "\n".join("  ".join(t.ljust(w) for t, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def data_of(paper: Paper) -> list[str]:
    """Names of the data sets that a paper needs, sorted."""
    return sorted({parse(c.dataset).name for c in paper.cells})


def _time(paper: Paper) -> str:
    return "not measured" if paper.minutes is None else clock(60 * paper.minutes)


def run(paper: Paper, results: Path, *, workers: int, progress: Progress, command: str | None = None) -> Ran:
    """Run the missing cells of a paper, then compare and write.

    Args:
        paper: the reproduction.
        results: where the folders of grids lie.
        workers: processes.
        progress: is called for every finished cell.
        command: stored with the plan.

    Raises:
        UserError: the data cannot be found, or the store or the tables cannot be written.
    """
    folder = folder_of(paper, results)
    asked = grids.Grid(paper.name, paper.title, paper.text, paper.file, paper.cells)
    outcome = runner.run(asked, folder, workers=workers, progress=progress, command=command)
    result = compare(paper, folder)
    return Ran(outcome, result, tuple(write(result, folder)))


def folder_of(paper: Paper, results: Path) -> Path:
    """Folder of a paper's cells and tables; a run that changes the protocol has a folder of its own."""
    return results / FOLDER / (paper.name + (QUICK if paper.changed else ""))


def compare(paper: Paper, folder: Path) -> Result:
    """The published numbers of a paper compared with the results in its folder.

    Raises:
        UserError: the folder holds no plan, or cannot be read.
    """
    keys = {cell: key(cell, grids.contents(cell)) for cell in paper.cells}
    return paper_results.result(paper, keys, frames.load(folder))


def write(result: Result, folder: Path) -> list[Path]:
    """Write ``table.md``, ``table.csv``, ``claims.csv``, ``table.tex`` and the figure into the folder.

    Raises:
        UserError: they cannot be written.
    """
    from flipbench.report.figures import style

    frame, plan = frames.load(folder), Store(folder).read_plan()
    texts = {
        "table.md": paper_tables.markdown(result, frame, plan),
        "table.csv": paper_tables.numbers_csv(result),
        "claims.csv": paper_tables.claims_csv(result),
        "table.tex": paper_tables.latex(result),
    }
    written = [report.put(folder / name, text.encode()) for name, text in texts.items()]
    if result.unfinished:  # a figure of an earlier run would show another state than the tables
        for path in (folder / f"figure.{name}" for name in FORMATS):
            if path.is_file() and style.is_ours(path):
                path.unlink()
        return written
    drawn = style.files(figure.draw(result))
    return [*written, *(report.put(folder / f"figure{suffix}", raw) for suffix, raw in drawn.items())]


def text(ran: Ran) -> str:
    """The result for the terminal."""
    lines = [paper_tables.terminal(ran.result)]
    if ran.result.unfinished:
        lines.append("Unfinished, so no figure is drawn: the same command goes on from here.")
    lines.append(f"wrote {counted(len(ran.files), 'file')} in {ran.files[0].parent}")
    return "\n\n".join(lines)
