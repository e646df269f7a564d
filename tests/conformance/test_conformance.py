"""The kit finds every planted defect, finds nothing in the shipped rules but what they declare, and prints it."""

from __future__ import annotations

from functools import partial

import pytest
from typer.testing import CliRunner

from flipbench import aggregators, attacks
from flipbench.aggregators import Infeasible, compose, median, nnm, norm_clipping, trimmed_mean
from flipbench.aggregators.validation import guarded
from flipbench.cli.app import app
from flipbench.conformance.aggregators import (
    PROPERTIES,
    Defect,
    check_aggregator,
    check_attack,
    checks,
    parametrize_with_checks,
)
from flipbench.conformance.attacks import ATTACK_PROPERTIES
from flipbench.conformance.oracles import DEFINITIONS
from flipbench.errors import UserError
from tests.helpers.defective import flips as defective_flips
from tests.helpers.defective import rules as defective_rules
from tests.helpers.defective import updates as defective_updates

# Options to bind, for attacks that need some or run long; every other shipped attack is tried as it is.
OPTIONS = {
    "shifted": ["by=3"],
    "targeted": ["source=0, target=4", "source=3, target=0"],
    "swapped": ["first=0, second=1"],
    "all_to_one": ["target=0"],
    "permuted": ["mapping={0: 1, 1: 0}"],
    "worst_case": ["trials=5, finalists=1"],
    "backdoor": ["target=0"],
}
ATTACKS = [f"{name}({options})" if options else name for name in attacks.ATTACKS for options in OPTIONS.get(name, [""])]


def expected(rule: object) -> dict[str, str]:
    return {} if DEFINITIONS[str(rule)].robust else {"malicious": "an average follows one malicious client"}


@parametrize_with_checks(list(aggregators.RULES), expected_failed_checks=expected)
def test_shipped_rules(check):
    check()


@pytest.mark.parametrize("rule", [name for name, one in DEFINITIONS.items() if one.options])
def test_a_rule_with_the_options_of_its_oracle_agrees_with_it(rule):
    options = ", ".join(f"{name}={value}" for name, value in DEFINITIONS[rule].options.items())
    assert "definition" not in dict(check_aggregator(rule))
    dict(check_aggregator(f"{rule}({options})"))["definition"]()


@pytest.mark.parametrize("rule", list(aggregators.RULES))
def test_no_rule_declares_what_it_keeps(rule):
    for check in checks(rule):
        if check.excuse is not None:
            with pytest.raises(Defect):
                check()


@parametrize_with_checks([compose(nnm, trimmed_mean)])
def test_a_chain(check):
    check()


@pytest.mark.parametrize("one", defective_rules.RULES, ids=str)
def test_every_planted_defect_is_named(one):
    found = dict(check_aggregator(one.rule, definition=one.definition))
    with pytest.raises(Defect) as caught:
        found[one.property]()
    defect = caught.value
    assert defect.property == one.property
    assert one.words in str(defect)
    assert defect.case
    assert defect.impact
    assert defect.fix


@guarded
def ten_lines(updates, cohort, /):
    """The mean of the n - f updates nearest to the median: a rule as users write it."""
    n, f = updates.shape[-2], cohort.byzantine
    if 2 * f >= n:
        raise Infeasible(f"ten_lines needs at least 2f + 1 = {2 * f + 1} clients, got {n}")
    far = (updates - median(updates, cohort).unsqueeze(-2)).square().sum(-1)
    near = far.argsort(dim=-1, stable=True)[..., : n - f].unsqueeze(-1)
    return updates.gather(-2, near.expand(*near.shape[:-1], updates.shape[-1])).mean(-2)


@parametrize_with_checks([ten_lines])
def test_a_rule_as_users_write_it(check):
    check()


def test_the_smallest_case_comes_first():
    with pytest.raises(Defect) as caught:
        dict(check_aggregator("fedavg"))["malicious"]()
    assert caught.value.case.startswith("n = 3, d = 1, f = 1, client 0 of 3 sent the same of size 1e+06")


@pytest.mark.parametrize("ref", ATTACKS)
def test_shipped_attacks(ref):
    for _, check in check_attack(ref):
        check()


DEFECTIVE = (
    *defective_flips.LABELS,
    *defective_updates.SEARCHES,
    *defective_updates.UPDATES,
    *defective_flips.EXAMPLES,
)


