"""A stack of cells in, one record a cell out: what a worker does. Nothing here writes to the store.

A stack that fails is run again cell by cell, so that one bad cell costs its neighbours nothing.
"""

from __future__ import annotations

import platform
import subprocess
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flipbench import data
from flipbench.aggregators.contract import Infeasible
from flipbench.attacks.chain import Chain
from flipbench.attacks.contract import ExampleContext, Stamped
from flipbench.data.dataset import Dataset
from flipbench.data.pixel_scaling import SCALES
from flipbench.errors import UserError
from flipbench.federation import attack_search
from flipbench.federation.checkpoint import Checkpoints, Keeper
from flipbench.federation.federation import BadUpdateError, Parts, Task, run
from flipbench.federation.malicious_clients import BadAttackError
from flipbench.federation.population import Partition, Population, class_map, populate
from flipbench.federation.trial_checkpoint import TrialLog
from flipbench.plugins import registry
from flipbench.spec.cell import Cell
from flipbench.spec.field_groups import ATTACK_OPTIONS
from flipbench.spec.key import SCHEMA, key
from flipbench.spec.reference import parse
from flipbench.spec.twins import clean_twin, normal
from flipbench.system import cuda_devices, exception_text
from flipbench.system.malloc import keep_freed_memory
from flipbench.system.signals import is_users
from flipbench.training.inputs import Pixels

Record = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """A cell to run: its facts and the hashes of what they name."""

    cell: Cell
    content: Mapping[str, str]


def perform(
    jobs: Sequence[Job],
    circumstances: Mapping[str, Any],
    attempts: Mapping[str, int] | None = None,
    checkpoints: Checkpoints | None = None,
) -> list[Record]:
    """Run a stack of alike cells, one thread; every exception becomes a record.

    Args:
        jobs: the cells; alike (`stackable`).
        circumstances: provenance known to the caller (commit, command).
        attempts: how often each key failed before.
        checkpoints: where the states of long cells are kept; None: nowhere.

    Returns:
        One record a job, in order, without the body hash.
    """
    torch.set_num_threads(1)
    keep_freed_memory()
    started = time.perf_counter()
    keeper = None if checkpoints is None else Keeper(checkpoints, [key(job.cell, job.content) for job in jobs])
    if keeper is not None and not keeper.even():
        return _one_by_one(jobs, circumstances, attempts, checkpoints)
    try:
        prepared = _prepare(jobs, checkpoints)
        setup = (time.perf_counter() - started) / len(jobs)
        results = run(prepared.cells, prepared.populations, prepared.task, prepared.parts, keeper)
    except Infeasible as error:
        if len(jobs) > 1:
            return _one_by_one(jobs, circumstances, attempts, checkpoints)
        return [_record(jobs[0], circumstances, "infeasible", attempts, reason=exception_text.text(error))]
    except BaseException as error:  # a plug-in may raise anything, and the other cells must run
        if is_users(error):
            raise
        if len(jobs) > 1:
            return _one_by_one(jobs, circumstances, attempts, checkpoints)
        ours = isinstance(error, UserError | BadUpdateError | BadAttackError)
        reason = exception_text.text(error) if ours else exception_text.told(error)
        text = "".join(traceback.format_exception(error))
        return [failure(jobs[0], circumstances, reason, attempts or {}, text)]
    described = _described(jobs[0].cell)
    if keeper is not None and keeper.note is not None:
        circumstances = {**circumstances, "checkpoint": keeper.note}
    return [
        _record(
            job,
            circumstances,
            "done",
            attempts,
            task=described,
            mapping=mapping,
            attack=attack,
            result=result,
            seconds={"setup": setup, **seconds},
        )
        for job, attack, mapping, (result, seconds) in zip(
            jobs, prepared.attacks, prepared.mappings, results, strict=True
        )
    ]


def _one_by_one(
    jobs: Sequence[Job],
    circumstances: Mapping[str, Any],
    attempts: Mapping[str, int] | None,
    checkpoints: Checkpoints | None,
) -> list[Record]:
    return [record for job in jobs for record in perform([job], circumstances, attempts, checkpoints)]


def failure(
    job: Job, circumstances: Mapping[str, Any], reason: str, attempts: Mapping[str, int], text: str | None = None
) -> Record:
    """The record of a cell that failed."""
    return _record(job, circumstances, "failed", attempts, reason=reason, traceback=text)


_VARYING = frozenset({"seed", "malicious_count", *ATTACK_OPTIONS})


def stackable(cell: Cell) -> tuple[Any, ...]:
    """Cells with equal values of this may run in one stack: all that shapes the computation.

    An attack on examples is among it: a stack has one stamped training set.
    """
    facts = asdict(normal(cell))
    for name in _VARYING if chain_of(cell).examples is None else _VARYING - {"attack"}:
        del facts[name]
    return (cell.members, *facts.items())


