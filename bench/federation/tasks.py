"""Resolves the names in cells: data sets, models, rules, partitions, attacks; each is loaded once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor

from flipbench.attacks.chain import Chain
from flipbench.attacks.contract import ExampleContext, Stamped
from flipbench.data import checksums, in_memory, input_fit
from flipbench.data.dataset import Dataset
from flipbench.data.pixel_scaling import SCALES
from flipbench.errors import UserError
from flipbench.federation import attack_search, named_model
from flipbench.federation.attack_search import Search
from flipbench.federation.checkpoints.files import Checkpoints
from flipbench.federation.checkpoints.trials import TrialLog
from flipbench.federation.population import Partition, Population, class_map, populate
from flipbench.federation.records import Job
from flipbench.federation.task import Parts, Task
from flipbench.plugins import guard, kinds, registry
from flipbench.spec.cell import CLEAN, VALIDATION, Cell
from flipbench.spec.key import key
from flipbench.spec.reference import CODE, parse
from flipbench.spec.twins import normal
from flipbench.training import plugin_answers
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
    dataset = _dataset(jobs[0])
    for job in jobs:
        input_fit.check(job.cell, dataset.shape)
    task = _task_of(jobs[0])
    classes = len(dataset.classes)
    cells = [normal(job.cell) for job in jobs]
    parts, partition = _parts(first), registry.resolve("partition", first.partition)
    task = _with_black(jobs[0], task, parts)
    stamp = chain_of(first).examples
    stamped, task = (None, task) if stamp is None else _stamped(first, stamp, dataset.train_y, task)
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
            confusion = partial(_confusion, attack_search.clean_of(cell), tuple(sorted(job.content.items())))
            if chain.declares("adaptive") and hasattr(chain.labels, "search"):
                log = None if checkpoints is None else TrialLog(checkpoints, key(job.cell, job.content))
                search = Search(cell, dataset.train_y, partition, task, parts, chain, confusion, dataset.clients, log)
                answer = search.run()
                chain = replace(chain, labels=answer.flip)
                mapping = None if answer.mapping is None else sorted(answer.mapping.items())
                description["search"] = {**answer.report, "mapping": mapping}
            else:
                mapping = class_map(chain, classes, cell.attack)
            known: dict[str, Any] = {"confusion": confusion, "stamped": stamped, "sybil_data": parts.sybil_data}
            known["owners"] = dataset.clients
            population = populate(cell, dataset.train_y, classes, partition, chain, **known)
        else:
            population = populate(cell, dataset.train_y, classes, partition, None, owners=dataset.clients)
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
        plugin_answers.schedule(registry.resolve("schedule", cell.schedule), _named(cell.schedule)),
        registry.resolve("aggregator", cell.aggregator),
        _checked("initialisation", cell.initialisation, plugin_answers.initialisation),
        _checked("loss", cell.loss, plugin_answers.CheckedLoss),
        _checked("augmentation", cell.augmentation, plugin_answers.augmentation),
        registry.resolve("malicious_data", cell.malicious_data),
        registry.resolve("optimiser", cell.optimiser),
        registry.resolve("algorithm", cell.algorithm),
        registry.resolve("server_optimiser", cell.server_optimiser),
    )


def _checked(kind: str, ref: str, wrap: Callable[[Any, str], Any]) -> Any:
    """What a reference names, its answers checked where it is a plug-in."""
    found = registry.resolve(kind, ref)
    return found if registry.is_shipped(kind, parse(ref).name) else wrap(found, _named(ref))


def _named(ref: str) -> str:
    return CODE.sub("", ref)


def _stamped(cell: Cell, stamp: Any, labels: Tensor, task: Task) -> tuple[Stamped, Task]:
    """The training set as an attack on examples would have it, and the task with it and stamped test images.

    A cell that is evaluated on validation examples has no stamped test images: test data are for no choice.
    """
    attack, context = cell.attack, ExampleContext(task.classes, float(task.train.min()), float(task.train.max()))
    given = [(task.train, labels)]
    if cell.evaluate_on != VALIDATION:
        given.append((task.test, task.test_labels.cpu()))
    answers = []
    try:
        with guard.foreign(stamp, attack) as call:
            for (images, own), name in zip(given, ("", "test "), strict=False):
                of_set = call.lend(f"the {name}images", images), call.lend(f"the {name}labels", own)
                answers.append(stamp(*of_set, context))
    except guard.SideEffectError:
        raise
    except ValueError as error:
        raise UserError(f"attack {attack}: {error}") from error
    for (true, _), answer in zip(given, answers, strict=True):
        shape, dtype = tuple(true.shape), true.dtype
        if not isinstance(answer, Stamped) or answer.examples.shape != true.shape or answer.examples.dtype != dtype:
            raise UserError(f"attack {attack} must return flipbench.attacks.Stamped with examples of shape {shape}")
    train = answers[0]
    both = torch.cat([task.train, train.examples])
    more: dict[str, Any] = {"stamped_eligible": train.eligible.cpu()}
    if len(answers) > 1:
        eligible = answers[1].eligible.to(task.test.device)
        more |= {"stamped_test": answers[1].examples[eligible], "stamped_labels": task.test_labels[eligible]}
    return train, replace(task, train=both, pixels=None, **more)


def _only(labels: Tensor) -> int | None:
    """The one target of a backdoor; None where it has several."""
    values = labels.unique().tolist()
    return int(values[0]) if len(values) == 1 else None


@lru_cache(maxsize=64)
def _confusion(clean: Cell, content: tuple[tuple[str, str], ...]) -> Tensor:
    """A clean model's confusion: one federation a seed, for all rules, attacks and malicious fractions."""
    job = Job(clean, dict(content))
    dataset, task, parts = _dataset(job), _task_of(job), _parts(clean)
    partition: Partition = registry.resolve("partition", clean.partition)
    given = _with_black(job, task, parts), parts, dataset.clients
    return attack_search.confusion(clean, dataset.train_y, partition, *given)


