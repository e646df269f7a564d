"""Warnings about what the numbers of a grid cannot show: cells without effect, unequal seeds, absent classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from flipbench.analysis import caveats, mixed_provenance
from flipbench.analysis.frame import DAMAGED, SEEDS, of_honest_noise
from flipbench.analysis.rounds import stability
from flipbench.spec.cell import CLEAN, FIELDS, SHARE, expected_malicious
from flipbench.spec.labels import aggregator_label, attack_label, field_label, value_label

ROUNDING = 1e-6  # relative; below it two float32 vectors differ by the order of their sums only


@dataclass(frozen=True)
class Guard:
    """Something that a reader of the tables should know before believing them.

    Attributes:
        kind: one word for programs: damaged, idle_attack, no_effect, equals_fedavg, no_prediction, clamped,
            unstable, nonfinite, chance, no_epsilon, row_split, unequal_seeds, absent_class, declared_f, no_twin,
            unfinished, mixed.
        text: one sentence.
        keys: the cells concerned.
    """

    kind: str
    text: str
    keys: tuple[str, ...]


def guards(frame: pd.DataFrame, tidy: pd.DataFrame) -> list[Guard]:
    """All that is suspicious about a grid's results, the gravest first.

    Args:
        frame: of `analysis.frame.load`.
        tidy: of `analysis.metrics.evaluate` on it.
    """
    every, frame = frame, frame[~of_honest_noise(frame)]  # noise twins are no cells of tables
    known = (frame["status"] == "done") & frame["key"].isin(tidy["key"])
    done = frame if known.all() else frame[known]
    same = done["key"].tolist() == tidy["key"].tolist()
    numbers = tidy if same else tidy.set_index("key").loc[done["key"].tolist()].reset_index()
    return [
        *_damaged(every),
        *_unfinished(every),
        *_idle(done),
        *_no_effect(done),
        *_no_twin(numbers),
        *_equals_fedavg(done),
        *_caveats(numbers),
        *_moves(numbers),
        *_nonfinite(numbers),
        *_chance(done, numbers),
        *_declared_f(numbers),
        *_unequal_seeds(frame),
        *_no_epsilon(numbers),
        *_row_split(numbers),
        *_absent_class(done),
        *(Guard("mixed", text, keys) for text, keys in mixed_provenance.sentences(done)),
    ]


_MOST_FILES = 3  # that a sentence has room for


def _damaged(frame: pd.DataFrame) -> Iterator[Guard]:
    files: Mapping[str, str] = frame.attrs.get(DAMAGED, {})
    if files:
        named = "; ".join(list(files.values())[:_MOST_FILES])
        more = f"; and {len(files) - _MOST_FILES} more" * (len(files) > _MOST_FILES)
        text = f"{_cells(tuple(files), len(frame))} count as missing for what their files hold ({named}{more})"
        yield Guard("damaged", f"{text}: run the grid again, and they are computed anew", tuple(files))


def _unfinished(frame: pd.DataFrame) -> Iterator[Guard]:
    for status, what in (("failed", "failed"), ("missing", "have not been run")):
        keys = tuple(frame.loc[frame["status"] == status, "key"])
        if keys:
            yield Guard("unfinished", f"{_cells(keys, len(frame))} {what}: means are over the others", keys)


_AT_WORK = ("places", "flips", "flip_rate", "attacked_rounds", "malicious_data", "malicious")
_AT_ONCE = 4096  # cells whose norms are stacked
_SEEN = ("rounds_evaluated", "norms", "participants")


def _no_effect(done: pd.DataFrame) -> Iterator[Guard]:
    """Proof of life: labels were changed, and malicious clients' updates differ from those of the clean twin."""
    names = ("key", "twin", "clean", *_AT_WORK, *_SEEN)
    lines = zip(*(done[name] for name in names), strict=True)
    rows = {line[0]: dict(zip(names, line, strict=True)) for line in lines}
    attacked = [row for row in rows.values() if not row["clean"] and _wanted(row)]
    idle = [row["key"] for row in attacked if _unchanged(row)]
    there = [row for row in attacked if row["twin"] in rows and not _unchanged(row)]
    moved = _moved(there, [rows[row["twin"]] for row in there])
    dead = [row["key"] for row, alive in zip(there, moved, strict=True) if not alive]
    if idle:
        yield Guard(
            "no_effect", f"not one label was changed in {_cells(idle, len(attacked))} under attack", tuple(idle)
        )
    if dead:
        labels = all(rows[key]["places"] == ("labels",) for key in dead)
        text = "labels were changed but no update" if labels else "no update"
        text += f" differs from the clean twin's in {_cells(dead, len(attacked))}"
        yield Guard("no_effect", f"{text} under attack (at evaluated rounds)", tuple(dead))


