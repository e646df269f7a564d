"""Different values have different labels, the shortest that tell them apart, in every form and at every width."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flipbench.report.tables.latex import tex_text
from flipbench.report.tables.markdown import md_text
from flipbench.spec.distinct_texts import distinct, escaped, fitted, look
from flipbench.spec.labels import (
    aggregator_label,
    attack_label,
    class_names,
    dataset_label,
    dataset_text,
    field_label,
    percent,
    placeless,
    telling_apart,
    value_label,
)

NAMES = st.sampled_from(
    [
        *("krum", "median", "a/r.py:m", "b/r.py:m", "/x/a/r.py:m", "./r.py:m", "q_r.py:m", "p.q:m"),
        *("code_11111111111111aa:m", "code_11111111111111ab:m", "code_2222222222222222:m"),
        *("rule_\u0430.py:m", "rule_a.py:m", "x\u200by.py:m", "x\u200cy.py:m", "\u05d01.py:m", "1\u05d0.py:m"),
        *("a\u2013b.py:m", "a--b.py:m", "&lt;b&gt;.py:m", "$x$.py:m", "#_%.py:m", "\\\\x.py:m"),
    ]
)
OPTIONS = st.sampled_from(
    ["", "(k=1)", "(k=1.0)", "(k='1')", "(k=true)", f"(k={list(range(90))})", f"(k={list(range(91))})"]
)
RULES = st.builds(lambda name, options: name + options, NAMES, OPTIONS)
CHAINS = st.lists(RULES, min_size=1, max_size=2).map(" | ".join)
SHARES = st.one_of(
    st.floats(0, 1), st.sampled_from([0.0001, 0.0004, 0.3, 0.3004, 1 / 3, 0.33333, 0.99999, 1.0, 1e-9, 5e-324])
)
FORMS: dict[str, Any] = {"plain": str, "LaTeX": tex_text, "Markdown": md_text}


def assert_apart(labels: list[str]) -> None:
    """Also as LaTeX, as Markdown, and cut to any width that has room for them all."""
    assert len({look(label) for label in labels}) == len(labels)
    for form, written in FORMS.items():
        assert len({written(label) for label in labels}) == len(labels), form
    for width in (8, 17, 40):
        short = fitted(labels, width)
        assert max(map(len, short.values())) <= width
        assert len({look(short[label]) for label in labels}) == len(labels)


@settings(max_examples=60, deadline=None)
@given(st.sets(CHAINS, min_size=2, max_size=8))
def test_rules(rules: set[str]) -> None:
    with telling_apart({"aggregator": rules}):
        assert_apart([aggregator_label(rule) for rule in rules])


@settings(max_examples=60, deadline=None)
@given(
    st.sets(
        CHAINS | st.builds("targeted(source={}, target={})".format, st.integers(0, 3), st.integers(0, 9)), max_size=8
    )
)
def test_attacks(attacks: set[str]) -> None:
    with telling_apart({"attack": {*attacks, "none"}}):
        assert_apart([attack_label(attack, ["same", "same", "x" * 30, "x" * 31]) for attack in {*attacks, "none"}])


@settings(max_examples=100, deadline=None)
@given(st.sets(SHARES, min_size=1, max_size=8), st.sampled_from(["flip_rate", "malicious_fraction"]))
def test_shares(shares: set[float], field: str) -> None:
    with telling_apart({field: shares}):
        assert len({value_label(field, share) for share in shares}) == len(shares)
        assert all((value_label(field, s) == "0 %") == (s == 0) for s in shares)


@settings(max_examples=60, deadline=None)
@given(st.sets(st.floats(1e-12, 1e12), min_size=2, max_size=8))
def test_numbers(rates: set[float]) -> None:
    with telling_apart({"learning_rate": rates}):
        assert len({value_label("learning_rate", rate) for rate in rates}) == len(rates)


@settings(max_examples=60, deadline=None)
@given(st.sets(st.text(max_size=12), min_size=1, max_size=8))
def test_any_text_at_any_width(texts: set[str]) -> None:
    told = distinct(texts, lambda t: t.strip(), escaped)
    assert len({look(text) for text in told.values()}) == len(texts)
    for width in (4, 6, 30):
        short = fitted(told.values(), width)
        assert len({look(text) for text in short.values()}) == len(texts)


@pytest.mark.parametrize(
    ("field", "values", "labels"),
    [
        ("aggregator", ["a/r.py:m"], ["r.py:m"]),
        ("aggregator", ["a/r.py:m", "b/r.py:m", "b/s.py:m"], ["a/r.py:m", "b/r.py:m", "s.py:m"]),
        ("aggregator", ["x/a/r.py:m(k=1)", "y/a/r.py:m(k=2)"], ["x/a/r.py:m(k=1)", "y/a/r.py:m(k=2)"]),
        ("flip_rate", [0.3, 0.0001], ["30 %", "0.01 %"]),
        ("flip_rate", [0.0001, 0.0004], ["0.01 %", "0.04 %"]),
        ("flip_rate", [0.3, 0.3004], ["30 %", "30.04 %"]),
        ("malicious_fraction", [1 / 3, 0.2], ["33.3 %", "20 %"]),
        ("learning_rate", [0.1, 0.01], ["0.1", "0.01"]),
        ("learning_rate", [0.1, 0.1000000001], ["0.1", "0.1000000001"]),
        ("dataset", ["mnist(path='/x/a', train=5)"], ["mnist(train=5)"]),
        ("dataset", ["mnist(path='/x/a')", "mnist(path='/y/a')"], ["mnist(path='x/a')", "mnist(path='y/a')"]),
        ("dataset", ["mnist", "mnist(path='/y/a')"], ["mnist", "mnist(path='a')"]),
        ("model", ["a/net.py:Net", "b/net.py:Net"], ["a/net.py:Net", "b/net.py:Net"]),
    ],
)
def test_the_shortest_that_tell_apart(field: str, values: list[Any], labels: list[str]) -> None:
    with telling_apart({field: values}):
        assert [value_label(field, value) for value in values] == labels


def test_one_file_name_in_two_fields_is_told_apart() -> None:
    with telling_apart({"aggregator": ["a/mine.py:f"], "attack": ["b/mine.py:f"]}):
        assert (aggregator_label("a/mine.py:f"), attack_label("b/mine.py:f")) == ("a/mine.py:f", "b/mine.py:f")
    assert aggregator_label("a/mine.py:f") == "mine.py:f"


def test_labels_of_a_grid_stand_for_references_and_values() -> None:
    own = [("", "r/mine.py:f", "Ours"), ("", "krum(multi=3)", "Multi-Krum"), ("attack", "mirrored", "Flip")]
    own += [("malicious_fraction", 0.2, "a fifth"), ("dataset", "digits", "Digits")]
    rules = ["r/mine.py:f", "nnm | r/mine.py:f(k=2)", "krum", "krum(multi=3)"]
    with telling_apart({"aggregator": rules, "attack": ["mirrored"], "dataset": ["digits"]}, own):
        assert [aggregator_label(r) for r in rules] == ["Ours", "nnm | Ours(k=2)", "krum", "Multi-Krum"]
        assert attack_label("mirrored") == "Flip"
        assert (value_label("malicious_fraction", 0.2), dataset_label("digits")) == ("a fifth", "Digits")
        assert dataset_text("digits") == "digits"  # files of numbers keep the grid's names


def test_classes_of_one_name_have_their_numbers() -> None:
    assert class_names(("a", "b", "a")) == ("0 a", "b", "2 a")
    long = class_names(("x" * 30 + "1", "x" * 30 + "2"))
    assert len(set(long)) == 2
    assert max(map(len, long)) <= 24


def test_small_facts() -> None:
    assert [percent(v) for v in (0.3, 1 / 3, 1.0, 0.0, 0.0004, 0.99999)] == ["30", "33.3", "100", "0", "0.04", "99.999"]
    assert placeless("nnm | /x/r.py:m(k=1)", "aggregator") == "nnm | r.py:m(k=1)"
    assert placeless("mnist(path='/x', train=5)", "dataset") == "mnist(train=5)"
    assert field_label("declared_byzantine") == "declared f"


@pytest.mark.parametrize("room", [1, 3, 12, 40])
def test_texts_that_look_alike_are_told_apart_in_any_room(room: int) -> None:
    """The characters that are the classes of a text: a space, quotation marks and hyphens of several kinds."""
    texts = [" ", "  ", "\n", '"', "''", "'", "`", "a", "\u0430", "", "-", "\u2014", "\u2212", "long" * 10]
    short = fitted(texts, room)
    assert len({look(text) for text in short.values()}) == len(texts)
