"""Generated files: read by the letter, or refused with one message that names the place."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic_core import from_json

from flipbench.errors import UserError
from flipbench.store.record_format import defect, encode
from tests.helpers.data_files import DAMAGE, IMAGES, LABELS, check_csv, check_idx, good, header, load, rows, text
from tests.helpers.records import record
from tests.helpers.yaml_mutations import mutated, survives, with_a_word_changed
from tests.torture.torture_size import size

pytestmark = pytest.mark.torture

Told = Callable[[str, str], None]
CALM: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}
TABLES, GRIDS, RESULTS, SETS = size(10_000, 40), size(2500, 8), size(10_000, 40), size(2000, 10)


PIECES = [*DAMAGE, b"\xef\xbb\xbf", b"-1", b"300", b"1.5", b"inf", b"1e9", b"\x1f\x8b", b"\xd9\xa3"]


def test_csv(told: Told) -> None:
    @given(
        table=st.lists(st.lists(st.integers(0, 255), min_size=4, max_size=4), min_size=1, max_size=6),
        damage=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 2), st.sampled_from(PIECES)), max_size=3),
        end=st.sampled_from(("\n", "\n", "\r\n")),
    )
    @settings(max_examples=TABLES, **CALM)
    def fuzz(table: list[list[int]], damage: list[tuple[int, int, bytes]], end: str) -> None:
        content = "".join(",".join(map(str, row)) + end for row in table).encode()
        for position, length, piece in damage:
            content = content[:position] + piece + content[position + length :]
        check_csv(content)

    fuzz()
    told("CSV", f"{TABLES:,} tables")


def test_csv_as_a_data_set(tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way: a file, packed or not, its header, its labels; one damage, which the message must point at."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    good, file = rows(14), tmp_path / "hmnist_28_28_L.csv"

    @given(
        row=st.integers(0, 13),
        column=st.one_of(st.just(784), st.integers(0, 784)),
        value=st.sampled_from(
            ["0", "6", "7", "255", "256", "-1", "", "x", "NaN", "1.0", " 1", "1,1", "٣", "1e1", "\0"]
        ),
        end=st.sampled_from(("\n", "\r\n")),
        mark=st.sampled_from(("", "\ufeff")),
        packed=st.booleans(),
        kept=st.one_of(st.none(), st.integers(1, 200)),
    )
    @settings(max_examples=SETS, **CALM)
    def fuzz(row: int, column: int, value: str, end: str, mark: str, packed: bool, kept: int | None) -> None:
        table = [[*line] for line in good]
        table[row][column] = value
        content = (mark + text(table, end)).encode()
        whole = gzip.compress(content, 1) if packed else content
        file.write_bytes(whole if kept is None else whole[:-kept])
        fits = value.isascii() and value.isdigit() and int(value) <= (6 if column == 784 else 255)
        found, message = None, ""
        try:
            found = load(file)
        except UserError as error:
            message = str(error)
        if found is None:
            assert not fits or kept is not None
            assert message.startswith(f"{file}, line {row + 2}" if kept is None else str(file))
        elif kept is None:
            assert fits
            table[row][column] = int(value)
            seen = [*zip(found.train_x, found.train_y, strict=True), *zip(found.test_x, found.test_y, strict=True)]
            assert sorted([*x.flatten().tolist(), int(y)] for x, y in seen) == sorted(table)
        else:  # what is cut off a plain file may be its last line end alone, or the damage too
            assert not packed

    fuzz()
    told("HAM10000 tables, packed or cut off", f"{SETS:,} files")


def test_idx(tmp_path: Path, told: Told) -> None:
    packed = gzip.compress(good()[LABELS])

    @given(
        start=st.sampled_from([good()[IMAGES][:40], header(2, 2, 3) + bytes(range(12)), good()[LABELS], packed]),
        changes=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=4),
        length=st.one_of(st.just(10**6), st.integers(0, 60)),
        more=st.sampled_from((b"", b"", b"\0", b"PK")),
    )
    @settings(max_examples=TABLES, **CALM)
    def fuzz(start: bytes, changes: list[tuple[int, int]], length: int, more: bytes) -> None:
        content = bytearray(start[:length] + more)
        for position, value in changes:
            if position < len(content):
                content[position] = value
        check_idx(bytes(content), tmp_path / "f")

    fuzz()
    told("IDX", f"{TABLES:,} files")


@pytest.mark.timeout(900)
def test_grids(tmp_path: Path, told: Told) -> None:
    path = tmp_path / "fuzzed.yaml"
    for strategy in (mutated(), with_a_word_changed()):

        @given(strategy)
        @settings(max_examples=GRIDS, **CALM)
        def fuzz(text: str) -> None:
            survives(path, text.encode("utf-8", "surrogatepass"))

        fuzz()
    told("grid fuzz", f"{2 * GRIDS:,} mutations: accepted, or every mistake with file:line:column")


def test_result_files(told: Told) -> None:
    one = record(confusion=[[3, 1], [0, 4]], rounds=[1], clients=2)
    raw = encode(one)
    pieces = st.sampled_from([b"", b"}", b'"', b",", b'"body":"', b"null", b"1e999", b"\x00", b"\xff", raw[:40]])

    @given(st.lists(st.tuples(st.integers(0, len(raw)), st.integers(0, 30), pieces), min_size=1, max_size=3))
    @settings(max_examples=RESULTS, **CALM)
    def fuzz(changes: list[tuple[int, int, bytes]]) -> None:
        content = raw
        for position, length, piece in changes:
            content = content[:position] + piece + content[position + length :]
        if defect(content, one["key"]) is None:
            assert content == raw
            assert from_json(content)["key"] == one["key"]

    fuzz()
    told("result file fuzz", f"{RESULTS:,} files: believed only when untouched")
