"""What a file is, by its first bytes: so that one format in another's place is refused by its name."""

from __future__ import annotations

import gzip
import os
import zipfile
import zlib
from pathlib import Path
from typing import NoReturn

from flipbench.data.pixel_csv import printable
from flipbench.errors import UserError

_SIZE = 4096
_BEGINNINGS = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, like one of MATLAB 7.3"),
    (b"MATLAB 5.0 MAT-file", "a MATLAB file"),
    (b"\x93NUMPY", "a NumPy array (.npy)"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"PAR1", "a Parquet file"),
    (b"ARROW1", "an Arrow file"),
    (b"\x00\x00\x08\x03", "an IDX file of images"),
    (b"\x00\x00\x08\x01", "an IDX file of labels"),
    (b"\x80\x02", "a pickle, like CIFAR's Python version"),
    (b"\x80\x03", "a pickle, like CIFAR's Python version"),
    (b"\x80\x04", "a pickle, like CIFAR's Python version"),
    (b"\x80\x05", "a pickle, like CIFAR's Python version"),
    (b"%PDF", "a PDF"),
    (b"{", "a JSON file"),
    (b"@relation", "a KEEL or ARFF table"),
)


def said(path: Path) -> str:
    """What the file is, in words: ``a MATLAB file``."""
    if os.path.isdir(path):
        return "a folder"
    try:
        with path.open("rb") as file:
            start = file.read(_SIZE)
        if start[:2] == b"\x1f\x8b":
            with gzip.open(path) as unpacked:
                inside = unpacked.read(_SIZE)
            return f"{_of_bytes(path, inside)}, packed by gzip"
    except (OSError, EOFError, zlib.error) as error:
        return f"no file that can be read ({error})"
    return _of_bytes(path, start)


def _of_bytes(path: Path, start: bytes) -> str:
    if not start:
        return "an empty file"
    if start[257:262] == b"ustar":
        return "a tar archive"
    if start[:4] == b"PK\x03\x04":
        return _of_zip(path)
    for beginning, what in _BEGINNINGS:
        if start.lstrip(b" \r\n\t").startswith(beginning) or start.startswith(beginning):
            return what
    line = start.removeprefix(b"\xef\xbb\xbf").partition(b"\n")[0].rstrip(b"\r")
    try:
        line.decode()
    except UnicodeDecodeError:
        return "a file of unknown bytes"
    if b"\0" in line:
        return "a file of unknown bytes"
    table = "a table" if max(line.count(mark) for mark in (b",", b";", b"\t")) else "a text"
    return f"{table} that begins with {printable(line)}"


def _of_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return "a damaged zip archive"
    return "a NumPy archive (.npz)" if names and all(n.endswith(".npy") for n in names) else "a zip archive"


def refuse_no_text(path: Path, reader: str, needed: str) -> None:
    """See that a file is a text or a table, or cannot be read at all, which reading it will say.

    Raises:
        UserError: it is a file of another format.
    """
    if not said(path).startswith(("a table", "a text", "an empty", "no file")):
        refuse(path, reader, needed)


def refuse(path: Path, reader: str, needed: str) -> NoReturn:
    """Say what a file is, and what the reader needs.

    Args:
        path: of the file.
        reader: as grids name it.
        needed: what it reads, like ``SVHN's train_32x32.mat, a MATLAB 5 file``.

    Raises:
        UserError: always.
    """
    raise UserError(f"{path} is {said(path)}, and {reader} reads {needed}")
