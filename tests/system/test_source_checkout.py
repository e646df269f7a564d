"""The commit in records is that of flipbench's own checkout, never of a repository that it merely lies in."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from flipbench.system.source_checkout import commit_of

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="no git here")
FOLDERS = ("bench", "aggregators", "attacks")


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def source(root: Path) -> Path:
    """A folder that looks like the source of flipbench; gives its package."""
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True)
        (root / folder / "__init__.py").write_text("")
    (root / "results").mkdir()
    (root / "results" / "file").write_text("first")
    (root / "pyproject.toml").write_text('[project]\nname = "flipbench"\n')
    return root / "bench"


def committed(root: Path) -> None:
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "first")


def test_a_commit_is_marked_when_code_differs_from_it_and_not_when_results_do(tmp_path: Path) -> None:
    package = source(tmp_path)
    committed(tmp_path)
    clean = commit_of(package)
    assert clean is not None
    assert len(clean) == 12
    (tmp_path / "results" / "file").write_text("second")
    assert commit_of(package) == clean
    (package / "__init__.py").write_text("second = 2")
    assert commit_of(package) == f"{clean}+changes"


def test_an_installed_package_in_the_repository_of_another_project_has_no_commit(tmp_path: Path) -> None:
    installed = tmp_path / ".venv" / "lib" / "site-packages" / "flipbench"
    shutil.copytree(source(tmp_path / "elsewhere"), installed)
    shutil.rmtree(tmp_path / "elsewhere")
    committed(tmp_path)  # tracked or not: it is not flipbench's repository
    assert commit_of(installed) is None


@pytest.mark.parametrize("tracked", [True, False])
def test_source_that_lies_deeper_in_another_repository_has_no_commit(tmp_path: Path, tracked: bool) -> None:
    package = source(tmp_path / "vendor" / "flipbench")
    if not tracked:
        (tmp_path / ".gitignore").write_text("vendor")
    (tmp_path / "own.txt").write_text("theirs")
    committed(tmp_path)
    assert commit_of(package) is None


def test_a_project_of_another_name_that_has_the_three_folders_has_no_commit(tmp_path: Path) -> None:
    package = source(tmp_path)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "other"\n')
    committed(tmp_path)
    assert commit_of(package) is None


def test_source_that_git_does_not_know_has_no_commit(tmp_path: Path) -> None:
    package = source(tmp_path)
    (tmp_path / ".gitignore").write_text("bench\n")
    committed(tmp_path)
    assert commit_of(package) is None


def test_the_variables_of_a_git_hook_do_not_lead_to_another_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = source(tmp_path / "ours")
    committed(tmp_path / "ours")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "file").write_text("theirs")
    committed(tmp_path / "theirs")
    expected = commit_of(package)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "theirs" / ".git"))
    assert expected is not None
    assert commit_of(package) == expected
