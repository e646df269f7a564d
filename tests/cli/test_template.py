"""``flipbench new``: what it writes works as it stands, and nothing is overwritten."""

from __future__ import annotations

import pickle
import subprocess
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import flipbench as fb
from flipbench.aggregators import Cohort, Infeasible
from flipbench.attacks.contract import place
from flipbench.cli import new, templates
from flipbench.cli.app import app
from flipbench.conformance.aggregators import check_attack
from flipbench.errors import UserError
from flipbench.plugins import registry


@pytest.fixture
def made(tmp_path):
    return new.new("aggregator", tmp_path / "rules" / "my_rule.py")


def test_the_rule_and_its_test_are_made_beside_each_other(made, tmp_path):
    assert made == (tmp_path / "rules/my_rule.py", tmp_path / "rules/test_my_rule.py")
    assert sorted(p.name for p in (tmp_path / "rules").iterdir()) == ["my_rule.py", "test_my_rule.py"]


def test_the_rule_is_a_real_defence(made):
    rule = registry.resolve("aggregator", f"{made[0]}:my_rule")
    x = torch.randn(3, 11, 40, generator=torch.Generator().manual_seed(0))
    honest = x[:, 4:].mean(1)
    x[:, :4] = 1e12
    answer = rule(x, Cohort.of(x, byzantine=4))
    assert torch.allclose(answer, honest, atol=1e-5)
    with pytest.raises(Infeasible, match=r"my_rule needs n > 2 \(f \+ spare\) = 12 clients, got 11"):
        rule(x, Cohort.of(x, byzantine=6))
    with_option = registry.resolve("aggregator", f"{made[0]}:my_rule(spare=1)")
    with pytest.raises(Infeasible):
        with_option(x, Cohort.of(x, byzantine=5))
    assert pickle.loads(pickle.dumps(with_option)).keywords == {"spare": 1}


def test_its_body_has_ten_lines_at_most(made):
    lines = made[0].read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("def my_rule"))
    assert len(lines) - start <= 10 + 2  # the signature and its docstring
    assert sum("#" in line for line in lines[start:]) >= 5


def outcomes(test):
    """What each of its tests says; run here, for a pytest of its own would load torch again."""
    scope = {"__name__": test.stem, "__file__": str(test)}
    exec(compile(test.read_text(), test, "exec"), scope)
    found = {}
    for name in [n for n in scope if n.startswith("test_")]:
        try:
            scope[name]()
        except (AssertionError, pytest.fail.Exception):
            found[name] = False
        else:
            found[name] = True
    return found


def test_its_own_test_passes_and_can_fail(made):
    assert len(outcomes(made[1])) == 5
    assert all(outcomes(made[1]).values())
    made[0].write_text("def my_rule(updates, cohort, /):\n    return updates.mean(-2)\n")  # FedAvg: no defence
    assert not outcomes(made[1])["test_malicious_clients_far_away_do_not_count"]
    assert not outcomes(made[1])["test_too_many_malicious_clients_are_refused_with_the_numbers"]
    made[0].write_text("def my_rule(updates, cohort, /):\n    return updates.mul_(2).median(-2).values / 2\n")
    assert not outcomes(made[1])["test_the_updates_are_left_alone"]


@pytest.fixture(params=new.PLACES)
def attack(request, tmp_path):
    return request.param, *new.new("attack", tmp_path / "attacks" / "my_attack.py", request.param)


def test_an_attack_acts_where_it_was_asked_to_and_passes_its_test_and_the_checks(attack):
    where, code, test = attack
    assert place(registry.resolve("attack", f"{code}:my_attack")) == where
    assert len(outcomes(test)) >= 4
    assert all(outcomes(test).values())
    for _, check in check_attack(f"{code}:my_attack"):
        check()


SPOILT = {
    "labels": ("labels + by", "labels.add_(by)", "test_the_labels_are_left_alone"),
    "updates": ("-strength * mean", "strength * mean", "test_it_points_away_from_the_honest_mean"),
    "examples": ("labels != target", "labels >= 0", "test_all_but_the_target_class_are_eligible_and_become_it"),
}


def test_the_test_of_an_attack_can_fail(attack):
    where, code, test = attack
    before, after, name = SPOILT[where]
    text = code.read_text()
    assert before in text
    code.write_text(text.replace(before, after))
    assert not outcomes(test)[name]


def test_an_attack_has_ten_lines_of_code_at_most_and_says_why(attack):
    lines = attack[1].read_text().splitlines()
    body = lines[next(i for i, line in enumerate(lines) if line.startswith("def my_attack")) + 2 :]
    assert sum(not line.lstrip().startswith("#") for line in body) <= 10
    assert sum("#" in line for line in body) >= 4


