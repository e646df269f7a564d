"""Installs the least versions that pyproject.toml allows in a new environment, and runs flipbench there.

torch is left out: it is that of the calling environment, for a second one is large. A least version that has no wheel
for this Python is left to pip, which takes the least that has one.
"""

from __future__ import annotations

import re
import sys
import tempfile
import tomllib
from pathlib import Path

from tests.helpers.paths import ROOT
from tests.packaging.distributions import checkout_of, installed_in, ran, wheel_of

LEFT_OUT = ("torch",)
_FLOOR = re.compile(r"([A-Za-z0-9_.-]+)>=([0-9.]+)")


def floors() -> dict[str, str]:
    """Package -> the least version that pyproject.toml allows."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    found = [match for text in listed if (match := _FLOOR.match(text))]
    assert len(found) == len(listed), "every dependency has a least version"
    return {match[1]: match[2] for match in found if match[1] not in LEFT_OUT}


def main() -> None:
    """Install, and run."""
    with tempfile.TemporaryDirectory(prefix="flipbench-floors-") as name:
        folder = Path(name)
        checkout, built = folder / "checkout", folder / "built"
        for path in (checkout, built):
            path.mkdir()
        commands = installed_in(folder / "venv", wheel_of(checkout_of(checkout), built))
        pip = [sys.executable, "-m", "pip", "--python", commands / "python", "install", "--quiet"]
        wanted = [f"{package}=={version}" for package, version in floors().items()]
        print("\n".join(wanted))
        ran([*pip, "--disable-pip-version-check", "--only-binary", ":all:", "--ignore-installed", *wanted], folder)
        environment = {"HOME": name, "OMP_NUM_THREADS": "1"}
        for words in (["--help"], ["run", "--help"], ["run", "smoke", "--workers", "2", "--no-progress"]):
            print(ran([commands / "flipbench", *words], folder, **environment))


if __name__ == "__main__":
    main()
