"""One rule under several names, or with options written out, is one experiment; a changed helper makes another."""

from __future__ import annotations

import hashlib
import os
import py_compile
import shutil
from pathlib import Path

import pytest
import torch

from flipbench.aggregators import Cohort
from flipbench.errors import UserError
from flipbench.federation import records
from flipbench.federation.records import Job
from flipbench.grid import reader
from flipbench.plugins import registry, source_hashes, spelling
from flipbench.spec.key import key

RULE = "def mine(updates, cohort, /, *, trim: int = 3, scale: float = 1.0):\n    return updates.mean(-2) * scale\n"
UPDATES = torch.ones(3, 2)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rule.py").write_text(RULE)
    (tmp_path / "rules").mkdir()
    (tmp_path / "link.py").symlink_to(tmp_path / "rule.py")
    return tmp_path


def ask(name: str) -> list[float]:
    answer: torch.Tensor = registry.resolve("aggregator", name)(UPDATES, Cohort.of(UPDATES))
    return answer.tolist()


def keys(*names: str) -> set[str]:
    """The keys of one grid that names a rule in several ways."""
    rules = "".join(f"  - '{name}'\n" for name in names)
    text = f"base: {{dataset: digits, clients: 3, rounds: 1}}\naxes:\n aggregator:\n{rules}"
    return {key(cell, reader.contents(cell)) for cell in reader.read_text(text, "one", "one.yaml").cells}


def test_one_file_is_one_experiment_however_it_is_named(folder: Path) -> None:
    names = ["rule.py:mine", "./rule.py:mine", "rules/../rule.py:mine", f"{folder}/rule.py:mine", "link.py:mine"]
    assert {spelling.spelled("aggregator", name) for name in names} == {"rule.py:mine"}
    assert len(keys(*names)) == 1
    assert {k for name in names for k in keys(name)} == keys("rule.py:mine")


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("aggregator", "rule.py:mine(trim=3)", "rule.py:mine"),
        ("aggregator", "rule.py:mine(scale=1, trim=2)", "rule.py:mine(trim=2)"),
        ("aggregator", "rule.py:mine(trim=2, scale=2)", "rule.py:mine(scale=2, trim=2)"),
        ("aggregator", "trimmed_mean(trim=null)", "trimmed_mean"),
        ("aggregator", "nnm | ./rule.py:mine(trim=3)", "nnm | rule.py:mine"),
        ("aggregator", "flipbench.aggregators:krum", "krum"),
        ("attack", "mirrored | scaled(factor=3)", "mirrored | scaled(factor=3)"),
        ("model", "cnn(kernel=5, dropout=0)", "cnn"),
        ("augmentation", "crop(flip=0.5, padding=2)", "crop(padding=2)"),
        ("attack", "mirrored | scaled(factor=10.0)", "mirrored | scaled(factor=10)"),
        ("attack", "scaled(factor=1e1)", "scaled(factor=10)"),
        ("attack", "scaled(factor=2.5)", "scaled(factor=2.5)"),
        ("attack", "gaussian(deviation=200)", "gaussian"),
        ("attack", "gaussian(deviation=10000000000000000)", "gaussian(deviation=1e+16)"),
        ("attack", "permuted(mapping={5: 8, 3: 5, 8: 3})", "permuted(mapping={3: 5, 5: 8, 8: 3})"),
        (
            "aggregator",
            "clipping(radius=10.0) | centered_clipping(radius=1.0)",
            "clipping(radius=10) | centered_clipping(radius=1)",
        ),
        ("partition", "dirichlet(alpha=1.0)", "dirichlet(alpha=1)"),
        ("schedule", "step(every=10, factor=1.0, floor=-0.0)", "step(every=10, factor=1)"),
        ("initialisation", "uniform(low=-1.0, high=1.0)", "uniform(high=1, low=-1)"),
        ("features", "standard(mean=1.0, std=2.5)", "standard(mean=1, std=2.5)"),
        ("aggregator", "rule.py:mine(scale=10.0)", "rule.py:mine(scale=10)"),
    ],
)
def test_options_at_their_defaults_say_nothing(folder: Path, kind: str, name: str, said: str) -> None:
    assert spelling.spelled(kind, name) == said


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        ("", "x=2.0"),
        (": int | float", "x=2.0"),
        (": float", "x=2"),
        (": float | None", "x=2"),
        (": list[float]", "x=[2]"),
    ],
)
def test_a_number_keeps_its_type_where_a_plug_in_can_tell(folder: Path, annotation: str, said: str) -> None:
    (folder / "typed.py").write_text(
        f"def mine(updates, cohort, /, *, x{annotation} = 7):\n    return updates.mean(-2) / (type(x) is float or 2)\n"
    )
    given = "x=[2.0]" if "list" in annotation else "x=2.0"
    name = spelling.spelled("aggregator", f"typed.py:mine({given})")
    assert name == f"typed.py:mine({said})"
    assert ask(name) == ask(f"typed.py:mine({given})")