@pytest.mark.parametrize(("attack", "name", "words"), DEFECTIVE, ids=lambda v: getattr(v, "__name__", ""))
def test_every_defective_attack_is_named(attack, name, words):
    with pytest.raises(Defect, match=words) as caught:
        dict(check_attack(attack))[name]()
    assert caught.value.property == name
    assert caught.value.case
    assert caught.value.impact
    assert caught.value.fix


@pytest.mark.parametrize("attack", [defective_updates.negated, defective_flips.corner], ids=lambda v: v.__name__)
def test_a_sound_attack_passes(attack):
    for _, check in check_attack(attack):
        check()


def test_every_property_of_attacks_fails_for_something():
    """Those within real cells share their checks; the ones that a defective attack cannot reach test the bench."""
    tried = {name for _, name, _ in DEFECTIVE}
    for properties in ATTACK_PROPERTIES.values():
        assert set(properties) - tried <= {"counts", "honest", "twin", "bystanders", "recorded", "life"}


def test_declared_exceptions_come_from_the_table_an_attribute_or_the_argument():
    def mine(updates, cohort):
        return updates.mean(-2)

    assert {c.name for c in checks("norm_clipping") if c.excuse} == {"translation"}
    assert {c.name for c in checks(partial(norm_clipping, radius=1.0)) if c.excuse} == {
        "translation",
        "scale",
        "unanimity",
    }
    assert "malicious" in dict(check_aggregator(mine))
    assert "malicious" not in dict(check_aggregator(mine, except_for=("malicious",)))
    mine.except_for = {"malicious": "a mean"}
    assert [c.excuse for c in checks(mine) if c.name == "malicious"] == ["a mean"]


def test_a_definition_is_told_by_the_name_or_the_argument_and_not_with_options():
    def krum(updates, cohort):
        return updates.mean(-2)

    assert "definition" in dict(check_aggregator(krum))
    assert "definition" in dict(check_aggregator(defective_rules.half_step, definition="median"))
    assert "definition" not in dict(check_aggregator(defective_rules.half_step))
    assert "definition" not in dict(check_aggregator("multi_krum(keep=1)"))
    assert "definition" in dict(check_aggregator("foolsgold"))
    assert "definition" not in dict(check_aggregator("foolsgold(kappa=2.0)"))
    assert "definition" not in dict(check_aggregator("nnm | median"))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"definition": "krumm"}, "definition names 'krumm'.*did you mean 'krum'"),
        ({"except_for": ("translations",)}, "except_for names 'translations'"),
        ({"except_for": ("liars",)}, "except_for names 'liars': this property is called 'malicious'"),
    ],
)
def test_typing_errors_are_refused(options, text):
    with pytest.raises(UserError, match=text):
        list(check_aggregator(median, **options))


def test_expected_failures_are_strict_and_known():
    with pytest.raises(UserError, match="names 'liars': this property is called 'malicious'"):
        parametrize_with_checks([median], expected_failed_checks={"liars": "?"})
    with pytest.raises(UserError, match="expected_failed_checks names 'evil'"):
        parametrize_with_checks([median], expected_failed_checks={"evil": "?"})
    cases = parametrize_with_checks([median], expected_failed_checks={"malicious": "?"}).args[1]
    marks = {p.id: [m.name for m in p.marks] for p in cases}
    assert marks["median-malicious"] == ["xfail"]
    assert all(m.kwargs["strict"] for p in cases for m in p.marks)
    assert all(not m for name, m in marks.items() if name != "median-malicious")


@pytest.fixture
def call(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "from flipbench.attacks import Proposal\n"
        "def good(updates, cohort):\n"
        "    x = torch.nan_to_num(updates)\n"
        "    return x.mean(-2)\n"
        "def lower(labels, context, /):\n"
        "    return Proposal(labels - 1, labels >= 0)\n"
        "def back(updates, context, /):\n"
        "    return updates\n"
        "def wired(updates, wire, /):\n"  # as files of earlier versions call the context
        "    return updates\n"
        "def odd(pixels, context, /):\n"
        "    return pixels\n"
        "seven = 7\n"
    )

    def one(*args):
        return CliRunner().invoke(app, ["check", *args])

    return one


