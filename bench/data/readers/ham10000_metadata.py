"""HAM10000_metadata.csv: which lesion each image shows, and its diagnosis."""

from __future__ import annotations

import csv
import io
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from flipbench.data import file_bytes
from flipbench.errors import UserError


class Row(NamedTuple):
    """One image: its lesion, its diagnosis as written, the line of the file, and its name where there is a column."""

    lesion: str
    diagnosis: str
    line: int
    image: str = ""


def read(path: Path) -> tuple[Row, ...]:
    """The rows of the metadata, in the file's order; columns may be separated by commas or tabs.

    Raises:
        UserError: not readable, no column lesion_id or dx, or a row without them.
    """
    return _read(path, file_bytes.digest(path))


@lru_cache(maxsize=4)
def _read(path: Path, digest: str) -> tuple[Row, ...]:
    try:
        text = file_bytes.read(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    header = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t" if "\t" in header else ",", strict=True)
    rows: list[Row] = []
    try:
        names = next(reader, [])
        for needed in ("lesion_id", "dx"):
            if needed not in names:
                raise UserError(
                    f"{path}, line 1: no column {needed}; HAM10000_metadata.csv has lesion_id, image_id, dx, ..."
                )
        lesion, diagnosis = names.index("lesion_id"), names.index("dx")
        for fields in reader:
            if not fields:
                continue  # an empty line at the end
            if len(fields) != len(names):
                raise UserError(
                    f"{path}, line {reader.line_num}: {len(fields)} columns, and the header has {len(names)}"
                )
            for name, place in (("lesion_id", lesion), ("dx", diagnosis)):
                if not fields[place]:
                    raise UserError(f"{path}, line {reader.line_num}, column {name}: it is empty")
            image = fields[names.index("image_id")] if "image_id" in names else ""
            rows.append(Row(fields[lesion], fields[diagnosis], reader.line_num, image))
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: not a CSV ({error}); get the file anew") from error
    return tuple(rows)
