"""Rules of other suites in our grids: ``byzfl:TrMean``, ``flower:Krum(num_malicious_nodes=3)``.

ByzFL's aggregators are classes whose objects map a matrix ``(clients, dim)`` to a vector; Flower's are server
strategies whose `aggregate_train` maps the clients' replies to arrays. Both run here as they are, one experiment of a
stack at a time, on copies (Flower's empty their inputs). The other package is imported when it is named, never before.

What is handed over beyond the updates: f, where the class takes it (`f` of ByzFL, `num_malicious_nodes` of Flower) and
the reference does not give it; the last update, where a ByzFL class remembers one (`CenteredClipping`); the example
shares, as Flower's number of examples. Flower's strategies are given updates where they expect models; the ones allowed
here only select and average, so the answer moves along.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from flipbench.aggregators.contract import Cohort, Infeasible, Update, Updates, per_cell
from flipbench.errors import UserError
from flipbench.spec.reference import Reference
from flipbench.spec.seeds import named_seed
from flipbench.spec.suggestions import near
from flipbench.system import exception_text
from flipbench.system.signals import is_users


class AdapterError(UserError):
    """Another suite's rule that cannot be found or run; the message says what to do."""


@dataclass(frozen=True)
class Suite:
    """Where another suite keeps its rules.

    Attributes:
        package: its importable package, which is its distribution too.
        module: the module that holds the rules.
        base: the class in that module that all rules extend; null: any class that can be called.
        byzantine: the option that is f.
        install: the command that brings it here.
    """

    package: str
    module: str
    base: str | None
    byzantine: str
    install: str


SUITES: dict[str, Suite] = {
    "byzfl": Suite("byzfl", "byzfl.aggregators.aggregators", None, "f", "pip install byzfl torchvision"),
    "flower": Suite("flwr", "flwr.serverapp.strategy", "FedAvg", "num_malicious_nodes", "pip install 'flwr>=1.42,<2'"),
}


def is_foreign(name: str) -> bool:
    """Whether a reference's name is another suite's: ``byzfl:NAME`` or ``flower:NAME``."""
    return name.partition(":")[0] in SUITES and ":" in name


def in_full(reference: Reference) -> Reference:
    """A data set of torchvision as the shipped reader of them: ``torchvision:NAME`` is ``torchvision(name=NAME)``."""
    suite, colon, name = reference.name.partition(":")
    return Reference(suite, {"name": name, **reference.options}) if colon and suite == "torchvision" else reference


@dataclass(frozen=True)
class ForeignRule:
    """A rule of another suite, as one of ours: ``(updates, cohort) -> update``.

    Attributes:
        suite: a key of `SUITES`.
        name: the class's name there.
        options: what the reference gives, as sorted pairs.
    """

    suite: str
    name: str
    options: tuple[tuple[str, Any], ...] = ()

    def __call__(self, updates: Updates, cohort: Cohort, /) -> Update:
        """The other suite's answer.

        Raises:
            Infeasible: where the class refuses this many clients, with its words.
            AdapterError: where it gives something else than a vector.
        """
        return per_cell(self._one)(updates, cohort)

    def _one(self, updates: Updates, cohort: Cohort) -> Update:
        options = dict(self.options)
        kind = _class(self.suite, self.name)
        if SUITES[self.suite].byzantine in _options(kind):
            options.setdefault(SUITES[self.suite].byzantine, cohort.byzantine)
        seed = named_seed(int(cohort.seeds), f"{self.suite}:{self.name}", cohort.round)
        with _own_randomness(seed, updates.device):  # some of them draw from torch's global generator
            try:
                rule = kind(**options)
                answer = (
                    _ask_byzfl(rule, updates, cohort) if self.suite == "byzfl" else _ask_flower(rule, updates, cohort)
                )
            except ValueError as error:  # how both say that n and f do not fit
                raise Infeasible(f"{self.suite}:{self.name}: {error}") from error
        if answer is None:
            raise Infeasible(
                f"{self.suite}:{self.name} gives no answer to {updates.shape[0]} clients with f = {cohort.byzantine}"
            )
        if not isinstance(answer, Tensor) or answer.shape != updates.shape[1:]:
            raise AdapterError(f"{self.suite}:{self.name} gave no vector of {updates.shape[1]} numbers")
        return answer.to(updates)


def resolve(ref: Reference) -> ForeignRule:
    """The rule that ``byzfl:NAME(...)`` or ``flower:NAME(...)`` names, options checked.

    Raises:
        AdapterError: the package is not installed, has no such rule, or the options do not fit it.
    """
    suite, _, name = ref.name.partition(":")
    kind = _class(suite, name)
    known = _options(kind)
    for option in ref.options:
        if option not in known:
            listed = f"its options are {', '.join(known)}" if known else "it has no options"
            raise AdapterError(f"{ref.name}: unknown option {option!r}{near(option, known)}; {listed}")
    try:
        kind(**ref.options)
    except (TypeError, ValueError) as error:
        raise AdapterError(f"{ref}: {error}") from error
    return ForeignRule(suite, name, tuple(sorted(ref.options.items())))


