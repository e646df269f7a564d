"""Names become callables: shipped, installed, from modules and from loose files; mistakes are one clear message."""

import hashlib
import pickle
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flipbench.aggregators.contract import Cohort
from flipbench.errors import UserError
from flipbench.plugins import kinds, registry, source_hashes
from flipbench.spec.reference import parse
from flipbench.spec.suggestions import OTHER_NAMES

RULE = '''\
"""A rule of one's own."""
import torch
from dataclasses import dataclass

def first(updates, cohort, /, *, index: int = 0, scale: float = 1.0):
    """The update of one client."""
    return updates[..., index, :] * scale

@dataclass(frozen=True)
class Remembering:
    """A rule with memory."""
    decay: float
    def __post_init__(self):
        if not 0 <= self.decay < 1:
            raise ValueError(f"needs 0 <= decay < 1, got {self.decay}")
    def init(self, updates, cohort):
        return torch.zeros(updates.shape[-1])
    def __call__(self, updates, cohort, state):
        return updates.mean(-2), state

def positional(updates, cohort, k=3): return updates.mean(-2)
def loose(updates, cohort, /, **options): return updates.mean(-2)
def narrow(updates): return updates.mean(-2)
constant = 3
'''


@pytest.fixture
def rules(tmp_path):
    path = tmp_path / "my rules.py"
    path.write_text(RULE)
    return path


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put packages with entry points on the path."""

    def one(
        package, group, points, source="def rule(updates, cohort, /, *, k: int = 1):\n    return updates.mean(-2)\n"
    ):
        site = tmp_path / f"site_{package}"
        info = site / f"{package}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = "".join(f"{n} = {v}\n" for n, v in points.items())
        (info / "entry_points.txt").write_text(f"[{group}]\n{lines}")
        (site / f"{package}_code.py").write_text(source)
        monkeypatch.syspath_prepend(site)
        registry.clear()
        return site

    yield one
    registry.clear()
    for name in [m for m in sys.modules if m.endswith("_code")]:
        del sys.modules[name]


def says(text, kind="aggregator"):
    with pytest.raises(UserError) as caught:
        registry.resolve(kind, text)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["aggregator", "attack", "dataset", "features", "partition", "model", "schedule"])
def test_every_shipped_name_is_found_and_listed(kind):
    entries = registry.catalogue(kind)
    assert entries
    assert [e.name for e in entries if e.origin == "flipbench"] == list(registry.shipped(kind))
    for entry in entries:
        assert entry.doc, f"{entry.name} has no docstring"
        if all("=" in option for option in entry.options):
            found = registry.resolve(kind, entry.name)
            assert callable(found) or callable(found.search)
        assert (source_hashes.source_hash(kind, entry.name) or "version").startswith("version")  # not edited


def test_options_are_bound():
    bound = registry.resolve("attack", "targeted(source=[1, 2], target=[3, 4])")
    assert bound.keywords == {"source": [1, 2], "target": [3, 4]}
    assert registry.resolve("attack", parse("mirrored")) is registry.shipped("attack")["mirrored"]
    assert registry.resolve("schedule", "step(every=2, factor=1)").keywords["factor"] == 1.0
    assert isinstance(registry.resolve("schedule", "step(every=2, factor=1)").keywords["factor"], float)


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("aggregator", "krumm", "unknown aggregator 'krumm' - did you mean 'krum'?; there are fedavg"),
        ("attack", "mirrord", "did you mean 'mirrored'?"),
        ("aggregator", "rfa", "unknown aggregator 'rfa' - did you mean 'geometric_median'?"),
        ("attack", "label_flip", "did you mean 'mirrored'?"),
        ("attack", "targeted", "targeted: needs the options source and target; write targeted(source=..., target=...)"),
        ("attack", "targeted(source=1)", "needs the option target"),
        ("attack", "targeted(source=1, target=2, rate=1)", "unknown option 'rate'"),
        ("attack", "targeted(sorce=1, target=2)", "did you mean 'source'?; its options are source, target"),
        ("attack", "mirrored(x=1)", "unknown option 'x'; it has no options"),
        ("attack", "all_to_one(target='a')", "option target: needs a class number"),
        ("attack", "all_to_one(target=true)", "got True"),
        ("attack", "all_to_one(target=1.5)", "got 1.5"),
        ("attack", "permuted(mapping=[1])", "option mapping"),
        ("model", "cnn(norm=layer)", "option norm: needs 'none' or 'batch'"),
        ("model", "mlp(widths=100)", "option widths: needs a list of whole numbers"),
        ("schedule", "../x", "is not a name"),
        ("aggregator", "os:getcwd", "is called with 2 arguments by position"),
        ("aggregator", "no_such.module:x", "there is no module 'no_such'"),
        ("aggregator", "os.path:nothing", "os.path has no 'nothing'"),
        ("aggregator", "math:pi", "is a float, not a function or a class: name an aggregator"),
        ("aggregator", "nowhere/x.py:rule", "cannot be read (No such file or directory); looked at /"),
    ],
)
def test_mistakes_say_what_was_needed(kind, text, said):
    assert said in says(text, kind)


def test_names_from_elsewhere_lead_to_shipped_ones():
    shipped = {*registry.shipped("aggregator"), *registry.shipped("attack")}
    assert set(OTHER_NAMES.values()) <= shipped
    assert not set(OTHER_NAMES) & shipped


def test_an_unknown_kind_is_told():
    with pytest.raises(UserError, match="did you mean 'attack'"):
        registry.resolve("atack", "mirrored")


def test_a_loose_file_is_a_rule(rules):
    rule = registry.resolve("aggregator", f"{rules}:first(index=1, scale=2)")
    updates = torch.arange(6.0).reshape(3, 2)
    assert rule(updates, Cohort.of(updates)).tolist() == [4.0, 6.0]
    memory = registry.resolve("aggregator", f"{rules}:Remembering(decay=0)")
    assert memory.decay == 0.0
    assert memory.init(updates, Cohort.of(updates)).shape == (2,)
    assert pickle.loads(pickle.dumps(memory)) == memory


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("frist", "has no 'frist' - did you mean 'first'?"),
        ("first(idx=1)", "unknown option 'idx' - did you mean 'index'?"),
        ("Remembering", "needs the option decay"),
        ("Remembering(decay=1)", "needs 0 <= decay < 1, got 1.0"),
        ("positional(k=1)", "'k' is not keyword-only; write def positional(..., *, k=...)"),
        ("loose(k=1)", "unknown option 'k'; it has no options"),
        ("narrow", "is called with 2 arguments by position and takes 1"),
        ("constant", "is an int, not a function or a class"),
    ],
)
def test_mistakes_in_a_loose_file(rules, name, said):
    assert said in says(f"{rules}:{name}")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = 1\ndef broken(:\n", "plugin.py:2: invalid syntax"),
        ("x = 1\n\nimport nothing_like_it\n", "plugin.py:3: ModuleNotFoundError: No module named 'nothing_like_it'"),
        ("def f():\n    return 1 / 0\nf()\n", "plugin.py:2: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(7)\n", "plugin.py:2: SystemExit: 7"),
        ("x = '\\ud800'.encode()\n", "plugin.py:1: UnicodeEncodeError"),
        ("x = 1\x00", "plugin.py:1: "),
    ],
)
def test_a_file_that_does_not_load_is_one_message_with_its_line(tmp_path, source, said):
    path = tmp_path / "plugin.py"
    path.write_text(source)
    before = set(sys.modules)
    assert said in says(f"{path}:rule")
    assert not [m for m in set(sys.modules) - before if m.startswith("flipbench_plugin")]


def test_an_edited_file_is_loaded_anew_and_files_of_one_name_stay_apart(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for place, value in (("a", 1), ("b", 2)):
        (tmp_path / place / "torch.py").write_text(f"def rule(updates, cohort, /):\n    return {value}\n")
    found = [registry.resolve("aggregator", f"{tmp_path}/{p}/torch.py:rule") for p in "ab"]
    assert [f(None, None) for f in found] == [1, 2]
    assert sys.modules["torch"] is torch
    (tmp_path / "a" / "torch.py").write_text("def rule(updates, cohort, /):\n    return 3\n")
    assert registry.resolve("aggregator", f"{tmp_path}/a/torch.py:rule")(None, None) == 3
    assert found[0](None, None) == 1


def test_the_hash_of_a_file_is_that_of_its_bytes(rules):
    expected = hashlib.sha256(rules.read_bytes()).hexdigest()
    assert source_hashes.source_hash("aggregator", f"{rules}:first") == expected
    assert source_hashes.source_hash("aggregator", f"{rules}:first(index=2)") == expected
    rules.write_text(RULE + "# edited\n")
    assert source_hashes.source_hash("aggregator", f"{rules}:first") != expected


def test_an_installed_rule_is_found_by_name(install):
    site = install("acme", "flipbench.aggregators", {"acme_rule": "acme_code:rule"})
    assert registry.resolve("aggregator", "acme_rule(k=2)").keywords == {"k": 2}
    assert ("acme_rule", "acme 1.0") in [(e.name, e.origin) for e in registry.catalogue("aggregator")]
    assert "acme_rule" in says("acme_rul")
    one = source_hashes.source_hash("aggregator", "acme_rule")
    assert one != source_hashes.source_hash("aggregator", "acme_code:rule")  # here the version counts too
    (site / "acme-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.1\n")
    registry.clear()
    assert source_hashes.source_hash("aggregator", "acme_rule") != one


def test_installed_packages_are_not_loaded_before_they_are_named(install):
    install("lazy", "flipbench.attacks", {"lazy_attack": "lazy_code:attack"}, "raise RuntimeError('loaded')\n")
    assert registry.resolve("attack", "mirrored")
    assert "lazy_attack" in [e.name for e in registry.catalogue("attack")]
    assert "lazy_code" not in sys.modules
    assert "lazy_code.py:1: RuntimeError: loaded" in says("lazy_attack", "attack")


def test_a_clash_of_names_is_an_error(install):
    install("first", "flipbench.aggregators", {"krum": "first_code:rule", "twice": "first_code:rule"})
    assert "aggregator 'krum' is offered by flipbench and first 1.0" in says("krum")
    assert callable(registry.resolve("aggregator", "median"))
    install("second", "flipbench.aggregators", {"twice": "second_code:rule"})
    assert "is offered by second 1.0 and first 1.0" in says("twice")
    assert callable(registry.resolve("aggregator", "second_code:rule"))


def test_the_groups_are_those_of_the_documentation():
    groups = {k.group for k in kinds.KINDS.values() if k.group}
    assert groups >= {"flipbench.aggregators", "flipbench.attacks", "flipbench.datasets"}
    assert all(not entry_points(group=g).names & set(registry.shipped("aggregator")) for g in groups)


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_callable_or_one_message(text):
    if text.strip() in registry.shipped("attack"):
        return
    with pytest.raises(UserError, match=r"\S"):
        registry.resolve("attack", text)


LABELS = "def mine(labels, context, /):\n    return None\n\n\n"
UPDATES_ = "def mine(updates, context, /):\n    return updates\n\n\n"
EXAMPLES = "def mine(examples, labels, context, /):\n    return None\n\n\n"
CLASS = """import dataclasses
from typing import ClassVar


