"""The commit of the checkout that the running flipbench is imported from; none for an installed package."""

from __future__ import annotations

import os
import subprocess
from functools import partial
from pathlib import Path

_FOLDERS = ("bench", "aggregators", "attacks")  # of the import package, at the root of a checkout
_PROJECT = 'name = "flipbench"'


def commit_of(package: Path) -> str | None:
    """The commit of a checkout, marked where files other than results differ from it.

    A package that is installed inside another project's repository (a virtual environment, a vendored copy) has none:
    the commit that git finds there is not flipbench's. So the repository must begin at the folder that holds the
    package's own folders and its project file, and git must know the package's files.

    Args:
        package: the folder ``bench`` of the running code.

    Returns:
        Twelve digits, followed by ``+changes`` where tracked files differ; None outside such a checkout.
    """
    package = package.resolve()
    root = package.parent
    if not _is_project(root, package):
        return None
    # Inside a git hook these variables name another repository than that of the folder.
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    git = partial(subprocess.run, cwd=root, env=env, capture_output=True, text=True, check=False)
    try:
        top = git(["git", "rev-parse", "--show-toplevel"])
        if top.returncode or Path(top.stdout.rstrip("\n")).resolve() != root:
            return None
        known = git(["git", "ls-files", "--error-unmatch", f"{package.name}/__init__.py"])
        head = git(["git", "rev-parse", "--short=12", "HEAD"])
        elsewhere = ["--", ":/", ":(top,exclude)results"]  # runs rewrite the committed tables
        changed = git(["git", "status", "--porcelain", "--untracked-files=no", *elsewhere])
    except OSError:  # there is no git
        return None
    if known.returncode or head.returncode:
        return None
    return str(head.stdout.strip()) + ("+changes" if changed.stdout.strip() else "")


def _is_project(root: Path, package: Path) -> bool:
    """Whether a folder is the root of flipbench's own source: its project file, and the three folders with code."""
    if package.name not in _FOLDERS or not all((root / folder / "__init__.py").is_file() for folder in _FOLDERS):
        return False
    try:
        return _PROJECT in (root / "pyproject.toml").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def running() -> str | None:
    """The commit of the code that runs."""
    return commit_of(Path(__file__).parents[1])