def _idle(done: pd.DataFrame) -> Iterator[Guard]:
    """Attacks that had nothing to do, in whole or in part: no round, no label, no malicious client at work."""
    names = ("key", "clean", *_AT_WORK, "rounds_evaluated", "participants", "search")
    keys: dict[str, list[str]] = {}
    attacked = 0
    for line in zip(*(done[name] for name in names), strict=True):
        row = dict(zip(names, line, strict=True))
        if not row["clean"]:
            attacked += 1
            if text := _why_idle(row):
                keys.setdefault(text, []).append(row["key"])
    for text, some in keys.items():
        yield Guard("idle_attack", f"{text} in {_cells(some, attacked)} under attack", tuple(some))


def _why_idle(row: Mapping[str, Any]) -> str | None:
    if row["attacked_rounds"] == ():
        return "the attack acts in no round"
    if row["search"] is not None and row["search"].get("mapping") == []:
        return "the search found no class map that does harm, so that no label was flipped"
    if "updates" not in row["places"]:
        if row["flip_rate"] == 0:
            return "a flip rate of 0 changes nothing"
        changed = [flip["changed"] > 0 for flip in row["flips"]]
        if any(changed) and not all(changed):
            return "some malicious clients changed no label (they hold none that the attack selects)"
    if (rounds := row["attacked_rounds"]) is not None and set(rounds) <= set(row["rounds_evaluated"].tolist()):
        during = row["participants"][np.isin(row["rounds_evaluated"], rounds)]
        if not np.isin(during, row["malicious"]).any():
            return "no malicious client took part in any round of the attack"
    return None


def _unchanged(row: Mapping[str, Any]) -> bool:
    """Whether a flip of labels changed none."""
    return row["places"] == ("labels",) and bool(row["flips"]) and not any(flip["changed"] for flip in row["flips"])


def _wanted(row: dict[Any, Any]) -> bool:
    """Whether the attack was to do anything: something to flip or to send, and a round to do it in."""
    return (row["flip_rate"] > 0 or "updates" in row["places"]) and row["attacked_rounds"] != ()


def _moved(rows: Sequence[Mapping[str, Any]], twins: Sequence[Mapping[str, Any]]) -> list[bool]:
    """Whether a malicious client's norm differs from the twin's; where none was seen at work, any client's.

    Sybils are not in the twin, so that their updates are their own whatever they do.
    """
    found = [True] * len(rows)
    alike: dict[Any, list[int]] = {}  # cells that were evaluated alike are looked at together
    for place, (row, twin) in enumerate(zip(rows, twins, strict=True)):
        if row["malicious_data"] == SHARE:
            rounds = row["rounds_evaluated"].tobytes(), twin["rounds_evaluated"].tobytes()
            alike.setdefault((*rounds, row["norms"].shape, len(row["malicious"])), []).append(place)
    chunks = (every[at : at + _AT_ONCE] for every in alike.values() for at in range(0, len(every), _AT_ONCE))
    for members in chunks:
        some = [rows[place] for place in members]
        first, other = some[0]["rounds_evaluated"], twins[members[0]]["rounds_evaluated"]
        _, own_rounds, twin_rounds = np.intersect1d(first, other, return_indices=True)
        own = np.stack([row["norms"][own_rounds] for row in some])  # (cells, rounds, clients)
        before = np.stack([twins[place]["norms"][twin_rounds] for place in members])
        differ = ~np.isclose(own, before, rtol=ROUNDING, atol=0.0, equal_nan=True)
        took_part = np.stack([row["participants"][own_rounds] for row in some])
        malicious = np.array([row["malicious"] for row in some], dtype=np.int64)  # (cells, malicious)
        who = (took_part[..., None] == malicious[:, None, None, :]).any(-1)
        seen = who.any((1, 2), keepdims=True)
        for place, alive in zip(members, (differ & (who | ~seen)).any((1, 2)).tolist(), strict=True):
            found[place] = alive
    return found


