"""What lies where a record belongs and is none: never followed, never waited for, and named by every command alike."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flipbench.cli.app import app
from flipbench.execution import runner
from flipbench.execution.progress import Quiet
from flipbench.grid import reader as grid
from flipbench.spec.key import canonical_json
from flipbench.store.record_format import encode
from flipbench.store.store import Store, StoreError
from flipbench.system.atomic_files import IrregularError
from tests.helpers.records import record
from tests.store.store_cases import path_of

GOOD = record(seed=1)
BAD = record(seed=2)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two finished cells and their plan."""
    made = Store(tmp_path / "grid")
    for one in (GOOD, BAD):
        made.publish(one)
    made.write_plan({"grid": "grid", "title": None, "keys": [GOOD["key"], BAD["key"]], "figures": []})
    return made


def a_link(path: Path) -> None:
    elsewhere = path.parents[3] / "elsewhere.json"
    elsewhere.write_bytes(encode(BAD))  # a good record: but not ours to follow
    path.symlink_to(elsewhere)


def a_loop(path: Path) -> None:
    path.symlink_to(path)


def a_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(here)


STRANGE: dict[str, Callable[[Path], None]] = {
    "link": a_link,
    "loop": a_loop,
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "socket": a_socket,
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("what", STRANGE)
@pytest.mark.parametrize("place", ["cell", "failure"])
def test_what_is_no_file_goes_to_quarantine_and_counts_as_missing(store: Store, what: str, place: str) -> None:
    path = path_of(store, BAD["key"])
    path.unlink()
    if place == "failure":
        path = store.folder / "failures" / f"{BAD['key']}.1.json"
        path.parent.mkdir()
    STRANGE[what](path)
    said = CliRunner().invoke(app, ["results", str(store.folder)])
    assert said.exit_code == 0, said.output
    assert "missing        1" in said.output
    assert "irregular: no regular file but a link, a pipe or a folder" in said.output
    assert not os.path.lexists(path)
    assert list(store.quarantined().values()) == ["irregular"]
    if what == "link":  # the link itself was moved
        aside = store.folder / "quarantine" / next(iter(store.quarantined()))
        assert aside.is_symlink()
        assert aside.read_bytes() == encode(BAD)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("what", STRANGE)
def test_a_record_is_published_where_something_strange_lay(store: Store, what: str) -> None:
    path = path_of(store, BAD["key"])
    path.unlink()
    STRANGE[what](path)
    assert not store.has(BAD["key"])
    assert store.read(BAD["key"]) is None
    STRANGE[what](path)  # again, after the look
    assert store.publish(BAD)
    assert store.statuses() == {GOOD["key"]: "done", BAD["key"]: "done"}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("what", STRANGE)
def test_a_plan_that_is_no_file_is_named(store: Store, what: str) -> None:
    plan = store.folder / "plan.json"
    plan.unlink()
    STRANGE[what](plan) if what != "link" else plan.symlink_to("/etc/hostname")
    for command in ("results", "report"):
        said = CliRunner().invoke(app, [command, str(store.folder)])
        assert (said.exit_code, f"error: {plan}: is no regular file" in said.output) == (2, True), said.output


def test_a_folder_in_the_plans_place_ends_a_run_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text("base: {dataset: digits, model: softmax, clients: 3, rounds: 1}\n")
    (tmp_path / "r" / "plan.json").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"r/plan\.json: .*a folder lies where a file belongs.*--results"):
        runner.run(grid.read(tmp_path / "tiny.yaml"), tmp_path / "r", workers=1, progress=Quiet())


@pytest.mark.parametrize("name", ["cells", "failures", "quarantine"])
def test_a_file_in_place_of_a_folder_is_named(tmp_path: Path, name: str) -> None:
    store = Store(tmp_path / "grid")
    store.write_plan({"keys": [GOOD["key"]]})
    (store.folder / name).write_text("mine")
    said = CliRunner().invoke(app, ["results", str(store.folder)])
    assert said.exit_code == 2
    assert f"error: {store.folder / name}: " in said.output
    assert "where a folder belongs: move it away" in said.output
    assert "--results" not in said.output  # an option that this command does not have


def test_a_plan_of_many_brackets_is_one_message(store: Store) -> None:
    (store.folder / "plan.json").write_text("[" * 100_000)
    for command in ("results", "report"):
        said = CliRunner().invoke(app, [command, str(store.folder)])
        assert said.exit_code == 2, said.output
        assert "run the grid again" in said.output


def test_half_characters_of_a_failure_are_stored_as_others_can_read_them(store: Store) -> None:
    third = record(seed=3, status="failed", reason="bad \udcff name \ud83d\ude00") | {"traceback": "\udcff"}
    store.publish(third)
    assert store.failure(third["key"]) == "bad \ufffd name \U0001f600"
    assert (store.read(third["key"]) or {})["traceback"] == "\ufffd"
    store.write_plan({"keys": [third["key"]], "command": "flipbench run \udcff"})
    assert store.read_plan()["command"] == "flipbench run \ufffd"


def test_a_record_with_half_characters_of_an_earlier_version_is_quarantined(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    third = record(seed=3, status="failed", reason="bad \udcff name")
    with monkeypatch.context() as patch:
        patch.setattr("flipbench.store.record_format._readable", lambda _: True)  # as it was written
        store.publish(third)
    assert "\\udcff" in canonical_json(third).decode()
    store.write_plan({"keys": [third["key"]]})
    said = CliRunner().invoke(app, ["results", str(store.folder)])
    assert said.exit_code == 0, said.output
    assert "unreadable: whole, but its text is no JSON" in said.output
    assert store.failure(third["key"]) == ""
    assert json.loads((store.folder / "plan.json").read_text())["keys"] == [third["key"]]


def test_what_is_no_file_is_an_error_of_its_own(tmp_path: Path) -> None:
    from flipbench.system import atomic_files

    with pytest.raises(IrregularError, match="no regular file"):
        atomic_files.read(tmp_path)
    assert atomic_files.read(tmp_path / "nothing") is None


def test_a_survey_without_repairs_reports_damage_and_changes_nothing(tmp_path: Path) -> None:
    key = "a" * 64
    cell, temp = tmp_path / "cells/aa" / f"{key}.json", tmp_path / "cells/aa" / f".{key}.json.1.0123abcd.tmp"
    cell.parent.mkdir(parents=True)
    for path in (cell, temp):
        path.write_bytes(b"torn")
        os.utime(path, (1, 1))
    looked = Store(tmp_path, repairs=False)
    assert looked.survey().damaged == (f"{key}.json",)
    assert looked.read(key) is None
    assert cell.is_file()
    assert temp.is_file()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cells"]
    assert Store(tmp_path).survey().damaged == (f"{key}.json",)
    assert not cell.exists()
    assert not temp.exists()
