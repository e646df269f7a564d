"""Runs a stack of cells and returns one record a cell: what a worker does. Nothing here writes to the store.

A stack that fails is run again cell by cell, so that one bad cell costs its neighbours nothing.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from flipbench.aggregators.contract import Infeasible
from flipbench.data import in_memory
from flipbench.errors import UserError
from flipbench.federation import named_model, tasks
from flipbench.federation.aggregation import BadUpdateError
from flipbench.federation.checkpoints.files import Checkpoints
from flipbench.federation.checkpoints.keeper import Keeper
from flipbench.federation.federation import Federation, finish
from flipbench.federation.malicious_clients import BadAttackError
from flipbench.federation.records import Job, Record, failure, record
from flipbench.plugins import registry
from flipbench.spec.cell import Cell
from flipbench.spec.field_groups import ATTACK_OPTIONS
from flipbench.spec.key import key
from flipbench.spec.reference import parse
from flipbench.spec.twins import normal
from flipbench.system import cuda_devices, exception_text, process_settings
from flipbench.system.malloc import keep_freed_memory
from flipbench.system.signals import is_users


def perform(
    jobs: Sequence[Job],
    provenance: Mapping[str, Any],
    attempts: Mapping[str, int] | None = None,
    checkpoints: Checkpoints | None = None,
) -> list[Record]:
    """Run a stack of alike cells, one thread; every exception becomes a record.

    Args:
        jobs: the cells; alike (`stackable`).
        provenance: what the caller knows of it (commit, versions).
        attempts: how often each key failed before.
        checkpoints: where the states of long cells are kept; None: nowhere.

    Returns:
        One record a job, in order, without the body hash.
    """
    with process_settings.standard():
        return _perform(jobs, provenance, attempts, checkpoints)


def _perform(
    jobs: Sequence[Job],
    provenance: Mapping[str, Any],
    attempts: Mapping[str, int] | None,
    checkpoints: Checkpoints | None,
) -> list[Record]:
    keep_freed_memory()
    started = time.perf_counter()
    keeper = None if checkpoints is None else Keeper(checkpoints, [key(job.cell, job.content) for job in jobs])
    if keeper is not None and not keeper.even():
        return _one_by_one(jobs, provenance, attempts, checkpoints)
    try:
        with tasks.data_kept(jobs[0]):
            prepared = tasks.prepare(jobs, checkpoints)
            setup = (time.perf_counter() - started) / len(jobs)
            federation = Federation(prepared.cells, prepared.populations, prepared.task, prepared.parts)
            results = finish(federation, keeper)
    except Infeasible as error:
        if len(jobs) > 1:
            return _one_by_one(jobs, provenance, attempts, checkpoints)
        return [record(jobs[0], provenance, "infeasible", attempts, reason=exception_text.text(error))]
    except BaseException as error:  # a plug-in may raise anything, and the other cells must run
        if is_users(error):
            raise
        if len(jobs) > 1:
            return _one_by_one(jobs, provenance, attempts, checkpoints)
        ours = isinstance(error, UserError | BadUpdateError | BadAttackError)
        reason = exception_text.text(error) if ours else exception_text.with_line(error)
        text = "".join(traceback.format_exception(error))
        return [failure(jobs[0], provenance, reason, attempts or {}, text)]
    described = tasks.described(jobs[0])
    provenance = {**provenance, "executor": federation.net.name}
    if keeper is not None and keeper.note is not None:
        provenance = {**provenance, "checkpoint": keeper.note}
    return [
        record(
            job,
            provenance,
            "done",
            attempts,
            task=described,
            mapping=mapping,
            attack=attack,
            result=result,
            seconds={"setup": setup, **seconds},
            cost=federation.cost,
        )
        for job, attack, mapping, (result, seconds) in zip(
            jobs, prepared.attacks, prepared.mappings, results, strict=True
        )
    ]


def _one_by_one(
    jobs: Sequence[Job],
    provenance: Mapping[str, Any],
    attempts: Mapping[str, int] | None,
    checkpoints: Checkpoints | None,
) -> list[Record]:
    return [record for job in jobs for record in perform([job], provenance, attempts, checkpoints)]


_VARYING = frozenset({"seed", "malicious_count", *ATTACK_OPTIONS})


def stackable(cell: Cell) -> tuple[Any, ...]:
    """Cells with equal values of this may run in one stack: all that shapes the computation.

    An attack on examples is among it: a stack has one stamped training set. So is the seed, where the model is a
    plug-in: what it keeps beside its parameters, drawn from the seed, is one module's for the whole stack.
    """
    fields, varying = asdict(normal(cell)), _VARYING
    if tasks.chain_of(cell).examples is not None:
        varying -= {"attack"}
    if not registry.is_shipped("model", parse(cell.model).name):
        varying -= {"seed"}
    for name in varying:
        del fields[name]
    return (cell.members, *fields.items())


def width(cell: Cell, workers: int = 1, content: str = "") -> int:
    """How many cells of this kind make a stack; ``content`` is the hash of the data set, where it is known.

    On the CPU stacking only saves overhead, so a stack stays within the processor's cache; full batches differ in
    size from seed to seed and are run alone. On CUDA memory decides, of which each worker has its share.
    """
    if alone(cell):
        return 1
    make, dataset = named_model.resolve(cell.model), in_memory.dataset_of(cell.dataset, content)
    with process_settings.kept(), torch.device("meta"):  # counts parameters without making them
        model = make(dataset.shape, len(dataset.classes))
    return rows_of(cell, sum(p.numel() for p in model.parameters()), workers)


def alone(cell: Cell) -> bool:
    """Whether the cell runs in a stack of its own: full batches differ in size, and a rule may have memory."""
    return cell.batch_size == "full" or hasattr(registry.resolve("aggregator", cell.aggregator), "init")


def rows_of(cell: Cell, parameters: int, workers: int = 1) -> int:
    """As `width`, of a model with so many parameters."""
    if alone(cell):
        return 1
    size = max(1, parameters * cell.per_round * 4)  # bytes of a round's updates
    if cell.device == "cuda":
        tasks.check_device(cell.device)
        # Weights, momenta, gradients, and what the rule makes.
        return max(1, min(256, cuda_devices.memory(workers) // (12 * size)))
    return max(1, min(8, (4 << 20) // size))
