"""Data dictionary: what stands in cells.csv, in rounds.csv and in the JSON file of a cell; docs/data_dictionary.md.

The fields of a cell are described on `flipbench.spec.cell.Cell`, the metrics in `flipbench.spec.metric_names` and
docs/definitions.md. Only what has no other place is described here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pydantic import TypeAdapter

from flipbench.analysis.metrics import LAST_SAID, METRICS, SUFFIXES
from flipbench.analysis.rounds.late_rounds import STABILITY
from flipbench.spec.cell import Cell
from flipbench.spec.field_table import descriptions, documented
from flipbench.spec.metric_names import OF_CLIENTS, OF_DETECTION, OF_NOISE

SHARE = "share, 0 to 1"
_TYPES = {"string": "text"}  # of JSON schema, in the words of this page


class Line(NamedTuple):
    """One column or member: its name, type, unit or range, and meaning."""

    name: str
    type: str
    unit: str
    meaning: str


_IDENTITY = (
    Line("key", "text", "64 hexadecimal digits", "the cell's name: a hash of all that its numbers depend on"),
    Line("twin", "text", "64 hexadecimal digits", "key of the clean twin, the same experiment without the attack"),
    Line("clean", "boolean", "", "whether the cell is without an attack"),
)
_TASK = (
    Line("task", "text", "", "name of the data set, as the data set gives it"),
    Line("split", "text", "", "how training and test examples were separated"),
    Line("train", "integer", "examples", "training examples of the data set"),
    Line("test", "integer", "examples", "test examples"),
    Line("data_sha256", "text", "64 hexadecimal digits", "hash of the data"),
    Line("mapping", "text", "`source>target`, separated by spaces", "the map of classes of the attack; empty: no map"),
)
_SUFFIX_MEANINGS = dict(
    zip(
        SUFFIXES,
        (
            "the headline: in the last round, or what the grid says (`headline`)",
            f"{LAST_SAID}",
            "of the clean twin, its headline",
            "clean twin minus attacked cell (the reverse where low is good): positive is harm",
            "mean over the evaluated rounds at the end of training (`late_rounds`)",
            "least of these rounds",
            "most of these rounds",
            "most less least of these rounds",
            "stability: steady, oscillates, collapses, rises, changes or unknown (docs/statistics.md)",
        ),
        strict=True,
    )
)
_AFTER_METRICS = (
    Line("rounds_in_last5", "integer", "rounds", "over how many evaluated rounds `_last5` is a mean"),
    Line("late_rounds", "text", "round numbers", "evaluated rounds behind `_late_…` and `_stability`"),
    Line("headline", "text", "", "which rounds the metrics are of: `last`, `mean_last(k)` or `min_last(k)`"),
    Line("flips_eligible", "integer", "labels", "training labels of malicious clients that the attack could change"),
    Line("flips_selected", "integer", "labels", "those that the flip rate selected"),
    Line("flips_changed", "integer", "labels", "those that were changed"),
    Line("adaptive", "boolean", "", "whether the attack knows the rule that it faces"),
    Line("search_trials", "number", "federations", "how many the search of an attack ran; empty: no search"),
    Line("malicious_influence", "number", "weight", "summed least-squares weight of the malicious clients, last round"),
    Line("malicious_influence_mean", "number", "weight", "the same, mean over the evaluated rounds"),
    Line("malicious_kept", "number", SHARE, "share of evaluated attacked rounds in which the rule kept one"),
    *(Line(m.name, "number", SHARE, f"{m.label}; empty: undefined") for m in OF_DETECTION),
    Line("honest_dropped", "number", "clients a round", "honest clients that the rule dropped"),
    Line("rounds_until_caught", "number", "rounds", "until a malicious client was first dropped; empty: none was"),
    Line(
        "selection_agreement", "number", SHARE, "rounds in which the rule's word and the weights drop the same clients"
    ),
    Line("detection_by", "text", "", "`selection` (the rule told whom it kept) or `influence` (by the weights)"),
    *(Line(m.name, "number", SHARE, f"{m.label}, in the noise twin; empty: there is none") for m in OF_NOISE),
    Line("intolerant", "boolean", "", "whether noisy honest clients were dropped in over half of the rounds"),
    *(Line(m.name, "number", SHARE, f"{m.label}, last round; empty: all dealt alike") for m in OF_CLIENTS),
    Line("bytes_up", "number", "bytes a round", "sent by the round's clients together; empty: not recorded"),
    Line("bytes_down", "number", "bytes a round", "sent to them"),
    Line("rule_peak", "number", "bytes", "held by one call of the rule at its peak, beside the updates, for one cell"),
    Line("aggregation_to_local", "number", "ratio", "seconds of aggregation over those of local training"),
    Line("no_prediction", "integer", "test images", "images without a prediction in the last round: logits not finite"),
    Line(
        "no_prediction_rounds",
        "text",
        "round numbers",
        "evaluated rounds with test images without a prediction, stamped ones too",
    ),
    Line("clamped_rounds", "text", "round numbers", "rounds in which running variances below 0 were set to 0"),
    Line("nonfinite_updates", "integer", "updates", "updates that were not finite and were left out, over all rounds"),
    Line("epsilon", "number", "at least 0", "ε of client-level differential privacy; empty: no noise, or not known"),
    Line("delta", "number", "probability", "the δ that belongs to it; empty: no noise"),
    Line("epsilon_reason", "text", "", "why a cell with noise has no ε"),
    Line("seconds_setup", "number", "seconds", "data, partition, attack search and start of the model"),
    Line("seconds_local", "number", "seconds", "local training"),
    Line("seconds_aggregation", "number", "seconds", "the rule"),
    Line("seconds_evaluation", "number", "seconds", "evaluation on the test images"),
    Line("seconds", "number", "seconds", "sum of these"),
)
_OF_ROUND = (
    Line("round", "integer", "from 1", "number of the round; only evaluated rounds have a line"),
    *(Line(m.name, "number", SHARE, f"{m.label} in that round; empty: undefined") for m in METRICS.values()),
    Line("malicious_influence", "number", "weight", "summed least-squares weight of the malicious clients"),
    Line(
        "no_prediction", "integer", "test images", "images without a prediction (logits not finite), counted as wrong"
    ),
    Line("clamped", "boolean", "", "whether running variances below 0 were set to 0 in this round"),
    Line("nonfinite_updates", "integer", "updates", "updates that were not finite and were left out in this round"),
)
MEMBERS = (
    Line("schema", "integer", "1", "version of the record's form"),
    Line("key", "text", "64 hexadecimal digits", "SHA-256 of schema, facts and content; the name of the file"),
    Line("twin", "text", "64 hexadecimal digits", "key of the clean twin"),
    Line("status", "text", "", "`done`, `infeasible` (the rule refuses these numbers) or `failed`"),
    Line("facts", "object", "", "every field of the cell (below: Fields)"),
    Line("content", "object", "", "hash of the data, of plug-ins, and versions of numbers that are not 1"),
    Line("attempts", "integer", "from 1", "runs that tried the cell"),
    Line("reason", "text or null", "", "why the cell is infeasible or failed"),
    Line("traceback", "text or null", "", "of a failed cell"),
    Line("seconds", "object", "seconds", "`setup`, `local`, `aggregation`, `evaluation`"),
    Line("provenance", "object", "", "versions, commit, device, threads, executor of the model, time of the end (UTC)"),
    Line(
        "task",
        "object or null",
        "",
        "`dataset`, `classes`, `features` (numbers an example), `split`, `train`, `test`",
    ),
    Line("mapping", "list or null", "", "`[source, target]` of each class that the attack flips"),
    Line("attack", "object or null", "", "`places`, `adaptive`, `dynamic`, `search`, `target` of the attack"),
    Line("result", "object or null", "", "the counts below; null unless the cell is done"),
    Line("result.rounds", "list", "R numbers from 1", "the evaluated rounds"),
    Line("result.confusion", "list", "R x L x L images", "test images by true class (row) and predicted class"),
    Line(
        "result.no_prediction",
        "list or null",
        "R x L images",
        "images of each class without a prediction",
    ),
    Line("result.stamped", "list or null", "R x L x L images", "the same for stamped test images (a backdoor)"),
    Line("result.stamped_no_prediction", "list or null", "R x L images", "of these without a prediction"),
    Line("result.clients", "list", "R x n ids", "the clients that took part"),
    Line("result.influence", "list", "R x n weights", "least-squares weights of the update on the clients' updates"),
    Line("result.norms", "list", "R x n", "Euclidean norms of the clients' updates; null: not finite"),
    Line("result.fedavg_gap", "list", "R numbers", "distance from FedAvg's update, over the norm of that"),
    Line("result.malicious", "list", "ids", "the malicious clients"),
    Line("result.attacked_rounds", "list or null", "round numbers", "rounds in which the attack acted"),
    Line(
        "result.flips",
        "list",
        "labels",
        "for each `client` its `examples`, `eligible`, `selected`, `changed`",
    ),
    Line("result.examples", "list", "examples", "training examples of each client"),
    Line(
        "result.kept", "list or null", "R x n of 0 and 1", "clients that the rule said it kept; null: it told nothing"
    ),
    Line("result.class_counts", "list or null", "N x L examples", "true classes of each client; null: dealt alike"),
    Line(
        "cost", "object or null", "bytes", "`bytes_up`, `bytes_down` a round, `rule_peak` of one call (null: not known)"
    ),
    Line("result.nonfinite", "object", "updates", "round -> updates left out because they were not finite"),
    Line("result.clamped", "object or null", "entries", "round -> running variances below 0 that were set to 0"),
    Line("body", "text", "64 hexadecimal digits", "SHA-256 of the rest of the file: a damaged file is never believed"),
)


def fields() -> tuple[Line, ...]:
    """The fields of a cell."""
    about, forms = descriptions(Cell), TypeAdapter(Cell).json_schema()["properties"]
    return tuple(
        Line(name, _type(forms[name]), SHARE if about[name].unit == "percent" else "", meaning.rstrip("."))
        for name, meaning in documented(Cell).items()
    )


def _type(form: Mapping[str, Any]) -> str:
    """A field's type in words, from its JSON schema."""
    kinds = [option.get("type", "string") for option in form.get("anyOf", [form])]
    return " or ".join(_TYPES.get(kind, kind) for kind in dict.fromkeys(kinds))


