"""What results hold of paths says neither who ran them nor how their machine is laid out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flipbench.system import private_paths


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    work = tmp_path / "home" / "alice" / "work folder"
    work.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(work.parent))
    monkeypatch.setenv("LOGNAME", "alice")
    monkeypatch.setattr("platform.node", lambda: "node-17.cluster.org")
    monkeypatch.chdir(work)
    for known in (private_paths._folders, private_paths._user, private_paths._host):
        known.cache_clear()
    yield work.parent
    for known in (private_paths._folders, private_paths._user, private_paths._host):
        known.cache_clear()


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
        ("/opt/alice/mnist", "/opt/USER/mnist"),
        ("../alice/mnist", "../USER/mnist"),
        ("/scratch/alice", ".../USER"),
        ("~bob/mnist", ".../mnist"),
        ("C:/Users/bob/mnist", ".../mnist"),
        (r"\\server\bob\mnist", ".../mnist"),
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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("run g --scheduler tls://head.cluster.org:8786", "run g --scheduler tls://HOST:8786"),
        ("Timed out to tcp://10.0.0.7:41 and ucx://[::1]:9", "Timed out to tcp://HOST:41 and ucx://HOST:9"),
        ("https://alice:word@example.org/a/b", "https://example.org/a/b"),
        ("s3://bucket/a/b and #/defs/a/b", "s3://bucket/a/b and #/defs/a/b"),
        ("bob@node3:/scratch/bob/x", "HOST:.../x"),
        ("no answer of node-17.cluster.org, of node-17", "no answer of HOST, of HOST"),
        ("error:/scratch/bob/x.csv", "error:.../x.csv"),
        ("file:///scratch/bob/x.csv", "file:.../x.csv"),
        ("PATH=/scratch/bob/bin:/scratch/bob/more", "PATH=.../bin:.../more"),
        ("gcc -I/scratch/bob/include -L/scratch/bob/lib", "gcc -I.../include -L.../lib"),
        ("'/scratch/bob b/x.csv' and \"/scratch/bob (2)/y\"", "'.../x.csv' and \".../y\""),
        (
            "--set 'dataset.path=/scratch/bob b/x' --results /scratch/out",
            "--set 'dataset.path=.../x' --results .../out",
        ),
        ("//scratch//bob/x, ~bob/data/y", ".../x, .../y"),
        ("C:/Users/bob/x C:\\Users\\bob\\x \\\\server\\bob\\x", ".../x .../x .../x"),
        ("../alice/x /opt/alice/y /scratch/alice(1)/z", "../USER/x /opt/USER/y .../USER(1)/z"),
        ("malice/x, /alicex, a / b / c, '/', '/one'", "malice/x, /alicex, a / b / c, '/', '/one'"),
    ],
)
def test_hosts_and_users_are_in_no_text(home: Path, text: str, expected: str) -> None:
    assert private_paths.in_text(text) == expected


@pytest.mark.parametrize("part", ["a.", "/", "'/a", "-I/", "a@", "~a/", "\\ ", "/a\\ "])
def test_a_long_text_takes_no_long_time(home: Path, part: str) -> None:
    """A megabyte that a plug-in wrote: a search that goes back to each earlier place would take hours."""
    before = time.process_time()
    private_paths.in_text(part * (300_000 // len(part)))
    assert time.process_time() - before < 10


def test_a_user_who_says_nothing_is_left(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "root")
    monkeypatch.setattr("platform.node", lambda: "median")  # a word of many texts
    private_paths._user.cache_clear()
    private_paths._host.cache_clear()
    assert private_paths.in_text("/opt/root/x by median") == "/opt/root/x by median"
