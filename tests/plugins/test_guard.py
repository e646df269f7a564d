"""The guard around calls of plug-ins: copies, settings of the process, and what is said of whoever changes them."""

from __future__ import annotations

import gc
import os
import random
import signal
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from flipbench.aggregators import RULES, Cohort, compose, krum, nnm
from flipbench.attacks import ATTACKS, Chain
from flipbench.plugins import guard, kinds, loading, registry
from flipbench.plugins.guard import SideEffectError
from flipbench.plugins.other_suites import ForeignRule
from flipbench.system import process_settings
from flipbench.system.process_settings import SETTINGS, Snapshot

ENTERED: list[Any] = []


def stay_in(mode: Any) -> None:
    mode.__enter__()
    ENTERED.append(mode)  # else it ends with the object


REF = "rules/mine.py:my_rule"
CHANGES: dict[str, Callable[[], Any]] = {
    "default dtype": lambda: torch.set_default_dtype(torch.float64),
    "default device": lambda: torch.set_default_device("meta"),
    "float32 products": lambda: torch.set_float32_matmul_precision("medium"),
    "deterministic algorithms": lambda: torch.set_deterministic_debug_mode(2),
    "switches of torch.backends": lambda: setattr(torch.backends.mkldnn, "enabled", False),
    "inference mode": lambda: stay_in(torch.inference_mode()),
    "grad mode": lambda: torch.set_grad_enabled(False),
    "autocast": lambda: torch.set_autocast_enabled("cpu", True),
    "anomaly detection": lambda: torch.autograd.set_detect_anomaly(True),
    "denormal numbers": lambda: torch.set_flush_denormal(True),
    "error state": lambda: np.seterr(all="raise"),
    "working folder": lambda: os.chdir("/"),
    "number of threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "torch's global generator": lambda: torch.rand(1),
    "NumPy's global generator": lambda: np.random.randn(),
    "Python's global generator": random.random,
    "environment variables": lambda: os.environ.update(FLIPBENCH_TEST="1"),
    "warning filters": lambda: warnings.simplefilter("ignore"),
    "limit of recursion": lambda: sys.setrecursionlimit(200),
    "umask": lambda: os.umask(0o777),
    "garbage collector": gc.disable,
    "signal handlers": lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
}


def state() -> list[Any]:
    return [setting.read() for setting in SETTINGS]


@pytest.mark.parametrize("what", CHANGES)
def test_a_setting_that_a_plugin_changes_is_set_back_and_named(what: str) -> None:
    def my_rule() -> None:
        CHANGES[what]()

    before = state()
    with pytest.raises(SideEffectError, match=rf"^{REF} changed .*{what}"), guard.foreign(my_rule, REF):
        my_rule()
    assert state() == before


@pytest.mark.parametrize("what", CHANGES)
def test_it_is_set_back_when_the_plugin_fails_and_its_own_error_is_kept(what: str) -> None:
    def my_rule() -> None:
        CHANGES[what]()
        raise ZeroDivisionError

    before = state()
    with pytest.raises(ZeroDivisionError), guard.foreign(my_rule, REF):
        my_rule()
    assert state() == before


@pytest.mark.parametrize("change", [*CHANGES.values(), lambda: setattr(torch.backends, "fp32_precision", "tf32")])
def test_cells_run_under_the_same_settings_whatever_the_caller_has_set(change: Callable[[], Any]) -> None:
    with process_settings.kept():
        with process_settings.standard():
            wanted = [setting.read() for setting in SETTINGS if setting.standard is not None]
        assert wanted == [setting.standard for setting in SETTINGS if setting.standard is not None]
        change()
        changed = state()
        with process_settings.standard():
            assert [setting.read() for setting in SETTINGS if setting.standard is not None] == wanted
        assert state() == changed


def test_the_global_generators_go_on_as_if_the_plugin_had_not_been_called() -> None:
    def draws() -> list[float]:
        return [float(torch.rand(1)), np.random.randn(), np.random.rand(), random.gauss(0, 1)]

    with process_settings.kept():
        np.random.seed(0)
        np.random.randn()  # the second of the pair is waiting
        kept = torch.get_rng_state(), np.random.get_state(), random.getstate()
        wanted = draws()
        torch.set_rng_state(kept[0])
        np.random.set_state(kept[1])
        random.setstate(kept[2])
        with pytest.raises(SideEffectError, match="from the generator in the context"), guard.foreign(draws, REF):
            draws()
        assert draws() == wanted


def test_what_an_import_within_a_call_changes_is_set_back_without_blame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "flipbench_test_seeds.py").write_text(
        "import os, random\nrandom.seed(0)\nos.environ['FLIPBENCH_T'] = '1'"
    )

    monkeypatch.syspath_prepend(tmp_path)

    def my_rule() -> None:
        import flipbench_test_seeds  # noqa: F401

    before = state()
    with guard.foreign(my_rule, REF):
        my_rule()
    assert state() == before


TENSOR = torch.tensor([[1.0, float("nan"), 3.0], [4.0, 5.0, 6.0]])
WRITES: dict[str, Callable[[Tensor], Any]] = {
    "in place": lambda t: t.mul_(2),
    "through a view": lambda t: t[..., :1].zero_(),
    "through NumPy": lambda t: t.numpy().__imul__(2),
    "through .data": lambda t: t.data.add_(1),
    "one bit": lambda t: t.view(torch.int32)[1, 2].add_(1),
    "another NaN": lambda t: t.view(torch.int32)[0, 1].add_(1),
    "another shape": lambda t: t.t_(),
}