def cells_columns() -> tuple[Line, ...]:
    """The columns of cells.csv, in their order."""
    metrics = [
        Line(f"{m.name}{suffix}", *_of_suffix(suffix), f"{m.label}, {_SUFFIX_MEANINGS[suffix]}; empty: undefined")
        for m in METRICS.values()
        for suffix in SUFFIXES
    ]
    return (*_IDENTITY, *fields(), *_TASK, *metrics, *_AFTER_METRICS)


def _of_suffix(suffix: str) -> tuple[str, str]:
    """Type and unit of a column of a metric."""
    return ("text", "") if suffix == STABILITY else ("number", SHARE)


def rounds_columns() -> tuple[Line, ...]:
    """The columns of a file of ``flipbench results --export-rounds``, in their order."""
    from flipbench.report.tables.rounds_csv import COLUMNS

    by_name = {line.name: line for line in (*_IDENTITY, *fields(), *_OF_ROUND)}
    return tuple(by_name[name] for name in COLUMNS)


def markdown() -> str:
    """The page docs/data_dictionary.md."""
    short = tuple(Line(line.name, line.type, line.unit, "see Fields") for line in fields())
    replaced: Mapping[str, Line] = {line.name: line for line in short}
    cells = [replaced.get(line.name, line) for line in cells_columns()]
    rounds = [replaced.get(line.name, line) for line in rounds_columns()]
    parts = (_HEAD, _table(cells), _ROUNDS, _table(rounds), _MEMBERS, _table(MEMBERS), _FIELDS, _table(fields()))
    return "\n\n".join(parts) + "\n"


