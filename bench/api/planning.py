"""What a run would do: cells by state, which of them cannot work, and how long the rest takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from html import escape
from operator import attrgetter
from pathlib import Path
from statistics import fmean, median
from typing import Any

from flipbench.analysis.comparisons import tests_of, too_few
from flipbench.analysis.statistics import LEAST_SEEDS
from flipbench.api import tuning
from flipbench.execution import cell_trials, memory_need, preflight
from flipbench.execution.progress import clock, counted, label
from flipbench.grid.reader import Grid, contents
from flipbench.grid.trials import Tuning
from flipbench.spec.cell import FIELDS, Cell
from flipbench.spec.distinct_texts import printable
from flipbench.spec.field_groups import ATTACK_OPTIONS
from flipbench.spec.key import key_of_normal
from flipbench.spec.seed_plan import SeedPlan
from flipbench.spec.twins import clean_twin, normal
from flipbench.store.store import Store, Survey

RATE = 20e9  # floating-point operations a second that one thread sustains on small layers; a guess, and said to be one
_OF_NO_COST = {"seed", "aggregator", "declared_byzantine", "malicious_fraction", "malicious_count", *ATTACK_OPTIONS}
_costly = attrgetter("members", *(f for f in FIELDS if f not in _OF_NO_COST))  # members: the sybils train too
_column = attrgetter(*(f for f in FIELDS if f not in {"aggregator", "seed"}))
_SAMPLE = 9  # finished cells read for each kind of training


@dataclass(frozen=True, repr=False)
class Plan:
    """The cells of a grid by what a run would do with them; prints as ``flipbench plan`` does.

    Attributes:
        name: of the grid.
        cells: key -> cell, in order.
        states: key -> ``done``, ``infeasible``, ``failed`` or ``new``.
        refused: key -> why its rule will refuse it; of the cells that are to run.
        doomed: key -> what its rule or model did on trial in place of an answer; of the cells that are to run.
        seconds: estimate for one worker, for all that is to run.
        guessed: how many of the cells to run have no finished cell of equal training to be judged by.
        workers: that the estimate of the whole run counts with.
        trials: which cells fail when one small round of them is tried, and why; empty where none does.
        damaged: files of results that cannot be trusted; their cells are to run.
        warnings: of the grid: what is sound and hardly meant, like an attack that cannot act.
        stage: of a tuned grid the plan of its trials; ``seconds`` is without theirs.
        unchosen: cells that will be tuned, and are not known before the trials are done.
        short: what must be said of the trials, like an aggregator with fewer candidates than the budget.
        each: seconds of a cell, by its training.
        seeds: of a sequential run, whose cells these are at most; None for a fixed number of seeds.
        memory: that the workers need; None where nothing is to run on this machine's processor.
    """

    name: str
    cells: Mapping[str, Cell]
    states: Mapping[str, str]
    refused: Mapping[str, str]
    doomed: Mapping[str, str]
    seconds: float
    guessed: int
    workers: int = 1
    trials: str = ""
    damaged: tuple[str, ...] = ()
    memory: memory_need.Need | None = None
    warnings: tuple[str, ...] = ()
    stage: Plan | None = None
    unchosen: int = 0
    short: tuple[str, ...] = ()
    each: Mapping[tuple[Any, ...], float] = field(default_factory=dict)
    seeds: SeedPlan | None = None

    @property
    def pending(self) -> dict[str, Cell]:
        """The cells that a run would run."""
        return {k: c for k, c in self.cells.items() if self.states[k] in ("new", "failed")}

    @property
    def at_least(self) -> tuple[int, float]:
        """Cells that a sequential run certainly runs, those of its first seeds, and their seconds on one worker."""
        first = {k: c for k, c in self.pending.items() if self.seeds is None or c.seed < self.seeds.least}
        return len(first), sum(self.each[_training(c)] for k, c in first.items() if k not in self.refused)

    def __repr__(self) -> str:
        return text(self)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(text(self))}</pre>"


def plan(grid: Grid, folder: Path, looked: Callable[[], Survey] | None = None, workers: int = 1) -> Plan:
    """Compare the grid with what its folder holds; nothing is written.

    Args:
        grid: to run.
        folder: of its results.
        looked: gives the survey of the folder; None: it is made now.
        workers: processes that the estimate counts with.

    Raises:
        UserError: the data cannot be found, or this machine has no such device.
    """
    if grid.tuning is None:
        return _plan(grid, folder, looked, workers)
    stage = _plan(tuning.of_trials(grid), folder / tuning.FOLDER, None, workers)
    short = tuple(tuning.short(grid.tuning))
    if not stage.pending:
        found = _plan(tuning.reported(grid, tuning.decided(folder)), folder, looked, workers)
        return replace(found, stage=stage, short=short)
    found = _plan(grid, folder, looked, workers)
    seconds, unchosen = _tuned_form(grid.tuning, stage)
    return replace(found, stage=stage, short=short, seconds=found.seconds + seconds, unchosen=unchosen)


def _tuned_form(tuned: Tuning, stage: Plan) -> tuple[float, int]:
    """Seconds for the cells that will be tuned, and their number: each takes as long as a trial of its choice does."""
    spent: dict[int, list[float]] = {}
    for key, cell, of in zip(stage.cells, tuned.trials, tuned.belongs, strict=True):
        for choice, _ in of if key not in stage.refused else ():
            spent.setdefault(choice, []).append(stage.each[_training(cell)])
    seconds = 0.0
    cells: dict[tuple[Cell, int], None] = {}
    for cell, number in tuned.reported:
        for own in (clean_twin(cell), normal(cell)):
            cells.setdefault((own, number))
    for _, number in cells:
        seconds += fmean(spent[number]) if number in spent else 0.0
    return seconds, len(cells)


def _plan(grid: Grid, folder: Path, looked: Callable[[], Survey] | None, workers: int) -> Plan:
    cell_trials.check_devices(grid.cells)
    cell_trials.load(c.dataset for c in grid.cells)  # a data set of a plug-in may end the process that loads it
    cells = {key_of_normal(cell, contents(cell)): cell for cell in grid.cells}
    store = Store(folder, repairs=False)
    survey = (looked or store.survey)()
    known = survey.statuses
    states = {k: known.get(k, "new") for k in cells}
    to_run = {k: c for k, c in cells.items() if states[k] in ("new", "failed")}
    found = preflight.answers([ask(c) for c in to_run.values() for ask in (preflight.of_rule, preflight.of_model)])
    rules = {k: found[preflight.of_rule(c)] for k, c in to_run.items()}
    models = {k: found[preflight.of_model(c)] for k, c in to_run.items()}
    refused = {k: a.refused for k, a in rules.items() if a.refused is not None}
    doomed = {k: why for k in to_run if (why := rules[k].failed or models[k].failed) is not None}
    failures = cell_trials.tried(to_run.values())
    trials = cell_trials.message(failures, cell_trials.temporary(failures)) if failures else ""
    measured = _measured(store, {k: c for k, c in cells.items() if states[k] == "done"})
    seconds, guessed, each = 0.0, 0, dict(measured)
    for k, cell in to_run.items():
        if k not in refused:
            before = measured.get(_training(cell))
            guessed += before is None
            seconds += each.setdefault(_training(cell), estimate(cell, models[k].size))
    rooms = {c: models[k].room for k, c in to_run.items() if k not in refused and k not in doomed}
    memory = memory_need.need(rooms, min(workers, max(1, len(to_run))))
    facts = seconds, guessed, workers, trials, survey.damaged, memory
    return Plan(grid.name, cells, states, refused, doomed, *facts, each=each, seeds=grid.seeds)


def estimate(cell: Cell, size: tuple[int, int, float]) -> float:
    """Seconds that a cell takes on one thread, from its operations alone: a guess before anything was measured.

    Args:
        cell: the cell to estimate.
        size: training and test examples, operations of one example's forward pass.
    """
    train, test, flops = size
    if cell.local_steps is None:
        seen = (cell.epochs or 1) * train * (1 - cell.validation_share) * cell.per_round / cell.clients
    else:
        batch = train / cell.clients if cell.batch_size == "full" else cell.batch_size
        seen = cell.local_steps * batch * cell.per_round
    evaluations = cell.evaluate_last + cell.rounds // cell.evaluate_every
    return flops * (3 * cell.rounds * seen + evaluations * test) / RATE  # backward costs twice forward


def text(plan: Plan) -> str:
    """The plan for the terminal."""
    if plan.stage is None:
        return "\n".join([*_counts(plan, "cell"), *_ends(plan)])
    trials = [line for line in _counts(plan.stage, "trial") if not line.startswith("warning")]
    lines = [*trials, *plan.short, "", *_counts(plan, "reported cell")]
    if plan.unchosen:
        most = f"  {'tuned, not yet known':<22} {plan.unchosen:,} at most: what is chosen depends on the trials"
        lines.insert(len(lines) - bool(plan.pending), most)
    total = (plan.seconds + plan.stage.seconds) / plan.workers
    lines.append(f"about {clock(total)} for trials and reported cells together")
    return "\n".join([*lines, *_ends(plan)])


def _counts(plan: Plan, noun: str) -> list[str]:
    """How many cells there are in each state, and how long the rest takes."""
    count = Counter(plan.states.values())
    clean = sum(not c.attacked for c in plan.cells.values())
    width = len(f"{len(plan.cells):,}")
    lines = [f"{plan.name}: {counted(len(plan.cells), noun)}, {clean:,} of them clean"]
    lines += [f"  {name:<22} {count[state]:>{width},}" for name, state in _ROWS]
    lines += [f"  {'to run':<22} {len(plan.pending):>{width},}"]
    for why, times in Counter(plan.refused.values()).items():
        lines.append(f"  {'of them infeasible':<22} {times:>{width},}  {printable(why)}")
    for why, times in Counter(plan.doomed.values()).items():
        lines.append(f"  {'of them likely to fail':<22} {times:>{width},}  {printable(why)}")
    if plan.pending:
        basis = (
            "a guess from the number of operations" if plan.guessed else "judged by finished cells of equal training"
        )
        if 0 < plan.guessed < len(plan.pending) - len(plan.refused):
            basis = (
                f"a guess for {counted(plan.guessed, 'cell')}, the others judged by finished cells of equal training"
            )
        lines.append(f"about {clock(plan.seconds / plan.workers)} on {counted(plan.workers, 'worker')} ({basis})")
    if plan.seeds is not None:
        few, seconds = plan.at_least
        least = f"at least {counted(few, noun)} to run (about {clock(seconds / plan.workers)})"
        most = f"at most {len(plan.pending):,} (about {clock(plan.seconds / plan.workers)})"
        lines.append(f"  {plan.seeds.least} to {plan.seeds.most} seeds, until decided: {least}, {most}")
    return lines


def _ends(plan: Plan) -> Iterator[str]:
    """What is to be known of a run beside its cells."""
    lines = []
    if plan.memory is not None:
        lines.append(str(plan.memory))
        lines += [f"warning: {plan.memory.warning}"] if plan.memory.warning else []
    if plan.damaged:
        lines.append(f"{counted(len(plan.damaged), 'damaged file')} left as found; a run moves them to quarantine/:")
        lines += [f"  {name}" for name in plan.damaged[:5]]
    lines += [f"warning: {printable(warning, 500)}" for warning in plan.warnings]
    failing = [each for each in (plan.stage.trials if plan.stage else "", plan.trials) if each]
    yield from [*lines, *failing, *_few_seeds(plan)]


def _few_seeds(plan: Plan) -> Iterator[str]:
    """A warning where rules are to be compared over too few seeds to claim anything."""
    tables: dict[tuple[str, str], list[Cell]] = {}
    for k, cell in plan.cells.items():
        if k not in plan.refused:
            tables.setdefault((cell.dataset, cell.partition), []).append(cell)
    fewest: list[tuple[int, int]] = []
    for cells in tables.values():
        rules, seeds = len({c.aggregator for c in cells}), len({c.seed for c in cells})
        columns = len({_column(c) for c in cells if c.attacked}) + 1  # and the clean one
        if rules > 1 and seeds < LEAST_SEEDS:
            fewest.append((seeds, tests_of(columns, rules)))
    if fewest:
        yield f"warning: no difference between rules can be claimed: {too_few(*min(fewest))}"


def listing(plan: Plan) -> Iterator[str]:
    """One line a cell: key, state, and what differs between cells."""
    for k, cell in plan.cells.items():
        state = "infeasible" if k in plan.refused else "may fail" if k in plan.doomed else plan.states[k]
        yield f"{k[:12]} {state:<10} {label(cell)}  {cell.dataset}  {cell.model}"


_ROWS = (("done", "done"), ("infeasible, recorded", "infeasible"), ("failed before", "failed"))


def _training(cell: Cell) -> tuple[Any, ...]:
    """What the time of a cell depends on, rule and flip aside."""
    return _costly(cell)


def _measured(store: Store, done: Mapping[str, Cell]) -> dict[tuple[Any, ...], float]:
    """Median seconds of finished cells, by their training."""
    groups: dict[tuple[Any, ...], list[str]] = {}
    for k, cell in done.items():
        groups.setdefault(_training(cell), []).append(k)
    found = {}
    for training, keys in groups.items():
        records = [record for k in keys[:_SAMPLE] if (record := store.read(k)) is not None]
        if records:
            found[training] = median(sum(r["seconds"].values()) for r in records)
    return found