def width(cell: Cell, workers: int = 1) -> int:
    """How many cells of this kind make a stack.

    On the CPU stacking only saves overhead, so a stack stays within the processor's cache; full batches differ in
    size from seed to seed and are run alone. On CUDA memory decides, of which each worker has its share.
    """
    if cell.batch_size == "full" or hasattr(registry.resolve("aggregator", cell.aggregator), "init"):
        return 1
    make, dataset = registry.resolve("model", cell.model), _dataset(cell.dataset)
    with torch.device("meta"):  # counts parameters without making them
        model = make(dataset.shape, len(dataset.classes))
    size = int(sum(p.numel() for p in model.parameters())) * cell.per_round * 4  # bytes of a round's updates
    if cell.device == "cuda":
        check_device(cell.device)
        # Weights, momenta, gradients, and what the rule makes.
        return max(1, min(256, cuda_devices.memory(workers) // (12 * size)))
    return max(1, min(8, (4 << 20) // size))


@dataclass(frozen=True)
class _Prepared:
    """A stack ready to run, and what the record says of each cell's attack."""

    cells: list[Cell]
    populations: list[Population]
    task: Task
    parts: Parts
    attacks: list[dict[str, Any] | None]
    mappings: list[list[list[int]] | None]


def _prepare(jobs: Sequence[Job], checkpoints: Checkpoints | None) -> _Prepared:
    """Everything that names stand for, resolved, and what attackers do before the first round."""
    first = jobs[0].cell
    dataset, task = _dataset(first.dataset), _task(first.dataset, first.features, first.device)
    classes = len(dataset.classes)
    cells = [normal(job.cell) for job in jobs]
    parts, partition = _parts(first), registry.resolve("partition", first.partition)
    task = _with_black(first, task, parts)
    stamp = chain_of(first).examples
    stamped, task = (None, task) if stamp is None else _stamped(first.attack, stamp, dataset.train_y, task)
    populations, attacks, mappings = [], [], []
    for job, cell in zip(jobs, cells, strict=True):
        chain, told, mapping = chain_of(cell), None, None
        if chain.links:
            told = {
                "places": chain.places,
                "adaptive": chain.declares("adaptive"),
                "dynamic": chain.declares("dynamic"),
                "search": None,
                "target": None if stamped is None else _only(stamped.labels),
            }
            confusion = partial(_confusion, attack_search.clean_of(cell))
            if chain.declares("adaptive") and hasattr(chain.labels, "search"):
                alone = hasattr(parts.rule, "init")
                log = None if checkpoints is None else TrialLog(checkpoints, key(job.cell, job.content))
                found = attack_search.found(cell, dataset.train_y, partition, task, parts, chain, confusion, alone, log)
                chain = replace(chain, labels=found.flip)
                mapping = None if found.mapping is None else sorted(found.mapping.items())
                told["search"] = {**found.report, "mapping": mapping}
            else:
                mapping = class_map(chain, classes)
            known: dict[str, Any] = {"confusion": confusion, "stamped": stamped, "sybil_data": parts.sybil_data}
            people = populate(cell, dataset.train_y, classes, partition, chain, **known)
        else:
            people = populate(cell, dataset.train_y, classes, partition, None)
        populations.append(people)
        attacks.append(told)
        mappings.append(None if mapping is None else [list(pair) for pair in mapping])
    return _Prepared(cells, populations, task, parts, attacks, mappings)


def chain_of(cell: Cell) -> Chain:
    """What the malicious clients of a cell do; nothing where there are none."""
    return _chain(cell.attack) if cell.attacked else Chain()


def _chain(attack: str) -> Chain:
    return Chain.of(registry.resolve("attack", attack))


def _parts(cell: Cell) -> Parts:
    return Parts(
        registry.resolve("model", cell.model),
        registry.resolve("schedule", cell.schedule),
        registry.resolve("aggregator", cell.aggregator),
        registry.resolve("initialisation", cell.initialisation),
        registry.resolve("loss", cell.loss),
        registry.resolve("augmentation", cell.augmentation),
        registry.resolve("malicious_data", cell.malicious_data),
    )


def _stamped(attack: str, stamp: Any, labels: Tensor, task: Task) -> tuple[Stamped, Task]:
    """The training set as an attack on examples would have it, and the task with it and stamped test images."""
    context = ExampleContext(task.classes, float(task.train.min()), float(task.train.max()))
    try:
        train, test = stamp(task.train, labels, context), stamp(task.test, task.test_labels.cpu(), context)
    except ValueError as error:
        raise UserError(f"attack {attack}: {error}") from error
    for one, true in ((train, task.train), (test, task.test)):
        if not isinstance(one, Stamped) or one.examples.shape != true.shape or one.examples.dtype != true.dtype:
            raise UserError(f"attack {attack} must return attacks.Stamped with examples of shape {tuple(true.shape)}")
    shown = test.eligible.to(task.test.device)
    with_stamps = replace(
        task,
        train=torch.cat([task.train, train.examples]),
        pixels=None,
        stamped_test=test.examples[shown],
        stamped_labels=task.test_labels[shown],
    )
    return train, with_stamps


def _only(labels: Tensor) -> int | None:
    """The one target of a backdoor; None where it has several."""
    values = labels.unique().tolist()
    return int(values[0]) if len(values) == 1 else None


@lru_cache(maxsize=64)
def _confusion(clean: Cell) -> Tensor:
    """A clean model's confusion: one federation a seed, for all rules, attacks and malicious fractions."""
    dataset, task = _dataset(clean.dataset), _task(clean.dataset, clean.features, clean.device)
    partition: Partition = registry.resolve("partition", clean.partition)
    parts = _parts(clean)
    return attack_search.confusion(clean, dataset.train_y, partition, _with_black(clean, task, parts), parts)


def check_device(device: str) -> None:
    """Raises UserError for CUDA where PyTorch sees none."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device is cuda, but PyTorch sees no CUDA device here: use device=cpu or install a CUDA build")


_supplied: dict[str, Dataset] = {}


def supply(ref: str, dataset: Dataset) -> None:
    """Use this data set, which came over the wire, wherever a cell names ``ref``."""
    if _supplied.get(ref) is not dataset:
        _supplied[ref] = dataset
        for cache in (_dataset, _task, _confusion, _black):
            cache.cache_clear()


@lru_cache(maxsize=4)
def _dataset(ref: str) -> Dataset:
    return _supplied.get(ref) or data.load(ref)


@lru_cache(maxsize=2)
def _task(ref: str, features: str, device: str) -> Task:
    """The data set on the device, at its pixel scale."""
    check_device(device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    d = _dataset(ref)
    train, test = registry.resolve("features", features)(d.train_x, d.test_x, d.levels)
    pixels, known = None, parse(features)
    if device == "cpu" and known.name in SCALES:
        pixels = Pixels(d.train_x.contiguous(), SCALES[known.name](d.train_x, d.levels, **known.options))
    return Task(train.to(device), test.to(device), d.test_y.to(device), len(d.classes), pixels=pixels)


def _with_black(cell: Cell, task: Task, parts: Parts) -> Task:
    """The task with what augmentation pads with, where there is one."""
    if not hasattr(parts.augment, "draw"):
        return task
    return replace(task, black=_black(cell.dataset, cell.features).to(task.train.device))


@lru_cache(maxsize=2)
def _black(ref: str, features: str) -> Tensor:
    """A black image at the pixel scale of the data set."""
    d = _dataset(ref)
    black: Tensor = registry.resolve("features", features)(d.train_x, torch.zeros_like(d.test_x[:1]), d.levels)[1][0]
    return black


def _described(cell: Cell) -> dict[str, Any]:
    d = _dataset(cell.dataset)
    return {
        "dataset": d.name,
        "classes": list(d.classes),
        "split": d.split,
        "train": len(d.train_y),
        "test": len(d.test_y),
        "features": d.train_x[0].numel(),
    }


def _record(
    job: Job, circumstances: Mapping[str, Any], status: str, failed_before: Mapping[str, int] | None, **more: Any
) -> Record:
    """What is stored of a cell; ``attempts`` counts its failed tries of earlier runs and the one that ended so."""
    blank: Record = dict.fromkeys(("task", "mapping", "attack", "reason", "traceback", "result"), None)
    mine = key(job.cell, job.content)
    return {
        **blank,
        "schema": SCHEMA,
        "key": mine,
        "twin": key(clean_twin(job.cell), {k: v for k, v in job.content.items() if k != "attack"}),
        "status": status,
        "facts": asdict(normal(job.cell)),
        "content": dict(job.content),
        "attempts": 1 + (failed_before or {}).get(mine, 0),
        "seconds": {},
        "provenance": {**circumstances, **_machine(job.cell.device)},
        **more,
    }


def _machine(device: str) -> dict[str, Any]:
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" and torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def circumstances() -> dict[str, Any]:
    """Provenance that is the same for all cells of a run; no environment variable ever enters it."""
    return {
        "flipbench": version("flipbench"),
        "commit": commit_of(Path(__file__).parent),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "platform": platform.platform(),
    }


def commit_of(folder: Path) -> str | None:
    """A checkout's commit, with a mark when files other than results differ from it; None outside a checkout."""
    git = partial(subprocess.run, cwd=folder, capture_output=True, text=True, check=False)
    try:
        head = git(["git", "rev-parse", "--short=12", "HEAD"])
        elsewhere = ["--", ":/", ":(top,exclude)results"]  # runs rewrite the committed tables
        changed = git(["git", "status", "--porcelain", "--untracked-files=no", *elsewhere])
    except OSError:
        return None
    if head.returncode:
        return None
    return head.stdout.strip() + ("+changes" if changed.stdout.strip() else "")
