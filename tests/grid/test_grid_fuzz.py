"""Mutations of a valid grid: accepted, or every mistake with file:line:column; never another exception."""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from flipbench.grid import reader
from tests.helpers.yaml_mutations import GRID, mutated, survives, with_a_word_changed


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "fuzzed.yaml"


def test_the_grid_is_valid_to_begin_with(path):
    path.write_text(GRID)
    assert len(reader.read(path).cells) == 2 * (3 * 2 * 2 * 3) + 2 * (3 * 2 * 2)


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutated())
@example("")
@example(GRID.replace("0.1]", "0.1, 0.1]"))
@example(GRID.replace("[0, 1]", "[" + "0, " * 3000 + "x]"))
def test_mutations(path, text):
    survives(path, text.encode("utf-8", "surrogatepass"))


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(with_a_word_changed())
def test_changed_words(path, text):
    survives(path, text.encode("utf-8", "surrogatepass"))


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=60), st.integers(0, len(GRID)))
def test_bytes(path, scrap, at):
    survives(path, GRID.encode()[:at] + scrap + GRID.encode()[at:])
