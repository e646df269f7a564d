"""Bytes of users' data files, packed or not: read whole, within a limit, and hashed."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from functools import lru_cache
from pathlib import Path

from flipbench.errors import UserError

LIMIT = 1 << 30  # bytes after decompression; the largest file we know has 47 MB


def read(path: Path) -> bytes:
    """The content of a file, decompressed where it starts like gzip, whatever its name.

    Raises:
        UserError: it cannot be read, is a damaged gzip or a zip archive, or is larger than `LIMIT`.
    """
    try:
        with path.open("rb") as file:
            magic = file.read(4)
            file.seek(0)
            if magic == b"PK\x03\x04":
                raise UserError(f"{path} is a zip archive: unpack it and name the file inside")
            if magic[:2] == b"\x1f\x8b":
                with gzip.GzipFile(fileobj=file) as unpacked:
                    content = unpacked.read(LIMIT + 1)
            else:
                content = file.read(LIMIT + 1)
    except EOFError as error:
        raise UserError(f"{path} is cut off: the gzip data end early; get the file anew") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{path} is a damaged gzip file ({error}); get it anew") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    if len(content) > LIMIT:
        raise UserError(f"{path} holds more than {LIMIT:,} bytes: it is not one of the known data files")
    return content


def first_line(path: Path, limit: int = 1 << 16) -> bytes:
    """The first line of a file, decompressed, without a byte-order mark and line end; empty where unreadable."""
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if packed:
                with gzip.GzipFile(fileobj=file) as unpacked:
                    line = unpacked.readline(limit)
            else:
                line = file.readline(limit)
    except (OSError, EOFError, zlib.error):
        return b""
    return line.removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n")


def digest(path: Path) -> str:
    """SHA-256 of the decompressed content; computed once in a process while size and time of the file stay.

    Raises:
        UserError: as `read`.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    return _digest(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _digest(path: Path, size: int, mtime: int) -> str:
    return hashlib.sha256(read(path)).hexdigest()


def md5(path: Path) -> str:
    """MD5 of a file as it lies there, packed or not.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error


def combined(*digests: str) -> str:
    """One SHA-256 for several, order included."""
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()
