"""The product of a sheet's axes, as cells with their clean twins.

Values were checked one by one before, so cells are made without checking them again: only what makes sense together
is checked here. That keeps a grid of 100,000 cells within seconds.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import Any

import torch

from flipbench import data
from flipbench.data import input_fit
from flipbench.data.dataset import Dataset
from flipbench.data.locations import NotFoundError
from flipbench.errors import UserError
from flipbench.grid import private_names
from flipbench.grid.document import Given, Mistake, Place, Sheet
from flipbench.grid.fields import EVERY_PAIR, FieldError, check_attack, check_deal, check_model
from flipbench.grid.idle_attacks import IdleAttacks
from flipbench.grid.idle_options import IdleOptions
from flipbench.grid.trials import Trials, Tuning
from flipbench.grid.tune_block import Block
from flipbench.spec.cell import FIELDS, Cell
from flipbench.spec.field_groups import ATTACK_OPTIONS, USUAL
from flipbench.spec.twins import clean_twin, noise_twin, normal

MAX_CELLS = 1_000_000
_MAX_MISTAKES = 100  # of fields that do not go together: a product repeats one mistake many times
_LOOKED_AT = 10_000
_DEALS = 50  # partitions tried out, some ms each
_MANY = 1_000  # examples of each class in place of data that are not here, beside one for each client
_SOME = 8  # honest clients of a round without attack, which an attack is tried with all the same

_WORD = re.compile(r"[a-z_]+")
_but_the_attack = itemgetter(*(f for f in FIELDS if f not in ATTACK_OPTIONS))  # cells equal in these share their twin


def expand(sheet: Sheet, with_twins: bool = True) -> tuple[Cell, ...]:
    """All cells in the order of the file (the last axis runs fastest), each in its normal form and once.

    A clean twin stands before the first cell that needs it. Fields that do not go together are noted in the sheet.

    Args:
        sheet: checked; takes the mistakes.
        with_twins: False: only what the file itself asks for.
    """
    return expand_with_trials(sheet, None, with_twins)[0]


def expand_with_trials(
    sheet: Sheet, block: Block | None, with_twins: bool = True
) -> tuple[tuple[Cell, ...], Tuning | None]:
    """`expand`, and the trials of a tuned grid; these have no clean twins.

    Args:
        sheet, with_twins: of `expand`.
        block: of the sheet; None: nothing is tuned.
    """
    if _too_many(sheet):
        return (), None
    cells: dict[Cell, None] = {}
    tried: dict[Cell, dict[tuple[int, int], None]] = {}
    twins: dict[Any, Cell] = {}
    seen: set[tuple[Place, str]] = set()
    attacks: set[tuple[str, str, int]] = set()
    models: set[tuple[str, str]] = set()
    inputs: set[tuple[str, str, str]] = set()
    deals: set[tuple[str, str, int, str, int]] = set()
    idle, options = IdleAttacks(), IdleOptions(_examples)
    enough = _LOOKED_AT if sheet.mistakes else None  # a refused grid is only looked at for more mistakes
    products: Iterable[dict[str, Any]] = itertools.islice(_products(sheet, seen), enough)
    trials = None
    if block is not None:
        products = list(products)
        trials = Trials.of(sheet, block, products)
        if (count := trials.count()) > MAX_CELLS:
            text = f"makes {count:,} trials; at most {MAX_CELLS:,} are taken: lower the budget"
            sheet.wrong(block.place, "tune", text)
            return (), None
    reported = ((values, None) for values in products)
    for values, trial in itertools.chain(reported, () if trials is None else trials.values()):
        cell = _bare(values)
        idle.see(cell)
        options.see(cell)
        attacks.add((cell.attack, cell.dataset, _honest(cell)))
        models.add((cell.model, cell.dataset))
        inputs.update((field, values[field], cell.dataset) for field in input_fit.FIELDS)
        for field in ("partition", "malicious_data"):
            deals.add((field, values[field], cell.clients, cell.dataset, cell.root_examples))
        if conflicts := _conflicts(cell):
            for text in conflicts:
                _blame(sheet, values, text, seen)
            if len(seen) >= _MAX_MISTAKES:
                break
            continue
        if trial is not None:
            tried.setdefault(normal(cell), {}).setdefault(trial)
            continue
        shared = _but_the_attack(values)
        if with_twins and (twin := twins.get(shared)) is None:
            twin = twins[shared] = clean_twin(cell)
            cells.setdefault(twin)
        cells.setdefault(normal(cell))
        if with_twins and sheet.honest_noise and (noisy := noise_twin(cell, sheet.honest_noise)) is not None:
            cells.setdefault(noisy)
    _check_data(sheet, {dataset for _, dataset, _ in attacks}, seen)
    _check_inputs(sheet, inputs, seen)
    _check_attacks(sheet, attacks, seen)
    _check_deals(sheet, deals, seen)
    _check_models(sheet, models, seen)
    _warn(sheet, idle, options)
    if trials is None or sheet.mistakes:
        return tuple(cells), None
    return tuple(cells), trials.made({cell: tuple(of) for cell, of in tried.items()})


def _warn(sheet: Sheet, idle: IdleAttacks, options: IdleOptions) -> None:
    """Note what is sound and hardly meant; a refused grid is not looked at further."""
    if sheet.mistakes:
        return
    for name, value, text in idle.found():
        said = f"{text}; these cells equal their clean twins"
        sheet.warnings.append(Mistake(_place_of(sheet, name, value), name, said))
    for name, value, text in options.found():
        if (place := _place_of(sheet, name, value)) != Place():
            sheet.warnings.append(Mistake(place, name, text))
    sheet.warnings.extend(private_names.warnings(sheet))


def _products(sheet: Sheet, seen: set[tuple[Place, str]]) -> Iterator[dict[str, Any]]:
    base = {**USUAL} | {name: g.value for name, g in sheet.base.items()}
    names = list(sheet.axes)
    values = [[g.value for g in given] for given in sheet.axes.values()]
    for case in sheet.cases or [{}]:
        fixed = base | {name: g.value for name, g in case.items()}
        for combination in itertools.product(*values):
            combined = fixed | dict(zip(names, combination, strict=True))
            if combined["attack"] == EVERY_PAIR:
                yield from _every_pair(sheet, combined, seen)
            else:
                yield combined


def _every_pair(sheet: Sheet, values: dict[str, Any], seen: set[tuple[Place, str]]) -> Iterator[dict[str, Any]]:
    names = _classes(values["dataset"])
    if names is None:
        text = f"{EVERY_PAIR} needs a data set whose classes are known before it is loaded; {values['dataset']} is not"
        _note(sheet, _place_of(sheet, "attack", EVERY_PAIR), "attack", text, seen)
        return
    for source, target in itertools.permutations(range(len(names)), 2):
        yield values | {"attack": f"targeted(source={source}, target={target})"}


def _too_many(sheet: Sheet) -> bool:
    """Counted before anything is made; `every_pair` counts as what it stands for."""
    pairs = 1
    attacks = [g.value for g in sheet.axes.get("attack", [])]
    if EVERY_PAIR in (
        *attacks,
        *(values["attack"].value for values in (sheet.base, *sheet.cases) if "attack" in values),
    ):
        pairs = _most_pairs(sheet)
    count = math.prod(len(v) for v in sheet.axes.values()) * max(1, len(sheet.cases)) * pairs
    if count > MAX_CELLS:
        text = f"the axes make {count:,} cells; at most {MAX_CELLS:,} are taken: shorten an axis or split the grid"
        sheet.wrong(sheet.axes_place, "axes", text)
    return count > MAX_CELLS


def _most_pairs(sheet: Sheet) -> int:
    """The most attacks that `every_pair` stands for, of the data sets of the sheet."""
    given = [*sheet.axes.get("dataset", []), *(v["dataset"] for v in (sheet.base, *sheet.cases) if "dataset" in v)]
    known = [_classes(ref) or () for ref in {str(g.value) for g in given} or {USUAL["dataset"]}]
    return max(1, *(len(names) * (len(names) - 1) for names in known))


def _honest(cell: Cell) -> int:
    """The largest number of honest clients that a round of an attacked cell may have."""
    honest = cell.members - cell.malicious
    return max(0, min(cell.per_round, honest)) if cell.attacked else 0


def _check_data(sheet: Sheet, datasets: set[str], seen: set[tuple[Place, str]]) -> None:
    """Shipped data sets that are here but cannot be used as the grid says: subsets larger than they are."""
    if "dataset" in sheet.broken:
        return
    for dataset in sorted(datasets):
        if _classes(dataset) is not None and isinstance(wrong := _loaded(dataset), str):
            _note(sheet, _place_of(sheet, "dataset", dataset), "dataset", wrong, seen)
            sheet.broken.add("dataset")


def _check_inputs(sheet: Sheet, inputs: set[tuple[str, str, str]], seen: set[tuple[Place, str]]) -> None:
    """Pixel scales, augmentation and attacks on images where the data are none."""
    for field, text, dataset in sorted(inputs):
        if _classes(dataset) is None or {"dataset", field} & sheet.broken:
            continue
        loaded = _loaded(dataset)
        if isinstance(loaded, Dataset) and (found := input_fit.problem(field, text, loaded.shape)):
            _note(sheet, _place_of(sheet, field, text), field, f"{found} ({dataset})", seen)


def _check_attacks(sheet: Sheet, attacks: set[tuple[str, str, int]], seen: set[tuple[Place, str]]) -> None:
    mistakes: list[tuple[Place, str, str]] = []
    for attack, dataset, honest in sorted(attacks):
        names = _classes(dataset)
        if names is None or "dataset" in sheet.broken:
            continue
        loaded = _loaded(dataset)
        shape = loaded.shape if isinstance(loaded, Dataset) else (1, 64, 64)
        try:
            check_attack(attack, len(names), shape, honest or _SOME)
        except FieldError as error:
            mistakes.append((_place_of(sheet, "attack", attack), dataset, str(error)))
    listed: set[str] = set()
    for place, dataset, text in sorted(mistakes):
        names = () if dataset in listed or "class" not in text else _classes(dataset) or ()
        listed |= {dataset} if names else set()  # once is enough, however many attacks name classes that there are not
        known = [f"{i} {n}" for i, n in enumerate(names) if n != str(i)]
        _note(sheet, place, "attack", f"{text} ({dataset}{': ' * bool(known)}{', '.join(known)})", seen)


def _check_deals(sheet: Sheet, deals: set[tuple[str, str, int, str, int]], seen: set[tuple[Place, str]]) -> None:
    """Deal the real labels, or, where the data are not on this machine, so many that only options can be wrong."""
    for field, how, clients, dataset, root in sorted(deals)[:_DEALS]:
        names = _classes(dataset)
        if names is None or {"dataset", field, "clients", "root_examples"} & sheet.broken:
            continue
        loaded = _loaded(dataset)
        enough = torch.arange(len(names)).repeat(_MANY + clients)
        labels = loaded.train_y if isinstance(loaded, Dataset) else enough
        if root >= len(labels):
            text = f"root_examples is {root}, and {dataset} has {len(labels):,} training examples"
            _note(sheet, _place_of(sheet, "root_examples", root), "root_examples", text, seen)
            continue
        shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        rest = shuffled[root:].sort().values
        owners = loaded.clients if isinstance(loaded, Dataset) else rest % clients  # as many examples for each
        try:
            check_deal(field, how, clients, labels[rest], None if owners is None else owners[rest])
        except FieldError as error:
            place = _place_of(sheet, field, how)
            if place == Place():  # the usual partition: what the grid gives is the number of clients
                place = _place_of(sheet, "clients", clients)
            _note(sheet, place, field, f"{error} ({dataset})", seen)


def _check_models(sheet: Sheet, models: set[tuple[str, str]], seen: set[tuple[Place, str]]) -> None:
    for model, dataset in sorted(models):
        if _classes(dataset) is None or {"dataset", "model"} & sheet.broken:
            continue
        loaded = _loaded(dataset)
        if isinstance(loaded, Dataset):
            try:
                check_model(model, loaded.shape, len(loaded.classes))
            except FieldError as error:
                _note(sheet, _place_of(sheet, "model", model), "model", f"{error} ({dataset})", seen)


def _loaded(dataset: str) -> Dataset | str | None:
    """A shipped data set, or why it cannot be used; None where it is not on this machine: said when it is needed."""
    try:
        return data.load(dataset)
    except NotFoundError:
        return None
    except UserError as error:
        return str(error)


def _examples(dataset: str) -> int | None:
    """The number of training examples of a shipped data set; None where it is not on this machine."""
    loaded = _loaded(dataset) if _classes(dataset) is not None else None
    return len(loaded.train_y) if isinstance(loaded, Dataset) else None


def _classes(dataset: str) -> tuple[str, ...] | None:
    return data.class_names(dataset)


def _blame(sheet: Sheet, values: dict[str, Any], text: str, seen: set[tuple[Place, str]]) -> None:
    """Note fields that do not go together at the first field that the message names and the grid gives."""
    named = [w for w in dict.fromkeys(_WORD.findall(text)) if w in FIELDS]
    if sheet.broken.intersection(named):
        return  # of a value that was refused already
    for name in named:
        if (place := _place_of(sheet, name, values[name])) != Place():
            return _note(sheet, place, name, text, seen)
    return _note(sheet, Place(), "base", text, seen)


def _note(sheet: Sheet, place: Place, field: str, text: str, seen: set[tuple[Place, str]]) -> None:
    if (place, text) not in seen:
        seen.add((place, text))
        sheet.mistakes.append(Mistake(place, field, text))


def _place_of(sheet: Sheet, name: str, value: Any) -> Place:
    """Where the grid gives a field this value; the start of the file where it does not."""
    given: list[Given] = [*sheet.axes.get(name, [])]
    given += [values[name] for values in (*sheet.cases, sheet.base) if name in values]
    given += sheet.candidates.get(name, ())
    return next((g.place for g in given if g.value in (value, EVERY_PAIR)), Place())


def _conflicts(cell: Any) -> list[str]:
    """Everything that does not go together; after each conflict the first field that it names is set aside."""
    conflicts: list[str] = []
    while True:
        try:
            cell._together()
        except ValueError as error:
            conflicts.append(str(error))
        else:
            return conflicts
        values = vars(cell)
        given = (w for w in _WORD.findall(conflicts[-1]) if w in FIELDS and values[w] != USUAL[w])
        if (first := next(given, None)) is None:
            return conflicts
        cell = _bare(values | {first: USUAL[first]})


def _bare(values: dict[str, Any]) -> Cell:
    """A cell of values that were checked already, without checking each again (a fifth of the time)."""
    cell = object.__new__(Cell)
    cell.__dict__.update(values)
    return cell
