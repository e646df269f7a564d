"""Files of any name can be named in text, YAML and overrides; a reference's one spelling is read as it was meant."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from flipbench.errors import UserError
from flipbench.grid import reader
from flipbench.report.html import rerun_command
from flipbench.spec.reference import Reference, canonical, parse, parse_chain

FOLDERS = [
    "my (old) rules",
    "o'brien",
    "it's (a) [b] {c}",
    'say "hi"',
    "a, b",
    "x | y",
    "p#q # r",
    "k=v; $HOME `x` & y!",
    "C:",
    "a.py:b",
    "über/größe λ",
    ") odd (",
    "back\\slash",
    "<tag>",
]
RULE = "def mine(updates, cohort, /, *, k: int = 1, path: str = ''):\n    return updates.mean(-2)\n"

_PART = st.text(st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\x00"), min_size=1, max_size=12)
_NAMES = st.one_of(st.sampled_from(FOLDERS), _PART).map(lambda folder: f"{folder}/rule.py:mine")
_OPTIONS = st.dictionaries(st.sampled_from(["k", "path"]), st.one_of(st.integers(), _PART), max_size=2)


@given(st.lists(st.builds(Reference, _NAMES, _OPTIONS), min_size=1, max_size=3))
def test_a_reference_is_read_from_its_spelling(parts: list[Reference]) -> None:
    text = " | ".join(map(str, parts))
    assert parse_chain(text) == tuple(parts)
    assert canonical(text) == text


@pytest.mark.parametrize(
    "text",
    ["rule.py:f", "a b/rule.py:f(k=1)", "o'brien/rule.py:f", "a, [b] {c}/rule.py:f", "pkg.mod:f", "é.py:f"],
)
def test_names_that_need_no_quotes_have_none(text: str) -> None:
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    ("text", "name", "options"),
    [
        ("my (old)/rule.py:f", "my (old)/rule.py:f", {}),
        ("my (old)/rule.py:f(k=2)", "my (old)/rule.py:f", {"k": 2}),
        ('"x | y/rule.py:f"(k=2)', "x | y/rule.py:f", {"k": 2}),
        ("C:\\rules\\rule.py:f", "C:\\rules\\rule.py:f", {}),
        ("C:/my (old)/rule.py:f", "C:/my (old)/rule.py:f", {}),
        ("trimmed_mean(path='a (1).py:f')", "trimmed_mean", {"path": "a (1).py:f"}),
    ],
)
def test_what_can_be_read_in_one_way_needs_no_quotes(text: str, name: str, options: dict[str, object]) -> None:
    assert parse(text) == Reference(name, options)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_file_in_any_folder_is_named_in_a_grid_an_override_and_the_command_of_the_page(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "rule.py").write_text(RULE)
    name = str(Reference(f"{folder}/rule.py:mine", {"k": 2}))
    base = {"dataset": "digits", "clients": 3, "rounds": 1}
    (cell,) = reader.read_text(yaml.safe_dump({"base": {**base, "aggregator": name}}), "x", "x.yaml").cells
    as_mapping = {"name": str(Reference(f"{folder}/rule.py:mine")), "k": 2}
    (same,) = reader.read_text(yaml.safe_dump({"base": {**base, "aggregator": as_mapping}}), "x", "x.yaml").cells
    absolute = str(Reference(f"{tmp_path}/{folder}/rule.py:mine", {"k": 2}))
    (third,) = reader.read_text(yaml.safe_dump({"base": {**base, "aggregator": absolute}}), "x", "x.yaml").cells
    assert cell == same == third
    assert parse(cell.aggregator) == Reference(f"{folder}/rule.py:mine", {"k": 2})
    option, override = shlex.split(rerun_command.setting("aggregator", cell.aggregator))
    assert option == "--set"
    (again,) = reader.read_text(yaml.safe_dump({"base": base}), "x", "x.yaml", [override]).cells
    assert again == cell


@pytest.mark.parametrize("folder", FOLDERS)
def test_data_in_any_folder_are_named(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.py").write_text(
        "import numpy as np, torch, pathlib\nfrom flipbench.data.dataset import Dataset\n"
        "def small(*, path: str):\n    assert pathlib.Path(path).is_dir(), path\n    raise ValueError('reached')\n"
    )
    (tmp_path / folder).mkdir(parents=True)
    text = str(Reference("data.py:small", {"path": folder}))
    grid = yaml.safe_dump({"base": {"dataset": text, "clients": 3}})
    (cell,) = reader.read_text(grid, "x", "x.yaml").cells
    override = shlex.split(rerun_command.setting("dataset", cell.dataset))[1]
    by_option = f"dataset.path={rerun_command._yaml(folder)}"
    start = yaml.safe_dump({"base": {"dataset": "data.py:small(path=x)", "clients": 3}})
    for given_override in (override, by_option):
        (again,) = reader.read_text(start, "x", "x.yaml", [given_override]).cells
        assert again.dataset == cell.dataset
        assert parse(again.dataset).options == {"path": folder}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("'my rule.py:f", "opens a quote: close it behind the name"),
        ("'krum x'", "between quotes is not a name"),
        ("x: y/rule.txt", "is not a name"),
    ],
)
def test_what_is_no_name_is_said(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        parse(text)


def test_options_within_the_name_of_a_mapping_count_and_are_given_once() -> None:
    grid = "base: {dataset: digits, clients: 9, aggregator: {name: 'krum(power=2)', %s: 2}}"
    with pytest.raises(UserError, match="gives power twice"):
        reader.read_text(grid % "power", "x", "x.yaml")
