"""Builds the wheel and the source distribution with this environment's setuptools and no network."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.helpers.paths import ROOT

_OFFLINE = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check")
_BUILD_SDIST = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"


def ran(command: list[str | Path], cwd: Path, **environment: str) -> str:
    """Output of a command that succeeds."""
    done = subprocess.run(
        command, cwd=cwd, env={"PATH": "/usr/bin:/bin", **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def checkout_of(folder: Path) -> Path:
    """A copy of what git would have in a checkout, results left out."""
    for name in ("bench", "aggregators", "attacks", "docs", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, folder)
    return folder


def wheel_of(source: Path, folder: Path) -> Path:
    """The wheel of a source tree or a source distribution."""
    ran([sys.executable, "-m", "pip", "wheel", *_OFFLINE, "--wheel-dir", folder, source], folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


def sdist_of(checkout: Path, folder: Path) -> Path:
    """The source distribution, packed."""
    ran([sys.executable, "-c", _BUILD_SDIST, folder], checkout)
    (packed,) = folder.glob("*.tar.gz")
    return packed


def installed_in(folder: Path, distribution: Path) -> Path:
    """The folder of commands of a new virtual environment: a distribution, and the packages of this environment."""
    ran([sys.executable, "-m", "venv", "--without-pip", folder], folder.parent)
    commands = folder / ("Scripts" if sys.platform == "win32" else "bin")
    (site,) = folder.glob("[Ll]ib/**/site-packages")
    # Files *.pth in these folders are not read: an editable flipbench of this environment stays out.
    site.joinpath("dependencies.pth").write_text("".join(f"{p}\n" for p in sys.path if p.endswith("site-packages")))
    python = next(commands.glob("python*"))
    ran([sys.executable, "-m", "pip", "--python", python, "install", *_OFFLINE, distribution], folder)
    return commands
