"""What results hold of paths says neither who ran them nor how their machine is laid out."""

from __future__ import annotations

from pathlib import Path

import pytest

from flipbench.system import private_paths


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    work = tmp_path / "home" / "alice" / "work folder"
    work.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(work.parent))
    monkeypatch.chdir(work)
    private_paths._folders.cache_clear()
    return work.parent


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("{home}/work folder/rules/mine.py", "rules/mine.py"),
        ("{home}/work folder", "."),
        ("{home}/data/mnist", "~/data/mnist"),
        ("~/data/mnist", "~/data/mnist"),
        ("/scratch/alice/mnist", ".../mnist"),
        ("C:\\Users\\alice\\mnist", ".../mnist"),
        ("rules/mine.py", "rules/mine.py"),
        ("/usr/share/datasets/mnist", "/usr/share/datasets/mnist"),
    ],
)
def test_a_path_is_shortened(home: Path, path: str, expected: str) -> None:
    assert private_paths.shortened(path.format(home=home)) == expected


def test_every_path_in_a_text_is_shortened(home: Path) -> None:
    text = f'File "{home}/work folder/bad.py", line 3; /scratch/alice/x.csv, a/b and 1/2; {private_paths.__file__}'
    found = private_paths.in_text(f"{text}; see https://example.org/a/b")
    assert found == (
        'File "bad.py", line 3; .../x.csv, a/b and 1/2; flipbench/system/private_paths.py; see https://example.org/a/b'
    )
