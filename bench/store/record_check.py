"""Whether a record whose bytes are whole says what flipbench writes: its fields against its key, types, sizes, ranges.

One description, which every reader goes by: what `parsed` lets through, tables and figures can be made of. Members
that are not described here are left alone, so that records of later versions can be read.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Annotated, Any, Literal, NotRequired, cast, get_type_hints

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from flipbench.errors import UserError
from flipbench.spec.cell import CLEAN, FIELDS, SHARE, Cell
from flipbench.spec.field_groups import LATER, USUAL
from flipbench.spec.key import key_of_normal
from flipbench.system import exception_text

_STRICT = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)
_MOST = 2**40  # of a count: sums over classes and rounds stay within 64 bits
Count = Annotated[int, Field(ge=0, le=_MOST)]
Number = Annotated[float, Field(allow_inf_nan=False)] | None
Text = Annotated[str, Field(max_length=1_000_000)]
Key = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Pair = Annotated[list[Count], Field(min_length=2, max_length=2)]
Matrix = list[list[Count]]
RoundName = Annotated[str, Field(pattern=r"^[0-9]{1,12}$")]


@with_config(_STRICT)
class _Task(TypedDict):
    dataset: Text
    classes: Annotated[list[Text], Field(min_length=1)]
    split: Text
    train: Count
    test: Count
    features: NotRequired[Any]


@with_config(_STRICT)
class _Search(TypedDict):
    trials: NotRequired[Count | None]
    mapping: NotRequired[list[Pair] | None]
    objective: NotRequired[Number | Text]


@with_config(_STRICT)
class _Attack(TypedDict):
    places: list[Literal["labels", "examples", "updates"]]
    adaptive: NotRequired[bool]
    dynamic: NotRequired[bool]
    search: NotRequired[_Search | None]
    target: NotRequired[Count | None]


@with_config(_STRICT)
class _Flip(TypedDict):
    client: Count
    examples: Count
    eligible: Count
    selected: Count
    changed: Count


@with_config(_STRICT)
class _Cost(TypedDict):
    bytes_up: Count
    bytes_down: Count
    rule_peak: Count | None


@with_config(_STRICT)
class _Result(TypedDict):
    rounds: Annotated[list[Annotated[int, Field(ge=1, le=_MOST)]], Field(min_length=1)]
    confusion: list[Matrix]
    clients: list[list[Count]]
    influence: list[list[Number]]
    norms: list[list[Number]]
    fedavg_gap: list[Number]
    malicious: list[Count]
    flips: list[_Flip]
    examples: list[Count]
    nonfinite: dict[RoundName, Count]
    stamped: NotRequired[list[Matrix] | None]
    no_prediction: NotRequired[Matrix | None]
    stamped_no_prediction: NotRequired[Matrix | None]
    clamped: NotRequired[dict[RoundName, Count] | None]
    attacked_rounds: NotRequired[list[Count] | None]
    kept: NotRequired[list[list[Literal[0, 1]] | None] | None]
    class_counts: NotRequired[Matrix | None]


@with_config(_STRICT)
class _Record(TypedDict):
    schema: Literal[1]
    key: Key
    twin: Key
    status: Literal["done", "infeasible", "failed"]
    facts: dict[str, Any]
    content: dict[Text, Text]
    attempts: Annotated[int, Field(ge=1, le=_MOST)]
    seconds: dict[Text, Annotated[float, Field(ge=0, allow_inf_nan=False)]]
    provenance: dict[Text, Any]
    task: _Task | None
    mapping: list[Pair] | None
    attack: NotRequired[_Attack | None]
    reason: Text | None
    traceback: Text | None
    result: _Result | None
    cost: NotRequired[_Cost | None]


_RECORD: TypeAdapter[Any] = TypeAdapter(_Record)


class Odd(ValueError):
    """A file that is whole and holds something else than flipbench writes; the text says what, and where in it."""


def parsed(raw: bytes, whole: bool = True) -> dict[str, Any]:
    """The record in a file whose bytes are intact.

    Args:
        raw: the file.
        whole: False: only the types of its members are looked at, not whether they fit one another.

    Raises:
        Odd: with the first thing in it that is not as flipbench writes it.
    """
    try:
        record: dict[str, Any] = _RECORD.validate_json(raw)
    except ValidationError as error:
        raise Odd(_first(error)) from None
    except (RecursionError, OverflowError, ValueError) as error:
        raise Odd(f"cannot be read ({exception_text.text(error)})") from None
    if whole and (wrong := next(_disagreements(record), None)):
        raise Odd(wrong)
    return record


def _disagreements(record: Mapping[str, Any]) -> Iterator[str]:
    """Members that are sound by themselves and do not fit the others."""
    facts, result, task = record["facts"], record["result"], record["task"]
    try:
        cell = _cell(facts)
    except (TypeError, UserError, ValueError) as error:
        yield f"facts: {_first(error)}"
        return
    if key_of_normal(cell, record["content"]) != record["key"]:
        yield "facts: another experiment than the one that its key names"
    if cell.malicious_count is None or (cell.malicious_data == SHARE and cell.malicious > cell.clients):
        yield f"facts.malicious_count: {cell.malicious_count} of {cell.clients} clients"
    if (record["status"] == "done") != (result is not None) or (result is not None and task is None):
        yield f"result: a cell that is {record['status']} has {'none' if result is None else 'one'}"
    if any(not isinstance(value, str | int | float | None) for value in record["provenance"].values()):
        yield "provenance: holds something else than texts and numbers"
    if result is not None and task is not None and cell.malicious_count is not None:
        yield from _misfits(result, cell, len(task["classes"]))
        classes = len(task["classes"])
        if record["mapping"] and max(max(pair) for pair in record["mapping"]) >= classes:
            yield f"mapping: names a class beyond the {classes} that there are"
    if cell.attacked and record["twin"] == record["key"]:
        yield "twin: an attacked cell is not its own clean twin"
    if cell.attack != CLEAN and record.get("attack") is not None and not record["attack"]["places"]:
        yield "attack.places: an attack acts somewhere"


_WITHOUT = ("no_prediction", "stamped_no_prediction")  # test images of each class for which the model had no answer


def _misfits(result: Mapping[str, Any], cell: Cell, classes: int) -> Iterator[str]:
    """Sizes and ranges of the counts of a finished cell."""
    rounds, clients = result["rounds"], result["clients"]
    if any(a >= b for a, b in pairwise(rounds)):
        yield "result.rounds: are not ascending"
    for name in ("confusion", "clients", "influence", "norms", "fedavg_gap", "stamped", "kept", *_WITHOUT):
        if (given := result.get(name)) is not None and len(given) != len(rounds):
            yield f"result.{name}: has {len(given)} rounds, and {len(rounds)} were evaluated"
    for name in ("confusion", "stamped"):
        for matrix in result.get(name) or ():
            if len(matrix) != classes or any(len(row) != classes for row in matrix):
                yield f"result.{name}: is no table of {classes} by {classes} classes"
    for name in _WITHOUT:
        if any(len(row) != classes for row in result.get(name) or ()):
            yield f"result.{name}: has not one number for each of {classes} classes"
    without = result.get("no_prediction") or [[]] * len(rounds)
    totals = {sum(map(sum, matrix)) + sum(row) for matrix, row in zip(result["confusion"], without, strict=True)}
    if len(totals) > 1:
        yield f"result.confusion: counts {', '.join(map(str, sorted(totals)[:3]))} test examples in its rounds"
    for name in ("clients", "influence", "norms"):
        if any(len(row) != len(clients[0]) for row in result[name]):
            yield f"result.{name}: has not as many clients in every round as took part"
    if any(row is not None and len(row) != len(clients[0]) for row in result.get("kept") or ()):
        yield "result.kept: has not as many clients in every round as took part"
    members = cell.clients + (cell.malicious if cell.malicious_data != SHARE else 0)
    for name, ids in (("malicious", result["malicious"]), *(("clients", row) for row in clients)):
        if len(set(ids)) < len(ids) or (ids and max(ids) >= members):
            yield f"result.{name}: names a client twice, or one beyond the {members} that there are"
    if counts := result.get("class_counts"):
        if len(counts) != len(result["examples"]) or any(len(row) != classes for row in counts):
            yield f"result.class_counts: has not one number for each client and each of {classes} classes"
        elif [sum(row) for row in counts] != result["examples"]:
            yield "result.class_counts: does not sum to the examples of each client"
    if len(result["malicious"]) > cell.malicious:
        yield f"result.malicious: names {len(result['malicious'])} clients, and {cell.malicious} are malicious"
    for flip in result["flips"]:
        if not flip["changed"] <= flip["selected"] <= flip["eligible"] <= flip["examples"]:
            yield f"result.flips: of client {flip['client']} more labels were changed than there are"


def _kind(value: Any) -> Hashable:
    """1, 1.0 and True are equal, and apart by their types."""
    return cast(Hashable, type(value))


def _cell(facts: Mapping[str, Any]) -> Cell:
    """The cell of a record's fields, each of which is checked by itself; what it lacks had its usual value.

    Raises:
        ValueError: no cell has such a field.
    """
    if lacking := [name for name in FIELDS if name not in facts and name not in LATER]:
        raise ValueError(f"{lacking[0]} is missing")
    cell = object.__new__(Cell)  # each distinct value is checked once, not each cell: most have few that differ
    values: dict[str, Any] = {**USUAL, **facts}
    cell.__dict__.update({n: _checked(n, _kind(v), v) if n in facts else v for n, v in values.items()})
    return cell


_HINTS = get_type_hints(Cell, include_extras=True)
_ADAPTERS: dict[str, TypeAdapter[Any]] = {n: TypeAdapter(_HINTS[n], config=ConfigDict(strict=True)) for n in FIELDS}


@lru_cache(maxsize=65536)
def _checked(name: str, kind: type, value: Any) -> Any:
    """A field's value, of exactly the type that it is stored with."""
    if name in _ADAPTERS:
        try:
            known = _ADAPTERS[name].validate_python(value)
        except (ValidationError, UserError) as error:
            raise ValueError(f"{name}: {_first(error)}") from None
        if type(known) is not kind or known != value:
            raise ValueError(f"{name}: {str(value)[:80]!r} is not how it is stored")
    return value


def _first(error: Exception) -> str:
    """The first reason of an exception, with the place in the record where there is one."""
    if not isinstance(error, ValidationError):
        return str(error)
    detail = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where, text = ".".join(map(str, detail["loc"])), detail["msg"].removeprefix("Value error, ")
    text = text.replace("Input should", "should") if where else text
    return f"{where}: {text[:1].lower()}{text[1:]}" if where else text
