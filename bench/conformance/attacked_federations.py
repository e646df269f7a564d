"""Checks of attacks within real cells: small federations are run as by a grid, and their records are read.

Seven clients with scikit-learn's digits, two of them malicious, three rounds of softmax regression: some ms a cell.
Only an attack that a grid can name is tried so, for a worker loads it by its name.
"""

from __future__ import annotations

from typing import Any

from flipbench.attacks.contract import place
from flipbench.conformance.attack_cases import Attack, AttackProperty
from flipbench.conformance.cases import Broken
from flipbench.federation.records import Job
from flipbench.federation.run_stack import perform
from flipbench.spec.cell import CLEAN, Cell

_FIELDS: dict[str, Any] = {
    "dataset": "digits",
    "model": "softmax",
    "clients": 7,
    "malicious_count": 2,
    "rounds": 3,
    "local_steps": 2,
    "batch_size": 16,
    "seed": 3,
}
_RULES = ("fedavg", "median", "trimmed_mean")
_RATES = (0.0, 0.29, 1.0)
_CONTENT = {"dataset": "0" * 64}
_NUMBERS = ("confusion", "norms", "influence", "fedavg_gap")


def _run(subject: Attack, /, **fields: Any) -> dict[str, Any]:
    """The record of one cell.

    Raises:
        Broken: it failed, or the rule refused it.
    """
    cell = Cell(**{**_FIELDS, "attack": str(subject.ref), **fields})
    (record,) = perform([Job(cell, _CONTENT)], {})
    if record["status"] != "done":
        raise Broken(_where(subject, fields), f"the cell {record['status']}: {record['reason']}")
    return record


def _where(attack: Attack, fields: dict[str, Any]) -> str:
    more = "".join(f", {k} {v}" for k, v in fields.items())
    return f"{attack.name}, {_FIELDS['clients']} clients with digits, {_FIELDS['malicious_count']} malicious{more}"


def _clean(attack: Attack) -> dict[str, Any]:
    twin: dict[str, Any] = _run(attack, attack=CLEAN, declared_byzantine=_FIELDS["malicious_count"])["result"]
    return twin


def twin(attack: Attack) -> None:
    """At rate 0, with no round attacked, and before the first attacked round: the clean twin."""
    clean = _clean(attack)
    never: dict[str, Any] = {"attack_start": _FIELDS["rounds"] + 1}
    for nothing in (never,) if place(attack.call) == "updates" else (never, {"flip_rate": 0.0}):
        got = _run(attack, **nothing)["result"]
        for what in _NUMBERS:
            if got[what] != clean[what]:
                raise Broken(_where(attack, nothing), f"{what} differ from those of the clean twin")
    late: dict[str, Any] = {"attack_start": 2}
    got = _run(attack, **late)["result"]
    for what in _NUMBERS:
        if got[what][0] != clean[what][0]:
            raise Broken(_where(attack, late), f"{what} of round 1 differ from those of the clean twin")


def paired(attack: Attack) -> None:
    """Whatever the rule: the same malicious clients, the same flips, and in round 1 the same updates."""
    first: dict[str, Any] | None = None
    for rule in _RULES:
        got = _run(attack, aggregator=rule)["result"]
        first = first or got
        for what, one, other in (
            ("the malicious clients", got["malicious"], first["malicious"]),
            ("the flips", got["flips"], first["flips"]),
            ("the lengths of round 1's updates", got["norms"][0], first["norms"][0]),
        ):
            if one != other:
                raise Broken(_where(attack, {"aggregator": rule}), f"{what} are not those under {_RULES[0]}")


def bystanders(attack: Attack) -> None:
    """Honest clients send in round 1 what they send in the clean twin, and the test set is what it was."""
    clean, got = _clean(attack), _run(attack)["result"]
    for client, (one, other) in enumerate(zip(got["norms"][0], clean["norms"][0], strict=True)):
        if client not in got["malicious"] and one != other:
            raise Broken(_where(attack, {}), f"honest client {client} sends another update in round 1")
    for r, one, other in zip(got["rounds"], got["confusion"], clean["confusion"], strict=True):
        if [sum(row) for row in one] != [sum(row) for row in other]:
            raise Broken(_where(attack, {}), f"the true classes of the test set differ in round {r}")


def recorded(attack: Attack) -> None:
    """The record says what was done: exactly round(rate x eligible) of every malicious client, and where it acts."""
    for rate in _RATES:
        record = _run(attack, flip_rate=rate)
        result, where = record["result"], _where(attack, {"flip_rate": rate})
        for flip in result["flips"]:
            if flip["selected"] != round(rate * flip["eligible"]):
                raise Broken(where, f"client {flip['client']}: {flip['selected']} of {flip['eligible']} were chosen")
            if flip["changed"] > flip["selected"] or flip["eligible"] > flip["examples"]:
                raise Broken(where, f"client {flip['client']}: more examples changed than were chosen: {flip}")
        if place(attack.call) != "updates" and [f["client"] for f in result["flips"]] != result["malicious"]:
            raise Broken(where, "not every malicious client has a record of its flips")
        declared: dict[str, Any] = {
            "places": [place(attack.call)],
            "adaptive": attack.declares("adaptive"),
            "dynamic": attack.declares("dynamic"),
        }
        stored = record["attack"]
        if stored is None or any(stored[k] != v for k, v in declared.items()):
            raise Broken(where, f"the record says {stored} of the attack, where {declared} was declared")

    share = {"attack_availability": 0.4}
    got = _run(attack, **share)["result"]["attacked_rounds"]
    if len(got) != round(0.4 * _FIELDS["rounds"]):
        raise Broken(_where(attack, share), f"the record says that rounds {got} were attacked")


def alive(attack: Attack) -> None:
    """At rate 1 something is stored that differs from the clean twin."""
    clean, got = _clean(attack), _run(attack)["result"]
    if all(got[what] == clean[what] for what in _NUMBERS):
        raise Broken(_where(attack, {}), "after three rounds all stored numbers are those of the clean twin")


def _named(attack: Attack) -> bool:
    return attack.ref is not None


FEDERATION_PROPERTIES: dict[str, AttackProperty] = {
    "twin": AttackProperty(
        twin,
        "rate 0 and rounds before the attack are the clean twin, bit for bit",
        "the damage is measured against something else than the attack's absence",
        "draw nothing outside the generator given, and keep nothing between cells",
        _named,
    ),
    "paired": AttackProperty(
        paired,
        "every rule meets the same attack",
        "a difference between two rules is a difference between two attacks",
        "keep nothing between cells, draw from the generator given, and ask no rule (or declare adaptive = True)",
        lambda attack: _named(attack) and not attack.declares("adaptive"),
    ),
    "bystanders": AttackProperty(
        bystanders,
        "honest clients and the test set are left alone",
        "the baseline is poisoned too",
        "work on copies: clone() what you change",
        _named,
    ),
    "recorded": AttackProperty(
        recorded,
        "the record says how much was flipped, and where it acts",
        "the stored cell does not show what the attack did",
        "say what is eligible and leave the choice to the bench",
        _named,
    ),
    "life": AttackProperty(
        alive,
        "a federation under attack differs from its clean twin",
        "the attack never reaches training: any damage that the tables show is noise",
        "see that what you answer is the changed labels, examples or updates",
        _named,
    ),
}