def _no_twin(numbers: pd.DataFrame) -> Iterator[Guard]:
    alone = ~numbers["clean"].astype(bool) & ~numbers["twin"].isin(numbers["key"])
    keys = tuple(numbers.loc[alone, "key"])
    if keys:
        yield Guard(
            "no_twin", f"{_cells(keys, len(numbers))} lack a finished clean twin: their damage is unknown", keys
        )


def _equals_fedavg(done: pd.DataFrame) -> Iterator[Guard]:
    """||update - FedAvg's|| / ||FedAvg's|| within float32 rounding at every evaluated round."""
    for aggregator, cells in done.groupby("aggregator", sort=False):
        if aggregator in ("fedavg", "mean"):
            continue
        pairs = zip(cells["fedavg_gap"], cells["participants"], strict=True)
        same = [bool((gap <= ROUNDING).all()) and clients.shape[1] > 1 for gap, clients in pairs]
        keys = tuple(cells.loc[same, "key"])
        if keys:
            yield Guard("equals_fedavg", f"{aggregator} did what FedAvg does in {_cells(keys, len(cells))}", keys)


def _caveats(numbers: pd.DataFrame) -> Iterator[Guard]:
    """Cells whose numbers are marked (`analysis.caveats`), with the rounds."""
    for kind, column, text in (
        (
            "no_prediction",
            "no_prediction_rounds",
            "the model's logits are not finite for some test images, which count as wrong (no prediction),",
        ),
        ("clamped", "clamped_rounds", "the server's step made running variances negative, and they were set to 0,"),
    ):
        some = numbers[np.array([bool(rounds) for rounds in numbers[column]], dtype=bool)]
        if keys := tuple(some["key"]):
            rounds = caveats.rounds_text(sorted({r for each in some[column] for r in each}))
            yield Guard(kind, f"{text} in {rounds} of {_cells(keys, len(numbers))}", keys)


_MOVES = {
    stability.OSCILLATES: "accuracy oscillates from round to round at the end of training",
    stability.COLLAPSES: "accuracy collapses at the end of training",
    stability.RISES: "accuracy still rises at the end of training",
    stability.CHANGES: "accuracy changes between the last evaluated rounds, too few to say whether it oscillates,",
}


def _moves(numbers: pd.DataFrame) -> Iterator[Guard]:
    """Cells of which the last round is not the state of the training, the gravest first."""
    for kind, text in _MOVES.items():
        some = numbers[numbers["accuracy_stability"] == kind]
        if keys := tuple(some["key"]):
            spread = 100 * float(some["accuracy_late_spread"].max())
            advice = "; the headline mean_last(k) is of several rounds" if kind == stability.OSCILLATES else ""
            text += f" in {_cells(keys, len(numbers))}, by up to {spread:.1f} points{advice}"
            yield Guard("unstable", text, keys)


def _nonfinite(numbers: pd.DataFrame) -> Iterator[Guard]:
    some = numbers["nonfinite_updates"] > 0
    keys, total = tuple(numbers.loc[some, "key"]), int(numbers["nonfinite_updates"].sum())
    if keys:
        noisy = bool((numbers.loc[some, "noise_multiplier"] > 0).any())
        done = "were left out or, with noise, sent as zero" if noisy else "were left out"
        yield Guard("nonfinite", f"{total} non-finite updates {done} in {_cells(keys, len(numbers))}", keys)


def _chance(done: pd.DataFrame, numbers: pd.DataFrame) -> Iterator[Guard]:
    """accuracy <= max_c C[c,.] / sum C: always naming the largest class does as well."""
    shares = np.array([sizes.max() / max(1, sizes.sum()) for sizes in _class_sizes(done)], dtype=np.float64)
    low = numbers["accuracy"].to_numpy() <= shares + 1e-12
    clean = numbers["clean"].to_numpy(dtype=bool)
    for which, where in ((clean, "without attack"), (~clean, "under attack")):
        keys = tuple(numbers.loc[low & which, "key"])
        if keys:
            text = f"{_cells(keys, int(which.sum()))} {where} end no better than always naming the largest class"
            yield Guard("chance", text, keys)