@pytest.mark.parametrize("how", WRITES)
def test_a_write_never_reaches_the_original_and_is_seen_however_it_is_done(how: str) -> None:
    original = TENSOR.clone()
    with (
        pytest.raises(SideEffectError, match="changed the updates that it was given"),
        guard.foreign(print, REF) as call,
    ):
        WRITES[how](call.lend("the updates", original))
    assert original.view(torch.int32).equal(TENSOR.view(torch.int32))


def spoil(value: Any) -> None:
    value.add_(1) if isinstance(value, Tensor) else value.clear()


@pytest.mark.parametrize("name", ["weights", "clients", "previous", "seeds", "layout"])
def test_what_a_record_holds_is_copied_and_named(name: str) -> None:
    cohort = Cohort.of(torch.ones(3, 4), seeds=torch.tensor(7))
    before = {n: v.clone() if isinstance(v, Tensor) else dict(v) for n in (name,) for v in [getattr(cohort, n)]}
    with pytest.raises(SideEffectError, match=rf"changed cohort\.{name} that"), guard.foreign(print, REF) as call:
        spoil(getattr(call.lend("cohort", cohort), name))
    now = getattr(cohort, name)
    assert torch.equal(now, before[name]) if isinstance(now, Tensor) else now == before[name]


def test_code_of_our_own_is_not_slowed_down_by_copies() -> None:
    with guard.foreign(krum, "krum") as call:
        assert call.lend("the updates", TENSOR) is TENSOR


@dataclass(frozen=True)
class Mine:
    def rule(self, updates: Tensor, cohort: Cohort) -> Tensor:
        return updates.mean(-2)


def mine(updates: Tensor, cohort: Cohort) -> Tensor:
    return updates.mean(-2)


@pytest.mark.parametrize(
    "code",
    [
        *(mine, partial(mine), Mine(), Mine().rule, lambda u: u, compose(nnm, mine), Chain(updates=mine)),
        *(ForeignRule("byzfl", "TrMean"), partial(krum, distance=mine), print, torch.mean),
    ],
)
def test_code_of_other_authors_is_told_from_ours(code: Any) -> None:
    assert not guard.is_ours(code)


def test_all_that_is_shipped_is_ours() -> None:
    for kind in kinds.KINDS:
        for name, code in registry.shipped(kind).items():
            assert guard.is_ours(code), (kind, name)
    assert guard.is_ours(compose(nnm, partial(krum, keep=2)))
    assert guard.is_ours(Chain(labels=ATTACKS["mirrored"]))
    assert guard.is_ours(registry.resolve("aggregator", "nnm | trimmed_mean(trim=1)"))
    assert all(guard.is_ours(rule.__call__) for rule in RULES.values())


@pytest.mark.parametrize(
    ("ref", "name"),
    [
        ("a/rule.py:mine(k=2)", "a/rule.py:mine(k=2)"),
        ("code_0123456789abcdef:mine", "mine"),
        ("nnm | a/rule.py:mine | krum", "a/rule.py:mine"),
        ("installed_rule", "installed_rule"),
    ],
)
def test_a_plugin_is_named_as_its_user_knows_it(ref: str, name: str) -> None:
    assert guard.name_of(ref) == name


LOADED = {
    "torch.set_default_dtype(torch.float64)": "torch's default dtype",
    "os.chdir('/')": "the working folder",
    "torch.set_grad_enabled(False)": "torch's grad mode",
    "torch.backends.fp32_precision = 'tf32'": "the precision of float32 products",
}


@pytest.mark.parametrize("line", LOADED)
@pytest.mark.parametrize("kind", ["file", "module"])
def test_a_file_that_changes_numbers_when_it_is_loaded_is_refused_every_time(
    line: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"flipbench_test_{abs(hash(line))}"
    (tmp_path / f"{module}.py").write_text(
        f"import os\nimport torch\n{line}\ndef rule(updates, cohort, /): return updates"
    )
    monkeypatch.syspath_prepend(tmp_path)
    before = state()
    for _ in range(2):
        with pytest.raises(loading.PluginFileError, match=f"{module}.* changes {LOADED[line]}"):
            registry.resolve("aggregator", f"{tmp_path / module}.py:rule" if kind == "file" else f"{module}:rule")
        assert state() == before


SEEDS = """
import os, random, warnings
import numpy as np
import torch

torch.manual_seed(0)
np.random.seed(0)
random.seed(0)
warnings.filterwarnings("ignore")
os.environ["FLIPBENCH_T"] = "1"
torch.set_num_threads(3)

def rule(updates, cohort, /):
    return updates.mean(-2)
"""


def test_a_file_that_seeds_generators_or_sets_filters_when_it_is_loaded_is_taken(tmp_path: Path) -> None:
    lines = "import os, random, warnings\nimport numpy as np\nimport torch\ntorch.manual_seed(0)\nnp.random.seed(0)\n"
    lines += (
        "random.seed(0)\nwarnings.filterwarnings('ignore')\nos.environ['FLIPBENCH_T'] = '1'\ntorch.set_num_threads(3)\n"
    )
    (tmp_path / "seeds.py").write_text(lines + "def rule(updates, cohort, /): return updates.mean(-2)")
    before = Snapshot()
    registry.resolve("aggregator", f"{tmp_path / 'seeds.py'}:rule")
    assert before.set_back() == []


def test_no_plugin_can_put_something_of_its_own_under_a_shipped_name() -> None:
    for kind in kinds.KINDS:
        shipped: Any = registry.shipped(kind)
        with pytest.raises(TypeError, match="mappingproxy"):
            shipped[next(iter(shipped))] = print
