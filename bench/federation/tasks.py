"""Resolves the names in cells: data sets, models, rules, partitions, attacks; each is loaded once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from flipbench import data
from flipbench.attacks.chain import Chain
from flipbench.attacks.contract import ExampleContext, Stamped
from flipbench.data.dataset import Dataset
from flipbench.data.pixel_scaling import SCALES
from flipbench.errors import UserError
from flipbench.federation import attack_search, named_model
from flipbench.federation.attack_search import Search
from flipbench.federation.checkpoint_files import Checkpoints
from flipbench.federation.population import Partition, Population, class_map, populate
from flipbench.federation.records import Job
from flipbench.federation.task import Parts, Task
from flipbench.federation.trial_checkpoint import TrialLog
from flipbench.plugins import registry
from flipbench.spec.cell import Cell
from flipbench.spec.key import key
from flipbench.spec.reference import parse
from flipbench.spec.twins import normal
from flipbench.training.inputs import Pixels


@dataclass(frozen=True)
class Prepared:
    """A stack ready to run, and what the record says of each cell's attack."""

    cells: list[Cell]
    populations: list[Population]
    task: Task
    parts: Parts
    attacks: list[dict[str, Any] | None]
    mappings: list[list[list[int]] | None]


def prepare(jobs: Sequence[Job], checkpoints: Checkpoints | None) -> Prepared:
    """Everything that names stand for, resolved, and what attackers do before the first round."""
    first = jobs[0].cell
    dataset, task = dataset_of(first.dataset), _task(first.dataset, first.features, first.device)
    classes = len(dataset.classes)
    cells = [normal(job.cell) for job in jobs]
    parts, partition = _parts(first), registry.resolve("partition", first.partition)
    task = _with_black(first, task, parts)
    stamp = chain_of(first).examples
    stamped, task = (None, task) if stamp is None else _stamped(first.attack, stamp, dataset.train_y, task)
    populations, attacks, mappings = [], [], []
    for job, cell in zip(jobs, cells, strict=True):
        chain, description, mapping = chain_of(cell), None, None
        if chain.links:
            description = {
                "places": chain.places,
                "adaptive": chain.declares("adaptive"),
                "dynamic": chain.declares("dynamic"),
                "search": None,
                "target": None if stamped is None else _only(stamped.labels),
            }
            confusion = partial(_confusion, attack_search.clean_of(cell))
            if chain.declares("adaptive") and hasattr(chain.labels, "search"):
                log = None if checkpoints is None else TrialLog(checkpoints, key(job.cell, job.content))
                search = Search(cell, dataset.train_y, partition, task, parts, chain, confusion, log)
                answer = search.run()
                chain = replace(chain, labels=answer.flip)
                mapping = None if answer.mapping is None else sorted(answer.mapping.items())
                description["search"] = {**answer.report, "mapping": mapping}
            else:
                mapping = class_map(chain, classes)
            known: dict[str, Any] = {"confusion": confusion, "stamped": stamped, "sybil_data": parts.sybil_data}
            population = populate(cell, dataset.train_y, classes, partition, chain, **known)
        else:
            population = populate(cell, dataset.train_y, classes, partition, None)
        populations.append(population)
        attacks.append(description)
        mappings.append(None if mapping is None else [list(pair) for pair in mapping])
    return Prepared(cells, populations, task, parts, attacks, mappings)


def chain_of(cell: Cell) -> Chain:
    """What the malicious clients of a cell do; nothing where there are none."""
    return _chain(cell.attack) if cell.attacked else Chain()


def _chain(attack: str) -> Chain:
    return Chain.of(registry.resolve("attack", attack))


def _parts(cell: Cell) -> Parts:
    return Parts(
        named_model.resolve(cell.model),
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
    for given, true in ((train, task.train), (test, task.test)):
        if not isinstance(given, Stamped) or given.examples.shape != true.shape or given.examples.dtype != true.dtype:
            shape = tuple(true.shape)
            raise UserError(f"attack {attack} must return flipbench.attacks.Stamped with examples of shape {shape}")
    eligible = test.eligible.to(task.test.device)
    with_stamps = replace(
        task,
        train=torch.cat([task.train, train.examples]),
        pixels=None,
        stamped_test=test.examples[eligible],
        stamped_labels=task.test_labels[eligible],
    )
    return train, with_stamps


def _only(labels: Tensor) -> int | None:
    """The one target of a backdoor; None where it has several."""
    values = labels.unique().tolist()
    return int(values[0]) if len(values) == 1 else None


@lru_cache(maxsize=64)
def _confusion(clean: Cell) -> Tensor:
    """A clean model's confusion: one federation a seed, for all rules, attacks and malicious fractions."""
    dataset, task = dataset_of(clean.dataset), _task(clean.dataset, clean.features, clean.device)
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
        for cache in (dataset_of, _task, _confusion, _black):
            cache.cache_clear()


@lru_cache(maxsize=4)
def dataset_of(ref: str) -> Dataset:
    """The data set of this name, loaded, or supplied over the wire."""
    return _supplied.get(ref) or data.load(ref)


@lru_cache(maxsize=2)
def _task(ref: str, features: str, device: str) -> Task:
    """The data set on the device, at its pixel scale."""
    check_device(device)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
    d = dataset_of(ref)
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
    d = dataset_of(ref)
    black: Tensor = registry.resolve("features", features)(d.train_x, torch.zeros_like(d.test_x[:1]), d.levels)[1][0]
    return black


def described(cell: Cell) -> dict[str, Any]:
    """What a record says of the cell's data set."""
    d = dataset_of(cell.dataset)
    return {
        "dataset": d.name,
        "classes": list(d.classes),
        "split": d.split,
        "train": len(d.train_y),
        "test": len(d.test_y),
        "features": d.train_x[0].numel(),
    }