def _declared_f(numbers: pd.DataFrame) -> Iterator[Guard]:
    """Declared f against ceil(malicious clients * clients a round / clients), in attacked cells."""
    sybils = numbers["malicious_count"].where(numbers["malicious_data"] != SHARE, 0)
    members = numbers["clients"] + sybils
    per_round = numbers["clients_per_round"].fillna(members).astype(np.int64)
    true = -(-numbers["malicious_count"] * per_round // members)
    other = (numbers["declared_byzantine"] != true) & ~numbers["clean"].astype(bool)
    keys = tuple(numbers.loc[other, "key"])
    if keys:
        text = f"the declared f is not the number of malicious clients in {_cells(keys, len(numbers))}"
        yield Guard("declared_f", text, keys)


_MOST_NAMED = 4  # settings that a sentence has room for


def _unequal_seeds(frame: pd.DataFrame) -> Iterator[Guard]:
    """Finished seeds of each setting (all fields but the seed); which settings have how many."""
    tried = frame[frame["status"].isin(["done", "failed"])]
    if tried.empty or frame.attrs.get(SEEDS) is not None:  # of sequential runs tables say how many each has
        return
    others = [n for n in FIELDS if n not in ("seed", "malicious_fraction") and len(pd.unique(tried[n])) > 1]
    setting = tried.groupby(others, sort=False, dropna=False).ngroup() if others else pd.Series(0, tried.index)
    counts = (tried["status"] == "done").groupby(setting, sort=False).sum()
    most = int(counts.max())
    fewer = counts[counts < most]
    if not len(fewer):
        return
    order = setting[setting.isin(fewer.index)].sort_values(kind="stable").index
    first = setting.loc[order].drop_duplicates()  # a cell of each setting, and which one it is
    named = list(zip(first.index, first.astype(int).tolist(), strict=True))[:_MOST_NAMED]
    each = [f"{', '.join(_words(tried.loc[cell], others))}: {int(counts.loc[which])}" for cell, which in named]
    rest = fewer[~fewer.index.isin([which for _, which in named])]
    if len(rest):
        low, high = int(rest.min()), int(rest.max())
        each.append(f"{len(rest)} more: {low if low == high else f'{low} to {high}'}")
    text = f"{len(fewer)} of {len(counts)} settings have fewer finished seeds than the others' {most}"
    yield Guard("unequal_seeds", f"{text} ({'; '.join(each)})", tuple(tried.loc[order, "key"]))


def _words(row: pd.Series[Any], fields: Sequence[str]) -> Iterator[str]:
    """The fields of a setting, rule and attack by their names alone; f only where no number of clients tells it."""
    clean = row["attack"] == CLEAN
    for field in fields:
        if field == "aggregator":
            yield aggregator_label(str(row[field]))
        elif field == "attack":
            yield attack_label(str(row[field]), row["classes"] or ())
        elif field == "malicious_count":
            yield from () if clean else (f"{value_label('malicious_fraction', row['malicious_fraction'])} malicious",)
        elif field != "declared_byzantine" or clean or int(row[field]) != expected_malicious(row.to_dict()):
            yield f"{field_label(field)} {value_label(field, row[field])}"


def _no_epsilon(numbers: pd.DataFrame) -> Iterator[Guard]:
    reasons = numbers["epsilon_reason"]
    for reason in dict.fromkeys(r for r in reasons.tolist() if r):
        keys = tuple(numbers.loc[reasons == reason, "key"])
        yield Guard("no_epsilon", f"no ε is stated for {_cells(keys, len(numbers))} with noise: {reason}", keys)


def _row_split(numbers: pd.DataFrame) -> Iterator[Guard]:
    keys = tuple(numbers.loc[numbers["split"] == "row", "key"])
    if keys:
        text = "the test set was split off by row: images of one subject can be on both sides, so accuracy is too high"
        yield Guard("row_split", text, keys)


def _absent_class(done: pd.DataFrame) -> Iterator[Guard]:
    absent: dict[tuple[str, ...], list[str]] = {}
    for key, sizes, classes in zip(done["key"], _class_sizes(done), done["classes"], strict=True):
        if not sizes.all():
            absent.setdefault(tuple(classes[c] for c in np.flatnonzero(sizes == 0)), []).append(key)
    for names, keys in absent.items():
        text = f"the test set has no example of {', '.join(names)}: left out of means over classes"
        yield Guard("absent_class", f"{text} in {_cells(keys, len(done))}", tuple(keys))


def _class_sizes(done: pd.DataFrame) -> list[NDArray[np.int64]]:
    """Test examples of each class, ``(L,)`` a cell."""
    last = [counts[-1] for counts in done["confusion"]]
    if len({counts.shape for counts in last}) == 1:
        return list(np.stack(last).sum(-1))
    return [counts.sum(-1) for counts in last]


def _cells(keys: Sequence[str], of: int) -> str:
    return f"{len(keys)} of {of} cells"