def test_the_table_of_a_shipped_rule(call):
    result = call("norm_clipping")
    assert result.exit_code == 0, result.output
    assert "norm_clipping (aggregator, checked as norm_clipping)" in result.output
    assert "declared" in result.output
    assert "0 fail, 1 declared" in result.output


def test_a_failure_is_exit_code_1_with_case_impact_and_fix(call):
    result = call("mine.py:good")
    assert result.exit_code == 1
    lines = [line for line in result.output.splitlines() if line.startswith("  ") and line[2] != " "]
    rows = {line.split()[0]: line.split()[1] for line in lines}
    assert rows["malicious"] == rows["non_finite"] == "FAIL"
    assert rows["translation"] == rows["order"] == "pass"
    for label in ("case:", "impact:", "fix:"):
        assert label in result.output


def test_kept_state_is_named_as_what_to_repair_first(call, tmp_path):
    code = "def kept(updates, cohort, /):\n    PAST.append(1)\n    return updates.mean(-2) * len(PAST)\n"
    (tmp_path / "kept.py").write_text(f"PAST = []\n\n\n{code}")
    result = call(f"{tmp_path}/kept.py:kept")
    assert result.exit_code == 1
    assert "repair repeatable first" in result.output
    assert "repair repeatable first" not in call("mine.py:good").output


ENDINGS = {
    "os.abort()": "ends.py:6: the process that checks it was killed by SIGABRT",
    "os._exit(4)": "the process that checks it ended itself with exit code 4",
    "sys.exit(3)": "ends.py:ends: it calls sys.exit(3)",
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_rule_that_ends_the_process_for_one_input_is_one_error(call, tmp_path, ending):
    code = f"    if updates.shape[-2] == 1:\n        {ending}\n    return updates.mean(-2)\n"
    (tmp_path / "ends.py").write_text(f"import os\nimport sys\n\ndef ends(updates, cohort, /):\n{code}")
    result = call("ends.py:ends")
    assert result.exit_code == 2
    assert ENDINGS[ending] in result.output
    assert "let it raise an exception" in result.output


def test_a_rule_of_a_module_is_checked_as_what_it_claims_to_be(call):
    result = call("tests.helpers.defective.rules:krum_unsquared", "--definition", "krum", "--except-for", "scale")
    assert result.exit_code == 1
    assert "checked as krum" in result.output
    assert "distances that are not squared" in result.output
    assert "excused: declared by the author" in result.output


def test_an_attack_is_told_by_its_first_parameter(call):
    result = call("mine.py:lower")
    assert result.exit_code == 1
    assert "mine.py:lower (attack on labels)" in result.output
    assert "becomes -1" in result.output
    assert call("targeted").exit_code == 0


def test_each_link_of_a_chain_of_attacks_is_checked(call):
    result = call("all_to_one(target=0) | sign_flip")
    assert result.exit_code == 0, result.output
    assert "all_to_one(target=0) (attack on labels)" in result.output
    assert "sign_flip (attack on updates)" in result.output


@pytest.mark.parametrize("name", ["back", "wired"])
def test_an_attack_on_updates_is_told_from_a_rule_by_its_second_parameter(call, name):
    result = call(f"mine.py:{name}")
    assert result.exit_code == 1
    assert f"mine.py:{name} (attack on updates)" in result.output
    assert "the malicious clients send what they would send" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("krumm",), "did you mean 'krum'"),
        (("mine.py:seven",), "not a function"),
        (("mine.py:nobody",), "has no 'nobody'"),
        (("krum", "--kind", "model"), "unknown model 'krum'"),
        (("krum", "--kind", "rule"), "--kind is aggregator, attack, model,"),
        (("krum", "--except-for", "beauty"), "beauty"),
        (("krum", "--except-for", "liars"), "called 'malicious'"),
        (("nnm",), "needs a rule behind it"),
        (("mine.py:odd", "--kind", "attack"), "must be called labels, examples or updates"),
        (("mirrored", "--except-for", "range"), "attacks have no exceptions"),
    ],
)
def test_mistakes_are_one_message(call, args, text):
    result = call(*args)
    assert result.exit_code == 2
    assert text in result.output
    assert "Traceback" not in result.output


def test_every_property_has_been_tried():
    assert {d.property for d in defective_rules.RULES} | {"cuda"} == set(PROPERTIES)
    assert set(OPTIONS) <= set(attacks.ATTACKS)