def test_every_template_is_written_by_some_command_and_its_own_name_is_left_nowhere(tmp_path):
    written = {"my_rule": new.new("aggregator", tmp_path / "yours.py")}
    written["my_optimiser"] = new.new("optimiser", tmp_path / "optimisers" / "yours.py")
    for where in new.PLACES:
        written[f"my_{where[:-1]}_attack"] = new.new("attack", tmp_path / where / "yours.py", where)
    shipped = {p.stem for p in Path(templates.__file__).parent.glob("*.py")} - {"__init__"}
    assert shipped == set(written) | {f"test_{name}" for name in written}
    for name, files in written.items():
        assert all(name not in file.read_text() and "yours" in file.read_text() for file in files)


def test_labels_are_the_place_where_none_is_told(tmp_path):
    code, _ = new.new("attack", tmp_path / "my_attack.py")
    assert place(registry.resolve("attack", f"{code}:my_attack")) == "labels"


def test_the_optimiser_passes_its_tests_and_every_check(tmp_path):
    code, test = new.new("optimiser", tmp_path / "my_own.py")
    assert list(outcomes(test).values()) == [True] * 4
    assert not fb.check_part(f"{code}:my_own(beta=0.5)", "optimiser").failed


@pytest.mark.parametrize(
    ("kind", "where"), [("aggregator", None), ("optimiser", None), *(("attack", p) for p in new.PLACES)]
)
def test_both_files_are_formatted_and_clean(tmp_path, kind, where):
    made = new.new(kind, tmp_path / "one" / "my_own.py", where)
    for words in (["check"], ["format", "--check"]):
        try:
            ran = subprocess.run(
                ["ruff", *words, "--isolated", "--line-length=120", made[0].parent],
                capture_output=True,
                text=True,
                cwd=made[0].parent,
            )
        except FileNotFoundError:
            pytest.skip("ruff is not installed here")
        assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize("there", ["my_rule.py", "test_my_rule.py"])
def test_nothing_is_overwritten(tmp_path, there):
    (tmp_path / there).write_text("mine\n")
    with pytest.raises(UserError, match=f"{there} exists and is not overwritten"):
        new.new("aggregator", tmp_path / "my_rule.py")
    assert [p.name for p in tmp_path.iterdir()] == [there]
    assert (tmp_path / there).read_text() == "mine\n"


@pytest.mark.parametrize("name", ["my-rule.py", "rule.txt", "1st.py", "class.py", "a b.py", ".py", "régle.py", "rule"])
def test_a_name_that_is_no_rule_is_refused(tmp_path, name):
    with pytest.raises(UserError, match=r"needs the form path/my_rule\.py"):
        new.new("aggregator", tmp_path / name)
    assert not list(tmp_path.iterdir())


@settings(deadline=None)
@given(st.text(alphabet="abcXYZ019_-. {}'\"\\/:", min_size=1, max_size=12))
def test_any_name_gives_a_file_that_compiles_or_one_message(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("any")
    try:
        rule, test = new.new("aggregator", folder / f"{name}.py")
    except UserError:
        return
    for file in (rule, test):
        compile(file.read_text(), file, "exec")


def test_a_folder_that_cannot_be_made_is_one_message(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        new.new("aggregator", tmp_path / "file" / "my_rule.py")


@pytest.mark.parametrize(
    ("kind", "where", "said"),
    [
        ("dataset", None, "there is a template for aggregator, attack and optimiser, not for 'dataset'"),
        ("attack", "gradients", "an attack acts on labels, updates, examples, not on 'gradients'"),
        ("aggregator", "labels", "--place labels says where an attack acts; an aggregator has none"),
        ("optimiser", "labels", "--place labels says where an attack acts; an optimiser has none"),
    ],
)
def test_what_has_no_template_is_refused(tmp_path, kind, where, said):
    with pytest.raises(UserError, match=said):
        new.new(kind, tmp_path / "mine.py", where)
    assert not list(tmp_path.iterdir())


@pytest.mark.process
@pytest.mark.timeout(600)  # trains and draws
def test_the_command_says_what_to_do_next_and_that_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["new", "aggregator", "rules/my_rule.py"])
    assert result.exit_code == 0
    command = result.output.split("run it:")[1].split()
    assert command == ["flipbench", "run", "smoke", "--aggregator", "rules/my_rule.py:my_rule"]
    short = ["--set", "rounds=1", "--set", "seed=[0]", "--set", "attack=[mirrored]", "--workers", "1", "--no-progress"]
    ran = CliRunner().invoke(app, [*command[1:], *short, "--results", str(tmp_path / "r")])
    assert ran.exit_code == 0, ran.output
    assert "my_rule.py:my_rule" in ran.output
    assert "10 cells run" in ran.output
    again = CliRunner().invoke(app, ["new", "aggregator", "rules/my_rule.py"])
    assert again.exit_code == 2
    assert "is not overwritten" in again.output
