"""The command line: what it prints, where, and its exit codes."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from typer.testing import CliRunner

from flipbench.cli.app import app
from flipbench.cli.commands import run as run_command
from flipbench.execution import progress
from flipbench.spec.cell import Cell
from tests.helpers.paths import ROOT

TINY = """\
name: tiny
base: {dataset: digits, model: softmax, clients: 5, rounds: 2, local_steps: 1, malicious_count: 1}
axes:
  aggregator: [fedavg, krum]
  attack: [mirrored]
figures:
  formats: [svg]
  draw:
    - {kind: heatmap, metric: accuracy}
"""


@pytest.fixture
def call(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TINY)

    def one(*args):
        return CliRunner().invoke(app, [str(a) for a in args])

    return one


def python(*args, **options):
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *args], capture_output=True, text=True, env=env, timeout=250, **options)


def test_help_names_the_commands_and_the_exit_codes(call):
    result = call("--help")
    assert result.exit_code == 0
    for name in ("run", "plan", "report", "list", "data", "schema", "version", "Exit codes"):
        assert name in result.output


@pytest.mark.slow
def test_a_tilde_behind_an_equals_sign_is_the_home_folder(call, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for command in (
        ("run", "tiny.yaml", "--workers", "1", "--no-progress", "--results=~/out"),
        ("report", "~/out/tiny"),
    ):
        result = call(*command)
        assert result.exit_code == 0, result.output
    assert (tmp_path / "home" / "out" / "tiny" / "report.html").is_file()
    assert not (tmp_path / "~").exists()


def test_a_users_mistake_is_one_message_on_stderr_without_traceback(tmp_path):
    done = python("-m", "flipbench", "plan", "label_flipp", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: there is no grid 'label_flipp' - did you mean 'label_flip'?")
    assert "Traceback" not in done.stderr


def test_version_and_report_need_no_torch(tmp_path):
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from flipbench.cli.app import app\n"
        "result = CliRunner().invoke(app, ['version'])\n"
        "assert 'torch' in result.output, result.output\n"
        "assert CliRunner().invoke(app, ['report', '.']).exit_code == 2\n"
        "import flipbench.report.write\n"
        "print([m for m in ('torch', 'aggregators', 'flipbench.execution.runner') if m in sys.modules])\n"
    )
    done = python("-c", code, cwd=tmp_path)
    assert done.stdout == "[]\n", done.stderr


def test_all_mistakes_of_a_grid_are_shown_and_nothing_runs(call, tmp_path):
    (tmp_path / "bad.yaml").write_text("base: {client: 3}\naxes: {seed: 3}\n")
    result = call("run", "bad.yaml", "--set", "round=2")
    assert result.exit_code == 2
    for said in ("bad.yaml:1:8: client", "bad.yaml:2:14: seed", "--set round=2: unknown field", "nothing was run"):
        assert said in result.output
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    "args",
    [
        ("list", "agregator"),
        ("report", "nowhere"),
        ("data", "mnst"),
        ("data", "ham10000", "--path", "nowhere.csv"),
        ("run", "tiny.yaml", "--aggregator", "krumm"),
        ("run", "tiny.yaml", "--device", "gpu"),
        ("run", "tiny.yaml", "--workers", "-1"),
        ("run",),
        ("walk",),
        ("plan", "x" * 300),
    ],
    ids=" ".join,
)
def test_mistakes_exit_with_2(call, args):
    result = call(*args)
    assert result.exit_code == 2, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_list_shows_names_options_and_grids(call):
    output = call("list").output
    for said in ("label_flip", "krum", "targeted(source, target)", "dirichlet(alpha", "mnist5k", "step(every, "):
        assert said in output
    assert call("list", "attacks").output.startswith(call("list", "attack").output.rstrip())  # then the grid `attacks`


def test_schema_is_the_committed_one(call):
    assert json.loads(call("schema").output) == json.loads((ROOT / "bench/grids/grid.schema.json").read_text())


def test_data_says_what_was_found(call):
    output = call("data", "digits").output
    for said in ("8 x 8", "1,437", "360", "sha256"):
        assert said in output


def test_plan_run_plan_again(call, tmp_path):
    before = call("plan", "tiny.yaml", "--workers", 1)
    assert before.exit_code == 0, before.output
    assert "tiny: 4 cells, 2 of them clean" in before.output
    assert "a guess" in before.output
    assert not (tmp_path / "results").exists()  # planning writes nothing
    ran = call("run", "tiny.yaml", "--workers", 1)
    assert ran.exit_code == 0, ran.output
    assert "[4/4] done" in ran.output
    plan = json.loads((tmp_path / "results/tiny/plan.json").read_text())
    assert plan["grid"] == "tiny"
    assert len(plan["keys"]) == 4
    assert plan["source"] == TINY
    again = call("run", "tiny.yaml", "--workers", 1, "--no-progress")
    assert again.exit_code == 0
    assert "0 cells run, 4 done" in again.output
    after = call("plan", "tiny.yaml", "--list", "--set", "seed=[0, 1]")
    assert "8 cells" in after.output
    assert "judged by finished cells of equal training" in after.output
    assert after.output.count(" done ") >= 4
    assert call("report", "results/tiny").exit_code == 0


def test_plan_foresees_the_infeasible(call):
    output = call("plan", "tiny.yaml", "--set", "malicious_count=2").output
    assert "krum needs" in output


TUNED = """
name: small
base: {dataset: "digits(train=100, test=50)", model: softmax, rounds: 1, clients: 4, validation_share: 0.2}
axes: {aggregator: [fedavg, median], attack: [mirrored], malicious_count: [1], seed: [0]}
tune: {fields: {learning_rate: [0.01, 1]}, seeds: [7]}
"""


def test_a_tuned_grid_is_planned_run_and_shown_in_both_forms(call, tmp_path):
    (tmp_path / "small.yaml").write_text(TUNED)
    given = (tmp_path / "small.yaml", "--results", tmp_path / "out")
    planned = call("plan", *given, "--workers", 1)
    assert planned.exit_code == 0
    assert "small: 4 trials" in planned.output
    assert "small: 4 reported cells" in planned.output
    assert "tuned, not yet known   4 at most" in planned.output
    ran = call("run", *given, "--workers", 1, "--no-progress")
    assert ran.exit_code == 0, ran.output
    assert "Trials of small: 4 cells" in ran.stderr
    assert ran.output.index("tuned settings") < ran.output.index("fixed settings")
    assert "Settings were chosen for each rule by the least mean accuracy over the attacks" in ran.output
    again = call("plan", *given, "--workers", 1)
    assert again.output.count("to run                 0") == 2
    assert "not yet known" not in again.output


def outcome(**facts):
    from flipbench.execution.runner import Outcome

    return Outcome(**({"total": 4, "done": 4, "ran": 4, "infeasible": 0, "failed": ()} | facts))


@pytest.mark.parametrize(
    ("came", "code", "said"),
    [
        ({}, 0, "4 cells run, 4 done"),
        (
            {"done": 3, "failed": (("f" * 64, "RuntimeError: no luck"),)},
            3,
            "1 cell failed; the same command tries it again",
        ),
        ({"done": 1, "ran": 1, "interrupted": True}, 130, "1 cell is kept in results/tiny"),
    ],
    ids=["done", "failed", "interrupted"],
)
def test_exit_codes_of_a_run(call, monkeypatch, came, code, said):
    from flipbench.execution import runner
    from flipbench.report import write as report

    seen = {}
    monkeypatch.setattr(runner, "run", lambda grid, folder, **options: seen.update(options) or outcome(**came))
    monkeypatch.setattr(report, "read", lambda folder, repairs, headline=None: None)
    monkeypatch.setattr(report, "write", lambda folder, known, every, look: [])
    monkeypatch.setattr(report, "summary_text", lambda folder, known, every: "the summary")
    result = call("run", "tiny.yaml", "--workers", 3, "--keep-failed")
    assert result.exit_code == code
    assert said in result.output
    assert ("the summary" in result.output) == (code != 130)
    assert seen["workers"] == 3
    assert seen["retry_failed"] is False


@pytest.mark.parametrize("option", ["--all-figures", "--all-pictures"])
def test_a_report_takes_options_of_its_figures(call, monkeypatch, tmp_path, option):
    from flipbench.report import write as report

    (tmp_path / "plan.json").touch()
    asked = []
    monkeypatch.setattr(report, "read", lambda folder, repairs, headline=None: None)
    monkeypatch.setattr(report, "write", lambda folder, known, every, look: asked.append((every, look)) or [])
    monkeypatch.setattr(report, "summary_text", lambda folder, known, every: "the summary")
    assert call("report", tmp_path, option).exit_code == 0
    assert call("report", tmp_path).exit_code == 0
    figure = ("--figure", "width=3.3", "--figure", "title=false")
    assert call("report", tmp_path, *figure).exit_code == 0
    assert asked == [(True, {}), (False, {}), (False, {"width": 3.3, "title": False})]
    assert "--all-pictures" not in call("report", "--help").output
    for wrong, said in (
        (("--figure", "width=wide"), "width is a number of inches"),
        ((*figure, "--metric", "accuracy"), "--figure is of the report's figures"),
        ((option, "--format", "csv"), "--all-figures is of the report's figures"),
    ):
        result = call("report", tmp_path, *wrong)
        assert result.exit_code == 2
        assert said in " ".join(result.output.split())
    assert len(asked) == 3


def test_an_interrupt_before_the_run_exits_with_130(call, monkeypatch):
    from flipbench.grid import reader as grid

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(grid, "read", interrupted)
    assert call("plan", "tiny.yaml").exit_code == 130


SLOW = """\
name: slow
base: {dataset: digits, model: softmax, clients: 5, rounds: 120, local_steps: 2, malicious_count: 1, attack: mirrored}
axes:
  aggregator: [fedavg, krum, median, trimmed_mean]
  seed: [0, 1, 2, 3, 4, 5]
