"""The store: the first record of a cell stays, damaged and foreign files are never believed, the plan."""

from __future__ import annotations

import hashlib
import json
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import from_json

from flipbench.spec.key import SCHEMA
from flipbench.store.record_format import defect, encode, finite, is_intact
from flipbench.store.store import Store
from flipbench.system.atomic_files import StoreError
from tests.helpers.paths import GOLDEN
from tests.helpers.records import record
from tests.store.store_cases import files_under, path_of


def test_a_published_record_comes_back_and_only_the_first_one_stays(store: Store) -> None:
    first = record(seed=1)
    assert store.publish(first)
    assert not store.publish({**first, "seconds": {"setup": 99.0}})  # another run of the same cell
    back = store.read(first["key"])
    assert back is not None
    assert len(back.pop("body")) == 64
    assert back == first
    assert store.keys() == [first["key"]]
    assert store.statuses() == {first["key"]: "done"}
    assert store.read("0" * 64) is None


def test_the_body_hash_is_that_of_the_canonical_json_of_the_rest(store: Store) -> None:
    one = record()
    store.publish(one)
    on_disk = json.loads(path_of(store, one["key"]).read_text())
    body = on_disk.pop("body")
    text = json.dumps(on_disk, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
    assert body == hashlib.sha256(text).hexdigest()


nested = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(nested)
@settings(max_examples=200, deadline=None)
def test_any_json_value_survives_with_floats_exact_and_non_finite_ones_as_null(value: Any) -> None:
    one = record() | {"reason": value}
    raw = encode(one)
    assert is_intact(raw, one["key"])
    assert json.loads(raw)["reason"] == finite(value)
    assert from_json(raw) == json.loads(raw)


def test_non_finite_floats_reach_the_disk_as_null(store: Store) -> None:
    one = record(result={"fedavg_gap": [float("nan"), float("inf"), 0.5]})
    store.publish(one)
    back = store.read(one["key"])
    assert back is not None
    assert back["result"]["fedavg_gap"] == [None, None, 0.5]


def test_infeasible_counts_as_a_result_and_failures_do_not_block_one(store: Store) -> None:
    refused = record(seed=1, status="infeasible", reason="krum needs at least 2f + 3 = 19 clients, got 18")
    broken = record(seed=2, status="failed", reason="ValueError: made up")
    assert store.publish(refused)
    assert store.publish(broken)
    key = broken["key"]
    assert store.statuses() == {refused["key"]: "infeasible", key: "failed"}
    assert store.keys() == [refused["key"]]
    assert store.failure(key) == "ValueError: made up"
    assert store.attempts(key) == 1
    assert store.publish({**broken, "attempts": 2, "reason": "again"})
    assert (store.attempts(key), store.failure(key)) == (2, "again")
    back = store.read(key)
    assert back is not None
    assert back["status"] == "failed"
    assert store.publish(record(seed=2))  # the retry worked
    assert store.statuses()[key] == "done"
    back = store.read(key)
    assert back is not None
    assert back["status"] == "done"
    assert (store.folder / "failures" / f"{key}.1.json").exists()  # kept for whoever asks


def test_a_file_cut_anywhere_is_quarantined_and_can_be_published_again(store: Store) -> None:
    one = record(confusion=[[5, 0], [1, 4]], rounds=[1])
    store.publish(one)
    path = path_of(store, one["key"])
    whole = path.read_bytes()
    for size in range(0, len(whole), 97):
        path.write_bytes(whole[:size])
        assert store.read(one["key"]) is None, size
        assert not path.exists()
        assert store.publish(one)
        assert path.read_bytes() == whole
    assert len(os.listdir(store.folder / "quarantine")) == len(range(0, len(whole), 97))


def test_every_truncation_and_a_thousand_flipped_bits_are_seen() -> None:
    one = record(confusion=[[5, 0], [1, 4]], rounds=[1], clients=3)
    raw, draw = encode(one), random.Random(0)
    assert is_intact(raw, one["key"])
    assert not any(is_intact(raw[:end], one["key"]) for end in range(len(raw)))
    for _ in range(1000):
        bad = bytearray(raw)
        bad[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
        assert not is_intact(bytes(bad), one["key"])


def test_a_text_in_a_record_cannot_pose_as_its_status(store: Store) -> None:
    liar = record(status="infeasible", reason='x","status":"done","key":"0",') | {"traceback": ',"status":"failed",'}
    store.publish(liar)
    assert store.statuses() == {liar["key"]: "infeasible"}


@pytest.mark.parametrize(
    "change",
    [
        lambda r: b"",
        lambda r: b"{}",
        lambda r: b"\xff\xfe\x00not json",
        lambda r: encode({**r, "key": "1" * 64}),  # another cell's result under this name
        lambda r: encode(r).replace(b'"seed":0', b'"seed":1'),
        lambda r: encode(r) + encode(r),
        lambda r: json.dumps(r).encode(),  # no hash at all
    ],
    ids=["empty", "bare", "binary", "foreign key", "edited", "twice", "without hash"],
)
def test_foreign_files_are_quarantined_and_count_as_missing(store: Store, change: Any) -> None:
    one, other = record(), record(seed=5)
    store.publish(one)
    store.publish(other)
    path_of(store, one["key"]).write_bytes(change(one))
    assert store.statuses() == {other["key"]: "done"}
    assert not path_of(store, one["key"]).exists()
    assert len(os.listdir(store.folder / "quarantine")) == 1
    assert store.read(one["key"]) is None
    assert store.publish(one)
    assert store.statuses() == {one["key"]: "done", other["key"]: "done"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r: b"", "empty"),
        (lambda r: encode(r)[:-9], "torn"),
        (lambda r: b"{}", "torn"),
        (lambda r: encode({**r, "key": "1" * 64}), "foreign"),
        (lambda r: encode({n: v for n, v in r.items() if n != "schema"}), "foreign"),
    ],
)
def test_quarantine_says_what_is_wrong(store: Store, change: Any, reason: str) -> None:
    one = record()
    store.publish(one)
    path_of(store, one["key"]).write_bytes(change(one))
    assert defect(change(one), one["key"]) == reason
    assert store.read(one["key"]) is None
    (store.folder / "quarantine" / "notes.txt").write_text("mine")
    found = store.quarantined()
    assert sorted(found.values()) == sorted([reason, "unknown"])
    name = next(n for n, why in found.items() if why == reason)
    assert (store.folder / "quarantine" / name).read_bytes() == change(one)
    assert name.startswith(one["key"])


