"""Trials of a plan: a rule on small random updates, a model on one example without content.

Plug-ins run in a child process, with a time limit for each trial: they may exit, crash or hang, and the plan reports
it. Shipped code is tried in this process.
"""

from __future__ import annotations

import json
import math
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import torch

from flipbench import data
from flipbench.aggregators.contract import Cohort, Infeasible
from flipbench.data import in_memory
from flipbench.execution import model_size
from flipbench.federation import named_model, run_stack
from flipbench.federation.records import Job
from flipbench.plugins import registry, source_text, user_imports
from flipbench.spec.cell import Cell
from flipbench.spec.key import canonical_json
from flipbench.spec.reference import CODE
from flipbench.spec.twins import clean_twin
from flipbench.system import child_processes, exception_text, import_path, safe_children
from flipbench.system.signals import is_users

LIMIT = 10.0  # seconds for one trial, which takes milliseconds
LIMITS = {"dataset": 600.0, "cell": 120.0}  # of trials that read files, or train
_PATIENCE = 60.0  # seconds for the process to start
_DIM = 64
_TEST = 64  # test images of the trial of a cell
_LAYOUT = {"0.weight": (slice(0, 56), (8, 7)), "0.bias": (slice(56, 64), (8,))}  # a small output layer
_LAYERS_ALIVE = 6  # evaluation keeps a sixth of what training keeps of an example: measured, a transformer and resnet20
_LONGEST = 1000  # characters of a reason
_CHANGES = (
    "the same small round gave other numbers when it was run again: something keeps state between calls (a variable of "
    "its module, an attribute) or draws random numbers from no generator that flipbench passes; memory is passed on by "
    "a frozen dataclass with init (docs/writing_a_defence.md)"
)

_MIXES = (
    "in one stack with another cell it gave other numbers than alone: it computes across cells; updates are (*cells, "
    "clients, dim), so reduce over clients alone (dim=-2; docs/writing_a_defence.md)"
)


class Question(NamedTuple):
    """One trial.

    Attributes:
        kind: ``aggregator``, ``model``, ``dataset`` (is it loaded?) or ``cell`` (does one small round work?).
        ref: names it.
        clients: of the trial cohort.
        byzantine: its declared f.
        rooted: whether the server has an update from root examples.
        dataset: that a model is made for, or that is loaded.
        cell: the fields of the cell that is tried, as JSON.
    """

    kind: str
    ref: str
    clients: int = 0
    byzantine: int = 0
    rooted: bool = False
    dataset: str = ""
    cell: str = ""

    @property
    def limit(self) -> float:
        """Seconds that the trial may take."""
        return LIMITS.get(self.kind, LIMIT)

    @property
    def name(self) -> str:
        """What is tried, as messages say it."""
        if self.kind == "dataset":
            return f"data set {CODE.sub('', self.dataset)}"
        if self.kind == "cell":
            return "one small round"
        return f"{self.kind} {CODE.sub('', self.ref)}"


@dataclass(frozen=True)
class Answer:
    """The result of a trial; all null and zero for a rule that works.

    Attributes:
        refused: why the rule's conditions do not hold.
        failed: how it failed.
        size: training and test examples, operations of one example's forward pass; of a model.
        trace: the traceback of what failed, where a cell was tried.
        room: of a model its parameters, the bytes of its data set as inputs, those that one example keeps for the
            backward pass, and whether (1) the clients' do so at the same time.
    """

    refused: str | None = None
    failed: str | None = None
    size: tuple[int, int, float] = (0, 0, 0.0)
    trace: str = ""
    room: tuple[int, int, int, int] = (0, 0, 0, 0)


def of_cell(cell: Cell) -> Question:
    """Does one small round of the cell work?"""
    return Question("cell", cell.aggregator, dataset=cell.dataset, cell=canonical_json(asdict(cell)).decode())


def of_rule(cell: Cell) -> Question:
    """Does the cell's rule take its cohort?"""
    return Question("aggregator", cell.aggregator, cell.per_round, cell.byzantine, cell.root_examples > 0)


def of_model(cell: Cell) -> Question:
    """How large is the cell's training?"""
    return Question("model", cell.model, dataset=cell.dataset)