def _shared(dataset: Dataset, task: Task) -> dict[str, Tensor]:
    """All arrays that cells share, by the names that messages use; one that stands in two places is there once."""
    named = {
        "the training images": dataset.train_x,
        "the training labels": dataset.train_y,
        "the test images": dataset.test_x,
        "the test labels": dataset.test_y,
        "the scaled training images": task.train,
        "the scaled test images": task.test,
    }
    if task.test_labels.device.type != "cpu":
        named["the test labels on the device"] = task.test_labels
    return named


@lru_cache(maxsize=2)
def _checksums(dataset: Dataset, task: Task) -> dict[str, int]:
    """Of the data that cells share, before the first plug-in ran that might change them."""
    return checksums.of_arrays(_shared(dataset, task))


@contextmanager
def data_kept(job: Job) -> Iterator[None]:
    """Around the work of a stack: the data that cells share are afterwards what they were, or are loaded again.

    Raises:
        SideEffectError: a plug-in of the stack changed them.
    """
    plugins = plugins_of(job.cell)
    if not plugins:
        yield
        return
    dataset, task = _dataset(job), _task_of(job)
    before = _checksums(dataset, task)
    changed: list[str] = []
    try:
        yield
    finally:
        after = checksums.of_arrays(_shared(dataset, task))
        if changed := [name for name in before if before[name] != after[name]]:
            _forget()
    if changed:
        raise guard.SideEffectError(
            f"{' or '.join(plugins)} changed {' and '.join(changed)}, which all cells share; work on a copy (clone())"
        )


def _forget() -> None:
    """Load all data again when they are next needed."""
    in_memory.forget()
    for cache in (_task, _black, _confusion, _checksums):
        cache.cache_clear()


def plugins_of(cell: Cell) -> list[str]:
    """The plug-ins that a cell names, as messages say them."""
    named = ((kind, getattr(cell, kind)) for kind in kinds.KINDS if hasattr(cell, kind))
    return [guard.name_of(ref) for kind, ref in named if ref != CLEAN and not registry.all_shipped(kind, ref)]


def check_device(device: str) -> None:
    """Raises UserError for CUDA where PyTorch sees none."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device is cuda, but PyTorch sees no CUDA device here: use device=cpu or install a CUDA build")


def _dataset(job: Job) -> Dataset:
    """The data set of a job.

    Raises:
        UserError: a plug-in gives other data than when the cell's key was made.
    """
    ref, content = job.cell.dataset, job.content.get("dataset", "")
    dataset = in_memory.dataset_of(ref, content)
    if content and dataset.sha256 != content and not registry.is_shipped("dataset", parse(ref).name):
        in_memory.forget()
        raise UserError(
            f"data set {guard.name_of(ref)} gives other data each time that it is loaded: hash {dataset.sha256[:12]}, "
            f"and {content[:12]} when the run began; let it draw from a generator with a fixed seed"
        )
    return dataset


def _task_of(job: Job) -> Task:
    return _task(_dataset(job), job.cell.features, job.content.get("features"), job.cell.device)


@lru_cache(maxsize=2)
def _task(d: Dataset, features: str, source: str | None, device: str) -> Task:
    """The data set on the device, at its pixel scale; ``source`` tells an edited plug-in from its former self."""
    check_device(device)
    train, test = _scaled(features, d, d.test_x)
    pixels, known = None, parse(features)
    if device == "cpu" and known.name in SCALES and d.kind == "image":
        pixels = Pixels(d.train_x.contiguous(), SCALES[known.name](d.train_x, d.levels, **known.options))
    of_test = test.to(device), d.test_y.to(device)
    return Task(train.to(device), *of_test, len(d.classes), inputs=d.shape, pixels=pixels)


def _with_black(job: Job, task: Task, parts: Parts) -> Task:
    """The task with what augmentation pads with, where there is one."""
    if not hasattr(parts.augment, "draw"):
        return task
    black = _black(_dataset(job), job.cell.features, job.content.get("features"))
    return replace(task, black=black.to(task.train.device))


@lru_cache(maxsize=2)
def _black(d: Dataset, features: str, source: str | None) -> Tensor:
    """A black image at the pixel scale of the data set."""
    return _scaled(features, d, torch.zeros_like(d.test_x[:1]))[1][0].clone()


def _scaled(features: str, d: Dataset, test: Tensor) -> tuple[Tensor, Tensor]:
    """Pixels or features of the training examples and of ``test`` as inputs; those that a plug-in scaled are held by
    no other. Token ids are inputs as they are."""
    if d.kind == "tokens":
        return d.train_x, test
    scale = registry.resolve("features", features)
    levels = d.levels if d.kind == "image" else 1
    with guard.foreign(scale, features) as call:
        scaled = scale(call.lend("the training images", d.train_x), call.lend("the test images", test), levels)
        plugin_answers.inputs(scaled, (len(d.train_x), len(test)), d.shape, _named(features))
        return call.own(scaled[0]), call.own(scaled[1])


def described(job: Job) -> dict[str, Any]:
    """What a record says of the cell's data set."""
    d = _dataset(job)
    return {
        "dataset": d.name,
        "classes": list(d.classes),
        "split": d.split,
        "train": len(d.train_y),
        "test": len(d.test_y),
        "features": d.train_x[0].numel(),
    }
