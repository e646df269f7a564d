"""The results of a grid in Python: a table of all cells, tables and figures of one's own, and the report on disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import pandas as pd

from flipbench.analysis import comparisons, metrics
from flipbench.analysis import frame as frames
from flipbench.analysis.pivot import pivots
from flipbench.analysis.rounds.late_rounds import HIDDEN
from flipbench.analysis.settings import choice
from flipbench.analysis.settings import sensitivity as settings
from flipbench.analysis.settings.forms import COMPARED_AS, FORM
from flipbench.errors import UserError
from flipbench.grid.fields import REFERENCES
from flipbench.plugins import objects
from flipbench.report import write
from flipbench.report.html import templates
from flipbench.report.tables import custom, rounds_csv
from flipbench.report.tables.latex import chosen_latex
from flipbench.report.tables.markdown import chosen_markdown
from flipbench.spec.cell import FIELDS
from flipbench.spec.figure_options import AllFigures, OneFigure
from flipbench.spec.headline import parse as parse_headline
from flipbench.spec.labels import bare, telling_apart
from flipbench.store.store import Store

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Fields = str | Sequence[str]
Where = Mapping[str, Any] | Sequence[str]


def load(folder: str | Path, headline: str | None = None) -> Results:
    """The results that lie in a grid's folder.

    >>> import flipbench as fb
    >>> fb.load(finished)
    <Results smoke: 12 cells, 12 done>

    Args:
        folder: ``results/<grid>``, of `run` or of ``flipbench run``.
        headline: which evaluated rounds all numbers are of: "last", "mean_last(5)", "min_last(5)"; None: as the grid
            says.

    Raises:
        UserError: no grid was run in this folder; there is no such headline.
    """
    return Results(Path(folder), headline)


def summarise(cells: pd.DataFrame, by: Fields, metric: str) -> pd.DataFrame:
    """Mean over seeds of a column of `Results.cells`, or of one of your own, for each group of cells.

    >>> means = fb.summarise(results.cells, ["attack", "aggregator"], "accuracy")
    >>> means.columns.tolist()
    ['attack', 'aggregator', 'mean', 'sd', 'n', 'low', 'high']

    Args:
        cells: rows of `Results.cells`, columns added or not.
        by: columns that make a group; what else varies but the seed is averaged within each seed first.
        metric: a column of numbers.

    Returns:
        One row a group, in order of appearance: its columns, mean, sd, n (seeds), low and high (95 % interval).

    Raises:
        UserError: a column is not there.
    """
    return comparisons.summarise(cells, _listed(by), metric)


class Results:
    """The cells of the latest run of a grid, read when they are first used.

    >>> results = fb.load(finished)
    >>> results.cells[["aggregator", "attack", "seed", "accuracy"]].shape
    (12, 4)

    Attributes:
        folder: where they lie.
        name: of the grid.
    """

    def __init__(self, folder: Path, headline: str | None = None) -> None:
        parse_headline(headline)
        self._headline = headline
        self.folder = folder.absolute()  # it is read when it is first asked for
        self._plan = Store(folder).read_plan()
        self.name = str(self._plan.get("grid") or folder.name)

    def __repr__(self) -> str:
        counts = self.raw["status"].value_counts()
        states = ", ".join(f"{counts[s]:,} {s}" for s in ("done", "infeasible", "failed", "missing") if s in counts)
        return f"<Results {self.name}: {len(self.raw):,} cells, {states}>"

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self)[1:-1])}</p>"

    @cached_property
    def raw(self) -> pd.DataFrame:
        """One row a cell with the raw counts as arrays: ``confusion`` (rounds, L, L), ``influence`` and others.

        The columns are described at `flipbench.analysis.frame.load`. Do not change it: everything else is computed
        of it.
        """
        return frames.load(self.folder, headline=self._headline)

    @cached_property
    def _tidy(self) -> pd.DataFrame:
        return metrics.evaluate(self.raw)

    @cached_property
    def cells(self) -> pd.DataFrame:
        """One row a cell: its key, its status, every field, every metric (shares from 0 to 1).

        Of each metric m: ``m`` (the headline, usually of the last round), ``m_last5`` (mean over the last rounds),
        ``m_clean`` (the same experiment without the attack), ``m_damage`` (paired difference, positive is harm),
        ``m_stability`` (whether it still moves at the end of training); NaN where the cell has no such number, as one
        that is infeasible. ``reason`` says why a cell is infeasible or failed.
        """
        forms = [name for name in (FORM, COMPARED_AS) if name in self.raw.columns]  # of a tuned grid
        known = self.raw[["key", "twin", "status", "reason", "clean", *FIELDS, *forms]]
        numbers = self._tidy[
            ["key", *(c for c in self._tidy.columns if c not in known.columns and not c.startswith(HIDDEN))]
        ]
        return known.merge(numbers, on="key", how="left").infer_objects()

    @cached_property
    def rounds(self) -> pd.DataFrame:
        """One row an evaluated round of a finished cell: key, fields that tell cells apart, round, every metric.

        >>> results = fb.load(finished)
        >>> results.rounds.groupby("round")["accuracy"].mean().index[-1]
        np.int64(2)

        docs/data_dictionary.md describes the columns.
        """
        return rounds_csv.rounds(self.raw)

    @cached_property
    def tuning(self) -> pd.DataFrame:
        """Of a tuned grid one row a candidate that was tried, with its score on validation examples; else empty.

        ``aggregator``, the tuned fields, ``score``, ``low`` and ``high``, ``worst_attack``, ``mean`` over the attacks,
        ``numbers`` of ``trials`` that have one, ``chosen`` (docs/tuning.md). The trials themselves:
        ``fb.load(results.folder / "tuning")``.

        Raises:
            UserError: the trials cannot be read.
        """
        return choice.table(choice.read(self.folder))

    @cached_property
    def sensitivity(self) -> pd.DataFrame:
        """One row a comparison of two rules that was made in several settings: in how many of them it holds.

        ``better`` and ``worse`` under an ``attack``; ``settings``, ``holds`` (of them), ``share``, ``significant``,
        ``reversed``, ``reversed_significant``, ``reversed_in`` (docs/tuning.md). Empty where no setting varies.

        Raises:
            UserError: the trials of a tuned grid cannot be read.
        """
        with frames.labels_of(self.raw):
            views = pivots(self.raw, self._tidy)
        return settings.table(settings.of_all(views, choice.read(self.folder)))

    @cached_property
    def failures(self) -> pd.DataFrame:
        """The cells that failed: key, fields, ``reason`` and ``traceback``."""
        failed = self.raw[self.raw["status"] == "failed"]
        return failed[["key", "reason", "traceback", *FIELDS]].reset_index(drop=True)

    @cached_property
    def warnings(self) -> list[str]:
        """What to know before believing the numbers, one sentence each."""
        with frames.labels_of(self.raw):
            return write.warnings(self.raw, self._tidy, self._plan)

    def table(
        self, metric: str = "accuracy", rows: Fields = custom.ROWS, columns: Fields = custom.COLUMNS, where: Where = ()
    ) -> Table:
        """Means over seeds with their 95 % intervals, arranged by fields of the cells.

        >>> results.table("source_recall", rows="aggregator", columns="attack").frame.index.tolist()
        ['fedavg', 'median']

        Args:
            metric: like ``accuracy``, ``source_recall_damage`` or ``accuracy_last5``.
            rows, columns: names of fields down and across. Clean twins stand in front; what is not named is averaged
                over within each seed.
            where: the cells that count: ``{"attack": "mirrored", "malicious_fraction": [0.1, 0.2]}``; several values of
                a field are alternatives. ``{"attack": "none"}``: clean cells alone.

        Raises:
            UserError: no such metric or field; no cell is left.
        """
        given = _listed(rows), _listed(columns), _conditions(where)
        return Table(custom.choose(self.raw, self._tidy, metric, *given), self.name)

    def heatmap(
        self,
        metric: str = "accuracy",
        *,
        attack: str | None = None,
        where: Where = (),
        ax: Axes | None = None,
        path: str | Path | None = None,
        **look: Unpack[OneFigure],
    ) -> Axes:
        """Aggregators down, what varies of the attack across, clean twins leftmost; drawn into axes of one's own.

        >>> ax = results.heatmap("source_recall")
        >>> ax.get_title()
        'Source recall (%), targeted 4→9'

        Args:
            metric: as of `table`.
            attack: which attack's; None: the first of the grid for which the metric is defined.
            where: as of `table`; for a grid with several data sets or partitions, which one: the first is drawn.
            ax: empty axes; a square needs about 0.5 x 0.45 inches. None: new ones of the right size.
            path: a .pdf, .svg or .png file to write, as of the report: with colour bar, title and caption.
            **look: with any of these a figure as of the report is drawn too. ``width`` and ``height`` in inches,
                ``title`` and ``caption`` (False leaves them out), ``font``. In axes of one's own: ``title`` and
                ``font``.

        Returns:
            The axes; the title says metric and attack. ``ax.figure`` is their figure.

        Raises:
            UserError: no such metric, attack or option; no cell is left; the width or height has no room for the
                squares; the file cannot be written.
        """
        from flipbench.api import axes

        return axes.heatmap(self._left(where), self._tidy, metric, attack, axes.Place.of(ax, path, look))

    def curves(
        self,
        *,
        attack: str | None = None,
        where: Where = (),
        ax: Axes | None = None,
        path: str | Path | None = None,
        **look: Unpack[OneFigure],
    ) -> Axes:
        """Test accuracy by round, one line an aggregator with its interval; dashed: the clean twins.

        Args:
            attack: which attack's; None: the first of the grid.
            where: as of `table`; where several settings are left, the first is drawn.
            ax: empty axes; None: new ones.
            path, **look: as of `heatmap`.

        Raises:
            UserError: as of `heatmap`.
        """
        from flipbench.api import axes

        return axes.curves(self._left(where), attack, axes.Place.of(ax, path, look))

    def report(self, **look: Unpack[AllFigures]) -> list[Path]:
        """Write ``tables/``, ``heatmaps/`` and ``report.html`` into the folder, as ``flipbench report`` does.

        Args:
            **look: ``width``, ``height``, ``title``, ``caption``, ``font`` and ``formats`` of all figures, in place of
                those of the grid's ``figures:``.

        Returns:
            The files.

        Raises:
            UserError: the folder cannot be written; no such option, or a value that it cannot have.
        """
        return write.write(self.folder, (self.raw, self._tidy, self._plan), look=look)

    def _left(self, where: Where) -> pd.DataFrame:
        """The cells that are asked for, and the clean twins of those of them that are attacked."""
        conditions = _conditions(where)
        return custom.matching(self.raw, conditions) if conditions else self.raw


@dataclass(frozen=True)
class Table:
    """A table of means over seeds; shows itself in a notebook.

    Attributes:
        chosen: texts and numbers, of `flipbench.report.tables.custom`.
        grid: name of the grid, first part of the label in LaTeX.
    """

    chosen: custom.Chosen
    grid: str = ""

    @property
    def squares(self) -> pd.DataFrame:
        """One row a square of the table: its fields and its numbers, shares from 0 to 1.

        ``state`` (done, infeasible, failed, undefined or absent), ``n`` (seeds), ``mean``, ``sd``, ``low`` and ``high``
        (95 % interval), ``tied`` (cannot be told from the best of its column), ``reason`` (why infeasible).
        """
        found = pd.DataFrame(list(self.chosen.lines), columns=list(self.chosen.names))
        with telling_apart({"": [v for line in self.chosen.lines for v in line if isinstance(v, str)]}):
            return found.map(lambda v: bare(v) if isinstance(v, str) else v)

    @property
    def frame(self) -> pd.DataFrame:
        """The means as they are arranged, shares from 0 to 1; NaN where a square has no number."""
        squares = self.squares
        fields = self.chosen.names[1 : self.chosen.names.index("state")]
        across = len(self.chosen.block.levels)
        rows, columns = list(fields[:-across]), list(fields[-across:])
        high, wide = len(self.chosen.block.rows), self.chosen.block.width
        values = squares["mean"].to_numpy(dtype=float).reshape(wide, high).T
        return pd.DataFrame(
            values,
            index=_index(squares[rows].iloc[:high]),
            columns=_index(squares[columns].iloc[::high]),
        )

    def to_markdown(self) -> str:
        """The table as GitHub's Markdown, with what its marks mean below."""
        return chosen_markdown(self.chosen.block, self.chosen.said)

    def to_latex(self) -> str:
        """The table as LaTeX for a paper; needs the package booktabs, as its first line says."""
        return chosen_latex(self.chosen.block, self.chosen.said, self.grid)

    def __repr__(self) -> str:
        return self.to_markdown()

    def _repr_html_(self) -> str:
        return f"{templates.block_table(self.chosen.block)}<p>{escape(self.chosen.said)}</p>"


def _index(levels: pd.DataFrame) -> pd.Index[Any]:
    several: pd.Index[Any] = pd.MultiIndex.from_frame(levels)
    return several if levels.shape[1] > 1 else pd.Index(levels.iloc[:, 0], name=levels.columns[0])


def _listed(fields: Fields) -> tuple[str, ...]:
    return (fields,) if isinstance(fields, str) else tuple(fields)


def _conditions(where: Where) -> list[str]:
    """``FIELD=VALUE`` for every value that is asked for."""
    if isinstance(where, str):
        return [where]
    if not isinstance(where, Mapping):
        return list(where)
    found = []
    for name, values in where.items():
        several = values if isinstance(values, Iterable) and not isinstance(values, str) else [values]
        found += [f"{name}={_said(name, v)}" for v in several]
    return found


def _said(name: str, value: Any) -> str:
    if value is None:
        return "none"
    return str(objects.reference(REFERENCES[name], value) if name in REFERENCES else value)


__all__ = ["Results", "Table", "UserError", "load"]
