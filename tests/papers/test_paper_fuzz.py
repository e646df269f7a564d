"""Mutations of a valid paper file: accepted, or every mistake with file:line:column; never another exception."""

import re

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flipbench.grid.reader import GridError
from flipbench.papers import reader
from tests.helpers.yaml_mutations import PAPER, SCRAPS

SPOTS = [m.span() for m in re.finditer(r"[\w.]+|[][{},:@>]", PAPER)]
WORDS = [PAPER[a:b] for a, b in SPOTS] + ["ours", "none", "recall(of=3)", "mean(rounds=2)", "{}", " - "]
PLACE = re.compile(r"my_paper\.yaml:\d+:\d+: ")


@st.composite
def mutated(draw):
    """A word or two replaced, or a whole line doubled or lost: most stay YAML, so that the readers are reached."""
    text = PAPER
    for _ in range(draw(st.integers(1, 2))):
        if draw(st.booleans()):
            start, end = draw(st.sampled_from(SPOTS))
            text = text[:start] + draw(st.sampled_from(SCRAPS + WORDS)) + text[end:]
        else:
            lines = text.split("\n")
            place = draw(st.integers(0, len(lines) - 1))
            lines[place : place + 1] = draw(st.sampled_from([[], [lines[place]] * 2]))
            text = "\n".join(lines)
    return text


def mistakes(path, quick):
    """What reading the file complains of; a paper without complaint has cells."""
    try:
        assert reader.read(path, quick=quick).cells
    except GridError as error:
        return error.errors or ("an error that says nothing",)
    return ()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(text=mutated(), quick=st.booleans())
def test_any_mutation_is_read_or_refused_with_places(tmp_path, text, quick):
    path = tmp_path / "my_paper.yaml"
    path.write_bytes(text.encode("utf-8", "replace"))
    assert [one for one in mistakes(path, quick) if not PLACE.search(one)] == []