def test_numbers_written_in_two_ways_are_one_experiment(folder: Path) -> None:
    assert len(keys("clipping(radius=10) | mean", "clipping(radius=10.0) | mean", "clipping(radius=1e1) | fedavg")) == 2
    assert len(keys("rule.py:mine(scale=2)", "./rule.py:mine(scale=2.0, trim=3)")) == 1
    assert len(keys("rule.py:mine(scale=2)", "rule.py:mine(scale=2.5)")) == 2


@pytest.mark.parametrize(
    ("statement", "use"),
    [
        ("import helper", "helper.FACTOR"),
        ("from helper import FACTOR", "FACTOR"),
        ("from .helper import FACTOR", "FACTOR"),
        ("import tools.deep.numbers", "tools.deep.numbers.FACTOR"),
        ("from tools.deep import numbers", "numbers.FACTOR"),
        ("from tools import again", "again"),
    ],
)
def test_what_lies_beside_a_file_works_and_is_part_of_its_hash(folder: Path, statement: str, use: str) -> None:
    for place in ("a", "b"):
        deep = folder / place / "tools" / "deep"
        deep.mkdir(parents=True)
        (folder / place / "rule.py").write_text(
            f"{statement}\ndef mine(updates, cohort, /):\n    return updates.mean(-2) * {use}\n"
        )
        factor = {"a": 2, "b": 5}[place]
        (folder / place / "helper.py").write_text(f"FACTOR = {factor}\n")
        (deep.parent / "__init__.py").write_text("from .deep.numbers import FACTOR as again\n")
        (deep / "numbers.py").write_text(f"FACTOR = {factor}\n")
    assert ask("a/rule.py:mine") == [2, 2]
    assert ask("b/rule.py:mine") == [5, 5]
    before = source_hashes.source_hash("aggregator", "a/rule.py:mine")
    for path in (folder / "a" / "helper.py", folder / "a" / "tools" / "deep" / "numbers.py"):
        path.write_text("FACTOR = 7\n")
    assert source_hashes.source_hash("aggregator", "a/rule.py:mine") != before
    assert ask("a/rule.py:mine") == [7, 7]
    shutil.copytree(folder / "a", folder / "c")
    of_copy = source_hashes.source_hash("aggregator", "c/rule.py:mine")
    assert of_copy == source_hashes.source_hash("aggregator", "a/rule.py:mine")


def test_imports_inside_functions_find_their_helpers_and_each_other(folder: Path) -> None:
    (folder / "rule.py").write_text(
        "def mine(updates, cohort, /):\n    import first\n    return updates.mean(-2) * first.value()\n"
    )
    (folder / "first.py").write_text("import second\ndef value():\n    return second.VALUE\n")
    (folder / "second.py").write_text("import first\nVALUE = 4\n")
    assert ask("rule.py:mine") == [4, 4]


def test_files_named_like_pythons_modules_hide_nothing(folder: Path) -> None:
    for name in ("random", "statistics", "types", "attacks", "aggregators", "bench"):
        (folder / f"{name}.py").write_text(
            "import random, statistics, types\nassert random.random and statistics.mean and types.ModuleType\n" + RULE
        )
        assert ask(f"{name}.py:mine") == [1, 1]
    (folder / "attacks.py").write_text("FACTOR = 3\n")
    (folder / "rule.py").write_text(
        "from attacks import FACTOR\ndef mine(updates, cohort, /):\n    return updates.mean(-2) * FACTOR\n"
    )
    assert ask("rule.py:mine") == [3, 3]


def test_a_file_that_imports_nothing_of_its_own_keeps_the_hash_of_its_bytes(folder: Path) -> None:
    text = "import torch\nfrom flipbench.aggregators import median\n" + RULE
    (folder / "rule.py").write_text(text)
    assert source_hashes.source_hash("aggregator", "rule.py:mine") == hashlib.sha256(text.encode()).hexdigest()


