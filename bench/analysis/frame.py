"""The store as a table: one row a cell of the plan, every field a column, the raw counts as arrays beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from flipbench.analysis import parallel_read
from flipbench.analysis.columns import plain
from flipbench.analysis.record_rows import COLUMNS
from flipbench.analysis.settings import forms
from flipbench.analysis.statistics import sequential
from flipbench.privacy import of_tables
from flipbench.spec import seed_plan
from flipbench.spec.cell import FIELDS, HONEST
from flipbench.spec.headline import Headline
from flipbench.spec.headline import parse as parse_headline
from flipbench.spec.labels import PLACES, telling_apart
from flipbench.spec.reference import Reference, parse
from flipbench.store.store import Store

_ARRAYS = {"classes", "mapping", "rounds_evaluated", "confusion", "participants", "influence", "norms", "fedavg_gap"}
_ARRAYS |= {"content", "malicious", "flips", "examples", "nonfinite", "no_prediction", "clamped"}
_ARRAYS |= {"kept", "class_counts"}
_ARRAYS |= {"places", "search", "stamped", "attacked_rounds"}

DAMAGED = "damaged"  # of a frame's ``attrs``: key of a missing cell -> its file that cannot be trusted, and why
GIVEN = "labels"  # of a frame's ``attrs``: the labels of the grid, as its plan holds them
SEEDS = "seeds"  # of a frame's ``attrs``: the plan of a sequential run (`spec.seed_plan`), or None
HEADLINE = "headline"  # of a frame's ``attrs``: which rounds its numbers are of, as text (`spec.headline`)


def load(folder: Path, repairs: bool = False, headline: str | None = None) -> pd.DataFrame:
    """The cells of the latest plan, in its order, as they are in the store.

    Args:
        folder: ``results/<grid>``.
        repairs: put damaged files in quarantine, so that the next run computes their cells; False: write nothing.
        headline: which rounds the numbers are of (`spec.headline.parse`), in place of the plan's; None: as it says.

    Returns:
        One row a cell with `COLUMNS`. ``status`` is done, infeasible, failed or missing; of a missing cell only the
        key is known, and only a done cell has counts; what is not known is None (seconds: NaN). These hold objects:

        - ``content``: tuple of (what a field names, hash of its content);
        - ``classes``: tuple of the L names; ``mapping``: tuple of (source, target) or None;
        - ``rounds_evaluated``: (rounds,) int; ``confusion``: (rounds, L, L) int, rows true, columns predicted, of the
          least width that holds the counts: numpy sums them wide, convert them before any other arithmetic; where some
          test images have no prediction (the model's logits are not finite) (rounds, L, L + 1), the last column
          counting these;
        - ``no_prediction``: tuple of the evaluated rounds with such images; ``clamped``: tuple of the rounds in which
          the server's step made running variances negative, so that they were set to zero;
        - ``participants``: (rounds, clients a round) int, who took part;
        - ``influence``, ``norms``: (rounds, clients a round) float; ``fedavg_gap``: (rounds,) float; NaN where null;
        - ``kept``: (rounds, clients a round) int8, 1 where the rule said that it kept the client, 0 where not, -1 in
          rounds in which it told nothing; None where it never did, or the record is from before that was stored;
        - ``class_counts``: (clients, L) int, true classes of what each trains on; None where all are dealt alike;
        - ``bytes_up``, ``bytes_down``: sent and received by the clients of a round together; ``rule_peak``: bytes of
          one call of the rule; None where that was not recorded;
        - ``malicious``: tuple of ids; ``examples``: (clients,) int; ``nonfinite``: {round: count};
        - ``flips``: tuple of {client, examples, eligible, selected, changed}, one a malicious client;
        - ``places``: tuple of where the attack acts (labels, examples, updates), empty for a clean cell; ``search``:
          what an adaptive label attack tried and found, or None; ``trials``: how many federations that took;
        - ``stamped``: (rounds, L, L) int, the confusion over test images with a backdoor's trigger, or None;
          ``target``: the backdoor's class; ``attacked_rounds``: tuple of rounds, None where it was not recorded.

        ``malicious_fraction`` is malicious_count / clients, sybils among them; ``clean`` says whether nothing is
        attacked (then ``declared_byzantine`` tells which twin it is). ``adaptive`` says whether the attack knows the
        rule it faces, ``dynamic`` whether it follows the global model. ``seconds`` is the sum over the phases.

    Of a tuned grid two columns more: ``form`` (fixed, tuned or both) and ``compared_as``, the aggregator as the
    grid gives it (`analysis.settings.forms`).

    Equal objects of different cells are one object, and arrays cannot be written to: a hundred thousand cells fit
        into a gigabyte.

    Raises:
        UserError: the folder holds no plan, or cannot be read; there is no such headline.
    """
    plan = Store(folder).read_plan()
    return of_plan(folder, plan, repairs, headline)


def of_plan(folder: Path, plan: Mapping[str, Any], repairs: bool = False, headline: str | None = None) -> pd.DataFrame:
    """The same of a plan that need not be the folder's latest.

    Args:
        folder, repairs, headline: as of `load`.
        plan: ``keys``, and what else a plan holds.
    """
    keys = list(dict.fromkeys(plan["keys"]))
    frame = _one_place(_frame_of(parallel_read.read(folder, keys, repairs)))
    missing = frozenset(frame.loc[frame["status"] == "missing", "key"])
    frame.attrs[DAMAGED] = Store(folder).damage(missing) if missing else {}
    frame.attrs[HEADLINE] = str(parse_headline(headline if headline is not None else plan.get("headline")))
    frame.attrs[SEEDS] = None if plan.get("seeds") is None else seed_plan.from_mapping(plan["seeds"])
    frame.attrs[GIVEN] = [tuple(entry) for entry in plan.get("labels") or ()]
    return forms.added(frame, plan)


def of_honest_noise(frame: pd.DataFrame) -> pd.Series[bool]:
    """Which cells are noise twins: not attacked, and no clean twins either."""
    return frame["intent"] == HONEST


def headline_of(frame: pd.DataFrame) -> Headline:
    """Which rounds the numbers of a frame's cells are of: what its plan says, else the last one."""
    return parse_headline(frame.attrs.get(HEADLINE))


def _one_place(frame: pd.DataFrame) -> pd.DataFrame:
    """Equal data under several paths, as after a move of its files, under the first one: it is one data set."""
    known = frame[["dataset", "data_sha256"]].dropna().drop_duplicates()
    first: dict[tuple[str, str], dict[str, Any]] = {}
    texts: dict[tuple[str, str], str] = {}
    for text, content in zip(known["dataset"].astype(str), known["data_sha256"].astype(str), strict=True):
        link = parse(text)
        place = first.setdefault((link.name, content), {k: v for k, v in link.options.items() if k in PLACES})
        texts[text, content] = str(Reference(link.name, {**link.without(*PLACES).options, **place}))
    if all(text == same for (text, _), same in texts.items()):
        return frame
    pairs = zip(frame["dataset"], frame["data_sha256"], strict=True)
    return frame.assign(dataset=[texts.get(pair, pair[0]) for pair in pairs])


def _frame_of(read: Iterable[parallel_read.Part]) -> pd.DataFrame:
    """Parts below one another, as a frame with all of `COLUMNS`, in order."""
    values: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for part in read:
        for so_far, column in zip(values.values(), part, strict=True):
            so_far.extend(column)
    return pd.DataFrame({name: _column(name, values.pop(name)) for name in COLUMNS}, copy=False)


def _column(name: str, values: Sequence[Any]) -> pd.Series[Any]:
    if name.startswith("seconds"):
        return pd.Series(values, dtype=np.float64)
    column = np.empty(len(values), dtype=object)  # as objects: pandas would look into every array otherwise
    if name in _ARRAYS:
        for place, value in enumerate(values):
            column[place] = value  # an array stays whole
        return pd.Series(column, dtype=object)
    column[:] = values
    found = pd.Series(column, dtype=object)
    return found if None in values else typed(found)  # with a None in it, 20 would become 20.0


def typed(column: pd.Series[Any]) -> pd.Series[Any]:
    """A column of objects as numbers or truth values where all are; text stays objects, which are quick to walk."""
    first = column.iloc[0] if len(column) else None
    return column if column.dtype != object or isinstance(first, str | tuple) else column.infer_objects()


@contextmanager
def labels_of(*frames: pd.DataFrame) -> Iterator[None]:
    """Inside, what is shown of these frames: labels and intervals.

    Every label tells its value from all others of them (`spec.labels.telling_apart`); of sequential runs intervals and
    p values allow for all looks (`analysis.statistics.sequential`; of several frames, for those of the first such).

    Args:
        frames: of `analysis.frame.load`.
    """
    values = {name: [v for frame in frames for v in _values(frame, name)] for name in FIELDS}
    given: list[Any] = [tuple(entry) for frame in frames for entry in frame.attrs.get(GIVEN, ())]
    given += of_tables.labels(frames, given)
    plans = [plan for frame in frames if (plan := frame.attrs.get(SEEDS)) is not None]
    with telling_apart(values, list(dict.fromkeys(given))), sequential(plans[0] if plans else None):
        yield


def _values(frame: pd.DataFrame, name: str) -> Sequence[Any]:
    return [plain(value) for value in frame[name].unique()] if name in frame else []
