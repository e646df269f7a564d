"""States of long cells: whatever round a cell is broken off in, it ends with the bits of an unbroken run."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flipbench.attacks.updates.mimic import Memory
from flipbench.federation import attack_search, run_stack
from flipbench.federation.checkpoints import files
from flipbench.federation.checkpoints.files import Checkpoints, UntrustedError
from flipbench.federation.checkpoints.keeper import Keeper
from flipbench.federation.checkpoints.state_codec import UnsaveableError, plain, rebuilt
from flipbench.federation.federation import run
from flipbench.federation.records import Job
from flipbench.grid.reader import contents
from flipbench.spec.cell import Cell
from flipbench.spec.key import key
from flipbench.system.fingerprint import fingerprint
from tests.helpers.tiny_runs import broken_off

BASE = Cell(
    dataset="digits",
    clients=6,
    model="softmax",
    rounds=5,
    local_steps=1,
    batch_size=8,
    malicious_count=2,
    attack="mirrored",
)
SUBJECTS = {
    "momenta": [replace(BASE, client_momentum=0.9, server_momentum=0.5, clients_per_round=4)],
    "kept buffers, clocks, sybils": [
        replace(
            BASE,
            **{"momentum": 0.5, "optimiser_state": "kept", "clients_per_round": 4, "malicious_data": "fresh"},
            **{"schedule": "decay(rate=0.1)", "schedule_clock": "shared_step", "loss": "class_balanced"},
            **{"augmentation": "crop(padding=1)", "clip_update": 0.05, "sampling": "independent"},
        )
    ],
    "rule with memory": [replace(BASE, aggregator="foolsgold", clients_per_round=4)],
    "attack with memory": [replace(BASE, attack="mimic(warmup=2)", aggregator="median")],
    "dynamic labels": [replace(BASE, attack="least_likely")],
    "noise of the clients": [
        replace(BASE, clip_update=0.1, noise_multiplier=0.3, noise_at="client", attack="mimic(warmup=2)")
    ],
    "noise of the server": [replace(BASE, clip_update=0.1, noise_multiplier=0.3, aggregator="centered_clipping")],
    "a stack": [replace(BASE, seed=seed) for seed in (0, 1)],
    "rounds left out": [replace(BASE, evaluate_every=2, attack_availability=0.5)],
}


def jobs_of(cells: list[Cell]) -> list[Job]:
    return [Job(cell, contents(cell)) for cell in cells]


def numbers(records: list[dict[str, Any]]) -> str:
    return json.dumps([(r["status"], r["mapping"], r["attack"], r["result"]) for r in records], sort_keys=True)


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_resumed_cell_has_the_bits_of_an_unbroken_one(
    subject: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, places = jobs_of(SUBJECTS[subject]), Checkpoints(str(tmp_path), every=0.0)
    whole = run_stack.perform(jobs, {})
    assert all(r["status"] == "done" for r in whole), whole[0]["traceback"]
    for after in (3, 4):
        broken_off(jobs, places, after, monkeypatch)  # the second time it goes on from the third round
        assert len(list(tmp_path.glob("*.state"))) == len(jobs)
    resumed = run_stack.perform(jobs, {}, None, places)
    assert [r["provenance"]["checkpoint"] for r in resumed] == ["resumed after round 4"] * len(jobs)
    assert numbers(resumed) == numbers(whole)


def test_cells_of_a_stack_go_on_alone_and_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs, places = jobs_of(SUBJECTS["a stack"]), Checkpoints(str(tmp_path), every=0.0)
    whole = numbers(run_stack.perform(jobs, {}))
    broken_off(jobs, places, 2, monkeypatch)
    broken_off(jobs[:1], places, 4, monkeypatch)  # its worker died, so the first went on alone, and further
    resumed = run_stack.perform(jobs, {}, None, places)
    assert [r["provenance"]["checkpoint"] for r in resumed] == ["resumed after round 4", "resumed after round 2"]
    assert numbers(resumed) == whole


@pytest.mark.parametrize("harm", ["cut", "flipped", "empty", "another cell's", "another version's", "a folder"])
def test_a_state_that_cannot_be_trusted_is_ignored_with_a_note(
    harm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, places = jobs_of([BASE]), Checkpoints(str(tmp_path), every=0.0)
    name = key(jobs[0].cell, jobs[0].content)
    whole = numbers(run_stack.perform(jobs, {}))
    broken_off(jobs, places, 3, monkeypatch)
    path = places.path(name)
    raw = path.read_bytes()
    if harm == "cut":
        path.write_bytes(raw[: len(raw) // 2])
    elif harm == "flipped":
        path.write_bytes(raw[:-40] + bytes([raw[-40] ^ 1]) + raw[-39:])
    elif harm == "empty":
        path.write_bytes(b"")
    elif harm == "another cell's":
        other = jobs_of([replace(BASE, seed=9)])
        broken_off(other, places, 2, monkeypatch)
        path.write_bytes(places.path(key(other[0].cell, other[0].content)).read_bytes())
    elif harm == "another version's":
        monkeypatch.setattr(files, "fingerprint", lambda: {"flipbench": "0.0.1"})
    else:
        path.unlink()
        path.mkdir()
    records = run_stack.perform(jobs, {}, None, Checkpoints(str(tmp_path), every=1000.0))
    assert numbers(records) == whole
    assert records[0]["provenance"]["checkpoint"].startswith("checkpoint ignored: ")


def test_a_full_disk_costs_the_states_and_not_the_cell(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    jobs = jobs_of([BASE])
    records = run_stack.perform(jobs, {}, None, Checkpoints(str(tmp_path / "file" / "x"), every=0.0))
    assert numbers(records) == numbers(run_stack.perform(jobs, {}))
    assert records[0]["provenance"]["checkpoint"].startswith("no checkpoints: ")


def test_short_cells_write_none(tmp_path: Path) -> None:
    records = run_stack.perform(jobs_of([BASE]), {}, None, Checkpoints(str(tmp_path / "states")))
    assert not (tmp_path / "states").exists()
    assert "checkpoint" not in records[0]["provenance"]


def test_a_search_that_is_broken_off_does_not_run_its_trials_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = jobs_of([replace(BASE, rounds=3, attack="worst_case(trials=12, finalists=2)", aggregator="median")])
    places, name, real, calls = Checkpoints(str(tmp_path), every=0.0), key(jobs[0].cell, jobs[0].content), run, 0

    def counted(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == deadly:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(attack_search, "run", counted)
    deadly = -1
    whole = numbers(run_stack.perform(jobs, {}))
    stacks, calls, deadly = calls, 0, 3
    assert stacks > 4
    with pytest.raises(KeyboardInterrupt):
        run_stack.perform(jobs, {}, None, places)
    assert places.written(name) > 0
    calls, deadly = 0, -1
    assert numbers(run_stack.perform(jobs, {}, None, places)) == whole
    assert calls == stacks - 2
    calls = 0
    assert numbers(run_stack.perform(jobs, {}, None, places)) == whole
    assert calls == 0
    places.forget(name)
    assert list(tmp_path.iterdir()) == []


leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats()
    | st.text(max_size=9)
    | st.sampled_from([torch.arange(6.0).view(2, 3), torch.tensor(True), torch.zeros(0), torch.arange(3).double()])
)
nested = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.integers() | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b) and a.shape == b.shape
    if type(a) is not type(b):
        return False
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    return a == b or (a != a and b != b)


CPU = torch.device("cpu")
MEMORY = frozenset({"flipbench.attacks.updates.mimic"})


@given(nested)
@settings(max_examples=100, deadline=None)
def test_any_plain_memory_comes_back_as_it_was(value: Any) -> None:
    out = io.BytesIO()
    torch.save(plain(value, frozenset()), out)
    read = torch.load(io.BytesIO(out.getvalue()), weights_only=True)
    assert same(rebuilt(read, CPU, frozenset()), value)


def test_an_owners_record_comes_back_as_one_of_its_class() -> None:
    memory = Memory(3, torch.arange(4.0), torch.ones(4), 1)
    again = rebuilt(plain({"a": [memory]}, MEMORY), CPU, MEMORY)["a"][0]
    assert type(again) is Memory
    assert all(same(getattr(again, f), getattr(memory, f)) for f in vars(memory))


def test_a_part_of_a_large_tensor_is_saved_without_the_rest() -> None:
    saved = plain(torch.zeros(1000, 10)[3], frozenset())
    assert saved.untyped_storage().nbytes() == 40


def test_what_is_no_plain_memory_is_not_saved() -> None:
    forged = {"flipbench: instance of": ("pathlib", "Path"), "fields": {}}
    for value in (object(), torch.Generator(), {1: Path("x")}, Memory(0, 1, 2, 3), forged):
        with pytest.raises(UnsaveableError):
            plain(value, frozenset())


def test_a_state_names_no_class_but_those_of_its_rule() -> None:
    borrowed = "flipbench.attacks.updates.mimic", "Tensor"  # imported there, not defined
    for named in (("pathlib", "Path"), borrowed):
        with pytest.raises(ValueError, match="no class of the rule"):
            rebuilt({"flipbench: instance of": named, "fields": {}}, CPU, MEMORY)


class Deadly:
    """What a pickle would run when it is read."""

    def __reduce__(self) -> Any:
        return Path("code_was_run").touch, ()


@pytest.mark.parametrize("written", [lambda value: pickle.dumps(value, protocol=2), lambda value: saved(value)])
def test_a_file_that_would_run_code_is_ignored(
    written: Callable[[Any], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    places, key = Checkpoints(str(tmp_path)), "a" * 64
    raw = written({"key": key, "made by": fingerprint(), "state": {"round": 1, "rule": Deadly()}})
    places.path(key).write_bytes(hashlib.sha256(raw).hexdigest().encode() + b"\n" + raw)
    with pytest.raises(UntrustedError, match="more than plain values"):
        places.read(key)
    keeper = Keeper(places, [key])
    assert keeper.even()
    assert keeper.note is not None
    assert keeper.note.startswith("checkpoint ignored: ")
    assert not (tmp_path / "code_was_run").exists()


def saved(value: Any) -> bytes:
    out = io.BytesIO()
    torch.save(value, out)
    return out.getvalue()


def test_a_file_of_the_former_format_is_ignored(tmp_path: Path) -> None:
    places, key, out = Checkpoints(str(tmp_path)), "a" * 64, io.BytesIO()
    np.savez(out, allow_pickle=False, head=np.frombuffer(b'{"key": "a"}', np.uint8))
    raw = out.getvalue()
    places.path(key).write_bytes(hashlib.sha256(raw).hexdigest().encode() + b"\n" + raw)
    with pytest.raises(UntrustedError):
        places.read(key)


def test_a_keeper_without_states_starts_at_the_beginning(tmp_path: Path) -> None:
    keeper = Keeper(Checkpoints(str(tmp_path)), ["a" * 64, "b" * 64])
    assert keeper.even()
    assert keeper.note is None
