"""From a results folder to its report: reads the store, writes ``tables/``, ``heatmaps/`` and ``report.html``.

The same cells give the same bytes. Only files that were written here before are ever replaced or removed.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from flipbench.analysis import frame as frames
from flipbench.analysis import metrics
from flipbench.analysis.comparisons import said
from flipbench.analysis.metric_columns import metric_column
from flipbench.analysis.pivot import pivots
from flipbench.analysis.ranking import undrawn
from flipbench.analysis.settings import choice, sensitivity
from flipbench.analysis.statistics import LEAST_SEEDS
from flipbench.analysis.warnings import guards as all_guards
from flipbench.errors import UserError
from flipbench.report.html import templates
from flipbench.report.tables import attacks_csv, comparisons_csv, csv_format, decomposition_csv, stability
from flipbench.report.tables import custom as choosing
from flipbench.report.tables import sensitivity as sensitivity_tables
from flipbench.report.tables import summary as tables
from flipbench.report.tables.cells_csv import cells_parts
from flipbench.report.tables.latex import chosen_latex
from flipbench.report.tables.markdown import chosen_markdown
from flipbench.spec.distinct_texts import printable
from flipbench.store.store import Store
from flipbench.system import atomic_files

TABLES, HEATMAPS, PAGE = "tables", "heatmaps", "report.html"
FORMATS = ("md", "csv", "tex", "html")
_FIGURES = (".pdf", ".svg", ".png")
_ADVICE = (
    "free the place, or copy the results folder to one that can be written. 'flipbench report DIR --metric accuracy' "
    "prints a table and writes no file"
)


Read = tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]  # frame, tidy frame, plan


def write(
    folder: Path, known: Read | None = None, every: bool = False, look: Mapping[str, Any] | None = None
) -> list[Path]:
    """Write tables and figures of the latest plan's cells.

    Args:
        folder: ``results/<grid>``.
        known: what `read` gave; None: it is read.
        every: all figures of a large grid too.
        look: options of figures (`spec.figure_options`) in place of the grid's.

    Returns:
        The files, in the order written. Figures of an earlier plan that this one lacks are removed.

    Raises:
        UserError: the folder holds no plan, or cannot be written; ``look`` has a wrong value.
    """
    from flipbench.report.figures import catalogue, requests, style
    from flipbench.report.html import page as results_page  # matplotlib: the terminal's summary does without

    frame, tidy, plan = known or read(folder)
    options = requests.options(plan, look)
    with frames.labels_of(frame):
        views = pivots(frame, tidy)
        notes = [*warnings(frame, tidy, plan), *([] if every else requests.left_out(len(frame)))]
        notes += undrawn(views, metric_column("accuracy"))
        decisions = choice.read(folder)
        claims = sensitivity.of_all(views, decisions)
        texts: dict[str, Callable[[], str | Iterable[str] | None]] = {
            "cells.csv": lambda: cells_parts(tidy),
            "summary.md": lambda: tables.markdown(frame, views, plan, notes, claims),
            "summary.csv": lambda: tables.summary_csv(views),
            "summary.tex": lambda: tables.latex(views, plan, claims),
            "worst_over_attacks.csv": lambda: attacks_csv.worst_csv(views),
            "declared_f.csv": lambda: attacks_csv.declared_csv(views),
            "static_regret.csv": lambda: attacks_csv.regret_csv(views),
            "comparisons.csv": lambda: comparisons_csv.comparisons_csv(views),
            "sensitivity.csv": lambda: sensitivity_tables.csv(claims),
            "decomposition.csv": lambda: decomposition_csv.decomposition_csv(views),
            "stability.csv": lambda: stability.stability_csv(views),
            "statistics.csv": lambda: comparisons_csv.statistics_csv(views),
        }
        written = []
        for name, make in texts.items():  # one in memory at a time
            path = folder / TABLES / name
            if (text := make()) is not None:
                written.append(put(path, text.encode() if isinstance(text, str) else map(str.encode, text)))
            else:  # of an earlier plan
                with suppress(OSError):
                    path.unlink(missing_ok=True)
        shown: dict[str, bytes] = {}
        for planned in catalogue.figures(views, plan, every, decisions):
            made, too_small = catalogue.fitted(planned, options)
            notes += too_small
            with style.drawing(options):
                drawn = style.files(made, options.formats)
                shown[planned.name] = drawn[".png"] if ".png" in drawn else style.saved(made, "png")
            written += [put(folder / HEATMAPS / f"{planned.name}{suffix}", raw) for suffix, raw in drawn.items()]
        _remove_stale(folder / HEATMAPS, {p.name for p in written})
        written.append(put(folder / PAGE, results_page.write(frame, views, plan, notes, shown, claims=claims).encode()))
        return written


def page(folder: Path) -> str:
    """The report as it is now, with links to the figures that were drawn last; nothing is written.

    Args:
        folder: ``results/<grid>``.

    Raises:
        UserError: the folder holds no plan, or cannot be read.
    """
    from flipbench.report.html import page as results_page

    frame, tidy, plan = read(folder)
    with frames.labels_of(frame):
        drawn = sorted(p.name for p in (folder / HEATMAPS).glob("*.png"))
        views = pivots(frame, tidy)
        claims = sensitivity.of_all(views, choice.read(folder))
        return results_page.write(frame, views, plan, warnings(frame, tidy, plan), {}, drawn, claims)


def summary_text(folder: Path, width: int | None = None, known: Read | None = None, every: bool = False) -> str:
    """The summary for a terminal: accuracy of every rule, with what to know before believing it below.

    Args:
        folder: ``results/<grid>``.
        width: characters a line; None: the terminal's.
        known: what `read` gave; None: it is read.
        every: all figures of a large grid were drawn.

    Raises:
        UserError: the folder holds no plan.
    """
    from flipbench.report.figures import requests

    frame, tidy, plan = known or read(folder)
    with frames.labels_of(frame):
        room = shutil.get_terminal_size((100, 24)).columns if width is None else width
        views = pivots(frame, tidy)
        parts = [tables.title(plan), tables.terminal(views, max(40, room))]
        enough = int(frame["seed"].nunique()) >= LEAST_SEEDS
        marks = "* best of the column" + ("; ~ cannot be told from it" if enough else "")
        about = f"mean ± half width of the 95 % interval over seeds, {frames.headline_of(frame).said}"
        parts.append(f"{about}; {marks}; – infeasible; ? no number")
        parts.append(stability.sentence(views) or "")
        parts += sensitivity_tables.sentences(sensitivity.of_pages(views))
        if not enough and tidy["aggregator"].nunique() > 1:
            parts.append(said(int(frame["seed"].nunique())))
        if notes := [*warnings(frame, tidy, plan), *([] if every else requests.left_out(len(frame)))]:
            parts.append("\n".join(f"! {text}" for text in notes))
        return "\n\n".join(part for part in parts if part)


def chosen(
    folder: Path,
    metric: str = "accuracy",
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    where: Sequence[str] = (),
    form: str = "md",
    headline: str | None = None,
) -> str:
    """One table of one's own, as text in a format: md, csv, tex or html.

    Args:
        folder: ``results/<grid>``.
        metric, rows, columns, where: of `report.tables.custom.choose`; empty: its defaults.
        form: the format.
        headline: which rounds the numbers are of, in place of the grid's.

    Raises:
        UserError: the folder holds no plan; no such metric, field or format; no cell is left.
    """
    if form not in FORMATS:
        raise UserError(f"a table is written as {', '.join(FORMATS)}, not as {form!r}")
    frame, tidy, plan = read(folder, headline=headline)
    made = choosing.choose(frame, tidy, metric, rows or choosing.ROWS, columns or choosing.COLUMNS, where)
    if form == "csv":
        return csv_format.csv_text(made.names, made.lines)
    if form == "tex":
        return chosen_latex(made.block, made.said, str(plan.get("grid") or ""))
    if form == "md":
        return chosen_markdown(made.block, made.said)
    return templates.page(tables.title(plan), [templates.block_table(made.block), f"<p>{escape(made.said)}</p>"])


def warnings(frame: pd.DataFrame, tidy: pd.DataFrame, plan: Mapping[str, Any]) -> list[str]:
    """What to know before believing the numbers, one sentence each."""
    from flipbench.report.figures import requests

    guards = [printable(g.text, 500) for g in all_guards(frame, tidy)]
    return [*guards, *requests.wanted(plan)[1]]


def read(folder: Path, repairs: bool = False, headline: str | None = None) -> Read:
    """The cells of the latest plan, their metrics, and the plan.

    Args:
        folder: of a grid.
        repairs, headline: as of `analysis.frame.load`.

    Raises:
        UserError: the folder holds no plan, or cannot be read; there is no such headline, or it needs more late rounds
            than are evaluated.
    """
    frame = frames.load(folder, repairs, headline)
    return frame, metrics.evaluate(frame), Store(folder).read_plan()


def put(path: Path, raw: bytes | Iterable[bytes], advice: str = _ADVICE) -> Path:
    """Write through a temp file, so that a reader never sees half of it; an equal file keeps its date.

    Args:
        path: the file.
        raw: what goes into it, or its parts.
        advice: what to do where it cannot be written.

    Raises:
        UserError: it cannot be written.
    """
    try:
        atomic_files.replace(path, raw, lasting=False, keep_equal=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); {advice}") from error
    return path


def _remove_stale(folder: Path, keep: set[str]) -> None:
    """Figures of an earlier plan; whatever was not drawn here stays."""
    from flipbench.report.figures import style

    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.suffix in _FIGURES and path.name not in keep and path.is_file() and not path.is_symlink():
            with suppress(OSError):
                if style.is_ours(path):
                    path.unlink()
