"""A plug-in that ends or blocks the process that imports it ends another process: one message with its line."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flipbench.api.checks import check_aggregator
from flipbench.cli.app import app
from flipbench.errors import UserError
from flipbench.plugins import first_load
from flipbench.plugins.first_load import DeadlyPluginError, check

pytestmark = pytest.mark.process
RULE = "def mine(updates, cohort, /, *, trim: int = 3):\n    return updates.mean(-2)\n"
DEADLY = {
    "os.abort()": "was killed by SIGABRT",
    "ctypes.string_at(0)": "was killed by SIGSEGV",
    "os._exit(0)": "ended itself with exit code 0",
    "os.kill(os.getpid(), 9)": "was killed by SIGKILL",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(first_load, "OF_COPY", 1.0)
    monkeypatch.setattr(first_load, "_survived", set())
    return tmp_path


@pytest.fixture
def only_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh process takes seconds: here the copy decides."""
    monkeypatch.setattr(
        first_load,
        "_in_fresh_process",
        lambda kind, ref, report: first_load._wait_for_copy(
            first_load._copied(lambda: first_load._load(kind, ref, str(report))), first_load.OF_COPY
        ),
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a copy of a process")
@pytest.mark.usefixtures("only_copies")
@pytest.mark.parametrize(("statement", "how"), DEADLY.items())
@pytest.mark.parametrize("kind", ["aggregator", "dataset"])
def test_the_line_that_ends_the_process_is_named(folder: Path, statement: str, how: str, kind: str) -> None:
    (folder / "rule.py").write_text(f"import ctypes, os\nx = 1\n{statement}\n{RULE}")
    with pytest.raises(DeadlyPluginError) as caught:
        check(kind, "rule.py:mine")
    assert str(caught.value).startswith(f"rule.py:3: the process that loads it {how}; ")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a copy of a process")
@pytest.mark.usefixtures("only_copies")
def test_helpers_modules_classes_and_loops_are_seen_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "helper.py").write_text("import os\n\nos.abort()\n")
    (folder / "rule.py").write_text("import helper\n" + RULE)
    with pytest.raises(DeadlyPluginError, match=r"helper.py:3: "):
        check("aggregator", "rule.py:mine")
    with pytest.raises(DeadlyPluginError, match=r"helper.py:3: "):
        check("attack", "helper:mine")
    (folder / "rule.py").write_text(
        "import dataclasses, os\n@dataclasses.dataclass(frozen=True)\nclass mine:\n    x: int = 1\n"
        "    def __post_init__(self):\n        if self.x == 2:\n            os.abort()\n"
        "    def __call__(self, updates, cohort, /):\n        return updates.mean(-2)\n"
    )
    check("aggregator", "rule.py:mine")
    with pytest.raises(DeadlyPluginError, match=r"rule.py:7: "):
        check("aggregator", "nnm | rule.py:mine(x=2)")
    monkeypatch.setattr(first_load, "OF_COPY", 0.3)
    (folder / "rule.py").write_text("while True:\n    pass\n")
    with pytest.raises(DeadlyPluginError, match=r"rule.py:[12]: the process that loads it takes longer than 0.3 s"):
        check("aggregator", "rule.py:mine")


def test_what_loads_or_only_raises_is_left_to_this_process(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in (RULE, "raise SystemExit(3)\n", "1 / 0\n", "x = (\n", "import sys\nsys.exit()\n", "import not_there\n"):
        (folder / "rule.py").write_text(text)
        check("aggregator", "rule.py:mine")
    check("aggregator", "nowhere.py:mine")
    assert not any(name.startswith("flipbench_plugin_") and str(folder) in str(m) for name, m in sys.modules.items())
    monkeypatch.setattr(first_load, "_ending", lambda *asked: pytest.fail("loaded again"))
    check("aggregator", "rule.py:mine")
    check("aggregator", "nnm | krum")


def test_every_command_says_it_and_lives_on(folder: Path) -> None:
    (folder / "rule.py").write_text("import os\nos.abort()\n" + RULE)
    (folder / "g.yaml").write_text("base: {dataset: digits, aggregator: 'rule.py:mine'}\n")
    done = CliRunner().invoke(app, ["plan", "g.yaml"])  # a fresh process decides
    assert done.exit_code == 2
    assert "g.yaml:1:37: aggregator: rule.py:2: the process that loads it was killed by SIGABRT" in done.output


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a copy of a process")
@pytest.mark.usefixtures("only_copies")
@pytest.mark.parametrize(
    "command",
    [("run", "g.yaml"), ("check", "rule.py:mine"), ("kappa", "rule.py:mine"), ("data", "rule.py:mine")],
    ids=lambda command: command[0],
)
def test_other_commands_too(folder: Path, command: tuple[str, str]) -> None:
    (folder / "rule.py").write_text("import os\nos.abort()\n" + RULE)
    (folder / "g.yaml").write_text("base: {dataset: digits, aggregator: 'rule.py:mine'}\n")
    done = CliRunner().invoke(app, [*command])
    assert done.exit_code == 2
    assert "rule.py:2: the process that loads it was killed by SIGABRT" in done.output
    with pytest.raises(UserError, match=r"rule.py:2: "):
        check_aggregator("rule.py:mine")