def test_a_whole_record_of_another_version_stays_and_is_not_believed(store: Store) -> None:
    one, other = record(), record(seed=5)
    store.publish(one)
    raw = encode({**other, "schema": SCHEMA + 1})
    path = path_of(store, other["key"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)
    assert store.statuses() == {one["key"]: "done"}
    assert path.read_bytes() == raw
    assert store.survey().other == (other["key"],)
    assert store.read(other["key"]) is None  # asked for by its key, it is in the way: put aside, not deleted
    assert store.publish(other)
    assert list(store.quarantined().values()) == ["schema"]


def test_has_looks_at_the_name_only(store: Store) -> None:
    one = record()
    assert not store.has(one["key"])
    store.publish(one)
    assert store.has(one["key"])
    with pytest.raises(StoreError, match="64 hex digits"):
        store.has("../x")


FORMS = GOLDEN / "records"


@pytest.mark.parametrize("form", sorted(p.name for p in FORMS.iterdir() if p.is_dir()))
def test_records_of_every_earlier_form_are_read_and_not_run_again(tmp_path: Path, form: str) -> None:
    from flipbench.execution import runner
    from flipbench.execution.progress import Quiet
    from flipbench.grid import reader as grid
    from flipbench.report import write

    store = Store(tmp_path / "old")
    for path in (FORMS / form).glob("*.json"):
        target = path_of(store, path.stem)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    outcome = runner.run(grid.read(FORMS / "grid.yaml"), store.folder, workers=1, progress=Quiet())
    assert (outcome.total, outcome.done, outcome.ran, outcome.failed) == (2, 2, 0, ())
    assert store.quarantined() == {}
    assert "krum" in write.summary_text(store.folder, width=100)  # what is right of the store reads it too


def test_all_forms_lead_to_the_same_tables(tmp_path: Path) -> None:
    """Metrics of the oldest form equal those of the newest: only provenance and seconds may differ."""
    from flipbench.analysis import frame, metrics

    seen = []
    for form in sorted(p for p in FORMS.iterdir() if p.is_dir()):
        store = Store(tmp_path / form.name)
        for path in form.glob("*.json"):
            target = path_of(store, path.stem)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
        store.write_plan({"keys": sorted(store.keys()), "figures": []})
        tidy = metrics.evaluate(frame.load(store.folder))
        seen.append(tidy[["key", "accuracy", "source_recall", "attack_success_rate"]])
    assert len(seen) >= 2
    assert all(one.equals(seen[0]) for one in seen)


def test_publishing_over_a_torn_file_replaces_it(store: Store) -> None:
    one = record()
    path = path_of(store, one["key"])
    path.parent.mkdir(parents=True)
    path.write_bytes(encode(one)[:50])
    assert store.publish(one)
    assert is_intact(path.read_bytes(), one["key"])


def test_quarantine_keeps_every_bad_file(store: Store) -> None:
    for number in range(3):
        store.publish(record())
        path_of(store, record()["key"]).write_bytes(b"bad %d" % number)
        assert store.read(record()["key"]) is None
    kept = (store.folder / "quarantine").iterdir()
    assert sorted(p.read_bytes() for p in kept) == [b"bad 0", b"bad 1", b"bad 2"]


def test_a_file_that_was_mended_meanwhile_is_put_back(store: Store) -> None:
    key = record()["key"]
    store.publish(record())
    store._quarantine(path_of(store, key), key, "torn")  # as if the look had met the bad file that lay there before
    assert store.read(key) is not None
    assert list((store.folder / "quarantine").iterdir()) == []


def test_a_bad_failure_is_no_failure(store: Store) -> None:
    key = record()["key"]
    for attempt, reason in ((1, "first"), (2, "second")):
        store.publish(record(status="failed", reason=reason, attempts=attempt))
    (store.folder / "failures" / f"{key}.2.json").write_bytes(b"")
    assert store.failure(key) == "first"
    assert store.attempts(key) == 1
    store.publish(record(status="failed", reason="again", attempts=2))
    (store.folder / "failures" / f"{key}.1.json").write_bytes(b"")
    assert store.statuses() == {key: "failed"}
    assert (store.attempts(key), store.failure(key)) == (2, "again")


def test_strangers_are_left_alone(store: Store) -> None:
    key = record()["key"]
    store.publish(record())
    for name in ("README.md", "x.json", f"{key}.json.bak", f"{key.upper()}.json"):
        (path_of(store, key).parent / name).write_text("mine")
    assert store.keys() == [key]
    assert store.statuses() == {key: "done"}
    assert len(list(path_of(store, key).parent.iterdir())) == 5


@pytest.mark.parametrize("bad", ["", "../../etc/passwd", "a" * 63, "A" * 64, "a" * 64 + "\n", "g" * 64])
def test_only_hashes_reach_a_path(store: Store, bad: str) -> None:
    with pytest.raises(StoreError, match="64 hex digits"):
        store.read(bad)
    with pytest.raises(StoreError, match="64 hex digits"):
        store.publish({**record(), "key": bad})
    assert not store.folder.exists()


def test_a_link_in_place_of_a_cell_is_not_listed(store: Store, tmp_path: Path) -> None:
    one = record()
    (tmp_path / "elsewhere.json").write_bytes(encode(one))
    path = path_of(store, one["key"])
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path / "elsewhere.json")
    assert store.keys() == []