def answers(questions: Sequence[Question]) -> dict[Question, Answer]:
    """Run every trial once, plug-ins in child processes."""
    results: dict[Question, Answer] = {}
    plugins: list[Question] = []
    for question in dict.fromkeys(questions):
        if _is_shipped(question):
            results[question] = answer(question)
        else:
            plugins.append(question)
    return results | dict(_in_child_processes(plugins))


def answer(question: Question) -> Answer:
    """Run one trial in this process."""
    try:
        return _TRIALS[question.kind](question)
    except BaseException as error:  # a plug-in may raise anything
        if is_users(error):
            raise
        if isinstance(error, named_model.ModelError) or question.kind == "dataset":  # it names the model or the data
            return Answer(failed=exception_text.text(error)[:_LONGEST])
        return Answer(failed=f"{question.name}: {exception_text.with_type(error)}"[:_LONGEST])


def _taken(question: Question) -> Answer:
    updates = torch.randn(question.clients, _DIM, generator=torch.Generator().manual_seed(0))
    fields: dict[str, Any] = {"layout": _LAYOUT}
    if question.rooted:
        fields["trusted"] = lambda: updates.mean(dim=-2)
    rule: Any = registry.resolve("aggregator", question.ref)
    cohort = Cohort.of(updates, question.byzantine, **fields)
    try:
        if hasattr(rule, "init"):
            rule(updates, cohort, rule.init(updates, cohort))
        else:
            rule(updates, cohort)
    except Infeasible as why:
        return Answer(refused=exception_text.text(why)[:_LONGEST])
    return Answer()


def _loaded(question: Question) -> Answer:
    data.load(question.dataset)
    return Answer()


def _performed(question: Question) -> Answer:
    """One round of one step, with all clients and the real rule, attack and model; 64 test images.

    It is run twice: what keeps state between calls, or draws from no generator of flipbench, answers differently. Then
    it is run beside another cell, as in a run: what computes across cells answers differently.
    """
    cell = _small(json.loads(question.cell))
    whole = data.load(cell.dataset)
    in_memory.supply(cell.dataset, data.shortened(whole, None, min(_TEST, len(whole.test_y))))
    results = set()
    for _ in range(2):
        (record,) = run_stack.perform([Job(cell, {})], {})
        if record["status"] == "failed":
            return Answer(failed=record["reason"][:_LONGEST], trace=record["traceback"] or "")
        results.add(json.dumps(record["result"], sort_keys=True))
    if len(results) > 1:
        return Answer(failed=_CHANGES)
    if (other := _neighbour(cell)) is None:
        return Answer()
    beside = run_stack.perform([Job(other, {}), Job(cell, {})], {})[1]
    return Answer() if _near(beside["result"], record["result"]) else Answer(failed=_MIXES)


def _neighbour(cell: Cell) -> Cell | None:
    """A cell that a run may put into one stack with this one; None where it is always alone."""
    if run_stack.alone(cell):
        return None
    others = (replace(cell, seed=(cell.seed + 1) % 2**31), clean_twin(cell))
    alike = run_stack.stackable(cell)
    return next((c for c in others if c != cell and run_stack.stackable(c) == alike), None)


def _near(one: Any, two: Any) -> bool:
    """Whether two results are the same but for the order of sums: shares to a thousandth, counts to two images."""
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(_near(one[k], two[k]) for k in one)
    if isinstance(one, list | tuple) and isinstance(two, list | tuple):
        return len(one) == len(two) and all(map(_near, one, two))
    if isinstance(one, float) and isinstance(two, float):
        return math.isclose(one, two, rel_tol=1e-3, abs_tol=1e-4) or (math.isnan(one) and math.isnan(two))
    if isinstance(one, int) and isinstance(two, int):
        return abs(one - two) <= 2
    return bool(one == two)


def _small(facts: Mapping[str, Any]) -> Cell:
    short = {"rounds": 1, "evaluate_every": 1, "evaluate_last": 1}
    steps = {"local_epochs": None, "local_steps": 1, "batch_size": 4, "drop_last": False}
    attacked = {"attack_start": 1, "attack_stop": None, "attack_availability": 1.0}
    device = {"device": facts["device"] if torch.cuda.is_available() else "cpu"}  # a cluster may have another
    return Cell(**{**facts, **short, **steps, **attacked, **device})


