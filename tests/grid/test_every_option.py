"""Every option of everything shipped, at values that nobody means: refused in one sentence, or it works in a cell."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any

import pytest

from flipbench.federation import run_stack
from flipbench.federation.records import Job
from flipbench.grid import reader
from flipbench.plugins import kinds, registry, signatures

VALUES = ["0", "-1", "nan", "inf", "1e300", "1000000000", "x", "null", "[]", "true"]
BASE = {"dataset": "digits", "model": "softmax", "clients": 8, "rounds": 1, "local_steps": 1, "batch_size": 4}
ATTACKED = {"malicious_count": 2, "attack": "mirrored"}
BESIDE: dict[str, dict[str, Any]] = {  # fields that the field of this kind needs beside it
    "aggregator": {**ATTACKED, "root_examples": 20},
    "preaggregation": {**ATTACKED, "root_examples": 20},
    "attack": {"malicious_count": 2},
    "malicious_data": ATTACKED,
}
NEEDED = {
    "mlp": {"widths": "[4]"},
    "targeted": {"source": "5", "target": "3"},
    "cnn": {"kernel": "1"},
    "pytorch": {"name": "Adagrad"},
}
DATA = {  # of models that take no images as small as the digits
    **dict.fromkeys(("vgg", "lenet"), "tests.helpers.input_kinds:images"),
    **dict.fromkeys(("lstm", "transformer"), "tests.helpers.input_kinds:tokens"),
}
MANY = ("aggregator", "model")  # kinds with hundreds of options: seconds each
FEW = ("0", "-1", "nan", "inf", "1e300", "1000000000000000000000", "x", "[]")  # of kinds with many options


def references(kind: str) -> Iterator[tuple[str, str, str]]:
    """Reference, option and value."""
    for name, target in registry.shipped(kind).items():
        if kind == "dataset" and name not in ("digits", "mnist5k"):
            continue  # the others need files
        options = signatures.options(target)
        needed = {n: "1" for n, p in options.items() if p.default is inspect.Parameter.empty} | NEEDED.get(name, {})
        for option in options:
            for value in FEW if kind in ("aggregator", "attack") else VALUES:
                given = {**needed, option: value}
                yield f"{name}({', '.join(f'{n}={v}' for n, v in given.items())})", option, value


def refused(text: str) -> tuple[str | None, list[Any]]:
    """The message that a grid is refused with, or its cells."""
    try:
        return None, list(reader.read_text(text, "x", "x.yaml").cells)
    except reader.GridError as error:
        return str(error), []


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::UserWarning", "ignore::SyntaxWarning")
@pytest.mark.parametrize("kind", [pytest.param(k, marks=pytest.mark.slow if k in MANY else ()) for k in kinds.KINDS])
def test_an_option_is_refused_with_its_name_and_value_or_works(kind: str) -> None:
    field = "aggregator" if kind == "preaggregation" else kind
    wrong = []
    for reference, option, value in references(kind):
        whole = f"{reference} | mean" if kind == "preaggregation" else reference
        fields = {**BASE, **BESIDE.get(kind, {}), field: whole}
        fields["dataset"] = (
            DATA.get(reference.partition("(")[0], fields["dataset"]) if kind == "model" else fields["dataset"]
        )
        said, cells = refused(json.dumps({"base": fields}))
        if said is not None:
            sentence, _, last = said.partition("\n")
            if last != "1 mistake; nothing was run" or option not in sentence or not _shows(value, sentence):
                wrong.append(f"{whole}: {said}")
            continue
        (record,) = run_stack.perform([Job(cells[-1], {})], {})
        if record["status"] == "failed":
            wrong.append(f"{whole}: failed: {record['reason']}")
    assert wrong == []


def _shows(value: str, sentence: str) -> bool:
    number = {"1e300": "1e+300", "1000000000": "1,000,000,000", "null": "None", "true": "True", FEW[5]: "1e+21"}
    return value in sentence or number.get(value, value) in sentence


def test_kinds_with_options_are_tried() -> None:
    tried = {kind: sum(1 for _ in references(kind)) for kind in kinds.KINDS}
    assert all(is_dataclass(f) or callable(f) for f in registry.shipped("aggregator").values())
    assert min(tried[k] for k in ("aggregator", "attack", "model", "partition", "schedule", "features")) >= 10
