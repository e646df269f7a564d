"""Test modules share code through tests/helpers: none imports another test module, none changes sys.path."""

from __future__ import annotations

import re

import pytest

from tests.helpers.paths import TESTS

FROM = r"from tests(?:\.\w+)*"
WRONG = re.compile(rf"^\s*(?:{FROM}\.test_\w+ import|{FROM} import test_\w+|sys\.path\.insert)", re.MULTILINE)
MODULES = {str(path.relative_to(TESTS)): path for path in sorted(TESTS.rglob("*.py"))}


def test_no_test_module_imports_another() -> None:
    assert [name for name, path in MODULES.items() if WRONG.search(path.read_text("utf-8"))] == []


@pytest.mark.parametrize(
    "line",
    [
        "from tests.execution.test_runner import numbers",
        "from tests.execution import test_runner",
        "    from tests.test_packaging import PROJECT",
        "sys.path.insert(0, 'tests')",
    ],
)
def test_a_planted_import_is_seen(line: str) -> None:
    assert WRONG.search(f"import sys\n{line}\n")


def test_an_import_of_a_helper_passes() -> None:
    assert not WRONG.search("from tests.helpers.records import record\nfrom tests.oracles import subjects\n")
