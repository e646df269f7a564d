"""The YAML reader: YAML 1.2 scalars, positions, and bounds on what a file may cost."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flipbench.grid.yaml_tree import MAX_BYTES, YamlError, compose, decode, plain


def read(text):
    node, problems = compose(text)
    assert problems == ()
    return plain(node)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        ("-.5", -0.5),
        ("1.", 1.0),
        (".inf", float("inf")),
        ("no", "no"),
        ("yes", "yes"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("12:30", "12:30"),
        ("2026-11-25", "2026-11-25"),
        ("'1'", "1"),
        ('"no"', "no"),
        ("~", None),
        ("null", None),
        ("0", 0),
        ("-7", -7),
        ("+7", 7),
        ("1.2.3", "1.2.3"),
        ("<<", "<<"),
        ("=", "="),
    ],
)
def test_scalars_follow_yaml_1_2(text, value):
    got = read(f"a: {text}")["a"]
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize("text", ["010", "-08", "0x1F", "0o17", "1_000"])
def test_numbers_that_readers_disagree_about_are_refused(text):
    _, (problem,) = compose(f"a: 1\nb: {text}")
    assert (problem.line, problem.column) == (2, 4)
    assert text in problem.text


@given(st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans()))
def test_a_number_is_read_as_written(value):
    text = repr(value).lower()
    got = read(f"a: {text}")["a"]
    assert got == value
    assert isinstance(got, bool) == isinstance(value, bool)


def test_a_key_given_twice_is_refused_with_both_positions_and_the_first_counts():
    node, (problem,) = compose("a: 1\nb:\n  c: 2\n  d: 3\n  c: 4\n")
    assert (problem.line, problem.column) == (5, 3)
    assert "'c' is given twice; the first is at 3:3" in problem.text
    assert plain(node) == {"a": 1, "b": {"c": 2, "d": 3}}


def test_aliases_are_what_they_stand_for():
    assert read("a: &x [1, {b: 2}]\nc: *x\nd: [*x, *x]") == {
        "a": [1, {"b": 2}],
        "c": [1, {"b": 2}],
        "d": [[1, {"b": 2}]] * 2,
    }


BAD = [
    ("a: !!python/object/apply:os.system ['true']", 1, 4, "tag"),
    ("a: !thing 3", 1, 4, "tag"),
    ("a:\n\tb: 1", 2, 1, "spaces, not tabs"),
    ("a: b: c", 1, 5, "quotes"),
    ("", 1, 1, "empty"),
    ("a: 1\n---\nb: 2", 2, 1, "second document"),
    ('a: "\\UFFFFFFFF"', 1, None, "escape"),
    ("a: 1\nb: \x01", 2, 4, "U+0001"),
    ("&a [*a]", 1, 5, "*a has no finished anchor"),
    ("b: *nowhere", 1, 4, "*nowhere"),
    ("a: [1, 2", 1, None, ""),
    ("[" * 5000, 1, 21, "nested deeper"),
    ("a: " + "{b: " * 5000, 1, None, "nested deeper"),
]


@pytest.mark.parametrize(("text", "line", "column", "said"), BAD, ids=[b[0][:20] for b in BAD])
def test_what_is_no_yaml_is_refused_at_its_place(text, line, column, said):
    with pytest.raises(YamlError) as caught:
        compose(text)
    problem = caught.value.problem
    assert problem.line == line
    assert column is None or problem.column == column
    assert said in problem.text


def test_a_billion_laughs_cost_nothing():
    text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    text += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12))
    began = time.process_time()
    with pytest.raises(YamlError, match="aliases written out"):
        compose(text)
    assert time.process_time() - began < 1


def test_deep_aliases_count_as_deep():
    text = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 30))
    with pytest.raises(YamlError, match="nested deeper"):
        compose(text)


def test_size_and_encoding_are_checked():
    with pytest.raises(YamlError, match="at most"):
        decode(b"#" * (MAX_BYTES + 1))
    with pytest.raises(YamlError) as caught:
        decode("a: 1\nb: é".encode("latin-1"))
    assert (caught.value.problem.line, caught.value.problem.column) == (2, 4)
    assert decode(b"\xef\xbb\xbfa: 1") == "a: 1"


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_with_a_place(text):
    try:
        node, problems = compose(text)
    except YamlError as error:
        places = [error.problem]
    else:
        plain(node)
        places = list(problems)
    assert all(p.line >= 1 and p.column >= 1 and p.text for p in places)