def _sized(question: Question) -> Answer:
    loaded = data.load(question.dataset)
    if not _is_shipped(question):
        named_model.resolve(question.ref)(loaded.shape, len(loaded.classes))  # tries it on a small batch
    size = model_size.of(named_model.resolve(question.ref), loaded.shape, len(loaded.classes))
    train, test = len(loaded.train_y), len(loaded.test_y)
    of_example = math.prod(loaded.shape) * loaded.shape.bytes_of_number
    evaluated = named_model.evaluated(loaded.shape, test) * size.graph // _LAYERS_ALIVE
    room = size.parameters, (train + test) * of_example + evaluated, size.graph, int(size.together)
    return Answer(size=(train, test, size.operations), room=room)


_TRIALS: dict[str, Callable[[Question], Answer]] = {
    "aggregator": _taken,
    "model": _sized,
    "dataset": _loaded,
    "cell": _performed,
}


def _is_shipped(question: Question) -> bool:
    if question.kind == "cell":  # asked of cells with plug-ins only
        return False
    return registry.all_shipped(question.kind, question.ref)


def _in_child_processes(questions: Sequence[Question]) -> Iterator[tuple[Question, Answer]]:
    """Trials in child processes: a new one after each death, and what caused a death is not tried again."""
    left, deadly = list(questions), dict[tuple[str, str, str], Answer]()
    while left:
        if (known := deadly.get(_subject(left[0]))) is not None:
            yield left.pop(0), known
            continue
        with _TrialProcess([question for question in left if _subject(question) not in deadly]) as fence:
            for question in fence.questions:
                found = fence.answer(question)
                if found is None:
                    deadly[_subject(question)] = Answer(failed=f"{question.name}: its trial {fence.end()}")
                    break
                left.remove(question)
                yield question, found


def _subject(question: Question) -> tuple[str, str, str]:
    """What a death is blamed on."""
    return question.kind, question.ref, question.cell


class _TrialProcess:
    """A child process that runs trials one after the other."""

    def __init__(self, questions: Sequence[Question]) -> None:
        self.questions, self._late = questions, 0.0
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def __enter__(self) -> _TrialProcess:
        self._process = safe_children.start(
            "from flipbench.execution import preflight; preflight.main()",
            {"OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # a plug-in may say anything
            start_new_session=True,  # processes that it starts end with it
        )
        child_processes.register(self._process.pid)
        threading.Thread(target=self._read, daemon=True).start()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError), self._process.stdin as pipe:
            code = source_text.mentioned(
                text for question in self.questions for text in (question.ref, question.dataset, question.cell)
            )
            questions = [(question._asdict(), question.limit) for question in self.questions]
            folders = import_path.left_out(sys.path)
            pipe.write(json.dumps({"code": code, "questions": questions, "folders": folders}).encode())
        self._ready = self._line(_PATIENCE)
        return self

    def answer(self, question: Question) -> Answer | None:
        """The result of a trial; None when its process ended or took too long."""
        line = self._line(question.limit) if self._ready else b""
        if not line:
            return None
        found = json.loads(line)
        return Answer(found["refused"], found["failed"], tuple(found["size"]), found["trace"], tuple(found["room"]))

    def end(self) -> str:
        """How the process ended, for messages."""
        if self._late:
            return f"took longer than {self._late:g} s"
        with suppress(subprocess.TimeoutExpired):
            return child_processes.death(self._process.wait(LIMIT))
        return "closed the pipe that results are read from"

    def _line(self, seconds: float) -> bytes:
        try:
            return self._lines.get(timeout=seconds)
        except queue.Empty:
            self._late = seconds
            return b""

    def _read(self) -> None:
        assert self._process.stdout is not None
        with suppress(OSError, ValueError):
            for line in self._process.stdout:
                self._lines.put(line)
        self._lines.put(b"")

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._process.kill()
        self._process.wait()
        child_processes.unregister(self._process.pid)


def main() -> None:
    """In the child process: a line when ready, then one for each result."""
    given: Mapping[str, Any] = json.loads(sys.stdin.buffer.read())
    source_text.add(given["code"])
    user_imports.install(given["folders"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver ends this process
    out = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a plug-in prints goes elsewhere
    torch.set_num_threads(1)
    os.write(out, b"ready\n")
    for fields, limit in given["questions"]:
        question = Question(**fields)
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 2 * limit)  # in case the driver is gone
        os.write(out, json.dumps(asdict(answer(question))).encode() + b"\n")
    os._exit(0)