@dataclasses.dataclass(frozen=True)
class mine:
    place: ClassVar[str] = "PLACE"
    MORE

    def __call__(self, first, context, /):
        return first
"""


def a_class(place: str, more: str) -> str:
    return CLASS.replace("PLACE", place).replace("MORE", more)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            UPDATES_ + "mine.dynamic = True",
            "dynamic = True would be ignored, for an attack on updates can declare adaptive",
        ),
        (UPDATES_ + "mine.confusion = True", "confusion = True would be ignored"),
        (EXAMPLES + "mine.adaptive = True", "an attack on examples can declare nothing"),
        (LABELS + "mine.adaptive = True", r"adaptive = True and search\(trials\), and one of the two is missing"),
        (LABELS + "mine.dynamc = True", "dynamc = True would be ignored - did you mean 'dynamic'"),
        (UPDATES_ + "mine.adaptiv = False", "did you mean 'adaptive'"),
        (LABELS + "mine.dynamic = 'no'", "dynamic is True or False, got 'no'"),
        (a_class("labels", "def init(self, labels, context): ..."), "its init would be ignored"),
        (a_class("updates", "def search(self, trials): ..."), "its search would be ignored"),
        (a_class("labels", "def search(self, trials): ..."), "one of the two is missing"),
        (a_class("updates", "").replace("frozen=True", ""), "a dataclass that is not frozen"),
    ],
)
def test_what_would_be_ignored_in_an_attack_is_refused(tmp_path: Path, source: str, message: str) -> None:
    (tmp_path / "attack.py").write_text(source)
    with pytest.raises(UserError, match=message):
        registry.resolve("attack", f"{tmp_path}/attack.py:mine")


@pytest.mark.parametrize(
    "source",
    [
        UPDATES_ + "mine.adaptive = True",
        LABELS + "mine.dynamic = True\nmine.confusion = False\nmine.notes = 'of last week'\nmine.tested = True",
        a_class("updates", ""),
    ],
)
def test_what_is_read_of_an_attack_is_not_refused(tmp_path: Path, source: str) -> None:
    (tmp_path / "attack.py").write_text(source)
    registry.resolve("attack", f"{tmp_path}/attack.py:mine")
