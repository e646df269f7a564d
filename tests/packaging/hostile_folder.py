"""A working folder whose files and folders are named like modules: each notes that it was imported, and ends Python."""

from __future__ import annotations

from pathlib import Path

FILES = (
    *("attacks", "bench", "random", "statistics", "types", "json", "torch", "numpy", "yaml", "logging", "dataclasses"),
    *("socket", "signal", "threading", "multiprocessing", "pickle", "dask", "distributed", "typer", "pyarrow", "cupy"),
    *("site", "sitecustomize", "usercustomize", "encodings", "annotated_doc", "click", "rich", "numba", "pandas"),
)
FOLDERS = ("aggregators", "scipy", "matplotlib", "asyncio", "importlib")
RULE = "def mine(updates, cohort, /):\n    return updates.mean(-2)\n"
_TRAP = "if __name__[:9] != 'flipbench':\n    open('{}.imported', 'w').close()\n    raise SystemExit('executed')\n"


def fill(folder: Path) -> None:
    """Write the files; each also holds a rule ``mine``, which the loader of plug-ins may import."""
    for name in FILES:
        (folder / f"{name}.py").write_text(_TRAP.format(name) + RULE)
    for name in FOLDERS:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(_TRAP.format(name))


def executed(folder: Path) -> list[str]:
    """What was imported by anything but the loader of plug-ins."""
    return sorted(path.stem for path in folder.glob("*.imported"))
