"""Generated input: read by the letter or refused with one message; a rule answers or refuses, never with a NaN."""

from __future__ import annotations

import gzip
import math
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic_core import from_json
from records import record
from test_data_files import DAMAGE, IMAGES, LABELS, check_csv, good
from test_grid_fuzz import mutated, survives, with_a_word_changed
from torture_size import size

from aggregators import RULES, Cohort
from bench.data import files, idx
from bench.errors import UserError
from bench.store import defect, encode

Told = Callable[[str, str], None]
CALM: dict[str, Any] = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}
TABLES, GRIDS, RESULTS, ROUNDS = size(5000, 40), size(2500, 8), size(5000, 40), size(10_000, 40)


def test_csv(told: Told) -> None:
    @given(
        table=st.lists(st.lists(st.integers(0, 255), min_size=4, max_size=4), min_size=1, max_size=6),
        damage=st.lists(
            st.tuples(
                st.integers(0, 60),
                st.integers(0, 2),
                st.sampled_from([*DAMAGE, b"\xef\xbb\xbf", b"-1", b"300", b"1.5"]),
            ),
            max_size=3,
        ),
    )
    @settings(max_examples=TABLES, **CALM)
    def fuzz(table: list[list[int]], damage: list[tuple[int, int, bytes]]) -> None:
        content = "".join(",".join(map(str, row)) + "\n" for row in table).encode()
        for position, length, piece in damage:
            content = content[:position] + piece + content[position + length :]
        check_csv(content)

    fuzz()
    told("CSV fuzz", f"{TABLES:,} tables: read by the letter or refused with the line")


def test_idx(tmp_path: Path, told: Told) -> None:
    file = tmp_path / "f"

    @given(
        start=st.sampled_from([good()[IMAGES][:40], good()[LABELS], gzip.compress(good()[LABELS])]),
        changes=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=4),
        length=st.integers(0, 60),
    )
    @settings(max_examples=TABLES, **CALM)
    def fuzz(start: bytes, changes: list[tuple[int, int]], length: int) -> None:
        content = bytearray(start[:length])
        for position, value in changes:
            if position < len(content):
                content[position] = value
        file.write_bytes(content)
        for dimensions in (1, 3):
            with suppress(UserError):
                assert idx.parse(files.read(file), dimensions, "f").ndim == dimensions

    fuzz()
    told("IDX fuzz", f"{TABLES:,} files: read or refused")


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


SPECIAL = (math.nan, math.inf, -math.inf, 1e38, -1e38, 1e-42, 0.0, 1.0)


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", RULES)
def test_rules(name: str, told: Told) -> None:
    """Rows of NaN, inf, huge, denormal, duplicates: a finite answer of the right form, or a typed refusal."""
    draw, rule, refused = random.Random(name), RULES[name], 0
    for case in range(ROUNDS):
        n, dim = draw.randint(1, 9), draw.choice((0, 1, 3, 5))
        updates = torch.tensor([[draw.gauss(0, 1) for _ in range(dim)] for _ in range(n)]).reshape(n, dim)
        for _ in range(draw.randint(0, 3)):
            row = draw.randrange(n)
            updates[row] = draw.choice((draw.choice(SPECIAL), updates[draw.randrange(n)].clone()))
        if draw.random() < 0.1:
            updates = updates.double()
        f = draw.choice((0, 0, 1, 2))
        kept = updates.clone()
        facts = {"trusted": lambda updates=updates: torch.zeros_like(updates[0])}
        try:
            cohort = Cohort.of(updates, f, layout={"0.weight": (slice(0, dim), (1, dim))}, **facts)
            bound: Any = rule() if hasattr(rule, "init") else rule
            answer = (
                bound(updates, cohort, bound.init(updates, cohort))[0]
                if hasattr(rule, "init")
                else bound(updates, cohort)
            )
        except ValueError:
            refused += 1
            continue
        assert answer.shape == (dim,), (case, n, dim, f)
        assert answer.dtype == updates.dtype
        finite = bool(torch.isfinite(updates).all()) and float(updates.abs().max() if updates.numel() else 0) < 1e30
        assert not finite or bool(torch.isfinite(answer).all()), (case, updates, answer)
        assert torch.equal(updates.nan_to_num(), kept.nan_to_num()), "changed its inputs"
    told(f"NaN, inf, 1e38, denormal, duplicates: {name}", f"{ROUNDS:,} cases, {refused:,} refused")
