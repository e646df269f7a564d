"""``csv(path, label)``: your own table, one example a line, with a column of labels and perhaps one of clients."""

from __future__ import annotations

import csv as csv_format
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flipbench.data import file_bytes, locations
from flipbench.data.dataset import Dataset, Split, shortened
from flipbench.data.files import array_cache, columns, file_kinds, whole_data
from flipbench.data.splits import divided
from flipbench.errors import UserError
from flipbench.spec.suggestions import near


@dataclass(frozen=True)
class _Plan:
    """What the options say of the columns."""

    label: str
    client: str | None
    categories: tuple[str, ...]
    without: tuple[str, ...]


def csv(
    *,
    path: str,
    label: str,
    client: str | None = None,
    test_path: str | None = None,
    held_out: float = 0.2,
    categories: list[str] | None = None,
    without: list[str] | None = None,
    train: int | None = None,
    test: int | None = None,
) -> Dataset:
    """Your own table as features: columns of numbers as they are, of texts one feature for each different text.

    The first line names the columns; commas, semicolons or tabs separate them. Take features: standard, which gives
    each column mean 0 and deviation 1.

    Args:
        path: the table, plain or packed by gzip.
        label: the column of labels; classes are its different values, numbers by size and texts by their letters.
        client: the column that names the natural client of each line; it is no feature. None: there is none.
        test_path: a table of the same columns to test on; None: a share is held out.
        held_out: share to test on, of each class, or of each natural client where there are any.
        categories: columns of numbers that are names, like postcodes.
        without: columns that are left out.
        train: size of a class-stratified subset of the training lines; None: all.
        test: the same for the test lines.

    Raises:
        UserError: not found or broken, a missing or unknown value, with file, line and column.
    """
    files = tuple(locations.expanded(p) for p in (path, test_path) if p is not None)
    plan = _Plan(label, client, tuple(categories or ()), tuple(without or ()))
    return shortened(whole_data.whole(_read, files, files, plan, held_out), train, test)


def _read(files: tuple[Path, ...], plan: _Plan, share: float) -> Dataset:
    facts = ["csv", whole_data.stamps(files), plan.label, plan.client, plan.categories, plan.without]
    held = array_cache.cached(facts, lambda: _arrays(files, plan), compressed=True)
    x, y = torch.from_numpy(held["x"]), torch.from_numpy(held["y"])
    owners = torch.from_numpy(held["owners"]) if plan.client is not None else None
    cut = int(held["cut"])
    split: Split = "files"
    rows, tried = torch.arange(cut), torch.arange(cut, len(y))
    if len(files) == 1:
        if not 0 < share < 1:
            raise UserError(f"csv needs held_out above 0 and below 1, got {share}")
        rows, tried = divided(y, owners, share, "csv split")
        split = "stratified" if owners is None else "client"
    return Dataset(
        name=files[0].name.partition(".")[0],
        classes=tuple(map(str, held["classes"])),
        train_x=x[rows],
        train_y=y[rows],
        test_x=x[tried],
        test_y=y[tried],
        split=split,
        sources=tuple(map(str, files)),
        clients=None if owners is None else owners[rows],
        client_names=tuple(map(str, held["people"])),
    )


def _arrays(files: Sequence[Path], plan: _Plan) -> array_cache.Arrays:
    tables = [_table(file) for file in files]
    header = tables[0][0]
    if len(tables) == 2 and tables[1][0] != header:
        unlike = next((b for a, b in zip(header, tables[1][0], strict=False) if a != b), f"{len(tables[1][0])} columns")
        raise UserError(f"{files[1]}, line 1: columns other than those of {files[0]}: {unlike}")
    named = [*filter(None, (plan.label, plan.client)), *plan.categories, *plan.without]
    for name in named:
        if name not in header:
            raise UserError(
                f"{files[0]}, line 1: no column {name!r}{near(name, header)}; there are {', '.join(header[:20])}"
            )
    body = [row for _, rows, _ in tables for row in rows]
    places = columns.Rows(
        [str(f) for f, (_, rows, _) in zip(files, tables, strict=True) for _ in rows],
        [line for _, _, lines in tables for line in lines],
    )
    by_name = dict(zip(header, zip(*body, strict=True), strict=True))
    for name in filter(None, (plan.label, plan.client)):
        if (empty := next((i for i, v in enumerate(by_name[name]) if not v.strip()), None)) is not None:
            raise UserError(f"{places.place(empty, name)}: it is empty; each line needs one")
    taken = {plan.label, plan.client, *plan.without}
    used = [columns.Column(name, values) for name, values in by_name.items() if name not in taken]
    if not used:
        raise UserError(f"{files[0]}: no column is left to be a feature")
    x, _ = columns.features(used, plan.categories, places)
    cut = len(tables[0][1])
    classes = columns.in_order(by_name[plan.label][:cut])
    for row in range(cut, len(body)):
        if by_name[plan.label][row] not in classes:
            raise UserError(f"{places.place(row, plan.label)}: {by_name[plan.label][row]!r} is no class of {files[0]}")
    people = columns.in_order(by_name[plan.client][:cut]) if plan.client else ()
    owners = columns.numbers_of(by_name[plan.client][:cut], people) if plan.client else np.zeros(0, np.int64)
    labels = columns.numbers_of(by_name[plan.label], classes)
    names: dict[str, Any] = {"classes": np.array(classes), "people": np.array(people, dtype=str)}
    return {"x": x, "y": labels, "owners": owners, "cut": np.array(cut), **names}


def _table(file: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """Names of the columns, the rows and their lines."""
    if os.path.isdir(file):
        raise UserError(f"{file} is a folder: name the table")
    needed = "a table of texts and numbers, with the columns' names in its first line"
    file_kinds.refuse_no_text(file, "csv", needed)
    content = file_bytes.read(file)
    if not content.strip():
        file_kinds.refuse(file, "csv", needed)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    header = text.partition("\n")[0]
    mark = max((",", ";", "\t"), key=header.count)
    reader = csv_format.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        names = [name.strip() for name in next(reader, [])]
        if len({*names}) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise UserError(f"{file}, line 1: two columns are called {twice!r}")
        for fields in reader:
            if not fields:
                continue  # an empty line at the end
            if len(fields) != len(names):
                raise UserError(
                    f"{file}, line {reader.line_num}: {len(fields)} columns, and the header has {len(names)}"
                )
            rows.append([field.strip() for field in fields])
            lines.append(reader.line_num)
    except csv_format.Error as error:
        raise UserError(f"{file}, line {reader.line_num}: not a CSV ({error})") from error
    if not rows:
        raise UserError(f"{file}: the table has no line below its header")
    return names, rows, lines