_HEAD = """\
# Data dictionary

Every column of the CSV files and every member of a cell's JSON file. `make dictionary` writes this page. The formulas
of the metrics are in [definitions](definitions.md). An empty place in a CSV file is null or undefined.

## tables/cells.csv

One line for each finished cell. `flipbench results DIR --export FILE.csv` writes the same columns, and `results.cells`
in Python has them. Those of a tuned grid have two more: `form` (fixed, tuned, or both) and `compared_as`, the
aggregator as the grid gives it ([tuning](tuning.md))."""
_ROUNDS = """\
## Rounds

One line for each evaluated round of each finished cell: `flipbench results DIR --export-rounds FILE.csv`, and
`results.rounds` in Python."""
_MEMBERS = """\
## cells/*/KEY.json

R evaluated rounds, L classes, n clients in a round. Counts are raw; every metric is computed from them."""
_FIELDS = """\
## Fields

The fields of a cell, in cells.csv and in `facts` of the JSON file."""


def _table(lines: Iterable[Line]) -> str:
    rows = ["| name | type | unit | meaning |", "|---|---|---|---|"]
    rows += [f"| `{line.name}` | {line.type} | {line.unit} | {_cell(line.meaning)} |" for line in lines]
    return "\n".join(rows)


def _cell(text: str) -> str:
    return text.replace("``", "`").replace("|", "\\|")