def source_hash(name: str) -> str:
    """SHA-256 over the other package's version and the file of the class: another version is another experiment."""
    suite, _, rule = name.partition(":")
    kind = _class(suite, rule)
    digest = hashlib.sha256(f"{SUITES[suite].package} {_version(SUITES[suite].package)}".encode())
    digest.update(Path(inspect.getfile(kind)).read_bytes())
    return digest.hexdigest()


def names(suite: str) -> list[str]:
    """The rules of an installed suite that can be named.

    Raises:
        AdapterError: the package is not installed.
    """
    module = _module(suite, suite)
    return sorted(n for n, member in vars(module).items() if not n.startswith("_") and _fits(suite, module, member))


def _class(suite: str, name: str) -> Any:
    module = _module(suite, f"{suite}:{name}")
    member = getattr(module, name, None)
    if _fits(suite, module, member):
        return member
    known = names(suite)
    if isinstance(member, type):
        why = "keeps more than a round's updates or is no aggregation rule, so it cannot run in a grid"
        raise AdapterError(f"{suite}:{name} {why}; there are {', '.join(known)}")
    raise AdapterError(f"{SUITES[suite].package} has no rule {name!r}{near(name, known)}; there are {', '.join(known)}")


def _module(suite: str, asked: str) -> Any:
    spec = SUITES[suite]
    if not _is_installed(spec.package):
        raise AdapterError(f"{asked} needs the package {spec.package}, which is not installed here: {spec.install}")
    try:
        return importlib.import_module(spec.module)
    except BaseException as error:  # a package that does not fit this PyTorch may raise anything
        if is_users(error):
            raise
        raise AdapterError(
            f"{asked}: {spec.package} {_version(spec.package)} is installed but does not load "
            f"({_first_line(error)}); install what it needs: {spec.install}"
        ) from error


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # something else of this name was put in its place
        return False


def _first_line(error: BaseException) -> str:
    """The error in one line, at most 200 characters of it."""
    line = exception_text.with_type(error).strip().partition("\n")[0]
    return line if len(line) <= 200 else f"{line[:197]}..."


def _fits(suite: str, module: Any, member: Any) -> bool:
    """Whether it is a rule that needs nothing but a round's updates."""
    base = SUITES[suite].base
    if not isinstance(member, type):
        return False
    if base is None:
        return member.__module__ == module.__name__ and any("__call__" in vars(c) for c in member.__mro__)
    parent: Any = getattr(module, base)
    # A strategy with a step of its own before training (FedAdam, FedAvgM) keeps the server's model between rounds.
    return issubclass(member, parent) and getattr(member, "configure_train", None) is parent.configure_train


def _options(kind: Any) -> Mapping[str, inspect.Parameter]:
    """The options of a class: the parameters of its constructor."""
    if kind.__init__ is object.__init__:
        return {}
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {n: p for n, p in inspect.signature(kind).parameters.items() if p.kind in named}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed as a package)"


def _ask_byzfl(rule: Any, updates: Updates, cohort: Cohort) -> Any:
    """A vector from a matrix."""
    if getattr(rule, "m", 0) is None:  # what it gave before; its constructor takes none
        rule.m = cohort.previous.clone()
    return rule(updates.clone())


def _ask_flower(rule: Any, updates: Updates, cohort: Cohort) -> Any:
    """Arrays from replies; a round's replies are made, not sent."""
    app = importlib.import_module("flwr.app")
    replies = []
    for row, weight in zip(updates.cpu(), cohort.weights.tolist(), strict=True):
        arrays = app.ArrayRecord({"update": app.Array(row.numpy().copy())})
        metrics = app.MetricRecord({rule.weighted_by_key: float(weight)})
        replies.append(_Reply(app.RecordDict({rule.arrayrecord_key: arrays, "metrics": metrics})))
    with _quiet("flwr"):
        arrays, _ = rule.aggregate_train(cohort.round, replies)
    return None if arrays is None else torch.from_numpy(arrays["update"].numpy().copy())


@dataclass
class _Reply:
    """All that a strategy reads of a message (Flower's own can be made only within a run of Flower's)."""

    content: Any

    def has_error(self) -> bool:
        return False


@contextmanager
def _own_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """torch's global generator from a seed of the cell's, and afterwards as it was."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextmanager
def _quiet(logger: str) -> Iterator[None]:
    """No line a round."""
    log = logging.getLogger(logger)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
