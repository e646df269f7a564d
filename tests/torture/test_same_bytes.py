"""The same cells give the same files, byte for byte, whatever the order on disk, the process and its surroundings."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers import records
from tests.helpers.paths import ROOT
from tests.torture.torture_size import size

pytestmark = pytest.mark.torture

Told = Callable[[str, str], None]
WRITE = """
import sys
from pathlib import Path
from flipbench.cli import export
from flipbench.report import write as report
folder = Path(sys.argv[1])
report.write(folder)
for name in ("export.csv", "export.json"):
    export.cells(folder, folder / name)
"""
SURROUNDINGS = (
    {"PYTHONHASHSEED": "0", "TZ": "UTC", "LC_ALL": "C.UTF-8"},
    {"PYTHONHASHSEED": "4242", "TZ": "Asia/Kathmandu", "LC_ALL": "C", "COLUMNS": "40", "OMP_NUM_THREADS": "2"},
)


def copied(store: Path, to: Path, order: int) -> Path:
    """The cells and the plan, written in another order, hence listed in another one where folders list by age."""
    files = sorted(p.relative_to(store) for p in store.rglob("*.json"))
    random.Random(order).shuffle(files)
    for name in files:
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        (to / name).write_bytes((store / name).read_bytes())
        os.utime(to / name, (order * 1e8, order * 1e8))
    return to


def derived(folder: Path) -> dict[str, str]:
    """Every derived file with the hash of its bytes."""
    files = (p for p in folder.rglob("*") if p.is_file() and "cells" not in p.parts and p.name != "plan.json")
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["label flips", "attacks"])
def test_same_cells_same_bytes(tmp_path: Path, told: Told, kind: str) -> None:
    if kind == "attacks":
        attacks = tuple(records.ATTACKS)[:: size(1, 8)]
        store = records.write_attacks(tmp_path / "first", attacks=attacks, seeds=tuple(range(size(6, 2))))
    else:
        store = records.write_grid(
            tmp_path / "first", seeds=tuple(range(size(6, 2))), flip_rates=(0.5, 1.0)[: size(2, 1)]
        )
    found = []
    for number, surroundings in enumerate(SURROUNDINGS):
        folder = copied(store.folder, tmp_path / f"at {number}" / "grid", number + 1)
        where = tmp_path / f"cwd{number}"
        where.mkdir()
        env = {**os.environ, "PYTHONPATH": str(ROOT), **surroundings}
        subprocess.run([sys.executable, "-c", WRITE, str(folder)], cwd=where, env=env, check=True)
        found.append(derived(folder))
    assert found[0] == found[1]
    kinds = Counter(Path(name).suffix for name in found[0])
    assert set(kinds) >= {".csv", ".tex", ".html", ".svg", ".png", ".md", ".json"}
    told(f"files of {kind}", ", ".join(f"{number} {suffix[1:]}" for suffix, number in sorted(kinds.items())))
