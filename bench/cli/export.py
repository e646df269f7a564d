"""The cells or rounds of a results folder as one file, for other tools (``flipbench results --export``)."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from flipbench.errors import UserError
from flipbench.spec.key import canonical_json
from flipbench.store.store import Store
from flipbench.system import atomic_files

FORMATS = (".csv", ".json", ".parquet")


def cells(folder: Path, path: Path) -> int:
    """Write the cells of the latest plan as one file; equal cells give equal bytes.

    Args:
        folder: of the grid.
        path: ``.csv`` or ``.parquet``: one line per finished cell with fields, metrics and seconds, as in
            ``tables/cells.csv``; ``.json``: the stored records unchanged, failed ones too, with counts and provenance.

    Returns:
        The number of cells in the file.

    Raises:
        UserError: another ending, no pyarrow for parquet, or the file cannot be written.
    """
    ending = ending_of(path)
    if ending == ".json":
        store = Store(folder)
        records = [r for k in store.read_plan()["keys"] if (r := store.read(k)) is not None]
        lines = b",\n".join(canonical_json({n: v for n, v in r.items() if n != "body"}) for r in records)
        _put(path, b"[\n" + lines + b"\n]\n" if records else b"[]\n")
        return len(records)
    from flipbench.analysis import frame as frames
    from flipbench.analysis import metrics
    from flipbench.analysis.rounds.late_rounds import HIDDEN
    from flipbench.report.tables.cells_csv import cells_csv

    tidy = metrics.evaluate(frames.load(folder))
    if ending == ".csv":
        raw = cells_csv(tidy).encode()
    else:
        plain = tidy[[name for name in tidy.columns if not name.startswith(HIDDEN)]].copy()
        for name in ("classes", "mapping"):
            if name in plain:
                plain[name] = [None if v is None else str(v) for v in plain[name]]
        raw = bytes(plain.to_parquet(None, index=False))
    _put(path, raw)
    return len(tidy)


def rounds(folder: Path, path: Path) -> int:
    """Write every evaluated round of the finished cells of the latest plan as CSV; equal cells give equal bytes.

    Args:
        folder: of the grid.
        path: of the file.

    Returns:
        The number of rounds in the file.

    Raises:
        UserError: the file cannot be written.
    """
    from flipbench.analysis import frame as frames
    from flipbench.report.tables.rounds_csv import rounds_csv

    text = "".join(rounds_csv(frames.load(folder)))
    _put(path, text.encode(), "--export-rounds")
    return text.count("\n") - 1


def ending_of(path: Path) -> str:
    """The format of an export: the ending of its file name, in lower case.

    Raises:
        UserError: another ending, or no pyarrow for parquet.
    """
    ending = path.suffix.lower()
    if ending not in FORMATS:
        raise UserError(f"--export needs a file that ends in {', '.join(FORMATS)}, got {path}")
    if ending == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise UserError(
            "--export to parquet needs the package pyarrow: pip install -c constraints.txt -e '.[parquet]', "
            "or export .csv or .json"
        )
    return ending


def _put(path: Path, raw: bytes, option: str = "--export") -> None:
    try:
        path.parent.stat()  # a folder is not made: the name may be a mistake
        atomic_files.replace(path, raw)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); name another file with {option}") from error
