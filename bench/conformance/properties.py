"""The properties of an aggregation rule: what must hold, the impact of a failure on an experiment, and the fix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from flipbench.conformance import invariances as equations
from flipbench.conformance import robustness as faults
from flipbench.conformance import side_effects as effects
from flipbench.conformance import told_clients
from flipbench.conformance.cases import Subject


@dataclass(frozen=True)
class Property:
    """Something that must hold.

    Attributes:
        check: raises `Broken` where it does not.
        title: in a few words.
        impact: what a failure means for an experiment.
        fix: what to do about it.
    """

    check: Callable[[Subject], None]
    title: str
    impact: str
    fix: str


PROPERTIES: dict[str, Property] = {
    "form": Property(
        faults.form,
        "a tensor (*cells, dim) of the updates' type",
        "the step that the server takes has another shape or type than its model, or is not finite",
        "reduce over dim=-2; end with .to(updates.dtype), and make new tensors with updates.new_zeros",
    ),
    "definition": Property(
        equations.definition,
        "agrees with a float64 oracle of its definition",
        "results under this name cannot be compared with published ones",
        "see docs/aggregators.md for the definition, or give the rule a name of its own",
    ),
    "order": Property(
        equations.order,
        "the order of the clients is irrelevant",
        "the order in which clients are listed decides the outcome",
        "do not read the row number; take weights and clients from the cohort in the order of the rows",
    ),
    "translation": Property(
        equations.translation,
        "moves with its inputs, in float32",
        "updates are small beside weights, and here rounding is larger than they are: the rule chooses by noise",
        "subtract one client's update from all before distances (never torch.cdist above 25 rows on raw vectors), "
        "or declare the exception",
    ),
    "scale": Property(
        equations.scale,
        "scales with its inputs",
        "the rule decides otherwise at another learning rate",
        "no absolute constants: measure thresholds and epsilons in units of the updates, or declare the exception",
    ),
    "unanimity": Property(
        equations.unanimity,
        "where all clients agree, that is the answer",
        "the rule changes the model's step even where all clients agree",
        "check that the clients' weights in the answer sum to 1, and divisions by a spread of 0",
    ),
    "stack": Property(
        equations.stack,
        "a stack is its cells one by one",
        "an experiment's numbers depend on which others run beside it",
        "reduce over dim=-2 and dim=-1 only, never over the whole tensor; or write the rule for one matrix and put "
        "@per_cell (flipbench.aggregators.per_cell) above it",
    ),
    "strides": Property(
        equations.strides,
        "the layout in memory is irrelevant",
        "the answer depends on how the caller stored the same numbers",
        "use reshape in place of view, and .contiguous() before leaving torch",
    ),
    "precision": Property(
        equations.precision,
        "float32 is near float64",
        "the answer depends on rounding",
        "take sums in float64 (x.double()), and differences before squares",
    ),
    "memory": Property(
        equations.memory,
        "state is passed, not kept; clients known by number",
        "one experiment's memory leaks into another's, or clients are mistaken for each other",
        "build a new state in place of changing the given one, and key it by cohort.clients",
    ),
    "non_finite": Property(
        faults.non_finite,
        "rows that are not finite are left out, or a typed error",
        "one client that sends NaN or an infinity decides the round",
        "put @guarded (flipbench.aggregators.validation) above the rule: it leaves such rows out and lowers f; "
        "or raise Infeasible",
    ),
    "malicious": Property(
        faults.malicious,
        "up to f malicious clients cannot carry it away",
        "the rule is not robust: as few clients as declared move the model wherever they like",
        "trim, select or clip before averaging; never add and subtract a malicious client's numbers, and beware of "
        "overflow in squares. A plain average cannot pass",
    ),
    "bounds": Property(
        faults.bounds,
        "an f out of bounds is Infeasible, f = 0 works",
        "the rule answers where its guarantee does not hold, and the table shows it as if it did",
        "raise flipbench.aggregators.Infeasible with the numbers in place of clamping f; mind slices like [f:-f] "
        "at f = 0",
    ),
    "kept": Property(
        told_clients.kept,
        "the answer is of the clients that it says it kept",
        "the tables say that clients were dropped which are in the update, or the reverse",
        "call cohort.tell_kept(kept) once, before answering, with the bool mask (*cells, clients) of the clients that "
        "the answer is made of; or leave it out: it is optional",
    ),
    "inputs": Property(
        effects.inputs,
        "inputs are left as they were",
        "what the rule changes is what the record, the influence and the next rule see",
        "work on a copy: updates.clone(), torch.where, masked_fill; no in-place method (its name ends in _)",
    ),
    "settings": Property(
        effects.settings,
        "settings of the process are left as they were",
        "every other cell of the process would be computed differently: the bench sets them back and fails the cell",
        "give dtypes, devices and paths where they are used; change no default, no environment variable, no folder",
    ),
    "randomness": Property(
        effects.randomness,
        "no global random generator",
        "a cell depends on its neighbours and on the order of the sweep",
        "make a torch.Generator from cohort.seeds and cohort.round, one a cell",
    ),
    "aliasing": Property(
        effects.aliasing,
        "the answer has memory of its own",
        "scaling the answer in place changes a client's update",
        "return a copy: updates[i].clone()",
    ),
    "repeatable": Property(
        effects.repeatable,
        "the same answer twice",
        "a run cannot be repeated or resumed",
        "keep no state outside of init/state; derive every draw from cohort.seeds and cohort.round",
    ),
    "pickles": Property(
        effects.pickles,
        "pickles",
        "the rule cannot be sent to a worker process",
        "define it at the top level of a module, or as a frozen dataclass; no lambda, no closure",
    ),
    "cuda": Property(
        equations.cuda,
        "CUDA is near the CPU",
        "numbers differ by device",
        "make new tensors with updates.new_zeros and the like, and keep small decisions on the CPU in float64",
    ),
}