def test_a_helper_with_a_mistake_is_named_with_its_line(folder: Path) -> None:
    (folder / "rule.py").write_text("import helper\n" + RULE)
    (folder / "helper.py").write_text("x = 1\ny = x / 0\n")
    with pytest.raises(UserError, match=r"helper.py:2: .*division"):
        ask("rule.py:mine")
    (folder / "helper.py").write_text("x = (\n")
    with pytest.raises(UserError, match=r"helper.py:1: "):
        ask("rule.py:mine")
    (folder / "helper.py").write_text("x = 1\n")
    assert ask("rule.py:mine") == [1, 1]


def test_a_module_that_is_no_python_has_a_hash_and_fails_where_it_is_imported(folder: Path) -> None:
    (folder / "rule.py").write_text("def mine(updates, cohort, /):\n    import helper\n")
    (folder / "helper.py").write_text("x = (\n")
    assert source_hashes.source_hash("aggregator", "rule.py:mine")
    with pytest.raises(SyntaxError, match=r"helper.py"):
        ask("rule.py:mine")


def test_the_modules_of_a_package_are_part_of_its_hash(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = folder / "lib" / "my_package_of_rules"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('"""Nothing."""\n')
    (package / "rules.py").write_text("from .numbers import FACTOR\n" + RULE)
    (package / "numbers.py").write_text("FACTOR = 2\n")
    monkeypatch.syspath_prepend(str(folder / "lib"))
    name = "my_package_of_rules.rules:mine"
    before = source_hashes.source_hash("aggregator", name)
    (package / "numbers.py").write_text("FACTOR = 3\n")
    assert source_hashes.source_hash("aggregator", name) != before


PLUG_INS = """\
def rule(updates, cohort, /):
    return updates.mean(-2)


def attack(labels, context, /):
    return labels


def held(labels, clients, generator, /):
    return labels.new_zeros(5)


def parts(labels, clients, generator, /):
    return [labels.new_zeros(1)] * clients


def half(round, rounds, /):
    return 0.5
"""


@pytest.mark.parametrize("attack", ["mirrored", "plug_ins.py:attack", "plug_ins.py:attack | scaled(factor=2)"])
@pytest.mark.parametrize(
    "plug_in",
    [
        "aggregator: fedavg",
        "aggregator: plug_ins.py:rule",
        "partition: plug_ins.py:parts",
        "schedule: plug_ins.py:half",
    ],
)
@pytest.mark.parametrize("held", ["share", "of_class(label=1)", "plug_ins.py:held"])
def test_the_clean_twin_that_a_record_names_is_the_one_that_runs(
    folder: Path, attack: str, plug_in: str, held: str
) -> None:
    (folder / "plug_ins.py").write_text(PLUG_INS)
    fields = f"dataset: digits, clients: 4, rounds: 1, malicious_count: 1, attack: '{attack}', malicious_data: '{held}'"
    cells = reader.read_text(f"base: {{{fields}, {plug_in}}}\n", "one", "one.yaml").cells
    named = {records.record(Job(cell, reader.contents(cell)), {}, "failed", None)["twin"] for cell in cells}
    assert len(cells) == 2
    assert named == {key(cell, reader.contents(cell)) for cell in cells if not cell.attacked}


@pytest.mark.parametrize(
    ("reference", "statement"),
    [("rule.py:mine", "import numbers_of_mine as n"), ("own.rules:mine", "from own import numbers_of_mine as n")],
)
def test_an_edit_within_a_second_is_not_answered_by_compiled_code(folder: Path, reference: str, statement: str) -> None:
    """A compiled file is as new as its text by Python's rules, and holds other code."""
    package = folder / "own" if ":" in reference and reference.startswith("own") else folder
    package.mkdir(exist_ok=True)
    place = package / ("rules.py" if package != folder else "rule.py")
    place.write_text(f"{statement}\ndef mine(updates, cohort, /):\n    return updates.mean(-2) * n.FACTOR\n")
    (package / "__init__.py").write_text("")
    helper = package / "numbers_of_mine.py"
    for file, text, edited in ((helper, "FACTOR = 2\n", "FACTOR = 7\n"), (place, None, None)):
        if text is not None:
            file.write_text(text)
        compiled = py_compile.compile(str(file), doraise=True)
        assert compiled is not None
        if edited is not None:
            date = file.stat()
            file.write_text(edited)
            os.utime(file, ns=(date.st_atime_ns, date.st_mtime_ns))
    assert ask(reference) == [7, 7]