def test_the_plan_is_replaced_whole(store: Store) -> None:
    with pytest.raises(StoreError, match="run the grid first"):
        store.read_plan()
    plan = {"grid": "g", "title": None, "source": "", "command": None, "keys": ["a" * 64], "figures": []}
    store.write_plan(plan)
    assert store.read_plan() == plan
    store.write_plan({**plan, "keys": ["b" * 64, "a" * 64]})
    assert store.read_plan()["keys"] == ["b" * 64, "a" * 64]  # in the grid's order
    assert files_under(store.folder) == ["plan.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"keys": 3}', '{"keys": ["../x"]}', '{"keys": [1]}'])
def test_a_bad_plan_is_an_advising_error(store: Store, text: str) -> None:
    store.folder.mkdir()
    (store.folder / "plan.json").write_text(text)
    with pytest.raises(StoreError, match="run the grid again"):
        store.read_plan()


def test_an_empty_folder_is_an_empty_store(tmp_path: Path) -> None:
    store = Store(tmp_path / "nowhere")
    assert (store.keys(), store.statuses()) == ([], {})
    assert store.attempts("a" * 64) == 0
    assert store.failure("a" * 64) == ""
    assert store.read("a" * 64) is None
    assert not store.folder.exists()  # looking makes nothing


def test_statuses_of_many_cells_are_quick(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    for seed in range(500):
        store.publish(record(rounds=range(1, 21), seed=seed))
    started = time.process_time()
    assert len(store.statuses()) == 500
    assert time.process_time() - started < 1.0  # a tenth of it is usual
