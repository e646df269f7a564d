"""From a results folder to its tables and pictures: reads the store, writes ``tables/`` and ``heatmaps/``.

The same cells give the same bytes. Only files that were written here before are ever replaced or removed.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

from bench import attack_csv, metrics, summary, tables
from bench import frame as frames
from bench.errors import UserError
from bench.labels import printable
from bench.store import Store

TABLES, HEATMAPS = "tables", "heatmaps"
_PICTURES = (".svg", ".png")


def write(folder: Path) -> list[Path]:
    """Write tables and pictures of the latest plan's cells.

    Args:
        folder: ``results/<grid>``.

    Returns:
        The files, in the order written. Pictures of an earlier plan that this one lacks are removed.

    Raises:
        UserError: the folder holds no plan, or cannot be written.
    """
    from bench import canvas, pictures  # matplotlib: the terminal's summary does without

    frame, tidy, plan = _read(folder)
    texts: dict[str, str | None] = {
        "cells.csv": tables.cells_csv(tidy),
        "summary.md": tables.markdown(frame, tidy, plan, warnings(frame, tidy, plan)),
        "summary.csv": tables.summary_csv(frame, tidy),
        "summary.tex": tables.latex(frame, tidy, plan),
        "worst_over_attacks.csv": attack_csv.worst_csv(frame, tidy),
        "declared_f.csv": attack_csv.declared_csv(frame, tidy),
        "static_regret.csv": attack_csv.regret_csv(frame, tidy),
    }
    written = [_put(folder / TABLES / name, text.encode()) for name, text in texts.items() if text is not None]
    for name in (name for name, text in texts.items() if text is None):  # of an earlier plan
        with suppress(OSError):
            (folder / TABLES / name).unlink(missing_ok=True)
    for picture in pictures.catalogue(frame, tidy, plan):
        drawn = canvas.files(picture.draw())
        written += [_put(folder / HEATMAPS / f"{picture.name}{suffix}", raw) for suffix, raw in drawn.items()]
    _remove_stale(folder / HEATMAPS, {p.name for p in written})
    return written


def summary_text(folder: Path, width: int | None = None) -> str:
    """The summary for a terminal: accuracy of every rule, with what to know before believing it below.

    Args:
        folder: ``results/<grid>``.
        width: characters a line; None: the terminal's.

    Raises:
        UserError: the folder holds no plan.
    """
    frame, tidy, plan = _read(folder)
    room = shutil.get_terminal_size((100, 24)).columns if width is None else width
    parts = [tables.title(plan), tables.terminal(frame, tidy, max(40, room))]
    parts.append("mean ± half width of the 95 % interval over seeds; * best of the column; – infeasible; ? no number")
    if told := warnings(frame, tidy, plan):
        parts.append("\n".join(f"! {text}" for text in told))
    return "\n\n".join(part for part in parts if part)


def warnings(frame: pd.DataFrame, tidy: pd.DataFrame, plan: Mapping[str, Any]) -> list[str]:
    """What to know before believing the numbers, one sentence each."""
    from bench import requests

    guards = [printable(g.text, 500) for g in summary.guards(frame, tidy)]
    return [*guards, *requests.wanted(plan)[1]]


def _read(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    frame = frames.load(folder)
    return frame, metrics.evaluate(frame), Store(folder).read_plan()


def _put(path: Path, raw: bytes) -> Path:
    """Write through a temp file, so that a reader never sees half of it; an equal file keeps its date."""
    temp = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file() and path.read_bytes() == raw:
            return path
        temp.write_bytes(raw)
        os.replace(temp, path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); free the place or choose --results") from error
    finally:
        with suppress(OSError):
            temp.unlink(missing_ok=True)
    return path


def _remove_stale(folder: Path, keep: set[str]) -> None:
    """Pictures of an earlier plan; whatever was not drawn here stays."""
    from bench import canvas

    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.suffix in _PICTURES and path.name not in keep and path.is_file() and not path.is_symlink():
            with suppress(OSError):
                if canvas.is_ours(path):
                    path.unlink()
