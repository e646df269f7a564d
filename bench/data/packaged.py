"""Data sets that lie inside installed packages: found without importing the package, checked against their hash."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flipbench.data import file_bytes, pixel_csv
from flipbench.errors import UserError


def file(package: str, inside: str) -> Path:
    """A data file inside an installed package.

    The package is not imported: that would pull in pandas or SciPy, which nothing left of the store may load.

    Raises:
        UserError: the package is not installed, or keeps the file elsewhere.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise UserError(f"the package {package} is not installed, and its data are needed: pip install {package}")
    path = Path(spec.origin).parent / inside
    if not path.is_file():
        raise UserError(f"the installed package {package} lacks {path}: install the version named in constraints.txt")
    return path


def images(path: Path, side: int, sha256: str) -> tuple[Tensor, Tensor]:
    """Images and labels of a CSV with side * side pixels and the label in each line.

    Returns:
        ``(n, 1, side, side)`` uint8 and ``(n,)`` int64.

    Raises:
        UserError: the content is not the one with the given SHA-256.
    """
    found = file_bytes.digest(path)
    if found != sha256:
        raise UserError(
            f"{path} is not the file that flipbench knows: its content has SHA-256 {found}, needed is {sha256}; "
            "install the version of the package named in constraints.txt"
        )
    names = [*(f"pixel{i}" for i in range(side * side)), "label"]
    table = pixel_csv.parse(file_bytes.read(path), names, str(path))
    pixels = torch.from_numpy(np.ascontiguousarray(table[:, :-1])).reshape(-1, 1, side, side)
    return pixels, torch.from_numpy(table[:, -1].astype(np.int64))