"""


@pytest.mark.process
@pytest.mark.timeout(600)
@pytest.mark.skipif(os.name != "posix", reason="a terminal's interrupt reaches a process group on POSIX only")
def test_an_interrupt_keeps_what_is_stored_and_a_second_run_does_the_rest(tmp_path, call, monkeypatch):
    (tmp_path / "slow.yaml").write_text(SLOW)
    command = [sys.executable, "-m", "flipbench", "run", "slow.yaml", "--workers", "2"]
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
        started = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=out, stderr=err, start_new_session=True)
    try:
        until = time.monotonic() + 250
        while not (stored := list(tmp_path.glob("results/slow/cells/*/*.json"))) and time.monotonic() < until:
            assert started.poll() is None, (tmp_path / "err").read_text()
            time.sleep(0.02)
        assert stored
        os.killpg(started.pid, signal.SIGINT)  # as a terminal does: to the driver and to all workers
        code = started.wait(timeout=250)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
    said = (tmp_path / "out").read_text() + (tmp_path / "err").read_text()
    assert code == 130, said
    assert "Traceback" not in said
    assert "the same command goes on from there" in said
    kept = {p: p.read_bytes() for p in tmp_path.glob("results/slow/cells/*/*.json")}
    plan = json.loads((tmp_path / "results/slow/plan.json").read_text())
    assert 0 < len(kept) < len(plan["keys"])
    assert f"{len(kept)} cell" in said
    assert all(json.loads(text)["status"] == "done" for text in kept.values())
    monkeypatch.setattr(run_command, "draw", lambda folder: None)  # which takes longer than the cells
    again = call("run", "slow.yaml", "--workers", 1, "--no-progress", "--set", "seed=[0]")  # fewer, to be quick
    assert again.exit_code == 0, again.output
    assert {p: p.read_bytes() for p in kept} == kept
    wanted = json.loads((tmp_path / "results/slow/plan.json").read_text())["keys"]
    assert {p.stem for p in tmp_path.glob("results/slow/cells/*/*.json")} == {p.stem for p in kept} | set(wanted)


CELL = Cell(aggregator="krum", attack="mirrored", malicious_count=4)


def test_plain_progress_is_one_line_a_cell():
    stream = io.StringIO()
    watcher = progress.choose(2, stream=stream)
    watcher.start(336, 11)
    watcher.cell_finished(CELL, "done", 0.42)
    watcher.cell_finished(CELL, "infeasible", 0)
    watcher.stop()
    assert stream.getvalue().splitlines() == [
        "336 cells, 11 done before",
        "[ 12/336] done       krum  mirrored  rate=1 malicious=4 seed=0  0.42 s",
        "[ 13/336] infeasible krum  mirrored  rate=1 malicious=4 seed=0  0.00 s",
    ]


@pytest.mark.parametrize(("number", "said"), [(0, "0 cells"), (1, "1 cell"), (1200, "1,200 cells")])
def test_one_is_no_plural(number, said):
    assert progress.counted(number, "cell") == said


def test_quiet_progress_says_nothing(capsys):
    watcher = progress.choose(2, quiet=True)
    watcher.start(3, 0)
    watcher.cell_finished(CELL, "failed", 1)
    watcher.stop()
    assert capsys.readouterr().out == ""


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_gets_a_live_table(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    stream = Terminal()
    watcher = progress.choose(2, stream=stream)
    watcher.start(10, 2)
    for status in ("done", "failed", "infeasible"):
        watcher.cell_finished(CELL, status, 0.1)
    assert watcher.eta(6.0) == pytest.approx(10.0)  # 3 cells in 6 s, 5 to go
    watcher.stop()
    shown = stream.getvalue()
    for said in ("5 of 10", "2 done before", "to go", "2 workers", "failed: krum  mirrored"):
        assert said in shown


@pytest.mark.parametrize(("seconds", "said"), [(0.4, "0 s"), (59, "59 s"), (185, "3 min 5 s"), (7807, "2 h 10 min")])
def test_clock(seconds, said):
    assert progress.clock(seconds) == said
